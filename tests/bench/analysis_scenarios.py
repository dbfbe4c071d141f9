"""The scenarios of the bench: 50 requests a second, a look every ten seconds for half an hour.

A scenario draws the counts of each look, and does not depend on what judges them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from serin.analysis.dispersion import overdispersion
from serin.analysis.types import Arm, DistributionTick, HistogramTick, RatioTick, ReferenceTick

LOOKS, SECONDS, PER_LOOK = 180, 10, 500
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)  # the Python client's
DECILES = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816])
PODS, HISTORY = 5, 60  # stable pods, and the minutes of their history

Rates = Callable[[float], float]  # share of bad requests at a moment between 0 and 1 of the run


@dataclass(frozen=True, slots=True)
class Ratio:
    """Requests that fail, in bursts or one by one. `pods`: of stable, by which the hour before is told apart."""

    candidate: Rates
    stable: Rates
    weight: Rates = lambda _: 0.1
    burst: int = 1
    pods: int = PODS

    def ticks(self, rng: np.random.Generator) -> Iterator[RatioTick]:
        """One run."""
        for look in range(LOOKS):
            moment = look / LOOKS
            weight = self.weight(moment)
            requests, others = (int(rng.poisson(PER_LOOK * share)) for share in (weight, 1.0 - weight))
            yield RatioTick(
                (look + 1.0) * SECONDS,
                Arm(requests, self._bad(rng, requests, self.candidate(moment))),
                Arm(others, self._bad(rng, others, self.stable(moment))),
            )

    def overdispersion(self, rng: np.random.Generator) -> float:
        """What the operator would read from the stable pods over the hour before the rollout."""
        each = PER_LOOK // SECONDS * 60 // self.pods
        rate = self.stable(0.0)
        minutes = range(HISTORY)
        return overdispersion([[Arm(each, self._bad(rng, each, rate)) for _ in minutes] for _ in range(self.pods)])

    def _bad(self, rng: np.random.Generator, requests: int, rate: float) -> int:
        return min(requests, self.burst * int(rng.binomial(requests, rate / self.burst)))


@dataclass(frozen=True, slots=True)
class Latency:
    """Log-normal latencies with a 99th percentile of 323 ms; the candidate is `times` slower, or a share of it is."""

    times: float = 1.0
    slow: float = 0.0  # share of the candidate's requests that takes ten times as long

    def ticks(self, rng: np.random.Generator) -> Iterator[HistogramTick]:
        """One run."""
        for look in range(LOOKS):
            candidate = self._draw(rng, int(rng.poisson(0.1 * PER_LOOK)), self.times, self.slow)
            stable = self._draw(rng, int(rng.poisson(0.9 * PER_LOOK)), 1.0, 0.0)
            yield HistogramTick((look + 1.0) * SECONDS, BUCKETS, candidate, stable)

    @staticmethod
    def _draw(rng: np.random.Generator, requests: int, times: float, slow: float) -> tuple[int, ...]:
        seconds = 0.1 * times * np.exp(0.504 * rng.standard_normal(requests))
        seconds = np.where(rng.random(requests) < slow, 10.0 * seconds, seconds)
        return _histogram(np.searchsorted(BUCKETS, seconds), len(BUCKETS) + 1)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Scores in ten buckets; `shift` moves the candidate, `drift` both arms (standard deviations)."""

    shift: float = 0.0
    drift: float = 0.0

    def ticks(self, rng: np.random.Generator) -> Iterator[DistributionTick]:
        """One run, candidate against stable."""
        for look in range(LOOKS):
            drift = self.drift * look / LOOKS
            candidate = _scores(rng, int(rng.poisson(0.1 * PER_LOOK)), self.shift + drift)
            stable = _scores(rng, int(rng.poisson(0.9 * PER_LOOK)), drift)
            yield DistributionTick((look + 1.0) * SECONDS, candidate, stable, ordered=True)


@dataclass(frozen=True, slots=True)
class Live:
    """Scores of live traffic, moved by `drift`, beside a reference of 20,000 requests."""

    drift: float

    def ticks(self, rng: np.random.Generator) -> Iterator[ReferenceTick]:
        """One run."""
        reference = _scores(rng, 20_000, 0.0)
        for look in range(LOOKS):
            yield ReferenceTick((look + 1.0) * SECONDS, _scores(rng, int(rng.poisson(PER_LOOK)), self.drift), reference)


Scenario = Ratio | Latency | Predictions | Live


def always(rate: float) -> Rates:
    """A share of bad requests that never changes."""
    return lambda _: rate


def ramp(moment: float) -> float:
    """Weights 5, 10, 25, 50 %, a quarter of the run each."""
    return (0.05, 0.10, 0.25, 0.50)[int(4 * moment)]


def climb(moment: float) -> float:
    """A common rate that goes from 0.5 to 3 %."""
    return 0.005 + 0.025 * moment


def later(moment: float) -> float:
    """1 % for the first half of the run, 5 % after."""
    return 0.01 if moment < 0.5 else 0.05


def _scores(rng: np.random.Generator, requests: int, shift: float) -> tuple[int, ...]:
    return _histogram(np.searchsorted(DECILES, rng.standard_normal(requests) + shift), DECILES.size + 1)


def _histogram(where: np.ndarray, buckets: int) -> tuple[int, ...]:
    return tuple(np.bincount(where, minlength=buckets).tolist())
