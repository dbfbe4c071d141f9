"""How soon does a holdback of 1 % find a regression that begins an hour after the promotion, and how often a false one?

Prints the table of docs/analysis.md: `.venv/bin/python -m tests.bench.holdback`. A simulated day of 100 requests a
second, looked at every minute; 1 % of the version before fails, and as much of the promoted one until it gets worse.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from serin.analysis import engine
from serin.analysis.types import Arm, Policy, RatioTick
from serin.api.verdicts import FAILURES
from tests.bench.needed import STABLE

HELD_BACK: Final = 0.01
A_MINUTE: Final = 6_000  # requests
A_DAY: Final = 1_440  # minutes
BEGINS: Final = 60  # minutes after the promotion
RATE: Final = 0.01
RUNS: Final = {1.0: 1_000, 1.5: 300, 2.0: 300, 5.0: 300}  # days, by how many times as many requests fail then


def found(policy: Policy, dice: np.random.Generator, worse: float) -> int | None:
    """The minute of the day in which the promoted version is rolled back, None: it is not."""
    evidence = None
    for minute in range(A_DAY):
        before = int(dice.binomial(A_MINUTE, HELD_BACK))
        promoted = A_MINUTE - before
        rate = RATE * (worse if minute >= BEGINS else 1.0)
        arms = Arm(promoted, int(dice.binomial(promoted, rate))), Arm(before, int(dice.binomial(before, RATE)))
        judged = engine.fold(policy, evidence, RatioTick(60.0 * (minute + 1), *arms))
        if judged.verdict.verdict in FAILURES:
            return minute
        evidence = judged.evidence
    return None


def main() -> None:
    """Print the rows."""
    policy = replace(STABLE, expected_ticks=A_DAY, overdispersion=1.0)
    print("| worse | days | rolled back | median | nine tenths within |\n|---|---|---|---|---|")
    for worse, runs in RUNS.items():
        dice = np.random.default_rng(round(10 * worse))
        minutes = [found(policy, dice, worse) for _ in range(runs)]
        hits = [one - BEGINS for one in minutes if one is not None]
        late = [f"{np.quantile(hits, q):.0f} min" for q in (0.5, 0.9)] if worse > 1 else ["-", "-"]
        print(f"| {worse:g}x | {runs:,} | {len(hits) / runs:.1%} | {' | '.join(late)} |")


if __name__ == "__main__":
    main()
