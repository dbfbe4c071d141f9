"""Ticks of plain counters: the queries of one batch of deployments that share a source, and what they found.

Keeps nothing that evidence depends on: what to count is between `since`, which the caller keeps with the evidence, and
a moment one scrape interval ago. After a gap, the same arithmetic counts all of it as one tick. Where `since` is a
sample's time that no sample in the answer has, another Prometheus answers than before (see ticks.without_memory).

Why one interval ago: a sample's timestamp is when its scrape began, and a scrape may last as long as its interval. What
is that old cannot change any more, so no sample is missed and none is counted twice. The moment is one for both arms.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import structlog

from serin.analysis.types import NoData, Tick
from serin.api.conditions import Reason
from serin.api.verdicts import COMPARED, Against
from serin.metrics.answers import Answer, Ask, Failed, Series
from serin.metrics.counting import TIME_TOLERANCE, are_of_one_server, cut, learn_interval, newest_by_target
from serin.metrics.distributions import concentration_tick, distribution_tick, reference_tick
from serin.metrics.live import Past, continued
from serin.metrics.no_data import diagnose, failure_of, series_of
from serin.metrics.promql import SNAPSHOT_LABEL, matchers_of
from serin.metrics.readings import Owner, Reading, Table, owner_of, plan_reading, tabulate
from serin.metrics.sources import (
    ConcentrationSource,
    CounterSource,
    DistributionSource,
    HistogramSource,
    MeanSource,
    RatioSource,
    Source,
    reference_of,
)
from serin.metrics.start_times import WithoutStart, resolve_bases
from serin.metrics.ticks import (
    NO_ARM,
    ArmRows,
    Window,
    find_missing,
    histogram_tick,
    mean_tick,
    ratio_tick,
    series_without_start,
    sliced_tick,
    without_memory,
)
from serin.metrics.wants import Key, Want, filled

log: Final = structlog.get_logger("serin.metrics")

# Before anything is known: how far back two samples are looked for, and what to assume when there are not two.
FIRST_LOOKBACK: Final = 300.0
ASSUMED_INTERVAL: Final = 15.0
# How long to wait for the second scrape of something new before it is called stale.
FIRST_WAIT: Final = 60.0
# Intervals before `since` in which the last counted sample is looked for; older ones cost a query more.
LOOKBACK_INTERVALS: Final = 2
# Bounds of one query: answers are held in memory whole. 200,000 samples are about 5 MB.
MAX_SAMPLES: Final = 200_000
MAX_DEPLOYMENTS: Final = 500
ASSUMED_SERIES: Final = 40
# A gap that is too long for one answer is counted in parts, which are not made shorter than this.
SHORTEST_PART: Final = 120.0
# Sources of a namespace whose scrape interval is remembered; users may write any number of them.
MAX_KNOWN: Final = 1_000
# Targets of a source of which it is remembered when they were scraped: every two are compared, at each tick.
MAX_MOMENTS: Final = 50


_SEVERAL_SERVERS: Final = (
    "two queries of one collection were answered by servers that scrape at different times: give Serin an address "
    "behind which one Prometheus answers, or one that knows all samples, such as Thanos Query"
)


class TooLarge(Exception):
    """The answer has more bytes or series than one answer may have; `reason` says so."""

    def __init__(self, reason: NoData) -> None:
        super().__init__(reason.message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Collection:
    """What one batch's queries found, ready to count from."""

    tables: tuple[Table, ...]
    until: float
    interval: float

    def arm(self, owner: Owner, reading: Reading) -> ArmRows:
        """One snapshot's series, by the parts of a reading."""
        return ArmRows(
            owner[2],
            *([row for pick in part for row in self.tables[pick.fetch].rows(pick, owner)] for part in reading.parts),
        )


_Ready = tuple[Want, ArmRows, ArmRows]  # subject, and baseline


@dataclass(frozen=True, slots=True)
class _Learned:
    """Of one source: seconds between scrapes, series per deployment, and when each target was scraped last."""

    interval: float | None = None
    series: float = 0.0
    newest: Collection[float] = ()


_NOTHING: Final = _Learned()


class Known:
    """Scrape intervals and moments, and series per deployment, as learned from answers. Saves work, and no more."""

    def __init__(self) -> None:
        self._found: OrderedDict[Source, _Learned] = OrderedDict()

    def interval(self, source: Source) -> float | None:
        """Seconds between scrapes; None: not known yet."""
        return self._found.get(source, _NOTHING).interval

    def series(self, source: Source) -> float:
        """Series per deployment."""
        return self._found.get(source, _NOTHING).series or ASSUMED_SERIES

    def scrapes(self) -> Iterator[tuple[float, Collection[float]]]:
        """Of each source: seconds between scrapes, and when each target had its last one (unix seconds)."""
        return ((one.interval, one.newest) for one in self._found.values() if one.interval is not None)

    def longest(self) -> float | None:
        """The longest of the scrape intervals; None: none is known."""
        return max((one.interval for one in self._found.values() if one.interval is not None), default=None)

    def learn(
        self, source: Source, interval: float | None, series: float = 0.0, newest: Collection[float] = ()
    ) -> None:
        """Note what an answer showed; nothing says nothing. The source that was not seen for longest is forgotten."""
        before = self._found.pop(source, _NOTHING)
        self._found[source] = _Learned(interval or before.interval, series or before.series, newest or before.newest)
        if len(self._found) > MAX_KNOWN:
            self._found.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts one source. `ages`: as in catalog.py."""

    ask: Ask
    source: CounterSource
    known: Known
    ages: Sequence[str]

    def chunks(self, wants: Sequence[Want], now: float) -> Iterator[Sequence[Want]]:
        """Split so that no answer holds more than MAX_SAMPLES, by what answers held so far."""
        interval = self.known.interval(self.source) or ASSUMED_INTERVAL
        samples = (now - min(want.since for want in wants)) / interval + LOOKBACK_INTERVALS
        size = max(1, min(MAX_DEPLOYMENTS, int(MAX_SAMPLES / (self.known.series(self.source) * samples))))
        for start in range(0, len(wants), size):
            yield wants[start : start + size]

    async def count(self, wants: Sequence[Want], now: float) -> dict[Key, Tick]:
        """Ticks of one chunk; none for a want without a newer sample. Raises TooLarge for more than one want."""
        try:
            return await self._count(wants, now)
        except TooLarge as error:
            if len(wants) > 1:
                raise
            part = (now - wants[0].since) / 2
            if part < SHORTEST_PART:
                return {wants[0].key: error.reason}
        return await self.count(wants, now - part)

    async def past(self, wants: Sequence[Want], now: float) -> dict[Key, Past]:
        """What is shown up to each want's `since`, where that cannot change any more and is what was counted."""
        interval = self.known.interval(self.source)
        wants = [want for want in wants if interval is not None and interval <= now - want.since < FIRST_LOOKBACK]
        if interval is None or not wants:
            return {}
        reading = plan_reading(self.source.parts)
        start = min(want.since for want in wants) - LOOKBACK_INTERVALS * interval
        ranges = [f"{text}[{math.ceil((now - start) * 1000)}ms]" for text in filled(reading.selectors, wants)]
        answers = await asyncio.gather(*(self.ask(text, now) for text in ranges))
        fetched = list(map(series_of, answers))
        if any(map(failure_of, answers)) or not are_of_one_server(fetched):
            return {}
        found = {want.key: _past(reading, want, fetched, interval) for want in wants}
        return {key: past for key, past in found.items() if past is not None}

    async def _count(self, wants: Sequence[Want], now: float) -> dict[Key, Tick]:
        reading = plan_reading(self.source.parts)
        interval = self.known.interval(self.source) or await self._learn(reading, wants[:1], now)
        at = now - (interval or 0.0)
        wants = [want for want in wants if at > want.since + TIME_TOLERANCE]
        if not wants:
            return {}
        lookback = FIRST_LOOKBACK if interval is None else LOOKBACK_INTERVALS * interval
        start = min(want.since for want in wants) - lookback
        ranges = [f"{text}[{math.ceil((at - start) * 1000)}ms]" for text in filled(reading.selectors, wants)]
        answers = await asyncio.gather(*(self.ask(text, at) for text in ranges))
        if failure := _first_failure(answers):
            return {want.key: failure for want in wants}
        if not are_of_one_server(list(map(series_of, answers))):
            return {want.key: NoData(Reason.PARTIAL, _SEVERAL_SERVERS) for want in wants}
        collection = await asyncio.to_thread(self._read, answers, now, len(wants))
        return {} if collection is None else await self._count_or_explain(reading, wants, collection, start)

    async def _learn(self, reading: Reading, wants: Sequence[Want], now: float) -> float | None:
        """Learn the scrape interval from one deployment, so that the query for all of them need not reach far back."""
        (selector,) = filled(reading.selectors[:1], wants)
        interval = learn_interval(series_of(await self.ask(f"{selector}[{FIRST_LOOKBACK:.0f}s]", now)))
        self.known.learn(self.source, interval)
        return interval

    def _read(self, answers: Sequence[Answer], now: float, deployments: int) -> _Collection | None:
        """Learn the scrape interval, cut what is too young, find the start times; None: there is one scrape so far."""
        found = [series_of(answer) for answer in answers]
        learned = learn_interval(one for each in found for one in each)
        interval = learned or self.known.interval(self.source)
        if interval is None and any(one.times[-1] > now - FIRST_WAIT for each in found for one in each):
            return None
        newest = newest_by_target(one for each in found for one in each).values()
        self.known.learn(self.source, learned, sum(map(len, found)) / deployments, tuple(islice(newest, MAX_MOMENTS)))
        until = now - (interval or ASSUMED_INTERVAL)
        return _Collection(tabulate([cut(each, until) for each in found]), until, interval or ASSUMED_INTERVAL)

    async def _count_or_explain(
        self, reading: Reading, wants: Sequence[Want], collection: _Collection, start: float
    ) -> dict[Key, Tick]:
        ready: list[_Ready] = []
        missing: dict[Key, tuple[Want, Owner]] = {}
        for want in wants:
            arms = [collection.arm(owner, reading) for owner in want.owners]
            window = Window(want.since, collection.until, collection.interval)
            if want.base is not None:
                arms = continued(want.base, want.owners, arms, window)
            elif want.counted and not any(arm.shows(want.since) for arm in arms):
                arms = without_memory(arms, window)
            absent = _first_missing(want, arms, collection)
            if absent is not None:
                missing[want.key] = (want, absent)
            elif max(arm.newest for arm in arms) > want.since + TIME_TOLERANCE:
                ready.append((want, arms[0], arms[1] if len(arms) > 1 else NO_ARM))
        ticks: dict[Key, Tick] = {}
        if missing:
            owners = {key: owner for key, (_, owner) in missing.items()}
            ticks.update(await self._explain(reading, [want for want, _ in missing.values()], owners, collection.until))
        if ready:
            ticks.update(await self._count_ready(reading, ready, collection, start))
        return ticks

    async def _explain(
        self, reading: Reading, wants: Sequence[Want], owners: Mapping[Key, Owner], at: float
    ) -> dict[Key, Tick]:
        version = matchers_of([want.version for want in wants])
        reasons = await diagnose(self.ask, reading.selectors[0], version, list(owners.values()), at, self.source.only)
        return {key: reasons[owner] for key, owner in owners.items()}

    async def _count_ready(
        self, reading: Reading, ready: Sequence[_Ready], collection: _Collection, start: float
    ) -> dict[Key, Tick]:
        without_start = [
            (want, one)
            for want, *arms in ready
            for arm in arms
            for one in series_without_start(arm.counters, want.since)
        ]
        bases: Mapping[frozenset[tuple[str, str]], float | None] = {}
        if without_start:
            concerned = list({want.key: want for want, _ in without_start}.values())
            selectors = filled(reading.selectors, concerned)
            asked = [
                WithoutStart(one, one.labels[SNAPSHOT_LABEL] == want.subject, want.since, collection.interval)
                for want, one in without_start
            ]
            resolved = await resolve_bases(self.ask, selectors, asked, self.ages, start, collection.until)
            if isinstance(resolved, NoData):
                return {want.key: resolved for want, _, _ in ready}
            bases = resolved
        return await asyncio.to_thread(self._ticks, ready, collection, bases)

    def _ticks(
        self,
        ready: Iterable[_Ready],
        collection: _Collection,
        bases: Mapping[frozenset[tuple[str, str]], float | None],
    ) -> dict[Key, Tick]:
        ticks: dict[Key, Tick] = {}
        for want, subject, baseline in ready:
            window = Window(want.since, collection.until, collection.interval)
            try:
                ticks[want.key] = _tick(self.source, want, subject, baseline, window, bases)
            except Exception as error:
                ticks[want.key] = failed(want, error)
        return ticks


def failed(want: Want, error: Exception) -> NoData:
    """Make an error of Serin's own the affair of one metric."""
    log.exception("collection.failed", namespace=want.namespace, deployment=want.deployment, metric=want.metric.name)
    words = f"metric {want.metric.name}: a defect of Serin keeps it from being read ({type(error).__name__}: {error})"
    return NoData(Reason.QUERY_FAILED, words)


def _tick(
    source: CounterSource,
    want: Want,
    subject: ArmRows,
    baseline: ArmRows,
    window: Window,
    bases: Mapping[frozenset[tuple[str, str]], float | None],
) -> Tick:
    match source:
        case RatioSource(by=label) if label:
            return sliced_tick(subject, baseline, window, bases, label)
        case RatioSource():
            return ratio_tick(subject, baseline, window, bases)
        case HistogramSource():
            return histogram_tick(subject, baseline, window, bases, source.unit)
        case MeanSource():
            return mean_tick(subject, baseline, window, bases)
        case ConcentrationSource():
            return concentration_tick(subject, baseline, window, bases, source.by)
        case DistributionSource() if want.metric.against == Against.REFERENCE:
            reference = reference_of(want.metric, want.template)
            return reference_tick(subject, baseline, window, bases, source.by, reference)
        case DistributionSource():
            return distribution_tick(subject, baseline, window, bases, source.by)


def _past(reading: Reading, want: Want, fetched: Sequence[Sequence[Series]], interval: float) -> Past | None:
    """None: what is shown is not what was counted."""
    own = [[one for one in each if owner_of(one.labels) in want.owners] for each in fetched]
    collection = _Collection(tabulate([cut(each, want.since) for each in own]), want.since, interval)
    arms = [collection.arm(owner, reading) for owner in want.owners]
    if want.counted and not any(arm.shows(want.since) for arm in arms):
        return None
    return Past(arms, [one.labels for each in own for one in each if one.times[-1] > want.since + TIME_TOLERANCE])


def _first_failure(answers: Sequence[Answer]) -> NoData | None:
    for answer in answers:
        failure = failure_of(answer)
        if failure is not None and isinstance(answer, Failed) and answer.too_large:
            raise TooLarge(failure)
        if failure is not None:
            return failure
    return None


def _first_missing(want: Want, arms: Sequence[ArmRows], collection: _Collection) -> Owner | None:
    """The snapshot whose series are missing or have stopped; a baseline matters only when it is compared with."""
    window = Window(want.since, collection.until, collection.interval)
    for owner, arm in zip(want.owners, arms, strict=True):
        absent = find_missing(arm, window)
        if absent is not None and (owner[2] == want.subject or want.metric.against in COMPARED):
            return owner
    return None
