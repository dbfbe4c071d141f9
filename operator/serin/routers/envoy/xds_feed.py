"""Feeds the xDS server from the cache, on every replica: what serves is in the cluster, so any of them can answer.

A change is passed on at once; what comes while one is passed on is passed on together. Only the deployments that have
changed are read. Until the cache is complete nothing is: an operator that does not know yet must never send an Envoy
that there is nothing to serve.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

import structlog

from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.kill_switch import FallbackService, read_fallback
from serin.api.names import LABEL_MODEL_DEPLOYMENT, Key, key_of
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Kind, is_newer
from serin.routers.base import Lowered
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.ports import Ports
from serin.routers.envoy.routed_model import Reading, RoutedModel, decided, read_model
from serin.routers.envoy.xds.server import XdsServer
from serin.routers.envoy.xds_written import Written
from serin.routers.fallback import NoFallback, fallback_endpoint

log: Final = structlog.get_logger("serin.router")

_Value = TypeVar("_Value")

_FALLBACK: Final = "fallback"  # index: deployments by the Service that they fall back on
# Between two updates: bounds the work when many pods come at once, and is not felt by anybody.
_PAUSE_SECONDS: Final = 0.02
# What a route is read from beside the deployment itself.
_PARTS: Final = frozenset({kinds.ENDPOINT_SLICE, kinds.MODEL_SNAPSHOT})


def _no_key() -> bytes:
    """No guard is to be asked."""
    return b""


class XdsFeed:
    """Keeps `xds` up to date with `cache`. `enqueue`: asks for a look at a deployment whose problem has changed.

    `ports`: says whose a listener port is. `guard_key`: with which the guard's settings are signed (`rekey`); without
    it (b"") the guard refuses them, and everything else is served.
    """

    def __init__(
        self,
        cache: ObjectCache,
        xds: XdsServer,
        enqueue: Callable[[Key], None],
        ports: Ports,
        guard_key: Callable[[], bytes] = _no_key,
    ) -> None:
        self._cache, self._xds, self._enqueue, self._ports = cache, xds, enqueue, ports
        self._guard_key = guard_key
        self._last: dict[Key, RoutedModel] = {}
        self._problems: dict[Key, str] = {}
        self._lowered: dict[Key, Lowered] = {}
        self._written: dict[Key, Written] = {}
        self._newer: dict[Key, tuple[Written, ...]] = {}  # than what is known here, by the word of peers
        self._dirty: set[Key] = set()
        self._changed = asyncio.Event()
        cache.add_index(_FALLBACK, kinds.MODEL_DEPLOYMENT, _fallback_of)
        cache.listen(self._on_change)

    def problem(self, key: Key) -> str | None:
        """What cannot be read of a deployment, in a sentence; the last good reading of it is served."""
        return self._problems.get(key)

    def lower(self, key: Key, lowered: Lowered | None) -> None:
        """Read this status in place of the deployment's own while that is in its version; None: no more."""
        _set(self._lowered, key, lowered)
        self._dirty.add(key)
        self._changed.set()

    def rekey(self) -> None:
        """Sign anew: there is another key, or none any more, or one at last."""
        key = self._guard_key()
        self._dirty |= {name for name, model in self._last.items() if model.signed(key) is not model}
        self._changed.set()

    def written(self) -> Mapping[Key, Written]:
        """What is written for each deployment, as far as it is known here."""
        return self._written

    def hear(self, told: Iterable[Mapping[Key, Written]]) -> None:
        """What each peer knows to be written: where that is newer, what it lowers is lowered here.

        What was heard before counts until it is known here: a version that was rolled back and is tried again meanwhile
        has other pods by now.
        """
        news: dict[Key, Written] = {}
        for key, one in (item for peer in told for item in peer.items()):
            body = self._cache.get(kinds.MODEL_DEPLOYMENT, *key)
            newest = key not in news or is_newer(one.version, news[key].version)
            if newest and body is not None and one.is_news_about(body):
                news[key] = one
        before, self._newer = self._newer, {key: self._with_earlier(key, newest) for key, newest in news.items()}
        changed = {key for key in before.keys() | self._newer.keys() if before.get(key) != self._newer.get(key)}
        if changed:
            self._dirty |= changed
            self._changed.set()

    def _with_earlier(self, key: Key, newest: Written) -> tuple[Written, ...]:
        """One for each split, but none that is newer than the newest by now: etcd was restored from a backup."""
        earlier = (one for one in self._newer.get(key, ()) if not is_newer(one.version, newest.version))
        return (*(one for one in earlier if one.split != newest.split), newest)

    async def run(self) -> None:
        """Feed until cancelled."""
        await self._cache.wait_until_synced()
        self._dirty.update(key_of(body) for body in self._cache.all(kinds.MODEL_DEPLOYMENT))
        self._xds.update(model for model in self._read_dirty().values() if model is not None)
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._changed.wait()
            self._changed.clear()
            self._xds.change(self._read_dirty())

    def _read_dirty(self) -> dict[Key, RoutedModel | None]:
        """What has changed since the last time; None: not routed (any more)."""
        dirty, self._dirty = self._dirty, set()
        return {key: self._read(key) for key in dirty}

    def _read(self, key: Key) -> RoutedModel | None:
        """One deployment; whatever is wrong with it stops no other."""
        body, last = self._cache.get(kinds.MODEL_DEPLOYMENT, *key), self._last.get(key)
        if body is None:
            reading = Reading(None)
            self._written.pop(key, None)
        else:
            try:
                self._written[key] = _written(body)
                reading = read_model(
                    self._as_decided(key, body),
                    self._cache.of_deployment(kinds.ENDPOINT_SLICE, *key),
                    self._cache.of_deployment(kinds.MODEL_SNAPSHOT, *key),
                    last,
                    lambda service: self._address(key[0], service),
                    tuple(one.split for one in self._newer.get(key, ()) if one.is_news_about(body)),
                )
            except Exception as error:
                log.exception("route.unreadable", namespace=key[0], deployment=key[1])
                reading = Reading(last, f"it cannot be read: {error!r}")
        reading = self._without_others_port(key, reading)
        _set(self._last, key, reading.model)
        if reading.problem != self._problems.get(key, ""):
            if reading.problem:
                log.warning("route.partly-read", namespace=key[0], deployment=key[1], why=reading.problem)
            _set(self._problems, key, reading.problem or None)
            self._enqueue(key)
        return reading.model and reading.model.signed(self._guard_key())

    def _address(self, namespace: str, wanted: FallbackService) -> Endpoint | None:
        try:
            return fallback_endpoint(wanted, self._cache.get(kinds.SERVICE, namespace, wanted.name))
        except NoFallback:
            return None  # which its condition says

    def falling_back_on(self, service: JsonObject) -> tuple[Key, ...]:
        """Deployments that name this Service in `spec.fallback`."""
        return tuple(key_of(one) for one in self._cache.by_index(_FALLBACK, key_of(service)))

    def _without_others_port(self, key: Key, reading: Reading) -> Reading:
        """Nothing, when the listener port is another deployment's: clients of one never reach the other's model."""
        if reading.model is None:
            return reading
        port = reading.model.port
        holder = self._ports.holder(port)
        if holder in (None, key):
            return reading
        return Reading(
            None, f"listener port {port} is the older deployment {'/'.join(holder or ())}'s: another is given"
        )

    def _as_decided(self, key: Key, body: JsonObject) -> JsonObject:
        """The deployment with the status that is on its way, unless something newer than that is known."""
        lowered, metadata = self._lowered.get(key), body["metadata"]
        if lowered is None or (lowered.uid, lowered.version) != (metadata["uid"], metadata["resourceVersion"]):
            return body
        return {**body, "status": lowered.status}

    def _on_change(self, kind: Kind, before: JsonObject | None, after: JsonObject | None) -> None:
        if kind == kinds.SERVICE:
            self._dirty.update(key for body in (before, after) if body for key in self.falling_back_on(body))
            self._changed.set()
            return
        for body in (before, after):
            key = _concerned(kind, body) if body is not None else None
            if key is not None and body is not None:
                self._dirty.add(key)
                if kind == kinds.MODEL_DEPLOYMENT:
                    self._dirty.update(self._ports.others(body))
                self._changed.set()


def _written(body: JsonObject) -> Written:
    metadata = body["metadata"]
    return Written(metadata["uid"], metadata["resourceVersion"], decided(body).split)


def _fallback_of(body: JsonObject) -> Key | None:
    """Namespace and name of the Service that a deployment falls back on."""
    try:
        found = read_fallback(body["spec"], body["metadata"]["name"])
    except InvalidSpec:
        return None
    return (body["metadata"]["namespace"], found.name) if isinstance(found, FallbackService) else None


def _set(values: dict[Key, _Value], key: Key, value: _Value | None) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


def _concerned(kind: Kind, body: JsonObject) -> Key | None:
    """The deployment that an object of this kind belongs to, None when that changes no route."""
    if kind == kinds.MODEL_DEPLOYMENT:
        return key_of(body)
    owner = (body["metadata"].get("labels") or {}).get(LABEL_MODEL_DEPLOYMENT)
    return (body["metadata"]["namespace"], owner) if kind in _PARTS and owner else None
