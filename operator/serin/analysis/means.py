"""Is a number that requests carry higher for the candidate: cost, tokens, seconds of GPU? Or lower: a reward?

The promise of ratio.py, but only asymptotically: an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha,
Kennedy & Ramdas, Annals of Statistics 2024) needs a finite variance and enough requests, so nothing is said before 100
per arm and 5 ticks. Numbers with very heavy tails need more than that, and no test can tell.

Formula: per tick the difference of the two means, weighted by w = nc ns / (nc + ns), so that a season or a change of
weights cancels; Robbins' one-sided normal mixture of the mean difference over its estimated variance, with a standard
deviation of a quarter of the requests' own. Against CRITICAL_RATIO the difference is taken to (CRITICAL_RATIO - 1)
times stable's mean.

How much the numbers scatter is read from how much the difference changes from tick to tick: w d^2 has the variance of
one request as its mean, whatever w is. So a sum and a count are enough, which is what every exporter has, and requests
that resemble each other within a tick need no correction. As few ticks tell a variance badly, its upper 95% bound
(chi-square) is used: simulated with log-normal and with gamma numbers, 180 looks, it keeps the promise.
"""

import math
from dataclasses import dataclass, replace

from scipy.special import chdtri, log_ndtr

from serin.analysis import text
from serin.analysis.decision import CRITICAL_RATIO, PASS_THRESHOLD, failure
from serin.analysis.evidence import (
    Evidence,
    Kind,
    Unreadable,
    Unusable,
    check_count,
    check_counts,
    floats,
    number,
    proven,
    word,
)
from serin.analysis.ratio import mixture_radius
from serin.analysis.types import CONCENTRATION, MEAN, Lines, MeanTick, MetricVerdict, Moments, Policy
from serin.api.conditions import Reason
from serin.api.verdicts import Verdict

TOLERANCE = 1.1  # times stable's mean that is let pass, unless the policy's limit says otherwise
ENOUGH = 100  # requests per arm before the normal approximation is used
LOOKS = 5  # ticks with requests of both arms before their scatter is estimated
_FAR = 1e6  # times what has come: a forecast beyond that is none
SCALE = 0.25  # standard deviation of the mixture, in standard deviations of a request


@dataclass(frozen=True, slots=True)
class State:
    """Requests and sums of either arm; over `looks` ticks with both: sums of w, of w d and of w d^2."""

    at: float
    candidate: tuple[float, float]
    stable: tuple[float, float]
    looks: int
    weight: float
    difference: float
    squares: float
    highest: tuple[float, float]  # log evidence at its highest: critical, minor
    failed: str
    of: str = MEAN


EMPTY = State(0.0, (0.0, 0.0), (0.0, 0.0), 0, 0.0, 0.0, 0.0, (0.0, 0.0), "")


def fold(policy: Policy, before: State | None, tick: MeanTick) -> State:
    """The state after `tick`."""
    state = before or EMPTY
    after = _added(state, tick)
    if after.looks == state.looks:
        return after
    tolerance = _tolerance(policy)
    critical = _evidence(policy, after, max(tolerance, CRITICAL_RATIO))
    minor = _evidence(policy, after, tolerance)
    highest = max(critical, state.highest[0]), max(minor, state.highest[1])
    return replace(after, highest=highest, failed=failure(policy, state.failed, critical, minor))


def judge(policy: Policy, state: State) -> MetricVerdict:
    """Estimate and interval are of the ratio of the means; None while stable's mean is not positive."""
    estimate, low, high = _ratio(state), None, None
    if estimate is not None and _scatter(state) > 0.0:
        radius = mixture_radius(_variance(state), policy.alpha_minor, _scale(state)) / _mean(state.stable)
        low, high = estimate - radius, estimate + radius
    kind, reason, needed = Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE, _needed(policy, state)
    if not state.candidate[0]:
        kind, reason = Verdict.NO_DATA, Reason.NO_TRAFFIC
    elif state.failed:
        kind, reason, needed = Verdict(state.failed), Reason.WORSE_THAN_STABLE, 0
    elif needed == 0:
        kind, reason = Verdict.PASS, Reason.NOT_WORSE
    message = _compared(state)
    if estimate is not None and low is not None and high is not None:
        message += f": {text.times(*(max(0.0, one) for one in (estimate, low, high)))} as much"
    numbers = (max(state.highest), estimate, low, high, int(state.candidate[0]), needed, state.at)
    return MetricVerdict(policy.metric, policy.severity, kind, reason, message, *numbers, **_lines(policy))


def _lines(policy: Policy) -> Lines:
    fails, passes = _tolerance(policy), _effect(policy)
    if policy.lower_is_worse:
        # A limit of 0 is refused where samples are read; evidence of before it was edited is judged all the same.
        return {"fails_at": (1.0 / fails,) if fails else (), "passes_at": 1.0 / passes}
    return {"fails_at": (fails,), "passes_at": passes}


def _compared(state: State) -> str:
    mine, theirs = (_mean(arm) for arm in (state.candidate, state.stable))
    first, second = (text.count(arm[0]) for arm in (state.candidate, state.stable))
    if state.of == CONCENTRATION:
        one, other = (text.percent(max(0.0, share)) for share in (mine, theirs))
        return (
            f"two of the candidate's answers are the same in {one} of cases ({first} answers), "
            f"of stable's in {other} ({second})"
        )
    return f"the candidate's mean is {text.number(mine)} ({first} requests), stable's {text.number(theirs)} ({second})"


def log_mixture(difference: float, variance: float, scale: float) -> float:
    """Log of Robbins' one-sided normal mixture: evidence that the true difference is over 0.

    2 sqrt(v / (v + s^2)) exp(s^2 d^2 / (2 v (v + s^2))) Phi(d s / sqrt(v (v + s^2))), d estimated with variance v.
    """
    both = variance + scale**2
    root = difference * scale / math.sqrt(variance * both)
    return math.log(2.0) + 0.5 * math.log(variance / both) + 0.5 * root**2 + float(log_ndtr(root))


def write(state: State) -> Evidence:
    """As JSON."""
    return {
        "kind": Kind.MEAN.value,
        "at": state.at,
        "total": [*state.candidate, *state.stable],
        "sums": [state.looks, state.weight, state.difference, state.squares],
        "highest": list(state.highest),
        "failed": state.failed,
        **({} if state.of == MEAN else {"of": state.of}),
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    total, sums, highest = floats(evidence, "total", 4), floats(evidence, "sums", 4), floats(evidence, "highest", 2)
    check_counts("total", [total[0], total[2], *sums[:2]])
    looked = bool(sums[0])
    if looked != bool(sums[1]) or looked > bool(total[0] and total[2]) or sums[3] < 0.0:
        raise Unreadable(f"sums: {sums} cannot be")
    return State(
        number(evidence, "at"),
        (total[0], total[1]),
        (total[2], total[3]),
        int(sums[0]),
        sums[1],
        sums[2],
        sums[3],
        (highest[0], highest[1]),
        proven(evidence),
        word(evidence, "of") if "of" in evidence else MEAN,
    )


def _added(state: State, tick: MeanTick) -> State:
    """The sums after `tick`; the evidence is as before."""
    candidate, stable = _check("the candidate", tick.candidate), _check("stable", tick.stable)
    after = replace(
        state,
        at=tick.at,
        of=tick.of,
        candidate=(state.candidate[0] + candidate.requests, state.candidate[1] + candidate.total),
        stable=(state.stable[0] + stable.requests, state.stable[1] + stable.total),
    )
    if min(candidate.requests, stable.requests) < 1:
        return after
    weight = candidate.requests * stable.requests / (candidate.requests + stable.requests)
    difference = candidate.total / candidate.requests - stable.total / stable.requests
    return replace(
        after,
        looks=state.looks + 1,
        weight=state.weight + weight,
        difference=state.difference + weight * difference,
        squares=state.squares + weight * difference**2,
    )


def _check(name: str, moments: Moments) -> Moments:
    check_count(f"{name}'s requests", moments.requests)
    if not math.isfinite(moments.total):
        raise Unusable(Reason.NOT_A_NUMBER, f"{name}: the sum is {moments.total}")
    return moments


def _scatter(state: State) -> float:
    """Upper bound of the variance of one request; 0 before LOOKS ticks, and for numbers that never differ."""
    if state.looks < LOOKS:
        return 0.0
    return _around(state) / float(chdtri(state.looks - 1, 0.95))


def _around(state: State) -> float:
    """Sum of w d^2 around the mean difference; what is left by rounding is no scatter."""
    around = state.squares - state.difference**2 / state.weight
    return around if around > 1e-9 * state.squares else 0.0


def _mean(arm: tuple[float, float]) -> float:
    return arm[1] / arm[0] if arm[0] else 0.0


def _variance(state: State) -> float:
    """Variance of the weighted mean difference."""
    return _scatter(state) / state.weight


def _scale(state: State) -> float:
    """Standard deviation of the mixture, in the metric's unit."""
    return SCALE * math.sqrt(_scatter(state))


def _ratio(state: State) -> float | None:
    mean = _mean(state.stable)
    return 1.0 + state.difference / state.weight / mean if state.weight and mean > 0.0 else None


def _enough(state: State) -> bool:
    return min(state.candidate[0], state.stable[0]) >= ENOUGH and _scatter(state) > 0.0


def _evidence(policy: Policy, state: State, times: float) -> float:
    """Log evidence that the candidate is over `times` stable's mean (or under 1/`times` of it: lower is worse)."""
    if not _enough(state):
        return 0.0
    return log_mixture(_worse_by(policy, state) - _allowed(policy, state, times), _variance(state), _scale(state))


def _worse_by(policy: Policy, state: State) -> float:
    """The weighted mean difference, positive when the candidate is worse."""
    return -state.difference / state.weight if policy.lower_is_worse else state.difference / state.weight


def _allowed(policy: Policy, state: State, times: float) -> float:
    """The difference at which the candidate is `times` stable's mean (or 1/`times` of it: lower is worse)."""
    mean = abs(_mean(state.stable))
    return mean * (1.0 - 1.0 / times) if policy.lower_is_worse else mean * (times - 1.0)


def _needed(policy: Policy, state: State) -> int | None:
    """Candidate requests until a Pass can be expected; 0: now; None: unknown."""
    missing = max(0, ENOUGH - int(state.candidate[0]))
    if not state.looks:
        return missing or None
    if state.looks >= LOOKS and not missing and _passes(policy, state):
        return 0
    soonest = _outlook(policy, state) - state.candidate[0]
    return None if math.isinf(soonest) else max(1, math.ceil(soonest))


def _passes(policy: Policy, state: State) -> bool:
    worse = _worse_by(policy, state)
    if not _enough(state):
        # Numbers that never differ, such as no retry at all in either arm.
        return worse <= 1e-9 * abs(_mean(state.stable))
    gap = _allowed(policy, state, _effect(policy)) - worse
    return log_mixture(gap, _variance(state), _scale(state)) >= PASS_THRESHOLD


def _tolerance(policy: Policy) -> float:
    return policy.slowest_pod * (TOLERANCE if policy.limit is None else policy.limit)


def _effect(policy: Policy) -> float:
    return policy.slowest_pod * policy.minimum_detectable_effect


def _outlook(policy: Policy, state: State) -> float:
    """Candidate requests at a Pass, counted from the first: if what comes differs no more; inf: none is in sight.

    As many a look, and as many of stable's, as so far.
    """
    requests, stable = state.candidate[0], state.stable[0]
    low = max(ENOUGH, ENOUGH * requests / stable, LOOKS * requests / state.looks)
    if state.looks < 2 or _would_pass(policy, state, low / requests):
        return low
    high = 2.0 * low
    while not _would_pass(policy, state, high / requests):
        low, high = high, 2.0 * high
        if high > _FAR * requests:
            return math.inf
    for _ in range(20):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _would_pass(policy, state, middle / requests) else (middle, high)
    return high


def _would_pass(policy: Policy, state: State, times: float) -> bool:
    """Whether it passes when `times` as much has come as now, and the rest shows no difference."""
    looks = max(state.looks * times, LOOKS)
    around = _around(state) / (state.looks - 1)
    scatter = around * (looks - 1.0) / float(chdtri(looks - 1.0, 0.95))
    gap = _allowed(policy, state, _effect(policy)) - _worse_by(policy, state) / times
    if scatter <= 0.0:
        return gap > 0.0
    return log_mixture(gap, scatter / (state.weight * times), SCALE * math.sqrt(scatter)) >= PASS_THRESHOLD
