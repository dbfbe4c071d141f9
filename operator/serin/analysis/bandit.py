"""Which of several arms earns the most, and which share of the traffic does each deserve meanwhile?

Batched Thompson sampling: an arm's weight is the probability that it is the best, by a Beta posterior of its rate. What
is compared is what arms earned in the same ticks, so that a good hour for everybody favours nobody: with unequal
weights that move, an arm's plain rate would mix its own worth with the hours in which it was favoured. Per tick the
arms' effects are estimated with the tick's common rate taken out (a two-way layout by weighted least squares); all that
is kept are its normal equations, one matrix of arms by arms. Both fade with `half_life`, so that a best arm that
changes is followed.

`proven` is stronger than a probability: looked at again and again, a posterior of 95% is reached in more than a quarter
of all rollouts of arms that are all the same. So an arm is only called the winner when an e-process against every other
arm says so as well, at (1 - stop_at) over the number of arms: of equal arms one is ever called the winner with
probability at most 1 - stop_at, asymptotically, whatever the weights were. That evidence does not fade.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Final

import numpy as np
from scipy.special import betainc

from serin.analysis.evidence import Evidence, Kind, Unreadable, array, check_arm, number
from serin.analysis.hypergeometric import Floats
from serin.analysis.means import log_mixture
from serin.analysis.types import Arm, Json

MOST_ARMS: Final = 8
GRID: Final = 400  # points of the integral over rates
REACH: Final = 6.0  # standard deviations on either side
SCALE: Final = 0.1  # the difference that is found soonest, as a share of the rarer of the two outcomes
ENOUGH: Final = 100  # requests per arm before the normal approximation is used
MOST_REQUESTS: Final = 1e15  # counts beyond are no whole numbers any more
_SMALLEST: Final = 1e-10  # of the eigenvalues, to the largest: less is what is left of 0


@dataclass(frozen=True, slots=True)
class BanditTick:
    """Requests and rewarded ones of every arm since the tick before, always in the same order. `at`: unix seconds."""

    at: float
    arms: tuple[Arm, ...]


@dataclass(frozen=True)  # no slots: arrays are compared by hand
class State:
    """Counts of every arm (`requests`, `rewards`) and the normal equations (`matrix`, `vector`); `faded` ones as well.

    Shapes (arms,) and (arms, arms).
    """

    at: float
    requests: Floats
    rewards: Floats
    matrix: Floats
    vector: Floats
    faded_requests: Floats
    faded_rewards: Floats
    faded_matrix: Floats
    faded_vector: Floats


@dataclass(frozen=True, slots=True)
class Shares:
    """How weights may move, in percent: never below `least`, above `most`, or by more than `step` at once."""

    least: int = 5
    most: int = 80
    step: int = 20


def begin(arms: int, at: float) -> State:
    """Nothing counted yet."""
    one, two = np.zeros(arms), np.zeros((arms, arms))
    return State(at, one, one, two, one, one, one, two, one)


def fold(before: State, tick: BanditTick, half_life: float | None) -> State:
    """The state after `tick`; one that is not newer changes nothing. `half_life`: seconds, None: nothing fades.

    Raises `Unusable` for impossible numbers.
    """
    if tick.at <= before.at:
        return before
    for number_of, arm in enumerate(tick.arms):
        check_arm(f"arm {number_of + 1}", arm)
    requests = np.array([arm.requests for arm in tick.arms], dtype=np.float64)
    rewards = np.array([arm.bad for arm in tick.arms], dtype=np.float64)
    kept = 1.0 if half_life is None else 0.5 ** ((tick.at - before.at) / half_life)
    total = max(1.0, float(requests.sum()))
    matrix = np.diag(requests) - np.outer(requests, requests) / total
    vector = rewards - requests * rewards.sum() / total
    return State(
        tick.at,
        before.requests + requests,
        before.rewards + rewards,
        before.matrix + matrix,
        before.vector + vector,
        kept * before.faded_requests + requests,
        kept * before.faded_rewards + rewards,
        kept * before.faded_matrix + matrix,
        kept * before.faded_vector + vector,
    )


def turned(state: State) -> State:
    """The same where a reward is what is not counted: fewer are better."""
    return replace(
        state,
        rewards=state.requests - state.rewards,
        vector=-state.vector,
        faded_rewards=state.faded_requests - state.faded_rewards,
        faded_vector=-state.faded_vector,
    )


def best(state: State, eligible: Sequence[bool]) -> Floats:
    """The probability of every arm that it is the best of the eligible ones; shape (arms,), 0 for the others."""
    rates = np.clip(_rates(state.faded_requests, state.faded_rewards, state.faded_matrix, state.faded_vector), 0.0, 1.0)
    playing = np.flatnonzero(np.array(eligible))
    good, bad = 1.0 + state.faded_requests * rates, 1.0 + state.faded_requests * (1.0 - rates)
    found = np.zeros(rates.size)
    found[playing] = _highest(good[playing], bad[playing])
    return found


def weights(chances: Floats, before: Sequence[int], eligible: Sequence[bool], shares: Shares) -> tuple[int, ...]:
    """The next weights in whole percent, which sum to 100; `before`: the present ones.

    Eligible arms get their chance within the limits; an arm that is not eligible gets 0 at once, whatever `step` is.
    """
    playing = [index for index, one in enumerate(eligible) if one]
    if len(playing) == 1:
        return tuple(100 if index == playing[0] else 0 for index in range(len(eligible)))
    least = min(shares.least, 100 // len(playing))
    wanted = {index: 100.0 * float(chances[index]) for index in playing}
    lows = {index: float(max(least, before[index] - shares.step)) for index in playing}
    # What has more than the most goes down to it by steps as well.
    tops = {index: max(shares.most, least, before[index] - shares.step) for index in playing}
    highs = {index: float(min(tops[index], max(before[index], least) + shares.step)) for index in playing}
    lows = {index: min(lows[index], highs[index]) for index in playing}
    if sum(highs.values()) < 100.0:  # what an eliminated arm had has to go somewhere at once
        highs = dict.fromkeys(playing, 100.0)
    if sum(lows.values()) > 100.0:
        lows = dict.fromkeys(playing, float(least))
    return _whole(_within(wanted, lows, highs), len(eligible))


def proven(state: State, leader: int, eligible: Sequence[bool], stop_at: float) -> bool:
    """Whether the evidence that `leader` is better than every other eligible arm suffices, looked at at any time."""
    others = [index for index, one in enumerate(eligible) if one and index != leader]
    if min(state.requests[[leader, *others]]) < ENOUGH:
        return False
    inverse = _inverse(state.matrix)
    effects, rate = inverse @ state.vector, float(state.rewards.sum() / state.requests.sum())
    one = rate * (1.0 - rate)
    needed = log(state.requests.size / (1.0 - stop_at))
    for other in others:
        spread = float(inverse[leader, leader] + inverse[other, other] - 2.0 * inverse[leader, other])
        if one * spread <= 0.0:
            return False
        scale = SCALE * min(rate, 1.0 - rate)
        if log_mixture(float(effects[leader] - effects[other]), one * spread, scale) < needed:
            return False
    return True


def requests_needed(share: float, effect: float, arms: int, stop_at: float) -> int:
    """Requests of each arm until one that earns `effect` times as much as the others is proven, in half of all cases.

    `share`: what the others earn per request, over 0 and under 1; `effect`: over 1. All arms have equally many.
    """
    difference, one, scale = (effect - 1.0) * share, share * (1.0 - share), SCALE * min(share, 1.0 - share)
    low, high = float(ENOUGH), MOST_REQUESTS
    while high > 1.01 * low:
        middle = (low * high) ** 0.5
        enough = log_mixture(difference, 2.0 * one / middle, scale) >= log(arms / (1.0 - stop_at))
        low, high = (low, middle) if enough else (middle, high)
    return round(high)


def rates(state: State) -> Floats:
    """What every arm earns per request, with the hours in which it was favoured taken out; shape (arms,)."""
    return np.clip(_rates(state.requests, state.rewards, state.matrix, state.vector), 0.0, 1.0)


def write(state: State) -> Evidence:
    """As JSON; of MOST_ARMS arms at most 4 KiB."""
    fields = ("requests", "rewards", "matrix", "vector")
    said: dict[str, Json] = {
        name: _rounded(getattr(state, name)) for name in (*fields, *(f"faded_{one}" for one in fields))
    }
    return {"kind": Kind.BANDIT.value, "at": state.at, **said}


def read(evidence: Evidence, arms: int) -> State:
    """From JSON; raises `Unreadable`."""
    found = []
    for prefix in ("", "faded_"):
        for name, length in (("requests", arms), ("rewards", arms), ("matrix", arms * arms), ("vector", arms)):
            numbers = array(evidence, prefix + name, length)
            found.append(numbers.reshape(arms, arms) if name == "matrix" else numbers)
        _check(*found[-4:])
    return State(number(evidence, "at"), *found)


def _check(requests: Floats, rewards: Floats, matrix: Floats, vector: Floats) -> None:
    """Raise `Unreadable` for what no counts can have come to, as after an edit."""
    most = float(requests.sum()) + 1.0
    counts = bool((requests >= 0.0).all() and (rewards >= -0.001).all() and (rewards <= requests + 0.001).all())
    if not counts or most > MOST_REQUESTS or float(np.abs(matrix).max()) > most or float(np.abs(vector).max()) > most:
        raise Unreadable("no counts of requests and rewards come to this")


def _rounded(numbers: Floats) -> list[Json]:
    return [round(float(one), 4) for one in numbers.ravel()]


def _rates(requests: Floats, rewards: Floats, matrix: Floats, vector: Floats) -> Floats:
    total = float(requests.sum())
    if not total:
        return np.full(requests.size, 0.5)
    effects: Floats = _inverse(matrix) @ vector
    # The effects are known up to a constant: together the arms earned what they earned.
    level = (float(rewards.sum()) - float(requests @ effects)) / total
    return effects + level


def _inverse(matrix: Floats) -> Floats:
    """The pseudo-inverse of normal equations.

    Their rows sum to 0, but for the digits with which they are kept. A sum of 0.0001 left in would be divided by, and
    had favoured whatever arm: the worse one of two was proven to be the best.
    """
    exact = matrix - np.diag(matrix.sum(axis=1))
    return np.asarray(np.linalg.pinv(exact, rcond=_SMALLEST, hermitian=True), dtype=np.float64)


def _highest(good: Floats, bad: Floats) -> Floats:
    """The probability that each of these Beta variables is the highest, by the midpoint rule."""
    mean = good / (good + bad)
    deviation = np.sqrt(mean * (1.0 - mean) / (good + bad + 1.0))
    low, high = float((mean - REACH * deviation).min()), float((mean + REACH * deviation).max())
    edges = np.linspace(max(0.0, low), min(1.0, high), GRID + 1)
    below = betainc(good[:, None], bad[:, None], edges[None, :])
    mass, middle = np.diff(below, axis=1), (below[:, 1:] + below[:, :-1]) / 2.0
    others = np.array([np.prod(np.delete(middle, index, axis=0), axis=0) for index in range(good.size)])
    chances: Floats = (mass * others).sum(axis=1)
    return chances / max(float(chances.sum()), 1e-12)


def _within(wanted: dict[int, float], lows: dict[int, float], highs: dict[int, float]) -> dict[int, float]:
    """The nearest shares within the limits that sum to 100: all are moved by the same, and cut."""
    down, up = -100.0, 100.0
    for _ in range(60):
        middle = (down + up) / 2.0
        total = sum(min(highs[one], max(lows[one], wanted[one] + middle)) for one in wanted)
        down, up = (middle, up) if total < 100.0 else (down, middle)
    return {one: min(highs[one], max(lows[one], wanted[one] + up)) for one in wanted}


def _whole(shares: dict[int, float], arms: int) -> tuple[int, ...]:
    """Whole percents by largest remainder."""
    whole = {one: int(share + 1e-9) for one, share in shares.items()}
    for one in sorted(shares, key=lambda index: (whole[index] - shares[index], index))[: 100 - sum(whole.values())]:
        whole[one] += 1
    return tuple(whole.get(index, 0) for index in range(arms))
