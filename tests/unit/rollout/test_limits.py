"""Limits of what serves: what the stories in tests/narratives/limits.py do not tell."""

from dataclasses import replace

import pytest

from serin.analysis.types import NoData, Tick
from serin.api import names
from serin.api.conditions import Reason
from serin.api.status import read_state, write_state
from serin.evaluation.samples import SampleRequest
from serin.rollout.model import WriteStatus
from tests.narratives.limits import RECALL, limited, measures, served, way_back_from_a_limit_is_aborted
from tests.narratives.pasts import HISTORY, remembers
from tests.narratives.world import World


def over(metric: dict[str, object], watch: dict[str, object] | None = None) -> World:
    """A world in which version 2 serves, and is over a limit that only tells."""
    world = World(sampler=measures({"1": 0.02, "2": 0.3}))
    served(world, "1", "2", metrics=[{**RECALL, "severity": "info"}])
    world.change(limited("2", metric, watch=watch))
    world.run(200)
    assert world.status["reason"] == "OverLimit"
    return world


@pytest.mark.parametrize(
    ("metric", "watch"),
    [({**RECALL, "severity": "minor"}, {}), (RECALL, {"rollBackWithin": "1s"})],
    ids=["minor", "late"],
)
def test_a_breach_is_written_once_a_sample(metric: dict[str, object], watch: dict[str, object]) -> None:
    """A write brings another look: if that wrote again, because time has passed, the two would have no end."""
    world = over(metric, watch)
    world.settle()
    for _ in range(5):
        world.now += 0.3
        assert world.look().actions == ()
    world.now += 61
    assert any(isinstance(one, WriteStatus) for one in world.look().actions), "another sample"


def test_a_breach_is_told_once() -> None:
    world = over({**RECALL, "severity": "minor"})
    world.run(400)
    assert sum("OverLimit:" in line for line in world.said) == 1


def test_a_limit_is_kept_through_the_status() -> None:
    world = over({**RECALL, "severity": "minor"})
    state = read_state(world.status)
    assert state.limits
    assert state.limits.breached
    assert state.limits.evidence
    assert read_state(write_state(state)).limits == state.limits


def test_what_is_measured_for_a_record_meanwhile_takes_nothing_from_a_limit() -> None:
    world = World(sampler=measures({"1": 0.02}))
    world.change({**limited("1"), "snapshots": {"every": "2m", "keep": 10}})
    world.run(1200, tick=5)
    limits = read_state(world.status).limits
    assert limits
    counted = limits.evidence["missed"]["total"][0]
    minutes = (world.now - limits.since) % 600 / 60
    assert counted == pytest.approx(1_000 * minutes, abs=3_000)
    [stable] = world.snapshots.values()
    assert sum(one.occasion == "Scheduled" for one in stable.records) > 4


def goes_back_again(rollback: dict[str, object]) -> World:
    """Version 3 is over a limit and goes back; version 4 is promoted soon after, and is over it as well."""
    shares = {"1": 0.02, "2": 0.02, "3": 0.3, "4": 0.3}
    world = World(sampler=measures({**shares, "3": 0.02, "4": 0.02}))
    served(world, "1", "2")
    for version in ("3", "4"):
        world.sampler = measures({**shares, **dict.fromkeys(("3", "4"), 0.02)})
        wanted = world.change({**limited(version), "rollback": rollback})
        while world.status["stable"]["snapshot"] != wanted:
            world.run(10)
        world.sampler = measures(shares)
        world.run(200)
    return world


def test_it_goes_back_as_often_as_it_may_in_a_day() -> None:
    world = goes_back_again({"maxPerDay": 1})
    assert world.status["stable"]["snapshot"] == world.wanted, "version 4 stays"
    assert world.status["reason"] == "OverLimit"
    assert (
        "went back by itself 1 times in the last 24h, as often as rollback.maxPerDay allows" in world.status["message"]
    )
    state = read_state(world.status)
    assert len(state.went_back) == 1
    assert read_state(write_state(state)).went_back == state.went_back
    assert any("OverLimit:" in line and "maxPerDay" in line for line in world.said), "an Event"
    world.run(86_400, tick=600)
    assert world.status["stable"]["snapshot"] != world.wanted, "a day later it may again"


def test_a_cooldown_delays_what_lasts_and_forgets_what_does_not() -> None:
    world = goes_back_again({"cooldown": "1h"})
    assert world.status["stable"]["snapshot"] == world.wanted
    assert "(rollback.cooldown)" in world.status["message"]
    world.run(3600, tick=60)
    assert world.status["stable"]["snapshot"] != world.wanted
    assert len(read_state(world.status).went_back) == 2


def test_nothing_limits_it_when_nothing_is_said() -> None:
    assert len(read_state(goes_back_again({"scope": "all"}).status).went_back) == 2


def test_a_way_back_that_a_person_has_ended_is_not_tried_again_for_another_limit() -> None:
    world = World()
    way_back_from_a_limit_is_aborted(world)
    stable = world.status["stable"]["snapshot"]
    world.change(limited("3", {**RECALL, "limit": "0.15"}))
    world.run(600, tick=60)
    assert world.status["reason"] == "OverLimit"
    assert "going back was begun once and has come to nothing" in world.status["message"]
    assert world.status["stable"]["snapshot"] == stable


def test_silence_does_not_end_a_breach_however_long_it_lasts() -> None:
    world = over({**RECALL, "severity": "minor"})
    world.sampler = lambda *_: NoData(Reason.TARGET_DOWN, "no target could be scraped")
    world.run(3600, tick=60)
    limits = read_state(world.status).limits
    assert limits
    assert limits.breached.keys() == {"missed"}


def test_of_two_breaches_the_worst_is_the_reason() -> None:
    shares = {"1": 0.02, "2": 0.02}

    def sample(world: World, asked: SampleRequest) -> Tick:
        named = replace(asked, metric=replace(asked.metric, name="missed")) if asked.metric.name == "lost" else asked
        return measures(shares)(world, named)

    world = World(sampler=sample)
    served(world, "1", "2", metrics=[RECALL, {**RECALL, "name": "lost", "severity": "critical"}])
    world.run(420)
    shares["2"] = 0.3
    world.run(300)
    last = read_state(world.status).last_rollback
    assert last
    assert last.metric == "lost"


def test_what_is_worse_than_the_past_is_over_no_limit() -> None:
    shares = {"1": 0.02, "2": 0.02}
    world = World(sampler=remembers(shares))
    served(world, "1", "2", metrics=[{**HISTORY, "severity": "minor"}])
    world.run(900, tick=60)
    shares["2"] = 0.04
    world.run(300, tick=60)
    assert world.status["reason"] == "WorseThanPast"
    assert "and is worse than it used to be: missed: " in world.status["message"]


def test_what_a_person_has_gone_back_to_stays() -> None:
    """Serin does not know what it was left for."""
    shares = {"1": 0.02, "2": 0.02, "3": 0.02}
    world = World(sampler=measures(shares))
    served(world, "1", "2", "3")
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous")
    world.run(200)
    stable = world.status["stable"]["snapshot"]
    assert world.snapshots[stable].model_version == "2"
    shares["2"] = 0.3
    world.run(900)
    assert world.status["stable"]["snapshot"] == stable
    [within] = [one for one in world.status["conditions"] if one["type"] == "WithinLimits"]
    assert "was rolled back to, and fails as well" in within["message"]
