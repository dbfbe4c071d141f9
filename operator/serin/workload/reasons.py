"""Why a snapshot has fewer ready pods than it should, in the words of whoever refused or has not acted.

"Not ready" alone sends people to three other commands. Everything a pod can hang in has its sentence, read from the
Deployment's conditions, the pods' conditions and their containers' states. There are two kinds: what is *wrong*, and
what is only *waited for*, which every good start goes through and which is worth telling when it takes too long.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from serin.api.json import JsonObject

# Reasons of a waiting container that are a part of every start.
_STARTING: Final = (None, "", "ContainerCreating", "PodInitializing")

# Where what stands in no status is found.
_HINT: Final = " (kubectl describe pod has the Events)"


@dataclass(frozen=True, slots=True)
class Why:
    """`problem`: what is wrong. `waits`: what is waited for when nothing is. None: nothing to say."""

    problem: str | None = None
    waits: str | None = None


def why(
    deployment: JsonObject,
    pods: Sequence[JsonObject],
    failed: Sequence[JsonObject],
    events: Mapping[str, str] = MappingProxyType({}),
) -> Why:
    """Why not all pods of a Deployment are ready. `pods`: its own that stay; `failed`: those that are over.

    `events`: by pod, what its newest warning says, as far as whoever asks has read that. What the kubelet cannot mount
    stands nowhere else.
    """
    template = deployment["spec"]["template"]["spec"]
    found = [_warned(_pod(pod, template), events.get(pod["metadata"]["name"])) for pod in pods if not is_ready(pod)]
    problem = next((one.problem for one in found if one.problem), None) or _failed(failed, pods)
    refused = _replica_failure(deployment)
    told = "; ".join(one for one in (problem, refused) if one)
    waits = next((one.waits for one in found if one.waits), None) or _missing(deployment, pods)
    return Why(told or None, waits)


def is_ready(pod: JsonObject) -> bool:
    """Whether the pod says that it is ready."""
    return condition(pod, "Ready").get("status") == "True"


def condition(body: JsonObject, kind: str) -> JsonObject:
    """One condition of an object's status; empty when it is not there."""
    conditions = (body.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})


def exit_of(container: JsonObject) -> JsonObject | None:
    """How a container's process ended, when it ended with an error and has not been started again."""
    state = container.get("state") or {}
    if "running" in state:
        return None
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    return ended if ended and ended.get("exitCode") else None


# ── The Deployment ────────────────────────────────────────────────────────────────────────────────────────────────────


def _replica_failure(deployment: JsonObject) -> str | None:
    """The API server refuses pods: a quota, a policy, a service account that is not there."""
    failure = condition(deployment, "ReplicaFailure")
    if failure.get("status") != "True":
        return None
    return str(failure.get("message") or failure.get("reason"))


def _missing(deployment: JsonObject, pods: Sequence[JsonObject]) -> str | None:
    """Pods that nobody has made, and nobody has said why."""
    name, spec, status = deployment["metadata"]["name"], deployment["spec"], deployment.get("status") or {}
    wanted = int(spec.get("replicas", 1))
    if len(pods) >= wanted:
        return None
    so_far = f"Deployment {name} has {len(pods)} of {wanted} pods"
    if spec.get("paused"):
        return f"{so_far} and is paused: kubectl rollout resume deployment {name}"
    if int(status.get("observedGeneration") or 0) < int(deployment["metadata"].get("generation") or 0):
        return f"{so_far}: kube-controller-manager has not looked at it yet"
    return f"{so_far}: kube-controller-manager has not made the others yet"


def _failed(failed: Sequence[JsonObject], pods: Sequence[JsonObject]) -> str | None:
    """Pods that ended at once, as a device plugin or an eviction makes them; told while none has taken their place."""
    if not failed or pods:
        return None
    newest = max(failed, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    status = newest["status"]
    words = ": ".join(str(status[key]) for key in ("reason", "message") if status.get(key))
    return f"pod {newest['metadata']['name']} has failed: {words or 'its containers have ended'}"


# ── A pod ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pod(pod: JsonObject, template: JsonObject) -> Why:
    name = f"pod {pod['metadata']['name']}"
    problem = _unscheduled(pod) or next(_containers(pod, template), None) or _gates(pod)
    if problem:
        return Why(problem=f"{name}: {problem}")
    waits = _not_begun(pod, template)
    return Why(waits=f"{name}: {waits}" if waits else None)


def _warned(found: Why, event: str | None) -> Why:
    told = found.problem or found.waits
    return Why(problem=f"{told.removesuffix(_HINT)} ({event})") if told and event else found


def _unscheduled(pod: JsonObject) -> str | None:
    found = condition(pod, "PodScheduled")
    if found.get("status") == "False":
        return f"cannot be scheduled: {found.get('message', found.get('reason'))}"
    return None


def _gates(pod: JsonObject) -> str | None:
    """Everything in the pod is ready, and the pod is not: a readiness gate, or a node that is silent."""
    ready = condition(pod, "Ready")
    if condition(pod, "ContainersReady").get("status") != "True" or ready.get("status") == "True":
        return None
    gates = [str(one["conditionType"]) for one in (pod.get("spec") or {}).get("readinessGates") or ()]
    unmet = [gate for gate in gates if condition(pod, gate).get("status") != "True"]
    if unmet:
        return (
            f"its containers are ready, and its readiness gate {unmet[0]} is not true: "
            "whatever sets this condition of the pod (mostly a load balancer's controller) has not done so"
        )
    said = f": {ready['message']}" if ready.get("message") else ""
    return f"its containers are ready, and node {_node(pod)} does not say so of the pod{said}"


def _not_begun(pod: JsonObject, template: JsonObject) -> str | None:
    status = pod.get("status") or {}
    if not (pod.get("spec") or {}).get("nodeName"):
        return f"no scheduler has taken it yet (schedulerName {template.get('schedulerName', 'default-scheduler')})"
    if not status.get("containerStatuses"):
        return f"node {_node(pod)} has not begun with it: look at that node's kubelet"
    if condition(pod, "PodReadyToStartContainers").get("status") == "False":
        return f"node {_node(pod)} is preparing its network and volumes{_HINT}"
    return f"node {_node(pod)} is making its containers: images and volumes{_HINT}"


def _node(pod: JsonObject) -> str:
    return str((pod.get("spec") or {}).get("nodeName", "unknown"))


# ── Its containers ────────────────────────────────────────────────────────────────────────────────────────────────────


def _containers(pod: JsonObject, template: JsonObject) -> Iterator[str]:
    """What is wrong with each container, in the order in which they start."""
    status = pod.get("status") or {}
    before = {str(one["name"]): one for one in template.get("initContainers") or ()}
    server = next((str(one["name"]) for one in template.get("containers") or ()), "")
    for container in status.get("initContainerStatuses") or ():
        known = before.get(container["name"])
        # One that another controller has put into the pod: what runs for long is a sidecar. (The kubelet says `started`
        # of every init container that runs.)
        stays = container.get("started") is True if known is None else known.get("restartPolicy") == "Always"
        if found := _broken(container) or (_sidecar(container) if stays else _before(container)):
            yield found
    for container in status.get("containerStatuses") or ():
        if found := _broken(container) or _ended(container) or _running(container, server):
            yield found


def _broken(container: JsonObject) -> str | None:
    name, ended = f"container {container['name']}", exit_of(container)
    waiting = (container.get("state") or {}).get("waiting") or {}
    if ended:
        exit_text = f"{name} exited with code {ended['exitCode']} ({ended.get('reason', 'Error')})"
        message = str(ended.get("message") or "").strip()
        return f"{exit_text}: {message}" if message else exit_text
    if waiting.get("reason") not in _STARTING:
        return f"{name} is waiting: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    return None


def _before(container: JsonObject) -> str | None:
    """An init container that has to end before the next one starts."""
    if "running" not in _state(container):
        return None
    return f"init container {container['name']} is still running, and the model server starts when it has ended"


def _sidecar(container: JsonObject) -> str | None:
    if "running" not in _state(container):
        return None
    if container.get("started") is False:
        return f"sidecar {container['name']} is running, but its startup probe does not succeed"
    return None if container.get("ready") else f"sidecar {container['name']} is running, but is not ready"


def _ended(container: JsonObject) -> str | None:
    """A server that ends without an error is started again, and again."""
    if "terminated" not in _state(container):
        return None
    return f"container {container['name']} has ended by itself (exit code 0), and a server has to go on"


def _running(container: JsonObject, server: str) -> str | None:
    if "running" not in _state(container) or container.get("ready"):
        return None
    probe = "startup" if container.get("started") is False else "readiness"
    loaded = ": the model is not loaded" if container["name"] == server or not server else ""
    return f"container {container['name']} is running, but its {probe} probe does not succeed{loaded}"


def _state(container: JsonObject) -> Mapping[str, object]:
    return container.get("state") or {}
