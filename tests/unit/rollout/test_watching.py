"""A version that is watched after its promotion: what the stories in tests/narratives/holdbacks.py do not tell."""

from dataclasses import replace

from serin.api import names
from serin.api.status import read_state, read_status, smallest
from serin.rollout.assess import assess
from serin.rollout.model import Order, WriteStatus
from tests.narratives.holdbacks import held, promoted
from tests.narratives.world import CONVERSION, World, ab_test, fails, users_buy
from tests.unit.rollout.test_credit import HOUR, jump


def watched(**changes: object) -> tuple[World, str, str]:
    """A world in which version 2 is watched, its snapshot, and that of the version before."""
    world = World(spec=held("1"))
    promoted(world, **changes)
    state = read_state(world.status)
    assert state.stable is not None
    assert state.watch is not None
    return world, state.stable, state.watch.before


def test_a_breach_is_one_write_and_that_lowers() -> None:
    world, promoted_one, before = watched()
    world.sampler = fails
    world.now += 5
    made = world.look()
    writes = [one for one in made.actions if isinstance(one, WriteStatus)]
    assert [one.order for one in writes] == [Order.LOWER]
    assert made.actions[0] is writes[0], "nothing comes before it"
    state = read_state(writes[0].status)
    assert (state.stable, dict(state.split.weights), state.watch) == (before, {before: 100}, None)
    assert state.last_rollback is not None
    assert (state.last_rollback.source, state.last_rollback.target) == (promoted_one, before)


def test_each_version_is_recorded_with_what_was_measured_of_it() -> None:
    world, promoted_one, before = watched()
    passed = world.snapshots[before].metrics
    world.sampler = fails
    world.run(30)
    assert [one["verdict"] for one in world.snapshots[promoted_one].metrics] == ["FailCritical"]
    assert world.snapshots[before].metrics == passed


def test_the_evidence_begins_anew() -> None:
    world, stable, _ = watched()
    seen = world.observe()
    watch = seen.state.watch
    assert watch is not None
    found = assess(seen).evidence[stable]["errors"]
    assert found["at"] > watch.since
    rows = read_status(world.status).metrics
    assert [one.requests for one in rows] == [20_000], "one sample of the stories, and none of the rollout's"


def test_a_clock_that_jumps_ends_no_holdback() -> None:
    world, stable, before = watched(seconds=300)
    jump(world, HOUR)
    world.run(200)
    assert world.weights == {stable: 99, before: 1}
    world.run(150)
    assert world.weights == {stable: 100}


def test_the_version_before_is_scaled_with_the_promoted_one() -> None:
    world, stable, before = watched()
    for replicas in (6, 2):
        world.change(held("2", replicas=replicas))
        world.run(20)
        assert {name: pods.desired for name, pods in world.pods.items()} == {stable: replicas, before: replicas}


def test_the_goal_of_an_ab_test_is_no_guardrail_afterwards() -> None:
    """Twice as many bought with version 2: read as a share of bad requests, that would be a breach."""
    world = World(spec=ab_test("1"))
    world.run(20)
    world.sampler = users_buy(0.2, 0.1)
    watch = {"holdback": {"weight": 1, "for": "300s"}}
    world.change(ab_test("2") | {"watch": watch})
    while not world.status.get("watch"):
        world.run(10)
    world.run(100)
    assert read_state(world.status).last_rollback is None
    assert CONVERSION not in {one.name for one in read_status(world.status).metrics}


def test_a_rejected_spec_changes_nothing_about_it() -> None:
    world, stable, before = watched()
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")  # version 2 is rejected
    world.run(60)
    world.change(held("3"))
    while not world.status.get("watch"):
        world.run(5)
    world.run(20)
    third = world.status["stable"]["snapshot"]
    world.change(held("2"))
    world.run(20)
    assert world.status["reason"] == "RejectedContent"
    assert world.weights == {third: 99, before: 1}
    assert stable not in world.weights
    world.sampler = fails
    world.run(20)
    assert world.weights == {before: 100}, "it is judged all the same"


def test_a_status_that_was_refused_loses_what_was_counted() -> None:
    world, *_ = watched()
    world.run(60)
    state = read_state(world.status).watch
    assert state is not None
    assert state.evidence
    assert read_state(smallest(world.status)).watch == replace(state, evidence={})
