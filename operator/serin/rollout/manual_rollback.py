"""A person asks for an earlier version, also long after what followed it was promoted.

Its pods are gone by then, so they come up first, in full, while the present stable version serves on. Then it gets all
traffic in one write; until the router has taken that, the present one stays stable and answers in its place. Only then
is it the new stable version, and the one that was left is rejected: the spec still describes it, and must not bring it
back by itself. A request that cannot be carried out leaves everything as it is, and says so; when the best earlier
version was asked for and cannot run, the next best is tried in its place.

Two rollbacks that nobody asked for go the same way: the promoted version fails in its holdback while the version
before it has no pod that could take over; or it is over a limit later on. Then the best earlier version comes up, by
the metric that failed.
"""

from dataclasses import replace

from serin.api.conditions import Reason
from serin.api.names import ANNOTATION_ABORT, ANNOTATION_ROLLBACK_TO
from serin.api.split import all_to
from serin.api.state import ManualRollback, RollbackRecord
from serin.api.status import MOST_OTHERS, MOST_WENT_BACK
from serin.api.times import human
from serin.api.validation import Validation
from serin.rollout.limits import lately, limit_breached
from serin.rollout.model import Note
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.requests import handle
from serin.rollout.rollback import record_of, roll_back, tried_since
from serin.rollout.snapshots import BEST, CannotGoBack, OnItsWay, best_first, choose, record_in_words, ways_back
from serin.rollout.strategies.base import Finding, RolloutContext
from serin.rollout.validation import Next, skip, validate
from serin.rollout.watching import breach_of, end_watch, go_back, has_the_pods


def manual_rollback(builder: PlanBuilder, wanted: str, stable: str) -> bool:
    """Take the request and carry it on. True when this look belongs to it, and to nothing else.

    `wanted`: the snapshot that the spec describes; `stable`: the one that serves.
    """
    if ANNOTATION_ROLLBACK_TO not in builder.seen.deployment.annotations:
        if ANNOTATION_ROLLBACK_TO in builder.state.handled:  # it was taken away
            builder.update(rollback_failure="")
    elif handle(builder, ANNOTATION_ROLLBACK_TO) and _take(builder, wanted, stable):
        return True
    if builder.state.manual_rollback is None:
        return False
    _carry_on(builder, builder.state.manual_rollback, stable)
    return True


def _take(builder: PlanBuilder, wanted: str, stable: str) -> bool:
    """Act on a new request. False when it is refused, so that everything goes on as if nobody had asked."""
    asked = builder.seen.deployment.annotations[ANNOTATION_ROLLBACK_TO].partition("@")[0].strip()
    state = builder.state
    try:
        target, *others = choose(
            asked, wanted, stable, builder.seen.snapshots, state, builder.seen.deployment.spec.metrics
        )
    except CannotGoBack as why:
        if isinstance(why, OnItsWay) and skip(builder, "the user asks for it"):
            return False
        builder.add_event(Reason.ROLLBACK_REFUSED, f"{ANNOTATION_ROLLBACK_TO}: {why}", warning=True)
        return False
    if state.rollout:
        context = RolloutContext(builder.seen, builder.assessment, builder.strategy, state, state.rollout)
        roll_back(builder, context, Finding(Reason.ROLLED_BACK_BY_USER, "rolled back by the user"))
    if state.watch and target == state.watch.before and has_the_pods(builder):
        go_back(builder, Finding(Reason.ROLLED_BACK_BY_USER, "rolled back by the user"))
    elif target != stable:
        builder.state = end_watch(builder.state, builder.seen.now)
        stable = builder.state.stable or stable
        begun = f"the user asks for {_called(builder, asked, target)}"
        _begin(builder, target, tuple(others[:MOST_OTHERS]), stable, begun)
    elif state.manual_rollback:
        _stay(builder, state.manual_rollback, stable, Reason.ABORTED_BY_USER, f"the user asks for {stable}")
    return True


def fall_back(builder: PlanBuilder, stable: str) -> bool:
    """The promoted version fails and no other one is there to take over: to the best earlier one, its pods first.

    That is so when the version that is held back has no ready pod, and when none is held back. True when it has begun.
    `stable`: the promoted one, which serves until then.
    """
    seen, watched = builder.seen, builder.state.watch
    why = breach_of(builder, stable) if watched else limit_breached(builder, stable)
    if why is None or (watched and seen.ready(watched.before)):
        return False
    metric = why.metric.metric if why.metric else ""
    found, by = best_first(seen.snapshots, builder.state, seen.deployment.spec.metrics, metric)
    if not found:
        return False
    target, *others = (one.name for one in found)
    cause = record_of(builder, stable, target, why)
    builder.state = end_watch(builder.state, seen.now)
    if limits := builder.state.limits:
        tried = replace(limits, tried=True, refused=False)
        builder.update(limits=tried, went_back=(*lately(builder), seen.now)[-MOST_WENT_BACK:])
    gone = f", and no pod of {watched.before} is ready{seen.problem(watched.before)}" if watched else ""
    begun = f"{stable} fails ({why.message}){gone}: {target} is the best earlier version"
    begun = f"{begun} ({record_in_words(found[0], by)})"
    _begin(builder, target, tuple(others[:MOST_OTHERS]), stable, begun, cause)
    return True


def _called(builder: PlanBuilder, asked: str, target: str) -> str:
    """What was asked for, and what of its record made it the best."""
    word, _, metric = asked.partition(":")
    if word != BEST:
        return target
    seen = builder.seen
    _, by = best_first(seen.snapshots, builder.state, seen.deployment.spec.metrics, metric)
    return f"the best earlier version, {target} ({record_in_words(seen.snapshots[target], by)})"


def _begin(
    builder: PlanBuilder,
    target: str,
    others: tuple[str, ...],
    stable: str,
    why: str,
    cause: RollbackRecord | None = None,
    validation: Validation | None = None,
) -> None:
    """Ask for the pods. Whoever had traffic besides stable has none from now on. `validation`: of the target before."""
    begun = ManualRollback(target, since=builder.seen.now, others=others, cause=cause, validation=validation)
    builder.state = replace(builder.state, split=all_to(stable), manual_rollback=begun, rollback_failure="")
    message = f"{why}: its pods come up first; {_meanwhile(builder, stable)}"
    builder.sum_up(Note(Reason.ROLLING_BACK, message, warning=cause is not None), event=True)


def _carry_on(builder: PlanBuilder, asked: ManualRollback, stable: str) -> None:
    """Wait for the pods, move the traffic, wait for the router, arrive; or give up."""
    seen, target = builder.seen, asked.target
    workload, needed = seen.workloads.get(target), _needed(builder, stable)
    ready, waited, problem = seen.ready(target), seen.now - asked.since, seen.problem(target)
    deadline = seen.deployment.spec.progress_deadline
    late = needed - ready - (workload.in_time(needed, seen.now, deadline) if workload else 0)
    if handle(builder, ANNOTATION_ABORT):
        _stay(builder, asked, stable, Reason.ABORTED_BY_USER, "aborted by the user")
    elif target not in seen.snapshots:
        _fail(builder, asked, stable, f"{target} is remembered no longer: its ModelSnapshot was deleted")
    elif workload and workload.refused:
        _fail(builder, asked, stable, f"the API server refuses the pod template of {target}{problem}")
    elif asked.moved is not None and not ready:
        _return(builder, asked, stable)
    elif asked.moved is None and late > 0 and waited >= deadline:
        so_far = f"{ready} of {needed} pods of {target} are ready after {human(waited)}"
        _fail(builder, asked, stable, f"{so_far} (progressDeadline {human(deadline)}): {seen.reason(target)}")
    elif asked.moved is None and ready < needed:
        message = f"{ready} of {needed} pods of {target} are ready{problem}; {_meanwhile(builder, stable)}"
        fails = f"{stable} fails ({asked.cause.message}): " if asked.cause else ""
        builder.sum_up(Note(Reason.ROLLING_BACK, f"{fails}{message}"))
        builder.requeue_after(deadline - waited)
    elif lost := seen.route.problem():
        # What was decided would not be what is served, and the pods of what is served would go.
        builder.sum_up(lost)
    elif asked.moved is None:
        _validate_and_move(builder, asked, stable, needed)
    elif seen.route.has_taken(target):
        _arrive(builder, asked, stable)
    else:
        waited = seen.now - asked.moved
        builder.sum_up(seen.route.waiting(target, waited, Reason.ROLLING_BACK))
        builder.requeue_after(seen.route.look_after(waited))


def _validate_and_move(builder: PlanBuilder, asked: ManualRollback, stable: str, needed: int) -> None:
    """Move the traffic, unless the target is compared first, or was refused."""
    outcome = validate(builder, asked, stable)
    asked = builder.state.manual_rollback or asked
    if outcome is Next.REFUSED:
        said = asked.validation.message if asked.validation else ""
        if limits := builder.state.limits:
            builder.update(limits=replace(limits, refused=True))
        _fail(builder, asked, stable, f"its validation says that it is worse: {said}")
    elif outcome is Next.GO:
        _move(builder, asked, stable, needed)


def _needed(builder: PlanBuilder, stable: str) -> int:
    """Pods that the earlier version needs before it gets everything: as many as carry the traffic now.

    That is all replicas when stable is well, and one when stable is down: waiting would help nobody then.
    """
    return min(max(1, builder.seen.ready(stable)), max(1, builder.seen.deployment.spec.replicas))


def _move(builder: PlanBuilder, asked: ManualRollback, stable: str, needed: int) -> None:
    moved = replace(asked, moved=builder.seen.now)
    builder.state = replace(builder.state, split=all_to(asked.target), manual_rollback=moved)
    builder.proof = {asked.target: needed}
    ready = f"{needed} of its pods are ready" if needed > 1 else "one of its pods is ready"
    message = f"all traffic from {stable} to {asked.target}: {ready}"
    builder.sum_up(Note(Reason.ROLLING_BACK, message), event=True)
    builder.requeue_after(builder.seen.route.poll)


def _return(builder: PlanBuilder, asked: ManualRollback, stable: str) -> None:
    """The earlier version has everything and no ready pod: back to stable, which is still there, until it has one."""
    builder.state = replace(builder.state, split=all_to(stable), manual_rollback=replace(asked, moved=None))
    problem = builder.seen.problem(asked.target)
    message = f"no pod of {asked.target} is ready any more{problem}; all traffic to {stable} until one is"
    builder.sum_up(Note(Reason.ROLLING_BACK, message, warning=True), event=True)
    builder.requeue_after(builder.seen.route.poll)


def _arrive(builder: PlanBuilder, asked: ManualRollback, left: str) -> None:
    """The earlier version is stable; the one that was left is rejected, and drains."""
    now, target = builder.seen.now, asked.target
    reason, message = Reason.ROLLED_BACK_BY_USER, "rolled back by the user"
    record = RollbackRecord(left, target, reason.value, message, now, since=tried_since(builder, left))
    if asked.cause:
        known = asked.validation
        validation = f"{known.outcome}: {known.message}" if known and known.outcome else ""
        record = replace(asked.cause, source=left, target=target, at=now, validation=validation)
        reason = next((one for one in Reason if one == record.reason), Reason.WORSE_THAN_STABLE)
        message = f"rolled back after its promotion ({record.message})"
    builder.state = replace(
        builder.state,
        stable=target,
        split=all_to(target),
        manual_rollback=None,
        draining={**builder.state.draining, left: now},
        last_rollback=record,
    )
    builder.sum_up(
        Note(reason, f"{left} is {message}: {target} is the stable snapshot again", warning=True), event=True
    )


def _stay(builder: PlanBuilder, asked: ManualRollback, stable: str, reason: Reason, why: str) -> None:
    """The rollback ends before it has arrived: stable gets everything, which it mostly has still."""
    builder.state = replace(builder.state, split=all_to(stable), manual_rollback=None)
    message = f"{stable} stays and {asked.target} does not come back: {why}"
    builder.sum_up(Note(reason, message, warning=reason is Reason.ROLLBACK_FAILED), event=True)


def _fail(builder: PlanBuilder, asked: ManualRollback, stable: str, why: str) -> None:
    """It cannot be carried out: to the next one. Without any the failure is remembered until something else begins."""
    ways = {one.name for one in ways_back(builder.seen.snapshots, builder.state)}
    left = [one for one in asked.others if one in ways]
    if left:
        note = f"{asked.target} does not come back: {why}. The next one is {left[0]}"
        builder.add_event(Reason.ROLLBACK_FAILED, note, warning=True)
        begun = f"{left[0]} is asked for in place of {asked.target}"
        _begin(builder, left[0], tuple(left[1:]), stable, begun, asked.cause, asked.validation)
        return
    _stay(builder, asked, stable, Reason.ROLLBACK_FAILED, why)
    builder.update(rollback_failure=builder.why.message)
    if builder.state.limits and builder.state.limits.refused:
        builder.update(went_back=builder.state.went_back[:-1])  # which keeps no critical breach from going back


def _meanwhile(builder: PlanBuilder, stable: str) -> str:
    return f"{stable} {'serves all traffic until then' if builder.seen.ready(stable) else 'is down'}"
