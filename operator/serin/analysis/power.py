"""How many candidate requests it takes to see a difference, and to see that there is none.

Normal approximation of the sequential test in ratio.py: log evidence grows by its mean per request, with its standard
deviation around that, less the cost of the mixture over sizes and starts. The bench compares it with simulation.
"""

import math
from functools import lru_cache
from typing import Final

from scipy.special import ndtri

from serin.analysis.decision import TOLERANCE
from serin.analysis.sequential import MIXTURE_COST
from serin.analysis.types import Policy

# Requests, and the share of bad ones, that count before any is known.
_BEFORE: Final = 50.0
_USUAL: Final = 0.001


@lru_cache(maxsize=1024)
def log_likelihood_ratio_moments(rate: float, share: float, odds: float, tested: float) -> tuple[float, float]:
    """Mean and variance per candidate request of the log-likelihood ratio of `odds` over `tested`; `odds` is true.

    `rate`: stable's share of bad requests; `share`: the candidate's share of all requests (0 < share < 1). Bad requests
    arrive as a Poisson stream; each is the candidate's with a probability that the odds ratio fixes.
    """
    candidate_rate = odds * rate / (1.0 - rate + odds * rate)
    others = (1.0 - share) / share * rate
    true = odds * share / (odds * share + 1.0 - share)
    null = tested * share / (tested * share + 1.0 - share)
    hit, miss = math.log(true / null), math.log((1.0 - true) / (1.0 - null))
    stream = candidate_rate + others
    return stream * (true * hit + (1.0 - true) * miss), stream * (true * hit**2 + (1.0 - true) * miss**2)


def requests_to_catch(
    policy: Policy, rate: float, share: float, odds: float, power: float = 0.8, cost: float = MIXTURE_COST
) -> float:
    """Candidate requests after which `odds` has been caught (as FailMinor) with probability `power`; inf: never.

    `cost`: nats that the mixture over alternatives and starts costs.
    """
    if odds <= TOLERANCE or not 0.0 < share < 1.0 or not 0.0 < rate < 1.0:
        return math.inf
    threshold = (cost - math.log(policy.alpha_minor)) * policy.overdispersion
    return crossing(*log_likelihood_ratio_moments(rate, share, odds, TOLERANCE), threshold, power)


def requests_to_pass(policy: Policy, rate: float, share: float, missing: float, power: float = 0.5) -> float:
    """Candidate requests until `missing` nats against the detectable effect are gathered, when nothing is wrong."""
    effect = policy.minimum_detectable_effect
    if effect <= 1.0 or not 0.0 < share < 1.0 or not 0.0 < rate < 1.0:
        return math.inf
    moments = log_likelihood_ratio_moments(rate, share, 1.0, effect)
    return crossing(*moments, missing * policy.overdispersion, power)


def bernoulli_crossing(rate: float, gains: tuple[float, float], threshold: float, power: float) -> float:
    """Requests after which a one-arm likelihood ratio reaches `threshold` with probability `power`.

    `rate`: the true share of bad requests. `gains`: log evidence per bad and per good request.
    """
    return crossing(*bernoulli_moments(rate, gains), threshold, power)


def bernoulli_moments(rate: float, gains: tuple[float, float]) -> tuple[float, float]:
    """Mean and variance per request of a one-arm log-likelihood ratio; as in `bernoulli_crossing`."""
    hit, miss = gains
    return rate * hit + (1.0 - rate) * miss, rate * (1.0 - rate) * (hit - miss) ** 2


def expected_rate(requests: float, bad: float) -> float:
    """The share of requests that will go wrong, as an estimate of what is still needed takes it.

    A few requests say little of it: ten without a failure are not taken for none ever, nor one failure of ten for a
    tenth.
    """
    return (bad + _BEFORE * _USUAL) / (requests + _BEFORE)


def first_passage(mean: float, variance: float, threshold: float) -> float:
    """Smallest n by which a walk has been at the threshold with probability one half; inf: unless by luck.

    `mean`, `variance`: of one step. Brownian motion with drift, whose first passage is inverse Gaussian. Evidence is
    looked at after every request, so this comes well before the mean has grown to the threshold.
    """
    if threshold <= 0.0:
        return 0.0
    if mean <= 0.0:
        return math.inf
    if variance <= 0.0:
        return threshold / mean
    low, high = 0.0, threshold / mean  # the median is less than the mean, and that is exact
    reflected = math.exp(min(2.0 * mean * threshold / variance, 700.0))
    for _ in range(20):
        middle = 0.5 * (low + high)
        spread = math.sqrt(variance * middle)
        passed = _below((mean * middle - threshold) / spread)
        passed += reflected * _below(-(mean * middle + threshold) / spread)
        low, high = (low, middle) if passed >= 0.5 else (middle, high)
    return high


def _below(z: float) -> float:
    """Standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def crossing(mean: float, variance: float, threshold: float, power: float) -> float:
    """Smallest n with n mean - z sqrt(n variance) >= threshold."""
    if threshold <= 0.0:
        return 0.0
    if mean <= 0.0:
        return math.inf
    z = float(ndtri(power)) * math.sqrt(variance)
    root = (z + math.sqrt(z**2 + 4.0 * mean * threshold)) / (2.0 * mean)
    return root**2
