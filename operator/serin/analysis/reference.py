"""Have the model's answers moved from how they were when a frozen reference was taken?

If they have, either the candidate is different or the data has drifted; a rollback helps only against the first.
Stable's answers tell the two apart: where they have moved as well, it is the data.

The PSI of psi.py, with a threshold: the reference is one sample and data always moves a little, so what matters is
whether it moved by more than that. No verdict before the PSI that no drift at all would give (chi-square, 99%) is under
the threshold. The verdict is about now and may be taken back; old counts fade.
"""

from dataclasses import dataclass

import numpy as np

from serin.analysis import psi, text
from serin.analysis.evidence import Evidence, Kind, Unreadable, Unusable, count_array, number, words
from serin.analysis.hypergeometric import Floats
from serin.analysis.types import Lines, MetricVerdict, Policy, ReferenceTick
from serin.api.conditions import Reason
from serin.api.verdicts import Verdict

FADE = 20.0  # live counts are halved when there are this many times more than a verdict needs


@dataclass(frozen=True, slots=True)
class State:
    """The candidate's live counts and stable's (both fading; stable's empty when unknown), and the reference's."""

    at: float
    live: Floats
    reference: Floats
    stable: Floats
    categories: tuple[str, ...] = ()


def fold(policy: Policy, before: State | None, tick: ReferenceTick) -> State:
    """The state after `tick`."""
    live, reference = psi.counts_of(tick.live), psi.counts_of(tick.reference)
    if live.size != reference.size:
        message = f"{live.size} live categories, but {reference.size} in the reference"
        raise Unusable(Reason.PARTIAL, message)
    if not reference.any():
        raise Unusable(Reason.SERIES_ABSENT, "the reference is empty")
    stable = psi.counts_of(tick.stable) if tick.stable else np.zeros(live.size)
    if before is not None and before.live.size == live.size and before.categories == tick.categories:
        live, stable = before.live + live, before.stable + stable
    needed = psi.requests_needed(live.size, reference.sum(), psi.threshold(policy))
    return State(tick.at, _faded(live, needed), reference, _faded(stable, needed), tick.categories)


def judge(policy: Policy, state: State) -> MetricVerdict:
    """Estimate and interval are of the PSI against the reference, its bias removed."""
    if not state.live.any():
        return psi.no_answers(policy, state.at, "no answers have been counted yet")
    threshold, requests = psi.threshold(policy), int(state.live.sum())
    index, low, high = psi.bounded(policy, state.live, state.reference)
    needed = psi.requests_missing(policy, state.live, state.reference)
    kind, reason, both = Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE, False
    if needed == 0 and low > threshold:
        kind = Verdict.FAIL_MINOR
    elif needed == 0 and high < threshold:
        kind, reason = Verdict.PASS, Reason.NOT_WORSE
    message = (
        f"the candidate's answers have moved from the reference by a PSI of {text.number(index)} "
        f"({text.number(low)} to {text.number(high)}), the threshold is {text.number(threshold)}"
    )
    if needed is None:
        message += f"; {text.count(state.reference.sum())} answers in the reference are too few for it"
    if kind is Verdict.FAIL_MINOR:
        reason, who, both = _who_moved(policy, state)
        message += who
    numbers = (0.0, index, low, high, requests, needed, state.at, "PSI")
    lines: Lines = {"fails_at": (threshold,), "passes_at": threshold}
    return MetricVerdict(policy.metric, policy.severity, kind, reason, message, *numbers, both_moved=both, **lines)


def write(state: State) -> Evidence:
    """As JSON."""
    return {
        "kind": Kind.REFERENCE.value,
        "at": state.at,
        "live": state.live.astype(int).tolist(),
        "reference": state.reference.astype(int).tolist(),
        "stable": state.stable.astype(int).tolist(),
        "categories": list(state.categories),
    }


def read(evidence: Evidence) -> State:
    """From JSON; raises `Unreadable`."""
    live, categories = count_array(evidence, "live"), words(evidence, "categories")
    if categories and len(categories) != live.size:
        raise Unreadable(f"{len(categories)} categories with {live.size} counts")
    return State(
        number(evidence, "at"),
        live,
        count_array(evidence, "reference", live.size),
        count_array(evidence, "stable", live.size),
        categories,
    )


def _faded(counts: Floats, needed: int | None) -> Floats:
    """Counts, halved when there are many more than a verdict needs."""
    halved: Floats = np.round(0.5 * counts)
    return halved if needed is not None and counts.sum() > FADE * needed else counts


def _who_moved(policy: Policy, state: State) -> tuple[Reason, str, bool]:
    """Reason, words, and whether stable has moved as well: then the data has drifted, and no rollback helps."""
    if state.stable.any() and psi.requests_missing(policy, state.stable, state.reference) == 0:
        index, low, high = psi.bounded(policy, state.stable, state.reference)
        if low > psi.threshold(policy):
            words = f"; stable's have moved too ({text.number(index)}): the data has drifted"
            return Reason.DRIFTED_FROM_REFERENCE, words, True
        if high < psi.threshold(policy):
            words = f"; stable's have not ({text.number(index)}): it is this version"
            return Reason.DIFFERENT_FROM_STABLE, words, False
    return Reason.DRIFTED_FROM_REFERENCE, "", False
