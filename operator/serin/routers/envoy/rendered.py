"""A deployment's split rendered as Envoy's own resources. Pure: models in, JSON out."""

from collections.abc import Mapping
from dataclasses import dataclass

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.split import Split
from serin.routers.envoy.clusters import clusters, endpoints
from serin.routers.envoy.fallbacks import fallback_clusters, fallback_endpoints
from serin.routers.envoy.limits import Limits
from serin.routers.envoy.listeners import listener
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.routes import route_configuration

_DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Rendered:
    """Envoy's resources of one deployment. `name`: of its listener and of its routes; the maps are by cluster."""

    key: Key
    name: str
    split: Split
    listener: JsonObject
    routes: JsonObject
    clusters: Mapping[str, JsonObject]
    endpoints: Mapping[str, JsonObject]


def render(model: RoutedModel, address: str = "0.0.0.0", limits: Limits = _DEFAULT) -> Rendered:
    """Render one deployment; its listener binds to `address`."""
    return Rendered(
        key=model.key,
        name=f"{model.namespace}/{model.name}",
        split=model.split(),
        listener=listener(model, limits, address),
        routes=route_configuration(model, limits),
        clusters=clusters(model, limits) | fallback_clusters(model),
        endpoints=endpoints(model) | fallback_endpoints(model),
    )
