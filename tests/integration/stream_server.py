"""A server of event streams on raw sockets, which ends them in every way that real model servers do.

`python -m tests.integration.stream_server PORT` runs it in a process of its own, for a test that kills it.
"""

import asyncio
import json
import socket
import struct
import sys
from collections import Counter
from dataclasses import dataclass, field

from serin.routers.endpoints import Endpoint

PAUSE = 0.02
DONE = "[DONE]"


def token(text: str = "a") -> dict[str, object]:
    """An event of OpenAI's chat completions."""
    return {"object": "chat.completion.chunk", "choices": [{"delta": {"content": text}}]}


def named(event: str, data: object = None) -> bytes:
    """An event with a name, as OpenAI's responses and Anthropic's messages have."""
    return f"event: {event}\ndata: {json.dumps(data or {'type': event})}\n\n".encode()


ERROR = {"error": {"message": "the engine is dead", "type": "InternalServerError", "code": 500}}


@dataclass(frozen=True)
class Stream:
    """What one request gets.

    `end`: "in order", "closed" (without the last chunk), "reset", or "still" (never). `plain`: no chunks; the end of
    the connection ends it. `first`: seconds between the headers and the first event.
    """

    events: tuple[object, ...]
    end: str = "in order"
    status: int = 200
    plain: bool = False
    pause: float = PAUSE
    first: float = 0.0
    content_type: str = "text/event-stream; charset=utf-8"


TOKENS = (token("a"), token("b"), token("c"))
STREAMS: dict[str, Stream] = {
    "whole": Stream((*TOKENS, DONE)),
    "killed": Stream(TOKENS, "still"),
    "closed": Stream(TOKENS, "closed"),
    "reset": Stream(TOKENS, "reset"),
    "error": Stream((*TOKENS, ERROR, DONE)),
    "error-and-no-more": Stream((*TOKENS, ERROR)),
    "error-and-reset": Stream((*TOKENS, ERROR), "reset"),
    "error-and-still": Stream((*TOKENS, ERROR), "still"),
    "error-500": Stream((ERROR, DONE), status=500),
    "error-400": Stream((ERROR,), status=400, content_type="application/json"),
    "early": Stream(TOKENS),
    "early-plain": Stream(TOKENS, plain=True),
    "whole-plain": Stream((*TOKENS, DONE), plain=True),
    "still": Stream(TOKENS, "still"),
    "still-later": Stream(TOKENS * 6, "still", pause=0.25),
    "slow-first": Stream((*TOKENS, DONE), first=1.0),
    "long": Stream((*TOKENS * 10, DONE), pause=0.1),
    "empty": Stream(()),
    "own": Stream(({"error": None, "token": "a"}, {"error": ""}, {"error": False}, {"error": 0}, {"error": {}})),
    "own-error": Stream(({"token": "a"}, {"error": "out of memory"})),
    "quoted": Stream((token('data: {"error": "said the model"}\n\nevent: error\n\n'), DONE)),
    "large": Stream((token("x" * 300_000), DONE)),
    "large-error": Stream((token("x" * 300_000), {"error": "x" * 300_000}, DONE)),
    "named-error": Stream((named("error", {"code": 500}),)),
    "responses": Stream((named("response.created"), named("response.completed"))),
    "responses-early": Stream((named("response.created"), named("response.output_text.delta"))),
    "responses-failed": Stream((named("response.created"), named("response.failed"))),
    "messages": Stream((named("message_start"), named("content_block_delta"), named("message_stop"))),
    "messages-early": Stream((named("message_start"), named("content_block_delta"))),
    "json": Stream(({"a": 1},), content_type="application/json"),
}


@dataclass
class StreamServer:
    """Serves `STREAMS` and what is added, by the path."""

    port: int = 0
    streams: dict[str, Stream] = field(default_factory=lambda: dict(STREAMS))
    served: Counter[str] = field(default_factory=Counter)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)

    async def start(self) -> "StreamServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                name = head.split(b" ")[1].decode().strip("/")
                self.served[name] += 1
                if not await _answer(self.streams[name], reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _piece(event: object, stream: Stream) -> bytes:
    data = event if isinstance(event, str) else json.dumps(event)
    return f"data: {data}\n\n".encode() if "event-stream" in stream.content_type else data.encode()


async def _answer(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection may be used again."""
    framing = "connection: close" if stream.plain else "transfer-encoding: chunked"
    head = f"HTTP/1.1 {stream.status} X\r\ncontent-type: {stream.content_type}\r\n{framing}\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    await asyncio.sleep(stream.first)
    for event in stream.events:
        piece = event if isinstance(event, bytes) else _piece(event, stream)
        writer.write(piece if stream.plain else b"%x\r\n%s\r\n" % (len(piece), piece))
        await writer.drain()
        await asyncio.sleep(stream.pause)
    if stream.end == "still":
        await reader.read()
        return False
    if stream.end == "reset":
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    if stream.end != "in order" or stream.plain:
        return False
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


async def _run(port: int) -> None:
    await StreamServer(port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1])))
