"""What is remembered of earlier versions, and which of them one can go back to.

A snapshot outlives its pods, so it is all that is needed to bring a version up again: its content, and what was decided
about it. One can go back to what has served everything before and was not rejected since; anything else is no way back
but a new attempt, and those go through the steps.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from serin.api import names
from serin.api.snapshots import Snapshot
from serin.api.state import Arm, State
from serin.api.verdicts import SnapshotVerdict

# Said instead of a snapshot's name: the one that was stable before the present one.
PREVIOUS: Final = "previous"
_NAMES_SAID: Final = 5


class CannotGoBack(ValueError):
    """There is no way back to what was asked for. The message says why, and what to write instead."""


def is_rejected(snapshots: Mapping[str, Snapshot], state: State, name: str) -> bool:
    """Whether a snapshot is not tried again by itself.

    Rejection stands in two places, so that a crash between the two writes cannot lose it.
    """
    snapshot, last = snapshots.get(name), state.last_rollback
    in_status = name in eliminated(state) or (last is not None and last.source == name and not last.retried)
    return in_status or (snapshot is not None and snapshot.rejected)


def eliminated(state: State) -> dict[str, Arm]:
    """Arms that are out of the present experiment, or were out of the last one, by snapshot."""
    arms = (*(state.rollout.arms if state.rollout else ()), *(state.concluded.arms if state.concluded else ()))
    return {one.snapshot: one for one in arms if one.eliminated}


def ways_back(snapshots: Mapping[str, Snapshot], state: State) -> list[Snapshot]:
    """Snapshots that one can go back to, the one that was stable last first."""
    here = {state.stable, *(state.rollout.active if state.rollout else ())}
    found = [one for one in snapshots.values() if one.name not in here and _was_stable(one)]
    good = [one for one in found if not is_rejected(snapshots, state, one.name)]
    return sorted(good, key=lambda one: (one.promoted or 0.0, one.name), reverse=True)


def _was_stable(snapshot: Snapshot) -> bool:
    return snapshot.verdict is SnapshotVerdict.PROMOTED and snapshot.promoted is not None


def choose(asked: str, wanted: str, stable: str, snapshots: Mapping[str, Snapshot], state: State) -> str:
    """The snapshot that a person means: a name, or PREVIOUS. Raises CannotGoBack.

    `wanted`: what the spec describes; `stable`: what serves.

    The answer is the present stable snapshot when that is enough: during a rollout, which then ends, and on the way
    back to another one when stable is named. People ask twice: PREVIOUS never goes further back than one version from
    what the spec describes, and does not undo what it has begun.
    """
    others = ways_back(snapshots, state)
    if (state.candidate and asked in (PREVIOUS, stable)) or (state.manual_rollback and asked == stable):
        return stable
    if state.manual_rollback and asked in (PREVIOUS, state.manual_rollback.target):
        target = state.manual_rollback.target
        raise CannotGoBack(f"{target} is on its way already: {names.ANNOTATION_ABORT} stays with {stable}")
    if asked == PREVIOUS:
        return _previous(wanted, snapshots, state, others)
    if asked not in {one.name for one in others}:
        raise CannotGoBack(f"{_why_not(asked, wanted, snapshots, state)}. {_instead(others)}")
    return asked


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
