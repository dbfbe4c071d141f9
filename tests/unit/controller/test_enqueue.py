"""Which change is worth a look at which deployment."""

import pytest

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Kind
from serin.controller.enqueue import affected, is_routine
from serin.routers import build_routers
from tests.unit.routers.context import router_context

ROUTERS = {"kubernetes.io/service-name": "serin-router", "serin.dev/model-deployment": ""}


def body(name: str, namespace: str = "shop", labels: dict[str, str] | None = None, **rest: object) -> JsonObject:
    metadata = {"namespace": namespace, "name": name, "uid": f"{namespace}/{name}", "labels": labels or {}}
    return {"metadata": metadata, "spec": {}, **rest}


@pytest.fixture
def cache() -> ObjectCache:
    cache = ObjectCache()
    for namespace, name, template in (
        ("shop", "fraud", "latency"),
        ("shop", "churn", "errors"),
        ("lab", "spam", "latency"),
    ):
        spec = {"metrics": [{"name": "m", "template": {"name": template}}]}
        cache.put(kinds.MODEL_DEPLOYMENT, body(name, namespace, spec=spec))
    return cache


OWNED = {"serin.dev/model-deployment": "fraud"}
OF_SNAPSHOT = {**OWNED, "serin.dev/snapshot": "fraud-x"}


@pytest.mark.parametrize(
    ("kind", "changed", "expected"),
    [
        (kinds.MODEL_DEPLOYMENT, body("fraud"), {("shop", "fraud")}),
        (kinds.POD, body("fraud-x-1", labels=OF_SNAPSHOT), {("shop", "fraud")}),
        (kinds.DEPLOYMENT, body("fraud-x", labels=OF_SNAPSHOT), {("shop", "fraud")}),
        (kinds.MODEL_SNAPSHOT, body("fraud-x", labels=OWNED), {("shop", "fraud")}),
        (kinds.METRIC_TEMPLATE, body("latency"), {("shop", "fraud")}),
        (kinds.METRIC_TEMPLATE, body("latency", "elsewhere"), set()),
        (kinds.SERVICE, body("fraud", labels=OWNED), {("shop", "fraud")}),
        (kinds.SERVICE, body("fraud"), {("shop", "fraud")}),
        (kinds.SERVICE, body("something-else"), set()),
        (kinds.ENDPOINT_SLICE, body("fraud-router", labels=OWNED), {("shop", "fraud")}),
        (kinds.ENDPOINT_SLICE, body("fraud-x-abc", labels=OF_SNAPSHOT), {("shop", "fraud")}),
        (
            kinds.ENDPOINT_SLICE,
            body("serin-router-abc", "serin-system", ROUTERS),
            {("shop", "fraud"), ("shop", "churn"), ("lab", "spam")},
        ),
        (kinds.ENDPOINT_SLICE, body("serin-router-abc", "shop", ROUTERS), set()),
    ],
)
def test_a_change_concerns(cache: ObjectCache, kind: Kind, changed: JsonObject, expected: set[tuple[str, str]]) -> None:
    context = router_context(cache)
    routers = build_routers(context).values()
    assert set(affected(cache, routers, kind, changed)) == expected


def test_numbers_in_a_status_are_worth_no_look() -> None:
    """The look that has found them is over, and has said when the next one is due."""
    before = body("fraud", status={"reason": "Baking", "metrics": [{"requests": 7}]})
    more = body("fraud", status={"reason": "Baking", "metrics": [{"requests": 9}]})
    more["metadata"] = {**more["metadata"], "resourceVersion": "2"}
    assert is_routine(kinds.MODEL_DEPLOYMENT, before, more)
    other = {**more, "status": {"reason": "Promoting", "metrics": [{"requests": 9}]}}
    annotated = {**more, "metadata": {**more["metadata"], "annotations": {"serin.dev/abort": "yes"}}}
    respecified = {**more, "spec": {"replicas": 3}}
    for after in (other, annotated, respecified, None):
        assert not is_routine(kinds.MODEL_DEPLOYMENT, before, after)
    assert not is_routine(kinds.MODEL_DEPLOYMENT, None, before)
    assert not is_routine(kinds.POD, before, more)
