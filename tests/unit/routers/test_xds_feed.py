"""The feed reads what has changed and nothing else, and whatever one deployment is, it stops no other."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.split import Split, all_to
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.ports import Ports
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.xds.server import XdsServer
from serin.routers.envoy.xds_feed import XdsFeed
from serin.routers.envoy.xds_written import Written
from tests.unit.routers.test_routed_model import endpoint_slice, pod

MANY = 200


class Server(XdsServer):
    """Says when it has heard from the feed."""

    def __init__(self) -> None:
        super().__init__()
        self.heard, self.changed = asyncio.Event(), set[Key]()

    def update(self, models: Iterable[RoutedModel]) -> None:
        super().update(models)
        self.heard.set()

    def change(self, changes: Mapping[Key, RoutedModel | None]) -> None:
        super().change(changes)
        self.changed = set(changes)
        self.heard.set()


class Bench:
    """A cache that tests write, and what comes out of the feed."""

    def __init__(self) -> None:
        self.cache, self.xds, self.looks = ObjectCache(), Server(), list[Key]()
        self.guard_key = b""
        self.feed = XdsFeed(self.cache, self.xds, self.looks.append, Ports(self.cache), lambda: self.guard_key)
        self.version = 0

    def put(
        self,
        number: int,
        *,
        weight: int = 0,
        settings: Any = None,
        fallback: Any = None,
        annotations: Any = None,
        guard: Any = None,
        **status: Any,
    ) -> None:
        """A deployment that serves, with `weight` percent for its candidate."""
        name = f"m{number}"
        weights = {f"{name}-a": 100 - weight, f"{name}-b": weight}
        body: JsonObject = {
            "metadata": self._metadata(name) | {"annotations": annotations or {}},
            "spec": {"router": {"envoy": settings or {}}, "fallback": fallback, "guard": guard},
            "status": {
                "router": {"envoy": {"port": 10_000 + number}},
                "stable": {"snapshot": f"{name}-a"},
                "traffic": {"weights": weights},
                **status,
            },
        }
        self.cache.put(kinds.MODEL_DEPLOYMENT, body)

    def put_pods(self, number: int, *addresses: str) -> None:
        body = endpoint_slice(f"m{number}-a", *(pod(one, ready=True) for one in addresses), deployment=f"m{number}")
        body["metadata"] |= self._metadata(body["metadata"]["name"])
        self.cache.put(kinds.ENDPOINT_SLICE, body)

    def put_service(self, name: str, address: str, namespace: str = "shop") -> None:
        metadata = self._metadata(name) | {"namespace": namespace, "uid": f"{namespace}/{name}"}
        body = {"metadata": metadata, "spec": {"clusterIP": address, "ports": [{"port": 80}]}}
        self.cache.put(kinds.SERVICE, body)

    def model(self, number: int) -> RoutedModel:
        """As it would be served now."""
        return self.xds._delivery._wanted[f"shop/m{number}"].model

    def candidate(self, number: int) -> int:
        """The candidate's weight in percent, whether it has pods or not."""
        arm = self.model(number).arm(f"m{number}-b")
        return arm.weight if arm else 0

    async def seen(self, *, weight: int) -> Written:
        """What is written for the first deployment, once that has this weight for its candidate here."""
        self.put(0, weight=weight)
        await self.passed_on()
        return self.feed.written()["shop", "m0"]

    async def hear(self, *told: Mapping[Key, Written]) -> None:
        """Each peer says this, and it is passed on."""
        self.feed.hear(told)
        await self.passed_on()

    def _metadata(self, name: str) -> JsonObject:
        self.version += 1
        return {"namespace": "shop", "name": name, "uid": name, "resourceVersion": str(self.version)}

    @property
    def renders(self) -> int:
        return self.xds._delivery.renders

    def split(self, number: int) -> dict[str, int] | None:
        """What would be served now; no Envoy is needed for that."""
        wanted = self.xds._delivery._wanted.get(f"shop/m{number}")
        return dict(wanted.rendered.split.weights) if wanted else None

    def ports(self) -> dict[str, int]:
        """The listeners that would be served now."""
        return {name: wanted.model.port for name, wanted in self.xds._delivery._wanted.items()}

    async def passed_on(self) -> None:
        """Wait until the feed has read everything so far."""
        async with asyncio.timeout(30):
            await self.xds.heard.wait()
        self.xds.heard.clear()


@asynccontextmanager
async def feeding(count: int) -> AsyncIterator[Bench]:
    bench = Bench()
    for number in range(count):
        bench.put(number)
        bench.put_pods(number, f"10.0.0.{number}")
    running = asyncio.create_task(bench.feed.run())
    try:
        await bench.passed_on()
        yield bench
        assert not running.done(), running.exception()
    finally:
        running.cancel()


async def test_a_change_of_one_of_many_reads_and_renders_that_one() -> None:
    async with feeding(MANY) as it:
        assert it.renders == MANY
        it.put(7, weight=10)
        it.put_pods(8, "10.9.9.9")
        await it.passed_on()
        assert it.renders == MANY + 2
        assert it.xds.changed == {("shop", "m7"), ("shop", "m8")}


async def test_evidence_alone_renders_nothing() -> None:
    async with feeding(3) as it:
        it.put(1, evidence={"errors": {"requests": 12}}, metrics=[{"name": "errors"}], message="5 more")
        await it.passed_on()
        assert it.renders == 3


async def test_a_deployment_comes_changes_and_goes() -> None:
    async with feeding(1) as it:
        it.put(5, weight=0)
        it.put_pods(5, "10.0.0.5")
        await it.passed_on()
        assert it.split(5) == {"m5-a": 100}
        it.cache.drop(kinds.MODEL_DEPLOYMENT, {"metadata": {"uid": "m5", "resourceVersion": "1000"}})
        await it.passed_on()
        assert it.split(5) is None
        assert it.split(0) is not None


async def test_what_one_deployment_is_stops_no_other() -> None:
    async with feeding(4) as it:
        it.put(0, settings={"shield": "Sometimes"})
        it.put(1, traffic={"weights": {"m1-a": 90, "m1-b": 15}})
        it.put(2, router={"envoy": {"port": "none"}})
        it.put(3, settings="no map at all")
        await it.passed_on()
        assert [it.split(number) for number in range(4)] == [{f"m{number}-a": 100} for number in range(4)]
        assert {key for key in it.looks if it.feed.problem(key)} == {("shop", f"m{number}") for number in (0, 2, 3)}
        assert "spec.router.envoy.shield: 'Sometimes' is unknown" in (it.feed.problem(("shop", "m0")) or "")
        it.put(4, weight=30)
        await it.passed_on()
        assert it.split(4) is not None, "the feed goes on"
        it.put(0)
        await it.passed_on()
        assert it.feed.problem(("shop", "m0")) is None
        assert it.looks.count(("shop", "m0")) == 2


async def test_two_deployments_never_share_a_listener() -> None:
    async with feeding(2) as it:
        assert it.ports() == {"shop/m0": 10_000, "shop/m1": 10_001}
        # A restored status says the port of the older one, by uid as both are of the same age.
        it.put(1, router={"envoy": {"port": 10_000}})
        await it.passed_on()
        assert it.ports() == {"shop/m0": 10_000}, "no listener is better than somebody else's model"
        assert (
            it.feed.problem(("shop", "m1")) == "listener port 10000 is the older deployment shop/m0's: another is given"
        )
        assert ("shop", "m1") in it.looks
        it.put(1, router={"envoy": {"port": 10_002}})
        await it.passed_on()
        assert it.ports() == {"shop/m0": 10_000, "shop/m1": 10_002}
        assert it.feed.problem(("shop", "m1")) is None


async def test_a_port_that_its_holder_leaves_is_the_other_ones() -> None:
    async with feeding(2) as it:
        it.put(1, router={"envoy": {"port": 10_000}})
        await it.passed_on()
        it.cache.drop(kinds.MODEL_DEPLOYMENT, {"metadata": {"uid": "m0", "resourceVersion": "1000"}})
        await it.passed_on()
        assert it.ports() == {"shop/m1": 10_000}


async def test_the_older_one_takes_its_port_back_from_the_younger() -> None:
    async with feeding(2) as it:
        it.put(0, router={"envoy": {"port": 10_001}})
        await it.passed_on()
        assert it.ports() == {"shop/m0": 10_001}


async def test_a_deployment_is_read_again_when_the_service_of_its_fallback_changes() -> None:
    async with feeding(2) as it:
        it.put(1, fallback={"service": {"name": "rules", "port": 80}})
        await it.passed_on()
        it.put_service("rules", "10.96.0.7", namespace="other")
        it.put_service("other", "10.96.0.8")
        it.put_service("rules", "10.96.0.9")
        await it.passed_on()
        assert it.xds.changed == {("shop", "m1")}
        assert it.model(1).fallback == Endpoint("10.96.0.9", 80)
        it.cache.drop(kinds.SERVICE, {"metadata": {"uid": "shop/rules", "resourceVersion": "1000"}})
        await it.passed_on()
        assert it.model(1).fallback is None


async def test_what_a_peer_has_seen_lowers_here_until_it_is_seen_here() -> None:
    async with feeding(2) as it:
        seen = await it.seen(weight=20)
        assert seen.split.weights == {"m0-a": 80, "m0-b": 20}
        rolled_back = replace(seen, version="1000", split=all_to("m0-a"))
        await it.hear({("shop", "m0"): rolled_back}, {("shop", "m0"): seen, ("shop", "gone"): rolled_back})
        assert it.xds.changed == {("shop", "m0")}
        assert it.candidate(0) == 0
        assert it.feed.written()["shop", "m0"] == seen, "others hear what was seen here"
        it.put(0, weight=50)  # late, and still older than what the peer has seen
        await it.passed_on()
        assert it.candidate(0) == 0
        it.version = 1000
        it.put(0, weight=30)
        await it.passed_on()
        assert it.candidate(0) == 30


async def test_nothing_rises_again_by_what_peers_have_seen_since() -> None:
    async with feeding(1) as it:
        seen = await it.seen(weight=20)
        later = ({"m0-a": 100}, {"m0-a": 80, "m0-b": 20}, {"m0-c": 100}, {"m0-a": 100}, {"m0-c": 100})
        for version, weights in enumerate(later, 1000):
            await it.hear({("shop", "m0"): replace(seen, version=str(version), split=Split(weights))})
            assert it.candidate(0) == 0, f"rolled back, tried again, overtaken, and so on: {weights}"
        assert len(it.feed._newer["shop", "m0"]) == 3, "one for each split"
        it.version = 1001
        it.put(0, weight=30)  # seen here as well by now, and rolled back once more since
        await it.passed_on()
        assert it.candidate(0) == 0


async def test_what_peers_had_seen_before_a_restore_counts_no_more() -> None:
    async with feeding(1) as it:
        seen = await it.seen(weight=20)
        await it.hear({("shop", "m0"): replace(seen, version="1000", split=all_to("m0-a"))})
        await it.hear({("shop", "m0"): replace(seen, version="900")})
        assert it.candidate(0) == 20


async def test_a_peers_word_ends_with_it_and_is_of_no_other_deployment_of_the_name() -> None:
    async with feeding(1) as it:
        seen = await it.seen(weight=20)
        rolled_back = replace(seen, version="1000", split=all_to("m0-a"))
        it.feed.hear([{("shop", "m0"): replace(rolled_back, uid="an earlier one")}])
        assert not it.feed._dirty
        await it.hear({("shop", "m0"): rolled_back})
        assert it.candidate(0) == 0
        await it.hear({})
        assert it.candidate(0) == 20


async def test_peers_hear_what_a_kill_switch_leaves() -> None:
    async with feeding(1) as it:
        it.put(0, weight=20, annotations={"serin.dev/kill-switch": "Candidate"}, arms=[{"snapshot": "m0-b"}])
        await it.passed_on()
        assert it.feed.written()["shop", "m0"].split == all_to("m0-a")


async def test_the_guard_is_asked_once_there_is_a_key_and_nothing_else_waits_for_one() -> None:
    guard = {"output": {"protocol": "JSON", "checks": [{"path": "score", "finite": True}]}}
    async with feeding(2) as it:
        it.put(0, weight=20, guard=guard)
        await it.passed_on()
        assert it.candidate(0) == 20
        nobodys = it.model(0).guard_key
        assert len(nobodys) == 32
        for key in (b"a" * 32, b"b" * 32):
            it.guard_key = key
            it.feed.rekey()
            await it.passed_on()
            assert it.xds.changed == {("shop", "m0")}, "the other one has no guard"
            assert it.model(0).guard_key == key
            assert key.decode() not in repr(it.model(0))
        # What cannot be read leaves the last one, with a key and without.
        it.put(0, weight=10, guard={"output": {"protocol": "JSON", "checks": [{"path": "a["}]}})
        await it.passed_on()
        assert (it.candidate(0), it.model(0).guard is None) == (10, False)
        for key, wanted in ((b"", nobodys), (b"a" * 32, b"a" * 32)):
            it.guard_key = key
            it.feed.rekey()
            await it.passed_on()
            assert it.model(0).guard_key == wanted
