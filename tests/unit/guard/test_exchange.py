"""What is said to Envoy of an answer's headers: whether its body is shown, and how it is marked."""

from typing import Any

import pytest
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse

from serin.api.guard import LARGEST_ANSWER, Check, OutputGuard, Protocol
from serin.guard.exchange import Exchange

V2, V1 = "/v2/models/fraud/infer", "/v1/models/fraud:predict"
JSON = {"content-type": "application/json"}


def shown(protocol: Protocol, path: str, end: bool = False, status: str = "200", **headers: str) -> Any:
    """The answer to headers; names with underscores."""
    request = ProcessingRequest()
    for name, value in {":status": status, **headers}.items():
        request.response_headers.headers.headers.add(key=name.replace("_", "-"), raw_value=value.encode("latin-1"))
    request.response_headers.end_of_stream = end
    method, _, where = path.rpartition(" ")
    asked = request.attributes["envoy.filters.http.ext_proc"].fields
    asked["request.method"].string_value, asked["request.path"].string_value = method or "POST", where
    exchange = Exchange(OutputGuard(protocol, (Check("a", finite=True),)))
    return ProcessingResponse.FromString(exchange.on_message(request.SerializeToString()))


def outcome(found: Any) -> str:
    """`looks`, or how the answer is marked."""
    headers = found.response_headers.response.header_mutation.set_headers
    marks = {one.header.key: one.header.raw_value.decode() for one in headers}
    if not found.HasField("mode_override"):
        return "looks" if not marks else f"{marks[':status']} {marks['x-serin-guard']}"
    assert found.mode_override.response_body_mode == ProcessingMode.NONE
    assert ":status" not in marks
    return marks.get("x-serin-guard", "none")


@pytest.mark.parametrize(
    ("protocol", "path", "said"),
    [
        (Protocol.OPEN_INFERENCE, V2, "looks"),
        (Protocol.OPEN_INFERENCE, f"{V2}?a=1", "looks"),
        (Protocol.OPEN_INFERENCE, "/v2/models/fraud/versions/3/infer", "looks"),
        (Protocol.OPEN_INFERENCE, f"GET {V2}", "not-asked"),
        (Protocol.OPEN_INFERENCE, "/v2/repository/index", "not-asked"),
        (Protocol.OPEN_INFERENCE, V1, "not-asked"),
        (Protocol.KSERVE_V1, V1, "looks"),
        (Protocol.KSERVE_V1, V2, "not-asked"),
        (Protocol.OPEN_AI, "/v1/chat/completions", "looks"),
        (Protocol.OPEN_AI, "/openai/v1/completions?a=1", "looks"),
        (Protocol.OPEN_AI, "GET /v1/chat/completions", "not-asked"),
        (Protocol.OPEN_AI, "GET /v1/models", "not-asked"),
        (Protocol.OPEN_AI, "/v1/embeddings", "not-asked"),
        (Protocol.OPEN_AI, "/v1/chat/completions/abc", "not-asked"),
        (Protocol.JSON, "/anything", "looks"),
        (Protocol.JSON, "GET /anything", "not-asked"),
    ],
)
def test_which_requests_ask_the_model(protocol: Protocol, path: str, said: str) -> None:
    assert outcome(shown(protocol, path, content_type="application/json")) == said


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"content_type": "application/json; charset=utf-8"}, "looks"),
        ({"content_type": "application/problem+json"}, "looks"),
        ({"content_type": "text/event-stream"}, "unchecked"),
        ({"content_type": "application/grpc"}, "unchecked"),
        # gRPC says so what has failed; it is no answer without a body.
        ({"content_type": "application/grpc", "end": True, "grpc_status": "5"}, "unchecked"),
        ({"content_type": "application/jsonlines"}, "unchecked"),
        ({}, "unchecked"),
        ({"content_type": "application/json", "end": True}, "502 failed"),
        ({"end": True}, "502 failed"),
        ({"status": "204", "end": True}, "502 failed"),
        ({"content_type": "application/json", "content_length": str(LARGEST_ANSWER)}, "looks"),
        ({"content_type": "application/json", "content_length": str(LARGEST_ANSWER + 1)}, "unchecked"),
        ({"content_type": "application/json", "content_length": "9" * 4_000}, "unchecked"),
        ({"content_type": "application/json", "content_length": "many"}, "looks"),
        ({"status": "500", "content_type": "application/json"}, "none"),
        ({"status": "404", "end": True}, "none"),
        ({"status": "101"}, "none"),
        ({"status": ""}, "none"),
        ({"content_type": "application/json\xff", "x_other": "\xfe"}, "unchecked"),
    ],
)
def test_which_answers_are_looked_at(headers: dict[str, Any], said: str) -> None:
    assert outcome(shown(Protocol.JSON, "/predict", **headers)) == said
