"""A write that names a uid touches the object of this uid and no other, on a real API server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from serin.api.json import JsonObject
from serin.cluster import kinds, login
from serin.cluster.client import KubernetesCluster
from serin.cluster.protocol import Conflict, Gone, Kind, Refused
from tests.integration.operator_process import Cluster

pytestmark = pytest.mark.control_plane

KINDS = (kinds.DEPLOYMENT, kinds.SERVICE, kinds.MODEL_SNAPSHOT)
SPECS: dict[Kind, JsonObject] = {
    kinds.DEPLOYMENT: {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "model"}},
        "template": {
            "metadata": {"labels": {"app": "model"}},
            "spec": {"containers": [{"name": "model", "image": "registry.test/model:1"}]},
        },
    },
    kinds.SERVICE: {"ports": [{"port": 80}]},
    kinds.MODEL_SNAPSHOT: {
        "modelDeployment": "fraud",
        "content": {"runtime": {"template": {}, "runtime": "generic", "port": 8080}},
        "hashes": dict.fromkeys(("runtime", "model", "config", "features"), "a"),
    },
}
NAME = "fraud-1"


@pytest.fixture
async def client(control_plane: Any) -> AsyncIterator[KubernetesCluster]:
    made = KubernetesCluster(await login.log_in(control_plane.kubeconfig))
    yield made
    await made.close()


def named(kind: Kind, namespace: str, **fields: JsonObject) -> JsonObject:
    metadata = {"namespace": namespace, "name": NAME, "labels": {"applied": "yes"}}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata} | fields


def without_labels(body: JsonObject) -> JsonObject:
    return {**body, "metadata": {key: body["metadata"][key] for key in ("namespace", "name")}}


async def read(client: KubernetesCluster, kind: Kind, namespace: str) -> JsonObject:
    return await client.get(kind, namespace, NAME)


async def test_a_write_to_another_object_of_the_same_name_is_a_conflict_and_writes_nothing(
    client: KubernetesCluster, cluster: Cluster
) -> None:
    """As when somebody has deleted what was read, and has made it again."""
    former = str(uuid4())
    for kind in KINDS:
        body = named(kind, cluster.shop, spec=SPECS[kind])
        created = await client.create(without_labels(body))
        writes: list[Callable[[], Awaitable[JsonObject]]] = [
            lambda body=body: client.apply(body, uid=former),
            lambda body=body: client.apply(body, uid=former, force=False),
        ]
        if kind == kinds.DEPLOYMENT:
            changed = {**body, "spec": {"template": {"metadata": {"labels": {"app": "model", "changed": "yes"}}}}}
            writes.append(lambda changed=changed: client.restore_template(changed, uid=former))
        for write in writes:
            with pytest.raises(Conflict, match="the object of this name is another one by now"):
                await write()
        found = await read(client, kind, cluster.shop)
        assert found["metadata"]["uid"] == created["metadata"]["uid"]
        assert "labels" not in found["metadata"]
        assert found["spec"] == created["spec"]
        managers = {entry["manager"] for entry in found["metadata"]["managedFields"] if entry["operation"] == "Apply"}
        assert managers == set()


async def test_a_write_to_what_is_gone_does_not_create_it_again(client: KubernetesCluster, cluster: Cluster) -> None:
    former = str(uuid4())
    for kind in KINDS:
        body = named(kind, cluster.shop, spec=SPECS[kind])
        with pytest.raises(Conflict, match="no existing object was found"):
            await client.apply(body, uid=former)
        with pytest.raises(Gone):
            await read(client, kind, cluster.shop)
    with pytest.raises(Gone):
        await client.restore_template(named(kinds.DEPLOYMENT, cluster.shop, spec=SPECS[kinds.DEPLOYMENT]), uid=former)


async def test_a_write_to_the_object_that_was_read_does_what_it_does_without_its_uid(
    client: KubernetesCluster, cluster: Cluster
) -> None:
    for kind in KINDS:
        body = named(kind, cluster.shop, spec=SPECS[kind])
        uid = (await client.apply(body))["metadata"]["uid"]
        before = await read(client, kind, cluster.shop)
        applied = await client.apply(body, uid=uid)
        assert serins_fields(applied) == serins_fields(before), "the uid is nobody's field"
    template = {
        "metadata": {"labels": {"app": "model", "restored": "yes"}},
        "spec": {"containers": [{"name": "model", "image": "registry.test/model:2"}]},
    }
    uid = (await read(client, kinds.DEPLOYMENT, cluster.shop))["metadata"]["uid"]
    restored = await client.restore_template(
        named(kinds.DEPLOYMENT, cluster.shop, spec={"template": template}), uid=uid
    )
    assert restored["spec"]["template"]["metadata"]["labels"]["restored"] == "yes"
    assert restored["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.test/model:2"
    assert restored["metadata"]["uid"] == uid


async def test_the_status_of_another_object_of_the_same_name_is_guarded_by_the_version_alone(
    client: KubernetesCluster, cluster: Cluster
) -> None:
    kind = kinds.MODEL_SNAPSHOT
    body = named(kind, cluster.shop, spec=SPECS[kind])
    former = (await client.apply(body))["metadata"]
    await client.delete(kind, cluster.shop, NAME, uid=former["uid"])
    await client.apply(body)
    status = named(kind, cluster.shop, status={"verdict": "Promoted"})
    status["metadata"] = {"namespace": cluster.shop, "name": NAME, "resourceVersion": former["resourceVersion"]}
    with pytest.raises(Conflict, match="the object has been modified"):
        await client.patch_status(status)
    assert "status" not in await read(client, kind, cluster.shop)
    del status["metadata"]["resourceVersion"]
    status["metadata"]["uid"] = former["uid"]
    written = await client.patch_status(status)
    assert written["status"] == status["status"], "the API server begins to look at the uid: use it"


async def test_a_body_that_is_refused_stays_refused_with_the_right_uid(
    client: KubernetesCluster, cluster: Cluster
) -> None:
    body = named(kinds.SERVICE, cluster.shop, spec=SPECS[kinds.SERVICE])
    uid = (await client.apply(body))["metadata"]["uid"]
    with pytest.raises(Refused, match="70000"):
        await client.apply({**body, "spec": {"ports": [{"port": 70000}]}}, uid=uid)


def serins_fields(body: JsonObject) -> list[JsonObject]:
    return [one["fieldsV1"] for one in body["metadata"]["managedFields"] if one["manager"] == "serin"]
