"""Histograms: what is caught, what is let pass, and what the buckets cannot tell."""

import math
from dataclasses import replace

import numpy as np
import pytest

from serin.analysis.buckets import choose_bounds, quantile
from serin.analysis.latency import fold
from serin.analysis.sequential import WAITING_AT_START
from serin.analysis.types import HistogramTick, Policy
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Verdict
from tests.unit.analysis.ticks import LATENCY, PYTHON_BUCKETS, feed, histogram, latencies, latency, size

ENVOY_BOUNDS = (
    0.5,
    1,
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1000,
    2500,
    5000,
    10000,
    30000,
    60000,
    300000,
    600000,
    1.8e6,
    3.6e6,
)


def stream(rng: np.random.Generator, ticks: int, median: float = 0.1, slow: float = 0.0) -> list[HistogramTick]:
    return [latency(t + 1.0, latencies(rng, 50, median, slow), latencies(rng, 450)) for t in range(ticks)]


@pytest.mark.parametrize(
    ("ticks", "median", "slow"), [(12, 0.13, 0.0), (2, 0.2, 0.0), (16, 0.1, 0.02)], ids=["30% slower", "twice", "tail"]
)
def test_a_slower_candidate_is_caught(ticks: int, median: float, slow: float) -> None:
    caught = [feed(LATENCY, stream(np.random.default_rng(seed), ticks, median, slow)) for seed in range(10)]
    assert sum(one.verdict.verdict is Verdict.FAIL_MINOR for one in caught) >= 9
    assert caught[0].verdict.reason is Reason.WORSE_THAN_STABLE


def test_no_difference_passes() -> None:
    passed = [feed(LATENCY, stream(np.random.default_rng(seed), 12)).verdict.verdict for seed in range(10)]
    assert passed.count(Verdict.PASS) >= 7
    assert Verdict.FAIL_MINOR not in passed


def test_a_candidate_that_was_faster_and_turns_slow_is_caught_soon() -> None:
    rng = np.random.default_rng(1)
    ticks = [latency(t + 1.0, latencies(rng, 50, 0.05), latencies(rng, 450)) for t in range(100)]
    ticks += [latency(t + 101.0, latencies(rng, 50, 0.2), latencies(rng, 450)) for t in range(4)]
    assert feed(LATENCY, ticks).verdict.verdict is Verdict.FAIL_MINOR


def test_a_faster_candidate_passes() -> None:
    assert feed(LATENCY, stream(np.random.default_rng(1), 12, median=0.05)).verdict.verdict is Verdict.PASS


def test_the_message_counts_slow_requests_instead_of_comparing_quantiles() -> None:
    verdict = feed(LATENCY, stream(np.random.default_rng(1), 2, median=0.2)).verdict
    assert "of the candidate's requests took longer than 0.1 s" in verdict.message
    assert verdict.estimate is not None
    assert verdict.estimate > 1.5


def test_a_critical_metric_fails_critically_when_it_is_far_slower() -> None:
    critical = Policy("latency", Severity.CRITICAL)
    verdict = feed(critical, stream(np.random.default_rng(1), 2, median=0.6)).verdict
    assert verdict.verdict is Verdict.FAIL_CRITICAL


def test_when_both_arms_slow_down_nothing_is_wrong_with_the_candidate() -> None:
    rng = np.random.default_rng(4)
    ticks = [
        latency(t + 1.0, latencies(rng, 50, 0.1 + t * 0.02), latencies(rng, 450, 0.1 + t * 0.02)) for t in range(40)
    ]
    assert feed(LATENCY, ticks).verdict.verdict is not Verdict.FAIL_MINOR


def test_everything_in_one_bucket_passes_because_almost_no_request_is_beyond_it() -> None:
    ticks = [HistogramTick(float(t), (0.5, 1.0), (50, 0, 0), (450, 0, 0)) for t in range(1, 8)]
    assert feed(LATENCY, ticks).verdict.verdict is Verdict.PASS


def test_evidence_of_fifteen_buckets_and_of_envoys_twenty_is_under_one_kibibyte() -> None:
    rng = np.random.default_rng(1)
    many = [latency(1.7e9 + t, latencies(rng, 20_000, 0.1, 0.1), latencies(rng, 200_000, 0.1, 0.1)) for t in range(30)]
    judgement = feed(LATENCY, many)
    assert size(judgement.evidence) < 1024
    envoy = [HistogramTick(t + 1.0, ENVOY_BOUNDS, *counts, "ms") for t, counts in enumerate([envoy_counts(rng)] * 30)]
    judgement = feed(LATENCY, envoy)
    assert size(judgement.evidence) < 1024
    assert len(judgement.evidence["bounds"]) == 14  # type: ignore[arg-type]


def envoy_counts(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    arms = (100.0 * np.exp(0.8 * rng.standard_normal(requests)) for requests in (5_000, 45_000))
    first, second = (np.bincount(np.searchsorted(ENVOY_BOUNDS, arm), minlength=20).tolist() for arm in arms)
    return tuple(first), tuple(second)


@pytest.mark.parametrize("expected", [60, 360, 5000])
def test_what_is_rounded_off_adds_no_evidence_however_long_a_rollout_is(expected: int) -> None:
    """Rounded to the nearest hundredth, the mass that waits never fell in a rollout of more than 200 looks."""
    policy, rng, state = replace(LATENCY, expected_ticks=expected), np.random.default_rng(1), None
    for tick in stream(rng, 100):
        state = fold(policy, state, tick)
    assert state is not None
    exact = math.log(WAITING_AT_START) + 100 * math.log1p(-1 / expected)
    for mixture in (state.critical, state.minor, state.matters):
        assert exact - 0.001 < mixture.waiting <= exact + 1e-6


def test_a_loss_that_is_small_at_every_look_is_a_loss_all_the_same() -> None:
    """One slow request of stable's at a look, and the candidate has a hundredth of the requests."""
    policy, state = replace(LATENCY, overdispersion=2.0, expected_ticks=1_000_000), None
    for at in range(200):
        state = fold(policy, state, HistogramTick(at + 1.0, (0.5, 1.0), (10, 0, 0), (989, 1, 0)))
    assert state is not None
    # Twice the odds against none, of a table with one slow request; half of it by the overdispersion.
    each = 0.5 * math.log((10 + 990) / (2 * 10 + 990))
    assert state.minor.started[0] - math.log(0.75 * 0.5 / 4) == pytest.approx(200 * each, abs=0.02)


def test_bounds_are_merged_where_the_fewest_requests_are() -> None:
    assert choose_bounds((1.0, 2.0, 3.0, 4.0), np.array([1, 0, 50, 40, 9]), most=3) == (2.0, 3.0, 4.0)
    assert choose_bounds((1.0, 2.0), np.array([1, 2, 3]), most=3) == (1.0, 2.0)
    nobody_slow = np.array([9, 9, 0, 0, 0, 0, 0, 0, 0])
    assert choose_bounds((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0), nobody_slow, most=4) == (1.0, 2.0, 4.0, 6.0)


def test_buckets_that_change_are_no_data_not_a_verdict() -> None:
    first = feed(LATENCY, [HistogramTick(1.0, (0.1, 0.5, 1.0), (10, 5, 1, 0), (90, 45, 9, 0))])
    after = feed(LATENCY, [HistogramTick(2.0, (0.2, 0.5, 1.0), (10, 5, 1, 0), (90, 45, 9, 0))], first.evidence)
    assert (after.verdict.verdict, after.verdict.reason) == (Verdict.NO_DATA, Reason.PARTIAL)
    assert "no bound at 0.1" in after.verdict.message
    assert after.evidence == first.evidence


def test_finer_buckets_than_before_still_count() -> None:
    first = feed(LATENCY, [HistogramTick(1.0, (0.1, 0.5), (10, 5, 1), (90, 45, 9))])
    after = feed(LATENCY, [HistogramTick(2.0, (0.1, 0.2, 0.5), (10, 3, 2, 1), (90, 40, 5, 9))], first.evidence)
    assert after.evidence["candidate"] == [20, 10, 2]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_the_quantile_for_display_is_within_the_bucket_that_holds_it(share: float) -> None:
    seconds = 0.1 * np.exp(0.504 * np.random.default_rng(1).standard_normal(20_000))
    shown, true = quantile(PYTHON_BUCKETS, np.array(histogram(seconds)), share), float(np.quantile(seconds, share))
    assert shown is not None
    assert np.searchsorted(PYTHON_BUCKETS, shown) == np.searchsorted(PYTHON_BUCKETS, true)


def test_the_quantile_for_display_is_wrong_within_its_bucket_and_decides_nothing() -> None:
    seconds = 0.1 * np.exp(0.504 * np.random.default_rng(1).standard_normal(200_000))
    shown = quantile(PYTHON_BUCKETS, np.array(histogram(seconds)), 0.99)
    assert np.quantile(seconds, 0.99) == pytest.approx(0.323, abs=0.005)
    assert shown == pytest.approx(0.43, abs=0.01)


def test_quantiles_of_nothing_and_beyond_the_last_bound() -> None:
    assert quantile((1.0,), np.array([0, 0]), 0.5) is None
    assert quantile((1.0,), np.array([0, 5]), 0.5) == 1.0
