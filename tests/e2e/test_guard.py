"""A version that answers NaN for one input in twenty, with 200: no client gets one, and it is rolled back on that."""

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import NAME
from tests.e2e.shop import Shop
from tests.e2e.traffic import NO_NUMBER, Traffic

GUARD = {"output": {"checks": [{"path": "probability", "min": "0", "max": "1"}]}}
BAD_OUTPUTS = {"name": "bad-outputs", "template": {"name": "bad-outputs"}, "severity": "critical"}
# Half of the requests: enough for a verdict before the bake is over.
STEPS = ({"weight": 50, "bake": "5m"},)


@pytest.mark.timeout(900)
def test_answers_that_are_no_numbers_reach_nobody(shop: Shop, version: Apply, traffic: Traffic) -> None:
    traffic.rate = 100.0
    stable = shop.status(NAME)["stable"]["snapshot"]
    version("2", config={"nan-ratio": "0.05"}, steps=STEPS, metrics=[BAD_OUTPUTS], guard=GUARD)
    rollback = shop.wait_rolled_back(NAME)
    summary = traffic.stop()
    print(f"{rollback['message']}\n{summary}")
    assert (rollback["reason"], rollback["metric"], rollback["to"]) == ("WorseThanStable", "bad-outputs", stable)
    assert summary.failures == 0
    assert summary.problems[NO_NUMBER] == 0
    assert summary.snapshots[rollback["from"]] > 50
    assert sum(one.shielded for one in traffic.answers) > 0
