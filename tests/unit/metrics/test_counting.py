"""Increase of counters: every rule by an example, and the law that holds for all of them together."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serin.metrics.answers import Series
from serin.metrics.counting import (
    are_of_one_server,
    cut,
    find_start_times,
    in_step,
    increase,
    is_without_start,
    learn_interval,
    newest_by_target,
)

NOTHING: frozenset[float] = frozenset()


def series(*samples: tuple[float, float], instance: str = "pod-1", **labels: str) -> Series:
    times, values = zip(*samples, strict=True)
    return Series({"job": "router", "instance": instance, **labels}, times, values)


def test_counting_begins_at_the_last_sample_counted() -> None:
    assert increase(series((10, 5), (20, 7), (30, 12)), NOTHING, 20.0, None) == 5


def test_a_lower_value_is_a_reset_and_adds_the_new_value() -> None:
    assert increase(series((10, 50), (20, 4), (30, 6)), NOTHING, 10.0, None) == 6


def test_several_resets_in_one_gap_all_count() -> None:
    assert increase(series((10, 9), (20, 3), (30, 8), (40, 1)), NOTHING, 10.0, None) == 9


def test_a_time_that_was_kept_as_milliseconds_counts_nothing_twice() -> None:
    assert increase(series((10.1234, 5), (20.1234, 7)), NOTHING, 10.123, None) == 2


def test_the_first_sample_without_a_start_counts_from_its_base_or_only_sets_it() -> None:
    young = series((30, 12), (40, 15))
    assert is_without_start(young, NOTHING, 20.0)
    assert increase(young, NOTHING, 20.0, 0.0) == 15
    assert increase(young, NOTHING, 20.0, 10.0) == 5
    assert increase(young, NOTHING, 20.0, 14.0) == 15, "lower than its base: a reset, 12, and 3 more"
    assert increase(young, NOTHING, 20.0, None) == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    total = increase(series((10, 1), (20, bad), (30, 4)), NOTHING, 10.0, None)
    assert not (total < float("inf"))


def test_a_series_that_appears_in_a_scraped_target_counts_from_zero() -> None:
    requests, errors = series((10, 50), (20, 60), (30, 70)), series((30, 3), code="500")
    start_times = find_start_times([requests, errors])
    assert start_times == [frozenset(), frozenset({30})]
    assert not is_without_start(errors, start_times[1], 20.0)
    assert increase(errors, start_times[1], 20.0, None) == 3


def test_a_series_missing_from_a_scrape_began_again_even_if_it_is_higher_now() -> None:
    requests, errors = series((10, 50), (20, 2), (30, 70)), series((10, 3), (30, 5), code="500")
    began = find_start_times([requests, errors])[1]
    assert began == frozenset({30})
    assert increase(errors, began, 10.0, None) == 5


def test_a_scrape_that_was_missed_as_a_whole_proves_nothing() -> None:
    requests, errors = series((10, 50), (30, 70)), series((10, 3), (30, 5), code="500")
    assert find_start_times([requests, errors]) == [frozenset(), frozenset()]
    assert increase(errors, frozenset(), 10.0, None) == 2


def test_other_targets_prove_nothing() -> None:
    other, late = series((10, 50), (20, 60), instance="pod-2"), series((20, 900))
    assert find_start_times([other, late]) == [frozenset(), frozenset()]


def test_samples_at_other_times_prove_nothing() -> None:
    """Two replicas of Prometheus behind one query front end may take turns, series by series."""
    first, second = series((10, 50), (20, 60), (30, 65)), series((10, 3), (25, 4), (35, 5), code="500")
    assert find_start_times([first, second]) == [frozenset(), frozenset()]


def test_cut_keeps_what_has_settled() -> None:
    old, young, both = series((10, 1), (20, 2)), series((40, 1)), series((20, 1), (30, 2), (40, 3))
    kept = cut([old, young, both], 30.0)
    assert [one.times for one in kept] == [(10, 20), (20, 30)]


def test_the_interval_is_the_usual_spacing_of_the_slowest_job() -> None:
    fast = [series((t, 0), (t + 5, 0), (t + 10, 0), instance=f"pod-{t}") for t in (1, 2, 3)]
    missed = series((4, 0), (14, 0), instance="pod-4")
    slow = Series({"job": "batch", "instance": "a"}, (0, 30), (0, 0))
    assert learn_interval([*fast, missed]) == 5
    assert learn_interval([*fast, missed, slow]) == 30
    assert learn_interval([series((1, 0))]) is None
    assert learn_interval([series((1, 0), (1.25, 0))]) == 1.0, "a tick is never shorter than a second"


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Series], list[float]]:
    """Two series of one target, either missing from any scrape and reset at any, and moments of collection."""
    times = [10.0 * number for number in range(draw(st.integers(2, 12)))]
    found = []
    for code in ("200", "500"):
        steps = [draw(st.one_of(st.none(), st.integers(-3, 6))) for _ in times]
        value, samples = 0.0, []
        for time, step in zip(times, steps, strict=True):
            if step is None:
                continue
            value = value + step if step >= 0 else float(-step)
            samples.append((time, value))
        if samples:
            found.append(series(*samples, code=code))
    looks = sorted(draw(st.sets(st.floats(0, times[-1]), max_size=6)))
    return found, [-1.0, *looks, times[-1]]


@pytest.mark.more
@settings(deadline=None)
@given(histories())
def test_many_collections_count_what_one_counts(history: tuple[list[Series], list[float]]) -> None:
    found, looks = history
    start_times = find_start_times(found)
    for one, began in zip(found, start_times, strict=True):
        whole = increase(one, began, looks[0], 0.0)
        parts = 0.0
        for since, until in pairwise(looks):
            (seen,) = cut([one], until) or (None,)
            if seen is not None:
                parts += increase(seen, began, since, 0.0)
        assert parts == whole


def test_answers_of_two_servers_share_no_scrape() -> None:
    total, bad = series((1, 1), (11, 2), (21, 3)), series((11, 1), (21, 1), code="500")
    other = series((4, 1), (14, 1), (24, 1), code="500")
    assert are_of_one_server([[total], [bad]])
    assert not are_of_one_server([[total], [other]])
    assert not are_of_one_server([[total], [], [bad, other], [other]])
    assert are_of_one_server([[total, other]]), "one answer is one server's"
    assert are_of_one_server([[total], [series((4, 1), instance="b")]]), "each target has its own times"
    assert are_of_one_server([[total], [series((31, 1), (41, 1), code="500")]]), "never there together"


@pytest.mark.parametrize("wanted", [1000.0, 1003.2, 1005.0, 1007.5, 1012.49])
def test_a_moment_in_step_is_the_nearest_one(wanted: float) -> None:
    moment = in_step([42.5], 5.0, wanted)
    assert (moment - 42.5) % 5.0 == pytest.approx(0.0, abs=1e-6)
    assert abs(moment - wanted) <= 2.5


@pytest.mark.parametrize(
    ("newest", "phase"), [([101.0, 104.0], 1.0), ([104.0, 111.0], 1.0), ([101.0, 102.0, 103.0], 3.0), ([103.0], 3.0)]
)
def test_of_several_targets_the_one_is_kept_in_step_with_that_lets_the_others_wait_least(
    newest: list[float], phase: float
) -> None:
    """Scraped every 5 s: after 4 and 1 the wait is 2 s, after 1 and 4 it would be 3 s."""
    assert in_step(newest, 5.0, 500.0) % 5.0 == pytest.approx(phase)


def test_a_target_was_scraped_last_when_any_of_its_series_was() -> None:
    found = [
        series((1, 0), (2, 0), instance="a"),
        series((1, 0), instance="a", code="500"),
        series((1.5, 0), instance="b"),
    ]
    assert newest_by_target(found) == {("router", "a"): 2.0, ("router", "b"): 1.5}
