"""The numbers of A/B tests and bandits: false winners, requests until a verdict, regret. Run by `make bench-analysis`.

Everything is judged by analysis/goal.py and analysis/bandit.py as in the operator. Writes docs/experiments-bench.md.
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from scipy import stats

from serin.analysis import bandit, goal
from serin.analysis.goal import Goal, GoalTick, Outcome
from serin.analysis.types import Arm, Moments

MINUTES = 14 * 24 * 60
USERS, BLOCKS, PER_MINUTE, RATE = 2000, 16, 60, 0.10


# ── A/A tests of 14 days ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class World:
    """`sticky`: users of very different activity and rates stay in their arm. `burst`: equal answers in a row."""

    sticky: bool = False
    burst: int = 1
    blocks: bool = False  # the counter has a label with the user's block

    def ticks(self, rng: np.random.Generator) -> Iterator[GoalTick]:
        """A tick a minute; the traffic has days, and both arms have half of it."""
        season = 1.0 + 0.6 * np.sin(2.0 * np.pi * np.arange(MINUTES) / 1440.0)
        traffic, rates = self._users(rng) if self.sticky else _equal()
        good, bad = (
            self.burst * rng.poisson(season[:, None, None] * (traffic * share / self.burst)[None])
            for share in (rates, 1.0 - rates)
        )
        requests = good + bad
        for minute in range(MINUTES):
            pairs = [zip(requests[minute, arm], good[minute, arm], strict=True) for arm in (0, 1)]
            arms = [[Moments(int(n), int(s)) for n, s in one] for one in pairs]
            sums = [Moments(sum(one.requests for one in arm), sum(one.total for one in arm)) for arm in arms]
            yield GoalTick(60.0 * (minute + 1), sums[0], sums[1], (arms[0], arms[1]) if self.blocks else ((), ()))

    @staticmethod
    def _users(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Requests a minute and rate of every block of either arm. A tenth of the users sends half of the requests."""
        activity = np.exp(rng.normal(0.0, 1.5, USERS))
        activity *= PER_MINUTE / activity.sum()
        rates = rng.beta(2.0, 18.0, USERS)
        where = rng.integers(0, 2, USERS), rng.integers(0, BLOCKS, USERS)
        traffic, rewarded = np.zeros((2, BLOCKS)), np.zeros((2, BLOCKS))
        np.add.at(traffic, where, activity)
        np.add.at(rewarded, where, activity * rates)
        return traffic, rewarded / traffic


def _equal() -> tuple[np.ndarray, np.ndarray]:
    return np.full((2, BLOCKS), PER_MINUTE / 2 / BLOCKS), np.full((2, BLOCKS), RATE)


WORLDS: dict[str, tuple[World, Goal]] = {
    "counted per user": (World(), Goal(per_user=True)),
    "requests, independent": (World(), Goal()),
    "requests in runs of 5": (World(burst=5), Goal()),
    "sticky users, blocks of time": (World(sticky=True), Goal()),
    "sticky users, blocks of users": (World(sticky=True, blocks=True), Goal()),
}


def false_winner(name: str, seed: int) -> bool:
    """Whether `Better` or `Worse` was said at any minute of 14 days without a difference."""
    world, asked = WORLDS[name]
    state = None
    for tick in world.ticks(np.random.default_rng([seed, *name.encode()])):
        state = goal.fold(state, tick)
        if _may_be_decided(state) and goal.judge(asked, state).outcome in (Outcome.BETTER, Outcome.WORSE):
            return True
    return False


def _may_be_decided(state: goal.State) -> bool:
    """Saves most judgements: no mixture has more evidence than log 2 + z^2 / 2, and log 40 is needed."""
    sums = state.ticks
    return bool(sums.weight and sums.scatter and sums.difference**2 >= 6.0 * sums.weight * sums.scatter)


# ── Requests until a verdict ──────────────────────────────────────────────────────────────────────────────────────────

EFFECT, LOOKS = 1.05, 200


def fixed_horizon(rate: float, effect: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Users per arm of the two-sided z-test of two proportions (Fleiss, Levin & Paik 2003, section 4.2)."""
    other, middle = rate * effect, rate * (1.0 + effect) / 2.0
    null = stats.norm.isf(alpha / 2.0) * math.sqrt(2.0 * middle * (1.0 - middle))
    found = stats.norm.isf(1.0 - power) * math.sqrt(rate * (1.0 - rate) + other * (1.0 - other))
    return float(((null + found) / (other - rate)) ** 2)


def _arms(rng: np.random.Generator, users: int, effect: float) -> tuple[Moments, Moments]:
    return (
        Moments(users, int(rng.binomial(users, RATE * effect))),
        Moments(users, int(rng.binomial(users, RATE))),
    )


def until_better(effect: float, seed: int) -> tuple[float | None, str]:
    """Users per arm until an outcome, looked at 200 times in the time that the fixed test takes, and which."""
    rng, each, state = np.random.default_rng([seed, 7]), round(fixed_horizon(RATE, EFFECT) / LOOKS), None
    for look in range(1, 10 * LOOKS):
        state = goal.fold(state, GoalTick(float(look), *_arms(rng, each, effect)))
        outcome = goal.judge(Goal(effect=EFFECT, per_user=True), state).outcome
        if outcome is not Outcome.UNDECIDED:
            return float(look * each), outcome.value
    return None, Outcome.UNDECIDED.value


# O'Brien & Fleming, five looks, two-sided 5 %, power 80 % (Jennison & Turnbull 2000, tables 2.3 and 2.4).
OBF_BOUND, OBF_LOOKS, OBF_INFLATION = 2.040, 5, 1.028


def group_sequential(effect: float, seed: int) -> float | None:
    """Users per arm until the bound of O'Brien and Fleming is crossed; None: the test ended without."""
    rng, z = np.random.default_rng([seed, 8]), 0.0
    each = round(fixed_horizon(RATE, EFFECT) * OBF_INFLATION / OBF_LOOKS)
    totals = np.zeros(2)
    for look in range(1, OBF_LOOKS + 1):
        totals += [one.total for one in _arms(rng, each, effect)]
        share = totals.sum() / (2.0 * look * each)
        z = (totals[0] - totals[1]) / (look * each) / math.sqrt(2.0 * share * (1.0 - share) / (look * each))
        if abs(z) >= OBF_BOUND * math.sqrt(OBF_LOOKS / look):
            return float(look * each)
    return None


# ── Bandits ───────────────────────────────────────────────────────────────────────────────────────────────────────────

HOURS, PER_HOUR, DAY = 14 * 24, 600, 86400.0


@dataclass(frozen=True, slots=True)
class Slots:
    """Arms that earn `rates` per request, in days of their own size; from the middle on the other way round."""

    rates: tuple[float, ...]
    changes: bool = False
    delay: int = 0  # hours until a reward is known
    half_life: float | None = None
    stops: bool = True
    posterior: bool = False  # stop by the posterior alone

    def at(self, hour: int) -> np.ndarray:
        """What every arm earns per request in this hour."""
        rates = self.rates[::-1] if self.changes and hour >= HOURS // 2 else self.rates
        return np.array(rates) * (1.0 + 0.5 * math.sin(2.0 * math.pi * hour / 24.0))


@dataclass(frozen=True, slots=True)
class Played:
    """Rewards that were missed, by the bandit, by an even split and by the best single arm; the winner and its hour."""

    missed: float
    even: float
    fixed: float
    winner: int | None
    hour: int | None


SLOTS: dict[str, Slots] = {
    "no difference, three arms": Slots((0.1, 0.1, 0.1)),
    "no difference, stopped by the posterior alone": Slots((0.1, 0.1, 0.1), posterior=True),
    "10, 11 and 12 %": Slots((0.10, 0.11, 0.12)),
    "10, 11 and 12 %, known after 12 hours": Slots((0.10, 0.11, 0.12), delay=12),
    "the best arm changes, nothing fades": Slots((0.10, 0.11, 0.12), changes=True, stops=False),
    "the best arm changes, halfLife 24h": Slots((0.10, 0.11, 0.12), changes=True, stops=False, half_life=DAY),
}


def play(name: str, seed: int) -> Played:
    """Two weeks, an hour a tick. Once a winner is found it has everything."""
    world, rng = SLOTS[name], np.random.default_rng([seed, *name.encode()])
    arms = len(world.rates)
    state, split, waiting = bandit.begin(arms, 0.0), _even(arms), []
    playing = [True] * arms
    missed, even, earned, winner, ended = 0.0, 0.0, np.zeros(arms), None, None
    for hour in range(HOURS):
        rates = world.at(hour)
        requests = rng.multinomial(rng.poisson(PER_HOUR), np.array(split) / 100.0)
        missed += float((requests * (rates.max() - rates)).sum())
        even += float(requests.sum() * (rates.max() - rates.mean()))
        earned += requests.sum() * (rates.max() - rates)
        rewarded = rng.binomial(requests, rates)
        waiting.append(tuple(Arm(int(n), int(s)) for n, s in zip(requests, rewarded, strict=True)))
        if len(waiting) > world.delay:
            state = bandit.fold(state, bandit.BanditTick((hour + 1) * 3600.0, waiting.pop(0)), world.half_life)
        if winner is None:
            chances = bandit.best(state, playing)
            split = bandit.weights(chances, split, playing, bandit.Shares())
            winner = _winner(world, state, chances, playing) if world.stops else None
            if winner is not None:
                split, ended = tuple(100 * (one == winner) for one in range(arms)), hour
    return Played(missed, even, float(earned.min()), winner, ended)


def _winner(world: Slots, state: bandit.State, chances: np.ndarray, playing: Sequence[bool]) -> int | None:
    leader = int(chances.argmax())
    if chances[leader] < 0.95 or state.requests.min() < 1000:
        return None
    return leader if world.posterior or bandit.proven(state, leader, playing, 0.95) else None


def _even(arms: int) -> tuple[int, ...]:
    return (100 - 100 // arms * (arms - 1), *(100 // arms,) * (arms - 1))


# ── The page ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def share(hits: int, runs: int) -> str:
    """A rate in percent with its exact 95 % interval."""
    low, high = stats.binomtest(hits, runs).proportion_ci(0.95)
    return f"{100 * hits / runs:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def _times(parts: Sequence[float], wholes: Sequence[float]) -> str:
    """The ratio of two sums over the same runs in percent, with its 95 % interval (linearised; Cochran 1977, 6.4)."""
    top, bottom = np.array(parts), np.array(wholes)
    ratio = top.sum() / bottom.sum()
    error = 1.96 * math.sqrt(float(((top - ratio * bottom) ** 2).sum()) * top.size / (top.size - 1)) / bottom.sum()
    return f"{100 * ratio:.0f} % ({100 * (ratio - error):.0f} to {100 * (ratio + error):.0f})"


def _quantile(values: Iterable[float | None], at: float) -> str:
    ordered = sorted(math.inf if value is None else value for value in values)
    found = ordered[math.ceil(at * len(ordered)) - 1]
    return "never" if math.isinf(found) else f"{found:,.0f}"


def false_winners(runs: Callable[[str], list[bool]]) -> list[str]:
    """The table of A/A tests."""
    rows = ["| goal | Better or Worse within 14 days |", "|---|---|"]
    for name in WORLDS:
        found = runs(name)
        rows.append(f"| {name} | {share(sum(found), len(found))} |")
    return rows


def sizes(
    sequential: dict[float, list[tuple[float | None, str]]], grouped: dict[float, list[float | None]]
) -> list[str]:
    """The table of requests until a verdict."""
    rows = [
        "| true effect | test | found to be better | users per arm, median | 80 % within |",
        "|---|---|---|---|---|",
    ]
    horizon = f"{fixed_horizon(RATE, EFFECT):,.0f}"
    for effect, found in sequential.items():
        better = [size if outcome == Outcome.BETTER else None for size, outcome in found]
        said = f"{share(sum(one is not None for one in better), len(better))}"
        rows.append(f"| {effect:g}x | Serin | {said} | {_quantile(better, 0.5)} | {_quantile(better, 0.8)} |")
        bounded = grouped[effect]
        said = f"{share(sum(one is not None for one in bounded), len(bounded))}"
        spread = f"{_quantile(bounded, 0.5)} | {_quantile(bounded, 0.8)}"
        rows.append(f"| {effect:g}x | O'Brien-Fleming, 5 looks | {said} | {spread} |")
        power = stats.norm.cdf(2.802 * math.log(effect) / math.log(EFFECT) - 1.96)
        rows.append(f"| {effect:g}x | fixed horizon, one look | {100 * power:.0f} % | {horizon} | {horizon} |")
    return rows


def bandits(results: dict[str, list[Played]]) -> list[str]:
    """The table of bandits."""
    rows = [
        "| arms | winner found | the right one | hours, median | regret of an even split | of the best single arm |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        right = len(SLOTS[name].rates) - 1
        ended = [one for one in found if one.winner is not None]
        missed, even, fixed = ([getattr(one, key) for one in found] for key in ("missed", "even", "fixed"))
        differ = len(set(SLOTS[name].rates)) > 1
        regret = _times(missed, even) if differ else ""
        single = _times(missed, fixed) if differ and sum(fixed) else "it has none" if differ else ""
        correct = f"{sum(one.winner == right for one in ended)} of {len(ended)}" if differ and ended else ""
        hours = _quantile((one.hour for one in found), 0.5) if differ and SLOTS[name].stops else ""
        stopped = share(len(ended), len(found)) if SLOTS[name].stops else "(not stopped)"
        rows.append(f"| {name} | {stopped} | {correct} | {hours} | {regret} | {single} |")
    return rows


_SIZES, _SEEDS = 5, 4  # runs of these for each run of an A/A test

_PAGE = f"""# A/B tests and bandits, measured

Written by `make bench-analysis`; do not edit. In brackets: 95 % intervals. {{runs}} runs of each A/A test, {{sizes}} of
each test with an effect, {{seeds}} of each bandit; simulated in {{seconds:.0f}} s. More runs (`--runs`)
narrow the intervals.

## A/B tests without a difference

14 days, looked at every minute; {PER_MINUTE} requests a minute, more by day than by night; half of them to either arm,
{100 * RATE:.0f} % of them a success; promised are at most 5 %. Sticky: {USERS:,} users of very different activity (a
tenth of them sends half of the requests) and rates (6.5 percentage points of standard deviation), each in one arm for
all of the time. Blocks: the counter has a label with a hash of the user in {BLOCKS} values.

{{winners}}

With sticky users, a goal that is counted per request and without blocks of users **breaks the promise**: the difference
between the users that happened to fall to either arm is a true one, and stays for as long as they do. The scatter
between hours cannot see it. Count users, or give the counter a label with the user's block.

## Users until a verdict

Users counted once, {100 * RATE:.0f} % of stable's succeed, minimum detectable effect {EFFECT:g}x, 5 % false, 200 looks
in the time of the fixed test. That one has 80 % power at the minimum detectable effect, and may be looked at once.

{{requests}}

## Bandits

14 days, {PER_HOUR} requests an hour with days of their own size, an interval of an hour, minWeight 5, maxWeight 80,
maxStep 20, stopAt 0.95, minRequests 1000. Regret: rewards that were missed, beside those that an even split misses, and
beside the best single arm of the whole time.

{{played}}
"""


def main() -> None:
    """Simulate, print the page, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50, help="of each A/A test, about a second a run; more of others")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page")
    options = parser.parse_args()
    start, seeds, effects = time.monotonic(), range(options.runs), (EFFECT, 2 * EFFECT - 1)
    with Pool(options.processes) as pool:
        winners = false_winners(lambda name: pool.map(partial(false_winner, name), seeds, chunksize=5))
        many = range(_SIZES * options.runs)
        sequential = {one: pool.map(partial(until_better, one), many) for one in effects}
        grouped = {one: pool.map(partial(group_sequential, one), many) for one in effects}
        played = {name: pool.map(partial(play, name), range(_SEEDS * options.runs), chunksize=5) for name in SLOTS}
    text = _PAGE.format(
        winners="\n".join(winners),
        requests="\n".join(sizes(sequential, grouped)),
        played="\n".join(bandits(played)),
        seconds=time.monotonic() - start,
        runs=options.runs,
        sizes=_SIZES * options.runs,
        seeds=_SEEDS * options.runs,
    )
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "experiments-bench.md").write_text(text)


if __name__ == "__main__":
    main()
