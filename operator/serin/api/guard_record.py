"""`spec.guard.record`: what models answer, counted by the guard.

The guard is shown a share of the answers, and counts what is found at paths that the user has named: labels that the
user has named too, or numbers by upper bounds. So the number of series is the spec's, whatever a model says. As
elsewhere (guard.py) the settings come with every exchange, as one line of JSON.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from serin.api.fields import Field, InvalidSpec
from serin.api.guard import LONGEST_WRITTEN, Protocol, one_line, read_line, read_path
from serin.api.json import JsonObject

# What is none of the labels.
OTHER: Final = "other"
# The metric templates of what is recorded.
SHARE_TEMPLATE: Final = "prediction-share"
VALUES_TEMPLATE: Final = "prediction-values"
TEMPLATES: Final = (SHARE_TEMPLATE, "predictions", VALUES_TEMPLATE)
METRICS_PORT: Final = 9903
# They would end the string that a query has a label or an argument in.
UNQUOTED: Final = frozenset('"\\{}\n')


@dataclass(frozen=True, slots=True)
class Recorded:
    """Values at `path`, counted as `name`: by `labels`, or as numbers by the upper bounds `buckets`, ascending."""

    name: str
    path: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordGuard:
    """`spec.guard.record`. `share`: of the answers, in percent."""

    protocol: Protocol
    share: int
    predictions: tuple[Recorded, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """What the guard is told with an answer: whose it is, and what is counted."""

    namespace: str
    name: str
    protocol: Protocol
    predictions: tuple[Recorded, ...]


def read_record(guard: Field | None) -> RecordGuard | None:
    """From `spec.guard`, defaults included; None: nothing is recorded. Raises InvalidSpec."""
    found = guard.get("record") if guard else None
    if found is None:
        return None
    read = RecordGuard(
        protocol=found["protocol"].one_of(Protocol),
        share=found["share"].value,
        predictions=tuple(_prediction(one) for one in found["predictions"].items()),
    )
    names = [one.name for one in read.predictions]
    if twice := next((one for at, one in enumerate(names) if one in names[:at]), None):
        raise InvalidSpec(
            f"{found.path}.predictions: the name {twice} is there twice: write a name of its own for each"
        )
    if len(one_line({"predictions": [_row(one) for one in read.predictions]})) > LONGEST_WRITTEN // 2:
        raise InvalidSpec(f"{found.path}: the predictions are too long together: write fewer labels, or shorter ones")
    return read


def write_recording(recording: Recording) -> str:
    """As one line of ASCII, without a percent sign."""
    return one_line(
        {
            "deployment": [recording.namespace, recording.name],
            "protocol": recording.protocol,
            "predictions": [_row(one) for one in recording.predictions],
        }
    )


def is_recording(text: str) -> bool:
    """Whether it was `write_recording` that has written this: its first key is no other's."""
    return text.startswith('{"deployment":')


def read_written_recording(text: str) -> Recording:
    """What `write_recording` has written. Raises ValueError for anything else."""
    try:
        body = read_line(text, "deployment", "protocol", "predictions")
        namespace, name = body["deployment"]
        return Recording(namespace, name, Protocol(body["protocol"]), tuple(map(_written, body["predictions"])))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"these are no settings of a guard: {error!r}") from None


def _row(one: Recorded) -> JsonObject:
    what = {"labels": list(one.labels)} if one.labels else {"buckets": list(one.buckets)}
    return {"name": one.name, "path": one.path, **what}


def _written(row: Any) -> Recorded:
    return Recorded(row["name"], row["path"], tuple(row.get("labels", ())), tuple(row.get("buckets", ())))


def _prediction(field: Field) -> Recorded:
    labels, buckets = field.value.get("labels") or (), field.get("buckets")
    if any(UNQUOTED.intersection(one) for one in labels):
        raise InvalidSpec(f'{field.path}.labels: a label has one of " \\ {{ }}: leave it out, it is counted as {OTHER}')
    bounds = tuple(one.quantity() for one in buckets.items()) if buckets else ()
    if any(upper <= lower for lower, upper in pairwise(bounds)):
        raise InvalidSpec(
            f"{field.path}.buckets: a bound is no more than the one before: write them in ascending order"
        )
    return Recorded(field["name"].value, read_path(field["path"]), tuple(labels), bounds)
