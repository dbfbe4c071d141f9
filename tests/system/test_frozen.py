"""What the caches of the stories hold refuses to change: a look that tries fails, and its story with it."""

import copy
import json

import pytest

from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from tests.system.frozen import Changed, unchangeable

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "fraud", "namespace": "shop", "uid": "1", "resourceVersion": "1", "labels": {"a": "b"}},
    "spec": {"ports": [{"port": 80}]},
}


def test_what_a_cache_holds_refuses_to_change_and_reads_as_before() -> None:
    cache = ObjectCache()
    with unchangeable():
        cache.put(kinds.SERVICE, copy.deepcopy(SERVICE))
    [held] = cache.all(kinds.SERVICE)
    assert json.dumps(held, sort_keys=True) == json.dumps(SERVICE, sort_keys=True)
    for change in (
        lambda: held.update(status={}),
        lambda: held["metadata"]["labels"].setdefault("c", "d"),
        lambda: held["spec"]["ports"].append({}),
        lambda: held["spec"]["ports"][0].pop("port"),
    ):
        with pytest.raises(Changed):
            change()
    own = copy.deepcopy(held)
    own["spec"]["ports"].append({"port": 81})
    assert held == SERVICE
