"""The operator and the router die, stand still or are cut off: rollouts end as they would have; no client notices."""

import random
import time
from contextlib import AbstractContextManager

import pytest

from serin.api.names import SYSTEM_NAMESPACE
from tests.e2e.conftest import RATE, Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.install import Installation
from tests.e2e.processes import frozen, kill_pod, parted
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

pytestmark = pytest.mark.alone

KILLS = 20
SEED = 7
LATEST = {"stands still": 45.0, "is cut off": 15.0}
"""Seconds until the Envoys that ask such a leader send nobody to what was rolled back; docs/reliability.md says why."""
UNAWARE = 5.0
"""Seconds in which the node may still lead clients to a router pod that was killed, also on a busy machine."""


def _holder(serin: Installation) -> str:
    """Pod name of the replica that holds the Lease."""
    words = ["-n", SYSTEM_NAMESPACE, "get", "lease", "serin", "-o", "jsonpath={.spec.holderIdentity}"]
    return serin.cluster.kubectl(*words)


def _leader(serin: Installation) -> str:
    holder = _holder(serin)
    return next((pod for pod in serin.pods("serin-operator") if holder.startswith(pod)), "")


def _leader_of_a_bad_rollout(serin: Installation, shop: Shop, version: Apply, traffic: Traffic) -> str:
    """Let a version that fails a fifth of its requests be asked; the pod that leads meanwhile.

    Before it is asked the other one might raise its weight, which the Envoys of a leader that is cut off do not follow:
    nothing would fail then.
    """
    leader = shop.until("leader", lambda: _leader(serin))
    version("2", config={"error-ratio": "0.2"}, steps=({"weight": 20, "bake": "60s"},))
    traffic.wait_for("on both versions", lambda seen: len(seen.snapshots) == 2, 120)
    return leader


def _wait_for_another_leader(serin: Installation, shop: Shop, leader: str) -> None:
    began = time.monotonic()
    shop.until("other leader", lambda: (_leader(serin) or leader) != leader, 90)
    print(f"the Lease changed hands {time.monotonic() - began:.1f} s later")


@pytest.mark.timeout(900)
def test_the_leader_dies_and_the_other_goes_on(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    leader = _leader_of_a_bad_rollout(serin, shop, version, traffic)
    kill_pod(serin.cluster, leader)
    _wait_for_another_leader(serin, shop, leader)
    assert shop.wait_rolled_back(NAME)["reason"] == "WorseThanStable"
    assert traffic.stop().failures == 0


def _answering(traffic: Traffic) -> set[str]:
    """The versions that have answered in the last three seconds."""
    return set(traffic.summary(since=time.time() - 3.0).snapshots)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", LATEST)
def test_the_other_rolls_back_while_the_leader(
    how: str, serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    """Longer than 30 s: the other replica waits for the end of the Lease's term before it decides anything.

    Cut off from the API server, the one that led hears from the other what its Envoys are to do.
    """
    leader = _leader_of_a_bad_rollout(serin, shop, version, traffic)
    with _out_of_order(serin, leader, how):
        _wait_for_another_leader(serin, shop, leader)
        assert shop.wait_rolled_back(NAME)["reason"] == "WorseThanStable"
        after = shop.status(NAME)["traffic"]["weights"]
        shop.until("traffic on stable alone", lambda: _answering(traffic) == set(after), LATEST[how])
    time.sleep(3)
    # The one that led before has all back that it lacked, and changes nothing by what it knew then.
    assert shop.status(NAME)["traffic"]["weights"] == after
    total = traffic.stop()
    assert total.failures == 0, total


def _out_of_order(serin: Installation, pod: str, how: str) -> AbstractContextManager[None]:
    if how == "stands still":
        return frozen(serin.cluster, pod)
    address = serin.cluster.kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    return parted(serin.cluster, pod, address)


@pytest.mark.timeout(900)
def test_a_router_pod_is_killed_and_the_candidate_is_rolled_back(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    version("2", config={"error-ratio": "0.2"}, steps=({"weight": 20, "bake": "60s"},))
    shop.wait(NAME, "under evaluation", lambda one: one.get("candidate"))
    kill_pod(serin.cluster, serin.pods("serin-router")[0])
    killed = time.time()
    assert shop.wait_rolled_back(NAME)["reason"] == "WorseThanStable"
    serin.wait("serin-router")
    traffic.wait_for("going on", lambda seen: seen.requests > RATE, 60)
    total, unaware = traffic.stop(), traffic.summary(until=killed + UNAWARE)
    print(f"{total.failures} requests failed after the router pod's SIGKILL")
    # What it had, and what was sent to it until kube-proxy knew; it closes no connection and says nothing before.
    assert set(total.statuses) <= {200, 0}, total
    assert total.failures == unaware.failures, total
    assert total.failures <= UNAWARE * RATE, total


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
