"""What a version was measured to be by itself: read from the very evidence that judged it."""

import pytest

from serin.analysis import engine
from serin.analysis.measured import reading
from serin.analysis.types import (
    Arm,
    DistributionTick,
    HistogramTick,
    MeanTick,
    Moments,
    Policy,
    RatioTick,
    ReferenceTick,
    Tick,
    ValueTick,
)
from serin.api.verdicts import Against, Severity

POLICY = Policy("m", Severity.CRITICAL)
BOUNDS = (0.01, 0.05, 0.1, 0.5)


def evidence(tick: Tick, policy: Policy = POLICY) -> dict[str, object]:
    return dict(engine.fold(policy, None, tick).evidence)


def test_a_share_with_wilsons_interval_for_either_side() -> None:
    kept = evidence(RatioTick(60.0, Arm(1000, 5), Arm(9000, 9)))
    own, other = reading(kept), reading(kept, baseline=True)
    assert own
    assert other
    assert (own.value, own.requests, own.unit, own.at) == (0.005, 1000, "share", 60.0)
    assert (own.low, own.high) == (pytest.approx(0.00214, abs=1e-5), pytest.approx(0.01165, abs=1e-5))
    assert (other.value, other.requests) == (0.001, 9000)


def test_no_failure_is_no_proof_of_none() -> None:
    few, many = (reading(evidence(RatioTick(60.0, Arm(n, 0), Arm(0, 0)))) for n in (10, 100_000))
    assert few
    assert many
    assert few.high
    assert many.high
    assert few.high > 0.2 > many.high


def test_a_version_alone_is_measured_too() -> None:
    kept = evidence(HistogramTick(60.0, BOUNDS, (10, 800, 100, 5, 1), (0, 0, 0, 0, 0)))
    own = reading(kept)
    assert own
    assert own.low is not None
    assert own.high is not None
    assert 0.05 < own.low < own.value < own.high < 0.1, "95 % took no longer"
    assert (own.requests, own.unit) == (916, "s")
    assert reading(kept, baseline=True) is None, "the other one had no request"


def test_a_limit_of_a_latency_is_a_share_of_slow_requests() -> None:
    tick = HistogramTick(60.0, BOUNDS, (10, 800, 100, 5, 1), (0, 0, 0, 0, 0), "s")
    own = reading(evidence(tick, Policy("m", Severity.CRITICAL, Against.LIMIT, limit=0.1)))
    assert own
    assert own.value == pytest.approx(6 / 916)


def test_values_means_and_distances_from_a_reference() -> None:
    value = reading(evidence(ValueTick(60.0, 3.5), Policy("m", Severity.INFO, maximum=5.0)))
    assert value
    assert (value.value, value.low, value.requests) == (3.5, None, 0)
    mean = reading(evidence(MeanTick(60.0, Moments(1000, 2500.0), Moments(10, 70.0))), baseline=True)
    assert mean
    assert (mean.value, mean.requests) == (7.0, 10)
    psi = reading(evidence(ReferenceTick(60.0, (500, 500), (900, 100))))
    assert psi
    assert psi.low is not None
    assert psi.high is not None
    assert psi.low < psi.value < psi.high
    assert psi.unit == "PSI"


@pytest.mark.parametrize(
    "kept",
    [
        None,
        {},
        {"kind": "unknown"},
        {"kind": "ratio"},
        {"kind": "ratio", "at": 1.0, "total": ["a", 1, 2, 3]},
        {"kind": "ratio", "at": 1.0, "total": [0, 0, 0, 0]},
        {"kind": "latency", "at": 1.0, "bounds": [1.0], "candidate": [1]},
    ],
    ids=str,
)
def test_what_says_nothing(kept: dict[str, object] | None) -> None:
    assert reading(kept) is None  # type: ignore[arg-type]


def test_a_comparison_alone_is_no_number_of_its_own() -> None:
    assert reading(evidence(DistributionTick(60.0, (50, 50), (50, 50)))) is None
