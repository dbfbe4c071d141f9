"""How many times as much did one of stable's pods take as the others: on a slow node, or beside a neighbour?

A candidate often has a single pod, and what that pod's node does to its times looks like the version's doing. No test
on requests can tell the two apart, however many there are, because they all come from one pod. Stable's pods show how
far pods of one version are apart in this cluster, so that much more is let pass (latency.py, means.py).

A heuristic, with no guarantee: the worst that one of stable's pods was against the middle one in the past hour, in any
two or ten minutes. That covers what has happened to stable's pods within the hour; a node that is slower than any of
theirs still counts as the version. What chance explains does not count: a pod's ratio to the others changes from one
block of time to the next by chance, which tells how large that is (four standard deviations, because some 300 are
compared).
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from serin.analysis.hypergeometric import Floats
from serin.analysis.types import Moments

PODS: Final = 3  # fewer do not show how pods differ
BLOCKS: Final = (2, 10)  # minutes
FEWEST: Final = 20  # requests of a pod in a block
ENOUGH: Final = 5  # blocks that are compared with one before
BY_CHANCE: Final = 4.0  # standard deviations
MOST: Final = 4.0  # times: what is further apart is broken, not slow


def slowest(pods: Sequence[Sequence[Moments]], *, lower_is_worse: bool = False) -> float:
    """How many times stable's mean its worst pod has had, 1 or more; 1 when chance explains it, or too little is known.

    `pods`: for every stable pod its numbers in the same consecutive minutes (none while it did not run), an hour at
    most.
    `lower_is_worse`: the worst is the pod with the smallest mean.
    """
    if len(pods) < PODS or not pods[0]:
        return 1.0
    requests = np.array([[minute.requests for minute in pod] for pod in pods], dtype=np.float64)
    totals = np.array([[minute.total for minute in pod] for pod in pods], dtype=np.float64)
    sign = -1.0 if lower_is_worse else 1.0
    by_chance, found = 0.0, [0.0]
    for length in BLOCKS:
        ratios = _ratios(_sums(requests, length), _sums(totals, length))
        # Longer blocks vary less, by the square root; there are too few of them to say more than that.
        by_chance = max(_deviation(ratios, length), by_chance * math.sqrt(BLOCKS[0] / length))
        worst = float((sign * np.nan_to_num(ratios)).max(initial=0.0))
        if by_chance and worst > BY_CHANCE * by_chance:
            found.append(worst)
    return min(MOST, float(np.exp(max(found))))


def _sums(counts: Floats, length: int) -> Floats:
    """Sums over every `length` minutes in a row; shape (pods, how often that fits)."""
    totals = np.concatenate([np.zeros((counts.shape[0], 1)), counts.cumsum(axis=1)], axis=1)
    return np.asarray(totals[:, length:] - totals[:, :-length], dtype=np.float64)


def _ratios(requests: Floats, totals: Floats) -> Floats:
    """Logarithms of a pod's mean over the middle one of the others, which one slow pod does not move; NaN: unknown."""
    usable = (requests >= FEWEST) & (totals > 0.0)
    usable &= usable.sum(axis=0) >= PODS
    means = np.where(usable, np.log(np.where(usable, totals, 1.0)) - np.log(np.maximum(requests, 1.0)), np.nan)
    return means - _middle_of_others(means)


def _middle_of_others(means: Floats) -> Floats:
    """The median without the pod itself, of every pod and block; NaN where there is none. Sorts once for all pods."""
    known = ~np.isnan(means)
    ordered, places = np.sort(means, axis=0), means.argsort(axis=0).argsort(axis=0)  # NaN come last
    others = known.sum(axis=0) - known
    low, high = np.maximum(others - 1, 0) // 2, others // 2
    below, above = (np.take_along_axis(ordered, place + (place >= places), axis=0) for place in (low, high))
    return np.asarray((below + above) / 2.0, dtype=np.float64)


def _deviation(ratios: Floats, length: int) -> float:
    """Standard deviation by chance, from the changes between blocks that do not overlap; 0: too few of them.

    By the median absolute deviation: what happens now and then is no chance, and must not count as it.
    """
    changes = ratios[:, length:] - ratios[:, :-length]
    changes = changes[~np.isnan(changes)]
    if changes.size < ENOUGH * length:
        return 0.0
    return 1.4826 * float(np.median(np.abs(changes))) / math.sqrt(2.0)
