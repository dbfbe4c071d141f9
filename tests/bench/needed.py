"""How good is "about N more candidate requests are needed"? Against what was really needed, over many seeds.

Prints the tables of docs/analysis.md: `.venv/bin/python -m tests.bench.needed`. Both versions are alike, a look comes
with every 100 requests, and what is compared with what was really needed is all of it: the candidate's requests
so far and those that are said to be needed yet.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final

import numpy as np

from serin.analysis import latency, means, ratio, slo, two_sample
from serin.analysis.types import Arm, DistributionTick, HistogramTick, MeanTick, Moments, Policy, RatioTick, Tick
from serin.api.verdicts import Against, Severity, Verdict
from tests.bench.analysis_scenarios import BUCKETS
from tests.bench.analysis_worlds import SPREAD

RATES = (0.0, 0.001, 0.005, 0.02, 0.1)
SHARES = (0.05, 0.25, 0.5)
PARTS = (0.1, 0.25, 0.5, 0.75)
STABLE = Policy("errors", Severity.CRITICAL)
LIMIT = Policy("errors", Severity.CRITICAL, Against.LIMIT, limit=0.01)
SLOWNESS = Policy("latency", Severity.MAJOR)
COST = Policy("cost", Severity.MAJOR)
ANSWERS = Policy("answers", Severity.MAJOR)
A_LOOK = 100
_MOST_LOOKS = 4000

Draw = Callable[[np.random.Generator, float, Sequence[int]], Tick]  # dice, time, requests of candidate and stable


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured of two versions that are alike. `module`: of analysis."""

    policy: Policy
    module: ModuleType
    draw: Draw


def errors(rate: float, policy: Policy = STABLE) -> Metric:
    """`rate`: the share of requests that fail."""

    def draw(dice: np.random.Generator, at: float, requests: Sequence[int]) -> Tick:
        return RatioTick(at, *(Arm(one, int(dice.binomial(one, rate))) for one in requests))

    return Metric(policy, slo if policy.against is Against.LIMIT else ratio, draw)


def seconds(spread: float = SPREAD) -> Metric:
    """Log-normal times around 100 ms in the router's buckets. `spread`: standard deviation of the logarithm."""

    def counts(dice: np.random.Generator, requests: int) -> tuple[int, ...]:
        times = 0.1 * np.exp(spread * dice.standard_normal(requests))
        return tuple(np.bincount(np.searchsorted(BUCKETS, times), minlength=len(BUCKETS) + 1).tolist())

    def draw(dice: np.random.Generator, at: float, requests: Sequence[int]) -> Tick:
        return HistogramTick(at, BUCKETS, *(counts(dice, one) for one in requests), "s", at - 1.0, 0.0)

    return Metric(SLOWNESS, latency, draw)


def costs(variation: float) -> Metric:
    """Log-normal numbers. `variation`: standard deviation over mean."""
    spread = float(np.sqrt(np.log1p(variation**2)))

    def draw(dice: np.random.Generator, at: float, requests: Sequence[int]) -> Tick:
        totals = (float(np.exp(spread * dice.standard_normal(one)).sum()) for one in requests)
        return MeanTick(at, *(Moments(one, total) for one, total in zip(requests, totals, strict=True)))

    return Metric(COST, means, draw)


def answers(categories: int) -> Metric:
    """As many answers of one kind as of another."""

    def draw(dice: np.random.Generator, at: float, requests: Sequence[int]) -> Tick:
        shares = np.full(categories, 1.0 / categories)
        return DistributionTick(at, *(tuple(dice.multinomial(one, shares).tolist()) for one in requests), ordered=True)

    return Metric(ANSWERS, two_sample, draw)


@dataclass(frozen=True, slots=True)
class Said:
    """What was said on the way to a Pass: the candidate's requests at each look, and how many more were needed."""

    requests: tuple[int, ...]
    needed: tuple[int, ...]
    passed: int

    def of_the_whole(self, part: float) -> float:
        """What was said to be needed in all, over what was, when so much of it had come."""
        at = min(range(len(self.requests)), key=lambda one: abs(self.requests[one] - part * self.passed))
        return (self.requests[at] + self.needed[at]) / self.passed


def rollouts(of: Metric, share: float, seeds: int) -> Iterator[Said]:
    """Rollouts of healthy candidates that have passed, but those that passed at the first look or failed."""
    for seed in range(seeds):
        if (found := _rollout(of, share, seed)) is not None:
            yield found


def _rollout(of: Metric, share: float, seed: int) -> Said | None:
    dice = np.random.default_rng(seed)
    state, said = None, []
    for look in range(1, _MOST_LOOKS):
        requests = [int(dice.poisson(A_LOOK * one)) for one in (share, 1.0 - share)]
        state = of.module.fold(of.policy, state, of.draw(dice, float(look), requests))
        verdict = of.module.judge(of.policy, state)
        if verdict.verdict is Verdict.PASS:
            return Said(*zip(*said, strict=True), verdict.requests) if said else None  # type: ignore[arg-type]
        if verdict.verdict in (Verdict.FAIL_MINOR, Verdict.FAIL_CRITICAL):
            return None
        if verdict.requests and verdict.needed is not None:
            said.append((verdict.requests, verdict.needed))
    return None


def spread(found: Sequence[Said], part: float) -> tuple[float, float, float]:
    """Tenth, half and nine tenths of the rollouts' ratios."""
    low, middle, high = np.quantile([one.of_the_whole(part) for one in found], (0.1, 0.5, 0.9))
    return float(low), float(middle), float(high)


ROWS: Final = {
    "stable's share": [(f"{rate:.1%}", errors(rate)) for rate in RATES],
    "latency, spread of its logarithm": [(f"{one:g}", seconds(one)) for one in (0.2, SPREAD, 1.0)],
    "mean, standard deviation over it": [(f"{one:g}", costs(one)) for one in (0.5, 2.0, 5.0)],
    "answers, categories": [(f"{one}", answers(one)) for one in (2, 10)],
}


def main() -> None:
    """Print the tables."""
    for title, rows in ROWS.items():
        print(f"| {title} | the candidate gets | needed (median) |", " | ".join(f"at {one:.0%}" for one in PARTS), "|")
        print("|---|---|---|" + "---|" * len(PARTS))
        for line in _lines(rows):
            print(line)
        print()


def _lines(rows: Iterable[tuple[str, Metric]]) -> Iterator[str]:
    for name, metric in rows:
        for share in SHARES:
            found = list(rollouts(metric, share, 300))
            cells = (f"{mid:.2f} ({low:.2f} to {high:.2f})" for low, mid, high in (spread(found, p) for p in PARTS))
            needed = int(np.median([one.passed for one in found]))
            yield f"| {name} | {share:.0%} | {needed:,} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
