"""Going back: a person asks for an earlier version, also long after what followed it was promoted.

Its pods are gone by then, so they come up first, in full, while the present stable version serves on. Then it gets all
traffic in one write; until the router has taken that, the present one stays stable and answers in its place. Only then
is it the new stable version, and the one that was left is rejected: the spec still describes it, and must not bring it
back by itself. A wish that cannot come true leaves everything as it is, and says so.

What the spec says meanwhile has to wait: whoever asks to leave a version wants nothing compared with it any more. A new
version is rolled out from the earlier one, in steps, when that serves.
"""

from dataclasses import replace

from serin.api.conditions import Reason
from serin.api.names import ANNOTATION_ABORT, ANNOTATION_ROLLBACK_TO
from serin.api.split import all_to
from serin.api.status import ManualRollback, Phase, Rollback
from serin.api.times import human
from serin.rollout.gates import ROUTER_SECONDS, Finding, RolloutContext, has_taken, unrouted
from serin.rollout.model import Note, Workload
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.requests import handle
from serin.rollout.rollback import roll_back
from serin.rollout.snapshots import CannotGoBack, choose


def manual_rollback(builder: PlanBuilder, wanted: str) -> bool:
    """Hear the request and carry it on. True when this look belongs to it, and to nothing else.

    `wanted`: the snapshot that the spec describes.
    """
    if ANNOTATION_ROLLBACK_TO not in builder.seen.deployment.annotations:
        builder.state = replace(builder.state, rollback_failure="")
    elif handle(builder, ANNOTATION_ROLLBACK_TO) and _hear(builder, wanted):
        return True
    if builder.state.manual_rollback is None:
        return False
    _carry_on(builder, builder.state.manual_rollback)
    return True


def _hear(builder: PlanBuilder, wanted: str) -> bool:
    """Act on a new request. False when it is refused, so that everything goes on as if nobody had asked."""
    asked = builder.seen.deployment.annotations[ANNOTATION_ROLLBACK_TO].partition("@")[0].strip()
    state = builder.state
    try:
        target = choose(asked, wanted, builder.seen.snapshots, state)
    except CannotGoBack as why:
        builder.add_event(Reason.ROLLBACK_REFUSED, f"{ANNOTATION_ROLLBACK_TO}: {why}", warning=True)
        return False
    if state.candidate:
        look = RolloutContext(builder.seen, state, stable=str(state.stable), candidate=state.candidate)
        roll_back(builder, look, Finding(Reason.ROLLED_BACK_BY_USER, "rolled back by the user"))
    if target != state.stable:
        _begin(builder, target)
    elif state.manual_rollback:
        _stay(builder, Reason.ABORTED_BY_USER, f"the user asks for {state.stable}")
    return True


def _begin(builder: PlanBuilder, target: str) -> None:
    """Ask for the pods. Whoever had traffic besides stable has none from now on."""
    stable = str(builder.state.stable)
    builder.state = replace(
        builder.state,
        phase=Phase.ROLLING_BACK,
        split=all_to(stable),
        manual_rollback=ManualRollback(target, since=builder.seen.now),
        rollback_failure="",
    )
    message = f"the user asks for {target}: its pods come up first; {_meanwhile(builder)}"
    builder.why = Note(Reason.ROLLING_BACK, message)
    builder.notes.append(builder.why)


def _carry_on(builder: PlanBuilder, going: ManualRollback) -> None:
    """Wait for the pods, move the traffic, wait for the router, arrive; or give up."""
    seen = builder.seen
    workload, needed = seen.workloads.get(going.target), _needed(builder)
    ready, waited = workload.ready if workload else 0, seen.now - going.since
    deadline = seen.deployment.spec.progress_deadline
    if handle(builder, ANNOTATION_ABORT):
        _stay(builder, Reason.ABORTED_BY_USER, "aborted by the user")
    elif going.target not in seen.snapshots:
        _give_up(builder, f"{going.target} is remembered no longer: its ModelSnapshot was deleted")
    elif workload and workload.refused:
        _give_up(builder, f"the API server refuses the pod template of {going.target}: {workload.problem}")
    elif going.moved is not None and not ready:
        _return(builder, going, workload)
    elif going.moved is None and ready < needed and waited >= deadline:
        so_far = f"{ready} of {needed} pods of {going.target} are ready after {human(waited)}"
        _give_up(builder, f"{so_far} (progressDeadline {human(deadline)}){_problem(workload)}")
    elif going.moved is None and ready < needed:
        message = f"{ready} of {needed} pods of {going.target} are ready{_problem(workload)}; {_meanwhile(builder)}"
        builder.why = Note(Reason.ROLLING_BACK, message)
        builder.requeue_after(deadline - waited)
    elif lost := unrouted(seen.route):
        # What was decided would not be what is served, and the pods of what is served would go.
        builder.why = Note(lost.reason, lost.message, warning=True)
    elif going.moved is None:
        _move(builder, going, needed)
    elif has_taken(seen, going.target, going.moved):
        _arrive(builder, going)
    else:
        builder.why = Note(Reason.ROLLING_BACK, f"all traffic to {going.target}, as soon as the router has taken it")
        builder.requeue_after(ROUTER_SECONDS)


def _needed(builder: PlanBuilder) -> int:
    """Pods that the earlier version needs before it gets everything: as many as carry the traffic now.

    That is all replicas when stable is well, and one when stable is down: waiting would help nobody then.
    """
    stable = builder.seen.workloads.get(str(builder.state.stable))
    return min(max(1, stable.ready if stable else 0), max(1, builder.seen.deployment.spec.replicas))


def _move(builder: PlanBuilder, going: ManualRollback, needed: int) -> None:
    builder.state = replace(
        builder.state,
        split=all_to(going.target),
        manual_rollback=replace(going, moved=builder.seen.now),
        phase=Phase.ROLLING_BACK,
    )
    builder.proof = {going.target: needed}
    ready = f"{needed} of its pods are ready" if needed > 1 else "one of its pods is ready"
    builder.why = Note(Reason.ROLLING_BACK, f"all traffic from {builder.state.stable} to {going.target}: {ready}")
    builder.notes.append(builder.why)
    builder.requeue_after(ROUTER_SECONDS)


def _return(builder: PlanBuilder, going: ManualRollback, workload: Workload | None) -> None:
    """The earlier version has everything and no ready pod: back to stable, which is still there, until it has one."""
    stable = str(builder.state.stable)
    builder.state = replace(builder.state, split=all_to(stable), manual_rollback=replace(going, moved=None))
    message = f"no pod of {going.target} is ready any more{_problem(workload)}; all traffic to {stable} until one is"
    builder.why = Note(Reason.ROLLING_BACK, message, warning=True)
    builder.notes.append(builder.why)
    builder.requeue_after(0.0)


def _arrive(builder: PlanBuilder, going: ManualRollback) -> None:
    """The earlier version is stable; the one that was left is rejected, and drains."""
    state, now, left = builder.state, builder.seen.now, str(builder.state.stable)
    builder.state = replace(
        state,
        phase=Phase.HEALTHY,
        stable=going.target,
        split=all_to(going.target),
        manual_rollback=None,
        draining={**state.draining, left: now},
        last_rollback=Rollback(left, going.target, Reason.ROLLED_BACK_BY_USER.value, "rolled back by the user", now),
    )
    message = f"{left} is rolled back by the user: {going.target} is the stable snapshot again"
    builder.why = Note(Reason.ROLLED_BACK_BY_USER, message, warning=True)
    builder.notes.append(builder.why)


def _stay(builder: PlanBuilder, reason: Reason, why: str) -> None:
    """Not to go back after all: stable gets everything, which it mostly has still."""
    target, stable = (
        builder.state.manual_rollback.target if builder.state.manual_rollback else "",
        str(builder.state.stable),
    )
    builder.state = replace(builder.state, phase=Phase.HEALTHY, split=all_to(stable), manual_rollback=None)
    builder.why = Note(reason, f"{stable} stays and {target} does not come back: {why}")
    builder.notes.append(builder.why)


def _give_up(builder: PlanBuilder, why: str) -> None:
    """The wish cannot come true. Remembered until something else begins, so that nobody has to find the Event."""
    _stay(builder, Reason.ROLLBACK_FAILED, why)
    builder.notes[-1] = builder.why = replace(builder.why, warning=True)
    builder.state = replace(builder.state, rollback_failure=builder.why.message)


def _meanwhile(builder: PlanBuilder) -> str:
    stable = builder.seen.workloads.get(str(builder.state.stable))
    return f"{builder.state.stable} {'serves all traffic until then' if stable and stable.ready else 'is down'}"


def _problem(workload: Workload | None) -> str:
    return f": {workload.problem}" if workload and workload.problem else ""
