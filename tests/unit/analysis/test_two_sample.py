"""Does the candidate answer differently from stable?"""

import numpy as np
import pytest

from serin.analysis.types import DistributionTick, Policy
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Verdict
from tests.unit.analysis.ticks import PREDICTION, feed, scores, size


def arms(seed: int, ticks: int, shift: float, both: float = 0.0, ordered: bool = True) -> list[DistributionTick]:
    rng = np.random.default_rng(seed)
    return [
        DistributionTick(t + 1.0, scores(rng, 50, shift + both), scores(rng, 450, both), ordered) for t in range(ticks)
    ]


@pytest.mark.parametrize(("shift", "ticks"), [(0.25, 16), (0.5, 5)])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_model_that_answers_differently_is_found(shift: float, ticks: int, ordered: bool) -> None:
    found = [feed(PREDICTION, arms(seed, ticks, shift, ordered=ordered)).verdict for seed in range(10)]
    assert sum(one.verdict is Verdict.FAIL_MINOR for one in found) >= 8
    assert {one.reason for one in found} >= {Reason.DIFFERENT_FROM_STABLE}


def test_answers_that_drift_in_both_arms_are_no_difference() -> None:
    assert feed(PREDICTION, arms(1, 40, 0.0, both=1.0)).verdict.verdict is Verdict.PASS


def test_categories_that_change_are_no_data() -> None:
    first = feed(PREDICTION, [DistributionTick(1.0, (5, 5), (50, 50))])
    assert (
        feed(PREDICTION, [DistributionTick(2.0, (5, 5, 1), (50, 50, 1))], first.evidence).verdict.reason
        is Reason.PARTIAL
    )
    too_many = feed(PREDICTION, [DistributionTick(1.0, (1,) * 21, (1,) * 21)]).verdict
    assert "merge the rare ones" in too_many.message


NAMES = ("legit", "fraud", "review")


def answers(seed: int, ticks: int, candidate: tuple[float, ...], stable: tuple[float, ...]) -> list[DistributionTick]:
    """Named categories as they come: in any order, and only those that were seen."""
    rng = np.random.default_rng(seed)
    made = []
    for t in range(ticks):
        counts = rng.multinomial(50, candidate), rng.multinomial(450, stable)
        order = [index for index in rng.permutation(len(candidate)) if counts[0][index] + counts[1][index]]
        names = tuple((NAMES[index] if index < 3 else f"rare-{index}") for index in order)
        one, other = (tuple(int(arm[index]) for index in order) for arm in counts)
        made.append(DistributionTick(t + 1.0, one, other, categories=names))
    return made


def test_named_categories_are_kept_in_their_order_and_a_restart_changes_nothing() -> None:
    ticks = answers(1, 12, (0.9, 0.07, 0.03), (0.97, 0.02, 0.01))
    judged = feed(PREDICTION, ticks)
    assert set(judged.evidence["categories"]) == {*NAMES}
    assert judged.verdict.reason is Reason.DIFFERENT_FROM_STABLE
    assert "most in fraud: " in judged.verdict.message
    names = (*judged.evidence["categories"], "other")
    for name, count in zip(names, judged.evidence["stable"], strict=True):
        assert count == sum(tick.stable[tick.categories.index(name)] for tick in ticks if name in tick.categories)


def test_a_category_that_appears_late_is_other_in_its_first_tick_and_then_found() -> None:
    before = answers(1, 4, (0.97, 0.03), (0.97, 0.03))
    late = [DistributionTick(5.0 + t, (30, 20), (430, 20), categories=("legit", "fallback")) for t in range(3)]
    first = feed(PREDICTION, [*before, late[0]])
    assert first.evidence["categories"][-1] == "fallback"
    assert first.evidence["candidate"][-2:] == [20, 0]
    assert feed(PREDICTION, late[1:], first.evidence).verdict.reason is Reason.DIFFERENT_FROM_STABLE


def test_more_categories_than_there_are_names_for_are_counted_together() -> None:
    shares = tuple(np.linspace(2.0, 1.0, 60) / np.linspace(2.0, 1.0, 60).sum())
    judged = feed(PREDICTION, answers(1, 10, shares, shares))
    assert len(judged.evidence["categories"]) == 19
    assert sum(judged.evidence["candidate"]) == 500
    assert judged.verdict.verdict is not Verdict.FAIL_MINOR


@pytest.mark.more
def test_named_categories_that_come_and_go_keep_the_promise() -> None:
    """Forty categories, half of them rare: what is new is different in every tick, and no sign of a bad candidate."""
    shares = np.concatenate([np.full(3, 30.0), np.full(37, 0.3)])
    alarms = 0
    for seed in range(60):
        ticks = answers(seed, 60, tuple(shares / shares.sum()), tuple(shares / shares.sum()))
        alarms += feed(PREDICTION, ticks).verdict.verdict is Verdict.FAIL_MINOR
    assert alarms <= 4


def test_buckets_whose_bounds_change_are_merged_to_what_both_have() -> None:
    first = DistributionTick(1.0, (1, 2, 3, 4), (10, 20, 30, 40), True, ("0.1", "0.5", "0.9", "inf"))
    judged = feed(PREDICTION, [first, DistributionTick(2.0, (1, 1, 1), (5, 5, 5), True, ("0.5", "0.7", "inf"))])
    assert judged.evidence["categories"] == ["0.5", "inf"]
    assert (judged.evidence["candidate"], judged.evidence["stable"]) == ([4, 9], [35, 80])
    other = DistributionTick(3.0, (1, 1), (5, 5), True, ("7", "inf"))
    assert feed(PREDICTION, [other], judged.evidence).verdict.reason is Reason.PARTIAL


@pytest.mark.parametrize("categories", [["legit"], ["legit", "legit"], ["legit", 7], "legit", None])
def test_evidence_whose_names_do_not_fit_its_counts_is_replaced(categories: object) -> None:
    ticks = answers(1, 8, (0.9, 0.1), (0.9, 0.1))
    broken = {**feed(PREDICTION, ticks[:-1]).evidence, "categories": categories}
    assert sum(feed(PREDICTION, ticks[-1:], broken).evidence["candidate"]) <= 50


def test_one_answer_for_everything_is_no_difference() -> None:
    ticks = [DistributionTick(t + 1.0, (50,), (450,), categories=("legit",)) for t in range(4)]
    assert feed(PREDICTION, ticks).verdict.verdict is Verdict.PASS


def test_a_limit_says_which_difference_counts() -> None:
    ticks = answers(3, 200, (0.9, 0.1), (0.95, 0.05))
    assert feed(PREDICTION, ticks).verdict.verdict is Verdict.FAIL_MINOR
    assert feed(Policy("p", Severity.MAJOR, limit=0.1), ticks).verdict.verdict is Verdict.PASS


def test_no_answers_are_no_data() -> None:
    assert feed(PREDICTION, [DistributionTick(1.0, (0, 0), (50, 50))]).verdict.reason is Reason.NO_TRAFFIC


def test_evidence_of_twenty_categories_is_under_one_kibibyte() -> None:
    rng = np.random.default_rng(1)
    counts = [tuple(rng.integers(10**5, 10**6, 20).tolist()) for _ in range(6)]
    ordered = [DistributionTick(1.7e9 + t, counts[t], counts[t + 1], True) for t in range(5)]
    assert size(feed(PREDICTION, ordered).evidence) < 1024
    names = tuple(f"category-with-{index:06}" for index in range(20))  # the longest names
    named = [DistributionTick(1.7e9 + t, counts[t], counts[t + 1], categories=names) for t in range(5)]
    assert size(feed(PREDICTION, named).evidence) < 1024 + 128
