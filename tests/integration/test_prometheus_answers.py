"""Answers by category and numbers that requests carry, counted from a real Prometheus that scrapes every second.

The model servers' own counters: categories are born late, processes restart, pods vanish, the operator restarts.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serin.analysis.types import DistributionTick, MeanTick, NoData, NoDataReason, ReferenceTick, Tick
from serin.api.conditions import Reason
from serin.api.spec import ConcentrationQuery, DistributionQuery, MeanQuery, Metric
from serin.api.verdicts import Against, Severity
from serin.metrics.collector import Collector, Want
from serin.metrics.prometheus import Prometheus, Settings
from tests.catalog import CATALOG
from tests.integration.prometheus_server import Exporter, PrometheusServer, look_until_told, render, wait_for

pytestmark = pytest.mark.usefixtures("debian_packages")

STABLE, CANDIDATE = "fraud-aaaaaaaaaa", "fraud-bbbbbbbbbb"
ANSWERS = Metric(
    "answers", DistributionQuery("predictions_total{ {{.version}} }", "label"), Severity.MAJOR, Against.STABLE
)
KNOWN = DistributionQuery("predictions_total{ {{.version}} }", "label", {"legit": 970, "fraud": 30})
REFERENCE = Metric("known", KNOWN, Severity.MINOR, Against.REFERENCE)
SCORES = Metric("scores", DistributionQuery("score_bucket{ {{.version}} }", "le"), Severity.MAJOR, Against.STABLE)
ALIKE = Metric(
    "alike", ConcentrationQuery("predictions_total{ {{.version}} }", "label"), Severity.MAJOR, Against.STABLE
)
TOKENS = Metric(
    "tokens", MeanQuery(sum="t_sum{ {{.version}} }", count="t_count{ {{.version}} }"), Severity.MAJOR, Against.STABLE
)
BOUNDS = ("0.2", "0.8", "+Inf")


@dataclass
class World:
    """Two pods of the model server per version, what they truly answered, and the Prometheus that scrapes them."""

    server: PrometheusServer
    pods: dict[str, list[Exporter]]
    labels: dict[str, Counter[str]] = field(default_factory=lambda: {STABLE: Counter(), CANDIDATE: Counter()})
    buckets: dict[str, Counter[str]] = field(default_factory=lambda: {STABLE: Counter(), CANDIDATE: Counter()})
    tokens: dict[str, list[float]] = field(default_factory=lambda: {STABLE: [0, 0], CANDIDATE: [0, 0]})

    def answer(self, snapshot: str, pod: int, label: str, score: float, tokens: float) -> None:
        """One answer, counted by everything that counts it.

        A category is born with its first answer; a histogram is born with all of its buckets, as in client libraries.
        """
        inside = [bound for bound in BOUNDS if score <= float(bound)]
        exporter = self.pods[snapshot][pod]
        with exporter.lock:
            for bound in BOUNDS:
                exporter.values.setdefault(render("score_bucket", {"le": bound}), 0.0)
        counts = {render("score_bucket", {"le": bound}): 1.0 for bound in inside}
        counts |= {render("predictions_total", {"label": label}): 1.0, "t_sum": tokens, "t_count": 1.0}
        exporter.add_together(counts)
        self.labels[snapshot][label] += 1
        self.buckets[snapshot][inside[0]] += 1
        self.tokens[snapshot][0] += 1
        self.tokens[snapshot][1] += tokens

    def wait_scrape(self, snapshot: str, pod: int) -> None:
        """Wait until everything that the pod has counted is stored."""
        self.server.wait_stored(self.pods[snapshot][pod])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    pods = {snapshot: [Exporter(), Exporter()] for snapshot in (STABLE, CANDIDATE)}
    config = (
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: models\n  static_configs:\n"
    )
    for snapshot, exporters in pods.items():
        labels = f"{{serin_namespace: shop, serin_model_deployment: fraud, serin_snapshot: {snapshot}}}"
        config += f"  - {{targets: [{', '.join(repr(one.address) for one in exporters)}], labels: {labels}}}\n"
    server = PrometheusServer(tmp_path / "prometheus", config).start()
    yield World(server, pods)
    server.stop()
    for exporter in (one for exporters in pods.values() for one in exporters):
        exporter.stop()


class Looker:
    """Looks at all metrics at once as the operator does: keeps `since` with the evidence, and sums what it was told."""

    def __init__(self, world: World, *metrics: Metric) -> None:
        self.prometheus = Prometheus(Settings(world.server.url, timeout=10))
        self.collector = Collector(self.prometheus, CATALOG, patience=120.0)
        self.metrics = metrics
        self.since = dict.fromkeys((metric.name for metric in metrics), time.time())
        self.counts: dict[str, dict[str, Counter[str]]] = {
            metric.name: {STABLE: Counter(), CANDIDATE: Counter()} for metric in metrics
        }
        self.moments = {metric.name: {STABLE: [0.0, 0.0], CANDIDATE: [0.0, 0.0]} for metric in metrics}
        self.ticks: list[Tick] = []

    async def look(self) -> None:
        wants = [Want("shop", "fraud", CANDIDATE, STABLE, one, self.since[one.name]) for one in self.metrics]
        found = await self.collector.collect(time.time(), wants)
        for (_, _, _, name), tick in found.items():
            self.ticks.append(tick)
            counted = self.counts[name]
            match tick:
                case NoData():
                    self.since[name] = tick.at or self.since[name]
                    continue
                case DistributionTick():
                    arms = {CANDIDATE: tick.candidate, STABLE: tick.stable}
                    names = tick.categories
                case ReferenceTick():
                    assert tick.reference == (970, 30, 0)
                    arms, names = {CANDIDATE: tick.live, STABLE: tick.stable}, tick.categories
                case MeanTick():
                    for snapshot, arm in ((CANDIDATE, tick.candidate), (STABLE, tick.stable)):
                        self.moments[name][snapshot][0] += arm.requests
                        self.moments[name][snapshot][1] += arm.total
                    arms, names = {}, ()
                case _:
                    raise AssertionError(tick)
            assert tick.at > self.since[name]
            self.since[name] = tick.at
            for snapshot, counts in arms.items():
                counted[snapshot].update({one: count for one, count in zip(names, counts, strict=True) if count})


async def in_thread(*words: object) -> None:
    function, *arguments = words
    await asyncio.to_thread(function, *arguments)  # type: ignore[arg-type]


@pytest.mark.slow
async def test_counts_survive_late_categories_restarts_and_pods_that_vanish(world: World) -> None:
    """Traffic all the time; looks at random moments, the collector replaced at random."""
    for _ in range(50):  # long before the candidate
        world.answer(STABLE, 0, "legit", 0.1, 100.0)
        world.answer(STABLE, 1, "legit", 0.1, 100.0)
    # The candidate's pods too: what a target that a young Prometheus has not scraped counted before, nobody knows.
    for snapshot in (STABLE, CANDIDATE):
        for pod in (0, 1):
            await in_thread(world.wait_scrape, snapshot, pod)
    for truth in (world.labels, world.buckets):
        truth[STABLE].clear()
    world.tokens[STABLE] = [0, 0]
    looker = Looker(world, ANSWERS, REFERENCE, SCORES, TOKENS, ALIKE)
    chance, done, paused = random.Random(5), asyncio.Event(), set[tuple[str, int]]()
    possible = ["legit", "fraud"]

    async def traffic() -> None:
        while not done.is_set():
            for snapshot in (STABLE, CANDIDATE):
                for pod in (0, 1):
                    if (snapshot, pod) not in paused:
                        world.answer(
                            snapshot, pod, chance.choice(possible), chance.random(), chance.choice((1.0, 900.5))
                        )
            await asyncio.sleep(0.02)

    async def looks() -> None:
        while not done.is_set():
            if chance.random() < 0.2:
                looker.collector = Collector(looker.prometheus, CATALOG, patience=120.0)
            await looker.look()
            await asyncio.sleep(chance.choice((0.05, 0.7, 1.3, 2.9)))

    tasks = [asyncio.create_task(traffic()), asyncio.create_task(looks())]
    await asyncio.sleep(4)
    possible.append("review")  # born late, in all pods
    await asyncio.sleep(3)
    # A process of each version restarts just after a scrape: its counters begin again, some categories later.
    for snapshot in (STABLE, CANDIDATE):
        paused.add((snapshot, 0))
        await in_thread(world.wait_scrape, snapshot, 0)
        with world.pods[snapshot][0].lock:
            world.pods[snapshot][0].values.clear()
    for snapshot in (STABLE, CANDIDATE):
        await in_thread(world.wait_scrape, snapshot, 0)
    paused.clear()
    await asyncio.sleep(3)
    # A pod of each version vanishes just after a scrape.
    for snapshot in (STABLE, CANDIDATE):
        paused.add((snapshot, 1))
        await in_thread(world.wait_scrape, snapshot, 1)
        world.pods[snapshot][1].down = True
    await asyncio.sleep(3)
    paused.update((snapshot, 0) for snapshot in (STABLE, CANDIDATE))
    for snapshot in (STABLE, CANDIDATE):
        await in_thread(world.wait_scrape, snapshot, 0)
    done.set()
    await asyncio.gather(*tasks)

    def told() -> bool:
        moments = (looker.moments["tokens"][arm] == pytest.approx(world.tokens[arm], abs=1e-6) for arm in world.tokens)
        return looker.counts["answers"] == world.labels and all(moments)

    await look_until_told(looker.look, told)
    looker.prometheus.close()
    assert world.labels[CANDIDATE]["review"] > 50
    assert looker.counts["answers"] == world.labels
    assert looker.counts["scores"] == {
        arm: Counter({repr(float(bound)): count for bound, count in counts.items()})
        for arm, counts in world.buckets.items()
    }
    for snapshot, counts in world.labels.items():
        answers, same = looker.moments["alike"][snapshot]
        assert 0.9 * counts.total() <= answers <= counts.total(), "one answer alone is no pair"
        assert 0.32 < same / answers < 0.52, "of two kinds at first and three later, all as frequent"
        assert looker.counts["known"][snapshot] == Counter(
            {"legit": counts["legit"], "fraud": counts["fraud"], "other": counts["review"]}
        )
        assert looker.moments["tokens"][snapshot] == pytest.approx(world.tokens[snapshot], abs=1e-6)
    assert sum(isinstance(tick, MeanTick) for tick in looker.ticks) > 5


async def test_a_candidate_that_has_answered_nothing_is_no_traffic(world: World) -> None:
    world.answer(STABLE, 0, "legit", 0.1, 5.0)
    looker = Looker(world, ANSWERS, REFERENCE, TOKENS)
    for snapshot in (STABLE, CANDIDATE):
        await in_thread(world.wait_scrape, snapshot, 0)
    told: list[NoDataReason] = []
    limit = time.monotonic() + 60.0
    while told != 3 * [Reason.NO_TRAFFIC] and time.monotonic() < limit:
        looker.ticks.clear()
        await looker.look()
        told = [tick.reason for tick in looker.ticks if isinstance(tick, NoData)]
        assert len(told) == len(looker.ticks), looker.ticks
        await asyncio.sleep(0.3)
    looker.prometheus.close()
    assert told == 3 * [Reason.NO_TRAFFIC], looker.ticks


async def test_deployments_share_their_queries_whatever_their_references(world: World) -> None:
    remembers = "max(count_over_time(up[1m]))"
    wait_for(lambda: (world.server.value(remembers) or 0) > 6, "Prometheus keeps no samples")
    since = time.time()
    names = [f"model-{number}" for number in range(50)]
    exporter = Exporter()
    world.server.stop()
    world.server.config += (
        f"- job_name: many\n  honor_labels: true\n  static_configs: [{{targets: ['{exporter.address}']}}]\n"
    )
    for name in names:
        for snapshot, count in ((f"{name}-a", 90.0), (f"{name}-b", 10.0)):
            labels = {"serin_namespace": "shop", "serin_model_deployment": name, "serin_snapshot": snapshot}
            exporter.add("predictions_total", {**labels, "label": "legit"}, count)
            exporter.add("predictions_total", {**labels, "label": "fraud"}, 3)
    world.server.start()
    for _ in range(3):
        world.server.wait_stored(exporter)
    await asyncio.sleep(1.5)
    prometheus = Prometheus(Settings(world.server.url, timeout=60))
    collector = Collector(prometheus, CATALOG, patience=120.0)
    wants = []
    for index, name in enumerate(names):
        query = DistributionQuery(KNOWN.counts, "label", {"legit": 970 + index, "fraud": 30})
        wants.append(
            Want("shop", name, f"{name}-b", f"{name}-a", Metric("m", query, Severity.INFO, Against.REFERENCE), since)
        )
    ticks = await collector.collect(time.time(), wants)
    prometheus.close()
    exporter.stop()
    # Learning the interval, the counters themselves, and what they are to be counted from (four).
    assert collector.queries <= 6
    assert [tick.reference[0] for tick in ticks.values() if isinstance(tick, ReferenceTick)] == list(range(970, 1020))
    assert {tick.live for tick in ticks.values() if isinstance(tick, ReferenceTick)} == {(10, 3, 0)}
