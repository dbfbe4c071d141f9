"""What the router says, as the planner wants to know it, and the objects that lead clients to it.

The router's pods are the endpoints of the Service `serin-router` in Serin's own namespace, the operator's replicas
those of `serin-xds`; both carry the label serin.dev/model-deployment with an empty value, so that the one watch of
EndpointSlices shows them too.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from serin.api.json import JsonObject
from serin.api.spec import ModelDeployment
from serin.api.split import NOWHERE, Split
from serin.api.state import State
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.rollout.model import Route
from serin.routers.envoy.clients import ClientRoute, slice_name
from serin.routers.envoy.ports import Ports
from serin.routers.envoy.routed_model import SERVICE_LABEL

NAME: Final = "envoy"
ROUTER: Final = "serin-router"


class Envoys(Protocol):
    """What the connected Envoys have taken and refused; controller.replicas.XdsPeers is it."""

    def observe(self, namespace: str, name: str) -> Split | None:
        """The split that every connected Envoy has taken; None when there is none, or they do not agree (yet)."""

    def envoys(self) -> int:
        """How many Envoys are connected."""

    def refused(self) -> Mapping[tuple[str, str], str]:
        """Envoy's words, per deployment whose configuration it refuses."""


class EnvoyRoutes:
    """The router `envoy`, as the cache shows it. `namespace`: Serin's own."""

    def __init__(self, cache: ObjectCache, namespace: str, envoys: Envoys, ports: Ports) -> None:
        self._cache, self._namespace, self._envoys, self._ports = cache, namespace, envoys, ports

    def observe(self, deployment: ModelDeployment, state: State) -> Route:
        """What the router serves for this deployment."""
        routers = self.routers()
        known = (state.router.get(NAME) or {}).get("port")
        port = int(known) if known else self._ports.free_for(deployment.namespace, deployment.name)
        route = ClientRoute(deployment, port, routers)
        service = self._cache.get(kinds.SERVICE, deployment.namespace, deployment.name)
        endpoints = self._cache.get(kinds.ENDPOINT_SLICE, deployment.namespace, slice_name(deployment.name))
        taken = self._envoys.observe(deployment.namespace, deployment.name)
        if taken is None:
            # No replica has an Envoy that it knows of (yet): then what was decided is the best that is known.
            taken = NOWHERE if self._envoys.envoys() else state.split
        published = route.is_published(service, endpoints)
        return Route(
            split=taken,
            refused=self._envoys.refused().get((deployment.namespace, deployment.name)),
            ready=bool(routers),
            not_ours=route.not_ours(service),
            repairs=() if published or route.not_ours(service) else (route.service(), route.endpoint_slice()),
            router=NAME,
            state={"port": port},
        )

    def routers(self) -> tuple[str, ...]:
        """Addresses of the router's ready pods, sorted."""
        return endpoints_of(self._cache, self._namespace, ROUTER)


def endpoints_of(cache: ObjectCache, namespace: str, service: str) -> tuple[str, ...]:
    """Addresses of the ready pods behind one of Serin's own Services, sorted."""
    found = set()
    for body in cache.all(kinds.ENDPOINT_SLICE):
        if _belongs(body, namespace, service):
            for endpoint in body.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") in (None, True):
                    found.update(endpoint["addresses"][:1])
    return tuple(sorted(found))


def is_routers(body: JsonObject, namespace: str) -> bool:
    """Whether an EndpointSlice is one of the router's own Service."""
    return _belongs(body, namespace, ROUTER)


def _belongs(body: JsonObject, namespace: str, service: str) -> bool:
    labels = body["metadata"].get("labels") or {}
    return body["metadata"]["namespace"] == namespace and labels.get(SERVICE_LABEL) == service
