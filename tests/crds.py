"""The schemas in crds/, applied without an API server.

Only what tests of the layers above need: defaults, and fields that the API server would not keep, by the rules of the
simulated API server, which tests/conformance compares with a real one.
"""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.simulation.api import structural

ROOT = Path(__file__).parents[1]
FILES = {
    "ModelDeployment": "modeldeployments.yaml",
    "ModelSnapshot": "modelsnapshots.yaml",
    "MetricTemplate": "metrictemplates.yaml",
    "ReviewItem": "reviewitems.yaml",
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
    structural.fill(filled, schema(body["kind"]))
    return filled


def undeclared(body: dict[str, Any]) -> list[str]:
    """Paths of fields that the schema does not know: the API server drops them, or refuses to apply them."""
    return [path for path in structural.unknown(body, schema(body["kind"])) if path.startswith(("spec", "status"))]
