"""What `history` says of the versions that Serin remembers: in which order, and what changed from one to the next."""

from collections.abc import Iterable

from serin.api import names
from serin.api.snapshots import Snapshot
from serin.api.times import human
from serin.api.verdicts import SnapshotVerdict


def newest_first(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """By creation, newest first; the name decides within a second."""
    return sorted(snapshots, key=lambda one: (one.created, one.name), reverse=True)


def changed_since(one: Snapshot, before: Snapshot | None) -> tuple[str, ...]:
    """Dimensions in which a version differs from the one before, in the order of DIMENSIONS; none from None."""
    if before is None:
        return ()
    return tuple(each for each in names.DIMENSIONS if one.hashes.get(each) != before.hashes.get(each))


def found_since(one: Snapshot, before: Snapshot | None) -> tuple[str, ...]:
    """What was found to differ from the version before, of what is known of both: signature, answers."""
    if before is None:
        return ()
    known = one.signature is not None and before.signature is not None
    found = ["signature"] if known and one.signature != before.signature else []
    both = one.fingerprint and before.fingerprint and one.fingerprint != before.fingerprint
    return (*found, "answers to golden probes") if both else tuple(found)


def served(one: Snapshot, now: float) -> str:
    """How long it was stable, the last time, in words; "" when it never was. `now`: unix seconds."""
    if one.promoted is None:
        return ""
    if one.left is None or one.left < one.promoted:
        return f"{human(now - one.promoted)} so far" if one.verdict is SnapshotVerdict.PROMOTED else ""
    return human(one.left - one.promoted)
