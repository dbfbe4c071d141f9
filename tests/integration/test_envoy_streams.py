"""Protocols and streams through a real Envoy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest

from serin.api.serving import Protocol, Serving
from serin.routers.endpoints import Endpoint
from serin.routers.envoy import listeners
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.settings import EnvoySettings
from tests.cluster.ports import free_port
from tests.integration.envoy_rig import CANDIDATE, STABLE, Rig, eventually, model, rig

METHOD = "/inference.GRPCInferenceService/ModelInfer"


class GrpcModel:
    """A gRPC model server: answers with its name, or aborts with `code`; `pieces` makes it stream."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.code: grpc.StatusCode | None = None
        self.received = 0
        self.wait: Callable[[], Awaitable[object]] | None = None

    async def infer(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.received += 1
        if self.wait is not None:
            await self.wait()
        if self.code is not None:
            await context.abort(self.code, "no")
        return self.name.encode() + request

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Endpoint]:
        server = grpc.aio.server()
        handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(self.infer)}
        handler = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield Endpoint("127.0.0.1", port)
        finally:
            await server.stop(None)


async def grpc_route(it: Rig, stable: Endpoint, candidate: Endpoint, weight: int) -> RoutedModel:
    plain = model(it.port, (it.stable,), (it.candidate,), weight, serving=Serving(Protocol.HTTP2))
    arms = (replace(plain.arms[0], endpoints=(stable,)), replace(plain.arms[1], endpoints=(candidate,)))
    wanted = replace(plain, arms=arms)
    it.xds.update([wanted])
    await it.served(wanted)
    # The protocol is the cluster's: that is new, beside the route.
    await eventually(
        lambda: it.envoy.get("/config_dump?resource=dynamic_active_clusters", it.envoy.admin_port),
        lambda found: found[1].count("http2_protocol_options") == 2,
    )
    return wanted


async def test_grpc_is_served_shielded_and_counted(tmp_path: Path) -> None:
    stable, candidate = GrpcModel("stable"), GrpcModel("candidate")
    async with rig(tmp_path) as it, stable.serve() as one, candidate.serve() as other:
        await grpc_route(it, one, other, 100)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{it.port}") as channel:
            infer = channel.unary_unary(METHOD)
            assert await infer(b"!", wait_for_ready=True, timeout=60) == b"candidate!"
            for code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE):
                candidate.code = code
                call = infer(b"!", timeout=60)
                assert await call == b"stable!"
                assert dict(await call.initial_metadata())["x-serin-shielded"] == "true"
            candidate.code = grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await infer(b"!", timeout=60)
            assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        first = {"serin_snapshot": CANDIDATE, "serin_attempt": "first"}
        assert candidate.received == 5
        await eventually(lambda: it.envoy.count("envoy_serin_attempts", **first), lambda count: count == 5)
        assert await it.envoy.count("envoy_serin_failures", **first) == 3
        assert await it.envoy.count("envoy_serin_attempts", serin_snapshot=STABLE, serin_attempt="shield") == 3
        assert await it.envoy.count("envoy_serin_answer_failures") == 0


async def test_a_grpc_call_that_its_client_gives_up_is_no_failure(tmp_path: Path) -> None:
    stable, candidate = GrpcModel("stable"), GrpcModel("candidate")
    candidate.wait = asyncio.Event().wait
    async with rig(tmp_path) as it, stable.serve() as one, candidate.serve() as other:
        await grpc_route(it, one, other, 100)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{it.port}") as channel:
            call = channel.unary_unary(METHOD)(b"!", wait_for_ready=True)

            async def received() -> int:
                return candidate.received

            await eventually(received, lambda count: count == 1)
            call.cancel()
        first = {"serin_snapshot": CANDIDATE, "serin_attempt": "first"}
        await eventually(lambda: it.envoy.count("envoy_serin_attempts", **first), lambda count: count == 1)
        assert await it.envoy.count("envoy_serin_failures") == 0


async def test_a_stream_outlives_the_time_out(tmp_path: Path) -> None:
    """The time-out is for the beginning of an answer: 9 seconds of events with a time-out of 6 s, and with a hedge."""
    async with rig(tmp_path) as it:
        hedging = model(
            *(free_port(), (it.stable,), (it.candidate,), 100, EnvoySettings(hedge_after=5.0)),
            serving=Serving(timeout=6.0),
        )
        hedging = replace(hedging, name="hedging")
        plain = model(it.port, (it.stable,), (it.candidate,), 100, serving=Serving(timeout=6.0))
        it.xds.update([plain, hedging])
        for one in (plain, hedging):
            await it.served(one)
            await it.envoy.listens(one)

        async def read(port: int) -> None:
            sent, lines = [], []
            async with it.client.get(f"http://127.0.0.1:{port}/stream?events=90&pause=0.1") as response:
                assert response.status == 200
                async for line in response.content:
                    if line.strip():
                        sent.append(it.candidate.truth["events"])
                        lines.append(line)
            assert lines == [f"data: candidate {number}\n".encode() for number in range(90)]
            assert sent[0] < 90, "the first event came before the last of either stream was sent"

        await asyncio.gather(read(plain.port), read(hedging.port))
        assert await it.envoy.count("envoy_serin_failures") == 0
        assert await it.envoy.count("envoy_serin_failures", serin_model_deployment="hedging") == 0


async def test_a_stream_goes_on_when_its_version_loses_the_traffic(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(100)
        async with it.client.get(it.url + "/stream?events=20&pause=0.1") as response:
            await it.route(0)
            only = model(it.port, (it.stable,))
            it.xds.update([only])
            await it.served(only)
            text = await response.text()
        assert text.count("candidate") == 20
        assert (await it.send(20))[STABLE] == 20


async def test_connections_are_replaced_now_and_then_and_no_request_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a router pod on its way out has no connections left; here after one second each."""
    monkeypatch.setattr(listeners, "_LONGEST_CONNECTION", "1s")
    opened: list[object] = []

    async def count(*event: object) -> None:
        opened.append(event)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(count)
    connector = aiohttp.TCPConnector(limit=1)
    async with rig(tmp_path) as it, aiohttp.ClientSession(connector=connector, trace_configs=[trace]) as client:
        await it.route(0)
        loop = asyncio.get_running_loop()
        began, requests = loop.time(), 0
        while len(opened) < 4 and loop.time() < began + 60.0:
            async with client.get(it.url + "/x") as response:
                assert response.status == 200
                await response.read()
            requests += 1
            await asyncio.sleep(0.01)
        assert len(opened) == 4
        assert loop.time() - began > 2.9, "each but the last was used for its whole second"
        assert requests > 20
        async with it.client.get(it.url + "/stream?events=30&pause=0.1") as response:
            assert (await response.text()).count("stable") == 30, "an answer under way is not cut"


async def test_grpc_connections_are_replaced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_LONGEST_CONNECTION", "1s")
    stable, candidate = GrpcModel("stable"), GrpcModel("candidate")
    async with rig(tmp_path) as it, stable.serve() as first, candidate.serve() as second:
        await grpc_route(it, first, second, 0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{it.port}") as channel:
            states = [channel.get_state()]

            async def watch() -> None:
                while True:
                    await channel.wait_for_state_change(states[-1])
                    states.append(channel.get_state())

            watching = asyncio.create_task(watch())
            call, over = channel.unary_unary(METHOD), asyncio.get_running_loop().time() + 60.0
            while states.count(grpc.ChannelConnectivity.READY) < 3 and asyncio.get_running_loop().time() < over:
                assert await call(b"?", timeout=60) == b"stable?"
                await asyncio.sleep(0.01)
            watching.cancel()
        assert states.count(grpc.ChannelConnectivity.READY) >= 3, states


async def test_a_request_whose_headers_never_end_gives_its_connection_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_HEADERS_TIMEOUT", "1s")
    async with rig(tmp_path) as it:
        await it.route(10)
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(b"POST /predict HTTP/1.1\r\nhost: fraud\r\n")
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer
        scrape = await it.envoy.scrape()
        assert not scrape.total("envoy_serin_attempts"), "it has reached nobody, so it is nobody's failure"
        assert (await it.send(20))["200"] == 20
