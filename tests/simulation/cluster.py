"""What one replica of the operator sees of the simulated control plane: requests, and the watches that fill its cache.

`SimulatedCluster` is the `Cluster` protocol with what the Lease needs besides, in the same words and errors as
serin.cluster.client.KubernetesCluster. Several of them share one control plane. Each request may meet a fault
(api/faults.py); a process that dies sends nothing more, and whoever awaits it is told by ProcessDied.
"""

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from serin.api.json import JsonObject
from serin.api.names import FIELD_MANAGER
from serin.cluster import kinds
from serin.cluster.errors import error_of
from serin.cluster.protocol import ClusterError, Kind, Retryable
from tests.simulation import clock
from tests.simulation.api import faults
from tests.simulation.api.faults import Fault, Request
from tests.simulation.api.rest import APPLY, JSON, JSON_PATCH, Rest
from tests.simulation.api.status import INVALID as INVALID_VALUE
from tests.simulation.api.status import (
    FieldError,
    conflict,
    forbidden,
    internal,
    invalid,
    timed_out,
    too_many_requests,
)

WRITES: Final = ("create", "apply", "patch", "delete")
_METHODS: Final = {
    "get": "GET",
    "list": "GET",
    "apply": "PATCH",
    "patch": "PATCH",
    "delete": "DELETE",
    "create": "POST",
}
_NEVER_ARRIVES: Final = (Fault.NEVER_SENT, Fault.LATE)
_ANSWER_LOST: Final = (Fault.LOST, Fault.NEVER_SENT, Fault.LATE)


_NO_CONNECTION: Final = "Cannot connect to host control-plane:443 [Connect call failed]"


class ProcessDied(BaseException):
    """The process of this replica has ended in the middle of a request. No `except Exception` may survive it."""


def _unobserved(_verb: str, _kind: str, _status: int, _seconds: float) -> None:
    """Nobody counts the requests."""


class SimulatedCluster:
    """One replica's way to the control plane.

    `latency`: seconds of a request that goes well, half of them before it is carried out. `timeout`: when an answer
    that does not come is given up. `late`: when a request arrives that has Fault.LATE. `died` is set when a fault ends
    the process; `last` is the newest request.
    """

    def __init__(
        self,
        control_plane: Rest,
        replica: str = "serin-0",
        *,
        plan: faults.Plan = faults.nothing,
        observer: Callable[[str, str, int, float], None] = _unobserved,
        latency: float = 0.004,
        timeout: float = 5.0,
        late: float = 8.0,
    ) -> None:
        self._control_plane, self.replica, self.plan = control_plane, replica, plan
        self._observer, self._latency, self._timeout, self._late = observer, latency, timeout, late
        self._number = self._writes = 0
        self._chance = random.Random(replica)
        self.died = asyncio.Event()
        self.last: Request | None = None

    async def close(self) -> None:
        """There is nothing to close."""

    # The protocol

    async def get(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        """Read one object. Raises Gone when it does not exist."""
        return await self._request("get", kind, namespace, name)

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Sequence[JsonObject]:
        """All objects of a kind (None: of every namespace) that match a label selector."""
        answer = await self.list_page(kind, namespace, selector)
        return [{"apiVersion": kind.api_version, "kind": kind.name, **item} for item in answer["items"]]

    async def list_page(
        self, kind: Kind, namespace: str | None = None, selector: str = "", limit: int = 0, token: str = ""
    ) -> JsonObject:
        """A list as it is answered: with its resourceVersion, `limit` items at once, from `token` on."""
        query = {"labelSelector": selector} if selector else {}
        query |= ({"limit": str(limit)} if limit else {}) | ({"continue": token} if token else {})
        return await self._request("list", kind, namespace, "", query=query)

    async def apply(self, body: JsonObject, *, force: bool = True) -> JsonObject:
        """Server-side apply with field manager `serin`; owns only what `body` sets. Returns the object as stored."""
        return await self._apply(body, subresource="", force=force)

    async def patch_status(self, body: JsonObject) -> JsonObject:
        """Server-side apply of the status; with metadata.resourceVersion set, Conflict when the object has moved."""
        return await self._apply(body, subresource="status", force=True)

    async def restore_template(self, body: JsonObject) -> JsonObject:
        """Make `spec.template` exactly what `body` has. Raises Gone."""
        kind, metadata = kinds.of(body), body["metadata"]
        replace = [{"op": "replace", "path": "/spec/template", "value": body["spec"]["template"]}]
        query = {"fieldManager": FIELD_MANAGER}
        return await self._request(
            "patch", kind, metadata["namespace"], metadata["name"], query=query, body=replace, content_type=JSON_PATCH
        )

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, resource_version: str | None = None
    ) -> None:
        """Delete with preconditions, dependents in the background. Raises Conflict when a precondition fails, Gone."""
        preconditions = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
        options = {"propagationPolicy": "Background", "preconditions": preconditions}
        await self._request("delete", kind, namespace, name, body=options)

    async def create(self, body: JsonObject) -> JsonObject:
        """Create an object. Raises Conflict when its name is taken."""
        kind, metadata = kinds.of(body), body["metadata"]
        query = {"fieldManager": FIELD_MANAGER}
        return await self._request("create", kind, metadata["namespace"], metadata["name"], query=query, body=body)

    async def create_event(self, body: JsonObject) -> None:
        """Create or (same name) update an events.k8s.io/v1 Event."""
        await self._apply(body, subresource="", force=True)

    async def _apply(self, body: JsonObject, *, subresource: str, force: bool) -> JsonObject:
        kind, metadata = kinds.of(body), body["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        return await self._request(
            "apply",
            kind,
            metadata["namespace"],
            metadata["name"],
            subresource,
            query=query,
            body=body,
            content_type=APPLY,
        )

    async def watch(
        self, kind: Kind, namespace: str | None, selector: str, version: str, *, seconds: float = math.inf
    ) -> AsyncIterator[JsonObject]:
        """Events after a version, with bookmarks. Ends when the connection does."""
        self._check_alive()
        if not self._control_plane.is_up:
            raise Retryable(f"no answer from the API server to watch {kind.name}: {_NO_CONNECTION}")
        watches = self._control_plane.watches
        told = watches.watch(self.replica, kind, version, namespace=namespace, selector=selector, seconds=seconds)
        async for event in told:
            self._check_alive()
            yield event

    # One request

    async def _request(
        self,
        verb: str,
        kind: Kind,
        namespace: str | None,
        name: str,
        subresource: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
    ) -> JsonObject:
        request = self._next(verb, kind, namespace or "", name, subresource)
        path = (
            kinds.object_path(kind, namespace or "", name, subresource)
            if name and verb != "create"
            else kinds.collection_path(kind, namespace)
        )
        text = json.dumps(body)

        def carry_out() -> tuple[int, JsonObject]:
            method = _METHODS[verb]
            return self._control_plane.request(method, path, query, json.loads(text), content_type, who=self.replica)

        started, status = clock.now(), 0
        try:
            status, answer = await self._answer(request, self.plan(request), carry_out)
        finally:
            self._observer(verb, kind.name, status, clock.now() - started)
        if status < 300:
            return answer
        raise error_of(status, json.dumps(answer).encode())

    def _next(self, verb: str, kind: Kind, namespace: str, name: str, subresource: str) -> Request:
        self._check_alive()
        self._number += 1
        self._writes += verb in WRITES
        number = self._writes if verb in WRITES else 0
        self.last = Request(self._number, number, self.replica, verb, kind, namespace, name, subresource)
        return self.last

    async def _answer(
        self, request: Request, fault: Fault | None, carry_out: Callable[[], tuple[int, JsonObject]]
    ) -> tuple[int, JsonObject]:
        """What comes of a request with this fault. Raises ClusterError where there is no answer, and ProcessDied."""
        if fault is Fault.DIE_BEFORE:
            self._die()
        if fault is Fault.REFUSED or not self._control_plane.is_up:
            raise _no_answer(request, _NO_CONNECTION)
        if fault is Fault.LATE:
            asyncio.get_running_loop().call_later(self._late, carry_out)
        if fault in _NEVER_ARRIVES:
            await asyncio.sleep(self._timeout)
            raise _no_answer(request, "TimeoutError")
        try:
            await asyncio.sleep(self._latency / 2)
        except asyncio.CancelledError:
            # Whoever gives up a request that is under way does not know what becomes of it.
            if self._chance.random() < 0.5:
                asyncio.get_running_loop().call_later(self._latency / 2, carry_out)
            raise
        self._check_alive()
        if (refused := _refusal(fault, request)) is not None:
            return refused
        status, answer = carry_out()
        if fault is Fault.DIE_AFTER:
            self._die()
        if fault in _ANSWER_LOST:
            await asyncio.sleep(self._timeout)
            raise _no_answer(request, "TimeoutError")
        await asyncio.sleep(self._latency / 2)
        self._check_alive()
        if fault is Fault.TIMEOUT:
            return 504, timed_out().body()
        return status, answer

    def kill(self) -> None:
        """End the process: what it has not sent yet is never sent."""
        self.died.set()

    def _die(self) -> None:
        self.kill()
        self._check_alive()

    def _check_alive(self) -> None:
        if self.died.is_set():
            raise ProcessDied(self.replica)


def _no_answer(request: Request, words: str) -> ClusterError:
    return Retryable(f"no answer from the API server to {request.verb} {request.kind.name}: {words}")


def _refusal(fault: Fault | None, request: Request) -> tuple[int, JsonObject] | None:
    """The answer of a fault that the API server itself gives, without carrying out the request."""
    kind, name = request.kind, request.name
    match fault:
        case Fault.CONFLICT:
            error = conflict(kind, name)
        case Fault.INVALID:
            error = invalid(kind, name, [FieldError("spec", INVALID_VALUE, "refused by the simulation's fault plan")])
        case Fault.TOO_MANY:
            error = too_many_requests()
        case Fault.INTERNAL:
            error = internal("etcdserver: request timed out")
        case Fault.UNAVAILABLE:
            return 503, {"kind": "Status", "message": "the server is currently unable to handle the request"}
        case Fault.FORBIDDEN:
            user, verb = f"system:serviceaccount:serin-system:{FIELD_MANAGER}", request.verb
            group = kind.api_version.rpartition("/")[0]
            error = forbidden(
                kind,
                name,
                f'User "{user}" cannot {verb} resource "{kind.plural}" in API group "{group}" in the namespace '
                f'"{request.namespace}"',
            )
        case _:
            return None
    return error.status, error.body()
