"""What is recorded of how well versions serve: at every decision, on schedule, and never in the way of anything."""

from dataclasses import replace

import pytest

from serin.analysis.types import Arm, RatioTick, Tick
from serin.api import names
from serin.api.records import MOST_IMAGES, MOST_RECORDS, Measurement, Occasion, Record
from serin.api.spec import DistributionQuery, MeanQuery, RatioQuery, TemplateRef, ValueQuery, query_of
from serin.api.status import read_state
from serin.evaluation.samples import SampleRequest
from serin.rollout.assess import assess
from serin.rollout.model import DeleteSnapshot, Digests, Order, RecordSnapshot, WriteStatus
from serin.rollout.planner import plan
from tests.narratives.world import FITTING, PROBES, RUNNING, START, World, fails, silent, spec

HOUR = 3600.0


def served(snapshots: dict[str, object] | None = None) -> World:
    world = World(spec=spec("1", **({"snapshots": snapshots} if snapshots else {})))
    world.run(20)
    return world


def occasions(world: World, snapshot: str) -> list[str]:
    return [one.occasion.value for one in world.snapshots[snapshot].records]


def errors(record: Record) -> Measurement:
    return next(one for one in record.metrics if one.name == "errors")


def test_a_promotion_is_recorded_on_both_versions_with_what_was_measured_beside_each_other() -> None:
    world = served()
    first = world.wanted
    begun = world.now
    second = world.change(spec("2"))
    world.run(300)
    assert occasions(world, first) == ["Created", "Promoted", "Replaced"]
    assert occasions(world, second) == ["Created", "Promoted"]
    new, old = (world.snapshots[one].records[-1] for one in (second, first))
    assert new.at == old.at == read_state(world.status).stable_since == world.snapshots[first].left
    assert errors(new).value == errors(old).value == 0.001
    assert errors(old).requests == 19 * errors(new).requests
    assert errors(new).since == pytest.approx(begun, abs=1.0)
    assert begun < errors(new).until <= world.now
    assert errors(new).query == "template request-errors"
    assert new.weights == {second: 100}


def test_a_rollback_is_recorded_on_both_after_the_write_that_lowers() -> None:
    world = served()
    first = world.wanted
    world.sampler = fails
    second = world.change(spec("2"))
    for _ in range(40):
        world.run(1.0, tick=1.0)
        if world.snapshots.get(second) and world.snapshots[second].rejected:
            break
    assert occasions(world, second) == ["Created", "RolledBack"]
    assert occasions(world, first) == ["Created", "Promoted", "Restored"]
    bad, good = world.snapshots[second].records[-1], world.snapshots[first].records[-1]
    assert (errors(bad).value, errors(good).value) == (0.5, 0.001)
    assert bad.weights == good.weights == {first: 95, second: 5}


def test_the_lowering_write_comes_before_every_record() -> None:
    world = served()
    world.sampler = fails
    second = world.change(spec("2"))
    while not world.weights.get(second):
        world.look()
        world.now += 1.0
    world.now += 5.0
    actions = world.look().actions
    assert isinstance(actions[0], WriteStatus)
    assert actions[0].order is Order.LOWER
    assert [type(one) for one in actions[1:]] == [RecordSnapshot, RecordSnapshot]


@pytest.mark.parametrize("requests", [1, 2])
def test_a_record_that_a_crash_has_lost_is_made_up_for_once(requests: int) -> None:
    world = served()
    first = world.wanted
    world.sampler = fails
    second = world.change(spec("2"))
    while not world.weights.get(second):
        world.look()
        world.now += 1.0
    world.now += 5.0
    world.look(crash_after=requests)
    assert world.weights == {first: 100}
    world.run(120)
    assert occasions(world, second) == ["Created", "RolledBack"]
    assert occasions(world, first) == ["Created", "Promoted", "Restored"]


def test_what_a_version_was_found_to_be_is_recorded_and_kept() -> None:
    checks = PROBES["integrity"] | {"signature": "Required", "digest": "Required"}
    world = World(spec=spec("1", integrity=checks))
    world.run(30)
    first = world.wanted
    assert world.snapshots[first].signature == FITTING, "as soon as it is known of the first version"
    assert occasions(world, first) == ["Created", "Promoted"], "that is no record of its own"
    second = world.change(spec("2", integrity=checks))
    world.run(300)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(60)
    left = world.snapshots[second]
    assert occasions(world, second)[-1] == "RolledBack"
    assert (left.signature, left.images, left.fingerprint) == (FITTING, RUNNING.images, f"print-of-{second}")
    assert not world.snapshots[first].fingerprint, "it was never on trial"


def test_going_back_by_hand_is_recorded() -> None:
    world = served()
    first = world.wanted
    second = world.change(spec("2"))
    world.run(300)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(60)
    assert occasions(world, first)[-1] == "Restored"
    assert occasions(world, second)[-1] == "RolledBack"
    state = read_state(world.status)
    assert state.last_rollback
    assert world.snapshots[second].left == state.last_rollback.at


def test_nothing_is_measured_without_a_schedule() -> None:
    world = served()
    world.sampler = _must_not_be_asked
    world.run(3 * HOUR, tick=300.0)
    assert occasions(world, world.wanted) == ["Created", "Promoted"]


def _must_not_be_asked(_world: World, asked: SampleRequest) -> Tick:
    raise AssertionError(f"{asked} costs a query")


def test_on_schedule_what_serves_is_measured_once_and_over_an_hour_at_most() -> None:
    asked: list[SampleRequest] = []

    def sample(world: World, one: SampleRequest) -> Tick:
        asked.append(one)
        return RatioTick(world.now, Arm(1000, 7), Arm(0, 0))

    world = World(spec=spec("1", snapshots={"every": "6h", "keep": 10}), sampler=sample)
    world.run(13 * HOUR, tick=300.0)
    records = world.snapshots[world.wanted].records
    kept = [one for one in records if one.occasion is Occasion.SCHEDULED]
    assert [round(one.at - records[1].at) for one in kept] == [300, 300 + 6 * 3600, 300 + 12 * 3600]
    assert [(one.subject, one.baseline) for one in asked] == [(world.wanted, None)] * 3
    assert [round(one.at - errors(one).since) for one in kept] == [300, 3600, 3600]
    assert errors(kept[-1]).value == 0.007


def test_a_metric_without_data_holds_nothing_up_for_ever() -> None:
    world = served({"every": "1h", "keep": 10})
    world.sampler = silent
    world.run(2 * HOUR, tick=300.0)
    kept = [one for one in world.snapshots[world.wanted].records if one.occasion is Occasion.SCHEDULED]
    assert len(kept) == 2
    assert [one.metrics for one in kept] == [(), ()]
    assert read_state(world.status).measuring is None


def test_a_rollout_ends_the_measuring_of_stable() -> None:
    world = served({"every": "1h", "keep": 10})
    while not read_state(world.status).measuring:
        world.look()
        world.now += 5.0
    world.change(spec("2", snapshots={"every": "1h", "keep": 10}))
    world.look()
    assert read_state(world.status).measuring is None


def test_records_are_bounded() -> None:
    world = served({"every": "1m", "keep": 10})
    world.run(2 * HOUR, tick=60.0)
    records = world.snapshots[world.wanted].records
    assert len(records) == MOST_RECORDS
    assert [one.occasion for one in records[:2]] == [Occasion.CREATED, Occasion.PROMOTED]
    assert world.now - records[-1].at < 130


def test_where_a_version_comes_from_is_as_the_deployment_was_annotated() -> None:
    world = World()
    world.annotations = {names.ANNOTATION_GIT_REVISION: "aaa", names.ANNOTATION_GIT_AUTHOR: "Ada"}
    world.run(20)
    first = world.wanted
    world.annotations[names.ANNOTATION_GIT_REVISION] = "bbb"
    second = world.change(spec("2"))
    world.run(300)
    world.annotations[names.ANNOTATION_GIT_REVISION] = "ccc"
    world.run(60)
    assert [world.snapshots[one].revision for one in (first, second)] == ["aaa", "bbb"]
    assert world.snapshots[first].records[0] == Record(START, Occasion.CREATED, revision="aaa", author="Ada")


class TestRetention:
    def versions(self, keep: int, good: int, bad: int) -> World:
        world = served({"every": "720h", "keep": keep})
        for number in range(2, 2 + good):
            world.change(spec(str(number), snapshots={"keep": keep}))
            world.run(300)
        world.sampler = fails
        for number in range(100, 100 + bad):
            world.change(spec(str(number), snapshots={"keep": keep}))
            world.run(60)
        return world

    def known(self, world: World) -> set[str]:
        return {one.model_version for one in world.snapshots.values()}

    def test_failures_never_push_out_what_was_stable(self) -> None:
        world = self.versions(keep=2, good=4, bad=6)
        # 5 is stable, 4 the way back; 3 and 2 are kept beside them, 1 is not. Of what failed: the last, and two more.
        assert self.known(world) == {"5", "4", "3", "2", "105", "104", "103"}

    def test_what_is_pinned_stays(self) -> None:
        world = served({"keep": 1})
        first = world.wanted
        world.snapshots[first] = replace(world.snapshots[first], pinned=True)
        for number in range(2, 6):
            world.change(spec(str(number), snapshots={"keep": 1}))
            world.run(300)
        assert self.known(world) == {"5", "4", "3", "1"}
        world.snapshots[first] = replace(world.snapshots[first], pinned=False)
        made = world.look()
        assert [one.name for one in made.actions if isinstance(one, DeleteSnapshot)] == [first]


def test_every_source_has_its_query_in_words() -> None:
    assert [
        query_of(one)
        for one in (
            TemplateRef("request-errors"),
            TemplateRef("outcomes", {"b": "2", "a": "1"}),
            RatioQuery("bad{}", "all{}"),
            DistributionQuery("answers{}", "label"),
            MeanQuery("sum{}", "count{}"),
            ValueQuery("max(up)", maximum=1.0),
        )
    ] == [
        "template request-errors",
        "template outcomes(a=1, b=2)",
        "bad{} / all{}",
        "answers{} by label",
        "sum{} / count{}",
        "max(up)",
    ]


def test_what_the_first_pods_ran_is_recorded_while_the_version_is_tried() -> None:
    """A version with one pod is held to it when that pod is replaced by one from another image."""
    checks = {"integrity": {"signature": "Off", "digest": "Required", "every": "5m"}}
    world = World(spec=spec("1", **checks))
    world.run(20)
    second = world.change(spec("2", **checks))
    while second not in world.weights:
        world.run(10)
    assert world.snapshots[second].images == RUNNING.images
    assert occasions(world, second) == ["Created"]
    world.digests[second] = Digests({"model": f"sha256:{'b' * 64}"}, "container model runs another image")
    world.run(30)
    assert occasions(world, second)[-1] == "RolledBack"
    assert world.snapshots[second].images == RUNNING.images, "it is held to what it ran first"


def test_no_more_images_are_recorded_than_there_is_room_for() -> None:
    checks = {"integrity": {"signature": "Off", "digest": "Required", "every": "5m"}}
    world = World(spec=spec("1", **checks))
    world.run(20)
    second = world.change(spec("2", **checks))
    world.digests[second] = Digests({f"c{number}": f"sha256:{'a' * 64}" for number in range(MOST_IMAGES + 1)})
    said: list[object] = []
    while not said:
        world.look()
        world.now += 5
        seen = world.observe()
        actions = plan(seen, assess(seen)).actions
        said = [one.status["images"] for one in actions if isinstance(one, RecordSnapshot) and "images" in one.status]
    assert len(said[0]) == MOST_IMAGES
