"""Prometheus ends in mid-rollout: what only it has is waited for, and everything goes on when it is back."""

import time

import pytest

from tests.cluster.node_cluster import NodeCluster
from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

pytestmark = pytest.mark.alone

# The router's own metrics are read from its pods, and need no Prometheus.
OWN = {
    "name": "own",
    "ratio": {"bad": "envoy_serin_failures{ {{.version}} }", "total": "envoy_serin_attempts{ {{.version}} }"},
    "severity": "critical",
}


def test_without_prometheus_it_holds_and_goes_on_when_it_is_back(
    shop: Shop, version: Apply, traffic: Traffic, own_node_cluster: NodeCluster
) -> None:
    # The bake leaves the time to kill Prometheus before the candidate could be promoted, on a busy machine as well.
    steps, metrics = ({"weight": 50, "bake": "20s"},), [ERRORS, OWN]
    version("2", steps=steps, analysis={"minimumDetectableEffect": "5"}, metrics=metrics)
    shop.wait_under_traffic(NAME)
    own_node_cluster.kill("prometheus")
    try:
        status = shop.wait(NAME, "held", lambda one: one.get("reason") == "PrometheusUnreachable")
        print(status["message"])
        time.sleep(3)
        assert shop.status(NAME).get("candidate"), "silence is not failure"
        assert shop.status(NAME)["stable"]["model"] == "1", "silence is not success"
    finally:
        own_node_cluster.restart("prometheus")
    shop.wait_serving(NAME, "2")
    assert traffic.stop().failures == 0
