"""The kinds of objects that Serin reads and writes, and how the API server addresses each of them.

Paths are built from these constants, never discovered: a kind that is missing here is a kind that Serin has no
permission for either. It refuses to guess plurals.
"""

from typing import Final

from serin.api import names
from serin.api.json import JsonObject
from serin.cluster.protocol import Kind

MODEL_DEPLOYMENT: Final = Kind(names.API_VERSION, names.MODEL_DEPLOYMENT, "modeldeployments")
MODEL_SNAPSHOT: Final = Kind(names.API_VERSION, names.MODEL_SNAPSHOT, "modelsnapshots")
METRIC_TEMPLATE: Final = Kind(names.API_VERSION, names.METRIC_TEMPLATE, "metrictemplates")
REVIEW_ITEM: Final = Kind(names.API_VERSION, names.REVIEW_ITEM, "reviewitems")
DEPLOYMENT: Final = Kind("apps/v1", "Deployment", "deployments")
JOB: Final = Kind("batch/v1", "Job", "jobs")
SERVICE: Final = Kind("v1", "Service", "services")
POD: Final = Kind("v1", "Pod", "pods")
CONFIG_MAP: Final = Kind("v1", "ConfigMap", "configmaps")
SECRET: Final = Kind("v1", "Secret", "secrets")
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
EVENT: Final = Kind("events.k8s.io/v1", "Event", "events")
POD_WARNINGS: Final = "type=Warning,regarding.kind=Pod"  # the field selector of those Events
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")

ALL: Final = (
    MODEL_DEPLOYMENT,
    MODEL_SNAPSHOT,
    METRIC_TEMPLATE,
    REVIEW_ITEM,
    DEPLOYMENT,
    JOB,
    SERVICE,
    POD,
    CONFIG_MAP,
    SECRET,
    ENDPOINT_SLICE,
    EVENT,
    LEASE,
)
_BY_TYPE: Final = {(kind.api_version, kind.name): kind for kind in ALL}


def of(body: JsonObject) -> Kind:
    """The kind of a manifest. Raises ValueError when it is not one of ALL."""
    found = _BY_TYPE.get((body.get("apiVersion", ""), body.get("kind", "")))
    if found is None:
        raise ValueError(
            f"no kind {body.get('kind')!r} of {body.get('apiVersion')!r} is known to Serin; "
            "add it to serin.cluster.kinds, and its permission to the chart"
        )
    return found


def collection_path(kind: Kind, namespace: str | None) -> str:
    """Path of all objects of a kind, in one namespace or (None) in the whole cluster."""
    group = "api" if "/" not in kind.api_version else "apis"
    inside = f"/namespaces/{namespace}" if kind.namespaced and namespace is not None else ""
    return f"/{group}/{kind.api_version}{inside}/{kind.plural}"


def object_path(kind: Kind, namespace: str, name: str, subresource: str = "") -> str:
    """Path of one object, or of one of its subresources."""
    suffix = f"/{subresource}" if subresource else ""
    return f"{collection_path(kind, namespace)}/{name}{suffix}"
