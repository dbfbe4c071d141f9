"""The router `envoy`, as the rest of Serin sees it: its parts put together, and what they say about a deployment."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import Gauge, Histogram

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.spec import ModelDeployment
from serin.api.split import NOWHERE
from serin.api.state import State
from serin.cluster import kinds
from serin.cluster.protocol import Kind
from serin.rollout.model import Route
from serin.routers.base import Capabilities, RouterContext
from serin.routers.envoy.clients import ClientRoute, slice_name
from serin.routers.envoy.limits import Limits
from serin.routers.envoy.pod_access import Denials, PodAccess
from serin.routers.envoy.ports import Ports
from serin.routers.envoy.routed_model import port_of
from serin.routers.envoy.service_pods import ROUTER, ServicePods
from serin.routers.envoy.settings import NAME, read_settings
from serin.routers.envoy.templates import templates
from serin.routers.envoy.tokens import Tokens
from serin.routers.envoy.xds.access import ANYBODY
from serin.routers.envoy.xds.server import XdsServer
from serin.routers.envoy.xds_feed import XdsFeed
from serin.routers.envoy.xds_peers import XdsPeers

_PROPAGATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# For how long a move waits for Envoy's word, and how often it is asked. Not longer: an Envoy that asks a replica of the
# operator that nobody can reach is not seen from here.
_PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.5


class EnvoyRouter:
    """A shared Envoy with a listener of its own for every deployment."""

    name = NAME
    capabilities = Capabilities(weights=True, shield=True)
    request_template = "request-errors"

    def __init__(self, context: RouterContext) -> None:
        self._cache = context.cache
        self._port = int(str(context.options["xds_port"]))
        propagation = Histogram(
            "serin_route_propagation_seconds",
            "From a changed route to the last connected Envoy that has taken it.",
            buckets=_PROPAGATION_BUCKETS,
            registry=context.registry,
        )
        self._pods = ServicePods(context.cache, context.namespace)
        self._tokens = Tokens(context.signing_keys) if context.options["xds_authentication"] == "token" else None
        self._xds = XdsServer(
            access=PodAccess(context.cache, self._pods, self._tokens, context.namespace) if self._tokens else ANYBODY,
            propagated=lambda _key, seconds: propagation.observe(seconds),
            denied=Denials(context.registry),
            limits=Limits(
                shielded_bytes=int(str(context.options["shielded_request_bytes"])),
                connections=int(str(context.options["deployment_connections"])),
            ),
        )
        envoys = Gauge("serin_router_envoys", "Envoys that are connected to this replica.", registry=context.registry)
        envoys.set_function(self._xds.envoys)
        self._feed = XdsFeed(context.cache, self._xds, context.enqueue)
        token_file = Path(str(context.options["xds_token_file"]))
        self._peers = XdsPeers(self._xds, self._pods, self._port, context.enqueue, token_file)
        self._ports = Ports(context.cache)

    def templates(self) -> Mapping[str, JsonObject]:
        """Built-in metric templates that read Envoy's series."""
        return templates()

    def observe(self, deployment: ModelDeployment, state: State) -> Route:
        """What Envoy serves for this deployment. Raises InvalidSpec."""
        key = deployment.key
        protocol, routers = read_settings(deployment.spec.router.settings).protocol, self._pods.ready(ROUTER)
        port = self._listener_port(key, state)
        clients = ClientRoute(deployment, protocol, port, routers)
        service = self._cache.get(kinds.SERVICE, *key)
        endpoints = self._cache.get(kinds.ENDPOINT_SLICE, deployment.namespace, slice_name(deployment.name))
        not_ours = clients.not_ours(service, endpoints)
        taken = self._peers.observe(*key)
        if taken is None:
            # No replica has an Envoy that it knows of (yet): then what was decided is the best that is known.
            taken = NOWHERE if self._peers.envoys() else state.split
        return Route(
            split=taken,
            refused=self._peers.refused().get(key) or self._feed.problem(key),
            ready=bool(routers),
            not_ours=not_ours,
            repairs=() if not_ours else clients.repairs(service, endpoints),
            router=NAME,
            state={"port": port},
            patience=_PATIENCE_SECONDS,
            poll=_POLL_SECONDS,
        )

    def concerns(self, kind: Kind, body: JsonObject) -> Iterable[Key]:
        """Every deployment when a router pod comes or goes: it is in the endpoints of all of them."""
        if kind == kinds.ENDPOINT_SLICE and self._pods.belongs(body, ROUTER):
            for one in self._cache.all(kinds.MODEL_DEPLOYMENT):
                yield one["metadata"]["namespace"], one["metadata"]["name"]

    async def serve(self) -> None:
        """Answer Envoys, until cancelled. Raises OSError when the port is taken."""
        await self._xds.start(port=self._port)
        try:
            async with asyncio.TaskGroup() as group:
                if self._tokens:
                    group.create_task(self._tokens.run(), name="signing keys")
                group.create_task(self._feed.run(), name="xds feed")
        finally:
            await self._xds.stop()

    async def lead(self) -> None:
        """Ask the other replicas about their Envoys, until cancelled."""
        await self._peers.run()

    def _listener_port(self, key: Key, state: State) -> int:
        try:
            port = port_of(state)
        except ValueError:
            port = None
        return self._ports.free_for(key) if port is None else port
