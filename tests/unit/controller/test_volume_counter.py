"""The volume's requests: of those who ask alone, each counted once, and never more than an hour back."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from serin.analysis.types import (
    Arm,
    DistributionTick,
    HistogramTick,
    MeanTick,
    Moments,
    NoData,
    RatioTick,
    ReferenceTick,
    Tick,
    ValueTick,
)
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.retraining import Retraining, write_retraining
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller.volume_counter import EVERY, VolumeCounter, requests_of
from serin.metrics.wants import Want
from tests.narratives.retrainings import JOB
from tests.narratives.world import spec
from tests.unit.jumping_time import in_jumping_time, now

NOW = 1_700_000_000.0
VOLUME = {"triggers": [{"volume": {"metric": "errors", "requests": 10}}], "cooldown": "1h", "job": JOB}


def deployment(name: str = "fraud", until: float | None = NOW - 300.0, asked: Any = VOLUME) -> JsonObject:
    status: JsonObject = {"stable": {"snapshot": f"{name}-a"}}
    if until is not None:
        status["retraining"] = write_retraining(Retraining(NOW - 1e6, counted_until=until))
    metadata = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "resourceVersion": "1", "generation": 1}
    changes = {"retraining": asked} if asked else {}
    return {"metadata": metadata, "spec": spec(**changes), "status": status}


class Collector:
    """Counts a request a second of everything that is asked for."""

    def __init__(self) -> None:
        self.asked: list[list[Want]] = []
        self.fails = False

    async def collect(self, at: float, wants: Sequence[Want]) -> Mapping[tuple[str, str, str, str], Tick]:
        self.asked.append(list(wants))
        if self.fails:
            raise ValueError("a defect")
        return {one.key: RatioTick(at, Arm(round(at - one.since), 0), Arm(0, 0)) for one in wants}


class Rig:
    def __init__(self, *bodies: JsonObject) -> None:
        self.cache, self.collector, self.looks = ObjectCache(), Collector(), list[tuple[str, str]]()
        for body in bodies:
            self.cache.put(kinds.MODEL_DEPLOYMENT, body)
        self.counter = VolumeCounter(
            self.cache,
            self.collector,  # type: ignore[arg-type]
            self.looks.append,
            clock=lambda: NOW + now(),
        )


@in_jumping_time
async def test_all_who_ask_are_counted_in_one_batch() -> None:
    rig = Rig(deployment(), deployment("churn"), deployment("idle", asked=None), deployment("new", until=None))
    await rig.counter.count()
    [wants] = rig.collector.asked
    assert [(one.deployment, one.subject, one.baseline) for one in wants] == [
        ("churn", "churn-a", None),
        ("fraud", "fraud-a", None),
    ]
    assert all(one.counted for one in wants), "what an earlier count ended with is in none twice"
    assert rig.counter.counted(("shop", "fraud")) == (NOW - 300.0, 300, NOW)
    assert sorted(rig.looks) == [("shop", "churn"), ("shop", "fraud")]


@in_jumping_time
async def test_nobody_asks_and_nothing_is_sent() -> None:
    rig = Rig(deployment(asked=None))
    task = asyncio.create_task(rig.counter.run())
    await asyncio.sleep(10 * EVERY)
    assert rig.collector.asked == []
    rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment("late"))
    await asyncio.sleep(2.5 * EVERY)
    assert len(rig.collector.asked) == 3
    rig.cache.drop(kinds.MODEL_DEPLOYMENT, deployment("late"))
    await asyncio.sleep(10 * EVERY)
    assert len(rig.collector.asked) == 3
    task.cancel()


@in_jumping_time
async def test_who_asks_no_more_is_counted_no_more() -> None:
    rig = Rig(deployment(), deployment("churn"))
    await rig.counter.count()
    without = deployment(asked=None)
    without["metadata"]["resourceVersion"] = "2"
    rig.cache.put(kinds.MODEL_DEPLOYMENT, without)
    await rig.counter.count()
    assert [one.deployment for one in rig.collector.asked[-1]] == ["churn"]
    assert rig.counter.counted(("shop", "fraud")) is None
    assert rig.counter.counted(("shop", "churn"))


@in_jumping_time
async def test_whoever_has_no_version_that_serves_is_not_counted() -> None:
    first = deployment()
    del first["status"]["stable"]
    rig = Rig(first)
    await rig.counter.count()
    assert rig.collector.asked == [[]]
    assert rig.looks == []


@in_jumping_time
async def test_a_count_that_fails_is_not_the_last() -> None:
    rig = Rig(deployment())
    rig.collector.fails = True
    task = asyncio.create_task(rig.counter.run())
    await asyncio.sleep(1.0)
    rig.collector.fails = False
    await asyncio.sleep(1.5 * EVERY)
    assert rig.counter.counted(("shop", "fraud")) == (NOW - 300.0, 600, NOW + EVERY)
    task.cancel()


@in_jumping_time
async def test_whose_term_is_over_hears_of_no_change() -> None:
    rig = Rig()
    rig.counter.close()
    rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment())
    await rig.counter.count()
    assert rig.collector.asked == [[]]


@in_jumping_time
async def test_a_gap_of_days_counts_as_an_hour() -> None:
    rig = Rig(deployment(until=NOW - 1e5))
    await rig.counter.count()
    assert rig.counter.counted(("shop", "fraud")) == (NOW - 1e5, 3600, NOW)


@pytest.mark.parametrize(
    ("tick", "found"),
    [
        (RatioTick(9.0, Arm(5, 1), Arm(7, 0)), (5, 9.0)),
        (HistogramTick(9.0, (1.0,), (2, 3), (0, 0)), (5, 9.0)),
        (DistributionTick(9.0, (2, 3), (0, 0)), (5, 9.0)),
        (ReferenceTick(9.0, (2, 3), (1, 1)), (5, 9.0)),
        (MeanTick(9.0, Moments(5, 1.0), Moments(0, 0.0)), (5, 9.0)),
        (ValueTick(9.0, 3.0), None),
        (NoData(Reason.STALE, "old"), None),
    ],
)
def test_every_metric_that_counts_requests_can_be_counted(tick: Tick, found: tuple[int, float] | None) -> None:
    assert requests_of(tick) == found
