"""The A/B test: who is shared out, when it ends, and what it leaves behind."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from serin.analysis.types import Arm
from serin.api import names
from serin.api.conditions import Reason
from serin.api.fields import InvalidSpec
from serin.api.parse import parse_spec
from serin.api.state import Standing, State
from serin.api.status import read_state, read_status
from serin.rollout.model import Route
from serin.rollout.strategies.table import strategy_of
from tests.narratives.world import CONVERSION, GOAL, World, ab_test, fails, undecided, users_buy, variants, versions_buy


def begun(sampler: Any, **changes: Any) -> tuple[World, str]:
    """A world in which version 2 is tested against version 1, and the new version's snapshot."""
    world = World(spec=ab_test("1"))
    world.run(20)
    world.sampler = sampler
    return world, world.change(ab_test("2", **changes))


def test_the_split_is_sticky_and_another_test_draws_other_users() -> None:
    world, second = begun(users_buy(0.1, 0.1, users=100))
    world.run(20)
    split = read_state(world.status).split
    assert split.sticky is not None
    assert (split.sticky.header, split.sticky.salt) == ("x-user-id", second)
    assert split.of(second) == 50


def test_nothing_is_decided_before_the_shortest_time() -> None:
    world, second = begun(users_buy(0.2, 0.1), minDuration="300s", maxDuration="600s")
    world.run(290)
    assert world.weights[second] == 50
    goal = next(one for one in read_status(world.status).metrics if one.name == CONVERSION)
    assert (goal.severity, goal.verdict, goal.reason) == ("goal", "Pass", "BetterThanStable")
    world.run(60)
    assert world.weights == {second: 100}
    assert read_state(world.status).stable == second


def test_a_guardrail_decides_at_once() -> None:
    world, second = begun(users_buy(0.2, 0.1), minDuration="300s", maxDuration="600s")
    world.run(20)
    world.sampler = fails
    world.run(20)
    assert second not in world.weights
    assert world.snapshots[second].rejected


def paused_by_a_person(world: World) -> None:
    world.annotate(names.ANNOTATION_PAUSE)


def without_a_router(world: World) -> None:
    world.route = Route(ready=False)


def without_a_template(world: World) -> None:
    world.invalid = Reason.METRIC_TEMPLATE_NOT_FOUND, "metric cost: there is no MetricTemplate cost-per-answer"


HOLDS = (paused_by_a_person, without_a_router, without_a_template)


@pytest.mark.parametrize("hold", HOLDS)
def test_a_version_that_is_worse_loses_its_users_whatever_holds_the_test(hold: Callable[[World], None]) -> None:
    world, second = begun(users_buy(0.07, 0.1))
    world.run(20)
    assert world.weights[second] == 50
    hold(world)
    world.run(60)
    assert second not in world.weights
    assert world.snapshots[second].rejected


@pytest.mark.parametrize("hold", HOLDS)
def test_a_test_without_an_answer_ends_at_its_longest_time_whatever_holds_it(hold: Callable[[World], None]) -> None:
    world, second = begun(users_buy(0.1, 0.1, users=100))
    world.run(20)
    hold(world)
    world.run(250)
    assert world.weights[second] == 50
    world.run(60)
    assert second not in world.weights
    last = read_state(world.status).last_rollback
    assert last is not None
    assert last.reason == "Inconclusive"


@pytest.mark.parametrize("hold", HOLDS)
def test_a_version_that_is_better_is_not_promoted_while_something_holds_the_test(hold: Callable[[World], None]) -> None:
    world, second = begun(users_buy(0.2, 0.1))
    world.run(20)
    hold(world)
    world.run(400)
    assert world.weights[second] == 50


def test_a_split_that_is_not_as_routed_sends_nobody_to_a_stable_that_is_down() -> None:
    def astray(world: World, asked: Any) -> Any:
        tick = users_buy(0.1, 0.1)(world, asked)
        return replace(tick, candidate=Arm(5_300, tick.candidate.bad)) if asked.metric.name == CONVERSION else tick

    world, second = begun(astray)
    world.run(290)
    assert world.weights[second] == 50
    world.problems[world.status["stable"]["snapshot"]] = "its node is gone"
    world.run(100)  # beyond maxDuration
    assert world.weights[second] == 50
    world.problems.clear()
    world.run(30)
    assert second not in world.weights


def test_lower_is_better_when_that_is_what_was_asked() -> None:
    world, second = begun(users_buy(0.07, 0.1), goal={**GOAL, "better": "Lower"})
    world.run(200)
    assert read_state(world.status).stable == second


def test_a_better_goal_waits_for_its_guardrails_and_not_for_ever() -> None:
    better = users_buy(0.2, 0.1)

    def unsafe(world: World, asked: Any) -> Any:
        return better(world, asked) if asked.metric.name == CONVERSION else undecided(world, asked)

    world, second = begun(unsafe)
    world.run(200)
    assert world.weights[second] == 50
    assert world.status["reason"] == "GatheringEvidence"
    world.run(200)
    assert second not in world.weights
    last = read_state(world.status).last_rollback
    assert last is not None
    assert last.reason == "Inconclusive"


def test_what_is_counted_before_the_labels_can_have_come_is_left_out() -> None:
    world, _ = begun(users_buy(0.2, 0.1), goal={**GOAL, "labelDelay": "120s"}, maxDuration="600s")
    world.run(130)
    early = next(one for one in read_status(world.status).metrics if one.name == CONVERSION)
    assert early.requests == 0
    world.run(60)
    ripe = next(one for one in read_status(world.status).metrics if one.name == CONVERSION)
    assert ripe.requests > 0


def test_requests_promise_nothing_and_the_split_is_not_measured_by_them() -> None:
    world, second = begun(users_buy(0.1, 0.1, users=1000), goal={**GOAL, "per": "Request"})
    world.shares = (9_000, 1_000)  # one user sends nearly everything
    world.run(150)
    assert world.weights[second] == 50
    assert "without a promise" in world.status["message"]


def test_evidence_survives_a_restart_at_every_write() -> None:
    world, second = begun(users_buy(0.2, 0.1))
    for crash in range(8):
        world.look(crash_after=crash % 3)
        world.run(10)
    world.run(300)
    assert read_state(world.status).stable == second


EVEN = {"1": 0.1, "2": 0.1, "3": 0.1, "4": 0.1}


def several(sampler: Any, **changes: Any) -> tuple[World, dict[str, str]]:
    """Versions 2, 3 and 4 against version 1, and the snapshot of each."""
    world, _ = begun(sampler, split=60, variants=variants("3", "4"), **changes)
    world.run(20)
    return world, {one.model_version: name for name, one in world.snapshots.items()}


def state_of(world: World) -> State:
    return read_state(world.status)


def test_every_arm_has_pods_and_its_part_of_the_users() -> None:
    world, named = several(versions_buy(EVEN))
    assert world.weights == {named["1"]: 40, named["2"]: 20, named["3"]: 20, named["4"]: 20}
    sticky = state_of(world).split.sticky
    assert sticky is not None
    assert sticky.arms == (named["2"], named["3"], named["4"])
    rows = {row["snapshot"]: row for row in world.status["arms"]}
    assert [(rows[named[one]]["model"], rows[named[one]]["ready"]) for one in "234"] == [("2", 1), ("3", 1), ("4", 1)]


def test_an_arm_that_fails_is_out_and_never_returns_while_the_others_go_on() -> None:
    world, named = several(versions_buy(EVEN), minDuration="300s", maxDuration="600s")
    world.sampler = versions_buy(EVEN, failing="3")
    world.run(20)
    assert world.weights == {named["1"]: 60, named["2"]: 20, named["4"]: 20}
    assert world.snapshots[named["3"]].rejected
    world.sampler = versions_buy(EVEN)
    world.run(60)
    assert named["3"] not in world.weights
    assert named["3"] not in world.pods
    (out,) = (arm for arm in state_of(world).rollout.arms if arm.eliminated)  # type: ignore[union-attr]
    assert (out.snapshot, out.standing, out.reason) == (named["3"], Standing.ELIMINATED, "WorseThanStable")


def test_lowering_an_arm_waits_for_no_other_arm() -> None:
    """The write that eliminates proves nothing first, also when another arm could rise at the same moment."""
    world, named = several(versions_buy(EVEN), minDuration="300s", maxDuration="600s")
    world.problems[named["4"]] = "its node is gone"
    world.run(20)
    assert world.weights == {named["1"]: 60, named["2"]: 20, named["3"]: 20}
    del world.problems[named["4"]]
    world.sampler = versions_buy(EVEN, failing="3")
    world.run(5)
    assert named["3"] not in world.weights
    world.run(20)
    assert world.weights == {named["1"]: 60, named["2"]: 20, named["4"]: 20}


def test_no_arm_has_traffic_before_all_have_pods_or_are_given_up() -> None:
    world = World(spec=ab_test("1"))
    world.run(20)
    world.sampler = versions_buy(EVEN)
    second = world.change(ab_test("2", split=60, variants=variants("3")))
    world.look()
    (third,) = (name for name, one in world.snapshots.items() if one.model_version == "3")
    world.problems[third] = "no image"
    world.run(300)
    assert second not in world.weights
    world.run(400)  # progressDeadline
    assert world.snapshots[third].rejected
    assert third not in world.weights


def test_the_best_of_those_that_are_better_serves_and_the_spec_need_not_say_so() -> None:
    world, named = several(versions_buy({"1": 0.10, "2": 0.13, "3": 0.16, "4": 0.10}, failing="4"))
    world.run(400)
    assert state_of(world).stable == named["3"]
    assert world.weights == {named["3"]: 100}
    assert not world.snapshots[named["2"]].rejected
    ended = state_of(world).concluded
    assert ended is not None
    assert ended.winner == named["3"]
    world.run(600)
    assert state_of(world).rollout is None
    assert set(world.pods) == {named["3"]}


def test_no_other_arm_is_promoted_in_the_place_of_the_one_that_a_person_meant() -> None:
    world, named = several(versions_buy(EVEN))
    world.annotate(names.ANNOTATION_PROMOTE, "1")
    world.run(2, tick=1)  # its other pods are on their way
    assert world.status["phase"] == "Promoting"
    world.sampler = versions_buy(EVEN, failing="2")
    world.run(200)
    assert world.weights == {named["1"]: 100}
    assert state_of(world).rollout is None


def test_another_declaration_is_another_test() -> None:
    world, named = several(versions_buy({"1": 0.10, "2": 0.10, "3": 0.16, "4": 0.10}, failing="4"))
    world.run(400)
    world.sampler = versions_buy({**EVEN, "3": 0.16, "5": 0.1})
    world.change(ab_test("2", split=60, variants=variants("3", "5")))
    world.run(30)
    rollout = state_of(world).rollout
    assert rollout is not None
    assert rollout.stable == named["3"]
    assert {world.snapshots[one].model_version for one in rollout.active} == {"2", "5"}


def test_a_test_that_nobody_wins_rejects_every_arm() -> None:
    world, named = several(versions_buy(EVEN), maxDuration="150s")
    world.run(300)
    assert world.weights == {named["1"]: 100}
    assert [world.snapshots[named[one]].rejected for one in "1234"] == [False, True, True, True]
    world.run(300)
    assert state_of(world).rollout is None


def test_what_was_decided_survives_a_restart_at_every_write() -> None:
    world, named = several(versions_buy({"1": 0.10, "2": 0.10, "3": 0.16, "4": 0.10}))
    world.sampler = versions_buy({"1": 0.10, "2": 0.10, "3": 0.16, "4": 0.10}, failing="4")
    for crash in range(40):
        world.look(crash_after=crash % 4)
        world.run(10)
    assert state_of(world).stable == named["3"]
    assert world.snapshots[named["4"]].rejected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sticky": {}}, "sticky needs a header or a cookie"),
        ({"sticky": {"cookie": {"name": 'a"b', "ttl": "1h"}}}, "the name of a cookie has letters"),
        ({"goal": {**GOAL, "better": "More"}}, "one of Higher"),
        ({"goal": {**GOAL, "minimumDetectableEffect": "1"}}, "a ratio over 1"),
    ],
)
def test_what_no_schema_has_checked_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        strategy_of(parse_spec(ab_test(**changes)))
