"""Has what the model says changed? Two questions that must not be confused.

Candidate against stable, in the same minutes: is the *model* different? Guaranteed: if both answer with the same
distribution, whatever it is and however it moves, a difference is ever reported with probability at most `alpha_minor`
(`alpha_critical` for FailCritical). Half of the evidence is a two-sided log-rank e-process (ordered buckets only), half
the two-sample e-value of Turner, Ly & Grunwald (2024) for categories: each arm's shares are estimated from the ticks
before, shrunk towards the common ones by 50, 500 or 5000 requests. A difference of next to nothing is let pass.

The promise needs categories that are known before a tick is counted. A category that appears counts as OTHER in that
tick and by its own name from the next tick on; the first 19 get names (of one tick's, the most frequent), the rest
stay OTHER. Their names are part of the evidence, so a restart changes nothing. Buckets whose bounds change are merged
until both have the same bounds, which is exact.

Live against a frozen reference: has the *world* moved? The population stability index with its bias removed,
PSI - (B-1)(1/n + 1/m), and bounds from its standard deviation sqrt(2 (B-1) (1/n + 1/m)^2 + 4 PSI (1/n + 1/m)). A
heuristic at a fixed number of looks: the reference is one sample, the world always moves a little, so what matters is
whether it moved by more than a threshold. No verdict before the PSI that no drift at all would give (chi-square, 99%)
is under the threshold. The verdict is about now and may be taken back; old counts fade.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtri, ndtri

from serin.analysis import text
from serin.analysis.categories import merged, most_moved, occupied, sorted_in, split_off
from serin.analysis.evidence import (
    Evidence,
    Kind,
    Unreadable,
    Unusable,
    array,
    check_count,
    floats,
    number,
    word,
    words,
)
from serin.analysis.hypergeometric import Floats, log_likelihoods
from serin.analysis.sequential import Mixture, advance, begin, failure
from serin.analysis.types import OTHER, DistributionTick, MetricVerdict, NoDataReason, Policy, ReferenceTick
from serin.api.verdicts import Verdict

SHRINKAGE: Floats = np.array([50.0, 500.0, 5000.0])
HAZARDS: Floats = np.array([1.5, 2.5, 1.0 / 1.5, 1.0 / 2.5])
THRESHOLD = 0.1  # PSI, unless the policy's limit says otherwise
NEGLIGIBLE = 0.01  # PSI between the arms that is let pass, unless the policy's limit says otherwise
MOST = 20  # categories or buckets, OTHER included
FADE = 20.0  # live counts are halved when there are this many times more than a verdict needs


@dataclass(frozen=True, slots=True)
class TwoSample:
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


@dataclass(frozen=True, slots=True)
class Live:
    """The candidate's live counts and stable's (both fading; stable's empty when unknown), and the reference's."""

    at: float
    live: Floats
    reference: Floats
    stable: Floats
    categories: tuple[str, ...] = ()


def fold_two_sample(policy: Policy, before: TwoSample | None, tick: DistributionTick) -> TwoSample:
    """The state after `tick`."""
    prior = _prior(tick.ordered)
    state, candidate, stable = _aligned(before or _first(tick, prior), tick)
    logs = _plug_in(state, candidate, stable)
    if tick.ordered:
        logs = np.concatenate([logs, _log_rank(candidate, stable)])
    logs /= max(1.0, policy.overdispersion)
    different = advance(state.different, logs, prior, 1.0 / max(1, policy.expected_ticks))
    after = replace(
        state, at=tick.at, candidate=state.candidate + candidate, stable=state.stable + stable, different=different
    )
    both = bool(after.candidate.any() and after.stable.any())
    matters = both and stability_index(*occupied(after.candidate, after.stable))[0] >= _negligible(policy)
    proven = different.log_e if matters else -math.inf
    return _learned(replace(after, failed=failure(policy, state.failed, proven, proven)), tick)


def fold_live(policy: Policy, before: Live | None, tick: ReferenceTick) -> Live:
    """The state after `tick`."""
    live, reference = _counts(tick.live), _counts(tick.reference)
    if live.size != reference.size:
        message = f"{live.size} live categories, but {reference.size} in the reference"
        raise Unusable(NoDataReason.PARTIAL, message)
    if not reference.any():
        raise Unusable(NoDataReason.SERIES_ABSENT, "the reference is empty")
    stable = _counts(tick.stable) if tick.stable else np.zeros(live.size)
    if before is not None and before.live.size == live.size and before.categories == tick.categories:
        live, stable = before.live + live, before.stable + stable
    needed = requests_needed(live.size, reference.sum(), _threshold(policy))
    return Live(tick.at, _faded(live, needed), reference, _faded(stable, needed), tick.categories)


def _faded(counts: Floats, needed: int | None) -> Floats:
    """Counts, halved when there are many more than a verdict needs."""
    halved: Floats = np.round(0.5 * counts)
    return halved if needed is not None and counts.sum() > FADE * needed else counts


def judge_two_sample(policy: Policy, state: TwoSample) -> MetricVerdict:
    """Estimate and interval are of the PSI between the arms, its bias removed."""
    if not (state.candidate.any() and state.stable.any()):
        return _silent(policy, state.at, "one of the versions has given no answers yet")
    threshold, requests = _threshold(policy), int(state.candidate.sum())
    index, low, high = _bounded(policy, state.candidate, state.stable)
    needed = _missing(state.candidate, state.stable, threshold)
    kind, reason = Verdict.INCONCLUSIVE, "GatheringEvidence"
    if state.failed:
        kind, reason, needed = Verdict(state.failed), "DifferentFromStable", 0
    elif needed == 0 and high < threshold:
        kind, reason = Verdict.PASS, "NotWorse"
    message = (
        f"the candidate's answers differ from stable's by a PSI of {text.number(index)} "
        f"({text.number(low)} to {text.number(high)}; {text.count(requests)} answers)"
    )
    if state.failed:
        message += most_moved(state.categories, state.candidate, state.stable, ordered=state.ordered)
    return MetricVerdict(
        policy.metric,
        policy.severity,
        kind,
        reason,
        message,
        state.different.log_e,
        index,
        low,
        high,
        requests,
        needed,
        state.at,
        "PSI",
    )


def judge_live(policy: Policy, state: Live) -> MetricVerdict:
    """Estimate and interval are of the PSI against the reference, its bias removed."""
    if not state.live.any():
        return _silent(policy, state.at, "no answers have been counted yet")
    threshold, requests = _threshold(policy), int(state.live.sum())
    index, low, high = _bounded(policy, state.live, state.reference)
    needed = _missing(state.live, state.reference, threshold)
    kind, reason = Verdict.INCONCLUSIVE, "GatheringEvidence"
    if needed == 0 and low > threshold:
        kind = Verdict.FAIL_MINOR
    elif needed == 0 and high < threshold:
        kind, reason = Verdict.PASS, "NotWorse"
    message = (
        f"the candidate's answers have moved from the reference by a PSI of {text.number(index)} "
        f"({text.number(low)} to {text.number(high)}), the threshold is {text.number(threshold)}"
    )
    if needed is None:
        message += f"; {text.count(state.reference.sum())} answers in the reference are too few for it"
    if kind is Verdict.FAIL_MINOR:
        reason, who = _who_moved(policy, state)
        message += who
    return MetricVerdict(
        policy.metric, policy.severity, kind, reason, message, 0.0, index, low, high, requests, needed, state.at, "PSI"
    )


def _who_moved(policy: Policy, state: Live) -> tuple[str, str]:
    """Reason and words: if stable has moved as well it is the world, and no rollback mends it."""
    if state.stable.any() and _missing(state.stable, state.reference, _threshold(policy)) == 0:
        index, low, high = _bounded(policy, state.stable, state.reference)
        if low > _threshold(policy):
            return "DriftedFromReference", f"; stable's have moved too ({text.number(index)}): the world has changed"
        if high < _threshold(policy):
            return "DifferentFromStable", f"; stable's have not ({text.number(index)}): it is this version"
    return "DriftedFromReference", ""


def _silent(policy: Policy, at: float, message: str) -> MetricVerdict:
    reason = NoDataReason.NO_TRAFFIC.value
    return MetricVerdict(policy.metric, policy.severity, Verdict.NO_DATA, reason, message, at=at)


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


def write_two_sample(state: TwoSample) -> Evidence:
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


def read_two_sample(evidence: Evidence) -> TwoSample:
    """From JSON; raises `Unreadable`."""
    ordered = evidence.get("ordered") is True
    candidate, categories = array(evidence, "candidate"), words(evidence, "categories")
    if categories and len(categories) != candidate.size - (not ordered):
        raise Unreadable(f"{len(categories)} categories with {candidate.size} counts")
    return TwoSample(
        number(evidence, "at"),
        candidate,
        array(evidence, "stable", candidate.size),
        Mixture.of(floats(evidence, "different", _prior(ordered).size + 1)),
        ordered,
        word(evidence, "failed"),
        categories,
    )


def write_live(state: Live) -> Evidence:
    """As JSON."""
    return {
        "kind": Kind.REFERENCE.value,
        "at": state.at,
        "live": state.live.astype(int).tolist(),
        "reference": state.reference.astype(int).tolist(),
        "stable": state.stable.astype(int).tolist(),
        "categories": list(state.categories),
    }


def read_live(evidence: Evidence) -> Live:
    """From JSON; raises `Unreadable`."""
    live, categories = array(evidence, "live"), words(evidence, "categories")
    if categories and len(categories) != live.size:
        raise Unreadable(f"{len(categories)} categories with {live.size} counts")
    return Live(
        number(evidence, "at"),
        live,
        array(evidence, "reference", live.size),
        array(evidence, "stable", live.size),
        categories,
    )


def _counts(counts: tuple[int, ...]) -> Floats:
    if not 2 <= len(counts) <= MOST:
        message = f"a distribution has 2 to {MOST} categories or buckets, got {len(counts)}; merge the rare ones"
        raise Unusable(NoDataReason.PARTIAL, message)
    return _checked(counts)


def _checked(counts: tuple[int, ...]) -> Floats:
    for value in counts:
        check_count("the answers in a category", value)
    return np.array(counts, dtype=np.float64)


def _first(tick: DistributionTick, prior: Floats) -> TwoSample:
    """Before the first tick: no category has a name yet, buckets have theirs."""
    named = bool(tick.categories) and not tick.ordered
    nothing = np.zeros(1 if named else len(tick.candidate))
    return TwoSample(0.0, nothing, nothing, begin(prior), tick.ordered, "", () if named else tick.categories)


def _aligned(state: TwoSample, tick: DistributionTick) -> tuple[TwoSample, Floats, Floats]:
    """The state, and the tick's counts of the candidate and of stable, all with the same entries."""
    if not tick.categories or tick.ordered:
        candidate, stable = _counts(tick.candidate), _counts(tick.stable)
    else:
        candidate, stable = _checked(tick.candidate), _checked(tick.stable)
    names = tick.categories
    if candidate.size != stable.size or tick.ordered != state.ordered or (names and len(names) != candidate.size):
        raise Unusable(NoDataReason.PARTIAL, "the categories of the distribution have changed")
    if not names or (names == state.categories and tick.ordered):
        if candidate.size != state.candidate.size:
            raise Unusable(NoDataReason.PARTIAL, "the categories of the distribution have changed")
        return state, candidate, stable
    if tick.ordered:
        shared = tuple(name for name in state.categories if name in names)
        if len(shared) < 2:
            raise Unusable(NoDataReason.PARTIAL, "the histogram's bounds have changed, and none of them is as before")
        counted = [merged(state.categories, one, shared) for one in (state.candidate, state.stable)]
        coarser = replace(state, categories=shared, candidate=counted[0], stable=counted[1])
        return coarser, merged(names, candidate, shared), merged(names, stable, shared)
    if state.candidate.size != len(state.categories) + 1:
        raise Unusable(NoDataReason.PARTIAL, "the categories of the distribution have names now, and had none")
    return state, sorted_in(state.categories, names, candidate), sorted_in(state.categories, names, stable)


def _learned(state: TwoSample, tick: DistributionTick) -> TwoSample:
    """Give the tick's new categories names, and their counts of this tick to them."""
    if tick.ordered or not tick.categories:
        return state
    seen = zip(tick.categories, tick.candidate, tick.stable, strict=True)
    new = [one for one in seen if one[0] not in (*state.categories, OTHER) and one[1] + one[2]]
    new = sorted(new, key=lambda one: (-one[1] - one[2], one[0]))[: MOST - 1 - len(state.categories)]
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


def _plug_in(state: TwoSample, candidate: Floats, stable: Floats) -> Floats:
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


def _threshold(policy: Policy) -> float:
    return THRESHOLD if policy.limit is None else policy.limit


def _bounded(policy: Policy, live: Floats, reference: Floats) -> tuple[float, float, float]:
    """The PSI with bounds that each miss with probability `alpha_minor`; what its bias takes below 0 is 0."""
    index, deviation = stability_index(*occupied(live, reference))
    reach = -float(ndtri(policy.alpha_minor)) * deviation
    return max(0.0, index), max(0.0, index - reach), index + reach


def _missing(live: Floats, reference: Floats, threshold: float) -> int | None:
    """Requests still needed before a verdict; None: it cannot be reached."""
    total, categories = float(reference.sum()), max(2, occupied(live, reference)[0].size)
    needed = requests_needed(categories, total, threshold) if total else None
    return None if needed is None else max(0, needed - int(live.sum()))
