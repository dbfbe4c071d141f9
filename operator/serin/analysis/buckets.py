"""Buckets of histograms: which of their bounds are kept, and the Fisher tables that the counts of two arms make.

At most 14 bounds are kept, so that the evidence stays small: a finer histogram is merged where the first requests
are fewest.
"""

from itertools import pairwise

import numpy as np

from serin.analysis import text
from serin.analysis.evidence import Unusable
from serin.analysis.hypergeometric import Floats
from serin.analysis.types import HistogramTick
from serin.api.conditions import Reason

MOST_BOUNDS = 14

Tables = tuple[Floats, Floats, Floats, Floats]  # requests of the first arm and of the second, events, the first's


def quantile(bounds: tuple[float, ...], counts: Floats, share: float) -> float | None:
    """The value under which `share` of the requests are, interpolated within its bucket. For display, never to decide.

    None when there are no requests; the largest bound when the quantile lies beyond it.
    """
    total = float(counts.sum())
    if total == 0.0 or not bounds:
        return None
    below = np.cumsum(counts)
    index = int(np.searchsorted(below, share * total))
    if index >= len(bounds):
        return bounds[-1]
    start = bounds[index - 1] if index else min(0.0, bounds[0])
    before = float(below[index - 1]) if index else 0.0
    inside = float(counts[index])
    return start + (bounds[index] - start) * ((share * total - before) / inside if inside else 1.0)


def choose_bounds(bounds: tuple[float, ...], counts: Floats, most: int = MOST_BOUNDS) -> tuple[float, ...]:
    """At most `most` of the bounds: the neighbouring buckets with the fewest requests are merged.

    Of pairs with equally many, the one that spans the fewest of the histogram's own buckets: so bounds remain all over
    where there were no requests yet. A slow request is counted when it ends, which may be after the choice.
    `counts`: of both arms together, so that the choice does not depend on which arm a request belongs to.
    """
    kept, buckets = list(bounds), [(float(value), 1) for value in counts]  # requests, and how many buckets hold them
    while len(kept) > most:
        merged = [(one[0] + other[0], one[1] + other[1]) for one, other in pairwise(buckets)]
        index = min(range(len(kept)), key=merged.__getitem__)
        buckets[index : index + 2] = [merged[index]]
        del kept[index]
    return tuple(kept)


def regroup(tick: HistogramTick, bounds: tuple[float, ...], counts: tuple[int, ...]) -> Floats:
    """Counts of one arm between the kept bounds."""
    positions = {bound: index for index, bound in enumerate(tick.bounds)}
    missing = [text.number(bound) for bound in bounds if bound not in positions]
    if missing:
        message = f"the histogram's buckets have changed: no bound at {', '.join(missing)} any more"
        raise Unusable(Reason.PARTIAL, message)
    starts = [0, *(positions[bound] + 1 for bound in bounds)]
    return np.add.reduceat(np.array(counts, dtype=np.float64), starts)


def tables_of(table: Floats) -> Tables:
    """The Fisher tables of both arms' buckets: one per bound, then one per bucket for the log-rank process."""
    left = table[:, ::-1].cumsum(axis=1)[:, ::-1]  # requests in this bucket or a slower one
    at_risk, slower, done = left[:, :-1], left[:, 1:], table[:, :-1]
    everyone = np.broadcast_to(left[:, :1], slower.shape)
    # The log-rank tables have the arms swapped: a slow candidate is one that stable outruns.
    first, second = np.concatenate([everyone[0], at_risk[1]]), np.concatenate([everyone[1], at_risk[0]])
    events = np.concatenate([slower.sum(axis=0), done.sum(axis=0)])
    return first, second, events, np.concatenate([slower[0], done[1]])
