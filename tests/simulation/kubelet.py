"""Scheduler and kubelets: what becomes of a pod on its node, told in the pod's status as the kubelet tells it.

How a pod behaves is decided by the first rule that knows it (`behave`), so that a test names an image or a snapshot and
says what is wrong with it. Times are seconds after the step before. A node can be lost with all that it runs.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from serin.api.json import JsonObject
from serin.api.names import LABEL_SNAPSHOT
from serin.cluster import kinds
from tests.simulation import clock
from tests.simulation.api.deletion import Deletion
from tests.simulation.api.resources import NODE
from tests.simulation.api.server import ApiServer
from tests.simulation.api.status import ApiError
from tests.simulation.api.store import Commit, Key

_FIRST_RESTART: Final = 10.0
_LONGEST_RESTART: Final = 300.0
_NODE_IS_LOST_AFTER: Final = 40.0
_EVICTED_AFTER: Final = 300.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a pod does.

    `schedule`, `start`, `ready`, `stop`: seconds until it has a node, its containers run, it is ready, and it has ended
    after its deletion. `crash`: seconds after its start at which its container exits, again after every restart (None:
    never). `unschedulable`, `pull_error`: it gets no further, in these words. `never_ready`: it runs, and no more.
    """

    schedule: float = 0.1
    start: float = 1.0
    ready: float = 2.0
    stop: float = 6.0
    crash: float | None = None
    exit_code: int = 1
    exit_message: str = ""
    unschedulable: str = ""
    pull_error: str = ""
    never_ready: bool = False


Rule = Callable[[JsonObject], bool]


def image(name: str) -> Rule:
    """Pods whose first container has this image."""
    return lambda pod: bool(pod["spec"]["containers"][0]["image"] == name)


def snapshot(name: str) -> Rule:
    """Pods of a snapshot."""
    return lambda pod: bool((pod["metadata"].get("labels") or {}).get(LABEL_SNAPSHOT) == name)


class Kubelets:
    """All nodes of a cluster. `nodes`: how many there are."""

    def __init__(self, server: ApiServer, deletion: Deletion, *, nodes: int = 3) -> None:
        self._server, self._deletion = server, deletion
        self._rules: list[tuple[Rule, Behaviour]] = []
        self.default = Behaviour()
        self._restarts: dict[str, int] = {}
        self._addresses = 0
        self._lost: set[str] = set()
        self.images: dict[str, str] = {}  # image as a pod has it -> what the registry has under this name now
        self.nodes = tuple(f"node-{number}" for number in range(nodes))
        for name in self.nodes:
            server.create(NODE, "", {"metadata": {"name": name}}, manager="kubelet")
        server.store.listen(self._on_commit)

    # What a test decides

    def behave(self, rule: Rule, behaviour: Behaviour) -> None:
        """Let pods that fit the rule behave so, from their next step on; the newest rule counts."""
        self._rules.insert(0, (rule, behaviour))

    def change(self, rule: Rule, **changes: Any) -> None:
        """The same, different from the default in some points."""
        self.behave(rule, replace(self.default, **changes))

    def crash(self, namespace: str, name: str, *, message: str = "") -> None:
        """Let the container of a running pod exit now."""
        found = self._pod((namespace, name))
        if found is not None:
            changed = replace(self.behaviour(found), exit_message=message)
            self._exit((namespace, name), found["metadata"]["uid"], changed)

    def retry(self) -> None:
        """Schedule and pull again what was stuck, as when a node or an image has come."""
        for pod in self._server.store.all(kinds.POD):
            if (pod.get("status") or {}).get("phase") == "Pending" and not _is_leaving(pod):
                self._begin(_key(pod), pod["metadata"]["uid"])

    def lose(self, node: str) -> None:
        """Cut a node off: its pods answer nobody; the control plane notices after 40 s, and evicts 300 s later."""
        self._lost.add(node)
        self._later(_NODE_IS_LOST_AFTER, self._mark_lost, node)

    def bring_back(self, node: str) -> None:
        """The node is there again, with what it ran; what was deleted meanwhile ends."""
        self._lost.discard(node)
        for pod in self._on_node(node):
            key, uid = _key(pod), pod["metadata"]["uid"]
            if _is_leaving(pod):
                self._end(key, uid)
            else:
                self._run(key, uid)

    def is_reachable(self, address: str) -> bool:
        """Whether somebody answers at a pod's address: it runs, on a node that is there."""
        return any(
            (pod.get("status") or {}).get("podIP") == address and self._answers(pod)
            for pod in self._server.store.all(kinds.POD)
        )

    def _answers(self, pod: JsonObject) -> bool:
        states = [one.get("state") or {} for one in pod["status"].get("containerStatuses") or ()]
        return pod["spec"].get("nodeName") not in self._lost and all("running" in state for state in states)

    def behaviour(self, pod: JsonObject) -> Behaviour:
        """What a pod does."""
        return next((found for rule, found in self._rules if rule(pod)), self.default)

    # A pod's life

    def _on_commit(self, commit: Commit) -> None:
        if commit.kind != kinds.POD:
            return
        uid = commit.last["metadata"]["uid"]
        if commit.before is None:
            self._begin(commit.key, uid)
        elif commit.after is None:
            self._restarts.pop(uid, None)
        elif _is_leaving(commit.after) and not _is_leaving(commit.before):
            self._later(self.behaviour(commit.after).stop, self._end, commit.key, uid)

    def _begin(self, key: Key, uid: str) -> None:
        if (pod := self._alive(key, uid)) is not None:
            self._later(self.behaviour(pod).schedule, self._schedule, key, uid)

    def _schedule(self, key: Key, uid: str) -> None:
        pod = self._alive(key, uid)
        if pod is None:
            return
        behaviour = self.behaviour(pod)
        if behaviour.unschedulable:
            reason = {"reason": "Unschedulable", "message": behaviour.unschedulable}
            self._write(pod, "Pending", _condition("PodScheduled", False, **reason))
            return
        if not pod["spec"].get("nodeName"):
            there = [node for node in self.nodes if node not in self._lost]
            if not there:
                return
            node = self._server.random.choice(there)
            self._server.force(kinds.POD, *key, lambda body: body["spec"].update(nodeName=node), "scheduler")
            pod = self._alive(key, uid)
        if pod is not None:
            waiting = {"waiting": {"reason": "ContainerCreating"}}
            self._write(
                pod, "Pending", _condition("PodScheduled", True), containers=_containers(pod, waiting, self.images)
            )
            self._later(behaviour.start, self._start, key, uid)

    def _start(self, key: Key, uid: str) -> None:
        pod = self._here(key, uid)
        if pod is None:
            return
        error = self.behaviour(pod).pull_error
        if error:
            tried = (pod["status"].get("containerStatuses") or [{}])[0].get("state", {}).get("waiting", {})
            reason = "ImagePullBackOff" if tried.get("reason") == "ErrImagePull" else "ErrImagePull"
            state = {"waiting": {"reason": reason, "message": error}}
            self._write(
                pod, "Pending", _condition("ContainersReady", False), containers=_containers(pod, state, self.images)
            )
            self._later(_FIRST_RESTART, self._start, key, uid)
            return
        self._run(key, uid)

    def _run(self, key: Key, uid: str) -> None:
        pod = self._here(key, uid)
        if pod is None:
            return
        address, behaviour = pod["status"].get("podIP") or self._next_address(), self.behaviour(pod)
        state = {"running": {"startedAt": clock.timestamp()}}
        restarts = self._restarts.get(uid, 0)
        self._write(
            pod,
            "Running",
            _condition("Initialized", True),
            _condition("Ready", False, reason="ContainersNotReady"),
            _condition("ContainersReady", False, reason="ContainersNotReady"),
            containers=_containers(pod, state, self.images, restarts=restarts),
            podIP=address,
            podIPs=[{"ip": address}],
        )
        if behaviour.crash is not None:
            self._later(behaviour.crash, self._exit, key, uid, behaviour)
        if not behaviour.never_ready and (behaviour.crash is None or behaviour.crash > behaviour.ready):
            self._later(behaviour.ready, self._become_ready, key, uid, restarts)

    def _become_ready(self, key: Key, uid: str, restarts: int) -> None:
        pod = self._here(key, uid)
        if pod is None or self._restarts.get(uid, 0) != restarts or not self._answers(pod):
            return
        state = pod["status"]["containerStatuses"][0]["state"]
        containers = _containers(pod, state, self.images, ready=True, restarts=restarts)
        self._write(
            pod, "Running", _condition("Ready", True), _condition("ContainersReady", True), containers=containers
        )

    def _exit(self, key: Key, uid: str, behaviour: Behaviour) -> None:
        """A container has ended by itself: it is started again, later every time."""
        pod = self._here(key, uid)
        if pod is None:
            return
        restarts = self._restarts[uid] = self._restarts.get(uid, 0) + 1
        reason = "Error" if behaviour.exit_code != 137 else "OOMKilled"
        ended: JsonObject = {"exitCode": behaviour.exit_code, "reason": reason, "finishedAt": clock.timestamp()}
        if behaviour.exit_message:
            ended["message"] = behaviour.exit_message
        wait = min(_LONGEST_RESTART, _FIRST_RESTART * 2.0 ** (restarts - 1))
        words = f"back-off {wait:.0f}s restarting failed container"
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": words}}
        containers = _containers(pod, state, self.images, last={"terminated": ended}, restarts=restarts)
        not_ready = {"reason": "ContainersNotReady"}
        self._write(
            pod,
            "Running",
            _condition("Ready", False, **not_ready),
            _condition("ContainersReady", False, **not_ready),
            containers=containers,
        )
        self._later(wait, self._run, key, uid)

    def _end(self, key: Key, uid: str) -> None:
        """A deleted pod has ended on its node, if the node is there."""
        pod = self._pod(key)
        if pod is not None and pod["metadata"]["uid"] == uid and pod["spec"].get("nodeName") not in self._lost:
            self._deletion.delete(kinds.POD, *key, who="kubelet", uid=uid, grace=0)

    def _mark_lost(self, node: str) -> None:
        if node not in self._lost:
            return
        for pod in self._on_node(node):
            self._write(pod, pod["status"]["phase"], _condition("Ready", False, reason="NodeNotReady"))
        self._later(_EVICTED_AFTER, self._evict, node)

    def _evict(self, node: str) -> None:
        for pod in self._on_node(node) if node in self._lost else ():
            if not _is_leaving(pod):
                self._deletion.delete(kinds.POD, *_key(pod), who="node-controller", uid=pod["metadata"]["uid"])

    # Inside

    def _on_node(self, node: str) -> list[JsonObject]:
        return [pod for pod in self._server.store.all(kinds.POD) if pod["spec"].get("nodeName") == node]

    def _pod(self, key: Key) -> JsonObject | None:
        record = self._server.store.get(kinds.POD, key)
        return None if record is None else record.body

    def _alive(self, key: Key, uid: str) -> JsonObject | None:
        pod = self._pod(key)
        return None if pod is None or pod["metadata"]["uid"] != uid or _is_leaving(pod) else pod

    def _here(self, key: Key, uid: str) -> JsonObject | None:
        """A pod that lives on a node which can still tell."""
        pod = self._alive(key, uid)
        return None if pod is None or pod["spec"].get("nodeName") in self._lost else pod

    def _later(self, seconds: float, action: Callable[..., None], *args: object) -> None:
        asyncio.get_running_loop().call_later(seconds, action, *args)

    def _next_address(self) -> str:
        self._addresses += 1
        return f"10.244.{self._addresses // 254}.{self._addresses % 254 + 1}"

    def _write(
        self,
        pod: JsonObject,
        phase: str,
        *conditions: JsonObject,
        containers: list[JsonObject] | None = None,
        **more: Any,
    ) -> None:
        """The new status of a pod; a condition keeps its time while its status is the same."""
        known = {one["type"]: one for one in pod["status"].get("conditions") or ()}
        for one in conditions:
            before = known.get(one["type"], {})
            since = before.get("lastTransitionTime") if before.get("status") == one["status"] else clock.timestamp()
            known[one["type"]] = {**one, "lastTransitionTime": since}
        status = {**pod["status"], "phase": phase, "conditions": list(known.values()), **more}
        if containers is not None:
            status["containerStatuses"] = containers
        patch = [{"op": "replace", "path": "/status", "value": status}]
        try:
            self._server.patch(kinds.POD, *_key(pod), patch, manager="kubelet", subresource="status")
        except ApiError:
            return  # it is gone


def _key(pod: JsonObject) -> Key:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _is_leaving(pod: JsonObject) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _condition(kind: str, holds: bool, **more: str) -> JsonObject:
    return {"type": kind, "status": str(holds), **more}


def image_id(image: str, images: Mapping[str, str]) -> str:
    """As a kubelet says which image runs: by the digest of what the registry has under its name."""
    digest = hashlib.sha256(images.get(image, image).encode()).hexdigest()
    return f"{image.partition('@')[0]}@sha256:{digest}"


def _containers(
    pod: JsonObject,
    state: JsonObject,
    images: Mapping[str, str],
    *,
    ready: bool = False,
    restarts: int = 0,
    last: JsonObject | None = None,
) -> list[JsonObject]:
    """All containers of a pod in one state. What the last one ended with is kept."""
    known = {one["name"]: one.get("lastState", {}) for one in pod["status"].get("containerStatuses") or ()}
    pulled = {one["name"]: one.get("imageID", "") for one in pod["status"].get("containerStatuses") or ()}
    return [
        {
            "name": one["name"],
            "image": one["image"],
            "imageID": pulled.get(one["name"]) or ("" if "waiting" in state else image_id(one["image"], images)),
            "ready": ready,
            "started": "running" in state,
            "restartCount": restarts,
            "state": state,
            "lastState": last if last is not None else known.get(one["name"], {}),
        }
        for one in pod["spec"]["containers"]
    ]
