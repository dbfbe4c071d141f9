"""Git, Argo CD and other managers beside the running operator, on a real API server.

What Git says is applied as Argo CD does it: server-side, by the field manager `argocd-controller`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from serin.api.json import JsonObject
from tests.argocd import health
from tests.crds import ROOT
from tests.integration import operator_process
from tests.integration.operator_process import Cluster, OperatorProcess, routing, until
from tests.integration.proxy import Proxy
from tests.integration.test_operator_life import quiet, serving

pytestmark = pytest.mark.control_plane

ARGOCD = ("--server-side", "--field-manager=argocd-controller", "--force-conflicts", "-f", "-")
SOMEBODY = ("apply", "--server-side", "--field-manager=somebody", "--force-conflicts", "-f", "-")
ADDRESS = "192.0.2.1"
STEPS = [{"weight": 10, "bake": "1h"}]


@pytest.fixture
def cluster(control_plane: Any) -> Iterator[Cluster]:
    made = Cluster(control_plane)
    made.kubectl("--namespace", made.system, "apply", "-f", "-", body=router())
    yield made
    made.remove()


def router() -> JsonObject:
    """Where a router would be: without one no rollout begins."""
    labels = {"kubernetes.io/service-name": "serin-router", "serin.dev/model-deployment": ""}
    body: JsonObject = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
    body |= {"metadata": {"name": "serin-router", "labels": labels}, "ports": [{"name": "metrics", "port": 9902}]}
    body["endpoints"] = [{"addresses": [ADDRESS], "conditions": {"ready": True}}]
    return body


@asynccontextmanager
async def operating(control_plane: Any, cluster: Cluster, folder: Path) -> AsyncIterator[tuple[OperatorProcess, Proxy]]:
    """An operator that leads, and a router that takes what it gives."""
    started = operator_process.operating(control_plane, cluster, folder)
    async with started as (operator, proxy), routing(operator, ADDRESS):
        yield operator, proxy


def manifest(version: str, **spec: Any) -> JsonObject:
    """What is in Git."""
    container = {"name": "model", "image": "registry.test/model:1", "ports": [{"containerPort": 8080}]}
    container["resources"] = {"requests": {"cpu": "0.10", "memory": "1024Mi"}}
    strategy = {"canary": {"steps": STEPS}}
    body: JsonObject = {"apiVersion": "serin.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "fraud"}}
    model = {"name": "fraud", "version": version}
    body["spec"] = {"model": model, "template": {"spec": {"containers": [container]}}, "strategy": strategy} | spec
    return body


def sync(cluster: Cluster, body: JsonObject) -> None:
    """Apply as Argo CD does with ServerSideApply=true."""
    cluster.kubectl("apply", *ARGOCD, body=body)


def differences(cluster: Cluster, body: JsonObject) -> JsonObject:
    """What a server-side diff finds, as Argo CD makes it: part of the resource -> (live, as it would be)."""
    wanted = json.loads(cluster.kubectl("apply", "--dry-run=server", "-o", "json", *ARGOCD, body=body))
    live = look(cluster)
    parts = ("labels", "annotations", "generation", "ownerReferences", "finalizers")
    pairs = {part: (live["metadata"].get(part), wanted["metadata"].get(part)) for part in parts}
    pairs["spec"] = (live["spec"], wanted["spec"])
    return {part: pair for part, pair in pairs.items() if pair[0] != pair[1]}


def look(cluster: Cluster) -> JsonObject:
    """The ModelDeployment as Argo CD reads it."""
    return cluster.read("md", "fraud")


async def under_way(cluster: Cluster, **spec: Any) -> str:
    """Bring version 1 up, and version 2 to its 10 %; answers the name of stable."""
    sync(cluster, manifest("1", **spec))
    await serving(cluster)
    stable: str = cluster.status()["stable"]["snapshot"]
    sync(cluster, manifest("2", **spec))
    await until(
        lambda: cluster.make_pods_ready() and cluster.status()["traffic"]["weights"][stable] == 90, what="a rollout"
    )
    return stable


def shifts(operator: OperatorProcess) -> list[dict[str, int]]:
    """The weights after every change, as the operator logged it."""
    lines = [json.loads(line) for line in operator.log().splitlines() if "weights.shifted" in line]
    return [line["after"] for line in lines]


async def test_nothing_is_out_of_sync_whatever_serin_has_done(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path):
        sync(cluster, manifest("1"))
        assert not differences(cluster, manifest("1"))
        await serving(cluster)
        assert not differences(cluster, manifest("1"))
        assert differences(cluster, manifest("2")).keys() == {"spec", "generation"}, "a real difference must show"
        sync(cluster, manifest("2"))
        await until(lambda: cluster.make_pods_ready() and cluster.status()["phase"] == "Progressing", what="a rollout")
        assert not differences(cluster, manifest("2"))
        cluster.kubectl("annotate", "md", "fraud", "serin.dev/abort=now")
        await until(lambda: "lastRollback" in cluster.status(), what="the rollback")
        assert not differences(cluster, manifest("2")), (
            "a rollback is no drift either: Git is not overruled in the spec"
        )
        managers = {entry["manager"]: entry for entry in _managers(cluster, "md", "fraud")}
        assert managers["serin"]["subresource"] == "status"
        assert "f:spec" not in managers["serin"]["fieldsV1"]


async def test_every_field_of_the_sample_stays_in_sync(control_plane: Any, cluster: Cluster, tmp_path: Path) -> None:
    sample = next(yaml.safe_load_all((ROOT / "manifests" / "samples" / "canary.yaml").read_text()))
    async with operating(control_plane, cluster, tmp_path):
        sync(cluster, sample)
        await until(lambda: "reason" in cluster.status(), what="a first look")
        assert not differences(cluster, sample)


async def test_a_git_revert_is_an_instant_rollback_in_one_status_write(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (operator, _):
        stable = await under_way(cluster)
        assert health(look(cluster)).status == "Progressing"
        before, begun = len(shifts(operator)), time.monotonic()
        sync(cluster, manifest("1"))
        await until(lambda: cluster.status()["traffic"]["weights"] == {stable: 100}, what="the way back")
        print(f"all traffic back {time.monotonic() - begun:.2f} s after the apply began")
        await until(lambda: len(shifts(operator)) > before, what="the log")
        status = cluster.status()
        assert (status["phase"], "candidate" in status) == ("Healthy", False)
        await asyncio.sleep(1.0)
        assert shifts(operator)[before:] == [{stable: 100}]
        assert not differences(cluster, manifest("1"))
        await until(lambda: health(look(cluster)).status == "Healthy", what="health")
        shown = health(look(cluster))
        assert (shown.status, shown.message) == ("Healthy", f"Serving: {stable} serves all traffic")


async def test_argo_cd_shows_a_rejected_version_as_degraded_and_a_pause_as_suspended(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path):
        sync(cluster, manifest("1"))
        assert health(look(cluster)).status == "Progressing"
        await serving(cluster)
        await until(lambda: health(look(cluster)).status == "Healthy", what="health")
        await under_way(cluster)
        cluster.kubectl("annotate", "md", "fraud", "serin.dev/pause=true")
        await until(lambda: health(look(cluster)).status == "Suspended", what="the pause")
        assert not differences(cluster, manifest("2")), "annotations of people are no drift"
        cluster.kubectl("annotate", "md", "fraud", "serin.dev/abort=now")
        await until(lambda: health(look(cluster)).status == "Degraded", what="the abort")
        await until(lambda: "RejectedContent" in health(look(cluster)).message, what="the refusal")


async def test_applying_the_whole_live_object_by_force_changes_nothing(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (operator, proxy):
        stable = await under_way(cluster)
        await quiet(proxy)
        live, before = look(cluster), len(shifts(operator))
        forged = json.loads(json.dumps(live))
        del forged["metadata"]["resourceVersion"]  # what the operator says of its evidence may change meanwhile
        forged["status"]["traffic"]["weights"] = {stable: 0, live["status"]["candidate"]["snapshot"]: 100}
        forged["metadata"].setdefault("annotations", {})["somebody.example/note"] = "mine now"
        cluster.kubectl(*SOMEBODY, body=forged)
        await quiet(proxy)
        after = look(cluster)
        assert after["metadata"]["annotations"]["somebody.example/note"] == "mine now"
        assert after["metadata"]["generation"] == live["metadata"]["generation"]
        decided = ("phase", "traffic", "stable", "candidate", "step")
        assert [after["status"].get(part) for part in decided] == [live["status"].get(part) for part in decided]
        assert len(shifts(operator)) == before
        # Git takes its fields back without a change either.
        sync(cluster, manifest("2"))
        assert look(cluster)["metadata"]["generation"] == live["metadata"]["generation"]


def _managers(cluster: Cluster, kind: str, name: str) -> list[JsonObject]:
    found: list[JsonObject] = cluster.read(kind, name, managed=True)["metadata"]["managedFields"]
    return found


def _changed(deployment: JsonObject) -> JsonObject:
    """Another image, another container, another variable and an annotation: none of it is the snapshot's."""
    body: JsonObject = json.loads(json.dumps(deployment))
    del body["status"], body["metadata"]["resourceVersion"]
    pod = body["spec"]["template"]["spec"]
    pod["containers"][0]["image"] = "registry.test/other:2"
    pod["containers"][0]["env"].append({"name": "EXTRA", "value": "1"})
    pod["containers"].append({"name": "beside", "image": "registry.test/sidecar:1"})
    body["spec"]["template"]["metadata"]["annotations"] = {"somebody.example/note": "x"}
    return body


def _told(cluster: Cluster, reason: str) -> list[JsonObject]:
    return [one for one in cluster.read("events.events.k8s.io")["items"] if one["reason"] == reason]


def _as_before(cluster: Cluster, before: JsonObject) -> bool:
    return bool(cluster.read("deploy", before["metadata"]["name"])["spec"] == before["spec"])


@pytest.mark.parametrize("who", ["stable", "candidate"])
async def test_a_deployment_changed_by_force_is_put_back_whole(
    control_plane: Any, cluster: Cluster, tmp_path: Path, who: str
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (operator, proxy):
        # Three pods of the candidate: of a single one, the endpoints may show none for a moment while it turns over.
        await under_way(cluster, replicas=30)
        await quiet(proxy)
        before, weights = cluster.status(), len(shifts(operator))
        snapshot = before[who]["snapshot"]
        deployment = cluster.read("deploy", snapshot)
        begun = time.monotonic()
        cluster.kubectl(*SOMEBODY, body=_changed(deployment))
        await until(lambda: _as_before(cluster, deployment), what="the repair")
        print(f"put back {time.monotonic() - begun:.2f} s after the apply began")
        await quiet(proxy)  # no tug of war
        assert _as_before(cluster, deployment)
        await until(lambda: _told(cluster, "PodTemplateRestored"), what="the Event")
        [told] = _told(cluster, "PodTemplateRestored")
        assert snapshot in told["note"]
        assert told["type"] == "Warning"
        assert len(shifts(operator)) == weights
        assert cluster.status()["candidate"]["snapshot"] == before["candidate"]["snapshot"]


async def test_a_deployment_that_was_changed_while_nobody_looked_is_put_back_too(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path):
        stable = await under_way(cluster)
        deployment = cluster.read("deploy", stable)
    body = _changed(deployment)
    body["spec"]["replicas"] = 0
    cluster.kubectl(*SOMEBODY, body=body)
    (tmp_path / "again").mkdir()
    async with operating(control_plane, cluster, tmp_path / "again"):
        await until(lambda: _as_before(cluster, deployment), what="the repair")


async def test_restarting_and_owning_without_changing_are_left_alone(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (_, proxy):
        sync(cluster, manifest("1"))
        await serving(cluster)
        await quiet(proxy)
        stable = cluster.status()["stable"]["snapshot"]
        cluster.kubectl("rollout", "restart", f"deployment/{stable}")
        await quiet(proxy)
        restarted = cluster.read("deploy", stable)
        assert "kubectl.kubernetes.io/restartedAt" in restarted["spec"]["template"]["metadata"]["annotations"]
        del restarted["metadata"]["resourceVersion"], restarted["status"]
        path = f"/apis/apps/v1/namespaces/{cluster.shop}/deployments/{stable}"
        written = proxy.writes()["PATCH", path]
        assert written == 2, "once to make it, once to seal it"
        cluster.kubectl(*SOMEBODY, body=restarted)
        await quiet(proxy)
        assert proxy.writes()["PATCH", path] == written
        assert cluster.read("deploy", stable)["spec"] == restarted["spec"]


async def test_argo_cds_configuration_takes_the_health_check_as_a_patch(cluster: Cluster) -> None:
    own: JsonObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}, "data": {"url": "x"}}
    cluster.kubectl("apply", "-f", "-", body=own)
    cluster.kubectl("patch", "configmap", "argocd-cm", "--patch-file", str(ROOT / "manifests/argocd/argocd-cm.yaml"))
    data = cluster.read("configmap", "argocd-cm")["data"]
    assert data.keys() == {"url", "resource.customizations.health.serin.dev_ModelDeployment"}


def _replicas(cluster: Cluster) -> int:
    return int(look(cluster)["spec"]["replicas"])


def _hand_over(cluster: Cluster, replicas: int) -> None:
    """As docs/operations.md says."""
    body = {"apiVersion": "serin.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "fraud"}}
    words = ("apply", "--server-side", "--field-manager=autoscaled", "--validate=false", "-f", "-")
    cluster.kubectl(*words, body={**body, "spec": {"replicas": replicas}})


def test_an_autoscaler_finds_a_number_and_what_it_sets_stays(cluster: Cluster) -> None:
    """The scale subresource of a resource without a number cannot be read: that is why the schema has a default."""
    sync(cluster, manifest("1"))
    scale = json.loads(cluster.kubectl("get", "md", "fraud", "--subresource=scale", "-o", "json"))
    assert scale["spec"]["replicas"] == 1
    cluster.kubectl("scale", "md/fraud", "--replicas=6")
    sync(cluster, manifest("1", progressDeadline="11m"))
    assert _replicas(cluster) == 6


def test_replicas_that_are_taken_out_of_git_become_one_as_a_deployments_do(cluster: Cluster) -> None:
    sync(cluster, manifest("1", replicas=4))
    sync(cluster, manifest("1"))
    assert _replicas(cluster) == 1
    template = {"metadata": {"labels": {"app": "other"}}, "spec": manifest("1")["spec"]["template"]["spec"]}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "other"}}
    spec = {"selector": {"matchLabels": {"app": "other"}}, "template": template}
    for changes in ({"replicas": 4}, {}):
        cluster.kubectl("apply", *ARGOCD, body={**deployment, "spec": {**spec, **changes}})
    assert cluster.read("deployment", "other")["spec"]["replicas"] == 1


def test_replicas_that_were_handed_over_stay_when_they_are_taken_out_of_git(cluster: Cluster) -> None:
    sync(cluster, manifest("1", replicas=4))
    _hand_over(cluster, 4)
    sync(cluster, manifest("1"))
    assert _replicas(cluster) == 4
    cluster.kubectl("scale", "md/fraud", "--replicas=6")
    sync(cluster, manifest("1", progressDeadline="11m"))
    assert _replicas(cluster) == 6
