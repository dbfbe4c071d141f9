"""From series to a tick: sums over pods, buckets made comparable, and everything that is no tick."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from serin.analysis.types import (
    Arm,
    HistogramTick,
    MeanTick,
    Moments,
    NoData,
    NoDataReason,
    RatioTick,
    SlicedTick,
    Tick,
)
from serin.api.conditions import Reason
from serin.metrics.answers import Series
from serin.metrics.counting import increase
from serin.metrics.readings import Row
from serin.metrics.ticks import (
    NO_ARM,
    ArmRows,
    Missing,
    Window,
    find_missing,
    histogram_tick,
    identity,
    mean_tick,
    ratio_tick,
    sliced_tick,
    without_memory,
)

WINDOW = Window(since=10.0, until=40.0, interval=10.0)


def row(*values: float, sign: int = 1, start: float = 10.0, **labels: str) -> Row:
    times = tuple(start + 10.0 * index for index in range(len(values)))
    return Row(sign, Series({"job": "router", "instance": "pod", **labels}, times, values), frozenset())


def arm(
    total: Sequence[Row], bad: Sequence[Row] = (), presence: Sequence[Row] = (), sums: Sequence[Row] = ()
) -> ArmRows:
    return ArmRows("fraud-b", total, bad, presence, sums)


def ratio(candidate: ArmRows, stable: ArmRows) -> Tick:
    return ratio_tick(candidate, stable, WINDOW, {})


def checked(passed: float, bad: float, unchecked: float) -> ArmRows:
    """What the guard has judged between two scrapes, and what passed it by."""
    found = arm([row(0, passed)], [row(0, bad)])
    return replace(found, unchecked=[row(0, unchecked)])


@pytest.mark.parametrize("unchecked", [0, 1])
def test_what_passed_unchecked_is_no_evidence_and_a_little_of_it_does_not_matter(unchecked: int) -> None:
    assert ratio(checked(99, 3, unchecked), QUIET) == RatioTick(30.0, Arm(99, 3), Arm(0, 0))


@pytest.mark.parametrize(("passed", "unchecked"), [(98, 2), (0, 5)])
def test_where_more_than_a_hundredth_passed_unchecked_nothing_counts(passed: int, unchecked: int) -> None:
    tick = ratio(checked(passed, 0, unchecked), QUIET)
    assert isinstance(tick, NoData)
    # The next look begins after it: the rest of the rollout can still be judged.
    assert (tick.reason, tick.at) == (Reason.PARTIAL, 30.0)
    assert f"fraud-b: {unchecked} of {passed + unchecked} answers passed unchecked" in tick.message
    assert isinstance(ratio(QUIET, checked(passed, 0, unchecked)), NoData), "stable's count too: they are compared"


QUIET = arm([row(100, 100, 100)])


def test_pods_and_terms_are_added_with_their_signs() -> None:
    candidate = arm(
        [row(10, 20, 30, pod="a"), row(5, 5, 6, pod="b"), row(0, 1, 2, sign=-1, pod="a")], [row(1, 1, 4, pod="a")]
    )
    assert ratio(candidate, arm([row(7, 8, 9)])) == RatioTick(30.0, Arm(19, 3), Arm(2, 0))


def test_rounding_comes_after_adding() -> None:
    halves = [row(0, 0, 0.4, pod=str(pod)) for pod in range(5)]
    assert ratio(arm(halves), QUIET) == RatioTick(30.0, Arm(2, 0), Arm(0, 0))


def test_no_request_of_either_arm_is_no_traffic_up_to_the_newest_sample() -> None:
    tick = ratio(QUIET, QUIET)
    assert isinstance(tick, NoData)
    assert (tick.reason, tick.at) == (Reason.NO_TRAFFIC, 30.0)


def test_no_counter_yet_but_known_to_the_router_is_no_traffic() -> None:
    known = arm([], [], [row(1, 1, 1)])
    tick = ratio(known, known)
    assert isinstance(tick, NoData)
    assert (tick.reason, tick.at) == (Reason.NO_TRAFFIC, 30.0)
    assert histogram_tick(known, known, WINDOW, {}, "s") == tick


@pytest.mark.parametrize(
    "candidate",
    [arm([row(0, 1, 2)], [row(0, 0, 3)]), arm([row(0, 5, 9, sign=-1)])],
    ids=["more bad than all", "negative"],
)
def test_what_does_not_add_up_is_left_for_the_next_collection(candidate: ArmRows) -> None:
    tick = ratio(candidate, QUIET)
    assert isinstance(tick, NoData)
    assert tick.reason is Reason.PARTIAL
    assert tick.at is None, "the next collection must start where this one did"


def test_what_never_adds_up_is_left_out_after_a_while() -> None:
    """Or a restart that nobody saw would end the judging of a candidate for good."""
    values = [0.0, 1, 2, 3, 4, 5, 6, 7]
    candidate = arm([row(*values)], [row(*(2 * value for value in values))])
    tick = ratio_tick(candidate, QUIET, Window(10.0, 80.0, 10.0), {})
    assert isinstance(tick, NoData)
    assert (tick.reason, tick.at) == (Reason.PARTIAL, 80.0)
    assert "left out" in tick.message


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_a_number_is_no_data(bad: float) -> None:
    tick = ratio(arm([row(1, 2, bad)]), QUIET)
    assert isinstance(tick, NoData)
    assert tick.reason is Reason.NOT_A_NUMBER
    assert tick.at == 30.0, "the next collection must leave the odd sample behind"


def test_a_series_without_start_counts_from_its_base() -> None:
    young = row(30, 40, start=20.0)
    bases = {identity(young.series): 25.0}
    assert ratio_tick(arm([young]), QUIET, WINDOW, bases) == RatioTick(30.0, Arm(15, 0), Arm(0, 0))


def histogram(counts: dict[str, tuple[float, ...]], **labels: str) -> list[Row]:
    return [row(*values, le=bound, **labels) for bound, values in counts.items()]


def test_buckets_are_counted_one_by_one() -> None:
    candidate = histogram({"1": (0, 2, 3), "5": (0, 2, 7), "+Inf": (10, 12, 18)})
    stable = histogram({"1.0": (5, 5, 6), "5": (5, 6, 8), "+Inf": (5, 6, 8)})
    tick = histogram_tick(arm(candidate), arm(stable), WINDOW, {}, "ms")
    assert tick == HistogramTick(30.0, (1.0, 5.0), (3, 4, 1), (1, 2, 0), "ms")


def test_other_bounds_of_a_version_leave_those_that_both_share() -> None:
    candidate = histogram({"1": (0, 3), "2": (0, 4), "5": (0, 7), "+Inf": (0, 8)})
    stable = histogram({"1": (0, 1), "5": (0, 2), "10": (0, 3), "+Inf": (0, 3)}, serin_snapshot="a")
    tick = histogram_tick(arm(candidate), arm(stable), WINDOW, {}, "s")
    assert tick == HistogramTick(20.0, (1.0, 5.0), (3, 4, 1), (1, 1, 1), "s")


def test_a_version_without_a_request_has_empty_buckets() -> None:
    stable = histogram({"1": (0, 1), "+Inf": (0, 3)})
    tick = histogram_tick(arm([], [], [row(1, 1)]), arm(stable), WINDOW, {}, "s")
    assert tick == HistogramTick(20.0, (1.0,), (0, 0), (1, 2), "s")


def test_series_that_are_no_histogram_are_refused() -> None:
    for rows in ([row(1, 2)], histogram({"1": (0, 1), "5": (0, 2)}), histogram({"x": (0, 1), "+Inf": (0, 2)})):
        tick = histogram_tick(arm(rows), arm(histogram({"7": (0, 1)}, serin_snapshot="a")), WINDOW, {}, "s")
        assert isinstance(tick, NoData)
        assert tick.reason is Reason.QUERY_FAILED


def test_buckets_that_do_not_add_up_are_left_for_the_next_collection() -> None:
    rows = histogram({"1": (0, 4), "+Inf": (0, 3)})
    tick = histogram_tick(arm(rows), arm(rows), WINDOW, {}, "s")
    assert isinstance(tick, NoData)
    assert (tick.reason, tick.at) == (Reason.PARTIAL, None)


def mean(counts: tuple[float, ...], sums: tuple[float, ...], **labels: str) -> ArmRows:
    return arm([row(*counts, **labels)], sums=[row(*sums, **labels)])


def test_a_mean_is_counted_with_its_sum() -> None:
    candidate = arm([row(0, 2), row(0, 1, pod="b")], sums=[row(0, 2.5), row(0, 1.25, pod="b")])
    tick = mean_tick(candidate, mean((7, 9), (70, 90)), WINDOW, {})
    assert tick == MeanTick(20.0, Moments(3, 3.75), Moments(2, 20.0))


def test_a_restart_counts_both_from_zero() -> None:
    tick = mean_tick(mean((50, 60, 3), (500, 600, 33)), mean((7, 9), (70, 90)), WINDOW, {})
    assert tick == MeanTick(30.0, Moments(13, 133.0), Moments(2, 20.0))


@pytest.mark.parametrize(
    ("counted", "reason", "at"),
    [
        (mean((0, 1, 2), (0, 7, 5)), Reason.QUERY_FAILED, 30.0),
        (mean((0, 0, 0), (0, 7, 7)), Reason.PARTIAL, None),
        (mean((0, 1, 2), (0, 7, math.nan)), Reason.NOT_A_NUMBER, 30.0),
        (mean((0, 0, 0), (0, 0, 0)), Reason.NO_TRAFFIC, 30.0),
    ],
    ids=["below 0", "a sum over nothing", "not a number", "idle"],
)
def test_what_is_no_mean(counted: ArmRows, reason: NoDataReason, at: float | None) -> None:
    tick = mean_tick(counted, mean((0, 0, 0), (0, 0, 0)), WINDOW, {})
    assert isinstance(tick, NoData)
    assert (tick.reason, tick.at) == (reason, at)


def test_numbers_below_zero_are_told_from_a_restart() -> None:
    tick = mean_tick(mean((5, 6, 7), (9, 8, 10)), mean((0, 0, 0), (0, 0, 0)), WINDOW, {})
    assert isinstance(tick, NoData)
    assert "Numbers below 0 cannot be counted: add a constant" in tick.message
    started = Row(1, row(9, 8).series, frozenset({20.0}))
    tick = mean_tick(arm([row(5, 6)], sums=[started]), mean((0, 0), (0, 0)), WINDOW, {})
    assert tick == MeanTick(20.0, Moments(1, 8.0), Moments(0, 0.0)), "known to have begun anew"


def test_late_is_not_stale() -> None:
    late, stopped = Window(30.0, 59.0, 10.0), Window(30.0, 61.0, 10.0)
    assert find_missing(QUIET, late) is None
    assert find_missing(QUIET, stopped) is Missing.STALE
    assert find_missing(arm([]), late) is Missing.ABSENT


def test_without_a_baseline_it_counts_no_requests() -> None:
    assert ratio(arm([row(10, 20, 30)], [row(1, 1, 4)]), NO_ARM) == RatioTick(30.0, Arm(20, 3), Arm(0, 0))
    assert mean_tick(mean((0, 2), (0, 5)), NO_ARM, WINDOW, {}) == MeanTick(20.0, Moments(2, 5.0), Moments(0, 0.0))
    counted = arm(histogram({"1": (0, 2), "+Inf": (0, 3)}))
    assert histogram_tick(counted, NO_ARM, WINDOW, {}, "s") == HistogramTick(20.0, (1.0,), (2, 1), (0, 0), "s")


def test_another_servers_samples_count_from_the_first_one_after_what_was_counted() -> None:
    """Of two servers one has counted up to 10; the other scraped at 5, 15, 25 and 35."""
    total, late = row(80, 100, 110, 125, start=5.0), row(4, 6, start=25.0, code="500")
    born = Row(1, late.series, frozenset({25.0}))
    candidate = arm([total], [born, row(3, start=5.0, code="503")])
    stable = arm([row(70, 71, start=25.0, instance="other")])
    assert not candidate.shows(10.0)
    assert candidate.shows(15.0001)
    later = without_memory([candidate, stable], WINDOW)
    tick = ratio_tick(later[0], later[1], WINDOW, {})
    assert tick == RatioTick(35.0, Arm(25, 6), Arm(1, 0)), "what began after the first scrape counted from 0"


def test_a_single_scrape_after_what_was_counted_is_no_newer_sample() -> None:
    [one] = without_memory([arm([row(80, 100, start=5.0)])], WINDOW)
    assert one.newest == 10.0
    [none] = without_memory([arm([row(80, start=5.0)])], WINDOW)
    assert none.newest == 10.0
    too_early = arm([row(80, start=5.0), row(90, 95, start=3.0, code="500"), row(70, 99, start=2.0, sign=-1)])
    [one] = without_memory([too_early], WINDOW)
    assert [each.series.times for each in one.total] == 3 * [(10.0,)], "they are too near to what was counted"


def test_a_series_that_is_there_with_the_first_scrape_began_before() -> None:
    """It may be counted already: the server that has counted may have seen it earlier."""
    born = Row(1, row(9, 12, start=15.0).series, frozenset({15.0}))
    [one] = without_memory([arm([born])], WINDOW)
    assert ratio_tick(one, NO_ARM, WINDOW, {}) == RatioTick(25.0, Arm(3, 0), Arm(0, 0))


def test_a_scrape_that_began_with_the_one_that_was_counted_may_have_read_earlier() -> None:
    [one] = without_memory([arm([row(80, 90, 100, start=11.0)])], WINDOW)
    assert ratio_tick(one, NO_ARM, WINDOW, {}) == RatioTick(31.0, Arm(10, 0), Arm(0, 0))


def sliced(candidate: ArmRows, stable: ArmRows) -> Tick:
    return sliced_tick(candidate, stable, WINDOW, {}, "country")


def test_slices_are_counted_beside_the_whole_over_all_pods() -> None:
    candidate = arm(
        [
            row(0, 5, 10, country="de", pod="a"),
            row(0, 1, 2, country="de", pod="b"),
            row(0, 2, 4, country="pt", pod="a"),
            row(0, 1, 1, pod="a"),
        ],
        [row(0, 0, 3, country="pt", pod="a")],
    )
    stable = arm([row(0, 20, 40, country="de"), row(0, 9, 9, country="fr")], [row(0, 0, 1, country="de")])
    found = sliced(candidate, stable)
    assert isinstance(found, SlicedTick)
    assert found.whole == RatioTick(30.0, Arm(17, 3), Arm(49, 1))
    assert found.slices == {
        "de": (Arm(12, 0), Arm(40, 1)),
        "fr": (Arm(0, 0), Arm(9, 0)),
        "pt": (Arm(4, 3), Arm(0, 0)),
    }, "what has no country counts in the whole alone, and every slice of either version is there"


@pytest.mark.parametrize(
    ("candidate", "reason", "words"),
    [
        (arm([row(0, 5, 10)]), Reason.QUERY_FAILED, "no series of total has the label country"),
        (
            arm([row(0, 5, 10, country="de")], [row(0, 0, 2)]),
            Reason.QUERY_FAILED,
            "bad has series without the label country, and total has none without",
        ),
        (
            arm([row(0, 5, 10, country="de"), row(0, 0, 1)], [row(0, 0, 2)]),
            Reason.PARTIAL,
            "country (none): fraud-b: 2 bad of 1 requests",
        ),
        (
            arm([row(0, 5, 10, country="de"), row(0, 5, 10, country="pt")], [row(0, 0, 12, country="pt")]),
            Reason.PARTIAL,
            "country pt: fraud-b: 12 bad of 10 requests",
        ),
    ],
)
def test_what_cannot_be_sliced_says_why(candidate: ArmRows, reason: NoDataReason, words: str) -> None:
    found = sliced(candidate, arm([]))
    assert isinstance(found, NoData)
    assert found.reason is reason
    assert words in found.message


def test_slices_without_requests_are_left_out_and_silence_is_that_of_the_whole() -> None:
    candidate = arm([row(0, 5, 10, country="de"), row(7, 7, 7, country="pt")])
    found = sliced(candidate, arm([]))
    assert isinstance(found, SlicedTick)
    assert list(found.slices) == ["de"]
    assert sliced(arm([row(7, 7, 7, country="pt")]), arm([])) == NoData(
        Reason.NO_TRAFFIC, "the metric is scraped, and no request was counted", 30.0
    )


def test_a_request_without_the_label_counts_in_the_whole_alone() -> None:
    """A client that sends none must not be able to hold anyone's rollout."""
    candidate = arm([row(0, 5, 10, country="de"), row(0, 0, 3)], [row(0, 0, 2)])
    found = sliced(candidate, arm([]))
    assert isinstance(found, SlicedTick)
    assert found.whole.candidate == Arm(13, 2)
    assert found.slices == {"de": (Arm(10, 0), Arm(0, 0))}


def test_what_clients_write_into_a_label_is_neither_long_nor_a_command_and_no_two_values_become_one() -> None:
    hostile = ["a" * 100_000, "a" * 99_999 + "b", "\x1b[2Jde", "\x1b[3Jde", "\u202ede", "de", "\x00", "\x01", "\ud800"]
    found = sliced(arm([row(0, 0, place + 1, country=one) for place, one in enumerate(hostile)]), arm([]))
    assert isinstance(found, SlicedTick)
    assert sorted(first.requests for first, _ in found.slices.values()) == list(range(1, len(hostile) + 1))
    assert all(name.isprintable() and len(name) <= 40 for name in found.slices)
    assert "de" in found.slices
    broken = sliced(arm([row(0, 0, 1, country=hostile[0])], [row(0, 0, 2, country=hostile[0])]), arm([]))
    assert isinstance(broken, NoData)
    assert len(broken.message) < 200


def test_ten_thousand_values_are_counted_row_by_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a label costs grows with its series, not with their square."""
    counted = 0

    def count(*arguments: object) -> float:
        nonlocal counted
        counted += 1
        return increase(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("serin.metrics.ticks.increase", count)
    values = 10_000
    found = sliced(
        arm([row(0, 1, 2, country=f"c{one}") for one in range(values)]),
        arm([row(0, 1, 2, country=f"c{one}") for one in range(values)]),
    )
    assert isinstance(found, SlicedTick)
    assert len(found.slices) == values
    assert counted == 2 * 2 * values, "once for the whole, once for the slice"
