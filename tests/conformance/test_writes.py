"""Versions, generations, the status subresource, what is pruned and what is filled in."""

from serin.api.json import JsonObject
from serin.cluster import kinds
from tests.conformance.conftest import Play
from tests.conformance.harness import Api
from tests.integration.crds.rig import STATUS, smallest

MD, SNAPSHOT, SERVICE = kinds.MODEL_DEPLOYMENT, kinds.MODEL_SNAPSHOT, kinds.SERVICE


def service(name: str = "shop", **spec: object) -> JsonObject:
    return {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}], **spec}}


def test_what_is_created_is_read_with_its_defaults(play: Play) -> None:
    async def scenario(api: Api) -> None:
        status, created = await api.create(MD, smallest("iris"))
        assert status == 201
        assert created["metadata"]["generation"] == 1
        assert (await api.get(MD, "iris"))[1] == created
        assert (await api.create(MD, smallest("iris")))[0] == 409
        assert (await api.get(MD, "other"))[0] == 404

    play(scenario)


def test_what_is_empty_null_or_unknown(play: Play) -> None:
    async def scenario(api: Api) -> None:
        body = smallest(
            "iris", "spec: {config: {}, nonsense: 1, replicas: null, template: {spec: {unknown: {a: null}}}}"
        )
        body["spec"]["port"] = None
        body["spec"]["template"]["spec"]["nodeName"] = None
        body["more"] = {"a": 1}
        await api.create(MD, body)
        await api.create(MD, body | {"metadata": {"name": "strict"}}, strict=True)

    play(scenario)


def test_a_write_on_an_old_version_is_a_conflict(play: Play) -> None:
    async def scenario(api: Api) -> None:
        _, first = await api.create(MD, smallest("iris"))
        await api.patch(MD, "iris", {"metadata": {"labels": {"a": "1"}}})
        first["spec"]["replicas"] = 3
        status, answer = await api.replace(MD, first)
        assert status == 409
        assert "the object has been modified" in answer["message"]
        old = {"metadata": {"name": "iris", "resourceVersion": first["metadata"]["resourceVersion"]}}
        await api.apply(MD, {**old, "spec": {"replicas": 2}}, force=True)
        await api.apply(MD, {**old, "status": {"phase": "Serving"}}, subresource="status")
        await api.patch(MD, "iris", {**old, "spec": {"replicas": 2}})
        await api.get(MD, "iris")

    play(scenario)


def test_a_version_of_what_is_not_there(play: Play) -> None:
    async def scenario(api: Api) -> None:
        lease = {"metadata": {"name": "serin", "resourceVersion": "12345"}, "spec": {"holderIdentity": "a"}}
        await api.apply(kinds.LEASE, lease)
        await api.apply(MD, {"metadata": {"name": "iris"}, "status": {"phase": "x"}}, subresource="status")
        await api.replace(MD, smallest("iris"))
        uid = {"name": "gone", "uid": "0b5c11d4-8a4c-4c9e-9d5e-0f3f2f1f0f0f"}
        await api.apply(SERVICE, {"metadata": uid, "spec": service()["spec"]})

    play(scenario)


def test_a_write_that_changes_nothing_is_no_new_version(play: Play) -> None:
    async def scenario(api: Api) -> None:
        _, first = await api.create(MD, smallest("iris"))
        _, same = await api.replace(MD, first)
        assert same == first
        _, applied = await api.apply(MD, {"metadata": {"name": "iris"}, "spec": {"replicas": 1}})
        _, again = await api.apply(MD, {"metadata": {"name": "iris"}, "spec": {"replicas": 1}})
        assert again["metadata"]["resourceVersion"] == applied["metadata"]["resourceVersion"]

    play(scenario)


def test_only_the_spec_makes_a_generation(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris"))
        await api.patch(MD, "iris", {"metadata": {"annotations": {"serin.dev/approve": "1"}}})
        await api.patch(MD, "iris", {"status": {"phase": "Serving"}}, subresource="status")
        await api.patch(MD, "iris", {"spec": {"replicas": 2}, "metadata": {"generation": 7}})
        _, found = await api.patch(MD, "iris", {"spec": {"replicas": 2}})
        assert found["metadata"]["generation"] == 2
        await api.create(SERVICE, service())
        _, changed = await api.patch(SERVICE, "shop", {"spec": {"ports": [{"name": "http", "port": 81}]}})
        assert "generation" not in changed["metadata"]

    play(scenario)


def test_the_status_has_a_door_of_its_own(play: Play) -> None:
    async def scenario(api: Api) -> None:
        body = smallest("iris") | {"status": {"phase": "Serving"}}
        _, created = await api.create(MD, body)
        assert "status" not in created
        _, found = await api.patch(MD, "iris", {"status": {"phase": "x"}, "spec": {"replicas": 2}})
        assert "status" not in found
        change = {"status": {"phase": "y"}, "spec": {"replicas": 9}, "metadata": {"labels": {"a": "b"}}}
        _, found = await api.patch(MD, "iris", change, subresource="status")
        assert (found["status"], found["spec"]["replicas"]) == ({"phase": "y"}, 2)
        assert "labels" not in found["metadata"]
        change = {**change, "metadata": {"name": "iris", "labels": {"a": "b"}}}
        del change["spec"]
        await api.apply(MD, change, subresource="status", force=True)
        await api.apply(MD, {"metadata": {"name": "iris"}, "status": {"phase": "z"}}, force=True)
        _, found = await api.get(MD, "iris")
        assert found["status"] == {"phase": "y"}

    play(scenario)


def test_a_whole_status(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris"))
        _, written = await api.apply(MD, {"metadata": {"name": "iris"}, "status": STATUS}, subresource="status")
        assert written["status"] == STATUS
        less = {
            key: value for key, value in STATUS.items() if key not in ("candidate", "draining", "metrics", "verdict")
        }
        less["conditions"] = STATUS["conditions"][:1]
        _, written = await api.apply(MD, {"metadata": {"name": "iris"}, "status": less}, subresource="status")
        assert written["status"] == less

    play(scenario)


def test_a_snapshot_never_changes(play: Play) -> None:
    async def scenario(api: Api) -> None:
        template = {"spec": {"containers": [{"name": "model", "image": "i:1"}]}}
        spec = {
            "modelDeployment": "iris",
            "content": {"runtime": {"template": template, "runtime": "generic", "port": 80}},
            "hashes": dict.fromkeys(("runtime", "model", "config", "features"), "x"),
        }
        body = {"metadata": {"name": "iris-1"}, "spec": spec}
        await api.apply(SNAPSHOT, body)
        status, _ = await api.patch(SNAPSHOT, "iris-1", {"spec": {"content": {"runtime": {"port": 81}}}})
        assert status == 422
        status, _ = await api.patch(SNAPSHOT, "iris-1", {"status": {"verdict": "Promoted"}}, subresource="status")
        assert status == 200
        await api.apply(SNAPSHOT, body)

    play(scenario)
