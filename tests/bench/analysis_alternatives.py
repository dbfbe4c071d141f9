"""How other methods judge the same ticks: thresholds, a z-test at every look, and a bound that holds for all tests.

An alternative gets the ticks of one run and returns the number of candidate requests at which it would have rolled
back, or None. Windows are made of whole looks, as a query over the last minute would see them.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from serin.analysis.buckets import quantile
from serin.analysis.power import log_likelihood_ratio_moments
from serin.analysis.psi import stability_index
from serin.analysis.types import DistributionTick, HistogramTick, RatioTick

Alternative = Callable[[Sequence[RatioTick]], int | None]


def threshold(*, most_bad: float, window: int, every: int, failures: int) -> Alternative:
    """Roll back at the `failures`-th check that finds more than `most_bad` over the last `window` looks."""

    def judge(ticks: Sequence[RatioTick]) -> int | None:
        bad = np.array([tick.candidate.bad for tick in ticks])
        requests = np.array([tick.candidate.requests for tick in ticks])
        checks = np.arange(window, len(ticks) + 1, every)
        shares = [bad[end - window : end].sum() / max(1, requests[end - window : end].sum()) for end in checks]
        failed = checks[np.array(shares) > most_bad]
        return int(requests[: failed[failures - 1]].sum()) if failed.size >= failures else None

    return judge


# Flagger's tutorials: request-success-rate of at least 99 over 1m, checked every minute, threshold 5 (some: 10).
FLAGGER = threshold(most_bad=0.01, window=6, every=6, failures=5)
FLAGGER_TEN = threshold(most_bad=0.01, window=6, every=6, failures=10)
# Argo Rollouts' sample AnalysisTemplate: successCondition result[0] >= 0.95, interval 5m, failureLimit 3 (a 4th fails).
ARGO = threshold(most_bad=0.05, window=30, every=30, failures=4)
# A plain threshold as it is often written: over 2 % in a minute, 3 failures allowed, looked at every look.
PLAIN = threshold(most_bad=0.02, window=6, every=1, failures=4)


def repeated_z_test(ticks: Sequence[RatioTick]) -> int | None:
    """A one-sided two-proportion z-test of the totals so far at nominal 5 %, at every look with 5 failures or more."""
    counts = np.array(
        [(t.candidate.requests, t.candidate.bad, t.stable.requests, t.stable.bad) for t in ticks], dtype=np.float64
    ).cumsum(axis=0)
    nc, xc, ns, xs = counts.T
    pooled = (xc + xs) / (nc + ns)
    spread = np.sqrt(pooled * (1.0 - pooled) * (1.0 / np.maximum(nc, 1.0) + 1.0 / np.maximum(ns, 1.0)))
    z = (xc / np.maximum(nc, 1.0) - xs / np.maximum(ns, 1.0)) / np.maximum(spread, 1e-12)
    fired = np.flatnonzero((z > 1.6449) & (xc + xs >= 5))
    return int(nc[fired[0]]) if fired.size else None


def wald(rate: float, odds: float, alpha: float = 0.05, weight: float = 0.1) -> float:
    """Mean candidate requests below which no test of level alpha that always stops can stay (Wald 1945).

    log(1/alpha) over the information per candidate request of a test that knows the odds ratio beforehand.
    """
    return -math.log(alpha) / log_likelihood_ratio_moments(rate, weight, odds, 1.0)[0]


def slow_percentile(ticks: Sequence[HistogramTick]) -> int | None:
    """Flagger's request-duration: the interpolated 99th percentile of a minute over 500 ms, five times."""
    counts = np.array([tick.candidate for tick in ticks])
    shown = [quantile(ticks[0].bounds, counts[end - 6 : end].sum(axis=0), 0.99) for end in range(6, len(ticks) + 1, 6)]
    failed = [6 * (index + 1) for index, value in enumerate(shown) if value is not None and value > 0.5]
    return int(counts[: failed[4]].sum()) if len(failed) >= 5 else None


def plain_index(ticks: Sequence[DistributionTick]) -> int | None:
    """PSI over 0.1 between the arms, over the last minute, at every look; its bias left in."""
    candidate = np.array([tick.candidate for tick in ticks], dtype=np.float64)
    stable = np.array([tick.stable for tick in ticks], dtype=np.float64)
    for end in range(6, len(ticks) + 1):
        live, control = candidate[end - 6 : end].sum(axis=0), stable[end - 6 : end].sum(axis=0)
        bias = (live.size - 1) * (1.0 / live.sum() + 1.0 / control.sum())
        if stability_index(live, control)[0] + bias > 0.1:
            return int(candidate[:end].sum())
    return None
