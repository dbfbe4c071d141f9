"""The steps are edited in mid-rollout: less traffic at once, more of it only the usual way."""

from typing import Any

import pytest

from serin.api.names import ANNOTATION_APPROVE, ANNOTATION_PAUSE, ANNOTATION_PROMOTE
from serin.api.state import Phase
from serin.api.status import read_state
from serin.explain.sentences import explain
from tests.narratives.film import Filmed
from tests.narratives.world import Sampler, World, passes, silent, spec, undecided

LONG = "1h"
PAUSE: dict[str, Any] = {"pause": {}}


def step(weight: int, bake: str = LONG, **more: Any) -> dict[str, Any]:
    return {"weight": weight, "bake": bake, **more}


def edit(world: World, *steps: dict[str, Any]) -> None:
    world.change(spec("2", strategy={"canary": {"steps": list(steps)}}))


def rolled_out(*steps: dict[str, Any], seconds: float = 30, sampler: Sampler = passes) -> Filmed:
    """Version 2 is the candidate, so many seconds after it was applied."""
    world = Filmed(sampler=sampler)
    world.run(20)
    edit(world, *steps)
    world.run(seconds)
    return world


def paused_by_a_person(world: World) -> None:
    world.annotate(ANNOTATION_PAUSE)


def without_data(world: World) -> None:
    world.sampler = silent


def without_proof(world: World) -> None:
    world.sampler = undecided


def without_a_router(world: World) -> None:
    world.router_hears = False


@pytest.mark.parametrize("happens", [paused_by_a_person, without_data, without_proof, without_a_router])
def test_a_lower_weight_waits_for_nothing(happens: Any) -> None:
    world = rolled_out(step(50), step(60))
    assert world.candidate_weight == 50
    happens(world)
    world.run(10)
    edit(world, step(10), step(60))
    world.look()
    assert world.candidate_weight == 10
    assert "step 1 of 2 was edited: 10% of the traffic" in world.story[-1]


def test_a_lowered_step_bakes_from_the_beginning() -> None:
    world = rolled_out(step(50, "40s"), step(60), seconds=40)
    edit(world, step(10, "40s"), step(60))
    world.run(30)
    assert world.candidate_weight == 10
    world.run(20)
    assert world.candidate_weight == 60


def test_a_lower_weight_is_not_given_to_a_stable_version_that_is_down() -> None:
    world = rolled_out(step(50), step(60))
    stable = read_state(world.status).stable or ""
    world.problems[stable] = "pod fraud-a: its node is lost"
    edit(world, step(10), step(60))
    world.run(30)
    assert world.candidate_weight == 50
    del world.problems[stable]
    world.run(10)
    assert world.candidate_weight == 10


def test_a_higher_weight_waits_for_evidence_and_explain_says_so() -> None:
    world = rolled_out(step(10), step(60), sampler=undecided)
    edit(world, step(50), step(60))
    world.run(60)
    world.film()
    assert world.candidate_weight == 10
    told = " ".join(explain(world.frames[-1].facts))
    assert "Step 1 of 2 is 50% for 1h; it begins once what 10% shows is enough for that" in told
    assert "left" not in told


def test_a_pause_in_place_of_a_weight_has_the_weight_of_the_steps_before_it() -> None:
    world = rolled_out(step(5, "10s"), step(50), seconds=60)
    assert world.candidate_weight == 50
    edit(world, step(5, "10s"), PAUSE, step(50))
    world.run(10)
    assert world.candidate_weight == 5
    assert world.status["reason"] == "WaitingForApproval"
    world.annotate(ANNOTATION_APPROVE)
    world.run(30)
    assert world.candidate_weight == 50


def test_a_pause_before_any_weight_takes_the_traffic_away() -> None:
    world = rolled_out(step(5), step(50))
    assert world.candidate_weight == 5
    edit(world, PAUSE, step(50))
    world.run(10)
    assert world.candidate_weight == 0


def test_the_first_traffic_skips_no_step() -> None:
    """In the pause before any traffic the pause is taken out: the same number is now the second weight."""
    world = rolled_out(PAUSE, PAUSE, step(5), step(50))
    world.annotate(ANNOTATION_APPROVE)
    world.run(10)
    assert read_state(world.status).rollout.stage.index == 1  # type: ignore[union-attr]
    world.sampler = silent
    edit(world, step(5), step(50))
    world.run(30)
    assert world.candidate_weight == 5


def test_all_steps_taken_out_before_any_traffic_promote_nothing() -> None:
    world = rolled_out(PAUSE, PAUSE, step(5))
    world.annotate(ANNOTATION_APPROVE)
    world.run(10)
    world.sampler = silent
    edit(world, step(5))
    world.run(30)
    assert world.candidate_weight == 5


def test_steps_that_are_taken_out_lead_to_a_promotion_with_its_own_deadline() -> None:
    world = rolled_out(step(5, "10s"), step(50, "10s"), step(60), seconds=90)
    assert world.candidate_weight == 60
    world.problems[world.wanted] = "pod fraud-b: cannot be scheduled"
    world.lost[world.wanted] = 2
    edit(world, step(5, "10s"), step(50, "10s"))
    world.run(700)
    assert world.candidate_weight == 0
    last = read_state(world.status).last_rollback
    assert last is not None
    assert last.reason == "ProgressDeadlineExceeded"


def test_steps_that_are_added_take_back_what_the_router_has_not_taken() -> None:
    world = rolled_out(step(5, "10s"), seconds=10)
    world.router_hears = False
    world.run(40)
    assert world.candidate_weight == 100
    edit(world, step(5, "10s"), step(50))
    world.look()
    assert world.candidate_weight == 50


def test_a_promotion_that_a_person_asked_for_goes_on() -> None:
    world = rolled_out(step(5))
    world.sampler = undecided
    world.router_hears = False
    world.annotate(ANNOTATION_PROMOTE)
    world.run(30)
    assert world.candidate_weight == 100
    edit(world, step(5), step(10), step(20))
    world.run(10)
    assert world.candidate_weight == 100
    world.router_hears = True
    world.run(20)
    assert read_state(world.status).phase is Phase.HEALTHY
    assert world.weights == {world.wanted: 100}


def test_an_edited_bake_and_an_edited_number_of_requests_hold_at_the_next_look() -> None:
    world = rolled_out(step(5, LONG, minRequests=10**9), step(50))
    world.run(30)
    edit(world, step(5, LONG), step(50))
    world.run(10)
    assert world.status["reason"] == "Baking"
    edit(world, step(5, "10s"), step(50))
    world.run(20)
    assert world.candidate_weight == 50


def test_requests_at_the_weight_before_do_not_count_for_the_fewest_of_this_step() -> None:
    """They go on coming while the pods of the next step start."""
    world = rolled_out(step(5, "10s"), step(50, minRequests=30_000), seconds=0)
    world.delay = 20.0
    while world.candidate_weight < 50:
        world.run(5, tick=5)
    assert world.status["step"].get("requests", 0) == 0
