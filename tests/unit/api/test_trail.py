"""A trail covers a trial of any length in few points, ends with the newest look, and survives whatever was written."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serin.api.state import MetricStatus
from serin.api.status import metric_row, read_metric
from serin.api.trail import LONGEST_POINT, MOST_POINTS, Point, extended, read, write
from tests import crds

ENDS = st.none() | st.floats(-1e300, 1e300)
POINTS = st.builds(Point, st.floats(0.0, 4e9), st.integers(0, 10**15), ENDS, ENDS, ENDS)


def looks(number: int, every: float = 1.0) -> tuple[Point, ...]:
    trail: tuple[Point, ...] = ()
    for look in range(number):
        trail = extended(trail, Point(1000.0 + look * every, look, 1.0))
        assert len(trail) <= MOST_POINTS
    return trail


def test_it_covers_all_of_a_trial_and_has_no_hole() -> None:
    for number in (3, 33, 500, 20_000):
        trail = looks(number)
        assert (trail[0].requests, trail[-1].requests) == (0, number - 1)
        steps = [after.at - before.at for before, after in pairwise(trail)]
        assert max(steps) <= max(1.0, 6.0 * number / MOST_POINTS)
        assert len(trail) >= min(number, MOST_POINTS // 4)


def test_looks_that_come_rarer_are_all_kept_at_first() -> None:
    assert len(looks(12, every=3600.0)) == 12


def test_a_clock_that_was_set_back_begins_it_anew() -> None:
    assert extended(looks(10), Point(10.0, 99, 1.0)) == (Point(10.0, 99, 1.0),)


@given(st.lists(POINTS, max_size=MOST_POINTS))
def test_what_is_written_reads_and_is_written_the_same(trail: list[Point]) -> None:
    lines = write(trail)
    assert len(read(lines)) == len(trail)
    assert write(read(lines)) == lines
    assert all(len(line) <= LONGEST_POINT for line in lines)


def test_what_does_not_read_is_left_out() -> None:
    good = "1000 5 1.2 0.9 1.5"
    bad = ["", "1 2", "x 5 1 1 1", "1000 5 nan 1 1", "inf 5 1 1 1", "1 1.5 1 1 1", "1 2 3 4 5 6"]
    assert read([*bad, good]) == (Point(1000.0, 5, 1.2, 0.9, 1.5),)
    assert read("1000 5 1 1 1") == read(None) == ()


def test_a_row_keeps_lines_and_trail() -> None:
    row = MetricStatus("errors", "critical", "Pass", "NotWorse", "", 7, "1x", fails_at=(0.5, 2.0), passes_at=3.0)
    assert read_metric(metric_row(row)) == row
    assert read_metric({"name": "errors", "failsAt": ["nan", "x", 3], "passesAt": "inf"}).fails_at == (3.0,)


def test_the_schemas_have_room_for_it() -> None:
    for kind in ("ModelDeployment", "ModelSnapshot"):
        row = crds.schema(kind)["properties"]["status"]["properties"]["metrics"]["items"]["properties"]
        assert row["trail"]["maxItems"] == MOST_POINTS
        assert row["trail"]["items"]["maxLength"] == LONGEST_POINT
