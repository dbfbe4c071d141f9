"""`spec.guard.output`: what a model's answers must look like, whatever they are.

The guard (serin.guard) keeps no settings: what is to be checked comes with every exchange, as one line of JSON that the
router's configuration has (`write_output`, `read_written`). So a change of the settings is one of the router's
configuration, and one deployment's settings are nobody else's. The operator signs them (guard_keys.py).

A path is a subset of JMESPath: fields, indexes and projections. What is left out (functions, filters, lists of
expressions) could make much of little, and the guard is shared.
"""

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError

from serin.api.fields import Field, InvalidSpec
from serin.api.guard_schema import read_schema
from serin.api.json import JsonObject
from serin.api.kill_switch import FixedAnswer

# Bytes of the largest answer, and of the largest request, that is looked at: as it comes, and as it is when it is no
# longer compressed.
LARGEST_ANSWER: Final = 1024 * 1024
PORT: Final = 18001
# Of an exchange: the key of its metadata that has what `write_output` has written, signed.
SETTINGS: Final = "serin-guard"
# The header by which the guard says what became of an answer, and what it says.
MARK: Final = "x-serin-guard"
PASSED: Final = "passed"
FAILED: Final = "failed"
FALLBACK: Final = "fallback"  # an answer was refused, and this is the deployment's own in its place
INVALID: Final = "invalid-input"  # the request was refused, and no model has seen it
UNCHECKED: Final = "unchecked"  # an answer of the model that cannot be looked at
NOT_ASKED: Final = "not-asked"  # no answer of the model, such as its metadata
# Bytes of the settings of one deployment: they travel with every exchange.
LONGEST_WRITTEN: Final = 8 * 1024
_ALLOWED: Final = frozenset(
    {
        *("field", "subexpression", "index", "index_expression", "identity", "current"),
        *("projection", "value_projection", "flatten", "pipe"),
    }
)


class Protocol(StrEnum):
    """How answers are laid out, which says what paths begin at, and which requests ask the model."""

    OPEN_INFERENCE = "OpenInference"  # V2: the outputs by their names
    KSERVE_V1 = "KServeV1"  # predictions
    OPEN_AI = "OpenAI"  # completions, of chats too: the whole answer
    JSON = "JSON"  # the whole answer, of whatever kind


@dataclass(frozen=True, slots=True)
class Check:
    """What must hold for everything at `path`; what is not there fails.

    `finite`: numbers, none of them NaN or infinite. `minimum`, `maximum`: numbers within. `labels`: texts among these,
    if any are named.
    `sums_to_one`: the numbers of each innermost list together. `shape`: of the output that the path names, -1 where any
    size fits; none: any.
    """

    path: str
    finite: bool = False
    minimum: float | None = None
    maximum: float | None = None
    labels: frozenset[str] = frozenset()
    sums_to_one: bool = False
    shape: tuple[int, ...] = ()

    @property
    def is_of_values(self) -> bool:
        """Whether something must hold for the values."""
        limited = self.minimum is not None or self.maximum is not None
        return limited or self.finite or bool(self.labels) or self.sums_to_one


@dataclass(frozen=True, slots=True)
class OutputGuard:
    """`spec.guard.output`. `schema`: of the whole answer, as JSON (guard_schema.py), "": any.

    `fallback`: what clients get in place of an answer that is refused, None: 502 with the reason. The router gives it.
    """

    protocol: Protocol
    checks: tuple[Check, ...] = ()
    schema: str = ""
    fallback: FixedAnswer | None = None


def read_output(guard: Field | None) -> OutputGuard | None:
    """From `spec.guard`, defaults included; None: answers are not checked. Raises InvalidSpec."""
    output = guard.get("output") if guard else None
    if output is None:
        return None
    checks, fallback = output.get("checks"), output.get("fallback")
    found = OutputGuard(
        protocol=output["protocol"].one_of(Protocol),
        checks=tuple(_check(one) for one in checks.items()) if checks else (),
        schema=read_schema(output.get("schema")),
        fallback=FixedAnswer.read(fallback["answer"]) if fallback else None,
    )
    if len(write_output(found)) > LONGEST_WRITTEN:
        raise InvalidSpec(
            f"{output.path}: the checks and the schema have more than {LONGEST_WRITTEN} characters together: write "
            "fewer labels, or a shorter schema"
        )
    return found


def write_output(guard: OutputGuard) -> str:
    """What is to be checked, as one line of ASCII, without a percent sign."""
    body: JsonObject = {"protocol": guard.protocol, "checks": [_row(check) for check in guard.checks]}
    return one_line(body | ({"schema": guard.schema} if guard.schema else {}))


def one_line(body: JsonObject) -> str:
    """JSON in ASCII. Without a percent sign, with which a command for Envoy would begin."""
    return json.dumps(body, separators=(",", ":"), sort_keys=True).replace("%", "\\u0025")


def read_line(text: str, *known: str) -> JsonObject:
    """What `one_line` has written. Raises ValueError when it has more than these fields.

    An operator of a later version then asks for what this guard does not know. It must not say that it has done so.
    """
    body: JsonObject = json.loads(text)
    if not isinstance(body, dict) or not body.keys() <= set(known):
        raise ValueError("these settings have more than this guard knows")
    return body


def read_written(text: str) -> OutputGuard:
    """What `write_output` has written. Raises ValueError for anything else."""
    try:
        body = read_line(text, "protocol", "checks", "schema")
        rows = body["checks"]
        lists = [{"labels": frozenset(row.get("labels", ())), "shape": tuple(row.get("shape", ()))} for row in rows]
        checks = tuple(Check(**{**row, **found}) for row, found in zip(rows, lists, strict=True))
        return OutputGuard(Protocol(body["protocol"]), checks, body.get("schema", ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"these are no settings of a guard: {error!r}") from None


@lru_cache(maxsize=1024)
def compiled(path: str) -> Any:
    """A path, ready to search with. Raises ValueError with what to write instead."""
    try:
        found = jmespath.compile(path)
    except (JMESPathError, RecursionError) as error:
        raise ValueError(
            f"this is no JMESPath ({str(error).splitlines()[0]}): write a path such as score or scores[0]"
        ) from None
    nodes = [found.parsed]
    while nodes:
        node = nodes.pop()
        if node["type"] not in _ALLOWED:
            what = node["type"].replace("_", " ")
            raise ValueError(f"{what} is not known here: write fields, indexes and [] alone, such as scores[][0]")
        nodes += [one for one in node["children"] if isinstance(one, dict)]
    return found


def _row(check: Check) -> JsonObject:
    """What differs from a check of nothing. (0.0 equals False, and is a limit.)"""
    nothing = Check(check.path)
    found = {one.name: (getattr(check, one.name), getattr(nothing, one.name)) for one in fields(check)}
    row = {name: value for name, (value, plain) in found.items() if value is not plain and name != "labels"}
    return {"path": check.path} | row | ({"labels": sorted(check.labels)} if check.labels else {})


def read_path(field: Field) -> str:
    """A path of the spec, known to be one. Raises InvalidSpec."""
    path: str = field.value
    try:
        compiled(path)
    except ValueError as error:
        raise InvalidSpec(f"{field.path}: {error}") from None
    return path


def _check(field: Field) -> Check:
    path = field["path"]
    found = Check(
        path=read_path(path),
        finite=bool(field.value.get("finite")),
        minimum=field.quantity_of("min"),
        maximum=field.quantity_of("max"),
        labels=frozenset(field.value.get("labels") or ()),
        sums_to_one=bool(field.value.get("sumsToOne")),
        shape=tuple(field.value.get("shape") or ()),
    )
    if found.shape and compiled(found.path).parsed["type"] != "field":
        raise InvalidSpec(f"{path.path}: shape is that of a whole output: write the output's name alone as path")
    if found.minimum is not None and found.maximum is not None and found.minimum > found.maximum:
        raise InvalidSpec(f"{field.path}: min is more than max: exchange them")
    return found
