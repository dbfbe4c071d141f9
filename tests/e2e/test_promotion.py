"""A good version is promoted, and no client notices."""

import itertools
import time

import pytest
from scipy.stats import binomtest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import NAME
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
        if weight and weight not in seen:
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
