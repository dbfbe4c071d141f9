"""Limits, and the past: for as long as a version serves it is watched, with or without a holdback before.

What a breach does depends on the metric's severity. `info` is shown, `minor` is told (the condition WithinLimits and an
Event), `major` and `critical` go back to the best earlier version, whose pods come up first (manual_rollback.py). They
only tell when going back cannot help, or is not wanted any more: then `stays` says why. A minor breach that has lasted
for the metric's `escalateAfter` counts as a major one. No other version is beside it, so a breach may be the
data's doing: when the metric says so (DataDrift), nothing goes back; else one way back is tried for a promotion, and
what was gone back to goes no further for the same metric. For another one it does: that is its own fault, and not what
the version before it was left for.
"""

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Final

from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.spec import Metric
from serin.api.state import LimitWatch
from serin.api.times import human, rfc3339_whole
from serin.api.verdicts import BLOCKING, FAILURES, PAST, Severity, Trouble, Verdict
from serin.evaluation.limits import question
from serin.rollout.model import Note
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.snapshots import best_first, keeps_limit, record_in_words, ways_back
from serin.rollout.strategies.base import Finding

_DAY: Final = 24 * 3600.0
_WORST_FIRST: Final = (Severity.CRITICAL, Severity.MAJOR)
_BREAKS: Final = {
    Reason.OVER_LIMIT: "is over its limit",
    Reason.WORSE_THAN_PAST: "is worse than it used to be",
    Reason.DATA_DRIFT: "the data has drifted",
}


def limit_breached(builder: PlanBuilder, stable: str) -> Finding | None:
    """The worst breach for which stable has to go back; None when there is none, or when it stays all the same."""
    over = [one for one in _verdicts(builder) if one.verdict in FAILURES and one.severity in BLOCKING]
    for one in sorted(over, key=lambda one: _WORST_FIRST.index(one.severity)):
        if not stays(builder, stable, one.metric):
            return Finding(Reason(one.reason), f"{one.metric}: {one.message}", one)
    return None


def stays(builder: PlanBuilder, stable: str, metric: str) -> str:
    """Why a breach of this metric does not go back, in words; "" when it does."""
    seen, state = builder.seen, builder.state
    policy, since = seen.deployment.spec.limit_policy, state.stable_since
    if seen.deployment.killed:
        return f"the kill switch is {seen.deployment.killed.level}"
    trouble, last = builder.assessment.diagnosis, state.last_rollback
    if policy is None or since is None:
        return "nobody knows when it was promoted"
    if state.manual_rollback:
        return ""  # it is on its way
    if state.limits and state.limits.tried and not (state.limits.refused and _is_critical(builder, metric)):
        failed = f": {state.rollback_failure}" if state.rollback_failure else ""
        return f"going back was begun once and has come to nothing{failed}"
    if last and last.target == stable and last.at == since and last.metric in ("", metric):
        return f"it is what {last.source} was rolled back to, and fails as well: the data may have drifted"
    if seen.now - since > policy.roll_back_within:  # how long ago would be another sentence at every look, and a write
        return f"it was promoted longer ago than watch.rollBackWithin, {human(policy.roll_back_within)}"
    if too_often := _too_often(builder):
        return too_often
    if builder.assessment.limits and metric in builder.assessment.limits.moved:
        return "the data has drifted, and no other version would help"
    if trouble.trouble is Trouble.INFRASTRUCTURE:
        return f"no other version would help: {trouble.message}"
    return _no_better(builder, metric)


def lately(builder: PlanBuilder) -> tuple[float, ...]:
    """When what served went back by itself in the last 24 hours (unix seconds), the newest last."""
    return tuple(at for at in builder.state.went_back if builder.seen.now - at < _DAY)


def _too_often(builder: PlanBuilder) -> str:
    """Why it does not go back again so soon; "" when it may."""
    policy, times = builder.seen.deployment.spec.rollback, lately(builder)
    if policy.most_per_day is not None and len(times) >= policy.most_per_day:
        return f"it went back by itself {len(times)} times in the last 24h, as often as rollback.maxPerDay allows"
    if times and builder.seen.now - times[-1] < policy.cooldown:
        until = rfc3339_whole(times[-1] + policy.cooldown)
        return f"it went back by itself shortly before, and not again until {until} (rollback.cooldown)"
    return ""


def _no_better(builder: PlanBuilder, metric: str) -> str:
    """Why no earlier version is better; "" when one may be."""
    seen, asked = builder.seen, _metric(builder, metric)
    ways = ways_back(seen.snapshots, builder.state)
    if not ways:
        return "there is no earlier version to go back to"
    allowed = builder.assessment.limits.allowed(asked) if builder.assessment.limits else None
    if any(keeps_limit(one, asked, allowed) for one in ways):
        return ""
    best, by = best_first(seen.snapshots, builder.state, seen.deployment.spec.metrics, metric)
    return f"no earlier version has kept the limit, the best is {best[0].name} ({record_in_words(best[0], by)})"


def critical_breach(builder: PlanBuilder) -> MetricVerdict | None:
    """A breach that waits for nothing; None when there is none."""
    found = builder.assessment.limits
    over = [one for one in _verdicts(builder) if one.verdict in FAILURES and one.severity is Severity.CRITICAL]
    return next((one for one in over if found and one.metric not in found.moved), None)


def watch_limits(builder: PlanBuilder, stable: str) -> None:
    """Keep what was counted of the stable version, and tell what is over its limit."""
    begun = count_limits(builder, stable)
    if told := said_of_breaches(builder, stable):
        reason = reason_of_breaches(builder)
        note = Note(reason, f"{stable} serves all traffic and {_BREAKS[reason]}: {told}", warning=True)
        if begun:
            builder.events.append(note)
        if builder.why.reason is Reason.SERVING:
            builder.sum_up(note)


def count_limits(builder: PlanBuilder, stable: str) -> Set[str]:
    """Keep what was counted of the stable version; answers the metrics that are over their limit since this look."""
    spec, limits, now = builder.seen.deployment.spec, builder.state.limits, builder.seen.now
    if builder.state.judged or not spec.watched:
        return set()
    asked = question(spec)
    if limits is None or limits.asked != asked:
        tried, refused = (limits.tried, limits.refused) if limits else (False, False)
        builder.update(limits=LimitWatch(now, asked, tried=tried, refused=refused))
        return set()
    found = builder.assessment.limits
    if found is None:
        return set()
    breached = _breached(builder, limits)
    begun = {name: limits.begun.get(name, now) for name in breached}
    builder.update(limits=replace(limits, evidence=found.evidence, breached=breached, begun=begun))
    for name in sorted(limits.breached.keys() - breached.keys()):
        builder.add_event(Reason.WITHIN_LIMITS, f"{stable} keeps the limit of {name} again")
    return breached.keys() - limits.breached.keys()


def reason_of_breaches(builder: PlanBuilder) -> Reason:
    """What the breaches that are told come to, in one reason."""
    if builder.assessment.diagnosis.trouble is Trouble.DATA_DRIFT:
        return Reason.DATA_DRIFT
    limits = builder.state.limits
    told = [one for one in _verdicts(builder) if limits and one.metric in limits.breached]
    past = all(_metric(builder, one.metric).against in PAST for one in told)
    return Reason.WORSE_THAN_PAST if past else Reason.OVER_LIMIT


def said_of_breaches(builder: PlanBuilder, stable: str) -> str:
    """What is over its limit, and why stable stays, in words; "" when nothing is."""
    limits = builder.state.limits
    said = []
    for one in (one for one in _verdicts(builder) if limits and one.metric in limits.breached):
        why = stays(builder, stable, one.metric) if one.severity in BLOCKING else f"a {one.severity} metric only tells"
        said.append(f"{one.metric}: {one.message}; {stable} stays: {why}" if why else f"{one.metric}: {one.message}")
    return "; ".join(said)


def _breached(builder: PlanBuilder, limits: LimitWatch) -> Mapping[str, float]:
    """What is over its limit, and when it was counted so last: until it passes, or a window long nothing was proven."""
    now, found = builder.seen.now, dict[str, float]()
    for one in _verdicts(builder):
        last = limits.breached.get(one.metric)
        if one.verdict in FAILURES:
            last = limits.since if one.at is None else one.at
        if one.severity is Severity.INFO or last is None or one.verdict is Verdict.PASS:
            continue
        if one.verdict is Verdict.NO_DATA or now - last <= _metric(builder, one.metric).seen_within:
            found[one.metric] = last
    return found


def _is_critical(builder: PlanBuilder, metric: str) -> bool:
    return _metric(builder, metric).severity is Severity.CRITICAL


def _metric(builder: PlanBuilder, name: str) -> Metric:
    return next(one for one in builder.seen.deployment.spec.metrics if one.name == name)


def _verdicts(builder: PlanBuilder) -> tuple[MetricVerdict, ...]:
    """What each metric says, a minor one that has lasted long enough as a major one."""
    found = builder.assessment.limits
    return tuple(_escalated(builder, one) for one in found.verdicts) if found else ()


def _escalated(builder: PlanBuilder, one: MetricVerdict) -> MetricVerdict:
    limits, after = builder.state.limits, _metric(builder, one.metric).escalate_after
    begun = limits.begun.get(one.metric) if limits else None
    if one.severity is not Severity.MINOR or after is None or begun is None or builder.seen.now - begun < after:
        return one
    return replace(one, severity=Severity.MAJOR, message=f"{one.message}; minor, and so for {human(after)}")
