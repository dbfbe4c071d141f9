"""Which model deployments a change concerns: the only place that knows why a look is worth it."""

from collections.abc import Iterable, Iterator

from serin.api.json import JsonObject
from serin.api.names import LABEL_MODEL_DEPLOYMENT, Key, key_of
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Kind
from serin.rollout.news import is_news
from serin.routers.base import Router


def affected(cache: ObjectCache, routers: Iterable[Router], kind: Kind, body: JsonObject) -> Iterator[Key]:
    """Keys of the deployments that must be looked at when `body` came, changed or went."""
    metadata = body["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    labels = metadata.get("labels") or {}
    owner = labels.get(LABEL_MODEL_DEPLOYMENT)
    if kind == kinds.MODEL_DEPLOYMENT:
        yield namespace, name
    elif kind == kinds.METRIC_TEMPLATE:
        yield from (key_of(one) for one in cache.all(kinds.MODEL_DEPLOYMENT) if _uses(one, namespace, name))
    elif owner:
        yield namespace, owner
    elif kind == kinds.SERVICE and cache.get(kinds.MODEL_DEPLOYMENT, namespace, name):
        yield namespace, name
    for router in routers:
        yield from router.concerns(kind, body)


def is_routine(kind: Kind, before: JsonObject | None, after: JsonObject | None) -> bool:
    """Whether nothing but numbers has changed in a status: the look that has found them is over."""
    if kind != kinds.MODEL_DEPLOYMENT or before is None or after is None:
        return False
    return _asked(before) == _asked(after) and not is_news(before.get("status") or {}, after.get("status") or {})


def _asked(body: JsonObject) -> tuple[JsonObject, JsonObject]:
    """What people have written of a ModelDeployment."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    return metadata, body["spec"]


def _uses(body: JsonObject, namespace: str, template: str) -> bool:
    metrics = body["spec"].get("metrics") or ()
    named = {(metric.get("template") or {}).get("name") for metric in metrics}
    return body["metadata"]["namespace"] == namespace and template in named
