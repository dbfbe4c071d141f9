"""How well slices are judged: false rollbacks over the number of values, requests until a bad one is found.

Judged by analysis/engine.py as in the operator. Run by `make bench-analysis`; writes docs/slices-bench.md.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from scipy import stats

from serin.analysis import engine
from serin.analysis.sliced import JUDGEMENTS
from serin.analysis.types import Arm, Policy, RatioTick, SlicedTick
from serin.api.verdicts import FAILURES, Severity

LOOKS, SECONDS, PER_SECOND, SHARE, RATE = 90, 20, 50, 0.1, 0.01
ROLLOUTS = 200
ALPHA_MINOR, ALPHA_CRITICAL = 0.05, 0.01
WHOLE = Policy("wrong", Severity.MAJOR, alpha_minor=ALPHA_MINOR, alpha_critical=ALPHA_CRITICAL, expected_ticks=LOOKS)
SLICED = replace(WHOLE, alpha_minor=ALPHA_MINOR / JUDGEMENTS, alpha_critical=ALPHA_CRITICAL / JUDGEMENTS, by="country")


@dataclass(frozen=True, slots=True)
class World:
    """Requests of `values` countries, the most frequent ones first; `bad`: the candidate's rate in some, by place.

    `spread`: how far rates of countries differ, as the standard deviation of their logarithms: in both versions alike.
    """

    values: int
    bad: Mapping[int, float]
    spread: float = 0.0

    def ticks(self, rng: np.random.Generator) -> list[SlicedTick]:
        """A look every 20 s for half an hour."""
        popular = 1.0 / np.arange(1, self.values + 1)
        popular /= popular.sum()
        stable = np.minimum(0.5, RATE * np.exp(rng.normal(0.0, self.spread, self.values)))
        candidate = stable.copy()
        for place, rate in self.bad.items():
            candidate[place] = rate
        return [self._tick(rng, SECONDS * (look + 1.0), popular, candidate, stable) for look in range(LOOKS)]

    def _tick(
        self, rng: np.random.Generator, at: float, popular: np.ndarray, candidate: np.ndarray, stable: np.ndarray
    ) -> SlicedTick:
        arms = []
        for share, rates in ((SHARE, candidate), (1.0 - SHARE, stable)):
            requests = rng.poisson(SECONDS * PER_SECOND * share * popular)
            arms.append((requests, rng.binomial(requests, rates)))
        whole = RatioTick(at, *(Arm(int(requests.sum()), int(bad.sum())) for requests, bad in arms))
        slices = {
            f"c{place}": tuple(Arm(int(requests[place]), int(bad[place])) for requests, bad in arms)
            for place in range(self.values)
            if arms[0][0][place] + arms[1][0][place]
        }
        return SlicedTick(at, whole, slices)  # type: ignore[arg-type]


HEALTHY = {
    "1 value": World(1, {}),
    "3 values": World(3, {}),
    "8 values": World(8, {}),
    "30 values": World(30, {}),
    "1,000 values": World(1_000, {}),
    "8 values whose rates differ 3 times and more": World(8, {}, spread=1.0),
}
ILL = {
    "the largest of 8 (37 %) fails 5 % instead of 1 %": World(8, {0: 0.05}),
    "the third of 8 (12 %) fails 20 %": World(8, {2: 0.2}),
    "the third of 8 (12 %) fails 4 %": World(8, {2: 0.04}),
    "the smallest of 8 (5 %) fails 20 %": World(8, {7: 0.2}),
    "all of 8 fail 5 %": World(8, dict.fromkeys(range(8), 0.05)),
}


def rolled_back(world: World, policy: Policy, seed: int) -> float:
    """Requests of the candidate until the rollback; infinite: none within half an hour."""
    found = None
    for tick in world.ticks(np.random.default_rng(seed)):
        found = engine.fold(policy, found.evidence if found else None, tick if policy.by else tick.whole)
        if found.verdict.verdict in FAILURES:
            return float(found.verdict.requests)
    return math.inf


def _share(hits: int, of: int) -> str:
    low, high = stats.binomtest(hits, of).proportion_ci(method="exact")
    return f"{hits / of:.2%} ({low:.2%} to {high:.2%})".replace("%", " %")


def _median(found: list[float]) -> str:
    middle = float(np.median(found))
    return "none in half an hour" if math.isinf(middle) else f"{middle:,.0f}"


def main() -> None:
    """Simulate, and write the table."""
    rows = []
    with Pool(int(os.environ.get("PROCESSES", "2"))) as pool:
        for name, world in (HEALTHY | ILL).items():
            one, other = (
                pool.map(partial(rolled_back, world, policy), range(ROLLOUTS), 10) for policy in (SLICED, WHOLE)
            )
            rows.append((name, one, other))
            print(name, *(sum(map(math.isfinite, found)) for found in (one, other)), flush=True)
    lines = [
        "# Slices, measured",
        "",
        "Written by `make bench-analysis`; do not edit. A ratio with `by`, and the same ratio without. "
        f"{PER_SECOND} requests/s, the candidate gets {SHARE:.0%}, {RATE:.0%} of the requests fail, a look every "
        f"{SECONDS} s for half an hour; the n-th value has 1/n of the requests of the first. The promise is at most "
        f"{ALPHA_MINOR:.0%} false rollbacks. {ROLLOUTS} rollouts of each; in brackets: 95 % intervals.".replace(
            "%", " %"
        ).replace("  %", " %"),
        "",
        "## No difference: false rollbacks",
        "",
        "| label | with `by` | without |",
        "|---|---|---|",
    ]
    found = {name: (one, other) for name, one, other in rows}
    for name in HEALTHY:
        shares = (_share(sum(map(math.isfinite, one)), ROLLOUTS) for one in found[name])
        lines.append(f"| {name} | {' | '.join(shares)} |")
    lines += [
        "",
        "## A bad slice: the candidate's requests until the rollback, median",
        "",
        "| what | with `by` | rolled back | without | rolled back |",
        "|---|---|---|---|---|",
    ]
    for name in ILL:
        cells = (f"{_median(one)} | {sum(map(math.isfinite, one)) / ROLLOUTS:.0%}" for one in found[name])
        lines.append(f"| {name} | {' | '.join(cells)} |".replace("%", " %").replace("  %", " %"))
    text = "\n".join(lines).replace("( %", "(%") + "\n"
    Path("docs/slices-bench.md").write_text(text)


if __name__ == "__main__":
    main()
