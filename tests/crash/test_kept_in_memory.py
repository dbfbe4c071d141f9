"""Evidence that is not written dies with the operator, and is counted again: nothing twice, and nothing left out.

Requests here are counters that only grow, as at a router: a sample is what they grew by between two moments. So what
the evidence holds can be compared, after every look and any number of deaths, with what was counted until its end.
"""

import random
from dataclasses import dataclass, field

import pytest

from serin.analysis import ratio
from serin.analysis.types import Arm, RatioTick, Tick
from serin.api.json import JsonObject
from serin.api.status import read_state
from serin.evaluation.samples import SampleRequest
from serin.rollout.model import Plan
from serin.rollout.news import LONGEST
from tests.narratives.world import World, fails, spec

LONG = {"canary": {"steps": [{"weight": 10, "bake": "1h"}]}}
TICK = 5.0
SECONDS = 300.0


def counters(at: float) -> Arm:
    """A router's counters at a moment: seven requests a second, and a failure every third second."""
    return Arm(int(at) * 7, int(at) // 3)


def counted(world: World, asked: SampleRequest) -> Tick:
    """What the counters grew by since the moment that is asked for; the same for both versions."""
    before, after = counters(asked.since), counters(world.now)
    arm = Arm(after.requests - before.requests, after.bad - before.bad)
    return RatioTick(world.now, arm, arm)


@dataclass
class Counting(World):
    """A world with one long rollout, whose evidence is compared with the counters at every look."""

    spec: JsonObject = field(default_factory=lambda: spec(strategy=LONG))
    every: float = LONGEST
    begun: float = 0.0  # when counting begins, as first written: time in which nobody has looked moves it
    status_writes: int = 0
    deaths_with_evidence: int = 0

    def look(self, *, crash_after: int | None = None) -> Plan:
        before = self.status
        made = super().look(crash_after=crash_after)
        self.status_writes += self.status is not before
        self._check(self.status)
        if self.unwritten is not None:
            self._check(self.unwritten)
        return made

    def _check(self, status: JsonObject) -> None:
        rollout = read_state(status).rollout
        evidence = rollout.arms[0].evidence.get("errors") if rollout else None
        if evidence is None:
            return
        state, begun = ratio.read(evidence), counters(self.begun)
        until = counters(state.at)
        assert state.total.as_list()[:2] == [until.requests - begun.requests, until.bad - begun.bad]

    def die(self) -> None:
        self.deaths_with_evidence += self.unwritten is not None
        super().die()

    def pass_time(self, seconds: float, dice: random.Random | None = None) -> None:
        """A look at every tick; with dice the operator dies now and then, also in the middle of what it does."""
        end = self.now + seconds
        while self.now < end:
            self.now += TICK if dice is None else dice.choice((1.0, TICK, 17.0))
            self.look(crash_after=None if dice is None or dice.random() < 0.8 else 0)
            if dice is not None and dice.random() < 0.2:
                self.die()


def in_rollout(every: float = LONGEST) -> Counting:
    """A world whose candidate has just got its traffic."""
    world = Counting(sampler=counted, every=every)
    world.run(30.0)
    world.change(spec("2", strategy=LONG))
    while not world.candidate_weight:
        world.look()
        world.now += 1.0
    rollout = read_state(world.status).rollout
    assert rollout
    world.begun = rollout.since if rollout.counted_since is None else rollout.counted_since
    world.status_writes = 0
    return world


def rows(world: Counting) -> object:
    """What is known of the metrics, wherever that is."""
    status = world.status if world.unwritten is None else world.unwritten
    return [(row["name"], row["requests"], row["verdict"]) for row in status["metrics"]]


def test_numbers_are_written_every_30_seconds_and_counted_exactly() -> None:
    world = in_rollout()
    world.pass_time(SECONDS)
    assert world.candidate_weight == 10
    assert SECONDS / LONGEST - 1 <= world.status_writes <= SECONDS / LONGEST + 2  # a verdict is written at once


def test_few_rollouts_are_written_at_every_tick() -> None:
    world = in_rollout(every=0.5)
    world.pass_time(SECONDS)
    assert world.status_writes == SECONDS / TICK


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_counted_twice_or_lost(seed: int) -> None:
    smooth, shaken = in_rollout(), in_rollout()
    shaken.pass_time(SECONDS, random.Random(seed))
    assert shaken.deaths_with_evidence, "the seed must let something die that was not written"
    shaken.look()
    smooth.now = shaken.now
    smooth.look()
    assert rows(shaken) == rows(smooth)


def test_a_rollback_waits_for_no_turn() -> None:
    world = World(spec=spec(strategy=LONG), every=LONGEST)
    world.run(30.0)
    world.change(spec("2", strategy=LONG))
    world.run(20.0)
    world.look()
    world.now += 1.0
    world.sampler = fails
    world.look()
    last = read_state(world.status).last_rollback
    assert last is not None
    assert last.at == world.now
