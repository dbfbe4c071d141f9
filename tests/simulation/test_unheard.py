"""A router pod that is ready and cannot reach the operator: no pod goes that it may still send requests to."""

import asyncio
from typing import Any

from serin.cluster import kinds
from tests.simulation.test_lowering import Place, story
from tests.simulation.traffic import Quality


def pods_of(place: Place, snapshot: str) -> int:
    pods = place.server.store.all(kinds.POD, "shop")
    return sum(1 for pod in pods if pod["metadata"]["labels"].get("serin.dev/snapshot") == snapshot)


def status(place: Place) -> Any:
    return place.server.get(kinds.MODEL_DEPLOYMENT, "shop", "fraud")["status"]


def condition(place: Place, kind: str) -> tuple[str, str]:
    [found] = [one for one in status(place)["conditions"] if one["type"] == kind]
    return found["status"], found["reason"]


def annotate(place: Place, name: str) -> None:
    patch = {"metadata": {"annotations": {f"serin.dev/{name}": "now"}}}
    place.server.patch(kinds.MODEL_DEPLOYMENT, "shop", "fraud", patch, manager="kubectl")


def remove_router_pod(place: Place, number: int) -> None:
    body = place.server.get(kinds.ENDPOINT_SLICE, "serin-system", "router")
    body["endpoints"] = [one for one in body["endpoints"] if one["targetRef"]["name"] != f"router-{number}"]
    place.server.replace(kinds.ENDPOINT_SLICE, "serin-system", "router", body, manager="kubectl")


def test_what_is_rolled_back_keeps_its_pods_for_an_envoy_that_is_not_heard() -> None:
    async def told(place: Place) -> None:
        before = place.clients.seen.failed  # until the first version served
        parted = place.envoys[1]
        parted.connect(None)
        place.quality[place.candidate] = Quality(errors=0.5)
        await place.until(lambda: place.state().split.of(place.candidate) == 0, seconds=60.0)
        assert place.routed(0) == {place.stable: 100}, "lowering waits for nobody"
        await asyncio.sleep(600.0)
        assert place.routed(1) == {place.stable: 90, place.candidate: 10}
        assert pods_of(place, place.candidate) > 0
        assert place.clients.seen.failed == before
        assert condition(place, "Routed") == ("False", "RouteNotTaken")
        parted.connect(place.leader.xds)
        await place.until(lambda: not pods_of(place, place.candidate), seconds=120.0)
        assert place.routed(1) == {place.stable: 100}
        await asyncio.sleep(30.0)
        assert place.clients.seen.failed == before
        assert condition(place, "Routed") == ("True", "Routed")

    story(told)


def test_no_promotion_until_the_last_ready_envoy_has_it_or_is_gone() -> None:
    async def told(place: Place) -> None:
        before = place.clients.seen.failed  # until the first version served
        place.envoys[1].connect(None)
        annotate(place, "promote")
        await place.until(lambda: place.state().split.of(place.candidate) == 100, seconds=60.0)
        await asyncio.sleep(600.0)
        assert place.state().stable == place.stable
        assert status(place)["reason"] == "RouteNotTaken"
        assert pods_of(place, place.stable) > 0
        assert place.clients.seen.failed == before
        told = [one for one in place.server.store.all(kinds.EVENT, "shop") if one["reason"] == "RouteNotTaken"]
        assert told
        remove_router_pod(place, 1)
        place.clients.proxies = lambda: place.proxies[:1]
        await place.until(lambda: place.state().stable == place.candidate, seconds=30.0)
        await place.until(lambda: not pods_of(place, place.stable), seconds=90.0)
        assert place.clients.seen.failed == before

    story(told)


def test_a_new_leader_that_hears_nobody_takes_nothing_for_routed() -> None:
    async def told(place: Place) -> None:
        before = place.clients.seen.failed  # until the first version served
        for envoy in place.envoys:
            envoy.connect(None)
        annotate(place, "abort")
        await place.until(lambda: place.state().split.of(place.stable) == 100, seconds=30.0)
        await asyncio.sleep(600.0)
        assert pods_of(place, place.candidate) > 0
        assert place.clients.seen.failed == before

    story(told)
