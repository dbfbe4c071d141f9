"""Do the snapshots receive the shares of requests that the router was told to send them (sample-ratio test)?

Evidence of a step is worth little when the split is not as routed: a route that did not take effect, clients that hold
on to connections, a second writer. Guaranteed for requests that are routed independently with the given weights: a
mismatch is ever reported with probability at most 0.001. Routers that rotate exactly are more even than that, which
makes the test more cautious, not less.

Formula: per period of constant weights, the Dirichlet-multinomial likelihood of the counts over the multinomial one;
the Dirichlet is centred on the weights with a concentration of 100 requests (Lindon & Malek, NeurIPS 2022). The
evidence of periods multiplies. A mismatch must also matter: a share that is off by less than a percentage point is let
pass (heuristic), so that millions of requests do not turn a rounding of weights into an alarm.

The verdict is about now and may be taken back: the split can be corrected without a new candidate.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, xlogy

from serin.analysis import text
from serin.analysis.evidence import Evidence, Kind, Unusable, array, check_count, number
from serin.analysis.hypergeometric import Floats
from serin.analysis.types import MetricVerdict, Policy, SplitTick
from serin.api.conditions import Reason
from serin.api.verdicts import Verdict

ALPHA = 0.001
CONCENTRATION = 100.0
MATTERS = 0.01  # share by which a snapshot must be off
IMPOSSIBLE = 1e6  # log evidence of a request that the weights do not allow
ENOUGH = 100  # requests before the split can be called right


@dataclass(frozen=True, slots=True)
class State:
    """Weights of this period, its counts, and the log evidence of the periods before it."""

    at: float
    weights: Floats
    requests: Floats
    before: float


def fold(policy: Policy, before: State | None, tick: SplitTick) -> State:
    """The state after `tick`. Nothing of `policy` counts: the promise is the same for every deployment."""
    weights, new = _check(policy, tick)
    if before is None:
        return State(tick.at, weights, new, 0.0)
    if before.weights.shape == weights.shape and bool((before.weights == weights).all()):
        return State(tick.at, weights, before.requests + new, before.before)
    return State(tick.at, weights, new, log_e(before))


def log_e(state: State) -> float:
    """Log evidence against the weights: earlier periods and this one."""
    shares = state.weights / state.weights.sum()
    sent = shares > 0.0
    if state.requests[~sent].any():
        return IMPOSSIBLE
    prior, seen = CONCENTRATION * shares[sent], state.requests[sent]
    total = float(seen.sum())
    mixture = float(gammaln(CONCENTRATION) - gammaln(CONCENTRATION + total))
    mixture += float((gammaln(prior + seen) - gammaln(prior)).sum())
    return state.before + mixture - float(xlogy(seen, shares[sent]).sum())


def judge(policy: Policy, state: State) -> MetricVerdict:
    """Pass: the split is as routed. The estimate is the last snapshot's share over its weight."""
    shares, total = state.weights / state.weights.sum(), float(state.requests.sum())
    observed = state.requests / max(1.0, total)
    evidence = log_e(state)
    off = bool((np.abs(observed - shares) >= MATTERS).any())
    kind, reason = Verdict.PASS, Reason.NOT_WORSE
    if total < ENOUGH:
        kind, reason = Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE
    if evidence >= -math.log(ALPHA) and off:
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
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    weights = array(evidence, "weights")
    return State(number(evidence, "at"), weights, array(evidence, "requests", weights.size), number(evidence, "before"))


def _check(policy: Policy, tick: SplitTick) -> tuple[Floats, Floats]:
    if len(tick.weights) != len(tick.requests) or sum(tick.weights) <= 0:
        message = f"{policy.metric}: {len(tick.requests)} counts for the weights {tick.weights}"
        raise Unusable(Reason.PARTIAL, message)
    for value in (*tick.weights, *tick.requests):
        check_count("a snapshot's requests or weight", value)
    return np.array(tick.weights, dtype=np.float64), np.array(tick.requests, dtype=np.float64)
