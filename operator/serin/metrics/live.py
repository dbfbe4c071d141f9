"""Ticks of the router's own counters as they were read from its pods, and how they meet what Prometheus has counted.

A router pod is a target here, as it is for Prometheus, and its series are differenced by the same functions (ticks.py).
What is new is from where on: evidence that ends at a sample of Prometheus goes on from the values that those samples
had (`base_of`); evidence that ends at a reading goes on from that reading, also by Prometheus (`continued`). The values
decide what was counted, and never a comparison of two clocks.

A reading has the time of its beginning, half of a millisecond after a whole one, where no sample of Prometheus' is. So
whoever finds evidence that ends there and does not know the reading, such as another leader, sees that Prometheus does
not know it either, and counts as if it was another Prometheus (ticks.without_memory): nothing twice.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from serin.analysis.types import Tick
from serin.metrics.answers import Series
from serin.metrics.counting import TIME_TOLERANCE
from serin.metrics.pod_readings import Base, Begun, Family, Labels, PodReading
from serin.metrics.readings import Owner, Pick, Row, owner_of
from serin.metrics.sources import HistogramSource, RouterSource
from serin.metrics.sums import Term
from serin.metrics.ticks import ArmRows, Window, find_missing, histogram_tick, ratio_tick
from serin.metrics.wants import Want

# Seconds by which the clock of Prometheus may differ from ours without being seen to (clock_skew.py), and some.
SLACK: Final = 3.0
# Seconds after a reading in which a sample that shows less is an earlier one, and none of a process that restarted.
EARLIER: Final = 10.0
# Seconds by which the beginning of one process may seem to move, as its age has whole seconds.
_SAME_PROCESS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Past:
    """What Prometheus shows of a want: its arms up to the want's `since`, and the labels of series that go on later."""

    arms: Sequence[ArmRows]
    later: Sequence[Mapping[str, str]] = ()


def can_be_read(source: RouterSource) -> bool:
    """Whether its selectors can be applied here: names, and matchers without regular expressions."""
    selectors = [term.selector for part in source.parts for term in part]
    return all(one.name and all(each.literals() is not None for each in one.matchers) for one in selectors)


def live_tick(
    source: RouterSource, want: Want, base: Base, now: Base, at: float, joined: float, interval: float
) -> Tick | None:
    """What was counted from `base`, which is of the want's `since`, to `now`, which is read at `at` (unix seconds).

    `joined`: since when (monotonic) all pods were counted, so that one that began later had counted nothing then. None:
    that cannot be told of some pod, or an arm has no series there: what Prometheus says decides.
    """
    if at <= want.since + TIME_TOLERANCE:
        return None
    place = want.key[:2]
    base = {pod: one for pod, one in base.items() if place in one.places}
    # The age has whole seconds.
    if any(pod not in base and one.began - 1.0 <= joined for pod, one in now.items()):
        return None
    pods = [(pod, base.get(pod), one, _restarted(source, want, base.get(pod), one)) for pod, one in now.items()]
    window = Window(want.since, at, interval)
    arms = [_arm(source, owner, pods, window) for owner in want.owners]
    if any(find_missing(arm, window) for arm in arms):
        return None
    if isinstance(source, HistogramSource):
        return histogram_tick(arms[0], arms[1], window, {}, source.unit)
    return ratio_tick(arms[0], arms[1], window, {})


_Pod = tuple[str, PodReading | None, PodReading, bool]  # name, before, now, and whether it has restarted between


def _arm(source: RouterSource, owner: Owner, pods: Sequence[_Pod], window: Window) -> ArmRows:
    return ArmRows(
        owner[2], *([row for term in part for row in _rows(term, owner, pods, window)] for part in source.parts)
    )


def _rows(term: Term, owner: Owner, pods: Sequence[_Pod], window: Window) -> list[Row]:
    name, found = term.selector.name, []
    pick = Pick(term.sign, 0, name, term.selector.matchers)
    for pod, before, now, restarted in pods:
        known = before.values.get((owner, name), {}) if before else {}
        for labels, value in now.values.get((owner, name), {}).items():
            series = Series(
                {**dict(labels), "__name__": name, "instance": pod},
                (window.since, window.until),
                (known.get(labels, 0.0), value),
            )
            if pick.accepts(series.labels):
                found.append(Row(term.sign, series, frozenset((window.until,)) if restarted else frozenset()))
    return found


def _counted(source: RouterSource, want: Want) -> list[Family]:
    """The families that are counted, and can only grow."""
    total, bad, _, *others = source.parts
    names = {term.selector.name for part in (total, bad, *others) for term in part}
    return [(owner, name) for owner in want.owners for name in sorted(names)]


def _restarted(source: RouterSource, want: Want, before: PodReading | None, now: PodReading) -> bool:
    """Whether the process is another one. Its age alone does not say so: that is of a clock that may be set."""
    if before is None or now.began - before.began <= _SAME_PROCESS:
        return False
    return _shows_less(source, want, before, now)


def _shows_less(source: RouterSource, want: Want, before: PodReading, now: PodReading) -> bool:
    """Whether any counter shows less than before."""
    return any(
        now.values.get(family, {}).get(labels, 0.0) < value
        for family in _counted(source, want)
        for labels, value in before.values.get(family, {}).items()
    )


def base_of(source: RouterSource, want: Want, past: Past, now: Base, moment: float) -> Base | None:
    """What Prometheus had counted at the want's `since`, pod by pod, to go on from by readings.

    `now`: readings of all pods that serve, made at `moment` (unix seconds). None when readings cannot go on from there
    (yet): a pod is about as young as that, or shows less, or Prometheus has counted a target that is none of them, and
    that may have counted more.
    """
    named = {reading.address: pod for pod, reading in now.items()}
    if any(_pod_of(labels, now, named) is None for labels in past.later):
        return None
    found: dict[str, dict[Family, dict[Labels, float]]] = {}
    for owner, arm in zip(want.owners, past.arms, strict=True):
        for row in arm.rows:
            if pod := _pod_of(row.series.labels, now, named):
                family = (owner, row.series.labels["__name__"])
                known = found.setdefault(pod, {}).setdefault(family, {})
                known[_own(row.series.labels, now[pod].values.get(family, {}))] = row.series.values[-1]
    passed, base = moment - want.since, dict[str, PodReading]()
    for pod, reading in now.items():
        values = found.get(pod, {})
        is_older, is_younger = reading.age > passed + SLACK, reading.age + 1.0 + SLACK < passed
        if not (is_older if values else is_younger):
            return None
        base[pod] = replace(reading, values=values, places=frozenset((want.key[:2],)))
        if _shows_less(source, want, base[pod], reading):
            return None
    return base


def continued(begun: Begun, owners: Sequence[Owner], arms: Sequence[ArmRows], window: Window) -> list[ArmRows]:
    """The same arms as they go on from readings of the window's `since`, one for each of `owners`.

    What has been counted at the end is then what Prometheus shows there, series by series: nothing twice, and nothing
    left out. So a series that Prometheus has not seen since the reading takes back what it will show later.
    """
    on = _GoingOn.of(begun, arms, window)
    return [
        ArmRows(
            arm.snapshot,
            *(
                [*map(on.row, rows), *([] if rows is arm.presence else on.unseen(terms, owner, rows))]
                for rows, terms in zip(_parts(arm), _filled(begun.source.parts), strict=True)
            ),
        )
        for owner, arm in zip(owners, arms, strict=True)
    ]


def _parts(arm: ArmRows) -> tuple[Sequence[Row], ...]:
    return arm.total, arm.bad, arm.presence, arm.sums, arm.unchecked


def _filled(parts: tuple[tuple[Term, ...], ...]) -> tuple[tuple[Term, ...], ...]:
    """All parts that ArmRows has."""
    return (*parts, (), ())[:5]


@dataclass(frozen=True, slots=True)
class _GoingOn:
    """From which readings, and which samples of Prometheus' are earlier or later than they are.

    `earlier`: by pod, the last moment of which Prometheus shows less than the reading. `scraped`: pods that it knows.
    `newest`: of the samples to count (unix seconds), None when there is none.
    """

    begun: Begun
    named: Mapping[str, str]
    window: Window
    earlier: Mapping[str, float]
    scraped: frozenset[str]
    newest: float | None

    @classmethod
    def of(cls, begun: Begun, arms: Sequence[ArmRows], window: Window) -> "_GoingOn":
        base, since = begun.readings, window.since
        named = {reading.address: pod for pod, reading in base.items()}
        earlier = dict.fromkeys(base, since)
        pods = [(row, _pod_of(row.series.labels, base, named)) for arm in arms for row in arm.rows]
        counters = {id(row) for arm in arms for row in arm.counters}
        for row, pod in pods:
            if pod is not None and id(row) in counters:
                known, until = _value(base[pod], row), since + EARLIER
                samples = zip(row.series.times, row.series.values, strict=True)
                less = (time for time, value in samples if since < time <= until and value < known)
                earlier[pod] = max((earlier[pod], *less))
        ends = [row.series.times[-1] for row, pod in pods if row.series.times[-1] > earlier.get(pod or "", since)]
        newest = max(ends, default=None)
        scraped = frozenset(pod for _, pod in pods if pod is not None)
        return cls(begun, named, window, earlier, scraped, newest)

    def row(self, row: Row) -> Row:
        """A row from its reading on; as it is where its pod was not read."""
        pod = _pod_of(row.series.labels, self.begun.readings, self.named)
        if pod is None:
            return row
        series, since, value = row.series, self.window.since, _value(self.begun.readings[pod], row)
        kept = [one for one in zip(series.times, series.values, strict=True) if one[0] > self.earlier[pod]]
        if not kept:
            reading, last = self.begun.readings[pod], series.values[-1]
            if self.newest is not None and last > value and series.times[-1] > reading.time and reading.age > EARLIER:
                # What stands for a pod that was slow is older than the moment that evidence ends at.
                return Row(row.sign, Series(series.labels, (since, self.newest), (value, last)), frozenset())
            return self._taken_back(row.sign, series.labels, last, value)
        times, values = (since, *(time for time, _ in kept)), (value, *(value for _, value in kept))
        # Prometheus may see a series first some time after it was read.
        return Row(row.sign, Series(series.labels, times, values), row.start_times - {series.times[0]})

    def unseen(self, terms: Sequence[Term], owner: Owner, rows: Sequence[Row]) -> list[Row]:
        """Series that were read, and that Prometheus does not show yet."""
        seen = set()
        for row in rows:
            shown = row.series.labels
            if pod := _pod_of(shown, self.begun.readings, self.named):
                known = self.begun.readings[pod].values.get((owner, shown["__name__"]), {})
                seen.add((pod, shown["__name__"], _own(shown, known)))
        found = []
        for term in terms:
            name = term.selector.name
            pick = Pick(term.sign, 0, name, term.selector.matchers)
            for pod in sorted(self.scraped):
                for own, value in self.begun.readings[pod].values.get((owner, name), {}).items():
                    labels = {**dict(own), "__name__": name, "instance": pod}
                    if (pod, name, own) not in seen and pick.accepts(labels):
                        found.append(self._taken_back(term.sign, labels, 0.0, value))
        return found

    def _taken_back(self, sign: int, labels: Mapping[str, str], shown: float, value: float) -> Row:
        """What was read above what is shown. What is shown above it is of another process, or of another clock."""
        since = self.window.since
        if self.newest is None or shown >= value:
            return Row(sign, Series(labels, (since,), (value,)), frozenset())
        return Row(-sign, Series(labels, (since, self.newest), (shown, value)), frozenset())


def _value(reading: PodReading, row: Row) -> float:
    """What the counter of a row had counted at a reading: nothing when the pod did not have it."""
    labels = row.series.labels
    known = reading.values.get((owner_of(labels), labels["__name__"]), {})
    return known.get(_own(labels, known), 0.0)


def _pod_of(labels: Mapping[str, str], pods: Container[str], named: Mapping[str, str]) -> str | None:
    """The router pod that a series of Prometheus' is of, by its address or by its name."""
    pod = labels.get("pod", "")
    return named.get(labels.get("instance", "")) or (pod if pod in pods else None)


def _own(labels: Mapping[str, str], known: Mapping[Labels, float]) -> Labels:
    """The labels of a series of Prometheus' that its pod has given it. `known`: the pod's series of that name."""
    names = {name for each in known for name, _ in each}
    return frozenset((name, value) for name, value in labels.items() if name in names)
