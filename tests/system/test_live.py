"""The whole operator while it reads the router's counters itself: what dies, restarts or is slow counts nothing twice.

Counts, and no durations. The stories `counted_at_the_pods` and `gone_bad_at_the_pods` have the rest.
"""

import asyncio
from collections.abc import Callable

import pytest

from serin.cluster import kinds
from tests.simulation.api.store import Commit
from tests.system.stage import Stage, play
from tests.system.stories import requests_of_the_candidate

LONG = {"canary": {"steps": [{"weight": 20, "bake": "1h"}]}}
RATE = 400.0 * 0.2  # of the candidate
# What a death may cost: from the reading that the written evidence ends at to the first scrape that is surely later.
LOST_SECONDS = 5.0 + 5.0 * 0.25 + 1.0


class Watched:
    """Every status that is written counts no more than was sent."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self.broken = stage, list[str]()
        stage.server.store.listen(self._on_commit)

    def _on_commit(self, commit: Commit) -> None:
        if commit.kind == kinds.MODEL_DEPLOYMENT:
            counted, sent = requests_of_the_candidate(self._stage)
            if counted > sent:
                self.broken.append(f"{counted} of {sent} requests are counted")

    async def end(self) -> tuple[float, float]:
        """What is counted and what was sent, when nobody sends any more."""
        await self._stage.be_quiet("shop")
        await asyncio.sleep(25.0)
        assert self.broken == []
        return requests_of_the_candidate(self._stage)


async def in_rollout(stage: Stage) -> Watched:
    """Version 2 has its first share, and is counted at the pods."""
    stage.create("shop", strategy=LONG)
    await stage.serves("shop", "1")
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    await stage.until(lambda: live_rollouts(stage) == 1.0, 60.0)
    return Watched(stage)


def live_rollouts(stage: Stage) -> float:
    return number(stage, "serin_live_rollouts")


def number(stage: Stage, name: str) -> float:
    """One of the leader's own numbers."""
    replica = stage.leader().replica
    return (replica._telemetry.registry.get_sample_value(name) or 0.0) if replica else 0.0


def on_a_live_stage(story: Callable[[Stage], object], *, seed: int = 1, replicas: int = 1) -> None:
    play(lambda: Stage(seed=seed, replicas=replicas, live=True), story, seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_deaths_count_nothing_twice_and_lose_little(seed: int) -> None:
    async def story(stage: Stage) -> None:
        watched = await in_rollout(stage)
        for pause in (11.3, 17.9, 14.6):
            await asyncio.sleep(pause + 0.7 * seed)
            stage.leader().kill()
        await asyncio.sleep(30.0)
        counted, sent = await watched.end()
        assert sent - 3 * LOST_SECONDS * RATE * 1.3 < counted <= sent

    on_a_live_stage(story, seed=seed)


def test_another_leader_counts_nothing_twice() -> None:
    async def story(stage: Stage) -> None:
        watched = await in_rollout(stage)
        before, other = stage.leader(), stage.standby()
        await before.stop()
        await stage.until(lambda: other.replica and other.replica._deciding, 60.0)
        await stage.until(lambda: live_rollouts(stage) == 1.0, 60.0)
        before.start()
        counted, sent = await watched.end()
        assert sent - LOST_SECONDS * RATE * 1.3 < counted <= sent

    on_a_live_stage(story, replicas=2)


def test_a_router_pod_that_restarts_is_counted_from_nothing() -> None:
    async def story(stage: Stage) -> None:
        watched = await in_rollout(stage)
        for number_of_one in (0, 1):
            await asyncio.sleep(12.0)
            await stage.envoys[number_of_one].restart()
        await asyncio.sleep(20.0)
        counted, sent = await watched.end()
        # What a process counted after it was read last died with it.
        assert sent - 2 * 1.5 * RATE < counted <= sent

    on_a_live_stage(story)


def test_pods_are_read_twice_a_second_however_many_rollouts_there_are() -> None:
    async def story(stage: Stage) -> None:
        names = [f"fraud-{one}" for one in range(3)]
        for name in names:
            stage.create("shop", name, strategy=LONG)
        await stage.until(lambda: all(stage.serving("shop", name) == {"1": 100} for name in names))
        for name in names:
            stage.upgrade("shop", "2", name)
        await stage.until(lambda: live_rollouts(stage) == len(names), 120.0)
        reads, queries = dict(stage.network.read), len(stage.prometheus.queries)
        await asyncio.sleep(60.0)
        for address, before in reads.items():
            assert stage.network.read[address] - before <= 2 * 60 + 1
        # The metric of dispersion is asked for every five minutes; what is counted at the pods is not asked for.
        assert len(stage.prometheus.queries) - queries < 20

    on_a_live_stage(story)


def test_a_pod_that_never_answers_leaves_it_to_prometheus() -> None:
    async def story(stage: Stage) -> None:
        watched = await in_rollout(stage)
        stage.network.slow["10.8.0.2"] = 60.0
        await stage.until(lambda: live_rollouts(stage) == 0.0, 30.0)
        counted, _ = requests_of_the_candidate(stage)
        await asyncio.sleep(30.0)
        assert requests_of_the_candidate(stage)[0] > counted + 15 * RATE, "Prometheus' evidence goes on"
        assert number(stage, "serin_live_read_failures_total") > 0
        counted, sent = await watched.end()
        assert counted == sent

    on_a_live_stage(story)
