"""The router `envoy`, as the rest of Serin sees it: its parts put together, and what they say about a deployment."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import Gauge, Histogram

from serin.api.guard_review import KEY, VERDICT, verdict_key
from serin.api.json import JsonObject
from serin.api.kill_switch import FallbackService
from serin.api.names import Key, key_of
from serin.api.spec import ModelDeployment
from serin.api.split import NOWHERE, Split
from serin.api.state import State
from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.protocol import Kind
from serin.rollout.model import Route
from serin.routers.base import CounterReader, Lowered, RouterContext, Told
from serin.routers.envoy import extra_ports
from serin.routers.envoy.clients import ClientRoute, clients_port, direct_slice_name, kept_for_clients, slice_name
from serin.routers.envoy.guard_secret import GuardSecret
from serin.routers.envoy.guarding import NO_GUARD, NO_KEY
from serin.routers.envoy.limits import Limits
from serin.routers.envoy.live import LiveCounters
from serin.routers.envoy.pod_access import Denials, PodAccess
from serin.routers.envoy.ports import Ports, PortsExhausted
from serin.routers.envoy.reviewing import tell
from serin.routers.envoy.routed_model import port_of
from serin.routers.envoy.router_pods import RouterPods
from serin.routers.envoy.series import CLIENTS
from serin.routers.envoy.service_pods import ROUTER, ServicePods
from serin.routers.envoy.settings import CAPABILITIES, NAME, read_settings, with_defaults
from serin.routers.envoy.templates import templates
from serin.routers.envoy.tokens import Tokens
from serin.routers.envoy.xds.access import ANYBODY
from serin.routers.envoy.xds.server import XdsServer
from serin.routers.envoy.xds_feed import XdsFeed
from serin.routers.envoy.xds_peers import XdsPeers
from serin.routers.fallback import NoFallback, fallback_endpoint

log: Final = structlog.get_logger("serin.router")

_PROPAGATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# For how long a move waits for Envoy's word before that is told, and how often it is asked until then.
_PATIENCE_SECONDS = 10.0
# For how long Envoys wait, when this process starts, for the key that the guard's settings are signed with: it comes by
# one request, and without it they would be told by a key that no guard has, and a moment later by this one.
_KEY_SECONDS = 1.0
_POLL_SECONDS = 0.5
_WATCH_SECONDS = 2.0


class EnvoyRouter:
    """A shared Envoy with a listener of its own for every deployment."""

    name = NAME
    capabilities = CAPABILITIES
    request_template = "request-errors"
    client_series = CLIENTS

    def __init__(self, context: RouterContext) -> None:
        self._cache = context.cache
        self._port = int(str(context.options["xds_port"]))
        guard = int(str(context.options["guard_timeout"]))
        propagation = Histogram(
            "serin_route_propagation_seconds",
            "From a changed route to the last connected Envoy that has taken it.",
            buckets=_PROPAGATION_BUCKETS,
            registry=context.registry,
        )
        self._pods = ServicePods(context.cache, context.namespace)
        self.counters: CounterReader = LiveCounters(self._pods)

        def propagated(key: Key, seconds: float) -> None:
            propagation.observe(seconds)
            context.enqueue(key)  # something may have waited for that

        self._tokens = Tokens(context.signing_keys) if context.options["xds_authentication"] == "token" else None
        self._xds = XdsServer(
            access=PodAccess(context.cache, self._pods, self._tokens, context.namespace) if self._tokens else ANYBODY,
            propagated=propagated,
            denied=Denials(context.registry),
            listen_address=str(context.options["listen_address"]),
            limits=Limits(
                shielded_bytes=int(str(context.options["shielded_request_bytes"])),
                connections=int(str(context.options["deployment_connections"])),
                header_kilobytes=int(str(context.options["header_kilobytes"])),
                guard=guard,
            ),
            written=lambda: {"/".join(key): one.told() for key, one in self._feed.written().items()},
        )
        envoys = Gauge("serin_router_envoys", "Envoys that are connected to this replica.", registry=context.registry)
        envoys.set_function(self._xds.envoys)
        self._ports = Ports(context.cache)
        self._secret = GuardSecret(context.namespace, context.cluster, self._on_key) if guard > 0 else None
        self._feed = XdsFeed(context.cache, self._xds, context.enqueue, self._ports, self._guard_key)
        token_file = Path(str(context.options["xds_token_file"]))
        self._peers = XdsPeers(self._xds, self._pods, self._port, context.enqueue, token_file, self._feed.hear)
        self._router_pods = RouterPods(self._pods, time.monotonic)
        self._enqueue = context.enqueue
        unheard = Gauge(
            "serin_router_pods_unheard",
            "Router pods that serve and that no replica has heard for a while; 0 on a replica that does not decide.",
            registry=context.registry,
        )
        unheard.set_function(lambda: len(self._unheard))
        self._unheard: tuple[str, ...] = ()

    async def tell_verdict(self, deployment: Key, snapshot: str, verdict: str) -> Told:
        """Count what a person says, by a request to one pod; to another one when that was not reached."""
        body = self._cache.get(kinds.MODEL_DEPLOYMENT, *deployment)
        if body is None or self._secret is None or not self._secret.key:
            return Told.NOT_SENT
        try:
            port = port_of(read_state(body.get("status") or {}))
        except ValueError:
            port = None
        if port is None:
            return Told.NOT_SENT
        key = verdict_key(self._secret.key, str(body["metadata"]["uid"]), snapshot)
        headers = {KEY: key, VERDICT: verdict}
        for address in self._pods.ready(ROUTER):
            found = await tell(address, port, headers)
            if found is not Told.NOT_SENT:
                return found
        return Told.NOT_SENT

    def templates(self) -> Mapping[str, JsonObject]:
        """Built-in metric templates that read Envoy's series."""
        return templates()

    def observe(self, deployment: ModelDeployment, state: State) -> Route:
        """What Envoy serves for this deployment. Raises InvalidSpec."""
        key = deployment.key
        # What cannot be read is refused before anything is planned with it.
        read_settings(with_defaults(deployment.spec.router.settings))
        routers, at = self._pods.ready(ROUTER), clients_port(deployment, state)
        extra_ports.check(deployment.spec.service.extra_ports, at)
        try:
            port = self._ports.free_for(key)
        except PortsExhausted as full:
            return self._without_port(key, str(full), at, ready=bool(routers))
        clients = ClientRoute(deployment, at, port, routers, self._direct(deployment, state))
        found = (
            self._cache.get(kinds.SERVICE, *key),
            self._cache.get(kinds.ENDPOINT_SLICE, deployment.namespace, slice_name(deployment.name)),
            self._cache.get(kinds.ENDPOINT_SLICE, deployment.namespace, direct_slice_name(deployment.name)),
        )
        not_ours = clients.not_ours(*found)
        instances = self._instances(key)
        splits = list(instances.values())
        agreed = splits[0] if splits and all(split == splits[0] for split in splits) else None
        self._peers.expect(key, state.split, served=agreed == state.split)
        return Route(
            split=agreed or NOWHERE,
            instances=instances,
            unheard=_sentence(self._unheard),
            refused=self._peers.refused().get(key) or self._feed.problem(key),
            ready=bool(routers),
            lacks=self._lacks(deployment),
            not_ours=not_ours,
            repairs=() if not_ours else clients.repairs(*found),
            router=NAME,
            state={"port": port, **kept_for_clients(clients.port)},
            no_fallback=self._no_fallback(deployment),
            patience=_PATIENCE_SECONDS,
            poll=_POLL_SECONDS,
        )

    def _lacks(self, deployment: ModelDeployment) -> str:
        if not deployment.spec.guarded:
            return ""
        if self._secret is None:
            return NO_GUARD
        return NO_KEY.format(self._secret.problem) if self._secret.problem else ""

    def _guard_key(self) -> bytes:
        return self._secret.key if self._secret else b""

    def _on_key(self) -> None:
        self._feed.rekey()
        for one in self._cache.all(kinds.MODEL_DEPLOYMENT):
            if one["spec"].get("guard"):
                self._enqueue(key_of(one))

    def _direct(self, deployment: ModelDeployment, state: State) -> JsonObject | None:
        """What stands in the endpoints of the extra ports; None: there are none."""
        if not deployment.spec.service.extra_ports:
            return None
        namespace, stable = deployment.namespace, state.stable
        slices = self._cache.of_deployment(kinds.ENDPOINT_SLICE, namespace, deployment.name)
        snapshot = self._cache.get(kinds.MODEL_SNAPSHOT, namespace, stable) if stable else None
        return extra_ports.endpoints(deployment, stable, slices, snapshot)

    def _no_fallback(self, deployment: ModelDeployment) -> str:
        """Why the Service of `spec.fallback` cannot answer."""
        fallback = deployment.spec.fallback
        if not isinstance(fallback, FallbackService):
            return ""
        try:
            fallback_endpoint(fallback, self._cache.get(kinds.SERVICE, deployment.namespace, fallback.name))
        except NoFallback as why:
            return str(why)
        return ""

    def _without_port(self, key: Key, why: str, clients: int, *, ready: bool) -> Route:
        """No listener, so no clients; all else, a rollback above all, goes on. `clients`: their Service's port."""
        return Route(
            instances=self._instances(key),
            unheard=_sentence(self._unheard),
            ready=ready,
            full=why,
            router=NAME,
            state=kept_for_clients(clients),
        )

    def lower(self, key: Key, lowered: Lowered | None) -> None:
        """Serve what this status says for as long as the deployment is in that version; None: as the cluster says."""
        self._feed.lower(key, lowered)

    def concerns(self, kind: Kind, body: JsonObject) -> Iterable[Key]:
        """Every deployment when a router pod comes or goes: it is in the endpoints of all of them.

        Those that fall back on a Service, when that changes.
        """
        if kind == kinds.SERVICE:
            yield from self._feed.falling_back_on(body)
        if kind == kinds.ENDPOINT_SLICE and self._pods.belongs(body, ROUTER):
            for one in self._cache.all(kinds.MODEL_DEPLOYMENT):
                yield key_of(one)

    async def serve(self) -> None:
        """Answer Envoys, and ask the other replicas, until cancelled. Raises OSError when the port is taken."""
        await self._xds.start(None, self._port)
        try:
            async with asyncio.TaskGroup() as group:
                if self._tokens:
                    group.create_task(self._tokens.run(), name="signing keys")
                if self._secret:
                    group.create_task(self._secret.run(), name="guard key")
                    await self._secret.looked(_KEY_SECONDS)
                group.create_task(self._feed.run(), name="xds feed")
                group.create_task(self._peers.run(), name="xds peers")
        finally:
            await self._xds.stop()

    async def lead(self) -> None:
        """Keep count of the router's pods that nobody hears: when they change, there is something to say everywhere."""
        self._router_pods.begin()
        try:
            while True:
                self._router_pods.hear(self._peers.heard())
                self._peers.forget(lambda key: self._cache.get(kinds.MODEL_DEPLOYMENT, *key) is None)
                unheard = self._router_pods.unheard()
                if unheard != self._unheard:
                    (log.warning if unheard else log.info)("router.unheard", pods=unheard)
                    self._unheard = unheard
                    for one in self._cache.all(kinds.MODEL_DEPLOYMENT):
                        self._enqueue(key_of(one))
                await asyncio.sleep(_WATCH_SECONDS)
        finally:
            self._unheard = ()

    def _instances(self, key: Key) -> Mapping[str, Split | None]:
        """What each pod of the router serves of a deployment, None where that is not known.

        Of an Envoy that is none of them nobody knows what it is; it counts where no pods are known at all.
        """
        serves, counted = self._peers.serves(*key), self._router_pods.counted()
        return {name: serves.get(name) for name in sorted(counted)} if counted else serves


def _sentence(unheard: Sequence[str]) -> str:
    """What is to be said of pods that nobody hears; "" when there are none."""
    if not unheard:
        return ""
    if len(unheard) == 1:
        return f"router pod {unheard[0]} serves, and no replica of the operator hears it"
    return f"router pods {', '.join(unheard)} serve, and no replica of the operator hears them"
