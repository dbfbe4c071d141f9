"""Which looks count as warm-up, from the pods' ages and the moment at which the candidate got its share."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from serin.analysis.types import HistogramTick
from serin.api.conditions import Reason
from serin.api.parse import parse_spec
from serin.api.split import between
from serin.api.state import Arm, Rollout, StageState
from serin.evaluation.evaluate import Assessment, Case, evaluate
from serin.evaluation.samples import Sample, Samples
from serin.rollout.strategies.table import strategy_of
from tests.narratives.world import spec

SPEC = parse_spec(spec(metrics=[{"name": "latency", "template": {"name": "request-latency"}, "severity": "major"}]))
TWICE_AS_SLOW = (5, 20, 25), (200, 200, 50)


def look(
    at: float, since: float, *, ready: Mapping[str, float], reached: float, before: Assessment | None = None
) -> Assessment:
    """One look, at a rollout that began at 0 and got its first weight at `reached`."""
    arm = Arm("b", before.evidence["b"] if before else {})
    rollout = Rollout("a", (arm,), 0.0, StageState(since=reached))
    tick = HistogramTick(at, (50.0, 100.0), *TWICE_AS_SLOW, "ms")
    samples = Samples({("b", "latency"): Sample(tick, since)}, interval=5.0)
    schedule = strategy_of(SPEC).schedule()
    return evaluate(Case(SPEC, rollout, between("a", "b", 10), schedule, None, samples, ready=ready))


def reason(found: Assessment) -> Reason:
    return found.verdicts["b"][0].reason


def test_the_candidates_first_seconds_are_left_out_and_nothing_after_them() -> None:
    first = look(605.0, 0.0, ready={"a": 0.0, "b": 600.0}, reached=600.0)
    assert reason(first) is Reason.WARMING_UP
    later = look(635.0, 605.0, ready={"a": 0.0, "b": 600.0}, reached=600.0, before=first)
    assert reason(later) is Reason.WARMING_UP
    last = look(640.0, 635.0, ready={"a": 0.0, "b": 600.0}, reached=600.0, before=later)
    assert reason(last) is Reason.WORSE_THAN_STABLE


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_pod_of_either_arm_that_begins_is_left_out(who: str) -> None:
    warm = look(640.0, 635.0, ready={"a": 0.0, "b": 0.0, who: 630.0}, reached=600.0)
    assert reason(warm) is Reason.WARMING_UP


def test_another_versions_pods_and_unknown_ones_are_no_reason() -> None:
    first = look(605.0, 600.0, ready={}, reached=600.0)
    last = look(640.0, 635.0, ready={"c": 639.0, "b": -math.inf}, reached=600.0, before=first)
    assert reason(last) is Reason.WORSE_THAN_STABLE


def test_a_step_cannot_pass_on_what_was_left_out() -> None:
    tick = replace(HistogramTick(605.0, (50.0, 100.0), (45, 5, 0), (400, 50, 0), "ms"))
    rollout = Rollout("a", (Arm("b"),), 0.0, StageState(since=600.0))
    samples = Samples({("b", "latency"): Sample(tick, 600.0)}, interval=5.0)
    found = evaluate(Case(SPEC, rollout, between("a", "b", 10), strategy_of(SPEC).schedule(), None, samples))
    (verdict,) = found.verdicts["b"]
    assert (verdict.reason, verdict.requests, verdict.at) == (Reason.WARMING_UP, 0, None)
