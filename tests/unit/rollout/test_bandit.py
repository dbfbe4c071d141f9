"""The bandit: how weights follow rewards, when they stay, when it ends, and what it leaves behind."""

from dataclasses import replace
from typing import Any

import pytest

from serin.analysis.types import Arm, MeanTick, Moments, NoData, RatioTick, Tick
from serin.api import names
from serin.api.conditions import Reason
from serin.api.fields import InvalidSpec
from serin.api.parse import parse_spec
from serin.api.state import Rollout, Standing, State
from serin.api.status import read_state
from serin.evaluation.samples import SampleRequest
from serin.rollout.strategies.table import strategy_of
from tests.narratives.world import CONVERSION, Sampler, World, arms_earn, bandit, silent, undecided, variants

SAME = {"1": 0.1, "2": 0.1, "3": 0.1}
THIRD_IS_BEST = {"1": 0.10, "2": 0.10, "3": 0.14}
LONG: dict[str, Any] = {"minDuration": "24h", "maxDuration": "48h"}


def begun(sampler: Sampler, **changes: Any) -> tuple[World, dict[str, str]]:
    """Versions 2 and 3 beside version 1 that serves, and the snapshot of each."""
    world = World(spec=bandit("1"))
    world.run(20)
    world.sampler = sampler
    world.change(bandit("2", **{"variants": variants("3"), **changes}))
    world.run(20)
    return world, {one.model_version: name for name, one in world.snapshots.items()}


def state_of(world: World) -> State:
    return read_state(world.status)


def rollout_of(world: World) -> Rollout:
    found = state_of(world).rollout
    assert found is not None
    return found


def counted(world: World) -> list[float]:
    """Requests counted of stable and of each arm."""
    return list(rollout_of(world).evidence[CONVERSION]["requests"])


def shares(world: World, named: dict[str, str]) -> list[int]:
    return [world.weights.get(named[one], 0) for one in "123"]


def test_the_arms_begin_at_the_least_weight_and_no_request_is_sticky() -> None:
    world, named = begun(arms_earn(SAME), **LONG)
    assert shares(world, named) == [90, 5, 5]
    assert state_of(world).split.sticky is None
    assert {name: pods.desired for name, pods in world.pods.items()} == dict.fromkeys(named.values(), 4)


@pytest.mark.more
def test_weights_follow_the_rewards_by_steps_and_within_the_limits() -> None:
    world, named = begun(arms_earn(THIRD_IS_BEST), maxStep=15, maxWeight=70, **LONG)
    before, seen = shares(world, named), []
    for _ in range(60):
        world.run(5, tick=5)
        after = shares(world, named)
        assert all(after[place] - before[place] <= 16 for place in (1, 2)), "whole percents round"
        assert all(5 <= after[place] <= 70 for place in (1, 2))
        seen.append(after)
        before = after
    assert seen[-1][2] == 70
    assert len({tuple(one) for one in seen}) > 4


@pytest.mark.more
def test_lowering_one_arm_and_raising_another_are_two_writes() -> None:
    world, named = begun(arms_earn({**THIRD_IS_BEST, "2": 0.2}), **LONG)
    world.run(200)
    assert shares(world, named)[1] > 50
    world.sampler = arms_earn({**THIRD_IS_BEST, "2": 0.01, "3": 0.5})
    lowered = 0
    for _ in range(200):
        before = shares(world, named)
        world.look()
        after = shares(world, named)
        arms = [one - two for one, two in zip(after[1:], before[1:], strict=True)]
        assert min(arms) >= 0 or max(arms) <= 0, "one write lowers an arm and raises another"
        lowered += min(arms) < 0
        world.now += 3
    assert lowered
    assert shares(world, named)[2] > shares(world, named)[1]


def test_an_arm_whose_guardrails_have_not_passed_stays_at_the_least_weight() -> None:
    earns = arms_earn({"1": 0.1, "2": 0.1, "3": 0.2})

    def unsafe(world: World, asked: SampleRequest) -> Tick:
        third = world.snapshots[asked.subject].model_version == "3"
        return undecided(world, asked) if third and asked.metric.name != CONVERSION else earns(world, asked)

    world, named = begun(unsafe, maxDuration="180s")
    world.run(150)
    assert shares(world, named)[2] == 5
    assert "its guardrails have not passed" in world.status["message"]
    world.run(50)
    assert shares(world, named)[0] + shares(world, named)[1] == 100
    assert state_of(world).rollout is None


@pytest.mark.more
def test_nothing_moves_without_new_rewards() -> None:
    earns = arms_earn(THIRD_IS_BEST)

    def quiet(world: World, asked: SampleRequest) -> Tick:
        third = world.snapshots[asked.subject].model_version == "3"
        return silent(world, asked) if third and asked.metric.name == CONVERSION else earns(world, asked)

    world, named = begun(earns, **LONG)
    world.run(100)
    before = shares(world, named)
    assert before != [90, 5, 5]
    world.sampler = quiet
    requests = counted(world)
    world.run(200)
    assert shares(world, named) == before
    assert world.status["reason"] == "NoTraffic"
    assert "the weights stay" in world.status["message"]
    assert counted(world) == requests, "an arm was counted without another"
    world.sampler = earns
    world.run(100)
    assert shares(world, named) != before


def test_arms_are_counted_over_the_same_seconds_alone() -> None:
    """A sample that is older than the others' waits; then all of them are counted from the same moment on."""
    earns = arms_earn(SAME)

    def older(world: World, asked: SampleRequest) -> Tick:
        tick = earns(world, asked)
        third = world.snapshots[asked.subject].model_version == "3"
        if third and asked.metric.name == CONVERSION and isinstance(tick, RatioTick):
            return replace(tick, stable=Arm(tick.stable.requests - 1, tick.stable.bad))
        return tick

    world, _ = begun(earns, **LONG)
    world.run(30)
    before = counted(world)
    world.sampler = older
    world.run(10)
    assert counted(world) == before
    world.sampler = earns
    world.run(20)
    assert min(new - old for new, old in zip(counted(world), before, strict=True)) > 0


def test_an_arm_that_fails_is_out_and_the_rest_goes_on() -> None:
    world, named = begun(arms_earn(THIRD_IS_BEST), **LONG)
    world.sampler = arms_earn(THIRD_IS_BEST, failing="2")
    world.run(20)
    assert shares(world, named)[1] == 0
    assert world.snapshots[named["2"]].rejected
    world.run(300)
    assert shares(world, named) == [20, 0, 80]
    assert named["2"] not in world.pods


def test_an_arm_that_loses_its_pods_gives_its_share_to_stable_until_they_are_back() -> None:
    world, named = begun(arms_earn(THIRD_IS_BEST), **LONG)
    world.run(200)
    before = shares(world, named)
    world.problems[named["3"]] = "its node is gone"
    world.run(5, tick=5)
    assert shares(world, named) == [before[0] + before[2], before[1], 0]
    del world.problems[named["3"]]
    world.run(15, tick=5)
    assert shares(world, named)[2] >= 5


def test_the_best_arm_serves_and_the_spec_need_not_say_so() -> None:
    world, named = begun(arms_earn(THIRD_IS_BEST))
    world.run(400)
    assert state_of(world).stable == named["3"]
    assert world.weights == {named["3"]: 100}
    ended = state_of(world).concluded
    assert ended is not None
    assert (ended.winner, world.snapshots[named["2"]].rejected) == (named["3"], False)
    world.run(400)
    assert state_of(world).rollout is None
    assert set(world.pods) == {named["3"]}


@pytest.mark.more
def test_nobody_wins_before_the_shortest_time_or_on_few_requests() -> None:
    world, _ = begun(arms_earn(THIRD_IS_BEST), minDuration="500s")
    world.run(450)
    assert rollout_of(world).stage.index == 0
    world.run(80)
    assert state_of(world).rollout is None
    few, _ = begun(arms_earn(THIRD_IS_BEST), minRequests=1_000_000)
    few.run(500)
    assert rollout_of(few).stage.index == 0


def test_stable_wins_when_it_is_the_best() -> None:
    world, named = begun(arms_earn({"1": 0.14, "2": 0.1, "3": 0.1}))
    world.run(400)
    assert world.weights == {named["1"]: 100}
    last = state_of(world).last_rollback
    assert last is not None
    assert last.reason == "StableIsBest"
    assert [world.snapshots[named[one]].rejected for one in "123"] == [False, True, True]
    ended = state_of(world).concluded
    assert ended is not None
    assert {one.standing for one in ended.arms} == {Standing.ELIMINATED}


def test_stable_that_has_won_is_waited_for_by_no_pause() -> None:
    world, named = begun(arms_earn({"1": 0.14, "2": 0.1, "3": 0.1}))
    world.annotate(names.ANNOTATION_PAUSE, "true")
    world.run(400)
    assert world.weights == {named["1"]: 100}


def test_at_the_end_of_the_time_the_likeliest_best_serves() -> None:
    world, named = begun(arms_earn({"1": 0.100, "2": 0.100, "3": 0.104}, requests=2_000), maxDuration="150s")
    world.run(300)
    assert state_of(world).rollout is None
    serves = next(iter(world.weights))
    assert any("likeliest best" in line for line in world.said)
    assert serves in named.values()


def test_too_few_rewards_at_the_end_of_the_time_leave_stable() -> None:
    world, named = begun(arms_earn(THIRD_IS_BEST, requests=100), maxDuration="150s")
    world.run(300)
    assert world.weights == {named["1"]: 100}
    last = state_of(world).last_rollback
    assert last is not None
    assert last.reason == "Inconclusive"


def test_lower_is_better_when_that_is_what_was_asked() -> None:
    reward = {"metric": CONVERSION, "better": "Lower"}
    world, named = begun(arms_earn({"1": 0.10, "2": 0.10, "3": 0.05}), reward=reward)
    world.run(400)
    assert state_of(world).stable == named["3"]


def test_what_is_counted_before_the_labels_can_have_come_is_left_out() -> None:
    reward = {"metric": CONVERSION, "better": "Higher", "labelDelay": "120s"}
    world, named = begun(arms_earn(THIRD_IS_BEST), reward=reward, **LONG)
    world.run(100)
    assert sum(counted(world)) == 0
    assert shares(world, named) == [90, 5, 5]
    world.run(100)
    assert min(counted(world)) > 0


@pytest.mark.more
def test_a_best_arm_that_changes_is_followed() -> None:
    changes = {"halfLife": "60s", **LONG}
    world, named = begun(arms_earn({"1": 0.1, "2": 0.2, "3": 0.1}), **changes)
    world.run(300)
    assert shares(world, named)[1] == 80
    world.sampler = arms_earn({"1": 0.1, "2": 0.1, "3": 0.2})
    world.run(900)
    assert shares(world, named)[2] == 80


@pytest.mark.more
def test_a_restart_at_every_write_loses_nothing_and_counts_nothing_twice() -> None:
    calm, named = begun(arms_earn(THIRD_IS_BEST), **LONG)
    for _ in range(60):
        calm.look()
        calm.now += 5
    world, _ = begun(arms_earn(THIRD_IS_BEST), **LONG)
    for crash in range(60):
        world.look(crash_after=crash % 3)
        world.look()
        world.now += 5
    # Each sample is of a number of requests that depends on the weights alone: a second count would add its own.
    most = 4_000 * (calm.now - rollout_of(calm).stage.since) / 5  # type: ignore[operator]
    assert abs(sum(counted(world)) - sum(counted(calm))) <= 8_000
    assert sum(counted(world)) <= most
    assert shares(world, named)[2] == shares(calm, named)[2] == 80


def test_what_an_edit_has_left_of_the_evidence_is_no_evidence() -> None:
    world, named = begun(arms_earn(THIRD_IS_BEST), **LONG)
    world.run(60)
    kept = world.status["strategy"]["evidence"][CONVERSION]
    for broken in ({**kept, "requests": [-1e300, 1, 1]}, {**kept, "matrix": "none"}, {**kept, "vector": [9e99, 0, 0]}):
        world.status["strategy"]["evidence"][CONVERSION] = broken
        world.run(20)
        assert 0 < sum(counted(world)) < 20_000
    assert named["3"] in world.weights


def test_edited_limits_hold_at_once() -> None:
    world, named = begun(arms_earn(THIRD_IS_BEST), **LONG)
    world.run(200)
    assert shares(world, named)[2] == 80
    world.change(bandit("2", variants=variants("3"), maxWeight=50, **LONG))
    world.look()
    assert shares(world, named)[2] == 50


@pytest.mark.more
def test_all_that_lose_their_pods_begin_anew() -> None:
    world, named = begun(arms_earn(THIRD_IS_BEST), **LONG)
    world.run(200)
    world.problems |= {named["2"]: "no node", named["3"]: "no node"}
    world.run(10)
    assert shares(world, named) == [100, 0, 0]
    world.problems.clear()
    world.run(10, tick=2)
    assert shares(world, named) == [90, 5, 5]


def test_a_person_ends_it() -> None:
    world, named = begun(arms_earn(SAME), **LONG)
    world.annotate(names.ANNOTATION_PROMOTE, "1")
    world.run(60)
    assert state_of(world).stable == named["2"]
    other, arms = begun(arms_earn(SAME), **LONG)
    other.annotate(names.ANNOTATION_ABORT, "1")
    other.run(20)
    assert other.weights == {arms["1"]: 100}


def test_without_variants_it_is_the_new_version_against_stable() -> None:
    world, named = begun(arms_earn({"1": 0.1, "2": 0.15}), variants=[])
    assert shares(world, {**named, "3": ""}) == [95, 5, 0]
    world.run(300)
    assert state_of(world).stable == named["2"]


def test_the_variants_of_what_serves_are_arms_beside_it() -> None:
    world = World(spec=bandit("1"))
    world.run(20)
    world.sampler = arms_earn(THIRD_IS_BEST)
    world.change(bandit("1", variants=variants("2", "3")))
    world.run(400)
    named = {one.model_version: name for name, one in world.snapshots.items()}
    assert world.weights == {named["3"]: 100}


def test_a_reward_that_is_no_ratio_moves_nothing_and_says_so() -> None:
    def mean(world: World, asked: SampleRequest) -> Tick:
        if asked.metric.name == CONVERSION:
            return MeanTick(world.now, Moments(10, 1.0), Moments(10, 1.0))
        return arms_earn(SAME)(world, asked)

    world, named = begun(mean, **LONG)
    world.run(100)
    assert shares(world, named) == [90, 5, 5]
    assert "a reward is a ratio" in world.status["message"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stopAt": "1"}, "a probability over 0.5 and below 1"),
        ({"stopAt": "0.5"}, "a probability over 0.5 and below 1"),
        ({"reward": {"metric": "a", "better": "More"}}, "one of Higher"),
    ],
)
def test_what_no_schema_has_checked_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        strategy_of(parse_spec(bandit(**changes)))


def test_no_data_is_told_of() -> None:
    world, named = begun(arms_earn(SAME), **LONG)
    world.sampler = lambda *_: NoData(Reason.PROMETHEUS_UNREACHABLE, "Prometheus does not answer")
    world.run(60)
    assert shares(world, named) == [90, 5, 5]
    assert "Prometheus does not answer" in world.status["message"]
