"""The population stability index (PSI): how far two distributions of answers are apart, and when that can be told.

The index has its bias removed, PSI - (B-1)(1/n + 1/m) for B categories with n and m requests, and bounds from its
standard deviation sqrt(2 (B-1) (1/n + 1/m)^2 + 4 PSI (1/n + 1/m)). A heuristic at a fixed number of looks: what it is
compared with, and what follows, is up to two_sample.py and reference.py.
"""

import math

import numpy as np
from scipy.special import chdtri, ndtri

from serin.analysis.categories import occupied
from serin.analysis.evidence import Unusable, check_count
from serin.analysis.hypergeometric import Floats
from serin.analysis.types import MetricVerdict, Policy
from serin.api.conditions import Reason
from serin.api.verdicts import Verdict

THRESHOLD = 0.1  # PSI, unless the policy's limit says otherwise: under it a shift is commonly called small
_FAR = 1e6  # times what has come: a forecast beyond that is none
MOST = 20  # categories or buckets, OTHER included


def stability_index(live: Floats, reference: Floats) -> tuple[float, float]:
    """Population stability index sum (p - q) ln(p / q) in nats with its bias removed, and its standard deviation.

    Half a request is added to every category, so that empty ones stay finite. Neither may be without requests.
    """
    n, m = float(live.sum()), float(reference.sum())
    p, q = (live + 0.5) / (n + 0.5 * live.size), (reference + 0.5) / (m + 0.5 * live.size)
    index = float(((p - q) * np.log(p / q)).sum())
    unit, freedom = 1.0 / n + 1.0 / m, live.size - 1
    unbiased = index - freedom * unit
    return unbiased, math.sqrt(2.0 * freedom * unit**2 + 4.0 * max(unbiased, 0.0) * unit)


def requests_needed(categories: int, reference: float, threshold: float) -> int | None:
    """Requests after which no drift at all gives a raw PSI under `threshold` with probability 99%.

    None: never, because the reference itself is too small.
    """
    room = threshold / float(chdtri(categories - 1, 0.01)) - 1.0 / reference if categories > 1 else 0.0
    return math.ceil(1.0 / room) if room > 0.0 else None


def threshold(policy: Policy) -> float:
    """The PSI that counts as drift."""
    return THRESHOLD if policy.limit is None else policy.limit


def bounded(policy: Policy, live: Floats, reference: Floats) -> tuple[float, float, float]:
    """The PSI with bounds that each miss with probability `alpha_minor`; below 0, where its bias takes it, it is 0."""
    index, deviation = stability_index(*occupied(live, reference))
    reach = -float(ndtri(policy.alpha_minor)) * deviation
    return max(0.0, index), max(0.0, index - reach), index + reach


def requests_missing(policy: Policy, live: Floats, reference: Floats) -> int | None:
    """Requests still needed before a verdict; None: it cannot be reached."""
    total, categories = float(reference.sum()), max(2, occupied(live, reference)[0].size)
    needed = requests_needed(categories, total, threshold(policy)) if total else None
    return None if needed is None else max(0, needed - int(live.sum()))


def requests_to_pass(policy: Policy, candidate: Floats, stable: Floats) -> int | None:
    """Requests of the candidate until a Pass can be expected, if what comes shows no difference; None: none in sight.

    With as many of stable's for each as so far. At least 1: it has not passed yet.
    """
    live, reference = occupied(candidate, stable)
    categories, allowed = max(2, live.size), threshold(policy)
    unit = 1.0 / float(live.sum()) + 1.0 / float(reference.sum())
    index, reach = max(0.0, stability_index(live, reference)[0]), -float(ndtri(policy.alpha_minor))

    def passes(times: float) -> bool:
        rest, one = index / times, unit / times
        deviation = math.sqrt(2.0 * (categories - 1) * one**2 + 4.0 * rest * one)
        return one <= allowed / float(chdtri(categories - 1, 0.01)) and rest + reach * deviation < allowed

    high = 1.0
    while not passes(high):
        high *= 2.0
        if high > _FAR:
            return None
    low = high / 2.0
    for _ in range(20):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if passes(middle) else (middle, high)
    return max(1, math.ceil((high - 1.0) * float(live.sum())))


def counts_of(answers: tuple[int, ...]) -> Floats:
    """The counts as an array. Raises `Unusable` unless each is a count and they are 2 to MOST."""
    if not 2 <= len(answers) <= MOST:
        message = f"a distribution has 2 to {MOST} categories or buckets, got {len(answers)}; merge the rare ones"
        raise Unusable(Reason.PARTIAL, message)
    return any_counts_of(answers)


def any_counts_of(answers: tuple[int, ...]) -> Floats:
    """The same for any number of categories."""
    for value in answers:
        check_count("the answers in a category", value)
    return np.array(answers, dtype=np.float64)


def no_answers(policy: Policy, at: float, message: str) -> MetricVerdict:
    """The verdict while there is nothing to compare."""
    reason = Reason.NO_TRAFFIC
    return MetricVerdict(policy.metric, policy.severity, Verdict.NO_DATA, reason, message, at=at)
