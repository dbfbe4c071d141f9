"""What has to be read to compare what serves with its own past: a window now, and earlier windows of the same length.

`against: history` reads the deployment's own series, whatever version served: at this hour of the week in each of the
past four weeks, and an hour or two around it. They are read once an hour, at the same moments for all deployments, so
that these share their queries. `against: day` reads them around this hour of the day before. `against: snapshot` reads
the first day of the version that serves, in parts, and once.

A window is read as often as it is worth: 60 times in its length, and no more often than what is watched is looked at.
"""

import math
from dataclasses import dataclass
from typing import Final

from serin.analysis.types import finite, known_number
from serin.api.json import JsonObject
from serin.api.spec import Metric
from serin.api.times import human, rfc3339_whole
from serin.api.verdicts import Against

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
WEEKS: Final = 4
# Where windows of an earlier week end, in hours from where the present hour began: it lies in their middle.
AROUND: Final = (-1, 0, 1, 2)
# The same of the day before: as many as say how much its hours differ.
AROUND_A_DAY_AGO: Final = range(-3, 5)
# The first day is read in parts, so that it says how much its hours differ.
PARTS: Final = 12
# How often a window is read in its length.
_READINGS: Final = 60
_PART: Final = DAY / PARTS


@dataclass(frozen=True, slots=True)
class PastRequest:
    """Windows to read. Seconds: `window` now, `length` of each earlier one. `moments`: where those end (unix seconds).

    `slot`: which earlier windows are meant; without `moments` they are known. `own`: of the version's own series, else
    of all that the deployment has served.
    """

    window: float
    slot: float
    moments: tuple[float, ...]
    length: float
    own: bool


def not_yet(metric: Metric, since: float, now: float) -> str:
    """Why nothing can be compared yet, in words; "" when it can. `since`: counting begins there (unix seconds)."""
    if metric.against is Against.SNAPSHOT and now < since + DAY:
        return f"its first day, which it is compared with, is over at {rfc3339_whole(since + DAY)}"
    if now < since + metric.seen_within:
        return f"its window of {human(metric.seen_within)} is full at {rfc3339_whole(since + metric.seen_within)}"
    return ""


def past_request(metric: Metric, evidence: JsonObject | None, since: float, now: float) -> PastRequest | None:
    """What to read now (unix seconds); None: nothing yet, or not again so soon."""
    if not_yet(metric, since, now):
        return None
    at, slot = known_number(evidence, "at"), known_number(evidence, "slot")
    if at is not None and 0.0 <= now - at < metric.seen_within / _READINGS:
        return None
    hour = math.floor(now / HOUR) * HOUR
    if metric.against is not Against.SNAPSHOT:
        ends = _ends(metric.against, hour)
        return PastRequest(metric.seen_within, hour, () if slot == hour else tuple(ends), metric.seen_within, own=False)
    ends = [since + (part + 1) * _PART for part in range(PARTS)]
    read = slot is not None and (_points(evidence or {}) >= PARTS // 2 or slot == hour)
    return PastRequest(
        metric.seen_within, slot if read and slot else hour, () if read else tuple(ends), _PART, own=True
    )


def _ends(against: Against, hour: float) -> list[float]:
    """Where the earlier windows end, for the hour that begins at `hour` (unix seconds)."""
    if against is Against.DAY:
        return [hour - DAY + around * HOUR for around in AROUND_A_DAY_AGO]
    return [hour - week * WEEK + around * HOUR for week in range(1, WEEKS + 1) for around in AROUND]


def _points(known: JsonObject) -> float:
    past = known.get("past")
    return (finite(past[2]) or 0.0) if isinstance(past, list) and len(past) == 3 else 0.0
