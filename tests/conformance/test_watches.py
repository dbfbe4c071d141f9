"""Lists and their pages, watches and the order of their events, selectors, 410."""

from serin.api.json import JsonObject
from serin.cluster import kinds
from tests.conformance.conftest import Play
from tests.conformance.harness import Api
from tests.integration.crds.rig import smallest

MD, SERVICE = kinds.MODEL_DEPLOYMENT, kinds.SERVICE


def service(name: str, **labels: str) -> JsonObject:
    ports = [{"name": "http", "port": 80}]
    return {"metadata": {"name": name, "labels": labels}, "spec": {"clusterIP": "None", "ports": ports}}


async def seen(api: Api, version: str, count: int, **query: str) -> list[tuple[str, str, str]]:
    """So many events: type, name, label `app`."""
    found = []
    events = api.watch(SERVICE, version, **query)
    async for event in events:
        api.said.append([event["type"], api.shown(event["object"])])
        metadata = event["object"]["metadata"]
        found.append((event["type"], metadata["name"], metadata.get("labels", {}).get("app", "")))
        if len(found) == count:
            break
    await events.aclose()  # type: ignore[attr-defined]
    return found


def test_lists_select_by_labels(play: Play) -> None:
    async def scenario(api: Api) -> None:
        for name, labels in (("b", {"app": "x"}), ("a", {"app": "y", "tier": "1"}), ("c", {})):
            await api.create(SERVICE, service(name, **labels))
        for selector in (
            "app=x",
            "app==x",
            "app!=x",
            "app",
            "!app",
            "app in (x,y)",
            "app notin (x)",
            "app=x,tier",
            "=",
        ):
            status, answer = await api.request("GET", SERVICE, query={"labelSelector": selector}, quiet=selector == "=")
            names = [one["metadata"]["name"] for one in answer.get("items", ())]
            api.said.append([selector, status, names])

    play(scenario)


def test_lists_come_in_pages_of_one_moment(play: Play) -> None:
    async def scenario(api: Api) -> None:
        for name in ("d", "a", "c", "b", "e"):
            await api.create(MD, smallest(name))
        _, page = await api.request("GET", MD, query={"limit": "2"})
        assert [one["metadata"]["name"] for one in page["items"]] == ["a", "b"]
        await api.delete(MD, "c")
        await api.create(MD, smallest("f"))
        names = []
        while token := page["metadata"].get("continue"):
            _, page = await api.request("GET", MD, query={"limit": "2", "continue": token})
            names += [one["metadata"]["name"] for one in page["items"]]
        assert names == ["c", "d", "e"]

    play(scenario)


def test_events_come_in_the_order_of_the_writes(play: Play) -> None:
    async def scenario(api: Api) -> None:
        _, before = await api.request("GET", SERVICE)
        await api.create(SERVICE, service("a"))
        await api.create(SERVICE, service("b", app="x"))
        await api.patch(SERVICE, "a", {"metadata": {"labels": {"app": "x"}}})
        await api.apply(SERVICE, {"metadata": {"name": "a", "annotations": {"k": "v"}}})
        await api.delete(SERVICE, "b")
        await api.create(SERVICE, service("b"))
        await api.patch(SERVICE, "a", {"metadata": {"labels": {"app": "y"}}})
        version = before["metadata"]["resourceVersion"]
        assert [one[:2] for one in await seen(api, version, 7)] == [
            *(("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("MODIFIED", "a")),
            *(("DELETED", "b"), ("ADDED", "b"), ("MODIFIED", "a")),
        ]
        assert await seen(api, version, 5, labelSelector="app=x") == [
            *(("ADDED", "b", "x"), ("ADDED", "a", "x"), ("MODIFIED", "a", "x")),
            *(("DELETED", "b", "x"), ("DELETED", "a", "x")),
        ]

    play(scenario)


def test_a_watch_goes_on_from_any_version(play: Play) -> None:
    async def scenario(api: Api) -> None:
        _, first = await api.create(SERVICE, service("a"))
        await api.patch(SERVICE, "a", {"metadata": {"labels": {"n": "1"}}})
        _, third = await api.patch(SERVICE, "a", {"metadata": {"labels": {"n": "2"}}})
        await api.delete(SERVICE, "a")
        assert len(await seen(api, first["metadata"]["resourceVersion"], 3)) == 3
        assert [one[0] for one in await seen(api, third["metadata"]["resourceVersion"], 1)] == ["DELETED"]

    play(scenario)


def test_a_version_from_before_memory_is_gone(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("a"))
        if compact := getattr(api.wire, "compact", None):
            compact()
        async for event in api.watch(MD, "1"):
            assert event["type"] == "ERROR"
            assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
            assert event["object"]["message"].startswith("too old resource version: 1 (")
            break

    play(scenario)
