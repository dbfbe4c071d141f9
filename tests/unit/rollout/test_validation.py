"""Validation before a rollback: what the stories in tests/narratives/validations.py do not tell."""

from dataclasses import replace

from serin.api import names
from serin.api.conditions import Reason
from serin.api.status import read_state
from serin.api.verdicts import FAILURES
from serin.rollout.assess import assess
from serin.rollout.model import CreateJob, WriteStatus
from serin.rollout.planner import plan
from tests.narratives.limits import QUEUE, limited
from tests.narratives.validations import VALIDATED, begins_to_miss, says
from tests.narratives.world import World


def compared() -> World:
    """A Job has just begun to compare the target with what serves."""
    world = World()
    begins_to_miss(world)
    while not world.validations:
        world.run(10)
    return world


def told(world: World, reason: Reason) -> list[str]:
    return [line for line in world.said if f"{reason}:" in line]


def test_a_job_that_a_crash_has_lost_is_made_again_with_the_time_that_is_left() -> None:
    world = compared()
    [(name, (first, _))] = world.validations.items()
    world.run(20)
    world.validations.clear()
    world.die()
    world.run(20)
    [(again, (action, _))] = world.validations.items()
    assert (again, action.target) == (name, first.target)
    assert action.seconds <= first.seconds - 10


def test_a_job_is_the_same_one_after_a_time_in_which_nobody_looked() -> None:
    world = compared()
    world.run(20)
    world.now += 75
    world.settle()
    assert len(world.validations) == 1
    assert not told(world, Reason.VALIDATION_SKIPPED)


def test_a_clock_that_is_set_back_makes_the_wait_no_longer() -> None:
    world = compared()
    for pods in world.pods.values():
        pods.grown -= 3600
    world.now -= 60
    world.settle()
    assert "has not answered within 2m" in told(world, Reason.VALIDATION_SKIPPED)[0]


def test_it_is_looked_after_when_the_time_is_over() -> None:
    world = compared()
    world.run(20)
    made, known = world.look(), read_state(world.status).manual_rollback
    assert known is not None
    assert known.validation is not None
    assert made.requeue_after is not None
    assert made.requeue_after <= known.validation.since + 120 - world.now


def test_a_metric_that_is_gone_is_worth_no_wait() -> None:
    """Nobody can say any more how severe it is."""
    world = World()
    begins_to_miss(world)
    while not (back := read_state(world.status).manual_rollback):
        world.run(5)
    world.change(limited("3", {**QUEUE, "severity": "critical", "for": "20s"}) | {"rollback": VALIDATED})
    world.now += 5
    seen = world.observe()
    actions = plan(seen, assess(seen)).actions
    [written] = [one.status for one in actions if isinstance(one, WriteStatus)]
    assert not any(isinstance(one, CreateJob) for one in actions)
    assert written["traffic"]["weights"] == {back.target: 100}


def test_whoever_asks_when_everything_is_on_its_way_changes_nothing() -> None:
    """A critical breach is validated by nobody; a person who asks for the same later is no reason to say so."""
    world = World()
    begins_to_miss(world, severity="critical")
    world.router_hears = False
    while not (back := read_state(world.status).manual_rollback) or back.moved is None:
        world.run(5)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, back.target)
    world.run(10)
    assert told(world, Reason.ROLLBACK_REFUSED)
    assert not told(world, Reason.VALIDATION_SKIPPED)


def test_a_request_that_is_refused_ends_no_validation() -> None:
    world = compared()
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "fraud-unknown")
    world.run(10)
    assert told(world, Reason.ROLLBACK_REFUSED)
    assert world.status["reason"] == Reason.VALIDATING
    assert not told(world, Reason.VALIDATION_SKIPPED)


def test_what_is_on_its_way_back_is_not_said_to_stay() -> None:
    world = compared()
    [within] = [one for one in world.status["conditions"] if one["type"] == "WithinLimits"]
    assert "missed: " in within["message"]
    assert "stays" not in within["message"]


def test_a_rollback_that_was_refused_is_none_of_those_of_a_day() -> None:
    world = World()
    begins_to_miss(world)
    world.compares = says(dict.fromkeys("12", '{"accept": false}'))
    while not told(world, Reason.ROLLBACK_FAILED) or read_state(world.status).manual_rollback:
        world.run(10)
    assert "wentBack" not in world.status


def test_a_critical_breach_that_the_data_has_brought_waits_as_any_other() -> None:
    world = World()
    queues = begins_to_miss(world)
    while not world.validations:
        world.run(10)
    queues["3"] = 80.0
    found = assess(seen := world.observe())
    while not (found.limits and {one.metric: one.verdict for one in found.limits.verdicts}.get("queue") in FAILURES):
        world.look()
        world.now += 5
        found = assess(seen := world.observe())
    drifted = replace(found, limits=replace(found.limits, moved=frozenset({"queue"})))
    assert any(one.reason is Reason.VALIDATION_SKIPPED for one in plan(seen, found).events)
    assert not any(one.reason is Reason.VALIDATION_SKIPPED for one in plan(seen, drifted).events)
