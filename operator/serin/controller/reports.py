"""A report of each rollback, kept as a ConfigMap while its version is remembered: Events are gone after an hour.

A report is no part of a rollback. A task of its own writes it a while later, from the cache and from what this replica
has told, and nothing waits for it. Its name says which rollback it is about, so that a second leader finds it written;
it belongs to its ModelSnapshot, and goes with it. Serin reads no ConfigMap.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import quote

import structlog

from serin.api import names
from serin.api.json import JsonObject
from serin.api.names import Key, key_of
from serin.api.records import Occasion
from serin.api.snapshots import Snapshot, read_snapshot
from serin.api.status import read_state
from serin.api.text import cut_to_bytes
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import KubernetesCluster
from serin.cluster.protocol import ClusterError, Conflict, Retryable
from serin.explain.document import Document, markdown, webpage
from serin.explain.pods import Pods, Warned, ends_in, warnings_in
from serin.explain.report import Note, Rollback, report, rollbacks, shield_of

log: Final = structlog.get_logger("serin.reports")

# Seconds after the decision: what happens then (the router has taken it, records are written) is a part of the story.
_AFTER: Final = 30.0
# By then either it is known what the version was for clients, or the report says that it is not.
_COUNTED: Final = 120.0
# Rollbacks that are older were a former leader's to tell of; a person gets theirs from `serin report`.
_RECENT: Final = 3600.0
_PAUSE: Final = 10.0
# Of a version that is tried again and again; versions are as many as spec.snapshots.keep.
MOST_REPORTS: Final = 5
# Notes of each deployment, and deployments of which notes are kept.
_NOTES: Final = 60
_DEPLOYMENTS: Final = 2_000
_MOST_ENDS: Final = 500  # of containers of one deployment
# A ConfigMap may have 1 MiB.
_MOST_BYTES: Final = 400_000


def report_name(snapshot: str, at: float) -> str:
    """The ConfigMap's name. `at`: of the rollback, as a version that is tried again has more than one."""
    return f"{snapshot}-report-{int(at):x}"


def page_of(dashboard: str, namespace: str, name: str, snapshot: str = "") -> str:
    """Where the web page shows a deployment, or the report of the rollback of one of its snapshots."""
    found = f"{dashboard}/in/{namespace}/{name}"
    return f"{found}/report/{quote(snapshot, safe='')}" if snapshot else found


class ReportWriter:
    """Writes reports; `run` until cancelled. `clock`: unix seconds. `dashboard`: the web page's address, or ""."""

    def __init__(
        self,
        cluster: KubernetesCluster,
        cache: ObjectCache,
        *,
        dashboard: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dashboard = dashboard
        self._cluster, self._cache, self._clock = cluster, cache, clock
        self._notes: OrderedDict[Key, deque[Note]] = OrderedDict()
        self._pending: set[Key] = set()  # of which something was told, or whose report is still to be written
        self._done: dict[Key, float] = {}  # the newest rollback that was dealt with
        # How containers have ended, of deployments whose report is still to be written: pods are gone by then.
        self._ends: dict[Key, frozenset[Warned]] = {}
        self._wake = asyncio.Event()

    def note(self, key: Key, reason: str, message: str) -> None:
        """Hear what is told of a deployment."""
        kept = self._notes.setdefault(key, deque(maxlen=_NOTES))
        kept.append(Note(self._clock(), reason, message))
        self._notes.move_to_end(key)
        if len(self._notes) > _DEPLOYMENTS:
            self._notes.popitem(last=False)
        self._pending.add(key)
        self._wake.set()

    async def run(self) -> None:
        """Write the report of every rollback that is due for one: at first a former leader's, then those told of."""
        self._pending.update(map(key_of, self._cache.all(kinds.MODEL_DEPLOYMENT)))
        while True:
            self._wake.clear()
            pending, self._pending = self._pending, set()
            left = {key: seconds for key in sorted(pending) if (seconds := await self._deal_with(key)) is not None}
            self._pending |= left.keys()
            await self._wait(min(left.values(), default=None))

    async def _wait(self, seconds: float | None) -> None:
        """Until then, or (None) until something is told, and a little: what is told comes in groups."""
        if seconds is None:
            await self._wake.wait()
        await asyncio.sleep(_PAUSE if seconds is None else seconds)

    async def _deal_with(self, key: Key) -> float | None:
        """Write what is due; answers in how many seconds to look again, None: there is nothing to do."""
        body = self._cache.get(kinds.MODEL_DEPLOYMENT, *key)
        if body is None:
            self._done.pop(key, None)
            self._ends.pop(key, None)
            return None
        last, now = read_state(body.get("status") or {}).last_rollback, self._clock()
        if last is None or self._done.get(key) == last.at or now - last.at > _RECENT:
            return None
        self._see_pods(key)  # while they are there
        if now - last.at < _AFTER:
            return last.at + _AFTER - now
        if last.clients is None and now - last.at < _COUNTED:
            return _PAUSE  # client_counter.py is about to know, or Prometheus gives no answer
        try:
            await self._write(key, body)
        except Retryable as error:
            log.warning("report.not-written", namespace=key[0], deployment=key[1], error=error.message)
            return _PAUSE
        except ClusterError as error:  # a quota or a policy: `serin report` prints it all the same
            log.warning("report.refused", namespace=key[0], deployment=key[1], error=error.message)
        except Exception:
            # One deployment that cannot be told of must not end the reports of all others.
            log.exception("report.failed", namespace=key[0], deployment=key[1])
        self._done[key] = last.at
        self._ends.pop(key, None)
        return None

    async def _write(self, key: Key, body: JsonObject) -> None:
        mine = self._cache.of_deployment(kinds.MODEL_SNAPSHOT, *key)
        snapshots = {one.name: one for one in map(read_snapshot, mine)}
        found = rollbacks(read_state(body["status"]), snapshots)
        last = read_state(body["status"]).last_rollback
        newest = next((one for one in found if last and one.source.name == last.source), None)
        if newest is None or _times(newest.source) > MOST_REPORTS:
            return
        pods = await self._pods(key)
        page = report(key[1], newest, tuple(self._notes.get(key, ())), shield_of(body), pods)
        if self._dashboard:
            page = replace(page, link=page_of(self._dashboard, *key, newest.source.name))
        try:
            await self._cluster.create(_config_map(key, newest, page))
            log.info("report.written", namespace=key[0], deployment=key[1], snapshot=newest.source.name)
        except Conflict:
            log.debug("report.exists", namespace=key[0], deployment=key[1])  # an earlier leader has written it

    def _see_pods(self, key: Key) -> None:
        seen = ends_in(self._cache.of_deployment(kinds.POD, *key))
        self._ends[key] = frozenset(list(self._ends.get(key, frozenset()) | set(seen))[:_MOST_ENDS])

    async def _pods(self, key: Key) -> Pods:
        """What is said of them. It is asked for once: a report without it is better than none."""
        ends, cut = self._ends.get(key, frozenset()), False
        warned: list[Warned] = []
        try:
            # Page by page: an Event may be large, and what is told of it is short.
            async for events, more in self._cluster.pod_warnings(key[0]):
                warned += warnings_in(events)
                cut = more
        except ClusterError as error:
            log.warning("events.not-read", namespace=key[0], deployment=key[1], error=error.message)
            return Pods(tuple(ends), error.message)
        return Pods((*warned, *ends), cut=cut)


def _times(one: Snapshot) -> int:
    """How often a version was rolled back."""
    return sum(record.occasion is Occasion.ROLLED_BACK for record in one.records)


def _config_map(key: Key, rollback: Rollback, page: Document) -> JsonObject:
    source = rollback.source
    owner = {"apiVersion": names.API_VERSION, "kind": names.MODEL_SNAPSHOT, "name": source.name, "uid": source.uid}
    data = {"report.md": markdown(page), "report.html": webpage(page)}
    return {
        "apiVersion": kinds.CONFIG_MAP.api_version,
        "kind": kinds.CONFIG_MAP.name,
        "metadata": {
            "namespace": key[0],
            "name": report_name(source.name, rollback.record.at),
            "labels": {names.LABEL_MODEL_DEPLOYMENT: key[1], names.LABEL_REPORT: "rollback"},
            "ownerReferences": [owner],
        },
        "data": {name: cut_to_bytes(text, _MOST_BYTES) for name, text in data.items()},
    }
