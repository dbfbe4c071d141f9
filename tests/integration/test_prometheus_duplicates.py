"""Two jobs scrape the same router (annotations and a PodMonitor), on a real Prometheus: every request counts once."""

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serin.analysis.types import NoData, RatioTick
from serin.api.spec import Metric, TemplateRef
from serin.api.verdicts import Against, Severity
from serin.metrics.collector import Collector, Want
from serin.metrics.prometheus import Prometheus, Settings
from serin.metrics.sources import RatioSource, resolve
from serin.metrics.traffic import measure
from tests.catalog import CATALOG
from tests.integration.prometheus_server import Exporter, PrometheusServer, look_until_told, render, wait_for

pytestmark = pytest.mark.usefixtures("debian_packages")

STABLE, CANDIDATE = "fraud-a", "fraud-b"
ERRORS = Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE)


def labels(snapshot: str) -> dict[str, str]:
    own = {"serin_namespace": "shop", "serin_model_deployment": "fraud", "serin_snapshot": snapshot}
    return {**own, "serin_attempt": "first"}


def job(name: str, router: Exporter, **more: str) -> str:
    extra = ", ".join(f"{label}: {value}" for label, value in {"namespace": "serin-system", "pod": "x", **more}.items())
    return f'- job_name: {name}\n  static_configs: [{{targets: ["{router.address}"], labels: {{{extra}}}}}]\n'


class World:
    """A router pod that two jobs scrape, and what was really asked of it."""

    def __init__(self, folder: Path) -> None:
        self.router = Exporter()
        self.annotated = job("kubernetes-pods", self.router)
        self.monitored = job("serin-system/router", self.router, container="envoy", endpoint="metrics")
        self.server = PrometheusServer(folder, self.config(self.annotated, self.monitored)).start()
        self.truth = {STABLE: [0, 0], CANDIDATE: [0, 0]}
        self.sums = {STABLE: [0, 0], CANDIDATE: [0, 0]}
        self.prometheus = Prometheus(Settings(self.server.url))
        self.collector = Collector(self.prometheus, CATALOG, patience=60.0)
        self.since = time.time()

    @staticmethod
    def config(*jobs: str) -> str:
        return "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n" + "".join(jobs)

    def serve(self, snapshot: str, requests: int, bad: int) -> None:
        names = {"envoy_serin_attempts": requests, "envoy_serin_failures": bad}
        self.router.add_together({render(name, labels(snapshot)): count for name, count in names.items()})
        self.truth[snapshot][0] += requests
        self.truth[snapshot][1] += bad

    async def restart_with(self, *jobs: str) -> None:
        """Go on with other jobs, as after a change of what is scraped; the data stay."""
        await asyncio.to_thread(self.server.stop)
        self.server.config = self.config(*jobs)
        await asyncio.to_thread(self.server.start)

    async def look(self) -> None:
        want = Want("shop", "fraud", CANDIDATE, STABLE, ERRORS, self.since)
        tick = (await self.collector.collect(time.time(), [want])).get(want.key)
        if isinstance(tick, RatioTick):
            for snapshot, arm in ((STABLE, tick.stable), (CANDIDATE, tick.candidate)):
                self.sums[snapshot][0] += arm.requests
                self.sums[snapshot][1] += arm.bad
        self.since = (tick.at if tick else None) or self.since

    async def told(self) -> dict[str, list[int]]:
        await look_until_told(self.look, lambda: self.sums == self.truth)
        return self.sums


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "prometheus")
    for snapshot in (STABLE, CANDIDATE):
        world.router.add("envoy_cluster_membership_total", labels(snapshot), 1)
        world.serve(snapshot, 100, 1)
    both = "count(count by (job) (envoy_serin_attempts))"
    wait_for(lambda: world.server.value(both) == 2.0, "not scraped by two jobs")
    world.truth = {STABLE: [0, 0], CANDIDATE: [0, 0]}
    world.since = time.time()
    yield world
    world.prometheus.close()
    world.server.stop()
    world.router.stop()


async def test_every_request_counts_once_whichever_job_sees_it(world: World) -> None:
    """Traffic and looks all the time; one job ends in the middle, then another name comes instead, then both."""
    chance, done = random.Random(5), asyncio.Event()

    async def traffic() -> None:
        while not done.is_set():
            world.serve(STABLE, chance.randrange(9), 0)
            world.serve(CANDIDATE, requests := chance.randrange(3), chance.randrange(requests + 1))
            await asyncio.sleep(0.03)

    async def looks() -> None:
        while not done.is_set():
            await world.look()
            await asyncio.sleep(chance.choice((0.1, 0.7, 1.9)))

    await asyncio.sleep(2.5)  # what was there before is in the past for both jobs
    tasks = [asyncio.create_task(traffic()), asyncio.create_task(looks())]
    await asyncio.sleep(4)
    await world.restart_with(world.monitored)
    await asyncio.sleep(4)
    await world.restart_with(job("renamed", world.router), world.monitored)
    await asyncio.sleep(4)
    await world.restart_with(job("renamed", world.router))
    await asyncio.sleep(3)
    done.set()
    await asyncio.gather(*tasks)
    assert await world.told() == world.truth
    assert world.truth[CANDIDATE][0] > 200


async def test_a_job_that_is_renamed_brings_no_past_back(world: World) -> None:
    """All series of the candidate are new then, and what they count began long ago."""
    await asyncio.sleep(3)
    world.since = time.time()
    await world.restart_with(job("other", world.router, zone="z"))
    world.serve(CANDIDATE, 7, 3)
    assert await world.told() == {STABLE: [0, 0], CANDIDATE: [7, 3]}


async def test_traffic_counts_once(world: World) -> None:
    for _ in range(30):
        world.serve(CANDIDATE, 10, 1)
        await asyncio.sleep(0.2)
    source = resolve(ERRORS, None, CATALOG, "shop")
    assert isinstance(source, RatioSource)
    found = await measure(world.prometheus.query, source, [("shop", "fraud")], time.time())
    assert not isinstance(found, NoData)
    [traffic] = found.values()
    assert traffic.rate < 65.0, "50 a second at most, and two hundred before"
