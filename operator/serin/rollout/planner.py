"""The planner: everything observed and assessed in, ordered actions and reasons out.

A pure function. It reads top to bottom as the design does: which version is wanted, did a person ask for another one,
is the wanted version allowed, how far may it go; then the workloads that follow from it, then the record. It never
reads a clock, a cluster or a network, so that every decision can be replayed from the observation that led to it.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from serin.api import names
from serin.api.conditions import ROUTINE, ConditionType, Reason
from serin.api.json import JsonObject
from serin.api.split import all_to, lowered
from serin.api.state import Arm, Rollout, StageState, State
from serin.api.times import rfc3339
from serin.evaluation.evaluate import Assessment
from serin.rollout import gates, summary
from serin.rollout.approvals import approver, take_approval
from serin.rollout.bisection import bisect, stopped
from serin.rollout.credit import EVERY, credited, is_waiting, looked
from serin.rollout.kill_switch import hold_on_stable, record_kill_switch
from serin.rollout.limits import watch_limits
from serin.rollout.manual_rollback import fall_back, manual_rollback
from serin.rollout.model import (
    ApplyRouteObject,
    CreateSnapshot,
    Note,
    Observation,
    Order,
    Plan,
    ProveReady,
    WriteStatus,
    Written,
)
from serin.rollout.news import may_wait
from serin.rollout.notifications import notify
from serin.rollout.phases import phase_of
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.records import prune_history, record_on_schedule, record_verdicts
from serin.rollout.recovery import check_recovery
from serin.rollout.requests import handle, handle_leftovers
from serin.rollout.retraining import reconcile_retraining
from serin.rollout.rollback import (
    eliminate,
    note_clients,
    note_restored,
    resettled,
    roll_back,
    without_rollout,
    without_winner,
)
from serin.rollout.snapshots import is_rejected
from serin.rollout.strategies.base import Finding, RolloutContext
from serin.rollout.strategies.table import strategy_of
from serin.rollout.watching import end_watch, spec_is_back, watch
from serin.rollout.workloads import reconcile_workloads


def plan(seen: Observation, assessment: Assessment) -> Plan:
    """Decide the next step for one model deployment. Raises InvalidSpec."""
    if seen.deployment.deleting:
        return Plan((), (), None)  # everything is owned: the garbage collector takes it with its owner
    builder = PlanBuilder(seen, assessment, strategy_of(seen.deployment.spec), credited(seen.state, seen.now))
    wanted = seen.wanted
    builder.update(bisection=seen.bisection)  # None when the spec asks for it no longer
    for snapshot, content in seen.contents.items():
        if snapshot not in seen.snapshots:
            builder.act(CreateSnapshot(snapshot, content))
    _publish(builder)
    _decide(builder, wanted)
    bisect(builder)
    if builder.state.stable != seen.state.stable:
        builder.state = replace(builder.state, stable_since=seen.now)
    if builder.state.stable != seen.state.stable or builder.state.judged or not seen.deployment.spec.watched:
        builder.update(limits=None)  # they are another version's, or begin anew afterwards
    reconcile_workloads(builder, wanted)
    record_verdicts(builder)
    record_on_schedule(builder)
    prune_history(builder, wanted)
    handle_leftovers(builder)
    reconcile_retraining(builder)
    note_restored(builder)
    note_clients(builder)
    _record(builder)
    return builder.plan()


# ── Which version serves ──────────────────────────────────────────────────────────────────────────────────────────────


def _publish(builder: PlanBuilder) -> None:
    """Clients reach the router, which keeps in the status what it needs for that."""
    route = builder.seen.route
    if route.router:
        builder.update(router={**builder.state.router, route.router: route.state})
    for body in route.repairs:
        builder.act(ApplyRouteObject(body))
    if route.full:
        builder.requeue_after(EVERY)  # another deployment's end makes room, and asks for no look at this one


def _decide(builder: PlanBuilder, wanted: str) -> None:
    stable = builder.state.stable
    if stable is None:
        _initialize(builder, wanted)
    elif manual_rollback(builder, wanted, stable):
        pass  # what the spec wants has to wait
    elif builder.seen.deployment.killed:
        hold_on_stable(builder, wanted, stable)
        _watch_limits(builder, stable)
    elif wanted == stable and not _due(builder, stable):
        _settle(builder, stable)
    elif not spec_is_back(builder, wanted):
        _roll_out(builder, wanted, stable)


def _due(builder: PlanBuilder, stable: str) -> tuple[str, ...]:
    """Snapshots to evaluate against stable: what may serve in its place and was not rejected, or is under way."""
    seen, state = builder.seen, builder.state
    under_way = {arm.snapshot for arm in state.rollout.arms} if state.rollout else set()
    return tuple(
        one
        for one in seen.versions
        if one != stable and (one in under_way or not is_rejected(seen.snapshots, state, one))
    )


def _initialize(builder: PlanBuilder, wanted: str) -> None:
    """The first version has nothing to be compared with: it serves everything as soon as one pod is ready."""
    seen, problem = builder.seen, builder.seen.problem(wanted)
    workload, left = seen.workloads.get(wanted), _until_deadline(seen, wanted)
    if seen.ready(wanted):
        builder.state = replace(builder.state, stable=wanted, split=all_to(wanted))
        message = f"{wanted} serves all traffic: it is the first version, so there is nothing to compare it with"
        builder.sum_up(Note(Reason.SERVING, message), event=True)
        builder.proof = {wanted: 1}
        return
    message = f"waiting for the first pod of {wanted}{problem}"
    if workload and workload.refused:
        refused = f"the API server refuses the pod template{problem}"
        builder.sum_up(Note(Reason.POD_TEMPLATE_REFUSED, refused, warning=True))
    elif left <= 0:
        message = f"waiting for the first pod of {wanted}: {seen.reason(wanted)}"
        builder.sum_up(Note(Reason.PROGRESS_DEADLINE_EXCEEDED, message, warning=True))
    else:
        denied = workload is not None and workload.denied
        builder.sum_up(Note(Reason.WRITE_DENIED if denied else Reason.INITIALIZING, message, warning=denied))
        builder.requeue_after(left)


def _until_deadline(seen: Observation, wanted: str) -> float:
    """Seconds until a first version is late: since it was wanted, or since it has a Deployment when that came later."""
    workload, snapshot = seen.workloads.get(wanted), seen.snapshots.get(wanted)
    if snapshot and not (workload and workload.uid):
        since = snapshot.created
    elif workload:
        since = workload.since
    else:
        return math.inf  # its making begins in this look
    return since + seen.deployment.spec.progress_deadline - seen.now


def _settle(builder: PlanBuilder, stable: str) -> None:
    """The wanted version is the stable one. A candidate that the spec has left behind loses its traffic at once."""
    if builder.state.rollout:
        builder.add_event(Reason.SPEC_BACK_TO_STABLE, f"the spec is back at {stable}: all traffic to it, no steps")
    builder.state = without_rollout(builder.state, builder.seen.now)
    if fall_back(builder, stable) or watch(builder, stable):
        return
    builder.update(split=all_to(stable))
    ready, problem = builder.seen.ready(stable), builder.seen.problem(stable)
    if lost := builder.seen.route.problem():
        builder.sum_up(lost)
    elif ready and builder.state.rollback_failure:
        builder.sum_up(Note(Reason.ROLLBACK_FAILED, builder.state.rollback_failure, warning=True))
    elif ready:
        builder.sum_up(Note(Reason.SERVING, f"{stable} serves all traffic"))
    else:
        builder.sum_up(Note(Reason.STABLE_UNAVAILABLE, f"no pod of {stable} is ready{problem}", warning=True))
    _watch_limits(builder, stable)


def _watch_limits(builder: PlanBuilder, stable: str) -> None:
    """Whether what serves keeps its limits, and whether a rollback to it has helped."""
    watch_limits(builder, stable)
    check_recovery(builder, stable)


def _roll_out(builder: PlanBuilder, wanted: str, stable: str) -> None:
    """The spec wants another version than the stable one."""
    if (rollout := builder.state.rollout) and (superseded := _superseded(builder, rollout, wanted)):
        builder.add_event(Reason.SUPERSEDED, f"{superseded}: all traffic to {stable} first")
        builder.state = without_rollout(builder.state, builder.seen.now)
    if builder.state.rollout is None:
        due = _due(builder, stable)
        if stopped(builder):
            return
        if not due and not _retry(builder, wanted, stable):
            return
        stable = _unwatched(builder, wanted, stable)
        _begin(builder, tuple(one for one in due or (wanted,) if one != stable), stable)
    if builder.state.rollout:
        _progress(builder, builder.state.rollout)


def _superseded(builder: PlanBuilder, rollout: Rollout, wanted: str) -> str:
    """Why this is no longer the rollout that the spec asks for, in words; "" when it is.

    The stages of two strategies have nothing in common. With the same candidate another one can wait for stable to be
    up, so that no request is sent to nobody.
    """
    if {arm.snapshot for arm in rollout.arms} != set(_due(builder, rollout.stable)):
        others = builder.seen.deployment.spec.variants
        return f"{rollout.candidate} is superseded by {f'{wanted} and its variants' if others else wanted}"
    now, before = builder.seen.deployment.spec.strategy.name, rollout.strategy
    if before in ("", now) or _would_serve_nobody(_context(builder, rollout)):
        return ""
    return f"the strategy was changed from {before} to {now} in mid-rollout, which starts over"


def _unwatched(builder: PlanBuilder, wanted: str, stable: str) -> str:
    """Nothing is watched while something is rolled out; answers what is stable then."""
    if builder.state.watch is None:
        return stable
    builder.state = end_watch(builder.state, builder.seen.now)
    message = f"the holdback of {stable} ends, as {wanted} is to be rolled out: all traffic to {builder.state.stable}"
    builder.add_event(Reason.SUPERSEDED, f"{message} first")
    return builder.state.stable or stable


def _begin(builder: PlanBuilder, due: tuple[str, ...], stable: str) -> None:
    """`due`: the snapshots to evaluate."""
    now, strategy = builder.seen.now, builder.seen.deployment.spec.strategy.name
    stage = StageState(entered=now)
    rollout = Rollout(stable, tuple(map(Arm, due)), since=now, stage=stage, strategy=strategy)
    draining = {name: at for name, at in builder.state.draining.items() if name not in due}
    builder.state = replace(builder.state, rollout=rollout, rollback_failure="", draining=draining)
    for snapshot in due:
        changed = ", ".join(summary.changed(builder.seen, stable, snapshot)) or "content"
        called = "the candidate" if len(due) == 1 else "an arm"
        builder.add_event(Reason.ROLLOUT_STARTED, f"{snapshot} is {called}: {changed} changed from {stable}")


# ── Rejected content ──────────────────────────────────────────────────────────────────────────────────────────────────


def _retry(builder: PlanBuilder, wanted: str, stable: str) -> bool:
    """The user asks to try rejected content again; without that it is refused, in words that say how to ask."""
    last = builder.state.last_rollback
    if handle(builder, names.ANNOTATION_RETRY):
        if last and last.source == wanted:
            builder.state = replace(builder.state, last_rollback=replace(last, retried=True))
        if ended := builder.state.concluded:
            arms = tuple(one for one in ended.arms if one.snapshot != wanted)
            builder.state = replace(builder.state, concluded=replace(ended, arms=arms))
        builder.update(bisection=None)
        builder.add_event(Reason.RETRIED_BY_USER, f"{wanted} was rejected before and is tried again")
        return True
    search = builder.state.bisection
    cause = search.cause if search else last
    why = f" ({cause.reason}: {cause.message})" if cause and cause.source == wanted else ""
    why += f"; {search.message}" if search else ""
    command = builder.seen.command(names.ANNOTATION_RETRY)
    message = f"{wanted} was rejected before{why}. Change the spec, put it back, or try again: {command}"
    if fall_back(builder, stable):
        return False
    if not watch(builder, stable):
        builder.update(split=all_to(stable))
        _watch_limits(builder, stable)
    if builder.state.stable == stable:
        builder.sum_up(Note(Reason.REJECTED_CONTENT, message, warning=True))
    return False


# ── A rollout in progress ─────────────────────────────────────────────────────────────────────────────────────────────


def _progress(builder: PlanBuilder, rollout: Rollout) -> None:
    """Roll back, or go on, or say what is waited for."""
    rollout = _with_evidence(rollout, builder.assessment)
    builder.update(rollout=rollout)
    if handle(builder, names.ANNOTATION_ABORT):
        roll_back(builder, _context(builder, rollout), Finding(Reason.ABORTED_BY_USER, "aborted by the user"))
        return
    context = _context(builder, rollout)
    if failed := _failed(context):
        _take_out(builder, context, failed)
    elif gone := tuple(one for one in context.each if one.is_asked and not one.ready):
        _withdraw_traffic(builder, context, gone)
    else:
        _advance(builder, context)
    if builder.state.rollout:
        _warn_of_traffic(builder, builder.state.rollout)
        _requeue_at_the_end(builder, builder.state.rollout)


def _failed(context: RolloutContext) -> dict[str, Finding]:
    """The arms that cannot stay, and why."""
    found = ((one, gates.first(gates.ROLL_BACK, one)) for one in context.each)
    return {one.candidate: finding for one, finding in found if finding and not _would_serve_nobody(one)}


def _take_out(builder: PlanBuilder, context: RolloutContext, failed: Mapping[str, Finding]) -> None:
    """An arm that fails is eliminated and the others go on; without another, or when it was promoted, all is over.

    Nothing rises in the same look: a write that lowers waits for nothing.
    """
    leading = context.rollout.candidate
    promoting = context.stage.index >= context.strategy.last_stage()  # nobody has decided for another arm
    if failed.keys() >= set(context.rollout.active) or (promoting and leading in failed):
        first = leading if leading in failed else next(iter(failed))
        roll_back(builder, replace(context, arm=first), failed[first], failed)
    else:
        eliminate(builder, context, failed)


def _would_serve_nobody(context: RolloutContext) -> bool:
    """Whether stable has no ready pod while the candidate serves: a rollback would send its requests to nobody.

    Then it is held where it is (gates.stable_down) until stable is back, or until a person decides.
    """
    return bool(context.has_clients and context.ready and not context.seen.ready(context.stable))


def _context(builder: PlanBuilder, rollout: Rollout) -> RolloutContext:
    return RolloutContext(builder.seen, builder.assessment, builder.strategy, builder.state, rollout)


def _with_evidence(rollout: Rollout, assessment: Assessment) -> Rollout:
    """The arms with what their samples say now; an arm without an assessment (it has just begun) keeps what it has."""
    arms = (replace(arm, evidence=assessment.evidence.get(arm.snapshot) or arm.evidence) for arm in rollout.arms)
    return replace(rollout, arms=tuple(arms), evidence=assessment.together or rollout.evidence)


def _withdraw_traffic(builder: PlanBuilder, context: RolloutContext, gone: tuple[RolloutContext, ...]) -> None:
    """An arm has traffic and no ready pod: take the traffic away, and start over when it is back.

    The evidence stays. Stages start at the first, because only a rollout without traffic may rise without proof. While
    other arms serve on, they stay where they are.
    """
    if len(gone) < sum(one.is_asked for one in context.each):
        _withdraw_some(builder, context, gone)
        return
    context = replace(context, arm=gone[0].candidate).having(without_winner(context.rollout))
    if context.state.split.rules:
        context = context.counting_anew()
    state = context.at(StageState(entered=builder.seen.now)).state
    builder.state = replace(state, split=all_to(context.stable))
    problem = builder.seen.problem(context.candidate)
    message = f"no candidate pod is ready{problem}; all traffic to {context.stable} until one is"
    builder.sum_up(Note(Reason.CANDIDATE_UNAVAILABLE, message, warning=True), event=True)


def _withdraw_some(builder: PlanBuilder, context: RolloutContext, gone: tuple[RolloutContext, ...]) -> None:
    """Arms without a ready pod give their share to stable, and get it again when they are back."""
    names_gone = tuple(one.candidate for one in gone)
    state = resettled(context).state
    builder.state = replace(state, split=lowered(context.state.split, dict.fromkeys(names_gone, 0), context.stable))
    problem = builder.seen.problem(names_gone[0])
    whose = f"no pod of {', '.join(names_gone)} is ready{problem}"
    message = f"{whose}; its share goes to {context.stable} until one is"
    builder.sum_up(Note(Reason.CANDIDATE_UNAVAILABLE, message, warning=True), event=True)


def _advance(builder: PlanBuilder, context: RolloutContext) -> None:
    if handle(builder, names.ANNOTATION_PROMOTE):
        before, last = context.stage.requests_before, builder.strategy.last_stage()
        stage = StageState(last, entered=builder.seen.now, requests_before=before, forced=True)
        context = replace(context, state=builder.state).at(stage)
        who = approver(builder.seen.deployment.annotations[names.ANNOTATION_PROMOTE]) or "the user"
        builder.add_event(Reason.PROMOTING, f"{who} asks to promote {context.candidate} without further steps")
    context, approved = take_approval(builder, context)
    outcome = builder.strategy.advance(context, approved=approved)
    if outcome.out:
        builder.state = context.state
        _take_out(builder, context, outcome.out)
        return
    if outcome.lost:
        builder.state = context.state
        roll_back(builder, context, outcome.why)
        return
    builder.state = outcome.state
    builder.proof = dict(outcome.proof)
    builder.sum_up(Note(outcome.why.reason, outcome.why.message), event=outcome.event)
    builder.requeue_after(outcome.requeue_after)


def _warn_of_traffic(builder: PlanBuilder, rollout: Rollout) -> None:
    """Tell once when the traffic is found to be too low for the policy."""
    found = builder.assessment.feasible
    low = found is not None and found[0] is Reason.TRAFFIC_TOO_LOW
    if found and low and not rollout.warned:
        builder.add_event(*found, warning=True)
    if found and low != rollout.warned:
        builder.state = replace(builder.state, rollout=replace(rollout, warned=low))


def _requeue_at_the_end(builder: PlanBuilder, rollout: Rollout) -> None:
    """Time alone can end a rollout: be there when it does."""
    if (limit := builder.strategy.max_duration) is not None:
        builder.requeue_after(limit - (builder.seen.now - rollout.since))


# ── The record ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _record(builder: PlanBuilder) -> None:
    """One status write a plan, placed by what it does to the traffic."""
    record_kill_switch(builder)
    _await_router(builder)
    _keep_looking(builder)
    _tell_of_the_unheard(builder)
    _tell_of_contests(builder)
    builder.update(phase=phase_of(builder.state, builder.why.reason, builder.strategy.last_stage()))
    before, told = builder.seen.state, summary.told(builder)
    news = told.reason not in ROUTINE and told not in builder.events
    if news and told.reason.value != builder.seen.status.reason:
        builder.events.append(told)
    notify(builder)
    status = summary.status(builder, told)
    written = builder.seen.written or Written(builder.seen.deployment.status)
    if status == written.status:
        return
    if not builder.events and _may_wait(written, status, builder.seen.now):
        builder.unwritten = status
        return
    if builder.state.looked is not None:
        status["lookedAt"] = rfc3339(builder.seen.now)  # a write comes anyway
    if _rises(builder.state, before):
        for snapshot, pods in builder.proof.items():
            builder.act(ProveReady(snapshot, pods))
        builder.act(WriteStatus(Order.RAISE, status))
    else:
        # Before the snapshots' records of the same order: those repeat what this says, and can be made up for.
        order = Order.RECORD if builder.state.split == before.split else Order.LOWER
        builder.actions.insert(0, WriteStatus(order, status))


def _may_wait(written: Written, status: JsonObject, now: float) -> bool:
    moments = {"now": now, "written": written.at}
    return may_wait(written.status, status, **moments, every=written.every, phase=written.phase)


def _tell_of_the_unheard(builder: PlanBuilder) -> None:
    """A router pod that nobody hears is told once, whatever else this look is about."""
    reason, unheard = Reason.ROUTE_NOT_TAKEN, builder.seen.route.unheard
    shown = (one for one in builder.seen.status.conditions if one["type"] == ConditionType.ROUTED)
    told = any((one["status"], one["reason"]) == ("False", reason) for one in shown) or builder.why.reason is reason
    if unheard and not told and builder.seen.route.problem() is None:  # which Routed shows instead
        builder.add_event(reason, unheard, warning=True)


def _tell_of_contests(builder: PlanBuilder) -> None:
    """Something else that writes Serin's objects again and again is told once; it is over when it has been quiet."""
    if contested := builder.seen.contested:
        told = any(one["type"] == ConditionType.CONTESTED for one in builder.seen.status.conditions)
        if not told:
            builder.add_event(Reason.OVERWRITTEN, summary.contested(builder.seen), warning=True)
        builder.requeue_after(max(one.until for one in contested) - builder.seen.now + 1.0)


def _keep_looking(builder: PlanBuilder) -> None:
    """While time alone can change anything, no look credits more of it than there is between two."""
    if is_waiting(builder.state, builder.strategy):
        builder.update(looked=looked(builder.seen.state, builder.seen.now))
        builder.requeue_after(EVERY)
    else:
        builder.update(looked=None)


def _rises(after: State, before: State) -> bool:
    """Whether any snapshot gets more traffic that was not stable before: no way back is a rise."""
    if before.watch and after.split.is_all_to(before.watch.before):
        return False
    rising = {name for name in after.split.serving() if after.split.of(name) > before.split.of(name)}
    rising |= {rule.snapshot for rule in after.split.rules if rule not in before.split.rules}
    mirror, earlier = after.split.mirror, before.split.mirror
    if mirror and (earlier is None or mirror.snapshot != earlier.snapshot or mirror.percent > earlier.percent):
        rising.add(mirror.snapshot)
    return bool(rising - {before.stable})


def _await_router(builder: PlanBuilder) -> None:
    """The first readiness waits for the router's word: after a while for that of one instance, never for nobody's."""
    state, route, now = builder.state, builder.seen.route, builder.seen.now
    since = now if builder.seen.state.stable is None and state.stable else state.unrouted_since
    if since is None or state.stable is None:
        builder.update(unrouted_since=None)
        return
    served = any(split is not None and split.of(state.stable) for split in route.instances.values())
    if route.split.of(state.stable) or (served and now - since >= route.patience):
        builder.update(unrouted_since=None)
        return
    builder.update(unrouted_since=since)
    if route.ready:  # when a router comes there is a look
        builder.requeue_after(route.look_after(now - since))
