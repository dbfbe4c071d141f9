"""From the series of a subject and its baseline to one tick. Pure: no query, no clock.

A tick that does not add up (more bad requests than requests, a negative count) is no tick: the next collection starts
where this one did and finds both sides of what was cut apart. What still does not add up some intervals later never
will (a process restarted and counted past its old value before the next scrape), and is left out. Nothing is clamped: a
clamp would invent evidence.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from serin.analysis.types import Arm, HistogramTick, MeanTick, Moments, NoData, RatioTick, SlicedTick, Tick
from serin.api.conditions import Reason
from serin.metrics.answers import Series
from serin.metrics.counting import TIME_TOLERANCE, Target, increase, is_without_start, resets, target_of
from serin.metrics.messages import name_of
from serin.metrics.pod_readings import is_reading
from serin.metrics.readings import Row

# Intervals without a sample after which a target is called stale rather than late.
STALE_INTERVALS = 3.0
# Intervals after which counts that do not add up are left out.
GIVE_UP_INTERVALS = 5.0
# The longest that a scrape takes, as a share of the interval. One that takes longer is short of something.
SCRAPE_SHARE = 0.25

# Seconds after a reading of a router pod in which a sample may have been taken before it: a reading takes a part of
# that, and clocks differ.
CLOCKS_DIFFER = 1.0

# The share of requests that may pass unjudged before what was judged proves nothing.
MOST_UNCHECKED = 0.01

# Characters of a slice's name: it stands in the evidence and in messages.
LONGEST_SLICE = 40

# What the first sample of a series without start is counted from (see counting.increase), by the series' labels.
Bases = Mapping[frozenset[tuple[str, str]], float | None]


@dataclass(frozen=True, slots=True)
class Window:
    """What a collection counts: samples after `since` and up to `until` (unix seconds); `interval` in seconds."""

    since: float
    until: float
    interval: float


class Missing(Enum):
    """What is wrong with an arm's request series."""

    ABSENT = auto()
    STALE = auto()


def identity(series: Series) -> frozenset[tuple[str, str]]:
    """Identity of a series: its labels."""
    return frozenset(series.labels.items())


@dataclass(frozen=True, slots=True)
class ArmRows:
    """One snapshot's series: of all requests (or buckets, or answers), and of the bad ones.

    `presence`: those that only show it is known. `sums`: of the number that all requests carried, for a mean.
    `unchecked`: of those that could not be judged, and are not in `total`.
    """

    snapshot: str
    total: Sequence[Row]
    bad: Sequence[Row] = ()
    presence: Sequence[Row] = ()
    sums: Sequence[Row] = ()
    unchecked: Sequence[Row] = ()

    def shows(self, moment: float) -> bool:
        """Whether any series has a sample of that very moment (unix seconds)."""
        return any(abs(time - moment) <= TIME_TOLERANCE for row in self.rows for time in row.series.times)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows."""
        return (*self.counters, *self.presence)

    @property
    def newest(self) -> float:
        """Time of the newest sample, minus infinity when there is none."""
        return max((row.series.times[-1] for row in self.rows), default=-math.inf)

    @property
    def counters(self) -> tuple[Row, ...]:
        """Rows that are counted."""
        return (*self.total, *self.bad, *self.sums, *self.unchecked)


# In the place of a baseline that there is none of: it counts no requests.
NO_ARM = ArmRows("", ())


def without_memory(arms: Sequence[ArmRows], window: Window) -> list[ArmRows]:
    """The same arms as a Prometheus tells of them that has not seen what was counted up to the window's `since`.

    One that answers in turn with another, or that has lost its data: its samples before `since` are not those that were
    counted, so a difference to them would count requests again. What each target showed first after `since` is taken
    for what it showed then. That leaves out a scrape interval or a little more, and counts nothing twice.

    Not the very first: a scrape has the time of its beginning, so one that began a moment later may have read earlier.
    What was read from the router's pods was so by another clock than Prometheus'.
    """
    since, first = window.since, dict[Target, float]()
    earliest = since + max(SCRAPE_SHARE * window.interval, CLOCKS_DIFFER if is_reading(since) else 0.0)
    for row in (row for arm in arms for row in arm.rows):
        after = next((time for time in row.series.times if time > earliest), math.inf)
        target = target_of(row.series.labels)
        first[target] = min(after, first.get(target, math.inf))

    def later(rows: Sequence[Row]) -> list[Row]:
        return [_after(row, first[target_of(row.series.labels)], since) for row in rows]

    return [
        ArmRows(arm.snapshot, *map(later, (arm.total, arm.bad, arm.presence, arm.sums, arm.unchecked))) for arm in arms
    ]


def _after(row: Row, first: float, since: float) -> Row:
    """The row with its samples from `first` on, the one at `first` as if it were of `since`; else its last one is."""
    series = row.series
    kept = [(time, value) for time, value in zip(series.times, series.values, strict=True) if time >= first]
    kept = kept or [(first, series.values[-1])]
    times = tuple(since if time == first else time for time, _ in kept)
    return Row(row.sign, Series(series.labels, times, tuple(value for _, value in kept)), row.start_times - {first})


def find_missing(arm: ArmRows, window: Window) -> Missing | None:
    """Say whether the series that an arm must have are missing or have stopped."""
    if not (arm.presence or arm.total):
        return Missing.ABSENT
    if arm.newest <= window.since + TIME_TOLERANCE and window.until - arm.newest > STALE_INTERVALS * window.interval:
        return Missing.STALE
    return None


def series_without_start(rows: Sequence[Row], since: float) -> list[Series]:
    """Series whose first sample has nothing to be counted from."""
    return [row.series for row in rows if is_without_start(row.series, row.start_times, since)]


def increase_of(rows: Sequence[Row], since: float, bases: Bases) -> float:
    """Signed increase of all rows together."""
    total = 0.0
    for row in rows:
        unknown = is_without_start(row.series, row.start_times, since)
        base = bases.get(identity(row.series)) if unknown else None
        total += row.sign * increase(row.series, row.start_times, since, base)
    return total


def ratio_tick(subject: ArmRows, baseline: ArmRows, window: Window, bases: Bases) -> Tick:
    """Count requests and bad requests of both arms."""
    at = max(subject.newest, baseline.newest)
    counted = []
    for arm in (subject, baseline):
        requests, bad = increase_of(arm.total, window.since, bases), increase_of(arm.bad, window.since, bases)
        if not (math.isfinite(requests) and math.isfinite(bad)):
            return NoData(Reason.NOT_A_NUMBER, f"{arm.snapshot}: a counter was not a finite number", at)
        if requests < 0 or bad < 0 or round(bad) > round(requests):
            return inconsistent(f"{arm.snapshot}: {bad:g} bad of {requests:g} requests", at, window)
        unchecked = increase_of(arm.unchecked, window.since, bases)
        if unchecked > MOST_UNCHECKED * (requests + unchecked):
            return _not_judged(arm.snapshot, unchecked, requests + unchecked, at)
        counted.append(Arm(round(requests), round(bad)))
    if not any(arm.requests for arm in counted):
        return no_traffic(at)
    return RatioTick(at, counted[0], counted[1])


def sliced_tick(subject: ArmRows, baseline: ArmRows, window: Window, bases: Bases, label: str) -> Tick:
    """The same, and by the values of a label; a series without it counts in the whole alone.

    What is cut apart in one slice is counted in none, and again at the next collection. The series are those of the
    whole, so what bounds an answer bounds the number of slices.
    """
    whole = ratio_tick(subject, baseline, window, bases)
    if not isinstance(whole, RatioTick):
        return whole
    groups = _by_value(subject, baseline, label)
    if wrong := _cannot_be_sliced(groups, label):
        return NoData(Reason.QUERY_FAILED, wrong)
    slices: dict[str, tuple[Arm, Arm]] = {}
    for value, arms in groups.items():
        found = ratio_tick(*arms, window, bases)
        name = name_of(value, LONGEST_SLICE)
        if isinstance(found, RatioTick) and value:
            slices[name] = (found.candidate, found.stable)
        elif isinstance(found, NoData) and found.reason is not Reason.NO_TRAFFIC:
            return replace(found, message=f"{label} {name or '(none)'}: {found.message}")
    return SlicedTick(whole.at, whole, slices)


def _by_value(subject: ArmRows, baseline: ArmRows, label: str) -> dict[str, tuple[ArmRows, ArmRows]]:
    """Both arms' series of each value of a label; "" has those without it."""
    groups: dict[str, tuple[tuple[list[Row], list[Row]], ...]] = {}
    for place, arm in enumerate((subject, baseline)):
        for part, rows in enumerate((arm.total, arm.bad)):
            for row in rows:
                found = groups.setdefault(row.series.labels.get(label, ""), (([], []), ([], [])))
                found[place][part].append(row)
    return {
        value: (ArmRows(subject.snapshot, *found[0]), ArmRows(baseline.snapshot, *found[1]))
        for value, found in groups.items()
    }


def _cannot_be_sliced(groups: Mapping[str, tuple[ArmRows, ArmRows]], label: str) -> str:
    """Which of the counters lacks the label; "" for none. A few requests may lack it, and count in the whole alone."""
    if not any(arm.total for value, arms in groups.items() if value for arm in arms):
        return f"no series of total has the label {label}: correct by, or remove it"
    without = groups.get("", (NO_ARM, NO_ARM))
    if any(arm.bad for arm in without) and not any(arm.total for arm in without):
        return f"bad has series without the label {label}, and total has none without: add it to bad"
    return ""


def mean_tick(subject: ArmRows, baseline: ArmRows, window: Window, bases: Bases) -> Tick:
    """Count the requests of both arms, and add up the number that they carried."""
    at = max(subject.newest, baseline.newest)
    counted = []
    for arm in (subject, baseline):
        requests, total = increase_of(arm.total, window.since, bases), increase_of(arm.sums, window.since, bases)
        if not (math.isfinite(requests) and math.isfinite(total)):
            return NoData(Reason.NOT_A_NUMBER, f"{arm.snapshot}: a counter was not a finite number", at)
        if _resets_alone(arm, window.since):
            message = (
                f"{arm.snapshot}: the sum fell and the count did not. Numbers below 0 cannot be counted: add a "
                "constant to them. If it happens once, a process restarted unseen, and this collection is left out"
            )
            return NoData(Reason.QUERY_FAILED, message, at)
        if requests < 0 or (total and not round(requests)):
            return inconsistent(f"{arm.snapshot}: a sum of {total:g} and {requests:g} requests", at, window)
        counted.append(Moments(round(requests), total))
    if not any(arm.requests for arm in counted):
        return no_traffic(at)
    return MeanTick(at, counted[0], counted[1])


def _resets_alone(arm: ArmRows, since: float) -> bool:
    """Whether a sum fell between two samples between which no count of the same target did."""
    restarts = {(target_of(row.series.labels), time) for row in arm.total for time in resets(row.series, since)}
    return any(
        time not in row.start_times and (target_of(row.series.labels), time) not in restarts
        for row in arm.sums
        for time in resets(row.series, since)
    )


def inconsistent(what: str, at: float, window: Window) -> NoData:
    """Say what does not add up; after a while, also that the next collection begins after it."""
    if at - window.since <= GIVE_UP_INTERVALS * window.interval:
        return NoData(Reason.PARTIAL, f"{what} do not add up yet; counted at the next collection")
    words = "do not add up and are left out; if it stays so, bad does not count a part of total"
    return NoData(Reason.PARTIAL, f"{what} {words}", at)


def _not_judged(snapshot: str, unchecked: float, requests: float, at: float) -> NoData:
    message = (
        f"{snapshot}: {unchecked:g} of {requests:g} answers passed unchecked: the guard was away or late, or they are "
        "none that it reads"
    )
    return NoData(Reason.PARTIAL, message, at)


def no_traffic(at: float) -> NoData:
    """All arms are known, and idle."""
    return NoData(Reason.NO_TRAFFIC, "the metric is scraped, and no request was counted", at)


def histogram_tick(subject: ArmRows, baseline: ArmRows, window: Window, bases: Bases, unit: str) -> Tick:
    """Count requests per bucket of both arms, over the bounds that all series of both have in common."""
    found = count_buckets(subject, baseline, window, bases)
    if isinstance(found, NoData):
        return found
    return HistogramTick(found.at, found.bounds[:-1], found.subject, found.baseline, unit)


@dataclass(frozen=True, slots=True)
class Buckets:
    """Counts per bucket (not cumulative) of both arms; the last of the upper `bounds` is infinite."""

    at: float
    bounds: tuple[float, ...]
    subject: tuple[int, ...]
    baseline: tuple[int, ...]


def count_buckets(subject: ArmRows, baseline: ArmRows, window: Window, bases: Bases) -> Buckets | NoData:
    """Count per bucket, over the bounds that all series of both arms have in common."""
    at = max(subject.newest, baseline.newest)
    if not (subject.total or baseline.total):
        return no_traffic(at)
    bounds = _common_bounds([*subject.total, *baseline.total])
    if not bounds or bounds[-1] != math.inf:
        return NoData(
            Reason.QUERY_FAILED,
            'the series are not cumulative buckets with label le, up to le="+Inf" and with bounds that both arms share',
        )
    counts = []
    for arm in (subject, baseline):
        rows: dict[float, list[Row]] = {}
        for row in arm.total:
            rows.setdefault(_bound(row.series), []).append(row)
        cumulative = [increase_of(rows.get(bound, ()), window.since, bases) for bound in bounds]
        if not all(math.isfinite(count) for count in cumulative):
            return NoData(Reason.NOT_A_NUMBER, f"{arm.snapshot}: a bucket was not a finite number", at)
        whole = [round(count) for count in cumulative]
        per_bucket = tuple(upper - lower for lower, upper in zip([0, *whole], whole, strict=False))
        if min(per_bucket) < 0:
            return inconsistent(f"{arm.snapshot}: the buckets", at, window)
        counts.append(per_bucket)
    if not any(map(sum, counts)):
        return no_traffic(at)
    return Buckets(at, bounds, counts[0], counts[1])


def _bound(series: Series) -> float:
    try:
        return float(series.labels.get("le", "nan"))
    except ValueError:
        return math.nan


def _common_bounds(rows: Sequence[Row]) -> tuple[float, ...]:
    """Upper bounds that every histogram has, sorted; cumulative counts stay exact when a finer bound is left out."""
    histograms: dict[frozenset[tuple[str, str]], set[float]] = {}
    for row in rows:
        key = frozenset(item for item in row.series.labels.items() if item[0] != "le")
        histograms.setdefault(key, set()).add(_bound(row.series))
    shared = set.intersection(*histograms.values()) if histograms else set()
    return tuple(sorted(bound for bound in shared if not math.isnan(bound)))
