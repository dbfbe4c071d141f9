"""Worlds in which a good candidate is slow, and not by its own doing: cold, on a slow node, beside a neighbour.

Five stable pods and one of the candidate, each on a node of its own; a look every ten seconds for half an hour, and the
hour before, from which the operator reads how much stable's pods differ.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from serin.analysis.between_pods import slowest
from serin.analysis.types import HistogramTick, Moments
from tests.bench.analysis_scenarios import BUCKETS, HISTORY, LOOKS, PODS, SECONDS

END = float(LOOKS * SECONDS)
CANDIDATE = PODS  # its place among the pods
SPREAD = 0.504  # standard deviation of a log-normal latency's logarithm, with a median of 100 ms


@dataclass(frozen=True, slots=True)
class World:
    """`rate`: requests a second, a tenth of them the candidate's. `warmup`: of the policy, in seconds.

    `cold`: seconds for which the candidate is twice as slow. `slow_node`: how many times as slow the nodes of the
    candidate and of one stable pod are. `every`: mean seconds between two neighbours of a node, each of which makes it
    twice as slow for two minutes; 0: none.
    """

    rate: float
    warmup: float = 30.0
    cold: float = 0.0
    slow_node: float = 1.0
    every: float = 0.0

    def draw(self, rng: np.random.Generator) -> "Drawn":
        """One run of this world."""
        return Drawn(self, rng, [self._neighbours(rng) for _ in range(PODS + 1)])

    def _neighbours(self, rng: np.random.Generator) -> list[float]:
        """When they come, from the beginning of the history on."""
        if not self.every:
            return []
        gaps = rng.exponential(self.every, int(3.0 * (END + 60.0 * HISTORY) / self.every) + 20)
        return [float(one) for one in np.cumsum(gaps) - 60.0 * HISTORY if one < END]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One run: what each node goes through is fixed, requests are drawn as they are asked for."""

    world: World
    rng: np.random.Generator = field(repr=False)
    neighbours: Sequence[Sequence[float]]

    def factor(self, pod: int, at: float) -> float:
        """How many times as slow a pod is at a moment."""
        times = self.world.slow_node if pod in (0, CANDIDATE) else 1.0
        if pod == CANDIDATE and 0.0 <= at < self.world.cold:
            times *= 2.0
        return times * (2.0 if any(begin <= at < begin + 120.0 for begin in self.neighbours[pod]) else 1.0)

    def slowest_pod(self) -> float:
        """What the operator would read from stable's pods over the hour before."""
        return slowest([[self._minute(pod, minute) for minute in range(HISTORY)] for pod in range(PODS)])

    def _minute(self, pod: int, minute: int) -> Moments:
        requests = int(self.rng.poisson(60.0 * self.world.rate / PODS))
        at = 60.0 * (minute - HISTORY)
        return Moments(requests, float(self._seconds(requests, self.factor(pod, at)).sum()))

    def ticks(self) -> Iterator[HistogramTick]:
        """The half hour."""
        for look in range(LOOKS):
            since = float(look * SECONDS)
            candidate = self._counts(CANDIDATE, 0.1, since)
            stable = np.sum([self._counts(pod, 0.9 / PODS, since) for pod in range(PODS)], axis=0)
            yield HistogramTick(
                since + SECONDS, BUCKETS, tuple(candidate.tolist()), tuple(stable.tolist()), "s", since, 0.0
            )

    def _counts(self, pod: int, share: float, since: float) -> np.ndarray:
        requests = int(self.rng.poisson(self.world.rate * share * SECONDS))
        seconds = self._seconds(requests, self.factor(pod, since + SECONDS / 2.0))
        return np.bincount(np.searchsorted(BUCKETS, seconds), minlength=len(BUCKETS) + 1)

    def _seconds(self, requests: int, times: float) -> np.ndarray:
        found: np.ndarray = 0.1 * times * np.exp(SPREAD * self.rng.standard_normal(requests))
        return found
