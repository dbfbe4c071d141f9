"""One look at a deployment with what is under it, for the verbs that show one and for the web page."""

from typing import Final

from serin.api import names
from serin.api.json import JsonObject
from serin.cli.connection import Connection, explained
from serin.cluster import kinds
from serin.cluster.protocol import ClusterError, Kind, Refused, Retryable
from serin.explain.facts import Facts, gather
from serin.workload.events import newest_warnings
from serin.workload.pods import is_ready, workload

_MOST_EVENTS: Final = 500


def look(connection: Connection, name: str) -> Facts:
    """Read a deployment with its workloads and pods, as far as the user may. Raises Stop and Retryable."""
    namespace = connection.namespace
    try:
        body = connection.get(kinds.MODEL_DEPLOYMENT, namespace, name)
        deployments, pods = (_of(connection, kind, name) for kind in (kinds.DEPLOYMENT, kinds.POD))
    except Retryable:
        raise
    except ClusterError as error:
        raise explained(error, f"ModelDeployment {name} in namespace {namespace}") from error
    hanging = any(not is_ready(pod) for pod in pods)
    events = newest_warnings(_events(connection)) if hanging else {}
    workloads = (workload(one, pods, events=events) for one in deployments)
    return gather(
        body, connection.now(), {one.snapshot: told for one in workloads if (told := one.problem or one.waits)}
    )


def _events(connection: Connection) -> list[JsonObject]:
    """Warnings about the namespace's pods, as far as the user may read them."""
    path = kinds.collection_path(kinds.EVENT, connection.namespace)
    query = {"fieldSelector": kinds.POD_WARNINGS, "limit": str(_MOST_EVENTS)}
    try:
        return list(connection.read(path, query).get("items") or ())
    except Refused:
        return []


def _of(connection: Connection, kind: Kind, name: str) -> list[JsonObject]:
    """Objects of a deployment; none when the user may not list them: they only add to what the status says."""
    try:
        return list(connection.list(kind, connection.namespace, f"{names.LABEL_MODEL_DEPLOYMENT}={name}"))
    except Refused:
        return []
