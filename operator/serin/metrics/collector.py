"""One collection from Prometheus for all deployments: a tick for each deployment and metric, or why there is none.

Deployments with the same source share its queries, so the number of queries does not grow with the deployments: those
of built-in templates across the cluster, those that users wrote within their namespace. What a user writes are also the
arguments of a built-in template: each of them is another source. Whatever goes wrong for one metric is told of that
metric alone.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from serin.analysis.types import NoData, Tick
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.spec import Metric, TemplateRef
from serin.api.verdicts import COMPARED
from serin.evaluation.past import PastRequest
from serin.metrics.answers import Ask, Failed, Partial, Series, Value
from serin.metrics.catalog import Catalog
from serin.metrics.counters import ASSUMED_INTERVAL, MAX_DEPLOYMENTS, Counters, Known, TooLarge, failed
from serin.metrics.counting import in_step
from serin.metrics.expressions import expression_tick, value_tick
from serin.metrics.live import Past
from serin.metrics.messages import shorten
from serin.metrics.no_data import series_of
from serin.metrics.pods import dispersions, mean_queries, queries, slowest_pods
from serin.metrics.prometheus import SHARED, Prometheus
from serin.metrics.readings import Owner
from serin.metrics.sources import (
    ExpressionSource,
    HistogramSource,
    MeanSource,
    RatioSource,
    Source,
    SourceError,
    ValueSource,
    resolve,
)
from serin.metrics.wants import Key, Want, filled
from serin.metrics.windows import past_ticks

__all__ = ["Collector", "Key", "Want"]

log: Final = structlog.get_logger("serin.metrics")

# Scrape intervals; what lags further behind has a query of its own, so that it makes nobody else's answer longer.
LONG_GAP: Final = 4.0
# Scrape intervals after which it is not known any more when a target is scraped.
FRESH: Final = 5.0
# Seconds after the moment at which a scrape can be counted. Scrapes are not in time to the millisecond.
A_MOMENT: Final = 0.02
# Deployments whose hour by pod and minute is read at once: 3 pods each are 36,000 samples.
MAX_HOURS: Final = 200
# Seconds for which is remembered what was learned of a namespace; one whose limits are only watched is asked seldom.
REMEMBERED: Final = 900.0
# Seconds for which a collection waits for what users wrote. What takes longer comes with a later collection.
PATIENCE: Final = 3.0

_Task = asyncio.Task[dict[Key, Tick]]
# The namespace or SHARED, what is read, and how long the gap is or which windows are meant.
_Batch = tuple[str, Source, int | PastRequest]

# Of an hour by pod and minute: the queries, the label that tells pods apart, and what is measured with both.
_Measure = Callable[[Iterable[Series], Iterable[Series], str, Sequence[Owner]], Mapping[Owner, float]]
_Asked = tuple[tuple[str, str], str, _Measure]
_LARGEST: Final = partial(slowest_pods, lower_is_worse=False)
_SMALLEST: Final = partial(slowest_pods, lower_is_worse=True)


class Collector:
    """Turns what Prometheus has into ticks. Holds only what saves work: scrape intervals and sizes learned so far."""

    def __init__(self, prometheus: Prometheus, catalog: Catalog, *, patience: float = PATIENCE) -> None:
        self._prometheus = prometheus
        self._catalog = catalog
        self._patience = patience
        self._known: dict[str, Known] = {}
        self._asked: dict[str, float] = {}  # namespaces, and when they were asked for last
        self._under_way: dict[Key, tuple[Want, _Task]] = {}
        self._turns: dict[str, asyncio.Lock] = {}  # of those who read windows of the past, by namespace
        self._tasks: set[_Task] = set()  # those of wants that are no more, too, until they end

    async def collect(self, now: float, wants: Sequence[Want]) -> Mapping[Key, Tick]:
        """One tick for each want; a want without a newer sample yet has none in the answer: ask again later.

        Nor has one that is still being read: slow queries of one namespace hold up nobody else's evidence. Its tick
        comes with a later collection that has the same want.

        `now`: unix seconds. Never raises for anything that users, Prometheus or the network do wrong: that is NoData
        with a message which names the metric.
        """
        ticks: dict[Key, Tick] = {}
        batches: dict[_Batch, list[Want]] = {}
        for want in wants:
            try:
                batches.setdefault(self._batch_of(want, now), []).append(want)
            except SourceError as error:
                ticks[want.key] = NoData(Reason.QUERY_FAILED, str(error))
            except Exception as error:
                ticks[want.key] = failed(want, error)
        self._asked |= dict.fromkeys((SHARED, *(place for place, _, _ in batches)), now)
        self._asked = {place: at for place, at in self._asked.items() if now - at < REMEMBERED}
        self._known = {place: one for place, one in self._known.items() if place in self._asked}
        self._turns = {place: one for place, one in self._turns.items() if place in self._asked}
        shared = {self._start(batch, each, now) for batch, each in batches.items()}
        await self._wait({task for task in shared if task})
        ticks |= self._finished(wants)
        return {want.key: _bounded(ticks[want.key]) for want in wants if want.key in ticks}

    async def slowest_pods(self, now: float, wants: Sequence[Want]) -> Mapping[Key, float]:
        """How many times as much the worst of the pods took as the others, where a slow pod is let pass; 1 for no more.

        Of the same pods and the same hour as `overdispersion`, and with the same gaps.
        """
        return await self._by_pod(now, wants, _slowest_asked)

    async def overdispersion(self, now: float, wants: Sequence[Want]) -> Mapping[Key, float]:
        """How much more bad requests vary between pods than by chance (1 or more), over the last hour.

        The pods are the baseline's, or the subject's own where there is no baseline. `now`: unix seconds. Nothing for a
        metric whose requests cannot be told apart by pod, or without an answer.
        """
        return await self._by_pod(now, wants, _dispersion_asked)

    async def past(self, now: float, wants: Sequence[Want]) -> Mapping[Key, Past]:
        """What Prometheus shows of the router's metrics up to each want's `since`, to go on from there by readings.

        Nothing for a want of which that is not known (yet). `now`: unix seconds.
        """
        batches: dict[Source, list[Want]] = {}
        for want in wants:
            with suppress(Exception):  # why, the collection tells
                batches.setdefault(resolve(want.metric, want.template, self._catalog, want.namespace), []).append(want)
        found: dict[Key, Past] = {}
        for source, each in batches.items():
            if isinstance(source, RatioSource | HistogramSource) and SHARED in self._known:
                counters = Counters(self._ask_for(SHARED), source, self._known[SHARED], self._catalog.ages)
                for chunk in counters.chunks(each, now):
                    found |= await counters.past(chunk, now)
        return found

    async def _by_pod(
        self, now: float, wants: Sequence[Want], asks: Callable[[Source, Metric], _Asked | None]
    ) -> Mapping[Key, float]:
        batches: dict[tuple[str, _Asked], list[Want]] = {}
        for want in wants:
            with suppress(Exception):  # why, the collection tells
                source = resolve(want.metric, want.template, self._catalog, want.namespace)
                if asked := asks(source, want.metric):
                    batches.setdefault((self._place(want), asked), []).append(want)
        jobs = [
            self._patiently(place, self._measured(place, asked, batch[start : start + MAX_HOURS], now))
            for (place, asked), batch in batches.items()
            for start in range(0, len(batch), MAX_HOURS)
        ]
        found: dict[Key, float] = {}
        for each in await asyncio.gather(*jobs):
            found.update(each)
        return found

    async def _measured(self, place: str, asked: _Asked, wants: Sequence[Want], now: float) -> dict[Key, float]:
        texts, pods, measure = asked
        ask = self._ask_for(place)
        every, some = await asyncio.gather(*(ask(text, now) for text in filled(texts, wants)))
        if not isinstance(every, Value) or isinstance(some, Failed | Partial):
            return {}
        owners = [want.owners[-1] for want in wants]
        found = await asyncio.to_thread(measure, every.series, series_of(some), pods, owners)
        return {want.key: found[owner] for want, owner in zip(wants, owners, strict=True)}

    async def _patiently(self, place: str, measuring: Awaitable[dict[Key, float]]) -> dict[Key, float]:
        """What is measured; nothing when a user's query takes too long, or the measuring fails."""
        try:
            async with asyncio.timeout(None if place == SHARED else self._patience):
                return await measuring
        except TimeoutError:
            return {}
        except Exception:
            log.exception("dispersion.failed")
            return {}

    def _start(self, batch: _Batch, wants: Sequence[Want], now: float) -> _Task | None:
        """Begin what is not under way yet. Gives the task when all namespaces' evidence waits for it."""
        new = [want for want in wants if self._under_way.get(want.key, (None,))[0] != want]
        if not new:
            return None
        task = asyncio.create_task(self._isolated(batch, new, now))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._under_way |= {want.key: (want, task) for want in new}
        return task if batch[0] == SHARED and not isinstance(batch[2], PastRequest) else None

    async def _wait(self, shared: set[_Task]) -> None:
        # What windows of the past say comes with a later collection, unless nothing else is waited for.
        windows = {task for want, task in self._under_way.values() if want.past}
        running = {task for _, task in self._under_way.values()} - windows or windows
        try:
            if running:
                await asyncio.wait(running, timeout=self._patience)
            if shared:
                await asyncio.wait(shared)
        except asyncio.CancelledError:
            for task in self._tasks:
                task.cancel()
            raise

    def _finished(self, wants: Sequence[Want]) -> dict[Key, Tick]:
        """Ticks of what has ended and is still wanted as it was."""
        ticks: dict[Key, Tick] = {}
        wanted = {want.key: want for want in wants}
        for key, (want, task) in list(self._under_way.items()):
            if task.done():
                del self._under_way[key]
                if wanted.get(key) == want and key in task.result():
                    ticks[key] = task.result()[key]
            elif key not in wanted:
                del self._under_way[key]
        return ticks

    def scrape_interval(self, namespace: str, metric: Metric, template: JsonObject | None = None) -> float | None:
        """Seconds between scrapes of what the metric is read from; None while they are not known."""
        try:
            source = resolve(metric, template, self._catalog, namespace)
        except SourceError:
            return None
        known = (one.interval(source) for one in self._known.values())
        return min((interval for interval in known if interval is not None), default=None)

    def in_step(self, wanted: float, within: float) -> float:
        """The moment nearest to `wanted` at which a scrape has just become old enough to be counted (unix seconds).

        Of what is scraped most often; `wanted` itself while nothing is known that comes `within` so many seconds of it.
        A collection at another moment finds the same, but later: it waits for nothing and still comes after a scrape.
        """
        scrapes = [
            (interval, fresh)
            for known in self._known.values()
            for interval, newest in known.scrapes()
            if (fresh := [moment for moment in newest if 0.0 <= wanted - moment < FRESH * interval])
        ]
        interval, fresh = min(scrapes, default=(math.inf, []))
        return in_step(fresh, interval, wanted) + A_MOMENT if interval <= 2.0 * within else wanted

    @property
    def queries(self) -> int:
        """How many queries were sent since the start."""
        return self._prometheus.usage.queries

    def _batch_of(self, want: Want, now: float) -> _Batch:
        """Short and long gaps apart, or one deployment's long gap would make every answer long. Raises SourceError."""
        source = resolve(want.metric, want.template, self._catalog, want.namespace)
        place = self._place(want)
        if want.past:
            return place, source, want.past
        interval = self._known[place].interval(source) if place in self._known else None
        usual = LONG_GAP * (interval or ASSUMED_INTERVAL)
        return place, source, int(math.log2(max(1.0, (now - want.since) / usual)))

    def _place(self, want: Want) -> str:
        source = want.metric.source
        shared = isinstance(source, TemplateRef) and want.template is None and not source.arguments
        return SHARED if shared else want.namespace

    async def _isolated(self, batch: _Batch, wants: Sequence[Want], now: float) -> dict[Key, Tick]:
        """Ticks of one batch. When all together fail, each half is tried, down to the metric that is to blame."""
        place, source, _ = batch
        try:
            return await self._collect(place, source, wants, now)
        except Exception as error:
            if len(wants) == 1:
                reason = error.reason if isinstance(error, TooLarge) else failed(wants[0], error)
                return {wants[0].key: reason}
        middle = len(wants) // 2
        first = await self._isolated(batch, wants[:middle], now)
        return first | await self._isolated(batch, wants[middle:], now)

    async def _collect(self, place: str, source: Source, wants: Sequence[Want], now: float) -> dict[Key, Tick]:
        known = self._known.setdefault(place, Known())
        if wants[0].past:
            return await self._windows(place, source, wants, now)
        if isinstance(source, ValueSource | ExpressionSource):
            return await self._computed(place, source, wants, now)
        counters = Counters(self._ask_for(place), source, known, self._catalog.ages)
        ticks: dict[Key, Tick] = {}
        for chunk in counters.chunks(wants, now):
            ticks.update(await counters.count(chunk, now))
        return ticks

    async def _windows(self, place: str, source: Source, wants: Sequence[Want], now: float) -> dict[Key, Tick]:
        """One query at a time: many windows are many samples, and a rollout's queries must not wait behind them."""
        at, ask, ticks = now - self._longest_interval(place), self._ask_for(place), dict[Key, Tick]()
        async with self._turns.setdefault(place, asyncio.Lock()):
            for start in range(0, len(wants), MAX_DEPLOYMENTS):
                ticks |= await past_ticks(ask, source, wants[start : start + MAX_DEPLOYMENTS], at)
        return ticks

    async def _computed(
        self, place: str, source: ValueSource | ExpressionSource, wants: Sequence[Want], now: float
    ) -> dict[Key, Tick]:
        # A value is read as it is; totals are counted, so they must have settled.
        shortest = 1.0 if isinstance(source, ValueSource) else self._longest_interval(place)
        at = now - shortest
        ask = self._ask_for(place)
        due = [want for want in wants if at - want.since >= shortest]
        if isinstance(source, ValueSource):
            jobs = [value_tick(ask, source, want.version, at) for want in due]
        else:
            jobs = [expression_tick(ask, source, want.version, want.since, at) for want in due]
        return dict(zip([want.key for want in due], await asyncio.gather(*jobs), strict=True))

    def _longest_interval(self, place: str) -> float:
        """Of what is scraped for this namespace, and for all: another namespace's slow scrapes are its own affair."""
        known = [self._known[name].longest() for name in (SHARED, place) if name in self._known]
        return max((one for one in known if one is not None), default=ASSUMED_INTERVAL)

    def _ask_for(self, place: str) -> Ask:
        return partial(self._prometheus.query, namespace=place)


def _bounded(tick: Tick) -> Tick:
    return replace(tick, message=shorten(tick.message)) if isinstance(tick, NoData) else tick


def _dispersion_asked(source: Source, _metric: Metric) -> _Asked | None:
    if not isinstance(source, RatioSource):
        return None
    texts = queries(source)
    return (texts, source.pods, dispersions) if texts else None


def _slowest_asked(source: Source, metric: Metric) -> _Asked | None:
    """Nothing for a limit: it says by itself what is still good."""
    if not isinstance(source, HistogramSource | MeanSource) or metric.against not in COMPARED:
        return None
    texts = mean_queries(source)
    return (texts, source.pods, _SMALLEST if metric.lower_is_worse else _LARGEST) if texts else None
