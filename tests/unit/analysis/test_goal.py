"""The goal of an A/B test: better, worse, no difference, and what the variance is read from."""

import json
from dataclasses import replace

import numpy as np
import pytest

from serin.analysis.evidence import Unreadable, Unusable
from serin.analysis.goal import Basis, Goal, GoalTick, Outcome, State, fold, judge, read, write
from serin.analysis.types import Moments

CONVERSION = Goal(effect=1.1, per_user=True)


def ticks(seed: int, count: int, candidate: float, stable: float, each: int = 500) -> list[GoalTick]:
    rng = np.random.default_rng(seed)
    season = 1.0 + 0.5 * np.sin(np.arange(count) / 10.0)
    return [
        GoalTick(
            60.0 * (place + 1),
            Moments(each, int(rng.binomial(each, candidate * level))),
            Moments(each, int(rng.binomial(each, stable * level))),
        )
        for place, level in enumerate(season)
    ]


def fed(found: list[GoalTick]) -> State | None:
    state = None
    for one in found:
        state = fold(state, one)
    return state


@pytest.mark.parametrize(
    ("higher", "candidate", "outcome"),
    [
        (True, 0.12, Outcome.BETTER),
        (True, 0.08, Outcome.WORSE),
        (False, 0.12, Outcome.WORSE),
        (False, 0.08, Outcome.BETTER),
    ],
)
def test_what_is_better_is_found_on_either_side(higher: bool, candidate: float, outcome: Outcome) -> None:
    verdict = judge(replace(CONVERSION, higher=higher), fed(ticks(1, 200, candidate, 0.10)))
    assert verdict.outcome is outcome
    assert verdict.low is not None
    assert verdict.high is not None
    assert verdict.low < candidate / 0.10 < verdict.high
    assert verdict.needed == 0


def test_no_difference_is_said_when_the_interval_is_within_the_effect() -> None:
    few, many = (judge(CONVERSION, fed(ticks(3, count, 0.10, 0.10))) for count in (20, 800))
    assert few.outcome is Outcome.UNDECIDED
    assert few.needed
    assert "more requests of the candidate until an effect of 1.1x" in few.message
    assert many.outcome is Outcome.NO_DIFFERENCE
    assert 1 / 1.1 <= (many.low or 0) <= (many.high or 9) <= 1.1


def test_a_mean_is_judged_as_a_ratio_is() -> None:
    rng = np.random.default_rng(1)
    found = [
        GoalTick(place + 1.0, *(Moments(200, float(size * rng.gamma(2.0, size=200).sum())) for size in (1.2, 1.0)))
        for place in range(100)
    ]
    assert judge(CONVERSION, fed(found)).outcome is Outcome.BETTER


def test_too_few_are_not_compared() -> None:
    for found in ([], ticks(1, 4, 0.6, 0.1), ticks(1, 50, 0.6, 0.1, each=1)):
        verdict = judge(CONVERSION, fed(found))
        assert verdict.outcome is Outcome.UNDECIDED
        assert verdict.estimate is None
        assert verdict.message.endswith("too few to compare" if found else "nothing is counted yet")


def test_arms_of_which_nobody_succeeds_are_not_compared() -> None:
    assert judge(CONVERSION, fed(ticks(1, 50, 0.0, 0.0))).outcome is Outcome.UNDECIDED


def blocks(seed: int, count: int, spread: float) -> list[GoalTick]:
    """Users in 16 blocks that keep their arm and their own rate: arms of the same users, and yet never equal."""
    rng = np.random.default_rng(seed)
    rates = np.clip(rng.normal(0.2, spread, (2, 16)), 0.01, 0.9)
    found = []
    for place in range(count):
        arms = tuple([Moments(30, int(rng.binomial(30, rate))) for rate in arm] for arm in rates)
        sums = [Moments(sum(one.requests for one in arm), sum(one.total for one in arm)) for arm in arms]
        found.append(GoalTick(60.0 * (place + 1), sums[0], sums[1], (arms[0], arms[1])))
    return found


@pytest.mark.more
def test_users_that_differ_and_stay_make_no_winner_when_their_blocks_are_told_apart() -> None:
    goal, wrong, right = Goal(effect=1.1), 0, 0
    for seed in range(40):
        apart = blocks(seed, 200, 0.08)
        together = [replace(one, blocks=((), ())) for one in apart]
        decided = (Outcome.BETTER, Outcome.WORSE)
        wrong += judge(goal, fed(together)).outcome in decided
        verdict = judge(goal, fed(apart))
        right += verdict.outcome in decided
        assert verdict.basis is Basis.USER_BLOCKS
    assert right <= 2
    assert wrong >= 20, "so the blocks are what keeps the promise"


def test_answers_that_come_in_runs_take_the_scatter_between_hours() -> None:
    """Within an hour every answer is the same 20 times in a row, in an order that the ticks cannot see."""
    rng, state = np.random.default_rng(5), State()
    for hour in range(40):
        rates = rng.beta(1.0, 9.0, 2)
        for minute in range(60):
            arms = [Moments(10, int(rng.binomial(10, rate))) for rate in rates]
            state = fold(state, GoalTick(3600.0 * hour + 60.0 * (minute + 1), arms[0], arms[1]))
    sessions = judge(Goal(effect=1.1), state)
    independent = judge(Goal(effect=1.1, per_user=True), state)
    assert (sessions.basis, independent.basis) == (Basis.TIME_BLOCKS, Basis.USERS)
    width = [(one.high or 0) - (one.low or 0) for one in (sessions, independent)]
    assert width[0] > 2 * width[1]


def test_evidence_survives_a_restart_and_counts_nothing_twice() -> None:
    found = blocks(1, 90, 0.02)
    state = fed(found)
    assert state is not None
    kept = json.loads(json.dumps(write(state)))
    assert read(kept) == state
    assert fold(read(kept), found[-1]) == state
    assert len(json.dumps(kept)) < 2048


def test_evidence_of_something_else_does_not_read() -> None:
    with pytest.raises(Unreadable):
        read({"kind": "goal", "at": 1.0, "total": [1, 2], "open": [], "ticks": [], "hours": []})


def test_other_blocks_than_before_begin_anew_and_too_many_are_left_out() -> None:
    state = fed(blocks(1, 10, 0.02))
    many = [Moments(1, 0.0)] * 40
    after = fold(state, GoalTick(10_000.0, Moments(40, 0.0), Moments(40, 0.0), (many, many)))
    assert after.users == ((), ())
    fewer = [Moments(1, 1.0)] * 8
    after = fold(state, GoalTick(10_000.0, Moments(8, 8.0), Moments(8, 8.0), (fewer, fewer)))
    assert after.users == (((1.0, 1.0),) * 8, ((1.0, 1.0),) * 8)


@pytest.mark.parametrize("bad", [Moments(-1, 0.0), Moments(1, float("nan"))])
def test_impossible_numbers_are_refused(bad: Moments) -> None:
    with pytest.raises(Unusable):
        fold(None, GoalTick(1.0, bad, Moments(1, 1.0)))
