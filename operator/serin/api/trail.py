"""How a metric's evidence came about: a bounded number of earlier looks, kept beside what the metric says now.

A point is added when numbers change, so it never makes a status differ that would not differ anyway. The whole trial is
covered whatever its length: when there are too many points every second one goes, and points become rarer. The last
one is always the newest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Bounds of the schema (crds/); a test compares them.
MOST_POINTS: Final = 32
LONGEST_POINT: Final = 80
# Of the time that the points cover: two are no nearer to each other, the last one excepted.
_NEAREST: Final = 2.0 / MOST_POINTS
_UNKNOWN: Final = "-"


@dataclass(frozen=True, slots=True)
class Point:
    """One look. `at`: unix seconds. `requests`: of the candidate. The estimate, and its interval: None when unknown."""

    at: float
    requests: int
    estimate: float | None
    low: float | None = None
    high: float | None = None


def extended(trail: Sequence[Point], newest: Point) -> tuple[Point, ...]:
    """The trail with a newer look. One that is not newer begins it anew: a clock was set back."""
    kept = [one for one in trail if one.at < newest.at]
    span = newest.at - kept[0].at if kept else 0.0
    if len(kept) > 2 and kept[-1].at - kept[-2].at < _NEAREST * span:
        kept.pop()
    if len(kept) >= MOST_POINTS:
        kept = kept[::2]
    return (*kept, newest)


def write(trail: Sequence[Point]) -> list[str]:
    """A line for each: unix seconds, requests, estimate, and both ends of its interval; - for what is not known."""
    return [
        f"{one.at:.0f} {one.requests} {' '.join(map(_written, (one.estimate, one.low, one.high)))}"
        for one in trail[-MOST_POINTS:]
    ]


def _written(value: float | None) -> str:
    return _UNKNOWN if value is None or not math.isfinite(value) else f"{value:.4g}"


def read(lines: object) -> tuple[Point, ...]:
    """The inverse of `write`; what does not read is left out."""
    found = map(_read, lines) if isinstance(lines, list) else ()
    return tuple(one for one in found if one is not None)


def _read(line: object) -> Point | None:
    try:
        at, requests, *numbers = str(line).split()
        estimate, low, high = (None if one == _UNKNOWN else float(one) for one in numbers)
        point = Point(float(at), int(requests), estimate, low, high)
    except ValueError:
        return None
    known = (one for one in (point.at, estimate, low, high) if one is not None)
    return point if all(map(math.isfinite, known)) else None
