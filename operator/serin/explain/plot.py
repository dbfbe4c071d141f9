"""A metric's evidence over time: the estimate with its interval, and the lines at which it fails and passes.

Drawn twice from one scale: in characters for terminals and Markdown, as SVG for web pages. Small libraries for
terminals draw lines but no intervals, and those for pages are scripts, so this is drawn here. A ratio is drawn on a
logarithmic axis, on which twice and half as many are equally far from the same.
"""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from serin.api.state import MetricStatus
from serin.api.text import count
from serin.api.times import human
from serin.api.trail import Point

_TIMES: Final = "x"
# An interval may reach so many times as far as what has to be seen; beyond that it says that nothing is known yet.
_REACH: Final = 4.0
_LEAST: Final = 1e-100  # less than this is nothing: beside it a float has no room for what an axis is divided by
_LABEL: Final = 9  # characters of the axis' numbers


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where a value is drawn: 0 at the bottom, 1 at the top, and never beyond."""

    low: float
    high: float
    logarithmic: bool
    unit: str

    def place(self, value: float) -> float:
        """Of a value, from 0 to 1."""
        if self.logarithmic:
            value = math.log(max(value, self.low / _REACH))
        low, high = (math.log(self.low), math.log(self.high)) if self.logarithmic else (self.low, self.high)
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def value(self, place: float) -> float:
        """The inverse of `place`."""
        if self.logarithmic:
            return math.exp(math.log(self.low) * (1.0 - place) + math.log(self.high) * place)
        return self.low + (self.high - self.low) * place

    def written(self, value: float) -> str:
        """A number of the axis."""
        return f"{value:.3g}{self.unit}"


def has_plot(row: MetricStatus) -> bool:
    """Whether there is anything to draw: two looks with an estimate."""
    return len(_drawn(row)) > 1


def caption(row: MetricStatus) -> str:
    """What a plot shows, in a sentence."""
    now = f"{row.estimate or 'no estimate'}{f' ({row.interval})' if row.interval else ''}"
    needed = f", about {count(row.needed)} more needed" if row.needed else ""
    return "; ".join((f"{row.name}: {now}, {count(row.requests)} requests{needed}", *lines(row)))


def lines(row: MetricStatus) -> list[str]:
    """What the lines of a plot mean, each in words."""
    unit = _unit(row)
    told = [f"a failure begins at {' and '.join(f'{one:.3g}{unit}' for one in row.fails_at)}"] if row.fails_at else []
    return [*told, f"a Pass rules out {row.passes_at:.3g}{unit}"] if row.passes_at is not None else told


def _unit(row: MetricStatus) -> str:
    return _TIMES if row.estimate.endswith(_TIMES) else ""


def _drawn(row: MetricStatus) -> list[Point]:
    return [one for one in row.trail if one.estimate is not None]


def _axis(row: MetricStatus) -> _Axis:
    points, unit = _drawn(row), _unit(row)
    at = [*row.fails_at, *([] if row.passes_at is None else [row.passes_at])]
    seen = [*(one.estimate or 0.0 for one in points), *at]
    ends = [one for one in (points[-1].low, points[-1].high) if one is not None]
    positive = [one for one in seen if one > _LEAST]
    if unit == _TIMES and positive:
        low = max(min([*positive, *(one for one in ends if one > _LEAST)]), min(positive) / _REACH)
        high = min(max([*positive, *ends]), max(positive) * _REACH)
        return _Axis(low / 1.1, high * 1.1, True, unit)
    span = next((one for one in (max(seen) - min(seen), abs(max(seen))) if one > _LEAST), 1.0)
    low, high = max(min([*seen, *ends]), min(seen) - span), min(max([*seen, *ends]), max(seen) + span)
    return _Axis(low - 0.05 * span, high + 0.05 * span, False, unit)


def _spans(points: Sequence[Point]) -> Callable[[Point], float]:
    first, length = points[0].at, max(1.0, points[-1].at - points[0].at)
    return lambda point: (point.at - first) / length


# ── In characters ─────────────────────────────────────────────────────────────────────────────────────────────────────


def text(row: MetricStatus, width: int = 72, height: int = 9) -> list[str]:
    """The plot as lines of `width` characters, `height` of them for values; only where `has_plot`.

    `•` is an estimate, `│` its interval, `─` where a failure begins, `┄` what a Pass rules out.
    """
    points, axis = _drawn(row), _axis(row)
    columns, across = width - _LABEL - 2, _spans(points)
    grid = [[" "] * columns for _ in range(height)]

    def at(value: float) -> int:
        return height - 1 - round(axis.place(value) * (height - 1))

    if row.passes_at is not None:
        grid[at(row.passes_at)] = ["┄"] * columns
    for line in row.fails_at:
        grid[at(line)] = ["─"] * columns
    for one in points:
        column = round(across(one) * (columns - 1))
        if one.low is not None and one.high is not None:
            for level in range(at(one.high), at(one.low) + 1):
                grid[level][column] = "│"
        grid[at(one.estimate or 0.0)][column] = "•"
    return [*_labelled(grid, axis), _time_axis(points, columns)]


def _labelled(grid: Sequence[Sequence[str]], axis: _Axis) -> list[str]:
    last = len(grid) - 1
    shown = {0, last // 2, last}
    return [
        f"{axis.written(axis.value(1.0 - level / last)) if level in shown else '':>{_LABEL}} ┤{''.join(cells)}".rstrip()
        for level, cells in enumerate(grid)
    ]


def _time_axis(points: Sequence[Point], columns: int) -> str:
    length = human(points[-1].at - points[0].at)
    return f"{'':>{_LABEL}} └{'0s':<{columns - len(length)}}{length}"


# ── For web pages ─────────────────────────────────────────────────────────────────────────────────────────────────────

_WIDTH, _HEIGHT, _LEFT, _BELOW, _PAD = 480, 150, 52, 18, 8


def svg(row: MetricStatus) -> str:
    """The plot as SVG; `interval`, `estimate`, `fails`, `passes`, `axis` are classes to colour; where `has_plot`."""
    points, axis = _drawn(row), _axis(row)
    across = _spans(points)

    def x(point: Point) -> str:
        return f"{_LEFT + across(point) * (_WIDTH - _LEFT - _PAD):.1f}"

    def y(value: float) -> str:
        return f"{_HEIGHT - _BELOW - axis.place(value) * (_HEIGHT - _BELOW - _PAD):.1f}"

    with_ends = [one for one in points if one.low is not None and one.high is not None]
    band = [f"{x(one)},{y(one.high or 0.0)}" for one in with_ends]
    band += [f"{x(one)},{y(one.low or 0.0)}" for one in reversed(with_ends)]
    path = " ".join(f"{x(one)},{y(one.estimate or 0.0)}" for one in points)
    levels = [("fails", one) for one in row.fails_at]
    levels += [] if row.passes_at is None else [("passes", row.passes_at)]
    drawn = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(caption(row))}">',
        f'<polygon class="interval" points="{" ".join(band)}"/>',
        f'<polyline class="estimate" points="{path}"/>',
        *(f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _PAD}" y1="{y(at)}" y2="{y(at)}"/>' for kind, at in levels),
        f'<circle class="now" cx="{x(points[-1])}" cy="{y(points[-1].estimate or 0.0)}" r="3.5"/>',
    ]
    for place in (0.0, 0.5, 1.0):
        value = axis.value(place)
        drawn.append(
            f'<text class="axis" x="{_LEFT - 6}" y="{y(value)}" text-anchor="end">{axis.written(value)}</text>'
        )
    length = human(points[-1].at - points[0].at)
    drawn.append(f'<text class="axis" x="{_LEFT}" y="{_HEIGHT - 3}">0s</text>')
    drawn.append(f'<text class="axis" x="{_WIDTH - _PAD}" y="{_HEIGHT - 3}" text-anchor="end">{length}</text></svg>')
    return "".join(drawn)
