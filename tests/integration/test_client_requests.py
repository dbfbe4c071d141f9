"""Serin's client against a real API server: what it sends, what it gets back, and how each failure is named."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kubernetes.aio.client import Configuration

from serin.api.json import JsonObject
from serin.cluster import kinds, login
from serin.cluster.client import KubernetesCluster
from serin.cluster.protocol import ClusterError, Conflict, Gone, Refused, Retryable
from tests.integration.proxy import proxied, through

pytestmark = pytest.mark.control_plane

NAMESPACE = "default"


@pytest.fixture
def name() -> str:
    return f"client-{uuid4().hex[:8]}"


@pytest.fixture
async def cluster(control_plane: Any) -> AsyncIterator[KubernetesCluster]:
    client = KubernetesCluster(await login.log_in(control_plane.kubeconfig))
    yield client
    await client.close()


def service(name: str, port: int = 80, **labels: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": name, "labels": labels},
        "spec": {"ports": [{"name": "http", "port": port}]},
    }


async def test_an_applied_object_can_be_read_listed_and_deleted(cluster: KubernetesCluster, name: str) -> None:
    applied = await cluster.apply(service(name, test=name))
    read = await cluster.get(kinds.SERVICE, NAMESPACE, name)
    assert read["metadata"]["uid"] == applied["metadata"]["uid"]
    for namespace in (NAMESPACE, None):
        [listed] = await cluster.list(kinds.SERVICE, namespace, f"test={name}")
        assert (listed["apiVersion"], listed["kind"]) == ("v1", "Service")
        assert listed["metadata"]["name"] == name
    await cluster.delete(kinds.SERVICE, NAMESPACE, name, uid=read["metadata"]["uid"])
    with pytest.raises(Gone, match=f'services "{name}" not found'):
        await cluster.get(kinds.SERVICE, NAMESPACE, name)


async def test_apply_owns_only_what_it_sets_and_takes_it_from_others_only_by_force(
    cluster: KubernetesCluster, name: str
) -> None:
    await cluster.create(service(name, theirs="theirs", test=name))
    applied = await cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": NAMESPACE, "name": name, "labels": {"ours": "1"}},
        }
    )
    assert applied["metadata"]["labels"] == {"theirs": "theirs", "test": name, "ours": "1"}
    owned = [entry for entry in applied["metadata"]["managedFields"] if entry["operation"] == "Apply"]
    assert [(entry["manager"], entry["fieldsV1"]) for entry in owned] == [
        ("serin", {"f:metadata": {"f:labels": {"f:ours": {}}}})
    ]


async def test_a_status_planned_on_an_old_version_is_a_conflict(cluster: KubernetesCluster, name: str) -> None:
    deployment: JsonObject = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "model", "image": "none"}]},
            },
        },
    }
    first = await cluster.apply(deployment)
    status = {**deployment, "metadata": {**deployment["metadata"]}, "status": {"collisionCount": 1}}
    del status["spec"]
    status["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"]
    # The controller may have written its own status meanwhile: then this one is out of date too.
    for _ in range(10):
        try:
            second = await cluster.patch_status(status)
            break
        except Conflict:
            current = await cluster.get(kinds.DEPLOYMENT, NAMESPACE, name)
            status["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
    assert second["status"]["collisionCount"] == 1
    status["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"]
    status["status"]["collisionCount"] = 2
    with pytest.raises(Conflict, match="the object has been modified"):
        await cluster.patch_status(status)
    await cluster.delete(kinds.DEPLOYMENT, NAMESPACE, name, uid=first["metadata"]["uid"])


async def test_a_delete_whose_precondition_fails_deletes_nothing(cluster: KubernetesCluster, name: str) -> None:
    applied = await cluster.apply(service(name))
    uid = applied["metadata"]["uid"]
    with pytest.raises(Conflict, match="the UID in the precondition"):
        await cluster.delete(kinds.SERVICE, NAMESPACE, name, uid=str(uuid4()))
    with pytest.raises(Conflict, match="the ResourceVersion in the precondition"):
        await cluster.delete(kinds.SERVICE, NAMESPACE, name, uid=uid, resource_version="1")
    await cluster.delete(
        kinds.SERVICE, NAMESPACE, name, uid=uid, resource_version=applied["metadata"]["resourceVersion"]
    )
    with pytest.raises(Gone):
        await cluster.delete(kinds.SERVICE, NAMESPACE, name, uid=uid)


async def test_refusals_carry_the_api_servers_own_words(cluster: KubernetesCluster, name: str) -> None:
    with pytest.raises(Refused, match=r"spec.ports\[0\].port.*70000.*between 1 and 65535") as refused:
        await cluster.apply(service(name, port=70000))
    assert refused.value.status == 422
    with pytest.raises(Refused, match="field not declared in schema"):
        await cluster.apply({**service(name), "spec": {"nonsense": True}})


async def test_creating_what_exists_is_a_conflict(cluster: KubernetesCluster, name: str) -> None:
    await cluster.create(service(name))
    with pytest.raises(Conflict, match="already exists"):
        await cluster.create(service(name))


async def test_an_event_is_created_and_then_updated_under_the_same_name(cluster: KubernetesCluster, name: str) -> None:
    event: JsonObject = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "type": "Normal",
        "reason": "Promoted",
        "action": "Reconcile",
        "note": "promoted",
        "reportingController": "serin.dev/operator",
        "reportingInstance": "test",
        "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": NAMESPACE, "name": name},
    }
    await cluster.create_event(event)
    await cluster.create_event({**event, "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:05.000000Z"}})
    stored = await cluster.get(kinds.EVENT, NAMESPACE, name)
    assert stored["series"]["count"] == 2


async def test_an_unknown_kind_is_named_before_anything_is_sent(cluster: KubernetesCluster) -> None:
    with pytest.raises(ValueError, match="no kind 'LimitRange' of 'v1' is known to Serin"):
        await cluster.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"namespace": "x", "name": "y"}})


async def test_every_request_is_counted_with_its_kind_and_answer(control_plane: Any, name: str) -> None:
    seen: list[tuple[str, str, int]] = []
    client = KubernetesCluster(
        await login.log_in(control_plane.kubeconfig),
        observer=lambda verb, kind, status, _seconds: seen.append((verb, kind, status)),
    )
    await client.apply(service(name))
    with pytest.raises(Gone):
        await client.get(kinds.POD, NAMESPACE, name)
    await client.list(kinds.LEASE)
    await client.close()
    assert seen == [("apply", "Service", 201), ("get", "Pod", 404), ("list", "Lease", 200)]


async def test_no_connection_and_no_answer_are_worth_another_try(control_plane: Any) -> None:
    seen: list[int] = []
    async with proxied(control_plane.kubeconfig) as proxy:
        client = KubernetesCluster(through(proxy), observer=lambda _verb, _kind, status, _seconds: seen.append(status))
        await client.list(kinds.POD, NAMESPACE)
        proxy.cut()
        with pytest.raises(Retryable, match="no answer from the API server to list Pod"):
            await client.list(kinds.POD, NAMESPACE)
        await client.close()
    async with silent_server() as url:
        client = KubernetesCluster(Configuration(host=url), timeout=0.2)
        with pytest.raises(Retryable, match=r"no answer from the API server to list Pod: none came within 0.2 s"):
            await asyncio.wait_for(client.list(kinds.POD, NAMESPACE), 60)
        await client.close()
    assert seen == [200, 0]


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Accept connections and never answer, as a hung API server does."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    yield f"http://{host}:{port}"
    server.close()


async def test_a_wrong_token_is_worth_another_try_since_tokens_rotate(
    control_plane: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token file holds a wrong token first; the client finds the right one when it looks again."""
    admin = await login.log_in(control_plane.kubeconfig)
    right = control_plane.kubectl("--namespace", NAMESPACE, "create", "token", "default").strip()
    (tmp_path / "token").write_text("wrong")
    server = {"server": admin.host, "certificate-authority": admin.ssl_ca_cert}
    if not admin.verify_ssl:
        server = {"server": admin.host, "insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": server}],
        "users": [{"name": "u", "user": {"tokenFile": str(tmp_path / "token")}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setattr(login, "_REFRESH_SECONDS", 0.0)
    client = KubernetesCluster(await login.log_in(tmp_path / "config"))
    with pytest.raises(Retryable, match="does not accept the login's credentials: Unauthorized"):
        await client.list(kinds.POD, NAMESPACE)
    (tmp_path / "token").write_text(right)
    # Known now, and not allowed: the ServiceAccount has no permissions.
    with pytest.raises(Refused, match="system:serviceaccount:default:default"):
        await client.list(kinds.POD, NAMESPACE)
    await client.close()


async def test_no_credentials_say_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(login.LoginError, match="Set --kubeconfig or KUBECONFIG to a kubeconfig file"):
        await login.log_in(tmp_path / "absent")


def test_every_failure_is_a_cluster_error() -> None:
    assert all(issubclass(kind, ClusterError) for kind in (Retryable, Conflict, Gone, Refused))
