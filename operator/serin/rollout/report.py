"""What people see: the status as JSON, its conditions, and numbers as they are read aloud.

The decided part comes from `status.write`; everything here is derived and never read back.
"""

from typing import Final

from serin.analysis.combine import overall
from serin.analysis.types import MetricVerdict
from serin.api import names
from serin.api.conditions import ConditionType, Reason, condition, merge
from serin.api.json import JsonObject
from serin.api.spec import PauseStep
from serin.api.status import Phase, write
from serin.api.times import parse_rfc3339, rfc3339, rfc3339_whole
from serin.api.verdicts import BLOCKING, Verdict
from serin.evaluation.diagnosis import diagnosis, shown
from serin.evaluation.policies import SPLIT
from serin.rollout.gates import ROUTER_PATIENCE, unrouted
from serin.rollout.model import Observation, Workload
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.snapshots import is_rejected

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


def metrics(seen: Observation) -> list[JsonObject]:
    """One row per metric, in the order of the spec."""
    return [_metric(one) for one in seen.evidence.verdicts]


def changed(seen: Observation, old: str, new: str) -> tuple[str, ...]:
    """Dimensions in which two snapshots differ, in the order of DIMENSIONS; empty when one of them is not known."""
    if old not in seen.snapshots:
        return ()
    wanted = seen.snapshots[new].content if new in seen.snapshots else seen.deployment.spec.content
    before, after = names.dimension_hashes(seen.snapshots[old].content), names.dimension_hashes(wanted)
    return tuple(one for one in names.DIMENSIONS if before[one] != after[one])


def status(builder: PlanBuilder) -> JsonObject:
    """The whole status of the deployment after this look."""
    seen, state = builder.seen, builder.state
    result = write(state)
    result["observedGeneration"] = seen.deployment.generation
    result["reason"] = builder.why.reason.value
    result["message"] = builder.why.message
    stable = seen.workloads.get(state.stable or "")
    if state.stable:
        result["stable"] |= _version(seen, state.stable, stable)
        result["replicas"] = stable.desired if stable else 0
        result["selector"] = f"{names.LABEL_SNAPSHOT}={state.stable}"
    if state.candidate:
        result["candidate"] |= _version(seen, state.candidate, seen.workloads.get(state.candidate))
        result["candidate"]["changed"] = list(changed(seen, str(state.stable), state.candidate))
        result["step"] |= _step(builder)
        result["metrics"] = metrics(seen)
        if observed := _observed(builder):
            result["traffic"]["observed"] = observed
        result["verdict"] = overall(seen.evidence.verdicts).value
        result["diagnosis"] = shown(diagnosis(seen, str(state.stable)))
    if state.manual_rollback:
        result["rollingBack"] |= _version(
            seen, state.manual_rollback.target, seen.workloads.get(state.manual_rollback.target)
        )
    result["conditions"] = merge(seen.deployment.status.get("conditions") or [], _conditions(builder))
    return result


def _metric(one: MetricVerdict) -> JsonObject:
    row: JsonObject = {
        "name": one.metric,
        "severity": one.severity.value,
        "verdict": one.verdict.value,
        "reason": one.reason.value,
        "message": one.message,
        "requests": one.requests,
    }
    shown = {
        "estimate": ratio(one.estimate, one.unit),
        "interval": interval(one.low, one.high, one.unit),
        "needed": one.needed,
    }
    return row | {key: value for key, value in shown.items() if value not in ("", None)}


def _observed(builder: PlanBuilder) -> JsonObject:
    """The shares of the requests that stable and candidate received at the present weights, once that was measured."""
    split = builder.state.evidence.get(SPLIT.metric) or {}
    requests = split.get("requests") or ()
    weights = [builder.state.split.of(name) for name in (str(builder.state.stable), str(builder.state.candidate))]
    if not sum(requests) or split.get("weights") != weights:
        return {}
    names_of = (builder.state.stable, builder.state.candidate)
    return {str(name): f"{count / sum(requests):.1%}" for name, count in zip(names_of, requests, strict=True)}


def _version(seen: Observation, snapshot: str, workload: Workload | None) -> JsonObject:
    known = seen.snapshots.get(snapshot)
    model = (known.content.get("model") if known else None) or {}
    row: JsonObject = {"replicas": workload.desired if workload else 0, "ready": workload.ready if workload else 0}
    return row | ({"model": str(model["version"])} if model.get("version") else {})


def _step(builder: PlanBuilder) -> JsonObject:
    state, steps = builder.state, builder.seen.deployment.spec.canary.steps
    shown: JsonObject = {"of": len(steps), "weight": state.split.of(str(state.candidate))}
    step = steps[state.step.index] if state.step.index < len(steps) else None
    length = (step.seconds if isinstance(step, PauseStep) else step.bake) if step else None
    if state.step.since is not None and length:
        shown["until"] = rfc3339(state.step.since + length)
    shown["position"] = f"{state.step.index + 1}/{len(steps)}" if step else "promoting"
    return shown


def _conditions(builder: PlanBuilder) -> list[JsonObject]:
    """Every condition, every time: a missing one would mean "unknown" to some readers and "fine" to others."""
    seen, state, why = builder.seen, builder.state, builder.why
    rejected = _rejected(builder)
    found = [
        _ready(builder),
        _routed(builder),
        (ConditionType.RECONCILING, *_reconciling(builder)),
        rejected,
    ]
    stalled = (
        (bool(rejected[1]) and state.manual_rollback is None)
        or why.reason in _STALLED
        or bool(seen.invalid)
        or bool(seen.route.not_ours)
    )
    stuck = why.message if stalled else "nothing is in the way"
    found.append((ConditionType.STALLED, stalled, why.reason, stuck))
    if state.candidate:
        found += (_evidence(builder), _feasible(builder.seen))
    now = rfc3339_whole(seen.now)
    return [
        condition(kind, is_so, reason, message, generation=seen.deployment.generation, now=now)
        for kind, is_so, reason, message in found
    ]


_STALLED = frozenset(
    {Reason.PROGRESS_DEADLINE_EXCEEDED, Reason.POD_TEMPLATE_REFUSED, Reason.SERVICE_NOT_OURS, Reason.ROUTE_REFUSED}
)

_Condition = tuple[ConditionType, bool | None, Reason, str]


def _rejected(builder: PlanBuilder) -> _Condition:
    """Whether the version that the spec describes was rejected, and is not tried again by itself."""
    seen, state, why = builder.seen, builder.state, builder.why
    wanted = names.snapshot_name(seen.deployment.name, seen.deployment.spec.content)
    kind = ConditionType.CANDIDATE_REJECTED
    if state.candidate or wanted == state.stable or not is_rejected(seen.snapshots, state, wanted):
        return kind, False, why.reason, "nothing is rejected"
    if state.manual_rollback:  # that is what the reason is about then
        return kind, True, Reason.REJECTED_CONTENT, f"{wanted} was rejected before"
    return kind, True, why.reason, why.message


def _ready(builder: PlanBuilder) -> _Condition:
    state = builder.state
    serving = state.manual_rollback.target if state.manual_rollback and state.manual_rollback.moved else state.stable
    workload = builder.seen.workloads.get(serving or "")
    lost = unrouted(builder.seen.route)
    if lost and lost.reason is not Reason.ROUTE_REFUSED:  # a router that refuses goes on with what it had
        return ConditionType.READY, False, lost.reason, lost.message
    if not state.stable:
        return ConditionType.READY, False, builder.why.reason, builder.why.message
    if not workload or not workload.ready:
        problem = f": {workload.problem}" if workload and workload.problem else ""
        return ConditionType.READY, False, Reason.STABLE_UNAVAILABLE, f"no pod of {serving} is ready{problem}"
    if awaits_router(builder):
        return ConditionType.READY, False, Reason.ROUTER_NOT_READY, "the router has not taken the route yet"
    message = f"{serving} serves with {workload.ready} of {workload.desired} pods"
    return ConditionType.READY, True, Reason.SERVING, message


def awaits_router(builder: PlanBuilder) -> bool:
    """Whether the first readiness waits for the router's word.

    Not for ever: an Envoy that asks another replica of the operator is not seen from this one.
    """
    if builder.state.stable is None or builder.state.stable in builder.seen.route.split.serving():
        return False
    known = builder.seen.deployment.status.get("conditions") or []
    ready = next((one for one in known if one["type"] == ConditionType.READY), None)
    if ready is None or ready["reason"] != Reason.ROUTER_NOT_READY:
        return ready is None or ready["status"] != "True"
    return builder.seen.now - parse_rfc3339(ready["lastTransitionTime"]) < ROUTER_PATIENCE


def _routed(builder: PlanBuilder) -> _Condition:
    if lost := unrouted(builder.seen.route):
        return ConditionType.ROUTED, False, lost.reason, lost.message
    return ConditionType.ROUTED, True, Reason.ROUTED, "the router has taken the weights"


def _reconciling(builder: PlanBuilder) -> tuple[bool, Reason, str]:
    state = builder.state
    busy = bool(state.candidate or state.manual_rollback) or state.phase is Phase.INITIALIZING
    return (busy, builder.why.reason, builder.why.message) if busy else (False, Reason.SERVING, "nothing is under way")


def _feasible(seen: Observation) -> _Condition:
    if seen.feasible is None:
        return ConditionType.POLICY_FEASIBLE, None, Reason.GATHERING_EVIDENCE, "the traffic is not known yet"
    reason, message = seen.feasible
    return ConditionType.POLICY_FEASIBLE, reason is Reason.TRAFFIC_SUFFICES, reason, message


def turned_infeasible(seen: Observation) -> bool:
    """Whether this look is the first to find the traffic too low: worth an Event, once."""
    kind, is_so, _, _ = _feasible(seen)
    known = seen.deployment.status.get("conditions") or []
    return is_so is False and not any(one["type"] == kind and one["status"] == "False" for one in known)


def _evidence(builder: PlanBuilder) -> _Condition:
    for one in builder.seen.evidence.verdicts:
        if one.verdict is Verdict.NO_DATA and one.severity in BLOCKING:
            return ConditionType.EVIDENCE_AVAILABLE, False, Reason(one.reason), f"{one.metric}: {one.message}"
    if not builder.seen.evidence.verdicts:
        return ConditionType.EVIDENCE_AVAILABLE, None, Reason.GATHERING_EVIDENCE, "nothing was measured yet"
    return ConditionType.EVIDENCE_AVAILABLE, True, Reason.EVIDENCE_AVAILABLE, "every metric that decides has data"
