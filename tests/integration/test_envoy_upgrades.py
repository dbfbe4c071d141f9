"""What older clients speak, and connections that go on as WebSocket, through a real Envoy."""

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from serin.api.serving import Protocol, Serving
from serin.routers.envoy import listeners
from tests.integration.envoy_rig import CANDIDATE, STABLE, Rig, eventually, model, rig


async def exchange(it: Rig, request: bytes) -> bytes:
    """What comes back until the connection ends, for a request that ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


async def counted(it: Rig, attempts: int) -> Counter[str]:
    """The series of the candidate's first attempts, once there are as many as that."""
    first = {"serin_snapshot": CANDIDATE, "serin_attempt": "first"}

    async def read() -> Counter[str]:
        scrape = await it.envoy.scrape()
        found = {name: scrape.count(f"envoy_serin_{name}", **first) for name in ("attempts", "failures")}
        found["answers"] = scrape.count("envoy_serin_answers", serin_snapshot=CANDIDATE)
        found["answer failures"] = scrape.count("envoy_serin_answer_failures", serin_snapshot=CANDIDATE)
        found["timed"] = scrape.count("envoy_serin_milliseconds_count", **first)
        found["milliseconds"] = scrape.count("envoy_serin_milliseconds_sum", **first)
        return Counter({name: int(value) for name, value in found.items()})

    return await eventually(read, lambda found: found["attempts"] == found["timed"] == attempts)


async def test_http_1_0_is_answered_in_http_1_0(tmp_path: Path) -> None:
    """As nginx's proxy_pass and ApacheBench send it; an answer without a length ends with the connection."""
    async with rig(tmp_path) as it:
        await it.route(100)
        sent = b"POST /predict HTTP/1.0\r\nHost: fraud\r\nContent-Length: 2\r\n\r\n{}"
        answer = await exchange(it, sent)
        assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
        assert answer.endswith(b'{"model": "candidate", "bytes": 2}')
        stream = await exchange(it, b"GET /stream?events=3&pause=0.05 HTTP/1.0\r\n\r\n")
        assert stream.startswith(b"HTTP/1.0 200 OK\r\n")
        assert b"chunked" not in stream
        assert stream.endswith(b"\r\n\r\ndata: candidate 0\n\ndata: candidate 1\n\ndata: candidate 2\n\n")
        it.candidate.error_share = 1.0
        shielded = await exchange(it, b"GET /predict HTTP/1.0\r\n\r\n")
        assert b"x-serin-shielded: true" in shielded
        found = await counted(it, 3)
        assert (found["failures"], found["answers"], found["answer failures"]) == (1, 3, 0)


@pytest.mark.parametrize("offer", ["TLS/1.2", "HTTP/2.0", "h2c"])
async def test_an_offer_of_another_protocol_is_passed_over(tmp_path: Path, offer: str) -> None:
    """Java's HttpClient offers h2c with every request, old libraries offer TLS."""
    async with rig(tmp_path) as it:
        await it.route(0)
        headers = f"Host: fraud\r\nUpgrade: {offer}\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMA"
        answer = await exchange(it, f"GET /x HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer


async def say(socket: aiohttp.ClientWebSocketResponse, text: str) -> str:
    await socket.send_str(text)
    return str((await socket.receive(60)).data)


async def test_websockets_follow_the_weights_and_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than clients' connections otherwise last, and than `timeout`; a rollback ends none."""
    monkeypatch.setattr(listeners, "_LONGEST_CONNECTION", "1s")
    async with rig(tmp_path) as it:
        await it.route(100, patience=2.0)
        async with it.client.ws_connect(it.url + "/socket") as socket:
            assert await say(socket, "a") == "candidate a"
            found = await counted(it, 1)
            assert found["answers"] == 1, "counted as soon as it is open"
            await it.route(0, patience=2.0)
            for number in range(4):
                await asyncio.sleep(1.0)
                assert await say(socket, str(number)) == f"candidate {number}"
            async with it.client.ws_connect(it.url + "/socket") as after:
                assert await say(after, "b") == "stable b"
        await eventually(lambda: it.candidate.count("closed"), bool)
        await it.send(20)
        found = await counted(it, 1)
        assert (found["failures"], found["answers"], found["answer failures"]) == (0, 1, 0)
        assert found["milliseconds"] < 1000, "the time to the handshake's answer"


async def test_half_of_the_websockets_at_half_of_the_weight(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(50)
        sockets = [await it.client.ws_connect(it.url + "/socket") for _ in range(200)]
        found = await counted(it, it.candidate.truth["sockets"])
        assert 60 < found["attempts"] < 140
        assert it.stable.truth["sockets"] == 200 - found["attempts"]
        for socket in sockets:
            await socket.close()


async def test_a_handshake_is_shielded_and_what_comes_after_is_not(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(100, patience=5.0)
        async with it.client.ws_connect(it.url + "/socket") as socket:
            with suppress(aiohttp.ClientError):
                await say(socket, "break")
            assert socket.closed
        assert it.candidate.truth["received"] == 1, "nobody sends it again"
        assert it.stable.truth["received"] == 0
        found = await counted(it, 1)
        assert (found["failures"], found["answer failures"]) == (0, 0), "any end looks like any other"

        it.candidate.error_share = 1.0
        async with it.client.ws_connect(it.url + "/socket") as socket:
            assert await say(socket, "a") == "stable a"
        found = await counted(it, 2)
        assert (found["failures"], found["answers"], found["answer failures"]) == (1, 2, 0)

        await it.candidate.stop()
        async with it.client.ws_connect(it.url + "/socket") as socket:
            assert await say(socket, "b") == "stable b"
        found = await counted(it, 3)
        assert (found["failures"], found["answers"], found["answer failures"]) == (2, 3, 0)


async def test_a_websocket_on_which_nothing_moves_is_closed_and_nobody_is_blamed(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(100, patience=1.0)
        async with it.client.ws_connect(it.url + "/socket") as socket:
            ended = await socket.receive(60)
            assert ended.type is aiohttp.WSMsgType.CLOSED
        await it.send(20)
        found = await counted(it, 21)
        assert (found["failures"], found["answer failures"]) == (0, 0)


async def test_a_model_that_speaks_http_2_alone_refuses_a_websocket_and_nothing_ends(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        wanted = model(it.port, (it.stable,), (it.candidate,), 0, serving=Serving(Protocol.HTTP2))
        it.xds.update([wanted])
        await it.served(wanted)
        await it.envoy.listens(wanted)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await it.client.ws_connect(it.url + "/socket")
        assert refused.value.status >= 500
        await it.route(0)
        assert (await it.send(20))[STABLE] == 20
