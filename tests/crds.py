"""The schemas in crds/, applied without an API server.

Only what tests of the layers above need: defaults, and fields that the API server would not keep. The two functions
follow the rules of structural schemas; tests/integration/crds compares them with a real API server.
"""

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
FILES = {
    "ModelDeployment": "modeldeployments.yaml",
    "ModelSnapshot": "modelsnapshots.yaml",
    "MetricTemplate": "metrictemplates.yaml",
}


@cache
def load(kind: str) -> dict[str, Any]:
    """The CRD of a kind."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "crds" / FILES[kind]).read_text())
    return loaded


def schema(kind: str) -> dict[str, Any]:
    """The OpenAPI schema of a kind."""
    found: dict[str, Any] = load(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def defaulted(body: dict[str, Any]) -> dict[str, Any]:
    """A copy of a resource with the defaults of its schema filled in, as the API server stores it."""
    filled = copy.deepcopy(body)
    _fill(filled, schema(body["kind"]))
    return filled


def undeclared(body: dict[str, Any]) -> list[str]:
    """Paths of fields that the schema does not know: the API server drops them, or refuses to apply them."""
    known = schema(body["kind"])
    return [
        path
        for part in ("spec", "status")
        if part in body
        for path in _undeclared(body[part], known["properties"][part], part)
    ]


def _fill(value: Any, part: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for name, inner in part.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
            if name in value:
                _fill(value[name], inner)
        if "additionalProperties" in part:
            for item in value.values():
                _fill(item, part["additionalProperties"])
    elif isinstance(value, list):
        for item in value:
            _fill(item, part["items"])


def _undeclared(value: Any, part: dict[str, Any], path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            inner = part.get("properties", {}).get(name) or part.get("additionalProperties")
            if inner:
                yield from _undeclared(item, inner, f"{path}.{name}")
            elif not part.get("x-kubernetes-preserve-unknown-fields"):
                yield f"{path}.{name}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _undeclared(item, part["items"], f"{path}[{index}]")
