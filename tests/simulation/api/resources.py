"""The kinds that the simulated API server serves, and what is particular to each."""

from collections.abc import Callable
from dataclasses import dataclass, field
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
    "Pod": ("spec",),
    "EndpointSlice": ("addressType", "endpoints", "ports"),
}
_STATUS: Final = ("Deployment", "ReplicaSet", "Pod", "Service", "Namespace", "Node")
# What a write of the status does not change, besides the status of a write of the main resource.
_STATUS_RESETS: Final[dict[str, tuple[Path, ...]]] = {
    "Deployment": (("f:spec",), ("f:metadata", "f:labels")),
    "ReplicaSet": (("f:spec",),),
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
    "Pod": {"metadata": {}, "spec": {"containers": None}, "status": {}},
    "Service": {"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}},
    "EndpointSlice": {"metadata": {}, "endpoints": None, "ports": None, "addressType": ""},
    "Lease": {"metadata": {}, "spec": {}},
    "Event": {"metadata": {}, "eventTime": None, "regarding": {}, "deprecatedSource": {}},
    "Secret": {"metadata": {}},
    "Namespace": {"metadata": {}, "spec": {}, "status": {}},
    "Node": {"metadata": {}, "spec": {}, "status": {}},
}


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One kind. `crd`: its OpenAPI schema, None for a built-in kind."""

    kind: Kind
    type: Type
    has_status: bool
    generation: tuple[str, ...] | None
    empty: JsonObject
    status_resets: tuple[Path, ...]
    crd: JsonObject | None = None
    rules: Rules | None = field(default=None)

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


def _custom(kind: Kind, schema: JsonObject, rules: Rules) -> Resource:
    return Resource(
        kind,
        types.of_crd(schema),
        has_status="status" in schema["properties"],
        generation=("spec", "status") if "status" not in schema["properties"] else ("spec",),
        empty={},
        status_resets=(("f:spec",),),
        crd=schema,
        rules=rules,
    )


def served(schema: Callable[[str], JsonObject] = crds.schema) -> dict[Kind, Resource]:
    """Every kind that Serin knows, and what its workloads are made of. `schema`: the OpenAPI schema of a CRD."""
    custom = (kinds.MODEL_DEPLOYMENT, kinds.MODEL_SNAPSHOT, kinds.METRIC_TEMPLATE)
    found = {kind: _custom(kind, schema(kind.name), _rules(schema, kind.name)) for kind in custom}
    others = (*(kind for kind in kinds.ALL if kind not in custom), REPLICA_SET, NAMESPACE, NODE)
    return found | {kind: _built_in(kind) for kind in others if kind.name in types.built_in()}


_RULES: Final[dict[str, tuple[JsonObject, Rules]]] = {}


def _rules(schema: Callable[[str], JsonObject], name: str) -> Rules:
    """One set of rules for all servers of the process, so that what was evaluated once is known to all."""
    body = schema(name)
    known = _RULES.get(name)
    if known is None or known[0] is not body:
        known = _RULES[name] = (body, Rules(body))
    return known[1]
