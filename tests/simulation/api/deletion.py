"""Deletion, and what follows from it: preconditions, grace, finalizers, garbage collection, the end of namespaces.

The garbage collector and the namespace controller work a moment later, as in a cluster, so a test sees the time
between.
"""

import asyncio
from typing import Final

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.protocol import Kind
from tests.simulation import clock
from tests.simulation.api.resources import NAMESPACE
from tests.simulation.api.server import ApiServer
from tests.simulation.api.status import ApiError, conflict, group_of
from tests.simulation.api.store import Commit, Key

GARBAGE_COLLECTOR: Final = "generic-garbage-collector"
NAMESPACE_CONTROLLER: Final = "namespace-controller"
_FOREGROUND: Final = "foregroundDeletion"


class Deletion:
    """Deletes what is asked for, and collects what is left. `delay`: seconds until the controllers act."""

    def __init__(self, server: ApiServer, *, delay: float = 0.5) -> None:
        self._server, self._delay = server, delay
        self._uids: dict[str, tuple[Kind, Key]] = {}
        server.store.listen(self._on_commit)

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        who: str,
        uid: str | None = None,
        version: str | None = None,
        propagation: str = "Background",
        grace: int | None = None,
    ) -> JsonObject:
        """DELETE. Returns the object as it is then, or was last."""
        server = self._server
        body = server.get(kind, namespace, name)
        metadata = body["metadata"]
        _check_preconditions(kind, metadata, uid, version)
        key = server.key(kind, namespace, name)
        if kind == kinds.POD and (seconds := _grace(body, grace)):
            return server.force(kind, namespace, name, lambda one: _mark(one, seconds), who)
        if kind == NAMESPACE:
            return server.force(kind, namespace, name, _terminate, who)
        if propagation == "Foreground" and _FOREGROUND not in (metadata.get("finalizers") or []):
            metadata["finalizers"] = [*(metadata.get("finalizers") or []), _FOREGROUND]
        if finalizers := metadata.get("finalizers"):
            return server.force(kind, namespace, name, lambda one: _hold(one, finalizers), who)
        return server.store.remove(kind, key, who)

    # Garbage

    def _on_commit(self, commit: Commit) -> None:
        uid = commit.last["metadata"]["uid"]
        if commit.after is None:
            self._uids.pop(uid, None)
            self._later(self._collect_dependents, uid)
            return
        self._uids[uid] = (commit.kind, commit.key)
        if commit.before is None and commit.after["metadata"].get("ownerReferences"):
            self._later(self._collect, commit.kind, commit.key, uid)
        elif commit.kind == NAMESPACE and commit.after["metadata"].get("deletionTimestamp"):
            self._later(self._empty_namespace, commit.key[1])
        if _FOREGROUND in (commit.after["metadata"].get("finalizers") or ()) and _is_deleted(commit.after):
            self._later(self._foreground, commit.kind, commit.key, uid)

    def _later(self, action: object, *args: object) -> None:
        asyncio.get_running_loop().call_later(self._delay, action, *args)  # type: ignore[arg-type]

    def _collect_dependents(self, owner: str) -> None:
        for kind, body in self._dependents(owner):
            self._collect(kind, self._key(kind, body), body["metadata"]["uid"])

    def _dependents(self, owner: str) -> list[tuple[Kind, JsonObject]]:
        return [
            (kind, body)
            for kind in self._server.kinds
            for body in self._server.store.all(kind)
            if any(one["uid"] == owner for one in body["metadata"].get("ownerReferences") or ())
        ]

    def _key(self, kind: Kind, body: JsonObject) -> Key:
        return self._server.key(kind, body["metadata"].get("namespace", ""), body["metadata"]["name"])

    def _collect(self, kind: Kind, key: Key, uid: str) -> None:
        """Delete an object none of whose owners exists."""
        record = self._server.store.get(kind, key)
        if record is None or record.body["metadata"]["uid"] != uid or _is_deleted(record.body):
            return
        owners = record.body["metadata"].get("ownerReferences") or []
        there = [one for one in owners if one["uid"] in self._uids]
        if owners and not there:
            self._delete_quietly(kind, key, uid)
        elif len(there) < len(owners):

            def keep(body: JsonObject) -> None:
                body["metadata"]["ownerReferences"] = there

            self._server.force(kind, *key, keep, GARBAGE_COLLECTOR)

    def _foreground(self, kind: Kind, key: Key, uid: str) -> None:
        """An owner that waits for its dependents goes when none of them blocks it any more."""
        record = self._server.store.get(kind, key)
        if record is None or record.body["metadata"]["uid"] != uid:
            return
        dependents = self._dependents(uid)
        for one, body in dependents:
            if not _is_deleted(body):
                self._delete_quietly(one, self._key(one, body), body["metadata"]["uid"])
        if self._dependents(uid):
            self._later(self._foreground, kind, key, uid)
            return
        self.finalize(kind, *key, _FOREGROUND, GARBAGE_COLLECTOR)

    def finalize(self, kind: Kind, namespace: str, name: str, finalizer: str, who: str) -> None:
        """Take a finalizer away; the object goes with its last one."""
        body = self._server.get(kind, namespace, name)
        left = [one for one in body["metadata"].get("finalizers") or () if one != finalizer]
        if not left and _is_deleted(body):
            self._server.store.remove(kind, self._server.key(kind, namespace, name), who)
            return

        def keep(one: JsonObject) -> None:
            one["metadata"]["finalizers"] = left

        self._server.force(kind, namespace, name, keep, who)

    def _delete_quietly(self, kind: Kind, key: Key, uid: str) -> None:
        try:
            self.delete(kind, *key, who=GARBAGE_COLLECTOR, uid=uid)
        except ApiError:
            return  # it is gone, or another now; whoever made that so is told by a commit of its own

    # Namespaces

    def _empty_namespace(self, namespace: str) -> None:
        """Delete everything in a namespace that ends; the namespace itself when nothing is left."""
        if self._server.store.get(NAMESPACE, ("", namespace)) is None:
            return
        found = [
            (kind, body)
            for kind in self._server.kinds
            if kind.namespaced
            for body in self._server.store.all(kind, namespace)
        ]
        for kind, body in found:
            if not _is_deleted(body):
                self._delete_quietly(kind, self._key(kind, body), body["metadata"]["uid"])
        if any(self._server.store.get(kind, self._key(kind, body)) for kind, body in found):
            self._later(self._empty_namespace, namespace)
            return
        self._server.store.remove(NAMESPACE, ("", namespace), NAMESPACE_CONTROLLER)


def _check_preconditions(kind: Kind, metadata: JsonObject, uid: str | None, version: str | None) -> None:
    named = Kind(kind.api_version, kind.name, kind.name)  # here the server names the kind instead of the resource
    if uid is not None and uid != metadata["uid"]:
        raise conflict(
            named,
            metadata["name"],
            f"the UID in the precondition ({uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated",
        )
    if version is not None and version != metadata["resourceVersion"]:
        raise conflict(
            named,
            metadata["name"],
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({metadata['resourceVersion']}). The object might have been modified",
        )


def _is_deleted(body: JsonObject) -> bool:
    return bool(body["metadata"].get("deletionTimestamp"))


def _grace(pod: JsonObject, asked: int | None) -> int:
    """Seconds that a pod gets to end; 0: it goes at once."""
    phase = (pod.get("status") or {}).get("phase")
    if not pod["spec"].get("nodeName") or phase in ("Failed", "Succeeded"):
        return 0
    return int(pod["spec"].get("terminationGracePeriodSeconds", 30)) if asked is None else asked


def _mark(body: JsonObject, grace: int) -> None:
    metadata = body["metadata"]
    if _is_deleted(body):
        return
    metadata["deletionTimestamp"] = clock.timestamp(clock.wall() + grace)
    metadata["deletionGracePeriodSeconds"] = grace
    if "generation" in metadata:
        metadata["generation"] += 1


def _hold(body: JsonObject, finalizers: list[str]) -> None:
    _mark(body, 0)
    body["metadata"]["finalizers"] = finalizers


def _terminate(body: JsonObject) -> None:
    _mark(body, 0)
    body["metadata"].pop("deletionGracePeriodSeconds", None)
    body["status"] = {**body.get("status", {}), "phase": "Terminating"}


__all__ = ["GARBAGE_COLLECTOR", "NAMESPACE_CONTROLLER", "Deletion", "group_of"]
