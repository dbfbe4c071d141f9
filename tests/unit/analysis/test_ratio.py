"""Ratio metrics: what is caught, what passes, and the numbers that are shown."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import StratifiedTable

from serin.analysis import ratio as method
from serin.analysis.engine import fold, judge
from serin.analysis.types import Policy
from serin.api.conditions import Reason
from serin.api.verdicts import Against, Severity, Verdict
from tests.unit.analysis.ticks import ERRORS, feed, ratio, size


def test_a_candidate_that_fails_five_times_as_often_is_caught_with_a_plain_message() -> None:
    verdict = feed(ERRORS, [ratio(1.0, (41, 803), (72, 7210))]).verdict
    assert verdict.verdict is Verdict.FAIL_CRITICAL
    assert verdict.reason is Reason.WORSE_THAN_STABLE
    shares = "5.1% of the candidate's requests failed (41 of 803), stable's 1.0% (72 of 7,210): "
    assert verdict.message == shares + "5.1 times (3.0 to 8.7) as many"
    assert verdict.estimate == pytest.approx((41 / 803) / (72 / 7210))
    assert verdict.low is not None
    assert verdict.high is not None
    assert 2.9 < verdict.low < 5.1 < verdict.high < 9.0
    assert (verdict.requests, verdict.needed, verdict.at) == (803, 0, 1.0)


def test_one_tick_is_enough_for_one_in_five() -> None:
    assert feed(ERRORS, [ratio(1.0, (10, 50), (4, 450))]).verdict.verdict is Verdict.FAIL_CRITICAL


def test_only_critical_metrics_fail_critically() -> None:
    major = Policy("errors", Severity.MAJOR)
    assert feed(major, [ratio(1.0, (30, 50), (4, 450))]).verdict.verdict is Verdict.FAIL_MINOR


def test_a_doubling_is_a_minor_failure_and_not_a_critical_one() -> None:
    verdict = feed(ERRORS, [ratio(float(t), (10, 500), (45, 4500)) for t in range(1, 15)]).verdict
    assert verdict.verdict is Verdict.FAIL_MINOR
    assert verdict.estimate == pytest.approx(2.0)


def test_a_difference_of_a_quarter_is_called_worse_only_for_those_who_want_to_see_it() -> None:
    """The smallest effect is 2 times; no number of requests makes 1.25 look more like 2 than like 1."""
    ticks = [ratio(float(t), (625, 50_000), (4500, 450_000)) for t in range(1, 11)]
    assert feed(ERRORS, ticks).verdict.verdict is Verdict.PASS
    sharp = Policy("errors", Severity.CRITICAL, minimum_detectable_effect=1.2)
    assert feed(sharp, ticks).verdict.verdict is Verdict.FAIL_MINOR


def test_no_difference_passes_after_a_few_hundred_requests() -> None:
    verdict = feed(ERRORS, [ratio(float(t), (t % 2, 50), (4 + t % 2, 450)) for t in range(1, 25)]).verdict
    assert verdict.verdict is Verdict.PASS
    assert verdict.reason is Reason.NOT_WORSE
    early = feed(ERRORS, [ratio(1.0, (0, 50), (5, 450))]).verdict
    assert early.verdict is Verdict.INCONCLUSIVE
    assert early.needed is not None
    assert 100 < early.needed < 1000


def test_a_service_without_any_failure_passes_too() -> None:
    """Zero of many is the commonest healthy service; a ratio to zero can never be bounded, so FLOOR decides."""
    verdict = feed(ERRORS, [ratio(float(t), (0, 50), (0, 450)) for t in range(1, 7)]).verdict
    assert verdict.verdict is Verdict.PASS
    assert (verdict.estimate, verdict.low, verdict.high) == (None, None, None)


def test_a_pass_is_soon_taken_back_when_the_candidate_turns_bad() -> None:
    """An hour of good evidence must not outweigh what happens now."""
    good = [ratio(float(t), (1, 100), (9, 900)) for t in range(1, 361)]
    before = feed(ERRORS, good)
    assert before.verdict.verdict is Verdict.PASS
    assert float(str(before.evidence["better"])) == pytest.approx(np.log(5.0) + 3.0, abs=0.5)
    after = feed(ERRORS, [ratio(400.0 + t, (5, 100), (9, 900)) for t in range(5)], before.evidence)
    assert after.verdict.verdict is not Verdict.PASS


def test_a_candidate_that_was_better_and_turns_bad_is_caught_while_it_is_better_on_the_whole() -> None:
    ticks = [ratio(float(t), (0, 50), (5, 450)) for t in range(1, 101)]
    ticks += [ratio(100.0 + t, (3, 50), (5, 450)) for t in range(1, 16)]
    verdict = feed(Policy("errors", Severity.MAJOR), ticks).verdict
    assert verdict.verdict is Verdict.FAIL_MINOR
    assert verdict.estimate is not None
    assert verdict.estimate < 1.0


def test_a_failure_stays_a_failure() -> None:
    failed = feed(ERRORS, [ratio(1.0, (20, 50), (4, 450))])
    later = feed(ERRORS, [ratio(1.0 + t, (0, 50), (5, 450)) for t in range(1, 200)], failed.evidence)
    assert later.verdict.verdict is Verdict.FAIL_CRITICAL


@pytest.mark.parametrize("bad", [0, 3])
def test_zero_counts_give_finite_estimates(bad: int) -> None:
    verdict = feed(ERRORS, [ratio(1.0, (bad, 50), (3 - bad, 450))]).verdict
    assert verdict.estimate is not None
    assert verdict.low is not None
    assert verdict.high is not None
    assert 0.0 <= verdict.low <= verdict.estimate <= verdict.high < np.inf
    assert (verdict.estimate == 0.0) == (bad == 0)


def test_a_candidate_without_requests_is_no_data() -> None:
    verdict = feed(ERRORS, [ratio(1.0, (0, 0), (5, 450))]).verdict
    assert (verdict.verdict, verdict.reason) == (Verdict.NO_DATA, Reason.NO_TRAFFIC)


def test_without_stable_there_is_nothing_to_compare_with() -> None:
    verdict = feed(ERRORS, [ratio(float(t), (30, 50), (0, 0)) for t in range(1, 5)]).verdict
    assert verdict.verdict is Verdict.INCONCLUSIVE


def test_ticks_of_single_requests_are_judged_together() -> None:
    """Given its totals a tick of one request is no evidence; forty of them together are."""
    ticks = [
        ratio(float(t), (t % 2, 1), (0, 0)) if t % 3 == 0 else ratio(float(t), (0, 0), (0, 2)) for t in range(1, 121)
    ]
    assert feed(ERRORS, ticks).verdict.verdict is Verdict.FAIL_CRITICAL
    one_by_one = [method.fold(ERRORS, None, tick).minor.log_e for tick in ticks]
    assert max(one_by_one) == pytest.approx(0.0)


def test_one_arm_alone_for_long_is_not_kept_for_a_later_comparison() -> None:
    """A period with all traffic on one arm must not be compared with the other arm's next period."""
    alone = feed(ERRORS, [ratio(float(t), (5, 100), (0, 0)) for t in range(1, 51)])
    assert alone.evidence["pending"] == [0, 0, 0, 0]
    assert alone.verdict.requests == 5000


def test_a_ramp_with_a_rising_common_rate_does_not_mislead_the_estimate() -> None:
    """Simpson's paradox: the crude ratio of the totals is 1.6 here, the ratio within every tick is 1."""
    ramp = [(50, 950, 0.004), (100, 900, 0.01), (250, 750, 0.02), (500, 500, 0.04)]
    ticks = [
        ratio(float(t), (round(nc * rate), nc), (round(ns * rate), ns)) for t, (nc, ns, rate) in enumerate(ramp * 10, 1)
    ]
    verdict = feed(ERRORS, sorted(ticks, key=lambda tick: tick.candidate.requests), None).verdict
    assert verdict.estimate is None or verdict.estimate < 1.1


def test_the_estimate_is_the_mantel_haenszel_risk_ratio() -> None:
    tables = [((3, 50), (5, 450)), ((4, 120), (9, 380)), ((0, 30), (2, 200))]
    verdict = feed(ERRORS, [ratio(float(t), *table) for t, table in enumerate(tables, 1)]).verdict
    oracle = StratifiedTable([np.array([[c[0], c[1] - c[0]], [s[0], s[1] - s[0]]]) for c, s in tables])
    assert verdict.estimate == pytest.approx(oracle.riskratio_pooled)


@pytest.mark.more
def test_the_interval_holds_at_every_look() -> None:
    """100 runs of 60 looks at an odds ratio of 2: each side may miss the truth, ever, in 5% of the runs."""
    rng, missed, truth = np.random.default_rng(5), 0, 2.0
    for _ in range(100):
        evidence, ever = None, False
        for look in range(60):
            tick = ratio(look + 1.0, (rng.binomial(100, 0.04), 100), (rng.binomial(400, 0.02), 400))
            judgement = fold(ERRORS, evidence, tick)
            evidence, verdict = judgement.evidence, judgement.verdict
            if verdict.low is not None and verdict.high is not None:
                ever = ever or not verdict.low <= truth <= verdict.high
        missed += ever
    assert missed <= 10


def test_overdispersion_slows_the_evidence_down() -> None:
    tick = ratio(1.0, (9, 50), (5, 450))
    slowed = feed(Policy("errors", Severity.CRITICAL, overdispersion=3.0), [tick]).verdict
    assert 0.0 < slowed.log_e < feed(ERRORS, [tick]).verdict.log_e


def test_more_bad_requests_than_requests_is_no_data_with_an_explanation() -> None:
    verdict = feed(ERRORS, [ratio(1.0, (51, 50), (5, 450))]).verdict
    assert (verdict.verdict, verdict.reason) == (Verdict.NO_DATA, Reason.PARTIAL)
    assert "51 bad requests of only 50" in verdict.message


def test_the_verdict_comes_back_after_a_restart() -> None:
    judgement = feed(ERRORS, [ratio(float(t), (1, 50), (5, 450)) for t in range(1, 30)])
    assert judge(ERRORS, judgement.evidence) == judgement.verdict


def test_the_evidence_of_a_month_is_under_one_kibibyte() -> None:
    judgement = feed(ERRORS, [ratio(1.7e9 + t, (123_456, 9_876_543), (1_234_567, 98_765_432)) for t in range(50)])
    assert size(judgement.evidence) < 1024


def test_a_limit_ignores_stable() -> None:
    policy = Policy("errors", Severity.CRITICAL, against=Against.LIMIT, limit=0.02)
    both_bad = feed(policy, [ratio(1.0, (60, 800), (600, 8000))]).verdict
    assert (both_bad.verdict, both_bad.reason) == (Verdict.FAIL_CRITICAL, Reason.OVER_LIMIT)
