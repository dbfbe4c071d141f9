"""How good is "about N more candidate requests are needed"? Against what was really needed, over many seeds.

Prints the table of docs/analysis.md: `.venv/bin/python -m tests.bench.needed`. Both versions fail alike, a look comes
with every 100 requests, and what is compared with what was really needed is all of it: the candidate's requests
so far and those that are said to be needed yet.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from serin.analysis import ratio, slo
from serin.analysis.types import Arm, Policy, RatioTick
from serin.api.verdicts import Against, Severity, Verdict

RATES = (0.0, 0.001, 0.005, 0.02, 0.1)
SHARES = (0.05, 0.25, 0.5)
PARTS = (0.1, 0.25, 0.5, 0.75)
STABLE = Policy("errors", Severity.CRITICAL)
LIMIT = Policy("errors", Severity.CRITICAL, Against.LIMIT, limit=0.01)
A_LOOK = 100
_MOST_LOOKS = 4000


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


def rollouts(rate: float, share: float, seeds: int, policy: Policy = STABLE) -> Iterator[Said]:
    """Rollouts of healthy candidates that have passed, but those that passed at the first look or failed."""
    for seed in range(seeds):
        if (found := _rollout(rate, share, seed, policy)) is not None:
            yield found


def _rollout(rate: float, share: float, seed: int, policy: Policy) -> Said | None:
    dice = np.random.default_rng(seed)
    module = slo if policy.against is Against.LIMIT else ratio
    state, said = None, []
    for look in range(1, _MOST_LOOKS):
        arms = [int(dice.poisson(A_LOOK * one)) for one in (share, 1.0 - share)]
        tick = RatioTick(float(look), *(Arm(one, int(dice.binomial(one, rate))) for one in arms))
        state = module.fold(policy, state, tick)  # type: ignore[arg-type]
        verdict = module.judge(policy, state)  # type: ignore[arg-type]
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


def main() -> None:
    """Print the table."""
    print(
        "| stable's share | the candidate gets | needed (median) |", " | ".join(f"at {one:.0%}" for one in PARTS), "|"
    )
    print("|---|---|---|" + "---|" * len(PARTS))
    for rate in RATES:
        for share in SHARES:
            found = list(rollouts(rate, share, 300))
            cells = [
                f"{middle:.2f} ({low:.2f} to {high:.2f})" for low, middle, high in (spread(found, p) for p in PARTS)
            ]
            needed = int(np.median([one.passed for one in found]))
            print(f"| {rate:.1%} | {share:.0%} | {needed:,} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
