"""The entry point of the analysis: evidence and a tick in, evidence and a verdict out.

Which method applies follows from the kind of tick and from what the metric is compared with. What this module ensures
for all of them: a tick is never counted twice, invalid numbers are `NoData` and never a verdict, a look that found
nothing leaves the evidence as it is.

A look without data hides a `Pass` (promotion needs proof at that moment) but not a failure: what is proven stays
proven. After a restart `judge` gives the verdict again from the evidence alone. After a gap the counts that were missed
are one tick. Evidence that does not read, or that belongs to another method, is replaced by new evidence.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from serin.analysis import latency, means, past, ratio, reference, sample_ratio, sliced, slo, threshold, two_sample
from serin.analysis.evidence import Evidence, Kind, Unreadable, Unusable
from serin.analysis.types import (
    Counted,
    DistributionTick,
    HistogramTick,
    Judgement,
    MeanTick,
    MetricVerdict,
    NoData,
    PastTick,
    Policy,
    RatioTick,
    ReferenceTick,
    SlicedTick,
    SplitTick,
    Tick,
    ValueTick,
    known_number,
)
from serin.api.conditions import Reason
from serin.api.verdicts import FAILURES, Against, Verdict


@dataclass(frozen=True, slots=True)
class Method:
    """The four functions of a method's module. Any: every module has a state and a tick of its own."""

    read: Callable[[Evidence], Any]
    write: Callable[[Any], Evidence]
    fold: Callable[[Policy, Any, Any], Any]
    judge: Callable[[Policy, Any], MetricVerdict]


METHODS = {
    Kind.RATIO: Method(ratio.read, ratio.write, ratio.fold, ratio.judge),
    Kind.LATENCY: Method(latency.read, latency.write, latency.fold, latency.judge),
    Kind.LIMIT: Method(slo.read, slo.write, slo.fold, slo.judge),
    Kind.VALUE: Method(threshold.read, threshold.write, threshold.fold, threshold.judge),
    Kind.DRIFT: Method(two_sample.read, two_sample.write, two_sample.fold, two_sample.judge),
    Kind.REFERENCE: Method(reference.read, reference.write, reference.fold, reference.judge),
    Kind.MEAN: Method(means.read, means.write, means.fold, means.judge),
    Kind.SLICED: Method(sliced.read, sliced.write, sliced.fold, sliced.judge),
    Kind.PAST: Method(past.read, past.write, past.fold, past.judge),
    Kind.SPLIT: Method(sample_ratio.read, sample_ratio.write, sample_ratio.fold, sample_ratio.judge),
}

_FIRST_BAD = "firstBad"

KINDS = {
    ValueTick: Kind.VALUE,
    DistributionTick: Kind.DRIFT,
    ReferenceTick: Kind.REFERENCE,
    MeanTick: Kind.MEAN,
    SplitTick: Kind.SPLIT,
    PastTick: Kind.PAST,
    SlicedTick: Kind.SLICED,
}


def fold(policy: Policy, evidence: Evidence | None, tick: Tick) -> Judgement:
    """Count one tick: the evidence to keep (as JSON about 1 KiB at most, 4 KiB with slices), and the verdict now.

    `evidence`: what the last call returned, or None for a new candidate. A tick that is not newer than the evidence has
    been counted already and changes nothing.
    """
    if isinstance(tick, NoData):
        return _nothing(policy, evidence, tick)
    kind = kind_of(policy, tick)
    method, state = METHODS[kind], _read(evidence, kind)
    kept = evidence if state is not None else None
    if not math.isfinite(tick.at):
        return _nothing(policy, kept, NoData(Reason.NOT_A_NUMBER, f"the time of the sample is {tick.at}"))
    if kept is not None and tick.at <= state.at:
        return Judgement(kept, _verdict(policy, method, state))
    try:
        after = method.fold(policy, state, tick)
    except Unusable as problem:
        return _nothing(policy, kept, NoData(problem.reason, str(problem)))
    return Judgement({**method.write(after), **_first_bad(kept, tick)}, method.judge(policy, after))


def first_bad(evidence: Evidence | None) -> float | None:
    """When the first request of the candidate was counted that the metric calls bad (unix seconds); None: none was."""
    return known_number(evidence, _FIRST_BAD)


def _first_bad(evidence: Evidence | None, tick: Counted) -> Evidence:
    """What is kept of that beside a method's own state. Only counted requests are good or bad one by one."""
    found = first_bad(evidence)
    counted = tick.whole if isinstance(tick, SlicedTick) else tick
    if found is None and isinstance(counted, RatioTick) and counted.candidate.bad:
        found = tick.at
    return {} if found is None else {_FIRST_BAD: found}


def judge(policy: Policy, evidence: Evidence | None) -> MetricVerdict:
    """The verdict of the evidence without a new tick, for example after a restart."""
    kind = str(evidence.get("kind")) if evidence is not None else ""
    # The user may give the metric another question in the middle of a rollout.
    fits = kind != Kind.LIMIT or policy.against is Against.LIMIT
    if kind in METHODS and fits:
        state = _read(evidence, Kind(kind))
        if state is not None:
            return _verdict(policy, METHODS[Kind(kind)], state)
    message = "no request of the candidate has been measured yet"
    return MetricVerdict(policy.metric, policy.severity, Verdict.NO_DATA, Reason.NO_TRAFFIC, message)


def _verdict(policy: Policy, method: Method, state: Any) -> MetricVerdict:
    """The verdict of a state; NoData when the policy has changed to one that the method cannot use."""
    try:
        return method.judge(policy, state)
    except Unusable as problem:
        return MetricVerdict(policy.metric, policy.severity, Verdict.NO_DATA, problem.reason, str(problem))


def kind_of(policy: Policy, tick: Counted) -> Kind:
    """The method that judges a tick under this policy."""
    if isinstance(tick, RatioTick | HistogramTick):
        if policy.against is Against.LIMIT:
            return Kind.LIMIT
        return Kind.RATIO if isinstance(tick, RatioTick) else Kind.LATENCY
    return KINDS[type(tick)]


def _read(evidence: Evidence | None, kind: Kind) -> Any:
    """The state that evidence of this kind holds; None when there is none, or none that reads."""
    if evidence is None or evidence.get("kind") != kind.value:
        return None
    try:
        return METHODS[kind].read(evidence)
    except Unreadable:
        return None


def _nothing(policy: Policy, evidence: Evidence | None, found: NoData) -> Judgement:
    """The newest look found nothing: the verdict is NoData, unless a failure is proven already."""
    before = judge(policy, evidence)
    if before.verdict in FAILURES:
        return Judgement(evidence or {}, before)
    verdict = replace(before, verdict=Verdict.NO_DATA, reason=found.reason, message=found.message)
    return Judgement(evidence or {}, verdict)
