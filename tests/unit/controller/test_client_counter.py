"""When it is counted what a version was for clients, how often it is tried, and what makes it stay unknown."""

import asyncio
import copy
from typing import Any

from serin.analysis.types import NoData
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.times import rfc3339
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller.client_counter import LONGEST, ClientCounter
from serin.metrics.answers import Answer, Series, Value
from serin.routers.envoy.series import CLIENTS
from tests.narratives import stories
from tests.narratives.film import film
from tests.unit.background import in_background
from tests.unit.jumping_time import in_jumping_time, now

END = film(stories.bad_candidate)[-1]
LAST = END.facts.state.last_rollback
assert LAST is not None
AT = LAST.at
KEY = ("shop", "fraud")


class Rig:
    """A rollback `age` seconds ago. `silent`: until when Prometheus gives no answer, in seconds of the test."""

    def __init__(self, *names: str, age: float = 0.0, silent: float = 0.0, interval: float = 5.0, **last: Any) -> None:
        self.cache, self.looks, self.asked = ObjectCache(), list[tuple[str, str]](), list[tuple[str, float]]()
        self.age, self.silent, self.interval, self.version = age, silent, interval, 0
        self.counter = ClientCounter(
            self.cache,
            self.ask,
            self.looks.append,
            series=lambda deployment: None if deployment.name == "other-router" else CLIENTS,
            clock=self.time,
        )
        for name in names or ("fraud",):
            self.put(name, **last)

    def time(self) -> float:
        return AT + self.age + now()

    def put(self, name: str = "fraud", **last: Any) -> None:
        body: JsonObject = copy.deepcopy(END.body)
        self.version += 1
        version = str(int(body["metadata"]["resourceVersion"]) + self.version)
        body["metadata"] |= {"namespace": "shop", "name": name, "uid": name, "resourceVersion": version}
        body["status"]["lastRollback"] |= last
        self.cache.put(kinds.MODEL_DEPLOYMENT, body)

    async def ask(self, query: str, at: float) -> Answer:
        self.asked.append((query, at))
        if now() < self.silent:
            return NoData(Reason.SERIES_ABSENT, "nothing")
        newest = at - at % self.interval
        labels = {"serin_namespace": "shop", "serin_model_deployment": "fraud", "serin_snapshot": LAST.source}
        labels |= {"__name__": "envoy_serin_answers", "job": "envoy", "instance": "router-0"}
        assert LAST is not None
        return Value((Series(labels, (AT - 1e4, newest), (0.0, 7.0)),))

    async def after(self, seconds: float) -> "Rig":
        async with in_background(self.counter.run()):
            await asyncio.sleep(seconds)
        return self


@in_jumping_time
async def test_a_rollback_is_counted_once_when_its_answers_are_scraped() -> None:
    rig = Rig()
    await rig.after(14.0)
    assert not rig.asked
    await rig.after(30.0)
    found = rig.counter.counted(KEY)
    assert found is not None
    at, clients = found
    assert (at, clients.exposed, clients.failed, clients.shielded) == (AT, 7, 0, 0)
    assert clients.since == LAST.since
    assert rig.looks == [KEY]
    asked = len(rig.asked)
    rig.put()  # something else changes before the status has it
    await rig.after(120.0)
    assert len(rig.asked) == asked
    rig.put(clients={"exposed": 7})
    assert rig.counter.counted(KEY) is None, "the status has it"


@in_jumping_time
async def test_samples_of_before_the_rollbacks_end_are_not_all() -> None:
    rig = await Rig(interval=60.0).after(200.0)
    found = rig.counter.counted(KEY)
    assert found is not None
    assert found[1].until >= AT + 5.0


@in_jumping_time
async def test_who_is_not_answered_asks_again_for_ten_minutes() -> None:
    rig = await Rig(silent=300.0).after(400.0)
    assert rig.counter.counted(KEY) is not None
    rig = await Rig(silent=1e6).after(3000.0)
    assert rig.counter.counted(KEY) is None
    assert len(rig.asked) < 50
    asked = len(rig.asked)
    rig.put()
    await rig.after(100.0)
    assert len(rig.asked) == asked


@in_jumping_time
async def test_what_cannot_be_counted_stays_unknown_and_holds_up_nobody() -> None:
    rig = Rig("other-router", "fraud")
    await rig.after(60.0)
    assert rig.looks == [KEY]
    rig.put("other-router")
    await rig.after(60.0)
    assert rig.counter.counted(("shop", "other-router")) is None
    old = await Rig(age=601.0).after(60.0)
    assert not old.asked
    unknown = await Rig(since=None).after(60.0)
    assert not unknown.asked


@in_jumping_time
async def test_of_a_version_that_was_stable_for_days_the_last_hours_are_counted() -> None:
    rig = await Rig(since=rfc3339(AT - 5 * 86400.0)).after(60.0)
    found = rig.counter.counted(KEY)
    assert found is not None
    assert found[1].since == AT - LONGEST
