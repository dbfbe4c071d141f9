"""How much more do failures vary than if every request failed on its own?

Errors come in bursts and from single bad pods, and a test that takes them for independent raises five to eight times as
many false alarms. The stable pods show by how much: they serve the same requests at the same time, so within a short
block of time their shares of bad requests should differ by chance alone.

A heuristic, with no guarantee: the past hour of stable stands for the next hour of the candidate, and dividing the log
evidence by a variance ratio is exact only for large counts. It errs towards caution where there is a sign of
overdispersion: the worse of two block lengths, and 2 when there is too little data. Without such a sign (the chi-square
is within what chance gives 19 times in 20) it is 1, so that the noise of the estimate does not slow every rollout down.

One pod or two cannot show how pods differ, but each shows its bursts: two minutes of it in a row should differ by
chance alone. The tenth of such pairs that differs most is left out, as a moment that is bad for both versions is no
burst. The result is the worse of both ways to make pairs, and never less than 2, since a bad pod among so few shows in
no minute.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import chdtr, chdtri

from serin.analysis.hypergeometric import Floats
from serin.analysis.types import Arm

UNKNOWN = 2.0  # without a history, and the least with fewer than 3 pods
PODS = 3
BLOCKS = (1, 5)  # lengths of blocks, in the minutes that the counts come in
CHANCE = 0.05
ENOUGH = 20  # degrees of freedom below which the history is too short
KEPT = 0.9  # of the pairs of minutes
# What the smaller ones of pairs that differ by chance alone are on average: chi-square with 1 degree of freedom, cut.
_CUT_MEAN = float(chdtr(3, chdtri(1, 1.0 - KEPT))) / KEPT


def overdispersion(pods: Sequence[Sequence[Arm]]) -> float:
    """The variance ratio phi >= 1 by which log evidence is divided.

    `pods`: for every stable pod its counts in the same consecutive minutes (Arm(0, 0) while it did not run), an hour
    at most. Per block, Pearson's chi-square of the pods against their common share over its degrees of freedom,
    summed over blocks (McCullagh & Nelder 1989, section 4.5).
    """
    if not pods or not pods[0]:
        return UNKNOWN
    requests = np.array([[minute.requests for minute in pod] for pod in pods], dtype=np.float64)
    bad = np.array([[minute.bad for minute in pod] for pod in pods], dtype=np.float64)
    if len(pods) < PODS:
        return max(UNKNOWN, *(_between_minutes(requests[:, first:], bad[:, first:]) for first in (0, 1)))
    ratios = [ratio for length in BLOCKS if (ratio := _ratio(_sum(requests, length), _sum(bad, length))) is not None]
    return max(1.0, *ratios) if ratios else UNKNOWN


def _between_minutes(requests: Floats, bad: Floats) -> float:
    """How much more two minutes of a pod in a row differ than by chance; 0 when there are too few."""
    minutes = requests.shape[1] // 2 * 2
    first, second = requests[:, :minutes:2].ravel(), requests[:, 1:minutes:2].ravel()
    bad_first, bad_second = bad[:, :minutes:2].ravel(), bad[:, 1:minutes:2].ravel()
    share = (bad_first + bad_second) / np.maximum(first + second, 1.0)
    used = (first > 0.0) & (second > 0.0) & (share > 0.0) & (share < 1.0)
    if used.sum() < ENOUGH:
        return 0.0
    n, m, p = first[used], second[used], share[used]
    squares = (bad_first[used] / n - bad_second[used] / m) ** 2 / (p * (1.0 - p) * (1.0 / n + 1.0 / m))
    kept = np.sort(squares)[: int(KEPT * len(squares))]
    return float(kept.mean()) / _CUT_MEAN


def _sum(counts: Floats, length: int) -> Floats:
    """Blocks of `length` minutes, the newest complete ones; shape (pods, blocks)."""
    blocks = counts.shape[1] // length
    newest = counts[:, counts.shape[1] - blocks * length :]
    summed: Floats = newest.reshape(counts.shape[0], blocks, length).sum(axis=2)
    return summed


def _ratio(requests: Floats, bad: Floats) -> float | None:
    """Chi-square over degrees of freedom, 1 when chance explains it, None when there are too few of them."""
    share = bad.sum(axis=0) / np.maximum(requests.sum(axis=0), 1.0)
    used = (share > 0.0) & (share < 1.0)
    expected, alive = requests * share, requests > 0.0
    variance = np.where(alive & used, expected * (1.0 - share), 1.0)
    chi_square = np.where(alive & used, (bad - expected) ** 2 / variance, 0.0).sum()
    freedom = np.where(used, alive.sum(axis=0) - 1, 0).sum()
    if freedom < ENOUGH:
        return None
    return float(chi_square / freedom) if chi_square > chdtri(freedom, CHANCE) else 1.0
