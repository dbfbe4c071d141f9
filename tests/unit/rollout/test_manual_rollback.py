"""Corners of going back that no story tells: what is kept for it, what is lost on the way, what an upgrade meets."""

from dataclasses import replace

import pytest

from serin.api import names
from serin.api.parse import parse_spec
from serin.api.spec import SNAPSHOTS_KEPT
from serin.api.status import read_state
from serin.api.verdicts import SnapshotVerdict
from serin.rollout.refusal import refuse
from serin.rollout.snapshots import PREVIOUS, CannotGoBack, choose, ways_back
from tests.narratives.world import World, fails, passes, spec


def promoted_twice() -> tuple[World, str, str]:
    """Version 2 is stable; answers both snapshots' names too."""
    world = World()
    world.run(20)
    first = world.wanted
    second = world.change(spec("2"))
    world.run(300)
    assert read_state(world.status).stable == second
    return world, first, second


def test_the_way_back_is_kept_however_many_versions_failed_since() -> None:
    world, first, second = promoted_twice()
    world.sampler = fails
    for version in range(3, 3 + SNAPSHOTS_KEPT + 5):
        world.change(spec(str(version)))
        world.run(60)
    assert len(world.snapshots) <= SNAPSHOTS_KEPT + 5, "the others are forgotten"
    assert first in world.snapshots
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.run(60)
    assert world.weights == {first: 100}
    assert world.snapshots[second].rejected


def test_the_metrics_of_a_version_outlive_the_going_back_from_it() -> None:
    world, first, second = promoted_twice()
    before = world.snapshots[second].metrics
    assert before
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.run(60)
    assert world.snapshots[second].metrics == before


def test_pods_that_are_asked_for_on_the_way_back_have_their_own_deadline() -> None:
    """An autoscaler asks for more while the earlier version starts; that is no reason to stay with the present one."""
    world, first, second = promoted_twice()
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.problems[first], world.lost[first] = "its image is being pulled", 3
    deadline = int(parse_spec(world.body["spec"], "fraud").progress_deadline)
    world.run(deadline - 60)
    world.spec, world.lost[first] = dict(world.spec, replicas=7), 6
    world.generation += 1
    world.run(120)
    assert read_state(world.status).manual_rollback, "more pods were asked for a minute ago"
    world.run(deadline)
    assert read_state(world.status).manual_rollback is None
    assert world.weights == {second: 100}


def test_promotion_times_follow_what_was_stable_last() -> None:
    """1, then 2, then 1 once more by the spec: the version before is 2, although it was promoted before that."""
    world, first, second = promoted_twice()
    world.change(spec("1"))
    world.run(300)
    state = read_state(world.status)
    assert state.stable == first
    assert world.snapshots[first].promoted == state.stable_since
    assert choose(PREVIOUS, first, first, world.snapshots, state, ()) == (second,)


def test_a_snapshot_that_is_deleted_on_the_way_ends_it() -> None:
    world, first, second = promoted_twice()
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.run(2)
    del world.snapshots[first]
    world.run(60)
    assert "its ModelSnapshot was deleted" in world.status["message"]
    assert world.weights == {second: 100}
    assert set(world.pods) == {second}


def test_a_spec_that_cannot_be_read_stops_nothing_that_was_decided() -> None:
    world, first, _ = promoted_twice()
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.run(2)
    refused = read_state(refuse(world.status, "spec.config: rename one of them", generation=9, now=world.now))
    assert refused == read_state(world.status)
    assert refused.manual_rollback
    assert refused.manual_rollback.target == first


def test_a_status_of_an_earlier_serin_needs_no_writing_anew() -> None:
    world, first, _ = promoted_twice()
    del world.status["stable"]["since"]
    world.settle()
    made = world.look()
    assert made.actions == ()
    assert [one.name for one in ways_back(world.snapshots, read_state(world.status))] == [first]


def test_going_back_needs_no_evidence_and_no_leave_of_a_pause() -> None:
    world, first, _ = promoted_twice()
    world.sampler = fails
    world.annotate(names.ANNOTATION_PAUSE, "true")
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.run(60)
    assert world.weights == {first: 100}


def test_what_was_rejected_in_the_status_alone_is_no_way_back() -> None:
    """The operator died between the status and the snapshot's own record."""
    world, first, second = promoted_twice()
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.run(60)
    unrecorded = {
        **world.snapshots,
        second: replace(world.snapshots[second], rejected=False, verdict=SnapshotVerdict.PROMOTED),
    }
    state = read_state(world.status)
    assert ways_back(unrecorded, state) == []
    with pytest.raises(CannotGoBack, match="was rejected"):
        choose(second, second, first, unrecorded, state, ())


def test_asking_twice_goes_back_once() -> None:
    world, first, _ = promoted_twice()
    third = world.change(spec("3"))
    world.run(300)
    assert read_state(world.status).stable == third
    for number in range(3):
        world.annotate(names.ANNOTATION_ROLLBACK_TO, f"{PREVIOUS}@{number}")
        world.run(60)
    assert world.snapshots[third].rejected
    assert "is rolled back already. To go back further, name the version. Write one of: v1" in world.said[-1]
    world.annotate(names.ANNOTATION_ROLLBACK_TO, first)
    world.run(60)
    assert world.weights == {first: 100}


def test_a_rollout_that_was_ended_is_not_a_step_towards_the_version_before() -> None:
    world, _, second = promoted_twice()
    world.change(spec("3"))
    world.run(60)
    for number in range(3):
        world.annotate(names.ANNOTATION_ROLLBACK_TO, f"{PREVIOUS}@{number}")
        world.run(60)
    assert world.weights == {second: 100}


def test_a_spec_of_this_very_moment_is_not_what_previous_is_about() -> None:
    world, _, second = promoted_twice()
    third = world.change(spec("3"))
    world.annotate(names.ANNOTATION_ROLLBACK_TO, PREVIOUS)
    world.look()
    assert (read_state(world.status).stable, read_state(world.status).candidate) == (second, third)
    assert any("only begins: ask again to end it" in line for line in world.story)


def test_nobody_goes_back_before_anything_serves() -> None:
    world = World(sampler=passes)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, PREVIOUS)
    world.look()
    assert "NothingToDo: serin.dev/rollback-to is ignored: there is nothing to rollback to" in world.said[-1]
