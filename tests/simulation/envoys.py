"""Simulated Envoys: they ask the operator's xDS server as Envoy asks over REST, and keep what they have taken.

An Envoy speaks DiscoveryRequest and DiscoveryResponse as JSON over a link: in memory to the operator's aiohttp
application, or by HTTP. It holds one question open for each thing that it needs, takes an answer after its lag, refuses
what a test wants refused, can lose its connection, and can be restarted with nothing. What requests then do is
traffic.py's.

It has what Envoy has: a new cluster serves only after its endpoints have come, a new listener after its routes, and a
response of which one resource is refused is taken but for that one, while the version stays the old one.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import aiohttp
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request

from serin.api.json import JsonObject

CLUSTERS: Final = "clusters"
ENDPOINTS: Final = "endpoints"
LISTENERS: Final = "listeners"
ROUTES: Final = "routes"

_TYPES: Final = {
    CLUSTERS: "envoy.config.cluster.v3.Cluster",
    ENDPOINTS: "envoy.config.endpoint.v3.ClusterLoadAssignment",
    LISTENERS: "envoy.config.listener.v3.Listener",
    ROUTES: "envoy.config.route.v3.RouteConfiguration",
}
_REFRESH: Final = 0.1  # and as much at random on top

Topic = tuple[str, str]  # what is asked for; the name is empty for clusters and listeners


class Link(Protocol):
    """The way to an xDS server."""

    async def ask(self, kind: str, question: JsonObject) -> tuple[int, JsonObject | None]:
        """Send a DiscoveryRequest; the status code and the DiscoveryResponse. Raises ConnectionError."""


class AppLink:
    """In memory to an aiohttp application; its clock must be the loop's (see clock.everywhere)."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._template: web.Request | None = None
        if not app.frozen:
            app.freeze()

    async def ask(self, kind: str, question: JsonObject) -> tuple[int, JsonObject | None]:
        """As a POST; when the caller is cancelled, the handler is, as when a connection closes."""
        loop = asyncio.get_running_loop()
        payload = StreamReader(BaseProtocol(loop), limit=2**20, loop=loop)
        payload.feed_data(json.dumps(question).encode())
        payload.feed_eof()
        if self._template is None:
            headers = {"Content-Type": "application/json"}
            self._template = make_mocked_request("POST", "/", headers=headers, app=self._app)
        request = self._template.clone(rel_url=f"/v3/discovery:{kind}")
        request._payload = payload
        try:
            response = await self._app._handle(request)
        except web.HTTPException as refused:
            return refused.status, None
        body = getattr(response, "body", None)
        return response.status, json.loads(body) if body and response.status == 200 else None


class HttpLink:
    """By HTTP, on a loop whose time is real."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def ask(self, kind: str, question: JsonObject) -> tuple[int, JsonObject | None]:
        """Send a question as a POST."""
        try:
            async with self._session.post(f"{self._url}/v3/discovery:{kind}", json=question) as response:
                return response.status, await response.json() if response.status == 200 else None
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from error


@dataclass(slots=True)
class Taken:
    """What an Envoy has of one topic: its version, and the resources by name."""

    version: str = ""
    resources: dict[str, JsonObject] = field(default_factory=dict)


Refusal = Callable[[str, JsonObject], bool]


class Envoy:
    """One Envoy. `lag`: seconds from an answer to its effect. `refuses(kind, resource)`: what it does not take.

    `started` is the loop's time of its start, `changes` counts what it has taken. Start it with `start`.
    """

    def __init__(self, node: str, link: Link, *, seed: int = 0, lag: float = 0.01) -> None:
        self.node, self.lag = node, lag
        self.refuses: Refusal = lambda _kind, _resource: False
        self.started = 0.0
        self.changes = 0
        self._link: Link | None = link
        self._random = random.Random(f"{node}-{seed}")
        self._taken: dict[Topic, Taken] = {}
        self._asking: dict[Topic, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[], None]] = []
        self.on_restart: Callable[[], None] = lambda: None

    # What a test decides

    def start(self) -> None:
        """Begin to ask."""
        self.started = asyncio.get_running_loop().time()
        for kind in (CLUSTERS, LISTENERS):
            self._ask(kind, "")

    async def stop(self) -> None:
        """End; nothing is left of it."""
        tasks = list(self._asking.values())
        self._asking.clear()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._taken.clear()

    async def restart(self) -> None:
        """End, and begin again under the same name with nothing."""
        await self.stop()
        self.on_restart()
        self.start()

    def connect(self, link: Link | None) -> None:
        """Ask another server from now on, or (None) none: questions that are open are lost, what it has it keeps."""
        self._link = link
        for topic in list(self._asking):
            self._asking.pop(topic).cancel()
            self._ask(*topic)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever it has taken something."""
        self._listeners.append(listener)

    # What it has

    def clusters(self) -> frozenset[str]:
        """Clusters with endpoints of their own that serve: those whose endpoints have come."""
        known = self._taken.get((CLUSTERS, ""), Taken()).resources
        return frozenset(name for name in known if (ENDPOINTS, name) in self._taken)

    def endpoints(self, cluster: str) -> list[list[JsonObject]]:
        """The endpoints of a cluster by priority: address, port, metadata and protocol of each."""
        known = self._taken.get((CLUSTERS, ""), Taken()).resources
        if cluster in known and (parts := _parts(known[cluster])):
            return [group for part in parts for group in self.endpoints(part)]
        if cluster not in self.clusters():
            return []
        assignment, speaks = self._taken[ENDPOINTS, cluster].resources[cluster], _speaks(known[cluster])
        groups = sorted(assignment.get("endpoints", ()), key=lambda one: one.get("priority", 0))
        return [[_endpoint(one) | {"http2": speaks} for one in group.get("lb_endpoints", ())] for group in groups]

    def membership(self) -> Mapping[str, int]:
        """How many endpoints each cluster has, as envoy_cluster_membership_total counts them."""
        return {name: sum(map(len, self.endpoints(name))) for name in sorted(self.clusters()) if "+" not in name}

    def deployments(self) -> frozenset[str]:
        """Names (`namespace/name`) of the deployments that it serves: listeners whose routes have come."""
        known = self._taken.get((LISTENERS, ""), Taken()).resources
        return frozenset(name for name in known if (ROUTES, name) in self._taken)

    def port(self, deployment: str) -> int | None:
        """The port of a deployment's listener; None while there is none."""
        listener = self._taken[LISTENERS, ""].resources.get(deployment)
        return int(listener["address"]["socket_address"]["port_value"]) if listener else None

    def routes(self, deployment: str) -> list[JsonObject]:
        """The routes of a deployment, in their order; none while it is not served."""
        if deployment not in self.deployments():
            return []
        routes: list[JsonObject] = self._taken[ROUTES, deployment].resources[deployment]["virtual_hosts"][0]["routes"]
        return routes

    def weights(self, deployment: str) -> dict[str, float]:
        """The share of the requests of the routes of each name; they sum to 1 where there is a route."""
        found: dict[str, float] = {}
        for route, share in zip(self.routes(deployment), self.shares(deployment), strict=True):
            name = str(route.get("name", ""))
            found[name] = found.get(name, 0.0) + share
        return found

    def shares(self, deployment: str) -> list[float]:
        """The share of the requests of each route, in their order."""
        found, below = [], 0.0
        for route in self.routes(deployment):
            upper = min(1.0, _fraction(route["match"]))
            found.append(max(0.0, upper - below))
            below = max(below, upper)
        return found

    def version(self, kind: str, name: str = "") -> str:
        """The version that it has of something."""
        return self._taken.get((kind, name), Taken()).version

    # How it asks

    def _ask(self, kind: str, name: str) -> None:
        topic = (kind, name)
        if topic not in self._asking:
            task_name = f"{self.node} asks for {kind} {name}".strip()
            self._asking[topic] = asyncio.get_running_loop().create_task(self._keep_asking(topic), name=task_name)

    async def _keep_asking(self, topic: Topic) -> None:
        while True:
            answer = await self._answer(topic)
            if answer is not None:
                await asyncio.sleep(self.lag)
                self._take(topic, answer)
            await asyncio.sleep(_REFRESH * (1.0 + self._random.random()))

    async def _answer(self, topic: Topic) -> JsonObject | None:
        kind, name = topic
        question: JsonObject = {
            "node": {"id": self.node, "cluster": "serin-router"},
            "type_url": f"type.googleapis.com/{_TYPES[kind]}",
            "version_info": self.version(kind, name),
        }
        if name:
            question["resource_names"] = [name]
        if self._link is None:
            return None
        try:
            status, answer = await self._link.ask(kind, question)
        except ConnectionError:
            return None
        return answer if status == 200 else None

    def _take(self, topic: Topic, answer: JsonObject) -> None:
        kind, _ = topic
        named = {_name(one): one for one in answer["resources"]}
        refused = {name for name, one in named.items() if self.refuses(kind, one)}
        before = self._taken.get(topic, Taken())
        kept = {name: one for name, one in before.resources.items() if name in refused}
        resources = {name: one for name, one in named.items() if name not in refused} | kept
        if refused and kind not in (CLUSTERS, LISTENERS):
            return
        version = before.version if refused else answer["version_info"]
        self._taken[topic] = Taken(version, resources)
        self.changes += 1
        if kind in (CLUSTERS, LISTENERS):
            followed = {name for name, one in resources.items() if not _parts(one)}
            self._follow(ENDPOINTS if kind == CLUSTERS else ROUTES, followed)
        for listener in self._listeners:
            listener()

    def _follow(self, kind: str, names: set[str]) -> None:
        """Ask for what belongs to these, and forget what belongs to others."""
        for topic in [topic for topic in self._asking if topic[0] == kind and topic[1] not in names]:
            self._asking.pop(topic).cancel()
            self._taken.pop(topic, None)
        for name in sorted(names):
            self._ask(kind, name)


async def until(condition: Callable[[], bool], seconds: float = 60.0, step: float = 0.05) -> None:
    """Wait in the loop's time until a condition holds."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"not so after {seconds:g} s"
        await asyncio.sleep(step)


def _name(resource: JsonObject) -> str:
    return str(resource.get("name") or resource["cluster_name"])


def _parts(cluster: JsonObject) -> list[str]:
    """The clusters that an aggregate cluster is made of; none for any other resource."""
    found: list[str] = ((cluster.get("cluster_type") or {}).get("typed_config") or {}).get("clusters", [])
    return found


def _speaks(cluster: JsonObject) -> bool:
    """Whether a cluster speaks HTTP/2 to its endpoints."""
    (options,) = cluster["typed_extension_protocol_options"].values()
    return "http2_protocol_options" in options.get("explicit_http_config", {})


def _endpoint(entry: JsonObject) -> JsonObject:
    address = entry["endpoint"]["address"]["socket_address"]
    metadata = ((entry.get("metadata") or {}).get("filter_metadata") or {}).get("serin") or {}
    return {"address": address["address"], "port": address["port_value"], **metadata}


def _fraction(match: JsonObject) -> float:
    """Below which random number (of 1) a route takes a request. Those here are small, say so, and carry no more."""
    if match.get("cookies") or any(not _fits(header) for header in match.get("headers", ())):
        return 0.0
    if "runtime_fraction" not in match:
        return 1.0
    value = match["runtime_fraction"]["default_value"]
    scale = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}[value.get("denominator", "HUNDRED")]
    return float(value["numerator"]) / scale


def _fits(header: JsonObject) -> bool:
    """Whether a small POST that says its length has what a route asks of a header."""
    if header["name"] == "content-length":
        return "range_match" in header
    return header.get("present_match") is False
