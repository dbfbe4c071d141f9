"""Evidence of rollouts from the router's own pods, as soon as it is there. Prometheus is the record and the fallback.

A failure that a router has counted is known to Prometheus at its next scrape, and counted when that cannot change any
more. Here the same counters are read from the pods twice a second, one read of each pod for all rollouts. Only what is
in a rollout is read so, and only built-in metrics of the router's.

Nobody waits for a pod: what it has not answered in a moment counts with a later reading. When one that serves has said
nothing for a while, or something does not add up, Prometheus counts on from the last readings (metrics/live.py), and
when all is well again readings go on from its last sample. What is kept here can be lost: whoever leads next begins
with Prometheus.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from serin.analysis.types import Tick
from serin.controller.telemetry import Telemetry
from serin.metrics.catalog import Catalog
from serin.metrics.live import Past, base_of, can_be_read, live_tick
from serin.metrics.pod_readings import Base, Begun, Place, PodReading, as_values, stamp
from serin.metrics.sources import RouterSource, router_source
from serin.metrics.wants import Key, Want
from serin.routers.base import CounterReader, CountersUnread, RouterPod

log: Final = structlog.get_logger("serin.evidence")

# Seconds between two reads of a pod, at least.
PERIOD: Final = 0.5
# Looks a second that readings ask for, of all rollouts together; with more rollouts each is read less often.
LOOKS_PER_SECOND: Final = 10.0
# Rollouts that are read at once: one read names them all.
MOST_ROLLOUTS: Final = 100
# Seconds that all wait for the pods' answers; what comes later counts with the next reading.
_PATIENCE: Final = 0.25
# Seconds after which what a pod said last is too old to stand for it.
_FRESH: Final = 3.0
# Seconds for which the last words of a pod that is gone are kept: Prometheus may still have to go on from them.
_REMEMBERED: Final = 60.0
# Readings that are kept beside those that evidence ends at: a look may be under way.
_KEPT: Final = 8
# Seconds until Prometheus is asked again from where readings can go on.
_AGAIN: Final = 1.0


class KnowsPast(Protocol):
    """What Prometheus has counted; metrics.collector.Collector is it."""

    async def past(self, now: float, wants: Sequence[Want]) -> Mapping[Key, Past]:
        """What it shows of each want up to its `since`."""


class LiveEvidence:
    """Counts what `reader` reads. `doubtful`: whether clocks differ, so that moments say too little.

    `clock`: unix seconds; `monotonic`: seconds that no correction moves.
    """

    def __init__(
        self,
        reader: CounterReader,
        collector: KnowsPast,
        catalog: Catalog,
        telemetry: Telemetry,
        *,
        doubtful: Callable[[], bool],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._reader, self._collector, self._catalog, self._telemetry = reader, collector, catalog, telemetry
        self._doubtful, self._clock, self._monotonic = doubtful, clock, monotonic
        self._readings: dict[str, PodReading] = {}
        self._reads: dict[str, asyncio.Task[None]] = {}
        self._moments: dict[float, Base] = {}  # readings by their time (unix seconds), oldest first
        self._bases: dict[Key, tuple[float, Base]] = {}  # what Prometheus had counted, and until when
        self._joined: dict[Key, float] = {}  # since when (monotonic) each pod is counted
        self._asked: dict[Key, float] = {}  # when Prometheus was asked for it
        self._joining: asyncio.Task[None] | None = None
        self._live: frozenset[Key] = frozenset()
        self._at = 0.0  # of the newest pass (monotonic)
        self._silent: frozenset[str] = frozenset()
        telemetry.live_rollouts.set_function(lambda: float(len({key[:2] for key in self._live})))

    def source(self, want: Want) -> RouterSource | None:
        """What a want is counted from when it is read here; None when it is not."""
        if want.past is not None or want.baseline is None:
            return None
        found = router_source(want.metric, want.template, self._catalog)
        return found if found is not None and can_be_read(found) else None

    def counts(self, key: Key) -> bool:
        """Whether a want is counted here now, so that Prometheus need not be asked."""
        return key in self._live and self._monotonic() - self._at < _FRESH

    def begun(self, want: Want) -> Begun | None:
        """What the pods had counted at the want's `since`, if that is a reading; Prometheus counts on from it."""
        source, readings = self.source(want), self._moments.get(want.since)
        if source is None or readings is None or self._doubtful():
            return None
        return Begun(source, {pod: one for pod, one in readings.items() if want.key[:2] in one.places})

    def stop(self) -> None:
        """Nothing is counted here until the next collection."""
        self._live = frozenset()

    def close(self) -> None:
        """The term ends."""
        self.stop()
        for task in (*self._reads.values(), *([self._joining] if self._joining else [])):
            task.cancel()

    async def collect(self, wants: Sequence[Want]) -> dict[Key, Tick]:
        """One tick for each want that can be counted here now; those for which there is none are Prometheus'."""
        sources = {want.key: source for want in wants if (source := self.source(want)) is not None}
        ours = [want for want in wants if want.key in sources]
        at = stamp(self._clock())
        places = frozenset(want.key[:2] for want in ours)
        await self._read(places)
        self._at = self._monotonic()
        listed = frozenset() if self._doubtful() else self._listed()
        ticks: dict[Key, Tick] = {}
        later: list[Want] = []
        for want in ours:
            base, joined = self._base_of(want), self._joined.get(want.key)
            if not self._are_read(listed, want):
                continue
            if base is None or joined is None:
                later.append(want)
                continue
            shown = {pod: one for pod, one in self._readings.items() if pod in listed or pod in base}
            tick = live_tick(sources[want.key], want, base, shown, at, joined, PERIOD)
            if tick is not None:
                ticks[want.key] = tick
        self._live = frozenset(ticks)
        self._keep(at, wants)
        self._join(later, sources)
        return ticks

    # Reading

    async def _read(self, places: frozenset[Place]) -> None:
        """Ask every pod that is not being asked, and wait a moment for the answers."""
        if not places:
            return
        there = {pod.name: pod for pod in self._reader.pods()}
        for name, pod in there.items():
            if name not in self._reads:
                task = asyncio.create_task(self._read_one(pod, places), name=f"read {name}")
                self._reads[name] = task
                task.add_done_callback(lambda _, name=name: self._reads.pop(name, None))  # type: ignore[misc]
        if self._reads:
            await asyncio.wait(set(self._reads.values()), timeout=_PATIENCE)
        now = self._monotonic()
        self._readings = {
            name: one for name, one in self._readings.items() if name in there or now - one.at < _REMEMBERED
        }

    async def _read_one(self, pod: RouterPod, places: frozenset[Place]) -> None:
        self._telemetry.live_reads.inc()
        began, at = self._monotonic(), self._clock()
        try:
            found = await self._reader.read(pod, places)
            values = as_values(found.series)
        except CountersUnread as error:
            self._failed(pod, str(error))
        except Exception as error:
            # Whatever a pod answers is its own affair.
            self._failed(pod, repr(error))
        else:
            self._silent -= {pod.name}
            self._readings[pod.name] = PodReading(pod.address, began - found.age, began, at, places, values)

    def _failed(self, pod: RouterPod, why: str) -> None:
        self._telemetry.live_failures.inc()
        if pod.name not in self._silent:
            log.warning("router.unread", pod=pod.name, why=why)
        self._silent |= {pod.name}

    def _listed(self) -> frozenset[str]:
        """Pods that are known and may count; none when one of those that serve is not known well enough."""
        now, found = self._monotonic(), set()
        for pod in self._reader.pods():
            one = self._readings.get(pod.name)
            if pod.serves and (one is None or now - one.at > _FRESH):
                return frozenset()
            if one is not None:
                found.add(pod.name)
        return frozenset(found)

    def _are_read(self, pods: frozenset[str], want: Want) -> bool:
        """Whether there are pods, and each was asked for the want's deployment."""
        return bool(pods) and all(want.key[:2] in self._readings[pod].places for pod in pods)

    # Where counting goes on

    def _base_of(self, want: Want) -> Base | None:
        since, base = self._bases.get(want.key, (None, None))
        return base if since == want.since else self._moments.get(want.since)

    def _keep(self, at: float, wants: Iterable[Want]) -> None:
        """Keep the newest readings, and those that evidence ends at."""
        self._moments[at] = dict(self._readings)
        needed = {want.since for want in wants} | set(list(self._moments)[-_KEPT:])
        self._moments = {moment: one for moment, one in self._moments.items() if moment in needed}
        keys = {want.key for want in wants}
        self._bases = {key: one for key, one in self._bases.items() if key in keys}
        self._joined = {key: one for key, one in self._joined.items() if key in keys}
        self._asked = {key: one for key, one in self._asked.items() if key in keys}

    def _join(self, wants: Sequence[Want], sources: Mapping[Key, RouterSource]) -> None:
        """Ask Prometheus from where on these can be counted here, in a task that nobody waits for."""
        now = self._monotonic()
        due = [want for want in wants if now - self._asked.get(want.key, -_AGAIN) >= _AGAIN]
        if due and (self._joining is None or self._joining.done()):
            self._asked |= dict.fromkeys((want.key for want in due), now)
            self._joining = asyncio.create_task(self._ask_prometheus(due, sources), name="live evidence begins")

    async def _ask_prometheus(self, wants: Sequence[Want], sources: Mapping[Key, RouterSource]) -> None:
        try:
            found = await self._collector.past(self._clock(), wants)
        except Exception:
            log.exception("live.not_begun")
            return
        listed, now = self._listed(), self._monotonic()
        for want in wants:
            past = found.get(want.key)
            if past is None or not self._are_read(listed, want):
                continue
            shown = {pod: self._readings[pod] for pod in listed}
            # Ages are of the readings, which were made some time ago.
            moment = self._clock() - (now - min(one.at for one in shown.values()))
            base = base_of(sources[want.key], want, past, shown, moment)
            if base is not None:
                self._bases[want.key] = (want.since, base)
                self._joined[want.key] = now
                # From now on, so that Prometheus does not go on from there as well.
                self._live, self._at = self._live | {want.key}, now
