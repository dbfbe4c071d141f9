"""The words of the xDS protocol that the server speaks, as values."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from serin.api.json import JsonObject


class Kind(StrEnum):
    """What an Envoy requests: the last part of the path `/v3/discovery:...`."""

    CLUSTERS = "clusters"
    ENDPOINTS = "endpoints"
    LISTENERS = "listeners"
    ROUTES = "routes"


COLLECTIONS: Final = frozenset({Kind.CLUSTERS, Kind.LISTENERS})  # requested as a whole, not by name

_TYPES: Final = {
    Kind.CLUSTERS: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    Kind.ENDPOINTS: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    Kind.LISTENERS: "type.googleapis.com/envoy.config.listener.v3.Listener",
    Kind.ROUTES: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
}

Topic = tuple[Kind, str]  # what a held request waits for; the name is empty for collections


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource with the hash of its content."""

    name: str
    body: JsonObject
    digest: str


def resource(name: str, body: JsonObject) -> Resource:
    """A resource from its JSON."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Resource(name, body, hashlib.sha256(text.encode()).hexdigest()[:16])


@dataclass(frozen=True, slots=True)
class DiscoveryRequest:
    """A request of one Envoy: it has `version` ("" when nothing yet) and waits for any other.

    `name`: empty for collections.
    """

    node: str
    kind: Kind
    name: str
    version: str

    @property
    def topic(self) -> Topic:
        """What a change of the response is announced under."""
        return self.kind, self.name


@dataclass(frozen=True, slots=True)
class DiscoveryResponse:
    """Resources and the version of them all: a hash, so that every replica of the operator gives the same one."""

    kind: Kind
    version: str
    resources: tuple[Resource, ...]

    def body(self) -> JsonObject:
        """The DiscoveryResponse."""
        return {
            "version_info": self.version,
            "type_url": _TYPES[self.kind],
            "resources": [item.body for item in self.resources],
        }


def response_of(kind: Kind, resources: Iterable[Resource]) -> DiscoveryResponse:
    """A response with these resources, in an order that does not depend on where they come from."""
    ordered = tuple(sorted(resources, key=lambda item: item.name))
    text = ",".join(f"{item.name}={item.digest}" for item in ordered)
    return DiscoveryResponse(kind, hashlib.sha256(text.encode()).hexdigest()[:16], ordered)
