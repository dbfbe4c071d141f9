"""What the scale subresource of a CRD needs of an object: numbers where its paths lead.

The schema has said the same already; the real server says it a second time, in words of its own.
"""

from collections.abc import Iterator
from typing import Any

from serin.api.json import JsonObject
from tests.simulation.api import status
from tests.simulation.api.status import FieldError
from tests.simulation.api.typecheck import GO_TYPES, go_text


def errors(body: JsonObject, scale: JsonObject, *, spec: bool) -> Iterator[FieldError]:
    """What is wrong at the paths of a CRD's `subresources.scale`. `spec`: whether the spec was written too."""
    if spec:
        yield from _number(body, scale["specReplicasPath"])
    yield from _number(body, scale["statusReplicasPath"])
    if path := scale.get("labelSelectorPath"):
        value, words = _found(body, path, str)
        if words:
            yield FieldError(path, status.INVALID, words, value)


def _number(body: JsonObject, path: str) -> Iterator[FieldError]:
    value, words = _found(body, path, int)
    if not words and value < 0:
        words = "should be a non-negative integer"
    if words:
        yield FieldError(path, status.INVALID, words, value)


def _found(body: JsonObject, path: str, wanted: type) -> tuple[Any, str]:
    """The value at a path (its zero value when it is absent or wrong), and what is wrong with it."""
    value: Any = body
    names = path.removeprefix(".").split(".")
    for at, name in enumerate(names):
        if value is None:
            return wanted(), ""
        if not isinstance(value, dict):
            place = "." + ".".join(names[: at + 1])
            return wanted(), f"{place} accessor error: {_told(value)}, expected map[string]interface{{}}"
        if name not in value:
            return wanted(), ""
        value = value[name]
    if type(value) is not wanted:
        return wanted(), f"{path} accessor error: {_told(value)}, expected {GO_TYPES[wanted]}"
    return value, ""


def _told(value: Any) -> str:
    return f"{go_text(value)} is of the type {GO_TYPES[type(value)]}"
