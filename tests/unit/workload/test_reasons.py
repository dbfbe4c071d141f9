"""Every state in which a pod can hang, and the sentence that it gets."""

from typing import Any

import pytest

from serin.api.json import JsonObject
from serin.workload.events import newest_warnings
from serin.workload.reasons import Why, why

FETCH = {"name": "fetch"}
PROXY = {"name": "proxy", "restartPolicy": "Always"}
TEMPLATE: JsonObject = {"initContainers": [FETCH, PROXY], "containers": [{"name": "model"}, {"name": "metrics"}]}
RUNNING, ENDED = {"running": {"startedAt": "2026-01-01T00:00:02Z"}}, {"terminated": {"exitCode": 0}}
CREATING = {"waiting": {"reason": "PodInitializing"}}
GATE = "target-health.elbv2.k8s.aws/x"


def deployment(*conditions: JsonObject, replicas: int = 1, seen: int = 1, **spec: Any) -> JsonObject:
    return {
        "metadata": {"name": "fraud-abc", "generation": 1},
        "spec": {"replicas": replicas, "template": {"spec": TEMPLATE}, **spec},
        "status": {"conditions": list(conditions), "observedGeneration": seen},
    }


def is_so(kind: str, status: str = "True", **more: str) -> JsonObject:
    return {"type": kind, "status": status, **more}


def state(name: str, now: JsonObject, *, ready: bool = False, **more: Any) -> JsonObject:
    return {"name": name, "state": now, "ready": ready, **more}


def pod(*conditions: JsonObject, node: str = "node-1", gates: tuple[str, ...] = (), **status: Any) -> JsonObject:
    spec: JsonObject = {"nodeName": node} if node else {}
    spec |= {"readinessGates": [{"conditionType": gate} for gate in gates]} if gates else {}
    made = {"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:01Z"}, "spec": spec}
    return {**made, "status": {"phase": "Pending", "conditions": list(conditions), **status}}


NOT_READY = is_so("Ready", "False", reason="ContainersNotReady")
UP = (is_so("ContainersReady"), is_so("Ready", "False", reason="ReadinessGatesNotReady"))
SERVER = [state("metrics", RUNNING, ready=True), state("model", RUNNING, ready=True)]
WRONG: dict[str, tuple[JsonObject, str]] = {
    "no node has room": (
        pod(is_so("PodScheduled", "False", message="0/3 nodes: Insufficient nvidia.com/gpu."), node=""),
        "cannot be scheduled: 0/3 nodes: Insufficient nvidia.com/gpu.",
    ),
    "a scheduling gate": (
        pod(is_so("PodScheduled", "False", reason="SchedulingGated", message="Scheduling is blocked"), node=""),
        "cannot be scheduled: Scheduling is blocked",
    ),
    "an init container that runs": (
        pod(NOT_READY, initContainerStatuses=[state("fetch", RUNNING)], containerStatuses=[state("model", CREATING)]),
        "init container fetch is still running, and the model server starts when it has ended",
    ),
    "an init container that runs, as a kubelet reports it": (
        pod(NOT_READY, initContainerStatuses=[state("fetch", RUNNING, started=True)]),
        "init container fetch is still running, and the model server starts when it has ended",
    ),
    "an init container that fails": (
        pod(
            initContainerStatuses=[state("fetch", {"terminated": {"exitCode": 1, "reason": "Error", "message": "404"}})]
        ),
        "container fetch exited with code 1 (Error): 404",
    ),
    "an init container whose image is missing": (
        pod(initContainerStatuses=[state("fetch", {"waiting": {"reason": "ErrImagePull", "message": "not found"}})]),
        "container fetch is waiting: ErrImagePull: not found",
    ),
    "a sidecar that does not start": (
        pod(initContainerStatuses=[state("fetch", ENDED, ready=True), state("proxy", RUNNING, started=False)]),
        "sidecar proxy is running, but its startup probe does not succeed",
    ),
    "a sidecar that is not ready": (
        pod(initContainerStatuses=[state("proxy", RUNNING, started=True)], containerStatuses=SERVER),
        "sidecar proxy is running, but is not ready",
    ),
    "a sidecar of a mesh": (
        pod(initContainerStatuses=[state("istio-proxy", RUNNING, started=True)], containerStatuses=SERVER),
        "sidecar istio-proxy is running, but is not ready",
    ),
    "a server that starts": (
        pod(NOT_READY, containerStatuses=[state("model", RUNNING, started=False)]),
        "container model is running, but its startup probe does not succeed: the model is not loaded",
    ),
    "a server that is not ready": (
        pod(NOT_READY, containerStatuses=[state("model", RUNNING, started=True)]),
        "container model is running, but its readiness probe does not succeed: the model is not loaded",
    ),
    "a second container that is not ready": (
        pod(NOT_READY, containerStatuses=[state("metrics", RUNNING), state("model", RUNNING, ready=True)]),
        "container metrics is running, but its readiness probe does not succeed",
    ),
    "a server that ends by itself": (
        pod(NOT_READY, containerStatuses=[state("model", ENDED)]),
        "container model has ended by itself (exit code 0), and a server has to go on",
    ),
    "a server that crashes": (
        pod(
            containerStatuses=[
                state(
                    "model",
                    {"waiting": {"reason": "CrashLoopBackOff"}},
                    lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                )
            ]
        ),
        "container model exited with code 137 (OOMKilled)",
    ),
    "a variable of a Secret that is not there": (
        pod(
            containerStatuses=[
                state("model", {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s" not found'}})
            ]
        ),
        'container model is waiting: CreateContainerConfigError: secret "s" not found',
    ),
    "a readiness gate that nobody sets": (
        pod(*UP, gates=(GATE,), containerStatuses=SERVER),
        f"its containers are ready, and its readiness gate {GATE} is not true: whatever sets this condition of the pod "
        "(mostly a load balancer's controller) has not done so",
    ),
    "a readiness gate that says no": (
        pod(*UP, is_so(GATE, "False"), gates=("other", GATE), containerStatuses=SERVER),
        "its containers are ready, and its readiness gate other is not true",
    ),
    "a node that is silent": (
        pod(is_so("ContainersReady"), is_so("Ready", "False"), containerStatuses=SERVER),
        "its containers are ready, and node node-1 does not say so of the pod",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_at_once(case: str) -> None:
    hanging, words = WRONG[case]
    found = why(deployment(), [hanging], []).problem
    assert found
    assert found.startswith(f"pod p: {words}"), found


WAITS: dict[str, tuple[JsonObject, str]] = {
    "nobody schedules": (pod(node=""), "no scheduler has taken it yet (schedulerName default-scheduler)"),
    "a kubelet that is away": (pod(is_so("PodScheduled")), "node node-1 has not begun with it"),
    "no network": (
        pod(is_so("PodReadyToStartContainers", "False"), containerStatuses=[state("model", CREATING)]),
        "node node-1 is preparing its network and volumes",
    ),
    "images and volumes": (
        pod(containerStatuses=[state("model", {"waiting": {"reason": "ContainerCreating"}})]),
        "node node-1 is making its containers: images and volumes",
    ),
}


@pytest.mark.parametrize("case", WAITS)
def test_what_every_start_goes_through_is_said_when_it_takes_too_long(case: str) -> None:
    hanging, words = WAITS[case]
    found = why(deployment(), [hanging], [])
    assert found.problem is None
    assert found.waits
    assert found.waits.startswith(f"pod p: {words}"), found


def test_pods_that_are_missing() -> None:
    one = pod(is_so("Ready"))
    assert why(deployment(replicas=3, paused=True), [one], []).waits == (
        "Deployment fraud-abc has 1 of 3 pods and is paused: kubectl rollout resume deployment fraud-abc"
    )
    assert "kube-controller-manager has not looked at it yet" in (why(deployment(seen=0), [], []).waits or "")
    assert "has not made the others yet" in (why(deployment(replicas=2), [one], []).waits or "")
    assert why(deployment(), [one], []) == Why()
    assert why(deployment(replicas=0), [], []) == Why()


def test_pods_that_fail_as_soon_as_they_are_made() -> None:
    reason = {"reason": "UnexpectedAdmissionError", "message": "Allocate failed: no healthy devices"}
    failed = [pod(phase="Failed", **reason)]
    told = "pod p has failed: UnexpectedAdmissionError: Allocate failed: no healthy devices"
    assert why(deployment(), [], failed).problem == told
    assert why(deployment(), [pod(is_so("Ready"))], failed) == Why()
    assert "its containers have ended" in (why(deployment(), [], [pod(phase="Failed")]).problem or "")


def test_what_the_kubelet_cannot_do_is_told_by_its_event() -> None:
    hanging = pod(containerStatuses=[state("model", {"waiting": {"reason": "ContainerCreating"}})])
    events = newest_warnings([event("FailedMount", "no such ConfigMap", 2), event("FailedMount", "timed out", 1)])
    found = why(deployment(), [hanging], [], events).problem
    assert found
    assert found.endswith("images and volumes (FailedMount: no such ConfigMap)")
    probe = newest_warnings([event("Unhealthy", "Readiness probe failed: 503", 1)])
    starting = pod(NOT_READY, containerStatuses=[state("model", RUNNING)])
    assert (why(deployment(), [starting], [], probe).problem or "").endswith(
        "the model is not loaded (Unhealthy: Readiness probe failed: 503)"
    )
    assert why(deployment(), [pod(is_so("Ready"))], [], probe) == Why()
    assert newest_warnings([event("Pulled", "done", 1) | {"type": "Normal"}]) == {}


def event(reason: str, note: str, minute: int) -> JsonObject:
    series = {"series": {"count": 3, "lastObservedTime": f"2026-01-01T00:0{minute}:00.000000Z"}}
    about = {"regarding": {"kind": "Pod", "name": "p"}, "eventTime": "2026-01-01T00:00:00.000000Z"}
    return {"type": "Warning", "reason": reason, "note": note, **about, **series}
