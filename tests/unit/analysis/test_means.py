"""Numbers that requests carry."""

import numpy as np
import pytest
from scipy import integrate, stats

from serin.analysis.engine import fold, judge
from serin.analysis.means import log_mixture
from serin.analysis.types import MeanTick, Moments, Policy
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Verdict
from tests.unit.analysis.ticks import feed, size

COST = Policy("cost", Severity.MAJOR)
REWARD = Policy("reward", Severity.MAJOR, lower_is_worse=True)


def moments(values: np.ndarray) -> Moments:
    return Moments(values.size, float(values.sum()))


def stream(seed: int, ticks: int, times: float, season: bool = False) -> list[MeanTick]:
    rng = np.random.default_rng(seed)
    levels = [1.0 + (t / ticks if season else 0.0) for t in range(ticks)]
    return [
        MeanTick(t + 1.0, moments(level * times * rng.gamma(4.0, size=50)), moments(level * rng.gamma(4.0, size=450)))
        for t, level in enumerate(levels)
    ]


def test_a_third_more_cost_is_found_and_no_more_passes() -> None:
    higher = [feed(COST, stream(seed, 20, 1.33)).verdict for seed in range(10)]
    same = [feed(COST, stream(seed, 8, 1.0)).verdict for seed in range(10)]
    assert all(one.verdict is Verdict.FAIL_MINOR for one in higher)
    assert sum(one.verdict is Verdict.PASS for one in same) >= 9
    assert higher[0].estimate == pytest.approx(1.33, abs=0.15)
    assert higher[0].low is not None
    assert higher[0].high is not None
    assert higher[0].low < 1.33 < higher[0].high


@pytest.mark.parametrize("sums", [[20, 900.0, 1.0, -1.0], [0, 900.0, 1.0, 1.0], [20, 0.0, 1.0, 1.0]])
def test_edited_sums_that_cannot_be_are_not_read(sums: list[float]) -> None:
    evidence = feed(COST, stream(1, 20, 1.0)).evidence
    assert judge(COST, evidence).verdict is Verdict.PASS
    assert judge(COST, {**evidence, "sums": sums}).verdict is Verdict.NO_DATA


def test_a_limit_says_how_much_more_is_still_good() -> None:
    ticks = stream(1, 60, 1.33)
    assert feed(Policy("cost", Severity.MAJOR, limit=1.5), ticks).verdict.verdict is Verdict.PASS
    assert feed(Policy("cost", Severity.MAJOR, limit=1.0), ticks).verdict.verdict is Verdict.FAIL_MINOR
    assert feed(COST, stream(1, 60, 1.05)).verdict.verdict is Verdict.PASS, "next to nothing is let pass"


def test_a_reward_is_worse_when_it_is_lower() -> None:
    assert feed(REWARD, stream(1, 10, 0.75)).verdict.verdict is Verdict.FAIL_MINOR
    assert feed(REWARD, stream(1, 10, 1.33)).verdict.verdict is Verdict.PASS
    assert feed(COST, stream(1, 10, 0.75)).verdict.verdict is Verdict.PASS


@pytest.mark.parametrize("before", [0, 60])
def test_a_reward_that_falls_to_zero_is_found_at_the_first_look_that_can_tell(before: int) -> None:
    """A season before the candidate had requests takes the estimate, but not the evidence, below 0."""
    rng = np.random.default_rng(1)
    ticks = [MeanTick(t + 1.0, Moments(0, 0.0), moments(rng.gamma(4.0, size=450))) for t in range(before)]
    ticks += [MeanTick(before + t + 1.0, Moments(50, 0.0), moments(2.0 * rng.gamma(4.0, size=450))) for t in range(5)]
    verdict = feed(REWARD, ticks).verdict
    assert verdict.verdict is Verdict.FAIL_MINOR
    assert "-" not in verdict.message


def test_a_season_that_lifts_both_arms_is_no_difference() -> None:
    assert feed(COST, stream(1, 60, 1.0, season=True)).verdict.verdict is Verdict.PASS


def test_nothing_is_said_before_a_hundred_requests_and_five_looks() -> None:
    verdict = feed(COST, stream(1, 1, 3.0)).verdict
    assert (verdict.verdict, verdict.needed) == (Verdict.INCONCLUSIVE, 200), "four more looks like this one"
    assert feed(COST, stream(1, 4, 3.0)).verdict.verdict is Verdict.INCONCLUSIVE, (
        "four looks are too few to estimate the scatter"
    )
    assert feed(COST, stream(1, 5, 3.0)).verdict.verdict is Verdict.FAIL_MINOR


def test_false_alarms_over_a_hundred_looks_keep_the_promise() -> None:
    alarms = 0
    for seed in range(80):
        evidence = None
        for tick in stream(seed, 100, 1.0):
            judgement = fold(COST, evidence, tick)
            evidence = judgement.evidence
        alarms += judgement.verdict.verdict is Verdict.FAIL_MINOR
    assert alarms <= 6


@pytest.mark.parametrize(("difference", "variance", "scale"), [(0.3, 0.01, 0.25), (-0.2, 0.05, 0.5), (0.0, 1.0, 1.0)])
def test_the_closed_form_is_the_integral_that_it_stands_for(difference: float, variance: float, scale: float) -> None:
    def weighted(theta: float) -> float:
        ratio = stats.norm.pdf(difference, theta, variance**0.5) / stats.norm.pdf(difference, 0.0, variance**0.5)
        return float(2.0 * stats.norm.pdf(theta, 0.0, scale) * ratio)

    integral = integrate.quad(weighted, 0.0, np.inf)[0]
    assert log_mixture(difference, variance, scale) == pytest.approx(np.log(integral), abs=1e-6)


def test_numbers_that_are_none_are_no_data() -> None:
    tick = MeanTick(1.0, Moments(5, float("nan")), Moments(5, 1.0))
    assert feed(COST, [tick]).verdict.reason is Reason.NOT_A_NUMBER


@pytest.mark.parametrize("level", [0.0, 0.1, 7.0])
def test_numbers_that_never_differ_pass_unless_the_candidate_has_others(level: float) -> None:
    same = [MeanTick(float(t), Moments(50, 50 * level), Moments(450, 450 * level)) for t in range(1, 10)]
    more = [MeanTick(float(t), Moments(50, 50 * level + 50), Moments(450, 450 * level)) for t in range(1, 10)]
    assert feed(COST, same).verdict.verdict is Verdict.PASS
    assert feed(COST, more).verdict.verdict is Verdict.INCONCLUSIVE
    assert feed(COST, same[:4]).verdict.verdict is Verdict.INCONCLUSIVE


def test_requests_that_resemble_each_other_within_a_tick_keep_the_promise() -> None:
    """What no count per request can tell: 50 requests of one session are one observation."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        ticks = [
            MeanTick(t + 1.0, Moments(50, 50 * rng.gamma(4.0)), Moments(450, 45 * float(rng.gamma(4.0, size=10).sum())))
            for t in range(100)
        ]
        alarms += feed(COST, ticks).verdict.verdict is Verdict.FAIL_MINOR
    assert alarms <= 5


def test_evidence_is_small() -> None:
    assert size(feed(COST, stream(1, 20, 1.1)).evidence) < 1024


def test_evidence_of_before_a_limit_that_cannot_be_was_written_is_still_judged() -> None:
    evidence = feed(REWARD, stream(1, 20, 1.0)).evidence
    verdict = judge(Policy("reward", Severity.MAJOR, lower_is_worse=True, limit=0.0), evidence)
    assert (verdict.verdict, verdict.fails_at) == (Verdict.PASS, ())
