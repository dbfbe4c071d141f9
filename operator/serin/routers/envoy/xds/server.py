"""The xDS server: Envoys send requests over HTTP, and each is held until there is something new to send.

It knows nothing of Kubernetes. Until the first `update`, which says that the caches are synced, every request gets a
503: an operator that has just started must never send an Envoy that there is nothing to serve.
"""

import asyncio
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import structlog
from aiohttp import web

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.split import Split
from serin.routers.envoy.bootstrap import XDS_PORT
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.xds.delivery import Delivery
from serin.routers.envoy.xds.resources import COLLECTIONS, DiscoveryRequest, Kind, Topic

log = structlog.get_logger()

# Seconds that a request is held at most; a little less at random, so that they do not all come back at once.
# Shorter than Envoy's request_timeout (shape.py).
HOLD: Final = 25.0
# Where other replicas of the operator ask what this one's Envoys have taken and refused.
STATE_PATH: Final = "/serin/state"
_MAX_REQUEST: Final = 1024 * 1024
# An Envoy requests every cluster and every deployment at once when it starts.
_BACKLOG: Final = 4096


def _ignore(key: Key, seconds: float) -> None:
    pass


def _log_refusal(request: DiscoveryRequest) -> None:
    log.warning("xds.refused", node=request.node, kind=request.kind.value, name=request.name)


def _log_failure(key: Key, error: Exception) -> None:
    log.error("xds.not-rendered", namespace=key[0], deployment=key[1], exc_info=error)


class XdsServer:
    """Serves to Envoys what `update` and `change` say; `observe` and `refused` say what they have taken and refused.

    `propagated(key, seconds)` is called when every connected Envoy has taken a deployment's newest routes, with the
    time since `update` brought them. `listen_address`: where Envoy's listeners bind.
    """

    def __init__(
        self,
        *,
        propagated: Callable[[Key, float], None] = _ignore,
        listen_address: str = "0.0.0.0",
        hold: float = HOLD,
    ) -> None:
        self._delivery = Delivery(time.monotonic, propagated, _log_refusal, _log_failure, listen_address)
        self._hold = hold
        self.identity = uuid.uuid4().hex
        self._synced = False
        self._closing = False
        self._waiting: defaultdict[Topic, set[asyncio.Event]] = defaultdict(set)
        self._runner: web.AppRunner | None = None

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

        `taken`: what all Envoys here serve. `nodes`: each of them, with what is not in `taken`.
        """
        return {
            "identity": self.identity,
            "envoys": self.envoys(),
            "nodes": {
                node: {"/".join(key): split and dict(split.weights) for key, split in differs.items()}
                for node, differs in self._delivery.differing().items()
            },
            "taken": {"/".join(key): dict(split.weights) for key, split in self._delivery.taken().items()},
            "refused": {"/".join(key): words for key, words in self.refused().items()},
        }

    def nodes(self) -> Collection[str]:
        """The Envoys that are connected to this replica."""
        return self._delivery.nodes()

    def envoys(self) -> int:
        """How many Envoys are connected to this replica."""
        return self._delivery.envoys()

    def app(self) -> web.Application:
        """The HTTP application."""
        app = web.Application(client_max_size=_MAX_REQUEST)
        for kind in Kind:
            app.router.add_post(f"/v3/discovery:{kind.value}", self._discover)
        app.router.add_get(STATE_PATH, self._serve_state)
        return app

    async def start(self, address: str = "0.0.0.0", port: int = XDS_PORT) -> int:
        """Listen, and return the port (0: any that is free)."""
        # Without cancellation a held request would outlive its Envoy.
        self._runner = web.AppRunner(
            self.app(), handler_cancellation=True, access_log=None, shutdown_timeout=1.0, keepalive_timeout=2 * HOLD
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port, backlog=_BACKLOG)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        log.info("xds.started", address=address, port=bound)
        return bound

    async def stop(self) -> None:
        """Let go of every request and stop listening. Envoys keep what they have."""
        self._closing = True
        self._wake(list(self._waiting))
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve_state(self, _: web.Request) -> web.Response:
        return web.json_response(self.state())

    async def _discover(self, request: web.Request) -> web.Response:
        if not self._synced or self._closing:
            raise web.HTTPServiceUnavailable(text="the operator's caches are not synced\n")
        discovery = _read(request.path.rpartition(":")[2], await request.json())
        self._wake(self._delivery.on_request(discovery))
        try:
            return await self._respond(discovery)
        finally:
            self._delivery.on_close(discovery)

    async def _respond(self, request: DiscoveryRequest) -> web.Response:
        until = time.monotonic() + self._hold * random.uniform(0.8, 1.0)
        event = asyncio.Event()
        self._waiting[request.topic].add(event)
        try:
            while not self._closing:
                event.clear()
                if response := self._delivery.respond(request):
                    log.debug("xds.responded", node=request.node, kind=request.kind.value, version=response.version)
                    return web.json_response(response.body())
                left = until - time.monotonic()
                if left <= 0:
                    return web.Response(status=304)
                await _wait(event, min(left, self._delivery.recheck_after(request)))
        finally:
            self._waiting[request.topic].discard(event)
            if not self._waiting[request.topic]:
                del self._waiting[request.topic]
        raise web.HTTPServiceUnavailable(text="the operator stops\n")

    def _wake(self, topics: Iterable[Topic]) -> None:
        for topic in topics:
            for event in self._waiting.get(topic, ()):
                event.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _read(kind: str, body: dict[str, Any]) -> DiscoveryRequest:
    """A DiscoveryRequest from its JSON. Envoy requests endpoints and routes one name at a time."""
    names = body.get("resource_names") or []
    found = Kind(kind)
    if found not in COLLECTIONS and len(names) != 1:
        raise web.HTTPBadRequest(text=f"one resource name is needed for {kind}, got {len(names)}\n")
    node = (body.get("node") or {}).get("id") or ""
    if not node:
        raise web.HTTPBadRequest(text="node.id is needed: start Envoy with --service-node\n")
    return DiscoveryRequest(node, found, "" if found in COLLECTIONS else names[0], body.get("version_info", ""))
