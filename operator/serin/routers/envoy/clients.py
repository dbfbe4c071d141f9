"""The Service that clients use, and its endpoints: the router's pods at the deployment's own listener port.

The Service has no selector, because the router's pods live in another namespace; Serin keeps its EndpointSlice. Each
deployment has a port of its own on the router, so the Host header that a client happens to send decides nothing.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from serin.api import names
from serin.api.json import JsonObject
from serin.api.spec import ModelDeployment, Protocol
from serin.routers.envoy.routed_model import SERVICE_LABEL

_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


@dataclass(frozen=True, slots=True)
class ClientRoute:
    """What leads clients to the router: `listener` is the router's port, `routers` the addresses of its ready pods."""

    deployment: ModelDeployment
    listener: int
    routers: tuple[str, ...]

    def service(self) -> JsonObject:
        """The clients' Service, at the port that the model server has too."""
        port: JsonObject = {"name": names.PORT_NAME, "port": self.deployment.spec.port, "protocol": "TCP"}
        if self.deployment.spec.router.protocol is Protocol.HTTP2:
            port["appProtocol"] = "kubernetes.io/h2c"
        metadata = self._metadata(self.deployment.name, {})
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [port]}}

    def endpoint_slice(self) -> JsonObject:
        """The Service's endpoints."""
        labels = {SERVICE_LABEL: self.deployment.name, _MANAGED_BY: names.GROUP}
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": self._metadata(slice_name(self.deployment.name), labels),
            "addressType": f"IPv{_family(self.routers)}",
            "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in sorted(self.routers)],
            "ports": [{"name": names.PORT_NAME, "port": self.listener, "protocol": "TCP"}],
        }

    def is_published(self, service: JsonObject | None, endpoints: JsonObject | None) -> bool:
        """Whether the objects in the cluster (None: missing) lead where they should.

        With no router pod ready, the endpoints of before are better than none, so they stay.
        """
        if service is None or endpoints is None:
            return False
        wanted = self.endpoint_slice()
        found = sorted(address for one in endpoints.get("endpoints") or [] for address in one["addresses"])
        same_ports = _ports(endpoints.get("ports")) == _ports(wanted["ports"])
        same_service = _ports(service["spec"].get("ports")) == _ports(self.service()["spec"]["ports"])
        return same_service and same_ports and (not self.routers or found == sorted(self.routers))

    def not_ours(self, service: JsonObject | None) -> str | None:
        """A sentence when a Service of this name exists that belongs to somebody else; it is left alone."""
        if service is None:
            return None
        owners = service["metadata"].get("ownerReferences") or []
        if any(owner["uid"] == self.deployment.uid for owner in owners):
            return None
        return (
            f"a Service named {self.deployment.name} exists already and is not Serin's: delete it, "
            "or give the ModelDeployment another name"
        )

    def _metadata(self, name: str, labels: dict[str, str]) -> JsonObject:
        owner = self.deployment
        return {
            "name": name,
            "namespace": owner.namespace,
            "labels": {names.LABEL_MODEL_DEPLOYMENT: owner.name, **labels},
            "ownerReferences": [names.owner_reference(owner.name, owner.uid)],
        }


def slice_name(deployment: str) -> str:
    """Name of the EndpointSlice behind a deployment's Service."""
    return f"{deployment}-router"


def _family(addresses: Sequence[str]) -> int:
    return ipaddress.ip_address(addresses[0]).version if addresses else 4


def _ports(ports: Sequence[JsonObject] | None) -> list[tuple[str, int, str]]:
    return sorted((one.get("name", ""), one["port"], one.get("appProtocol", "")) for one in ports or [])
