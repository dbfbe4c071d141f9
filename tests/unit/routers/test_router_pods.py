"""Whose word counts: ready router pods that nobody hears are never taken for routed, and hold nothing for ever."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.parse import parse_model_deployment
from serin.api.split import Mirror, Rule, Split, Sticky, all_to, between
from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.rollout.model import Route
from serin.routers.envoy.router import EnvoyRouter
from serin.routers.envoy.router_pods import LINGER, UNHEARD_AFTER
from serin.routers.envoy.xds.server import _written
from serin.routers.envoy.xds_peers import _read
from tests.narratives.world import spec
from tests.simulation import clock
from tests.simulation.envoys import AppLink, Envoy
from tests.unit.routers.context import router_context

OLD, NEW = all_to("fraud-old"), all_to("fraud-new")


def deployment(weights: dict[str, int], version: int) -> JsonObject:
    status = {
        "stable": {"snapshot": "fraud-old"},
        "traffic": {"weights": weights},
        "router": {"envoy": {"port": 10_000}},
    }
    metadata = {"namespace": "shop", "name": "fraud", "uid": "u", "resourceVersion": str(version), "generation": 1}
    return {"metadata": metadata, "spec": spec(), "status": status}


def snapshot_slice(snapshot: str, address: str) -> JsonObject:
    labels = {"kubernetes.io/service-name": snapshot, "serin.dev/snapshot": snapshot}
    labels["serin.dev/model-deployment"] = "fraud"
    metadata = {"namespace": "shop", "name": f"{snapshot}-1", "uid": snapshot, "resourceVersion": "1", "labels": labels}
    endpoints = [{"addresses": [address], "conditions": {"ready": True}}]
    return {"metadata": metadata, "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}]}


def pod(name: str, *, ready: bool = True, serving: bool | None = None) -> JsonObject:
    conditions = {"ready": ready, "serving": ready if serving is None else serving}
    return {"addresses": [f"10.0.0.{name[-1]}"], "conditions": conditions, "targetRef": {"kind": "Pod", "name": name}}


@dataclass
class Place:
    """The router of a leader, with the cluster that it reads."""

    cache: ObjectCache
    router: EnvoyRouter
    looks: list[Key] = field(default_factory=list)
    version: int = 1

    def decide(self, weights: dict[str, int]) -> None:
        self.version += 1
        self.cache.put(kinds.MODEL_DEPLOYMENT, deployment(weights, self.version))

    def pods(self, *endpoints: JsonObject) -> None:
        self.version += 1
        labels = {"kubernetes.io/service-name": "serin-router", "serin.dev/model-deployment": ""}
        metadata = {"namespace": "serin-system", "name": "r", "uid": "r", "resourceVersion": str(self.version)}
        self.cache.put(kinds.ENDPOINT_SLICE, {"metadata": {**metadata, "labels": labels}, "endpoints": list(endpoints)})

    def envoy(self, name: str) -> Envoy:
        made = Envoy(name, AppLink(self.router._xds.app()))
        made.start()
        return made

    def route(self) -> Route:
        body = self.cache.get(kinds.MODEL_DEPLOYMENT, "shop", "fraud")
        assert body is not None
        return self.router.observe(parse_model_deployment(body), read_state(body["status"]))


@asynccontextmanager
async def leading() -> AsyncIterator[Place]:
    cache, looks = ObjectCache(), list[Key]()
    context = replace(router_context(cache, "--xds-authentication", "none"), enqueue=looks.append)
    place = Place(cache, EnvoyRouter(context), looks)
    place.decide({"fraud-old": 100})
    for number, snapshot in enumerate(("fraud-old", "fraud-new")):
        cache.put(kinds.ENDPOINT_SLICE, snapshot_slice(snapshot, f"10.1.0.{number}"))
    tasks = [asyncio.create_task(place.router._feed.run()), asyncio.create_task(place.router.lead())]
    try:
        yield place
    finally:
        for task in tasks:
            task.cancel()


def story(told: Callable[[Place], object]) -> None:
    async def main() -> None:
        async with leading() as place:
            await told(place)  # type: ignore[misc]

    with clock.everywhere():
        clock.run(main, seed=1)


def test_ready_router_pods_that_nobody_hears_have_taken_nothing() -> None:
    async def told(place: Place) -> None:
        place.pods(pod("router-1"))
        place.decide({"fraud-new": 100})
        await asyncio.sleep(3600.0)
        route = place.route()
        assert route.instances == {"router-1": None}
        assert not route.has_taken("fraud-new")
        assert route.may_use("fraud-old", NEW)
        assert "router pod router-1 serves, and no replica of the operator hears it" in route.unheard

    story(told)


def test_one_envoy_is_not_enough_and_the_last_one_ends_the_wait() -> None:
    async def told(place: Place) -> None:
        place.pods(pod("router-1"), pod("router-2"))
        place.envoy("router-1")
        await asyncio.sleep(UNHEARD_AFTER / 2)
        assert place.route().unheard == "", "a moment is worth no report"
        place.decide({"fraud-new": 100})
        await asyncio.sleep(UNHEARD_AFTER)
        route = place.route()
        assert route.instances == {"router-1": NEW, "router-2": None}
        assert not route.has_taken("fraud-new")
        assert "router-2" in route.unheard
        place.looks.clear()
        place.envoy("router-2")
        await asyncio.sleep(5.0)
        assert place.route().has_taken("fraud-new")
        assert not place.route().may_use("fraud-old", NEW)
        assert place.route().unheard == ""
        assert ("shop", "fraud") in place.looks

    story(told)


def test_an_envoy_that_keeps_its_old_route_may_use_its_pods() -> None:
    async def told(place: Place) -> None:
        place.pods(pod("router-1"), pod("router-2"))
        envoys = [place.envoy("router-1"), place.envoy("router-2")]
        await asyncio.sleep(5.0)
        assert place.route().has_taken("fraud-old")
        envoys[1].refuses = lambda kind, _: kind == "routes"
        place.decide({"fraud-new": 100})
        await asyncio.sleep(30.0)
        assert place.route().instances == {"router-1": NEW, "router-2": OLD}
        assert place.route().may_use("fraud-old", NEW)
        envoys[1].connect(None)
        await asyncio.sleep(30.0)
        assert place.route().instances == {"router-1": NEW, "router-2": None}

    story(told)


def test_a_pod_that_is_gone_or_long_not_ready_is_waited_for_no_more() -> None:
    async def told(place: Place) -> None:
        place.pods(pod("router-1"), pod("router-2"), pod("router-3"))
        place.envoy("router-1")
        await asyncio.sleep(30.0)
        place.pods(pod("router-1"), pod("router-2", ready=False), pod("router-3", ready=False, serving=True))
        await asyncio.sleep(LINGER - 5.0)
        assert set(place.route().instances) == {"router-1", "router-2", "router-3"}, "its connections may live on"
        await asyncio.sleep(10.0)
        assert set(place.route().instances) == {"router-1", "router-3"}, "what terminates may serve"
        place.pods(pod("router-1"))
        await asyncio.sleep(1.0)
        assert place.route().has_taken("fraud-old")

    story(told)


def test_a_pod_that_only_starts_holds_nothing_back() -> None:
    async def told(place: Place) -> None:
        place.pods(pod("router-1"))
        place.envoy("router-1")
        await asyncio.sleep(5.0)
        place.pods(pod("router-1"), pod("router-2", ready=False))
        assert place.route().has_taken("fraud-old")

    story(told)


def test_a_new_leader_does_not_know_how_long_a_pod_is_not_ready() -> None:
    async def told(place: Place) -> None:
        place.pods(pod("router-1"), pod("router-2", ready=False))
        place.envoy("router-1")
        await asyncio.sleep(5.0)
        assert not place.route().has_taken("fraud-old")
        await asyncio.sleep(LINGER)
        assert place.route().has_taken("fraud-old")

    story(told)


def test_what_calls_itself_an_envoy_and_is_no_router_pod_holds_nothing_back() -> None:
    async def told(place: Place) -> None:
        place.pods(pod("router-1"))
        place.envoy("router-1")
        stranger = place.envoy("stranger")
        stranger.lag = 3600.0
        await asyncio.sleep(5.0)
        place.decide({"fraud-old": 95, "fraud-new": 5})
        await asyncio.sleep(5.0)
        assert place.route().split == between("fraud-old", "fraud-new", 5)

    story(told)


def test_what_a_replica_tells_another_is_what_it_knows_of_each_envoy() -> None:
    async def told(place: Place) -> None:
        place.envoy("router-1")
        late = place.envoy("router-2")
        await asyncio.sleep(5.0)
        key = ("shop", "fraud")
        assert dict(_read(json.loads(json.dumps(place.router._xds.state()))).serves(key)) == {
            "router-1": OLD,
            "router-2": OLD,
        }
        late.lag = 60.0
        place.decide({"fraud-new": 100})
        await asyncio.sleep(5.0)
        assert dict(_read(json.loads(json.dumps(place.router._xds.state()))).serves(key)) == {
            "router-1": NEW,
            "router-2": OLD,
        }

    story(told)


@pytest.mark.parametrize(
    "split",
    [
        Split({"a": 80, "b": 20}),
        Split({"a": 100}, rules=(Rule("b", headers={"x-beta": "true"}),)),
        Split({"a": 100}, mirror=Mirror("b", 20)),
        Split({"a": 80, "b": 20}, sticky=Sticky(header="x-user-id", salt="s")),
    ],
    ids=["weights", "rules", "mirror", "sticky"],
)
def test_a_replica_hears_the_whole_split_of_another(split: Split) -> None:
    state = {"taken": {"shop/fraud": _written(split)}, "nodes": {"router-1": {}}, "refused": {}}
    assert dict(_read(json.loads(json.dumps(state))).serves(("shop", "fraud"))) == {"router-1": split}
