"""The cache: never an older object over a newer one, missed deletions found, indexes kept, synced only when it is."""

import asyncio
import json
from collections.abc import Callable, Hashable

import pytest

from serin.api.json import JsonObject
from serin.api.names import LABEL_MODEL_DEPLOYMENT
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Kind

Change = tuple[str, JsonObject | None, JsonObject | None]


def pod(name: str, uid: str = "", version: int = 1, deployment: str = "fraud", node: str = "n1") -> JsonObject:
    labels = {LABEL_MODEL_DEPLOYMENT: deployment} if deployment else {}
    return {
        "metadata": {
            "namespace": "shop",
            "name": name,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "labels": labels,
            "managedFields": [{"manager": "kubelet"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"},
        },
        "spec": ({"nodeName": node} if node else {}) | {"containers": [{"name": "model"}]},
        "status": {"phase": "Running"},
    }


def listed(cache: ObjectCache, kind: Kind, *uids: str, version: str = "100", namespace: str | None = None) -> int:
    listing = cache.begin_listing(kind, namespace)
    cache.add_page(listing, uids)
    return cache.finish_listing(listing, version)


def by_node(body: JsonObject) -> Hashable | None:
    return body["spec"].get("nodeName")


def names(found: tuple[JsonObject, ...]) -> list[str]:
    return sorted(body["metadata"]["name"] for body in found)


def record_into(changes: list[Change]) -> Callable[[Kind, JsonObject | None, JsonObject | None], None]:
    return lambda kind, before, after: changes.append((kind.name, before, after))


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
    first, second = pod("a", uid="one"), pod("a", uid="two", version=5)
    cache.put(kinds.POD, first)
    cache.put(kinds.POD, second)
    cache.put(kinds.POD, {**first, "metadata": {**first["metadata"], "resourceVersion": "4"}})
    cache.drop(kinds.POD, first)
    found = cache.get(kinds.POD, "shop", "a")
    assert found is not None
    assert found["metadata"]["uid"] == "two"
    assert len(cache.of_deployment(kinds.POD, "shop", "fraud")) == 1


def test_an_event_older_than_the_deletion_says_nothing_and_a_newer_one_is_the_object_back_in_the_watch() -> None:
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
    cache.listen(record_into(changes))
    listing = cache.begin_listing(kinds.POD, None)
    cache.put(kinds.POD, pod("born-meanwhile", version=101))
    changes.clear()
    cache.add_page(listing, ["uid-kept"])
    assert cache.finish_listing(listing, "100") == 1
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


def test_a_list_in_pages_says_nothing_about_who_is_missing_before_its_last_page() -> None:
    cache = ObjectCache([(kinds.POD, None)])
    for name in ("a", "b", "c", "deleted"):
        cache.put(kinds.POD, pod(name))
    listing = cache.begin_listing(kinds.POD, None)
    for page in (["uid-a", "uid-b"], ["uid-c"], []):
        cache.add_page(listing, page)
        for name in ("a", "b", "c"):
            cache.put(kinds.POD, pod(name))
        assert cache.count(kinds.POD) == 4
        assert cache.missing() == "pods not listed"
    assert cache.finish_listing(listing, "100") == 1
    assert names(cache.all(kinds.POD)) == ["a", "b", "c"]
    assert cache.synced()


def test_objects_that_arrive_between_the_pages_are_not_waited_for_again() -> None:
    cache = ObjectCache([(kinds.POD, None)])
    listing = cache.begin_listing(kinds.POD, None)
    cache.add_page(listing, ["uid-a"])
    cache.put(kinds.POD, pod("a"))
    cache.add_page(listing, ["uid-b"])
    cache.add_page(listing, ["uid-c"])
    cache.finish_listing(listing, "100")
    assert cache.missing() == "2 pods not seen"
    cache.put(kinds.POD, pod("b"))
    cache.put(kinds.POD, pod("c"))
    assert cache.synced()


def test_a_list_that_is_begun_afresh_waits_for_nothing_that_only_its_first_attempt_showed() -> None:
    cache = ObjectCache([(kinds.POD, None)])
    cache.add_page(cache.begin_listing(kinds.POD, None), ["uid-gone", "uid-a"])
    listed(cache, kinds.POD, "uid-a")
    cache.put(kinds.POD, pod("a"))
    assert cache.synced()


def test_the_version_that_is_held_is_no_news() -> None:
    """What the API server answers to a write that changes nothing."""
    cache, changes = ObjectCache(), list[Change]()
    cache.put(kinds.POD, pod("a", version=5))
    held = cache.get(kinds.POD, "shop", "a")
    cache.listen(record_into(changes))
    cache.put(kinds.POD, pod("a", version=5))
    assert changes == []
    assert cache.get(kinds.POD, "shop", "a") is held
    cache.put(kinds.POD, pod("a", uid="successor", version=6))
    assert len(changes) == 1


def test_an_object_that_a_list_waits_for_counts_as_seen_also_when_it_is_no_news() -> None:
    cache = ObjectCache([(kinds.POD, None)])
    cache.put(kinds.POD, pod("a"))
    listed(cache, kinds.POD, "uid-a")
    assert not cache.synced()
    cache.put(kinds.POD, pod("a"))
    assert cache.synced()


def test_a_listener_hears_nothing_more_once_it_is_removed() -> None:
    cache, first, second = ObjectCache(), list[Change](), list[Change]()
    listener = record_into(first)
    remove, _ = cache.listen(listener), cache.listen(record_into(second))
    remove_again = cache.listen(listener)
    cache.put(kinds.POD, pod("a"))
    assert (len(first), len(second)) == (2, 1)
    remove()
    remove()
    cache.put(kinds.POD, pod("b"))
    assert (len(first), len(second)) == (3, 2)
    remove_again()
    cache.put(kinds.POD, pod("c"))
    assert (len(first), len(second)) == (3, 3)


def test_a_listener_may_be_removed_while_it_is_told() -> None:
    cache, heard = ObjectCache(), list[Change]()
    remove = cache.listen(lambda *_: remove())
    cache.listen(record_into(heard))
    for name in ("a", "b"):
        cache.put(kinds.POD, pod(name))
    assert len(heard) == 2


def test_a_listener_that_raises_keeps_nobody_else_from_hearing() -> None:
    def fail(_kind: Kind, _before: JsonObject | None, _after: JsonObject | None) -> None:
        raise ValueError("badly written")

    cache, heard = ObjectCache(), list[Change]()
    cache.listen(fail)
    cache.listen(record_into(heard))
    cache.put(kinds.POD, pod("a"))
    cache.drop(kinds.POD, pod("a", version=2))
    assert len(heard) == 2


def test_an_index_finds_objects_by_a_key_that_they_share() -> None:
    cache = ObjectCache()
    cache.add_index("node", kinds.POD, by_node)
    for name, node in (("a", "n1"), ("b", "n2"), ("c", "n1"), ("unscheduled", "")):
        cache.put(kinds.POD, pod(name, node=node))
    cache.put(kinds.SERVICE, pod("service"))
    assert names(cache.by_index("node", "n1")) == ["a", "c"]
    assert names(cache.by_index("node", "n2")) == ["b"]
    assert cache.by_index("node", "n3") == cache.by_index("node", None) == ()
    with pytest.raises(KeyError):
        cache.by_index("zone", "n1")


def test_an_index_follows_changes_deletions_and_sweeps() -> None:
    cache = ObjectCache()
    cache.add_index("node", kinds.POD, by_node)
    for name in ("a", "b", "c", "d"):
        cache.put(kinds.POD, pod(name, node=""))
        cache.put(kinds.POD, pod(name, version=2))
    assert names(cache.by_index("node", "n1")) == ["a", "b", "c", "d"]
    cache.put(kinds.POD, pod("a", version=3, node="n2"))
    cache.put(kinds.POD, pod("b", version=3, node=""))
    cache.drop(kinds.POD, pod("c", version=3))
    assert names(cache.by_index("node", "n1")) == ["d"]
    assert names(cache.by_index("node", "n2")) == ["a"]
    listed(cache, kinds.POD, "uid-a", "uid-b")
    assert cache.by_index("node", "n1") == ()
    cache.put(kinds.POD, pod("a", uid="successor", version=101, node="n1"))
    assert names(cache.by_index("node", "n1")) == ["a"]
    assert cache.by_index("node", "n2") == ()


def test_an_index_shows_the_newest_version_of_an_object_whose_key_stays() -> None:
    cache = ObjectCache()
    cache.add_index("node", kinds.POD, by_node)
    for version in (1, 2):
        cache.put(kinds.POD, pod("a", version=version))
    [found] = cache.by_index("node", "n1")
    assert found is cache.get(kinds.POD, "shop", "a")


def test_an_index_that_comes_late_holds_what_is_there_and_one_of_the_same_name_replaces_it() -> None:
    cache = ObjectCache()
    cache.put(kinds.POD, pod("a"))
    cache.put(kinds.SERVICE, pod("service"))
    asked = list[JsonObject]()
    cache.add_index("node", kinds.POD, lambda body: asked.append(body) or by_node(body))
    assert names(cache.by_index("node", "n1")) == ["a"]
    cache.add_index("node", kinds.SERVICE, lambda body: body["metadata"]["name"])
    assert cache.by_index("node", "n1") == ()
    cache.put(kinds.SERVICE, pod("other"))
    cache.put(kinds.POD, pod("b"))
    assert len(asked) == 1, "the index that was replaced is still kept"
    assert names(cache.by_index("node", "service")) == ["service"]
    assert names(cache.by_index("node", "other")) == ["other"]


def test_an_object_without_the_key_that_an_index_reads_is_left_out_of_that_index_alone() -> None:
    cache = ObjectCache()
    cache.add_index("first container", kinds.SERVICE, lambda body: body["spec"]["containers"][0]["name"])
    broken = pod("broken")
    broken["spec"]["containers"] = [{}]
    for body in (pod("a"), broken, pod("b")):
        cache.put(kinds.SERVICE, body)
    assert names(cache.all(kinds.SERVICE)) == ["a", "b", "broken"]
    assert names(cache.by_index("first container", "model")) == ["a", "b"]
    cache.put(kinds.SERVICE, pod("broken", version=2))
    assert names(cache.by_index("first container", "model")) == ["a", "b", "broken"]


def restored(cache: ObjectCache, *bodies: JsonObject, version: str, pages: int = 1) -> int:
    """A list as kopf makes it: each page is announced, and its objects follow before the next one."""
    listing = cache.begin_listing(kinds.POD, None)
    for number in range(pages):
        page = bodies[number::pages]
        cache.add_page(listing, [body["metadata"]["uid"] for body in page], version)
        for body in page:
            cache.put(kinds.POD, body)
    return cache.finish_listing(listing, version)


@pytest.mark.parametrize("pages", [1, 2])
def test_after_a_restore_of_etcd_what_a_list_has_replaces_what_is_held(pages: int) -> None:
    cache = ObjectCache()
    for name, version in (("a", 900), ("b", 950), ("later", 970), ("deleted", 980)):
        cache.put(kinds.POD, pod(name, version=version, deployment="new"))
    cache.drop(kinds.POD, pod("deleted", version=990))
    before = (pod("a", version=500), pod("b", version=510), pod("deleted", version=520))
    assert restored(cache, *before, version="600", pages=pages) == 1, "what was made since is gone"
    assert names(cache.all(kinds.POD)) == ["a", "b", "deleted"]
    assert {body["metadata"]["resourceVersion"] for body in cache.all(kinds.POD)} == {"500", "510", "520"}
    cache.put(kinds.POD, pod("a", version=601))
    cache.put(kinds.POD, pod("a", version=599))
    found = cache.get(kinds.POD, "shop", "a")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "601", "and from then on versions count as ever"


def test_what_is_written_while_a_list_is_under_way_is_no_restore() -> None:
    cache = ObjectCache()
    cache.put(kinds.POD, pod("a", version=500))
    listing = cache.begin_listing(kinds.POD, None)
    cache.put(kinds.POD, pod("a", version=700))
    cache.add_page(listing, ["uid-a"], "600")
    cache.put(kinds.POD, pod("a", version=500))
    found = cache.get(kinds.POD, "shop", "a")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "700"


class TestFollowing:
    def test_hears_of_what_is_here_and_of_every_change_of_its_kind(self) -> None:
        cache, heard = ObjectCache(), list[tuple[tuple[str, str], str | None]]()
        cache.put(kinds.MODEL_DEPLOYMENT, pod("a"))
        stop = cache.follow(
            kinds.MODEL_DEPLOYMENT, lambda key, body: heard.append((key, body and body["metadata"]["resourceVersion"]))
        )
        cache.put(kinds.POD, pod("b", version=2))
        cache.put(kinds.MODEL_DEPLOYMENT, pod("a", version=3))
        cache.drop(kinds.MODEL_DEPLOYMENT, pod("a", version=4))
        stop()
        cache.put(kinds.MODEL_DEPLOYMENT, pod("c", version=5))
        assert heard == [(("shop", "a"), "1"), (("shop", "a"), "3"), (("shop", "a"), None)]

    def test_an_object_that_is_here_and_cannot_be_read_hides_no_other(self) -> None:
        cache, heard = ObjectCache(), list[str]()

        def follower(key: tuple[str, str], _body: JsonObject | None) -> None:
            if key[1] == "a":
                raise ValueError("no such shape")
            heard.append(key[1])

        for name in ("a", "b"):
            cache.put(kinds.MODEL_DEPLOYMENT, pod(name))
        cache.follow(kinds.MODEL_DEPLOYMENT, follower)
        cache.put(kinds.MODEL_DEPLOYMENT, pod("b", version=2))
        assert heard == ["b", "b"]


def test_names_and_short_texts_are_held_once_for_all_objects() -> None:
    cache = ObjectCache()
    for name in ("a", "b"):
        cache.put(kinds.POD, json.loads(json.dumps(pod(name))))
    one, other = cache.all(kinds.POD)
    assert one["status"]["phase"] is other["status"]["phase"]
    for first, second in zip(one["metadata"], other["metadata"], strict=True):
        assert first is second


def test_an_object_that_is_nested_deeper_than_any_is_held_as_it_is() -> None:
    """Whoever can write one must not keep the cache from being complete."""
    deep: JsonObject = {}
    for _ in range(900):
        deep = {"in": deep}
    cache, body = ObjectCache(), pod("a")
    body["status"]["deep"] = deep
    cache.put(kinds.POD, body)
    assert cache.count(kinds.POD) == 1
