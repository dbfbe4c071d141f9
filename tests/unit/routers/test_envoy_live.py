"""Reading a router pod's counters: what it says, and whatever else it may answer. (A real Envoy: tests/integration.)"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.base import CountersUnread, RouterPod
from serin.routers.endpoints import SERVICE_LABEL
from serin.routers.envoy.live import LiveCounters
from serin.routers.envoy.service_pods import ROUTER, ServicePods

FRAUD = ("shop", "fraud")
OWNER = 'serin_namespace="shop",serin_model_deployment="fraud",serin_snapshot="fraud-a"'
PAGE = f"""# TYPE envoy_serin_attempts counter
envoy_serin_attempts{{{OWNER},serin_attempt="first",serin_slot="0"}} 24
envoy_serin_attempts{{serin_namespace="bank",serin_model_deployment="fraud",serin_snapshot="fraud-z"}} 7
envoy_server_uptime{{}} 12

envoy_serin_milliseconds_bucket{{{OWNER},serin_attempt="",le="0.5"}} 3
"""


def pods(*endpoints: tuple[str, str, bool]) -> ServicePods:
    cache = ObjectCache()
    body = {
        "metadata": {
            **{"namespace": "serin-system", "name": "router", "uid": "x", "resourceVersion": "1"},
            "labels": {SERVICE_LABEL: ROUTER},
        },
        "endpoints": [
            {"addresses": [one], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": name}}
            for name, one, ready in endpoints
        ],
    }
    cache.put(kinds.ENDPOINT_SLICE, body)
    return ServicePods(cache, "serin-system")


@asynccontextmanager
async def answering(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[RouterPod]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield RouterPod("router-1", f"127.0.0.1:{runner.addresses[0][1]}", True)
    finally:
        await runner.cleanup()


def test_every_pod_of_the_router_is_known_by_what_prometheus_calls_it() -> None:
    reader = LiveCounters(pods(("router-1", "10.0.0.1", True), ("router-2", "fd00::2", False)))
    assert reader.pods() == (
        RouterPod("router-1", "10.0.0.1:9902", True),
        RouterPod("router-2", "[fd00::2]:9902", False),
    )


async def test_series_of_these_deployments_are_read_and_no_others() -> None:
    asked: list[str] = []

    async def page(request: web.Request) -> web.Response:
        asked.append(request.query["filter"])
        return web.Response(text=PAGE)

    async with answering(page) as pod:
        found = await LiveCounters(pods()).read(pod, {FRAUD})
    assert found.age == 12.0
    labels = {"serin_namespace": "shop", "serin_model_deployment": "fraud", "serin_snapshot": "fraud-a"}
    assert found.series == (
        ("envoy_serin_attempts", {**labels, "serin_attempt": "first", "serin_slot": "0"}, 24.0),
        # Prometheus keeps no label without a value.
        ("envoy_serin_milliseconds_bucket", {**labels, "le": "0.5"}, 3.0),
    )
    assert "shop" in asked[0]
    assert "bank" not in asked[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<html></html>", "no sample"),
        ("envoy_serin_attempts{} many", "could not convert"),
        ('envoy_serin_attempts{a="b} 1', "no labels"),
        ("", "does not say envoy_server_uptime"),
        ("envoy_server_uptime{} -3", "does not say envoy_server_uptime"),
        ("envoy_server_uptime{} 3\n" + "x" * 2000, "more than 1,000 bytes"),
    ],
)
async def test_what_is_no_answer_is_an_error_of_that_pod(text: str, why: str) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=text)

    async with answering(page) as pod:
        with pytest.raises(CountersUnread, match=why):
            await LiveCounters(pods(), most=1000).read(pod, {FRAUD})


async def test_a_pod_that_trickles_is_given_up() -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"#\n")
            await asyncio.sleep(0.02)

    async with answering(trickle) as pod:
        with pytest.raises(CountersUnread, match="router-1"):
            await LiveCounters(pods(), seconds=0.2).read(pod, {FRAUD})


async def test_a_refusal_and_a_pod_that_is_not_there_are_errors() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=503)

    async with answering(refuse) as pod:
        with pytest.raises(CountersUnread, match="503"):
            await LiveCounters(pods()).read(pod, {FRAUD})
    with pytest.raises(CountersUnread, match="router-1"):
        await LiveCounters(pods()).read(pod, {FRAUD})
