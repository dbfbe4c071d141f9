"""The kinds that the simulated API server serves, and what is particular to each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.protocol import Kind
from tests import crds
from tests.simulation.api import types
from tests.simulation.api.rules import Rules
from tests.simulation.api.typed import Path
from tests.simulation.api.types import Type

REPLICA_SET: Final = Kind("apps/v1", "ReplicaSet", "replicasets")
NAMESPACE: Final = Kind("v1", "Namespace", "namespaces", namespaced=False)
NODE: Final = Kind("v1", "Node", "nodes", namespaced=False)

# Which changes of a built-in kind are a new generation; kinds that are not named have no generation.
_GENERATION: Final[dict[str, tuple[str, ...]]] = {
    "Deployment": ("spec",),
    "ReplicaSet": ("spec",),
    "Job": ("spec",),
    "Pod": ("spec",),
    "EndpointSlice": ("addressType", "endpoints", "ports", "metadata.labels"),
}
_STATUS: Final = ("Deployment", "ReplicaSet", "Job", "Pod", "Service", "Namespace", "Node")
# What a write of the status does not change, besides the status of a write of the main resource.
_STATUS_RESETS: Final[dict[str, tuple[Path, ...]]] = {
    "Deployment": (("f:spec",), ("f:metadata", "f:labels")),
    "ReplicaSet": (("f:spec",),),
    "Job": (("f:spec",),),
    "Pod": (
        ("f:spec",),
        ("f:metadata", "f:deletionTimestamp"),
        ("f:metadata", "f:ownerReferences"),
    ),
    "Service": (("f:spec",),),
    "Namespace": (("f:spec",),),
    "Node": (("f:spec",),),
}
# What an object of the kind consists of before anybody has written it: structs that are never absent.
_EMPTY: Final[dict[str, JsonObject]] = {
    "Deployment": {
        "metadata": {},
        "spec": {"selector": None, "template": {"metadata": {}, "spec": {"containers": None}}, "strategy": {}},
        "status": {},
    },
    "ReplicaSet": {"metadata": {}, "spec": {"selector": None}, "status": {"replicas": 0}},
    "Job": {"metadata": {}, "spec": {"template": {"metadata": {}, "spec": {"containers": None}}}, "status": {}},
    "Pod": {"metadata": {}, "spec": {"containers": None}, "status": {}},
    "Service": {"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}},
    "EndpointSlice": {"metadata": {}, "endpoints": None, "ports": None, "addressType": ""},
    "Lease": {"metadata": {}, "spec": {}},
    "Event": {"metadata": {}, "eventTime": None, "regarding": {}, "deprecatedSource": {}},
    "ConfigMap": {"metadata": {}},
    "Secret": {"metadata": {}},
    "Namespace": {"metadata": {}, "spec": {}, "status": {}},
    "Node": {"metadata": {}, "spec": {}, "status": {}},
}


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One kind. `crd`: its OpenAPI schema, None for a built-in kind; `scale`: its scale subresource."""

    kind: Kind
    type: Type
    has_status: bool
    generation: tuple[str, ...] | None
    empty: JsonObject
    status_resets: tuple[Path, ...]
    crd: JsonObject | None = None
    rules: Rules | None = None
    scale: JsonObject | None = None

    def is_new_generation(self, new: JsonObject, old: JsonObject) -> bool:
        """Whether a write makes a new generation."""

        def part(body: JsonObject, path: str) -> object:
            top, _, below = path.partition(".")
            return body.get(top, {}).get(below) if below else body.get(top)

        return any(part(new, path) != part(old, path) for path in self.generation or ())

    @property
    def resets(self) -> tuple[Path, ...]:
        """What a write of the main resource does not change."""
        return (("f:status",),) if self.has_status else ()


def _built_in(kind: Kind) -> Resource:
    return Resource(
        kind,
        types.built_in()[kind.name],
        kind.name in _STATUS,
        _GENERATION.get(kind.name),
        _EMPTY[kind.name],
        _STATUS_RESETS.get(kind.name, ()),
    )


def custom(kind: Kind, crd: JsonObject) -> Resource:
    """A kind as its CRD describes it."""
    version = crd["spec"]["versions"][0]
    schema, subresources = version["schema"]["openAPIV3Schema"], version.get("subresources", {})
    return Resource(
        kind,
        types.of_crd(schema),
        has_status="status" in subresources,
        generation=("spec",),
        empty={},
        status_resets=(("f:spec",),),
        crd=schema,
        rules=Rules(schema),
        scale=subresources.get("scale"),
    )


@cache
def served() -> Mapping[Kind, Resource]:
    """Every kind that Serin knows, and what its workloads are made of.

    One for all servers of the process, so that a rule that was evaluated once is known to all.
    """
    ours = (kinds.MODEL_DEPLOYMENT, kinds.MODEL_SNAPSHOT, kinds.METRIC_TEMPLATE, kinds.REVIEW_ITEM)
    found = {kind: custom(kind, crds.load(kind.name)) for kind in ours}
    others = (*(kind for kind in kinds.ALL if kind not in ours), REPLICA_SET, NAMESPACE, NODE)
    return found | {kind: _built_in(kind) for kind in others if kind.name in types.built_in()}
