"""A clock that jumps, and a leader with another clock: no wait ends early, and none goes on for ever."""

import pytest

from serin.api.status import read_state
from serin.rollout.credit import EVERY
from serin.rollout.model import Route
from tests.narratives.world import World, fails, spec

HOUR = 3600.0


def steps(*bakes: str, **more: object) -> dict[str, object]:
    weights = (5, 25, 50)
    return {"canary": {"steps": [{"weight": w, "bake": b} for w, b in zip(weights, bakes, strict=False)], **more}}


def baking(**strategy: object) -> tuple[World, str]:
    """The first step of 5 minutes has begun 100 s ago."""
    world = World(spec=spec("1"))
    world.run(20)
    candidate = world.change(spec("2", strategy=steps("5m", "5m", **strategy)))
    while not world.candidate_weight:
        world.run(1, tick=1)
    world.run(100)
    return world, candidate


def jump(world: World, by: float) -> None:
    """Set the operator's clock; pods are as old as they were."""
    world.now += by
    for pods in world.pods.values():
        pods.grown += by


def seconds_until(world: World, weight: int, limit: float = 1000.0) -> float:
    """How long the candidate takes to have this weight, by a clock that does not jump."""
    started = world.now
    world.settle()
    while world.candidate_weight != weight:
        assert world.now - started < limit, f"still at {world.candidate_weight}%"
        world.now += 1
        world.settle()
    return world.now - started


@pytest.mark.more
@pytest.mark.parametrize("by", [HOUR, 24 * HOUR, 90.0])
def test_a_clock_that_jumps_forward_ends_no_bake(by: float) -> None:
    world, _ = baking()
    jump(world, by)
    assert 200 - EVERY <= seconds_until(world, 25) <= 210


@pytest.mark.more
@pytest.mark.parametrize("by", [HOUR, 24 * HOUR, 30.0])
def test_a_clock_that_jumps_back_prolongs_none(by: float) -> None:
    world, _ = baking()
    jump(world, -by)
    assert 190 <= seconds_until(world, 25) <= 215


def test_leaders_with_different_clocks_take_turns() -> None:
    world, _ = baking()
    real = 0.0
    while world.candidate_weight == 5:
        jump(world, HOUR if int(real / 30) % 2 else -HOUR)
        world.run(30)
        real += 30
        assert real < 600
    assert real > 200 - 5 * EVERY, "each change of leader credits what usually lies between two looks, and no more"


def test_max_duration_is_not_over_because_a_clock_jumps() -> None:
    world, candidate = baking(maxDuration="20m")
    jump(world, HOUR)
    world.run(100)
    assert world.candidate_weight == 5
    assert read_state(world.status).candidate == candidate
    world.run(1200)
    assert read_state(world.status).stable == candidate or read_state(world.status).last_rollback is None


def test_a_drain_is_not_over_because_a_clock_jumps() -> None:
    world, candidate = baking()
    world.sampler = fails
    world.run(10)
    assert world.weights.get(candidate, 0) == 0
    jump(world, HOUR)
    world.settle()
    assert candidate in world.pods
    world.run(30)
    assert candidate not in world.pods


def test_time_without_a_leader_counts_for_nothing() -> None:
    world, _ = baking()
    jump(world, 600.0)  # no replica ran
    assert 200 - EVERY <= seconds_until(world, 25) <= 210


def test_what_came_without_a_leader_counts_and_a_clock_that_goes_back_hides_nothing() -> None:
    world, _ = baking()
    rollout = read_state(world.status).rollout
    assert rollout
    for by, moved in ((600.0, 0.0), (-HOUR, -HOUR)):
        before = rollout.counted_since or rollout.since
        jump(world, by)
        world.run(10)
        rollout = read_state(world.status).rollout
        assert rollout
        assert rollout.counted_since == pytest.approx(before + moved, abs=EVERY + 10.0)


def test_nothing_is_written_for_it_while_nothing_waits() -> None:
    world = World()
    world.run(20)
    writes = world.writes
    world.run(600)
    assert world.writes == writes
    assert "lookedAt" not in world.status


def test_a_pause_until_a_person_speaks_costs_no_writes() -> None:
    world = World()
    world.run(20)
    world.change(spec("2", strategy={"canary": {"steps": [{"pause": {}}, {"weight": 50, "bake": "60s"}]}}))
    world.run(60)
    writes = world.writes
    world.run(600)
    assert world.writes == writes


def test_a_first_version_without_any_router_waits_without_looking() -> None:
    world = World(route=Route(ready=False), router_hears=False)
    world.run(60)
    writes = world.writes
    world.run(600)
    assert world.writes == writes
    assert world.last_plan is not None
    assert world.last_plan.requeue_after is None
