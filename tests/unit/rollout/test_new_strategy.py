"""A strategy is a file and a line in the table: one from this file runs a rollout, and nothing else knows of it."""

from dataclasses import dataclass, replace

import pytest

from serin.analysis.traffic import Stage
from serin.api.capabilities import Capability, Needs
from serin.api.conditions import Reason
from serin.api.fields import Field, InvalidSpec
from serin.api.parse import parse_spec
from serin.api.split import all_to, between
from serin.api.state import StageState, StageStatus
from serin.api.status import read_status
from serin.evaluation.feasibility import Schedule
from serin.rollout.gates import HOLD, first, unproven
from serin.rollout.strategies.base import Advance, Finding, RolloutContext
from serin.rollout.strategies.table import STRATEGIES, strategy_of
from tests.narratives.world import World, fails, spec


@dataclass(frozen=True, slots=True)
class Half:
    """Half of the traffic for a while, then all of it."""

    seconds: float
    max_duration: float | None = None

    @classmethod
    def read(cls, settings: Field) -> "Half":
        return cls(settings["for"].duration())

    def needs(self) -> Needs:
        return {Capability.WEIGHTS: "spec.strategy.half"}

    def schedule(self) -> Schedule:
        return Schedule((Stage(1, 50, self.seconds),), self.seconds)

    def last_stage(self) -> int:
        return 1

    def settled_at(self, stage: StageState) -> float | None:
        return stage.since

    def pods(self, context: RolloutContext) -> int:
        return context.seen.deployment.spec.replicas

    def waits_for_approval(self, stage: StageState) -> bool:
        assert stage.entered
        return False

    def show(self, context: RolloutContext) -> StageStatus:
        return StageStatus(of=1, weight=context.weight, position="half", titles=(f"half for {self.seconds:g}s",))

    def advance(self, context: RolloutContext, *, approved: bool) -> Advance:
        assert not approved
        now, ready, needed = context.seen.now, context.ready, context.needed
        if held := first(HOLD, context) or (unproven(context) if context.weight else None):
            return Advance(context.state, held)
        if ready < needed:
            return Advance(context.state, Finding(Reason.CANDIDATE_STARTING, f"{ready} of {needed} pods"))
        if not context.weight:
            state = context.at(replace(context.stage, since=now)).state
            half = replace(state, split=between(context.stable, context.candidate, 50))
            return Advance(half, Finding(Reason.STEP_STARTED, "half"), event=True, proof={context.candidate: needed})
        if context.weight == 50:
            left = self.seconds - (now - (context.stage.since or now))
            if left > 0:
                return Advance(context.state, Finding(Reason.BAKING, "half"), requeue_after=left)
            everything = replace(context.state, split=all_to(context.candidate))
            return Advance(everything, Finding(Reason.PROMOTING, "all"), proof={context.candidate: needed})
        draining = {**context.state.draining, context.stable: now}
        promoted = replace(context.state, stable=context.candidate, rollout=None, draining=draining)
        return Advance(promoted, Finding(Reason.PROMOTED, "all of it"), event=True)


@pytest.fixture(autouse=True)
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "half", Half.read)


def halves(version: str) -> dict[str, object]:
    return spec(version, strategy={"half": {"for": "40s"}})


def test_it_promotes_what_passes() -> None:
    world = World(spec=halves("1"))
    world.run(20)
    second = world.change(halves("2"))
    world.run(30)
    assert sorted(world.weights.values()) == [50, 50]
    shown = read_status(world.status).stage
    assert (shown.position, shown.title, shown.weight) == ("half", "half for 40s", 50)
    world.run(100)
    assert world.weights == {second: 100}
    assert read_status(world.status).state.stable == second


def test_the_gates_hold_for_it_as_for_every_other() -> None:
    world = World(spec=halves("1"))
    world.run(20)
    first_version = world.wanted
    world.sampler = fails
    second = world.change(halves("2"))
    world.run(60)
    assert world.weights == {first_version: 100}
    assert world.snapshots[second].rejected


def test_another_strategy_in_mid_rollout_starts_it_over() -> None:
    """The stages of two strategies have nothing in common: the second of four is no half."""
    world = World()
    world.run(20)
    first_version = world.wanted
    world.change(spec("2"))
    world.run(90)
    assert world.candidate_weight == 25
    world.delay, world.pods[world.wanted].grown = 10.0, world.now
    world.change(halves("2"))
    world.look()
    assert world.weights == {first_version: 100}
    assert any("the strategy was changed from canary to half in mid-rollout" in line for line in world.said)
    world.run(30)
    assert world.candidate_weight == 50


def test_another_strategy_waits_while_stable_is_down() -> None:
    world = World()
    world.run(20)
    stable = world.wanted
    world.change(spec("2"))
    world.run(90)
    world.problems[stable] = "pod fraud-a: its node is lost"
    world.change(halves("2"))
    world.run(30)
    assert world.candidate_weight == 25
    del world.problems[stable]
    world.run(20)
    assert world.candidate_weight == 50


def test_a_strategy_that_is_in_no_table_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        InvalidSpec,
        match=r"^spec\.strategy\.third is unknown: write one of canary, blueGreen, abTest, bandit, shadow, half$",
    ):
        strategy_of(parse_spec(spec(strategy={"third": {}})))
