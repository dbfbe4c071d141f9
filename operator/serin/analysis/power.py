"""How many candidate requests it takes to see a difference, and to see that there is none.

Normal approximation of the sequential test in ratio.py: log evidence grows by its mean per request, with its standard
deviation around that, less the cost of the mixture over sizes and starts. The bench compares it with simulation.
"""

import math
from functools import lru_cache

from scipy.special import ndtri

from serin.analysis.decision import TOLERANCE
from serin.analysis.sequential import MIXTURE_COST
from serin.analysis.types import Policy


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
    hit, miss = gains
    mean, variance = rate * hit + (1.0 - rate) * miss, rate * (1.0 - rate) * (hit - miss) ** 2
    return crossing(mean, variance, threshold, power)


def crossing(mean: float, variance: float, threshold: float, power: float) -> float:
    """Smallest n with n mean - z sqrt(n variance) >= threshold."""
    if threshold <= 0.0:
        return 0.0
    if mean <= 0.0:
        return math.inf
    z = float(ndtri(power)) * math.sqrt(variance)
    root = (z + math.sqrt(z**2 + 4.0 * mean * threshold)) / (2.0 * mean)
    return root**2
