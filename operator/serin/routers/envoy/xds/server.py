"""The xDS server: Envoys send requests over HTTP, and each is held until there is something new to send.

It knows nothing of Kubernetes. Until the first `update`, which says that the caches are synced, every request gets a
503: an operator that has just started must never send an Envoy that there is nothing to serve.

A request says in whose name it comes, and `Access` whether that is so. It is asked before a byte of a body is read, and
what a stranger sends is never remembered: no Envoy's answer waits for it. What one Envoy may send and hold is limited.
An Envoy that is denied keeps the configuration that it has.
"""

import asyncio
import json
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog
from aiohttp import StreamReader, web

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.split import Split, write_split
from serin.routers.connections import Connections
from serin.routers.envoy.bootstrap import XDS_PORT
from serin.routers.envoy.limits import Limits
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.xds.access import ANYBODY, Access, Denied
from serin.routers.envoy.xds.delivery import Delivery
from serin.routers.envoy.xds.resources import COLLECTIONS, DiscoveryRequest, Kind, Topic

log = structlog.get_logger()

_Name = TypeVar("_Name")
_LIMITS: Final = Limits()

# Seconds that a request is held at most; a little less at random, so that they do not all come back at once.
# Shorter than Envoy's request_timeout (shape.py).
HOLD: Final = 25.0
# Where other replicas of the operator ask what this one's Envoys have taken and refused.
STATE_PATH: Final = "/serin/state"
# Bytes of a request. Envoy 1.40 sends 77,000: its node lists all extensions.
MAX_REQUEST: Final = 512 * 1024
_READ_SECONDS: Final = 10.0
# An Envoy holds one request for each cluster and each deployment, for a moment two while a cluster is replaced.
_MOST_PER_TOPIC: Final = 4
# Requests for names that are unknown here (yet, or no longer), beside those for names that are known.
MOST_UNKNOWN: Final = 1000
# An Envoy requests every cluster and every deployment at once when it starts.
_BACKLOG: Final = 4096


def _ignore(key: Key, seconds: float) -> None:
    pass


def _log_refusal(request: DiscoveryRequest) -> None:
    log.warning("xds.refused", node=request.node, kind=request.kind.value, name=request.name)


def _log_denial(address: str, why: str) -> None:
    log.warning("xds.denied", address=address, why=why)


def _log_failure(key: Key, error: Exception) -> None:
    log.error("xds.not-rendered", namespace=key[0], deployment=key[1], exc_info=error)


@dataclass(eq=False, slots=True)
class _Held:
    """A request that waits. `over`: a newer one of the same Envoy has taken its place."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False


class XdsServer:
    """Serves to Envoys what `update` and `change` say; `observe` and `refused` say what they have taken and refused.

    `propagated(key, seconds)` is called when every connected Envoy has taken a deployment's newest routes, with the
    time since `update` brought them. `denied(address, why)` is called when a caller gets nothing. `listen_address`:
    where Envoy's listeners bind. `limits`: what one deployment may take of them. `written`: what this replica knows to
    be written, for others.
    """

    def __init__(
        self,
        *,
        access: Access = ANYBODY,
        propagated: Callable[[Key, float], None] = _ignore,
        denied: Callable[[str, str], None] = _log_denial,
        listen_address: str = "0.0.0.0",
        limits: Limits = _LIMITS,
        hold: float = HOLD,
        written: Callable[[], JsonObject] = dict,
    ) -> None:
        self._delivery = Delivery(time.monotonic, propagated, _log_refusal, _log_failure, listen_address, limits)
        self._access, self._denied = access, denied
        self._written = written
        self._hold = hold
        self.identity = uuid.uuid4().hex
        self._synced = False
        self._closing = False
        self._waiting: defaultdict[Topic, set[_Held]] = defaultdict(set)
        self._held: defaultdict[str, dict[Topic, list[_Held]]] = defaultdict(dict)  # by node
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._connections: Connections | None = None
        self._sweeping: asyncio.Task[None] | None = None

    def update(self, models: Iterable[RoutedModel]) -> None:
        """Serve exactly these from now on. The first call says that the caches are synced."""
        changed = self._delivery.update(models)
        self._synced = True
        self._wake(changed)

    def change(self, changes: Mapping[Key, RoutedModel | None]) -> None:
        """Serve these deployments so from now on (None: no longer), and all others as before."""
        self._wake(self._delivery.change(changes))

    def observe(self, namespace: str, name: str) -> Split | None:
        """The split that every connected Envoy has taken. None: there is no Envoy, or they do not agree (yet)."""
        return self._delivery.observe((namespace, name))

    def serves(self, namespace: str, name: str) -> Mapping[str, Split | None]:
        """What each connected Envoy serves, by its node; None: a route of before this process' time."""
        return self._delivery.serves((namespace, name))

    def refused(self) -> Mapping[Key, str]:
        """A sentence per deployment whose configuration an Envoy refuses."""
        return self._delivery.refused()

    def state(self) -> JsonObject:
        """The same for another replica: `identity` of this server, `envoys`, and by "namespace/name" the rest.

        `taken`: what all Envoys here serve. `nodes`: each of them, with what is not in `taken`. `written`: see
        xds_written.py.
        """
        return {
            "identity": self.identity,
            "envoys": self.envoys(),
            "nodes": {
                node: {"/".join(key): split and _written(split) for key, split in differs.items()}
                for node, differs in self._delivery.differing().items()
            },
            "taken": {"/".join(key): _written(split) for key, split in self._delivery.taken().items()},
            "refused": {"/".join(key): words for key, words in self.refused().items()},
            "written": self._written(),
        }

    def nodes(self) -> Collection[str]:
        """The Envoys that are connected to this replica."""
        return self._delivery.nodes()

    def envoys(self) -> int:
        """How many Envoys are connected to this replica."""
        return self._delivery.envoys()

    def app(self) -> web.Application:
        """The HTTP application."""
        app = web.Application()
        for kind in Kind:
            app.router.add_post(f"/v3/discovery:{kind.value}", self._discover)
        app.router.add_get(STATE_PATH, self._serve_state)
        return app

    async def start(self, address: str | None = "0.0.0.0", port: int = XDS_PORT) -> int:
        """Listen, and return the port (0: any that is free). `address` None: every address, IPv4 and IPv6."""
        # Without cancellation a held request would outlive its Envoy.
        self._runner = web.AppRunner(
            self.app(), handler_cancellation=True, access_log=None, shutdown_timeout=1.0, keepalive_timeout=2 * HOLD
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._connections = Connections(self._runner.server, self._access.knows)
        self._listener = await asyncio.get_running_loop().create_server(
            self._connections.accept, address, port, backlog=_BACKLOG
        )
        self._sweeping = asyncio.create_task(self._connections.run(), name="xds strangers")
        bound: int = self._listener.sockets[0].getsockname()[1]
        log.info("xds.started", address=address, port=bound)
        return bound

    async def stop(self) -> None:
        """Let go of every request and stop listening. Envoys keep what they have."""
        self._closing = True
        self._wake(list(self._waiting))
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve_state(self, request: web.Request) -> web.Response:
        self._admit(request, self._access.replica)
        if not self._synced:  # which is no news: what this replica said in an earlier life still stands
            raise web.HTTPServiceUnavailable(text="the operator's caches are not synced\n")
        return web.json_response(self.state())

    async def _discover(self, request: web.Request) -> web.Response:
        if not self._synced or self._closing:
            raise web.HTTPServiceUnavailable(text="the operator's caches are not synced\n")
        pod = self._admit(request, self._access.router)
        discovery = _read(request.path.rpartition(":")[2], await _body(request))
        if pod not in (None, discovery.node):
            raise self._refusal(request, f"pod {pod} asks in another name")
        held = self._hold_request(discovery)
        try:
            self._wake(self._delivery.on_request(discovery))
            try:
                return await self._respond(discovery, held)
            finally:
                self._delivery.on_close(discovery)
        finally:
            self._let_go(discovery, held)

    def _admit(self, request: web.Request, decide: Callable[[str, str], _Name]) -> _Name:
        """Whether a request is let in is the answer of `decide`. Raises HTTPUnauthorized."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            admitted = decide(request.remote or "", token if scheme == "Bearer" else "")
        except Denied as denied:
            raise self._refusal(request, str(denied)) from None
        if self._connections is not None:
            self._connections.admit(request.protocol)
        return admitted

    def _refusal(self, request: web.Request, why: str) -> web.HTTPException:
        self._denied(request.remote or "", why)
        refusal = web.HTTPUnauthorized(text=f"{why}\n", headers={"WWW-Authenticate": "Bearer"})
        refusal.force_close()
        return refusal

    def _hold_request(self, request: DiscoveryRequest) -> _Held:
        """Count a request to those that its Envoy holds. Raises HTTPTooManyRequests."""
        mine = self._held[request.node]
        same = mine.setdefault(request.topic, [])
        if len(same) >= _MOST_PER_TOPIC:
            same[0].over = True
            same.pop(0).changed.set()
        held = _Held()
        same.append(held)
        if request.kind not in COLLECTIONS and len(mine) > MOST_UNKNOWN + self._delivery.size():
            self._let_go(request, held)
            raise web.HTTPTooManyRequests(text=f"{request.node} asks for too many names\n")
        return held

    def _let_go(self, request: DiscoveryRequest, held: _Held) -> None:
        mine = self._held[request.node]
        same = mine.get(request.topic, [])
        if held in same:
            same.remove(held)
        if not same:
            mine.pop(request.topic, None)
        if not mine:
            del self._held[request.node]

    async def _respond(self, request: DiscoveryRequest, held: _Held) -> web.Response:
        until = time.monotonic() + self._hold * random.uniform(0.8, 1.0)
        self._waiting[request.topic].add(held)
        try:
            while not self._closing:
                held.changed.clear()
                if held.over:
                    return web.Response(status=304)
                if response := self._delivery.respond(request):
                    log.debug("xds.responded", node=request.node, kind=request.kind.value, version=response.version)
                    return web.json_response(response.body())
                left = until - time.monotonic()
                if left <= 0:
                    return web.Response(status=304)
                await _wait(held.changed, min(left, self._delivery.recheck_after(request)))
        finally:
            self._waiting[request.topic].discard(held)
            if not self._waiting[request.topic]:
                del self._waiting[request.topic]
        raise web.HTTPServiceUnavailable(text="the operator stops\n")

    def _wake(self, topics: Iterable[Topic]) -> None:
        for topic in topics:
            for held in self._waiting.get(topic, ()):
                held.changed.set()


def _written(split: Split) -> JsonObject:
    """Weights alone where there is nothing else: a replica of an earlier version knows no more."""
    alone = split == Split(split.weights)
    return dict(split.weights) if alone else {"rules": []} | write_split(split)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


class TooLarge(ValueError):
    """More bytes than anybody has to say."""


async def read_json(content: StreamReader, most: int) -> Any:
    """JSON of at most so many bytes. Raises ValueError for anything else, TooLarge as soon as there are more."""
    text = bytearray()
    async for part in content.iter_any():
        text += part
        if len(text) > most:
            raise TooLarge(f"more than {most:,} bytes")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from None


async def _body(request: web.Request) -> dict[str, Any]:
    """The JSON of a request. aiohttp would keep the text for as long as the request is held. Raises HTTPException."""
    try:
        async with asyncio.timeout(_READ_SECONDS):
            body = await read_json(request.content, MAX_REQUEST)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except TooLarge:
        raise web.HTTPRequestEntityTooLarge(MAX_REQUEST, MAX_REQUEST + 1) from None
    except ValueError:
        raise web.HTTPBadRequest(text="no JSON\n") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="no DiscoveryRequest\n")
    return body


def _read(kind: str, body: dict[str, Any]) -> DiscoveryRequest:
    """A DiscoveryRequest from its JSON. Envoy requests endpoints and routes one name at a time."""
    names, node = body.get("resource_names") or [], body.get("node")
    found = Kind(kind)
    if found not in COLLECTIONS and (not isinstance(names, list) or len(names) != 1):
        raise web.HTTPBadRequest(text=f"one resource name is needed for {kind}\n")
    name = node.get("id") if isinstance(node, dict) else None
    if not name or not isinstance(name, str):
        raise web.HTTPBadRequest(text="node.id is needed: start Envoy with --service-node\n")
    return DiscoveryRequest(
        name, found, "" if found in COLLECTIONS else str(names[0]), str(body.get("version_info", ""))
    )
