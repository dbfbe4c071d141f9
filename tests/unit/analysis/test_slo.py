"""The candidate against an absolute limit."""

import numpy as np
import pytest
from scipy import stats

from serin.analysis.slo import confidence_sequence
from serin.analysis.types import HistogramTick, Policy
from serin.api.conditions import Reason
from serin.api.verdicts import Against, Severity, Verdict
from tests.unit.analysis.ticks import feed, latencies, latency, ratio, size

SLO = Policy("errors", Severity.CRITICAL, against=Against.LIMIT, limit=0.02)
P99 = Policy("latency", Severity.MAJOR, against=Against.LIMIT, limit=0.5)


@pytest.mark.parametrize(
    ("bad", "looks", "verdict"),
    [(0, 20, Verdict.PASS), (1, 3, Verdict.INCONCLUSIVE), (3, 4, Verdict.FAIL_MINOR), (20, 1, Verdict.FAIL_CRITICAL)],
)
def test_the_limit_decides(bad: int, looks: int, verdict: Verdict) -> None:
    """Looks at 50 requests each; stable is far over the limit, which does not matter."""
    ticks = [ratio(float(t), (bad, 50), (50, 450)) for t in range(1, looks + 1)]
    assert feed(SLO, ticks).verdict.verdict is verdict


def test_the_message_names_the_limit() -> None:
    verdict = feed(SLO, [ratio(1.0, (41, 803), (0, 0))]).verdict
    assert verdict.message == "5.1% of the candidate's requests failed (41 of 803), the limit is 2.0%"
    assert verdict.reason is Reason.OVER_LIMIT


def test_a_rate_right_at_the_limit_passes_in_the_end_because_twice_as_much_would_have_been_seen() -> None:
    verdict = feed(SLO, [ratio(float(t), (1, 50), (0, 0)) for t in range(1, 41)]).verdict
    assert verdict.verdict is Verdict.PASS


@pytest.mark.parametrize(("bad", "requests"), [(0, 50), (3, 200), (50, 50), (700, 10_000)])
def test_the_interval_contains_the_exact_one_of_a_single_look(bad: int, requests: int) -> None:
    """Clopper-Pearson's interval is right at one look; ours is right at all of them, so it is wider, but not much."""
    low, high = confidence_sequence(bad, requests, 0.05)
    exact = stats.binomtest(bad, requests).proportion_ci(0.95)
    assert low <= exact.low + 1e-9
    assert high >= exact.high - 1e-9
    assert high - low <= 2.0 * (exact.high - exact.low)


@pytest.mark.more
def test_the_interval_ever_misses_with_the_stated_probability() -> None:
    rng, missed = np.random.default_rng(2), 0
    for _ in range(300):
        bad = rng.binomial(20, 0.1, size=80).cumsum()
        bounds = [confidence_sequence(float(x), 20.0 * n, 0.05) for n, x in enumerate(bad, 1)]
        missed += any(not low <= 0.1 <= high for low, high in bounds)
    assert missed / 300 <= 0.07


def test_a_histogram_is_held_to_a_quantile() -> None:
    rng = np.random.default_rng(1)
    fine = [latency(float(t), latencies(rng, 100), latencies(rng, 10)) for t in range(1, 8)]
    slow = [latency(float(t), latencies(rng, 100, slow=0.05), latencies(rng, 10)) for t in range(1, 8)]
    assert feed(P99, fine).verdict.verdict is Verdict.PASS
    failed = feed(P99, slow)
    assert failed.verdict.verdict is Verdict.FAIL_MINOR
    assert "took longer than 0.5 s" in failed.verdict.message
    assert "the limit is 1.0%" in failed.verdict.message
    assert size(failed.evidence) < 1024


def test_a_limit_that_the_buckets_cannot_see_is_no_data_and_says_what_to_write() -> None:
    verdict = feed(P99, [HistogramTick(1.0, (0.1, 0.25), (5, 3, 2), (50, 3, 2))]).verdict
    assert (verdict.verdict, verdict.reason) == (Verdict.NO_DATA, Reason.PARTIAL)
    assert "write a lower limit" in verdict.message


@pytest.mark.parametrize("limit", [None, 0.0, 1.0, 20.0])
def test_a_limit_that_is_no_share_is_no_data(limit: float | None) -> None:
    policy = Policy("errors", Severity.CRITICAL, against=Against.LIMIT, limit=limit)
    assert feed(policy, [ratio(1.0, (5, 50), (0, 0))]).verdict.verdict is Verdict.NO_DATA


def test_a_candidate_without_requests_is_no_data() -> None:
    assert feed(SLO, [ratio(1.0, (0, 0), (5, 450))]).verdict.reason is Reason.NO_TRAFFIC
