"""Lists that come in pages from a real API server: nothing is dropped, and a deletion on any page is noticed."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import web

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import KubernetesCluster
from serin.cluster.protocol import Kind
from serin.controller.telemetry import Telemetry
from serin.controller.watch import Watches, scopes
from tests.integration.operator_process import Cluster, until
from tests.integration.proxy import Proxy, proxied, through

pytestmark = pytest.mark.control_plane

NAMES = [f"service-{number}" for number in range(9)]
PAGE = 2


@pytest.fixture
def services(cluster: Cluster) -> str:
    """The namespace in which there are as many Services as take five pages."""
    items = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
        for name in NAMES
    ]
    cluster.kubectl("create", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": items})
    return cluster.shop


class Watched:
    """kopf at work behind a proxy that makes every page small; `deleted`: what the cache has said went away."""

    def __init__(self, proxy: Proxy, namespace: str) -> None:
        self.proxy, self.namespace, self.deleted = proxy, namespace, list[str]()
        self.telemetry, self.cache = Telemetry(), ObjectCache(scopes([namespace]))
        self.cache.listen(self._on_change)
        self.path = kinds.collection_path(kinds.SERVICE, namespace)
        self._watches = Watches(through(proxy), self.cache, self.telemetry, [namespace])
        self._stop = asyncio.Event()

    def _on_change(self, _kind: Kind, before: JsonObject | None, after: JsonObject | None) -> None:
        if after is None and before is not None:
            self.deleted.append(before["metadata"]["name"])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self._watches.run(self._stop))
        synced = asyncio.create_task(self.cache.wait_until_synced())
        await asyncio.wait([running, synced], return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert synced.done(), self.cache.missing()
        yield
        assert not running.done(), "the watches have ended"
        self._stop.set()
        await asyncio.wait([running], timeout=60)
        assert running.done(), "the watches do not stop"

    def names(self) -> list[str]:
        return sorted(body["metadata"]["name"] for body in self.cache.all(kinds.SERVICE))

    def swept(self) -> float:
        return self.telemetry.registry.get_sample_value("serin_cache_swept_total", {"kind": "Service"}) or 0.0

    async def lose_the_watches(self, meanwhile: Callable[[], object]) -> None:
        """Cut every connection, and let everything be listed again after `meanwhile`."""
        self.proxy.cut()
        await asyncio.to_thread(meanwhile)
        self.proxy.mend(*{path for _, path, watch in self.proxy.requests if watch})


@asynccontextmanager
async def watching(kubeconfig: Path, namespace: str) -> AsyncIterator[Watched]:
    """For use inside of a test: when kopf ends it cancels every task that has begun after it, a fixture's too."""
    async with proxied(kubeconfig) as proxy:
        proxy.page = PAGE
        watched = Watched(proxy, namespace)
        async with watched.running():
            yield watched


async def test_every_page_is_kept_and_a_deletion_on_the_second_is_noticed(
    control_plane: Any, cluster: Cluster, services: str
) -> None:
    async with watching(control_plane.kubeconfig, services) as watched:
        assert watched.names() == NAMES
        assert watched.proxy.requests["GET", watched.path, False] == 5
        on_the_second_page = NAMES[PAGE]
        await watched.lose_the_watches(lambda: cluster.kubectl("delete", "svc", on_the_second_page))
        await until(lambda: on_the_second_page not in watched.names(), what="the sweep")
        assert watched.names() == [name for name in NAMES if name != on_the_second_page]
        assert (watched.deleted, watched.swept()) == ([on_the_second_page], 1)


async def test_kopf_changes_nothing_of_what_it_hands_over_and_no_annotation_keeps_an_object_from_the_cache(
    control_plane: Any, cluster: Cluster, services: str
) -> None:
    """Objects are not copied on their way; an annotation of kopf's own may hold anything that a user writes."""
    annotated, taken = NAMES[0], list[tuple[str, JsonObject]]()
    cluster.kubectl("annotate", "svc", annotated, "kopf.zalando.org/last-handled-configuration=none of kopf's")
    _finalize(cluster, annotated, "kopf.zalando.org/KopfFinalizerMarker")
    put = ObjectCache.put

    def remember(cache: ObjectCache, kind: Kind, body: JsonObject) -> None:
        taken.append((json.dumps(body), body))
        put(cache, kind, body)

    with patch.object(ObjectCache, "put", remember):
        async with watching(control_plane.kubeconfig, services) as watched:
            assert watched.names() == NAMES
            cluster.kubectl("label", "svc", "--all", "tier=one")
            await until(
                lambda: all("labels" in body["metadata"] for body in watched.cache.all(kinds.SERVICE)), what="labels"
            )
            await asyncio.sleep(1.5)  # kopf's task of an object ends a second after its last event
    assert len(taken) >= 2 * len(NAMES)
    assert [body["metadata"]["name"] for text, body in taken if json.dumps(body) != text] == []
    shown = json.loads(cluster.kubectl("get", "svc", annotated, "-o", "json"))
    assert shown["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"], "another operator's"
    _finalize(cluster, annotated)


def _finalize(cluster: Cluster, service: str, *finalizers: str) -> None:
    """Give a Service these finalizers, as an operator of somebody else's does that is made with kopf."""
    cluster.kubectl("patch", "svc", service, "--type=merge", "-p", json.dumps({"metadata": {"finalizers": finalizers}}))


def refusal(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return web.json_response(body | {"reason": reason, "message": message}, status=code)


Answer = Callable[[], web.Response]
# The API server's own words, and those of something in front of it.
INTERRUPTIONS: dict[str, Answer] = {
    "the token has expired": lambda: refusal(
        410, "Expired", "The provided continue parameter is too old to display a consistent list result."
    ),
    "the login has expired": lambda: refusal(401, "Unauthorized", "Unauthorized"),
    "the way there is broken": lambda: web.Response(status=502, text="<html>bad gateway</html>"),
}


async def test_a_list_that_is_interrupted_goes_on_or_begins_afresh(
    control_plane: Any, cluster: Cluster, services: str
) -> None:
    async with watching(control_plane.kubeconfig, services) as watched:
        for interruption, answer in INTERRUPTIONS.items():
            before = watched.names()
            gone = {before[0], before[PAGE]}
            await interrupt(watched, cluster, answer, on_the_first_page=before[0], on_the_second=before[PAGE])
            await until(lambda gone=gone: not gone & set(watched.names()), what=f"noticing: {interruption}")
            assert watched.names() == sorted(set(before) - gone), interruption
        # What comes through the watch is later than all pages, so nothing else is under way.
        cluster.kubectl("delete", "svc", NAMES[-1])
        await until(lambda: NAMES[-1] in watched.deleted, what="the watch after the list")
        assert watched.names() == sorted(set(NAMES) - set(watched.deleted))
    assert len(watched.deleted) == 2 * len(INTERRUPTIONS) + 1


async def interrupt(
    watched: Watched, cluster: Cluster, answer: Answer, *, on_the_first_page: str, on_the_second: str
) -> None:
    """Let everything be listed again; what the first page has shown is gone when the second is refused."""
    asked = asyncio.Event()

    async def refuse() -> web.Response:
        await asyncio.to_thread(lambda: cluster.kubectl("delete", "svc", on_the_first_page))
        asked.set()
        return answer()

    watched.proxy.answer_next_page(watched.path, refuse)
    await watched.lose_the_watches(lambda: cluster.kubectl("delete", "svc", on_the_second))
    await asyncio.wait_for(asked.wait(), 60)


class Counted:
    """A client that counts its requests."""

    def __init__(self, proxy: Proxy) -> None:
        self.requests: list[int] = []
        self.client = KubernetesCluster(
            through(proxy), page=3, observer=lambda _verb, _kind, status, _seconds: self.requests.append(status)
        )


@pytest.fixture
async def counted(control_plane: Any) -> AsyncIterator[tuple[Proxy, Counted]]:
    async with proxied(control_plane.kubeconfig) as proxy:
        one = Counted(proxy)
        yield proxy, one
        await one.client.close()


def named(found: Any) -> list[str]:
    return [body["metadata"]["name"] for body in found]


async def test_the_client_asks_for_pages_and_for_all_of_them(counted: tuple[Proxy, Counted], services: str) -> None:
    proxy, one = counted
    assert named(await one.client.list(kinds.SERVICE, services)) == NAMES
    assert one.requests == [200, 200, 200]
    one.requests.clear()
    assert named(await one.client.list(kinds.SERVICE, services, "absent=yes")) == []
    assert one.requests == [200]
    one.requests.clear()
    proxy.page = 2  # smaller than what was asked for
    assert named(await one.client.list(kinds.SERVICE, services)) == NAMES
    assert one.requests == [200] * 5


async def test_the_client_begins_a_list_afresh_when_its_token_has_expired(
    counted: tuple[Proxy, Counted], services: str
) -> None:
    proxy, one = counted

    async def expired() -> web.Response:
        return INTERRUPTIONS["the token has expired"]()

    proxy.answer_next_page(kinds.collection_path(kinds.SERVICE, services), expired)
    assert named(await one.client.list(kinds.SERVICE, services)) == NAMES
    assert one.requests == [200, 410, 200]
