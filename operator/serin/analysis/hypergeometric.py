"""Fisher's non-central hypergeometric distribution: the split of a table's bad requests between two arms.

Given a table's margins (requests of either arm, bad requests in all), the number of bad requests that fall to the
candidate depends on the odds ratio alone, not on the common rate of failure. That is what lets evidence ignore seasons,
incidents that hit both versions and weights that change from tick to tick.

Only log-likelihoods up to a constant are computed here, for many tables and many odds ratios at once. The normalising
sum is exact while it is short; a long one is summed on a coarser grid around its mode, which costs the same at any
number of requests. The grid is the trapezoid rule on a smooth peak, so its error is exponentially small: the tests
compare it with the exact sum.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]
Margins = tuple[Floats, Floats, Floats]  # requests of the candidate, of stable, bad ones of both

EXACT = 128  # sums of up to this many terms are not thinned
REACH = 40  # points on either side of the mode in a thinned sum
POINTS_PER_DEVIATION = 4
MOST_LOG_ODDS = 5.0
LOG_FACTORIALS: Floats = gammaln(np.arange(1, 1 << 16, dtype=np.float64))


def log_likelihoods(candidate: Floats, stable: Floats, bad: Floats, candidate_bad: Floats, log_odds: Floats) -> Floats:
    """Log-likelihood of every odds ratio for every table, up to a constant of the table.

    `candidate`, `stable`: requests, `bad`: bad requests of both arms, `candidate_bad`: those of the candidate; shape
    (tables,). `log_odds`: logarithms of the odds ratios, shape (ratios,), or (tables, ratios) where every table has its
    own. Returns shape (tables, ratios):
    x log psi - log sum_k C(candidate, k) C(stable, bad - k) psi^k, the sum over all k that the margins allow.
    Source: Fisher 1935; Fog, Communications in Statistics 37 (2008).
    """
    lowest, highest = np.maximum(0.0, bad - stable), np.minimum(candidate, bad)
    chosen = highest > lowest  # margins that leave no choice are no evidence
    if not chosen.any():
        return np.zeros((bad.size, log_odds.shape[-1]))
    rows = slice(None) if chosen.all() else chosen
    odds = log_odds if log_odds.ndim == 1 else log_odds[rows]
    margins = candidate[rows, None, None], stable[rows, None, None], bad[rows, None, None]
    support = lowest[rows, None, None], highest[rows, None, None]
    short = float((highest - lowest).max()) < EXACT
    found = (_exact if short else _thinned)(margins, support, candidate_bad[rows, None, None], odds[..., None])
    if isinstance(rows, slice):
        return found
    logs = np.zeros((bad.size, log_odds.shape[-1]))
    logs[rows] = found
    return logs


def log_likelihood(candidate: int, stable: int, bad: int, candidate_bad: int, log_odds: Floats) -> Floats:
    """The same for one table, shape (ratios,). Small tables, which are nearly all of them, are five times as fast so.

    Slices of the log factorials take the place of index arrays, and a sum of so few terms of odds up to a hundred or so
    cannot overflow, so it needs no scaling.
    """
    low, high = max(0, bad - stable), min(candidate, bad)
    if (
        not 0 <= high - low < EXACT
        or candidate + stable >= LOG_FACTORIALS.size
        or float(log_odds.max()) > MOST_LOG_ODDS
    ):
        table = np.array([[candidate], [stable], [bad], [candidate_bad]], dtype=np.float64)
        rows = log_likelihoods(table[0], table[1], table[2], table[3], log_odds)
        return np.ravel(rows)
    terms = LOG_FACTORIALS[low : high + 1] + LOG_FACTORIALS[stable - bad + low : stable - bad + high + 1]
    terms = terms + LOG_FACTORIALS[candidate - high : candidate - low + 1][::-1]
    terms += LOG_FACTORIALS[bad - high : bad - low + 1][::-1]
    powers = np.exp(log_odds[:, None] * np.arange(low - candidate_bad, high - candidate_bad + 1))
    sums: Floats = powers @ np.exp(terms.min() - terms)
    logs: Floats = -np.log(sums)
    return logs


def _exact(margins: Margins, support: tuple[Floats, Floats], seen: Floats, log_odds: Floats) -> Floats:
    """The sum over the whole support. Margins and what was seen have shape (tables, 1, 1), the odds (ratios, 1)."""
    low, high = support
    k = low + np.arange(float((high - low).max()) + 1.0)
    terms = np.where(k <= high, _log_weights(*margins, np.minimum(k, high)), -np.inf)
    terms -= terms.max(axis=-1, keepdims=True)
    return -_log_sum(terms + log_odds * (k - seen))


def _thinned(margins: Margins, support: tuple[Floats, Floats], seen: Floats, log_odds: Floats) -> Floats:
    """The same by the trapezoid rule: a grid of its own for every table and odds ratio."""
    low, high = support
    centre, stride = _peaks(*margins, log_odds)
    k = centre + stride * np.arange(-REACH, REACH + 1)
    terms = _log_weights(*margins, np.clip(k, low, high))
    terms -= terms[:, :1, REACH : REACH + 1]  # one constant per table, for precision
    exponents = np.where((k < low) | (k > high), -np.inf, terms + log_odds * (k - seen))
    return -(_log_sum(exponents) + np.log(stride[..., 0]))


def _log_weights(candidate: Floats, stable: Floats, bad: Floats, k: Floats) -> Floats:
    """Log of C(candidate, k) C(stable, bad - k) up to a constant of the table."""
    others = bad - k
    return -(log_factorial(k) + log_factorial(candidate - k) + log_factorial(others) + log_factorial(stable - others))


def log_factorial(n: Floats) -> Floats:
    """Logarithm of n! for whole n, from a table when all of them are small."""
    if n.size and float(n.max()) < LOG_FACTORIALS.size:
        return LOG_FACTORIALS[n.astype(np.intp)]
    return np.asarray(gammaln(n + 1.0), dtype=np.float64)


def _peaks(candidate: Floats, stable: Floats, bad: Floats, log_odds: Floats) -> tuple[Floats, Floats]:
    """Where the terms peak (Cornfield's approximate mean) and how far apart to take them; shape (tables, ratios, 1)."""
    psi = np.exp(log_odds)
    slope = stable - bad + psi * (candidate + bad)
    root = np.sqrt(np.maximum(slope**2 - 4.0 * (psi - 1.0) * psi * candidate * bad, 0.0))
    mean = 2.0 * psi * candidate * bad / (slope + root)
    cells = np.stack([mean, candidate - mean, bad - mean, stable - bad + mean])
    deviation = np.sqrt(1.0 / np.sum(1.0 / np.maximum(cells, 0.5), axis=0))
    return np.rint(mean), np.maximum(1.0, np.ceil(deviation / POINTS_PER_DEVIATION))


def _log_sum(exponents: Floats) -> Floats:
    """Log of the sum of exponentials over the last axis."""
    highest = exponents.max(axis=-1)
    return np.asarray(highest + np.log(np.exp(exponents - highest[..., None]).sum(axis=-1)), dtype=np.float64)
