"""A lowering write that fails: who serves it, and who does not. The whole of it is in tests/simulation."""

from typing import Any

import pytest

from serin.api.json import JsonObject
from serin.api.split import all_to
from serin.api.status import read_state
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Conflict, Refused, Retryable
from serin.controller.apply import Applier
from serin.controller.lowering import Lowering
from serin.rollout.assess import assess
from serin.rollout.model import Observation, Order, Plan, WriteStatus
from serin.rollout.planner import plan
from tests.narratives.world import World, fails, spec
from tests.unit.routers.dummy import Dummy


class Bench:
    """An applier whose only request fails with `error`, if any."""

    def __init__(self, error: Exception | None = None, *, loses_lease: bool = False) -> None:
        self.error, self.loses_lease, self.leading = error, loses_lease, True
        self.router = Dummy()
        cluster: Any = self
        self.applier = Applier(cluster, ObjectCache(), None, lambda: self.leading, Lowering([self.router]))  # type: ignore[arg-type]

    async def patch_status(self, body: JsonObject) -> JsonObject:
        self.leading = not self.loses_lease
        if self.error:
            raise self.error
        return {**body, "metadata": {**body["metadata"], "uid": "uid-fraud", "resourceVersion": "1000"}}

    async def get(self, *_: object) -> JsonObject:
        raise Retryable("away")


@pytest.fixture(scope="module")
def lowering() -> tuple[Observation, Plan, str]:
    """A look that rolls back: what was seen, the write alone, and the snapshot that gets everything."""
    world = World()
    world.run(20)
    stable = world.wanted
    world.change(spec("2"))
    while not world.candidate_weight:
        world.run(1, tick=1)
    world.sampler = fails
    world.now += 5.0
    seen = world.observe()
    write = plan(seen, assess(seen)).actions[0]
    assert isinstance(write, WriteStatus)
    assert write.order is Order.LOWER
    return seen, Plan((write,), (), None), stable


@pytest.mark.parametrize("error", [Retryable("away"), Refused("a webhook says no", 403)])
async def test_what_cannot_be_written_is_served(lowering: tuple[Observation, Plan, str], error: Exception) -> None:
    seen, made, stable = lowering
    it = Bench(error)
    with pytest.raises(type(error)):
        await it.applier.apply(seen, made)
    served = it.router.lowered[seen.deployment.key]
    assert read_state(served.status).split == all_to(stable)
    assert (served.uid, served.version) == (seen.deployment.uid, seen.deployment.resource_version)
    assert it.applier.lowering.of(seen) == (seen, made), "and it is tried again as it is"
    it.error = None
    await it.applier.apply(seen, made)
    assert it.router.lowered == {}


async def test_who_leads_no_longer_when_the_write_has_failed_serves_nothing(
    lowering: tuple[Observation, Plan, str],
) -> None:
    seen, made, _ = lowering
    it = Bench(Retryable("away"), loses_lease=True)
    with pytest.raises(Retryable):
        await it.applier.apply(seen, made)
    assert it.router.lowered == {}


async def test_what_is_out_of_date_is_forgotten(lowering: tuple[Observation, Plan, str]) -> None:
    seen, made, _ = lowering
    it = Bench(Retryable("away"))
    with pytest.raises(Retryable):
        await it.applier.apply(seen, made)
    it.error = Conflict("the object has been modified", 409)
    with pytest.raises(Retryable):
        await it.applier.apply(seen, made)
    assert it.router.lowered == {}
    assert it.applier.lowering.of(seen) is None


def test_nothing_but_a_status_that_lowers_is_ever_served(lowering: tuple[Observation, Plan, str]) -> None:
    seen, made, _ = lowering
    router = Dummy()
    [write] = made.actions
    assert isinstance(write, WriteStatus)
    kept = Lowering([router])
    kept.begin(seen, Plan((WriteStatus(Order.RECORD, write.status),), (), None))
    kept.begin(seen, Plan((WriteStatus(Order.RAISE, write.status),), (), None))
    assert (router.lowered, len(kept)) == ({}, 0)
