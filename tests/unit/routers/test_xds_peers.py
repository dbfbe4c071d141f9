"""Replicas ask each other over HTTP what is written; what one has said stands until it says something else."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.split import Split
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.endpoints import SERVICE_LABEL
from serin.routers.envoy.service_pods import XDS, ServicePods
from serin.routers.envoy.xds.server import STATE_PATH, XdsServer
from serin.routers.envoy.xds_peers import XdsPeers
from serin.routers.envoy.xds_written import Written

KEY = ("shop", "fraud")
ROLLED_BACK = Written("u", "7", Split({"fraud-a": 100}))


def replicas(*addresses: str) -> ServicePods:
    cache = ObjectCache()
    body = {
        "metadata": {
            **{"namespace": "serin-system", "name": "xds", "uid": "x", "resourceVersion": "1"},
            "labels": {SERVICE_LABEL: XDS},
        },
        "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in addresses],
    }
    cache.put(kinds.ENDPOINT_SLICE, body)
    return ServicePods(cache, "serin-system")


class Asking:
    """A replica that asks the one at 127.0.0.1, and what it has heard of what is written."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.heard: list[Mapping[Key, Written]] = []
        pods = replicas("127.0.0.1")
        self._peers = XdsPeers(XdsServer(), pods, port, lambda _: None, Path("/none"), self._hear)
        self._session = session

    def _hear(self, told: Iterable[Mapping[Key, Written]]) -> None:
        self.heard = list(told)

    async def ask(self) -> list[Mapping[Key, Written]]:
        await self._peers.ask(self._session)
        return self.heard

    def envoys(self) -> frozenset[str]:
        return self._peers.heard()


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[Asking]:
    async with aiohttp.ClientSession() as session:
        yield Asking(port, session)


async def test_a_peer_tells_what_it_has_seen_and_its_silence_takes_nothing_back() -> None:
    told = {"shop/fraud": ROLLED_BACK.told()}
    peer = XdsServer(written=lambda: told)
    port = await peer.start("127.0.0.1", 0)
    async with asking(port) as it:
        assert await it.ask() == [{}], "a replica that is not synced says nothing"
        peer.update(())
        assert await it.ask() == [{KEY: ROLLED_BACK}]
        await peer.stop()
        assert await it.ask() == [{KEY: ROLLED_BACK}]
        began_again = XdsServer(written=dict)
        await began_again.start("127.0.0.1", port)
        try:
            assert await it.ask() == [{KEY: ROLLED_BACK}], "it is not synced yet"
            began_again.update(())
            assert await it.ask() == [{}]
        finally:
            await began_again.stop()


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {"identity": "x"},
        {"identity": "x", "taken": {}, "nodes": {"r": {}}, "refused": {}, "written": {"shop/fraud": 7}},
        {"identity": "x", "taken": {}, "nodes": {"r": {}}, "refused": {}, "written": [7]},
        {"identity": "x", "taken": {"shop/fraud": {"a": float("inf")}}, "nodes": {"r": {}}, "refused": {}},
        "[" * 100_000,
        '{"identity": "x", "taken": {}, "nodes": {"r": {}}, "refused": {}, "more": "' + "x" * 16 * 1024 * 1024 + '"}',
    ],
    ids=["list", "parts-missing", "number", "list-of-written", "infinity", "deep", "large"],
)
async def test_an_answer_that_makes_no_sense_is_none(answer: object) -> None:
    text = answer if isinstance(answer, str) else json.dumps(answer)

    async def state(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    app = web.Application()
    app.router.add_get(STATE_PATH, state)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with asking(int(runner.addresses[0][1])) as it:
            assert await it.ask() == [{}]
            assert it.envoys() == frozenset()
    finally:
        await runner.cleanup()


async def test_a_replica_of_an_earlier_version_says_nothing_of_what_is_written() -> None:
    class Earlier(XdsServer):
        def state(self) -> JsonObject:
            return {name: told for name, told in super().state().items() if name != "written"}

    peer = Earlier()
    peer.update(())
    async with asking(await peer.start("127.0.0.1", 0)) as it:
        try:
            assert await it.ask() == [{}]
        finally:
            await peer.stop()
