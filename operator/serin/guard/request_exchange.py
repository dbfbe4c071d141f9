"""One exchange: what Envoy's filter ext_proc says of a request, and what is said to it.

What became of a request is written into its dynamic metadata, by which the router counts it (routers/envoy/series.py).
A request without them passed unchecked: the guard was away, or late. One that is refused gets an `ImmediateResponse`:
it reaches no version, so it counts against none.
"""

import re
from typing import Final

import orjson
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyResponse,
    HeaderMutation,
    HeadersResponse,
    HttpBody,
    HttpHeaders,
    ImmediateResponse,
    ProcessingResponse,
)
from envoy.type.v3.http_status_pb2 import HttpStatus

from serin.api.guard import INVALID, MARK
from serin.api.guard_inputs import METADATA, STATE, InputGuard, Looked
from serin.guard.budget import Unchecked
from serin.guard.inputs import Invalid, invalid
from serin.guard.messages import JSON_TYPE, asks, headers_of, read_message, set_header, too_long, written
from serin.guard.payload import NotJson, read_json

# What clients say of JSON when they say nothing of it: curl's default among them.
_UNSAID: Final = re.compile(r"(|text/plain|application/x-www-form-urlencoded)\s*(;|$)", re.IGNORECASE)
# Bytes follow the JSON (the binary extension of the Open Inference Protocol).
_BINARY: Final = "inference-header-content-length"


def _told(state: Looked, answer: ProcessingResponse) -> bytes:
    """With what became of the request."""
    answer.dynamic_metadata.get_or_create_struct(METADATA)[STATE] = state.value
    return written(answer)


def _pass_headers(state: Looked) -> bytes:
    """Let the request pass without its body being shown."""
    mode = ProcessingMode(
        request_header_mode=ProcessingMode.SEND,
        request_body_mode=ProcessingMode.NONE,
        request_trailer_mode=ProcessingMode.SKIP,
        response_header_mode=ProcessingMode.SKIP,
        response_trailer_mode=ProcessingMode.SKIP,
    )
    return _told(state, ProcessingResponse(request_headers=HeadersResponse(), mode_override=mode))


def _pass_body(state: Looked) -> bytes:
    return _told(state, ProcessingResponse(request_body=BodyResponse()))


_SHOW_BODY: Final = written(ProcessingResponse(request_headers=HeadersResponse()))
_HEADERS: Final = {state: _pass_headers(state) for state in (Looked.UNCHECKED, Looked.NOT_ASKED)}
_BODY: Final = {state: _pass_body(state) for state in (Looked.PASSED, Looked.INVALID, Looked.UNCHECKED)}


def _refuse(wrong: Invalid) -> bytes:
    said = {"error": f"serin: the request is refused: {wrong.field}: {wrong.reason}"}
    answer = ImmediateResponse(
        status=HttpStatus(code=422),
        headers=HeaderMutation(set_headers=[set_header("content-type", "application/json"), set_header(MARK, INVALID)]),
        body=orjson.dumps(said | {"field": wrong.field, "reason": wrong.reason}) + b"\n",
        details="serin_invalid_input",
    )
    return _told(Looked.REJECTED, ProcessingResponse(immediate_response=answer))


class RequestExchange:
    """One request of one client."""

    __slots__ = ("_encoding", "_guard")

    def __init__(self, guard: InputGuard) -> None:
        self._guard = guard
        self._encoding = ""

    def on_message(self, message: bytes) -> bytes:
        """What is answered to a ProcessingRequest. Raises ValueError for what is none, or none that was asked for."""
        request = read_message(message)
        match request.WhichOneof("request"):
            case "request_headers":
                return self._on_headers(request.request_headers)
            case "request_body":
                return self._on_body(request.request_body)
            case other:
                raise ValueError(f"{other} was not asked for")

    def closed(self) -> None:
        """Nothing is kept."""

    def _on_headers(self, shown: HttpHeaders) -> bytes:
        headers = headers_of(shown)
        if not asks(self._guard.protocol, headers.get(":method", ""), headers.get(":path", "")):
            return _HEADERS[Looked.NOT_ASKED]
        kind = headers.get("content-type", "")
        readable = bool(JSON_TYPE.match(kind) or _UNSAID.match(kind)) and _BINARY not in headers
        if shown.end_of_stream or too_long(headers) or not readable:
            return _HEADERS[Looked.UNCHECKED]
        self._encoding = headers.get("content-encoding", "")
        return _SHOW_BODY

    def _on_body(self, shown: HttpBody) -> bytes:
        if not shown.end_of_stream:
            return _BODY[Looked.UNCHECKED]
        try:
            wrong = invalid(read_json(shown.body, self._encoding), self._guard)
        except (NotJson, Unchecked):
            return _BODY[Looked.UNCHECKED]
        if wrong is None:
            return _BODY[Looked.PASSED]
        return _refuse(wrong) if self._guard.reject else _BODY[Looked.INVALID]
