"""Do the snapshots receive the shares of requests that the router was told to send them (sample-ratio test)?

Evidence of a step is worth little when the split is not as routed: a route that did not take effect, clients that hold
on to connections, a second writer. Guaranteed for requests that are routed independently with the given weights: a
mismatch is ever reported with probability at most 0.001. Routers that rotate exactly are more even than that, which
makes the test more cautious, not less.

Formula: per period of constant weights, the Dirichlet-multinomial likelihood of the counts over the multinomial one;
the Dirichlet is centred on the weights with a concentration of 100 requests (Lindon & Malek, NeurIPS 2022). The
evidence of periods multiplies. A mismatch must also matter: a share that is off by less than a percentage point is let
pass (heuristic), so that millions of requests do not turn a rounding of weights into an alarm. For the same reason a
weight of 0 stands for all shares up to a percentage point: requests that were routed before are answered after.

The verdict is about now and is taken back: the split can be corrected without a new candidate, and requests that were
routed by the weights before come to an end. Once ENOUGH new requests look more as routed than not, what was counted
before them is forgotten. That is done in an alarm alone, so it adds nothing to the probability of the first one.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaln, xlogy

from serin.analysis import text
from serin.analysis.evidence import Evidence, Kind, Unusable, check_count, count_array, number
from serin.analysis.hypergeometric import Floats
from serin.analysis.types import MetricVerdict, Policy, SplitTick
from serin.api.conditions import Reason
from serin.api.verdicts import Verdict

ALPHA = 0.001
CONCENTRATION = 100.0
MATTERS = 0.01  # share by which a snapshot must be off
ENOUGH = 100  # requests before the split can be called right


@dataclass(frozen=True, slots=True)
class State:
    """Weights of this period, its counts, and the log evidence of the periods before it.

    `newest`: the counts of the latest ticks, fewer than ENOUGH requests.
    """

    at: float
    weights: Floats
    requests: Floats
    before: float
    newest: Floats


def fold(policy: Policy, before: State | None, tick: SplitTick) -> State:
    """The state after `tick`. Nothing of `policy` counts: the promise is the same for every deployment."""
    weights, new = _check(policy, tick)
    if before is None:
        return _in_blocks(State(tick.at, weights, new, 0.0, new))
    if before.weights.shape == weights.shape and bool((before.weights == weights).all()):
        both, newest = before.requests + new, before.newest + new
        return _in_blocks(State(tick.at, weights, both, before.before, newest))
    return _in_blocks(State(tick.at, weights, new, log_e(before), new))


def _in_blocks(state: State) -> State:
    """With what has come since the last ENOUGH requests; the rest is forgotten when an alarm turns out to be over."""
    if state.newest.sum() < ENOUGH:
        return state
    as_routed = not _matters(state.weights, state.newest) or _log_e(state.weights, state.newest) <= 0.0
    if as_routed and _is_off(state):
        state = replace(state, requests=state.newest, before=0.0)
    return replace(state, newest=np.zeros(state.weights.size))


def _is_off(state: State) -> bool:
    """Whether a mismatch is proven, and matters."""
    return _matters(state.weights, state.requests) and log_e(state) >= -math.log(ALPHA)


def _matters(weights: Floats, seen: Floats) -> bool:
    return bool((np.abs(seen / max(1.0, float(seen.sum())) - weights / weights.sum()) >= MATTERS).any())


def log_e(state: State) -> float:
    """Log evidence against the weights: earlier periods and this one."""
    return state.before + _log_e(state.weights, state.requests)


def _log_e(weights: Floats, seen: Floats) -> float:
    total, routed = float(seen.sum()), weights / weights.sum()
    # Of all that a weight of 0 stands for, the likeliest.
    shares = np.maximum(routed, np.minimum(seen / max(1.0, total), MATTERS))
    centre, shares = np.maximum(routed, MATTERS), shares / shares.sum()
    prior = CONCENTRATION * centre / centre.sum()
    mixture = float(gammaln(CONCENTRATION) - gammaln(CONCENTRATION + total))
    mixture += float((gammaln(prior + seen) - gammaln(prior)).sum())
    return mixture - float(xlogy(seen, shares).sum())


def judge(policy: Policy, state: State) -> MetricVerdict:
    """Pass: the split is as routed. The estimate is the last snapshot's share over its weight."""
    shares, total = state.weights / state.weights.sum(), float(state.requests.sum())
    observed = state.requests / max(1.0, total)
    evidence = log_e(state)
    kind, reason = Verdict.PASS, Reason.NOT_WORSE
    if total < ENOUGH:
        kind, reason = Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE
    if _is_off(state):
        kind, reason = Verdict.FAIL_MINOR, Reason.SPLIT_NOT_AS_ROUTED
    received = ", ".join(f"{text.percent(float(share))}" for share in observed)
    routed = ", ".join(f"{100.0 * share:.3g}%" for share in shares)
    message = f"the snapshots received {received} of {text.count(total)} requests where the weights are {routed}"
    estimate = float(observed[-1] / shares[-1]) if shares[-1] > 0.0 else None
    needed = max(0, ENOUGH - int(total))
    return MetricVerdict(
        policy.metric,
        policy.severity,
        kind,
        reason,
        message,
        evidence,
        estimate,
        requests=int(state.requests[-1]),
        needed=needed,
        at=state.at,
    )


def write(state: State) -> Evidence:
    """As JSON."""
    return {
        "kind": Kind.SPLIT.value,
        "at": state.at,
        "weights": state.weights.astype(int).tolist(),
        "requests": state.requests.astype(int).tolist(),
        "before": state.before,
        "newest": state.newest.astype(int).tolist(),
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    weights = count_array(evidence, "weights")
    requests, newest = (count_array(evidence, key, weights.size) for key in ("requests", "newest"))
    return State(number(evidence, "at"), weights, requests, number(evidence, "before"), newest)


def _check(policy: Policy, tick: SplitTick) -> tuple[Floats, Floats]:
    if len(tick.weights) != len(tick.requests) or sum(tick.weights) <= 0:
        message = f"{policy.metric}: {len(tick.requests)} counts for the weights {tick.weights}"
        raise Unusable(Reason.PARTIAL, message)
    for value in (*tick.weights, *tick.requests):
        check_count("a snapshot's requests or weight", value)
    return np.array(tick.weights, dtype=np.float64), np.array(tick.requests, dtype=np.float64)
