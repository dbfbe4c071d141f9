"""`spec.integrity`: what a new version must show before any client's request reaches it.

A golden probe is a request whose right answer is known. Both are JSON texts, as a client sends and gets them.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from serin.api.fields import Field, InvalidSpec

# Levels of lists and maps within each other: more than any model's answer has.
DEEPEST: Final = 32


class Check(StrEnum):
    """Whether a version has to pass a check."""

    OFF = "Off"
    REQUIRED = "Required"


@dataclass(frozen=True, slots=True)
class GoldenProbe:
    """A request and its answer. `tolerance`: how far a number may be off; `timeout`: seconds.

    `path`: where it is asked, "": where the runtime's protocol says, by the model's name. `body`, `expected`: JSON.
    """

    name: str
    path: str
    body: str
    expected: str
    tolerance: float
    timeout: float


@dataclass(frozen=True, slots=True)
class Integrity:
    """`spec.integrity`. `every`: seconds after which a pod that has answered as expected is asked again.

    `signature`: a new version takes and answers what stable does; `digest`: it runs what it declares.
    """

    golden_probes: tuple[GoldenProbe, ...] = ()
    every: float = 300.0
    signature: bool = False
    digest: bool = False


UNCHECKED: Final = Integrity()


def read_integrity(field: Field | None) -> Integrity:
    """From the settings, defaults included. Raises InvalidSpec."""
    if field is None:
        return UNCHECKED
    probes = field.get("goldenProbes")
    found = tuple(_probe(one) for one in probes.items()) if probes else ()
    signature, digest = (field[one].one_of(Check) is Check.REQUIRED for one in ("signature", "digest"))
    return Integrity(found, field["every"].duration(), signature, digest)


def _probe(field: Field) -> GoldenProbe:
    body, expected = field["body"], field["expected"]
    _read(body, "what a client sends")
    if _read(expected, "what the model must answer") == {}:
        raise InvalidSpec(f"{expected.path}: any answer fits {{}}: write the part of the answer that is known")
    tolerance = field["tolerance"].quantity()
    if tolerance < 0.0:
        raise InvalidSpec(f"{field.path}.tolerance: write how far a number may be off, for example 0.001")
    path = field.get("path")
    return GoldenProbe(
        name=field["name"].value,
        path=path.value if path else "",
        body=body.value,
        expected=expected.value,
        tolerance=tolerance,
        timeout=field["timeout"].duration(),
    )


def _read(field: Field, what: str) -> Any:
    """The JSON of a text. Raises InvalidSpec."""
    try:
        found = json.loads(field.value, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidSpec(f"{field.path}: this is no JSON ({error}): write {what}, in quotes") from None
    if _depth(found) > DEEPEST:
        raise InvalidSpec(f"{field.path}: lists and maps are more than {DEEPEST} deep: write a simpler request")
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _depth(value: Any) -> int:
    """Levels within each other, counted no further than they are allowed."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        level = [one for outer in level for one in _inside(outer)]
        depth += 1
    return depth


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
