"""Controllers of Deployments, ReplicaSets and EndpointSlices: what a cluster makes of what Serin writes.

They are level-triggered as the real ones are: whatever changes, what concerns it is looked at again a moment later. A
namespace can have a quota; what it refuses is told in the Deployment's condition ReplicaFailure.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.protocol import Kind
from tests.simulation import clock
from tests.simulation.api.deletion import Deletion
from tests.simulation.api.resources import REPLICA_SET
from tests.simulation.api.server import ApiServer
from tests.simulation.api.status import ApiError, forbidden
from tests.simulation.api.store import Commit, Key

DEPLOYMENTS: Final = "deployment-controller"
REPLICA_SETS: Final = "replicaset-controller"
_HASH: Final = "pod-template-hash"
_SERVICE_NAME: Final = "kubernetes.io/service-name"
_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
ENDPOINT_SLICES: Final = "endpointslice-controller.k8s.io"
_RETRY: Final = 5.0


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a Job ends, which has no pods here: after so many seconds, with an error when `error` says one."""

    after: float = 30.0
    error: str = ""


class Workloads:
    """The controllers. `delay`: seconds until they look; `endpoints_delay`: until a slice follows its pods."""

    def __init__(
        self, server: ApiServer, deletion: Deletion, *, delay: float = 0.05, endpoints_delay: float = 0.2
    ) -> None:
        self._server, self._deletion = server, deletion
        self.delay, self.endpoints_delay = delay, endpoints_delay
        self.quotas: dict[str, int] = {}
        self.jobs: dict[str, JobEnd] = {}  # by namespace, how its Jobs end; as JobEnd() where nothing is said
        self._due: set[tuple[Kind, Key]] = set()
        self._failures: dict[str, str] = {}  # of ReplicaSets, by uid: why a pod could not be made
        server.store.listen(self._on_commit)
        server.admission.append(self._admit)

    def quota(self, namespace: str, pods: int | None) -> None:
        """Allow so many pods in a namespace (None: any number)."""
        if pods is None:
            self.quotas.pop(namespace, None)
        else:
            self.quotas[namespace] = pods

    def _admit(self, kind: Kind, body: JsonObject, old: JsonObject | None) -> None:
        namespace = body["metadata"].get("namespace", "")
        if kind != kinds.POD or old is not None or namespace not in self.quotas:
            return
        used, most = len(self._server.store.all(kinds.POD, namespace)), self.quotas[namespace]
        if used >= most:
            name = body["metadata"]["name"]
            why = f"exceeded quota: pods, requested: pods=1, used: pods={used}, limited: pods={most}"
            raise forbidden(kinds.POD, name, why)

    # What is looked at

    def _on_commit(self, commit: Commit) -> None:
        body, kind, (namespace, _) = commit.last, commit.kind, commit.key
        if kind in (kinds.DEPLOYMENT, REPLICA_SET, kinds.SERVICE) and commit.after is not None:
            self._look(kind, commit.key)
        if kind == kinds.JOB and commit.before is None:
            asyncio.get_running_loop().call_later(self._end(namespace).after, self._end_job, commit.key)
        owner = next((one for one in body["metadata"].get("ownerReferences") or () if one.get("controller")), None)
        if kind == REPLICA_SET and owner is not None:
            self._look(kinds.DEPLOYMENT, (namespace, owner["name"]))
        elif kind == kinds.POD:
            if owner is not None:
                self._look(REPLICA_SET, (namespace, owner["name"]))
            for service in self._server.store.all(kinds.SERVICE, namespace):
                if _selects(service["spec"].get("selector"), body):
                    self._look(kinds.SERVICE, (namespace, service["metadata"]["name"]))

    def _look(self, kind: Kind, key: Key, after: float | None = None) -> None:
        if (kind, key) in self._due and after is None:
            return
        self._due.add((kind, key))
        seconds = self.endpoints_delay if kind == kinds.SERVICE else self.delay
        asyncio.get_running_loop().call_later(seconds if after is None else after, self._reconcile, kind, key)

    def _reconcile(self, kind: Kind, key: Key) -> None:
        self._due.discard((kind, key))
        record = self._server.store.get(kind, key)
        if record is None or "deletionTimestamp" in record.body["metadata"]:
            return
        handle: dict[Kind, Callable[[JsonObject], None]] = {
            kinds.DEPLOYMENT: self._deployment,
            REPLICA_SET: self._replica_set,
            kinds.SERVICE: self._service,
        }
        try:
            handle[kind](record.body)
        except ApiError as error:
            if error.status != 409:
                raise
            self._look(kind, key, _RETRY)  # what is left of a Deployment of the same name is not collected yet

    # Jobs

    def _end(self, namespace: str) -> JobEnd:
        return self.jobs.get(namespace, JobEnd())

    def _end_job(self, key: Key) -> None:
        record = self._server.store.get(kinds.JOB, key)
        if record is None:
            return
        error, now = self._end(key[0]).error, clock.timestamp()
        kind, reason = ("Failed", "BackoffLimitExceeded") if error else ("Complete", "CompletionsReached")
        told = {"type": kind, "status": "True", "reason": reason, "message": error}
        ended = {**told, "lastProbeTime": now, "lastTransitionTime": now}
        status = {"conditions": [ended], "startTime": record.body["metadata"]["creationTimestamp"]}
        self._write_status(kinds.JOB, record.body, status, "job-controller")

    # Deployments

    def _deployment(self, body: JsonObject) -> None:
        namespace, wanted = body["metadata"]["namespace"], body["spec"]["replicas"]
        current_name = f"{body['metadata']['name']}-{_template_hash(body['spec']['template'])}"
        owned = [one for one in self._server.store.all(REPLICA_SET, namespace) if _is_owned(one, body)]
        current = next((one for one in owned if one["metadata"]["name"] == current_name), None)
        if current is None:
            self._create_replica_set(body, current_name)
            return
        old = [one for one in owned if one is not current]
        ready = (current.get("status") or {}).get("readyReplicas", 0)
        self._scale(current, wanted)
        for one in old:  # nothing becomes unavailable: the old go as the new become ready
            left = max(0, wanted - ready)
            if left == 0 and (one.get("status") or {}).get("replicas", 0) == 0 and one["spec"]["replicas"] == 0:
                self._deletion.delete(REPLICA_SET, *_key(one), who=DEPLOYMENTS, uid=one["metadata"]["uid"])
            else:
                self._scale(one, min(one["spec"]["replicas"], left))
        self._deployment_status(body, current, [current, *old])

    def _create_replica_set(self, deployment: JsonObject, name: str) -> None:
        template, digest = deployment["spec"]["template"], name.rpartition("-")[2]
        labels = {**(template["metadata"].get("labels") or {}), _HASH: digest}
        replicas = deployment["spec"]["replicas"]
        body = {
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": {"deployment.kubernetes.io/desired-replicas": str(replicas)},
                "ownerReferences": [_reference(kinds.DEPLOYMENT, deployment)],
            },
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {**deployment["spec"]["selector"].get("matchLabels", {}), _HASH: digest}},
                "template": {**template, "metadata": {**template["metadata"], "labels": labels}},
            },
        }
        self._server.create(REPLICA_SET, deployment["metadata"]["namespace"], body, manager=DEPLOYMENTS)

    def _scale(self, replica_set: JsonObject, replicas: int) -> None:
        if replica_set["spec"]["replicas"] != replicas:
            patch = {"spec": {"replicas": replicas}}
            self._server.patch(REPLICA_SET, *_key(replica_set), patch, manager=DEPLOYMENTS)

    def _deployment_status(self, body: JsonObject, current: JsonObject, all_of_it: list[JsonObject]) -> None:
        numbers = [one.get("status") or {} for one in all_of_it]
        total, ready = (sum(one.get(name, 0) for one in numbers) for name in ("replicas", "readyReplicas"))
        wanted = body["spec"]["replicas"]
        failure = self._failures.get(current["metadata"]["uid"])
        conditions = [
            _condition("Available", ready >= wanted, "MinimumReplicasAvailable", "MinimumReplicasUnavailable"),
            _condition("Progressing", True, "NewReplicaSetAvailable" if ready >= wanted else "ReplicaSetUpdated"),
        ]
        if failure:
            conditions.append(_condition("ReplicaFailure", True, "FailedCreate", message=failure))
        status = {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": total,
            "updatedReplicas": (current.get("status") or {}).get("replicas", 0),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(0, wanted - ready),
        }
        shown = {name: number for name, number in status.items() if number}
        self._write_status(kinds.DEPLOYMENT, body, {**shown, "conditions": conditions}, DEPLOYMENTS)

    # ReplicaSets

    def _replica_set(self, body: JsonObject) -> None:
        namespace, wanted = body["metadata"]["namespace"], body["spec"]["replicas"]
        pods = [one for one in self._server.store.all(kinds.POD, namespace) if _is_owned(one, body)]
        living = [one for one in pods if "deletionTimestamp" not in one["metadata"] and not _is_over(one)]
        for _ in range(wanted - len(living)):
            if not self._create_pod(body):
                break
        for one in sorted(living, key=_worth)[: max(0, len(living) - wanted)]:
            self._deletion.delete(kinds.POD, *_key(one), who=REPLICA_SETS, uid=one["metadata"]["uid"])
        ready = sum(_is_ready(one) for one in living)
        status: JsonObject = {"replicas": len(living), "observedGeneration": body["metadata"]["generation"]}
        status |= {"readyReplicas": ready, "availableReplicas": ready} if ready else {}
        if failure := self._failures.get(body["metadata"]["uid"]):
            status["conditions"] = [_condition("ReplicaFailure", True, "FailedCreate", message=failure)]
        self._write_status(REPLICA_SET, body, status, REPLICA_SETS)

    def _create_pod(self, replica_set: JsonObject) -> bool:
        namespace, name = _key(replica_set)
        template, uid = replica_set["spec"]["template"], replica_set["metadata"]["uid"]
        suffix = "".join(self._server.random.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))
        metadata = {**template["metadata"], "name": f"{name}-{suffix}"}
        metadata["ownerReferences"] = [_reference(REPLICA_SET, replica_set)]
        try:
            pod = {"metadata": metadata, "spec": template["spec"]}
            self._server.create(kinds.POD, namespace, pod, manager=REPLICA_SETS)
        except ApiError as error:
            self._failures[uid] = error.message
            self._look(REPLICA_SET, (namespace, name), after=_RETRY)
            return False
        self._failures.pop(uid, None)
        return True

    def _write_status(self, kind: Kind, body: JsonObject, status: JsonObject, who: str) -> None:
        before = body.get("status") or {}
        known = {one["type"]: one for one in before.get("conditions") or ()}
        for one in status.get("conditions", ()):
            same = known.get(one["type"], {}).get("status") == one["status"]
            since = known[one["type"]]["lastTransitionTime"] if same else clock.timestamp()
            one["lastTransitionTime"] = since
        if status != before:
            patch = [{"op": "add", "path": "/status", "value": status}]
            self._server.patch(kind, *_key(body), patch, manager=who, subresource="status")

    # Services

    def _service(self, body: JsonObject) -> None:
        """The EndpointSlice of a Service with a selector."""
        if not body["spec"].get("selector"):
            return
        namespace, name = _key(body)
        pods = [
            one
            for one in self._server.store.all(kinds.POD, namespace)
            if _selects(body["spec"]["selector"], one) and (one.get("status") or {}).get("podIP") and not _is_over(one)
        ]
        labels = {**(body["metadata"].get("labels") or {}), _SERVICE_NAME: name, _MANAGED_BY: ENDPOINT_SLICES}
        if body["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        wanted: JsonObject = {
            "addressType": "IPv4",
            "endpoints": [_endpoint(pod) for pod in pods],
            "ports": [_port(one) for one in body["spec"].get("ports") or ()],
        }
        known = next(
            (one for one in self._server.store.all(kinds.ENDPOINT_SLICE, namespace) if _is_owned(one, body)), None
        )
        if known is None:
            suffix = "".join(self._server.random.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))
            reference = _reference(kinds.SERVICE, body)
            metadata = {"name": f"{name}-{suffix}", "labels": labels, "ownerReferences": [reference]}
            slice_ = {"metadata": metadata, **wanted}
            self._server.create(kinds.ENDPOINT_SLICE, namespace, slice_, manager=ENDPOINT_SLICES)
            return
        changed = {**known, **wanted, "metadata": {**known["metadata"], "labels": labels}}
        self._server.replace(kinds.ENDPOINT_SLICE, *_key(known), changed, manager=ENDPOINT_SLICES)


def _endpoint(pod: JsonObject) -> JsonObject:
    leaving = "deletionTimestamp" in pod["metadata"]
    ready = _is_ready(pod)
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready and not leaving, "serving": ready, "terminating": leaving},
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": {
            "kind": "Pod",
            "namespace": pod["metadata"]["namespace"],
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        },
    }


def _port(port: JsonObject) -> JsonObject:
    target = port.get("targetPort")
    number = target if isinstance(target, int) else port["port"]
    return {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}


def _key(body: JsonObject) -> Key:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _reference(kind: Kind, body: JsonObject) -> JsonObject:
    metadata = body["metadata"]
    named = {"apiVersion": kind.api_version, "kind": kind.name, "name": metadata["name"], "uid": metadata["uid"]}
    return {**named, "controller": True, "blockOwnerDeletion": True}


def _is_owned(body: JsonObject, owner: JsonObject) -> bool:
    return any(one["uid"] == owner["metadata"]["uid"] for one in body["metadata"].get("ownerReferences") or ())


def _selects(selector: dict[str, Any] | None, pod: JsonObject) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in (selector or {}).items())


def _is_ready(pod: JsonObject) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _is_over(pod: JsonObject) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def _worth(pod: JsonObject) -> tuple[bool, bool, str]:
    """Which pods go first when there are too many: without a node, not ready, the youngest."""
    young = "".join(chr(0x10FFFF - ord(one)) for one in pod["metadata"]["creationTimestamp"])
    return bool(pod["spec"].get("nodeName")), _is_ready(pod), young


def _template_hash(template: JsonObject) -> str:
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join("bcdfghjklmnpqrstvwxz2456789"[one % 27] for one in digest[:10])


def _condition(kind: str, holds: bool, reason: str, otherwise: str = "", message: str = "") -> JsonObject:
    return {
        "type": kind,
        "status": str(holds),
        "reason": reason if holds or not otherwise else otherwise,
        "message": message,
    }
