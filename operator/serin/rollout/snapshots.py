"""What is remembered of earlier versions, and which of them one can go back to.

A snapshot outlives its pods, so it is all that is needed to bring a version up again: its content, and what was decided
about it. One can go back to what has served everything before and was not rejected since; anything else is no way back
but a new attempt, and those go through the steps.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from serin.api import names
from serin.api.records import Measurement, in_words, newest
from serin.api.snapshots import Snapshot
from serin.api.spec import MeanQuery, Metric, ValueQuery, query_of
from serin.api.state import Arm, Standing, State
from serin.api.verdicts import Severity, SnapshotVerdict

# Said instead of a snapshot's name: the one that was stable before the present one.
PREVIOUS: Final = "previous"
# The one that served best by its own record; `best:METRIC` says by which metric.
BEST: Final = "best"
_SEVERITIES: Final = tuple(Severity)
_NAMES_SAID: Final = 5


class CannotGoBack(ValueError):
    """There is no way back to what was asked for. The message says why, and what to write instead."""


class OnItsWay(CannotGoBack):
    """What was asked for has begun already."""


def is_rejected(snapshots: Mapping[str, Snapshot], state: State, name: str) -> bool:
    """Whether a snapshot is not tried again by itself.

    Rejection stands in two places, so that a crash between the two writes cannot lose it.
    """
    snapshot, last = snapshots.get(name), state.last_rollback
    search = state.bisection
    in_status = name in eliminated(state) or (last is not None and last.source == name and not last.retried)
    in_status = in_status or (search is not None and search.cause.source == name)
    return in_status or (snapshot is not None and snapshot.rejected)


def eliminated(state: State) -> dict[str, Arm]:
    """Arms that are out of the present experiment, or were out of the last one, and combinations that have failed."""
    arms = (*(state.rollout.arms if state.rollout else ()), *(state.concluded.arms if state.concluded else ()))
    tries = (one for one in (state.bisection.tries if state.bisection else ()) if one.reason)
    failed = (Arm(one.snapshot, {}, Standing.ELIMINATED, one.reason, one.message, one.at) for one in tries)
    return {one.snapshot: one for one in (*arms, *failed) if one.eliminated}


def ways_back(snapshots: Mapping[str, Snapshot], state: State) -> list[Snapshot]:
    """Snapshots that one can go back to, the one that was stable last first."""
    here = {state.stable, *(state.rollout.active if state.rollout else ())}
    found = [one for one in snapshots.values() if one.name not in here and _was_stable(one)]
    good = [one for one in found if not is_rejected(snapshots, state, one.name)]
    return sorted(good, key=lambda one: (one.promoted or 0.0, one.name), reverse=True)


def best_first(
    snapshots: Mapping[str, Snapshot], state: State, metrics: Sequence[Metric], metric: str = ""
) -> tuple[list[Snapshot], Metric | None]:
    """The same, the one that served best first, and by which metric; None when no record tells them apart.

    `metrics`: of the spec. `metric`: the one to compare by; "": the most severe of which there is a record. Compared is
    the worse end of the interval, so that a few good requests are no proof. A version without a record of it, or of
    another query, comes after all that have one; ties go to the one that was stable last.
    """
    ways, by = ways_back(snapshots, state), sorted(metrics, key=lambda one: _SEVERITIES.index(one.severity))
    for asked in [one for one in by if metric in ("", one.name)]:
        query = query_of(asked.source)
        found = {one.name: measured for one in ways if (measured := newest(one.records, asked.name, query))}
        if found:
            unit = max(found.values(), key=lambda one: one.until).unit  # its question was changed since
            worst = {name: _worst(asked, one) for name, one in found.items() if one.unit == unit}
            return sorted(ways, key=lambda one: worst.get(one.name, math.inf)), asked
    return ways, None


def _worst(metric: Metric, measured: Measurement) -> float:
    """How bad a measurement may be, lower is better: the worse end of its interval."""
    match metric.source:
        case ValueQuery(minimum=minimum, maximum=maximum) if minimum is not None and maximum is not None:
            return max(0.0, minimum - measured.value, measured.value - maximum)
        case ValueQuery(minimum=minimum) if minimum is not None:
            return -measured.value
        case MeanQuery() if metric.lower_is_worse:
            return -measured.value
    return measured.value if measured.high is None else measured.high


def keeps_limit(snapshot: Snapshot, metric: Metric, allowed: float | None) -> bool:
    """Whether a version may keep the metric's limit: False when its record shows that it did not.

    `allowed`: the largest number of a record that keeps it; a value has its own.
    """
    measured = newest(snapshot.records, metric.name, query_of(metric.source))
    if measured is None:
        return True
    if isinstance(source := metric.source, ValueQuery):
        over = source.maximum is not None and measured.value > source.maximum
        return not over and (source.minimum is None or measured.value >= source.minimum)
    if allowed is None or measured.unit not in ("", "share"):  # recorded when it was asked something else
        return True
    return (measured.value if measured.low is None else measured.low) <= allowed


def record_in_words(snapshot: Snapshot, metric: Metric | None) -> str:
    """What a snapshot was measured to be, for a sentence: "errors 0.1%"; "no record of errors"."""
    if metric is None:
        return "no version has a record to compare by"
    measured = newest(snapshot.records, metric.name, query_of(metric.source))
    return f"{metric.name} {in_words(measured)}" if measured else f"no record of {metric.name}"


def _was_stable(snapshot: Snapshot) -> bool:
    return snapshot.verdict is SnapshotVerdict.PROMOTED and snapshot.promoted is not None


def choose(
    asked: str,
    wanted: str,
    stable: str,
    snapshots: Mapping[str, Snapshot],
    state: State,
    metrics: Sequence[Metric],
) -> tuple[str, ...]:
    """The snapshot that a person means, and those to go to in turn when it cannot run. Raises CannotGoBack.

    `asked`: a name, PREVIOUS, BEST, or BEST with a metric (`best:errors`). `wanted`: what the spec describes; `stable`:
    what serves; `metrics`: the spec's. Only BEST has more than one answer: whoever names a version means that one.

    The answer is the present stable snapshot when that is enough: during a rollout, which then ends, and on the way
    back to another one when stable is named. People ask twice: neither PREVIOUS nor BEST goes on from a version that
    was rolled back already, or undoes what it has begun.
    """
    others = ways_back(snapshots, state)
    word, _, metric = asked.partition(":")
    relative = asked == PREVIOUS or word == BEST
    if word == BEST and metric not in ("", *(one.name for one in metrics)):
        known = ", ".join(one.name for one in metrics)
        raise CannotGoBack(f"there is no metric {metric} in the spec. Write {BEST}, or one of its metrics: {known}")
    if (state.candidate and (relative or asked == stable)) or (state.manual_rollback and asked == stable):
        return (stable,)
    if state.manual_rollback and (relative or asked == state.manual_rollback.target):
        target = state.manual_rollback.target
        raise OnItsWay(f"{target} is on its way already: {names.ANNOTATION_ABORT} stays with {stable}")
    if relative:
        previous = _previous(wanted, snapshots, state, others)
        found, _ = best_first(snapshots, state, metrics, metric)
        return tuple(one.name for one in found) if word == BEST else (previous,)
    if asked not in {one.name for one in others}:
        raise CannotGoBack(f"{_why_not(asked, wanted, snapshots, state)}. {_instead(others)}")
    return (asked,)


def _previous(wanted: str, snapshots: Mapping[str, Snapshot], state: State, others: Sequence[Snapshot]) -> str:
    if wanted != state.stable and is_rejected(snapshots, state, wanted):
        why = f"{wanted}, which the spec describes, is rolled back already. To go back further, name the version"
        raise CannotGoBack(f"{why}. {_instead(others)}")
    if wanted != state.stable:
        raise CannotGoBack(f"the rollout of {wanted} only begins: ask again to end it")
    if not others:
        raise CannotGoBack(f"no version that was stable before {wanted} is remembered: change the spec instead")
    return others[0].name


def _why_not(asked: str, wanted: str, snapshots: Mapping[str, Snapshot], state: State) -> str:
    """Why a snapshot's name is no way back."""
    if asked == state.stable:
        return f"{asked} is stable already"
    if asked == state.candidate:
        return f"{asked} is under evaluation: {names.ANNOTATION_PROMOTE} makes it stable at once"
    if asked not in snapshots:
        deployment = wanted[: -names.HASH_LENGTH - 1]
        return f'"{asked}" is no snapshot of {deployment}, or one that is no longer remembered'
    if is_rejected(snapshots, state, asked):
        return f"{asked} was rejected: to try it again, put its content into the spec and set {names.ANNOTATION_RETRY}"
    return f"{asked} was never stable: to try it, put its content into the spec"


def _instead(others: Sequence[Snapshot]) -> str:
    """What to write instead."""
    known = [_called(one) for one in others][:_NAMES_SAID]
    return f"Write one of: {', '.join(known)}" if known else "There is no other version to go back to"


def _called(snapshot: Snapshot) -> str:
    version = snapshot.model_version
    return f"{snapshot.name} (model {version})" if version else snapshot.name
