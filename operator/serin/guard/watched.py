"""One request of one client and the answer to it, as Envoy's filter ext_proc shows them to one who only looks.

Neither waits for the guard (`observability_mode`), which says nothing. As soon as there is nothing more to see, or
what there is is not wanted, the exchange ends, so that Envoy keeps nothing for it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

from envoy.service.ext_proc.v3.external_processor_pb2 import HttpBody, HttpHeaders

from serin.api.guard import LARGEST_ANSWER, Protocol
from serin.api.guard_agreement import Pairing
from serin.guard.messages import JSON_TYPE, asks, headers_of, read_message, too_long
from serin.guard.pairs import Answer, Pairs, Request
from serin.guard.room import Held

# As of the router's own copies.
LARGEST_REQUEST: Final = 256 * 1024
# Bytes of an exchange that is open, beside what it has been shown.
_OPEN: Final = 8 * 1024
_MORE: Final = b""


class Watching(ABC):
    """Collects both, and hands them over when they are complete. `held`: has the bytes of both.

    `shows_request`: whether the request's body is shown too, and not its headers alone.
    """

    __slots__ = ("_answer", "_body", "_complete", "_encoding", "_headers", "_held", "_protocol")

    def __init__(self, protocol: Protocol, held: Held, *, shows_request: bool = True) -> None:
        self._protocol = protocol
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._complete = not shows_request
        self._answer = bytearray()
        self._encoding = ""
        self._held = held

    @abstractmethod
    def wants(self, headers: Mapping[str, str]) -> bool:
        """Whether an answer with 2xx and these headers is wanted."""

    @abstractmethod
    def complete(self, request: Request, answer: Answer) -> None:
        """Take both. Whoever keeps them takes `_held` too, and puts an empty one there."""

    def on_message(self, message: bytes) -> bytes | None:
        """Empty while there is more to see, then None. Raises ValueError for a message that nobody has asked for."""
        request = read_message(message)
        match request.WhichOneof("request"):
            case "request_headers":
                return self._on_request(request.request_headers)
            case "request_body":
                return self._on_request_body(request.request_body)
            case "response_headers":
                return self._on_answer(request.response_headers)
            case "response_body":
                return self._on_answer_body(request.response_body)
            case other:
                raise ValueError(f"{other} was not asked for")

    def closed(self) -> None:
        """Forget what has come, unless it was handed over."""
        self._held.give_back()

    def keeps(self, headers: Mapping[str, str]) -> dict[str, str]:
        """What is kept of a request's headers until its answer comes."""
        return dict(headers)

    def _on_request(self, shown: HttpHeaders) -> bytes | None:
        headers = headers_of(shown)
        if not asks(self._protocol, headers.get(":method", ""), headers.get(":path", "")) or shown.end_of_stream:
            return None
        self._headers = self.keeps(headers)
        # A client may keep a request open for as long as it likes, and there may be thousands of them.
        size = _OPEN + sum(len(name) + len(value) for name, value in self._headers.items())
        return _MORE if self._held.take(size) else None

    def _on_request_body(self, shown: HttpBody) -> bytes | None:
        self._complete = shown.end_of_stream
        return self._keep(self._body, shown.body, LARGEST_REQUEST)

    def _on_answer(self, shown: HttpHeaders) -> bytes | None:
        headers = headers_of(shown)
        good = headers.get(":status", "").startswith("2") and self.wants(headers)
        readable = JSON_TYPE.match(headers.get("content-type", "")) and not too_long(headers)
        if not (good and readable and self._complete) or shown.end_of_stream:
            return None
        self._encoding = headers.get("content-encoding", "")
        return _MORE

    def _on_answer_body(self, shown: HttpBody) -> bytes | None:
        more = self._keep(self._answer, shown.body, LARGEST_ANSWER)
        if more is None or not shown.end_of_stream:
            return more
        self.complete(Request(self._headers, bytes(self._body)), Answer(bytes(self._answer), self._encoding))
        return None

    def _keep(self, part: bytearray, come: bytes, most: int) -> bytes | None:
        if len(part) + len(come) > most or not self._held.take(len(come)):
            return None
        part += come
        return _MORE


class Watched(Watching):
    """A request that is compared, and stable's answer. `peer`: the router that shows them."""

    __slots__ = ("_pairing", "_pairs", "_peer")

    def __init__(self, pairing: Pairing, pairs: Pairs, peer: str) -> None:
        super().__init__(pairing.protocol, pairs.hold(pairing.name))
        self._pairing, self._pairs, self._peer = pairing, pairs, peer

    def wants(self, headers: Mapping[str, str]) -> bool:
        """Stable's own."""
        return headers.get("x-serin-snapshot") == self._pairing.stable

    def complete(self, request: Request, answer: Answer) -> None:
        """Ask the candidate the same."""
        held, self._held = self._held, self._pairs.hold(self._pairing.name)
        self._pairs.begin(self._pairing, self._peer, request, answer, held)
