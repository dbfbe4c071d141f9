"""A resource against its CRD, as the API server would: defaults, unknown fields, types, bounds, lists that are maps.

Structural schemas are not JSON Schema: they fill in defaults, refuse fields that they do not know, and lists have keys.
The words are those that `kubectl apply` prints for the same mistake, so that nobody learns two. The walk stops at what
it cannot read, and rules (rules.py) are asked only where the walk found nothing wrong.
"""

import copy
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any, Final

import yaml

from serin.api import names
from serin.api.json import JsonObject

_FILES: Final = {
    names.MODEL_DEPLOYMENT: "modeldeployments.yaml",
    names.MODEL_SNAPSHOT: "modelsnapshots.yaml",
    names.METRIC_TEMPLATE: "metrictemplates.yaml",
    names.REVIEW_ITEM: "reviewitems.yaml",
}
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_YAML_NAMES: Final = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the field at `path`, and what to write instead."""

    path: str
    message: str


@cache
def crd(kind: str) -> JsonObject:
    """The CRD of a kind, as it is installed in clusters."""
    text = resources.files("serin.cli.lint").joinpath("crds", _FILES[kind]).read_text("utf-8")
    loaded: JsonObject = yaml.load(text, Loader=yaml.CSafeLoader)  # five times as fast as safe_load
    return loaded


def versions(kind: str) -> tuple[str, ...]:
    """The API versions in which a kind is served."""
    return tuple(one["name"] for one in crd(kind)["spec"]["versions"] if one["served"])


def schema(kind: str) -> JsonObject:
    """The OpenAPI schema of a kind."""
    found: JsonObject = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def defaulted(body: JsonObject) -> JsonObject:
    """A copy with the schema's defaults, and without nulls, as the API server stores it."""
    filled = copy.deepcopy(body)
    _fill(filled, schema(body["kind"]))
    return filled


def _fill(value: Any, part: JsonObject) -> None:
    if isinstance(value, dict):
        for name, inner in part.get("properties", {}).items():
            if value.get(name) is None:
                value.pop(name, None)
                if "default" in inner:
                    value[name] = copy.deepcopy(inner["default"])
            if name in value:
                _fill(value[name], inner)
        for item in value.values() if "additionalProperties" in part else ():
            _fill(item, part["additionalProperties"])
    elif isinstance(value, list):
        for item in value:
            _fill(item, part.get("items", {}))


def problems(body: JsonObject) -> list[Problem]:
    """Everything that the schema has against a defaulted body. The status is Serin's own and not looked at."""
    part = schema(body["kind"])
    shown = {key: value for key, value in body.items() if key != "status"}
    return list(_check(shown, part, ""))


def _check(value: Any, part: JsonObject, path: str) -> Iterator[Problem]:
    kind = part.get("type")
    if kind and not _is(value, kind):
        given = _YAML_NAMES.get(type(value), "null")
        allowed = f"; {_supported(part['enum'])}" if "enum" in part else ""
        message = f"Invalid value: {_text(value)}: must be of type {kind}, not {given}{_hint(value, kind)}{allowed}"
        yield Problem(path, message)
        return
    yield from _bounds(value, part, path)
    if isinstance(value, dict):
        yield from _object(value, part, path)
    elif isinstance(value, list):
        yield from _array(value, part, path)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _hint(value: Any, kind: str) -> str:
    if kind == "string" and isinstance(value, bool):
        return ': YAML reads Off, On, Yes and No as true or false, write it in quotes, for example "Off"'
    if kind == "string" and isinstance(value, (int, float)):
        return f': write it in quotes, "{value}"'
    if kind == "integer" and isinstance(value, str) and value.strip().rstrip("%").isdigit():
        return f": write {value.strip().rstrip('%')}"
    return ""


def _bounds(value: Any, part: JsonObject, path: str) -> Iterator[Problem]:
    allowed = part.get("enum")
    if allowed is not None and value not in allowed:
        yield Problem(path, f"Unsupported value: {_text(value)}: {_supported(allowed)}{_near(value, allowed)}")
    for sized, least, most in ((str, "minLength", "maxLength"), (list, "minItems", "maxItems"), (dict, "", "")):
        if isinstance(value, sized):
            least, most = (least, most) if least else ("minProperties", "maxProperties")
            yield from _size(value, part.get(least), part.get(most), path)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _number(value, part, path)
    if part.get("format") == "date-time" and isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            yield Problem(path, f"Invalid value: {_text(value)}: must be a time, for example 2026-11-22T10:00:00Z")


def _supported(allowed: Sequence[Any]) -> str:
    return "supported values: " + ", ".join(f'"{one}"' for one in allowed)


def _size(value: Any, least: int | None, most: int | None, path: str) -> Iterator[Problem]:
    what = "characters long" if isinstance(value, str) else "items"
    if least is not None and len(value) < least:
        fewest = f"have at least {least} properties" if isinstance(value, dict) else f"be at least {least} {what}"
        yield Problem(path, f"Invalid value: {_text(value)}: should {fewest}")
    if most is not None and len(value) > most:
        if isinstance(value, str):
            yield Problem(path, f"Too long: may not be more than {most} characters, it has {len(value)}")
        else:
            yield Problem(path, f"Too many: {len(value)}: must have at most {most} items")


def _number(value: float, part: JsonObject, path: str) -> Iterator[Problem]:
    least, most = part.get("minimum"), part.get("maximum")
    if least is not None and value < least:
        yield Problem(path, f"Invalid value: {value}: should be greater than or equal to {least}")
    if most is not None and value > most:
        yield Problem(path, f"Invalid value: {value}: should be less than or equal to {most}")


def _object(value: JsonObject, part: JsonObject, path: str) -> Iterator[Problem]:
    known = part.get("properties", {})
    for name in part.get("required", ()):
        if name not in value:
            yield Problem(_join(path, name), f"Required value{_purpose(known.get(name, {}))}")
    for name, item in value.items():
        inner = known.get(name, part.get("additionalProperties"))
        if inner is not None:
            yield from _check(item, inner, _join(path, str(name)))
        elif known and not part.get("x-kubernetes-preserve-unknown-fields"):
            yield Problem(_join(path, str(name)), f'unknown field "{_join(path, str(name))}"{_near(name, known)}')


def _array(value: list[Any], part: JsonObject, path: str) -> Iterator[Problem]:
    keys = part.get("x-kubernetes-list-map-keys")
    seen: list[Any] = []
    for index, item in enumerate(value):
        yield from _check(item, part.get("items", {}), f"{path}[{index}]")
        if not keys or not isinstance(item, dict):
            continue
        key = {name: item.get(name) for name in keys}
        if key in seen:
            shown = ", ".join(f"{name}: {one}" for name, one in key.items())
            yield Problem(f"{path}[{index}]", f"Duplicate value: {shown}: give it another {' and '.join(keys)}")
        seen.append(key)


def _near(value: Any, known: Sequence[Any] | Mapping[str, Any]) -> str:
    """A suggestion for what was probably meant."""
    texts = {str(one).lower(): str(one) for one in known}
    found = difflib.get_close_matches(str(value).lower(), texts, n=1)
    if found:
        return f"; did you mean {texts[found[0]]}?"
    return f"; write one of {', '.join(sorted(texts.values()))}" if isinstance(known, Mapping) else ""


def _purpose(part: JsonObject) -> str:
    description = str(part.get("description", ""))
    return f": {description}" if description else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
