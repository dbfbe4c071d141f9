"""What is read from the traffic of lists; how kopf's own lists fare is in tests/integration/test_paged_lists.py."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.relist import ListObserver

PATH = kinds.collection_path(kinds.POD, None)


class Rig:
    """A session whose lists are told to a cache, and a server that answers `answer()` to everything."""

    def __init__(self) -> None:
        self.cache, self.requests = ObjectCache([(kinds.POD, None)]), list[tuple[str, str, int]]()
        self.answer: Callable[[], web.Response] = web.Response
        self.now = 1000.0
        self.lists = ListObserver(
            self.cache,
            [(kinds.POD, None)],
            observer=lambda verb, kind, status, _seconds: self.requests.append((verb, kind, status)),
            on_swept=lambda _kind, _missed: None,
            clock=lambda: self.now,
        )

    async def handle(self, _request: web.Request) -> web.StreamResponse:
        return self.answer()


@pytest.fixture
async def rig() -> AsyncIterator[tuple[Rig, Callable[[str], Any]]]:
    made = Rig()
    app = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await made.handle(request)

    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}".format(*runner.addresses[0][:2])

    async def get(path: str) -> tuple[int, bytes]:
        async with session.get(url + path) as response:
            return response.status, await response.read()

    async with aiohttp.ClientSession(
        trace_configs=[made.lists.trace], middlewares=[made.lists.begin_afresh]
    ) as session:
        yield made, get
    await runner.cleanup()


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"", b"[]", b'"items"', b'{"kind": "Status"}'])
async def test_an_answer_that_is_no_list_reaches_kopf_as_it_is_and_says_nothing(
    rig: tuple[Rig, Callable[[str], Any]], body: bytes
) -> None:
    made, get = rig
    made.answer = lambda: web.Response(status=502, body=body)
    assert await get(PATH) == (502, body)
    assert made.cache.missing() == "pods not listed"
    assert made.requests == [("list", "Pod", 502)]


async def test_a_page_that_nobody_asked_for_first_says_nothing(rig: tuple[Rig, Callable[[str], Any]]) -> None:
    made, get = rig
    made.answer = lambda: web.json_response({"metadata": {"resourceVersion": "9"}, "items": []})
    await get(f"{PATH}?continue=token")
    assert made.cache.missing() == "pods not listed"
    more = {"resourceVersion": "9", "continue": "token"}
    made.answer = lambda: web.json_response({"metadata": more, "items": []})
    await get(PATH)
    made.answer = lambda: web.json_response({"metadata": {"resourceVersion": "9"}, "items": []})
    await get(f"{PATH}?continue=another")
    assert made.cache.missing() == "pods not listed"
    await get(f"{PATH}?continue=token")
    assert made.cache.synced()


async def test_what_is_not_watched_is_counted_only(rig: tuple[Rig, Callable[[str], Any]]) -> None:
    made, get = rig
    made.answer = lambda: web.json_response({"metadata": {"resourceVersion": "9"}, "items": []})
    await get("/api/v1")
    await get(f"{PATH}?watch=true")
    assert made.cache.missing() == "pods not listed"
    assert made.requests == [("list", "discovery", 200), ("watch", "Pod", 200)]


async def test_an_expired_token_is_answered_with_the_first_page_and_any_other_410_as_it_is(
    rig: tuple[Rig, Callable[[str], Any]],
) -> None:
    made, get = rig
    answers = [410, 200, 410, 410]
    made.answer = lambda: web.json_response({"metadata": {"resourceVersion": "9"}, "items": []}, status=answers.pop(0))
    assert (await get(f"{PATH}?continue=token"))[0] == 200
    assert made.cache.synced()
    assert (await get(PATH))[0] == 410
    assert (await get("/api/v1?continue=token"))[0] == 410
    assert answers == []


async def test_a_watch_that_is_not_asked_for_any_more_shows_and_an_error_is_an_answer(
    rig: tuple[Rig, Callable[[str], Any]],
) -> None:
    made, get = rig
    assert made.lists.silent() == (0.0, ""), "nothing was begun yet"
    made.answer = lambda: web.Response(status=503)
    await get(f"{PATH}?watch=true")
    made.now += 10.0
    await get(f"{PATH}?watch=true")
    await get("/api/v1/namespaces")
    made.now += 900.0
    assert made.lists.silent() == (900.0, PATH)


async def test_after_a_restore_every_watch_is_ended_and_begins_with_a_list_again(
    rig: tuple[Rig, Callable[[str], Any]],
) -> None:
    made, get = rig
    queries, hold, begun = list[str](), asyncio.Event(), asyncio.Event()

    async def watch(request: web.Request) -> web.StreamResponse:
        queries.append(request.query.get("resourceVersion", ""))
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "600"}, "items": []})
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{}\n")
        begun.set()
        await hold.wait()
        return response

    made.handle = watch  # type: ignore[method-assign]
    watching = asyncio.create_task(get(f"{PATH}?watch=true&resourceVersion=900"))
    await begun.wait()
    await asyncio.sleep(0.1)
    made.lists.relist()
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(watching, 5.0)
    hold.set()
    await get(f"{PATH}?watch=true&resourceVersion=900")
    await get(f"{PATH}?watch=true&resourceVersion=900")
    assert queries == ["900", "1", "1"], "until a list was begun"
    await get(PATH)
    await get(f"{PATH}?watch=true&resourceVersion=600")
    assert queries[3:] == ["", "600"]


async def test_a_watch_that_is_not_answered_yet_when_a_restore_is_seen_does_not_go_on_either(
    rig: tuple[Rig, Callable[[str], Any]],
) -> None:
    made, get = rig
    queries, answered, asked = list[str](), asyncio.Event(), asyncio.Event()

    async def watch(request: web.Request) -> web.StreamResponse:
        queries.append(request.query["resourceVersion"])
        asked.set()
        await answered.wait()
        return web.Response(status=410 if queries[-1] == "1" else 200)

    made.handle = watch  # type: ignore[method-assign]
    watching = asyncio.create_task(get(f"{PATH}?watch=true&resourceVersion=900"))
    await asked.wait()
    made.lists.relist()
    answered.set()
    assert (await asyncio.wait_for(watching, 5.0))[0] == 410
    assert queries == ["900", "1"]
