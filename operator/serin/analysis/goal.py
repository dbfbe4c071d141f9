"""Is one version better than another in what they are for: conversions, reward, revenue? Or worse, or much the same?

Guaranteed, asymptotically and however often one looks: of an arm that is no different, `Better` or `Worse` is ever said
with probability at most `alpha`, a half for either side. Two one-sided e-processes decide: Robbins' normal mixture of
the mean difference over its estimated variance (as in means.py), with the minimum detectable effect as the mixture's
standard deviation, where it finds that effect soonest. A ratio is the mean of numbers that are 0 or 1. `NoDifference`
is said when the interval, a confidence sequence of the same mixture, lies within the minimum detectable effect on both
sides. Per tick the difference of the two means is weighted by w = nc ns / (nc + ns), so that a season, or a change of
weights, cancels.

What the promise rests on is the variance, because requests of one user are not independent of each other:

- counted per user: every user is counted once, and the scatter from tick to tick is all there is;
- blocks of users: the counter has a label with a hash of the user in a few values, and the scatter is that between
  blocks. It sees everything that users have in common with themselves, however long they stay;
- blocks of time: the scatter between hours, when it is more than that between ticks. It sees sessions, and nothing that
  lasts longer: the same users in the same arm for weeks are, to it, ever new ones. A heuristic, and said so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final

from scipy.special import chdtri

from serin.analysis import text
from serin.analysis.evidence import Evidence, Kind, Unusable, check_count, floats, number
from serin.analysis.means import log_mixture
from serin.analysis.ratio import mixture_radius
from serin.analysis.types import Json, Moments
from serin.api.conditions import Reason

ENOUGH: Final = 100  # requests per arm before the normal approximation is used
LOOKS: Final = 5  # ticks with requests of both arms before their scatter is estimated
BLOCK_SECONDS: Final = 3600.0
BLOCKS: Final = 12  # hours before they are compared with the scatter between ticks
FEWEST_BLOCKS, MOST_BLOCKS = 8, 32  # of users, per arm
CHANCE: Final = 0.05


class Outcome(StrEnum):
    """What is known about an arm and its goal."""

    BETTER = "Better"
    WORSE = "Worse"
    NO_DIFFERENCE = "NoDifference"
    UNDECIDED = "Undecided"


class Basis(StrEnum):
    """What the variance is read from, as the message says it."""

    USERS = "each user counted once"
    USER_BLOCKS = "variance from blocks of users"
    TIME_BLOCKS = "variance from blocks of time, so without a promise"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is asked. `higher`: a higher mean is better. `effect`: minimum detectable effect, a ratio over 1.

    `alpha`: how often `Better` or `Worse` may be said of an arm that is no different. `per_user`: each user is counted
    once.
    """

    higher: bool = True
    effect: float = 1.02
    alpha: float = 0.05
    per_user: bool = False


@dataclass(frozen=True, slots=True)
class GoalTick:
    """Requests and the sum of their numbers of both arms since the tick before. `at`: unix seconds.

    `blocks`: the same by block of users, the candidate's and then stable's; empty when they are not told apart.
    """

    at: float
    candidate: Moments
    stable: Moments
    blocks: tuple[Sequence[Moments], Sequence[Moments]] = ((), ())


@dataclass(frozen=True, slots=True)
class Sums:
    """Over tables with both arms: how many, and the sums of w, of w d and of w d^2."""

    count: int = 0
    weight: float = 0.0
    difference: float = 0.0
    squares: float = 0.0

    def plus(self, candidate: tuple[float, float], stable: tuple[float, float]) -> "Sums":
        """With one table more; each arm is its requests and their sum."""
        if min(candidate[0], stable[0]) < 1:
            return self
        weight = candidate[0] * stable[0] / (candidate[0] + stable[0])
        d = candidate[1] / candidate[0] - stable[1] / stable[0]
        w, wd, wd2 = self.weight + weight, self.difference + weight * d, self.squares + weight * d * d
        return Sums(self.count + 1, w, wd, wd2)

    @property
    def scatter(self) -> float:
        """Variance of one request, estimated; 0 while it cannot be."""
        if self.count < 2:
            return 0.0
        around = self.squares - self.difference**2 / self.weight
        # What is left by rounding is no scatter.
        return around / (self.count - 1) if around > 1e-9 * self.squares else 0.0


_NONE = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class State:
    """What is kept between ticks: requests and sums of either arm, scatter between ticks and between hours.

    `open`: since when the present hour is counted, and both arms' requests and sums in it. `users`: requests and sum of
    every block of users, the candidate's and then stable's.
    """

    at: float = 0.0
    candidate: tuple[float, float] = _NONE
    stable: tuple[float, float] = _NONE
    ticks: Sums = Sums()
    hours: Sums = Sums()
    open: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    users: tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]] = ((), ())


@dataclass(frozen=True, slots=True)
class GoalVerdict:
    """What is known now. `estimate`, `low`, `high`: the ratio of the means; None while nothing can be said.

    `better`, `worse`: log evidence of either side. `requests`: the candidate's so far, `needed`: how many more of them
    before an effect of the minimum detectable size is found in the middle of all cases, None when unknown.
    """

    outcome: Outcome
    message: str
    basis: Basis
    better: float = 0.0
    worse: float = 0.0
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    requests: int = 0
    needed: int | None = None


def fold(before: State | None, tick: GoalTick) -> State:
    """The state after `tick`; a tick that is not newer changes nothing. Raises `Unusable` for impossible numbers."""
    state = before or State()
    if tick.at <= state.at:
        return state
    candidate, stable = _check("the candidate", tick.candidate), _check("stable", tick.stable)
    since, *counts = state.open
    new = [held + more for held, more in zip(counts, (*candidate, *stable), strict=True)]
    hours, opened = state.hours, (since or tick.at, *new)
    if tick.at - opened[0] >= BLOCK_SECONDS:
        hours, opened = hours.plus((new[0], new[1]), (new[2], new[3])), (tick.at, 0.0, 0.0, 0.0, 0.0)
    return State(
        tick.at,
        _plus(state.candidate, candidate),
        _plus(state.stable, stable),
        state.ticks.plus(candidate, stable),
        hours,
        (opened[0], opened[1], opened[2], opened[3], opened[4]),
        _users(state, tick),
    )


def judge(goal: Goal, state: State | None) -> GoalVerdict:
    """What the evidence says now."""
    state = state or State()
    basis, requests = basis_of(goal, state), int(state.candidate[0])
    mean = _mean(state.stable)
    variance = _variance(goal, state)
    if min(state.candidate[0], state.stable[0]) < ENOUGH or state.ticks.count < LOOKS or not variance or mean <= 0.0:
        counted = state.candidate[0] + state.stable[0]
        said = f"{_counts(state)}: too few to compare" if counted else "nothing is counted yet"
        return GoalVerdict(Outcome.UNDECIDED, said, basis, requests=requests)
    difference, scale = state.ticks.difference / state.ticks.weight, (goal.effect - 1.0) * mean
    up, down = log_mixture(difference, variance, scale), log_mixture(-difference, variance, scale)
    radius = mixture_radius(variance, goal.alpha / 2.0, scale)
    estimate, low, high = (1.0 + one / mean for one in (difference, difference - radius, difference + radius))
    better, worse = (up, down) if goal.higher else (down, up)
    outcome = _outcome(goal, better, worse, low, high)
    needed = 0 if outcome is not Outcome.UNDECIDED else _needed(goal, state, variance, scale)
    message = f"{_counts(state)}: {_times(estimate, low, high)}; {basis.value}"
    if outcome is Outcome.UNDECIDED and needed:
        message += f", about {text.count(needed)} more requests of the candidate until an effect of {goal.effect:g}x"
    return GoalVerdict(outcome, message, basis, better, worse, estimate, low, high, requests, needed)


def basis_of(goal: Goal, state: State) -> Basis:
    """What the variance is read from."""
    if goal.per_user:
        return Basis.USERS
    told_apart = min(map(len, state.users)) >= FEWEST_BLOCKS
    return Basis.USER_BLOCKS if told_apart else Basis.TIME_BLOCKS


def candidate_needed(goal: Goal, share: float, split: float) -> int:
    """Candidate users or requests until an effect of the minimum detectable size is found in the middle of all cases.

    `share`: of stable's that are counted, over 0 and under 1; `split`: the candidate's share of all.
    """
    squares = _squares_needed(goal.alpha)
    return math.ceil(squares * (1.0 - share) / share / (goal.effect - 1.0) ** 2 / (1.0 - split))


def write(state: State) -> Evidence:
    """As JSON, at most 2 KiB with MOST_BLOCKS blocks of users."""
    users: list[Json] = [[round(part, 6) for pair in arm for part in pair] for arm in state.users]
    return {
        "kind": Kind.GOAL.value,
        "at": state.at,
        "total": [*state.candidate, *state.stable],
        "ticks": _row(state.ticks),
        "hours": _row(state.hours),
        "open": list(state.open),
        "users": users,
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    total, opened = floats(evidence, "total", 4), floats(evidence, "open", 5)
    rows = evidence.get("users")
    blocks = [floats({"users": row}, "users") for row in rows] if isinstance(rows, list) else []
    pairs = [tuple(zip(row[::2], row[1::2], strict=False)) for row in (blocks if len(blocks) == 2 else [[], []])]
    return State(
        number(evidence, "at"),
        (total[0], total[1]),
        (total[2], total[3]),
        _sums(evidence, "ticks"),
        _sums(evidence, "hours"),
        (opened[0], opened[1], opened[2], opened[3], opened[4]),
        (pairs[0], pairs[1]),
    )


def _outcome(goal: Goal, better: float, worse: float, low: float, high: float) -> Outcome:
    proven = math.log(2.0 / goal.alpha)
    if better >= proven:
        return Outcome.BETTER
    if worse >= proven:
        return Outcome.WORSE
    return Outcome.NO_DIFFERENCE if 1.0 / goal.effect <= low and high <= goal.effect else Outcome.UNDECIDED


def _variance(goal: Goal, state: State) -> float:
    """Variance of the weighted mean difference now; 0 while it cannot be told."""
    if not state.ticks.weight:
        return 0.0
    # As few ticks tell a variance badly, the upper 95% bound is used.
    freedom = max(1, state.ticks.count - 1)
    scatter = state.ticks.scatter * freedom / float(chdtri(freedom, 1.0 - CHANCE))
    basis = basis_of(goal, state)
    if basis is Basis.USER_BLOCKS:
        scatter = max(scatter, _scatter_of_users(state))
    elif basis is Basis.TIME_BLOCKS:
        scatter = max(scatter, _scatter_of_hours(state))
    return scatter / state.ticks.weight


def _scatter_of_hours(state: State) -> float:
    """Variance of one request as the hours show it; 0 while there are few, or when chance explains it."""
    freedom = state.hours.count - 1
    if state.hours.count < BLOCKS or not state.ticks.scatter:
        return 0.0
    times = state.hours.scatter / state.ticks.scatter
    return state.hours.scatter if freedom * times > float(chdtri(freedom, CHANCE)) else 0.0


def _scatter_of_users(state: State) -> float:
    """Variance of one request as the blocks of users show it, by the linearised ratio of sums (Cochran 1977, 6.4).

    The upper bound for so few blocks, as above.
    """
    candidate, stable = (_of_blocks(arm) for arm in state.users)
    freedom = len(state.users[0]) + len(state.users[1]) - 2
    weight = state.candidate[0] * state.stable[0] / (state.candidate[0] + state.stable[0])
    return (candidate + stable) * weight * freedom / float(chdtri(freedom, 1.0 - CHANCE))


def _of_blocks(blocks: Sequence[tuple[float, float]]) -> float:
    """Variance of an arm's mean."""
    requests, total = sum(one[0] for one in blocks), sum(one[1] for one in blocks)
    if not requests:
        return 0.0
    mean, n = total / requests, len(blocks)
    return n / (n - 1) * sum((s - mean * r) ** 2 for r, s in blocks) / requests**2


def _needed(goal: Goal, state: State, variance: float, scale: float) -> int:
    """Candidate requests until the evidence for an effect of just the minimum detectable size is enough."""
    times = _squares_needed(goal.alpha) * variance / scale**2
    return max(0, math.ceil(state.candidate[0] * (times - 1.0)))


@lru_cache(maxsize=64)
def _squares_needed(alpha: float) -> float:
    """The square of an effect of just the mixture's size, in variances of its estimate, that is evidence enough."""
    low, high = 1.0, 1e6
    for _ in range(40):
        middle = math.sqrt(low * high)
        enough = log_mixture(1.0, 1.0 / middle, 1.0) >= math.log(2.0 / alpha)
        low, high = (low, middle) if enough else (middle, high)
    return high


def _users(state: State, tick: GoalTick) -> tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]:
    """The blocks after the tick; begun anew when there are others than before, and left out when there are too many."""
    found = []
    for held, new in zip(state.users, tick.blocks, strict=True):
        if len(new) > MOST_BLOCKS:
            return (), ()
        before = held if len(held) == len(new) else ((0.0, 0.0),) * len(new)
        found.append(tuple(_plus(one, _check("a block", more)) for one, more in zip(before, new, strict=True)))
    return (found[0], found[1])


def _check(name: str, moments: Moments) -> tuple[float, float]:
    check_count(f"{name}'s requests", moments.requests)
    if not math.isfinite(moments.total):
        raise Unusable(Reason.NOT_A_NUMBER, f"{name}: the sum is {moments.total}")
    return float(moments.requests), float(moments.total)


def _plus(held: tuple[float, float], more: tuple[float, float]) -> tuple[float, float]:
    return held[0] + more[0], held[1] + more[1]


def _mean(arm: tuple[float, float]) -> float:
    return arm[1] / arm[0] if arm[0] else 0.0


def _counts(state: State) -> str:
    sides = (("the candidate", state.candidate), ("stable", state.stable))
    return ", ".join(f"{name} {text.number(_mean(arm))} ({text.count(arm[0])})" for name, arm in sides)


def _times(estimate: float, low: float, high: float) -> str:
    """Four digits: effects of a few percent are what it is about."""
    return f"{estimate:.4g} times ({max(0.0, low):.4g} to {high:.4g})"


def _row(sums: Sums) -> list[Json]:
    return [sums.count, sums.weight, sums.difference, sums.squares]


def _sums(evidence: Evidence, key: str) -> Sums:
    row = floats(evidence, key, 4)
    return replace(Sums(), count=int(row[0]), weight=row[1], difference=row[2], squares=row[3])
