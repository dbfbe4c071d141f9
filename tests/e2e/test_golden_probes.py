"""A model that reads its inputs in another order answers quickly, with 200 and wrongly: its golden probe stops it.

Nothing else could before clients have its answers: its pods are ready, and no request fails.
"""

import time

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.install import Installation
from tests.e2e.models.golden import integrity
from tests.e2e.models.train import Cases
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

STEPS = ({"weight": 50, "bake": "5s"},)


def attempts(serin: Installation, shop: Shop, snapshot: str) -> float:
    """Requests and copies that the router has sent to a version, as Prometheus has them."""
    chosen = f'envoy_serin_attempts{{serin_namespace="{shop.namespace}",serin_snapshot="{snapshot}"}}'
    return serin.measured(f"sum({chosen})").get("", 0.0)


@pytest.mark.timeout(900)
def test_a_version_with_its_inputs_transposed_answers_no_client(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic, cases: Cases
) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    version("2", config={"wrong-order": "true"}, steps=STEPS, metrics=[ERRORS], integrity=integrity(cases))
    rollback = shop.wait_rolled_back(NAME)
    time.sleep(10.0)  # what was sent is scraped
    summary = traffic.stop()
    print(f"{rollback['reason']}: {rollback['message']}\n{summary}")
    assert (rollback["reason"], rollback["to"]) == ("GoldenProbeFailed", stable)
    assert rollback["message"].startswith("golden probe known-labels: outputs[0].data[")
    assert "expected" in rollback["message"]
    assert summary.requests > 100
    assert set(summary.snapshots) == {stable}, "nobody but stable has answered a client"
    assert (summary.failures, summary.wrong) == (0, 0)
    assert attempts(serin, shop, stable) > 100
    assert attempts(serin, shop, rollback["from"]) == 0, "the router has sent it nothing at all"
    assert shop.record(rollback["from"])["reason"] == "GoldenProbeFailed"


@pytest.mark.timeout(900)
def test_a_version_that_cannot_be_asked_is_held_without_traffic(
    shop: Shop, version: Apply, traffic: Traffic, cases: Cases
) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    wrong_path = integrity(cases, path="/v2/models/nobody/infer")
    version("3", steps=STEPS, metrics=[ERRORS], integrity=wrong_path, progressDeadline="60s")
    pending = ("GoldenProbesPending", "GoldenProbeUnanswered")
    held = shop.wait(NAME, "held", lambda one: one["reason"] in pending and "404" in one["message"])
    print(held["message"])
    assert held["reason"] == pending[0]
    assert held["traffic"]["weights"] == {stable: 100}
    rollback = shop.wait_rolled_back(NAME)
    print(rollback["message"])
    assert rollback["reason"] == "GoldenProbeUnanswered"
    assert set(traffic.stop().snapshots) == {stable}


@pytest.mark.timeout(900)
def test_a_version_that_answers_what_is_known_is_promoted(
    shop: Shop, version: Apply, traffic: Traffic, cases: Cases
) -> None:
    """Another model: the labels are the same, the probabilities are not."""
    version("2", steps=STEPS, metrics=[ERRORS], integrity=integrity(cases))
    shop.wait_serving(NAME, "2")
    summary = traffic.stop()
    assert (summary.failures, summary.wrong) == (0, 0)
