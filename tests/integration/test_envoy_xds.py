"""The xDS server with a real Envoy: shares, propagation, restarts, refusals, draining."""

import asyncio
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from serin.api.names import Key
from serin.api.serving import Serving
from serin.api.split import Split, all_to, between
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.settings import EnvoySettings
from serin.routers.envoy.xds import server as xds_server
from serin.routers.envoy.xds.resources import DiscoveryRequest
from serin.routers.envoy.xds.server import XdsServer
from tests.cluster.ports import free_port
from tests.integration.envoy_rig import (
    CANDIDATE,
    DEPLOYMENT,
    NAMESPACE,
    STABLE,
    Envoy,
    ModelServer,
    Rig,
    eventually,
    model,
    rig,
)


def assert_share(seen: int, total: int, percent: float) -> None:
    """Within 5 standard deviations: wrong by chance less than once in 50,000 times, also for shares of 1 %."""
    expected = total * percent / 100
    allowed = 5 * math.sqrt(total * percent / 100 * (1 - percent / 100))
    assert abs(seen - expected) <= allowed, f"{seen} of {total} for {percent}%, {allowed:.0f} off at most"


async def test_shares_are_the_weights(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        for weight in (0, 1, 5, 25, 50, 100):
            await it.route(weight)
            seen = await it.send(800, rate=400)
            print(f"{weight}%: {seen[CANDIDATE]} of 800")
            assert seen["200"] == 800
            if weight in (0, 100):
                assert seen[CANDIDATE] == 800 * weight / 100
            assert_share(seen[CANDIDATE], 800, weight)


async def test_three_snapshots_share_by_their_weights(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        third = await ModelServer("third").start()
        wanted = model(it.port, (it.stable,), (it.candidate,), 30)
        arms = (*(replace(arm, weight=20) for arm in wanted.arms), Arm("fraud-third", 60, (third.endpoint,)))
        wanted = replace(wanted, arms=arms)
        it.xds.update([wanted])
        await it.served(wanted)
        seen = await it.send(1000, rate=400)
        await third.stop()
        for snapshot, weight in ((STABLE, 20), (CANDIDATE, 20), ("fraud-third", 60)):
            assert_share(seen[snapshot], 1000, weight)


async def test_a_change_is_served_as_soon_as_it_is_made(tmp_path: Path) -> None:
    """From `update` to the first answer by the other version, and to Envoy's acknowledgement."""
    async with rig(tmp_path) as it:
        await it.route(50)
        served = []
        for number in range(20):
            await asyncio.sleep(0.05 * (number % 5))
            weight = 100 * (number % 2)
            it.xds.update([model(it.port, (it.stable,), (it.candidate,), weight)])
            started = time.monotonic()
            expected = CANDIDATE if weight else STABLE
            while (await it.send(1))[expected] == 0 or (await it.send(1))[expected] == 0:
                pass
            served.append(time.monotonic() - started)
            await it.served(model(it.port, (it.stable,), (it.candidate,), weight))
        acknowledged = it.propagations[-20:]
        for name, times in (("served", served), ("acknowledged", acknowledged)):
            print(f"{name} after: median {statistics.median(times):.3f} s, longest {max(times):.3f} s")
        # The machine may hold one up, but a router that has to ask anew would hold up most.
        assert statistics.median(served) < 1.0
        assert statistics.median(acknowledged) < 1.0


async def test_envoy_goes_on_while_the_operator_is_away(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(30)
        await it.xds.stop()
        seen = await it.send(400)
        assert seen["200"] == 400
        assert_share(seen[CANDIDATE], 400, 30)


async def test_a_restarted_operator_never_empties_envoy(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(30)
        traffic = asyncio.create_task(it.send(1000))
        await it.xds.stop()
        it.xds = XdsServer(listen_address="127.0.0.1")
        await it.xds.start("127.0.0.1", it.xds_port)
        await asyncio.sleep(1.0)  # caches not synced yet
        assert it.xds.observe(NAMESPACE, DEPLOYMENT) is None
        wanted = model(it.port, (it.stable,), (it.candidate,), 30)
        it.xds.update([wanted])
        await it.served(wanted)
        changed = model(it.port, (it.stable,), (it.candidate,), 0)
        it.xds.update([changed])
        await it.served(changed)
        seen = await traffic
        assert seen["200"] == 1000
        assert (await it.send(50))[STABLE] == 50


async def test_a_new_envoy_is_not_ready_before_it_has_its_configuration(tmp_path: Path) -> None:
    xds = XdsServer(listen_address="127.0.0.1")
    server = await ModelServer("stable").start()
    envoy = await Envoy(tmp_path, await xds.start("127.0.0.1", 0)).start()
    try:
        await eventually(lambda: envoy.get("/ready", envoy.admin_port), lambda found: found[0] == 503)
        await asyncio.sleep(1.0)
        assert (await envoy.get("/ready", envoy.admin_port))[0] == 503
        assert (await envoy.get("/ready"))[0] == 0, "it listens nowhere before it has its configuration"
        port = free_port()
        xds.update([model(port, (server,))])
        await envoy.ready()
        assert (await envoy.get("/predict", port))[0] == 200
    finally:
        await envoy.stop()
        await xds.stop()
        await server.stop()


async def test_no_request_fails_while_weights_and_pods_change_a_hundred_times(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.stable.delay = it.candidate.delay = 0.02
        traffic = asyncio.create_task(it.send(2400, rate=150))
        pods = [await ModelServer("extra").start() for _ in range(2)]
        stable = (it.stable, pods[0])
        for number in range(100):
            stable = (it.stable, pods[number % 2]) if number % 3 else (it.stable,)
            it.xds.update([model(it.port, stable, (it.candidate,), (number * 37) % 101)])
            await asyncio.sleep(0.14)
        seen = await traffic
        print(dict(seen), f"{len(it.propagations)} routes were acknowledged")
        assert seen["200"] == 2400
        assert pods[0].truth["answered"] > 10
        assert pods[1].truth["answered"] > 10
        for pod in pods:
            await pod.stop()


async def test_a_rollout_and_its_removal_break_nothing(tmp_path: Path) -> None:
    """The candidate's cluster comes and goes in the same update as the route that names it."""
    async with rig(tmp_path) as it:
        only = model(it.port, (it.stable,))
        both = model(it.port, (it.stable,), (it.candidate,), 100)
        async with it.traffic() as seen:
            for number in range(10):
                it.xds.update([only])
                await it.served(only)
                it.xds.update([both])
                await it.served(both)
                wanted = 10 * (number + 1)
                await eventually(lambda: it.candidate.count("answered"), lambda count, wanted=wanted: count >= wanted)
            it.xds.update([only])
            await it.served(only)
        assert seen["200"] == seen["sent"] >= 100

        async def clusters() -> str:
            return (await it.envoy.get("/clusters", it.envoy.admin_port))[1]

        await eventually(clusters, lambda text: CANDIDATE not in text)
        assert STABLE in await clusters()


async def test_a_router_option_changes_without_a_failed_request(tmp_path: Path) -> None:
    """It replaces the listener, and the counts go on."""
    async with rig(tmp_path) as it:
        await it.route(50)
        traffic = asyncio.create_task(it.send(600))
        for hedge_after in (100.0, None, 100.0):
            await asyncio.sleep(0.6)
            it.xds.update([model(it.port, (it.stable,), (it.candidate,), 50, EnvoySettings(hedge_after=hedge_after))])
        seen = await traffic
        assert seen["200"] == 600
        await eventually(lambda: it.envoy.count("envoy_serin_attempts"), lambda count: count == 600)


def other(port: int, *endpoints: Endpoint, timeout: float = 300.0) -> RoutedModel:
    arm = Arm("other-stable", 100, endpoints, Serving(timeout=timeout))
    return RoutedModel(NAMESPACE, "other", port, EnvoySettings(), "other-stable", (arm,))


async def assert_isolated(it: Rig, bad: RoutedModel, words: str) -> None:
    """`bad` is refused with these words in its message, and the deployment beside it goes on changing."""
    it.xds.update([model(it.port, (it.stable,), (it.candidate,), 10), bad])

    async def refused() -> str:
        return it.xds.refused().get(bad.key, "")

    message = await eventually(refused, lambda text: words in text)
    print(f"refused: {message}")
    assert set(it.xds.refused()) == {bad.key}
    third = replace(model(free_port(), (it.stable,), name="third"))
    wanted = model(it.port, (it.stable,), (it.candidate,), 60)
    it.xds.update([wanted, bad, third])
    await it.served(wanted)
    await it.served(third)
    await eventually(lambda: it.envoy.get("/predict", third.port), lambda found: found[0] == 200)
    assert_share((await it.send(300))[CANDIDATE], 300, 60)
    assert set(it.xds.refused()) == {bad.key}


async def test_a_port_that_is_taken_blocks_its_own_deployment_alone(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await assert_isolated(it, other(it.stable.port, it.stable.endpoint), "listener shop/other")
        mended = other(free_port(), it.stable.endpoint)
        it.xds.update([model(it.port, (it.stable,), (it.candidate,), 60), mended])
        await it.served(mended)
        assert it.xds.refused() == {}
        await eventually(lambda: it.envoy.get("/predict", mended.port), lambda found: found[0] == 200)


async def test_an_address_that_envoy_refuses_blocks_its_own_deployment_alone(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        good = other(free_port(), it.stable.endpoint)
        it.xds.update([model(it.port, (it.stable,), (it.candidate,), 10), good])
        await it.served(good)
        bad = replace(good, arms=(replace(good.arms[0], endpoints=(Endpoint("no-address", 80),)),))
        await assert_isolated(it, bad, "endpoints shop/other/other-stable")
        assert (await it.envoy.get("/predict", good.port))[0] == 200, "the pods that were accepted last still serve"
        it.xds.update([model(it.port, (it.stable,), (it.candidate,), 60), good])
        assert it.xds.refused() == {}


async def test_a_cluster_that_envoy_refuses_gets_no_route(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        # No protocol of HTTP knows such a time-out, and Envoy's durations end at 315,576,000,000 s.
        bad = other(free_port(), it.stable.endpoint, timeout=1e13)
        await assert_isolated(it, bad, "shop/other")


async def test_over_rest_envoy_says_that_it_refuses_but_not_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is in its log alone. Were it in `error_detail`, quarantine.py would not have to find out by trying."""
    requests: list[dict[str, Any]] = []

    def recorded(kind: str, body: dict[str, Any]) -> DiscoveryRequest:
        requests.append(body)
        return read(kind, body)

    read = xds_server._read
    monkeypatch.setattr(xds_server, "_read", recorded)
    xds, server = XdsServer(listen_address="127.0.0.1"), await ModelServer("stable").start()
    envoy = await Envoy(tmp_path, await xds.start("127.0.0.1", 0)).start()
    bad = {
        "listeners": other(server.port, server.endpoint),
        "endpoints": other(free_port(), Endpoint("no-address", 80)),
        "routes": other(free_port(), server.endpoint, timeout=1e13),
    }
    try:
        xds.update([])
        await envoy.ready()
        for kind, refused in bad.items():
            xds.update([refused])

            async def words(kind: str = kind) -> str:
                lines = envoy.log.read_text().splitlines()
                return next((line for line in lines if f"REST config for /v3/discovery:{kind} rejected: " in line), "")

            await eventually(words, bool)

            async def known() -> dict[Key, str]:
                return dict(xds.refused())

            await eventually(known, lambda found: bad["routes"].key in found)
            xds.update([])
        said = {key for body in requests for key in body}
        assert said == {"node", "resource_names", "type_url", "version_info"}, "use error_detail"
    finally:
        await envoy.stop()
        await xds.stop()
        await server.stop()


async def test_every_envoy_must_have_the_split_before_it_counts(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        second = await Envoy(tmp_path, it.xds_port, name="router-2").start()
        it.envoys.append(second)
        await second.ready()
        assert it.xds.envoys() == 2
        await it.route(40)
        assert it.xds.observe(NAMESPACE, DEPLOYMENT) == between(STABLE, CANDIDATE, 40)
        assert it.xds.observe(NAMESPACE, "unknown") is None
        await second.stop()

        async def envoys() -> int:
            return it.xds.envoys()

        await eventually(envoys, lambda count: count == 1)
        assert it.xds.observe(NAMESPACE, DEPLOYMENT) == between(STABLE, CANDIDATE, 40)


async def test_a_held_request_that_times_out_is_no_failure_for_envoy(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.xds.stop()
        it.xds = XdsServer(listen_address="127.0.0.1", hold=0.3)
        await it.xds.start("127.0.0.1", it.xds_port)
        wanted = model(it.port, (it.stable,), (it.candidate,), 0)
        it.xds.update([wanted])
        await it.served(wanted)
        before = await it.envoy.scrape()
        await asyncio.sleep(2.0)
        after = await it.envoy.scrape()
        for series in ("envoy_cluster_manager_cds_update_failure", "envoy_cluster_manager_cds_update_rejected"):
            assert after.total(series) == before.total(series)
        await it.route(100)
        assert (await it.send(20))[CANDIDATE] == 20


async def test_without_a_ready_pod_the_answer_says_so(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        empty = model(it.port, ())
        it.xds.update([empty])
        await eventually(lambda: it.envoy.get("/", it.port), lambda found: found[0] == 503)
        async with it.client.get(it.url) as response:
            assert response.status == 503
            assert await response.text() == (
                "serin: no pod of model deployment shop/fraud is ready (snapshot fraud-stable)\n"
            )


async def test_a_candidate_without_pods_gets_no_request(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        both = model(it.port, (it.stable,), (it.candidate,), 50)
        gone = replace(both, arms=(both.arms[0], replace(both.arms[1], endpoints=())))
        it.xds.update([gone])
        await it.served(gone)
        assert it.xds.observe(NAMESPACE, DEPLOYMENT) == all_to(STABLE) == Split({STABLE: 100})
        seen = await it.send(100)
        assert seen[STABLE] == seen["200"] == 100
        assert seen["shielded"] == 0


async def test_the_metrics_port_leads_to_two_paths_alone(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        assert (await it.envoy.get("/stats/prometheus"))[0] == 200
        assert (await it.envoy.get("/ready"))[0] == 200
        for path in (
            "/",
            "/quitquitquit",
            "/config_dump",
            "/stats",
            "/logging",
            "/stats/prometheus/../../quitquitquit",
        ):
            assert (await it.envoy.get(path))[0] == 404, path
        url = f"http://127.0.0.1:{it.envoy.metrics_port}/quitquitquit"
        async with aiohttp.ClientSession() as session, session.post(url) as response:
            assert response.status == 404


async def test_series_carry_labels_and_stay_few(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.route(50)
        await it.send(100)
        scrape = await it.envoy.scrape()
        for snapshot in (STABLE, CANDIDATE):
            assert scrape.count("envoy_cluster_membership_total", serin_snapshot=snapshot) > 0
            assert scrape.count("envoy_serin_attempts", serin_snapshot=snapshot, serin_attempt="first") > 20
        plain = [sample for sample in scrape.samples if not sample.name.endswith("_bucket")]
        print(f"{len(plain)} series beside {len(scrape.samples) - len(plain)} buckets")
        assert len(plain) < 40
