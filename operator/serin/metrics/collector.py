"""One collection from Prometheus for all deployments: a tick for each deployment and metric, or why there is none.

Deployments with the same source share its queries, so the number of queries does not grow with the deployments. The
collector keeps nothing that evidence depends on: what to count is between `since`, which the caller keeps with the
evidence, and a moment one scrape interval ago. After a gap, the same arithmetic counts all of it as one tick.

Why one interval ago: a sample's timestamp is when its scrape began, and a scrape may last as long as its interval. What
is that old cannot change any more, so no sample is missed and none is counted twice. The moment is one for both arms.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from serin.analysis.types import NoData, NoDataReason, Tick
from serin.api.json import JsonObject
from serin.api.spec import Metric
from serin.api.verdicts import Against
from serin.metrics.answers import Answer, Failed, Partial, Value
from serin.metrics.catalog import Catalog
from serin.metrics.counting import TIME_TOLERANCE, cut, learn_interval
from serin.metrics.distributions import distribution_tick, reference_tick
from serin.metrics.expressions import expression_tick, value_tick
from serin.metrics.no_data import diagnose, failure_of, series_of
from serin.metrics.pods import dispersions, queries
from serin.metrics.prometheus import Prometheus
from serin.metrics.promql import SNAPSHOT_LABEL, Version, fill, matchers_of
from serin.metrics.readings import Owner, Reading, Table, plan_reading, tabulate
from serin.metrics.sources import (
    CounterSource,
    DistributionSource,
    ExpressionSource,
    HistogramSource,
    MeanSource,
    RatioSource,
    Source,
    SourceError,
    ValueSource,
    reference_of,
    resolve,
)
from serin.metrics.start_times import resolve_bases
from serin.metrics.ticks import (
    NO_ARM,
    ArmRows,
    Window,
    find_missing,
    histogram_tick,
    mean_tick,
    ratio_tick,
    series_without_start,
)

Key = tuple[str, str, str]  # namespace, deployment, metric

# Before anything is known: how far to look back for two samples, and what to assume when there are not two.
FIRST_LOOKBACK = 300.0
ASSUMED_INTERVAL = 15.0
# How long to wait for the second scrape of something new before it is called stale.
FIRST_WAIT = 60.0
# Intervals before `since` in which the last counted sample is looked for; older ones cost a query more.
LOOKBACK_INTERVALS = 4
# Bounds of one query: answers are held in memory whole. 500,000 samples are about 12 MB.
MAX_SAMPLES = 500_000
MAX_DEPLOYMENTS = 500
ASSUMED_SERIES = 40
# Deployments whose hour by pod and minute is read at once: 3 pods each are 36,000 samples.
MAX_HOURS = 200


@dataclass(frozen=True, slots=True)
class Want:
    """What to count: one metric of one snapshot of a deployment.

    `subject`: the snapshot under judgement. `baseline`: the snapshot that is counted in the same seconds to compare it
    with; None when there is none, as for a limit or a reference. `since`: unix seconds of the newest sample counted (a
    tick's `at`), or from when on to count. `template`: spec of the MetricTemplate that the metric names, None for
    built-in ones.
    """

    namespace: str
    deployment: str
    subject: str
    baseline: str | None
    metric: Metric
    since: float
    template: JsonObject | None = None

    @property
    def key(self) -> Key:
        """Where the tick is found in the answer."""
        return self.namespace, self.deployment, self.metric.name

    @property
    def version(self) -> Version:
        """Whose series are meant."""
        return Version(self.namespace, self.deployment, tuple(snapshot for _, _, snapshot in self.owners))

    @property
    def owners(self) -> tuple[Owner, ...]:
        """The subject, and the baseline if there is one, as their series are labelled."""
        names = (self.subject,) if self.baseline is None else (self.subject, self.baseline)
        return tuple((self.namespace, self.deployment, name) for name in names)


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


class Collector:
    """Turns what Prometheus has into ticks. Holds only what saves work: scrape intervals and sizes learned so far."""

    def __init__(self, prometheus: Prometheus, catalog: Catalog) -> None:
        self._prometheus = prometheus
        self._catalog = catalog
        self._intervals: dict[Source, float] = {}
        self._series_each: dict[Source, float] = {}

    async def collect(self, now: float, wants: Sequence[Want]) -> Mapping[Key, Tick]:
        """One tick for each want; a want without a newer sample yet has none in the answer: ask again later.

        `now`: unix seconds. Never raises for anything that users, Prometheus or the network do wrong: that is NoData
        with a message which names the metric.
        """
        ticks: dict[Key, Tick] = {}
        batches: dict[tuple[Source, int], list[Want]] = {}
        for want in wants:
            try:
                source = resolve(want.metric, want.template, self._catalog)
            except SourceError as error:
                ticks[want.key] = NoData(NoDataReason.QUERY_FAILED, str(error))
            else:
                # Short and long gaps apart, or one deployment's long gap would make every answer long.
                age = int(math.log2(max(60.0, now - want.since) / 60.0))
                batches.setdefault((source, age), []).append(want)
        for found in await asyncio.gather(*(self._batch(source, batch, now) for (source, _), batch in batches.items())):
            ticks.update(found)
        return {want.key: ticks[want.key] for want in wants if want.key in ticks}

    async def overdispersion(self, now: float, wants: Sequence[Want]) -> Mapping[Key, float]:
        """How much more bad requests vary between pods than by chance (1 or more), over the last hour.

        The pods are the baseline's, or the subject's own where there is no baseline. `now`: unix seconds. Nothing for a
        metric whose requests cannot be told apart by pod, or without an answer.
        """
        batches: dict[RatioSource, list[Want]] = {}
        for want in wants:
            with suppress(SourceError):
                source = resolve(want.metric, want.template, self._catalog)
                if isinstance(source, RatioSource) and queries(source):
                    batches.setdefault(source, []).append(want)
        found: dict[Key, float] = {}
        for source, batch in batches.items():
            for start in range(0, len(batch), MAX_HOURS):
                found.update(await self._dispersion(source, batch[start : start + MAX_HOURS], now))
        return found

    async def _dispersion(self, source: RatioSource, wants: Sequence[Want], now: float) -> dict[Key, float]:
        asked = _filled(queries(source) or (), wants)
        total, bad = await asyncio.gather(*(self._ask(text, now) for text in asked))
        if not isinstance(total, Value) or isinstance(bad, Failed | Partial):
            return {}
        owners = [want.owners[-1] for want in wants]
        measured = await asyncio.to_thread(dispersions, total.series, series_of(bad), source.pods, owners)
        return {want.key: measured[owner] for want, owner in zip(wants, owners, strict=True)}

    def scrape_interval(self, metric: Metric, template: JsonObject | None = None) -> float | None:
        """Seconds between scrapes of what the metric is read from; None while they are not known."""
        try:
            return self._intervals.get(resolve(metric, template, self._catalog))
        except SourceError:
            return None

    @property
    def queries(self) -> int:
        """How many queries were sent since the start."""
        return self._prometheus.usage.queries

    async def _batch(self, source: Source, wants: Sequence[Want], now: float) -> dict[Key, Tick]:
        if isinstance(source, ValueSource | ExpressionSource):
            return await self._computed(source, wants, now)
        reading = plan_reading(source.parts)
        ticks: dict[Key, Tick] = {}
        for chunk in self._chunks(source, wants, now):
            ticks.update(await self._counted(source, reading, chunk, now))
        return ticks

    async def _computed(
        self, source: ValueSource | ExpressionSource, wants: Sequence[Want], now: float
    ) -> dict[Key, Tick]:
        # A value is read as it is; totals are counted, so they must have settled.
        shortest = 1.0 if isinstance(source, ValueSource) else max(self._intervals.values(), default=ASSUMED_INTERVAL)
        at = now - shortest
        due = [want for want in wants if at - want.since >= shortest]
        if isinstance(source, ValueSource):
            jobs = [value_tick(self._ask, source.query, want.version, at) for want in due]
        else:
            jobs = [expression_tick(self._ask, source, want.version, want.since, at) for want in due]
        return dict(zip([want.key for want in due], await asyncio.gather(*jobs), strict=True))

    async def _ask(self, query: str, at: float) -> Answer:
        return await self._prometheus.query(query, at)

    def _chunks(self, source: Source, wants: Sequence[Want], now: float) -> Iterator[Sequence[Want]]:
        """Split so that no answer holds more than MAX_SAMPLES, by what answers held so far."""
        interval = self._intervals.get(source, ASSUMED_INTERVAL)
        samples = (now - min(want.since for want in wants)) / interval + LOOKBACK_INTERVALS
        each = self._series_each.get(source, ASSUMED_SERIES) * samples
        size = max(1, min(MAX_DEPLOYMENTS, int(MAX_SAMPLES / each)))
        for start in range(0, len(wants), size):
            yield wants[start : start + size]

    async def _counted(
        self, source: CounterSource, reading: Reading, wants: Sequence[Want], now: float
    ) -> dict[Key, Tick]:
        """Ticks of plain counters for one chunk of deployments."""
        known = self._intervals.get(source) or await self._learn(source, reading, wants[:1], now)
        at = now - (known or 0.0)
        wants = [want for want in wants if at > want.since + TIME_TOLERANCE]
        if not wants:
            return {}
        lookback = FIRST_LOOKBACK if known is None else LOOKBACK_INTERVALS * known
        start = min(want.since for want in wants) - lookback
        ranges = [f"{text}[{math.ceil((at - start) * 1000)}ms]" for text in _filled(reading.selectors, wants)]
        answers = await asyncio.gather(*(self._ask(text, at) for text in ranges))
        if failure := next((found for found in map(failure_of, answers) if found), None):
            return {want.key: failure for want in wants}
        collection = await asyncio.to_thread(self._read, source, answers, now, len(wants))
        if collection is None:
            return {}
        return await self._count_or_explain(source, reading, wants, collection, start)

    async def _learn(self, source: Source, reading: Reading, wants: Sequence[Want], now: float) -> float | None:
        """Learn the scrape interval from one deployment, so that the query for all of them need not reach far back."""
        (selector,) = _filled(reading.selectors[:1], wants)
        interval = learn_interval(series_of(await self._ask(f"{selector}[{FIRST_LOOKBACK:.0f}s]", now)))
        if interval is not None:
            self._intervals[source] = interval
        return interval

    def _read(self, source: Source, answers: Sequence[Answer], now: float, deployments: int) -> _Collection | None:
        """Learn the scrape interval, cut what is too young, find the start times; None: there is one scrape so far."""
        found = [series_of(answer) for answer in answers]
        interval = learn_interval(one for each in found for one in each)
        if interval is not None:
            self._intervals[source] = interval
        elif source not in self._intervals and any(one.times[-1] > now - FIRST_WAIT for each in found for one in each):
            return None
        interval = self._intervals.get(source, ASSUMED_INTERVAL)
        if any(found):
            self._series_each[source] = sum(map(len, found)) / deployments
        until = now - interval
        return _Collection(tabulate([cut(each, until) for each in found]), until, interval)

    async def _count_or_explain(
        self,
        source: CounterSource,
        reading: Reading,
        wants: Sequence[Want],
        collection: _Collection,
        start: float,
    ) -> dict[Key, Tick]:
        ready: list[_Ready] = []
        missing: dict[Key, tuple[Want, Owner]] = {}
        for want in wants:
            arms = [collection.arm(owner, reading) for owner in want.owners]
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
            ticks.update(await self._count_ready(source, reading, ready, collection, start))
        return ticks

    async def _explain(
        self, reading: Reading, wants: Sequence[Want], owners: Mapping[Key, Owner], at: float
    ) -> dict[Key, Tick]:
        (selector,) = _filled(reading.selectors[:1], wants)
        version = matchers_of([want.version for want in wants])
        reasons = await diagnose(self._ask, selector, version, list(owners.values()), at)
        return {key: reasons[owner] for key, owner in owners.items()}

    async def _count_ready(
        self,
        source: CounterSource,
        reading: Reading,
        ready: Sequence[_Ready],
        collection: _Collection,
        start: float,
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
            selectors = _filled(reading.selectors, concerned)
            first = {want.key: want.since - collection.interval for want in concerned}
            asked = [(one, one.labels[SNAPSHOT_LABEL] == want.subject, first[want.key]) for want, one in without_start]
            resolved = await resolve_bases(self._ask, selectors, asked, self._catalog.ages, start, collection.until)
            if isinstance(resolved, NoData):
                return {want.key: resolved for want, _, _ in ready}
            bases = resolved
        return await asyncio.to_thread(_count, source, ready, collection, bases)


def _count(
    source: CounterSource,
    ready: Iterable[_Ready],
    collection: _Collection,
    bases: Mapping[frozenset[tuple[str, str]], float | None],
) -> dict[Key, Tick]:
    ticks: dict[Key, Tick] = {}
    for want, subject, baseline in ready:
        window = Window(want.since, collection.until, collection.interval)
        match source:
            case RatioSource():
                ticks[want.key] = ratio_tick(subject, baseline, window, bases)
            case HistogramSource():
                ticks[want.key] = histogram_tick(subject, baseline, window, bases, source.unit)
            case MeanSource():
                ticks[want.key] = mean_tick(subject, baseline, window, bases)
            case DistributionSource() if want.metric.against == Against.REFERENCE:
                reference = reference_of(want.metric, want.template)
                ticks[want.key] = reference_tick(subject, baseline, window, bases, source.by, reference)
            case DistributionSource():
                ticks[want.key] = distribution_tick(subject, baseline, window, bases, source.by)
    return ticks


def _first_missing(want: Want, arms: Sequence[ArmRows], collection: _Collection) -> Owner | None:
    """The snapshot whose series are missing or have stopped; a baseline matters only when it is compared with."""
    window = Window(want.since, collection.until, collection.interval)
    for owner, arm in zip(want.owners, arms, strict=True):
        absent = find_missing(arm, window)
        if absent is not None and (owner[2] == want.subject or want.metric.against == Against.STABLE):
            return owner
    return None


def _filled(selectors: Iterable[str], wants: Sequence[Want]) -> list[str]:
    version = matchers_of([want.version for want in wants])
    return [fill(text, {"version": version}) for text in selectors]
