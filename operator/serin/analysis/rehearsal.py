"""What would this policy do with this traffic? Rollouts are simulated, and judged by the engine that judges real ones.

Healthy candidates say how often one is rolled back all the same, and how long each step takes until its Pass. At the
start of every step a fork of the same rollout goes bad, which says how soon that step sees it. Nothing here is a
formula of its own: ticks are drawn at random, and everything else is the engine's answer to them (prospect.py has the
formulas, which are good to about a third and cost microseconds; a test holds the two against each other).

Simplified, and what it costs: looks get longer with the time since a step began (a seventh of it, and the interval at
least), because a long bake has thousands of looks. Evidence hardly depends on how it is cut, but times are only good to
a seventh, and fewer looks raise slightly fewer false alarms. Requests are independent of each other: bursts make sights
and Passes later, which is what `overdispersion` in the policy stands for. The seconds that the router and Prometheus
take are not in the times. Only what is counted can be rehearsed: shares of bad requests, and latencies.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr

from serin.analysis import engine
from serin.analysis.evidence import Kind
from serin.analysis.hypergeometric import Floats
from serin.analysis.latency import choose_bounds
from serin.analysis.traffic import Stage, Traffic
from serin.analysis.types import Arm, HistogramTick, Policy, RatioTick
from serin.api.verdicts import Against, Verdict

Counts = NDArray[np.int64]

TROUBLED_SHARE: Final = 0.20  # of bad requests: the trouble that nobody overlooks
FACTORS: Final = (2.0, 5.0)
SLOW_SHARE: Final = 0.02  # of requests that take ten times as long
POWER: Final = 0.8  # a step can see what it catches in so many of its bakes
GROWTH: Final = 0.15  # looks last this share of the time since the step began
LONGEST: Final = 30 * 86400.0  # seconds after which a step that has not passed never does


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One metric and the world that it is rehearsed in.

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
    def question(self) -> engine.Question:
        """What the engine asks of its ticks."""
        compared = Kind.LATENCY if self.bounds else Kind.RATIO
        return engine.QUESTIONS[Kind.LIMIT if self.policy.against is Against.LIMIT else compared]

    def tick(self, at: float, candidate: Counts, stable: Counts) -> RatioTick | HistogramTick:
        """The tick of these counts."""
        if not self.bounds:
            return RatioTick(at, *(Arm(int(arm.sum()), int(arm[1])) for arm in (candidate, stable)))
        return HistogramTick(at, self.bounds, tuple(candidate.tolist()), tuple(stable.tolist()), self.unit)


def ratio(policy: Policy, traffic: Traffic) -> Rehearsed:
    """A share of bad requests, and candidates with the detectable effect, two and five times as many, and a fifth.

    Troubles that would not be worse than what stable has are left out.
    """
    rate, bad = traffic.rate, traffic.bad
    factors = sorted({policy.minimum_detectable_effect, *FACTORS})
    shares = {increase(factor): factor * bad for factor in factors}
    shares |= {f"{100 * TROUBLED_SHARE:g}% bad": TROUBLED_SHARE}
    worse = {name: np.array([1.0 - share, share]) for name, share in shares.items() if bad < share <= 1.0}
    return Rehearsed(policy, rate, np.array([1.0 - bad, bad]), worse)


def increase(factor: float) -> str:
    """The name of the trouble of `factor` times as many bad requests."""
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
    """What one step sees of a trouble that begins with it.

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
    progress: Callable[[], None] = lambda: None,
) -> Rehearsal:
    """Simulate `runs` rollouts. `metrics`: critical and major ones. `interval`: seconds between looks.

    `longest`: seconds after which a rollout is given up (maxDuration). The same seed gives the same answer. `progress`
    is called after every run.
    """
    rng, healthy = np.random.default_rng(seed), {one.policy.metric: one.healthy for one in metrics}
    walks: list[_Walk] = []
    caught: dict[tuple[int, str, str], list[_Walk]] = {}
    for _ in range(runs):
        world = _World(rng, interval, longest)
        walk = world.walk(metrics, healthy, stages, {})
        walks.append(walk)
        for index, states in enumerate(walk.starts):
            for one in metrics:
                for trouble, shares in one.troubles.items():
                    name = one.policy.metric
                    fork = world.walk((one,), {name: shares}, stages[index:], states)
                    caught.setdefault((index, name, trouble), []).append(fork)
        progress()
    ordered = sorted(caught.items(), key=lambda item: item[0][0])  # by step; the rest as it was asked
    return Rehearsal(
        runs,
        sum(one.failed is not None for one in walks),
        sum(one.failed is None and len(one.passed) < len(stages) for one in walks),
        tuple(_sight(stages[index], name, trouble, found) for (index, name, trouble), found in ordered),
        tuple(_passing(stage, index, walks) for index, stage in enumerate(stages)),
    )


@dataclass(slots=True)
class _Walk:
    """One rollout: states at the start of each step, seconds that each step took, where and when it failed."""

    starts: list[dict[str, Any]] = field(default_factory=list)
    passed: list[float] = field(default_factory=list)
    failed: tuple[float, int] | None = None  # seconds and candidate requests since the start of the walk


@dataclass(frozen=True, slots=True)
class _World:
    """Draws ticks and lets the engine judge them. States are immutable, so that a fork costs nothing."""

    rng: np.random.Generator
    interval: float
    longest: float

    def walk(
        self,
        metrics: Sequence[Rehearsed],
        shares: Mapping[str, Floats],
        stages: Sequence[Stage],
        states: Mapping[str, Any],
    ) -> _Walk:
        """One rollout from the first of `stages` on; `shares`: how the candidate's requests fall, by metric."""
        walk, now, seconds, requests = _Walk(), dict(states), 0.0, 0
        start = max((state.at for state in now.values()), default=0.0)
        for stage in stages:
            walk.starts.append(dict(now))
            before = requests
            for length, elapsed in _looks(self.interval, stage.bake):
                at, each = start + seconds + elapsed, []
                for one in metrics:
                    each.append(self._look(one, shares[one.policy.metric], now, stage, length, at))
                requests += max(each)
                if any(now[one.policy.metric].failed for one in metrics if one.policy.metric in now):
                    walk.failed = seconds + elapsed, requests
                    return walk
                enough = elapsed >= stage.bake and requests - before >= stage.min_requests
                if enough and all(_passes(one, now, at) for one in metrics):
                    break
                if seconds + elapsed >= self.longest:
                    return walk
            seconds += elapsed
            walk.passed.append(elapsed)
        return walk

    def _look(
        self, one: Rehearsed, shares: Floats, states: dict[str, Any], stage: Stage, length: float, at: float
    ) -> int:
        """Draw one tick and fold it into the metric's state; the candidate's requests in it."""
        candidate, stable = self.rng.poisson(one.rate * length * np.array([stage.share, 1.0 - stage.share]))
        if not candidate + stable:
            return 0  # no traffic: the engine is not asked
        drawn = self.rng.multinomial(candidate, shares), self.rng.multinomial(stable, one.healthy)
        tick = one.tick(at, *drawn)
        ticks = max(1, round(one.policy.expected_ticks * self.interval / length))
        policy = _paced(one.policy, ticks)
        states[policy.metric] = one.question.fold(policy, states.get(policy.metric), tick)
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
    return fresh and one.question.judge(one.policy, state).verdict is Verdict.PASS


def _sight(stage: Stage, metric: str, trouble: str, walks: Sequence[_Walk]) -> Sight:
    inside = [one.failed if one.failed and one.failed[0] <= stage.bake else None for one in walks]
    return Sight(
        stage.number,
        metric,
        trouble,
        sum(one is not None for one in inside) / len(walks),
        Spread.of([math.inf if one is None else one[0] for one in inside]),
        Spread.of([math.inf if one is None else float(one[1]) for one in inside]),
        sum(one.failed is not None for one in walks) / len(walks),
    )


def _passing(stage: Stage, index: int, walks: Sequence[_Walk]) -> Passing:
    """Over the rollouts that came to this step and were not rolled back in it; none did: never."""
    reached = [one for one in walks if len(one.starts) > index and (one.failed is None or len(one.passed) > index)]
    seconds = [one.passed[index] if len(one.passed) > index else math.inf for one in reached]
    return Passing(stage.number, Spread.of(seconds or [math.inf]))
