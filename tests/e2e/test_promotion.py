"""A good version is promoted, and a person goes back to the one before it: no client notices either of the two."""

import itertools
import os
import subprocess
import sys
import time

import pytest
from scipy.stats import binomtest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import NAME
from tests.e2e.install import Installation
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

STEPS = ({"weight": 20, "bake": "8s"}, {"weight": 50, "bake": "8s"}, {"weight": 80, "bake": "8s"})
# One in 100,000 for each of the steps: a share outside of it is not chance.
CONFIDENCE = 0.99999


@pytest.mark.timeout(400)
def test_a_good_candidate_is_promoted_without_a_failed_request(shop: Shop, version: Apply, traffic: Traffic) -> None:
    seen: dict[int, float] = {}

    def watch(status: dict[str, object]) -> bool:
        step = status.get("step", {})
        weight = step.get("weight", 0)  # type: ignore[attr-defined]
        if 0 < weight < 100 and weight not in seen:
            seen[weight] = time.time()
        return bool(status.get("stable", {}).get("model") == "2" and not status.get("candidate"))  # type: ignore[attr-defined]

    version("2", steps=STEPS, analysis={"ableToSee": "5"})
    status = shop.wait(NAME, "promoted", watch, 240)
    promoted = time.time()
    candidate = status["stable"]["snapshot"]
    time.sleep(3)
    total = traffic.stop()
    assert total.failures == 0, total
    assert sorted(seen) == [20, 50, 80], "every step was taken"
    begins = [*sorted(seen.items()), (100, promoted)]
    for (weight, begin), (_, end) in itertools.pairwise(begins):
        # The first second belongs to the shift itself: the status is seen after the router has it, or before.
        share = traffic.summary(since=begin + 1, until=end - 1)
        chosen = binomtest(share.snapshots[candidate], share.snapshots.total()).proportion_ci(CONFIDENCE)
        print(f"weight {weight}%: measured {share.share(candidate):.1%} of {share.requests}")
        assert chosen.low <= weight / 100 <= chosen.high, (weight, share)
    assert traffic.summary(since=promoted + 1).share(candidate) == 1.0


@pytest.mark.timeout(400)
def test_a_person_goes_back_long_after_the_promotion_without_a_failed_request(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    earlier = shop.status(NAME)["stable"]["snapshot"]
    version("2")
    # At once: no router has sent it anything yet, so nothing of what happens now was ever tried before.
    shop.annotate(NAME, f"serin.dev/promote={time.time()}")
    promoted = shop.wait(NAME, "promoted", lambda status: status["stable"]["snapshot"] != earlier, 120)
    later = promoted["stable"]["snapshot"]
    shop.kubectl("wait", "--for=delete", f"deployment/{earlier}", "--timeout=90s")
    shop.kubectl("wait", "--for=delete", "pods", "-l", f"serin.dev/snapshot={earlier}", "--timeout=60s")

    asked = time.time()
    command = [sys.executable, "-m", "serin", "rollback", NAME, "--namespace", shop.namespace]
    environment = {**os.environ, "KUBECONFIG": str(serin.cluster.kubeconfig)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    print(said.stdout)
    assert "goes back to" in said.stdout
    status = shop.wait(NAME, "back", lambda status: status["stable"]["snapshot"] == earlier, 120)
    back = time.time()
    print(f"asked, started, moved and recorded in {back - asked:.1f} s")
    time.sleep(3)
    total = traffic.stop()
    assert total.failures == 0, total
    assert status["lastRollback"]["reason"] == "RolledBackByUser"
    assert set(traffic.summary(since=asked).snapshots) == {earlier, later}, "the later version served meanwhile"
    assert traffic.summary(since=back + 1).share(earlier) == 1.0
    shop.wait(NAME, "refusing what was left", lambda status: status.get("reason") == "RejectedContent", 30)
