"""Simulated Envoys with the operator's own xDS server, and what becomes of requests through them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import pytest

from serin.routers.endpoints import Endpoint
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.settings import EnvoySettings, Shield
from serin.routers.envoy.xds.server import XdsServer
from tests.simulation import clock
from tests.simulation.envoys import CLUSTERS, AppLink, Envoy, HttpLink, until
from tests.simulation.traffic import NOBODY, Clients, Proxy, Quality, Served

NAME = "shop/fraud"
STABLE = tuple(Endpoint(f"10.0.0.{number}", 80) for number in (1, 2))
CANDIDATE = (Endpoint("10.0.0.3", 80),)


def in_virtual_time(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with clock.everywhere():
        clock.run(main)


def stable(*endpoints: Endpoint) -> RoutedModel:
    return RoutedModel("shop", "fraud", 10001, EnvoySettings(), "fraud-a", (Arm("fraud-a", 100, endpoints or STABLE),))


def candidate(
    weight: int,
    other: int,
    endpoints: tuple[Endpoint, ...] = CANDIDATE,
    shield: Shield = Shield.FAILURES,
    stable: tuple[Endpoint, ...] = STABLE,
) -> RoutedModel:
    arms = (Arm("fraud-a", weight, stable), Arm("fraud-b", other, endpoints))
    return RoutedModel("shop", "fraud", 10001, EnvoySettings(shield=shield), "fraud-a", arms)


class Xds:
    """The operator's xDS server, in memory."""

    def __init__(self) -> None:
        self.server = XdsServer()
        self.link = AppLink(self.server.app())

    def taken(self) -> dict[str, int]:
        split = self.server.observe("shop", "fraud")
        return dict(split.weights) if split else {}


async def started(xds: Xds, count: int = 2) -> list[Envoy]:
    envoys = [Envoy(f"envoy-{number}", xds.link) for number in range(count)]
    for envoy in envoys:
        envoy.start()
    xds.server.update([stable()])
    await until(lambda: xds.taken() == {"fraud-a": 100})
    return envoys


class TestConfiguration:
    def test_nothing_before_the_operator_is_synced(self) -> None:
        async def main() -> None:
            xds = Xds()
            envoy = Envoy("envoy-0", xds.link)
            envoy.start()
            await asyncio.sleep(60.0)
            assert envoy.deployments() == frozenset()
            xds.server.update([stable()])
            await until(lambda: NAME in envoy.deployments())
            assert envoy.port(NAME) == 10001
            assert envoy.membership() == {f"{NAME}/fraud-a": 2}

        in_virtual_time(main)

    def test_make_before_break(self) -> None:
        async def main() -> None:
            xds = Xds()
            envoys = await started(xds)
            known: list[bool] = []
            for envoy in envoys:
                # Whatever it takes, and whenever: its routes name no cluster that it has not.
                envoy.listen(lambda one=envoy: known.append(_names(one) <= one.membership().keys()))  # type: ignore[misc]
            xds.server.update([candidate(95, 5)])
            await until(lambda: xds.taken() == {"fraud-a": 95, "fraud-b": 5})
            assert envoys[0].weights(NAME) == pytest.approx({"fraud-b": 0.05, "fraud-a": 0.95})
            xds.server.update([stable()])
            await until(lambda: all(len(one.clusters()) == 1 for one in envoys))
            assert all(known)
            assert len(known) > 8

        in_virtual_time(main)

    def test_what_envoys_refuse_is_told(self) -> None:
        async def main() -> None:
            xds = Xds()
            envoys = await started(xds)
            for envoy in envoys:
                envoy.refuses = lambda kind, one: kind == CLUSTERS and one["name"].endswith("fraud-b")
            xds.server.update([candidate(95, 5)])
            await until(lambda: xds.server.refused() != {})
            assert f"refuses the cluster {NAME}/fraud-b" in xds.server.refused()["shop", "fraud"]
            assert f"{NAME}/fraud-b" not in envoys[1].clusters()
            assert envoys[1].weights(NAME) == {"fraud-a": 1.0}

        in_virtual_time(main)

    def test_a_lagging_and_a_parted_envoy_keep_what_they_have(self) -> None:
        async def main() -> None:
            xds = Xds()
            envoys = await started(xds, 3)
            envoys[1].lag = 5.0
            envoys[2].connect(None)
            xds.server.update([candidate(95, 5)])
            await asyncio.sleep(4.0)
            assert [dict(one.weights(NAME)).get("fraud-b", 0.0) for one in envoys] == [0.05, 0.0, 0.0]
            await asyncio.sleep(60.0)
            assert [dict(one.weights(NAME)).get("fraud-b", 0.0) for one in envoys] == [0.05, 0.05, 0.0]
            assert xds.server.envoys() == 2
            envoys[2].connect(xds.link)
            await until(lambda: "fraud-b" in envoys[2].weights(NAME))

        in_virtual_time(main)

    def test_restarts_of_envoy_and_of_the_operator(self) -> None:
        async def main() -> None:
            xds = Xds()
            [envoy] = await started(xds, 1)
            await envoy.restart()
            assert envoy.deployments() == frozenset()
            await until(lambda: NAME in envoy.deployments())
            other = Xds()
            envoy.connect(other.link)
            await asyncio.sleep(10.0)
            assert NAME in envoy.deployments(), "an operator that knows nothing yet takes nothing away"
            other.server.update([candidate(90, 10)])
            await until(lambda: other.taken() == {"fraud-a": 90, "fraud-b": 10})

        in_virtual_time(main)

    async def test_by_http(self) -> None:
        server = XdsServer()
        port = await server.start("127.0.0.1", 0)
        async with aiohttp.ClientSession() as session:
            envoy = Envoy("envoy-0", HttpLink(session, f"http://127.0.0.1:{port}"))
            envoy.start()
            server.update([stable()])
            await until(lambda: server.observe("shop", "fraud") is not None)
            assert envoy.weights(NAME) == {"fraud-a": 1.0}
            await envoy.stop()
        await server.stop()


def _names(envoy: Envoy) -> frozenset[str]:
    return frozenset(one["route"]["cluster"] for one in envoy.routes(NAME) if "route" in one)


def served(
    model: RoutedModel, quality: dict[str, Quality], down: tuple[str, ...] = (), *, even: bool = False
) -> tuple[Served, Proxy]:
    """10,000 requests to a model."""
    found: list[tuple[Served, Proxy]] = []

    async def main() -> None:
        xds = Xds()
        [envoy] = await started(xds, 1)
        xds.server.update([model])
        await asyncio.sleep(10.0)
        there = lambda address: address not in down  # noqa: E731
        proxy = Proxy(envoy, lambda name: quality.get(name, Quality()), there, seed=1, even=even)
        found.append((proxy.serve(NAME, 10_000), proxy))

    in_virtual_time(main)
    return found[0]


def count(proxy: Proxy, name: str, **labels: str) -> float:
    return sum(
        value
        for (series, found), value in proxy.counters.values.items()
        if series == name and dict(found).items() >= labels.items()
    )


class TestRequests:
    def test_go_by_the_weights(self) -> None:
        result, _ = served(candidate(75, 25), {})
        assert result.by["fraud-b"] == pytest.approx(2_500, rel=0.1)
        assert (result.failed, sum(result.by.values())) == (0, 10_000)

    def test_fail_as_often_as_they_should_where_no_chance_is_wanted(self) -> None:
        _, proxy = served(candidate(75, 25), {"fraud-b": Quality(errors=0.02)}, even=True)
        attempts = count(proxy, "envoy_serin_attempts", serin_snapshot="fraud-b")
        assert 0.0 <= 0.02 * attempts - count(proxy, "envoy_serin_failures", serin_snapshot="fraud-b") < 1.0

    def test_stable_answers_what_the_candidate_fails(self) -> None:
        result, proxy = served(candidate(75, 25), {"fraud-b": Quality(errors=0.5)})
        assert (result.failed, result.nobody) == (0, 0)
        failures = count(proxy, "envoy_serin_failures", serin_snapshot="fraud-b", serin_attempt="first")
        assert failures == result.shielded == count(proxy, "envoy_serin_attempts", serin_attempt="shield")
        assert failures == pytest.approx(1_250, rel=0.15)
        assert count(proxy, "envoy_serin_answer_failures") == 0

    def test_without_a_shield_clients_see_it(self) -> None:
        result, proxy = served(candidate(75, 25, shield=Shield.OFF), {"fraud-b": Quality(errors=0.5)})
        assert result.failed == count(proxy, "envoy_serin_answer_failures") == pytest.approx(1_250, rel=0.15)

    def test_what_was_never_sent_is_sent_again(self) -> None:
        result, _ = served(candidate(75, 25, shield=Shield.UNSENT), {"fraud-b": Quality(errors=0.5)}, ("10.0.0.3",))
        assert result.failed == 0

    def test_what_was_sent_is_not(self) -> None:
        result, _ = served(candidate(75, 25, shield=Shield.UNSENT), {"fraud-b": Quality(errors=0.5)})
        assert result.failed == pytest.approx(1_250, rel=0.15)

    def test_a_pod_that_does_not_answer_is_passed_by(self) -> None:
        result, proxy = served(stable(), {}, ("10.0.0.1",))
        assert result.failed == 0
        assert count(proxy, "envoy_serin_failures", serin_snapshot="fraud-a") == pytest.approx(5_000, rel=0.1)

    def test_when_nobody_is_there(self) -> None:
        result, _ = served(stable(), {}, ("10.0.0.1", "10.0.0.2"))
        assert (result.failed, result.nobody, result.by[NOBODY]) == (10_000, 10_000, 10_000)

    def test_a_deployment_that_nobody_serves(self) -> None:
        empty = RoutedModel("shop", "fraud", 10001, EnvoySettings(), "fraud-a", (Arm("fraud-a", 100, ()),))
        result, _ = served(empty, {})
        assert result.by == {NOBODY: 10_000}

    def test_a_restart_forgets_the_counters(self) -> None:
        async def main() -> None:
            xds = Xds()
            [envoy] = await started(xds, 1)
            proxy = Proxy(envoy, lambda _name: Quality(), lambda _address: True)
            clients = Clients(NAME, lambda: [proxy], 100.0)
            sending = asyncio.create_task(clients.run())
            await asyncio.sleep(60.0)
            before = count(proxy, "envoy_serin_attempts")
            assert before == pytest.approx(6_000, rel=0.1)
            await envoy.restart()
            assert count(proxy, "envoy_serin_attempts") == 0
            assert proxy.serve(NAME, 10).nobody == 10, "until it has its routes again"
            await asyncio.sleep(30.0)
            assert proxy.serve(NAME, 10).nobody == 0
            sending.cancel()
            assert count(proxy, "envoy_serin_attempts") < before

        in_virtual_time(main)

    def test_the_same_seed_is_the_same_traffic(self) -> None:
        quality = {"fraud-b": Quality(errors=0.3)}
        assert served(candidate(75, 25), quality)[0] == served(candidate(75, 25), quality)[0]
