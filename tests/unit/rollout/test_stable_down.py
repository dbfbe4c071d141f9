"""Stable is lost while the candidate serves: a rollback would send every request to nobody."""

from collections.abc import Callable

import pytest

from serin.api.names import ANNOTATION_ABORT
from serin.api.status import read_state
from serin.rollout.credit import EVERY
from tests.narratives.world import World, fails, passes, silent, spec

DOWN = "pod fraud-a: cannot be scheduled: 0/1 nodes are available"


def fails_late(world: World) -> None:
    world.sampler = fails


def says_nothing(world: World) -> None:
    world.sampler = silent


def takes_long(world: World) -> None:
    assert world.sampler is passes


def rolled_out(**changes: object) -> tuple[World, str, str]:
    """The candidate serves half of the requests; stable has just lost its node."""
    strategy = {"canary": {"steps": [{"weight": 50, "bake": "1h"}], "maxDuration": "10m"}}
    analysis = spec()["analysis"] | {"onNoData": {"action": "Rollback", "after": "5m"}}
    world = World(spec=spec("1", strategy=strategy, analysis=analysis, **changes))
    world.run(20)
    stable = world.wanted
    candidate = world.change(spec("2", strategy=strategy, analysis=analysis, **changes))
    world.run(60)
    assert world.weights == {stable: 50, candidate: 50}
    world.problems[stable] = DOWN
    return world, stable, candidate


@pytest.mark.parametrize("happens", [fails_late, says_nothing, takes_long])
def test_the_candidate_keeps_its_traffic_until_stable_is_back(happens: Callable[[World], None]) -> None:
    world, stable, candidate = rolled_out()
    happens(world)
    world.run(900)
    assert world.weights == {stable: 50, candidate: 50}
    assert world.status["reason"] == "StableUnavailable"
    assert candidate in world.pods
    assert world.last_plan is not None
    assert world.last_plan.requeue_after == EVERY, "what is over already asks for no look"
    del world.problems[stable]
    world.run(60)
    assert world.weights == {stable: 100}
    assert read_state(world.status).last_rollback is not None


def test_a_person_may_end_it_all_the_same() -> None:
    world, stable, _ = rolled_out()
    world.annotate(ANNOTATION_ABORT)
    world.run(10)
    assert world.weights == {stable: 100}
