"""A snapshot's Deployment and pods, as JSON from the cluster, read into what the planner needs to know.

The hard part is `problem`: why there are not more ready pods, in the words of whoever refused (kubelet, scheduler,
API server), because "not ready" alone sends people to three other commands.
"""

import math
from collections.abc import Container, Iterable, Sequence

from serin.api import names
from serin.api.json import JsonObject
from serin.api.times import parse_rfc3339
from serin.rollout.model import Workload
from serin.workload import template_hash


def workload(deployment: JsonObject, pods: Iterable[JsonObject], listed: Container[str] | None = None) -> Workload:
    """Read one snapshot's Deployment and its pods; pods of other snapshots and of other Deployments are ignored.

    `listed`: addresses that the router knows for the snapshot. A pod gets no traffic before it is among them, which is
    a moment after it is ready, so it does not count before; None: who asks does not care.
    """
    metadata = deployment["metadata"]
    snapshot = metadata["name"]
    since = parse_rfc3339(metadata["creationTimestamp"])
    mine = _own(deployment, [pod for pod in pods if _label(pod, names.LABEL_SNAPSHOT) == snapshot], since)
    ready = [pod for pod in mine if is_ready(pod) and (listed is None or _address(pod) in listed)]
    return Workload(
        snapshot=snapshot,
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        desired=deployment["spec"].get("replicas", 1),
        ready=len(ready),
        since=since,
        role=_label(deployment, names.LABEL_ROLE),
        stamped=template_hash.is_stamped(deployment),
        problem=None if ready and len(ready) == len(mine) else _problem(deployment, mine),
        drifted=template_hash.has_drifted(deployment),
        newest=max((_ready_since(pod) for pod in ready), default=-math.inf),
        crashed=bool(mine) and all(_crashed(pod) for pod in mine),
    )


def refused(snapshot: str, message: str, since: float, again_at: float) -> Workload:
    """A workload whose Deployment the API server has not accepted `since`, and which is sent once more `again_at`."""
    return Workload(snapshot, "", "", 0, 0, since, problem=message, refused=True, again_at=again_at)


def is_ready(pod: JsonObject) -> bool:
    """Whether the pod may get traffic: ready, and not on its way out."""
    if _leaving(pod):
        return False
    return any(one["type"] == "Ready" and one["status"] == "True" for one in _conditions(pod))


def _ready_since(pod: JsonObject) -> float:
    """When it became ready (unix seconds); a pod that restarts becomes ready anew. Minus infinity: it does not say."""
    moments = (one.get("lastTransitionTime") for one in _conditions(pod) if one["type"] == "Ready")
    return max((parse_rfc3339(moment) for moment in moments if moment), default=-math.inf)


def _address(pod: JsonObject) -> str:
    return str((pod.get("status") or {}).get("podIP", ""))


def _leaving(pod: JsonObject) -> bool:
    """On its way out, or already over (evicted pods stay behind as Failed)."""
    return "deletionTimestamp" in pod["metadata"] or (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def _own(deployment: JsonObject, pods: Sequence[JsonObject], since: float) -> list[JsonObject]:
    """The Deployment's own pods that stay; it was made at `since` (unix seconds).

    A pod that is older was left by another one of the same name, and goes as soon as the garbage collector finds it:
    unless the Deployment counts it, because it has taken over what was deleted with `--cascade=orphan`.
    """
    staying = [pod for pod in pods if not _leaving(pod)]
    young = [pod for pod in staying if parse_rfc3339(pod["metadata"]["creationTimestamp"]) >= since]
    older = [pod for pod in staying if pod not in young]
    counted = int((deployment.get("status") or {}).get("replicas") or 0)
    return [*young, *older[: max(0, counted - len(young))]]


def _label(body: JsonObject, label: str) -> str:
    return str((body["metadata"].get("labels") or {}).get(label, ""))


def _conditions(body: JsonObject) -> Sequence[JsonObject]:
    return (body.get("status") or {}).get("conditions") or []


def _containers(pod: JsonObject) -> list[JsonObject]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _crashed(pod: JsonObject) -> bool:
    """A container has exited with an error and is not running again yet."""
    return any(_exit(container) is not None for container in _containers(pod))


def _exit(container: JsonObject) -> JsonObject | None:
    """How the container's process ended, when it ended with an error and has not been started again."""
    state = container.get("state") or {}
    if "running" in state:
        return None
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    return ended if ended and ended.get("exitCode") else None


def _problem(deployment: JsonObject, pods: Sequence[JsonObject]) -> str | None:
    for condition in _conditions(deployment):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True" and not pods:
            return str(condition.get("message") or condition.get("reason"))
    for pod in pods:
        if not is_ready(pod) and (found := _pod_problem(pod)):
            return f"pod {pod['metadata']['name']}: {found}"
    return None


def _pod_problem(pod: JsonObject) -> str | None:
    for condition in _conditions(pod):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"cannot be scheduled: {condition.get('message', condition.get('reason'))}"
    for container in _containers(pod):
        if found := _container_problem(container):
            return f"container {container['name']} {found}"
    return None


def _container_problem(container: JsonObject) -> str | None:
    state = container.get("state") or {}
    ended = _exit(container)
    waiting = state.get("waiting") or {}
    if ended:
        exit_text = f"exited with code {ended['exitCode']} ({ended.get('reason', 'Error')})"
        message = str(ended.get("message") or "").strip()
        return f"{exit_text}: {message}" if message else exit_text
    if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        return f"is waiting: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    if "running" in state and not container.get("ready"):
        return "is running, but its readiness probe does not succeed: the model is not loaded"
    return None
