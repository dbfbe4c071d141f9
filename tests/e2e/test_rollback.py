"""With the shield off: what is bad is rolled back quickly, what is not the version's fault is not."""

import time
from typing import Any

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import NAME
from tests.e2e.install import Installation
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
    # 45 at the median, 122 at most in 20,000 simulated rollouts; what comes in one late look is counted whole.
    assert requests <= 250
    assert traffic.stop().failures, "with the shield off clients see what the candidate fails"


def test_twice_as_slow_is_rolled_back(shop: Shop, version: Apply, traffic: Traffic) -> None:
    version("2", config={"slow-ratio": "1", "slow-seconds": "0.1"}, steps=STEPS, shield="Off")
    rollback = shop.wait_rolled_back(NAME)
    print(rollback["message"])
    assert rollback["metric"] == "latency"
    assert traffic.stop().failures == 0


def test_422_to_everything_is_rolled_back_by_a_default_metric(shop: Shop, version: Apply, traffic: Traffic) -> None:
    version("2", config={"rejects": "true"}, steps=STEPS)
    rollback = shop.wait_rolled_back(NAME)
    print(rollback["message"])
    assert (rollback["metric"], rollback["reason"]) == ("rejections", "WorseThanStable")
    # An answer is no failure: the shield does not send it again, so its share of the clients saw it until then.
    assert traffic.stop().statuses.keys() == {200, 422}


def test_an_incident_that_hits_both_is_not_the_candidates_fault(
    shop: Shop, version: Apply, traffic: Traffic, serin: Installation
) -> None:
    traffic.malformed = 0.2
    version("2", steps=LONG, shield="Off")

    def errors(status: dict[str, Any]) -> dict[str, Any]:
        return next((row for row in status.get("metrics", ()) if row["name"] == "errors"), {})

    def over(status: dict[str, Any]) -> bool:
        return errors(status).get("requests", 0) > 500 or status.get("lastRollback", {}).get("at", "") > shop.applied

    status = shop.wait(NAME, "judged", over)
    print(errors(status))
    assert status.get("candidate"), f"it is still there: {status.get('lastRollback')}"
    assert not errors(status)["verdict"].startswith("Fail")
    live = serin.measured("max(max_over_time(serin_live_rollouts[1m]))")
    assert live[""] > 0, "the operator reads the router's pods itself"


def test_without_traffic_it_holds_and_says_so(shop: Shop, version: Apply) -> None:
    version("2", steps=({"weight": 50, "bake": "1s"},))
    held = shop.wait(NAME, "held", lambda one: one.get("reason") == "NoTraffic")
    assert held["traffic"]["weights"][held["candidate"]["snapshot"]] == 50
    time.sleep(5)
    # A single scrape that comes too late is told by another reason, for a second.
    later = shop.wait(NAME, "still held", lambda one: one.get("reason") == "NoTraffic")
    assert later["candidate"]["snapshot"] == held["candidate"]["snapshot"], "silence is not failure"
    assert later["traffic"]["weights"] == held["traffic"]["weights"], "silence is not success"


@pytest.mark.parametrize("fault", ["image", "not-loaded"])
def test_a_candidate_that_never_gets_ready_gets_no_request(
    shop: Shop, version: Apply, traffic: Traffic, fault: str
) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    # Time enough for the kubelet to have tried, also on a busy machine: the message has its words.
    deadline = "40s"
    if fault == "image":
        container = {"name": "model", "image": "serin.test/none:1", "ports": [{"containerPort": 8080}]}
        version("3", template={"spec": {"containers": [container]}}, progressDeadline=deadline)
        words = "ImagePull"
    else:
        version("3", config={"not-loaded": "true"}, progressDeadline=deadline)
        words = "the model is not loaded"
    rollback = shop.wait_rolled_back(NAME)
    total = traffic.stop()
    print(rollback["message"])
    assert rollback["reason"] == "ProgressDeadlineExceeded"
    assert words in rollback["message"]
    assert set(total.snapshots) == {stable}
    assert total.failures == 0
