"""From series to counts per category: names, buckets, references, and everything that is no tick."""

import math

import pytest

from serin.analysis.types import (
    CONCENTRATION,
    DistributionTick,
    MeanTick,
    Moments,
    NoData,
    NoDataReason,
    ReferenceTick,
    Tick,
)
from serin.api.conditions import Reason
from serin.metrics.distributions import LONGEST, concentration_tick, distribution_tick, reference_tick
from serin.metrics.readings import Row
from serin.metrics.ticks import ArmRows
from tests.unit.metrics.test_ticks import WINDOW, histogram, row


def answers(counts: dict[str, tuple[float, ...]], **labels: str) -> list[Row]:
    return [row(*values, label=name, **labels) for name, values in counts.items()]


def count(candidate: list[Row], stable: list[Row], by: str = "label") -> Tick:
    return distribution_tick(ArmRows("fraud-b", candidate), ArmRows("fraud-a", stable), WINDOW, {}, by)


def against(reference: dict[str, int], candidate: list[Row], stable: list[Row], by: str = "label") -> Tick:
    return reference_tick(ArmRows("fraud-b", candidate), ArmRows("fraud-a", stable), WINDOW, {}, by, reference)


STABLE = answers({"legit": (100, 190), "fraud": (3, 13)}, serin_snapshot="a")


def test_answers_are_added_up_by_category_over_pods_and_terms() -> None:
    candidate = [*answers({"legit": (0, 8)}, pod="a"), *answers({"legit": (5, 7), "fraud": (0, 1)}, pod="b")]
    candidate.append(row(0, 3, sign=-1, label="legit", pod="a"))
    assert count(candidate, STABLE) == DistributionTick(20.0, (1, 7), (10, 90), categories=("fraud", "legit"))


def test_only_what_was_answered_has_a_category() -> None:
    candidate = answers({"legit": (0, 8), "review": (4, 4)})
    tick = count(candidate, STABLE)
    assert isinstance(tick, DistributionTick)
    assert tick.categories == ("fraud", "legit")


def test_long_names_are_cut_and_stay_different() -> None:
    long = "answer_with_a_very_long_name_"
    tick = count(answers({f"{long}one": (0, 8), f"{long}two": (0, 9)}), STABLE)
    assert isinstance(tick, DistributionTick)
    assert {len(name) for name in tick.categories if name.startswith("answer_with_a")} == {LONGEST}
    assert sorted(tick.candidate) == [0, 0, 8, 9]


def test_a_restart_counts_from_zero() -> None:
    tick = count(answers({"legit": (50, 8), "fraud": (5, 6)}), STABLE)
    assert tick == DistributionTick(20.0, (1, 8), (10, 90), categories=("fraud", "legit"))


def test_nobody_answered_is_no_traffic() -> None:
    idle = answers({"legit": (5, 5)})
    tick = count(idle, idle)
    assert isinstance(tick, NoData)
    assert (tick.reason, tick.at) == (Reason.NO_TRAFFIC, 20.0)


def test_a_label_that_is_not_there_is_said_with_those_that_are() -> None:
    tick = count(STABLE, STABLE, "class")
    assert isinstance(tick, NoData)
    assert tick.reason is Reason.QUERY_FAILED
    assert tick.message == "the series have no label class: write by: one of label"


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        ([*answers({"legit": (0, 8)}), row(0, 9, sign=-1, label="legit", pod="b")], Reason.PARTIAL),
        (answers({"legit": (0, math.nan)}), Reason.NOT_A_NUMBER),
    ],
)
def test_what_does_not_add_up_is_no_tick(candidate: list[Row], reason: NoDataReason) -> None:
    tick = count(candidate, STABLE)
    assert isinstance(tick, NoData)
    assert tick.reason is reason


def test_buckets_are_ordered_and_named_by_their_bounds() -> None:
    candidate = histogram({"0.1": (0, 2), "0.5": (0, 7), "+Inf": (0, 8)})
    stable = histogram({"0.1": (0, 20), "0.5": (0, 70), "+Inf": (0, 80)}, serin_snapshot="a")
    expected = DistributionTick(20.0, (2, 5, 1), (20, 50, 10), ordered=True, categories=("0.1", "0.5", "inf"))
    assert count(candidate, stable, "le") == expected


def test_of_many_buckets_evenly_chosen_bounds_are_left() -> None:
    bounds = [f"{index / 100}" for index in range(1, 70)]
    rows = histogram({bound: (0, 2 * index + 2) for index, bound in enumerate([*bounds, "+Inf"])})
    tick = count(rows, rows, "le")
    assert isinstance(tick, DistributionTick)
    assert (len(tick.categories), tick.categories[-1]) == (20, "inf")
    assert sum(tick.candidate) == 140
    assert {6, 8} >= {*tick.candidate}, "three or four buckets in one"


def test_categories_of_a_reference_keep_their_order_and_the_rest_is_other() -> None:
    candidate = answers({"legit": (0, 8), "fraud": (0, 2), "review": (0, 1), "spam": (0, 4)})
    reference = {"spam": 5, "legit": 95, "chargeback": 2}
    names = ("spam", "legit", "chargeback", "other")
    expected = ReferenceTick(20.0, (4, 8, 0, 3), (5, 95, 2, 0), (0, 90, 0, 10), names)
    assert against(reference, candidate, STABLE) == expected
    tick = against({"other": 7, "legit": 95}, candidate, STABLE)
    assert tick == ReferenceTick(20.0, (8, 7), (95, 7), (90, 10), ("legit", "other"))


def test_a_reference_needs_no_stable() -> None:
    tick = against({"legit": 95, "fraud": 5}, answers({"legit": (0, 8)}), [])
    assert tick == ReferenceTick(20.0, (8, 0, 0), (95, 5, 0), (0, 0, 0), ("legit", "fraud", "other"))


def test_buckets_of_a_reference_may_be_coarser_but_must_be_there() -> None:
    rows = histogram({"0.1": (0, 2), "0.5": (0, 7), "0.9": (0, 8), "+Inf": (0, 10)})
    tick = against({"0.5": 70, "0.9": 20, "inf": 10}, rows, rows, "le")
    assert tick == ReferenceTick(20.0, (7, 1, 2), (70, 20, 10), (7, 1, 2), ("0.5", "0.9", "inf"))
    tick = against({"0.3": 70, "inf": 10}, rows, rows, "le")
    assert isinstance(tick, NoData)
    assert tick.message == "the reference has the bound 0.3, and the histogram does not; it has: 0.1, 0.5, 0.9, inf"


def test_how_often_answers_are_the_same_is_counted_over_pods_beside_how_many_there_are() -> None:
    candidate = [*answers({"legit": (0, 2)}, pod="a"), *answers({"legit": (5, 6), "fraud": (0, 1)}, pod="b")]
    found = concentration_tick(ArmRows("fraud-b", candidate), ArmRows("fraud-a", STABLE), WINDOW, {}, "label")
    alike_of_stable = (90 * 89 + 10 * 9) / (100 * 99)  # pairs that are the same, of all pairs
    assert found == MeanTick(20.0, Moments(4, 4 * 6 / 12), Moments(100, 100 * alike_of_stable), CONCENTRATION)
    nothing = concentration_tick(ArmRows("fraud-b", []), ArmRows("fraud-a", STABLE), WINDOW, {}, "other")
    assert isinstance(nothing, NoData)
    assert "the series have no label other" in nothing.message
