"""Feeds the xDS server from the cache, on every replica: what serves is in the cluster, so any of them can answer.

A change is passed on at once; what comes while one is passed on is passed on together. Until the cache is complete
nothing is: an Envoy must never hear that there is nothing to serve from someone who has not looked yet.
"""

import asyncio
from typing import Final

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Kind
from serin.routers.envoy.routed_model import read_models
from serin.routers.envoy.xds import XdsServer

# Between two updates: bounds the work when many pods come at once, and is not felt by anybody.
_PAUSE_SECONDS: Final = 0.02


class XdsFeed:
    """Keeps `xds` up to date with `cache`."""

    def __init__(self, cache: ObjectCache, xds: XdsServer) -> None:
        self._cache, self._xds = cache, xds
        self._changed = asyncio.Event()
        cache.listen(self._on_change)

    async def run(self) -> None:
        """Feed until cancelled."""
        await self._cache.wait_until_synced()
        while True:
            self._changed.clear()
            deployments = self._cache.all(kinds.MODEL_DEPLOYMENT)
            self._xds.update(read_models(deployments, self._cache.all(kinds.ENDPOINT_SLICE)))
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._changed.wait()

    def _on_change(self, kind: Kind, _before: JsonObject | None, _after: JsonObject | None) -> None:
        if kind in (kinds.MODEL_DEPLOYMENT, kinds.ENDPOINT_SLICE):
            self._changed.set()
