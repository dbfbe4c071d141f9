"""Fields and types of every Kubernetes release that the chart supports, to check objects without a cluster of each.

They are read from the schema that client-go carries for server-side apply, a Go module that is small (the OpenAPI files
of Kubernetes itself are a hundred times larger). It knows every field and its type, but not what is required and which
values are valid: a real API server says that in the tests that install the chart.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.binaries import find_go

CLIENT_GO = {"1.31": "v0.31.14", "1.32": "v0.32.9", "1.33": "v0.33.5", "1.34": "v0.34.1", "1.35": "v0.35.4"}
"""Kubernetes' release, and the client-go that belongs to it."""

_GROUPS = {
    "rbac.authorization.k8s.io": "rbac",
    "networking.k8s.io": "networking",
    "admissionregistration.k8s.io": "admissionregistration",
    "": "core",
}
_TYPES = {"string": str, "boolean": bool, "numeric": (int, float)}


@cache
def types(release: str) -> dict[str, Any]:
    """Every named type of a release."""
    command = [str(find_go()), "mod", "download", "-json", f"k8s.io/client-go@{CLIENT_GO[release]}"]
    environment = {**os.environ, "GOFLAGS": "-mod=mod"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd="/")
    assert done.returncode == 0, done.stderr + done.stdout
    source = Path(json.loads(done.stdout)["Dir"]) / "applyconfigurations" / "internal" / "internal.go"
    [text] = re.findall(r"schemaYAML = typed\.YAMLObject\(`(.*?)`\)", source.read_text(), re.DOTALL)
    loaded = yaml.load(text, Loader=yaml.CSafeLoader)
    return {one["name"]: one for one in loaded["types"]}


def problems(body: dict[str, Any], release: str) -> list[str]:
    """What a release's API server would not know in an object; none for kinds that are not Kubernetes' own."""
    group, _, version = body["apiVersion"].rpartition("/")
    name = f"io.k8s.api.{_GROUPS.get(group, group)}.{version}.{body['kind']}"
    known = types(release)
    if name not in known:
        return [f"{release} has no {body['apiVersion']} {body['kind']}"]
    bare = {key: value for key, value in body.items() if key not in ("apiVersion", "kind")}
    return list(_check(bare, known[name], known, body["kind"]))


def _check(value: Any, kind: dict[str, Any], known: dict[str, Any], path: str) -> Iterator[str]:
    while "namedType" in kind:
        kind = known[kind["namedType"]]
    if value is None:
        return
    # A quantity or an IntOrString is "untyped": a scalar beside a list and a map that stand for anything.
    if "scalar" in kind and not isinstance(value, dict | list):
        allowed = _TYPES.get(kind["scalar"])
        if allowed and (not isinstance(value, allowed) or (kind["scalar"] == "numeric" and isinstance(value, bool))):
            yield f"{path}: {value!r} is no {kind['scalar']}"
    elif "map" in kind and isinstance(value, dict):
        yield from _check_map(value, kind["map"], known, path)
    elif "list" in kind and isinstance(value, list):
        for number, one in enumerate(value):
            yield from _check(one, kind["list"]["elementType"], known, f"{path}[{number}]")
    else:
        yield f"{path}: {type(value).__name__} where the schema has {', '.join(set(kind) - {'name'})}"


def _check_map(value: dict[str, Any], shape: dict[str, Any], known: dict[str, Any], path: str) -> Iterator[str]:
    fields = {one["name"]: one["type"] for one in shape.get("fields", ())}
    for key, one in value.items():
        kind = fields.get(key, shape.get("elementType"))
        if kind is None:
            yield f"{path}.{key}: no such field"
        else:
            yield from _check(one, kind, known, f"{path}.{key}")
