"""Answers that people look at, taken by a real guard behind a real Envoy, which counts what they say."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from serin.api.guard import Check, OutputGuard, Protocol
from serin.api.guard_inputs import Column, InputGuard
from serin.api.guard_review import (
    KEY,
    VERDICT,
    Confidence,
    Item,
    Part,
    ReviewGuard,
    Taken,
    item_proof,
    read_item,
    verdict_key,
)
from serin.routers.base import Told
from serin.routers.envoy.reviewing import tell
from serin.routers.envoy.routed_model import Review, RoutedModel
from tests.cluster.ports import free_port
from tests.integration.envoy_rig import CANDIDATE, STABLE, eventually, rig
from tests.integration.test_envoy_guard import INFER, LIMITS, MEBIBYTE, Guarded
from tests.integration.test_envoy_guard import KEY as KEY_OF_THE_GUARD

UID = "4f3c"
HOW = ReviewGuard(
    Protocol.OPEN_INFERENCE,
    share=100,
    per_hour=1,
    request=("amount",),
    answer=("label",),
    keep=10,
    expires=3600.0,
    confidence=Confidence("p", 0.6),
)
ASKED = json.dumps({"inputs": [{"name": "amount", "shape": [1], "data": [12.5]}, {"name": "who", "data": ["Alice"]}]})


def answering(p: float) -> object:
    async def answer(request: web.Request) -> web.StreamResponse:
        outputs = [{"name": "p", "shape": [1, 2], "data": [p, 1 - p]}, {"name": "label", "data": ["legit"]}]
        more = "x" * int(request.query.get("size", "0"))
        return web.json_response({"outputs": outputs, "more": more})

    return answer


@dataclass
class Reviewed:
    """What the guard has given."""

    guarded: Guarded
    items: list[Item] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.items.append(read_item(await request.json()))
        return web.Response(status=202)

    def model(self, weight: int, how: ReviewGuard = HOW, **more: object) -> RoutedModel:
        return replace(self.guarded.model(weight), guard=None, review=Review(how, UID), **more)

    async def heard(self, count: int) -> list[Item]:
        async def read() -> list[Item]:
            return self.items

        return await eventually(read, lambda found: len(found) >= count, seconds=20)

    async def ask(self, count: int, **arguments: object) -> Counter[int]:
        seen = Counter[int]()
        for _ in range(count):
            url = self.guarded.it.url + INFER
            async with self.guarded.it.client.post(url, data=ASKED, **arguments) as answer:  # type: ignore[arg-type]
                await answer.read()
                seen[answer.status] += 1
        return seen

    async def counted(self, series: str, snapshot: str) -> float:
        scrape = await self.guarded.it.envoy.scrape()
        return scrape.count(f"envoy_serin_{series}", serin_snapshot=snapshot)


@asynccontextmanager
async def reviewing(folder: Path) -> AsyncIterator[Reviewed]:
    port, key = free_port(), folder / "key"
    key.write_bytes(KEY_OF_THE_GUARD)
    found = Reviewed(None)  # type: ignore[arg-type]
    app = web.Application()
    app.router.add_post("/", found.handle)
    async with TestServer(app) as operator:
        words = ("-m", "serin", "guard", "--key-file", str(key), "--port", str(port), "--metrics-port", "0")
        words += ("--reviews", f"127.0.0.1:{operator.port}")
        process = await asyncio.create_subprocess_exec(sys.executable, *words)
        try:
            async with rig(folder, limits=LIMITS, guard=port) as it:
                it.stable.answer, it.candidate.answer = answering(0.52), answering(0.55)  # type: ignore[assignment]
                found.guarded = Guarded(it, process, 0)
                await found.guarded.route(found.model(50))
                await found.guarded.healthy()
                yield found
        finally:
            process.terminate()
            await process.wait()


async def test_doubtful_answers_of_each_version_reach_people_with_what_was_named_and_no_more(tmp_path: Path) -> None:
    async with reviewing(tmp_path) as it:
        assert await it.ask(40) == {200: 40}
        found = {one.snapshot: one for one in await it.heard(2)}
        assert set(found) == {STABLE, CANDIDATE}
        fields = (Taken(Part.REQUEST, "amount", "[12.5]"), Taken(Part.ANSWER, "label", '["legit"]'))
        assert {one.fields for one in found.values()} == {fields}
        assert (found[STABLE].confidence, found[CANDIDATE].confidence) == (0.52, 0.55)
        assert {one.proof for one in found.values()} == {item_proof(UID)}
        await it.ask(20)
        assert len(it.items) == 2  # one an hour of each

        # What the model is sure of, and what nobody asks it, is nobody's business.
        it.guarded.it.stable.answer = answering(0.9)  # type: ignore[assignment]
        await it.guarded.route(it.model(0, replace(HOW, per_hour=60, answer=("label", "p"))))
        await it.ask(20)
        assert len(it.items) == 2


async def test_checks_beside_it_and_answers_of_any_size_change_nothing_for_clients(tmp_path: Path) -> None:
    async with reviewing(tmp_path) as it:
        inputs = InputGuard(Protocol.OPEN_INFERENCE, (Column("amount"),))
        outputs = OutputGuard(Protocol.OPEN_INFERENCE, (Check("p", finite=True),))
        wanted = replace(it.model(0), inputs=inputs, guard=outputs)
        await it.guarded.route(wanted)
        await it.ask(5)
        assert len(await it.heard(1)) == 1
        for size, count in ((MEBIBYTE // 2, 2), (3 * MEBIBYTE, 4), (12 * MEBIBYTE, 8)):
            bodies = [it.ask(1, params={"size": str(size)}) for _ in range(count)]
            assert sum(await asyncio.gather(*bodies), Counter()) == {200: count}
        process = it.guarded.it.envoy.process
        assert process is not None
        assert process.returncode is None


async def test_what_people_say_counts_once_by_version_and_is_no_clients_request(tmp_path: Path) -> None:
    async with reviewing(tmp_path) as it:
        inputs = InputGuard(Protocol.OPEN_INFERENCE, (Column("amount"),))
        await it.guarded.route(it.model(50, inputs=inputs))
        port = it.guarded.it.port
        for snapshot, verdict in ((STABLE, "right"), (STABLE, "wrong"), (CANDIDATE, "wrong")):
            told = await tell("127.0.0.1", port, {KEY: verdict_key(KEY_OF_THE_GUARD, UID, snapshot), VERDICT: verdict})
            assert told is Told.COUNTED
        gone = await tell("127.0.0.1", port, {KEY: verdict_key(KEY_OF_THE_GUARD, UID, "gone"), VERDICT: "wrong"})
        assert gone is Told.UNKNOWN_VERSION
        assert await it.ask(1, headers={KEY: "forged", VERDICT: "wrong"}) == {404: 1}

        async def read() -> tuple[float, ...]:
            names = ("reviewed", "reviewed_wrong")
            return tuple([await it.counted(one, of) for of in (STABLE, CANDIDATE) for one in names])

        assert await eventually(read, lambda found: sum(found) >= 5) == (2, 1, 1, 1)
        for series in ("answers", "attempts", "failures", "inputs_checked", "inputs_unchecked"):
            assert await it.counted(series, STABLE) == await it.counted(series, CANDIDATE) == 0, series
        assert it.guarded.it.stable.truth["received"] == it.guarded.it.candidate.truth["received"] == 0
        assert it.items == []


async def test_a_router_that_is_not_there_or_does_not_know_it_has_counted_nothing(tmp_path: Path) -> None:
    assert await tell("127.0.0.1", free_port(), {KEY: "x", VERDICT: "wrong"}) is Told.NOT_SENT
    async with reviewing(tmp_path) as it:
        await it.guarded.route(replace(it.model(0), review=None))
        headers = {KEY: verdict_key(KEY_OF_THE_GUARD, UID, STABLE), VERDICT: "wrong"}
        assert await tell("127.0.0.1", it.guarded.it.port, headers) is Told.NOT_SENT

        async def closes(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(closes, "127.0.0.1", 0)
        async with server:
            assert await tell("127.0.0.1", server.sockets[0].getsockname()[1], headers) is Told.PERHAPS
