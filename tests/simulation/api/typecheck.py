"""Whether a value fits its type, before it is merged: fields that a kind does not have, and wrong types.

Only server-side apply asks; its answer is an error that begins with "failed to create typed patch object".
"""

from collections.abc import Iterator
from typing import Any, Final

from tests.simulation.api.typed import LIST, SCALAR, SCALARS, shape_of, shown_step, step
from tests.simulation.api.types import ListType, MapType, Type

GO_TYPES: Final = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    dict: "map[string]interface {}",
    list: "[]interface {}",
    type(None): "<nil>",
}


def problems(kind: Type, value: Any, *, duplicates: bool = False) -> Iterator[str]:
    """What a value has that its type has not, in the server's words. `duplicates`: whether lists may repeat a key."""
    for path, words in _problems(kind, value, duplicates):
        yield f"{path}: {words}" if path else words


def _problems(kind: Type, value: Any, duplicates: bool) -> Iterator[tuple[str, str]]:
    shape = shape_of(kind, value)
    if value is None:
        return
    if shape == SCALAR:
        yield from _scalar_problems(str(kind.scalar), value)
    elif shape == LIST and kind.list is not None:
        if isinstance(value, list):
            yield from _list_problems(kind.list, value, duplicates)
        else:
            yield "", f"expected list, got {_go(value)}"
    elif kind.map is not None:
        if isinstance(value, dict):
            yield from _map_problems(kind.map, value, duplicates)
        else:
            yield "", f"expected map, got {_go(value)}"


def _go(value: Any) -> str:
    """A value as `%v` of Go writes a pointer to it."""
    return "&{" + go_text(value) + "}"


def go_text(value: Any) -> str:
    """A value as `%v` of Go writes it."""
    if value is None:
        return "<nil>"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_text, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scalar_problems(scalar: str, value: Any) -> Iterator[tuple[str, str]]:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if scalar == "numeric" and not number:
        yield "", f"expected numeric (int or float), got {GO_TYPES[type(value)]}"
    elif scalar == "string" and not isinstance(value, str):
        yield "", f"expected string, got &value.valueUnstructured{{Value:{go_text(value)}}}"
    elif scalar == "boolean" and not isinstance(value, bool):
        yield "", f"expected boolean, got {_go(value)}"
    elif scalar == "untyped" and not isinstance(value, SCALARS):
        yield "", f"expected any scalar, got {_go(value)}"


def _list_problems(kind: ListType, value: list[Any], duplicates: bool) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for index, item in enumerate(value):
        where = f"[{index}]"
        if not kind.atomic:
            try:
                here = step(kind, item)
            except ValueError as error:
                yield "", f"element {index}: {error}"
                return
            if here in seen and not duplicates:
                yield "", f"duplicate entries for key {shown_step(here)}"
            seen.add(here)
            where = shown_step(here)
        for path, words in _problems(kind.element, item, duplicates):
            yield where + path, words


def _map_problems(kind: MapType, value: dict[str, Any], duplicates: bool) -> Iterator[tuple[str, str]]:
    for name, item in value.items():
        inner = kind.of(name)
        if inner is None:
            yield f".{name}", "field not declared in schema"
            return
        for path, words in _problems(inner, item, duplicates):
            yield f".{name}{path}", words
