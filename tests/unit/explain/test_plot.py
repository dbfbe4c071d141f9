"""Plots of evidence: drawn within their frame whatever the numbers are, and the same in both forms."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from serin.api.state import MetricStatus
from serin.api.trail import Point
from serin.explain import plot

NUMBERS = st.sampled_from([0.0, 1.0, 1e-9, 1e9, -3.0, 1e300, 5e-324, 1e-300]) | st.floats(-1e12, 1e12)
POINTS = st.builds(Point, st.integers(0, 10**6).map(float), st.just(5), NUMBERS, st.none() | NUMBERS, NUMBERS)
ROWS = st.builds(
    MetricStatus,
    name=st.just("errors"),
    severity=st.just("critical"),
    verdict=st.just("Pass"),
    reason=st.just("NotWorse"),
    message=st.just(""),
    estimate=st.sampled_from(["1.3x", "0.2", "PSI 0.3", ""]),
    fails_at=st.lists(NUMBERS, max_size=2).map(tuple),
    passes_at=st.none() | NUMBERS,
    trail=st.lists(POINTS, min_size=2, max_size=32).map(lambda found: tuple(sorted(found, key=lambda one: one.at))),
)
ROW = MetricStatus(
    *("errors", "critical", "Inconclusive", "GatheringEvidence", "too few"),
    requests=412,
    estimate="1.3x",
    interval="0.6x to 2.4x",
    needed=88,
    fails_at=(1.0,),
    passes_at=2.0,
    trail=(Point(0.0, 10, 3.0, 0.2, 40.0), Point(30.0, 200, 1.6, 0.5, 3.5), Point(60.0, 412, 1.3, 0.6, 2.4)),
)


@given(ROWS)
@example(
    replace(ROW, trail=(Point(0.0, 5, 5e-324, None, 0.0), Point(0.0, 5, 0.0, None, 0.0)), fails_at=(), passes_at=None)
)
@example(
    replace(ROW, trail=(Point(0.0, 5, 0.0, None, 0.0), Point(0.0, 5, 5e-324, None, 0.0)), fails_at=(), passes_at=None)
)
@example(
    replace(ROW, trail=(Point(0.0, 5, 1e-90, None, 0.0), Point(0.0, 5, 1e300, None, 0.0)), fails_at=(), passes_at=None)
)
def test_it_stays_within_its_frame_whatever_the_numbers_are(row: MetricStatus) -> None:
    lines = plot.text(row, width=60, height=7)
    assert len(lines) == 8
    assert all(len(line) <= 70 for line in lines)
    assert any("•" in line for line in lines)
    drawn = ElementTree.fromstring(plot.svg(row))
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    for one in drawn.iter():
        for point in one.attrib.get("points", "").split():
            x, y = map(float, point.split(","))
            assert 0.0 <= x <= width
            assert 0.0 <= y <= height


def test_a_plot_reads_as_a_person_would() -> None:
    assert plot.caption(ROW) == (
        "errors: 1.3x (0.6x to 2.4x), 412 requests, about 88 more needed; a failure begins at 1x; a Pass rules out 2x"
    )
    assert plot.text(ROW, width=44, height=7) == [
        "     3.3x ┤•               │",
        "          ┤│               │               │",
        "          ┤│┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄•┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄│",
        "    1.34x ┤│               │               •",
        "          ┤│───────────────│───────────────│",
        "          ┤│               │               │",
        "   0.545x ┤│               │               │",
        "          └0s                             1m",
    ]


def test_what_is_quoted_is_no_markup() -> None:
    evil = replace(ROW, name='"><script>alert(1)</script>', interval="<b>", estimate="<i>1x")
    drawn = plot.svg(evil)
    assert "<script" not in drawn
    assert "<i>" not in drawn
    assert ElementTree.fromstring(drawn).attrib["aria-label"].startswith('"><script>')


def test_one_look_is_no_plot() -> None:
    assert plot.has_plot(ROW)
    assert not plot.has_plot(replace(ROW, trail=ROW.trail[:1]))
    assert not plot.has_plot(replace(ROW, trail=tuple(replace(one, estimate=None) for one in ROW.trail)))
