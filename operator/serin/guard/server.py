"""gRPC for Envoy's ext_proc, by the library h2 on asyncio.

docs/guard.md has the numbers of grpc.aio and grpclib beside it. What is here is the little of gRPC that one client
needs: the method `Process` in both directions at once, and the health check. h2 speaks HTTP/2 and keeps its rules;
whatever breaks them ends that connection and nothing else.

Each message is answered as it comes, or not, by a plain function: no task for a stream. Whatever goes wrong within one
exchange ends that exchange, and Envoy lets the answer pass.

Memory is bounded: a message that says it is longer than a limit ends its exchange before it has come, and so does one
that comes while all together hold too much.
"""

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from serin.api.guard import SETTINGS

log: Final = structlog.get_logger("serin.guard")

PROCESS: Final = b"/envoy.service.ext_proc.v3.ExternalProcessor/Process"
HEALTH: Final = b"/grpc.health.v1.Health/Check"
_SERVING: Final = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
_SETTINGS_KEY: Final = SETTINGS.encode()
_PREFIX: Final = struct.Struct(">BI")
# Of a message besides the body that it carries.
_OVERHEAD: Final = 64 * 1024
_STREAM_WINDOW: Final = 1024 * 1024
_CONNECTION_WINDOW: Final = 16 * 1024 * 1024
_STREAMS: Final = 1_000
_LOG_SECONDS: Final = 10.0
_SETTINGS: Final = {
    SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
    SettingCodes.MAX_CONCURRENT_STREAMS: _STREAMS,
    SettingCodes.MAX_HEADER_LIST_SIZE: _OVERHEAD,
}
_OK, _INVALID, _EXHAUSTED, _UNIMPLEMENTED, _INTERNAL = b"0", b"3", b"8", b"12", b"13"


class _Seldom:
    """Logs what anybody can cause with every request: once in ten seconds, and how many times it was."""

    def __init__(self, event: str) -> None:
        self._event, self._times, self._again = event, 0, 0.0

    def warn(self, **words: str) -> None:
        """It has happened."""
        self._times += 1
        if (now := time.monotonic()) >= self._again:
            log.warning(self._event, times=self._times, **words)
            self._times, self._again = 0, now + _LOG_SECONDS


_CONNECTION_FAILED: Final = _Seldom("guard.connection-failed")
_SETTINGS_REFUSED: Final = _Seldom("guard.settings-refused")


class Answering(Protocol):
    """One exchange: a message comes, a message goes back, or none."""

    def on_message(self, message: bytes, /) -> bytes | None:
        """The answer; empty: none is given, None: nor to anything else. Raises ValueError for what none is due to."""

    def closed(self) -> None:
        """No message comes any more."""


@dataclass(slots=True)
class Limits:
    """Bytes: of one message's body, and of all that have begun to come together."""

    message: int
    together: int
    held: int = 0


@dataclass(slots=True)
class _Stream:
    """`exchange`: None for the health check. `waiting`: what the client's window had no room for."""

    exchange: Answering | None
    received: bytearray = field(default_factory=bytearray)
    waiting: bytearray = field(default_factory=bytearray)


class _Failed(Exception):
    """The exchange ends with this gRPC status."""

    def __init__(self, status: bytes) -> None:
        super().__init__(status)
        self.status = status


Begin = Callable[[bytes, str], Answering]
"""Begins an exchange with these settings, and a client at this address. Raises ValueError for settings that are none.
"""


class GuardProtocol(asyncio.Protocol):
    """One connection of one Envoy."""

    def __init__(self, begin: Begin, limits: Limits, connections: "set[GuardProtocol]") -> None:
        self._begin = begin
        self._limits = limits
        self._connections = connections
        self._streams: dict[int, _Stream] = {}
        self._transport: asyncio.Transport
        self._http = H2Connection(H2Configuration(client_side=False, header_encoding=None))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say how much may come."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._peer = str((transport.get_extra_info("peername") or ("",))[0])
        self._connections.add(self)
        self._http.local_settings = Settings(client=False, initial_values=_SETTINGS)
        self._http.initiate_connection()
        self._http.increment_flow_control_window(_CONNECTION_WINDOW)
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        """Forget what had come."""
        self._connections.discard(self)
        for number in list(self._streams):
            self._forget(number)

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        try:
            events = self._http.receive_data(data)
        except ProtocolError as error:
            _CONNECTION_FAILED.warn(error=type(error).__name__)
            self._send()
            self._transport.close()
            return
        for event in events:
            try:
                self._on_event(event)
            except ProtocolError:  # the client has ended the exchange by what came with this
                self._forget(getattr(event, "stream_id", 0))
        self._send()

    def close(self) -> None:
        """Ask the client to go elsewhere; what is under way ends with the connection."""
        self._http.close_connection()
        self._send()
        self._transport.close()

    def _on_event(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._on_request(event.stream_id, event.headers)
            case DataReceived():
                self._on_data(event)
            case StreamEnded():
                self._on_end(event.stream_id)
            case StreamReset():
                self._forget(event.stream_id)  # how Envoy ends what it needs no more
            case WindowUpdated():
                self._flush(event.stream_id)

    def _on_request(self, number: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        found = dict(headers)
        exchange: Answering | None = None
        status = b""
        if found.get(b":path") == PROCESS:
            try:
                exchange = self._begin(found.get(_SETTINGS_KEY, b""), self._peer)
            except ValueError as error:
                _SETTINGS_REFUSED.warn(why=str(error))
                status = _INVALID
        elif found.get(b":path") != HEALTH:
            status = _UNIMPLEMENTED
        begun = [(b":status", b"200"), (b"content-type", b"application/grpc")]
        if status:
            self._http.send_headers(number, [*begun, (b"grpc-status", status)], end_stream=True)
            return
        self._streams[number] = _Stream(exchange)
        self._http.send_headers(number, begun)

    def _on_data(self, event: DataReceived) -> None:
        self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        stream.received += event.data
        self._limits.held += len(event.data)
        try:
            self._on_messages(event.stream_id, stream)
        except ProtocolError:
            raise  # the client has ended the exchange by what came with this
        except _Failed as error:
            self._end(event.stream_id, error.status)
        except Exception as error:  # a defect: it ends this exchange, and no other
            log.error("guard.exchange-failed", error=type(error).__name__)
            self._end(event.stream_id, _INTERNAL)

    def _on_messages(self, number: int, stream: _Stream) -> None:
        """Answer the messages that have come whole. Raises _Failed."""
        while len(stream.received) >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(stream.received)
            if compressed:
                raise _Failed(_UNIMPLEMENTED)
            if length > self._limits.message + _OVERHEAD or self._limits.held > self._limits.together:
                raise _Failed(_EXHAUSTED)
            end = _PREFIX.size + length
            if len(stream.received) < end:
                return
            message = bytes(stream.received[_PREFIX.size : end])
            del stream.received[:end]
            self._limits.held -= end
            answer = _SERVING if stream.exchange is None else _answer(stream.exchange, message)
            if answer is None:
                self._end(number, _OK)
                return
            if answer:
                stream.waiting += _PREFIX.pack(0, len(answer)) + answer
                self._flush(number)

    def _on_end(self, number: int) -> None:
        if number in self._streams:
            self._end(number, _OK)

    def _end(self, number: int, status: bytes) -> None:
        self._forget(number)
        self._http.send_headers(number, [(b"grpc-status", status)], end_stream=True)
        if status != _OK:  # nothing more of what is still on its way
            self._http.reset_stream(number, ErrorCodes.NO_ERROR)

    def _forget(self, number: int) -> None:
        if stream := self._streams.pop(number, None):
            self._limits.held -= len(stream.received)
            if stream.exchange is not None:
                stream.exchange.closed()

    def _flush(self, number: int) -> None:
        """Send what the client's window has room for."""
        for one in [number] if number else list(self._streams):
            stream = self._streams.get(one)
            if stream is None:
                continue
            while stream.waiting:
                room = min(self._http.local_flow_control_window(one), self._http.max_outbound_frame_size)
                if room <= 0:
                    break
                self._http.send_data(one, bytes(stream.waiting[:room]))
                del stream.waiting[:room]

    def _send(self) -> None:
        if data := self._http.data_to_send():
            self._transport.write(data)


def _answer(exchange: Answering, message: bytes) -> bytes | None:
    try:
        return exchange.on_message(message)
    except ValueError as error:
        log.warning("guard.message-refused", why=str(error))
        raise _Failed(_INVALID) from None


class GuardServer:
    """Listens until it is stopped."""

    def __init__(self, begin: Begin, limits: Limits) -> None:
        self._begin = begin
        self._limits = limits
        self._connections: set[GuardProtocol] = set()
        self._server: asyncio.Server | None = None

    async def start(self, address: str | None, port: int) -> int:
        """Listen; returns the port. Raises OSError when it is taken."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: GuardProtocol(self._begin, self._limits, self._connections), address, port
        )
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Take no more connections, and end those that there are."""
        if self._server is not None:
            self._server.close()
        for one in list(self._connections):
            one.close()
