"""A snapshot's Deployment and pods, as JSON from the cluster, read into what the planner needs to know.

Why there are not more ready pods is a module of its own: reasons.py.
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from serin.api import names
from serin.api.json import JsonObject
from serin.api.times import parse_rfc3339
from serin.rollout.model import Workload
from serin.workload import reasons, template_hash
from serin.workload.reasons import Why


def workload(
    deployment: JsonObject,
    pods: Iterable[JsonObject],
    listed: Container[str] | None = None,
    events: Mapping[str, str] = MappingProxyType({}),
) -> Workload:
    """Read one snapshot's Deployment and its pods; pods of other snapshots and of other Deployments are ignored.

    `listed`: addresses that the router knows for the snapshot. A pod gets no traffic before it is among them, which is
    a moment after it is ready, so it does not count before; None: who asks does not care. `events`: by pod, what its
    newest warning says.
    """
    metadata = deployment["metadata"]
    snapshot = metadata["name"]
    since = parse_rfc3339(metadata["creationTimestamp"])
    all_pods = [pod for pod in pods if _label(pod, names.LABEL_SNAPSHOT) == snapshot]
    mine = _own(deployment, all_pods, since)
    ready = [pod for pod in mine if is_ready(pod) and (listed is None or _address(pod) in listed)]
    desired = int(deployment["spec"].get("replicas", 1))
    up = [pod for pod in mine if is_ready(pod)]
    well = len(up) == len(mine) >= max(1, desired)
    why = Why() if well else reasons.why(deployment, mine, _over(all_pods, since), events)
    if len(ready) < len(up) and why == Why():
        why = Why(waits=f"pod {up[0]['metadata']['name']} is ready, and Service {snapshot} does not list it yet")
    return Workload(
        snapshot=snapshot,
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        desired=desired,
        ready=len(ready),
        since=since,
        role=_label(deployment, names.LABEL_ROLE),
        stamped=template_hash.is_stamped(deployment),
        problem=why.problem,
        waits=why.waits,
        drifted=template_hash.has_drifted(deployment),
        newest=max((_ready_since(pod) for pod in ready), default=-math.inf),
        crashing=any(map(_crashed, mine)),
        crashed=bool(mine) and all(_crashed(pod) for pod in mine),
        starting=tuple(parse_rfc3339(pod["metadata"]["creationTimestamp"]) for pod in mine if pod not in ready),
        short=reasons.condition(deployment, "ReplicaFailure").get("status") == "True",
    )


def refused(snapshot: str, message: str, since: float, again_at: float) -> Workload:
    """A workload whose pod template the API server has not accepted `since`; it is sent once more `again_at`."""
    return Workload(snapshot, "", "", 0, 0, since, problem=message, refused=True, again_at=again_at)


def denied(snapshot: str, message: str, since: float, again_at: float, running: Workload | None = None) -> Workload:
    """A workload of which the API server has not let Serin write something `since`: a quota, a policy, a right.

    `running`: as far as it is there all the same. It is tried again `again_at`.
    """
    there = running or Workload(snapshot, "", "", 0, 0, since)
    return replace(there, problem=message, denied=True, again_at=again_at)


def is_ready(pod: JsonObject) -> bool:
    """Whether the pod may get traffic: ready, and not on its way out."""
    return not _leaving(pod) and reasons.is_ready(pod)


def _over(pods: Iterable[JsonObject], since: float) -> list[JsonObject]:
    """Pods of this Deployment that have failed for good, and stay to be looked at."""
    failed = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Failed"]
    return [pod for pod in failed if parse_rfc3339(pod["metadata"]["creationTimestamp"]) >= since]


def _ready_since(pod: JsonObject) -> float:
    """When it became ready (unix seconds); a pod that restarts becomes ready anew. Minus infinity: it does not say."""
    moment = reasons.condition(pod, "Ready").get("lastTransitionTime")
    return parse_rfc3339(moment) if moment else -math.inf


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


def _containers(pod: JsonObject) -> list[JsonObject]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _crashed(pod: JsonObject) -> bool:
    """A container has exited with an error and is not running again yet."""
    return any(reasons.exit_of(container) is not None for container in _containers(pod))
