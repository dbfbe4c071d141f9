"""What is recorded of how well a version served: a bounded list in its ModelSnapshot's status, oldest first.

Like the rest of a status it can be edited: what does not parse is left out when it is read, and what is written keeps
to the bounds of the schema.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeGuard

from serin.api.histograms import Histogram, bounded_histograms, read_histograms, write_histograms
from serin.api.json import JsonObject
from serin.api.text import shortened
from serin.api.times import moment, rfc3339

# Bounds of the schema (crds/modelsnapshots.yaml); a test compares them.
MOST_RECORDS: Final = 10
MOST_WEIGHTS: Final = 10
MOST_METRICS: Final = 32
LONGEST_QUERY: Final = 512
LONGEST_NAME: Final = 63
LONGEST_UNIT: Final = 16
MOST_REQUESTS: Final = 2**63 - 1
LONGEST_ORIGIN: Final = 128
LONGEST_SUMMARY: Final = 256
MOST_IMAGES: Final = 32
# Fields of a ModelSnapshot's status that say how it served and what it was, and nothing of what was decided.
_RECORDED: Final = ("records", "measured", "revision", "leftAt", "signature", "goldenFingerprint", "images")
MOST_APPROVERS: Final = 10


class Occasion(StrEnum):
    """When a record was made."""

    CREATED = "Created"
    PROMOTED = "Promoted"  # it became stable
    REPLACED = "Replaced"  # it was stable until another version was promoted
    ROLLED_BACK = "RolledBack"  # it was left
    RESTORED = "Restored"  # another version was left, and everything went to this one
    SCHEDULED = "Scheduled"  # as spec.snapshots.every asks


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric of one version. `value`, `low`, `high`: in `unit`; the 95% interval is None where there is none.

    `unit`: "share" (of requests that were bad, from 0 to 1), "s" or "ms" (95% of the requests took no longer), "PSI",
    or "" for a plain number. `requests`: that it was measured on, 0 when that is not known. `since`, `until`: unix
    seconds. `query`: what was read, as the spec says it; values of two queries are never compared.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    requests: int
    unit: str
    since: float
    until: float
    query: str


@dataclass(frozen=True, slots=True)
class Record:
    """What was measured at one moment. `at`: unix seconds. `weights`: percent of the requests by snapshot, then.

    `revision`, `author`: of the Git commit that brought the version, as annotated; "" when it was not. `histograms`: of
    a promotion, how the requests of metrics with a distribution were distributed. `approved_by`: who has approved steps
    of the rollout, with a promotion.
    """

    at: float
    occasion: Occasion
    weights: Mapping[str, int] = field(default_factory=dict)
    metrics: tuple[Measurement, ...] = ()
    revision: str = ""
    author: str = ""
    histograms: tuple[Histogram, ...] = ()
    approved_by: tuple[str, ...] = ()


def in_words(one: Measurement) -> str:
    """The value as people read it: 0.12%, 41ms, PSI 0.02, 3.5."""
    return number_in_words(one.value, one.unit)


def number_in_words(value: float, unit: str) -> str:
    """A number in its unit."""
    match unit:
        case "share":
            return f"{value * 100:.3g}%"
        case "s":
            return f"{value * 1000:.3g}ms" if value < 1 else f"{value:.3g}s"
        case "PSI":
            return f"PSI {value:.3g}"
    return f"{value:.3g}{unit}"


def summary(records: Sequence[Record]) -> str:
    """What was measured last, in a line; "" when nothing was."""
    rows = next((one.metrics for one in reversed(records) if one.metrics), ())
    return shortened(", ".join(f"{one.name} {in_words(one)}" for one in rows), LONGEST_SUMMARY)


def decided(records: Sequence[Record]) -> Record | None:
    """The newest record of a decision; None when there is none."""
    return next((one for one in reversed(records) if one.occasion is not Occasion.SCHEDULED), None)


def newest_scheduled(records: Sequence[Record]) -> float | None:
    """When the newest record on schedule was made (unix seconds); None when there is none."""
    return next((one.at for one in reversed(records) if one.occasion is Occasion.SCHEDULED), None)


def newest(records: Sequence[Record], metric: str, query: str) -> Measurement | None:
    """The newest measurement of a metric by this query; None when there is none."""
    found = (row for one in reversed(records) for row in one.metrics)
    return next((row for row in found if row.name == metric and row.query == query[:LONGEST_QUERY]), None)


def bounded(records: Sequence[Record]) -> tuple[Record, ...]:
    """As many as there is room for: scheduled ones go first, then those of decisions, the oldest first."""
    kept = list(records)
    while len(kept) > MOST_RECORDS:
        scheduled = [index for index, one in enumerate(kept) if one.occasion is Occasion.SCHEDULED]
        # The newest one says when the next is due.
        del kept[scheduled[0] if len(scheduled) > 1 else 0]
    return tuple(kept)


# ── Reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_records(rows: object) -> tuple[Record, ...]:
    """Those that parse, in their order."""
    found = (_read(row) for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()
    return tuple(one for one in found if one is not None)


def _read(row: JsonObject) -> Record | None:
    at, occasion = moment(row.get("at")), _text(row, "occasion")
    if at is None or occasion not in Occasion.__members__.values():
        return None
    weights, metrics, approved = row.get("weights"), row.get("metrics"), row.get("approvedBy")
    measured = (_read_measurement(one) for one in metrics if isinstance(one, dict)) if isinstance(metrics, list) else ()
    return Record(
        at,
        Occasion(occasion),
        {name: one for name, one in weights.items() if _is_count(one, 100)} if isinstance(weights, dict) else {},
        tuple(one for one in measured if one is not None),
        _text(row, "revision"),
        _text(row, "author"),
        read_histograms(row.get("histograms")),
        tuple(one for one in approved if isinstance(one, str)) if isinstance(approved, list) else (),
    )


def _read_measurement(row: JsonObject) -> Measurement | None:
    value, since, until = _number(row, "value"), moment(row.get("since")), moment(row.get("until"))
    name, requests = _text(row, "name"), row.get("requests")
    if value is None or since is None or until is None or not 0 < len(name) <= LONGEST_NAME:
        return None
    return Measurement(
        name,
        value,
        _number(row, "low"),
        _number(row, "high"),
        requests if _is_count(requests, MOST_REQUESTS) else 0,
        _text(row, "unit")[:LONGEST_UNIT],
        since,
        until,
        _text(row, "query"),
    )


def _is_count(value: object, most: int) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= most


def _text(row: JsonObject, key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""


def _number(row: JsonObject, key: str) -> float | None:
    """A number is kept as text, as everywhere in the resources."""
    try:
        value = float(_text(row, key))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_images(row: object) -> Mapping[str, str]:
    """The digest of each container's image; what is no text is left out."""
    found = row.items() if isinstance(row, dict) else ()
    return {name: digest for name, digest in found if isinstance(digest, str)}


# ── Writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_records(records: Iterable[Record]) -> list[JsonObject]:
    """As JSON; what is empty is left out."""
    return [_write(one) for one in records]


def without_records(status: JsonObject) -> JsonObject:
    """A snapshot's status with what was decided alone, as an earlier Serin wrote it."""
    return {key: value for key, value in status.items() if key not in _RECORDED}


def _write(one: Record) -> JsonObject:
    row: dict[str, Any] = {"at": rfc3339(one.at), "occasion": one.occasion.value}
    weights = sorted(one.weights.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_WEIGHTS]
    optional = {
        "revision": one.revision[:LONGEST_ORIGIN],
        "author": one.author[:LONGEST_ORIGIN],
        "approvedBy": [each[:LONGEST_ORIGIN] for each in one.approved_by[:MOST_APPROVERS]],
        "weights": dict(sorted(weights)),
        "metrics": [_write_measurement(each) for each in one.metrics[:MOST_METRICS]],
        "histograms": write_histograms(bounded_histograms(one.histograms, LONGEST_QUERY)),
    }
    return row | {key: value for key, value in optional.items() if value}


def _write_measurement(one: Measurement) -> JsonObject:
    row: JsonObject = {"name": one.name, "value": _digits(one.value)}
    if one.low is not None and one.high is not None:
        row |= {"low": _digits(one.low), "high": _digits(one.high)}
    row |= {"requests": one.requests} if one.requests else {}
    row |= {"unit": one.unit} if one.unit else {}
    return row | {"since": rfc3339(one.since), "until": rfc3339(one.until), "query": one.query[:LONGEST_QUERY]}


def _digits(value: float) -> str:
    return f"{value:.6g}"
