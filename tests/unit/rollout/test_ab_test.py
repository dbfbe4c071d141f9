"""The A/B test: who is shared out, when it ends, and what it leaves behind."""

from typing import Any

import pytest

from serin.api.fields import InvalidSpec
from serin.api.parse import parse_spec
from serin.api.status import read_state, read_status
from serin.rollout.strategies.table import strategy_of
from tests.narratives.world import CONVERSION, World, ab_test, fails, undecided, users_buy


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


def test_lower_is_better_when_that_is_what_was_asked() -> None:
    goal = {"metric": CONVERSION, "better": "Lower", "minimumDetectableEffect": "1.1", "per": "User"}
    world, second = begun(users_buy(0.07, 0.1), goal=goal)
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
    goal = {"metric": CONVERSION, "better": "Higher", "minimumDetectableEffect": "1.1", "per": "User"}
    world, _ = begun(users_buy(0.2, 0.1), goal={**goal, "labelDelay": "120s"}, maxDuration="600s")
    world.run(130)
    early = next(one for one in read_status(world.status).metrics if one.name == CONVERSION)
    assert early.requests == 0
    world.run(60)
    ripe = next(one for one in read_status(world.status).metrics if one.name == CONVERSION)
    assert ripe.requests > 0


def test_requests_promise_nothing_and_the_split_is_not_measured_by_them() -> None:
    goal = {"metric": CONVERSION, "better": "Higher", "minimumDetectableEffect": "1.1", "per": "Request"}
    world, second = begun(users_buy(0.1, 0.1, users=1000), goal=goal)
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sticky": {}}, "sticky needs a header or a cookie"),
        ({"sticky": {"cookie": {"name": 'a"b', "ttl": "1h"}}}, "the name of a cookie has letters"),
        ({"goal": {"metric": "a", "better": "More", "minimumDetectableEffect": "1.1", "per": "User"}}, "one of Higher"),
        ({"goal": {"metric": "a", "better": "Lower", "minimumDetectableEffect": "1", "per": "User"}}, "a ratio over 1"),
    ],
)
def test_what_no_schema_has_checked_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        strategy_of(parse_spec(ab_test(**changes)))
