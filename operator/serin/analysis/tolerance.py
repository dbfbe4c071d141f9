"""Slower by more than matters: what a candidate may have is stable's own distribution, made slower by what is let pass.

At every quantile it may take `ratio` more than stable's time, or `least` more, whichever is larger.
Nobody knows the quantiles of a histogram, but a candidate that is exactly that much slower has, beyond a bucket bound
b, the share of requests that stable has beyond the time that becomes b when it is made slower. That time lies between
two bounds as a rule, and stable's share beyond it is interpolated: as a straight line of normal quantiles over the
logarithm of time, which is exact for log-normal times in buckets of any width. A tolerance is therefore as good as the
buckets: where a bound lies within it, it is exact; between bounds it is an estimate; and where a bucket is wide and
its requests lie close together, it may be off by as much as the bucket is wide.

What comes out are odds ratios, by bound and by bucket, at which the tables of latency.py are judged. They say how the
arms may differ and nothing of how slow both are, so a slow hour of both cancels out as before.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from serin.analysis.hypergeometric import Floats

# Logarithm of the odds ratio from which on everything is allowed.
MOST: Final = 8.0


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much slower is let pass: `ratio` of stable's time (0.2: 20%), and `least` in the histogram's unit."""

    ratio: float
    least: float

    def after(self, times: Floats) -> Floats:
        """What `times` become when they are made slower by just this much."""
        return np.maximum(times * (1.0 + self.ratio), times + self.least)

    def before(self, bounds: Floats) -> Floats:
        """The times that become `bounds` when they are made slower by just this much; 0 for what no time becomes."""
        return np.maximum(0.0, np.minimum(bounds / (1.0 + self.ratio), bounds - self.least))


@dataclass(frozen=True, slots=True)
class Allowed:
    """Logarithms of odds ratios: of being slower than each bound, and of stable finishing first in each bucket.

    MOST stands for all above it: the tolerance allows everything there, and no count is evidence of more than that.
    """

    slower: Floats
    sooner: Floats

    def testable(self) -> NDArray[np.bool_]:
        """Which bounds leave anything to be found: where the tolerance does not allow everything."""
        return np.less(self.slower, MOST)

    def everything(self) -> NDArray[np.bool_]:
        """Where everything is allowed: bounds, then buckets."""
        return np.concatenate([self.slower, self.sooner]) >= MOST


@lru_cache(maxsize=64)  # a tick is judged by what it was folded with
def allowed(bounds: tuple[float, ...], stable: tuple[float, ...], tolerance: Tolerance, more: float = 1.0) -> Allowed:
    """What a candidate may have that is `tolerance` slower, and `more` times slower again.

    `stable`: requests per bucket, one more than `bounds`.
    """
    edges = np.array(bounds, dtype=np.float64)
    own = _beyond(np.array(stable, dtype=np.float64))
    slower = _interpolated(edges, own, tolerance.before(edges) / more)
    with np.errstate(invalid="ignore"):
        sooner = _logit(_finishing(own)) - _logit(_finishing(slower))
        return Allowed(_clipped(_logit(slower) - _logit(own)), _clipped(sooner))


def _beyond(counts: Floats) -> Floats:
    """Share of the requests beyond each bound; half a request is added on either side, so that none is 0 or 1."""
    beyond = counts[::-1].cumsum()[::-1][1:]
    shares: Floats = (beyond + 0.5) / (counts.sum() + 1.0)
    return shares


def _interpolated(bounds: Floats, beyond: Floats, at: Floats) -> Floats:
    """Share beyond the times `at`, which lie under the largest bound."""
    known = bounds > 0.0
    if known.sum() < 2:
        return np.where(at >= bounds, beyond, 1.0)
    times, normal = np.log(bounds[known]), ndtri(beyond[known])
    wanted = np.log(np.maximum(at, 1e-300))
    inside = np.interp(wanted, times, normal)
    # Under the first bound the line goes on as it begins.
    slope = min(0.0, float((normal[1] - normal[0]) / (times[1] - times[0])))
    below = normal[0] + slope * (wanted - times[0])
    found: Floats = np.where(at > 0.0, ndtr(np.where(wanted < times[0], below, inside)), 1.0)
    return np.where(known, found, beyond)


def _finishing(beyond: Floats) -> Floats:
    """Share of those not finished before a bucket that finish in it."""
    before = np.concatenate([[1.0], beyond[:-1]])
    left = np.divide(beyond, before, out=np.ones_like(beyond), where=before > 0.0)
    return np.asarray(np.maximum(0.0, 1.0 - left), dtype=np.float64)


def _logit(share: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(share) - np.log1p(-share), dtype=np.float64)


def _clipped(log_odds: Floats) -> Floats:
    """Within MOST. No number where neither arm may finish: a candidate that does is faster than allowed."""
    return np.maximum(-MOST, np.fmin(log_odds, MOST))  # of a number and none, fmin gives the number
