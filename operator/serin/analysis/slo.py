"""Do more of the candidate's requests go wrong than an absolute limit (an SLO) allows? Stable does not count.

Guaranteed: if at most the limit's share of the candidate's requests go wrong, at any moment, FailMinor is ever reached
with probability at most `alpha_minor` and FailCritical with at most `alpha_critical`, however often one looks. As in
ratio.py, dividing by `overdispersion` is a heuristic for requests that fail together.

Formula: Bernoulli likelihood ratio of 1.5, 3 and 10 times the limit's odds over the limit, over sizes and starts as in
sequential.py. The interval is the exact confidence sequence of a Beta(1/2, 1/2) mixture (Robbins 1970).

A histogram can have a limit too: at most `1 - QUANTILE` of the requests may be slower than `limit`. The buckets decide
what can be counted: the limit is read as the smallest bucket bound that is not under it. While pods warm up (warmup.py)
only requests count that take COLD times the limit.
"""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from scipy.special import betaln

from serin.analysis import text, warmup
from serin.analysis.decision import CAP, PASS_THRESHOLD, Conclusion, conclude, failure
from serin.analysis.evidence import (
    Evidence,
    Kind,
    Unusable,
    array,
    check_arm,
    check_histogram,
    counts,
    floats,
    number,
    proven,
    word,
)
from serin.analysis.hypergeometric import Floats
from serin.analysis.power import bernoulli_crossing, bernoulli_moments, expected_rate, first_passage
from serin.analysis.sequential import MIXTURE_COST, PRIOR, Mixture, advance, begin
from serin.analysis.types import HistogramTick, MetricVerdict, Policy, RatioTick
from serin.analysis.warmup import WarmUp
from serin.api.conditions import Reason

WORSE: Floats = np.array([1.5, 3.0, 10.0])  # times the odds of the limit
BETTER: Floats = np.array([1.0 / 1.5, 1.0 / 4.0])
COLD = 5.0
QUANTILE = 0.99  # of a histogram: the share of requests that the limit is about, as "p99" in most latency objectives


@dataclass(frozen=True, slots=True)
class State:
    """What is kept: counts of the candidate, evidence of a breach, log evidence of none, the worst verdict so far.

    `slower_than`: for histograms the bucket bound that stands for the limit, with its unit ("0.5 s"); "" for ratios.
    `counted`: time of the newest tick that was not left out, 0: none was.
    """

    at: float
    requests: float
    bad: float
    over: Mixture
    under: Floats
    slower_than: str
    failed: str
    counted: float = 0.0
    warm_up: WarmUp = field(default_factory=WarmUp)


EMPTY = State(0.0, 0.0, 0.0, begin(PRIOR), np.zeros(BETTER.size), "", "")


def fold(policy: Policy, before: State | None, tick: RatioTick | HistogramTick) -> State:
    """The state after `tick`. Raises `Unusable` when the tick's numbers make no sense."""
    state = before or EMPTY
    if isinstance(tick, HistogramTick):
        warm_up, left_out = warmup.leave_out(policy, state.warm_up, tick)
        state = replace(state, warm_up=warm_up)
        if left_out:
            return _cold(policy, replace(state, at=tick.at), tick)
    requests, bad, slower_than = _count(policy, tick)
    hit, miss = _gains(_allowed(policy, slower_than))
    logs = (bad * hit + (requests - bad) * miss) / policy.overdispersion
    over = state.over
    if requests:
        over = advance(over, logs[: WORSE.size], PRIOR, policy.hazard)
    under = np.minimum(state.under + logs[WORSE.size :], PASS_THRESHOLD + CAP)
    total, all_bad = state.requests + requests, state.bad + bad
    after = State(tick.at, total, all_bad, over, under, slower_than, state.failed, tick.at, state.warm_up)
    return replace(after, failed=failure(policy, after.failed, after.over.log_e, after.over.log_e))


def _cold(policy: Policy, state: State, tick: HistogramTick) -> State:
    """The state with the evidence of a tick in the warm-up: nothing counts but requests that are far over the limit."""
    try:
        requests, bad, slower_than = _count(replace(policy, limit=COLD * _limit(policy)), tick)
    except Unusable:  # no bucket is as long as that
        return state
    hit, miss = _gains(_allowed(policy, slower_than))
    logs = (bad * hit + (requests - bad) * miss) / policy.overdispersion
    over = advance(state.over, logs[: WORSE.size], PRIOR, policy.hazard) if requests else state.over
    return replace(state, over=over, failed=failure(policy, state.failed, over.log_e, over.log_e))


def judge(policy: Policy, state: State) -> MetricVerdict:
    """The verdict now; estimate and interval are of the share itself."""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    if state.requests:
        estimate = state.bad / state.requests
        low, high = confidence_sequence(state.bad, state.requests, policy.alpha_minor, policy.overdispersion)
    kind, reason, message, needed = _conclusion(policy, state)
    allowed = _allowed(policy, state.slower_than) if state.requests else None
    return MetricVerdict(
        policy.metric,
        policy.severity,
        kind,
        reason,
        message,
        state.over.log_e,
        estimate,
        low,
        high,
        int(state.requests),
        needed,
        state.counted or None,
        unit="",
        fails_at=() if allowed is None else (allowed,),
        passes_at=allowed,
    )


def confidence_sequence(bad: float, requests: float, alpha: float, overdispersion: float = 1.0) -> tuple[float, float]:
    """Bounds on a share that are both right at all looks with probability 1 - alpha (given independent requests).

    All p at which the Beta(1/2, 1/2)-mixture over the Bernoulli likelihood stays under 1/alpha, found by bisection.
    """
    x, n = bad / max(1.0, overdispersion), requests / max(1.0, overdispersion)
    level = float(betaln(x + 0.5, n - x + 0.5) - betaln(0.5, 0.5)) + math.log(alpha)

    def excluded(p: float) -> bool:
        return (x * math.log(p) if x else 0.0) + ((n - x) * math.log1p(-p) if n > x else 0.0) < level

    def edge(outside: float, inside: float) -> float:
        for _ in range(30):
            middle = 0.5 * (outside + inside)
            outside, inside = (middle, inside) if excluded(middle) else (outside, middle)
        return 0.5 * (outside + inside)

    centre = x / n
    return edge(0.0, centre) if x else 0.0, edge(1.0, centre) if n > x else 1.0


def requests_to_catch(policy: Policy, limit: float, odds: float, power: float = 0.8) -> float:
    """Candidate requests after which a share of `odds` times the limit's odds is caught with probability `power`."""
    rate = odds * limit / (1.0 - limit + odds * limit)
    gains = math.log(rate / limit), math.log((1.0 - rate) / (1.0 - limit))
    threshold = MIXTURE_COST - math.log(policy.alpha_minor)
    return bernoulli_crossing(rate, gains, threshold * policy.overdispersion, power)


def write(state: State) -> Evidence:
    """As JSON."""
    return {
        "kind": Kind.LIMIT.value,
        "at": state.at,
        "total": [int(state.requests), int(state.bad)],
        "over": state.over.as_list(),
        "under": state.under.tolist(),
        "slowerThan": state.slower_than,
        "failed": state.failed,
        "counted": state.counted,
        "warmUp": state.warm_up.as_list(),
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    requests, bad = counts(evidence, "total", 2)
    return State(
        number(evidence, "at"),
        requests,
        bad,
        Mixture.of(floats(evidence, "over", PRIOR.size + 1)),
        array(evidence, "under", BETTER.size),
        word(evidence, "slowerThan"),
        proven(evidence),
        number(evidence, "counted"),
        warmup.read(evidence),
    )


def _count(policy: Policy, tick: RatioTick | HistogramTick) -> tuple[float, float, str]:
    """The candidate's requests, its bad ones, and what "bad" means for a histogram."""
    if isinstance(tick, RatioTick):
        check_arm("the candidate", tick.candidate)
        return tick.candidate.requests, tick.candidate.bad, ""
    check_histogram(tick)
    limit = _limit(policy)
    index = next((i for i, bound in enumerate(tick.bounds) if bound >= limit * (1.0 - 1e-9)), None)
    if index is None:
        largest = f"{text.number(tick.bounds[-1])} {tick.unit}".strip() if tick.bounds else "none"
        message = (
            f"the limit {text.number(limit)} is over the histogram's largest bound ({largest}); write a lower limit"
        )
        raise Unusable(Reason.PARTIAL, message)
    bad = sum(tick.candidate[index + 1 :])
    return sum(tick.candidate), bad, f"{text.number(tick.bounds[index])} {tick.unit}".strip()


def _limit(policy: Policy) -> float:
    if policy.limit is None:
        raise Unusable(Reason.QUERY_FAILED, f"metric {policy.metric} is compared with a limit but has none")
    return policy.limit


def _allowed(policy: Policy, slower_than: str) -> float:
    """The share of requests that may be bad."""
    share = 1.0 - QUANTILE if slower_than else _limit(policy)
    if not 0.0 < share < 1.0:
        message = f"metric {policy.metric}: the limit of a ratio is a share over 0 and under 1, got {share}"
        raise Unusable(Reason.QUERY_FAILED, message)
    return share


@lru_cache(maxsize=256)
def _gains(limit: float) -> tuple[Floats, Floats]:
    """Log evidence per bad and per good request, for the alternatives over and under the limit."""
    odds = np.concatenate([WORSE, BETTER])
    rate = odds * limit / (1.0 - limit + odds * limit)
    return np.log(rate / limit), np.log((1.0 - rate) / (1.0 - limit))


def _conclusion(policy: Policy, state: State) -> Conclusion:
    received = state.requests > 0.0
    if not received and state.warm_up.requests:
        return warmup.conclude(policy, state.warm_up, state.failed, Reason.OVER_LIMIT, f"{COLD:g} times the limit")
    sentence = _sentence(policy, state) if received else ""
    return conclude(received, state.failed, Reason.OVER_LIMIT, lambda: _needed(policy, state), sentence)


def _sentence(policy: Policy, state: State) -> str:
    what = f"took longer than {state.slower_than}" if state.slower_than else policy.bad
    counts = f"({text.count(state.bad)} of {text.count(state.requests)})"
    share, limit = text.percent(state.bad / state.requests), text.percent(_allowed(policy, state.slower_than))
    return f"{share} of the candidate's requests {what} {counts}, the limit is {limit}"


def _needed(policy: Policy, state: State) -> int:
    """Candidate requests until a Pass can be expected; 0: now."""
    under = float(np.logaddexp.reduce(state.under)) - math.log(BETTER.size)
    if under >= PASS_THRESHOLD:
        return 0
    limit = _allowed(policy, state.slower_than)
    by_power = requests_to_catch(policy, limit, policy.minimum_detectable_effect) - state.requests
    if by_power <= 0.0:
        return 0
    rate = expected_rate(state.requests, state.bad)
    hit, miss = _gains(limit)
    by_evidence = [
        first_passage(*bernoulli_moments(rate, (float(hit[at]), float(miss[at]))), _missing(policy, state, at))
        for at in range(-BETTER.size, 0)
    ]
    return max(1, math.ceil(min(by_power, *by_evidence)))


def _missing(policy: Policy, state: State, at: int) -> float:
    """Nats that one alternative under the limit would have to gather for a Pass by itself."""
    return (PASS_THRESHOLD + math.log(BETTER.size) - float(state.under[at])) * policy.overdispersion
