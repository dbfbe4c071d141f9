"""The rewards of a bandit through collector and Prometheus: pods are scraped at their own moments, and count once."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import pytest

from serin.api.spec import Metric, RatioQuery
from serin.api.split import Split
from serin.api.state import Arm, Rollout, StageState, State
from serin.api.verdicts import Against, Severity
from serin.evaluation.rewards import AskedReward, Rewards, judge_rewards
from serin.evaluation.samples import Key, Sample, requests
from serin.metrics.collector import Collector, Want
from tests.catalog import CATALOG
from tests.simulation import clock
from tests.simulation.prometheus import Adapter, Prometheus, Target
from tests.simulation.test_envoys import in_virtual_time
from tests.simulation.traffic import Series

CLICKS: Final = Metric(
    "clicks",
    RatioQuery(bad="clicks_total{ {{.version}} }", total="shown_total{ {{.version}} }"),
    Severity.MAJOR,
    Against.STABLE,
)
PER_SECOND: Final = {"fraud-a": 20, "fraud-b": 10, "fraud-c": 10}  # of each pod
CLICKED: Final = {"fraud-a": 0.10, "fraud-b": 0.10, "fraud-c": 0.20}
SPLIT: Final = Split({"fraud-a": 50, "fraud-b": 25, "fraud-c": 25})
PODS: Final = 2
BEGUN: Final = Rollout("fraud-a", (Arm("fraud-b"), Arm("fraud-c")), 0.0)


@dataclass
class Arms:
    """Pods that show their own counters, and what is kept of them between two looks."""

    began: float = field(default_factory=clock.now)
    rollout: Rollout = BEGUN
    newest: dict[Key, Sample] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prometheus = Prometheus(self._targets)
        self.collector = Collector(Adapter(self.prometheus), CATALOG)  # type: ignore[arg-type]

    def shown(self, snapshot: str) -> int:
        """Requests of one pod so far."""
        return int(PER_SECOND[snapshot] * (clock.now() - self.began))

    def _targets(self) -> list[Target]:
        return [self._pod(snapshot, number) for snapshot in PER_SECOND for number in range(PODS)]

    def _pod(self, snapshot: str, number: int) -> Target:
        labels = {"serin_namespace": "shop", "serin_model_deployment": "fraud", "serin_snapshot": snapshot}

        def scrape() -> dict[Series, float]:
            count = self.shown(snapshot)
            return {("shown_total", ()): float(count), ("clicks_total", ()): float(int(count * CLICKED[snapshot]))}

        return Target("kubernetes-pods", f"{snapshot}-{number}:8080", scrape, labels)

    def _wants(self) -> Iterator[tuple[Key, Want]]:
        state = State(stable="fraud-a", rollout=self.rollout, split=SPLIT)
        now = clock.now()
        for one in requests(state, [CLICKS], self.newest, request_template="", settled_at=None, now=now, questions={}):
            yield one.key, Want("shop", "fraud", one.subject, one.baseline, CLICKS, one.since, counted=one.counted)

    async def look(self, now: float) -> Rewards:
        """Collect, judge, and keep what the status would."""
        wants = dict(self._wants())
        found = await self.collector.collect(now, list(wants.values()))
        for key, want in wants.items():
            if want.key in found:
                self.newest[key] = Sample(found[want.key], want.since)
        judged = judge_rewards(AskedReward("clicks"), self.rollout, SPLIT, self.newest)
        arms = tuple(replace(one, evidence=judged.counted(one.snapshot)) for one in self.rollout.arms)
        self.rollout = replace(self.rollout, arms=arms, evidence=judged.evidence)
        return judged


@pytest.mark.parametrize("offset", range(5))  # seconds: whose scrape is the last one before a look
def test_every_request_counts_once_although_no_two_pods_are_scraped_together(offset: int) -> None:
    async def main() -> None:
        arms = Arms()
        scraping = asyncio.create_task(arms.prometheus.run())
        await asyncio.sleep(30.0 + offset)
        begun = arms.prometheus.clock.time()
        arms.rollout = replace(arms.rollout, since=begun, stage=StageState(entered=begun, since=begun))
        before = {snapshot: arms.shown(snapshot) for snapshot in PER_SECOND}
        judged = None
        for _ in range(30):
            await asyncio.sleep(5.0)
            judged = await arms.look(arms.prometheus.clock.time())
        scraping.cancel()
        assert judged is not None
        for snapshot, one in judged.arms.items():
            had = PODS * (arms.shown(snapshot) - before[snapshot])
            assert 0.9 * had < one.requests <= had, f"{snapshot}: {one.requests} of {had} are counted"
        assert judged.winner == "fraud-c"

    in_virtual_time(main)
