"""The planner: everything observed in, ordered actions and reasons out.

A pure function. It reads top to bottom as the design does: which version is wanted, is there anything to go back to, is
the wanted version allowed, how far may it go; then the workloads that follow from it, then the record. It never reads a
clock, a cluster or a network, so that every decision can be replayed from the observation that led to it.
"""

from dataclasses import replace

from serin.api import names
from serin.api.conditions import ROUTINE, Reason
from serin.api.split import all_to
from serin.rollout import canary, gates, housekeeping, report
from serin.rollout.draft import Draft
from serin.rollout.gates import Finding, Look
from serin.rollout.goback import go_back
from serin.rollout.model import CreateSnapshot, Note, Observation, Order, Plan, PublishRoute, WriteStatus
from serin.rollout.phases import Phase
from serin.rollout.requests import handle, handle_leftovers
from serin.rollout.rollback import roll_back, without_candidate
from serin.rollout.snapshots import is_rejected
from serin.rollout.status import State, StepState, read


def plan(seen: Observation) -> Plan:
    """Decide the next step for one model deployment."""
    if seen.deployment.deleting:
        return Plan((), (), None)  # everything is owned: the garbage collector takes it with its owner
    draft = Draft(seen, read(seen.deployment.status))
    before = draft.state
    wanted = names.snapshot_name(seen.deployment.name, seen.deployment.spec.content)
    if wanted not in seen.snapshots:
        draft.act(CreateSnapshot(wanted, seen.deployment.spec.content))
    _publish(draft)
    if draft.state.stable is None:
        _initialize(draft, wanted)
    elif go_back(draft, wanted):
        pass  # what the spec wants has to wait
    elif wanted == draft.state.stable:
        _settle(draft)
    else:
        _roll_out(draft, wanted)
    if draft.state.stable != before.stable:
        draft.state = replace(draft.state, stable_since=seen.now)
    housekeeping.tend(draft, wanted)
    handle_leftovers(draft)
    _record(draft, before)
    return draft.plan()


# ── Which version serves ──────────────────────────────────────────────────────────────────────────────────────────────


def _publish(draft: Draft) -> None:
    """The clients' Service leads to the router, at a port that stays the deployment's own."""
    port = draft.state.port if draft.state.port is not None else draft.seen.free_port
    draft.state = replace(draft.state, port=port)
    if not draft.seen.route.published and not draft.seen.route.not_ours:
        draft.act(PublishRoute(port))


def _initialize(draft: Draft, wanted: str) -> None:
    """The first version has nothing to be compared with: it serves everything as soon as one pod is ready."""
    seen = draft.seen
    workload = seen.workloads.get(wanted)
    if workload and workload.ready:
        draft.state = replace(draft.state, phase=Phase.HEALTHY, stable=wanted, split=all_to(wanted))
        message = f"{wanted} serves all traffic: it is the first version, so there is nothing to compare it with"
        draft.why = Note(Reason.SERVING, message)
        draft.notes.append(draft.why)
        draft.proof = {wanted: 1}
        return
    draft.state = replace(draft.state, phase=Phase.INITIALIZING)
    problem = f": {workload.problem}" if workload and workload.problem else ""
    message = f"waiting for the first pod of {wanted}{problem}"
    if workload and workload.refused:
        draft.why = Note(Reason.POD_TEMPLATE_REFUSED, f"the API server refuses the pod template{problem}", warning=True)
    elif workload and seen.now - workload.since >= seen.deployment.spec.progress_deadline:
        draft.why = Note(Reason.PROGRESS_DEADLINE_EXCEEDED, message, warning=True)
    else:
        draft.why = Note(Reason.INITIALIZING, message)
        if workload:
            draft.look_again(workload.since + seen.deployment.spec.progress_deadline - seen.now)


def _settle(draft: Draft) -> None:
    """The wanted version is the stable one. A candidate that the spec has left behind loses its traffic at once."""
    state = draft.state
    stable = str(state.stable)
    if state.candidate:
        draft.happened(Reason.SPEC_BACK_TO_STABLE, f"the spec is back at {stable}: all traffic to it, no steps")
    draft.state = replace(without_candidate(draft), phase=Phase.HEALTHY, split=all_to(stable))
    workload = draft.seen.workloads.get(stable)
    if lost := gates.unrouted(draft.seen.route):
        draft.why = Note(lost.reason, lost.message, warning=True)
    elif workload and workload.ready and draft.state.gave_up:
        draft.why = Note(Reason.ROLLBACK_GAVE_UP, draft.state.gave_up, warning=True)
    elif workload and workload.ready:
        draft.why = Note(Reason.SERVING, f"{stable} serves all traffic")
    else:
        problem = f": {workload.problem}" if workload and workload.problem else ""
        draft.why = Note(Reason.STABLE_UNAVAILABLE, f"no pod of {stable} is ready{problem}", warning=True)


def _roll_out(draft: Draft, wanted: str) -> None:
    """The spec wants another version than the stable one."""
    if draft.state.candidate != wanted:
        if draft.state.candidate:
            message = f"{draft.state.candidate} is superseded by {wanted}: all traffic to {draft.state.stable} first"
            draft.happened(Reason.SUPERSEDED, message)
            draft.state = without_candidate(draft)
        if is_rejected(draft.seen.snapshots, draft.state, wanted) and not _retry(draft, wanted):
            return
        _begin(draft, wanted)
    _progress(draft)


def _begin(draft: Draft, wanted: str) -> None:
    now = draft.seen.now
    draft.state = replace(
        draft.state,
        candidate=wanted,
        candidate_since=now,
        step=StepState(entered=now),
        evidence={},
        gave_up="",
        draining={name: at for name, at in draft.state.draining.items() if name != wanted},
    )
    changed = ", ".join(report.changed(draft.seen, str(draft.state.stable), wanted)) or "content"
    draft.happened(Reason.ROLLOUT_STARTED, f"{wanted} is the candidate: {changed} changed from {draft.state.stable}")


# ── Rejected content ──────────────────────────────────────────────────────────────────────────────────────────────────


def _retry(draft: Draft, wanted: str) -> bool:
    """The user asks to try rejected content again; without that it is refused, in words that say how to ask."""
    last = draft.state.last_rollback
    if handle(draft, names.ANNOTATION_RETRY):
        if last and last.source == wanted:
            draft.state = replace(draft.state, last_rollback=replace(last, retried=True))
        draft.happened(Reason.RETRIED_BY_USER, f"{wanted} was rejected before and is tried again")
        return True
    why = f" ({last.reason}: {last.message})" if last and last.source == wanted else ""
    ask = f"kubectl annotate md {draft.seen.deployment.name} --overwrite {names.ANNOTATION_RETRY}=$(date +%s)"
    message = f"{wanted} was rejected before{why}. Change the spec, put it back, or try again: {ask}"
    draft.state = replace(draft.state, phase=Phase.HEALTHY, split=all_to(str(draft.state.stable)))
    draft.why = Note(Reason.REJECTED_CONTENT, message, warning=True)
    return False


# ── A rollout in progress ─────────────────────────────────────────────────────────────────────────────────────────────


def _progress(draft: Draft) -> None:
    """Roll back, or go on, or say what is waited for."""
    state = draft.state
    draft.state = replace(state, evidence=draft.seen.evidence.kept or state.evidence)
    look = Look(draft.seen, draft.state, stable=str(state.stable), candidate=str(state.candidate))
    if handle(draft, names.ANNOTATION_ABORT):
        roll_back(draft, look, Finding(Reason.ABORTED_BY_USER, "aborted by the user"))
    elif finding := gates.first(gates.ROLL_BACK, look):
        roll_back(draft, look, finding)
    elif look.weight and not look.ready:
        _shelter(draft, look)
    else:
        _advance(draft, look)
    if draft.state.candidate and draft.seen.feasible and report.turned_infeasible(draft.seen):
        draft.happened(*draft.seen.feasible, warning=True)
    _look_at_deadlines(draft)


def _shelter(draft: Draft, look: Look) -> None:
    """The candidate has traffic and no ready pod: take the traffic away, and start over when it is back.

    The evidence stays. Steps start at the first, because only a rollout without traffic may rise without proof.
    """
    step = StepState(entered=draft.seen.now)
    draft.state = replace(draft.state, phase=Phase.STARTING, split=all_to(look.stable), step=step)
    problem = f": {look.workload.problem}" if look.workload and look.workload.problem else ""
    message = f"no candidate pod is ready{problem}; all traffic to {look.stable} until one is"
    draft.why = Note(Reason.CANDIDATE_UNAVAILABLE, message, warning=True)
    draft.happened(Reason.CANDIDATE_UNAVAILABLE, message, warning=True)


def _advance(draft: Draft, look: Look) -> None:
    steps = len(draft.seen.deployment.spec.canary.steps)
    if handle(draft, names.ANNOTATION_PROMOTE):
        step = StepState(steps, entered=draft.seen.now, requests_before=look.state.step.requests_before, forced=True)
        look = replace(look, state=replace(draft.state, step=step))
        draft.happened(Reason.PROMOTING, f"the user asks to promote {look.candidate} without further steps")
    else:
        look = replace(look, state=draft.state)
    approved = look.waits_for_approval and handle(draft, names.ANNOTATION_APPROVE)
    if approved:
        draft.happened(Reason.APPROVED, f"step {look.state.step.index + 1} is approved")
        look = replace(look, state=replace(look.state, handled=draft.state.handled))
    outcome = canary.advance(look, approved=approved)
    draft.state = outcome.state
    draft.proof = {look.candidate: outcome.proof} if outcome.proof else {}
    draft.why = Note(outcome.why.reason, outcome.why.message)
    if outcome.happened:
        draft.notes.append(draft.why)
    draft.look_again(outcome.again)


def _look_at_deadlines(draft: Draft) -> None:
    """Time alone can end a rollout: be there when it does."""
    spec, state, now = draft.seen.deployment.spec, draft.state, draft.seen.now
    if state.candidate and spec.canary.max_duration is not None:
        draft.look_again(state.candidate_since + spec.canary.max_duration - now)


# ── The record ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _record(draft: Draft, before: State) -> None:
    """One status write a plan, placed by what it does to the traffic."""
    known = draft.seen.deployment.status
    if report.awaits_router(draft):
        draft.look_again(gates.ROUTER_SECONDS)
    status = report.status(draft)
    if (
        draft.why.reason.value != known.get("reason")
        and draft.why.reason not in ROUTINE
        and draft.why not in draft.notes
    ):
        draft.notes.append(draft.why)
    if status == known:
        return
    split, earlier = draft.state.split, before.split
    if any(split.of(name) > earlier.of(name) for name in split.serving() if name != before.stable):
        draft.act(WriteStatus(Order.RAISE, status, draft.proof))
    else:
        # Before the snapshots' records of the same order: those repeat what this says, and can be made up for.
        draft.actions.insert(0, WriteStatus(Order.RECORD if split == earlier else Order.LOWER, status))
