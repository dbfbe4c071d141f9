"""A good version is promoted, and a person goes back to the one before it: no client notices either of the two."""

import os
import subprocess
import sys
import time
from typing import Any

import pytest
from scipy.stats import binomtest

from serin.api.times import parse_rfc3339
from tests.e2e.conftest import Apply
from tests.e2e.fraud import NAME
from tests.e2e.install import Installation
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

BAKE_SECONDS = 12
STEPS = tuple({"weight": weight, "bake": f"{BAKE_SECONDS}s"} for weight in (20, 50, 80))
# The router takes a weight a moment after it was decided.
SHIFT_SECONDS = 4
# One in 100,000 for each of the steps: a share outside of it is not chance.
CONFIDENCE = 0.99999


@pytest.mark.timeout(900)
def test_a_good_candidate_is_promoted_without_a_failed_request(shop: Shop, version: Apply, traffic: Traffic) -> None:
    decided: dict[int, float] = {}

    def watch(status: dict[str, Any]) -> bool:
        """Note when each weight was decided, by Serin's own word: this look may come late."""
        step = status.get("step", {})
        if "since" in step and step["weight"] < 100:  # without it, the next step waits for its pods
            decided.setdefault(step["weight"], parse_rfc3339(step["since"]))
        return bool(status.get("stable", {}).get("model") == "2" and not status.get("candidate"))

    version("2", steps=STEPS, analysis={"minimumDetectableEffect": "5"})
    status = shop.wait(NAME, "promoted", watch)
    candidate = status["stable"]["snapshot"]
    after = traffic.wait_for("going on", lambda seen: seen.requests > 100, 60)
    total = traffic.stop()
    assert total.failures == 0, total
    assert sorted(decided) == [20, 50, 80], "every step was taken"
    for weight, begin in decided.items():
        share = traffic.summary(since=begin + SHIFT_SECONDS, until=begin + BAKE_SECONDS - 1)
        chosen = binomtest(share.snapshots[candidate], share.snapshots.total()).proportion_ci(CONFIDENCE)
        print(f"weight {weight}%: measured {share.share(candidate):.1%} of {share.requests}")
        assert share.requests > 50, share
        assert chosen.low <= weight / 100 <= chosen.high, (weight, share)
    assert after.share(candidate) == 1.0


@pytest.mark.timeout(900)
def test_a_person_goes_back_long_after_the_promotion_without_a_failed_request(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    earlier = shop.status(NAME)["stable"]["snapshot"]
    version("2")
    # At once: no router has sent it anything yet, so nothing of what happens now was ever tried before.
    shop.annotate(NAME, f"serin.dev/promote={time.time()}")
    promoted = shop.wait(NAME, "promoted", lambda status: status["stable"]["snapshot"] != earlier)
    later = promoted["stable"]["snapshot"]
    shop.kubectl("wait", "--for=delete", f"deployment/{earlier}", "--timeout=110s")
    shop.kubectl("wait", "--for=delete", "pods", "-l", f"serin.dev/snapshot={earlier}", "--timeout=110s")

    asked = time.time()
    command = [sys.executable, "-m", "serin", "rollback", NAME, "--namespace", shop.namespace]
    environment = {**os.environ, "KUBECONFIG": str(serin.cluster.kubeconfig)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert said.returncode == 0, said.stderr
    print(said.stdout)
    assert "goes back to" in said.stdout
    status = shop.wait(NAME, "back", lambda status: status["stable"]["snapshot"] == earlier)
    back = time.time()
    print(f"asked, started, moved and recorded in {back - asked:.1f} s")
    after = traffic.wait_for("going on", lambda seen: seen.requests > 100, 60)
    total = traffic.stop()
    assert total.failures == 0, total
    assert status["lastRollback"]["reason"] == "RolledBackByUser"
    assert set(traffic.summary(since=asked).snapshots) == {earlier, later}, "the later version served meanwhile"
    assert after.share(earlier) == 1.0
    shop.wait(NAME, "refusing what was left", lambda status: status.get("reason") == "RejectedContent")
