"""The xDS server over HTTP: who is answered, and how much one caller may ask for. What it answers is elsewhere."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from serin.api.json import JsonObject
from serin.routers import connections
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.settings import EnvoySettings
from serin.routers.envoy.xds import server
from serin.routers.envoy.xds.access import ANYBODY, Access, Denied
from serin.routers.envoy.xds.resources import Kind
from serin.routers.envoy.xds.server import STATE_PATH, XdsServer
from tests.unit.routers.context import until


class Guard:
    """Lets in whoever shows its own name as its token; no address is known."""

    def router(self, _address: str, token: str) -> str:
        if not token.startswith("router-"):
            raise Denied("a token is needed")
        return token

    def replica(self, _address: str, token: str) -> None:
        if token != "operator":
            raise Denied("a token is needed")

    def knows(self, _address: str) -> bool:
        return False


def model(weight: int = 0, name: str = "fraud") -> RoutedModel:
    pod = (Endpoint("10.0.0.1", 80),)
    arms = Arm(f"{name}-a", 100 - weight, pod), Arm(f"{name}-b", weight, pod)
    return RoutedModel("shop", name, 10001, EnvoySettings(), f"{name}-a", arms)


class Bench:
    def __init__(self, xds: XdsServer, port: int, client: aiohttp.ClientSession, denied: list[tuple[str, str]]) -> None:
        self.xds, self.port, self._client, self.denied = xds, port, client, denied

    async def ask(
        self, node: str, kind: str = "clusters", *names: str, version: str = "", token: str | None = None, **more: Any
    ) -> tuple[int, JsonObject]:
        """Status and answer of one DiscoveryRequest; the token is the node's name unless another is given."""
        body: JsonObject = {"node": {"id": node}, "resource_names": list(names), "version_info": version} | more
        return await self.post(f"/v3/discovery:{kind}", json.dumps(body).encode(), node if token is None else token)

    async def post(self, path: str, body: Any, token: str = "") -> tuple[int, JsonObject]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self._client.post(url, data=body, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if response.status == 200 else {"text": text}

    async def silent(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that sends nothing."""
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def serving(access: Access | None = None, **more: Any) -> AsyncIterator[Bench]:
    denied: list[tuple[str, str]] = []
    xds = XdsServer(access=access or Guard(), denied=lambda *one: denied.append(one), **more)
    port = await xds.start("127.0.0.1", 0)
    xds.update([model()])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        try:
            yield Bench(xds, port, client, denied)
        finally:
            await xds.stop()


async def test_a_stranger_gets_nothing_and_is_not_remembered() -> None:
    async with serving() as it:
        for kind, names in (("clusters", ()), ("routes", ("shop/fraud",)), ("endpoints", ("shop/fraud/fraud-a",))):
            for token in ("", "stranger"):
                status, answer = await it.ask("router-1", kind, *names, token=token)
                assert status == 401
                assert answer["text"] == "a token is needed\n"
        assert it.xds.envoys() == 0
        assert it.denied == [("127.0.0.1", "a token is needed")] * 6


async def test_a_router_speaks_for_itself_alone() -> None:
    async with serving() as it:
        assert (await it.ask("router-1"))[0] == 200
        status, answer = await it.ask("router-2", token="router-1")
        assert status == 401
        assert answer["text"] == "pod router-1 asks in another name\n"
        assert it.xds.envoys() == 1


async def test_strangers_and_invented_names_delay_no_route() -> None:
    """Whatever they ask, a split counts as taken when the one true router has it."""
    async with serving() as it:
        holding = [asyncio.create_task(it.ask(f"invented-{number}", token="stranger")) for number in range(50)]
        waiting: list[asyncio.Task[object]] = []
        for kind, names in (
            ("clusters", ()),
            ("endpoints", ("shop/fraud/fraud-a",)),
            ("listeners", ()),
            ("routes", ("shop/fraud",)),
        ):
            status, answer = await it.ask("router-1", kind, *names)
            assert status == 200
            next_one = it.ask("router-1", kind, *names, version=answer["version_info"])
            waiting.append(asyncio.create_task(next_one))
        await until(lambda: it.xds.observe("shop", "fraud"))
        for task in waiting:
            task.cancel()
        assert {status for status, _ in await asyncio.gather(*holding)} == {401}


async def test_what_replicas_tell_each_other_is_for_replicas() -> None:
    async with serving() as it:
        url = f"http://127.0.0.1:{it.port}{STATE_PATH}"
        async with aiohttp.ClientSession() as client:
            for token, status in (("", 401), ("router-1", 401), ("operator", 200)):
                async with client.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
                    assert response.status == status


async def test_a_strangers_body_is_not_read() -> None:
    async with serving() as it:
        sent = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 65536
                yield b"x" * 65536

        async with asyncio.timeout(60):
            with suppress(aiohttp.ClientError, ConnectionError):
                assert (await it.post("/v3/discovery:clusters", body(), "stranger"))[0] == 401
        assert sent < 16 * 1024 * 1024
        assert it.denied


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * (server.MAX_REQUEST + 1), 413),
        (b"{", 400),
        (b"[]", 400),
        (b"[" * 100_000, 400),
        (b'{"node": 1}', 400),
        (b'{"node": {"id": 1}}', 400),
        (b'{"node": {"id": ""}}', 400),
    ],
)
async def test_a_request_that_is_none_is_refused(body: bytes, status: int) -> None:
    async with serving() as it:
        assert (await it.post("/v3/discovery:clusters", body, "router-1"))[0] == status
        assert it.xds.envoys() == 0
        assert (await it.ask("router-1"))[0] == 200


async def test_the_newest_requests_for_one_thing_take_the_place_of_older_ones() -> None:
    async with serving(hold=600.0) as it:
        _, first = await it.ask("router-1")
        held = [asyncio.create_task(it.ask("router-1", version=first["version_info"])) for _ in range(20)]
        await until(lambda: sum(one.done() for one in held) == 16)
        assert {(await one)[0] for one in held if one.done()} == {304}
        it.xds.update([model(), model(name="other")])
        answers = await asyncio.gather(*held)
        assert sorted(status for status, _ in answers) == [200] * 4 + [304] * 16


async def test_a_request_that_is_held_keeps_no_text() -> None:
    """Every one of an Envoy's hundreds has 77 KB, most of it a list of extensions."""
    async with serving(hold=600.0) as it:
        versions = {}
        for name in (f"router-{number}" for number in range(100)):
            versions[name] = (await it.ask(name))[1]["version_info"]
        extensions = "x" * 400_000
        tracemalloc.start()
        try:
            held = [
                asyncio.create_task(it.ask(name, version=version, extensions=extensions))
                for name, version in versions.items()
            ]
            await until(lambda: len(it.xds._waiting[Kind.CLUSTERS, ""]) == len(held))
            gc.collect()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        print(f"{kept / 1e6:.1f} MB")
        # One copy of each is the sender's.
        assert kept < 1.5 * len(held) * len(extensions)
        it.xds.update([model(), model(name="other")])
        await asyncio.gather(*held)


async def test_names_that_nobody_knows_are_held_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_UNKNOWN", 10)
    async with serving(hold=600.0) as it:
        held = [asyncio.create_task(it.ask("router-1", "routes", f"shop/none-{number}")) for number in range(100)]
        known = 6  # a listener, routes, two clusters and their endpoints
        await until(lambda: sum(one.done() for one in held) == 100 - 10 - known)
        assert {(await one)[0] for one in held if one.done()} == {429}
        assert (await it.ask("router-1"))[0] == 200, "what the Envoy needs most is always answered"
        assert (await it.ask("router-2", "endpoints", "shop/fraud/fraud-a"))[0] == 200, "another one has its own number"
        for one in held:
            one.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        answer = asyncio.create_task(it.ask("router-1", "routes", "shop/none-1"))
        await asyncio.sleep(0.2)
        assert not answer.done(), "what is no longer held does not count"
        answer.cancel()


async def test_a_stranger_holds_a_connection_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(connections.Connections.__init__, "__kwdefaults__", {"most": 100, "patience": 0.3})
    async with serving() as it:
        _, first = await it.ask("router-1")
        held = asyncio.create_task(it.ask("router-1", version=first["version_info"]))
        silent, half = await it.silent(), await it.silent()
        half[1].write(b"POST /v3/discovery:clusters HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(30):
            assert await silent[0].read() == b""
            assert b"200" not in await half[0].read()
        await asyncio.sleep(0.5)
        assert not held.done(), "a router keeps its connection for as long as it likes"
        it.xds.update([model(), model(name="other")])
        assert (await held)[0] == 200
        for _, writer in (silent, half):
            writer.close()


async def test_strangers_connections_take_no_place_from_a_router(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.Connections.__init__, "__kwdefaults__", {"most": 20, "patience": 60.0})
    async with serving() as it:
        _, first = await it.ask("router-1")
        held = asyncio.create_task(it.ask("router-1", version=first["version_info"]))
        silent = [await it.silent() for _ in range(60)]
        async with asyncio.timeout(30):
            for reader, _ in silent[:40]:
                assert await reader.read() == b"", "the oldest go first"
        assert not held.done()
        assert (await it.ask("router-2"))[0] == 200, "a new one gets its place"
        it.xds.update([model(), model(name="other")])
        assert (await held)[0] == 200
        for _, writer in silent:
            writer.close()


async def test_connections_from_known_addresses_are_never_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Envoy that starts opens hundreds at once."""
    monkeypatch.setattr(connections.Connections.__init__, "__kwdefaults__", {"most": 2, "patience": 60.0})
    async with serving(ANYBODY) as it:
        silent = [await it.silent() for _ in range(50)]
        await asyncio.sleep(0.2)
        assert not any(reader.at_eof() for reader, _ in silent)
        for _, writer in silent:
            writer.close()
