"""Which answers people look at, what of them leaves the guard, and the bounds of it."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web

from serin.api.guard import LARGEST_ANSWER, Protocol
from serin.api.guard_agreement import KEY as AGREEMENT_KEY
from serin.api.guard_review import (
    KEY,
    LARGEST_ITEM,
    LONGEST_FIELD,
    Confidence,
    Item,
    Numbers,
    Part,
    Reviewing,
    Taken,
    read_item,
    write_item,
)
from serin.guard.pairs import Pairs
from serin.guard.reviewed import MOST_OF_ONE, Reviewed, Reviews
from serin.guard.selection import selected
from tests.integration.envoy_rig import eventually
from tests.unit.guard.test_watched import body, headers

HOW = Reviewing(
    name="shop/fraud",
    protocol=Protocol.OPEN_INFERENCE,
    confidence=Confidence("p", 0.6),
    pause=3600.0,
    request=("amount",),
    answer=("label",),
    proof="proof",
)
SURE, UNSURE = [[0.9, 0.1]], [[0.52, 0.48]]


def asked(amount: object = 12.5) -> bytes:
    return json.dumps({"inputs": [{"name": "amount", "shape": [1], "data": [amount]}, {"name": "who"}]}).encode()


def answered(p: Any = UNSURE, label: object = "legit") -> bytes:
    outputs = [{"name": "p", "shape": [1, 2], "data": p}, {"name": "label", "shape": [1], "data": [label]}]
    return json.dumps({"outputs": outputs}).encode()


def look(request: bytes, answer: bytes, how: Reviewing = HOW) -> Any:
    return selected(request, "", (answer, ""), how)


# ── Selection ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_that_the_model_is_not_sure_of_is_taken_with_what_was_named() -> None:
    assert look(asked(), answered(SURE)) is None
    taken = (Taken(Part.REQUEST, "amount", "[12.5]"), Taken(Part.ANSWER, "label", '["legit"]'))
    assert look(asked(), answered()) == (0.52, taken)
    assert look(asked(), answered(SURE), replace(HOW, confidence=None)) == (None, taken)
    zipped = selected(gzip.compress(asked()), "gzip", (gzip.compress(answered()), "gzip"), HOW)
    assert zipped == (0.52, taken)


@pytest.mark.parametrize(
    ("p", "of", "sure"),
    [
        ([[0.9, 0.1], [0.45, 0.55]], Numbers.CLASSES, 0.55),  # the least sure row
        ([0.45, 0.55], Numbers.CLASSES, 0.55),  # one row
        ([0.45, 0.55], Numbers.ROWS, 0.45),
        ([[0.3], [0.5]], Numbers.CLASSES, 0.3),
        ([0.5, None, "x", True], Numbers.ROWS, 0.5),
    ],
)
def test_an_answer_is_as_sure_as_its_least_sure_row(p: Any, of: Numbers, sure: float) -> None:
    how = replace(HOW, confidence=Confidence("p", 0.6, of))
    assert look(asked(), answered(p), how)[0] == sure


@pytest.mark.parametrize("p", [[], [None], ["a"], None, [[], []]])
def test_without_a_number_nothing_is_known(p: Any) -> None:
    assert look(asked(), answered(p)) is None


@pytest.mark.parametrize(
    ("protocol", "question", "answer", "paths"),
    [
        (Protocol.KSERVE_V1, {"instances": [{"a": 1}]}, {"predictions": [{"l": 2}]}, ("[].a", "[].l")),
        (Protocol.JSON, {"a": [1]}, {"l": [2]}, ("a", "l")),
        (Protocol.OPEN_AI, {"a": [1]}, {"choices": [{}], "l": [2]}, ("a", "l")),
    ],
)
def test_paths_begin_where_the_protocol_says(
    protocol: Protocol, question: Any, answer: Any, paths: tuple[str, str]
) -> None:
    how = replace(HOW, protocol=protocol, confidence=None, request=paths[:1], answer=paths[1:])
    _, fields = look(json.dumps(question).encode(), json.dumps(answer).encode(), how)
    assert [one.value for one in fields] == ["[1]", "[2]"]


def test_what_is_not_there_or_too_long_is_left_out_whole() -> None:
    how = replace(HOW, request=("amount", "who", "nothing"))
    _, fields = look(asked("x" * LONGEST_FIELD), answered(), how)
    assert [one.value for one in fields] == [None, None, None, '["legit"]']
    many = replace(HOW, request=("amount",) * 4, answer=("label",))
    _, fields = look(asked("x" * (LONGEST_FIELD - 10)), answered(), many)
    assert [one.value is None for one in fields] == [False, False, False, True, False]


def test_what_is_nested_more_deeply_than_it_can_be_written_is_left_out() -> None:
    deep: object = 1.0
    for _ in range(300):
        deep = [deep]
    sure, fields = look(asked(deep), answered())
    assert (sure, [one.value for one in fields]) == (0.52, [None, '["legit"]'])


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"no", answered()),
        (asked(), b"{"),
        (asked(), b"[]"),
        (asked(), json.dumps({"outputs": [{"name": "p", "data": [0.1] * 60_000}]}).encode()),
        (b"[" * 5000, answered()),
        (json.dumps({"inputs": [{"name": "amount", "data": [1] * 60_000}]}).encode(), answered()),
    ],
)
def test_what_cannot_be_looked_at_is_not_shown(request_: bytes, answer: bytes) -> None:
    begun = time.monotonic()
    assert look(request_, answer) is None
    assert time.monotonic() - begun < 5


# ── On the way ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Operator:
    """Takes items, as the intake does. `status`: its answer."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.status = 202
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.items.append(read_item(await request.json()))
        return web.Response(status=self.status)

    async def heard(self, count: int = 1) -> list[Item]:
        async def read() -> list[Item]:
            return self.items

        return await eventually(read, lambda found: len(found) >= count, seconds=20)


@asynccontextmanager
async def reviewing() -> AsyncIterator[tuple[Operator, Reviews, Pairs]]:
    operator = Operator()
    app = web.Application()
    app.router.add_post("/", operator.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    operator.port = runner.addresses[0][1]
    pairs = Pairs(10 * 1024 * 1024)
    reviews = Reviews(f"127.0.0.1:{operator.port}", pairs)
    try:
        yield operator, reviews, pairs
    finally:
        await reviews.stop()
        await pairs.stop()
        await runner.cleanup()
        assert pairs._room.held.total() == 0
        assert not reviews._under_way.by_name


async def at_rest(reviews: Reviews) -> None:
    async def read() -> int:
        return len(reviews._under_way.tasks)

    await eventually(read, lambda found: found == 0, seconds=20)


def show(reviews: Reviews, snapshot: str = "fraud-a", how: Reviewing = HOW, answer: bytes = b"", **more: str) -> None:
    seen = Reviewed(how, reviews)
    said = {"x_serin_snapshot": snapshot}
    messages = [headers("request_headers", **more)]
    messages += [body("request_body", asked())] if how.request else []
    messages += [headers("response_headers", **said), body("response_body", answer or answered())]
    for message in messages:
        if seen.on_message(message) is None:
            break
    seen.closed()


async def test_a_version_has_one_item_in_a_while_and_nothing_more_leaves_the_guard() -> None:
    async with reviewing() as (operator, reviews, _):
        for _ in range(3):
            show(reviews)
            await at_rest(reviews)
        show(reviews, "fraud-b", replace(HOW, request=()))
        found = await operator.heard(2)
        await at_rest(reviews)
        assert [(one.snapshot, one.confidence) for one in found] == [("fraud-a", 0.52), ("fraud-b", 0.52)]
        assert found[0].fields == (Taken(Part.REQUEST, "amount", "[12.5]"), Taken(Part.ANSWER, "label", '["legit"]'))
        assert found[1].fields == (Taken(Part.ANSWER, "label", '["legit"]'),)


async def test_the_longest_item_of_any_script_is_taken_whole() -> None:
    long = "\U0001f600" * (LONGEST_FIELD - 8)
    how = replace(HOW, answer=("label",) * 3)
    async with reviewing() as (operator, reviews, _):
        show(reviews, how=how, answer=answered(label=long))
        [item] = await operator.heard()
        assert [one.value for one in item.fields if one.part is Part.ANSWER] == [f'["{long}"]'] * 3
        assert len(orjson.dumps(write_item(item))) < LARGEST_ITEM


async def test_of_a_requests_headers_only_what_is_asked_of_later_is_held() -> None:
    async with reviewing() as (_, reviews, pairs):
        seen = Reviewed(HOW, reviews)
        assert seen.on_message(headers("request_headers", authorization="x" * 50_000, content_encoding="gzip")) == b""
        assert 0 < pairs._room.held.total() < 10_000
        seen.closed()


async def test_what_a_model_is_sure_of_takes_no_turn() -> None:
    async with reviewing() as (operator, reviews, _):
        for _ in range(MOST_OF_ONE):
            show(reviews, answer=answered(SURE))
        await at_rest(reviews)
        assert operator.items == []
        show(reviews)
        assert len(await operator.heard()) == 1


@pytest.mark.parametrize("own", [KEY, AGREEMENT_KEY])
async def test_requests_of_the_guard_and_the_operator_are_not_shown(own: str) -> None:
    async with reviewing() as (operator, reviews, _):
        show(reviews, **{own.replace("-", "_"): "proof/fraud-a"})
        show(reviews, "")
        show(reviews, "%x")
        await at_rest(reviews)
        assert operator.items == []


async def test_what_the_operator_does_not_take_is_gone_and_the_next_item_says_so() -> None:
    async with reviewing() as (operator, reviews, _):
        how = replace(HOW, pause=0.0)
        for status in (503, 429, 202):
            operator.status = status
            show(reviews, how=how)
            await operator.heard(len(operator.items) + 1)
            await at_rest(reviews)
        assert [one.left_out for one in operator.items] == [0, 1, 1]


async def test_one_deployment_has_no_more_under_way_than_its_part() -> None:
    async with reviewing() as (_, reviews, pairs):
        never = asyncio.Event()

        async def hang(_item: Item) -> int:
            await never.wait()
            return 202

        reviews._give = hang  # type: ignore[method-assign]
        how = replace(HOW, pause=0.0)
        for _ in range(3 * MOST_OF_ONE):
            show(reviews, how=how)
        assert len(reviews._under_way.tasks) == MOST_OF_ONE
        show(reviews, how=replace(how, name="shop/other"))
        assert len(reviews._under_way.tasks) == MOST_OF_ONE + 1
        assert pairs._room.held["shop/fraud"] <= MOST_OF_ONE * 2 * LARGEST_ANSWER
        never.set()
        await at_rest(reviews)


async def test_without_an_operator_nothing_is_looked_at() -> None:
    pairs = Pairs(1024 * 1024)
    reviews = Reviews("", pairs)
    show(reviews)
    assert not reviews._under_way.tasks
    await reviews.stop()
    await pairs.stop()
