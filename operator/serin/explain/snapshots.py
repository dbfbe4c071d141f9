"""A version that Serin remembers, as `history` tells of it: read from the ModelSnapshot that the API server has.

As with a status, reading never fails: what was recorded can be edited, and what does not parse is left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from serin.api import names
from serin.api.json import JsonObject
from serin.api.times import parse_rfc3339


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """One version and what was decided about it.

    `created`, `promoted`, `rejected`: unix seconds, the last two None when that was not so. `hashes`: by dimension.
    """

    name: str
    created: float
    model: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    verdict: str = ""
    reason: str = ""
    message: str = ""
    promoted: float | None = None
    rejected: float | None = None

    def changed_since(self, before: "SnapshotRecord | None") -> tuple[str, ...]:
        """Dimensions in which it differs from another one, in the order of DIMENSIONS; none from None."""
        if before is None:
            return ()
        return tuple(one for one in names.DIMENSIONS if self.hashes.get(one) != before.hashes.get(one))


def read_snapshot(body: JsonObject) -> SnapshotRecord:
    """A ModelSnapshot as the API server returns it."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    model = spec["content"].get("model") or {}
    return SnapshotRecord(
        name=metadata["name"],
        created=parse_rfc3339(metadata["creationTimestamp"]),
        model=str(model.get("version", "")),
        hashes=spec.get("hashes") or {},
        verdict=str(status.get("verdict", "")),
        reason=str(status.get("reason", "")),
        message=str(status.get("message", "")),
        promoted=_moment(status.get("promotedAt")),
        rejected=_moment(status.get("rejectedAt")),
    )


def newest_first(snapshots: Iterable[SnapshotRecord]) -> list[SnapshotRecord]:
    """By creation, newest first; the name decides within a second."""
    return sorted(snapshots, key=lambda one: (one.created, one.name), reverse=True)


def _moment(text: object) -> float | None:
    try:
        return parse_rfc3339(text) if isinstance(text, str) else None
    except ValueError:
        return None
