"""Requests before a real Envoy chooses a pod: invalid ones reach no model and count against none, all others pass."""

import asyncio
import gzip
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from serin.api.guard import Check, OutputGuard, Protocol
from serin.api.guard_inputs import Column, InputGuard, Type
from serin.api.split import Mirror, Sticky
from serin.routers.envoy.settings import EnvoySettings
from tests.integration.envoy_rig import CANDIDATE, STABLE, eventually
from tests.integration.test_envoy_guard import INFER, MEBIBYTE, Guarded, answer, guarded

AMOUNT = Column("amount 100 %REQ(x)%", type=Type.NUMBER, minimum=0.0, maximum=100.0)
INPUTS = InputGuard(Protocol.OPEN_INFERENCE, (AMOUNT,), rows=4)
JSON = {"content-type": "application/json"}


def inputs(*values: object, more: int = 0) -> bytes:
    tensor = {"name": AMOUNT.name, "datatype": "FP32", "shape": [len(values)], "data": values}
    return json.dumps({"inputs": [tensor], "id": "x" * more}).encode()


VALID, INVALID = inputs(1, 2.5), inputs(1, 1000)


class Inputs:
    """Requests to a deployment whose requests are checked."""

    def __init__(self, it: Guarded, guard: InputGuard) -> None:
        self.it, self.guard = it, guard
        self.rig = it.it

    async def route(self, weight: int = 50, settings: EnvoySettings | None = None, **more: object) -> None:
        wanted = replace(self.it.model(weight, settings), guard=None, inputs=self.guard)
        await self.it.route(replace(wanted, **more))  # type: ignore[arg-type]

    async def post(self, body: bytes, path: str = INFER, **headers: str) -> tuple[int, str, str]:
        """Status, snapshot and text."""
        sent = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.rig.client.post(self.rig.url + path, data=body, headers=sent) as response:
            return response.status, response.headers.get("x-serin-snapshot", "-"), await response.text()

    async def counts(self, **wanted: int) -> None:
        """Wait until the router has counted so many; of what is not named, none."""
        names = ("inputs_checked", "invalid_inputs", "inputs_unchecked", "answers", "answer_failures", "attempts")

        async def read() -> dict[str, int]:
            scrape = await self.rig.envoy.scrape()
            return {one: found for one in names if (found := int(scrape.count(f"envoy_serin_{one}")))}

        await eventually(read, lambda found: found == wanted, seconds=30)

    @property
    def asked(self) -> int:
        return self.rig.stable.truth["received"] + self.rig.candidate.truth["received"]


@asynccontextmanager
async def checked(folder: Path, guard: InputGuard = INPUTS, weight: int = 50) -> AsyncIterator[Inputs]:
    async with guarded(folder, weight) as it:
        found = Inputs(it, guard)
        await found.route(weight)
        yield found


async def test_an_invalid_request_reaches_no_model_and_counts_against_none(tmp_path: Path) -> None:
    async with checked(tmp_path) as it:
        found = await asyncio.gather(*(it.post(INVALID) for _ in range(40)))
        assert {(status, snapshot) for status, snapshot, _ in found} == {(422, "-")}
        assert json.loads(found[0][2]) == {
            "error": f"serin: the request is refused: {AMOUNT.name}: a number is more than 100",
            "field": AMOUNT.name,
            "reason": "a number is more than 100",
        }
        assert it.asked == 0
        await it.counts(inputs_checked=40, invalid_inputs=40)
        assert {(await it.post(VALID))[0] for _ in range(10)} == {200}
        assert it.asked == 10
        await it.counts(inputs_checked=50, invalid_inputs=40, answers=10, attempts=10)
        for series in ("failures", "rejections", "hedged"):
            assert await it.rig.envoy.count(f"envoy_serin_{series}") == 0


async def test_the_mark_of_a_refusal_is_a_header(tmp_path: Path) -> None:
    async with (
        checked(tmp_path) as it,
        it.rig.client.post(it.rig.url + INFER, data=INVALID, headers=JSON) as response,
    ):
        assert (response.headers["x-serin-guard"], response.content_type) == ("invalid-input", "application/json")
        assert "x-serin-shielded" not in response.headers


async def test_neither_the_shield_nor_a_hedge_sees_a_refusal(tmp_path: Path) -> None:
    async with checked(tmp_path) as it:
        await it.route(
            100, EnvoySettings(hedge_after=0.05), guard=OutputGuard(Protocol.JSON, (Check("a", finite=True),))
        )
        assert {(await it.post(INVALID))[0] for _ in range(10)} == {422}
        await it.counts(inputs_checked=10, invalid_inputs=10)
        assert it.asked == 0


async def test_count_lets_them_pass(tmp_path: Path) -> None:
    async with checked(tmp_path, replace(INPUTS, reject=False)) as it:
        seen = Counter([(await it.post(INVALID))[0] for _ in range(20)])
        assert (seen, it.asked) == ({200: 20}, 20)
        await it.counts(inputs_checked=20, invalid_inputs=20, answers=20, attempts=20)


@pytest.mark.parametrize(
    ("body", "path", "headers", "unchecked"),
    [
        (b"no json", INFER, {}, 1),
        (INVALID, INFER, {"content_type": "image/png"}, 1),
        (inputs(1000, more=2 * MEBIBYTE), INFER, {}, 1),
        (INVALID, "/predict", {}, 0),
    ],
)
async def test_what_cannot_be_looked_at_passes(
    tmp_path: Path, body: bytes, path: str, headers: dict[str, str], unchecked: int
) -> None:
    async with checked(tmp_path, weight=0) as it:
        it.rig.stable.answer = lambda _: asyncio.sleep(0, web.Response(text="seen"))
        assert await it.post(body, path, **headers) == (200, STABLE, "seen")
        await it.counts(answers=1, attempts=1, **({"inputs_unchecked": 1} if unchecked else {}))


async def test_compressed_requests_are_looked_at(tmp_path: Path) -> None:
    async with checked(tmp_path) as it:
        assert (await it.post(gzip.compress(INVALID), content_encoding="gzip"))[0] == 422
        assert it.asked == 0


async def test_every_byte_of_a_request_reaches_the_model(tmp_path: Path) -> None:
    """Also of those that are larger than the router's buffers, whole and in chunks."""
    async with checked(tmp_path) as it:
        it.rig.stable.answer = it.rig.candidate.answer = None

        async def pieces(body: bytes) -> AsyncIterator[bytes]:
            for start in range(0, len(body), 100_000):
                yield body[start : start + 100_000]

        for size, count in ((0, 2), (MEBIBYTE // 2, 4), (3 * MEBIBYTE, 4), (12 * MEBIBYTE, 24)):
            body = inputs(1.5, more=size)

            async def one(chunked: bool, body: bytes = body) -> tuple[int, int]:
                data = pieces(body) if chunked else body
                async with it.rig.client.post(it.rig.url + INFER, data=data, headers=JSON) as response:
                    return response.status, (await response.json())["bytes"]

            found = await asyncio.gather(*(one(bool(number % 2)) for number in range(count)))
            assert set(found) == {(200, len(body))}
        assert it.rig.envoy.process is not None
        assert it.rig.envoy.process.returncode is None
        await it.counts(inputs_checked=6, inputs_unchecked=28, answers=34, attempts=34)


async def test_an_event_stream_and_a_web_socket_pass(tmp_path: Path) -> None:
    async with checked(tmp_path, weight=0) as it:
        it.rig.stable.answer = answer
        async with it.rig.client.post(f"{it.rig.url}{INFER}?stream", data=VALID, headers=JSON) as response:
            async with asyncio.timeout(0.9):  # the stream ends after a second
                assert await response.content.readline() == b"data: one\n"
        async with it.rig.client.ws_connect(f"{it.rig.url}/socket") as socket:
            await socket.send_str("hello")
            async with asyncio.timeout(20):
                assert await socket.receive_str() == "stable hello"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_no_request_fails_while_the_guard_is_away_and_all_are_counted(
    tmp_path: Path, end: signal.Signals
) -> None:
    async with checked(tmp_path) as it:
        it.it.process.send_signal(end)
        found = await asyncio.gather(*(it.post(INVALID) for _ in range(10)))
        assert {status for status, _, _ in found} == {200}
        await it.it.healthy(False)
        found = await asyncio.gather(*(it.post(INVALID) for _ in range(10)))
        assert {status for status, _, _ in found} == {200}
        await it.counts(inputs_unchecked=20, answers=20, attempts=20)


async def test_completions_are_looked_at_and_their_streams_pass_at_once(tmp_path: Path) -> None:
    """Of one API: an invalid request is refused, a bad answer too, and an event stream begins unchecked."""
    tokens = Column("max_tokens", type=Type.INTEGER, maximum=64.0)
    inputs = InputGuard(Protocol.OPEN_AI, (tokens,), rows=2, schema='{"properties":{"n":{"const":1}}}')
    reasons = Check("choices[].finish_reason", labels=frozenset({"stop"}))
    usage = '{"properties":{"usage":{"required":["total_tokens"]}}}'
    outputs = OutputGuard(Protocol.OPEN_AI, (reasons,), usage)
    chat = "/v1/chat/completions"

    def body(tokens: int, **more: object) -> bytes:
        return json.dumps({"messages": [{"role": "user", "content": "a"}], "max_tokens": tokens, **more}).encode()

    async def model(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if asked.get("stream"):
            stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await stream.prepare(request)
            await stream.write(b"data: {}\n\n")
            await asyncio.sleep(1.0)
            return stream
        reason = "length" if asked.get("max_tokens") == 1 else "stop"
        said = {"usage": {}} if asked.get("max_tokens") == 2 else {}
        return web.json_response(said | {"choices": [{"message": {"content": "b"}, "finish_reason": reason}]})

    async with checked(tmp_path, inputs, weight=0) as it:
        await it.route(0, guard=outputs)
        it.rig.stable.answer = model
        status, snapshot, text = await it.post(body(65), chat)
        assert (status, snapshot, json.loads(text)["field"]) == (422, "-", "max_tokens")
        status, _, text = await it.post(body(16, n=7), chat)
        assert (status, json.loads(text)["error"]) == (
            422,
            "serin: the request is refused: n: it is not the value of const",
        )
        assert (await it.post(body(16, n=1), chat))[0] == 200
        for asked, wrong in (
            (1, "choices[].finish_reason: it is none of the labels"),
            (2, "usage.total_tokens: it is missing"),
        ):
            status, _, text = await it.post(body(asked), chat)
            assert (status, text) == (502, f"serin: the model's answer is refused: {wrong}\n")
        async with it.rig.client.post(it.rig.url + chat, data=body(16, stream=True), headers=JSON) as response:
            assert (response.status, response.headers["x-serin-guard"]) == (200, "unchecked")
            async with asyncio.timeout(0.9):  # the stream ends after a second
                assert await response.content.readline() == b"data: {}\n"
        assert (await it.post(b'{"input": "a"}', "/v1/embeddings"))[0] == 200
        await it.counts(inputs_checked=6, invalid_inputs=2, answers=5, answer_failures=2, attempts=5)
        assert await it.rig.envoy.count("envoy_serin_unchecked") == 1


async def test_no_copy_is_made_of_a_refused_request(tmp_path: Path) -> None:
    async with checked(tmp_path, weight=0) as it:
        await it.route(0, mirror=Mirror(CANDIDATE, 100))
        assert {(await it.post(INVALID))[0] for _ in range(5)} == {422}
        assert (await it.post(VALID))[0] == 200
        await eventually(lambda: it.rig.candidate.count("received"), lambda found: found == 1)
        assert it.rig.stable.truth["received"] == 1


async def test_users_keep_their_version(tmp_path: Path) -> None:
    async with checked(tmp_path) as it:
        await it.route(50, sticky=Sticky(cookie="user"))
        assert (await it.post(INVALID, cookie="user=1"))[0] == 422
        assert (await it.post(VALID, cookie="user=1"))[0] == 200
        assert it.asked == 1


async def test_a_router_whose_guard_was_taken_away_serves(tmp_path: Path) -> None:
    """The bootstrap names no guard any more while a listener still asks it."""
    async with checked(tmp_path) as it:
        it.it.process.send_signal(signal.SIGKILL)
        await it.it.process.wait()
        assert (await it.post(VALID))[0] == 200
