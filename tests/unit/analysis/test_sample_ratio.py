"""The split that was measured against the split that was asked for."""

import numpy as np
import pytest
from scipy import stats

from serin.analysis.sample_ratio import CONCENTRATION, State, log_e
from serin.analysis.types import Policy, SplitTick
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Verdict
from tests.unit.analysis.ticks import feed, size

SPLIT = Policy("split", Severity.MAJOR)


def test_the_evidence_is_scipys_dirichlet_multinomial_over_its_multinomial() -> None:
    weights, requests = np.array([90.0, 7.0, 3.0]), np.array([850, 120, 30])
    oracle = stats.dirichlet_multinomial(CONCENTRATION * weights / 100.0, 1000).logpmf(requests)
    oracle -= stats.multinomial(1000, weights / 100.0).logpmf(requests)
    assert log_e(State(1.0, weights, requests.astype(float), 0.0, requests)) == pytest.approx(oracle)


def test_a_split_as_routed_passes_and_a_route_that_did_not_take_is_found() -> None:
    assert feed(SPLIT, [SplitTick(1.0, (450, 50), (90, 10))]).verdict.verdict is Verdict.PASS
    wrong = feed(SPLIT, [SplitTick(1.0, (500, 0), (90, 10))]).verdict
    assert (wrong.verdict, wrong.reason) == (Verdict.FAIL_MINOR, Reason.SPLIT_NOT_AS_ROUTED)
    assert wrong.message == "the snapshots received 100.0%, 0% of 500 requests where the weights are 90%, 10%"


def test_few_requests_are_inconclusive() -> None:
    assert feed(SPLIT, [SplitTick(1.0, (9, 1), (90, 10))]).verdict.verdict is Verdict.INCONCLUSIVE


def test_millions_of_requests_do_not_turn_a_rounding_into_an_alarm() -> None:
    assert feed(SPLIT, [SplitTick(1.0, (8_960_000, 1_040_000), (90, 10))]).verdict.verdict is Verdict.PASS


def test_new_weights_are_a_new_period() -> None:
    judgement = feed(SPLIT, [SplitTick(1.0, (450, 50), (90, 10)), SplitTick(2.0, (375, 125), (75, 25))])
    assert judgement.verdict.verdict is Verdict.PASS
    assert judgement.evidence["requests"] == [375, 125]
    assert size(judgement.evidence) < 1024


def test_evidence_of_earlier_periods_is_kept() -> None:
    wrong = feed(SPLIT, [SplitTick(1.0, (500, 0), (90, 10))])
    both = feed(SPLIT, [SplitTick(2.0, (500, 0), (75, 25))], wrong.evidence)
    alone = feed(SPLIT, [SplitTick(2.0, (500, 0), (75, 25))])
    assert both.verdict.log_e == pytest.approx(wrong.verdict.log_e + alone.verdict.log_e)


def test_requests_for_a_snapshot_without_weight() -> None:
    assert feed(SPLIT, [SplitTick(1.0, (450, 50), (100, 0))]).verdict.verdict is Verdict.FAIL_MINOR


def test_requests_that_were_routed_before_are_answered_after() -> None:
    """At 100 % a few stable ones are no mismatch, and many are none any more once they have come to an end."""
    assert feed(SPLIT, [SplitTick(1.0, (14, 919), (0, 100))]).verdict.verdict is Verdict.PASS
    late = feed(SPLIT, [SplitTick(1.0, (60, 60), (0, 100))])
    assert late.verdict.verdict is Verdict.FAIL_MINOR
    ends = feed(SPLIT, [SplitTick(2.0, (20, 40), (0, 100))], late.evidence)
    assert ends.verdict.verdict is Verdict.FAIL_MINOR
    over = feed(SPLIT, [SplitTick(3.0 + at, (0, 60), (0, 100)) for at in range(3)], ends.evidence)
    assert over.verdict.verdict is Verdict.PASS
    assert over.evidence["requests"] == [0, 120]


def test_a_snapshot_without_weight_that_receives_nothing_is_no_evidence() -> None:
    all_of_it = feed(SPLIT, [SplitTick(1.0, (0, 5_000), (0, 100))])
    assert all_of_it.verdict.log_e <= 0.0
    after = feed(SPLIT, [SplitTick(2.0, (43, 7), (90, 10))], all_of_it.evidence)
    assert after.verdict.verdict is Verdict.INCONCLUSIVE


def test_a_split_that_was_corrected_is_right_again() -> None:
    wrong = feed(SPLIT, [SplitTick(1.0, (5_000, 5_000), (90, 10))])
    right = feed(SPLIT, [SplitTick(2.0, (900, 100), (90, 10))], wrong.evidence)
    assert wrong.verdict.verdict is Verdict.FAIL_MINOR
    assert right.verdict.verdict is Verdict.PASS


def test_a_leak_at_all_of_the_traffic_is_found_and_stays_found() -> None:
    rng = np.random.default_rng(3)
    leaks = rng.binomial(200, 0.1, size=30)
    ticks = [SplitTick(float(at + 1), (int(one), 200 - int(one)), (0, 100)) for at, one in enumerate(leaks)]
    found = [feed(SPLIT, ticks[: at + 1]).verdict.verdict for at in range(len(ticks))]
    assert set(found[2:]) == {Verdict.FAIL_MINOR}


@pytest.mark.more
def test_right_splits_are_ever_doubted_once_in_a_thousand_runs_at_most() -> None:
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(300):
        candidate = rng.binomial(50, 0.1, size=60).cumsum()
        looks = np.stack([50 * np.arange(1, 61) - candidate, candidate], axis=1).astype(float)
        weights = np.array([90.0, 10.0])
        alarms += any(log_e(State(1.0, weights, look, 0.0, look)) >= np.log(1000.0) for look in looks)
    assert alarms <= 3


@pytest.mark.parametrize("tick", [SplitTick(1.0, (1, 2, 3), (90, 10)), SplitTick(1.0, (1, 2), (0, 0))])
def test_contradictions_are_no_data(tick: SplitTick) -> None:
    assert feed(SPLIT, [tick]).verdict.reason is Reason.PARTIAL
