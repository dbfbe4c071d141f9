"""A question to a pod, against real sockets: whatever the pod does, it costs its bounds and no more."""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from serin.workload.asking import NoAnswer, Question, ask

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LONGEST = 1000


@asynccontextmanager
async def pod(serve: Serve, address: str = "127.0.0.1", heads: list[bytes] | None = None) -> AsyncIterator[int]:
    """A server on loopback; answers its port. `heads`: gets what comes before each body."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if heads is not None:
                heads.append(head)
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, address, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def asked(serve: Serve, seconds: float = 5.0) -> bytes:
    async with pod(serve) as port:
        return await ask(Question("127.0.0.1", port, "/predict?a=b%20c", b'{"x": 1}', seconds, LONGEST))


def saying(text: str) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text.encode())
        await writer.drain()

    return serve


def endlessly(first: bytes, part: bytes, pause: float = 0.0) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return serve


async def test_the_question_arrives_as_written_and_the_answer_comes_back() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readexactly(8))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + b'{"y": 2.}')

    assert await asked(serve) == b'{"y": 2.}'
    assert seen == [b'{"x": 1}']


@pytest.mark.parametrize(("address", "host"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
async def test_the_path_is_asked_at_the_pods_own_address_in_json(address: str, host: str) -> None:
    heads: list[bytes] = []
    async with pod(saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), address, heads) as port:
        assert await ask(Question(address, port, "/predict?a=b%20c", b"{}", 5.0, LONGEST)) == b"{}"
    [head] = heads
    first, *lines = head.decode().lower().split("\r\n")
    assert first == "post /predict?a=b%20c http/1.1"
    wanted = {f"host: {host}:{port}", "content-type: application/json", "accept: application/json"}
    assert wanted | {"accept-encoding: identity"} <= set(lines)


async def test_a_proxy_of_the_process_is_not_used(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_tcp_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert await asked(saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) == b"{}"


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "503 Service Unavailable", "204 No Content"])
async def test_anything_but_200_is_no_answer(status: str) -> None:
    with pytest.raises(NoAnswer, match=f"the answer is {status[:3]}: "):
        await asked(saying(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))


async def test_a_redirect_is_not_followed() -> None:
    followed: list[bytes] = []

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        followed.append(await reader.read(1))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with pod(other) as port:
        away = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
        with pytest.raises(NoAnswer, match="the answer is 307"):
            await asked(saying(away))
    assert not followed


async def test_of_a_long_answer_only_the_beginning_is_read() -> None:
    tracemalloc.start()
    try:
        found = await asked(endlessly(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", b"9" * 65536))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == b"9" * (LONGEST + 1)
    assert most < 5_000_000


@pytest.mark.parametrize(
    "serve",
    [
        endlessly(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b" ", pause=0.02),  # a slow drip
        endlessly(b"HTTP/1.1 200 OK\r\n", b"X-A: 1\r\n", pause=0.02),
        endlessly(b"", b"", pause=0.02),
    ],
)
async def test_a_slow_answer_ends_with_its_time(serve: Serve) -> None:
    began = time.monotonic()
    with pytest.raises(NoAnswer, match=r"no answer within 0\.3 s"):
        await asked(serve, seconds=0.3)
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    "serve",
    [
        endlessly(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 4000 + b"\r\n"),  # headers without end
        endlessly(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 65536),  # one header without end
        endlessly(b"", b"a" * 65536),
        endlessly(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    ],
)
async def test_headers_without_end_cost_no_more(serve: Serve) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(NoAnswer):
            await asked(serve, seconds=2.0)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 5_000_000


async def test_what_is_compressed_stays_so() -> None:
    bomb = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    assert await asked(saying(bomb)) == b"abc"


async def test_nobody_at_the_address_is_no_answer() -> None:
    async with pod(saying("")) as port:
        pass
    with pytest.raises(NoAnswer, match="no answer: "):
        await ask(Question("127.0.0.1", port, "/", b"{}", 1.0, LONGEST))
