"""The promise, kept by the whole chain: 300 rollouts of versions that are no worse, looked at at every tick.

Everything between the router's counters and the decision is the real thing: a Prometheus, the collector, the evidence
loop, the engine, the planner. Only the clock runs faster, and the requests are drawn at random: in a third of the
rollouts each fails on its own, in a third the error rate of both versions wanders, in a third failures come in threes.
Thirty candidates that do fail more often show that the same chain finds them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serin.api.parse import parse_model_deployment
from serin.api.spec import ModelDeploymentSpec
from serin.api.state import State
from serin.api.status import read_state
from serin.cluster.cache import ObjectCache
from serin.controller.evidence_loop import EvidenceLoop
from serin.controller.telemetry import Telemetry
from serin.metrics.collector import Collector
from serin.metrics.prometheus import Prometheus, Settings
from serin.rollout.model import Observation
from tests.catalog import CATALOG
from tests.integration.prometheus_server import PrometheusServer
from tests.integration.remote_write import Series, write
from tests.narratives.world import World, spec

pytestmark = pytest.mark.usefixtures("debian_packages")

HEALTHY, BAD = 300, 30
SCRAPE, RATE = 10.0, 100.0  # seconds; requests a second
HISTORY = 20  # minutes of stable alone
LONGEST = 200  # ticks
PODS = 4
BOUNDS = ("20", "40", "80", "160", "320", "640", "1300", "+Inf")
SHARES = np.array([0.10, 0.25, 0.30, 0.20, 0.10, 0.03, 0.015, 0.005])
METRICS = [
    {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"},
    {"name": "latency", "template": {"name": "request-latency"}, "severity": "major"},
]
STEPS = [{"weight": 5, "bake": "2m"}, {"weight": 25, "bake": "2m"}, {"weight": 50, "bake": "2m"}]


@dataclass
class Rollout(World):
    """One deployment: its planner's world, its counters, and the failures that it has."""

    number: int = 0
    worse: float = 1.0  # the candidate's failures, as a multiple of stable's
    loop: EvidenceLoop | None = None
    counters: dict[tuple[str, ...], Series] = field(default_factory=dict)
    counts: dict[tuple[str, ...], float] = field(default_factory=dict)

    @cached_property
    def chance(self) -> np.random.Generator:
        return np.random.default_rng([7, self.number])

    @property
    def body(self) -> dict[str, Any]:
        """Without the copies that guard a story's world against its planner: there are a few hundred worlds here."""
        metadata = {"namespace": f"shop-{self.number}", "name": "fraud", "uid": "uid", "resourceVersion": "1"}
        return {"metadata": {**metadata, "generation": self.generation}, "spec": self.spec, "status": self.status}

    def _sample(self, spec: ModelDeploymentSpec, state: State) -> None:
        """The evidence loop does that."""

    def observe(self) -> Observation:
        seen = super().observe()
        assert self.loop is not None
        return replace(seen, samples=self.loop.samples(seen.deployment, seen.state))

    def error_rate(self) -> float:
        """Stable's error rate now: a third of the worlds have one that wanders between 0.5 and 3 %."""
        wave = np.sin((self.now + 37 * self.number) / 150.0)
        return float(0.0175 + 0.0125 * wave) if self.number % 3 == 1 else 0.01

    def serve(self, seconds: float) -> None:
        """Count the requests of the last seconds, pod by pod, as the router does."""
        for snapshot, weight in self.weights.items():
            rate = self.error_rate() * (self.worse if snapshot == self.candidate else 1.0)
            together = 3 if self.number % 3 == 2 else 1
            for pod in range(PODS if snapshot != self.candidate else max(1, self.pods[snapshot].desired)):
                requests = self.chance.poisson(RATE * seconds * weight / 100 / self.ready(snapshot))
                bad = min(requests, together * self.chance.binomial(requests, rate / together))
                self._count("envoy_serin_attempts", snapshot, requests, serin_slot=str(pod))
                self._count("envoy_serin_failures", snapshot, bad, serin_slot=str(pod))
                waited = self.chance.multinomial(requests, SHARES).cumsum()
                for bound, count in zip(BOUNDS, waited, strict=True):
                    self._count("envoy_serin_milliseconds_bucket", snapshot, count, le=bound)

    def _count(self, name: str, snapshot: str, amount: int, **labels: str) -> None:
        key = (name, snapshot, *labels.values())
        if key not in self.counters:
            version = {"serin_model_deployment": "fraud", "serin_snapshot": snapshot, "serin_attempt": "first"}
            target = {"job": "router", "instance": "envoy-0:9902", "serin_namespace": f"shop-{self.number}"}
            self.counters[key] = Series(name, {**target, **version, **labels})
        self.counts[key] = self.counts.get(key, 0.0) + amount

    def scrape(self) -> Iterator[bytes]:
        return (series.sample(self.counts[key], round(self.now * 1000)) for key, series in self.counters.items())

    @property
    def busy(self) -> bool:
        return self.candidate is not None


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[PrometheusServer]:
    server = PrometheusServer(tmp_path, options=("--web.enable-remote-write-receiver",)).start()
    yield server
    server.stop()


@pytest.mark.timeout(1800)
async def test_versions_that_are_no_worse_are_promoted(prometheus: PrometheusServer) -> None:
    cache = ObjectCache()
    collector = Collector(Prometheus(Settings(prometheus.url, timeout=120)), CATALOG)
    rollouts = [Rollout(spec("1"), number=number) for number in range(HEALTHY)]
    rollouts += [Rollout(spec("1"), number=HEALTHY + number, worse=5.0) for number in range(BAD)]
    loop = EvidenceLoop(
        cache,
        collector,
        Telemetry(),
        lambda _: None,
        request_template=lambda _: "request-errors",
        clock=lambda: rollouts[0].now,
    )
    for one in rollouts:
        one.loop = loop
        one.run(20)
    for _ in range(HISTORY):
        for one in rollouts:
            one.now += 60
            one.serve(60)
        write(prometheus.url, (sample for one in rollouts for sample in one.scrape()))
    for one in rollouts:
        one.change(spec("2", metrics=METRICS, strategy={"canary": {"steps": STEPS}}))
        one.settle()
    ticks = 0
    while any(one.busy for one in rollouts) and ticks < LONGEST:
        ticks += 1
        for one in rollouts:
            one.now += SCRAPE
            one.serve(SCRAPE)
        write(prometheus.url, (sample for one in rollouts for sample in one.scrape()))
        under_way = [one for one in rollouts if one.candidate_weight]
        seen = [(parse_model_deployment(one.body), read_state(one.status)) for one in under_way]
        await loop.tick(seen)
        for one in rollouts:
            if one.busy:
                one.look()
    healthy, bad = rollouts[:HEALTHY], rollouts[HEALTHY:]
    print(f"{ticks} ticks, {collector.queries} queries, {sum(map(_requests, healthy)):,.0f} requests")
    for index, kind in enumerate(("independent failures", "a wandering error rate", "failures in threes")):
        back = [one for one in healthy[index::3] if "lastRollback" in one.status]
        print(f"{kind}: {len(back)} of {len(healthy[index::3])} rolled back")
    rolled_back = [one.status["lastRollback"] for one in healthy if "lastRollback" in one.status]
    for one in rolled_back:
        print(f"  {one['reason']}: {one['message']}")
    assert not [one for one in healthy if one.busy], "a version that is no worse passes in the end"
    assert {one["reason"] for one in rolled_back} <= {"WorseThanStable"}
    assert len(rolled_back) <= 0.05 * HEALTHY, "the promise for all metrics together"
    caught = [one for one in bad if one.status.get("lastRollback", {}).get("metric") == "errors"]
    assert len(caught) == BAD, "what fails five times as often is found by its errors"


def _requests(one: Rollout) -> float:
    return sum(count for key, count in one.counts.items() if key[0] == "envoy_serin_attempts")
