"""Is the candidate slower than stable, anywhere in the distribution? Works on the counts of histogram buckets.

Quantiles are never compared: a quantile read from buckets is an interpolation (with common default buckets it reads
420 ms where 323 ms is true). What can be counted exactly is how many requests took longer than a bucket bound.

A failure takes two things, both now:

1. *Proof* that it is slower. Guaranteed, like ratio.py and by the same Fisher tables: when at every bound the
   candidate's odds of being slower, and in every bucket its hazard odds of *not* finishing, are at most TOLERANCE times
   stable's, FailMinor is ever reached with probability at most `alpha_minor`; the same for CRITICAL_RATIO and
   FailCritical. Half of the evidence is the average over the bounds of "slower than this bound", which finds a heavier
   tail; half is a log-rank e-process over the buckets (each bucket is a table of those who finish in it among all
   who have not finished before: Cox 1972, as an e-process ter Schure et al. 2021), which finds a shift of the whole.
2. *Evidence that it matters*: that the difference is more than the tolerance, rather than less. The same tables,
   against the odds of a candidate that is slower by just the tolerance (tolerance.py). It is an e-process for that one,
   and it has to outweigh its opposite (MATTERS), not to be proof: to prove 30% slower to be more than 20% slower takes
   five times the requests that it takes to prove it slower, by Wald's bound. So one that is slower by just the
   tolerance is rolled back or not as chance has it, one that is slower by half of it hardly ever; the bench has both.

Heuristic: dividing by `overdispersion`, and the interpolation in tolerance.py.

While pods warm up (warmup.py) nothing of this is counted, but a candidate that is COLD times the tolerance slower is
slow and not cold: that is judged by itself, against that much, with its own part of alpha (COLD_SHARE).

Pass needs evidence that it is not `minimum_detectable_effect` times as often slow as the tolerance allows, in the
body (the bound that splits the requests best) and in the tail (the lowest bound with at most 5% beyond it). Bounds at
which the tolerance allows everything are neither.

Kept weights are rounded down to a thousandth of a nat, and of the bounds only some are kept (buckets.py), so that the
evidence stays small.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from serin.analysis import text, warmup
from serin.analysis.buckets import choose_bounds, regroup, tables_of
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
from serin.analysis.evidence import (
    Evidence,
    Kind,
    Unreadable,
    Unusable,
    check_counts,
    check_histogram,
    count_array,
    floats,
    number,
    proven,
    word,
)
from serin.analysis.hypergeometric import Floats, log_likelihoods
from serin.analysis.power import (
    bernoulli_moments,
    expected_rate,
    first_passage,
    log_likelihood_ratio_moments,
    requests_to_catch,
)
from serin.analysis.ratio import (
    ENOUGH,
    ONE_SIDED_MOST,
    Counts,
    crude_interval,
    describe,
    floor_gains,
    not_worse_than_floor,
)
from serin.analysis.sequential import Mixture, advance, begin
from serin.analysis.tolerance import MOST, Allowed, Tolerance, allowed
from serin.analysis.types import HistogramTick, Lines, MetricVerdict, Policy
from serin.analysis.warmup import WarmUp
from serin.api.conditions import Reason

ALTERNATIVES: Floats = np.array([2.0, 10.0])  # times the odds that the null allows
LOG_ODDS: Floats = np.log(np.concatenate([[c, *(c * ALTERNATIVES)] for c in (CRITICAL_RATIO, TOLERANCE)]))
MORE = 1.1  # times slower than the tolerance: what "it matters" is weighed for in the log-rank process
HEAVIER = 3.0  # times the odds of being slower that the tolerance allows, at each bound
SHIFT = 0.7  # of the evidence that it matters: the log-rank process's part, for nearly all regressions are a shift
MATTERS = 0.0  # nats: evidence for more than the tolerance outweighs that for less
# The same where stable's pods are known to differ. The candidate's node is likely to be slower there, so proof of that
# comes soon, and a handful of requests outweighs nothing by a little as chance has it.
MATTERS_BETWEEN_PODS = 0.5
COLD = 20.0  # tolerances that a candidate may be slower while pods warm up: with the defaults 5 times, and 100 ms
COLD_HEAVIER = 5.0  # times the odds that this allows
COLD_SHARE = 0.05  # of alpha
TAIL = 0.05
DIGITS = 3


@dataclass(frozen=True, slots=True)
class State:
    """What is kept between ticks.

    `bounds`: those kept, with `unit`. `candidate`, `stable`: all requests per kept bucket; `pending`: both arms' of
    ticks too small to judge, shape (2, buckets). `critical`, `minor`: evidence against the two nulls, alternatives
    running fastest, bounds before log-rank. `matters`: that the difference is more than the tolerance; `cold`: that it
    is COLD times that, of ticks in the warm-up. `better`: log evidence of no harm in body and tail; `low`: that almost
    no request is beyond the tail's bound. `counted`: time of the newest tick that was not left out, 0: none was.
    """

    at: float
    bounds: tuple[float, ...]
    unit: str
    candidate: Floats
    stable: Floats
    pending: Floats
    critical: Mixture
    minor: Mixture
    matters: Mixture
    cold: Mixture
    better: tuple[float, float]
    low: float
    failed: str
    counted: float
    warm_up: WarmUp


def fold(policy: Policy, before: State | None, tick: HistogramTick) -> State:
    """The state after `tick`. Raises `Unusable` when the tick's numbers make no sense."""
    check_histogram(tick)
    if not tick.bounds:
        raise Unusable(Reason.PARTIAL, "the histogram has a single bucket; nothing can be told from it")
    state = before or _empty(tick)
    new = np.stack([regroup(tick, state.bounds, arm) for arm in (tick.candidate, tick.stable)])
    warm_up, left_out = warmup.leave_out(policy, state.warm_up, tick)
    state = replace(state, at=tick.at, warm_up=warm_up)
    if left_out:
        return _cold(policy, state, new)
    pending = state.pending + new
    after = replace(
        state, counted=tick.at, candidate=state.candidate + new[0], stable=state.stable + new[1], pending=pending
    )
    may = _allowed(policy, after)
    places = _body_and_tail(after, may)
    after = replace(after, low=round(_few_in_tail(policy, after, places[1], new[0]), DIGITS))
    sums = pending.sum(axis=1)
    if sums.min() < 1 or sums.sum() < ENOUGH:
        return replace(after, pending=np.zeros_like(pending) if sums.sum() >= ONE_SIDED_MOST else pending)
    after = _advanced(policy, after, may, places, pending)
    if after.matters.log_e < _weight(policy):
        return after
    share = math.log1p(-COLD_SHARE)
    return replace(after, failed=failure(policy, after.failed, after.critical.log_e + share, after.minor.log_e + share))


def judge(policy: Policy, state: State) -> MetricVerdict:
    """The verdict now; estimate and interval: how many times as often the candidate is slow."""
    may = _allowed(policy, state)
    places = _body_and_tail(state, may)
    bound = _shown_bound(policy, state, may, places[1])
    counts = _at_bound(state, bound)
    estimate, low, high = crude_interval(policy, counts)
    sentence = describe(counts, estimate, low, high, _slow(state, bound)) if state.counted else ""
    kind, reason, message, needed = _conclusion(policy, state, places, may, sentence)
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
        state.counted or None,
        **_lines(policy, counts, float(may.slower[bound])),
    )


def _lines(policy: Policy, counts: Counts, log_odds: float) -> Lines:
    """How many times as often it may be slow, by the tolerance's odds; none where it allows everything."""
    if log_odds >= MOST:
        return {}
    odds, share = math.exp(log_odds), counts.stable_share
    allowed_times = odds / (1.0 - share + share * odds)
    return {"fails_at": (allowed_times,), "passes_at": policy.minimum_detectable_effect * allowed_times}


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
        "critical": state.critical.as_short_list(),
        "minor": state.minor.as_short_list(),
        "matters": state.matters.as_short_list(),
        "cold": state.cold.as_short_list() if state.warm_up.requests else [],
        "better": [*state.better, state.low],
        "failed": state.failed,
        "counted": state.counted,
        "warmUp": state.warm_up.as_list(),
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    bounds = tuple(floats(evidence, "bounds"))
    if not bounds or any(high <= low for low, high in pairwise(bounds)):
        raise Unreadable(f"bounds: expected ascending numbers, got {bounds}")
    buckets, weights = len(bounds) + 1, _prior(len(bounds)).size + 1
    body, tail, low = floats(evidence, "better", 3)
    pending = np.zeros(2 * buckets)
    if evidence.get("pending") != []:
        pending = count_array(evidence, "pending", 2 * buckets)
    return State(
        number(evidence, "at"),
        bounds,
        word(evidence, "unit"),
        count_array(evidence, "candidate", buckets),
        count_array(evidence, "stable", buckets),
        pending.reshape(2, buckets),
        _mixture(evidence, "critical", weights),
        _mixture(evidence, "minor", weights),
        _mixture(evidence, "matters", len(bounds) + 2),
        begin(_even(len(bounds))).rounded() if evidence.get("cold") == [] else _mixture(evidence, "cold", buckets),
        (body, tail),
        low,
        proven(evidence),
        number(evidence, "counted"),
        warmup.read(evidence),
    )


def _mixture(evidence: Evidence, key: str, length: int) -> Mixture:
    numbers = floats(evidence, key, length)
    check_counts(key, list(map(abs, numbers)))  # or they are too large to be stored
    return Mixture.of_short_list(numbers)


def _empty(tick: HistogramTick) -> State:
    pooled = np.array(tick.candidate, dtype=np.float64) + np.array(tick.stable, dtype=np.float64)
    bounds = choose_bounds(tick.bounds, pooled)
    none = np.zeros(len(bounds) + 1)
    start = begin(_prior(len(bounds))).rounded()
    matters, cold = begin(_matters_prior(len(bounds))).rounded(), begin(_even(len(bounds))).rounded()
    both = np.stack([none, none])
    return State(
        tick.at, bounds, tick.unit, none, none, both, start, start, matters, cold, (0.0, 0.0), 0.0, "", 0.0, WarmUp()
    )


def _prior(bounds: int) -> Floats:
    """Half of the mass on the bounds, half on the log-rank process, evenly over the alternatives."""
    prior = np.concatenate([np.full(bounds, 0.5 / bounds), [0.5]])
    return np.repeat(prior / ALTERNATIVES.size, ALTERNATIVES.size)


def _even(bounds: int) -> Floats:
    """The same mass on every bound."""
    return np.full(bounds, 1.0 / bounds)


def _matters_prior(bounds: int) -> Floats:
    """SHIFT on the log-rank process, the rest evenly on the bounds."""
    return np.append((1.0 - SHIFT) * _even(bounds), SHIFT)


def _advanced(policy: Policy, state: State, may: Allowed, places: tuple[int, int], table: Floats) -> State:
    """The state with the evidence of one more table: the buckets of both arms, shape (2, buckets)."""
    bounds = len(state.bounds)
    beside = _beside_tolerance(policy, state, may)
    odds = np.concatenate([np.tile(LOG_ODDS, (beside.shape[0], 1)), beside], axis=1)
    rows = log_likelihoods(*tables_of(table), odds) / policy.overdispersion
    # What the tolerance allows is no evidence of more than that, what is faster is evidence of less.
    more = rows[:, 7] - rows[:, 6]
    more = _summed(np.where(may.everything(), np.minimum(more, 0.0), more))
    logs = _summed(rows)
    worse, minor = logs[:, 1:3] - logs[:, :1], logs[:, 4:6] - logs[:, 3:4]
    # Fine is a candidate that is no slower at all, or one that is as slow as it may be.
    harmless = np.logaddexp(logs[:bounds, 6], logs[:bounds, 3]) - math.log(2.0) - logs[:bounds, 8]
    harmless = np.where(may.testable(), harmless, 0.0)
    prior = _prior(bounds)
    body, tail = (
        min(before + float(harmless[index]), PASS_THRESHOLD + CAP)
        for before, index in zip(state.better, places, strict=True)
    )
    return replace(
        state,
        pending=np.zeros_like(table),
        critical=advance(state.critical, worse.ravel(), prior, policy.hazard).rounded(),
        minor=advance(state.minor, minor.ravel(), prior, policy.hazard).rounded(),
        matters=advance(state.matters, more, _matters_prior(bounds), policy.hazard).rounded(),
        better=(round(body, DIGITS), round(tail, DIGITS)),
    )


def _beside_tolerance(policy: Policy, state: State, may: Allowed) -> Floats:
    """Log odds of each table for a candidate that is slower by just the tolerance, by more, and by far more.

    Far more: `minimum_detectable_effect` times as often slow at the bounds. Shape (tables, 3).
    """
    beyond = _allowed(policy, state, MORE).sooner
    beyond = np.where(may.sooner >= MOST, MOST + math.log(HEAVIER), beyond)
    more = np.concatenate([may.slower + math.log(HEAVIER), beyond])
    far_more = np.concatenate([may.slower + math.log(policy.minimum_detectable_effect), may.sooner])
    return np.stack([np.concatenate([may.slower, may.sooner]), more, far_more], axis=1)


def _cold(policy: Policy, state: State, table: Floats) -> State:
    """The state with the evidence of a tick in the warm-up: is the candidate slower than any pod that warms up?

    Exact, without interpolation: requests of the candidate that took longer than the first bound that is not under what
    is let pass at another bound, beside those of stable that took longer than that other bound.
    """
    requests = table.sum(axis=1)
    if requests.min() < 1.0:
        return state
    bounds = np.array(state.bounds)
    later = np.searchsorted(bounds, _tolerance(_far(policy), state.unit).after(bounds) * (1.0 - 1e-9))
    compared = later < bounds.size
    slow = table[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    candidate, stable = slow[0, later[compared]], slow[1, compared]
    first, second = (np.full(candidate.size, one) for one in requests)
    gained = np.zeros(bounds.size)
    if candidate.size:
        logs = log_likelihoods(first, second, candidate + stable, candidate, np.log([1.0, COLD_HEAVIER]))
        gained[compared] = (logs[:, 1] - logs[:, 0]) / policy.overdispersion
    cold = advance(state.cold, gained, _even(bounds.size), policy.hazard).rounded()
    evidence = cold.log_e + math.log(COLD_SHARE)
    return replace(state, cold=cold, failed=failure(policy, state.failed, evidence, evidence))


def _far(policy: Policy) -> Policy:
    """The policy that lets pass what a warm-up may explain."""
    return replace(policy, tolerance=COLD * policy.tolerance, tolerance_least=COLD * policy.tolerance_least)


def _tolerance(policy: Policy, unit: str) -> Tolerance:
    """What is let pass, in the unit of the bounds; of a plain number only the share."""
    least = {"s": 1.0, "ms": 1000.0}.get(unit, 0.0) * policy.tolerance_least
    return Tolerance((1.0 + policy.tolerance) * policy.slowest_pod - 1.0, least)


def _allowed(policy: Policy, state: State, more: float = 1.0) -> Allowed:
    return allowed(state.bounds, tuple(state.stable.tolist()), _tolerance(policy, state.unit), more)


def _summed(rows: Floats) -> Floats:
    """Of one row per bound and one per bucket: those of the bounds, and one for the log-rank process."""
    bounds = rows.shape[0] // 2
    return np.concatenate([rows[:bounds], rows[bounds:].sum(axis=0, keepdims=True)])


def _body_and_tail(state: State, may: Allowed) -> tuple[int, int]:
    """Indices of the bound that splits all requests best, and of the tail's bound. Looks at both arms together.

    Of the bounds at which the tolerance does not allow everything; where it does at all, the last one.
    """
    pooled = state.candidate + state.stable
    beyond = pooled[::-1].cumsum()[::-1][1:] / max(1.0, float(pooled.sum()))
    testable = may.testable()
    if not testable.any():
        return len(state.bounds) - 1, len(state.bounds) - 1
    body = int(np.argmin(np.where(testable, np.abs(beyond - 0.5), np.inf)))
    thin = testable & (beyond <= TAIL)
    return body, int(np.argmax(thin)) if thin.any() else int(np.flatnonzero(testable)[-1])


def _few_in_tail(policy: Policy, state: State, tail: int, candidate: Floats) -> float:
    """Log evidence that almost none of the candidate's requests are beyond the tail's bound."""
    beyond = float(candidate[tail + 1 :].sum())
    return not_worse_than_floor(policy, state.low, float(candidate.sum()), beyond)


def _at_bound(state: State, index: int) -> Counts:
    """All requests of both arms, and those slower than a bound."""
    candidate, stable = state.candidate, state.stable
    slower = candidate[index + 1 :].sum(), stable[index + 1 :].sum()
    return Counts(int(candidate.sum()), int(slower[0]), int(stable.sum()), int(slower[1]))


def _weight(policy: Policy) -> float:
    """Nats that the evidence for more than the tolerance takes."""
    return MATTERS_BETWEEN_PODS if policy.slowest_pod > 1.0 else MATTERS


def _shown_bound(policy: Policy, state: State, may: Allowed, tail: int) -> int:
    """The bound that the message names: the one with the strongest evidence if there is any, otherwise the tail's."""
    if state.minor.log_e <= 1.0:
        return tail
    if state.matters.log_e >= _weight(policy):  # more than the tolerance at some bound: show one of those
        return int(np.argmax(np.where(may.testable(), _by_bound(state) + state.matters.started[:-1], -np.inf)))
    return int(np.argmax(_by_bound(state)))


def _by_bound(state: State) -> Floats:
    found: Floats = state.minor.started[: -ALTERNATIVES.size].reshape(-1, ALTERNATIVES.size).max(axis=1)
    return found


def _slow(state: State, index: int) -> str:
    bound = f"{text.number(state.bounds[index])} {state.unit}".strip()
    return f"took longer than {bound}" if state.unit else f"were over {bound}"


def _conclusion(policy: Policy, state: State, places: tuple[int, int], may: Allowed, sentence: str) -> Conclusion:
    if not state.counted and state.warm_up.requests:
        than = f"stable by more than {_words(_far(policy), state.unit)}"
        return warmup.conclude(policy, state.warm_up, state.failed, Reason.WORSE_THAN_STABLE, than)
    slower = f"{'slower' if state.unit else 'higher'} by more than {_words(policy, state.unit)}"
    if not state.failed and state.minor.log_e >= -math.log(policy.alpha_minor):
        sentence = f"{sentence}, but not {slower}, which is let pass"
    elif state.failed:
        sentence = f"{sentence}; {slower}"
    cleared = f"not {text.factor(policy.minimum_detectable_effect)} times as often {slower}"
    received, reason = bool(state.candidate.any()), Reason.WORSE_THAN_STABLE
    return conclude(received, state.failed, reason, lambda: _needed(policy, state, places, may), sentence, cleared)


def _words(policy: Policy, unit: str) -> str:
    """The tolerance: `20% and 5 ms`."""
    words = f"{100.0 * policy.tolerance:.3g}%"
    if unit and policy.tolerance_least:
        words += f" and {text.number(1000.0 * policy.tolerance_least)} ms"
    if policy.slowest_pod > 1.0:
        words += f" beyond the {text.factor(policy.slowest_pod)} times that one of stable's own pods took"
    return words


def _needed(policy: Policy, state: State, places: tuple[int, int], may: Allowed) -> int | None:
    """Candidate requests until a Pass can be expected; 0: now; None: unknown."""
    body, tail = places
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
    if requests >= by_power:
        return 0
    soonest = min(by_power - requests, _outlook(policy, state, places, may, share))
    return None if math.isinf(soonest) else max(1, math.ceil(soonest))


def _outlook(policy: Policy, state: State, places: tuple[int, int], may: Allowed, share: float) -> float:
    """Candidate requests until the evidence is a Pass in body and tail, if nothing is wrong; inf: none is in sight."""
    effect = policy.minimum_detectable_effect
    ways = []
    for place, better in zip(places, state.better, strict=True):
        seen = _at_bound(state, place)
        rate = expected_rate(seen.candidate + seen.stable, seen.candidate_bad + seen.stable_bad)
        missing = (PASS_THRESHOLD - better) * policy.overdispersion
        moments = log_likelihood_ratio_moments(rate, share, 1.0, effect * math.exp(float(may.slower[place])))
        ways.append((first_passage(*moments, missing), rate))
    (body, _), (tail, rate) = ways
    low = (PASS_THRESHOLD - state.low) * policy.overdispersion
    few = first_passage(*bernoulli_moments(rate, floor_gains(effect)), low)
    return max(0.0 if places[0] == places[1] else body, min(tail, few))
