"""One exchange: what Envoy's filter ext_proc says of an answer, and what is said to it.

Envoy shows the headers, then the body, and holds both back until it has been answered. Every answer that the guard has
seen says so in a header, by which the router counts it (routers/envoy/series.py). One without it passed unchecked: the
guard was away, or late.

A bad answer becomes a 502 by its `:status`. Envoy then treats it as the model's own failure, which its retry policy
(the shield) answers from stable. An `ImmediateResponse` would go straight to the client.

"""

from collections.abc import Mapping
from typing import Final

from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    HttpBody,
    HttpHeaders,
    ProcessingResponse,
)

from serin.api.guard import (
    FAILED,
    MARK,
    NOT_ASKED,
    PASSED,
    UNCHECKED,
    OutputGuard,
)
from serin.guard.budget import Unchecked
from serin.guard.checks import problem
from serin.guard.messages import JSON_TYPE, asked, asks, headers_of, read_message, set_header, too_long, written
from serin.guard.payload import NotJson, read_json


def _pass_headers(mark: str = "") -> bytes:
    """Let the answer pass without its body being shown."""
    common = CommonResponse(header_mutation=HeaderMutation(set_headers=[set_header(MARK, mark)] if mark else []))
    mode = ProcessingMode(
        response_header_mode=ProcessingMode.SEND,
        response_body_mode=ProcessingMode.NONE,
        response_trailer_mode=ProcessingMode.SKIP,
    )
    return written(ProcessingResponse(response_headers=HeadersResponse(response=common), mode_override=mode))


_SHOW_BODY: Final = written(ProcessingResponse(response_headers=HeadersResponse()))
_NO_SUCCESS: Final = _pass_headers()
_NOT_ASKED: Final = _pass_headers(NOT_ASKED)
_UNCHECKED: Final = _pass_headers(UNCHECKED)


def _pass_body(mark: str) -> bytes:
    common = CommonResponse(header_mutation=HeaderMutation(set_headers=[set_header(MARK, mark)]))
    return written(ProcessingResponse(response_body=BodyResponse(response=common)))


_PASSED_BODY: Final = _pass_body(PASSED)
_UNCHECKED_BODY: Final = _pass_body(UNCHECKED)


def _refuse(why: str) -> CommonResponse:
    body = f"serin: the model's answer is refused: {why}\n".encode()
    headers = [
        set_header(":status", "502"),
        set_header(MARK, FAILED),
        set_header("content-type", "text/plain"),
        set_header("content-length", str(len(body))),
    ]
    return CommonResponse(
        header_mutation=HeaderMutation(set_headers=headers, remove_headers=["content-encoding"]),
        body_mutation=BodyMutation(body=body),
    )


class Exchange:
    """One answer of one model."""

    __slots__ = ("_encoding", "_guard")

    def __init__(self, guard: OutputGuard) -> None:
        self._guard = guard
        self._encoding = ""

    def on_message(self, message: bytes) -> bytes:
        """What is answered to a ProcessingRequest. Raises ValueError for what is none, or none that was asked for."""
        request = read_message(message)
        match request.WhichOneof("request"):
            case "response_headers":
                return self._on_headers(request.response_headers, asked(request))
            case "response_body":
                return self._on_body(request.response_body)
            case other:
                raise ValueError(f"{other} was not asked for")

    def closed(self) -> None:
        """Nothing is kept."""

    def _on_headers(self, shown: HttpHeaders, request: Mapping[str, str]) -> bytes:
        headers = headers_of(shown)
        if not headers.get(":status", "").startswith("2"):
            return _NO_SUCCESS
        if not asks(self._guard.protocol, request.get("request.method", "POST"), request.get("request.path", "")):
            return _NOT_ASKED
        kind = headers.get("content-type", "")
        if too_long(headers) or not (JSON_TYPE.match(kind) or (shown.end_of_stream and not kind)):
            return _UNCHECKED
        if shown.end_of_stream:  # there is no body, so there will be no message with it
            return written(ProcessingResponse(response_headers=HeadersResponse(response=_refuse("it is empty"))))
        self._encoding = headers.get("content-encoding", "")
        return _SHOW_BODY

    def _on_body(self, shown: HttpBody) -> bytes:
        if not shown.end_of_stream:
            return _UNCHECKED_BODY
        try:
            wrong = problem(read_json(shown.body, self._encoding), self._guard)
        except NotJson as error:
            wrong = str(error)
        except Unchecked:
            return _UNCHECKED_BODY
        if not wrong:
            return _PASSED_BODY
        return written(ProcessingResponse(response_body=BodyResponse(response=_refuse(wrong))))
