"""Ticks add up to the truth, whatever the moments of looking: against a real Prometheus that holds a written history.

The history is what hours of scraping leave behind: pods with phases of their own, counters born at 1, resets, restarts
unseen because an error counter came back higher, missed scrapes, an outage longer than any window, pods that vanish and
appear. Every count of it is known, because the test made it.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from serin.analysis.types import HistogramTick, NoData, RatioTick
from serin.api.conditions import Reason
from serin.api.spec import Metric, RatioQuery, TemplateRef
from serin.api.verdicts import Against, Severity
from serin.metrics.collector import Collector, Want
from serin.metrics.prometheus import Prometheus, Settings
from tests.catalog import CATALOG
from tests.integration.prometheus_server import PrometheusServer, Sample, write_history

pytestmark = pytest.mark.usefixtures("debian_packages")

INTERVAL = 15.0
NAMESPACE, DEPLOYMENT = "shop", "fraud"
STABLE, CANDIDATE = "fraud-aaaaaaaaaa", "fraud-bbbbbbbbbb"
ARMS = (STABLE, CANDIDATE)
FIRST = (("serin_attempt", "first"),)
BOUNDS = ("1", "5", "25", "+Inf")
MILLISECONDS = "envoy_serin_milliseconds_bucket"


def version(snapshot: str) -> dict[str, str]:
    return {"serin_namespace": NAMESPACE, "serin_model_deployment": DEPLOYMENT, "serin_snapshot": snapshot}


Counter = tuple[str, str, tuple[tuple[str, str], ...]]  # name, snapshot, further labels


@dataclass
class Pod:
    """One scraped process: its counters, and what Prometheus stored of them. `hidden`: not scraped before this step."""

    name: str
    phase: float
    began: float
    hidden: int = 0
    known: set[str] = field(default_factory=set)
    counters: dict[Counter, float] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    scraped: bool = True  # the last scrape saw everything that was counted

    def count(self, name: str, snapshot: str, amount: float, **labels: str) -> None:
        key = (name, snapshot, tuple(sorted(labels.items())))
        self.counters[key] = self.counters.get(key, 0.0) + amount

    def serve(self, snapshot: str, buckets: Sequence[int], bad: int) -> None:
        """Count requests as the router does: a counter exists from its first increment."""
        self.known.add(snapshot)
        self.scraped = False
        if not sum(buckets):
            return
        self.count("envoy_serin_attempts", snapshot, sum(buckets), serin_attempt="first")
        self.count("envoy_serin_attempts", snapshot, 7, serin_attempt="shield")
        for index, bound in enumerate(BOUNDS):
            self.count(MILLISECONDS, snapshot, sum(buckets[: index + 1]), le=bound, serin_attempt="first")
        if bad:
            self.count("envoy_serin_failures", snapshot, bad, serin_attempt="first")

    def has_counted(self, snapshot: str) -> bool:
        return self.counters.get(("envoy_serin_attempts", snapshot, FIRST), 0.0) > 1

    def scrape(self, at: float) -> None:
        target = {"job": "router", "instance": self.name}
        for (name, snapshot, labels), value in self.counters.items():
            self.samples.append((name, {**target, **version(snapshot), **dict(labels)}, value, at))
        for snapshot in self.known:
            self.samples.append(("envoy_cluster_membership_total", {**target, **version(snapshot)}, 1, at))
        self.samples.append(("envoy_server_uptime", target, at - self.began, at))
        self.scraped = True


@dataclass
class History:
    """The truth after the candidate's start: requests, bad ones, and requests per bucket of each arm."""

    start: float = 0.0
    end: float = 0.0
    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ARMS, 0))
    bad: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ARMS, 0))
    buckets: dict[str, list[int]] = field(default_factory=lambda: {arm: [0] * len(BOUNDS) for arm in ARMS})
    samples: list[Sample] = field(default_factory=list)

    def add(self, snapshot: str, buckets: Sequence[int], bad: int) -> None:
        self.requests[snapshot] += sum(buckets)
        self.bad[snapshot] += bad
        self.buckets[snapshot] = [one + more for one, more in zip(self.buckets[snapshot], buckets, strict=True)]


STEPS, CANDIDATE_STARTS, VANISHES, APPEAR, OUTAGE, LATE = 400, 80, 150, (170, 260), range(200, 285), 300


def make_history(now: float) -> History:
    chance = random.Random(7)
    origin = round(now - 3 * 3600)
    history = History(start=origin + CANDIDATE_STARTS * INTERVAL - 1.0, end=origin + STEPS * INTERVAL)
    pods = [Pod(f"envoy-{index}:9902", phase, origin) for index, phase in enumerate((0.0, 3.217, 9.481))]
    pods.append(Pod("envoy-late:9902", 7.7, origin, hidden=LATE))
    every = list(pods)
    for step in range(STEPS):
        clock = origin + step * INTERVAL
        if step == VANISHES:
            pods.pop(1)
        if step in APPEAR:
            pods.append(Pod(f"envoy-new-{step}:9902", 5.113, clock))
            every.append(pods[-1])
        for pod in pods:
            if not (pod is pods[0] and step in OUTAGE):
                live_one_interval(pod, step, clock + pod.phase, history, chance)
    history.samples = [sample for pod in every for sample in pod.samples]
    return history


def live_one_interval(pod: Pod, step: int, at: float, history: History, chance: random.Random) -> None:
    """Serve, perhaps restart just after the last scrape, be scraped at `at`, or be missed."""
    arms = ARMS if step >= CANDIDATE_STARTS else (STABLE,)
    # What can be told apart: every counter is lower than before, or missing for a scrape that other counters are in.
    restarts = pod.scraped and all(map(pod.has_counted, ARMS)) and chance.random() < 0.06
    if restarts:
        pod.counters.clear()
        pod.began = at - INTERVAL + 0.5
    for arm in arms:
        buckets, bad = draw_requests(arm, chance)
        if restarts:
            buckets, bad = [0, 0, 0, int(arm == STABLE or chance.random() < 0.5)], 0
        pod.serve(arm, buckets, bad)
        if step >= CANDIDATE_STARTS and (arm == CANDIDATE or step > pod.hidden or not pod.hidden):
            history.add(arm, buckets, bad)
    never_missed = (0, CANDIDATE_STARTS - 1, VANISHES - 1, OUTAGE[0] - 1, LATE, STEPS - 1)
    missed = chance.random() < 0.04 and step not in never_missed and not restarts
    if step >= pod.hidden:
        pod.samples.append(("up", {"job": "router", "instance": pod.name}, int(not missed), at))
    if step >= pod.hidden and not missed:
        pod.scrape(at)


def draw_requests(arm: str, chance: random.Random) -> tuple[list[int], int]:
    requests = chance.choice((0, 0, 3, 20)) if arm == CANDIDATE else chance.randrange(40)
    buckets = [0] * len(BOUNDS)
    for _ in range(requests):
        buckets[chance.randrange(len(BOUNDS))] += 1
    return buckets, min(requests, chance.choice((0, 0, 0, 1, 4)))


@pytest.fixture(scope="module")
def history() -> History:
    return make_history(time.time())


@pytest.fixture(scope="module")
def server(history: History, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    folder = tmp_path_factory.mktemp("prometheus")
    write_history(folder / "data", history.samples)
    server = PrometheusServer(folder).start()
    yield server
    server.stop()


BUILT_IN = Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE)
LATENCY = Metric("latency", TemplateRef("request-latency"), Severity.MAJOR, Against.STABLE)
# A regular expression that must be left to Prometheus, so that each counter has a query of its own.
OWN = Metric(
    "own",
    RatioQuery(
        bad="sum by (serin_snapshot) (envoy_serin_failures{ {{.version}}, serin_attempt=~`\\x66irst` })",
        total='sum(envoy_serin_attempts{ {{.version}}, serin_attempt="first" })',
    ),
    "major",
    "stable",
)


def want(metric: Metric, since: float, baseline: str | None = STABLE) -> Want:
    return Want(NAMESPACE, DEPLOYMENT, CANDIDATE, baseline, metric, since)


async def look(
    server: PrometheusServer, history: History, metric: Metric, moments: Sequence[float], restarts: random.Random
) -> list[RatioTick | HistogramTick]:
    """Look at each of the moments, `since` from one look to the next, the collector replaced now and then."""
    ticks: list[RatioTick | HistogramTick] = []
    since = history.start
    prometheus = Prometheus(Settings(server.url, timeout=120))
    collector = Collector(prometheus, CATALOG, patience=120.0)
    for now in moments:
        if restarts.random() < 0.2:
            collector = Collector(prometheus, CATALOG, patience=120.0)
        tick = (await collector.collect(now, [want(metric, since)])).get(want(metric, since).key)
        if isinstance(tick, NoData):
            assert tick.reason in (Reason.NO_TRAFFIC, Reason.SERIES_ABSENT), tick
            assert tick.at is None or tick.at > since
            since = tick.at or since
        elif tick is not None:
            assert isinstance(tick, RatioTick | HistogramTick)
            assert since < tick.at <= now - INTERVAL + 0.01
            since = tick.at
            ticks.append(tick)
    prometheus.close()
    return ticks


def random_moments(history: History, seed: int) -> list[float]:
    """Looks from three a scrape interval to one in twenty minutes, and one at the end that sees everything."""
    chance = random.Random(seed)
    longest = chance.choice((5.0, 20.0, 90.0, 1200.0))
    moments, now = [], history.start
    while (now := now + chance.uniform(0.3, 1.0) * longest) < history.end:
        moments.append(now)
        if longest < 60 and len(moments) > 150:
            longest = 300.0
    return [*moments, history.end + 2 * INTERVAL]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("metric", [BUILT_IN, OWN], ids=["built-in", "own PromQL"])
async def test_ratio_ticks_sum_to_the_truth(
    server: PrometheusServer, history: History, metric: Metric, seed: int
) -> None:
    ticks = await look(server, history, metric, random_moments(history, seed), random.Random(seed))
    counted = [tick for tick in ticks if isinstance(tick, RatioTick)]
    assert sum(tick.candidate.requests for tick in counted) == history.requests[CANDIDATE]
    assert sum(tick.candidate.bad for tick in counted) == history.bad[CANDIDATE]
    assert sum(tick.stable.requests for tick in counted) == history.requests[STABLE]
    assert sum(tick.stable.bad for tick in counted) == history.bad[STABLE]
    assert history.bad[CANDIDATE] > 100, "the history must hold something to find"


@pytest.mark.parametrize("seed", range(6))
async def test_histogram_ticks_sum_to_the_truth(server: PrometheusServer, history: History, seed: int) -> None:
    ticks = await look(server, history, LATENCY, random_moments(history, seed), random.Random(seed))
    counted = [tick for tick in ticks if isinstance(tick, HistogramTick)]
    assert {tick.bounds for tick in counted} == {(1.0, 5.0, 25.0)}
    assert {tick.unit for tick in counted} == {"ms"}
    for arm, parts in ((CANDIDATE, [tick.candidate for tick in counted]), (STABLE, [tick.stable for tick in counted])):
        assert [sum(column) for column in zip(*parts, strict=True)] == history.buckets[arm]


async def test_a_gap_of_two_hours_is_one_tick(server: PrometheusServer, history: History) -> None:
    (tick,) = await look(server, history, BUILT_IN, [history.end + 2 * INTERVAL], random.Random(0))
    assert isinstance(tick, RatioTick)
    assert (tick.candidate.requests, tick.candidate.bad) == (history.requests[CANDIDATE], history.bad[CANDIDATE])


async def test_a_subject_without_a_baseline_counts_alone(server: PrometheusServer, history: History) -> None:
    prometheus = Prometheus(Settings(server.url, timeout=120))
    alone = want(BUILT_IN, history.start, baseline=None)
    tick = (await Collector(prometheus, CATALOG, patience=120.0).collect(history.end + 2 * INTERVAL, [alone]))[
        alone.key
    ]
    prometheus.close()
    assert isinstance(tick, RatioTick)
    assert (tick.candidate.requests, tick.candidate.bad) == (history.requests[CANDIDATE], history.bad[CANDIDATE])
    assert (tick.stable.requests, tick.stable.bad) == (0, 0)
