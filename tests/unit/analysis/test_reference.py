"""Have the answers moved from a frozen reference?"""

import numpy as np
import pytest

from serin.analysis.types import ReferenceTick
from serin.api.conditions import Reason
from serin.api.verdicts import Verdict
from tests.unit.analysis.ticks import PREDICTION, feed, scores, size

REFERENCE = (1000,) * 10


def live(seed: int, ticks: int, requests: int, shift: float = 0.0, start: float = 1.0) -> list[ReferenceTick]:
    rng = np.random.default_rng(seed)
    return [ReferenceTick(start + t, scores(rng, requests, shift), REFERENCE) for t in range(ticks)]


def test_answers_that_have_moved_are_found() -> None:
    assert feed(PREDICTION, live(1, 10, 50, 1.0)).verdict.reason is Reason.DRIFTED_FROM_REFERENCE


def test_answers_that_have_not_moved_pass_once_there_are_enough_requests() -> None:
    ticks = live(1, 10, 50)
    assert feed(PREDICTION, ticks[:3]).verdict.verdict is Verdict.INCONCLUSIVE
    assert feed(PREDICTION, ticks).verdict.verdict is Verdict.PASS


def test_a_drift_is_taken_back_when_the_answers_come_back() -> None:
    moved = feed(PREDICTION, live(1, 10, 500, 1.0))
    assert moved.verdict.verdict is Verdict.FAIL_MINOR
    after = feed(PREDICTION, live(2, 100, 500, start=100.0), moved.evidence).verdict
    assert after.verdict is Verdict.PASS
    assert after.requests < 20_000  # of 55,000: old counts fade


def test_a_reference_that_is_too_small_never_gives_a_verdict() -> None:
    small = [ReferenceTick(t + 1.0, (500,) * 10, (5,) * 10) for t in range(10)]
    verdict = feed(PREDICTION, small).verdict
    assert (verdict.verdict, verdict.needed) == (Verdict.INCONCLUSIVE, None)


def test_references_that_do_not_fit_are_no_data() -> None:
    assert feed(PREDICTION, [ReferenceTick(1.0, (5, 5), (1, 2, 3))]).verdict.reason is Reason.PARTIAL
    assert feed(PREDICTION, [ReferenceTick(1.0, (5, 5), (0, 0))]).verdict.reason is Reason.SERIES_ABSENT


@pytest.mark.parametrize("categories", [["legit"], ["legit", "legit"], ["legit", 7], "legit", None])
def test_evidence_whose_names_do_not_fit_its_counts_is_replaced(categories: object) -> None:
    first, second = (ReferenceTick(at, (9, 1), (97, 3), (), ("legit", "fraud")) for at in (99.0, 100.0))
    broken = {**feed(PREDICTION, [first]).evidence, "categories": categories}
    assert sum(feed(PREDICTION, [second], broken).evidence["live"]) == 10


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
    verdict = feed(PREDICTION, ticks).verdict
    assert (verdict.verdict, verdict.reason, verdict.unit) == (Verdict.FAIL_MINOR, reason, "PSI")
    assert words in verdict.message
    assert verdict.both_moved == ("too" in words)
    assert verdict.needed == 0


def test_another_reference_is_new_evidence() -> None:
    old = feed(PREDICTION, [ReferenceTick(1.0, (40, 10), (90, 10), categories=("a", "b"))])
    new = feed(PREDICTION, [ReferenceTick(2.0, (4, 1), (90, 10), categories=("a", "c"))], old.evidence)
    assert new.evidence["live"] == [4, 1]


def test_no_answers_are_no_data() -> None:
    assert feed(PREDICTION, [ReferenceTick(1.0, (0, 0), (50, 50))]).verdict.reason is Reason.NO_TRAFFIC


def test_evidence_of_twenty_categories_is_under_one_kibibyte() -> None:
    rng = np.random.default_rng(1)
    counts = [tuple(rng.integers(10**5, 10**6, 20).tolist()) for _ in range(3)]
    assert size(feed(PREDICTION, [ReferenceTick(1.7e9, counts[0], counts[1], counts[2])]).evidence) < 1024
