"""What is said to Envoy of a request: whether its body is shown, whether it passes, and what is written beside it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse

from serin.api.guard import LARGEST_ANSWER, Check, OutputGuard, Protocol, write_output
from serin.api.guard_agreement import Comparison, Pairing, write_pairing
from serin.api.guard_inputs import Column, InputGuard, Type, write_input
from serin.api.guard_keys import sign_settings
from serin.api.guard_record import Recorded, Recording, write_recording
from serin.api.guard_review import Reviewing, write_reviewing
from serin.guard.counts import Counts
from serin.guard.exchange import Exchange
from serin.guard.keys import Keys
from serin.guard.pairs import Pairs
from serin.guard.process import _begin
from serin.guard.recorder import Recorder, RecordExchange
from serin.guard.request_exchange import RequestExchange
from serin.guard.reviewed import Reviewed, Reviews
from serin.guard.watched import Watched

V2, V1 = "/v2/models/fraud/infer", "/v1/models/fraud:predict"
AMOUNT = Column("amount", type=Type.NUMBER)


def exchange(protocol: Protocol = Protocol.JSON, *, reject: bool = True) -> RequestExchange:
    return RequestExchange(InputGuard(protocol, (AMOUNT,), reject))


def headers(to: RequestExchange, path: str = V2, method: str = "POST", end: bool = False, **more: str) -> Any:
    request = ProcessingRequest()
    for name, value in {":method": method, ":path": path, "content-type": "application/json", **more}.items():
        request.request_headers.headers.headers.add(key=name.replace("_", "-"), raw_value=value.encode("latin-1"))
    request.request_headers.end_of_stream = end
    return ProcessingResponse.FromString(to.on_message(request.SerializeToString()))


def body(to: RequestExchange, text: bytes, end: bool = True) -> Any:
    request = ProcessingRequest()
    request.request_body.body = text
    request.request_body.end_of_stream = end
    return ProcessingResponse.FromString(to.on_message(request.SerializeToString()))


def state(found: Any) -> str:
    """`looks`, or what became of the request."""
    if not found.HasField("dynamic_metadata"):
        assert not found.HasField("mode_override")
        return "looks"
    told: str = found.dynamic_metadata["serin.input"]["state"]
    return told


@pytest.mark.parametrize(
    ("protocol", "method", "path", "said"),
    [
        (Protocol.OPEN_INFERENCE, "POST", V2, "looks"),
        (Protocol.OPEN_INFERENCE, "POST", f"{V2}?a=1", "looks"),
        (Protocol.OPEN_INFERENCE, "GET", V2, "not-asked"),
        (Protocol.OPEN_INFERENCE, "POST", V1, "not-asked"),
        (Protocol.KSERVE_V1, "POST", V1, "looks"),
        (Protocol.JSON, "POST", "/anything", "looks"),
        (Protocol.JSON, "GET", "/anything", "not-asked"),
    ],
)
def test_which_requests_ask_the_model(protocol: Protocol, method: str, path: str, said: str) -> None:
    found = headers(exchange(protocol), path, method)
    assert state(found) == said
    if said != "looks":
        assert found.mode_override.request_body_mode == ProcessingMode.NONE


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "looks"),
        ({"content-type": "application/json; charset=utf-8"}, "looks"),
        ({"content-type": ""}, "looks"),
        ({"content-type": "application/x-www-form-urlencoded"}, "looks"),
        ({"content-type": "text/plain; charset=utf-8"}, "looks"),
        ({"content-type": "application/octet-stream"}, "unchecked"),
        ({"content-type": "application/grpc"}, "unchecked"),
        ({"content-type": "multipart/form-data; boundary=x"}, "unchecked"),
        ({"inference-header-content-length": "10"}, "unchecked"),
        ({"content-length": str(LARGEST_ANSWER)}, "looks"),
        ({"content-length": str(LARGEST_ANSWER + 1)}, "unchecked"),
        ({"content-length": "9" * 4_000}, "unchecked"),
    ],
)
def test_which_requests_are_looked_at(more: dict[str, str], said: str) -> None:
    assert state(headers(exchange(), **more)) == said


def test_a_request_without_a_body_passes() -> None:
    assert state(headers(exchange(), end=True)) == "unchecked"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"amount": 3}', "passed"),
        (b'{"amount": NaN}', "unchecked"),
        (b"", "unchecked"),
        (b'{"amount": "\xff"}', "unchecked"),
        (b"[" * 100_000, "unchecked"),
        (b'{"amount": "3"}', "invalid"),
    ],
)
def test_bodies(text: bytes, said: str) -> None:
    assert state(body(exchange(reject=False), text)) == said


def test_a_part_of_a_body_is_not_judged() -> None:
    assert state(body(exchange(), b'{"amount": "3"}', end=False)) == "unchecked"


def test_a_refusal_names_the_column_and_no_value() -> None:
    found = body(exchange(), b'{"amount": "4111"}')
    assert state(found) == "rejected"
    said = found.immediate_response
    assert said.status.code == 422
    reason = "a value is no number"
    error = f"serin: the request is refused: amount: {reason}"
    assert json.loads(said.body) == {"error": error, "field": "amount", "reason": reason}
    assert {one.header.key: one.header.raw_value for one in said.headers.set_headers} == {
        "content-type": b"application/json",
        "x-serin-guard": b"invalid-input",
    }


@pytest.mark.parametrize("message", [b"\xff", ProcessingRequest().SerializeToString()])
def test_a_message_that_was_not_asked_for_is_none(message: bytes) -> None:
    with pytest.raises(ValueError):
        exchange().on_message(message)


PAIRING = Pairing(Protocol.JSON, (Comparison("a"),), "shop/fraud", 1, "key/new", "old", "new", 1.0)
RECORDING = Recording("shop", "fraud", Protocol.JSON, (Recorded("a", "a", labels=("b",)),))
WRITTEN = {
    RequestExchange: write_input(InputGuard(Protocol.JSON, (AMOUNT,))),
    Exchange: write_output(OutputGuard(Protocol.JSON, (Check("a", finite=True),))),
    Watched: write_pairing(PAIRING),
    RecordExchange: write_recording(RECORDING),
    Reviewed: write_reviewing(Reviewing("shop/fraud", Protocol.JSON, None, 1.0, (), ("a",), "proof")),
}
NOBODY = Reviews("", Pairs(0))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    found = Recorder(Counts())
    yield found
    found.stop()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    file = tmp_path / "key"
    file.write_bytes(b"k" * 32)
    return Keys(file)


def test_settings_say_what_is_looked_at(keys: Keys, recorder: Recorder) -> None:
    for kind, text in WRITTEN.items():
        assert isinstance(_begin(keys, Pairs(0), recorder, NOBODY, sign_settings(keys.key, text).encode(), ""), kind)


@pytest.mark.parametrize("text", WRITTEN.values())
def test_nobody_but_the_operator_says_it(keys: Keys, recorder: Recorder, text: str) -> None:
    signed = sign_settings(keys.key, text).encode()
    _begin(keys, Pairs(0), recorder, NOBODY, signed, "")
    for sent in (text.encode(), b"", sign_settings(b"o" * 32, text).encode()):
        with pytest.raises(ValueError, match="settings are"):
            _begin(keys, Pairs(0), recorder, NOBODY, sent, "")
    keys.key = b"n" * 32  # what was known before is known no more
    with pytest.raises(ValueError, match="settings are"):
        _begin(keys, Pairs(0), recorder, NOBODY, signed, "")


@pytest.mark.parametrize("text", WRITTEN.values())
def test_what_a_later_operator_asks_for_beside_is_not_passed_over(keys: Keys, recorder: Recorder, text: str) -> None:
    later = json.dumps(json.loads(text) | {"zzz": True}, separators=(",", ":"))
    with pytest.raises(ValueError, match=r"more than this guard knows|no settings of a guard"):
        _begin(keys, Pairs(0), recorder, NOBODY, sign_settings(keys.key, later).encode(), "")
