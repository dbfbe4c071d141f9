"""Keeps a replica's cache filled from the simulated control plane, as controller/watch.py and cluster/relist.py do.

For each kind and namespace: a list, the events after it, and a list again whenever the watch cannot go on (410). A
watch that merely ends is opened again where it was. Errors are waited out, longer each time.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import ClusterError, Kind
from tests.simulation.cluster import SimulatedCluster

_AT_ONCE: Final = 0.1
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0


async def feed(
    cluster: SimulatedCluster,
    cache: ObjectCache,
    watched: Mapping[Kind, str],
    namespaces: Iterable[str] = (),
    *,
    page: int = 0,
) -> None:
    """Fill the cache until cancelled. `watched`: kinds and their label selectors; `page`: items of a list at once."""
    places: list[str | None] = [*sorted(set(namespaces))] or [None]
    async with asyncio.TaskGroup() as group:
        for kind, selector in watched.items():
            for place in places:
                name = f"{cluster.replica} watches {kind.plural}"
                group.create_task(_keep(cluster, cache, kind, place, selector, page), name=name)


async def _keep(
    cluster: SimulatedCluster, cache: ObjectCache, kind: Kind, namespace: str | None, selector: str, page: int
) -> None:
    pause = _FIRST_PAUSE
    while True:
        try:
            version = await _list(cluster, cache, kind, namespace, selector, page)
        except ClusterError:
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
            continue
        pause = _FIRST_PAUSE
        while version:
            version, pause = await _watch(cluster, cache, kind, namespace, selector, version, pause)
            await asyncio.sleep(pause)


async def _list(
    cluster: SimulatedCluster, cache: ObjectCache, kind: Kind, namespace: str | None, selector: str, page: int
) -> str:
    """List everything into the cache; the version from which to watch."""
    listing, token = cache.begin_listing(kind, namespace), ""
    while True:
        answer = await cluster.list_page(kind, namespace, selector, page, token)
        cache.add_page(listing, [item["metadata"]["uid"] for item in answer["items"]])
        for item in answer["items"]:
            cache.put(kind, item)
        token = answer["metadata"].get("continue") or ""
        if not token:
            break
    version = str(answer["metadata"]["resourceVersion"])
    cache.finish_listing(listing, version)
    return version


async def _watch(
    cluster: SimulatedCluster,
    cache: ObjectCache,
    kind: Kind,
    namespace: str | None,
    selector: str,
    version: str,
    pause: float,
) -> tuple[str, float]:
    """Take in events until the connection ends.

    Returns the version from which to go on (empty: list again), and how long to wait before.
    """
    try:
        async for event in cluster.watch(kind, namespace, selector, version):
            body = event["object"]
            if event["type"] == "ERROR":
                return "", _AT_ONCE
            if event["type"] == "DELETED":
                cache.drop(kind, body)
            elif event["type"] in ("ADDED", "MODIFIED"):
                cache.put(kind, body)
            version = str(body["metadata"]["resourceVersion"])
    except ClusterError:
        return version, min(_LONGEST_PAUSE, pause * 2)
    return version, _AT_ONCE
