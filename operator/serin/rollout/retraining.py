"""Retraining: when one begins, and how it ends. Nothing here changes traffic, and no traffic waits for it.

A retraining is decided in the look's own write of the status, with its name and its cause. Who carries it out
(controller/retrainer.py) does so outside of looks, by that name: whatever dies in between, there is one Job, or one
event for the webhook. One is under way at a time; after its end nothing begins for the cool-down. What a trigger asks
for meanwhile is asked again when that is over, if it still holds.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.names import retraining_name
from serin.api.records import summary as measured
from serin.api.retraining import Cause, Retraining, RetrainingSpec, Run, RunPhase, Trigger, reason_of
from serin.api.state import RollbackRecord
from serin.api.text import count
from serin.api.times import human
from serin.api.verdicts import FAILURES, Trouble
from serin.rollout import summary
from serin.rollout.plan_builder import PlanBuilder

# Seconds for which a webhook that does not take an event is tried.
GIVE_UP: Final = 3600.0


def reconcile_retraining(builder: PlanBuilder) -> None:
    """Follow the retraining that is under way, and begin one when a trigger asks for it."""
    spec, kept = builder.seen.deployment.spec.retraining, builder.state.retraining
    if kept is None:
        if spec is None or builder.state.stable is None:
            return
        kept = Retraining(since=builder.seen.now)
    if kept.run and kept.run.under_way:
        kept = replace(kept, run=_followed(builder, kept.run, asked=spec is not None))
    if spec is None:
        left = replace(kept, counted=0, counted_until=None, rollbacks=())
        builder.update(retraining=left if left.run else None)
        return
    kept = _counted(builder, spec, kept)
    if _may_begin(builder, spec, kept) and (cause := _cause(builder, spec, kept)):
        kept = _begun(builder, spec, kept, cause)
    builder.update(retraining=kept)


# ── One that was begun ────────────────────────────────────────────────────────────────────────────────────────────────


def _followed(builder: PlanBuilder, run: Run, *, asked: bool) -> Run:
    """The run as it is now; what has become of it is told once."""
    after = _as_it_is(builder, run, asked=asked)
    if after.under_way and after.phase is RunPhase.REQUESTED and after.webhook:
        builder.requeue_after(run.at + GIVE_UP - builder.seen.now)
    if after.phase is not run.phase and after.phase is not RunPhase.RUNNING:
        failed = after.phase is RunPhase.FAILED
        said = f"retraining {run.name}" + (f": {after.message}" if after.message else " has succeeded")
        builder.add_event(reason_of(after), said, warning=failed)
    elif after.message and not run.message:
        message = f"retraining {run.name} cannot begin: {after.message}"
        builder.add_event(Reason.RETRAINING_WAITS, message, warning=True)
    return after


def _as_it_is(builder: PlanBuilder, run: Run, *, asked: bool) -> Run:
    seen, now = builder.seen.retraining, builder.seen.now
    if (job := seen.job) is not None:
        if job.succeeded is None:
            return replace(run, phase=RunPhase.RUNNING, uid=job.uid, message="")
        phase = RunPhase.SUCCEEDED if job.succeeded else RunPhase.FAILED
        return replace(run, phase=phase, uid=job.uid, ended=now, message="" if job.succeeded else job.message)
    if run.uid:
        return replace(run, phase=RunPhase.FAILED, ended=now, message="its Job was deleted before it had ended")
    if seen.delivered:
        message = f"webhook {run.webhook} has taken it"
        return replace(run, phase=RunPhase.DELIVERED, ended=now, message=message)
    if not asked:
        message = "spec.retraining was removed before it began"
        return replace(run, phase=RunPhase.CANCELLED, ended=now, message=message)
    if run.webhook and now - run.at >= GIVE_UP:
        why = (seen.problem or run.message or "nobody has answered").removeprefix(f"webhook {run.webhook}: ")
        message = f"webhook {run.webhook} has not taken it in {human(GIVE_UP)}: {why}"
        return replace(run, phase=RunPhase.FAILED, ended=now, message=message)
    return replace(run, message=seen.problem or run.message)


# ── When one begins ───────────────────────────────────────────────────────────────────────────────────────────────────


def _counted(builder: PlanBuilder, spec: RetrainingSpec, kept: Retraining) -> Retraining:
    """What the triggers count: requests of the volume, and rollbacks of what the spec describes.

    Combinations of versions that are tried after a rollback are none of those.
    """
    seen, last = builder.seen, builder.state.last_rollback
    if not spec.asks(Trigger.VOLUME):
        kept = replace(kept, counted=0, counted_until=None)
    elif kept.counted_until is None:
        kept = replace(kept, counted_until=seen.now)
    elif (found := seen.retraining.volume) and found[0] == kept.counted_until:
        kept = replace(kept, counted=kept.counted + found[1], counted_until=found[2])
    is_new = last is not None and last.at > kept.since and last.at not in kept.rollbacks
    if last and is_new and last.source in seen.declared and _is_of_the_model(last):
        kept = replace(kept, rollbacks=(*kept.rollbacks, last.at))
    longest = max((one.within for one in spec.asks(Trigger.ROLLBACKS)), default=0.0)
    return replace(kept, rollbacks=tuple(at for at in kept.rollbacks if seen.now - at <= longest))


def _is_of_the_model(last: RollbackRecord) -> bool:
    """Whether evidence or a person was against the version: a pod that never comes up asks for no other training."""
    return bool(last.metric) or last.reason == Reason.ROLLED_BACK_BY_USER


def _may_begin(builder: PlanBuilder, spec: RetrainingSpec, kept: Retraining) -> bool:
    """Whether none is under way, the cool-down is over, and nobody has pulled the kill switch."""
    run = kept.run
    if builder.state.stable is None or builder.seen.deployment.killed or (run and run.under_way):
        return False
    left = 0.0 if run is None or run.ended is None else run.ended + spec.cooldown - builder.seen.now
    builder.requeue_after(left)
    return left <= 0.0


def _begun(builder: PlanBuilder, spec: RetrainingSpec, kept: Retraining, cause: Cause) -> Retraining:
    """The decision, with the name by which it is carried out once."""
    deployment, now = builder.seen.deployment, builder.seen.now
    identity = (deployment.uid, kept.number, cause.trigger.value, cause.snapshot, cause.metric)
    run = Run(retraining_name(deployment.name, identity), cause, now, webhook=spec.webhook)
    by = f"by webhook {spec.webhook}" if spec.webhook else "by a Job"
    builder.add_event(Reason.RETRAINING_REQUESTED, f"retraining {run.name} {by}, {cause.trigger}: {cause.message}")
    until = None if kept.counted_until is None else now
    return Retraining(since=now, number=kept.number + 1, run=run, counted_until=until)


def _cause(builder: PlanBuilder, spec: RetrainingSpec, kept: Retraining) -> Cause | None:
    """The first trigger that asks for a retraining now."""
    found = (trigger(builder, spec, kept) for trigger in TRIGGERS)
    return next((one for one in found if one is not None), None)


def _drift(builder: PlanBuilder, spec: RetrainingSpec, _: Retraining) -> Cause | None:
    """The diagnosis says that the data has drifted: another version would meet the same."""
    diagnosis, limits = builder.assessment.diagnosis, builder.assessment.limits
    if not spec.asks(Trigger.DRIFT) or diagnosis.trouble is not Trouble.DATA_DRIFT:
        return None
    failed = [one for each in builder.assessment.verdicts.values() for one in each if one.both_moved]
    failed += [one for one in limits.verdicts if one.metric in limits.moved] if limits else []
    worst = next((one for one in failed if one.verdict in FAILURES), None)
    return _about(builder, Trigger.DRIFT, diagnosis.message, worst, _judged_since(builder))


def _performance(builder: PlanBuilder, spec: RetrainingSpec, _: Retraining) -> Cause | None:
    """What serves does not keep a limit, and stays all the same: no way back has begun."""
    state, found = builder.state, builder.assessment.limits
    if state.limits is None or found is None or state.manual_rollback:
        return None
    breached = state.limits.breached
    over = {one.metric: one for one in found.verdicts if one.metric in breached and one.verdict in FAILURES}
    asked = (over[one.metric] for one in spec.asks(Trigger.PERFORMANCE) if one.metric in over)
    worst = next(asked, None)
    if worst is None:
        return None
    return _about(builder, Trigger.PERFORMANCE, f"{worst.metric}: {worst.message}", worst, state.limits.since)


def _judged_since(builder: PlanBuilder) -> float | None:
    """From when on what is judged was counted: in a rollout or a holdback, or while stable is watched."""
    state = builder.seen.state
    if state.judged:
        return state.judged.since
    return state.limits.since if state.limits else None


def _rollbacks(builder: PlanBuilder, spec: RetrainingSpec, kept: Retraining) -> Cause | None:
    """Too many new versions were rolled back."""
    now = builder.seen.now
    for one in spec.asks(Trigger.ROLLBACKS):
        recent = [at for at in kept.rollbacks if now - at <= one.within]
        if len(recent) >= one.count:
            last = builder.state.last_rollback
            why = f"; the last one, {last.source}: {last.message}" if last else ""
            counted = f"{len(recent)} rollback{'s' * (len(recent) != 1)}"
            message = f"{counted} within {human(one.within)}{why}"
            metric = last.metric if last else ""
            return replace(_about(builder, Trigger.ROLLBACKS, message, None, recent[0]), metric=metric)
    return None


def _volume(builder: PlanBuilder, spec: RetrainingSpec, kept: Retraining) -> Cause | None:
    """Enough requests were counted since the last retraining."""
    for one in spec.asks(Trigger.VOLUME):
        if kept.counted >= one.requests:
            message = f"{count(kept.counted)} requests were counted by {one.metric}, {count(one.requests)} were asked"
            cause = _about(builder, Trigger.VOLUME, message, None, kept.since)
            return replace(cause, metric=one.metric, requests=kept.counted)
    return None


def _schedule(builder: PlanBuilder, spec: RetrainingSpec, kept: Retraining) -> Cause | None:
    """It is time."""
    for one in spec.asks(Trigger.SCHEDULE):
        left = kept.since + one.every - builder.seen.now
        if left <= 0.0:
            message = f"{human(one.every)} have passed since the last retraining"
            if kept.run is None:
                message = f"{human(one.every)} have passed since spec.retraining was written"
            return _about(builder, Trigger.SCHEDULE, message, None, kept.since)
        builder.requeue_after(left)
    return None


# In the order of what says most about the data.
TRIGGERS: Final[tuple[Callable[[PlanBuilder, RetrainingSpec, Retraining], Cause | None], ...]] = (
    _drift,
    _performance,
    _rollbacks,
    _volume,
    _schedule,
)


def _about(
    builder: PlanBuilder, trigger: Trigger, message: str, verdict: MetricVerdict | None, since: float | None
) -> Cause:
    """A cause with what served, and with a metric's numbers when it is about one."""
    stable = builder.state.stable or ""
    known = builder.seen.snapshots.get(stable)
    cause = Cause(
        trigger,
        message,
        stable,
        model=known.model_version if known else "",
        since=since,
        until=builder.seen.now,
        measured=measured(known.records) if known else "",
    )
    if verdict is None:
        return cause
    return replace(
        cause,
        metric=verdict.metric,
        estimate=summary.ratio(verdict.estimate, verdict.unit),
        interval=summary.interval(verdict.low, verdict.high, verdict.unit),
        requests=verdict.requests,
        until=builder.seen.now if verdict.at is None else verdict.at,
    )
