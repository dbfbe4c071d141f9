"""Is the model different, or has the world moved?"""

import numpy as np
import pytest
from scipy import stats

from serin.analysis.psi import requests_needed, stability_index
from serin.analysis.types import DistributionTick, Policy, ReferenceTick
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Verdict
from tests.unit.analysis.ticks import feed, size

DRIFT = Policy("prediction", Severity.MAJOR)
DECILES = stats.norm.ppf(np.arange(1, 10) / 10.0)
REFERENCE = (1000,) * 10


def scores(rng: np.random.Generator, requests: int, shift: float = 0.0) -> tuple[int, ...]:
    counts = np.bincount(np.searchsorted(DECILES, rng.standard_normal(requests) + shift), minlength=10)
    return tuple(counts.tolist())


def arms(seed: int, ticks: int, shift: float, both: float = 0.0, ordered: bool = True) -> list[DistributionTick]:
    rng = np.random.default_rng(seed)
    return [
        DistributionTick(t + 1.0, scores(rng, 50, shift + both), scores(rng, 450, both), ordered) for t in range(ticks)
    ]


@pytest.mark.parametrize(("shift", "ticks"), [(0.25, 16), (0.5, 5)])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_model_that_answers_differently_is_found(shift: float, ticks: int, ordered: bool) -> None:
    found = [feed(DRIFT, arms(seed, ticks, shift, ordered=ordered)).verdict for seed in range(10)]
    assert sum(one.verdict is Verdict.FAIL_MINOR for one in found) >= 8
    assert {one.reason for one in found} >= {Reason.DIFFERENT_FROM_STABLE}


def test_when_the_world_moves_the_arms_agree_and_the_reference_does_not() -> None:
    assert feed(DRIFT, arms(1, 40, 0.0, both=1.0)).verdict.verdict is Verdict.PASS
    rng = np.random.default_rng(1)
    live = [ReferenceTick(t + 1.0, scores(rng, 50, 1.0), REFERENCE) for t in range(10)]
    assert feed(DRIFT, live).verdict.reason is Reason.DRIFTED_FROM_REFERENCE


def test_a_world_at_rest_passes_once_there_are_enough_requests() -> None:
    rng = np.random.default_rng(1)
    live = [ReferenceTick(t + 1.0, scores(rng, 50), REFERENCE) for t in range(10)]
    assert feed(DRIFT, live[:3]).verdict.verdict is Verdict.INCONCLUSIVE
    assert feed(DRIFT, live).verdict.verdict is Verdict.PASS


def test_a_verdict_about_the_world_is_taken_back_when_the_world_comes_back() -> None:
    rng = np.random.default_rng(1)
    away = [ReferenceTick(t + 1.0, scores(rng, 500, 1.0), REFERENCE) for t in range(10)]
    back = [ReferenceTick(t + 100.0, scores(rng, 500), REFERENCE) for t in range(100)]
    gone = feed(DRIFT, away)
    assert gone.verdict.verdict is Verdict.FAIL_MINOR
    after = feed(DRIFT, back, gone.evidence).verdict
    assert after.verdict is Verdict.PASS
    assert after.requests < 20_000  # of 55,000: old counts fade


@pytest.mark.parametrize(("categories", "requests"), [(10, 241), (20, 403)])
def test_the_published_numbers_of_requests(categories: int, requests: int) -> None:
    """PSI 0.1 at 1% against a control nine times as large: (1/n + 1/9n) chi-square(0.99) = 0.1."""
    assert requests_needed(categories, 9.0 * requests, 0.1) == requests


def test_a_reference_that_is_too_small_never_gives_a_verdict() -> None:
    assert requests_needed(10, 100.0, 0.1) is None
    small = [ReferenceTick(t + 1.0, (500,) * 10, (5,) * 10) for t in range(10)]
    verdict = feed(DRIFT, small).verdict
    assert (verdict.verdict, verdict.needed) == (Verdict.INCONCLUSIVE, None)


def test_the_bias_of_the_index_is_removed_and_its_deviation_right() -> None:
    rng = np.random.default_rng(1)
    drawn = [stability_index(*(rng.multinomial(n, [0.1] * 10).astype(float) for n in (500, 4500))) for _ in range(2000)]
    indices, deviations = np.array(drawn).T
    assert abs(indices.mean()) < 0.001
    assert indices.std() == pytest.approx(deviations.mean(), rel=0.15)
    p = stats.norm.cdf(np.append(DECILES, np.inf) - 0.5) - stats.norm.cdf(np.insert(DECILES, 0, -np.inf) - 0.5)
    true = float(((p - 0.1) * np.log(p / 0.1)).sum())
    drawn = [
        stability_index(rng.multinomial(500, p).astype(float), rng.multinomial(4500, [0.1] * 10).astype(float))
        for _ in range(2000)
    ]
    indices, deviations = np.array(drawn).T
    assert indices.mean() == pytest.approx(true, rel=0.05)
    assert indices.std() == pytest.approx(deviations.mean(), rel=0.2)


def test_categories_that_change_are_no_data() -> None:
    first = feed(DRIFT, [DistributionTick(1.0, (5, 5), (50, 50))])
    assert feed(DRIFT, [DistributionTick(2.0, (5, 5, 1), (50, 50, 1))], first.evidence).verdict.reason is Reason.PARTIAL
    assert feed(DRIFT, [ReferenceTick(1.0, (5, 5), (1, 2, 3))]).verdict.reason is Reason.PARTIAL
    assert feed(DRIFT, [ReferenceTick(1.0, (5, 5), (0, 0))]).verdict.reason is Reason.SERIES_ABSENT
    too_many = feed(DRIFT, [DistributionTick(1.0, (1,) * 21, (1,) * 21)]).verdict
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
    told = feed(DRIFT, ticks)
    assert set(told.evidence["categories"]) == {*NAMES}
    assert told.verdict.reason is Reason.DIFFERENT_FROM_STABLE
    assert "most in fraud: " in told.verdict.message
    names = (*told.evidence["categories"], "other")
    for name, count in zip(names, told.evidence["stable"], strict=True):
        assert count == sum(tick.stable[tick.categories.index(name)] for tick in ticks if name in tick.categories)


def test_a_category_that_appears_late_is_other_in_its_first_tick_and_then_found() -> None:
    before = answers(1, 4, (0.97, 0.03), (0.97, 0.03))
    late = [DistributionTick(5.0 + t, (30, 20), (430, 20), categories=("legit", "fallback")) for t in range(3)]
    first = feed(DRIFT, [*before, late[0]])
    assert first.evidence["categories"][-1] == "fallback"
    assert first.evidence["candidate"][-2:] == [20, 0]
    assert feed(DRIFT, late[1:], first.evidence).verdict.reason is Reason.DIFFERENT_FROM_STABLE


def test_more_categories_than_there_are_names_for_are_counted_together() -> None:
    shares = tuple(np.linspace(2.0, 1.0, 60) / np.linspace(2.0, 1.0, 60).sum())
    told = feed(DRIFT, answers(1, 10, shares, shares))
    assert len(told.evidence["categories"]) == 19
    assert sum(told.evidence["candidate"]) == 500
    assert told.verdict.verdict is not Verdict.FAIL_MINOR


def test_named_categories_that_come_and_go_keep_the_promise() -> None:
    """Forty categories, half of them rare: what is new is different in every tick, and no sign of a bad candidate."""
    shares = np.concatenate([np.full(3, 30.0), np.full(37, 0.3)])
    alarms = 0
    for seed in range(60):
        ticks = answers(seed, 60, tuple(shares / shares.sum()), tuple(shares / shares.sum()))
        alarms += feed(DRIFT, ticks).verdict.verdict is Verdict.FAIL_MINOR
    assert alarms <= 4


def test_buckets_whose_bounds_change_are_merged_to_what_both_have() -> None:
    first = DistributionTick(1.0, (1, 2, 3, 4), (10, 20, 30, 40), True, ("0.1", "0.5", "0.9", "inf"))
    told = feed(DRIFT, [first, DistributionTick(2.0, (1, 1, 1), (5, 5, 5), True, ("0.5", "0.7", "inf"))])
    assert told.evidence["categories"] == ["0.5", "inf"]
    assert (told.evidence["candidate"], told.evidence["stable"]) == ([4, 9], [35, 80])
    other = DistributionTick(3.0, (1, 1), (5, 5), True, ("7", "inf"))
    assert feed(DRIFT, [other], told.evidence).verdict.reason is Reason.PARTIAL


@pytest.mark.parametrize("categories", [["legit"], ["legit", "legit"], ["legit", 7], "legit", None])
def test_evidence_whose_names_do_not_fit_its_counts_is_begun_afresh(categories: object) -> None:
    ticks = answers(1, 8, (0.9, 0.1), (0.9, 0.1))
    for tick, key in ((ticks[-1], "candidate"), (ReferenceTick(99.0, (9, 1), (97, 3), (), NAMES[:2]), "live")):
        broken = {**feed(DRIFT, [*ticks[:-1]] if key == "candidate" else [tick]).evidence, "categories": categories}
        later = tick if key == "candidate" else ReferenceTick(100.0, (9, 1), (97, 3), (), NAMES[:2])
        assert sum(feed(DRIFT, [later], broken).evidence[key]) <= 50


def test_one_answer_for_everything_is_no_difference() -> None:
    ticks = [DistributionTick(t + 1.0, (50,), (450,), categories=("legit",)) for t in range(4)]
    assert feed(DRIFT, ticks).verdict.verdict is Verdict.PASS


def test_a_limit_says_which_difference_counts() -> None:
    ticks = answers(3, 200, (0.9, 0.1), (0.95, 0.05))
    assert feed(DRIFT, ticks).verdict.verdict is Verdict.FAIL_MINOR
    assert feed(Policy("p", Severity.MAJOR, limit=0.1), ticks).verdict.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("stable", "reason", "words"),
    [
        ((30, 20), Reason.DRIFTED_FROM_REFERENCE, "stable's have moved too (1.1"),
        ((48, 2), Reason.DIFFERENT_FROM_STABLE, "stable's have not ("),
        ((), Reason.DRIFTED_FROM_REFERENCE, "the threshold is 0.1"),
    ],
)
def test_a_drift_says_whether_stable_has_moved_as_well(stable: tuple[int, ...], reason: Reason, words: str) -> None:
    names = ("legit", "fraud", "other")
    ticks = [
        ReferenceTick(t + 1.0, (30, 20, 0), (9700, 300, 0), (*stable, 0) if stable else (), names) for t in range(20)
    ]
    verdict = feed(DRIFT, ticks).verdict
    assert (verdict.verdict, verdict.reason, verdict.unit) == (Verdict.FAIL_MINOR, reason, "PSI")
    assert words in verdict.message
    assert verdict.needed == 0


def test_another_reference_begins_afresh() -> None:
    old = feed(DRIFT, [ReferenceTick(1.0, (40, 10), (90, 10), categories=("a", "b"))])
    new = feed(DRIFT, [ReferenceTick(2.0, (4, 1), (90, 10), categories=("a", "c"))], old.evidence)
    assert new.evidence["live"] == [4, 1]


def test_silence_is_no_data() -> None:
    assert feed(DRIFT, [DistributionTick(1.0, (0, 0), (50, 50))]).verdict.reason is Reason.NO_TRAFFIC
    assert feed(DRIFT, [ReferenceTick(1.0, (0, 0), (50, 50))]).verdict.reason is Reason.NO_TRAFFIC


def test_evidence_of_twenty_categories_is_under_one_kibibyte() -> None:
    rng = np.random.default_rng(1)
    counts = [tuple(rng.integers(10**5, 10**6, 20).tolist()) for _ in range(6)]
    arms_ = [DistributionTick(1.7e9 + t, counts[t], counts[t + 1], True) for t in range(5)]
    assert size(feed(DRIFT, arms_).evidence) < 1024
    assert size(feed(DRIFT, [ReferenceTick(1.7e9, counts[0], counts[1], counts[2])]).evidence) < 1024
    names = tuple(f"category-with-{index:06}" for index in range(20))  # the longest names
    named = [DistributionTick(1.7e9 + t, counts[t], counts[t + 1], categories=names) for t in range(5)]
    assert size(feed(DRIFT, named).evidence) < 1024 + 128
