"""The queries that the collector sends, against traffic of which everything is known."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serin.analysis.types import HistogramTick, NoData, RatioTick
from serin.api.conditions import Reason
from serin.api.parse import parse_model_deployment
from serin.metrics.collector import Collector, Want
from serin.routers.endpoints import Endpoint
from tests import crds
from tests.catalog import CATALOG
from tests.simulation import clock
from tests.simulation.clock import Clock
from tests.simulation.envoys import Envoy
from tests.simulation.prometheus import Adapter, Prometheus, Target, Twins, Unsupported, envoy_target
from tests.simulation.test_envoys import Xds, candidate, in_virtual_time
from tests.simulation.traffic import Clients, Proxy, Quality

METRICS = {
    metric.name: metric
    for metric in parse_model_deployment(
        crds.defaulted(
            {
                "apiVersion": "serin.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": "fraud", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 1},
                "spec": {"port": 80, "template": {"spec": {"containers": [{"name": "m", "image": "i"}]}}},
            }
        )
    ).spec.metrics
}


STABLE_PODS = tuple(Endpoint(f"10.0.0.{number}", 80) for number in range(10, 13))  # fewer say nothing of dispersion


class Rig:
    """Two Envoys that send 10 % to a candidate, clients, and a Prometheus that scrapes them."""

    def __init__(self) -> None:
        self.xds = Xds()
        self.envoys = [Envoy(f"envoy-{number}", self.xds.link) for number in range(2)]
        self.quality = {"fraud-a": Quality(errors=0.01), "fraud-b": Quality(errors=0.2, median=40.0)}
        self.proxies = [Proxy(one, lambda name: self.quality[name], lambda _address: True) for one in self.envoys]
        self.clients = Clients("shop/fraud", lambda: self.proxies, 100.0)
        self.prometheus = self.server()

    def server(self, seed: int = 0, machine: Clock | None = None) -> Prometheus:
        return Prometheus(self.targets, seed=seed, clock=machine)

    def targets(self) -> list[Target]:
        return [envoy_target(proxy, f"10.0.1.{index}:9902") for index, proxy in enumerate(self.proxies)]

    async def start(self) -> None:
        for envoy in self.envoys:
            envoy.start()
        self.xds.server.update([candidate(90, 10, stable=STABLE_PODS)])
        await asyncio.sleep(5.0)
        self.tasks = [asyncio.create_task(self.clients.run()), asyncio.create_task(self.prometheus.run())]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()


def rigged(main: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        rig = Rig()
        await rig.start()
        await main(rig)
        await rig.stop()

    in_virtual_time(run)


def want(metric: str, since: float) -> Want:
    return Want("shop", "fraud", "fraud-b", "fraud-a", METRICS[metric], since)


def test_the_collector_counts_what_really_happened() -> None:
    async def main(rig: Rig) -> None:
        collector, since = Collector(Adapter(rig.prometheus), CATALOG, patience=10.0), clock.wall()
        await asyncio.sleep(600.0)
        found = await collector.collect(clock.wall(), [want("errors", since), want("latency", since)])
        errors, latency = found["shop", "fraud", "fraud-b", "errors"], found["shop", "fraud", "fraud-b", "latency"]
        assert isinstance(errors, RatioTick)
        assert isinstance(latency, HistogramTick)
        assert errors.candidate.requests == pytest.approx(6_000, rel=0.1)
        assert errors.candidate.bad / errors.candidate.requests == pytest.approx(0.2, abs=0.02)
        assert errors.stable.requests == pytest.approx(54_000, rel=0.1)
        assert errors.stable.bad / errors.stable.requests == pytest.approx(0.01, abs=0.003)

    rigged(main)


def test_ticks_in_a_row_lose_nothing_and_count_nothing_twice() -> None:
    async def main(rig: Rig) -> None:
        collector, since, total = Collector(Adapter(rig.prometheus), CATALOG, patience=10.0), clock.wall(), 0
        for _ in range(60):
            await asyncio.sleep(5.0)
            tick = (await collector.collect(clock.wall(), [want("errors", since)])).get(
                ("shop", "fraud", "fraud-b", "errors")
            )
            if isinstance(tick, RatioTick):
                total, since = total + tick.candidate.requests, tick.at
        rig.clients.rate = 0.0
        await asyncio.sleep(30.0)
        tick = (await collector.collect(clock.wall(), [want("errors", since)]))["shop", "fraud", "fraud-b", "errors"]
        assert isinstance(tick, RatioTick)
        counted = sum(
            value
            for proxy in rig.proxies
            for (name, labels), value in proxy.counters.values.items()
            if name == "envoy_serin_attempts" and ("serin_snapshot", "fraud-b") in labels
        )
        assert total + tick.candidate.requests == counted

    rigged(main)


def test_pods_that_differ_are_seen_by_minute() -> None:
    async def main(rig: Rig) -> None:
        collector = Collector(Adapter(rig.prometheus), CATALOG, patience=10.0)
        await asyncio.sleep(3600.0)
        found = await collector.overdispersion(clock.wall(), [want("errors", clock.wall() - 600.0)])
        assert found["shop", "fraud", "fraud-b", "errors"] == 1.0, "they do not differ"
        assert any("[60m:1m]" in query for query, _ in rig.prometheus.queries)

    rigged(main)


def reason_of(rig: Rig, change: Callable[[Rig], None], seconds: float) -> Coroutine[Any, Any, Reason]:
    async def ask() -> Reason:
        collector = Collector(Adapter(rig.prometheus), CATALOG, patience=10.0)
        await asyncio.sleep(60.0)
        change(rig)
        since = clock.wall()
        await asyncio.sleep(seconds)
        tick = (await collector.collect(clock.wall(), [want("errors", since)]))["shop", "fraud", "fraud-b", "errors"]
        assert isinstance(tick, NoData), tick
        return tick.reason

    return ask()


def test_unreachable() -> None:
    async def main(rig: Rig) -> None:
        def change(_rig: Rig) -> None:
            rig.prometheus.unreachable = "connection refused"

        assert await reason_of(rig, change, 1.0) is Reason.PROMETHEUS_UNREACHABLE

    rigged(main)


def test_too_slow() -> None:
    async def main(rig: Rig) -> None:
        def change(_rig: Rig) -> None:
            rig.prometheus.delay = 60.0

        assert await reason_of(rig, change, 1.0) is Reason.PROMETHEUS_UNREACHABLE

    rigged(main)


def test_an_answer_in_part() -> None:
    async def main(rig: Rig) -> None:
        def change(_rig: Rig) -> None:
            rig.prometheus.warnings = ("a store did not answer",)

        assert await reason_of(rig, change, 1.0) is Reason.PARTIAL

    rigged(main)


def test_empty_after_a_restart() -> None:
    async def main(rig: Rig) -> None:
        def change(_rig: Rig) -> None:
            rig.proxies.clear()
            rig.prometheus.restart()

        assert await reason_of(rig, change, 1.0) is Reason.SERIES_ABSENT

    rigged(main)


def test_targets_that_are_down() -> None:
    async def main(rig: Rig) -> None:
        def change(_rig: Rig) -> None:
            for proxy in rig.proxies:
                proxy.exposition = lambda: None  # type: ignore[assignment,method-assign,return-value]

        assert await reason_of(rig, change, 600.0) is Reason.TARGET_DOWN

    rigged(main)


def test_twins_do_not_agree_to_the_second() -> None:
    async def main(rig: Rig) -> None:
        other = rig.server(seed=1)
        scraping = asyncio.create_task(other.run())
        await asyncio.sleep(60.0)
        twins = Adapter(Twins(rig.prometheus, other))
        query = 'envoy_serin_attempts{serin_snapshot="fraud-a",serin_slot="0"}[30s]'
        first, second = [await twins.query(query, clock.wall()) for _ in range(2)]
        assert first.series[0].times != second.series[0].times  # type: ignore[union-attr]
        scraping.cancel()

    rigged(main)


def test_a_clock_that_is_wrong() -> None:
    async def main(rig: Rig) -> None:
        ahead = rig.server(machine=Clock(skew=120.0))
        scraping = asyncio.create_task(ahead.run())
        await asyncio.sleep(60.0)
        _, none = await ahead.ask("up[30s]", clock.wall())
        _, some = await ahead.ask("up[30s]", clock.wall() + 120.0)
        assert (len(none["data"]["result"]), len(some["data"]["result"])) == (0, 2)
        scraping.cancel()

    rigged(main)


def test_windows_and_staleness() -> None:
    async def main() -> None:
        shown: dict[Any, float] = {("a", ()): 1.0}
        prometheus = Prometheus(lambda: [Target("job", "one", lambda: shown)])
        scraping = asyncio.create_task(prometheus.run())
        await asyncio.sleep(60.0)

        async def ask(query: str, at: float) -> Any:
            _, body = await prometheus.ask(query, at)
            return body["data"]["result"]

        [series] = await ask("a[60s]", clock.wall())
        last = series["values"][-1][0]
        [window] = await ask("a[10s]", last)
        assert [at for at, _ in window["values"]] == [last - 5.0, last], "open at its lower end"
        await asyncio.sleep(130.0)
        [minutes] = await ask("a[3m:1m]", clock.wall())
        assert [at % 60.0 for at, _ in minutes["values"]] == [0.0, 0.0, 0.0]
        shown.clear()
        await asyncio.sleep(10.0)
        assert await ask("a", clock.wall()) == []
        assert [one["value"][1] for one in await ask("last_over_time(a[1m])", clock.wall())] == ["1.0"]
        assert [one["value"][1] for one in await ask("up", clock.wall())] == ["1.0"]
        scraping.cancel()

    clock.run(main)


@pytest.mark.parametrize("query", ["rate(a[5m])", "a + b", "topk(1, a)", "a offset 5m", "sum without (x) (a)", "1"])
def test_what_is_not_known_is_said(query: str) -> None:
    async def main() -> None:
        with pytest.raises(Unsupported):
            await Prometheus(list).ask(query, 0.0)

    clock.run(main)


def test_what_is_no_promql_is_answered_as_prometheus_does() -> None:
    async def main() -> None:
        status, body = await Prometheus(list).ask("sum(", 0.0)
        assert (status, body["errorType"]) == (400, "bad_data")

    clock.run(main)
