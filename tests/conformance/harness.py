"""A scenario, run on either server, and what it was answered, in a form in which the two can be compared.

Scenarios send paths and JSON, as on the wire. What no two servers give alike is named by its place in the story: the
first uid that appears is `<uid 1>`, wherever it appears again.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp

from serin.api.json import JsonObject
from serin.cluster import kinds, login
from serin.cluster.protocol import Kind
from tests.simulation import clock
from tests.simulation.api.rest import APPLY, JSON, JSON_PATCH, MERGE, Rest

Answer = tuple[int, JsonObject]
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VERSION_WORDS: Final = re.compile(r"(ResourceVersion in (?:the precondition|record) \()(\d+)(\))")
_CONTROLLERS: Final = ("kube-controller-manager", "kwok", "kube-scheduler")


class Wire(Protocol):
    """How requests reach a server."""

    async def request(
        self, method: str, path: str, query: Mapping[str, str], body: Any, content_type: str
    ) -> Answer: ...

    def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[JsonObject]: ...

    async def install(self, crd: JsonObject) -> None: ...


class SimulatedWire:
    """The simulated server."""

    def __init__(self) -> None:
        self._rest = Rest(deletion_delay=0.1)

    async def request(self, method: str, path: str, query: Mapping[str, str], body: Any, content_type: str) -> Answer:
        return self._rest.request(method, path, query, body, content_type)

    def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[JsonObject]:
        return self._rest.watch(path, query)

    def compact(self) -> None:
        """Forget the history; a real server has done so by itself."""
        self._rest.watches.compact()

    async def install(self, crd: JsonObject) -> None:
        self._rest.install(crd)


class RealWire:
    """A real API server."""

    def __init__(self, session: aiohttp.ClientSession, host: str) -> None:
        self._session, self._host = session, host

    async def request(self, method: str, path: str, query: Mapping[str, str], body: Any, content_type: str) -> Answer:
        headers = {"Content-Type": content_type, "Accept": JSON}
        data = None if body is None else json.dumps(body)
        asked = self._session.request(method, self._host + path, params=query, data=data, headers=headers)
        async with asked as answer:
            if answer.content_type != JSON:  # a kind that is not served yet is a page that is not found
                return answer.status, {"message": await answer.text()}
            return answer.status, await answer.json()

    async def install(self, crd: JsonObject) -> None:
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        query = {"fieldManager": "conformance", "force": "true"}
        status, answer = await self.request("PATCH", path, query, crd, APPLY)
        assert status in (200, 201), answer

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[JsonObject]:
        asked = self._session.get(self._host + path, params={**query, "watch": "true"})
        async with asked as answer:
            async for line in answer.content:
                yield json.loads(line)


@dataclass(slots=True)
class Api:
    """What a scenario talks to. `said` is what it was answered, in order. `namespace`: of this scenario alone."""

    wire: Wire
    namespace: str
    said: list[Any] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    async def request(
        self,
        method: str,
        kind: Kind,
        name: str = "",
        body: Any = None,
        *,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
        quiet: bool = False,
    ) -> Answer:
        """One request. `quiet`: its answer is not compared."""
        namespace = self.namespace if kind.namespaced else None
        path = kinds.collection_path(kind, namespace)
        path += f"/{name}" * bool(name) + f"/{subresource}" * bool(subresource)
        answer = await self.wire.request(method, path, query or {}, body, content_type)
        if not quiet:
            self.said.append([method, kind.name, name, answer[0], self.shown(answer[1])])
        return answer

    async def get(self, kind: Kind, name: str) -> Answer:
        """Read an object."""
        return await self.request("GET", kind, name)

    async def create(self, kind: Kind, body: JsonObject, *, manager: str = "kubectl", strict: bool = False) -> Answer:
        """Create an object."""
        query = {"fieldManager": manager} | ({"fieldValidation": "Strict"} if strict else {})
        return await self.request("POST", kind, "", _typed(kind, body), query=query)

    async def apply(
        self, kind: Kind, body: JsonObject, *, manager: str = "serin", force: bool = False, subresource: str = ""
    ) -> Answer:
        """Server-side apply."""
        query = {"fieldManager": manager, "force": str(force).lower()}
        name, body = body["metadata"]["name"], _typed(kind, body)
        return await self.request("PATCH", kind, name, body, subresource=subresource, query=query, content_type=APPLY)

    async def replace(self, kind: Kind, body: JsonObject, *, manager: str = "kubectl", subresource: str = "") -> Answer:
        """PUT."""
        name, query = body["metadata"]["name"], {"fieldManager": manager}
        return await self.request("PUT", kind, name, _typed(kind, body), subresource=subresource, query=query)

    async def patch(
        self, kind: Kind, name: str, patch: Any, *, manager: str = "kubectl", subresource: str = ""
    ) -> Answer:
        """A merge patch, or (a list) a JSON patch."""
        content_type = JSON_PATCH if isinstance(patch, list) else MERGE
        query = {"fieldManager": manager}
        return await self.request(
            "PATCH", kind, name, patch, subresource=subresource, query=query, content_type=content_type
        )

    async def delete(self, kind: Kind, name: str, **options: Any) -> int:
        """Delete an object; only the status code and a refusal are compared."""
        status, answer = await self.request("DELETE", kind, name, options or None, quiet=True)
        self.said.append(["DELETE", kind.name, name, status, self.shown(answer) if status >= 400 else None])
        return status

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
        """Wait until a condition holds; what it asks is not compared."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            before = len(self.said)
            holds = await condition()
            del self.said[before:]
            if holds:
                return
            assert asyncio.get_running_loop().time() < end, f"not so after {seconds:g} s"
            await asyncio.sleep(0.05)

    def watch(self, kind: Kind, version: str, **query: str) -> AsyncIterator[JsonObject]:
        """Events after a version."""
        path = kinds.collection_path(kind, self.namespace)
        return self.wire.watch(path, {"resourceVersion": version, "timeoutSeconds": "20", **query})

    # Comparable

    def shown(self, value: Any, name: str = "") -> Any:
        """A value without what differs from server to server."""
        if isinstance(value, dict):
            if str(value.get("kind", "")).endswith("List"):  # its version is that of all kinds together
                value = {**value, "metadata": {**value["metadata"], "resourceVersion": ""}}
            if value.get("kind") in ("Deployment", "Namespace") and "metadata" in value:  # their controllers are busy
                busy = ("annotations", "resourceVersion")
                metadata = {key: one for key, one in value["metadata"].items() if key not in busy}
                value = {**value, "metadata": metadata, "status": {}}
            shown = {self._text(key): self.shown(value[key], key) for key in sorted(value)}
            if shown.get("kind") == "Status":
                return self._status(shown)
            return shown
        if isinstance(value, list):
            items = [self.shown(item, name) for item in value]
            if name == "managedFields":
                items = sorted((one for one in items if one["manager"] not in _CONTROLLERS), key=_sorted)
            return items
        if not isinstance(value, str):
            return value
        if name in ("clusterIP", "clusterIPs") and value[:1].isdecimal():
            return self._named("address", value)
        if name in ("resourceVersion", "continue"):
            return self._named("version" if name == "resourceVersion" else "token", value) if value else value
        return self._text(value.replace(self.namespace, "<namespace>"))

    def _text(self, text: str) -> str:
        text = _UID.sub(lambda found: self._named("uid", found[0]), _TIME.sub("<time>", text))
        return _VERSION_WORDS.sub(r"\1<version>\3", text)

    def _named(self, what: str, value: str) -> str:
        count = sum(one.startswith(f"<{what} ") for one in self._names.values())
        return self._names.setdefault(f"{what} {value}", f"<{what} {count + 1}>")

    def _status(self, status: JsonObject) -> JsonObject:
        """Errors of one answer come in no order."""
        causes = sorted((status.get("details") or {}).get("causes") or (), key=_sorted)
        message = status.get("message", "")
        if len(causes) > 1 and "is invalid: [" in message:
            message = (
                message.partition("is invalid: [")[0]
                + "is invalid: "
                + " / ".join(sorted(f"{one['field']}: {one['message']}" for one in causes))
            )
        return {"code": status.get("code"), "reason": status.get("reason", ""), "message": message}


def _sorted(value: JsonObject) -> str:
    return json.dumps(value, sort_keys=True)


def _typed(kind: Kind, body: JsonObject) -> JsonObject:
    return {"apiVersion": kind.api_version, "kind": kind.name, **body}


Scenario = Callable[[Api], Awaitable[None]]


def play_simulated(scenario: Scenario, namespace: str = "scenario") -> list[Any]:
    """Run a scenario on a simulated server of its own; what it was answered."""

    async def main() -> list[Any]:
        return await _play(scenario, Api(SimulatedWire(), namespace))

    return clock.run(main)


def play_real(scenario: Scenario, kubeconfig: Path, namespace: str) -> list[Any]:
    """Run a scenario on a real server, in a namespace that goes with it."""

    async def main() -> list[Any]:
        async with _real(kubeconfig) as wire:
            api = Api(wire, namespace)
            try:
                return await _play(scenario, api)
            finally:
                await wire.request("DELETE", f"/api/v1/namespaces/{namespace}", {}, None, JSON)

    return asyncio.run(main())


@asynccontextmanager
async def _real(kubeconfig: Path) -> AsyncIterator[RealWire]:
    configuration = await login.log_in(kubeconfig)
    async with login.watch_session(configuration) as session:
        yield RealWire(session, configuration.host)


async def _play(scenario: Scenario, api: Api) -> list[Any]:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": api.namespace}}
    status, answer = await api.wire.request("POST", "/api/v1/namespaces", {"fieldManager": "kubectl"}, namespace, JSON)
    assert status == 201, answer
    await scenario(api)
    return api.said
