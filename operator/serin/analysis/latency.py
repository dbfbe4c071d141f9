"""Is the candidate slower than stable, anywhere in the distribution? Works on the counts of histogram buckets.

Quantiles are never compared: a quantile read from buckets is an interpolation (with common default buckets it reads
420 ms where 323 ms is true). What can be counted exactly is how many requests took longer than a bucket bound.

Guaranteed, like ratio.py and by the same Fisher tables: when at every bound the candidate's odds of being slower, and
in every bucket its hazard odds of *not* finishing, are at most TOLERANCE times stable's, FailMinor is ever reached
with probability at most `alpha_minor`; the same for CRITICAL_RATIO and FailCritical. Half of the evidence is the
average over the bounds of "slower than this bound", which finds a heavier tail; half is a log-rank e-process over the
buckets (each bucket is a table of those who finish in it among those who have not finished before: Cox 1972, as an
e-process ter Schure et al. 2021), which finds a shift of the whole. Heuristic: dividing by `overdispersion`.

Pass needs evidence that the candidate is not `minimum_detectable_effect` times as often slow in the body (the bound
that splits the requests best) and in the tail (the lowest bound with at most 5% beyond it).

At most 14 bounds are kept, so that the evidence stays small: a finer histogram is merged where the first requests
are fewest. Kept weights are rounded to a thousandth of a nat.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from serin.analysis import text
from serin.analysis.decision import (
    CAP,
    CRITICAL_RATIO,
    FLOOR,
    PASS_THRESHOLD,
    TOLERANCE,
    Conclusion,
    conclude,
    failure,
)
from serin.analysis.evidence import Evidence, Kind, Unusable, check_histogram, floats, number, word
from serin.analysis.hypergeometric import Floats, log_likelihoods
from serin.analysis.power import requests_to_catch
from serin.analysis.ratio import ENOUGH, ONE_SIDED_MOST, Counts, crude_interval, describe, not_worse_than_floor
from serin.analysis.sequential import Mixture, advance, begin
from serin.analysis.types import HistogramTick, MetricVerdict, Policy
from serin.api.conditions import Reason

ALTERNATIVES: Floats = np.array([2.0, 10.0])  # times the odds that the null allows
MOST_BOUNDS = 14
TAIL = 0.05
DIGITS = 3


@dataclass(frozen=True, slots=True)
class State:
    """What is kept between ticks.

    `bounds`: those kept, with `unit`. `candidate`, `stable`: all requests per kept bucket; `pending`: both arms' of
    ticks too small to judge, shape (2, buckets). `critical`, `minor`: evidence against the two nulls, alternatives
    running fastest, bounds before log-rank. `better`: log evidence of no harm in body and tail; `low`: that almost no
    request is beyond the tail's bound.
    """

    at: float
    bounds: tuple[float, ...]
    unit: str
    candidate: Floats
    stable: Floats
    pending: Floats
    critical: Mixture
    minor: Mixture
    better: tuple[float, float]
    low: float
    failed: str


def fold(policy: Policy, before: State | None, tick: HistogramTick) -> State:
    """The state after `tick`. Raises `Unusable` when the tick's numbers make no sense."""
    check_histogram(tick)
    if not tick.bounds:
        raise Unusable(Reason.PARTIAL, "the histogram has a single bucket; nothing can be told from it")
    state = before or _empty(tick)
    new = np.stack([_regroup(tick, state.bounds, arm) for arm in (tick.candidate, tick.stable)])
    pending = state.pending + new
    after = replace(state, at=tick.at, candidate=state.candidate + new[0], stable=state.stable + new[1])
    after = replace(after, low=round(_few_in_tail(policy, after, new[0]), DIGITS))
    sums = pending.sum(axis=1)
    if sums.min() < 1 or sums.sum() < ENOUGH:
        return replace(after, pending=np.zeros_like(pending) if sums.sum() >= ONE_SIDED_MOST else pending)
    after = _advanced(policy, after, pending)
    return replace(after, failed=failure(policy, after.failed, after.critical.log_e, after.minor.log_e))


def judge(policy: Policy, state: State) -> MetricVerdict:
    """The verdict now; estimate and interval: how many times as often the candidate is slow."""
    bound = _shown_bound(state)
    counts = _at_bound(state, bound)
    estimate, low, high = crude_interval(policy, counts)
    sentence = describe(counts, estimate, low, high, _slow(state, bound))
    kind, reason, message, needed = _conclusion(policy, state, sentence)
    return MetricVerdict(
        policy.metric,
        policy.severity,
        kind,
        reason,
        message,
        max(state.critical.log_e, state.minor.log_e),
        estimate,
        low,
        high,
        int(state.candidate.sum()),
        needed,
        state.at,
    )


def quantile(bounds: tuple[float, ...], counts: Floats, share: float) -> float | None:
    """The value under which `share` of the requests are, interpolated within its bucket. For display, never to decide.

    None when there are no requests; the largest bound when the quantile lies beyond it.
    """
    total = float(counts.sum())
    if total == 0.0 or not bounds:
        return None
    below = np.cumsum(counts)
    index = int(np.searchsorted(below, share * total))
    if index >= len(bounds):
        return bounds[-1]
    start = bounds[index - 1] if index else min(0.0, bounds[0])
    before = float(below[index - 1]) if index else 0.0
    inside = float(counts[index])
    return start + (bounds[index] - start) * ((share * total - before) / inside if inside else 1.0)


def choose_bounds(bounds: tuple[float, ...], counts: Floats, most: int = MOST_BOUNDS) -> tuple[float, ...]:
    """At most `most` of the bounds: the neighbouring buckets with the fewest requests are merged, the lowest first.

    `counts`: of both arms together, so that the choice does not depend on which arm a request belongs to.
    """
    kept, buckets = list(bounds), [float(value) for value in counts]
    while len(kept) > most:
        index = min(range(len(kept)), key=lambda i: buckets[i] + buckets[i + 1])
        buckets[index : index + 2] = [buckets[index] + buckets[index + 1]]
        del kept[index]
    return tuple(kept)


def write(state: State) -> Evidence:
    """As JSON."""
    return {
        "kind": Kind.LATENCY.value,
        "at": state.at,
        "bounds": list(state.bounds),
        "unit": state.unit,
        "candidate": state.candidate.astype(int).tolist(),
        "stable": state.stable.astype(int).tolist(),
        "pending": state.pending.astype(int).ravel().tolist() if state.pending.any() else [],
        "critical": state.critical.as_list(),
        "minor": state.minor.as_list(),
        "better": [*state.better, state.low],
        "failed": state.failed,
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    bounds = tuple(floats(evidence, "bounds"))
    buckets, weights = len(bounds) + 1, _prior(len(bounds)).size + 1
    body, tail, low = floats(evidence, "better", 3)
    pending = np.zeros(2 * buckets)
    if evidence.get("pending") != []:
        pending = np.array(floats(evidence, "pending", 2 * buckets))
    return State(
        number(evidence, "at"),
        bounds,
        word(evidence, "unit"),
        np.array(floats(evidence, "candidate", buckets)),
        np.array(floats(evidence, "stable", buckets)),
        pending.reshape(2, buckets),
        Mixture.of(floats(evidence, "critical", weights)),
        Mixture.of(floats(evidence, "minor", weights)),
        (body, tail),
        low,
        word(evidence, "failed"),
    )


def _empty(tick: HistogramTick) -> State:
    pooled = np.array(tick.candidate, dtype=np.float64) + np.array(tick.stable, dtype=np.float64)
    bounds = choose_bounds(tick.bounds, pooled)
    none = np.zeros(len(bounds) + 1)
    start = begin(_prior(len(bounds)))
    return State(tick.at, bounds, tick.unit, none, none, np.stack([none, none]), start, start, (0.0, 0.0), 0.0, "")


def _prior(bounds: int) -> Floats:
    """Half of the mass on the bounds, half on the log-rank process, evenly over the alternatives."""
    prior = np.concatenate([np.full(bounds, 0.5 / bounds), [0.5]])
    return np.repeat(prior / ALTERNATIVES.size, ALTERNATIVES.size)


def _regroup(tick: HistogramTick, bounds: tuple[float, ...], counts: tuple[int, ...]) -> Floats:
    """Counts of one arm between the kept bounds."""
    positions = {bound: index for index, bound in enumerate(tick.bounds)}
    missing = [text.number(bound) for bound in bounds if bound not in positions]
    if missing:
        message = f"the histogram's buckets have changed: no bound at {', '.join(missing)} any more"
        raise Unusable(Reason.PARTIAL, message)
    starts = [0, *(positions[bound] + 1 for bound in bounds)]
    return np.add.reduceat(np.array(counts, dtype=np.float64), starts)


def _advanced(policy: Policy, state: State, table: Floats) -> State:
    """The state with the evidence of one more table: the buckets of both arms, shape (2, buckets)."""
    bounds = len(state.bounds)
    ratios = np.array([1.0, policy.minimum_detectable_effect, CRITICAL_RATIO, TOLERANCE])
    critical, minor = CRITICAL_RATIO * ALTERNATIVES, TOLERANCE * ALTERNATIVES
    logs = _log_likelihoods(table, np.log(np.concatenate([ratios, critical, minor])))
    logs /= policy.overdispersion
    worse = slice(4, 4 + ALTERNATIVES.size), slice(4 + ALTERNATIVES.size, None)
    prior = _prior(bounds)
    harmless = logs[:bounds, 0] - logs[:bounds, 1]
    body, tail = (
        min(before + float(harmless[index]), PASS_THRESHOLD + CAP)
        for before, index in zip(state.better, _body_and_tail(state), strict=True)
    )
    return replace(
        state,
        pending=np.zeros_like(table),
        critical=_round(advance(state.critical, (logs[:, worse[0]] - logs[:, 2:3]).ravel(), prior, policy.hazard)),
        minor=_round(advance(state.minor, (logs[:, worse[1]] - logs[:, 3:4]).ravel(), prior, policy.hazard)),
        better=(round(body, DIGITS), round(tail, DIGITS)),
    )


def _round(mixture: Mixture) -> Mixture:
    """Short enough to store. Done when the weights change, so that the evidence says the same after a restart."""
    return Mixture(np.round(mixture.started, DIGITS), round(mixture.waiting, DIGITS))


def _log_likelihoods(table: Floats, log_odds: Floats) -> Floats:
    """Log-likelihoods of all odds ratios: one row per bound, then one for the log-rank process."""
    left = table[:, ::-1].cumsum(axis=1)[:, ::-1]  # requests in this bucket or a slower one
    at_risk, slower, done = left[:, :-1], left[:, 1:], table[:, :-1]
    everyone = np.broadcast_to(left[:, :1], slower.shape)
    # The log-rank tables have the arms swapped: a slow candidate is one that stable outruns.
    first, second = np.concatenate([everyone[0], at_risk[1]]), np.concatenate([everyone[1], at_risk[0]])
    events = np.concatenate([slower.sum(axis=0), done.sum(axis=0)])
    logs = log_likelihoods(first, second, events, np.concatenate([slower[0], done[1]]), log_odds)
    bounds = slower.shape[1]
    return np.concatenate([logs[:bounds], logs[bounds:].sum(axis=0, keepdims=True)])


def _body_and_tail(state: State) -> tuple[int, int]:
    """Indices of the bound that splits all requests best, and of the tail's bound. Looks at both arms together."""
    pooled = state.candidate + state.stable
    beyond = pooled[::-1].cumsum()[::-1][1:] / max(1.0, float(pooled.sum()))
    body = int(np.argmin(np.abs(beyond - 0.5)))
    tail = int(np.argmax(beyond <= TAIL)) if bool((beyond <= TAIL).any()) else len(state.bounds) - 1
    return body, tail


def _few_in_tail(policy: Policy, state: State, candidate: Floats) -> float:
    """Log evidence that almost none of the candidate's requests are beyond the tail's bound."""
    beyond = float(candidate[_body_and_tail(state)[1] + 1 :].sum())
    return not_worse_than_floor(policy, state.low, float(candidate.sum()), beyond)


def _at_bound(state: State, index: int) -> Counts:
    """All requests of both arms, and those slower than a bound."""
    candidate, stable = state.candidate, state.stable
    slower = candidate[index + 1 :].sum(), stable[index + 1 :].sum()
    return Counts(int(candidate.sum()), int(slower[0]), int(stable.sum()), int(slower[1]))


def _shown_bound(state: State) -> int:
    """The bound that the message names: the one with the strongest evidence if there is any, otherwise the tail's."""
    by_bound = state.minor.started[: -ALTERNATIVES.size].reshape(-1, ALTERNATIVES.size).max(axis=1)
    return int(np.argmax(by_bound)) if state.minor.log_e > 1.0 else _body_and_tail(state)[1]


def _slow(state: State, index: int) -> str:
    bound = f"{text.number(state.bounds[index])} {state.unit}".strip()
    return f"took longer than {bound}" if state.unit else f"were over {bound}"


def _conclusion(policy: Policy, state: State, sentence: str) -> Conclusion:
    cleared = f"not {text.factor(policy.minimum_detectable_effect)} times as often slow"
    received, reason = bool(state.candidate.any()), Reason.WORSE_THAN_STABLE
    return conclude(received, state.failed, reason, lambda: _needed(policy, state), sentence, cleared)


def _needed(policy: Policy, state: State) -> int | None:
    """Candidate requests until a Pass can be expected; 0: now; None: unknown."""
    body, tail = _body_and_tail(state)
    tail_fine = max(state.better[1], state.low) >= PASS_THRESHOLD
    if tail_fine and (body == tail or state.better[0] >= PASS_THRESHOLD):
        return 0
    requests, others = float(state.candidate.sum()), float(state.stable.sum())
    if not others:
        return None
    rate = max(_at_bound(state, tail).stable_share, FLOOR)
    share = requests / (requests + others)
    by_power = requests_to_catch(
        policy, rate, share, policy.minimum_detectable_effect, cost=-float(begin(_prior(len(state.bounds))).started[0])
    )
    return None if math.isinf(by_power) else math.ceil(max(0.0, by_power - requests))
