"""What one replica of the operator sees of the simulated control plane: requests, and the watches that fill its cache.

`SimulatedCluster` is the operator's own client, serin.cluster.client.KubernetesCluster, with the simulation in place of
the network: what it sends, and what it makes of an answer, is the real thing. Several of them share one control plane.
Each request may meet a fault (api/faults.py); a process that dies sends nothing more, and whoever awaits it is told by
ProcessDied.
"""

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import aiohttp

from serin.api.json import JsonObject
from serin.api.names import FIELD_MANAGER
from serin.cluster import kinds
from serin.cluster.client import KubernetesCluster, RequestObserver, unobserved
from serin.cluster.protocol import Kind, Retryable
from tests.simulation.api import faults
from tests.simulation.api.faults import Fault, Request
from tests.simulation.api.rest import APPLY, Rest
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
_NEVER_ARRIVES: Final = (Fault.NEVER_SENT, Fault.LATE)
_ANSWER_LOST: Final = (Fault.LOST, Fault.NEVER_SENT, Fault.LATE)
_NO_CONNECTION: Final = "Cannot connect to host control-plane:443 [Connect call failed]"


class ProcessDied(BaseException):
    """The process of this replica has ended in the middle of a request. No `except Exception` may survive it."""


class SimulatedCluster(KubernetesCluster):
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
        observer: RequestObserver = unobserved,
        latency: float = 0.004,
        timeout: float = 5.0,
        late: float = 8.0,
        page: int = 500,
    ) -> None:
        self._control_plane, self.replica, self.plan = control_plane, replica, plan
        self._observer, self._latency, self.late = observer, latency, late
        self._timeout, self._page = aiohttp.ClientTimeout(total=timeout), page
        self._number = self._writes = 0
        self._chance = random.Random(replica)
        self.died = asyncio.Event()
        self.last: Request | None = None

    async def close(self) -> None:
        """There is nothing to close."""

    # What fills a cache

    async def list_page(
        self, kind: Kind, namespace: str | None = None, selector: str = "", limit: int = 0, token: str = ""
    ) -> JsonObject:
        """A list as it is answered: with its resourceVersion, `limit` items at once, from `token` on."""
        query = {"labelSelector": selector} if selector else {}
        query |= ({"limit": str(limit)} if limit else {}) | ({"continue": token} if token else {})
        return await self._request("list", kind, kinds.collection_path(kind, namespace), query=query)

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

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Any, content_type: str, accept: str
    ) -> tuple[int, bytes]:
        at = self._control_plane.target(path)
        name = at.name or (body["metadata"]["name"] if method == "POST" else "")
        request = self._next(_verb(method, name, content_type), at.kind, at.namespace or "", name, at.subresource)
        text = json.dumps(body)

        def carry_out() -> tuple[int, JsonObject]:
            return self._control_plane.request(method, path, query, json.loads(text), content_type, who=self.replica)

        status, answer = await self._answer(request, self.plan(request), carry_out)
        if status < 300 and "as=PartialObjectMetadata" in accept:
            answer = _metadata_of(answer)
        return status, json.dumps(answer).encode()

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
        """What comes of a request with this fault. Raises as aiohttp does where there is no answer, and ProcessDied."""
        if fault is Fault.DIE_BEFORE:
            self._die()
        if fault is Fault.REFUSED or not self._control_plane.is_up:
            raise aiohttp.ClientConnectionError(_NO_CONNECTION)
        if fault is Fault.LATE:
            asyncio.get_running_loop().call_later(self.late, carry_out)
        if fault in _NEVER_ARRIVES:
            await asyncio.sleep(self._timeout.total or 0.0)
            raise TimeoutError
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
            await asyncio.sleep(self._timeout.total or 0.0)
            raise TimeoutError
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


def _metadata_of(answer: JsonObject) -> JsonObject:
    """What the API server answers to whoever asks for metadata alone."""
    partial: JsonObject = {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata"}
    if "items" not in answer:
        return partial | {"metadata": answer["metadata"]}
    items = [partial | {"metadata": one["metadata"]} for one in answer["items"]]
    return {**answer, "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "items": items}


def _verb(method: str, name: str, content_type: str) -> str:
    """The operator's own word for what a request does."""
    match method:
        case "GET":
            return "get" if name else "list"
        case "PATCH":
            return "apply" if content_type == APPLY else "patch"
        case _:
            return "create" if method == "POST" else "delete"


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
