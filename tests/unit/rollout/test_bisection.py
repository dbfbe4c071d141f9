"""Partial rollback: what the stories in tests/narratives/bisections.py do not tell."""

from dataclasses import replace

from serin.api import names
from serin.api.effective import combined, versions
from serin.api.parse import parse_spec
from serin.api.state import Bisection, RollbackRecord, Try
from serin.api.status import read_state, smallest, write_state
from serin.evaluation.evaluate import Assessment
from serin.rollout import bisection
from serin.rollout.model import Order, WriteStatus
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.strategies.table import strategy_of
from tests.narratives.bisections import bad, both
from tests.narratives.world import World, fails, passes, spec

RUNTIME_2 = "registry.test/fraud:2"


def rolled_back(world: World) -> str:
    """Version 2 has failed in this very look, and its search has begun; answers its snapshot."""
    world.run(20)
    world.sampler = bad(image=RUNTIME_2)
    world.change(both())
    while not world.status.get("bisection"):
        world.look()
        world.now += 0 if world.last_plan and world.last_plan.actions else 1.0
    return world.wanted


def test_the_search_delays_no_rollback() -> None:
    world = World()
    rejected = rolled_back(world)
    assert world.last_plan is not None
    writes = [one for one in world.last_plan.actions if isinstance(one, WriteStatus)]
    assert [one.order for one in writes] == [Order.LOWER]
    assert world.last_plan.actions[0] is writes[0], "nothing comes before it"
    state = read_state(world.status)
    assert state.rollout is None
    assert state.split.is_all_to(state.stable or "")
    assert state.bisection is not None
    assert (state.bisection.cause.source, state.bisection.cause.target) == (rejected, state.stable)


def test_a_person_ends_it_between_two_combinations() -> None:
    world = World()
    rolled_back(world)
    world.annotate(names.ANNOTATION_ABORT, "1")
    world.look()
    state = read_state(world.status)
    assert state.rollout is None
    assert state.bisection is not None
    assert state.bisection.present is None
    world.run(60)
    assert world.weights == {state.stable: 100}
    assert not world.candidate


def test_a_crash_anywhere_loses_no_try() -> None:
    """The operator dies after each number of requests, again and again: the same combination serves."""
    for dies_after in range(6):
        world = World()
        rolled_back(world)
        for _ in range(60):
            world.look(crash_after=dies_after)
            world.look()
            world.now += 2.0
        assert world.status["reason"] == "PartlyRolledBack"
        assert world.status["bisection"]["message"].startswith("runtime is to blame")


def test_nothing_is_searched_for_without_a_policy() -> None:
    for policy in ({}, {"rollback": {"scope": "all"}}):
        world = World()
        world.run(20)
        world.sampler = fails
        body = both()
        del body["rollback"]
        world.change(body | policy)
        world.run(100)
        assert "bisection" not in world.status
        assert len(world.snapshots) == 2


def test_nothing_is_searched_for_without_evidence() -> None:
    world = World()
    world.run(20)
    world.change(both())
    world.run(10)
    world.annotate(names.ANNOTATION_ABORT, "1")
    world.run(60)
    assert world.status["lastRollback"]["reason"] == "AbortedByUser"
    assert "bisection" not in world.status


def test_a_combination_that_was_rejected_before_is_not_tried_again() -> None:
    world = World()
    world.run(20)
    world.sampler = bad(model="2")
    only_model = world.change(spec("2", strategy=both()["strategy"]))
    world.run(60)
    assert world.snapshots[only_model].rejected
    world.change(both())
    world.run(300)
    search = read_state(world.status).bisection
    assert search is not None
    assert [one.reverts for one in search.tries] == [("model",)], "model 2 on the old runtime has failed already"
    assert search.message == "model is to blame: model 1 runs on the runtime of model 2"


def test_what_cannot_be_made_any_more_ends_in_words() -> None:
    """Somebody has deleted the stable version's snapshot, of which the combination is made."""
    world = World()
    rolled_back(world)
    del world.snapshots[world.status["stable"]["snapshot"]]
    world.look()
    assert world.weights == {world.status["stable"]["snapshot"]: 100}


def test_the_smallest_status_ends_the_search_and_keeps_what_serves() -> None:
    world = World()
    rolled_back(world)
    world.run(200)
    kept = read_state(smallest(world.status))
    assert (kept.bisection, kept.stable) == (None, read_state(world.status).stable)


class TestEffectiveContent:
    """What should run, as a function of spec and status."""

    cause = RollbackRecord("fraud-a", "fraud-b", "WorseThanStable", "worse", 1.0)

    def test_is_the_combination_only_for_the_spec_that_was_rolled_back(self) -> None:
        parsed = parse_spec(both(), "fraud")
        own = names.snapshot_named("fraud", parsed.hashes)
        search = Bisection(replace(self.cause, source=own), ("auto",), (Try("fraud-c", ("runtime",)),))
        state = replace(read_state({}), bisection=search)
        assert versions("fraud", parsed, state) == ("fraud-c",)
        assert versions("fraud", parse_spec(both("3"), "fraud"), state) != ("fraud-c",)
        assert versions("fraud", parse_spec(both(rollback={"scope": "all"}), "fraud"), state) == (own,)
        failed = replace(search, tries=(replace(search.tries[0], reason="WorseThanStable"),))
        assert versions("fraud", parsed, replace(state, bisection=failed)) == (own,)

    def test_takes_each_dimension_from_one_of_the_two(self) -> None:
        own, other = (dict.fromkeys(names.DIMENSIONS, one) for one in ("own", "other"))
        assert combined(own, other, ("runtime", "config")) == {
            "runtime": "other",
            "model": "own",
            "config": "other",
            "features": "own",
        }

    def test_survives_json(self) -> None:
        tries = (Try("fraud-c", ("runtime",), "OverLimit", "slow", 2.0), Try("fraud-d", ("model", "config")))
        state = replace(read_state({}), bisection=Bisection(self.cause, ("auto",), tries, "found"))
        assert read_state(write_state(state)) == state


def test_an_order_of_dimensions_is_no_other_policy() -> None:
    given = (["config", "runtime"], ["runtime", "config"])
    scopes = {parse_spec(both(rollback={"dimensions": one})).rollback.scope for one in given}
    assert scopes == {("runtime", "config")}


def test_passes_is_promoted_without_a_search() -> None:
    world = World(sampler=passes)
    world.run(20)
    wanted = world.change(both())
    world.run(100)
    assert world.weights == {wanted: 100}
    assert "bisection" not in world.status


def test_a_combination_without_reverted_dimensions_is_left_out() -> None:
    """Somebody has edited the status: the look that rolls the next combination back must not fail by it."""
    world = World()
    rolled_back(world)
    tries = world.status["bisection"]["tries"]
    world.status["bisection"]["tries"] = [{**tries[0], "reverts": []}, *tries[1:], {"snapshot": "fraud-x"}]
    search = read_state(world.status).bisection
    assert search is not None
    assert [one.snapshot for one in search.tries] == [one["snapshot"] for one in tries[1:]]


def test_what_is_found_is_told_also_when_the_snapshot_of_stable_was_deleted() -> None:
    world = World()
    rejected = rolled_back(world)
    state = read_state(world.status)
    assert state.bisection is not None
    cause = replace(state.bisection.cause, target="fraud-deleted")
    seen = world.observe()
    builder = PlanBuilder(seen, Assessment(), strategy_of(seen.deployment.spec), seen.state)
    told = bisection._in_words(builder, cause, Try(rejected, ("model", "runtime")))
    assert told == "model and runtime are to blame"


def test_versions_of_the_same_model_are_called_by_their_snapshots() -> None:
    world = World()
    world.run(20)
    stable = world.status["stable"]["snapshot"]
    world.sampler = bad(image=RUNTIME_2)
    wanted = world.change(both("1", config={"threshold": "0.9"}))
    world.run(300)
    assert world.status["bisection"]["message"] == f"runtime is to blame: {wanted} runs on the runtime of {stable}"
