"""The shield: what the candidate fails, stable answers; the evidence counts every failure, the verdict is as quick."""

import time

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import NAME
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

# Longer than the machine stands still: what takes so long has waited for the candidate.
SLOW_SECONDS = 10
STEPS = ({"weight": 20, "bake": "60s"}, {"weight": 50, "bake": "60s"})


@pytest.mark.parametrize("ratio", ["0.05", "0.5", "1"])
def test_clients_see_no_failure_of_the_candidate(shop: Shop, version: Apply, traffic: Traffic, ratio: str) -> None:
    began = time.time()
    version("2", config={"error-ratio": ratio}, steps=STEPS)
    rollback = shop.wait_rolled_back(NAME)
    time.sleep(2)
    total = traffic.stop()
    print(f"rolled back after {time.time() - began:.0f} s: {rollback['message']}")
    assert rollback["metric"] == "errors"
    assert rollback["reason"] == "WorseThanStable"
    assert total.failures == 0, total
    assert total.wrong == 0, total


def test_a_dead_process_hurts_nobody(shop: Shop, version: Apply, traffic: Traffic) -> None:
    # It has its traffic by then, or dies before that and comes back: the kubelet starts it again.
    version("2", config={"crash-after": "15"}, steps=STEPS)
    rollback = shop.wait_rolled_back(NAME)
    time.sleep(2)
    total = traffic.stop()
    print(rollback["message"])
    assert rollback["reason"] in ("CandidateCrashed", "WorseThanStable")
    assert total.failures == 0, total


def test_a_slow_candidate_is_hedged(shop: Shop, version: Apply, traffic: Traffic) -> None:
    router = {"hedgeAfter": "400ms"}
    version("2", config={"slow-ratio": "0.5", "slow-seconds": f"{SLOW_SECONDS}"}, steps=STEPS, router=router)
    rollback = shop.wait_rolled_back(NAME)
    time.sleep(4)
    total = traffic.stop()
    print(rollback["message"], total.quantile(0.999))
    assert total.failures == 0, total
    assert total.quantile(1.0) < SLOW_SECONDS, "no client waited as long as the candidate takes"


def test_a_missing_stable_pod_does_not_delay_the_rollback(shop: Shop, version: Apply, traffic: Traffic) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    version("2", config={"error-ratio": "1"}, steps=STEPS)
    shop.wait_under_traffic(NAME)
    raised = time.monotonic()
    pod = shop.items("pods", f"serin.dev/snapshot={stable}")[0]["metadata"]["name"]
    shop.kubectl("delete", "pod", pod, "--wait=false")
    rollback = shop.wait_rolled_back(NAME)
    print(f"rolled back {time.monotonic() - raised:.1f} s after the raise, with stable one pod short")
    time.sleep(2)
    assert rollback["reason"] == "WorseThanStable"
    total = traffic.stop()
    assert total.failures == 0, total
