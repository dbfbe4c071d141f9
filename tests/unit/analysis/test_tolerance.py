"""A latency that is slower by less than matters: the shifted null, and what is let pass."""

import math

import numpy as np
import pytest

from serin.analysis import latency
from serin.analysis.tolerance import MOST, Tolerance, allowed
from serin.analysis.types import HistogramTick, MetricVerdict, Policy
from serin.api.verdicts import Severity, Verdict
from serin.routers.envoy.series import BUCKETS as ENVOY_BUCKETS
from tests.unit.analysis.ticks import LATENCY, PYTHON_BUCKETS, feed, histogram, latencies

FIFTH = Tolerance(0.2, 0.0)


def shares(counts: tuple[int, ...]) -> np.ndarray:
    return np.array(counts[::-1]).cumsum()[::-1][1:] / sum(counts)


@pytest.mark.parametrize("seconds", [1.2, 1.5, 3.0])
def test_allowed_is_what_a_candidate_has_that_is_just_so_much_slower(seconds: float) -> None:
    normal = np.random.default_rng(1).standard_normal(400_000)
    stable, slower = (histogram(0.1 * times * np.exp(0.504 * normal)) for times in (1.0, seconds))
    odds = allowed(PYTHON_BUCKETS, stable, Tolerance(seconds - 1.0, 0.0)).slower
    own, other = shares(stable), shares(slower)
    seen = (own > 0.001) & (other < 0.999) & (own < 0.999)
    own, other, odds = own[seen], other[seen], odds[seen]
    assert seen.sum() >= 3
    assert odds == pytest.approx(np.log(other / (1 - other) / (own / (1 - own))), abs=0.08)


def test_a_time_that_is_let_pass_allows_everything_at_the_bounds_under_it() -> None:
    counts = (0, 0, 400, 50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)  # stable: 10 to 50 ms
    odds = allowed(PYTHON_BUCKETS, counts, Tolerance(0.2, 0.1))
    assert not odds.testable()[: PYTHON_BUCKETS.index(0.1)].any()
    assert odds.testable()[PYTHON_BUCKETS.index(0.25) :].all()


@pytest.mark.parametrize("counts", [[0, 0, 0], [9, 0, 0], [0, 0, 9], [1, 1, 1], [0, 1_000_000, 0]])
@pytest.mark.parametrize("bounds", [(0.1, 1.0), (-1.0, 0.0), (0.0, 1.0), (1e-9, 1e9)])
def test_no_counts_and_no_bounds_make_it_fail(counts: list[int], bounds: tuple[float, float]) -> None:
    odds = allowed(bounds, tuple(counts), FIFTH)
    assert odds.testable().shape == (2,)
    assert (np.abs(odds.slower[odds.testable()]) <= MOST).all()


def stream(rng: np.random.Generator, ticks: int, times: float, requests: int = 50) -> list[HistogramTick]:
    return [
        HistogramTick(t + 1.0, PYTHON_BUCKETS, latencies(rng, requests, 0.1 * times), latencies(rng, 9 * requests))
        for t in range(ticks)
    ]


def failed(policy: Policy, times: float, runs: int, ticks: int) -> int:
    found = (feed(policy, stream(np.random.default_rng([seed, 5]), ticks, times)) for seed in range(runs))
    return sum(one.verdict.verdict is Verdict.FAIL_MINOR for one in found)


@pytest.mark.more
def test_evidence_for_more_than_the_tolerance_is_an_e_process_for_just_the_tolerance() -> None:
    """The shifted null: 20 to 1 for "more than 20% slower" is as rare as Ville's inequality says, at all looks."""
    highest = []
    for seed in range(60):
        rng, state = np.random.default_rng([seed, 7]), None
        seen = -math.inf
        for tick in stream(rng, 40, 1.2):
            state = latency.fold(LATENCY, state, tick)
            seen = max(seen, state.matters.log_e)
        highest.append(seen)
    assert sum(one >= math.log(20.0) for one in highest) <= 6  # 3 expected at most


@pytest.mark.more
def test_slower_by_half_of_the_tolerance_is_let_pass_and_by_thrice_is_not() -> None:
    assert failed(LATENCY, 1.1, runs=20, ticks=40) <= 2
    assert failed(LATENCY, 1.6, runs=20, ticks=6) == 20


@pytest.mark.more
def test_the_same_difference_is_a_failure_without_a_tolerance() -> None:
    strict = Policy("latency", Severity.MAJOR, tolerance=0.0, tolerance_least=0.0)
    assert failed(strict, 1.15, runs=10, ticks=60) >= 8
    assert failed(LATENCY, 1.15, runs=10, ticks=60) <= 4


def milliseconds(rng: np.random.Generator, requests: int, median: float) -> tuple[int, ...]:
    times = median * np.exp(0.4 * rng.standard_normal(requests))
    counts = np.bincount(np.searchsorted(ENVOY_BUCKETS, times), minlength=len(ENVOY_BUCKETS) + 1)
    return tuple(counts.tolist())


def beside_one(candidate: float, ticks: int, unit: str = "ms") -> MetricVerdict:
    """The verdict on a candidate with this median beside a stable with a median of 1."""
    rng = np.random.default_rng(3)
    counts = [(milliseconds(rng, 50, candidate), milliseconds(rng, 450, 1.0)) for _ in range(ticks)]
    return feed(LATENCY, [HistogramTick(t + 1.0, ENVOY_BUCKETS, *arms, unit) for t, arms in enumerate(counts)]).verdict


def test_a_millisecond_more_of_a_fast_model_is_let_pass_and_passes() -> None:
    """Twice as slow as stable and of no importance: stable takes 1 ms, the candidate 2 ms."""
    verdict = beside_one(2.0, ticks=30)
    assert verdict.verdict is Verdict.PASS
    assert "but not slower by more than 20% and 5 ms, which is let pass" in verdict.message


def test_ten_milliseconds_more_are_not() -> None:
    verdict = beside_one(11.0, ticks=3)
    assert verdict.verdict is Verdict.FAIL_MINOR
    assert verdict.message.endswith("; slower by more than 20% and 5 ms")


@pytest.mark.parametrize("candidate", [12.0, 40.0, 300.0, 2000.0])
def test_what_is_slow_is_found_although_none_of_it_had_ended_when_the_bounds_were_chosen(candidate: float) -> None:
    """Requests are counted when they end: the first tick has stable's alone, all of them within 3 ms."""
    rng = np.random.default_rng(3)
    quick = (20, 60, 10, 0, *[0] * (len(ENVOY_BUCKETS) - 3))
    ticks = [HistogramTick(1.0, ENVOY_BUCKETS, (0,) * len(quick), quick, "ms")]
    for at in range(3):
        ticks.append(HistogramTick(at + 2.0, ENVOY_BUCKETS, milliseconds(rng, 20, candidate), quick, "ms"))
    assert feed(LATENCY, ticks).verdict.verdict is Verdict.FAIL_MINOR


def test_of_plain_numbers_only_the_share_is_let_pass() -> None:
    verdict = beside_one(2.0, ticks=5, unit="")
    assert verdict.verdict is Verdict.FAIL_MINOR
    assert verdict.message.endswith("; higher by more than 20%")
