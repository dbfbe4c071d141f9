"""What would this policy do with this traffic? Rollouts are simulated, and judged by the engine that judges real ones.

Healthy candidates show how often one is rolled back all the same, and how long each step takes until its Pass. At the
start of every step a copy of the same rollout goes bad, which shows how soon that step sees it. There are no formulas
here: ticks are drawn at random, and everything else is the engine's answer to them (feasibility.py has formulas, which
are good to about a third and cost microseconds; a test compares the two).

Simplified, and what follows from it: looks get longer with the time since a step began (a seventh of it, and the
interval at least), because a long bake has thousands of looks. Evidence hardly depends on how it is cut, but times are
only good to a seventh, and fewer looks raise slightly fewer false alarms. Requests are independent of each other:
bursts make sights and Passes later, which is what `overdispersion` in the policy is for. The seconds that the router
and Prometheus take are not in the times. Only what is counted can be rehearsed: shares of bad requests, and latencies.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr

from serin.analysis import engine
from serin.analysis.buckets import choose_bounds
from serin.analysis.evidence import Kind
from serin.analysis.hypergeometric import Floats
from serin.analysis.traffic import Stage, Traffic
from serin.analysis.types import Arm, HistogramTick, Policy, RatioTick
from serin.api.verdicts import Against, Verdict

Counts = NDArray[np.int64]
_Key = tuple[int, str, str]  # index of a step, metric, trouble

BAD_SHARE: Final = 0.20  # of bad requests, whatever stable has: a regression that every step should see
FACTORS: Final = (2.0, 5.0)
SLOW_SHARE: Final = 0.02  # of requests that take ten times as long
POWER: Final = 0.8  # a step can see what it catches in so many of its bakes
GROWTH: Final = 0.15  # looks last this share of the time since the step began
LONGEST: Final = 30 * 86400.0  # seconds after which a step that has not passed never does


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One metric, its traffic, and the candidates that it is rehearsed with.

    `rate`: requests per second of both versions that it counts. `healthy`: how requests fall, as shares that sum to 1:
    (good, bad), or one per histogram bucket. `troubles`: the same for candidates that are worse. `bounds`: none for
    ratios.
    """

    policy: Policy
    rate: float
    healthy: Floats
    troubles: Mapping[str, Floats]
    bounds: tuple[float, ...] = ()
    unit: str = "s"

    @property
    def method(self) -> engine.Method:
        """The method that judges its ticks."""
        compared = Kind.LATENCY if self.bounds else Kind.RATIO
        return engine.METHODS[Kind.LIMIT if self.policy.against is Against.LIMIT else compared]

    def tick(self, at: float, candidate: Counts, stable: Counts) -> RatioTick | HistogramTick:
        """The tick of these counts."""
        if not self.bounds:
            return RatioTick(at, *(Arm(int(arm.sum()), int(arm[1])) for arm in (candidate, stable)))
        return HistogramTick(at, self.bounds, tuple(candidate.tolist()), tuple(stable.tolist()), self.unit)


def ratio(policy: Policy, traffic: Traffic) -> Rehearsed:
    """A share of bad requests, and candidates with the detectable effect, two and five times as many, and a fifth.

    Candidates that would not be worse than stable are left out.
    """
    rate, bad = traffic.rate, traffic.bad
    factors = sorted({policy.minimum_detectable_effect, *FACTORS})
    shares = {increase(factor): factor * bad for factor in factors}
    shares |= {f"{100 * BAD_SHARE:g}% bad": BAD_SHARE}
    worse = {name: np.array([1.0 - share, share]) for name, share in shares.items() if bad < share <= 1.0}
    return Rehearsed(policy, rate, np.array([1.0 - bad, bad]), worse)


def increase(factor: float) -> str:
    """The name of a candidate with `factor` times as many bad requests."""
    return f"a {factor:g}x increase"


def latency(
    policy: Policy, rate: float, bounds: tuple[float, ...], *, median: float, spread: float, unit: str
) -> Rehearsed:
    """Log-normal latencies: `median` in `unit`, `spread` the standard deviation of the logarithm.

    Of the buckets only those are drawn that the engine would keep.
    """

    def buckets(slower: float) -> Floats:
        below = ndtr(np.log(np.array(bounds) / (median * slower)) / spread)
        return np.diff(np.concatenate([[0.0], below, [1.0]]))

    bounds = choose_bounds(bounds, buckets(1.0))
    tail = (1.0 - SLOW_SHARE) * buckets(1.0) + SLOW_SHARE * buckets(10.0)
    troubles = {"a doubling": buckets(2.0), f"{100 * SLOW_SHARE:g}% of them 10x slower": tail}
    return Rehearsed(policy, rate, buckets(1.0), troubles, bounds, unit)


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 95th percentile over all runs; infinite: not in this time."""

    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value, by order statistics."""
        ordered = sorted(values)
        return cls(*(ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95)))


@dataclass(frozen=True, slots=True)
class Sight:
    """How soon one step sees a candidate that goes bad when the step begins; `trouble`: in which way.

    `caught`: share of the runs in which it is caught within the step's bake, `seconds` and `requests` (the
    candidate's, since the step began) until then. `before_promotion`: share caught in this step or a later one.
    """

    step: int
    metric: str
    trouble: str
    caught: float
    seconds: Spread
    requests: Spread
    before_promotion: float

    @property
    def seen(self) -> bool:
        """Whether the step can see it."""
        return self.caught >= POWER


@dataclass(frozen=True, slots=True)
class Passing:
    """Seconds from the start of a step until every metric has passed and its bake is over; infinite: never."""

    step: int
    seconds: Spread


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The whole answer. Of `runs` healthy rollouts `rolled_back` ended by a false alarm, `unfinished` never."""

    runs: int
    rolled_back: int
    unfinished: int
    sights: tuple[Sight, ...]
    passing: tuple[Passing, ...]

    @property
    def false_rollback(self) -> tuple[float, float]:
        """95 % interval of the chance of a false rollback (Clopper & Pearson 1934)."""
        return proportion(self.rolled_back, self.runs)


def proportion(hits: int, runs: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a probability of which `hits` of `runs` were seen."""
    tail = 0.5 * (1.0 - level)
    low = float(betaincinv(hits, runs - hits + 1, tail)) if hits else 0.0
    return low, float(betaincinv(hits + 1, runs - hits, 1.0 - tail)) if hits < runs else 1.0


def rehearse(
    metrics: Sequence[Rehearsed],
    stages: Sequence[Stage],
    interval: float,
    *,
    runs: int = 100,
    seed: int = 0,
    longest: float = LONGEST,
) -> Rehearsal:
    """Simulate `runs` rollouts. `metrics`: critical and major ones. `interval`: seconds between looks.

    `longest`: seconds after which a rollout is rolled back (maxDuration). The same seed gives the same answer.
    """
    simulation = _Simulation(np.random.default_rng(seed), interval, longest)
    healthy = {one.policy.metric: one.healthy for one in metrics}
    rollouts: list[_Rollout] = []
    copies: dict[_Key, list[_Rollout]] = {}
    for _ in range(runs):
        rollouts.append(simulation.run(metrics, healthy, stages, {}))
        for key, copy in simulation.gone_bad(rollouts[-1], metrics, stages):
            copies.setdefault(key, []).append(copy)
    ordered = sorted(copies.items(), key=lambda item: item[0][0])  # by step; metrics and candidates as given
    return Rehearsal(
        runs,
        sum(one.failed is not None for one in rollouts),
        sum(one.failed is None and len(one.passed) < len(stages) for one in rollouts),
        tuple(_sight(stages[index], name, trouble, found) for (index, name, trouble), found in ordered),
        tuple(_passing(stage, index, rollouts) for index, stage in enumerate(stages)),
    )


@dataclass(slots=True)
class _Rollout:
    """One rollout: states at the start of each step, seconds that each step took, where and when it failed."""

    starts: list[dict[str, Any]] = field(default_factory=list)
    passed: list[float] = field(default_factory=list)
    failed: tuple[float, int] | None = None  # seconds and candidate requests since the start


@dataclass(frozen=True, slots=True)
class _Simulation:
    """Draws ticks and lets the engine judge them. States are immutable, so that a copy costs nothing."""

    rng: np.random.Generator
    interval: float
    longest: float

    def run(
        self,
        metrics: Sequence[Rehearsed],
        shares: Mapping[str, Floats],
        stages: Sequence[Stage],
        states: Mapping[str, Any],
    ) -> _Rollout:
        """One rollout from the first of `stages` on; `shares`: how the candidate's requests fall, by metric."""
        rollout, now, seconds, requests = _Rollout(), dict(states), 0.0, 0
        start = max((state.at for state in now.values()), default=0.0)
        for stage in stages:
            rollout.starts.append(dict(now))
            before = requests
            for length, elapsed in _looks(self.interval, stage.bake):
                at, each = start + seconds + elapsed, []
                for one in metrics:
                    each.append(self._look(one, shares[one.policy.metric], now, stage, length, at))
                requests += max(each)
                if any(now[one.policy.metric].failed for one in metrics if one.policy.metric in now):
                    rollout.failed = seconds + elapsed, requests
                    return rollout
                enough = elapsed >= stage.bake and requests - before >= stage.min_requests
                if enough and all(_passes(one, now, at) for one in metrics):
                    break
                if seconds + elapsed >= self.longest:
                    return rollout
            seconds += elapsed
            rollout.passed.append(elapsed)
        return rollout

    def gone_bad(
        self, rollout: _Rollout, metrics: Sequence[Rehearsed], stages: Sequence[Stage]
    ) -> Iterator[tuple[_Key, _Rollout]]:
        """Copies of the rollout that go bad with the start of a step: one for each step, metric and trouble."""
        for index, states in enumerate(rollout.starts):
            for one in metrics:
                name = one.policy.metric
                for trouble, shares in one.troubles.items():
                    yield (index, name, trouble), self.run((one,), {name: shares}, stages[index:], states)

    def _look(
        self, one: Rehearsed, shares: Floats, states: dict[str, Any], stage: Stage, length: float, at: float
    ) -> int:
        """Draw one tick and fold it into the metric's state; the candidate's requests in it."""
        candidate, stable = self.rng.poisson(one.rate * length * np.array([stage.share, stage.stable_share]))
        if not candidate + stable:
            return 0  # no traffic: the engine is not asked
        drawn = self.rng.multinomial(candidate, shares), self.rng.multinomial(stable, one.healthy)
        tick = one.tick(at, *drawn)
        ticks = max(1, round(one.policy.expected_ticks * self.interval / length))
        policy = _paced(one.policy, ticks)
        states[policy.metric] = one.method.fold(policy, states.get(policy.metric), tick)
        return int(candidate)


@lru_cache(maxsize=1024)
def _paced(policy: Policy, ticks: int) -> Policy:
    """The policy for looks so long that the rollout has this many."""
    return replace(policy, expected_ticks=ticks)


def _looks(interval: float, bake: float) -> Iterator[tuple[float, float]]:
    """Lengths of the looks of one step, and the time since it began at the end of each; one ends with the bake."""
    elapsed = 0.0
    while True:
        length = max(interval, interval * math.floor(GROWTH * elapsed / interval))
        if elapsed < bake < elapsed + length:
            length = bake - elapsed
        elapsed += length
        yield length, elapsed


def _passes(one: Rehearsed, states: Mapping[str, Any], at: float) -> bool:
    """Whether the metric is a Pass that this look has seen."""
    state = states.get(one.policy.metric)
    fresh = state is not None and state.at == at
    return fresh and one.method.judge(one.policy, state).verdict is Verdict.PASS


def _sight(stage: Stage, metric: str, trouble: str, rollouts: Sequence[_Rollout]) -> Sight:
    inside = [one.failed if one.failed and one.failed[0] <= stage.bake else None for one in rollouts]
    return Sight(
        stage.number,
        metric,
        trouble,
        sum(one is not None for one in inside) / len(rollouts),
        Spread.of([math.inf if one is None else one[0] for one in inside]),
        Spread.of([math.inf if one is None else float(one[1]) for one in inside]),
        sum(one.failed is not None for one in rollouts) / len(rollouts),
    )


def _passing(stage: Stage, index: int, rollouts: Sequence[_Rollout]) -> Passing:
    """Over the rollouts that came to this step and were not rolled back in it; none did: never."""
    reached = [one for one in rollouts if len(one.starts) > index and (one.failed is None or len(one.passed) > index)]
    seconds = [one.passed[index] if len(one.passed) > index else math.inf for one in reached]
    return Passing(stage.number, Spread.of(seconds or [math.inf]))
