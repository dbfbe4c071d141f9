"""The Service that clients use, and its endpoints: the router's pods at the deployment's own listener port.

The port that clients use is the deployment's own: a version that listens elsewhere changes nothing for them. Left out
of the spec it is the port that the first version listened on, and stays that; the status keeps it.

The Service has no selector, because the router's pods live in another namespace; Serin keeps its EndpointSlice. Each
deployment has a port of its own on the router, so the Host header that a client happens to send decides nothing.

Others may add to both objects: ports, labels, annotations, fields of Serin's own port. That is theirs, and no reason to
write. What is compared is what Serin sets, and by the hash in an annotation that what it sets is what it set last: a
field that it no longer sets would otherwise stay.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from serin.api import names
from serin.api.json import JsonObject
from serin.api.spec import ModelDeployment
from serin.api.state import State
from serin.cluster.owned import covers
from serin.routers.endpoints import SERVICE_LABEL
from serin.routers.envoy.extra_ports import service_ports
from serin.routers.envoy.settings import NAME

_KEPT_PORT: Final = "servicePort"  # under status.router.envoy
_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
# Of an EndpointSlice. Each is one value to the API server: whoever adds an item has replaced Serin's list.
_WHOLE_LISTS: Final = ("endpoints", "ports")


@dataclass(frozen=True, slots=True)
class ClientRoute:
    """What leads clients to the router.

    `port`: the clients' port, `listener`: the router's, `routers`: the addresses of its ready pods. `direct`: what
    stands in the endpoints of the extra ports (None: there are none).
    """

    deployment: ModelDeployment
    port: int
    listener: int
    routers: tuple[str, ...]
    direct: JsonObject | None = None

    def service(self) -> JsonObject:
        """The clients' Service."""
        wanted = self.deployment.spec.service
        port: JsonObject = {"name": names.PORT_NAME, "port": self.port, "protocol": "TCP"}
        if wanted.app_protocol:
            port["appProtocol"] = wanted.app_protocol
        ports = [port, *service_ports(wanted.extra_ports)]
        spec: JsonObject = {"ports": ports} | ({"type": wanted.type} if wanted.type else {})
        metadata = self._metadata(self.deployment.name, {}) | {"annotations": dict(wanted.annotations)}
        return _stamped({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})

    def endpoint_slice(self) -> JsonObject:
        """The Service's endpoints."""
        return self._slice(slice_name(self.deployment.name)) | {
            "addressType": f"IPv{_family(self.routers)}",
            "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in sorted(self.routers)],
            "ports": [{"name": names.PORT_NAME, "port": self.listener, "protocol": "TCP"}],
        }

    def direct_slice(self, found: JsonObject | None = None) -> JsonObject | None:
        """Endpoints of the extra ports (None: neither wanted nor there). One that is not wanted any more is emptied."""
        if self.direct is None and found is None:
            return None
        wanted = {"endpoints": [], "ports": []} if self.direct is None else dict(self.direct)
        if found is not None and not wanted["endpoints"]:
            wanted["addressType"] = found["addressType"]  # which cannot be changed
        return self._slice(direct_slice_name(self.deployment.name)) | wanted

    def repairs(
        self, service: JsonObject | None, endpoints: JsonObject | None, direct: JsonObject | None = None
    ) -> tuple[JsonObject, ...]:
        """What has to be applied to these objects as they are in the cluster (None: missing)."""
        pairs = (
            (self.service(), service),
            (self._endpoint_slice_after(endpoints), endpoints),
            (self.direct_slice(direct), direct),
        )
        return tuple(body for body, found in pairs if body is not None and not _has(found, body))

    def not_ours(
        self, service: JsonObject | None, endpoints: JsonObject | None, direct: JsonObject | None = None
    ) -> str | None:
        """A sentence when an object of this name exists that belongs to somebody else; it is left alone."""
        for kind, body in (("a Service", service), ("an EndpointSlice", endpoints), ("an EndpointSlice", direct)):
            if body is not None and names.controller_uid(body) != self.deployment.uid:
                return (
                    f"{kind} named {body['metadata']['name']} exists already and is not Serin's: delete it, "
                    "or give the ModelDeployment another name"
                )
        return None

    def _slice(self, name: str) -> JsonObject:
        labels = {SERVICE_LABEL: self.deployment.name, _MANAGED_BY: names.GROUP}
        metadata = self._metadata(name, labels)
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}

    def _endpoint_slice_after(self, found: JsonObject | None) -> JsonObject:
        """With no router pod ready, the endpoints of before are better than none, so they stay."""
        wanted = self.endpoint_slice()
        if found is None or self.routers:
            return wanted
        return wanted | {"addressType": found["addressType"], "endpoints": found.get("endpoints") or []}

    def _metadata(self, name: str, labels: dict[str, str]) -> JsonObject:
        owner = self.deployment
        return {
            "name": name,
            "namespace": owner.namespace,
            "labels": {names.LABEL_MODEL_DEPLOYMENT: owner.name, **labels},
            "ownerReferences": [names.owner_reference(owner.name, owner.uid)],
        }


def clients_port(deployment: ModelDeployment, state: State) -> int:
    """The port of the clients' Service: the user's, or the one that it has, or the first version's."""
    kept = (state.router.get(NAME) or {}).get(_KEPT_PORT)
    known = kept if type(kept) is int and 0 < kept < 65536 else None
    return deployment.spec.service.port or known or deployment.spec.port


def kept_for_clients(port: int) -> JsonObject:
    """What the status keeps of it."""
    return {_KEPT_PORT: port}


def slice_name(deployment: str) -> str:
    """Name of the EndpointSlice behind a deployment's Service."""
    return f"{deployment}-router"


def direct_slice_name(deployment: str) -> str:
    """Name of the EndpointSlice behind its extra ports."""
    return f"{deployment}-direct"


def _family(addresses: Sequence[str]) -> int:
    return ipaddress.ip_address(addresses[0]).version if addresses else 4


def _stamped(body: JsonObject) -> JsonObject:
    """The body with the hash of what Serin sets in it."""
    metadata, stamp = body["metadata"], {names.ANNOTATION_APPLIED_HASH: names.content_hash(body)}
    return body | {"metadata": {**metadata, "annotations": {**metadata["annotations"], **stamp}}}


def _has(found: JsonObject | None, wanted: JsonObject) -> bool:
    """Whether the object in the cluster has everything that Serin sets."""
    if found is None or not covers(found, wanted):
        return False
    return all(len(found.get(key) or ()) == len(wanted[key]) for key in _WHOLE_LISTS if key in wanted)
