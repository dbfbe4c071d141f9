"""With the shield off: what is bad is rolled back quickly, what is not the version's fault is not."""

import time

import pytest

from tests.cluster.node_cluster import NodeCluster
from tests.e2e.conftest import Apply
from tests.e2e.fraud import NAME
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

STEPS = ({"weight": 20, "bake": "60s"}, {"weight": 50, "bake": "60s"})
LONG = ({"weight": 50, "bake": "300s"},)


def test_one_in_five_is_rolled_back_at_once(shop: Shop, version: Apply, traffic: Traffic) -> None:
    version("2", config={"error-ratio": "0.2"}, steps=STEPS, shield="Off")
    rollback = shop.wait_rolled_back(NAME)
    requests = max(row.get("requests", 0) for row in shop.record(rollback["from"])["metrics"])
    print(f"{rollback['message']} — after {requests} candidate requests")
    assert rollback["metric"] == "errors"
    # 45 at the median, and more than 150 once in 10,000 rollouts; what comes in one late look is counted whole.
    assert requests <= 250
    assert traffic.stop().failures, "with the shield off clients see what the candidate fails"


def test_twice_as_slow_is_rolled_back(shop: Shop, version: Apply, traffic: Traffic) -> None:
    version("2", config={"slow-ratio": "1", "slow-seconds": "0.1"}, steps=STEPS, shield="Off")
    rollback = shop.wait_rolled_back(NAME, 200)
    print(rollback["message"])
    assert rollback["metric"] == "latency"
    assert traffic.stop().failures == 0


def test_an_incident_that_hits_both_is_not_the_candidates_fault(shop: Shop, version: Apply, traffic: Traffic) -> None:
    traffic.malformed = 0.2
    version("2", steps=LONG, shield="Off")
    shop.wait(NAME, "under traffic", lambda one: one.get("step", {}).get("weight"), 120)
    time.sleep(25)
    status = shop.status(NAME)
    (errors,) = (row for row in status["metrics"] if row["name"] == "errors")
    print(errors)
    assert errors["requests"] > 300
    assert status["candidate"]["snapshot"], "the candidate is still there"
    assert not errors["verdict"].startswith("Fail")
    assert "lastRollback" not in status or status["lastRollback"]["from"] != status["candidate"]["snapshot"]


def test_without_traffic_it_holds_and_says_so(shop: Shop, version: Apply) -> None:
    version("2", steps=({"weight": 50, "bake": "1s"},))
    status = shop.wait(NAME, "held", lambda one: one.get("reason") == "NoTraffic", 120)
    assert status["traffic"]["weights"][status["candidate"]["snapshot"]] == 50
    time.sleep(5)
    assert shop.status(NAME)["reason"] == "NoTraffic"


@pytest.mark.parametrize("fault", ["image", "not-loaded"])
def test_a_candidate_that_never_gets_ready_gets_no_request(
    shop: Shop, version: Apply, traffic: Traffic, fault: str
) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    if fault == "image":
        container = {"name": "model", "image": "serin.test/none:1", "ports": [{"containerPort": 8080}]}
        version("3", template={"spec": {"containers": [container]}}, progressDeadline="15s")
        words = "ImagePull"
    else:
        version("3", config={"not-loaded": "true"}, progressDeadline="25s")
        words = "the model is not loaded"
    rollback = shop.wait_rolled_back(NAME, 120)
    total = traffic.stop()
    print(rollback["message"])
    assert rollback["reason"] == "ProgressDeadlineExceeded"
    assert words in rollback["message"]
    assert set(total.snapshots) == {stable}
    assert total.failures == 0


def test_without_prometheus_it_holds_and_goes_on_when_it_is_back(
    shop: Shop, version: Apply, traffic: Traffic, own_node_cluster: NodeCluster
) -> None:
    version("2", steps=({"weight": 50, "bake": "2s"},), analysis={"ableToSee": "5"})
    shop.wait(NAME, "under traffic", lambda one: one.get("step", {}).get("weight"), 120)
    own_node_cluster.kill("prometheus")
    try:
        status = shop.wait(NAME, "held", lambda one: one.get("reason") == "PrometheusUnreachable", 60)
        print(status["message"])
        time.sleep(3)
        assert shop.status(NAME).get("candidate"), "silence is not failure"
        assert shop.status(NAME)["stable"]["model"] == "1", "silence is not success"
    finally:
        own_node_cluster.restart("prometheus")
    shop.wait_serving(NAME, "2", 180)
    assert traffic.stop().failures == 0
