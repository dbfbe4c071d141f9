"""A crash is "drop the rest of the requests": the operator dies before any of them, and the end is the same.

A lost answer is the same as a death after the request: either way the next look finds what was carried out.
"""

import random
from dataclasses import dataclass, field
from functools import cache

import pytest

from serin.api import names
from serin.api.status import read_state
from serin.rollout.model import Plan
from tests.narratives.retrainings import ends, retrained, serving
from tests.narratives.stories import Story, named
from tests.narratives.validations import begins_to_miss, says
from tests.narratives.world import World, fails, passes, spec

WAY_BACK = pytest.mark.xdist_group("way-back")  # a group of its own: two processes share the longest module


def _cut(dice: random.Random) -> int:
    """After how many requests of a plan the operator dies; plans have one or two mostly, seven when pods are made."""
    return dice.randrange(3) if dice.random() < 0.7 else dice.randrange(7)


def _run(world: World, seconds: float, dice: random.Random | None) -> int:
    """Let time pass; with dice, most plans are cut short at a random action. Answers how many were."""
    crashes, end = 0, world.now + seconds
    while world.now < end:
        for _ in range(30):
            cut = _cut(dice) if dice and dice.random() < 0.7 else None
            made = world.look(crash_after=cut)
            crashes += cut is not None and cut < len(made.actions)
            if not made.actions:
                break
        world.now += 5.0
    return crashes


def _story(seed: int | None, *, bad: bool) -> tuple[World, int]:
    dice = None if seed is None else random.Random(seed)
    world = World()
    crashes = _run(world, 30, dice)
    world.sampler = fails if bad else passes
    world.change(spec("2"))
    return world, crashes + _run(world, 500, dice)


def _going_back(seed: int | None, *, in_mid_rollout: bool) -> tuple[World, int]:
    """Version 2 is promoted; then a person goes back to the first one, after the promotion or in the next rollout."""
    dice = None if seed is None else random.Random(seed)
    world = World()
    crashes = _run(world, 30, dice)
    first = world.wanted
    world.change(spec("2"))
    crashes += _run(world, 500, dice)
    if in_mid_rollout:
        world.change(spec("3"))
        crashes += _run(world, 100, dice)
        assert world.candidate
    world.annotate(names.ANNOTATION_ROLLBACK_TO, f"{first}@1")
    crashes += _run(world, 200, dice)
    return world, crashes


@cache
def _smooth_story(*, bad: bool) -> World:
    """The same without a crash: one world for all seeds to be compared with."""
    return _story(None, bad=bad)[0]


@cache
def _smooth_way_back(*, in_mid_rollout: bool) -> World:
    return _going_back(None, in_mid_rollout=in_mid_rollout)[0]


def _end(world: World) -> tuple[object, ...]:
    state = read_state(world.status)
    pods = {name: one.desired for name, one in world.pods.items()}
    snapshots = {name: (one.rejected, one.verdict) for name, one in world.snapshots.items()}
    return state.stable, state.candidate, state.split, state.phase, pods, snapshots


@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])
@pytest.mark.parametrize("seed", range(24))
def test_the_end_is_the_same(seed: int, bad: bool) -> None:
    smooth = _smooth_story(bad=bad)
    shaken, crashes = _story(seed, bad=bad)
    assert crashes, "the seed must make the operator die often enough for this to mean something"
    assert _end(shaken) == _end(smooth)


@WAY_BACK
@pytest.mark.parametrize("in_mid_rollout", [False, True], ids=["after-promotion", "in-mid-rollout"])
@pytest.mark.parametrize("seed", range(14))
def test_whoever_goes_back_arrives(seed: int, in_mid_rollout: bool) -> None:
    smooth = _smooth_way_back(in_mid_rollout=in_mid_rollout)
    shaken, crashes = _going_back(seed, in_mid_rollout=in_mid_rollout)
    assert crashes
    assert _end(shaken) == _end(smooth)
    first, second, *third = smooth.snapshots
    assert read_state(shaken.status).stable == first
    assert [shaken.snapshots[name].rejected for name in (second, *third)] == [True] * (1 + in_mid_rollout)


@dataclass
class Mortal(World):
    """A world whose operator dies in every other look, after any number of actions, and comes back at once."""

    dice: random.Random = field(default_factory=lambda: random.Random(7))

    def look(self, *, crash_after: int | None = None) -> Plan:
        cut = _cut(self.dice) if self.dice.random() < 0.5 else crash_after
        return super().look(crash_after=cut)


@WAY_BACK
@pytest.mark.parametrize("story", [pytest.param(story, id=name) for name, story in named() if "back" in name])
def test_every_story_of_going_back_ends_the_same(story: Story) -> None:
    smooth, shaken = World(), Mortal()
    story(smooth)
    story(shaken)
    assert _end(shaken) == _end(smooth)


@pytest.mark.parametrize("seed", range(12))
def test_a_retraining_is_begun_once(seed: int) -> None:
    """The operator dies at any of its requests; the Job is made by whoever finds the decision without one."""
    dice = random.Random(seed)
    world = World()
    serving(world, retrained("1", {"rollbacks": {"count": 1, "within": "1h"}}))
    world.sampler, world.training = fails, ends(60)
    world.change(retrained("2", {"rollbacks": {"count": 1, "within": "1h"}}))
    _run(world, 300, dice)
    state = read_state(world.status)
    assert state.retraining is not None
    assert state.retraining.number == 1
    assert list(world.jobs) == [state.retraining.run.name if state.retraining.run else ""]


@pytest.mark.parametrize("seed", range(4))
def test_a_validation_whose_job_a_crash_has_lost_is_made_up_for(seed: int) -> None:
    """The operator dies at any of its requests; the rollback has its validation, and comes to its end."""
    dice = random.Random(seed)
    world = World(compares=says({"1": '{"target": 0.98, "present": 0.7}'}))
    begins_to_miss(world)
    _run(world, 600, dice)
    assert len(world.validations) == 1
    assert world.status["lastRollback"]["validation"] == "Passed: target 0.98, present 0.7"


def test_rollback_is_whole_after_its_first_write() -> None:
    """The write that takes the traffic away is the write that records why: nothing can fall between the two."""
    world = World()
    _run(world, 30, None)
    world.sampler = fails
    bad = world.change(spec("2"))
    while world.candidate_weight == 0:
        world.look()
        world.now += 1.0
    world.now += 1.0
    world.look(crash_after=1)
    assert world.weights == {read_state(world.status).stable: 100}
    assert world.status["lastRollback"]["from"] == bad
    assert not world.snapshots[bad].rejected, "the crash came before the snapshot's own record"
    world.settle()
    assert world.snapshots[bad].rejected
    assert read_state(world.status).candidate is None, "the rejected content is not tried again"
