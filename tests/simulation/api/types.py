"""Types as server-side apply sees them: what is a leaf, what is a map, what is a list and by which keys.

The types of the built-in kinds come from kubernetes.types (see generate_types.py), those of a CRD from its OpenAPI
schema, by the rules of k8s.io/kube-openapi/pkg/schemaconv. Nothing here validates a value's bounds; see structural.py.
"""

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from serin.api.json import JsonObject

_SCALARS: Final = {"s": "string", "n": "numeric", "b": "boolean", "u": "untyped"}


@dataclass(slots=True, eq=False)
class MapType:
    """A struct's fields, and the type of every other key (None: there may be none)."""

    fields: dict[str, "Type"] = field(default_factory=dict)
    element: "Type | None" = None
    atomic: bool = False
    defaults: dict[str, Any] = field(default_factory=dict)

    def of(self, name: str) -> "Type | None":
        """The type of a field."""
        return self.fields.get(name, self.element)


@dataclass(slots=True, eq=False)
class ListType:
    """A list: atomic, a set (no keys), or a map by keys."""

    element: "Type"
    keys: tuple[str, ...] = ()
    atomic: bool = True


@dataclass(slots=True, eq=False)
class Type:
    """What a value may be: one of the three, or (untyped) any of them."""

    scalar: str | None = None
    list: ListType | None = None
    map: MapType | None = None


def _untyped() -> tuple[Type, Type]:
    """(deduced, atomic): what nothing is known of. Maps are merged in the first and leaves in the second."""
    atomic = Type(scalar="untyped")
    atomic.list, atomic.map = ListType(atomic), MapType(element=atomic, atomic=True)
    deduced = Type(scalar="untyped", list=ListType(atomic))
    deduced.map = MapType(element=deduced)
    return deduced, atomic


DEDUCED, UNTYPED = _untyped()


@cache
def built_in() -> dict[str, Type]:
    """The built-in types by name, for example `Deployment`."""
    lines = Path(__file__).with_name("kubernetes.types").read_text().splitlines()
    types = {line.split(" ", 1)[0].rstrip("!"): Type() for line in lines}
    for line in lines:
        name, *fields = line.split(" ")
        target = types[name.rstrip("!")]
        if fields[:1] == ["="]:
            parsed = _parse(fields[1], types)
            target.scalar, target.list, target.map = parsed.scalar, parsed.list, parsed.map
            continue
        target.map = MapType(atomic=name.endswith("!"))
        for one in fields:
            key, _, text = one.partition(":")
            text, given, default = text.partition("=")
            target.map.fields[key] = _parse(text, types)
            if given:
                target.map.defaults[key] = json.loads(default)
        if not fields:
            target.map.element = DEDUCED
    return types


def _parse(text: str, types: dict[str, Type]) -> Type:
    if text in _SCALARS:
        return Type(scalar=_SCALARS[text])
    if text.startswith("<"):
        inner = text[1:-1]
        return Type(map=MapType(element=_parse(inner.rstrip("!"), types), atomic=inner.endswith("!")))
    if text.startswith("["):
        inner, associative, keys = text[1:-1].partition("|")
        names = tuple(re.findall(r"\w+", keys))
        return Type(list=ListType(_parse(inner, types), names, atomic=not associative))
    return types[text]


def of_crd(schema: JsonObject) -> Type:
    """The type of a custom resource with this OpenAPI schema."""
    root = _convert(schema, False)
    assert root.map is not None
    root.map.fields["metadata"] = built_in()["ObjectMeta"]
    for name in ("apiVersion", "kind"):
        root.map.fields[name] = Type(scalar="string")
    return root


def _convert(schema: JsonObject, preserves: bool) -> Type:
    preserves = preserves or bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    match schema.get("type"):
        case "object":
            return Type(map=_map(schema, preserves))
        case "array":
            return Type(list=_list(schema, preserves))
        case "integer" | "number":
            return Type(scalar="numeric")
        case "boolean":
            return Type(scalar="boolean")
        case "string":
            return Type(scalar="string" if schema.get("format", "byte") == "byte" else "untyped")
    return DEDUCED


def _map(schema: JsonObject, preserves: bool) -> MapType:
    fields = {name: _convert(inner, preserves) for name, inner in schema.get("properties", {}).items()}
    element = None
    if "additionalProperties" in schema:
        element = _convert(schema["additionalProperties"], preserves)
    elif preserves or not fields:
        element = DEDUCED
    defaults = {name: inner["default"] for name, inner in schema.get("properties", {}).items() if "default" in inner}
    return MapType(fields, element, schema.get("x-kubernetes-map-type") == "atomic", defaults)


def _list(schema: JsonObject, preserves: bool) -> ListType:
    kind = schema.get("x-kubernetes-list-type", "atomic")
    keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
    return ListType(_convert(schema["items"], preserves), keys if kind == "map" else (), atomic=kind == "atomic")
