"""The pods behind Serin's own Services: the router's behind `serin-router`, the operator's replicas behind `serin-xds`.

Both Services carry the label serin.dev/model-deployment with an empty value, so that the one watch of EndpointSlices
shows their endpoints too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.endpoints import SERVICE_LABEL

ROUTER: Final = "serin-router"
XDS: Final = "serin-xds"
_INDEX: Final = "endpointslices-of-service"


@dataclass(frozen=True, slots=True)
class ServicePod:
    """One pod, ready or not. `serves`: also when it terminates and may serve those that it has."""

    name: str
    uid: str
    address: str
    serves: bool


class ServicePods:
    """Names and addresses of pods behind Services of one namespace."""

    def __init__(self, cache: ObjectCache, namespace: str) -> None:
        self._cache, self._namespace = cache, namespace
        cache.add_index(_INDEX, kinds.ENDPOINT_SLICE, _service)

    def ready(self, service: str) -> tuple[str, ...]:
        """Addresses of the ready pods, sorted."""
        found = set()
        for body in self._cache.by_index(_INDEX, (self._namespace, service)):
            for endpoint in body.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") in (None, True):
                    found.update(endpoint["addresses"][:1])
        return tuple(sorted(found))

    def serving(self, service: str) -> dict[str, bool]:
        """Every pod that is listed, by name, and whether it serves: also one that terminates may, for those it has.

        An endpoint that is no pod's goes by its address.
        """
        found: dict[str, bool] = {}
        for body in self._cache.by_index(_INDEX, (self._namespace, service)):
            for endpoint in body.get("endpoints") or ():
                serves = _serves(endpoint)
                name = (endpoint.get("targetRef") or {}).get("name") or endpoint["addresses"][0]
                found[name] = found.get(name, False) or serves
        return found

    def all(self, service: str) -> Iterator[ServicePod]:
        """Every pod, ready or not, until it is gone."""
        for body in self._cache.by_index(_INDEX, (self._namespace, service)):
            for endpoint in body.get("endpoints") or ():
                target = endpoint.get("targetRef") or {}
                if target.get("kind") == "Pod":
                    name, uid, address = target.get("name", ""), target.get("uid", ""), endpoint["addresses"][0]
                    yield ServicePod(name, uid, address, _serves(endpoint))

    def belongs(self, body: JsonObject, service: str) -> bool:
        """Whether an EndpointSlice is one of this Service."""
        return _service(body) == (self._namespace, service)


def _serves(endpoint: JsonObject) -> bool:
    conditions = endpoint.get("conditions") or {}
    return conditions.get("ready") in (None, True) or bool(conditions.get("serving"))


def _service(body: JsonObject) -> tuple[str, str] | None:
    service = (body["metadata"].get("labels") or {}).get(SERVICE_LABEL)
    return (body["metadata"]["namespace"], service) if service else None
