"""What people see of a look: the status with its conditions, and numbers as they are read aloud.

Everything here is derived from what was decided, and nothing is decided from it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from serin.analysis.combine import overall
from serin.analysis.evidence import Unreadable, floats
from serin.analysis.types import MetricVerdict
from serin.api import names
from serin.api.conditions import ConditionType, Reason, condition, merge
from serin.api.effective import bisection, versions
from serin.api.json import JsonObject
from serin.api.kill_switch import FallbackService, KillSwitch
from serin.api.retraining import Run, reason_of
from serin.api.state import MetricStatus, StageStatus, State, Status, VersionStatus
from serin.api.status import metric_row, write_status
from serin.api.times import rfc3339_whole
from serin.api.trail import Point, extended
from serin.api.verdicts import BLOCKING, FAILURES, Severity, Trouble, Verdict
from serin.evaluation.samples import SPLIT
from serin.rollout.limits import reason_of_breaches, said_of_breaches
from serin.rollout.model import Note, Observation
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.snapshots import is_rejected
from serin.rollout.strategies.base import RolloutContext

# A ratio beyond this says only that next to nothing is known of the denominator.
_ANYTHING: Final = 1000


def ratio(value: float | None, unit: str = "x") -> str:
    """An estimate as people read it: "1.3x" (stable's), "PSI 0.32", a plain number; "" when nothing can be said."""
    if value is None:
        return ""
    if unit == "x" and value >= _ANYTHING:
        return f"over {_ANYTHING}x"
    return f"{unit} {value:.3g}" if unit == "PSI" else f"{value:.3g}{unit}"


def interval(low: float | None, high: float | None, unit: str = "x") -> str:
    """The interval of an estimate: "0.6x to 2.4x"; "" when nothing can be said."""
    unit = unit.replace("PSI", "")  # which the estimate beside it says
    return "" if low is None or high is None else f"{ratio(low, unit)} to {ratio(high, unit)}"


def changed(seen: Observation, old: str, new: str) -> tuple[str, ...]:
    """Dimensions in which two snapshots differ, in the order of DIMENSIONS; empty when one of them is not known."""
    if old not in seen.snapshots or new not in {*seen.snapshots, *seen.contents}:
        return ()
    after = seen.snapshots[new].hashes if new in seen.snapshots else names.dimension_hashes(seen.contents[new])
    before = seen.snapshots[old].hashes
    return tuple(one for one in names.DIMENSIONS if before.get(one) != after.get(one))


def switched_off(seen: Observation, stable: str | None) -> str:
    """What the kill switch holds, and who says so."""
    killed = seen.deployment.killed
    if killed.level is KillSwitch.ALL:
        return f"the kill switch is All ({killed.by}): no version answers, {_answered(seen)}"
    serves = f"{stable} serves all traffic" if stable else "the first version comes up"
    return f"the kill switch is Candidate ({killed.by}): {serves}, and no other version starts"


def _answered(seen: Observation) -> str:
    """What clients get while no version answers."""
    fallback = seen.deployment.spec.fallback
    if fallback is None:
        return "clients get 503 (there is no spec.fallback)"
    return f"clients get 503: {seen.route.no_fallback}" if seen.route.no_fallback else str(fallback)


def metric_rows(builder: PlanBuilder, snapshot: str) -> list[JsonObject]:
    """What each metric said at this look about an arm, in the order of the spec, for its snapshot's record.

    What becomes stable, or was, without being an arm has the rows of the leading one beside it.
    """
    judged, trial = builder.assessment.verdicts, _trial(builder.seen.state)
    verdicts = judged.get(snapshot, () if len(judged) > 1 else _verdicts(builder))
    if trial and len(judged) > 1 and trial[0] != snapshot:
        trial = None  # the rows of the status are about the leading arm
    return list(map(metric_row, _metrics(builder, verdicts, trial)))


def status(builder: PlanBuilder, why: Note) -> JsonObject:
    """The whole status of the deployment after this look. `why`: what `told` says of it."""
    seen, state = builder.seen, builder.state
    shown = Status(
        state=state,
        observed_generation=seen.deployment.generation,
        reason=why.reason.value,
        message=why.message,
        versions=_versions(builder),
        conditions=tuple(merge(seen.status.conditions, _conditions(builder, why))),
        replicas=_pods(builder, state.stable)[1] if state.stable else None,
        selector=f"{names.LABEL_SNAPSHOT}={state.stable}" if state.stable else "",
    )
    return write_status(_with_rollout(builder, shown))


def _with_rollout(builder: PlanBuilder, shown: Status) -> Status:
    """The part that exists only while something is judged."""
    state, assessment = builder.state, builder.assessment
    if state.judged is None:
        return _with_limits(builder, shown)
    context = RolloutContext(builder.seen, assessment, builder.strategy, state, state.judged)
    trouble = assessment.diagnosis
    silent = trouble.trouble in (Trouble.NONE, Trouble.UNDECIDED)  # the metrics' own rows say it all
    return replace(
        shown,
        verdict=overall(context.verdicts).value,
        stage=builder.strategy.show(context) if state.rollout else StageStatus(),
        metrics=_metrics(builder, context.verdicts, _trial(state)),
        observed=_observed(state),
        trouble=trouble.trouble.value,
        trouble_message="" if silent else trouble.message,
    )


def _with_limits(builder: PlanBuilder, shown: Status) -> Status:
    """The part that exists only while limits are watched."""
    found, trouble = builder.assessment.limits, builder.assessment.diagnosis
    if builder.state.held_to_limits is None or found is None:
        return shown
    return replace(
        shown,
        metrics=_metrics(builder, found.verdicts, _trial(builder.state)),
        trouble=trouble.trouble.value,
        trouble_message=trouble.message,
    )


def _verdicts(builder: PlanBuilder) -> tuple[MetricVerdict, ...]:
    """What was said about the leading arm of what was judged; that may have ended in this look."""
    judged = builder.seen.state.judged
    return builder.assessment.verdicts.get(judged.candidate, ()) if judged else ()


# What the metrics are about: a snapshot, and since when its requests count (unix seconds).
_Trial = tuple[str, float] | None


def _trial(state: State) -> _Trial:
    if judged := state.judged:
        return judged.candidate, judged.since if judged.counted_since is None else judged.counted_since
    limits = state.held_to_limits
    return (state.stable, limits.since) if state.stable and limits else None


def _metrics(builder: PlanBuilder, verdicts: Sequence[MetricVerdict], trial: _Trial) -> tuple[MetricStatus, ...]:
    """What the metrics say now, and in the status already said at earlier looks of the same trial."""
    goes_on = trial is not None and trial == _trial(builder.seen.state)
    before = {one.name: one for one in builder.seen.status.metrics} if goes_on else {}
    return tuple(_with_trail(_metric(one), before.get(one.metric), one, builder.seen.now) for one in verdicts)


def _with_trail(row: MetricStatus, before: MetricStatus | None, now_said: MetricVerdict, now: float) -> MetricStatus:
    """The row with its trail, which grows when the row's numbers differ: it never causes a write by itself."""
    trail = before.trail if before else ()
    moved = before is None or _numbers(before) != _numbers(row)
    if moved and (now_said.estimate is not None or now_said.requests):
        trail = extended(trail, Point(now, row.requests, now_said.estimate, now_said.low, now_said.high))
    return replace(row, trail=trail)


def _numbers(row: MetricStatus) -> tuple[int, str, str]:
    return row.requests, row.estimate, row.interval


def _metric(one: MetricVerdict) -> MetricStatus:
    return MetricStatus(
        name=one.metric,
        severity=one.severity.value,
        verdict=one.verdict.value,
        reason=one.reason.value,
        message=one.message,
        requests=one.requests,
        estimate=ratio(one.estimate, one.unit),
        interval=interval(one.low, one.high, one.unit),
        needed=one.needed,
        fails_at=one.fails_at,
        passes_at=one.passes_at,
    )


def _observed(state: State) -> dict[str, str]:
    """The shares of the requests that stable and candidate received at the present weights, once that was measured."""
    if state.rollout is None:
        return {}
    stable, leading = state.rollout.stable, state.rollout.candidate
    arm = state.rollout.arm(leading)
    split = (arm.evidence.get(SPLIT) if arm else None) or {}
    snapshots = (stable, leading)
    alone = state.split.of(stable) + state.split.of(leading) == 100  # else the two are not all requests
    if not alone or split.get("weights") != [state.split.of(name) for name in snapshots]:
        return {}
    try:
        requests = floats(split, "requests", len(snapshots))
    except Unreadable:  # somebody has edited it
        return {}
    if min(requests) < 0.0 or not sum(requests):
        return {}
    return {name: f"{count / sum(requests):.1%}" for name, count in zip(snapshots, requests, strict=True)}


def _versions(builder: PlanBuilder) -> dict[str, VersionStatus]:
    """Every snapshot that has a role."""
    seen, state = builder.seen, builder.state
    found: dict[str, VersionStatus] = {}
    if state.stable:
        found[state.stable] = _version(builder, state.stable)
    if state.manual_rollback:
        found[state.manual_rollback.target] = _version(builder, state.manual_rollback.target)
    if state.watch:
        found[state.watch.before] = _version(builder, state.watch.before)
    for snapshot in (arm.snapshot for arm in state.rollout.arms) if state.rollout else ():
        found[snapshot] = _version(builder, snapshot, changed(seen, state.stable or "", snapshot))
    return found


def _version(builder: PlanBuilder, snapshot: str, different: tuple[str, ...] = ()) -> VersionStatus:
    known = builder.seen.snapshots.get(snapshot)
    model = (known.content.get("model") if known else None) or {}
    ready, replicas = _pods(builder, snapshot)
    return VersionStatus(model=str(model.get("version") or ""), ready=ready, replicas=replicas, changed=different)


def _pods(builder: PlanBuilder, snapshot: str) -> tuple[int, int]:
    """Ready pods of a snapshot, and how many it should have, as this look decides.

    Not how many its Deployment asks for now, nor pods beyond that: what somebody else has set is about to be put back,
    and each time it was told would be two writes of the status, and more for every pod that comes and goes with it.
    """
    workload = builder.seen.workloads.get(snapshot)
    replicas = builder.pods.get(snapshot, workload.desired if workload else 0)
    return min(builder.seen.ready(snapshot), replicas), replicas


# ── Conditions ────────────────────────────────────────────────────────────────────────────────────────────────────────

_Condition = tuple[ConditionType, bool | None, Reason, str]

_ROUTE_STALLS: Final = (Reason.SERVICE_NOT_OURS, Reason.ROUTER_FULL, Reason.ROUTE_REFUSED, Reason.WRITE_DENIED)
_STALLS: Final = (Reason.PROGRESS_DEADLINE_EXCEEDED, Reason.POD_TEMPLATE_REFUSED, Reason.ROLLBACK_FAILED)


def told(builder: PlanBuilder) -> Note:
    """The reason and sentence of the whole look: what keeps clients from being served, else what somebody must change.

    With neither, what the look has come to. So what is printed never contradicts Ready or Stalled. A person who goes
    back while stable is down waits for the earlier version, and hears of that.
    """
    _, ready, reason, message = _ready(builder)
    if not ready and reason is Reason.STABLE_UNAVAILABLE and builder.why.reason is Reason.ROLLING_BACK:
        return builder.why
    if not ready:
        return (
            builder.why
            if builder.why.reason is reason
            else Note(reason, message, warning=reason is not Reason.INITIALIZING)
        )
    return _stall(builder) or builder.why


def _stall(builder: PlanBuilder) -> Note | None:
    """What somebody has to change before it can go on, None when nothing."""
    seen, why = builder.seen, builder.why
    lost = seen.route.problem()
    if lost and lost.reason in _ROUTE_STALLS:
        return lost
    if why.reason in _STALLS:
        return why
    if _is_kept_back(builder):
        return why if why.reason is Reason.KILL_SWITCH else _switched_off_note(builder)
    if builder.state.manual_rollback is None and (rejected := _rejection(builder)):
        return rejected
    return Note(*seen.invalid, warning=True) if seen.invalid else _denial(builder)


def _denial(builder: PlanBuilder) -> Note | None:
    """What the API server does not let Serin write of a version that is to run."""
    state = builder.state
    target = state.manual_rollback.target if state.manual_rollback else None
    running = (
        builder.seen.workloads.get(name or "")
        for name in (state.stable or builder.seen.wanted, state.candidate, target)
    )
    denied = next((one for one in running if one and one.denied), None)
    return Note(Reason.WRITE_DENIED, denied.problem or "", warning=True) if denied else None


def _rejection(builder: PlanBuilder) -> Note | None:
    """That the version which the spec describes was rejected, and is not tried again by itself; None when it is not."""
    seen, state, why = builder.seen, builder.state, builder.why
    # By this look's own end of an experiment: the arm that the spec describes may have lost, and another one won.
    wanted, last = versions(seen.deployment.name, seen.deployment.spec, state)[0], state.last_rollback
    search = bisection(seen.deployment.name, seen.deployment.spec, state)
    if search and search.message and wanted == state.stable and state.rollout is None:
        return Note(Reason.PARTLY_ROLLED_BACK, search.message, warning=True)
    if state.rollout or wanted == state.stable or not is_rejected(seen.snapshots, state, wanted):
        return None
    if why.reason is Reason.REJECTED_CONTENT or (last and last.at == seen.now and why.reason.value == last.reason):
        return why
    return Note(Reason.REJECTED_CONTENT, f"{wanted} was rejected before", warning=True)


def _conditions(builder: PlanBuilder, why: Note) -> list[JsonObject]:
    """Every condition, every time: a missing one would mean "unknown" to some readers and "fine" to others.

    What does not hold says what is the case instead.
    """
    seen, state = builder.seen, builder.state
    busy = bool(state.rollout or state.manual_rollback) or state.stable is None or _searches(builder)
    rejected, stall = _rejection(builder), _stall(builder)
    found = [
        _ready(builder),
        _routed(builder),
        (ConditionType.RECONCILING, busy, why.reason, why.message),
        _holds(ConditionType.CANDIDATE_REJECTED, rejected, why),
        _holds(ConditionType.STALLED, stall, why),
    ]
    if state.judged:
        found.append(_evidence(builder))
    if state.rollout:
        found.append(_feasible(builder))
    if state.held_to_limits and state.stable:
        found.append(_within_limits(builder, state.stable))
    if state.retraining and state.retraining.run:
        found.append(_retraining(state.retraining.run))
    if isinstance(seen.deployment.spec.fallback, FallbackService):
        found.append(_fallback(seen, seen.deployment.spec.fallback))
    if seen.contested:
        found.append((ConditionType.CONTESTED, True, Reason.OVERWRITTEN, contested(seen)))
    now = rfc3339_whole(seen.now)
    return [
        condition(kind, is_so, reason, message, generation=seen.deployment.generation, now=now)
        for kind, is_so, reason, message in found
    ]


def _searches(builder: PlanBuilder) -> bool:
    """Whether the next combination is about to be tried."""
    search = builder.state.bisection
    return search is not None and search.present is not None and not search.message


def _holds(kind: ConditionType, cause: Note | None, otherwise: Note) -> _Condition:
    said = cause or otherwise
    return kind, cause is not None, said.reason, said.message


def _is_kept_back(builder: PlanBuilder) -> bool:
    """Whether the kill switch keeps from serving what the spec describes."""
    state, seen = builder.state, builder.seen
    return bool(seen.deployment.killed and state.manual_rollback is None and seen.wanted != state.stable)


def _switched_off_note(builder: PlanBuilder) -> Note:
    return Note(Reason.KILL_SWITCH, switched_off(builder.seen, builder.state.stable), warning=True)


def _retraining(run: Run) -> _Condition:
    """Whether the model is being retrained; else how the newest retraining has ended."""
    message = f"{run.name}, {run.cause.trigger}: {run.cause.message}"
    if run.message:
        message = f"{run.name}: {run.message} ({run.cause.trigger}: {run.cause.message})"
    return ConditionType.RETRAINING, run.under_way, reason_of(run), message


def _fallback(seen: Observation, service: FallbackService) -> _Condition:
    kind, missing = ConditionType.FALLBACK_READY, seen.route.no_fallback
    if missing:
        return kind, False, Reason.NO_FALLBACK, missing
    return kind, True, Reason.FALLBACK_READY, f"with the kill switch at All, {service}"


def _ready(builder: PlanBuilder) -> _Condition:
    seen, state, why, kind = builder.seen, builder.state, builder.why, ConditionType.READY
    if seen.deployment.killed.level is KillSwitch.ALL:
        return kind, False, Reason.KILL_SWITCH, switched_off(seen, state.stable)
    if not state.stable and _stall(builder) is why:
        return kind, False, why.reason, why.message  # a router that is not ready either comes without anybody's help
    if (lost := seen.route.problem()) and lost.reason not in (Reason.ROUTE_REFUSED, Reason.WRITE_DENIED):
        return kind, False, lost.reason, lost.message  # those two leave it as it was
    if not state.stable:
        return kind, False, why.reason, why.message
    # Whoever has everything serves: on the way to a promotion, or back to an earlier version, that is not stable.
    serving = state.stable if state.split.of(state.stable) else state.split.serving()[0]
    if not seen.ready(serving):
        return kind, False, Reason.STABLE_UNAVAILABLE, f"no pod of {serving} is ready{seen.problem(serving)}"
    if unrouted := _unrouted(builder):
        return kind, False, unrouted.reason, unrouted.message
    ready, replicas = _pods(builder, serving)
    return kind, True, Reason.SERVING, f"{serving} serves with {ready} of {replicas} pods"


def _routed(builder: PlanBuilder) -> _Condition:
    route, kind, late = builder.seen.route, ConditionType.ROUTED, Reason.ROUTE_NOT_TAKEN
    if lost := route.problem():
        return kind, False, lost.reason, lost.message
    if route.unheard:
        return kind, False, late, route.unheard
    if unrouted := _unrouted(builder):
        return kind, False if unrouted.reason is late else None, unrouted.reason, unrouted.message
    if builder.why.reason is late:
        return kind, False, late, builder.why.message
    return kind, True, Reason.ROUTED, "the router has taken the weights"


def _unrouted(builder: PlanBuilder) -> Note | None:
    """That no client reaches the first version yet, because the router has not taken its route; None when it has."""
    since, route = builder.state.unrouted_since, builder.seen.route
    if since is None:
        return None
    usual = builder.seen.now - since < route.patience and not route.unheard
    message = route.unheard or "the router has not taken the route yet"
    return Note(Reason.INITIALIZING if usual else Reason.ROUTE_NOT_TAKEN, message, warning=not usual)


def _feasible(builder: PlanBuilder) -> _Condition:
    found, kind = builder.assessment.feasible, ConditionType.POLICY_FEASIBLE
    if found is None:
        return kind, None, Reason.GATHERING_EVIDENCE, "the traffic is not known yet"
    return kind, found[0] is Reason.TRAFFIC_SUFFICES, *found


def contested(seen: Observation) -> str:
    """Who writes against Serin, as far as that is known, and how to find out more."""
    told = " and ".join(f"{one.kind} {one.name}" for one in seen.contested)
    first, namespace = seen.contested[0], seen.deployment.namespace
    ask = f"kubectl -n {namespace} get {first.kind.lower()} {first.name} -o yaml --show-managed-fields"
    return (
        f"something else changes {told} again and again: Serin puts back what is its own, less and less often. "
        f"Who writes: {ask}"
    )


def _within_limits(builder: PlanBuilder, stable: str) -> _Condition:
    kind, found = ConditionType.WITHIN_LIMITS, builder.assessment.limits
    if over := said_of_breaches(builder, stable):
        return kind, False, reason_of_breaches(builder), over
    for one in found.verdicts if found else ():
        if one.verdict is Verdict.NO_DATA and one.severity is not Severity.INFO:
            return kind, None, Reason(one.reason), f"{one.metric}: {one.message}"
    if not found:
        return kind, None, Reason.GATHERING_EVIDENCE, "nothing was measured yet"
    told = (one for one in found.verdicts if one.verdict in FAILURES or (one.at is None and not one.requests))
    shown = "".join(f"; {one.metric} ({one.severity}): {one.message}" for one in told)
    message = f"{stable} is over no limit that counts (no error guarantee){shown}"
    return kind, True, Reason.WITHIN_LIMITS, message


def _evidence(builder: PlanBuilder) -> _Condition:
    kind, verdicts = ConditionType.EVIDENCE_AVAILABLE, _verdicts(builder)
    for one in verdicts:
        if one.verdict is Verdict.NO_DATA and one.severity in BLOCKING:
            return kind, False, Reason(one.reason), f"{one.metric}: {one.message}"
    if not verdicts:
        return kind, None, Reason.GATHERING_EVIDENCE, "nothing was measured yet"
    if delay := builder.seen.samples.delay:
        return kind, True, Reason.CLOCK_SKEWED, f"every metric that decides has data; {delay}"
    return kind, True, Reason.EVIDENCE_AVAILABLE, "every metric that decides has data"
