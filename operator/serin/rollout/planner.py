"""The planner: everything observed in, ordered actions and reasons out.

A pure function. It reads top to bottom as the design does: which version is wanted, is there anything to go back to, is
the wanted version allowed, how far may it go; then the workloads that follow from it, then the record. It never reads a
clock, a cluster or a network, so that every decision can be replayed from the observation that led to it.
"""

from dataclasses import replace

from serin.api import names
from serin.api.conditions import ROUTINE, Reason
from serin.api.split import all_to
from serin.api.status import Phase, State, StepState, read
from serin.rollout import canary, gates, housekeeping, report
from serin.rollout.gates import Finding, RolloutContext
from serin.rollout.manual_rollback import manual_rollback
from serin.rollout.model import CreateSnapshot, Note, Observation, Order, Plan, PublishRoute, WriteStatus
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.requests import handle, handle_leftovers
from serin.rollout.rollback import roll_back, without_candidate
from serin.rollout.snapshots import is_rejected


def plan(seen: Observation) -> Plan:
    """Decide the next step for one model deployment."""
    if seen.deployment.deleting:
        return Plan((), (), None)  # everything is owned: the garbage collector takes it with its owner
    builder = PlanBuilder(seen, read(seen.deployment.status))
    before = builder.state
    wanted = names.snapshot_name(seen.deployment.name, seen.deployment.spec.content)
    if wanted not in seen.snapshots:
        builder.act(CreateSnapshot(wanted, seen.deployment.spec.content))
    _publish(builder)
    if builder.state.stable is None:
        _initialize(builder, wanted)
    elif manual_rollback(builder, wanted):
        pass  # what the spec wants has to wait
    elif wanted == builder.state.stable:
        _settle(builder)
    else:
        _roll_out(builder, wanted)
    if builder.state.stable != before.stable:
        builder.state = replace(builder.state, stable_since=seen.now)
    housekeeping.reconcile_workloads(builder, wanted)
    handle_leftovers(builder)
    _record(builder, before)
    return builder.plan()


# ── Which version serves ──────────────────────────────────────────────────────────────────────────────────────────────


def _publish(builder: PlanBuilder) -> None:
    """The clients' Service leads to the router, at a port that stays the deployment's own."""
    port = builder.state.port if builder.state.port is not None else builder.seen.free_port
    builder.state = replace(builder.state, port=port)
    if not builder.seen.route.published and not builder.seen.route.not_ours:
        builder.act(PublishRoute(port))


def _initialize(builder: PlanBuilder, wanted: str) -> None:
    """The first version has nothing to be compared with: it serves everything as soon as one pod is ready."""
    seen = builder.seen
    workload = seen.workloads.get(wanted)
    if workload and workload.ready:
        builder.state = replace(builder.state, phase=Phase.HEALTHY, stable=wanted, split=all_to(wanted))
        message = f"{wanted} serves all traffic: it is the first version, so there is nothing to compare it with"
        builder.why = Note(Reason.SERVING, message)
        builder.notes.append(builder.why)
        builder.proof = {wanted: 1}
        return
    builder.state = replace(builder.state, phase=Phase.INITIALIZING)
    problem = f": {workload.problem}" if workload and workload.problem else ""
    message = f"waiting for the first pod of {wanted}{problem}"
    if workload and workload.refused:
        builder.why = Note(
            Reason.POD_TEMPLATE_REFUSED, f"the API server refuses the pod template{problem}", warning=True
        )
    elif workload and seen.now - workload.since >= seen.deployment.spec.progress_deadline:
        builder.why = Note(Reason.PROGRESS_DEADLINE_EXCEEDED, message, warning=True)
    else:
        builder.why = Note(Reason.INITIALIZING, message)
        if workload:
            builder.requeue_after(workload.since + seen.deployment.spec.progress_deadline - seen.now)


def _settle(builder: PlanBuilder) -> None:
    """The wanted version is the stable one. A candidate that the spec has left behind loses its traffic at once."""
    state = builder.state
    stable = str(state.stable)
    if state.candidate:
        builder.add_event(Reason.SPEC_BACK_TO_STABLE, f"the spec is back at {stable}: all traffic to it, no steps")
    builder.state = replace(without_candidate(builder), phase=Phase.HEALTHY, split=all_to(stable))
    workload = builder.seen.workloads.get(stable)
    if lost := gates.unrouted(builder.seen.route):
        builder.why = Note(lost.reason, lost.message, warning=True)
    elif workload and workload.ready and builder.state.rollback_failure:
        builder.why = Note(Reason.ROLLBACK_FAILED, builder.state.rollback_failure, warning=True)
    elif workload and workload.ready:
        builder.why = Note(Reason.SERVING, f"{stable} serves all traffic")
    else:
        problem = f": {workload.problem}" if workload and workload.problem else ""
        builder.why = Note(Reason.STABLE_UNAVAILABLE, f"no pod of {stable} is ready{problem}", warning=True)


def _roll_out(builder: PlanBuilder, wanted: str) -> None:
    """The spec wants another version than the stable one."""
    if builder.state.candidate != wanted:
        if builder.state.candidate:
            message = (
                f"{builder.state.candidate} is superseded by {wanted}: all traffic to {builder.state.stable} first"
            )
            builder.add_event(Reason.SUPERSEDED, message)
            builder.state = without_candidate(builder)
        if is_rejected(builder.seen.snapshots, builder.state, wanted) and not _retry(builder, wanted):
            return
        _begin(builder, wanted)
    _progress(builder)


def _begin(builder: PlanBuilder, wanted: str) -> None:
    now = builder.seen.now
    builder.state = replace(
        builder.state,
        candidate=wanted,
        candidate_since=now,
        step=StepState(entered=now),
        evidence={},
        rollback_failure="",
        draining={name: at for name, at in builder.state.draining.items() if name != wanted},
    )
    changed = ", ".join(report.changed(builder.seen, str(builder.state.stable), wanted)) or "content"
    builder.add_event(
        Reason.ROLLOUT_STARTED, f"{wanted} is the candidate: {changed} changed from {builder.state.stable}"
    )


# ── Rejected content ──────────────────────────────────────────────────────────────────────────────────────────────────


def _retry(builder: PlanBuilder, wanted: str) -> bool:
    """The user asks to try rejected content again; without that it is refused, in words that say how to ask."""
    last = builder.state.last_rollback
    if handle(builder, names.ANNOTATION_RETRY):
        if last and last.source == wanted:
            builder.state = replace(builder.state, last_rollback=replace(last, retried=True))
        builder.add_event(Reason.RETRIED_BY_USER, f"{wanted} was rejected before and is tried again")
        return True
    why = f" ({last.reason}: {last.message})" if last and last.source == wanted else ""
    ask = f"kubectl annotate md {builder.seen.deployment.name} --overwrite {names.ANNOTATION_RETRY}=$(date +%s)"
    message = f"{wanted} was rejected before{why}. Change the spec, put it back, or try again: {ask}"
    builder.state = replace(builder.state, phase=Phase.HEALTHY, split=all_to(str(builder.state.stable)))
    builder.why = Note(Reason.REJECTED_CONTENT, message, warning=True)
    return False


# ── A rollout in progress ─────────────────────────────────────────────────────────────────────────────────────────────


def _progress(builder: PlanBuilder) -> None:
    """Roll back, or go on, or say what is waited for."""
    state = builder.state
    builder.state = replace(state, evidence=builder.seen.evidence.kept or state.evidence)
    look = RolloutContext(builder.seen, builder.state, stable=str(state.stable), candidate=str(state.candidate))
    if handle(builder, names.ANNOTATION_ABORT):
        roll_back(builder, look, Finding(Reason.ABORTED_BY_USER, "aborted by the user"))
    elif finding := gates.first(gates.ROLL_BACK, look):
        roll_back(builder, look, finding)
    elif look.weight and not look.ready:
        _withdraw_traffic(builder, look)
    else:
        _advance(builder, look)
    if builder.state.candidate and builder.seen.feasible and report.turned_infeasible(builder.seen):
        builder.add_event(*builder.seen.feasible, warning=True)
    _look_at_deadlines(builder)


def _withdraw_traffic(builder: PlanBuilder, look: RolloutContext) -> None:
    """The candidate has traffic and no ready pod: take the traffic away, and start over when it is back.

    The evidence stays. Steps start at the first, because only a rollout without traffic may rise without proof.
    """
    step = StepState(entered=builder.seen.now)
    builder.state = replace(builder.state, phase=Phase.STARTING, split=all_to(look.stable), step=step)
    problem = f": {look.workload.problem}" if look.workload and look.workload.problem else ""
    message = f"no candidate pod is ready{problem}; all traffic to {look.stable} until one is"
    builder.why = Note(Reason.CANDIDATE_UNAVAILABLE, message, warning=True)
    builder.add_event(Reason.CANDIDATE_UNAVAILABLE, message, warning=True)


def _advance(builder: PlanBuilder, look: RolloutContext) -> None:
    steps = len(builder.seen.deployment.spec.canary.steps)
    if handle(builder, names.ANNOTATION_PROMOTE):
        step = StepState(steps, entered=builder.seen.now, requests_before=look.state.step.requests_before, forced=True)
        look = replace(look, state=replace(builder.state, step=step))
        builder.add_event(Reason.PROMOTING, f"the user asks to promote {look.candidate} without further steps")
    else:
        look = replace(look, state=builder.state)
    approved = look.waits_for_approval and handle(builder, names.ANNOTATION_APPROVE)
    if approved:
        builder.add_event(Reason.APPROVED, f"step {look.state.step.index + 1} is approved")
        look = replace(look, state=replace(look.state, handled=builder.state.handled))
    outcome = canary.advance(look, approved=approved)
    builder.state = outcome.state
    builder.proof = {look.candidate: outcome.proof} if outcome.proof else {}
    builder.why = Note(outcome.why.reason, outcome.why.message)
    if outcome.happened:
        builder.notes.append(builder.why)
    builder.requeue_after(outcome.again)


def _look_at_deadlines(builder: PlanBuilder) -> None:
    """Time alone can end a rollout: be there when it does."""
    spec, state, now = builder.seen.deployment.spec, builder.state, builder.seen.now
    if state.candidate and spec.canary.max_duration is not None:
        builder.requeue_after(state.candidate_since + spec.canary.max_duration - now)


# ── The record ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _record(builder: PlanBuilder, before: State) -> None:
    """One status write a plan, placed by what it does to the traffic."""
    known = builder.seen.deployment.status
    if report.awaits_router(builder):
        builder.requeue_after(gates.ROUTER_SECONDS)
    status = report.status(builder)
    if (
        builder.why.reason.value != known.get("reason")
        and builder.why.reason not in ROUTINE
        and builder.why not in builder.notes
    ):
        builder.notes.append(builder.why)
    if status == known:
        return
    split, earlier = builder.state.split, before.split
    if any(split.of(name) > earlier.of(name) for name in split.serving() if name != before.stable):
        builder.act(WriteStatus(Order.RAISE, status, builder.proof))
    else:
        # Before the snapshots' records of the same order: those repeat what this says, and can be made up for.
        builder.actions.insert(0, WriteStatus(Order.RECORD if split == earlier else Order.LOWER, status))
