"""A custom resource against its structural schema, as apiextensions-apiserver does it.

Unknown fields, defaults, types, bounds; the words of an error are kube-openapi's. On an update, what is equal to what
is stored is not judged again (ratcheting): items of a list are told apart by their keys, and those of a list without
keys are never the same as before.
"""

import copy
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from serin.api.json import JsonObject
from tests.simulation.api import status
from tests.simulation.api.status import FieldError

_JSON_TYPES: Final = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
_DATE_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")
_ALWAYS: Final = ("apiVersion", "kind", "metadata")  # known even to a schema that does not name them
_BLOCKING: Final = (status.REQUIRED, status.TOO_LONG, status.TOO_MANY, status.UNSUPPORTED)


class Unchanged:
    """There is nothing to compare with."""


NOTHING: Final = Unchanged()


# Unknown fields and defaults


def unknown(body: JsonObject, schema: JsonObject) -> list[str]:
    """Paths of fields that the schema does not know."""
    known = schema["properties"]
    top = [name for name in body if name not in (*known, *_ALWAYS)]
    below = (path for name in ("spec", "status") if name in body for path in _unknown(body[name], known[name], name))
    return [*top, *below]


def _unknown(value: Any, part: JsonObject, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            inner = part.get("properties", {}).get(name) or part.get("additionalProperties")
            if inner:
                yield from _unknown(item, inner, f"{path}.{name}")
            elif not part.get("x-kubernetes-preserve-unknown-fields"):
                yield f"{path}.{name}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, part.get("items", {}), f"{path}[{index}]")


def decoded(body: JsonObject, schema: JsonObject) -> JsonObject:
    """A body as the server reads it: a copy without unknown fields and nulls, with the defaults filled in."""
    known = schema["properties"]
    kept = {name: copy.deepcopy(item) for name, item in body.items() if name in (*known, *_ALWAYS)}
    for name in ("spec", "status"):
        if name in kept:
            _prune(kept[name], known[name])
    fill(kept, schema)
    _prune_nulls(kept, schema)
    return kept


def _prune(value: Any, part: JsonObject) -> None:
    if isinstance(value, dict):
        known, other = part.get("properties", {}), part.get("additionalProperties")
        keeps = part.get("x-kubernetes-preserve-unknown-fields")
        for name in list(value):
            inner = known.get(name) or other
            if inner:
                _prune(value[name], inner)
            elif not keeps:
                del value[name]
    elif isinstance(value, list):
        for item in value:
            _prune(item, part.get("items", {}))


def fill(value: Any, part: JsonObject) -> None:
    """Fill in the defaults, in place. What is null and has a default gets it; other nulls stay."""
    if isinstance(value, dict):
        known, other = part.get("properties", {}), part.get("additionalProperties")
        for name, inner in known.items():
            if value.get(name) is None and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
        for name, item in value.items():
            if inner := known.get(name) or other:
                fill(item, inner)
    elif isinstance(value, list):
        for item in value:
            fill(item, part.get("items", {}))


def _prune_nulls(value: Any, part: JsonObject) -> None:
    if isinstance(value, dict):
        known, other = part.get("properties", {}), part.get("additionalProperties")
        for name in [name for name, item in value.items() if item is None and (name in known or other)]:
            del value[name]
        for name, item in value.items():
            if inner := known.get(name) or other:
                _prune_nulls(item, inner)
    elif isinstance(value, list):
        for item in value:
            _prune_nulls(item, part.get("items", {}))


# Types and bounds


def errors(value: Any, old: Any, schema: JsonObject, under: str = "") -> list[FieldError]:
    """What the schema has against a value. `old`: what is stored, or NOTHING; `under`: the field that it is in."""
    return [_placed(one, under) for one in _check(value, old, schema, "")]


def _placed(found: tuple[str, str, str, Any], under: str) -> FieldError:
    path, kind, detail, value = found
    return FieldError(".".join(one for one in (under, path.removeprefix(".")) if one), kind, detail, value)


_Found = tuple[str, str, str, Any]


def _check(value: Any, old: Any, part: JsonObject, path: str) -> Iterator[_Found]:
    if old is not NOTHING and value == old:
        return
    if value is None:
        if "type" in part and not part.get("nullable"):
            yield path, status.INVALID, f'{path} in body must be of type {part["type"]}: "null"', "null"
        return
    given = _JSON_TYPES[type(value)]
    wanted = part.get("type")
    fits = wanted in (None, given) or (wanted == "number" and given == "integer")
    fits = fits or (wanted == "integer" and isinstance(value, float) and value.is_integer())
    if not fits:
        yield path, status.INVALID, f'{path} in body must be of type {wanted}: "{given}"', given
    if isinstance(value, str):
        yield from _string(value, part, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _number(value, part, path)
    elif isinstance(value, list):
        yield from _array(value, old, part, path)
    if "enum" in part and value not in part["enum"]:
        supported = ", ".join(f'"{one}"' for one in part["enum"])
        yield path, status.UNSUPPORTED, f"supported values: {supported}", value
    if isinstance(value, dict):
        yield from _object(value, old, part, path)


def _string(value: str, part: JsonObject, path: str) -> Iterator[_Found]:
    most, least = part.get("maxLength"), part.get("minLength")
    if most is not None and len(value) > most:
        yield path, status.TOO_LONG, f"may not be more than {most} bytes", ...
    elif least is not None and len(value) < least:
        yield path, status.INVALID, f"{path} in body should be at least {least} chars long", value
    if part.get("format") == "date-time" and not _is_date_time(value):
        yield path, status.INVALID, f"{path} in body must be of type date-time: {value!r}".replace("'", '"'), value


def _is_date_time(text: str) -> bool:
    if not _DATE_TIME.match(text):
        return False
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True


def _number(value: float, part: JsonObject, path: str) -> Iterator[_Found]:
    most, least = part.get("maximum"), part.get("minimum")
    if most is not None and value > most:
        yield path, status.INVALID, f"{path} in body should be less than or equal to {most}", value
    if least is not None and value < least:
        yield path, status.INVALID, f"{path} in body should be greater than or equal to {least}", value


def _array(value: list[Any], old: Any, part: JsonObject, path: str) -> Iterator[_Found]:
    before = by_key(part, old)
    for index, item in enumerate(value):
        yield from _check(item, before.get(key_of(part, item), NOTHING), part.get("items", {}), f"{path}[{index}]")
    least, most = part.get("minItems"), part.get("maxItems")
    if least is not None and len(value) < least:
        yield path, status.INVALID, f"{path} in body should have at least {least} items", len(value)
    if most is not None and len(value) > most:
        yield path, status.TOO_MANY, f"must have at most {most} item{'' if most == 1 else 's'}", len(value)


def _object(value: JsonObject, old: Any, part: JsonObject, path: str) -> Iterator[_Found]:
    least, most = part.get("minProperties"), part.get("maxProperties")
    if least is not None and len(value) < least:
        yield path, status.INVALID, f"{path} in body should have at least {least} properties", len(value)
    if most is not None and len(value) > most:
        yield path, status.TOO_MANY, f"must have at most {most} item{'' if most == 1 else 's'}", len(value)
    known, other = part.get("properties", {}), part.get("additionalProperties")
    before = old if isinstance(old, dict) else {}
    for name, item in value.items():
        if inner := known.get(name) or other:
            where = f"{path}.{name}" if path else name
            yield from _check(item, before.get(name, NOTHING), inner, where)
    for name in part.get("required", ()):
        if name not in value:
            yield f"{path}.{name}", status.REQUIRED, "", ...


def key_of(part: JsonObject, item: Any) -> Any:
    """By what an item of a list is found in the list of before; a new object when it never is."""
    keys = part.get("x-kubernetes-list-map-keys") if part.get("x-kubernetes-list-type") == "map" else None
    if not keys or not isinstance(item, dict):
        return object()
    return tuple(repr(item.get(name)) for name in keys)


def by_key(part: JsonObject, items: Any) -> dict[Any, Any]:
    """The items of the list of before."""
    return {key_of(part, item): item for item in items} if isinstance(items, list) else {}


# Lists that are sets or maps


def duplicates(value: Any, part: JsonObject, path: str = "") -> Iterator[FieldError]:
    """Items that a list has twice although its type forbids it."""
    if not _has_keys(part):
        return
    if isinstance(value, dict):
        known, other = part.get("properties", {}), part.get("additionalProperties")
        for name, item in value.items():
            if name in known:
                yield from duplicates(item, known[name], f"{path}.{name}" if path else name)
            elif other:
                yield from duplicates(item, other, f"{path}[{name}]")
    elif isinstance(value, list):
        yield from _duplicates(value, part, path)
        for index, item in enumerate(value):
            yield from duplicates(item, part.get("items", {}), f"{path}[{index}]")


_KEYED: Final[dict[int, tuple[JsonObject, bool]]] = {}


def _has_keys(part: JsonObject) -> bool:
    """Whether a schema has a list with keys anywhere."""
    known = _KEYED.get(id(part))
    if known is None:  # the schema is kept with the answer, so that its id stays its own
        inner = [*part.get("properties", {}).values(), part.get("items"), part.get("additionalProperties")]
        here = part.get("x-kubernetes-list-type") in ("map", "set")
        known = _KEYED[id(part)] = (part, here or any(_has_keys(one) for one in inner if isinstance(one, dict)))
    return known[1]


def _duplicates(value: list[Any], part: JsonObject, path: str) -> Iterator[FieldError]:
    kind = part.get("x-kubernetes-list-type")
    keys = part.get("x-kubernetes-list-map-keys", ())
    if kind == "map":
        seen = [{key: item[key] for key in keys if key in item} for item in value if isinstance(item, dict)]
    else:
        seen = value if kind == "set" else []
    for index, one in enumerate(seen):
        if seen[:index].count(one) == 1:
            yield FieldError(f"{path}[{index}]", status.DUPLICATE, "", one)


def blocks_rules(found: list[FieldError]) -> bool:
    """Whether these errors keep the rules from being asked."""
    return any(one.type in _BLOCKING or " in body must be of type " in one.body for one in found)


def rules_not_checked() -> FieldError:
    """The error that says so."""
    words = "some validation rules were not checked because the object was invalid; correct the existing errors to "
    return FieldError("", status.INVALID, words + "complete validation", None)
