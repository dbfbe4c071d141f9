"""Bandits: whom to give more, when to stop, and what is kept."""

import json

import numpy as np
import pytest

from serin.analysis.bandit import (
    BanditTick,
    Shares,
    State,
    begin,
    best,
    fold,
    proven,
    rates,
    read,
    requests_needed,
    turned,
    weights,
    write,
)
from serin.analysis.evidence import Unreadable, Unusable
from serin.analysis.types import Arm

ALL = (True, True, True)


def fed(seed: int, ticks: int, worth: tuple[float, ...], sent: tuple[int, ...], season: bool = False) -> State:
    rng, state = np.random.default_rng(seed), begin(len(worth), 0.0)
    for tick in range(ticks):
        level = 1.0 + (0.8 * np.sin(tick / 3.0) if season else 0.0)
        arms = tuple(Arm(n, int(rng.binomial(n, level * rate))) for n, rate in zip(sent, worth, strict=True))
        state = fold(state, BanditTick(60.0 * (tick + 1), arms), None)
    return state


def test_the_best_arm_is_the_likeliest() -> None:
    chances = best(fed(1, 50, (0.10, 0.12, 0.15), (100, 100, 100)), ALL)
    assert chances.sum() == pytest.approx(1.0)
    assert chances.argmax() == 2
    assert chances[2] > 0.95


def test_the_chances_are_those_of_random_draws() -> None:
    state = fed(2, 5, (0.10, 0.12, 0.13), (80, 120, 100))
    rng, found = np.random.default_rng(3), rates(state)
    draws = rng.beta(1 + state.requests * found, 1 + state.requests * (1 - found), (200_000, 3))
    assert best(state, ALL) == pytest.approx(np.bincount(draws.argmax(axis=1), minlength=3) / 200_000, abs=0.005)


def test_a_good_hour_for_everybody_favours_nobody() -> None:
    """An arm that happens to get the most when everybody earns more is not better for it."""
    state = begin(2, 0.0)
    for tick in range(100):
        good = tick % 2 == 0
        sent, rate = ((90, 10), 0.5) if good else ((10, 90), 0.1)
        arms = tuple(Arm(n, round(n * rate)) for n in sent)
        state = fold(state, BanditTick(tick + 1.0, arms), None)
    assert state.rewards[0] / state.requests[0] > 2 * state.rewards[1] / state.requests[1]
    assert best(state, (True, True)) == pytest.approx([0.5, 0.5], abs=0.01)


def test_what_fades_follows_a_best_arm_that_changes() -> None:
    rng, fading, keeping = np.random.default_rng(1), begin(2, 0.0), begin(2, 0.0)
    for hour in range(96):
        worth = (0.2, 0.1) if hour < 64 else (0.1, 0.2)
        tick = BanditTick(3600.0 * (hour + 1), tuple(Arm(100, int(rng.binomial(100, rate))) for rate in worth))
        fading, keeping = fold(fading, tick, 8 * 3600.0), fold(keeping, tick, None)
    assert best(fading, (True, True))[1] > 0.95
    assert best(keeping, (True, True))[1] < 0.05


@pytest.mark.parametrize("seed", range(20))
def test_weights_keep_their_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arms = int(rng.integers(2, 6))
    shares, before = Shares(5, 80, 20), tuple(int(one) for one in rng.multinomial(100, np.ones(arms) / arms))
    for _ in range(20):
        after = weights(rng.dirichlet(np.full(arms, 0.2)), before, (True,) * arms, shares)
        assert sum(after) == 100
        assert min(after) >= 5
        assert max(after) <= 80
        if min(before) >= 5 and max(before) <= 80:
            assert max(abs(one - two) for one, two in zip(after, before, strict=True)) <= 21, "whole percents round"
        before = after


def test_an_eliminated_arm_gets_nothing_at_once_and_the_others_its_share() -> None:
    assert weights(np.array([0.5, 0.0, 0.5]), (20, 60, 20), (True, False, True), Shares(step=5)) == (50, 0, 50)
    assert weights(np.array([1.0, 0.0, 0.0]), (20, 60, 20), (True, False, False), Shares()) == (100, 0, 0)
    assert best(fed(1, 5, (0.1, 0.9, 0.1), (50, 50, 50)), (True, False, True))[1] == 0.0


def test_equal_arms_have_no_proven_winner_and_unequal_ones_have() -> None:
    state = fed(1, 300, (0.10, 0.10, 0.15), (100, 100, 100), season=True)
    assert proven(state, 2, ALL, 0.95)
    assert not proven(state, 1, ALL, 0.95)
    equal = [fed(seed, 100, (0.1, 0.1, 0.1), (100, 100, 100)) for seed in range(40)]
    assert sum(proven(one, int(best(one, ALL).argmax()), ALL, 0.95) for one in equal) <= 1
    assert not proven(begin(3, 0.0), 0, ALL, 0.95)


def test_state_survives_a_restart_and_counts_nothing_twice() -> None:
    state = fed(1, 20, (0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1), (50_000,) * 8)
    kept = json.loads(json.dumps(write(state)))
    assert len(json.dumps(kept)) < 4096
    again = read(kept, 8)
    assert best(again, (True,) * 8) == pytest.approx(best(state, (True,) * 8), abs=1e-3)
    assert fold(again, BanditTick(state.at, (Arm(1, 1),) * 8), None) is again


@pytest.mark.parametrize(
    "edit",
    [
        {"requests": [-1, 5]},
        {"rewards": [200, 9]},
        {"faded_matrix": [9e9] * 4},
        {"vector": [9e9, 0]},
        {"matrix": [1.0]},
    ],
)
def test_what_no_counts_come_to_is_not_read(edit: dict[str, list[float]]) -> None:
    kept = json.loads(json.dumps(write(fed(1, 3, (0.1, 0.2), (50, 50)))))
    assert read(kept, 2)
    with pytest.raises(Unreadable):
        read({**kept, **edit}, 2)


def test_fewer_are_better_when_the_state_is_turned() -> None:
    state = turned(fed(1, 100, (0.10, 0.05, 0.10), (100, 100, 100)))
    assert best(state, ALL)[1] > 0.99
    assert proven(state, 1, ALL, 0.95)
    assert not proven(state, 0, ALL, 0.95)


def test_what_has_more_than_the_most_goes_down_by_steps_as_well() -> None:
    assert weights(np.array([0.0, 1.0]), (95, 5), (True, True), Shares(step=1)) == (94, 6)
    assert weights(np.array([0.0, 1.0]), (95, 5), (True, True), Shares()) == (75, 25)


@pytest.mark.parametrize("arms", [2, 4])
def test_as_many_requests_are_needed_as_it_says(arms: int) -> None:
    needed = requests_needed(0.1, 1.5, arms, 0.95)
    found = []
    for seed in range(60):
        rng, state = np.random.default_rng(seed), begin(arms, 0.0)
        worth = (*(0.1,) * (arms - 1), 0.15)
        tick = BanditTick(1.0, tuple(Arm(needed, int(rng.binomial(needed, rate))) for rate in worth))
        found.append(proven(fold(state, tick, None), arms - 1, (True,) * arms, 0.95))
    assert 0.1 < sum(found) / len(found) < 0.8


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(Unusable):
        fold(begin(2, 0.0), BanditTick(1.0, (Arm(1, 2), Arm(1, 0))), None)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_in_a_status_says_the_same_as_what_is_not(seed: int) -> None:
    """Its digits are cut at each look, and an arm of few requests has little to say against what is cut."""
    dice = np.random.default_rng(seed)
    exact = kept = begin(4, 0.0)
    for look in range(1, 200):
        requests = [int(one) for one in dice.poisson((25, 6, 12, 2 if look == 1 else 0))]
        arms = tuple(
            Arm(n, int(dice.binomial(n, rate))) for n, rate in zip(requests, (0.87, 0.93, 1.0, 0.9), strict=True)
        )
        tick = BanditTick(float(look), arms)
        exact, kept = fold(exact, tick, None), read(json.loads(json.dumps(write(fold(kept, tick, None)))), 4)
        assert rates(kept)[:3] == pytest.approx(rates(exact)[:3], abs=1e-3)
    assert not proven(kept, 1, (True, True, True, False), 0.95), "the third one is better"
