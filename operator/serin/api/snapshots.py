"""A ModelSnapshot as a value: a version's content, and what was decided about it.

This is the only module that reads one. As with a deployment's status, what was recorded can be edited: what does not
parse is left out. The content and the hashes cannot, the CRD makes them immutable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from serin.api import names
from serin.api.json import JsonObject
from serin.api.records import Record, read_images, read_records
from serin.api.signature import Signature, recorded
from serin.api.times import moment, parse_rfc3339
from serin.api.verdicts import SnapshotVerdict


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A ModelSnapshot as read: content (the four dimensions), its hashes, and what is recorded about it."""

    name: str
    uid: str
    resource_version: str
    created: float  # unix seconds
    content: Mapping[str, JsonObject | None]
    hashes: Mapping[str, str]  # of each dimension
    rejected: bool = False  # not tried again until the content changes or the user asks
    verdict: SnapshotVerdict | None = None  # what was decided about it
    reason: str = ""  # why it was rolled back, and in words
    message: str = ""
    promoted: float | None = None  # unix seconds when it became stable, the last time
    rolled_back: float | None = None  # unix seconds when it was rejected, the last time
    metrics: tuple[JsonObject, ...] = ()  # what each metric said last
    records: tuple[Record, ...] = ()  # how well it served, oldest first
    left: float | None = None  # unix seconds when it ceased to be stable, the last time
    pinned: bool = False  # a person wants it kept
    signature: Signature | None = None  # as its pods, or its features, say it
    fingerprint: str = ""  # of its answers to golden probes
    images: Mapping[str, str] = field(default_factory=dict)  # digest of each container's image, when it was tried first

    @property
    def model_version(self) -> str:
        """The model's version as the user writes it, empty when the spec gives none."""
        return str((self.content.get("model") or {}).get("version", ""))

    @property
    def revision(self) -> str:
        """The Git commit that brought it, "" when nobody has said."""
        return next((one.revision for one in self.records if one.revision), "")


def read_snapshot(body: JsonObject) -> Snapshot:
    """A ModelSnapshot as the API server returns it."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    return Snapshot(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        created=parse_rfc3339(metadata["creationTimestamp"]),
        content={dimension: spec["content"].get(dimension) for dimension in names.DIMENSIONS},
        hashes=spec["hashes"],
        rejected=status.get("rejected") is True,
        verdict=_verdict(status.get("verdict")),
        reason=str(status.get("reason", "")),
        message=str(status.get("message", "")),
        promoted=moment(status.get("promotedAt")),
        rolled_back=moment(status.get("rejectedAt")),
        metrics=tuple(status.get("metrics") or ()),
        records=read_records(status.get("records")),
        left=moment(status.get("leftAt")),
        signature=recorded(status.get("signature")),
        fingerprint=str(status.get("goldenFingerprint", "")),
        images=read_images(status.get("images")),
        pinned=(metadata.get("annotations") or {}).get(names.ANNOTATION_PIN, "false") != "false",
    )


def _verdict(word: object) -> SnapshotVerdict | None:
    """None for a word that this version does not know."""
    return next((one for one in SnapshotVerdict if one == word), None)
