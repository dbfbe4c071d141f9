"""What is seen of a request and stable's answer, what is asked of the router then, and the bounds of it.

The router here is a server that answers as the candidate; tests/integration/test_envoy_agreement.py has Envoy.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest

from serin.api.guard import LARGEST_ANSWER, Protocol
from serin.api.guard_agreement import KEY, OUTCOME, Comparison, Pairing
from serin.guard.pairs import MOST_OF_ONE, Answer, Pairs, Request, _url
from serin.guard.watched import LARGEST_REQUEST, Watched
from tests.integration.envoy_rig import eventually

INFER = "/v2/models/fraud/infer?a=1"
PAIRING = Pairing(
    Protocol.OPEN_INFERENCE, (Comparison("label"),), "shop/fraud", 1, "proof/new", "old", "new", seconds=5.0
)
GOOD = b'{"outputs": [{"name": "label", "shape": [1], "data": ["fraud"]}]}'
OTHER = GOOD.replace(b"fraud", b"legit")
HELD = 10 * 1024 * 1024


@dataclass
class Router:
    """What it was asked as the candidate, and what it was told."""

    port: int = 0
    answer: Callable[[web.Request], Awaitable[web.Response]] | None = None
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        if OUTCOME in request.headers:
            assert request.headers[KEY] == PAIRING.key
            self.told.append(request.headers[OUTCOME])
            return web.Response(status=204)
        heads = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.path_qs, heads, await request.read()))
        if self.answer is not None:
            return await self.answer(request)
        return candidate(GOOD)

    async def heard(self, count: int = 1) -> list[str]:
        async def read() -> list[str]:
            return self.told

        return await eventually(read, lambda found: len(found) >= count, seconds=20)


def candidate(body: bytes, status: int = 200, snapshot: str = "new") -> web.Response:
    return web.Response(body=body, status=status, headers={"x-serin-snapshot": snapshot})


def saying(body: bytes, status: int = 200, snapshot: str = "new") -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return candidate(body, status, snapshot)

    return answer


@asynccontextmanager
async def routing(most: int = 16 * HELD) -> AsyncIterator[tuple[Router, Pairs]]:
    router = Router()
    app = web.Application(client_max_size=LARGEST_ANSWER)
    app.router.add_route("*", "/{path:.*}", router.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    router.port = runner.addresses[0][1]
    pairs = Pairs(most)
    try:
        yield router, pairs
    finally:
        await pairs.stop()
        await runner.cleanup()
        assert pairs._room.held.total() == 0
        assert not pairs._under_way.by_name


def headers(part: str, end: bool = False, **more: str) -> bytes:
    request = ProcessingRequest()
    said: dict[str, str] = {":method": "POST", ":path": INFER, ":authority": "fraud.shop"}
    if part == "response_headers":
        said = {":status": "200", "content-type": "application/json", "x-serin-snapshot": "old"}
    shown = getattr(request, part)
    for key, value in {**said, **{name.replace("_", "-"): text for name, text in more.items()}}.items():
        shown.headers.headers.add(key=key, raw_value=value.encode())
    shown.end_of_stream = end
    return request.SerializeToString()


def body(part: str, text: bytes, end: bool = True) -> bytes:
    request = ProcessingRequest()
    shown = getattr(request, part)
    shown.body, shown.end_of_stream = text, end
    return request.SerializeToString()


def watched(router: Router, pairs: Pairs) -> Watched:
    return Watched(replace(PAIRING, port=router.port), pairs, "127.0.0.1")


def show(seen: Watched, answer: bytes = GOOD, **more: str) -> None:
    assert seen.on_message(headers("request_headers", **more)) == b""
    assert seen.on_message(body("request_body", b"{", end=False)) == b""
    assert seen.on_message(body("request_body", b"}")) == b""
    assert seen.on_message(headers("response_headers")) == b""
    assert seen.on_message(body("response_body", answer[:10], end=False)) == b""
    assert seen.on_message(body("response_body", answer[10:])) is None
    seen.closed()


async def test_the_same_request_goes_to_the_candidate_and_the_outcome_to_the_router() -> None:
    async with routing() as (router, pairs):
        show(watched(router, pairs), authorization="Bearer mine", connection="close", x_serin_agreement="forged")
        assert await router.heard() == ["same"]
        ((path, sent, content),) = router.asked
        assert (path, content) == (INFER, b"{}")
        assert sent == {
            "host": "fraud.shop",
            "authorization": "Bearer mine",
            KEY: PAIRING.key,
            "content-length": "2",
        }


@pytest.mark.parametrize(
    ("said", "outcome"),
    [(OTHER, "label"), (b"NaN", "missing"), (b"x" * (LARGEST_ANSWER + 1), "unread"), (b"", "missing")],
)
async def test_what_the_candidate_says_otherwise_is_told_by_its_kind(said: bytes, outcome: str) -> None:
    async with routing() as (router, pairs):
        router.answer = saying(said)
        show(watched(router, pairs))
        assert await router.heard() == [outcome]


@pytest.mark.parametrize(
    "answer",
    [
        saying(OTHER, status=500),
        saying(OTHER, status=404),
        saying(OTHER, snapshot="old"),
        saying(OTHER, snapshot="newer"),
    ],
)
async def test_what_is_no_answer_of_the_candidate_is_compared_with_nothing(
    answer: Callable[[web.Request], Awaitable[web.Response]],
) -> None:
    async with routing() as (router, pairs):
        router.answer = answer
        show(watched(router, pairs))

        async def idle() -> int:
            return len(pairs._under_way.tasks)

        await eventually(idle, lambda found: found == 0, seconds=20)
        assert (len(router.asked), router.told) == (1, [])


@pytest.mark.parametrize(
    "messages",
    [
        [headers("request_headers", **{":method": "GET"})],
        [headers("request_headers", **{":path": "/v2/models/fraud"})],
        [headers("request_headers", end=True)],
        [headers("request_headers"), body("request_body", b"x" * (LARGEST_REQUEST + 1))],
        [headers("request_headers"), body("request_body", b"{}"), headers("response_headers", **{":status": "500"})],
        [headers("request_headers"), body("request_body", b"{}"), headers("response_headers", content_type="text/x")],
        [headers("request_headers"), body("request_body", b"{}"), headers("response_headers", x_serin_snapshot="new")],
        [headers("request_headers"), body("request_body", b"{}"), headers("response_headers", end=True)],
        [headers("request_headers"), body("request_body", b"{", end=False), headers("response_headers")],
        [
            *(headers("request_headers"), body("request_body", b"{}")),
            headers("response_headers", content_length=str(LARGEST_ANSWER + 1)),
        ],
        [
            *(headers("request_headers"), body("request_body", b"{}"), headers("response_headers")),
            body("response_body", b"x" * LARGEST_ANSWER, end=False),
            body("response_body", b"x"),
        ],
    ],
)
async def test_what_will_not_be_compared_ends_the_exchange_and_is_forgotten(messages: list[bytes]) -> None:
    async with routing() as (router, pairs):
        seen = watched(router, pairs)
        *first, last = messages
        assert all(seen.on_message(one) == b"" for one in first)
        assert seen.on_message(last) is None
        seen.closed()
        await asyncio.sleep(0.05)
        assert (router.asked, router.told) == ([], [])
        assert pairs._room.held.total() == 0


async def test_one_deployment_has_no_more_than_its_part_of_the_bytes() -> None:
    async with routing(most=16 * 20_000) as (router, pairs):
        first, second = watched(router, pairs), watched(router, pairs)
        other = Watched(replace(PAIRING, name="shop/other"), pairs, "127.0.0.1")
        for one in (first, second, other):
            assert one.on_message(headers("request_headers")) == b""
        assert first.on_message(body("request_body", b"x" * 2_900)) == b""
        assert second.on_message(body("request_body", b"x" * 900)) is None
        assert other.on_message(body("request_body", b"x" * 900)) == b""
        first.closed()
        assert second.on_message(body("request_body", b"x" * 900)) == b""
        second.closed()
        other.closed()


async def test_a_request_that_stays_open_counts_with_its_headers() -> None:
    async with routing(most=16 * 100_000) as (router, pairs):
        held = [watched(router, pairs) for _ in range(20)]
        shown = [one.on_message(headers("request_headers", **{"x-long": "x" * 12_000})) for one in held]
        assert shown.count(b"") == 4, "four times twelve thousand, and eight thousand for each"
        for one in held:
            one.closed()
        assert pairs._room.held.total() == 0


def test_however_many_deployments_a_namespace_has_others_find_room() -> None:
    pairs = Pairs(1_600)
    for namespace in "abcdefgh":
        for number in range(32):
            while pairs.hold(f"{namespace}/d{number}").take(10):
                pass
    assert pairs._room.held.total() <= 1_600
    assert max(pairs._room.of_namespace.values()) <= 400
    assert pairs.hold("another/fraud").take(10)
    assert pairs.hold("a-recording-one").take(1)


async def test_what_a_candidate_answers_has_no_more_than_that_part_either() -> None:
    async with routing(most=16 * 10_000) as (router, pairs):
        router.answer = saying(b"x" * 3_000)
        show(watched(router, pairs))

        async def left() -> int:
            return len(pairs._under_way.tasks)

        await eventually(left, lambda found: not found, seconds=20)
        assert len(router.asked) == 1
        assert router.told == [], "there is no room for it, so nothing is known"
        assert pairs._room.held.total() == 0


async def test_a_candidate_that_answers_nothing_has_a_few_requests_and_no_more() -> None:
    async with routing() as (router, pairs):
        may = asyncio.Event()

        async def later(_: web.Request) -> web.Response:
            await may.wait()
            return candidate(GOOD)

        router.answer = later
        for _ in range(3 * MOST_OF_ONE):
            show(watched(router, pairs))

        async def asked() -> int:
            return len(router.asked)

        await eventually(asked, lambda found: found >= MOST_OF_ONE, seconds=20)
        may.set()
        assert await router.heard(MOST_OF_ONE) == ["same"] * MOST_OF_ONE
        assert len(router.asked) == MOST_OF_ONE


async def test_a_router_that_is_gone_is_no_error() -> None:
    async with routing() as (router, pairs):
        show(Watched(replace(PAIRING, port=1), pairs, "127.0.0.1"))

        async def idle() -> int:
            return len(pairs._under_way.tasks)

        await eventually(idle, lambda found: found == 0, seconds=20)
        assert router.told == []


@pytest.mark.parametrize(
    ("path", "host"), [("//other.example/v2", "10.0.0.1"), ("/@other", "10.0.0.1"), ("/a?http://other", "::1")]
)
def test_no_path_leads_to_another_server(path: str, host: str) -> None:
    url = _url(host, 10_000, path)
    assert (url.host, url.port) == (host, 10_000)
    assert url.raw_path_qs == path


@pytest.mark.parametrize("path", ["", "*", "http://other.example/", "other:1/"])
def test_what_is_no_path_leads_nowhere(path: str) -> None:
    with pytest.raises(ValueError, match="this is no path"):
        _url("10.0.0.1", 10_000, path)


def test_a_message_that_nobody_has_asked_for_is_refused() -> None:
    request = ProcessingRequest()
    request.request_trailers.SetInParent()
    with pytest.raises(ValueError, match="request_trailers was not asked for"):
        Watched(PAIRING, Pairs(HELD), "127.0.0.1").on_message(request.SerializeToString())


def test_nothing_of_a_payload_is_in_what_an_error_would_show() -> None:
    assert "secret" not in repr((Request({"a": "secret"}, b"secret"), Answer(b"secret", "")))
