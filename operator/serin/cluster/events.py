"""Kubernetes Events: the story of a rollout where `kubectl describe` shows it.

Writing one never holds up anything: they go into a short queue that a task of its own empties, at a bounded rate; when
it is full the oldest is dropped and counted. The same reason for the same object within a while is one Event with a
count, not many. Events are for people: nothing reads them back, and a failed write is not repeated.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from serin.api.json import JsonObject
from serin.api.text import cut_to_bytes
from serin.cluster import kinds
from serin.cluster.protocol import ClusterError

log: Final = structlog.get_logger("serin.events")

CONTROLLER: Final = "serin.dev/operator"
_SERIES_SECONDS: Final = 600.0
_SERIES_KEPT: Final = 2_000
_QUEUE: Final = 500
_PER_SECOND: Final = 10.0
_NOTE_BYTES: Final = 1024  # of the API, whatever its message says ("characters")


class EventClient(Protocol):
    """Where Events are written; the Cluster protocol has it."""

    async def create_event(self, body: JsonObject) -> None:
        """Create or (same name) update an events.k8s.io/v1 Event."""


@dataclass(frozen=True, slots=True)
class _Series:
    """An Event that was written, and how often its occasion has come since. `last`: monotonic seconds."""

    body: JsonObject
    count: int
    last: float


class EventRecorder:
    """Records Events; `run` writes them. `instance`: this replica's name. `on_drop`: called for each that is lost."""

    def __init__(
        self,
        client: EventClient,
        instance: str,
        *,
        on_drop: Callable[[], None] = lambda: None,
        per_second: float = _PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._instance, self._on_drop = client, instance, on_drop
        self._pause, self._clock, self._wall = 1.0 / per_second, clock, wall
        self._series: OrderedDict[str, _Series] = OrderedDict()
        # By Event name: what waits is the newest state of an Event, so a repetition does not take a second place.
        self._waiting: OrderedDict[str, JsonObject] = OrderedDict()
        self._something = asyncio.Event()

    def record(self, regarding: JsonObject, reason: str, note: str, *, warning: bool = False) -> None:
        """Note that something happened to the object `regarding` (its whole JSON). Returns at once."""
        kind = "Warning" if warning else "Normal"
        same = hashlib.sha256(repr((regarding["metadata"]["uid"], kind, reason, note)).encode()).hexdigest()[:16]
        now, earlier = self._clock(), self._series.pop(same, None)
        if earlier is not None and now - earlier.last < _SERIES_SECONDS:
            series = replace(earlier, count=earlier.count + 1, last=now)
            body = {**series.body, "series": {"count": series.count, "lastObservedTime": self._timestamp()}}
        else:
            body = self._new(regarding, kind, reason, note, same)
            series = _Series(body, 1, now)
        self._series[same] = series
        if len(self._series) > _SERIES_KEPT:
            self._series.popitem(last=False)
        self._enqueue(body)

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        while True:
            while self._waiting:
                _, body = self._waiting.popitem(last=False)
                await self._write(body)
                await asyncio.sleep(self._pause)
            self._something.clear()
            await self._something.wait()

    async def flush(self, seconds: float) -> None:
        """Write what still waits, for at most so many seconds; for the end of the process."""
        try:
            async with asyncio.timeout(seconds):
                while self._waiting:
                    await self._write(self._waiting.popitem(last=False)[1])
        except TimeoutError:
            log.warning("events.not-written", count=len(self._waiting))

    async def _write(self, body: JsonObject) -> None:
        try:
            await self._client.create_event(body)
        except ClusterError as error:
            log.warning("event.not-written", reason=body["reason"], error=error.message)

    def _enqueue(self, body: JsonObject) -> None:
        self._waiting[body["metadata"]["name"]] = body
        while len(self._waiting) > _QUEUE:
            self._waiting.popitem(last=False)
            self._on_drop()
        self._something.set()

    def _new(self, regarding: JsonObject, kind: str, reason: str, note: str, same: str) -> JsonObject:
        metadata = regarding["metadata"]
        moment = self._timestamp()
        name = f"{metadata['name']}.{same}.{int(self._wall().timestamp()):x}"
        return {
            "apiVersion": kinds.EVENT.api_version,
            "kind": kinds.EVENT.name,
            "metadata": {"namespace": metadata["namespace"], "name": name},
            "eventTime": moment,
            "type": kind,
            "reason": reason,
            "action": reason,
            "note": cut_to_bytes(note, _NOTE_BYTES),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
        }

    def _timestamp(self) -> str:
        return self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
