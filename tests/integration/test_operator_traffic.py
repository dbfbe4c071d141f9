"""The condition PolicyFeasible on a real API server, from a real Prometheus: before the candidate has a single pod."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serin.api.json import JsonObject
from tests.integration.operator_process import Cluster, OperatorProcess, until
from tests.integration.prometheus_server import PrometheusServer, write_history

pytestmark = [pytest.mark.control_plane, pytest.mark.usefixtures("debian_packages")]

STEPS = {"canary": {"steps": [{"weight": 5, "bake": "10m"}, {"weight": 50, "bake": "10m"}]}}
METRICS = [{"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}]


@pytest.fixture
def prometheus(tmp_path: Path, cluster: Cluster) -> Iterator[PrometheusServer]:
    """It has scraped 0.4 requests a second to `fraud` for the last twenty minutes, one in a hundred of them bad."""
    now, folder = time.time(), tmp_path / "prometheus"
    folder.mkdir()
    labels = {"serin_namespace": cluster.shop, "serin_model_deployment": "fraud", "serin_snapshot": "fraud-first"}
    labels |= {"serin_attempt": "first", "job": "router", "instance": "a", "namespace": cluster.system}
    counters = {"envoy_serin_attempts": 0.4, "envoy_serin_failures": 0.004}
    write_history(
        folder / "data",
        (
            (name, labels, rate * 15.0 * n, now - 1200.0 + 15.0 * n)
            for name, rate in counters.items()
            for n in range(81)
        ),
    )
    server = PrometheusServer(folder).start()
    yield server
    server.stop()


def feasible(cluster: Cluster) -> JsonObject:
    conditions = cluster.status().get("conditions") or []
    return next((one for one in conditions if one["type"] == "PolicyFeasible"), {})


async def test_a_rollout_that_lacks_traffic_says_so_when_it_begins(
    control_plane: Any, cluster: Cluster, prometheus: PrometheusServer, tmp_path: Path
) -> None:
    operator = OperatorProcess(control_plane.kubeconfig, cluster, tmp_path / "log", prometheus.url)
    try:
        await operator.wait_until_ready()
        await operator.wait_until_leading()
        cluster.deploy(strategy=STEPS, metrics=METRICS)
        await until(lambda: cluster.make_pods_ready() and "stable" in cluster.status(), what="fraud serving")
        assert feasible(cluster) == {}, "nothing is under way"
        assert await operator.metric("serin_prometheus_queries") == 0
        cluster.deploy(version="2", strategy=STEPS, metrics=METRICS)
        await until(lambda: feasible(cluster).get("status") == "False", what="the condition")
        weights = cluster.status()["traffic"]["weights"]
        assert list(weights.values()) == [100], "the candidate has no traffic yet"
        found = feasible(cluster)
        assert found["reason"] == "TrafficTooLow"
        assert found["message"].startswith("at 0.4 requests/s step 1 (5% for 10m) gathers 12 candidate requests")
        assert found["message"].endswith(
            "raise the weight, lengthen the bake, or raise analysis.minimumDetectableEffect"
        )
        assert await operator.metric("serin_prometheus_queries") == 1
        await until(lambda: "TrafficTooLow" in _events(cluster), what="the Event")
        # Half of the traffic for two days is enough; the traffic is not measured again for that.
        longer = {"canary": {"steps": [{"weight": 50, "bake": "48h"}]}}
        cluster.deploy(version="2", strategy=longer, metrics=METRICS)
        await until(lambda: feasible(cluster).get("status") == "True", what="the condition of longer steps")
        assert feasible(cluster)["reason"] == "TrafficSuffices"
    finally:
        await operator.stop()


def _events(cluster: Cluster) -> set[str]:
    items = json.loads(cluster.kubectl("get", "events.events.k8s.io", "-o", "json"))["items"]
    return {one.get("reason", "") for one in items}
