"""A traffic split: which snapshot answers which share of the requests. What every router is asked for, and reports."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Split:
    """Weights in whole percent per snapshot name.

    They sum to 100, or there are none: nothing can serve yet.
    Raises ValueError on anything else, so that a wrong split cannot be carried any further.
    """

    weights: Mapping[str, int]

    def __post_init__(self) -> None:
        negative = {name: weight for name, weight in self.weights.items() if weight < 0}
        total = sum(self.weights.values())
        if negative or total not in (0, 100):
            raise ValueError(f"a split's weights are 0 or more and sum to 100, got {dict(self.weights)} (sum {total})")

    def of(self, snapshot: str) -> int:
        """Weight of one snapshot in percent, 0 when it has none."""
        return self.weights.get(snapshot, 0)

    def serving(self) -> tuple[str, ...]:
        """Names of the snapshots that get traffic, sorted."""
        return tuple(sorted(name for name, weight in self.weights.items() if weight))


NOWHERE = Split({})


def all_to(snapshot: str) -> Split:
    """Every request to one snapshot."""
    return Split({snapshot: 100})


def between(stable: str, candidate: str, weight: int) -> Split:
    """`weight` percent to the candidate, the rest to stable."""
    if 0 < weight < 100:
        return Split({stable: 100 - weight, candidate: weight})
    return all_to(candidate if weight else stable)
