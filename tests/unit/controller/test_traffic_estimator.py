"""The traffic estimator: each rollout is asked about once, idle ones never; what fails is asked for again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from serin.analysis.traffic import Traffic
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller import traffic_estimator
from serin.controller.traffic_estimator import TrafficEstimator
from serin.metrics.answers import Answer, Failed, Series, Value
from tests.catalog import CATALOG
from tests.unit.controller.test_evidence_loop import NOW, Bench, deployment
from tests.unit.controller.test_observe import judged
from tests.unit.jumping_time import in_jumping_time, now


class Prometheus:
    """Knows 0.4 requests a second of each deployment that is asked for, a fortieth of them bad."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.away = False

    async def ask(self, query: str, at: float) -> Answer:
        self.queries.append(query)
        if self.away:
            return Failed(Reason.PROMETHEUS_UNREACHABLE, "away")
        return Value(
            tuple(one for name in ("fraud", "churn", "idle") if name in query for one in self._series(name, at))
        )

    def _series(self, name: str, at: float) -> tuple[Series, ...]:
        owner = {"serin_namespace": "shop", "serin_model_deployment": name, "serin_snapshot": f"{name}-a"}
        times = tuple(at - 15.0 * step for step in range(60, -1, -1))
        counts = {"envoy_serin_attempts": 0.4, "envoy_serin_failures": 0.01}
        return tuple(
            Series({**owner, "__name__": counter}, times, tuple(rate * (time - times[0]) for time in times))
            for counter, rate in counts.items()
        )


class Rig:
    def __init__(self, *bodies: JsonObject) -> None:
        self.cache, self.prometheus, self.looks = ObjectCache(), Prometheus(), list[tuple[str, str]]()
        for body in bodies:
            self.cache.put(kinds.MODEL_DEPLOYMENT, body)
        self.began = now()
        self.estimator = TrafficEstimator(
            self.cache, self.prometheus.ask, self.looks.append, catalog=CATALOG, clock=self.clock
        )

    def clock(self) -> float:
        """NOW when the test began, and on from there."""
        return NOW + now() - self.began


@asynccontextmanager
async def estimating() -> AsyncIterator[Rig]:
    """An estimator that runs, while Prometheus is away and nothing is rolled out."""
    rig = Rig()
    rig.prometheus.away = True
    task = asyncio.create_task(rig.estimator.run())
    yield rig
    task.cancel()


async def test_rollouts_that_begin_together_share_a_query_and_are_looked_at() -> None:
    idle = deployment("idle")
    del idle["status"]["arms"]
    rig = Rig(deployment("fraud", weight=0), deployment("churn", weight=0), idle)
    assert await rig.estimator.estimate()
    assert len(rig.prometheus.queries) == 1
    assert "idle" not in rig.prometheus.queries[0]
    assert sorted(rig.looks) == [("shop", "churn"), ("shop", "fraud")]
    [(name, found)] = rig.estimator.traffic(("shop", "fraud"), "fraud-b").items()
    assert name == "errors"
    assert (found.rate, found.bad) == pytest.approx((0.4, 0.025))


async def test_a_candidate_is_asked_about_once_and_the_next_one_anew() -> None:
    rig = Rig(deployment())
    await rig.estimator.estimate()
    await rig.estimator.estimate()
    assert len(rig.prometheus.queries) == 1
    body = deployment(version=2)
    body["status"]["arms"][0]["snapshot"] = "fraud-c"
    rig.cache.put(kinds.MODEL_DEPLOYMENT, body)
    assert rig.estimator.traffic(("shop", "fraud"), "fraud-c") == {}
    await rig.estimator.estimate()
    assert len(rig.prometheus.queries) == 2
    assert rig.estimator.traffic(("shop", "fraud"), "fraud-b") == {}


@in_jumping_time
async def test_while_nobody_answers_no_change_of_the_deployment_makes_it_ask_again() -> None:
    """Every look may write the status; a Prometheus that is in trouble must not get a query for each."""
    async with estimating() as rig:
        for version in range(1, 20):
            rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment(version=version))
            await asyncio.sleep(2)
        assert len(rig.prometheus.queries) == 1
        rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment("churn"))
        await asyncio.sleep(2)
        [_, query] = rig.prometheus.queries
        assert "churn" in query
        assert "fraud" not in query, "another rollout is no reason to ask about this one again"


async def test_a_rollout_that_begins_is_no_reason_to_read_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a thousand begin at once, that were a million statuses."""
    read: list[JsonObject] = []
    monkeypatch.setattr(traffic_estimator, "read_state", lambda status: read.append(status) or read_state(status))
    rig = Rig()
    for number in range(20):
        rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment(f"m{number}"))
        await rig.estimator.estimate()
    assert len(read) == 20


@in_jumping_time
async def test_rollouts_that_begin_one_after_the_other_share_queries_too() -> None:
    async with estimating() as rig:
        for number in range(20):
            rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment(f"m{number}"))
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        assert 1 <= len(rig.prometheus.queries) <= 3


async def test_what_is_over_is_forgotten() -> None:
    rig = Rig(deployment())
    await rig.estimator.estimate()
    body = deployment(version=2)
    del body["status"]["arms"]
    rig.cache.put(kinds.MODEL_DEPLOYMENT, body)
    await rig.estimator.estimate()
    assert rig.estimator.traffic(("shop", "fraud"), "fraud-b") == {}


@in_jumping_time
async def test_it_wakes_when_a_rollout_begins_and_asks_again_after_a_failure() -> None:
    async with estimating() as rig:
        await asyncio.sleep(600)
        assert rig.prometheus.queries == [], "nothing is under way"
        rig.cache.put(kinds.MODEL_DEPLOYMENT, deployment())
        await asyncio.sleep(150)
        assert len(rig.prometheus.queries) == 3, "at once, and after each minute"
        assert rig.looks == []
        rig.prometheus.away = False
        await asyncio.sleep(60)
        asked = len(rig.prometheus.queries)
        assert rig.looks == [("shop", "fraud")]
        await asyncio.sleep(600)
        assert len(rig.prometheus.queries) == asked, "what is known is not asked again"


def test_the_observation_has_the_sentence() -> None:
    body = deployment()
    bench = Bench(body)
    assert judged(bench, body).feasible is None
    bench.traffic_estimator._found["shop", "fraud"] = "fraud-b", {"errors": Traffic(0.4, 0.01)}
    found = judged(bench, body).feasible
    assert found is not None
    assert found[0] is Reason.TRAFFIC_TOO_LOW
    assert found[1].startswith("at 0.4 requests/s step 1 (5% for 5m) gathers 6 candidate requests; errors takes about ")
    bench.traffic_estimator._found["shop", "fraud"] = "fraud-b", {"errors": Traffic(400.0, 0.01)}
    assert (judged(bench, body).feasible or ("",))[0] is Reason.TRAFFIC_SUFFICES
