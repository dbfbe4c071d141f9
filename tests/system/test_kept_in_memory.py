"""The whole operator while evidence is kept in memory: what it writes and how often it looks, and what a death loses.

Counts, and no durations: of requests as Prometheus has scraped them, of status writes, and of looks.
"""

import asyncio

import pytest

from serin.analysis import ratio
from serin.cluster import kinds
from serin.controller import evidence_loop
from tests.simulation.api.store import Commit
from tests.system.stage import Stage, play

LONG = {"canary": {"steps": [{"weight": 20, "bake": "1h"}]}}
TICK = 5.0
EVERY = 20.0  # seconds between two writes of numbers


@pytest.fixture(autouse=True)
def as_if_there_were_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rollout writes its numbers as seldom as each of many does."""
    monkeypatch.setattr(evidence_loop, "NUMBERS_PER_SECOND", 1.0 / EVERY)


class Watched:
    """What is written and looked at of one deployment, and whether each written status counts what was scraped."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.writes = 0
        self.compared: list[tuple[list[float], list[float]]] = []  # counted, and scraped
        stage.server.store.listen(self._on_commit)

    @property
    def looks(self) -> float:
        """Looks of all replicas, in their present lives."""
        replicas = [pod.replica for pod in self._stage.pods if pod.replica is not None]
        pages = (one._telemetry.reconciles.collect() for one in replicas)
        return sum(
            one.value for page in pages for family in page for one in family.samples if one.name.endswith("_total")
        )

    def check(self) -> None:
        """What was counted is what was scraped."""
        assert self.compared
        assert [found for found, _ in self.compared] == [scraped for _, scraped in self.compared]

    def _on_commit(self, commit: Commit) -> None:
        if commit.kind == kinds.MODEL_DEPLOYMENT:
            self.writes += 1
            self._compare()

    def _compare(self) -> None:
        rollout = self._stage.state("shop").rollout
        evidence = rollout.arms[0].evidence.get("errors") if rollout else None
        if rollout is None or evidence is None:
            return
        state, candidate = ratio.read(evidence), rollout.candidate
        begun = rollout.since if rollout.counted_since is None else rollout.counted_since
        found = state.total.as_list()[:2]
        names = ("envoy_serin_attempts", "envoy_serin_failures")
        scraped = [self._stage.prometheus.grown(name, candidate, begun, state.at) for name in names]
        self.compared.append((found, scraped))


async def in_rollout(stage: Stage) -> Watched:
    """Version 2 has its first share."""
    stage.create("shop", strategy=LONG)
    await stage.serves("shop", "1")
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop") == {"1": 80, "2": 20})
    return Watched(stage)


def test_numbers_alone_are_written_seldom_and_looked_at_once() -> None:
    async def story(stage: Stage) -> None:
        watched = await in_rollout(stage)
        await asyncio.sleep(60.0)  # verdicts change while the evidence is thin
        writes, looks = watched.writes, watched.looks
        await asyncio.sleep(200.0)
        assert watched.writes - writes <= 200.0 / EVERY + 1
        assert watched.looks - looks <= 200.0 / TICK + 200.0 / 15.0 + 2  # a tick, and a look while time passes
        watched.check()

        replica = stage.leader().replica
        assert replica is not None
        ages = replica._telemetry.registry.get_sample_value
        assert ages("serin_evidence_age_seconds_count")
        assert ages("serin_evidence_age_seconds_bucket", {"le": "20.0"}) == ages("serin_evidence_age_seconds_count")

    play(Stage, story)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_counted_twice_or_lost_over_a_kill(seed: int) -> None:
    async def story(stage: Stage) -> None:
        watched = await in_rollout(stage)
        for pause in (33.0, 47.0, 51.0):
            await asyncio.sleep(pause + seed)
            stage.leader().kill()
        watched.compared.clear()
        await asyncio.sleep(60.0)
        watched.check()

    play(lambda: Stage(seed=seed), story, seed=seed)


def test_nothing_is_counted_twice_or_lost_over_a_change_of_leader() -> None:
    async def story(stage: Stage) -> None:
        watched = await in_rollout(stage)
        for _ in range(2):
            await asyncio.sleep(33.0)
            before, other = stage.leader(), stage.standby()
            await before.stop()
            await asyncio.sleep(30.0)
            assert stage.leader() is other
            before.start()
        watched.compared.clear()
        await asyncio.sleep(60.0)
        watched.check()

    play(lambda: Stage(replicas=2), story)
