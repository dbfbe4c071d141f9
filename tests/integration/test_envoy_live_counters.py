"""The router's counters, read from real Envoys: the same as what a real Prometheus says of them, only sooner."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from serin.analysis.types import HistogramTick, RatioTick, Tick
from serin.api.names import Key
from serin.api.spec import Metric, TemplateRef
from serin.api.verdicts import Against, Severity
from serin.controller.live_evidence import LiveEvidence
from serin.controller.telemetry import Telemetry
from serin.metrics.collector import Collector, Want
from serin.metrics.prometheus import Prometheus, Settings
from serin.routers.base import CountersUnread, PodCounters, RouterPod
from serin.routers.envoy.live import LiveCounters
from tests.catalog import CATALOG
from tests.integration.envoy_rig import CANDIDATE, DEPLOYMENT, NAMESPACE, STABLE, Envoy, Rig, eventually, rig
from tests.integration.prometheus_server import PrometheusServer
from tests.unit.routers.test_envoy_live import pods

pytestmark = pytest.mark.usefixtures("debian_packages")

METRICS = {
    name: Metric(name, TemplateRef(f"request-{name}"), Severity.CRITICAL, Against.STABLE)
    for name in ("errors", "latency", "rejections")
}
PLACE = (NAMESPACE, DEPLOYMENT)


@dataclass
class Router:
    """The Envoys of a test as the router's pods; `down`: none of them answers."""

    envoys: list[Envoy]
    down: bool = False

    def pods(self) -> tuple[RouterPod, ...]:
        return tuple(RouterPod(one.name, f"127.0.0.1:{one.metrics_port}", True) for one in self.envoys)

    async def read(self, pod: RouterPod, deployments: Collection[Key]) -> PodCounters:
        if self.down:
            raise CountersUnread("the test says so")
        return await LiveCounters(pods()).read(pod, deployments)


@dataclass
class Counting:
    """Counts as the operator does: where the evidence ends, and what it has; with readings or by Prometheus alone."""

    prometheus: PrometheusServer
    router: Router | None
    begun: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.collector = Collector(Prometheus(Settings(self.prometheus.url)), CATALOG)
        self.live = None
        if self.router:
            clocks = {"clock": time.time, "monotonic": time.monotonic}
            self.live = LiveEvidence(
                self.router, self.collector, CATALOG, Telemetry(), doubtful=lambda: False, **clocks
            )
        self.ends = dict.fromkeys(METRICS, (self.begun, False))
        self.counted: dict[str, Counter[object]] = {name: Counter() for name in METRICS}
        self.ticks: Counter[str] = Counter()
        self.ages: list[float] = []

    async def look(self) -> None:
        wants = [
            Want(*PLACE, CANDIDATE, STABLE, one, self.ends[name][0], counted=self.ends[name][1])
            for name, one in METRICS.items()
        ]
        found = dict(await self.live.collect(wants)) if self.live else {}
        self.take("live", found)
        rest = [
            replace(one, base=self.live.begun(one) if self.live else None)
            for one in wants
            if self.live is None or not self.live.counts(one.key)
        ]
        self.take("prometheus", dict(await self.collector.collect(time.time(), rest)))

    def take(self, source: str, found: dict[tuple[str, str, str, str], Tick]) -> None:
        for key, tick in found.items():
            if tick.at is None:
                continue
            counts, name = self.counted[key[-1]], key[-1]
            assert tick.at > self.ends[name][0]
            self.ends[name] = tick.at, True
            self.ticks[source] += 1
            if source == "live":
                self.ages.append(time.time() - tick.at)
            if isinstance(tick, RatioTick):
                for snapshot, arm in ((CANDIDATE, tick.candidate), (STABLE, tick.stable)):
                    counts.update({snapshot: arm.requests, f"{snapshot} bad": arm.bad})
            elif isinstance(tick, HistogramTick):
                for snapshot, buckets in ((CANDIDATE, tick.candidate), (STABLE, tick.stable)):
                    counts.update({(snapshot, place): count for place, count in enumerate(buckets) if count})

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(0.3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "second").mkdir()
    return tmp_path


async def second(it: Rig, folder: Path) -> Envoy:
    """Another router pod at the same port: the kernel gives each some of the connections."""
    envoy = await Envoy(folder / "second", it.xds_port, name="router-2").start()
    it.envoys.append(envoy)
    await envoy.ready()
    return envoy


def scraping(folder: Path, envoys: list[Envoy]) -> PrometheusServer:
    targets = "".join(
        f'  - {{targets: ["127.0.0.1:{one.metrics_port}"], labels: {{pod: {one.name}, namespace: serin-system}}}}\n'
        for one in envoys
    )
    config = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: router\n"
    config += f"  metrics_path: /stats/prometheus\n  static_configs:\n{targets}"
    return PrometheusServer(folder / "prometheus", config).start()


async def test_what_is_read_is_what_prometheus_says(folder: Path) -> None:
    """Readings come and go at random while requests fail: in the end both have counted every request once."""
    chance = random.Random(3)
    async with rig(folder) as it:
        router = Router([it.envoy, await second(it, folder)])
        prometheus = scraping(folder, router.envoys)
        try:
            await it.route(0)
            await it.send(40)
            await asyncio.sleep(8.0)  # a Prometheus that has just begun does not know what was there before
            both, alone = Counting(prometheus, router), Counting(prometheus, None)
            await it.route(30)
            it.candidate.error_share, it.candidate.refuse_share, it.stable.error_share = 0.3, 0.1, 0.05
            before = it.stable.truth["received"]
            running = [asyncio.create_task(one.run()) for one in (both, alone)]
            async with it.traffic(100.0):
                for _ in range(4):
                    await eventually(_count(both, "live"), lambda found: found > 0)
                    await asyncio.sleep(chance.uniform(1.0, 3.0))
                    router.down, both.ticks["prometheus"] = True, 0
                    await eventually(_count(both, "prometheus"), lambda found: found > 0)
                    await asyncio.sleep(chance.uniform(0.0, 2.0))
                    router.down, both.ticks["live"] = False, 0
                await eventually(_count(both, "live"), lambda found: found > 3)
            await asyncio.sleep(4.0)
            for task in running:
                assert not task.done(), task
                task.cancel()
            assert both.counted == alone.counted
            errors = both.counted["errors"]
            assert errors[CANDIDATE] == it.candidate.truth["received"]
            assert errors[f"{CANDIDATE} bad"] == it.candidate.truth["failed"] > 0
            # Stable also answers what the candidate fails, which is no fair sample.
            assert errors[STABLE] == it.stable.truth["received"] - before - it.candidate.truth["failed"]
            assert both.counted["rejections"][f"{CANDIDATE} bad"] == it.candidate.truth["refused"] > 0
            assert sum(both.counted["latency"].values()) == errors[CANDIDATE] + errors[STABLE]
            assert all([await one.count("envoy_serin_attempts") for one in it.envoys]), "both have clients"
            assert min(both.ages) < 1.0, "readings are newer than what Prometheus has scraped"
        finally:
            prometheus.stop()


def _count(counting: Counting, source: str):  # type: ignore[no-untyped-def]
    async def count() -> int:
        return counting.ticks[source]

    return count
