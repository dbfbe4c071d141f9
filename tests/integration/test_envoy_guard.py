"""The guard behind a real Envoy: bad answers reach no client, large ones hurt no router, what is unchecked counts."""

import asyncio
import gzip
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web

from serin.api.guard import Check, OutputGuard, Protocol
from serin.api.kill_switch import FixedAnswer
from serin.api.serving import Protocol as Spoken
from serin.api.serving import Serving
from serin.api.split import Mirror
from serin.routers.envoy.limits import Limits
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.settings import EnvoySettings, Shield
from tests.cluster.ports import free_port
from tests.integration.envoy_rig import CANDIDATE, STABLE, Rig, eventually, model, rig
from tests.integration.test_envoy_protocols import speaking

INFER = "/v2/models/fraud/infer"
MEBIBYTE = 1024 * 1024
GUARD = OutputGuard(Protocol.OPEN_INFERENCE, (Check("score", finite=True, minimum=0.0, maximum=1.0),))
KEY = b"k" * 32
# Patient, as the machine may be busy: what the guard is shown is checked.
LIMITS = Limits(guard=5_000)
FIRST = {"serin_attempt": "first"}


def scores(value: object) -> bytes:
    """An answer of the model. Python writes NaN as many servers do, which is no JSON."""
    outputs = [{"name": "score", "datatype": "FP32", "shape": [1], "data": [value]}]
    return json.dumps({"model_name": "fraud", "outputs": outputs}).encode()


async def answer(request: web.Request) -> web.StreamResponse:
    """What the query says: ?size=BYTES, ?chunked, ?gzip, ?stream; a good answer without."""
    query, body = request.query, scores(0.5)
    if "stream" in query:
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"data: one\n\n")
        await asyncio.sleep(1.0)
        await stream.write_eof()
        return stream
    if "size" in query:
        body = body[:-1] + b', "more": "' + b"x" * int(query["size"]) + b'"}'
    headers = {"content-type": "application/json", "x-serin-guard": "passed"}  # which the guard alone may say
    if "gzip" in query:
        body, headers["content-encoding"] = gzip.compress(body), "gzip"
    if "chunked" not in query:
        return web.Response(body=body, headers=headers)
    chunked = web.StreamResponse(headers=headers)
    await chunked.prepare(request)
    await chunked.write(body)
    await chunked.write_eof()
    return chunked


async def bad(_: web.Request) -> web.StreamResponse:
    return web.Response(body=scores(float("nan")), content_type="application/json")


@dataclass
class Guarded:
    """A guard process beside the rig."""

    it: Rig
    process: asyncio.subprocess.Process
    metrics_port: int

    async def route(self, wanted: RoutedModel, key: bytes = KEY) -> None:
        wanted = wanted.signed(key)
        self.it.xds.update([wanted])
        await self.it.served(wanted)
        await self.it.envoy.listens(wanted, LIMITS)

    def model(self, weight: int, settings: EnvoySettings | None = None) -> RoutedModel:
        plain = model(self.it.port, (self.it.stable,), (self.it.candidate,), weight, settings)
        return replace(plain, guard=GUARD)

    async def healthy(self, wanted: bool = True) -> None:
        """Wait until Envoy takes the guard for well, or for gone."""

        async def state() -> bool:
            _, text = await self.it.envoy.get("/clusters", self.it.envoy.admin_port)
            lines = [one for one in text.splitlines() if one.startswith("serin-guard::") and "health_flags" in one]
            return bool(lines) and all(one.endswith("healthy") for one in lines)

        await eventually(state, lambda found: found is wanted)

    async def ask(self, path: str, count: int = 1) -> Counter[tuple[int, str, int]]:
        """Status, the guard's mark, and bytes of answers to requests that are sent at once."""

        async def one() -> tuple[int, str, int]:
            async with self.it.client.post(self.it.url + path, data=b"{}") as response:
                return response.status, response.headers.get("x-serin-guard", "-"), len(await response.read())

        return Counter(await asyncio.gather(*(one() for _ in range(count))))

    async def counted(self, series: str, snapshot: str, wanted: int) -> float:
        read = lambda: self.it.envoy.count(f"envoy_serin_{series}", serin_snapshot=snapshot, **FIRST)  # noqa: E731
        return await eventually(read, lambda found: found >= wanted, seconds=20)


@asynccontextmanager
async def guarded(folder: Path, weight: int = 50, settings: EnvoySettings | None = None) -> AsyncIterator[Guarded]:
    port, metrics_port, key = free_port(), free_port(), folder / "key"
    key.write_bytes(KEY)
    words = ("-m", "serin", "guard", "--key-file", str(key))
    words += ("--port", str(port), "--metrics-port", str(metrics_port))
    process = await asyncio.create_subprocess_exec(sys.executable, *words)
    try:
        async with rig(folder, limits=LIMITS, guard=port) as it:
            it.stable.answer = it.candidate.answer = answer
            found = Guarded(it, process, metrics_port)
            await found.route(found.model(weight, settings))
            await found.healthy()
            yield found
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        assert await process.wait() in (0, -signal.SIGKILL)


async def test_a_bad_answer_of_the_candidate_is_answered_by_stable_and_counted(tmp_path: Path) -> None:
    async with guarded(tmp_path) as it:
        it.it.candidate.answer = bad
        count = 400
        seen = await it.it.send(count, path=INFER)
        asked = it.it.candidate.truth["answered"]
        assert (seen["200"], seen[STABLE], seen["shielded"]) == (count, count, asked)
        assert asked > count / 4
        for series in ("checked", "bad_outputs", "failures", "attempts"):
            assert await it.counted(series, CANDIDATE, asked) == asked
        assert await it.counted("checked", STABLE, count - asked) == count - asked
        scrape = await it.it.envoy.scrape()
        assert scrape.count("envoy_serin_bad_outputs", serin_snapshot=STABLE) == 0
        assert scrape.count("envoy_serin_unchecked") == 0
        assert scrape.count("envoy_serin_answer_failures") == 0


async def test_a_bad_answer_that_nobody_stands_in_for_is_a_502_that_says_why(tmp_path: Path) -> None:
    async with guarded(tmp_path, weight=0) as it:
        it.it.stable.answer = bad
        async with it.it.client.post(it.it.url + INFER, data=b"{}") as response:
            assert (response.status, response.headers["content-type"]) == (502, "text/plain")
            text = await response.text()
        assert text.startswith("serin: the model's answer is refused: the answer is no JSON")
        assert await it.counted("bad_outputs", STABLE, 1) == 1
        assert await it.counted("failures", STABLE, 1) == 1
        it.it.stable.answer = lambda _: asyncio.sleep(
            0, web.Response(body=scores(1.5), content_type="application/json")
        )
        async with it.it.client.post(it.it.url + INFER, data=b"{}") as response:
            assert (response.status, await response.text()) == (
                502,
                "serin: the model's answer is refused: score: a number is more than 1\n",
            )


@pytest.mark.parametrize("status", [200, 503])
async def test_where_no_answer_is_good_clients_get_the_fallback_and_it_counts_against_the_versions(
    tmp_path: Path, status: int
) -> None:
    said = '{"label": "unknown", "share": "100 %REQ(x)%"}'
    fallback = FixedAnswer(status, "application/json; charset=utf-8", said)
    async with guarded(tmp_path, weight=0) as it:

        async def ask(weight: int) -> tuple[int, str, str, str]:
            plain = it.model(weight)
            await it.route(replace(plain, guard=replace(GUARD, fallback=fallback)))
            async with it.it.client.post(it.it.url + INFER, data=b"{}") as response:
                headers = response.headers
                return response.status, headers["content-type"], headers["x-serin-guard"], await response.text()

        assert (await ask(100))[0::2] == (200, "passed")
        it.it.candidate.answer = bad
        assert (await ask(100))[0::2] == (200, "passed"), "stable answers in its place"
        it.it.stable.answer = bad
        for weight in (100, 0):
            assert await ask(weight) == (status, fallback.content_type, "fallback", said)
        assert await it.counted("bad_outputs", CANDIDATE, 2) == 2
        assert await it.counted("failures", CANDIDATE, 2) == 2
        read = lambda: it.it.envoy.count("envoy_serin_failures", serin_snapshot=STABLE)  # noqa: E731
        assert await eventually(read, lambda found: found >= 2) == 2
        assert await it.it.envoy.count("envoy_serin_answer_failures") == (2 if status == 503 else 0)
        # What the model itself says in that name is no reason for it.
        it.it.stable.answer = lambda _: asyncio.sleep(
            0, web.Response(body=scores(0.5), content_type="application/json", headers={"x-serin-guard": "failed"})
        )
        assert (await ask(0))[0::2] == (200, "passed")


async def test_only_answers_of_the_model_are_looked_at(tmp_path: Path) -> None:
    async with guarded(tmp_path) as it:
        it.it.stable.answer = it.it.candidate.answer = bad
        assert set(await it.ask("/predict", 10)) == {(200, "not-asked", len(scores(float("nan"))))}
        async with it.it.client.get(it.it.url + "/v2/models/fraud") as response:
            assert (response.status, response.headers["x-serin-guard"]) == (200, "not-asked")
        it.it.stable.error_share = it.it.candidate.error_share = 1.0
        assert {(status, mark) for status, mark, _ in await it.ask(INFER, 4)} == {(500, "-")}
        assert (await it.it.envoy.scrape()).count("envoy_serin_checked") == 0
        assert (await it.it.envoy.scrape()).count("envoy_serin_unchecked") == 0


async def test_compressed_answers_are_looked_at(tmp_path: Path) -> None:
    async with guarded(tmp_path) as it:
        assert {(status, mark) for status, mark, _ in await it.ask(f"{INFER}?gzip", 10)} == {(200, "passed")}


@pytest.mark.parametrize("kind", ["", "&chunked"])
async def test_answers_of_any_size_pass_and_the_router_lives(tmp_path: Path, kind: str) -> None:
    """Without `NO_FLOW_CONTROL` in the bootstrap Envoy ends here with a segmentation fault."""
    async with guarded(tmp_path) as it:
        for size, count in ((MEBIBYTE // 2, 4), (3 * MEBIBYTE, 4), (17 * MEBIBYTE, 1), (12 * MEBIBYTE, 24)):
            length = len(scores(0.5)) + len(', "more": ""') + size
            found = await it.ask(f"{INFER}?size={size}{kind}", count)
            assert {(status, length) for status, _, length in found} == {(200, length)}
            marks = {mark for _, mark, _ in found}
            assert marks <= ({"passed"} if size < MEBIBYTE else {"unchecked", "-"})
        large = 4 + 1 + 24
        read = lambda: it.it.envoy.count("envoy_serin_unchecked")  # noqa: E731
        assert await eventually(read, lambda found: found >= large) == large
        assert it.it.envoy.process is not None
        assert it.it.envoy.process.returncode is None


async def test_an_event_stream_begins_at_once(tmp_path: Path) -> None:
    async with guarded(tmp_path) as it, it.it.client.post(f"{it.it.url}{INFER}?stream", data=b"{}") as response:
        assert response.headers["x-serin-guard"] == "unchecked"
        async with asyncio.timeout(0.9):  # the stream ends after a second
            assert await response.content.readline() == b"data: one\n"


async def test_a_web_socket_passes(tmp_path: Path) -> None:
    async with guarded(tmp_path, weight=0) as it, it.it.client.ws_connect(f"{it.it.url}/socket") as socket:
        await socket.send_str("hello")
        async with asyncio.timeout(20):
            assert await socket.receive_str() == "stable hello"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_no_request_fails_while_the_guard_is_away_and_all_are_counted(
    tmp_path: Path, end: signal.Signals
) -> None:
    async with guarded(tmp_path) as it:
        async with it.it.traffic(rate=100) as seen:
            await asyncio.sleep(0.5)
            it.process.send_signal(end)
            await it.healthy(False)
            await asyncio.sleep(0.5)
        assert seen["200"] == seen["sent"]
        assert set(await it.ask(INFER, 20)) == {(200, "-", len(scores(0.5)))}
        scrape = await it.it.envoy.scrape()
        answered = it.it.stable.truth["answered"] + it.it.candidate.truth["answered"]
        assert scrape.count("envoy_serin_unchecked") >= 20
        everything = scrape.count("envoy_serin_unchecked") + scrape.count("envoy_serin_checked")
        # `traffic` asks at a path that is no inference's: with the guard there it says so.
        assert everything <= answered


async def test_a_router_whose_guard_was_taken_away_serves(tmp_path: Path) -> None:
    async with rig(tmp_path, limits=LIMITS) as it:
        wanted = replace(model(it.port, (it.stable,), (it.candidate,), 50), guard=GUARD)
        it.xds.update([wanted])
        await it.served(wanted)
        await it.envoy.listens(wanted, LIMITS)
        seen = await it.send(40, path=INFER)
        assert (seen["200"], seen["shielded"]) == (40, 0)
        read = lambda: it.envoy.count("envoy_serin_unchecked")  # noqa: E731
        assert await eventually(read, lambda found: found >= 40) == 40


async def test_copies_are_looked_at(tmp_path: Path) -> None:
    async with guarded(tmp_path, weight=0) as it:
        it.it.candidate.answer = bad
        await it.route(replace(it.model(0), mirror=Mirror(CANDIDATE, 100)))
        seen = await it.it.send(50, path=INFER)
        assert (seen["200"], seen[STABLE]) == (50, 50)
        copies = await eventually(lambda: it.it.candidate.count("answered"), lambda found: found == 50)
        for series in ("bad_outputs", "failures"):
            assert await it.counted(series, CANDIDATE, copies) == copies


async def test_versions_that_speak_different_protocols_are_looked_at(tmp_path: Path) -> None:
    async with guarded(tmp_path) as it, speaking(tmp_path, it.it.candidate, Spoken.HTTP2) as endpoint:
        it.it.candidate.answer = bad
        plain = it.model(100)
        arms = [replace(one, snapshot=f"{one.snapshot}-new") for one in plain.arms]
        arms[1] = replace(arms[1], endpoints=(endpoint,), serving=Serving(Spoken.HTTP2))
        await it.route(replace(plain, arms=tuple(arms), stable=arms[0].snapshot))
        seen = await it.it.send(50, path=INFER)
        assert (seen["200"], seen["shielded"]) == (50, 50)
        assert await it.counted("bad_outputs", arms[1].snapshot, 50) == 50


async def test_without_a_shield_the_client_sees_the_502(tmp_path: Path) -> None:
    async with guarded(tmp_path, 100, EnvoySettings(shield=Shield.OFF)) as it:
        it.it.candidate.answer = bad
        assert {(status, mark) for status, mark, _ in await it.ask(INFER, 10)} == {(502, "failed")}


async def test_what_is_signed_with_another_key_is_not_done_until_the_guard_has_it(tmp_path: Path) -> None:
    """As when the key is exchanged, or somebody else asks the guard: it passes, and is counted as unchecked."""
    async with guarded(tmp_path) as it:
        it.it.candidate.answer = bad
        marks = lambda: it.ask(INFER, 10)  # noqa: E731
        other = b"o" * 32
        await it.route(it.model(50), other)
        await eventually(marks, lambda found: {(status, mark) for status, mark, _ in found} == {(200, "-")})
        assert await it.it.envoy.count("envoy_serin_unchecked") >= 10
        (tmp_path / "key").write_bytes(other)
        await eventually(marks, lambda found: {(status, mark) for status, mark, _ in found} == {(200, "passed")})
