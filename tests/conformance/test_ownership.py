"""Server-side apply: who owns what, who is in the way of whom, and what goes when nobody wants it any more."""

from typing import Any

from serin.api.json import JsonObject
from serin.cluster import kinds
from tests.conformance.conftest import Play
from tests.conformance.harness import Api
from tests.integration.crds.rig import STATUS, smallest

MD, SERVICE, DEPLOYMENT = kinds.MODEL_DEPLOYMENT, kinds.SERVICE, kinds.DEPLOYMENT


def service(**spec: Any) -> JsonObject:
    return {"metadata": {"name": "shop"}, "spec": {"ports": [{"name": "http", "port": 80}], **spec}}


def deployment(containers: list[JsonObject] | None = None, **spec: Any) -> JsonObject:
    template = {
        "metadata": {"labels": {"app": "shop"}},
        "spec": {"containers": containers or [{"name": "model", "image": "i:1", "env": [{"name": "A", "value": "1"}]}]},
    }
    return {
        "metadata": {"name": "shop"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "shop"}}, "template": template, **spec},
    }


def named(**parts: Any) -> JsonObject:
    return {"metadata": {"name": "iris"}, **parts}


def test_labels_of_several_owners(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(SERVICE, {**service(), "metadata": {"name": "shop", "labels": {"theirs": "1"}}})
        ours = {"name": "shop", "labels": {"ours": "1", "more": "2"}}
        _, found = await api.apply(SERVICE, {"metadata": ours})
        assert found["metadata"]["labels"] == {"theirs": "1", "ours": "1", "more": "2"}
        await api.apply(SERVICE, {"metadata": {"name": "shop", "labels": {"ours": "1"}}}, manager="argocd")
        _, found = await api.apply(SERVICE, {"metadata": {"name": "shop", "labels": {"more": "2"}}})
        assert found["metadata"]["labels"] == {"theirs": "1", "ours": "1", "more": "2"}
        _, found = await api.apply(SERVICE, {"metadata": {"name": "shop"}}, manager="argocd")
        assert found["metadata"]["labels"] == {"theirs": "1", "more": "2"}
        await api.apply(SERVICE, {"metadata": {"name": "shop"}})

    play(scenario)


def test_a_conflict_and_its_end_by_force(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.apply(MD, smallest("iris"), manager="argocd")
        assert (await api.apply(MD, named(spec={"replicas": 3})))[0] == 200  # a default belongs to nobody
        status, answer = await api.apply(MD, named(spec={"replicas": 4}), manager="argocd")
        assert status == 409
        assert answer["message"].startswith("Apply failed with 1 conflict: conflict with")
        await api.apply(MD, named(spec={"replicas": 4}), manager="argocd", force=True)
        _, found = await api.apply(MD, named(spec={"replicas": 5}), force=True)
        assert found["spec"]["replicas"] == 5
        await api.apply(MD, named(spec={"replicas": 4}), manager="argocd")
        await api.patch(MD, "iris", {"spec": {"replicas": 6, "config": {"a": "1"}}})
        await api.apply(MD, named(spec={"replicas": 5}))

    play(scenario)


def test_many_conflicts_with_several_owners(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris", "spec: {config: {a: '1', b: '1'}}"))
        await api.apply(MD, named(spec={"config": {"c": "1"}, "replicas": 1}), manager="argocd")
        status, _ = await api.apply(MD, named(spec={"config": {"a": "2", "b": "2", "c": "2"}, "replicas": 2}))
        assert status == 409
        await api.apply(MD, named(metadata={"name": "iris"}, status={"phase": "a"}), subresource="status")
        await api.apply(MD, named(status={"phase": "b"}), subresource="status", manager="other")

    play(scenario)


def test_what_is_applied_no_longer_goes(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris"))
        statuses: list[JsonObject] = [
            {"traffic": {"weights": {"a": 95, "b": 5}}, "metrics": [{"name": "errors"}, {"name": "latency"}]},
            {"traffic": {"weights": {"a": 100}}, "metrics": [{"name": "latency", "verdict": "Pass"}]},
            {"traffic": {}, "metrics": []},
            {"candidate": None},
            {},
            {"phase": "x"},
        ]
        for status in statuses:
            await api.apply(MD, named(status=status), subresource="status")
        await api.apply(MD, named(), subresource="status")

    play(scenario)


def test_what_somebody_else_put_into_the_status_stays(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris"))
        await api.apply(MD, named(status={"traffic": {"weights": {"a": 100}}}), subresource="status")
        await api.patch(MD, "iris", {"status": {"traffic": {"weights": {"b": 5}}}}, subresource="status")
        _, found = await api.apply(MD, named(status={"traffic": {"weights": {"a": 95}}}), subresource="status")
        assert found["status"]["traffic"]["weights"] == {"a": 95, "b": 5}
        await api.patch(MD, "iris", {"status": None}, subresource="status")
        await api.apply(MD, named(status={"traffic": {"weights": {"a": 95}}}), subresource="status", force=True)

    play(scenario)


def test_lists_by_their_keys(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris"))
        await api.apply(MD, named(status=STATUS), subresource="status")
        conditions = [{**STATUS["conditions"][1], "status": "True"}, {**STATUS["conditions"][0], "type": "Paused"}]
        changed = {**STATUS, "conditions": conditions, "metrics": list(reversed(STATUS["metrics"]))}
        _, found = await api.apply(MD, named(status=changed), subresource="status")
        assert [one["type"] for one in found["status"]["conditions"]] == ["EvidenceAvailable", "Paused"]
        twice = {**STATUS, "metrics": [{"name": "a"}, {"name": "a"}]}
        await api.apply(MD, named(status=twice), subresource="status")
        keyless = {**STATUS, "metrics": [{"severity": "major"}]}
        await api.apply(MD, named(status=keyless), subresource="status")

    play(scenario)


def test_the_order_of_items_of_several_owners(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris"))

        async def apply(manager: str, *names: str) -> list[str]:
            status = {"metrics": [{"name": name, manager: "x"} for name in names]}
            body = named(status=status)
            _, found = await api.apply(MD, body, subresource="status", manager=manager, force=True)
            return [one["name"] for one in found["status"]["metrics"]]

        await apply("reason", "a", "b", "c", "d", "e")
        assert sorted(await apply("verdict", "d", "x", "b", "a", "y")) == ["a", "b", "c", "d", "e", "x", "y"]
        await apply("reason", "e", "c", "a", "z")
        await apply("verdict", "y", "d", "a")
        await apply("message", "z", "q", "e", "d", "y")
        await apply("reason", "q")

    play(scenario)


def test_what_does_not_fit_the_type(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(MD, smallest("iris"))
        parts: list[JsonObject] = [
            {"spec": {"nonsense": True}},
            {"spec": {"replicas": "three"}},
            {"spec": {"runtime": 7}},
            {"spec": {"runtime": True}},
            {"spec": {"config": "text"}},
            {"spec": {"config": []}},
            {"spec": {"metrics": {"name": "a"}}},
            {"spec": {"metrics": [{"name": "a"}, {"name": "a"}]}},
            {"spec": {"metrics": [{"severity": "major"}, "text"]}},
            {"spec": {"template": {"containers": []}}},
            {"metadata": {"name": "iris", "lables": {}}},
            {"more": 1},
        ]
        for part in parts:
            await api.apply(MD, {**named(), **part})
        await api.apply(MD, named(status={"step": {"index": "1"}}), subresource="status")
        await api.apply(MD, named(status={"step": {"forced": "yes"}}), subresource="status")

    play(scenario)


def test_an_owner_of_many_kinds_of_fields(play: Play) -> None:
    async def scenario(api: Api) -> None:
        owners = []
        for name in ("a", "b"):  # the garbage collector takes references to what does not exist
            _, secret = await api.create(kinds.SECRET, {"metadata": {"name": name}})
            owners.append({"apiVersion": "v1", "kind": "Secret", "name": name, "uid": secret["metadata"]["uid"]})
        metadata = {
            "name": "shop",
            "labels": {"a.b/c": "1"},
            "annotations": {"x/y": "1", "z": ""},
            "finalizers": ["serin.dev/one", "serin.dev/two"],
            "ownerReferences": [owners[0], {**owners[1], "controller": True}],
        }
        status, _ = await api.apply(SERVICE, {**service(selector={"app": "a"}, clusterIP="None"), "metadata": metadata})
        assert status == 201
        metadata = {**metadata, "finalizers": ["serin.dev/two"], "ownerReferences": owners[:1], "annotations": {}}
        status, _ = await api.apply(SERVICE, {**service(selector={"app": "b"}, clusterIP="None"), "metadata": metadata})
        assert status == 200
        await api.patch(SERVICE, "shop", {"metadata": {"finalizers": None}})

    play(scenario)


def test_ports_of_a_service(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.apply(SERVICE, service())
        await api.apply(SERVICE, service(ports=[{"name": "http", "port": 80}, {"name": "grpc", "port": 81}]))
        await api.apply(SERVICE, service(ports=[{"name": "grpc", "port": 81, "protocol": "TCP", "targetPort": 9000}]))
        await api.apply(SERVICE, service(ports=[{"port": 81}, {"port": 81, "protocol": "TCP"}]))
        await api.apply(SERVICE, service(nonsense=1))

    play(scenario)


def test_a_deployment_and_who_changes_its_template(play: Play) -> None:
    async def scenario(api: Api) -> None:
        status, _ = await api.apply(DEPLOYMENT, deployment())
        assert status == 201
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "model", "image": "i:2"}]}}}}
        await api.patch(DEPLOYMENT, "shop", patch)
        sidecar: list[JsonObject] = [
            {"name": "side", "image": "s:1"},
            {"name": "model", "image": "i:1", "env": [{"name": "B"}]},
        ]
        status, _ = await api.apply(DEPLOYMENT, deployment(sidecar), force=True)
        assert status == 200
        again: list[JsonObject] = [
            {"name": "model", "image": "i:1", "env": [{"name": "C", "value": "x"}, {"name": "B"}]}
        ]
        await api.apply(DEPLOYMENT, deployment(again), force=True)
        template = deployment()["spec"]["template"]
        replace = [{"op": "replace", "path": "/spec/template", "value": template}]
        status, found = await api.patch(DEPLOYMENT, "shop", replace, manager="serin")
        assert status == 200
        assert [one["name"] for one in found["spec"]["template"]["spec"]["containers"]] == ["model"]
        await api.apply(DEPLOYMENT, deployment(), force=True)

    play(scenario)
