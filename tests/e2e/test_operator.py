"""The operator and the router die or stand still: the rollout ends as it would have; clients notice nothing."""

import random
import time

import pytest

from serin.api.names import SYSTEM_NAMESPACE
from tests.e2e.conftest import RATE, Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.install import Installation
from tests.e2e.processes import frozen, kill_pod
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

KILLS = 20
SEED = 7


def _holder(serin: Installation) -> str:
    """Pod name of the replica that holds the Lease."""
    words = ["-n", SYSTEM_NAMESPACE, "get", "lease", "serin", "-o", "jsonpath={.spec.holderIdentity}"]
    return serin.cluster.kubectl(*words)


def _leader(serin: Installation) -> str:
    holder = _holder(serin)
    return next((pod for pod in serin.pods("serin-operator") if holder.startswith(pod)), "")


def _leader_of_a_bad_rollout(serin: Installation, shop: Shop, version: Apply) -> str:
    """Let a version that fails a fifth of its requests be evaluated; the pod that leads meanwhile."""
    leader = shop.until("leader", lambda: _leader(serin))
    version("2", config={"error-ratio": "0.2"}, steps=({"weight": 20, "bake": "60s"},))
    shop.wait(NAME, "under evaluation", lambda one: one.get("candidate"))
    return leader


def _wait_for_another_leader(serin: Installation, shop: Shop, leader: str) -> None:
    began = time.monotonic()
    shop.until("other leader", lambda: (_leader(serin) or leader) != leader, 90)
    print(f"the Lease changed hands {time.monotonic() - began:.1f} s later")


@pytest.mark.timeout(900)
def test_the_leader_dies_and_the_other_goes_on(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    leader = _leader_of_a_bad_rollout(serin, shop, version)
    kill_pod(serin.cluster, leader)
    _wait_for_another_leader(serin, shop, leader)
    assert shop.wait_rolled_back(NAME)["reason"] == "WorseThanStable"
    assert traffic.stop().failures == 0


@pytest.mark.timeout(900)
def test_the_leader_stands_still_and_the_other_rolls_back(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    """Longer than 30 s: the other replica waits for the end of the Lease's term before it decides anything."""
    leader = _leader_of_a_bad_rollout(serin, shop, version)
    with frozen(serin.cluster, leader):
        _wait_for_another_leader(serin, shop, leader)
        assert shop.wait_rolled_back(NAME)["reason"] == "WorseThanStable"
        weights = shop.status(NAME)["traffic"]["weights"]
    time.sleep(3)
    # The one that led before goes on, and changes nothing by what it knew then.
    assert shop.status(NAME)["traffic"]["weights"] == weights
    total = traffic.stop()
    assert total.failures == 0, total


@pytest.mark.timeout(900)
def test_a_router_pod_is_replaced(serin: Installation, traffic: Traffic) -> None:
    victim = serin.pods("serin-router")[0]
    # Returns when it is gone: after the clients' connections, which last 10 s at most, have left it.
    serin.cluster.kubectl("-n", SYSTEM_NAMESPACE, "delete", "pod", victim)
    serin.wait("serin-router")
    gone = time.time()
    traffic.wait_for("going on", lambda seen: seen.requests > 3 * RATE, 60)
    total = traffic.stop()
    assert victim not in serin.pods("serin-router")
    # Connections that were open may break; nothing else may.
    assert set(total.statuses) <= {200, 0}, total
    assert total.failures <= 10, total
    after = traffic.summary(since=gone)
    assert after.failures == 0, after


@pytest.mark.timeout(900)
def test_the_operator_is_killed_at_twenty_moments_of_a_rollout(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    dice = random.Random(SEED)
    steps = ({"weight": 20, "bake": "5s"}, {"weight": 50, "bake": "5s"}, {"weight": 80, "bake": "5s"})
    version("2", steps=steps, analysis={"minimumDetectableEffect": "5"}, metrics=[ERRORS])
    for number in range(KILLS):
        time.sleep(dice.uniform(0.5, 4.0))
        pods = shop.until("replica of Serin", lambda: serin.pods("serin-operator"))
        # Mostly the one that acts, when there is one; the other one's death must not matter either.
        victim = (_leader(serin) if dice.random() < 0.7 else "") or dice.choice(pods)
        print(f"kill {number + 1}: {victim}, phase {shop.status(NAME).get('phase')}")
        kill_pod(serin.cluster, victim)
    shop.wait_serving(NAME, "2")
    time.sleep(2)
    total = traffic.stop()
    assert total.failures == 0, total
