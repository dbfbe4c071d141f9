"""What one deployment's requests and connections may take of a real Envoy that all deployments share."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import grpc.aio
import pytest

from serin.api.serving import Protocol, Serving
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.limits import SHIELDED_BYTES, Limits
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.settings import EnvoySettings, Shield
from tests.cluster.ports import free_port
from tests.integration.envoy_rig import ModelServer, Rig, eventually, model, rig
from tests.integration.test_envoy_streams import METHOD, GrpcModel

MB = 1_000_000


async def post(it: Rig, size: int, port: int | None = None) -> str:
    """The status of one request with a body of this size, or how it failed."""
    try:
        url = f"http://127.0.0.1:{port or it.port}/predict"
        async with it.client.post(url, data=b"x" * size) as response:
            await response.read()
            return str(response.status)
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__


@asynccontextmanager
async def held(it: Rig, server: ModelServer, count: int, size: int) -> AsyncIterator[list[asyncio.Task[str]]]:
    """So many requests at once, all of which have reached the model, which does not answer before the block ends."""
    go = asyncio.Event()
    server.hold = go.wait
    tasks = [asyncio.create_task(post(it, size)) for _ in range(count)]
    try:
        yield tasks
    finally:
        go.set()
        server.hold = None
        await asyncio.gather(*tasks)


async def route(it: Rig, wanted: RoutedModel, *others: RoutedModel) -> None:
    it.xds.update([wanted, *others])
    for one in (wanted, *others):
        await it.served(one)
        await it.envoy.listens(one)


@pytest.mark.parametrize("weight", [0, 100])
async def test_large_requests_take_little_where_stable_does_not_answer_instead(tmp_path: Path, weight: int) -> None:
    """Without a rollout, and with the shield off."""
    async with rig(tmp_path) as it:
        await it.route(weight, EnvoySettings(shield=Shield.OFF))
        server, before = (it.candidate if weight else it.stable), it.envoy.memory()
        async with held(it, server, 50, 8 * MB) as requests:
            await eventually(lambda: server.count("received"), lambda count: count == 50)
            grown = it.envoy.memory() - before
        print(f"50 requests of 8 MB take {grown / MB:.0f} MB")
        assert grown < 60 * MB
        assert {await one for one in requests} == {"200"}


@asynccontextmanager
async def reading_nothing() -> AsyncIterator[tuple[Endpoint, list[int]]]:
    """A model that speaks HTTP/2 and gives no room for more than the first 64 KiB; and who has connected to it."""
    connected: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(1)
        writer.write(bytes.fromhex("000000040000000000"))  # empty SETTINGS
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]), connected
    finally:
        server.close()


async def test_requests_over_http2_that_a_model_does_not_read_take_little(tmp_path: Path) -> None:
    async with rig(tmp_path) as it, reading_nothing() as (pod, connected):
        plain = model(it.port, (it.stable,), serving=Serving(Protocol.HTTP2))
        await route(it, replace(plain, arms=(replace(plain.arms[0], endpoints=(pod,)),)))
        before = it.envoy.memory()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{it.port}") as channel:
            call = channel.unary_unary(METHOD)
            calls = [asyncio.ensure_future(call(b"x" * 3 * MB)) for _ in range(50)]

            async def connections() -> int:
                return len(connected)

            await eventually(connections, bool)
            await asyncio.sleep(3.0)  # in which they would have come
            grown = it.envoy.memory() - before
            for one in calls:
                one.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        print(f"50 calls of 3 MB take {grown / MB:.0f} MB")
        assert grown < 40 * MB


async def test_a_request_of_any_size_that_reached_no_pod_goes_to_another(tmp_path: Path) -> None:
    gone = ModelServer("gone", port=free_port())
    async with rig(tmp_path) as it:
        await route(it, model(it.port, (it.stable, gone)))
        for size in (100, 50_000, 300_000, 8 * MB):
            assert {await post(it, size) for _ in range(20)} == {"200"}
        await route(it, model(it.port, (it.stable,), (gone,), 100, EnvoySettings(shield=Shield.UNSENT)))
        for size in (100, 300_000, 8 * MB):
            assert {await post(it, size) for _ in range(5)} == {"200"}


async def test_a_request_up_to_the_limit_is_shielded_and_a_larger_one_is_sent_on_and_counted(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(100)
        it.candidate.error_share = 1.0
        assert {await post(it, SHIELDED_BYTES - 1000) for _ in range(5)} == {"200"}
        assert {await post(it, SHIELDED_BYTES + 300_000) for _ in range(5)} == {"500"}
        assert it.candidate.truth["failed"] == 10
        await eventually(lambda: it.envoy.count("envoy_serin_failures"), lambda count: count == 10)


async def test_a_full_heap_turns_new_requests_away_and_ends_nothing(tmp_path: Path) -> None:
    """Whatever fills it; here it is a limit that is too large for the memory that there is."""
    async with rig(tmp_path, limits=Limits(shielded_bytes=16 * MB), max_heap=120 * MB) as it:
        other = await ModelServer("other").start()
        beside = model(free_port(), (other,), name="other")
        await route(it, model(it.port, (it.stable,), (it.candidate,), 100), beside)

        async def answer() -> str:
            return await post(it, 100, beside.port)

        async with held(it, it.candidate, 60, 8 * MB) as requests:
            await eventually(answer, lambda status: status == "503")
            assert it.envoy.process is not None
            assert (await it.envoy.get("/ready"))[0] == 200, "the pod stays where it is"
            scrape = await it.envoy.scrape()
            assert scrape.total("envoy_overload_envoy_overload_actions_stop_accepting_requests_active") == 1
        ended = Counter([await one for one in requests])
        print(f"{dict(ended)}, {it.envoy.memory() / MB:.0f} MB")
        assert ended["200"] == it.candidate.truth["answered"] > 0, "what was under way is answered"
        assert set(ended) <= {"200", "503", "ClientOSError", "ServerDisconnectedError"}
        await eventually(answer, lambda status: status == "200")
        assert it.envoy.process.returncode is None
        await other.stop()


async def test_connections_that_ask_nothing_take_no_place_of_another_deployment(tmp_path: Path) -> None:
    async with rig(tmp_path, limits=Limits(connections=20)) as it:
        other = await ModelServer("other").start()
        beside = model(free_port(), (other,), name="other")
        await route(it, model(it.port, (it.stable,)), beside)
        halves = [await asyncio.open_connection("127.0.0.1", it.port) for _ in range(60)]
        for _, writer in halves:
            with suppress(ConnectionError):
                writer.write(b"POST /predict HTTP/1.1\r\nhost: x\r\n")

        async def closed() -> int:
            return sum(reader.at_eof() or reader.exception() is not None for reader, _ in halves)

        await eventually(closed, lambda count: count >= 40)
        assert await post(it, 100) != "200", "its own clients find no place"
        scrape = await it.envoy.scrape()
        assert scrape.total("envoy_connection_limit_serin_clients_limited_connections") >= 40
        assert {await post(it, 100, beside.port) for _ in range(30)} == {"200"}
        for _, writer in halves:
            writer.close()
        await eventually(lambda: post(it, 100), lambda status: status == "200")
        await other.stop()


@asynccontextmanager
async def accepting_and_reading_nothing() -> AsyncIterator[Endpoint]:
    """A model that takes connections, keeps as little of them as the kernel lets it, and never reads."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1000)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        yield Endpoint("127.0.0.1", listening.getsockname()[1])
    finally:
        listening.close()


@asynccontextmanager
async def sending(it: Rig, count: int, size: int) -> AsyncIterator[list[int]]:
    """So many requests of this size, from clients that keep little themselves; yields how much is taken of each."""
    head = f"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n".encode()
    clients, taken = [socket.socket() for _ in range(count)], [0] * count
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.connect(("127.0.0.1", it.port))
        client.sendall(head)
        client.setblocking(False)
    quiet = 0
    while quiet < 20:  # for two seconds nothing more is taken
        before = sum(taken)
        for place, client in enumerate(clients):
            with suppress(BlockingIOError):
                while taken[place] < size:
                    taken[place] += client.send(b"x" * 65536)
        quiet = 0 if sum(taken) > before else quiet + 1
        await asyncio.sleep(0.1)
    try:
        yield taken
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("weight", [0, 100])
async def test_many_large_requests_to_a_slow_model_hurt_no_other_deployment(tmp_path: Path, weight: int) -> None:
    """170 requests of 14 MB, as a user has seen them: to stable, and to a candidate that stable would answer for.

    What the kernel keeps counts as memory of the router's pod too, and would grow to 4 MB and more for each direction.
    """
    async with rig(tmp_path) as it, accepting_and_reading_nothing() as pod:
        other = await ModelServer("other").start()
        beside = model(free_port(), (other,), name="other")
        plain = model(it.port, (it.stable,), (it.candidate,), weight)
        arms = tuple(replace(arm, endpoints=(pod,)) for arm in plain.arms)
        await route(it, replace(plain, arms=arms), beside)
        before = it.envoy.memory()
        async with sending(it, 170, 14 * MB) as taken:
            grown = it.envoy.memory() - before
            print(f"{sum(taken) / MB:.0f} MB are on their way, of which Envoy has {grown / MB:.0f} MB")
            assert {await post(it, 100, beside.port) for _ in range(600)} == {"200"}
        assert max(taken) < (2.5 if weight else 1.5) * MB, "a copy has 1 MiB"
        assert grown < 300 * MB
        await other.stop()


async def test_headers_have_a_limit_of_the_platforms(tmp_path: Path) -> None:
    async def status(it: Rig, size: int) -> int:
        headers = {f"x-{number}": "x" * 1000 for number in range(size)}
        async with it.client.get(it.url + "/x", headers=headers) as response:
            return response.status

    async with rig(tmp_path, limits=Limits(header_kilobytes=20)) as it:
        await it.route(0)
        assert (await status(it, 15), await status(it, 30)) == (200, 431)
        many = {f"x-{number}": "y" for number in range(115)}
        async with it.client.get(it.url + "/x", headers=many) as response:
            assert response.status == 200, "of small ones there may be many"


async def test_requests_over_the_limit_are_turned_away_and_blame_no_version(tmp_path: Path) -> None:
    """Only HTTP/2 has several requests in a connection."""
    async with rig(tmp_path, limits=Limits(connections=5)) as it:
        other = await ModelServer("other").start()
        beside = model(free_port(), (other,), name="other")
        hold = GrpcModel("stable")
        released = asyncio.Event()
        hold.wait = released.wait
        async with hold.serve() as pod:
            plain = model(it.port, (it.stable,), serving=Serving(Protocol.HTTP2))
            await route(it, replace(plain, arms=(replace(plain.arms[0], endpoints=(pod,)),)), beside)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{it.port}") as channel:
                call = channel.unary_unary(METHOD)
                calls = [asyncio.ensure_future(call(b"x", timeout=60)) for _ in range(30)]

                async def received() -> int:
                    return hold.received + sum(one.done() for one in calls)

                await eventually(received, lambda count: count == 30)
                assert {await post(it, 100, beside.port) for _ in range(20)} == {"200"}
                released.set()
                ended = await asyncio.gather(*calls, return_exceptions=True)
        refused = [one for one in ended if isinstance(one, grpc.aio.AioRpcError)]
        assert (len(refused), hold.received) == (20, 10)
        assert {one.code() for one in refused} == {grpc.StatusCode.UNAVAILABLE}
        assert not await it.envoy.count("envoy_serin_failures")
        await other.stop()
