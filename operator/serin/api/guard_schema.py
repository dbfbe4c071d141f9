"""`schema` of `spec.guard`: a JSON Schema of a whole request or answer. Pure.

The guard is shared, and a schema is anybody's. So what is known of JSON Schema is a tree in which one part alone
speaks of a value: without references and regular expressions, and without anyOf, oneOf and not, for each part of which
the library would keep a copy of a body that does not fit it. An anyOf of different types, as pydantic writes it for
what may be null, becomes one part.
"""

import json
import math
from collections.abc import Callable
from typing import Any, Final, NoReturn

from serin.api.fields import Field, InvalidSpec
from serin.api.json import JsonObject

DEEPEST: Final = 16
# Words for people, which nothing is compared with.
_NOTES: Final = frozenset(
    {"$schema", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
)
_TYPES: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_UNION: Final = (
    "write parts of which each has a type of its own and what belongs to that type alone, for example "
    '{"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}]}, or what all parts have in common'
)
_INSTEAD: Final = {
    "$ref": "write what it refers to in its place",
    "$defs": "write what is defined where it is used",
    "pattern": "write enum, minLength or maxLength, or remove it",
    "format": "write enum, minLength or maxLength, or remove it",
    "patternProperties": "write the names in properties, and additionalProperties for all others",
    "anyOf": _UNION,
    "oneOf": _UNION,
}


def read_schema(field: Field | None) -> str:
    """As JSON without what is for people alone, "" for none. Raises InvalidSpec with what to write instead."""
    if field is None:
        return ""
    try:
        schema = json.loads(field.value, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise InvalidSpec(f"{field.path}: this is no JSON: write for example {_EXAMPLE}") from None
    try:
        return json.dumps(_read(schema, (), 0), separators=(",", ":"), sort_keys=True)
    except ValueError as error:
        raise InvalidSpec(f"{field.path}: {error}") from None


_EXAMPLE: Final = '{"required": ["score"], "properties": {"score": {"type": "number"}}}'


def _no_number(_: str) -> NoReturn:
    raise ValueError


def _read(schema: Any, place: tuple[str, ...], depth: int) -> JsonObject:
    where = f" ({'.'.join(place)})" if place else ""
    if not isinstance(schema, dict):
        raise ValueError(f"a schema is an object{where}: write for example {_EXAMPLE}")
    if depth > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST}: describe less of what is inside")
    found: JsonObject = {}
    for key, value in _one_part(schema).items():
        if key in _PARTS and not (key == "additionalProperties" and isinstance(value, bool)):
            found[key] = _PARTS[key](value, (*place, key), depth + 1)
        elif key in _VALUES:
            fits, wanted = _VALUES[key]
            if not fits(value):
                raise ValueError(f"{key}{where} is none: write {wanted}")
            found[key] = value
        elif key not in _NOTES:
            instead = _INSTEAD.get(key, f"write {', '.join(sorted({*_VALUES, *_PARTS}))} alone")
            raise ValueError(f"{key}{where} is not known here: {instead}")
    return found


def _one_part(schema: JsonObject) -> JsonObject:
    """The same without anyOf and oneOf, where their parts exclude each other by their types; else as it is."""
    own = schema.keys() - _NOTES
    parts = schema[word] if len(own) == 1 and (word := min(own)) in ("anyOf", "oneOf") else None
    found: JsonObject = {"type": []}
    for part in parts if isinstance(parts, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in _OF_TYPE or _meets(kind, found["type"]):
            return schema
        words = part.keys() - _NOTES
        if not words <= {"type", *_OF_TYPE[kind]}:
            return schema
        found |= {key: part[key] for key in words} | {"type": [*found["type"], kind]}
    return found if found["type"] else schema


def _meets(kind: str, others: list[str]) -> bool:
    """Whether a value of this type may be of one of the others, too."""
    return kind in others or any({kind, one} == {"integer", "number"} for one in others)


def _read_properties(value: Any, place: tuple[str, ...], depth: int) -> JsonObject:
    if not isinstance(value, dict):
        raise ValueError('properties is no object: write for example {"score": {"type": "number"}}')
    return {name: _read(one, (*place, name), depth) for name, one in value.items()}


_PARTS: Final[dict[str, Callable[[Any, tuple[str, ...], int], JsonObject]]] = {
    "properties": _read_properties,
    "items": _read,
    "additionalProperties": _read,
}


def _is_type(value: Any) -> bool:
    found = value if isinstance(value, list) else [value]
    return bool(found) and all(isinstance(one, str) and one in _TYPES for one in found) and _differ(found)


def _is_number(value: Any) -> bool:
    return (type(value) is int and abs(value) < 2**53) or (type(value) is float and math.isfinite(value))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_one(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or _is_number(value)


def _is_enum(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_one, value))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value) and _differ(value)


def _differ(names: list[str]) -> bool:
    return len(set(names)) == len(names)


_COUNTS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
# What is said of values of one type, and says nothing of others.
_OF_TYPE: Final[dict[str, tuple[str, ...]]] = {
    "null": (),
    "boolean": (),
    "integer": _NUMBERS,
    "number": _NUMBERS,
    "string": ("minLength", "maxLength"),
    "array": ("items", "minItems", "maxItems"),
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
}
_VALUES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "additionalProperties": (lambda value: isinstance(value, bool), "false, or a schema"),
    "type": (_is_type, 'one of the types of JSON, or a list of them, for example ["string", "null"]'),
    "enum": (_is_enum, 'a list of texts and numbers, for example ["stop", "length"]'),
    "const": (_is_one, "a text, a number, true, false or null"),
    "required": (_is_names, 'a list of names, each once, for example ["score"]'),
    **dict.fromkeys(_NUMBERS, (_is_number, "a number")),
    **dict.fromkeys(_COUNTS, (_is_count, "a whole number")),
}
