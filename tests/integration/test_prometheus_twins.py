"""Two Prometheus servers behind one address that answer in turn, each with its own scrapes: nothing counts twice."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from serin.analysis.types import NoData, RatioTick, Tick
from serin.api.conditions import Reason
from serin.api.spec import Metric, RatioQuery, TemplateRef
from serin.api.verdicts import Against, Severity
from serin.metrics.answers import Answer
from serin.metrics.collector import Collector, Want
from serin.metrics.prometheus import SHARED, Prometheus, Settings, Usage
from tests.catalog import CATALOG
from tests.integration.prometheus_server import Exporter, PrometheusServer, render, wait_for

pytestmark = pytest.mark.usefixtures("debian_packages")

STABLE, CANDIDATE = "a", "b"
ERRORS = Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE)
# Regular expressions are Prometheus' to read, so each of the two counters has a query of its own.
OWN = Metric(
    "own",
    RatioQuery('envoy_serin_failures{serin_attempt=~"fi.*", {{.version}} }', "envoy_serin_attempts{ {{.version}} }"),
    Severity.CRITICAL,
    Against.STABLE,
)


class Turns:
    """What the collector asks: one of the servers for each query."""

    def __init__(self, servers: list[PrometheusServer], choose: Callable[[int], int]) -> None:
        self.servers = [Prometheus(Settings(one.url)) for one in servers]
        self.usage, self._choose, self._turn = Usage(), choose, 0

    async def query(self, query: str, at: float, namespace: str = SHARED) -> Answer:
        self._turn += 1
        return await self.servers[self._choose(self._turn)].query(query, at, namespace)

    def close(self) -> None:
        for server in self.servers:
            server.close()


@dataclass
class Pair:
    """A router, and two servers that scrape it."""

    router: Exporter
    servers: list[PrometheusServer]
    numbers: Iterator[int] = field(default_factory=itertools.count)


class World:
    """A deployment of its own, what was really asked of it, and what was told of that."""

    def __init__(self, pair: Pair) -> None:
        self.router, self.servers = pair.router, pair.servers
        self.name = f"model-{next(pair.numbers)}"
        self.truth = {STABLE: [0, 0], CANDIDATE: [0, 0]}
        self.sums = {STABLE: [0, 0], CANDIDATE: [0, 0]}
        self.since, self.counted = time.time(), False
        self.ticks: list[Tick] = []

    def labels(self, snapshot: str) -> dict[str, str]:
        own = {"serin_namespace": "shop", "serin_model_deployment": self.name, "serin_snapshot": snapshot}
        return {**own, "serin_attempt": "first"}

    def serve(self, snapshot: str, requests: int, bad: int) -> None:
        names = {"envoy_serin_attempts": requests, "envoy_serin_failures": bad}
        self.router.add_together({render(name, self.labels(snapshot)): count for name, count in names.items()})
        self.truth[snapshot][0] += requests
        self.truth[snapshot][1] += bad

    async def look(self, collector: Collector, metric: Metric) -> None:
        want = Want("shop", self.name, CANDIDATE, STABLE, metric, self.since, counted=self.counted)
        tick = (await collector.collect(time.time(), [want])).get(want.key)
        if tick is None:
            return
        self.ticks.append(tick)
        if isinstance(tick, RatioTick):
            for snapshot, arm in ((STABLE, tick.stable), (CANDIDATE, tick.candidate)):
                self.sums[snapshot][0] += arm.requests
                self.sums[snapshot][1] += arm.bad
        if tick.at is not None:
            self.since, self.counted = tick.at, True

    async def live(self, turns: Turns, metric: Metric, seconds: float, pauses: tuple[float, ...]) -> None:
        """Traffic, and looks beside it."""
        collector = Collector(turns, CATALOG, patience=60.0)  # type: ignore[arg-type]
        chance, end = random.Random(3), time.monotonic() + seconds
        next_look = 0.0
        while time.monotonic() < end:
            self.serve(STABLE, chance.randrange(9), chance.randrange(2))
            self.serve(CANDIDATE, requests := chance.randrange(4), chance.randrange(requests + 1))
            if time.monotonic() >= next_look:
                await self.look(collector, metric)
                next_look = time.monotonic() + chance.choice(pauses)
            await asyncio.sleep(0.03)
        await asyncio.sleep(2.5)
        for _ in range(6):
            await self.look(collector, metric)
            await asyncio.sleep(0.5)
        turns.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    router, folder = Exporter(), tmp_path_factory.mktemp("pair")
    scrape = f"- job_name: router\n  static_configs: [{{targets: ['{router.address}']}}]\n"
    # The label, as the servers of a pair have one, makes them scrape at different times.
    configs = {
        name: f"global: {{scrape_interval: 1s, external_labels: {{replica: {name}}}}}\nscrape_configs:\n{scrape}"
        for name in ("one", "other")
    }
    pair = Pair(router, [PrometheusServer(folder / name, config).start() for name, config in configs.items()])
    yield pair
    for server in pair.servers:
        server.stop()
    router.stop()


@pytest.fixture
def world(pair: Pair) -> World:
    """It has had requests before those that count."""
    world = World(pair)
    for snapshot in (STABLE, CANDIDATE):
        world.router.add("envoy_cluster_membership_total", world.labels(snapshot), 1)
        world.serve(snapshot, 1000, 10)
    scrapes = f'max(count_over_time(envoy_serin_attempts{{serin_model_deployment="{world.name}"}}[1m]))'
    wait_for(lambda: all((server.value(scrapes) or 0) > 3 for server in world.servers), "not scraped")
    world.truth = {STABLE: [0, 0], CANDIDATE: [0, 0]}
    world.since = time.time()
    return world


CHOICES: dict[str, Callable[[int], int]] = {
    "in turn": lambda turn: turn % 2,
    "by chance": lambda turn: random.Random(turn).randrange(2),
    "the other one after a while": lambda turn: turn // 12 % 2,
}


@pytest.mark.parametrize(
    ("choice", "pauses"),
    [
        ("in turn", (0.3, 0.7)),
        ("in turn", (1.1, 2.3, 3.1)),
        ("by chance", (0.3, 0.7, 2.3)),
        ("the other one after a while", (0.3, 0.7)),
    ],
)
async def test_nothing_counts_twice(world: World, choice: str, pauses: tuple[float, ...]) -> None:
    await world.live(Turns(world.servers, CHOICES[choice]), ERRORS, 10.0, pauses)
    for snapshot in (STABLE, CANDIDATE):
        for told, truth in zip(world.sums[snapshot], world.truth[snapshot], strict=True):
            assert 0.3 * truth < told <= truth
    assert world.truth[CANDIDATE][0] > 200


async def test_one_server_loses_nothing_by_that(world: World) -> None:
    await world.live(Turns(world.servers, lambda _: 0), ERRORS, 8.0, (0.3, 1.7))
    assert world.sums == world.truth


async def test_answers_that_do_not_fit_together_are_no_evidence(world: World) -> None:
    await world.live(Turns(world.servers, lambda turn: turn % 2), OWN, 6.0, (0.6,))
    told = [tick for tick in world.ticks if isinstance(tick, NoData) and tick.reason is Reason.PARTIAL]
    assert told
    assert all("servers that scrape at different times: give Serin an address" in tick.message for tick in told)
    for snapshot in (STABLE, CANDIDATE):
        assert all(told <= truth for told, truth in zip(world.sums[snapshot], world.truth[snapshot], strict=True))


async def test_a_server_that_has_lost_its_data_brings_nothing_back(world: World) -> None:
    await world.live(Turns(world.servers[:1], lambda _: 0), ERRORS, 4.0, (0.3,))
    before = {snapshot: list(counts) for snapshot, counts in world.truth.items()}
    assert world.sums == before
    await world.live(Turns(world.servers[1:], lambda _: 0), ERRORS, 5.0, (0.3,))
    for snapshot in (STABLE, CANDIDATE):
        assert before[snapshot][0] < world.sums[snapshot][0] <= world.truth[snapshot][0]
