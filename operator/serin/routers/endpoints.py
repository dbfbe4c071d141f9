"""Pods behind Services, as EndpointSlices list them: what is read by every router that sends requests to pods."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from serin.api import names
from serin.api.json import JsonObject

SERVICE_LABEL: Final = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Address (IPv4 or IPv6) and port of one pod."""

    address: str
    port: int


@dataclass(slots=True)
class Pods:
    """Pods of one Service: those that are ready, and those that only finish what they have begun."""

    ready: set[Endpoint] = field(default_factory=set)
    leaving: set[Endpoint] = field(default_factory=set)

    def serving(self) -> tuple[Endpoint, ...]:
        """Ready pods; when there is none, pods that terminate but still serve, as kube-proxy does it."""
        return tuple(sorted(self.ready or self.leaving))


def pods_by_snapshot(slices: Iterable[JsonObject]) -> Mapping[str, Pods]:
    """The pods of one deployment, by snapshot.

    `slices`: all with its label, which Kubernetes copies from a Service to its slices; those of the clients' Service do
    not count.
    """
    found: dict[str, Pods] = {}
    for body in slices:
        labels = body["metadata"].get("labels") or {}
        service, snapshot = labels.get(SERVICE_LABEL), labels.get(names.LABEL_SNAPSHOT)
        if service is None or snapshot != service:
            continue
        pods = found.setdefault(service, Pods())
        port = _port(body.get("ports") or ())
        if port is not None:
            _sort_endpoints(body, port, pods)
    return found


def ready_addresses(slices: Iterable[JsonObject]) -> Mapping[str, frozenset[str]]:
    """Addresses of one deployment's ready pods, by snapshot. `slices`: as in `pods_by_snapshot`."""
    pods = pods_by_snapshot(slices)
    return {snapshot: frozenset(endpoint.address for endpoint in mine.ready) for snapshot, mine in pods.items()}


def _port(ports: Sequence[JsonObject]) -> int | None:
    named = [port["port"] for port in ports if port.get("name") == names.PORT_NAME]
    return named[0] if named else None


def _sort_endpoints(body: JsonObject, port: int, pods: Pods) -> None:
    """A pod that terminates is never ready, but may still serve. No condition means yes, as in Kubernetes' API."""
    for item in body.get("endpoints") or ():
        conditions = item.get("conditions") or {}
        if conditions.get("ready") in (None, True):
            pods.ready.update(Endpoint(address, port) for address in item["addresses"][:1])
        elif conditions.get("serving") and conditions.get("terminating"):
            pods.leaving.update(Endpoint(address, port) for address in item["addresses"][:1])
