"""Preconditions, finalizers, garbage collection, the end of a namespace."""

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.protocol import Kind
from tests.conformance.conftest import Play
from tests.conformance.harness import Api
from tests.conformance.test_ownership import deployment
from tests.integration.crds.rig import smallest
from tests.simulation.api.resources import NAMESPACE

# Owners are Secrets: the garbage collector of a new cluster learns of custom kinds only after half a minute.
MD, SECRET, SERVICE, DEPLOYMENT = kinds.MODEL_DEPLOYMENT, kinds.SECRET, kinds.SERVICE, kinds.DEPLOYMENT
NOBODY = "0b5c11d4-8a4c-4c9e-9d5e-0f3f2f1f0f0f"


def service(name: str = "shop", **metadata: object) -> JsonObject:
    return {"metadata": {"name": name, **metadata}, "spec": {"ports": [{"name": "http", "port": 80}]}}


def owner(body: JsonObject) -> JsonObject:
    metadata = body["metadata"]
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "name": metadata["name"], "uid": metadata["uid"]}


async def is_gone(api: Api, kind: Kind, name: str) -> bool:
    return (await api.get(kind, name))[0] == 404


def test_preconditions(play: Play) -> None:
    async def scenario(api: Api) -> None:
        for kind, body in ((MD, smallest("shop")), (SERVICE, service()), (DEPLOYMENT, deployment())):
            _, found = await api.create(kind, body)
            uid = found["metadata"]["uid"]
            assert await api.delete(kind, "shop", preconditions={"uid": NOBODY}) == 409
            assert await api.delete(kind, "shop", preconditions={"uid": uid, "resourceVersion": "1"}) == 409
            assert await api.delete(kind, "shop", preconditions={"uid": uid}, propagationPolicy="Background") == 200
            assert await api.delete(kind, "shop", preconditions={"uid": uid}) == 404

    play(scenario)


def test_a_finalizer_holds(play: Play) -> None:
    async def scenario(api: Api) -> None:
        body = smallest("iris")
        body["metadata"]["finalizers"] = ["serin.dev/hold", "serin.dev/more"]
        await api.create(MD, body)
        assert await api.delete(MD, "iris") == 200
        _, found = await api.get(MD, "iris")
        assert "deletionTimestamp" in found["metadata"]
        assert await api.delete(MD, "iris") == 200
        await api.get(MD, "iris")
        await api.patch(MD, "iris", {"metadata": {"finalizers": ["serin.dev/hold", "serin.dev/new"]}})
        await api.patch(MD, "iris", {"metadata": {"finalizers": ["serin.dev/hold"]}})
        await api.patch(MD, "iris", {"status": {"phase": "Deleting"}}, subresource="status")
        await api.patch(MD, "iris", {"metadata": {"finalizers": None}})
        assert await is_gone(api, MD, "iris")

    play(scenario)


def test_dependents_go_with_their_last_owner(play: Play) -> None:
    async def scenario(api: Api) -> None:
        owners = [owner((await api.create(SECRET, {"metadata": {"name": name}}))[1]) for name in ("one", "two")]
        await api.create(SERVICE, service("both", ownerReferences=owners))
        await api.create(SERVICE, service("first", ownerReferences=owners[:1]))
        await api.create(SERVICE, service("nobody"))
        await api.delete(SECRET, "one")
        await api.until(lambda: is_gone(api, SERVICE, "first"))

        async def only_one_left() -> bool:
            return len((await api.get(SERVICE, "both"))[1]["metadata"]["ownerReferences"]) == 1

        await api.until(only_one_left)
        await api.delete(SECRET, "two")
        await api.until(lambda: is_gone(api, SERVICE, "both"))
        assert not await is_gone(api, SERVICE, "nobody")

    play(scenario)


def test_what_is_born_an_orphan_goes(play: Play) -> None:
    async def scenario(api: Api) -> None:
        _, body = await api.create(SECRET, {"metadata": {"name": "iris"}})
        await api.create(SERVICE, service("orphan", ownerReferences=[{**owner(body), "uid": NOBODY}]))
        await api.until(lambda: is_gone(api, SERVICE, "orphan"))

    play(scenario)


def test_in_the_foreground_the_owner_goes_last(play: Play) -> None:
    async def scenario(api: Api) -> None:
        _, body = await api.create(SECRET, {"metadata": {"name": "iris"}})
        reference = {**owner(body), "blockOwnerDeletion": True}
        await api.create(SERVICE, service("child", ownerReferences=[reference], finalizers=["serin.dev/hold"]))
        await api.delete(SECRET, "iris", propagationPolicy="Foreground")
        _, found = await api.get(SECRET, "iris")
        assert found["metadata"]["finalizers"] == ["foregroundDeletion"]

        async def child_is_deleted() -> bool:
            return "deletionTimestamp" in (await api.get(SERVICE, "child"))[1]["metadata"]

        await api.until(child_is_deleted)
        assert not await is_gone(api, SECRET, "iris")
        await api.patch(SERVICE, "child", {"metadata": {"finalizers": None}})
        await api.until(lambda: is_gone(api, SECRET, "iris"))

    play(scenario)


def test_a_namespace_takes_all_with_it(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris"))
        held = smallest("held")
        held["metadata"]["finalizers"] = ["serin.dev/hold"]
        await api.create(MD, held)
        assert await api.delete(NAMESPACE, api.namespace) == 200
        status, _ = await api.create(SERVICE, service())
        assert status == 403
        await api.apply(SERVICE, service("other"))
        await api.until(lambda: is_gone(api, MD, "iris"))
        await api.patch(MD, "held", {"spec": {"replicas": 2}})
        await api.patch(MD, "held", {"metadata": {"finalizers": None}})
        await api.until(lambda: is_gone(api, NAMESPACE, api.namespace))
        await api.create(SERVICE, service())

    play(scenario)
