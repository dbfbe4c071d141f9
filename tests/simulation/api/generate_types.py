"""Writes kubernetes.types anew: the types of the built-in kinds as server-side apply sees them.

They are copied from client-go's `applyconfigurations/internal/internal.go`, which is generated from the same OpenAPI
document that the API server itself uses, so that merge keys and atomic lists are never a matter of memory. Run with the
path of that file, after a new version of Kubernetes:

    python -m tests.simulation.api.generate_types .../client-go@v0.35.4/applyconfigurations/internal/internal.go

One line is one type: its name, then its fields. `s`, `n`, `b`, `u` are scalars (string, number, boolean, any), `[T]` is
an atomic list, `[T|a,b]` a list with the keys a and b, `[T|]` a set, `<T>` a map, a name another type. `!` after a name
means that the whole is one leaf. `=` after a key gives its default.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import yaml

ROOTS: Final = (
    "apps.v1.Deployment",
    "apps.v1.ReplicaSet",
    "batch.v1.Job",
    "coordination.v1.Lease",
    "core.v1.ConfigMap",
    "core.v1.Namespace",
    "core.v1.Node",
    "core.v1.Pod",
    "core.v1.Secret",
    "core.v1.Service",
    "discovery.v1.EndpointSlice",
    "events.v1.Event",
)
TARGET: Final = Path(__file__).with_name("kubernetes.types")
_SCALARS: Final = {"string": "s", "numeric": "n", "boolean": "b", "untyped": "u"}
_BEGIN: Final = "schemaYAML = typed.YAMLObject(`"

Json = dict[str, Any]


def main(source: Path) -> None:
    """Read internal.go and write the types that the roots need."""
    text = source.read_text()
    start = text.index(_BEGIN) + len(_BEGIN)
    types = {one["name"]: one for one in yaml.safe_load(text[start : text.index("`)", start)])["types"]}
    found = _reachable(types, [f"io.k8s.api.{name}" for name in ROOTS])
    keys = {key for body in found.values() for key in _keys(body)}
    lines = sorted(_line(name, body, keys) for name, body in found.items() if not name.startswith("__"))
    if len({line.split()[0] for line in lines}) != len(lines):
        raise SystemExit("two types have the same short name: keep their packages apart")
    TARGET.write_text("\n".join(lines) + "\n")


def _reachable(types: dict[str, Json], roots: list[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = types[name]
            todo += _references(types[name])
    return found


def _references(part: Any) -> list[str]:
    if isinstance(part, list):
        return [name for item in part for name in _references(item)]
    if not isinstance(part, dict):
        return []
    here = [part["namedType"]] if "namedType" in part else []
    return here + [name for item in part.values() for name in _references(item)]


def _keys(part: Any) -> list[str]:
    if isinstance(part, list):
        return [key for item in part for key in _keys(item)]
    if not isinstance(part, dict):
        return []
    here = part["keys"] if "elementRelationship" in part and "keys" in part else []
    return [*here, *(key for item in part.values() for key in _keys(item))]


def _line(name: str, body: Json, keys: set[str]) -> str:
    if "map" not in body or "elementType" in body["map"]:
        return f"{_short(name)} = {_type({key: value for key, value in body.items() if key != 'name'})}"
    shape = body["map"]
    fields = [_field(one, keys) for one in shape.get("fields", ())]
    return " ".join([_short(name) + ("!" if shape.get("elementRelationship") == "atomic" else ""), *fields])


def _field(one: Json, keys: set[str]) -> str:
    default = f"={json.dumps(one['default'])}" if one["name"] in keys and one.get("default") is not None else ""
    return f"{one['name']}:{_type(one['type'])}{default}"


def _type(part: Json) -> str:
    if "namedType" in part:
        return _short(part["namedType"])
    if "scalar" in part:
        return _SCALARS[part["scalar"]]
    if "list" in part:
        shape = part["list"]
        associative = shape["elementRelationship"] == "associative"
        return f"[{_type(shape['elementType'])}{'|' + ','.join(shape.get('keys', ())) if associative else ''}]"
    shape = part["map"]
    return f"<{_type(shape['elementType'])}{'!' if shape.get('elementRelationship') == 'atomic' else ''}>"


def _short(name: str) -> str:
    return name if name.startswith("__") else name.rpartition(".")[2]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
