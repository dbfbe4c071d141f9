"""Does the candidate answer differently from stable, in the same minutes? Is the *model* different?

Guaranteed: if both answer with the same distribution, whatever it is and however it moves, a difference is ever
reported with probability at most `alpha_minor` (`alpha_critical` for FailCritical). Half of the evidence is a two-sided
log-rank e-process (ordered buckets only), half the two-sample e-value of Turner, Ly & Grunwald (2024) for categories:
each arm's shares are estimated from the ticks before, shrunk towards the common ones by 50, 500 or 5000 requests. A
difference must also matter: a PSI under NEGLIGIBLE is let pass.

The promise needs categories that are known before a tick is counted. A category that appears counts as OTHER in that
tick and by its own name from the next tick on; the first 19 get names (of one tick's, the most frequent), the rest
stay OTHER. Their names are part of the evidence, so a restart changes nothing. Buckets whose bounds change are merged
until both have the same bounds, which is exact.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from serin.analysis import psi, text
from serin.analysis.categories import merged, most_moved, occupied, sorted_in, split_off
from serin.analysis.decision import failure
from serin.analysis.evidence import (
    Evidence,
    Kind,
    Unreadable,
    Unusable,
    count_array,
    floats,
    number,
    proven,
    words,
)
from serin.analysis.hypergeometric import Floats, log_likelihoods
from serin.analysis.sequential import Mixture, advance, begin
from serin.analysis.types import OTHER, DistributionTick, MetricVerdict, Policy
from serin.api.conditions import Reason
from serin.api.verdicts import Verdict

SHRINKAGE: Floats = np.array([50.0, 500.0, 5000.0])
HAZARDS: Floats = np.array([1.5, 2.5, 1.0 / 1.5, 1.0 / 2.5])
NEGLIGIBLE = 0.01  # PSI between the arms that is let pass, unless the policy's limit says otherwise


@dataclass(frozen=True, slots=True)
class State:
    """Counts of both arms so far, evidence of a difference, and the failure if it came to that.

    `categories`: names of the counts (upper bounds when `ordered`); unordered counts have one more, for OTHER. Empty
    for categories without names, which never change.
    """

    at: float
    candidate: Floats
    stable: Floats
    different: Mixture
    ordered: bool
    failed: str
    categories: tuple[str, ...] = ()


def fold(policy: Policy, before: State | None, tick: DistributionTick) -> State:
    """The state after `tick`."""
    prior = _prior(tick.ordered)
    state, candidate, stable = _aligned(before or _first(tick, prior), tick)
    logs = _plug_in(state, candidate, stable)
    if tick.ordered:
        logs = np.concatenate([logs, _log_rank(candidate, stable)])
    logs /= policy.overdispersion
    different = advance(state.different, logs, prior, policy.hazard)
    after = replace(
        state, at=tick.at, candidate=state.candidate + candidate, stable=state.stable + stable, different=different
    )
    both = bool(after.candidate.any() and after.stable.any())
    matters = both and psi.stability_index(*occupied(after.candidate, after.stable))[0] >= _negligible(policy)
    proven = different.log_e if matters else -math.inf
    return _learned(replace(after, failed=failure(policy, state.failed, proven, proven)), tick)


def judge(policy: Policy, state: State) -> MetricVerdict:
    """Estimate and interval are of the PSI between the arms, its bias removed."""
    if not (state.candidate.any() and state.stable.any()):
        return psi.no_answers(policy, state.at, "one of the versions has given no answers yet")
    threshold, requests = psi.threshold(policy), int(state.candidate.sum())
    index, low, high = psi.bounded(policy, state.candidate, state.stable)
    enough = psi.requests_missing(policy, state.candidate, state.stable) == 0
    kind, reason, needed = Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE, None
    if state.failed:
        kind, reason, needed = Verdict(state.failed), Reason.DIFFERENT_FROM_STABLE, 0
    elif enough and high < threshold:
        kind, reason, needed = Verdict.PASS, Reason.NOT_WORSE, 0
    else:
        needed = psi.requests_to_pass(policy, state.candidate, state.stable)
    message, log_e = _message(state, index, low, high), state.different.log_e
    return MetricVerdict(
        policy.metric,
        policy.severity,
        kind,
        reason,
        message,
        log_e,
        index,
        low,
        high,
        requests,
        needed,
        state.at,
        "PSI",
        fails_at=(_negligible(policy),),
        passes_at=threshold,
    )


def _message(state: State, index: float, low: float, high: float) -> str:
    message = (
        f"the candidate's answers differ from stable's by a PSI of {text.number(index)} "
        f"({text.number(low)} to {text.number(high)}; {text.count(state.candidate.sum())} answers)"
    )
    if state.failed:
        message += most_moved(state.categories, state.candidate, state.stable, ordered=state.ordered)
    return message


def write(state: State) -> Evidence:
    """As JSON."""
    return {
        "kind": Kind.DRIFT.value,
        "at": state.at,
        "candidate": state.candidate.astype(int).tolist(),
        "stable": state.stable.astype(int).tolist(),
        "different": state.different.as_list(),
        "ordered": state.ordered,
        "failed": state.failed,
        "categories": list(state.categories),
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    ordered = evidence.get("ordered") is True
    candidate, categories = count_array(evidence, "candidate"), words(evidence, "categories")
    if categories and len(categories) != candidate.size - (not ordered):
        raise Unreadable(f"{len(categories)} categories with {candidate.size} counts")
    return State(
        number(evidence, "at"),
        candidate,
        count_array(evidence, "stable", candidate.size),
        Mixture.of(floats(evidence, "different", _prior(ordered).size + 1)),
        ordered,
        proven(evidence),
        categories,
    )


def _first(tick: DistributionTick, prior: Floats) -> State:
    """Before the first tick: no category has a name yet, buckets have theirs."""
    named = bool(tick.categories) and not tick.ordered
    nothing = np.zeros(1 if named else len(tick.candidate))
    return State(0.0, nothing, nothing, begin(prior), tick.ordered, "", () if named else tick.categories)


def _aligned(state: State, tick: DistributionTick) -> tuple[State, Floats, Floats]:
    """The state, and the tick's counts of the candidate and of stable, all with the same entries."""
    if not tick.categories or tick.ordered:
        candidate, stable = psi.counts_of(tick.candidate), psi.counts_of(tick.stable)
    else:
        candidate, stable = psi.any_counts_of(tick.candidate), psi.any_counts_of(tick.stable)
    names = tick.categories
    if candidate.size != stable.size or tick.ordered != state.ordered or (names and len(names) != candidate.size):
        raise Unusable(Reason.PARTIAL, "the categories of the distribution have changed")
    if not names or (names == state.categories and tick.ordered):
        if candidate.size != state.candidate.size:
            raise Unusable(Reason.PARTIAL, "the categories of the distribution have changed")
        return state, candidate, stable
    if tick.ordered:
        shared = tuple(name for name in state.categories if name in names)
        if len(shared) < 2:
            raise Unusable(Reason.PARTIAL, "the histogram's bounds have changed, and none of them is as before")
        counted = [merged(state.categories, one, shared) for one in (state.candidate, state.stable)]
        coarser = replace(state, categories=shared, candidate=counted[0], stable=counted[1])
        return coarser, merged(names, candidate, shared), merged(names, stable, shared)
    if state.candidate.size != len(state.categories) + 1:
        raise Unusable(Reason.PARTIAL, "the categories of the distribution have names now, and had none")
    return state, sorted_in(state.categories, names, candidate), sorted_in(state.categories, names, stable)


def _learned(state: State, tick: DistributionTick) -> State:
    """Give the tick's new categories names, and their counts of this tick to them."""
    if tick.ordered or not tick.categories:
        return state
    seen = zip(tick.categories, tick.candidate, tick.stable, strict=True)
    new = [one for one in seen if one[0] not in (*state.categories, OTHER) and one[1] + one[2]]
    new = sorted(new, key=lambda one: (-one[1] - one[2], one[0]))[: psi.MOST - 1 - len(state.categories)]
    if not new:
        return state
    names, candidate, stable = zip(*new, strict=True)
    return replace(
        state,
        categories=(*state.categories, *names),
        candidate=split_off(state.candidate, candidate),
        stable=split_off(state.stable, stable),
    )


def _prior(ordered: bool) -> Floats:
    plug_in = np.full(SHRINKAGE.size, 1.0 / SHRINKAGE.size)
    if not ordered:
        return plug_in
    return np.concatenate([0.5 * plug_in, np.full(HAZARDS.size, 0.5 / HAZARDS.size)])


def _plug_in(state: State, candidate: Floats, stable: Floats) -> Floats:
    """Log e-values of one tick, one per shrinkage; shares are estimated from earlier ticks only."""
    requests, others = float(candidate.sum()), float(stable.sum())
    if not (requests and others):
        return np.zeros(SHRINKAGE.size)
    pooled = state.candidate + state.stable + 1.0
    common = SHRINKAGE[:, None] * (pooled / pooled.sum())
    first = (state.candidate + common) / (state.candidate.sum() + SHRINKAGE[:, None])
    second = (state.stable + common) / (state.stable.sum() + SHRINKAGE[:, None])
    share = requests / (requests + others)
    middle = share * first + (1.0 - share) * second
    logs: Floats = np.log(first / middle) @ candidate + np.log(second / middle) @ stable
    return logs


def _log_rank(candidate: Floats, stable: Floats) -> Floats:
    """Log e-values of one tick against equal hazards, one per alternative."""
    at_risk = [arm[::-1].cumsum()[::-1][:-1] for arm in (candidate, stable)]
    done = candidate[:-1], stable[:-1]
    odds = np.log(np.concatenate([[1.0], HAZARDS]))
    logs = log_likelihoods(at_risk[0], at_risk[1], done[0] + done[1], done[0], odds).sum(axis=0)
    gains: Floats = logs[1:] - logs[0]
    return gains


def _negligible(policy: Policy) -> float:
    return NEGLIGIBLE if policy.limit is None else policy.limit
