"""The cache: never an older object over a newer one, no ghosts, missed deletions found, synced only when it is."""

import asyncio

from serin.api.json import JsonObject
from serin.api.names import LABEL_MODEL_DEPLOYMENT
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Kind

Change = tuple[str, JsonObject | None, JsonObject | None]


def pod(
    name: str, uid: str = "", version: int = 1, deployment: str = "fraud", created: str = "2026-01-01"
) -> JsonObject:
    labels = {LABEL_MODEL_DEPLOYMENT: deployment} if deployment else {}
    return {
        "metadata": {
            "namespace": "shop",
            "name": name,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": created,
            "labels": labels,
            "managedFields": [{"manager": "kubelet"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"},
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "model"}]},
        "status": {"phase": "Running"},
    }


def listed(cache: ObjectCache, kind: Kind, *uids: str, version: str = "100", namespace: str | None = None) -> int:
    return cache.finish_listing(cache.begin_listing(kind, namespace), uids, version)


def test_objects_are_found_by_name_by_deployment_and_all_together() -> None:
    cache = ObjectCache()
    cache.put(kinds.POD, pod("a"))
    cache.put(kinds.POD, pod("b", deployment="churn"))
    found = cache.get(kinds.POD, "shop", "a")
    assert found is not None
    assert cache.of_deployment(kinds.POD, "shop", "fraud") == (found,)
    assert cache.of_deployment(kinds.POD, "other", "fraud") == ()
    assert len(cache.all(kinds.POD)) == cache.count(kinds.POD) == 2
    assert cache.count(kinds.SERVICE) == 0


def test_what_nobody_reads_is_dropped_and_the_kind_is_filled_in() -> None:
    cache = ObjectCache()
    cache.put(kinds.POD, pod("a"))
    found = cache.get(kinds.POD, "shop", "a")
    assert found is not None
    assert "managedFields" not in found["metadata"]
    assert found["metadata"]["annotations"] == {"kept": "yes"}
    assert found["spec"] == {"nodeName": "n1"}
    assert (found["apiVersion"], found["kind"]) == ("v1", "Pod")


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = ObjectCache()
    cache.put(kinds.POD, pod("a", version=9))
    cache.put(kinds.POD, pod("a", version=10))
    cache.put(kinds.POD, pod("a", version=9, deployment="churn"))
    found = cache.get(kinds.POD, "shop", "a")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "10"
    assert cache.of_deployment(kinds.POD, "shop", "churn") == ()


def test_a_changed_label_moves_the_object_to_the_other_deployment() -> None:
    cache = ObjectCache()
    cache.put(kinds.POD, pod("a"))
    cache.put(kinds.POD, pod("a", version=2, deployment="churn"))
    assert cache.of_deployment(kinds.POD, "shop", "fraud") == ()
    assert len(cache.of_deployment(kinds.POD, "shop", "churn")) == 1


def test_the_late_end_of_an_earlier_object_does_not_touch_its_successor() -> None:
    cache = ObjectCache()
    first, second = pod("a", uid="one", created="2026-01-01"), pod("a", uid="two", version=5, created="2026-01-02")
    cache.put(kinds.POD, first)
    cache.put(kinds.POD, second)
    cache.put(kinds.POD, {**first, "metadata": {**first["metadata"], "resourceVersion": "4"}})
    cache.drop(kinds.POD, first)
    found = cache.get(kinds.POD, "shop", "a")
    assert found is not None
    assert found["metadata"]["uid"] == "two"
    assert len(cache.of_deployment(kinds.POD, "shop", "fraud")) == 1


def test_an_event_older_than_the_deletion_is_a_ghost_and_a_newer_one_is_the_object_back_in_the_watch() -> None:
    cache = ObjectCache()
    cache.put(kinds.POD, pod("a", version=5))
    cache.drop(kinds.POD, pod("a", version=7))
    cache.put(kinds.POD, pod("a", version=6))
    assert cache.get(kinds.POD, "shop", "a") is None
    cache.put(kinds.POD, pod("a", version=8))
    assert cache.get(kinds.POD, "shop", "a") is not None


def test_a_list_removes_what_was_known_before_it_began_and_is_not_in_it() -> None:
    cache, changes = ObjectCache(), list[Change]()
    for name in ("kept", "deleted"):
        cache.put(kinds.POD, pod(name))
    cache.put(kinds.SERVICE, pod("service"))
    cache.listen(lambda kind, before, after: changes.append((kind.name, before, after)))
    listing = cache.begin_listing(kinds.POD, None)
    cache.put(kinds.POD, pod("born-meanwhile", version=101))
    changes.clear()
    assert cache.finish_listing(listing, ["uid-kept"], "100") == 1
    assert {one["metadata"]["name"] for one in cache.all(kinds.POD)} == {"kept", "born-meanwhile"}
    assert cache.count(kinds.SERVICE) == 1
    [(kind, before, after)] = changes
    assert (kind, after) == ("Pod", None)
    assert before is not None
    assert before["metadata"]["name"] == "deleted"
    cache.put(kinds.POD, pod("deleted", version=99))
    assert cache.get(kinds.POD, "shop", "deleted") is None


def test_a_list_of_one_namespace_says_nothing_about_others() -> None:
    cache = ObjectCache()
    cache.put(kinds.POD, pod("a"))
    assert listed(cache, kinds.POD, namespace="elsewhere") == 0
    assert listed(cache, kinds.POD, namespace="shop") == 1


def test_synced_means_every_list_has_come_and_every_object_in_it() -> None:
    cache = ObjectCache([(kinds.POD, None), (kinds.SERVICE, None)])
    assert not cache.synced()
    assert cache.missing() == "pods not listed, services not listed"
    listed(cache, kinds.SERVICE)
    listed(cache, kinds.POD, "uid-a", "uid-b", "uid-c")
    assert cache.missing() == "3 pods not seen"
    cache.put(kinds.POD, pod("a"))
    cache.put(kinds.POD, pod("b"))
    assert not cache.synced()
    cache.drop(kinds.POD, pod("c"))
    assert cache.synced()
    assert cache.missing() == ""
    listed(cache, kinds.POD, "uid-a", "uid-new")
    assert cache.synced(), "a list that refreshes makes no replica unready"


async def test_waiting_ends_when_the_last_object_arrives() -> None:
    cache = ObjectCache([(kinds.POD, None)])
    waiting = asyncio.create_task(cache.wait_until_synced())
    listed(cache, kinds.POD, "uid-a")
    await asyncio.sleep(0.01)
    assert not waiting.done()
    cache.put(kinds.POD, pod("a"))
    await asyncio.wait_for(waiting, 30)
