"""A real Envoy shows its pod's token to the xDS server, and strangers try to get in its way."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from serin.cluster import kinds
from serin.routers.envoy.xds.server import STATE_PATH
from tests.integration.envoy_rig import CANDIDATE, STABLE, Envoy, TokenFolder, eventually, model, rig
from tests.unit.routers.issuer import Issuer
from tests.unit.routers.test_pod_access import Bench, slice_of


@pytest.fixture
async def pods() -> AsyncIterator[Bench]:
    """What the watch shows of the router's pods, and who signs their tokens."""
    bench = Bench()
    reading = asyncio.create_task(bench.tokens.run())
    yield bench
    reading.cancel()


async def test_a_router_shows_its_token_and_the_newer_one_that_takes_its_place(tmp_path: Path, pods: Bench) -> None:
    token = TokenFolder(tmp_path, pods.issuer.token("router-1"))
    async with rig(tmp_path, pods.access, token) as it:
        await it.route(30)
        # From now on no token of before is taken.
        pods.cache.put(kinds.ENDPOINT_SLICE, _with_uid("another"))
        token.write(pods.issuer.token("router-1", "another"))
        await it.route(60)
        seen = await it.send(50)
        assert seen["200"] == 50


async def test_an_envoy_that_is_denied_keeps_its_routes_and_takes_up_new_ones_later(
    tmp_path: Path, pods: Bench
) -> None:
    token = TokenFolder(tmp_path, pods.issuer.token("router-1"))
    async with rig(tmp_path, pods.access, token) as it:
        await it.route(50)
        token.write(Issuer().token("router-1"))
        # What it has asked before gets its answer still.
        it.xds.update([model(it.port, (it.stable,), (it.candidate,), 100)])
        await eventually(lambda: it.send(20), lambda seen: seen[CANDIDATE] == 20)
        async with it.traffic() as seen:
            it.stable.truth.clear()
            denied = asyncio.create_task(it.route(0))
            await asyncio.sleep(3.0)
            assert not denied.done()
            assert it.stable.truth["received"] == 0
            token.write(pods.issuer.token("router-1"))
            await denied
        assert seen["200"] == seen["sent"] > 0
        assert (await it.send(20))[STABLE] == 20


async def test_an_envoy_without_a_token_or_in_another_name_is_never_ready(tmp_path: Path, pods: Bench) -> None:
    token = TokenFolder(tmp_path, pods.issuer.token("router-1"))
    async with rig(tmp_path, pods.access, token) as it:
        await it.route(30)
        others = [
            await Envoy(tmp_path, it.xds_port, name="router-2").start(),
            await Envoy(tmp_path, it.xds_port, name="router-3", token=token).start(),
        ]
        try:
            for envoy in others:
                await eventually(lambda envoy=envoy: envoy.get("/ready", envoy.admin_port), lambda got: got[0] == 503)
            await it.route(70)
            assert it.xds.envoys() == 1
            for envoy in others:
                assert (await envoy.get("/ready", envoy.admin_port))[0] == 503
                assert "shop/fraud" not in (await envoy.get("/config_dump", envoy.admin_port))[1]
        finally:
            for envoy in others:
                await envoy.stop()


@asynccontextmanager
async def strangers(port: int) -> AsyncIterator[Counter[str]]:
    """They ask for everything in invented names, with and without tokens, and hold connections open."""
    answers: Counter[str] = Counter()
    forger = Issuer()

    async def ask(client: aiohttp.ClientSession, number: int) -> None:
        turn = 0
        while True:
            turn += 1
            body = {"node": {"id": f"invented-{number}-{turn}"}, "resource_names": ["shop/fraud"]}
            headers = {"Authorization": f"Bearer {forger.token('router-1')}"} if number % 2 else {}
            with suppress(aiohttp.ClientError):
                async with client.post("/v3/discovery:routes", json=body, headers=headers) as response:
                    answers[f"{response.status} {STABLE in await response.text()}"] += 1
                async with client.get(STATE_PATH, headers=headers) as response:
                    answers[f"{response.status} {STABLE in await response.text()}"] += 1

    silent = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(300)]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        tasks = [asyncio.create_task(ask(client, number)) for number in range(4)]
        try:
            yield answers
        finally:
            for task in tasks:
                task.cancel()
            for writer in silent:
                writer.close()


async def test_strangers_read_no_route_and_delay_none(tmp_path: Path, pods: Bench) -> None:
    token = TokenFolder(tmp_path, pods.issuer.token("router-1"))
    async with rig(tmp_path, pods.access, token) as it, strangers(it.xds_port) as answers:
        for weight in (30, 60, 0):
            await it.route(weight)
        await eventually(lambda: _total(answers), lambda count: count > 50)
        assert set(answers) == {"401 False"}, answers
        assert it.xds.envoys() == 1
        print(json.dumps(answers), "slowest propagation", max(it.propagations))


async def _total(counter: Counter[str]) -> int:
    return counter.total()


def _with_uid(uid: str) -> dict[str, object]:
    body = slice_of("serin-router", {"router-1": "10.0.0.1"}, version="2")
    body["endpoints"][0]["targetRef"]["uid"] = uid
    return body
