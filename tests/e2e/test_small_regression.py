"""A regression that no threshold sees in time: 5 % errors where stable has 1 %."""

import uuid

import pytest

from tests.e2e.fraud import ERRORS, NAME, fraud
from tests.e2e.install import Installation
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

RATE = 80.0
# The engine's target: 95 of 100 rollouts find it within 400 candidate requests. Evidence counts half while the
# dispersion between pods is not measured: then it is 500 at the median, and more than this once in 100,000 rollouts.
BOUND = 2_400


@pytest.mark.timeout(900)
def test_five_percent_against_one_is_rolled_back(serin: Installation, cases: Cases) -> None:
    namespace = f"small-{uuid.uuid4().hex[:5]}"
    serin.cluster.kubectl("create", "namespace", namespace)
    shop = Shop(serin.cluster, namespace)
    shop.apply(fraud(serin.model, "1", config={"error-ratio": "0.01"}))
    shop.wait_serving(NAME, "1")
    with Traffic(f"http://{shop.address(NAME)}:{PORT}", cases, rate=RATE) as traffic:
        traffic.wait_for("answered", lambda seen: seen.statuses[200] > RATE, 60)
        steps = ({"weight": 50, "bake": "300s"},)
        # One metric, so that the bound says how many requests the errors alone take.
        shop.apply(fraud(serin.model, "1", config={"error-ratio": "0.05"}, steps=steps, metrics=[ERRORS]))
        rollback = shop.wait_rolled_back(NAME)
        print(f"{rollback['message']}\n{traffic.stop()}")
    [requests] = [row["requests"] for row in shop.record(rollback["from"])["metrics"] if row["name"] == "errors"]
    print(f"rolled back after {requests} candidate requests")
    assert rollback["metric"] == "errors"
    assert requests <= BOUND
    serin.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
