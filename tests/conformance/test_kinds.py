"""The built-in kinds, as Serin writes them: defaults, checks, generations."""

from typing import Any

from serin.api.json import JsonObject
from serin.api.retraining import Cause, Run, Trigger
from serin.cluster import kinds
from serin.workload import render, retraining_job
from tests.conformance.conftest import Play
from tests.conformance.harness import Api
from tests.conformance.test_ownership import deployment
from tests.simulation.api.resources import NAMESPACE

CONTENT: dict[str, JsonObject | None] = {
    "runtime": {
        "template": {
            "metadata": {"labels": {"team": "fraud"}, "annotations": {}},
            "spec": {
                "containers": [
                    {
                        "name": "model",
                        "image": "registry.example/fraud:7",
                        "ports": [{"containerPort": 8080}],
                        "env": [
                            {"name": "MODE", "value": "x"},
                            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                        ],
                        "resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
                        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                    },
                    {"name": "side", "image": "registry.example/side", "args": ["--x"]},
                ],
                "initContainers": [{"name": "fetch", "image": "fetch:latest"}],
                "volumes": [{"name": "cache"}],
                "nodeSelector": {"gpu": "yes"},
                "serviceAccountName": "model",
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
            },
        },
        "runtime": "mlserver",
        "port": 8080,
    },
    "model": {"name": "fraud", "version": "7", "uri": "s3://models/fraud/7"},
    "config": {"threshold": "0.5", "max-age": "3"},
    "features": {"schemaVersion": "3"},
}


def test_a_snapshot_s_own_objects(play: Play) -> None:
    async def scenario(api: Api) -> None:
        _, secret = await api.create(kinds.SECRET, {"metadata": {"name": "owner"}, "stringData": {"a": "b"}})
        owner = render.Owner(api.namespace, "fraud", secret["metadata"]["uid"])
        reference = {"apiVersion": "v1", "kind": "Secret", "name": "owner", "uid": owner.uid}
        for body in (
            render.service(owner, "fraud-abc", CONTENT),
            render.deployment(owner, "fraud-abc", CONTENT, replicas=0, role="stable"),
        ):
            body["metadata"]["ownerReferences"] = [reference]
            kind = kinds.of(body)
            status, stored = await api.apply(kind, body, force=True)
            assert status == 201
            status, again = await api.apply(kind, body, force=True)
            if kind == kinds.SERVICE:
                assert again == stored
        await api.patch(kinds.DEPLOYMENT, "fraud-abc", {"spec": {"paused": True}})

    play(scenario)


def test_checks_of_a_deployment(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.create(kinds.DEPLOYMENT, deployment())
        changes: list[JsonObject] = [
            {"selector": {"matchLabels": {"app": "other"}}},
            {"replicas": -1},
            {"template": {"spec": {"containers": [{"name": "model", "image": ""}]}}},
            {"template": {"metadata": {"labels": {"app": "x"}}}},
            {"template": {"metadata": {"labels": {"bad": "not valid!"}}}},
            {"template": {"spec": {"containers": []}}},
            {"template": {"spec": {"containers": [{"name": "m", "image": "i", "ports": [{"containerPort": 70000}]}]}}},
        ]
        for change in changes:
            await api.patch(kinds.DEPLOYMENT, "shop", {"spec": change})
        body: Any = deployment()
        body["metadata"]["name"] = "none"
        await api.create(kinds.DEPLOYMENT, {**body, "spec": {**body["spec"], "selector": None}})

    play(scenario)


def test_checks_of_a_service(play: Play) -> None:
    async def scenario(api: Api) -> None:
        body: JsonObject = {"metadata": {"name": "shop"}, "spec": {"ports": [{"name": "http", "port": 80}]}}
        changes: list[JsonObject] = [
            {"ports": [{"port": 70000}]},
            {"ports": []},
            {"ports": [{"port": 80}, {"port": 81}]},
            {"clusterIP": "None", "ports": [{"port": 0}]},
        ]
        for change in changes:
            await api.create(kinds.SERVICE, {**body, "spec": change})
        await api.apply(kinds.SERVICE, {"metadata": {"name": "1shop"}, "spec": body["spec"]})
        await api.create(kinds.SERVICE, body)

    play(scenario)


def test_a_job(play: Play) -> None:
    async def scenario(api: Api) -> None:
        _, secret = await api.create(kinds.SECRET, {"metadata": {"name": "owner"}, "stringData": {"a": "b"}})
        owner = render.Owner(api.namespace, "fraud", secret["metadata"]["uid"])
        cause = Cause(Trigger.DRIFT, "both have moved", "fraud-abc", since=1.7e9, until=1.7e9 + 60)
        containers = [{"name": "train", "image": "train:1", "env": [{"name": "MODE", "value": "x"}]}]
        body = retraining_job.render(
            owner,
            Run("fraud-retrain-1", cause, 1.7e9),
            {
                "metadata": {"labels": {"queue": "q"}},
                "spec": {"suspend": True, "template": {"spec": {"containers": containers}}},
            },
        )
        body["metadata"]["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Secret", "name": "owner", "uid": owner.uid}
        ]
        status, _ = await api.create(kinds.JOB, body)
        assert status == 201
        status, _ = await api.create(kinds.JOB, body)
        assert status == 409
        body["metadata"]["name"] = "fraud-retrain-2"
        for change in (
            {"restartPolicy": "Always"},
            {"containers": []},
            {"containers": [{"name": "train", "image": ""}]},
        ):
            template = body["spec"]["template"]
            changed = {**template, "spec": {**template["spec"], **change}}
            await api.create(kinds.JOB, {**body, "spec": {**body["spec"], "template": changed}})
        await api.create(kinds.JOB, {**body, "spec": {**body["spec"], "backoffLimit": -1}})

    play(scenario)


def test_names_labels_and_annotations(play: Play) -> None:
    async def scenario(api: Api) -> None:
        for metadata in (
            {"name": "Upper"},
            {"name": "a" * 254},
            {"name": "a", "labels": {"k": "not valid!"}},
            {"name": "a", "labels": {"k": "x" * 64}},
            {"name": "a", "labels": {"-k": "x", "a/b/c": "x", "A/b": "y"}},
            {"name": "a", "annotations": {"k": "x" * 262144}},
            {"name": "a", "ownerReferences": [{"apiVersion": "", "kind": "", "name": "", "uid": ""}]},
        ):
            await api.create(kinds.SECRET, {"metadata": metadata})
        await api.create(kinds.SECRET, {"metadata": {"generateName": ""}})
        await api.create(kinds.SECRET, {"metadata": {"name": "a", "namespace": "elsewhere"}})

    play(scenario)


def test_an_endpoint_slice(play: Play) -> None:
    async def scenario(api: Api) -> None:
        endpoints = [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}]
        body = {
            "metadata": {"name": "shop-router", "labels": {"endpointslice.kubernetes.io/managed-by": "serin.dev"}},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": 10001, "protocol": "TCP"}],
        }
        await api.apply(kinds.ENDPOINT_SLICE, body)
        _, changed = await api.apply(kinds.ENDPOINT_SLICE, {**body, "endpoints": endpoints * 2, "ports": [{"port": 1}]})
        assert changed["metadata"]["generation"] == 2
        await api.apply(kinds.ENDPOINT_SLICE, {**body, "endpoints": []})
        await api.patch(kinds.ENDPOINT_SLICE, "shop-router", {"metadata": {"labels": {"a": "b"}}})
        await api.apply(kinds.ENDPOINT_SLICE, {**body, "addressType": "IPv6"}, force=True)

    play(scenario)


def test_a_lease(play: Play) -> None:
    async def scenario(api: Api) -> None:
        spec = {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "leaseTransitions": 0,
            "acquireTime": "2026-11-22T10:00:00.123456Z",
            "renewTime": "2026-11-22T10:00:00.123456Z",
        }
        body: JsonObject = {"metadata": {"name": "serin"}, "spec": spec}
        _, first = await api.create(kinds.LEASE, body, manager="serin")
        assert first["spec"] == spec
        version = {"name": "serin", "resourceVersion": first["metadata"]["resourceVersion"]}
        await api.apply(kinds.LEASE, {"metadata": version, "spec": {**spec, "holderIdentity": ""}}, force=True)
        assert (await api.apply(kinds.LEASE, {"metadata": version, "spec": spec}, force=True))[0] == 409
        await api.apply(kinds.LEASE, {**body, "spec": {**spec, "leaseDurationSeconds": 0}}, force=True)

    play(scenario)


def test_an_event(play: Play) -> None:
    async def scenario(api: Api) -> None:
        event: JsonObject = {
            "metadata": {"name": "iris.1"},
            "eventTime": "2026-11-22T10:00:00.000000Z",
            "type": "Normal",
            "reason": "Promoted",
            "action": "Promoted",
            "note": "promoted",
            "reportingController": "serin.dev/operator",
            "reportingInstance": "serin-0",
            "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": api.namespace, "name": "iris"},
        }
        status, _ = await api.apply(kinds.EVENT, event, force=True)
        assert status == 201
        series = {"count": 2, "lastObservedTime": "2026-11-22T10:00:05.000000Z"}
        await api.apply(kinds.EVENT, {**event, "series": series}, force=True)
        for change in (
            {"note": "x" * 1025},
            {"note": "…" * 400},
            {"reason": ""},
            {"eventTime": None},
            {"reason": "other"},
        ):
            await api.apply(
                kinds.EVENT, {**event, **change, "metadata": {"name": f"iris.{len(str(change))}"}}, force=True
            )

    play(scenario)


def test_a_namespace(play: Play) -> None:
    async def scenario(api: Api) -> None:
        await api.get(NAMESPACE, api.namespace)
        await api.create(NAMESPACE, {"metadata": {"name": api.namespace}})

    play(scenario)
