"""The API server is away while the candidate fails: its traffic is lowered from memory, and nobody raises it again."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.lease import Election
from serin.controller.clocks import Clocks
from serin.controller.lowering import Lowering
from serin.controller.replica import Replica as OperatorReplica
from serin.controller.settings import parse
from serin.controller.telemetry import Telemetry
from serin.controller.watch import WATCHED
from serin.routers.envoy.router import EnvoyRouter
from tests.narratives.world import spec
from tests.simulation import clock
from tests.simulation.api import faults
from tests.simulation.api.faults import Fault, Request
from tests.simulation.api.resources import NAMESPACE
from tests.simulation.api.rest import Rest
from tests.simulation.cluster import SimulatedCluster
from tests.simulation.envoys import AppLink, Envoy
from tests.simulation.feed import feed
from tests.simulation.kubelet import Kubelets
from tests.simulation.prometheus import Adapter, Prometheus, envoy_target
from tests.simulation.traffic import Clients, Proxy, Quality
from tests.simulation.workloads import Workloads

STEPS = {"canary": {"steps": [{"weight": 10, "bake": "1h"}]}}


class Asked(Adapter):
    """The simulated Prometheus with both of the ways in which the operator asks."""

    estimate = Adapter.query


class Replica(OperatorReplica):
    """One replica of the operator in virtual time, with its cluster, its election and its xDS server at hand."""

    def __init__(self, place: "Place", name: str) -> None:
        flags = ["--prometheus-url", "http://prometheus:9090", "--namespace", "serin-system"]
        flags += ["--xds-authentication", "none"]  # there are no sockets, and nobody signs tokens
        settings = replace(parse(flags), identity=name)
        self.telemetry = Telemetry()
        clocks = Clocks(time=clock.wall, monotonic=clock.now, boottime=clock.now)
        super().__init__(settings, self.telemetry, clocks=clocks)
        self.place, self.cluster = place, SimulatedCluster(place.control_plane, name, plan=lambda one: place.plan(one))
        router = self._routers["envoy"]
        assert isinstance(router, EnvoyRouter)
        self.router, self.xds = router, AppLink(router._xds.app())

    @property
    def lowering(self) -> Lowering:
        return self._lowering

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(feed(self.cluster, self.cache, WATCHED))
            await self.cache.wait_until_synced()
            group.create_task(self.router._feed.run())
            group.create_task(self.work(self.cluster, Asked(self.place.prometheus)))  # type: ignore[arg-type]

    async def _decide(self, cluster: Any, election: Election, events: Any, prometheus: Any) -> None:
        self.election = election
        await super()._decide(cluster, election, events, prometheus)


class Place:
    """A cluster with two Envoys at the first replica, clients, and a version 2 that has 10 %."""

    def __init__(self) -> None:
        self.control_plane = Rest(seed=1)
        self.server = self.control_plane.server
        for name in ("shop", "serin-system"):
            self.server.create(NAMESPACE, "", {"metadata": {"name": name}}, manager="kubectl")
        self.kubelets = Kubelets(self.server, self.control_plane.deletion)
        Workloads(self.server, self.control_plane.deletion)
        self.plan: Callable[[Request], Fault | None] = faults.nothing
        self.quality: dict[str, Quality] = {}
        self.prometheus = Prometheus(lambda: [envoy_target(one, one.envoy.node) for one in self.proxies])
        self.leader = Replica(self, "serin-0")
        self.envoys = [Envoy(f"router-{number}", self.leader.xds) for number in range(2)]
        self.proxies = [
            Proxy(one, lambda name: self.quality.get(name, Quality()), self.kubelets.is_reachable)
            for one in self.envoys
        ]
        self.clients = Clients("shop/fraud", lambda: self.proxies, rate=100.0)
        self.tasks: list[asyncio.Task[None]] = []
        self.stable = self.candidate = ""

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(coroutine))

    async def start(self) -> None:
        endpoints = [
            {
                "addresses": [f"10.9.0.{n}"],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": one.node},
            }
            for n, one in enumerate(self.envoys)
        ]
        labels = {"kubernetes.io/service-name": "serin-router", "serin.dev/model-deployment": ""}
        body = {"metadata": {"name": "router", "labels": labels}, "addressType": "IPv4", "endpoints": endpoints}
        self.server.create(kinds.ENDPOINT_SLICE, "serin-system", body, manager="kubectl")
        self.begin(self.leader.run())
        for envoy in self.envoys:
            envoy.start()
        self.begin(self.clients.run())
        self.begin(self.prometheus.run())
        self.apply("1")
        await self.until(lambda: self.state().stable)
        self.stable = str(self.state().stable)
        self.apply("2")
        await self.until(lambda: self.state().split.of(self.state().candidate or "") == 10)
        self.candidate = str(self.state().candidate)
        await asyncio.sleep(20.0)
        assert self.routed() == {self.stable: 90, self.candidate: 10}

    def apply(self, version: str) -> None:
        body = {"metadata": {"name": "fraud"}, "spec": spec(version, strategy=STEPS)}
        self.server.apply(kinds.MODEL_DEPLOYMENT, "shop", "fraud", body, manager="kubectl", force=True)

    def state(self) -> Any:
        return read_state(self.server.get(kinds.MODEL_DEPLOYMENT, "shop", "fraud").get("status") or {})

    def routed(self, number: int = 0) -> dict[str, int]:
        """What an Envoy does, by snapshot."""
        shares = self.envoys[number].weights("shop/fraud")
        return {name: round(100 * share) for name, share in shares.items() if share > 0}

    async def until(self, holds: Callable[[], object], seconds: float = 120.0) -> float:
        """Wait until it holds; how long that took."""
        started = clock.now()
        while not holds():
            assert clock.now() - started < seconds, "it did not happen"
            await asyncio.sleep(0.1)
        return clock.now() - started


def story(told: Callable[[Place], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        place = Place()
        await place.start()
        await told(place)
        for task in place.tasks:
            task.cancel()
        for envoy in place.envoys:
            await envoy.stop()

    with clock.everywhere():
        clock.run(main, seed=1)


def status_writes(fault: Fault) -> Callable[[Request], Fault | None]:
    """Every write of the deployment's status goes wrong."""
    return lambda request: fault if request.kind.name == "ModelDeployment" and request.subresource else None


def test_what_cannot_be_written_is_lowered_at_once_and_written_in_the_end() -> None:
    async def told(place: Place) -> None:
        place.plan = status_writes(Fault.NEVER_SENT)
        place.quality[place.candidate] = Quality(errors=0.8)
        await place.until(lambda: place.routed() == place.routed(1) == {place.stable: 100}, seconds=30.0)
        assert place.state().split.of(place.candidate) == 10, "nothing was written"
        await asyncio.sleep(120.0)
        assert place.routed() == place.routed(1) == {place.stable: 100}, "and nothing raises it again"
        place.plan = faults.nothing
        await place.until(lambda: place.state().split.of(place.stable) == 100, seconds=90.0)
        assert place.state().last_rollback.source == place.candidate
        assert len(place.leader.lowering) == 0
        assert place.leader.telemetry.rollbacks.labels("WorseThanStable")._value.get() == 1
        await asyncio.sleep(60.0)
        assert place.routed() == {place.stable: 100}
        assert not [one for one in place.server.store.all(kinds.DEPLOYMENT, "shop") if place.candidate in str(one)]

    story(told)


def test_the_whole_api_server_away_for_longer_than_a_term_raises_nothing() -> None:
    async def told(place: Place) -> None:
        place.quality[place.candidate] = Quality(errors=1.0)
        await asyncio.sleep(4.0)
        place.control_plane.stop()
        assert place.state().split.of(place.candidate) == 10
        await place.until(lambda: place.routed() == {place.stable: 100}, seconds=10.0)
        await asyncio.sleep(300.0)
        assert not place.leader.election.leading()
        assert place.routed() == place.routed(1) == {place.stable: 100}, "nobody has decided to go back up"
        place.control_plane.start()
        weights: list[dict[str, int]] = []

        def settled() -> bool:
            weights.append(place.routed())
            return place.state().split.of(place.stable) == 100

        await place.until(settled, seconds=90.0)
        assert all(one == {place.stable: 100} for one in weights)

    story(told)


def test_a_deposed_leader_lowers_nothing_and_gives_way_to_another() -> None:
    async def told(place: Place) -> None:
        place.plan = status_writes(Fault.NEVER_SENT)
        place.quality[place.candidate] = Quality(errors=0.8)
        await place.until(lambda: place.routed() == {place.stable: 100}, seconds=30.0)
        lease = place.server.get(kinds.LEASE, "serin-system", "serin")
        lease["spec"]["holderIdentity"] = "somebody"
        place.server.replace(kinds.LEASE, "serin-system", "serin", lease, manager="somebody")
        await place.until(lambda: not place.leader.election.leading(), seconds=15.0)
        await place.until(lambda: place.routed() == {place.stable: 90, place.candidate: 10}, seconds=5.0)
        assert len(place.leader.lowering) == 0, "somebody else decides now, and what is written is all that is known"
        await asyncio.sleep(10.0)
        assert place.routed() == {place.stable: 90, place.candidate: 10}

    story(told)


def test_without_the_lease_nothing_is_lowered_in_memory() -> None:
    async def told(place: Place) -> None:
        place.plan = status_writes(Fault.NEVER_SENT)
        place.leader.election._end = 0.0  # its own clock says that the term is over
        place.quality[place.candidate] = Quality(errors=0.8)
        place.control_plane.stop()
        await asyncio.sleep(60.0)
        assert place.routed() == {place.stable: 90, place.candidate: 10}

    story(told)


def test_a_change_of_the_deployment_outdates_what_was_decided_before() -> None:
    async def told(place: Place) -> None:
        place.plan = status_writes(Fault.NEVER_SENT)
        place.quality[place.candidate] = Quality(errors=0.8)
        await place.until(lambda: place.routed() == {place.stable: 100}, seconds=30.0)
        place.plan = faults.nothing
        place.apply("1")
        await place.until(lambda: place.state().split.of(place.stable) == 100, seconds=10.0)
        assert place.state().last_rollback is None, "the spec is back at stable: that, and no rollback"
        assert len(place.leader.lowering) == 0

    story(told)


def test_nothing_is_lowered_to_nobody() -> None:
    async def told(place: Place) -> None:
        place.plan = status_writes(Fault.NEVER_SENT)
        place.quality[place.candidate] = Quality(errors=0.8)
        await place.until(lambda: place.routed() == {place.stable: 100}, seconds=30.0)
        for pod in place.server.store.all(kinds.POD, "shop"):
            if pod["metadata"]["labels"]["serin.dev/snapshot"] == place.stable:
                place.kubelets.crash("shop", pod["metadata"]["name"])
        await place.until(lambda: place.routed().get(place.candidate), seconds=30.0)

    story(told)
