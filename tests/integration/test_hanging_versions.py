"""Versions that do not come up on a real API server: each says why, and is given up at its deadline."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.operator_process import Cluster, operating, routing, until
from tests.integration.test_operator_life import ROUTER, router, serving

pytestmark = [pytest.mark.control_plane, pytest.mark.usefixtures("simulated_nodes")]


@pytest.fixture(autouse=True)
def router_pod(control_plane: Any, cluster: Cluster) -> None:
    """A router that is ready: without one, that is what the status tells first."""
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))


async def quota(cluster: Cluster, hard: str) -> None:
    """A quota of the test's namespace, from when the API server counts by it."""
    cluster.kubectl("create", "quota", "small", f"--hard={hard}")
    await until(lambda: cluster.read("quota", "small").get("status", {}).get("hard"), what="the quota's count")


def condition(cluster: Cluster, kind: str) -> dict[str, Any]:
    found = cluster.status().get("conditions") or ()
    return next((one for one in found if one["type"] == kind), {})


def told(cluster: Cluster, reason: str) -> list[str]:
    found = json.loads(cluster.kubectl("get", "events.events.k8s.io", "-o", "json"))["items"]
    return [one["note"] for one in found if one["reason"] == reason]


async def test_a_quota_that_admits_one_of_three_pods_is_the_reason(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    full: dict[str, Any] = {"replicas": 3, "strategy": {"canary": {"steps": [{"weight": 100, "bake": "10s"}]}}}
    full["progressDeadline"] = "30s"
    async with operating(control_plane, cluster, tmp_path) as (operator, _), routing(operator, ROUTER):
        cluster.deploy(**full)
        await serving(cluster)
        await until(lambda: cluster.make_pods_ready() == 3, what="three pods")
        await quota(cluster, "pods=4")
        cluster.deploy(version="2", **full)
        await until(lambda: "exceeded quota" in cluster.status().get("message", ""), what="the words")
        await until(lambda: cluster.make_pods_ready() and "lastRollback" in cluster.status(), what="the rollback")
        last = cluster.status()["lastRollback"]
        assert last["reason"] == "ProgressDeadlineExceeded"
        assert "1 of 3 candidate pods are ready" in last["message"]
        assert "exceeded quota: small, requested: pods=1" in last["message"]


async def test_a_first_version_whose_deployment_is_not_allowed_says_so_and_is_late_in_time(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    await quota(cluster, "count/deployments.apps=0")
    async with operating(control_plane, cluster, tmp_path) as (operator, _), routing(operator, ROUTER):
        cluster.deploy(progressDeadline="20s")
        await until(lambda: cluster.status().get("reason") == "WriteDenied", what="the reason")
        assert "the API server does not allow Deployment fraud-" in cluster.status()["message"]
        assert "exceeded quota: small" in cluster.status()["message"]
        stalled = condition(cluster, "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", "WriteDenied")
        await until(lambda: any("exceeded quota" in note for note in told(cluster, "WriteDenied")), what="the Event")
        await until(lambda: cluster.status().get("reason") == "ProgressDeadlineExceeded", what="the deadline")
        assert "exceeded quota: small" in cluster.status()["message"]
        cluster.kubectl("delete", "quota", "small")
        await serving(cluster)
        await until(lambda: condition(cluster, "Stalled")["status"] == "False", what="the end of the stall")


async def test_a_candidate_whose_deployment_is_not_allowed_is_rolled_back_at_its_deadline(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (operator, _), routing(operator, ROUTER):
        cluster.deploy(progressDeadline="20s")
        await serving(cluster)
        await quota(cluster, "count/deployments.apps=1")
        cluster.deploy(version="2", progressDeadline="20s")
        await until(lambda: "exceeded quota" in cluster.status().get("message", ""), what="the words")
        assert condition(cluster, "Stalled")["reason"] == "WriteDenied"
        await until(lambda: any("exceeded quota" in note for note in told(cluster, "WriteDenied")), what="the Event")
        await until(lambda: "lastRollback" in cluster.status(), what="the rollback")
        last = cluster.status()["lastRollback"]
        assert last["reason"] == "ProgressDeadlineExceeded"
        assert "exceeded quota: small" in last["message"]
        assert not await operator.metric("serin_reconciles_total", outcome="failed")


async def test_services_that_are_not_allowed_are_told(control_plane: Any, cluster: Cluster, tmp_path: Path) -> None:
    await quota(cluster, "count/services=0")
    async with operating(control_plane, cluster, tmp_path) as (operator, _), routing(operator, ROUTER):
        cluster.deploy()
        await until(lambda: "exceeded quota: small" in cluster.status().get("message", ""), what="the words")
        await until(lambda: condition(cluster, "Routed").get("reason") == "WriteDenied", what="the route's words")
        cluster.kubectl("delete", "quota", "small")
        await serving(cluster)


async def test_a_readiness_gate_that_nobody_sets_is_named(control_plane: Any, cluster: Cluster, tmp_path: Path) -> None:
    container = {"name": "model", "image": "m:1", "ports": [{"containerPort": 8080}]}
    gate = {"conditionType": "example.com/attached"}
    async with operating(control_plane, cluster, tmp_path) as (operator, _), routing(operator, ROUTER):
        # No scheduler takes it, so that no simulated node says anything of the pod.
        pod = {"containers": [container], "readinessGates": [gate], "schedulerName": "nobody"}
        cluster.deploy(template={"spec": pod}, progressDeadline="10s")
        await until(lambda: cluster.read("pods")["items"], what="the pod")
        name = cluster.read("pods")["items"][0]["metadata"]["name"]
        states = [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "False"}]
        patch = json.dumps({"status": {"phase": "Running", "conditions": states}})
        cluster.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)
        await until(lambda: "example.com/attached is not true" in cluster.status()["message"], what="the gate")
        await until(lambda: cluster.status().get("reason") == "ProgressDeadlineExceeded", what="the deadline")
        assert "example.com/attached is not true" in cluster.status()["message"]
