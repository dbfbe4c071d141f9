"""The server as a client of HTTP/2 sees it, well-behaved or not. tests/integration has Envoy as the client."""

import asyncio
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

from serin.api.guard import Check, OutputGuard, Protocol, read_written, write_output
from serin.guard.exchange import Exchange
from serin.guard.server import HEALTH, PROCESS, Begin, GuardServer, Limits

GUARD = OutputGuard(Protocol.JSON, (Check("score", minimum=0.0, maximum=1.0),))
LIMIT = 100_000


class Client:
    """A client that remembers every event."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int) -> None:
        self.reader, self.writer = reader, writer
        self.http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http.initiate_connection()
        if window:
            self.http.update_settings({4: window})
        self.events: list[Event] = []
        self.consumes = True

    def begin(self, path: bytes = PROCESS, settings: str | None = None) -> int:
        number = self.http.get_next_available_stream_id()
        headers = [(":method", "POST"), (":scheme", "http"), (":authority", "g"), (":path", path.decode())]
        text = write_output(GUARD) if settings is None else settings
        self.http.send_headers(number, [*headers, ("content-type", "application/grpc"), ("serin-guard", text)])
        return number

    async def send(self, number: int, data: bytes) -> None:
        while data:
            room = min(self.http.local_flow_control_window(number), self.http.max_outbound_frame_size)
            if not room:
                await self.flush()
                await self.read()
                continue
            self.http.send_data(number, data[:room])
            data = data[room:]
        await self.flush()

    async def flush(self) -> None:
        self.writer.write(self.http.data_to_send())
        await self.writer.drain()

    async def read(self) -> bool:
        async with asyncio.timeout(20):
            data = await self.reader.read(65536)
        for event in self.http.receive_data(data):
            if isinstance(event, DataReceived) and self.consumes:
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.events.append(event)
        await self.flush()
        return bool(data)

    def data(self, number: int) -> bytes:
        return b"".join(one.data for one in self.events if isinstance(one, DataReceived) and one.stream_id == number)

    async def message(self, number: int, nth: int = 0) -> bytes:
        """The nth message on a stream."""
        while True:
            data = self.data(number)
            found: list[bytes] = []
            while len(data) >= 5 and len(data) >= 5 + struct.unpack(">BI", data[:5])[1]:
                size = struct.unpack(">BI", data[:5])[1]
                found.append(data[5 : 5 + size])
                data = data[5 + size :]
            if len(found) > nth:
                return found[nth]
            assert await self.read(), "the connection ended"

    async def status(self, number: int) -> str:
        """The grpc-status that ends a stream."""
        while True:
            for one in self.events:
                if isinstance(one, ResponseReceived | TrailersReceived) and one.stream_id == number:
                    headers = dict(one.headers)
                    if "grpc-status" in headers:
                        return str(headers["grpc-status"])
            assert await self.read(), "the connection ended"


@asynccontextmanager
async def serving(
    limits: Limits | None = None, window: int = 0, begin: Begin | None = None
) -> AsyncIterator[tuple[GuardServer, Client]]:
    limits = limits or Limits(LIMIT, 10 * LIMIT)

    def checking(settings: bytes, _: str) -> Exchange:
        return Exchange(read_written(settings.decode("ascii")))

    server = GuardServer(begin or checking, limits)
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield server, Client(reader, writer, window)
        assert limits.held == 0 or not writer.is_closing()
    finally:
        writer.close()
        await server.stop()


def framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def headers(**more: str) -> bytes:
    request = ProcessingRequest()
    for key, value in {":status": "200", "content-type": "application/json", **more}.items():
        request.response_headers.headers.headers.add(key=key, raw_value=value.encode())
    return framed(request.SerializeToString())


def body(text: bytes) -> bytes:
    request = ProcessingRequest()
    request.response_body.body = text
    request.response_body.end_of_stream = True
    return framed(request.SerializeToString())


def said(message: bytes) -> dict[str, str]:
    """Headers that an answer to a body sets."""
    response = ProcessingResponse.FromString(message).response_body.response
    return {one.header.key: one.header.raw_value.decode() for one in response.header_mutation.set_headers}


async def judged(client: Client, text: bytes) -> dict[str, str]:
    number = client.begin()
    await client.send(number, headers() + body(text))
    return said(await client.message(number, 1))


async def test_an_exchange() -> None:
    async with serving() as (_, client):
        assert await judged(client, b'{"score": 0.5}') == {"x-serin-guard": "passed"}
        found = await judged(client, b'{"score": 1.5}')
        assert (found[":status"], found["x-serin-guard"]) == ("502", "failed")


async def test_a_message_may_come_in_pieces_and_several_at_once() -> None:
    async with serving() as (_, client):
        number = client.begin()
        for byte in headers() + body(b'{"score": 0.5}'):
            await client.send(number, bytes([byte]))
        assert said(await client.message(number, 1)) == {"x-serin-guard": "passed"}
        assert await judged(client, b'{"score": 2}' + b" " * 90_000) != {"x-serin-guard": "passed"}


async def test_health() -> None:
    async with serving() as (_, client):
        number = client.begin(HEALTH)
        await client.send(number, framed(b""))
        assert await client.message(number) == b"\x08\x01"
        client.http.end_stream(number)
        await client.flush()
        assert await client.status(number) == "0"


@pytest.mark.parametrize(
    ("path", "settings", "sent", "status"),
    [
        (b"/other", None, b"", "12"),
        (PROCESS, "{}", b"", "3"),
        (PROCESS, "", b"", "3"),
        (PROCESS, None, framed(b"\xff\xff\xff"), "3"),
        (PROCESS, None, framed(ProcessingRequest(request_body={}).SerializeToString()), "3"),
        (PROCESS, None, framed(b""), "3"),
        (PROCESS, None, struct.pack(">BI", 1, 4) + b"abcd", "12"),
        (PROCESS, None, struct.pack(">BI", 0, 2**32 - 1), "8"),
        (PROCESS, None, struct.pack(">BI", 0, 10 * LIMIT), "8"),
    ],
)
async def test_what_is_wrong_ends_its_exchange_and_no_other(
    path: bytes, settings: str | None, sent: bytes, status: str
) -> None:
    async with serving() as (_, client):
        good = client.begin()
        await client.send(good, headers())
        number = client.begin(path, settings)
        await client.send(number, sent) if sent else await client.flush()
        assert await client.status(number) == status
        await client.send(good, body(b'{"score": 0.5}'))
        assert said(await client.message(good, 1)) == {"x-serin-guard": "passed"}
        assert await judged(client, b'{"score": 0.5}') == {"x-serin-guard": "passed"}


async def test_what_all_exchanges_hold_together_is_bounded_and_given_back() -> None:
    limits = Limits(LIMIT, 2 * LIMIT)
    async with serving(limits) as (_, client):
        begun = [client.begin() for _ in range(4)]
        whole = body(b" " * (LIMIT - 100) + b"1")
        for number in begun:
            try:
                await client.send(number, whole[:-10])
            except Exception:  # reset in the middle of it
                break
        ended = [one for one in begun if one in {e.stream_id for e in client.events if isinstance(e, StreamReset)}]
        while not ended:
            await client.read()
            ended = [one for one in begun if one in {e.stream_id for e in client.events if isinstance(e, StreamReset)}]
        assert limits.held <= limits.together
        for number in set(begun) - set(ended):
            client.http.reset_stream(number)
        await client.flush()
        assert await judged(client, b'{"score": 0.5}') == {"x-serin-guard": "passed"}
        assert limits.held == 0


async def test_a_client_that_ends_its_exchange_meanwhile_loses_no_other() -> None:
    """As Envoy does when a client of the model has gone: in the same bytes as the message."""
    async with serving() as (_, client):
        good = client.begin()
        number = client.begin()
        client.http.send_data(number, headers() + body(b'{"score": 0.5}'))
        client.http.reset_stream(number)
        await client.send(good, headers() + body(b'{"score": 0.5}'))
        assert said(await client.message(good, 1)) == {"x-serin-guard": "passed"}


async def test_a_client_that_takes_little_at_a_time_gets_all() -> None:
    async with serving(window=10) as (_, client):
        found = await judged(client, b'{"score": 1.5}')
        assert found[":status"] == "502"


async def test_bytes_that_are_no_http2_end_their_connection_alone() -> None:
    async with serving() as (server, client):
        port = server._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        assert await judged(client, b'{"score": 0.5}') == {"x-serin-guard": "passed"}
        draw = random.Random(1)
        for length in (1, 24, 100, 5_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(draw.randbytes(length) if length != 24 else b"GET / HTTP/1.1\r\nhost: a\r\n")
            writer.write_eof()
            async with asyncio.timeout(20):
                await reader.read()
            writer.close()
        assert await judged(client, b'{"score": 0.5}') == {"x-serin-guard": "passed"}


async def test_bytes_of_an_exchange_with_any_of_them_changed_hurt_no_other() -> None:
    async with serving() as (server, client):
        port = server._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        draw = random.Random(2)
        for _ in range(150):
            one = Client(None, None, 0)  # type: ignore[arg-type]
            number = one.begin()
            one.http.send_data(number, headers() + body(b'{"score": 0.5}'))
            sent = bytearray(one.http.data_to_send())
            for _ in range(draw.randrange(1, 4)):
                sent[draw.randrange(24, len(sent))] = draw.randrange(256)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bytes(sent))
            writer.write_eof()
            async with asyncio.timeout(20):
                await reader.read()
            writer.close()
        assert await judged(client, b'{"score": 0.5}') == {"x-serin-guard": "passed"}


async def test_stopping_ends_connections() -> None:
    async with serving() as (server, client):
        assert await judged(client, b'{"score": 0.5}') == {"x-serin-guard": "passed"}
        await server.stop()
        while await client.read():
            pass
        assert not any(isinstance(one, StreamEnded) for one in client.events)


class Silent:
    """Says nothing to what comes, and ends with the third message. `seen` has that, and the client's address."""

    def __init__(self, peer: str, seen: list[str]) -> None:
        self.seen, self.left = seen, 3
        seen.append(peer)

    def on_message(self, _: bytes) -> bytes | None:
        self.left -= 1
        return b"" if self.left else None

    def closed(self) -> None:
        self.seen.append("closed")


async def test_an_exchange_may_say_nothing_and_end_by_itself() -> None:
    seen: list[str] = []
    async with serving(begin=lambda _, peer: Silent(peer, seen)) as (_, client):
        number = client.begin()
        for _ in range(3):
            await client.send(number, body(b"{}"))
        assert await client.status(number) == "0"
        assert (client.data(number), seen) == (b"", ["127.0.0.1", "closed"])
        cut = client.begin()
        await client.send(cut, body(b"{}"))
        client.http.reset_stream(cut)
        await client.send(client.begin(HEALTH), framed(b""))
        assert await client.message(cut + 2)
        assert seen == ["127.0.0.1", "closed"] * 2


async def test_what_anybody_can_send_fills_no_log() -> None:
    with structlog.testing.capture_logs() as logged:
        async with serving() as (_, client):
            for _ in range(50):
                number = client.begin(settings="none")
                await client.flush()
                assert await client.status(number) == "3"
    assert len([one for one in logged if one["event"] == "guard.settings-refused"]) <= 2
