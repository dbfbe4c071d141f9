"""Which model deployments a change concerns: the only place that knows why a look is worth it."""

from collections.abc import Iterator

from serin.api.json import JsonObject
from serin.api.names import LABEL_MODEL_DEPLOYMENT
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Kind
from serin.routers.envoy.router import is_routers

Key = tuple[str, str]


def affected(cache: ObjectCache, own_namespace: str, kind: Kind, body: JsonObject) -> Iterator[Key]:
    """Keys of the deployments that must be looked at when `body` came, changed or went."""
    metadata = body["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    labels = metadata.get("labels") or {}
    owner = labels.get(LABEL_MODEL_DEPLOYMENT)
    if kind == kinds.MODEL_DEPLOYMENT:
        yield namespace, name
    elif kind == kinds.METRIC_TEMPLATE:
        yield from (_key(one) for one in cache.all(kinds.MODEL_DEPLOYMENT) if _uses(one, namespace, name))
    elif kind == kinds.ENDPOINT_SLICE and is_routers(body, own_namespace):
        yield from (_key(one) for one in cache.all(kinds.MODEL_DEPLOYMENT))
    elif owner:
        yield namespace, owner
    elif kind == kinds.SERVICE and cache.get(kinds.MODEL_DEPLOYMENT, namespace, name):
        yield namespace, name


def _key(body: JsonObject) -> Key:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _uses(body: JsonObject, namespace: str, template: str) -> bool:
    metrics = body["spec"].get("metrics") or ()
    named = {(metric.get("template") or {}).get("name") for metric in metrics}
    return body["metadata"]["namespace"] == namespace and template in named
