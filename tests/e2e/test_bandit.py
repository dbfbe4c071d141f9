"""A bandit of three decision thresholds of one trained model, rewarded by labels that come later; a fourth arm errs."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.recipes import ROOT
from tests.e2e.demo.feedback import PORT as FEEDBACK_PORT
from tests.e2e.demo.feedback import Reporter
from tests.e2e.demo.images import MODEL_IMAGE
from tests.e2e.fraud import ERRORS, NAME, fraud
from tests.e2e.install import Installation
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases
from tests.e2e.shop import Json, Shop
from tests.e2e.traffic import Traffic

RATE = 60.0
FEEDBACK: Path = ROOT / "manifests" / "samples" / "demo" / "feedback.yaml"
RIGHT = {
    "name": "right",
    "ratio": {"bad": 'answers_total{outcome="right", {{.version}}}', "total": "answers_total{ {{.version}} }"},
}
# Of the cases, the model is right on 87 % at the threshold of what serves, on 93 % at the new one, and on all at b's.
SERVES, NEW, BEST = "0.98", "0.9", "0.5"
BANDIT: dict[str, Any] = {
    "reward": {"metric": "right", "labelDelay": "3s"},
    "interval": "10s",
    "minWeight": 15,
    "maxStep": 15,
    "minRequests": 300,
    "minDuration": "40s",
    "maxDuration": "10m",
    "variants": [
        {"name": "b", "config": {"threshold": BEST}},
        {"name": "errs", "config": {"error-ratio": "0.4"}},
    ],
}


def manifest(image: str, threshold: str, **more: Any) -> Json:
    """One pod of each arm: there are four of them, and two cores."""
    analysis = {"minimumDetectableEffect": "5"}
    config = {"threshold": threshold}
    return fraud(image, "1", config=config, replicas=1, metrics=[ERRORS, RIGHT], analysis=analysis, **more)


def snapshots(shop: Shop) -> dict[str, str]:
    """The snapshot of each threshold, and of the arm that errs."""
    found = {}
    for one in shop.items("msnap"):
        config = one["spec"]["content"]["config"]
        found["errs" if "error-ratio" in config else config["threshold"]] = one["metadata"]["name"]
    return found


@pytest.mark.timeout(900)
def test_the_best_threshold_wins_and_an_arm_that_errs_hurts_nobody(
    serin: Installation, cases: Cases, request: pytest.FixtureRequest
) -> None:
    namespace = f"bandit-{uuid.uuid4().hex[:5]}"
    serin.cluster.kubectl("create", "namespace", namespace)
    request.addfinalizer(lambda: serin.cluster.kubectl("delete", "namespace", namespace, "--wait=false"))
    shop = Shop(serin.cluster, namespace)
    shop.kubectl("apply", "-f", "-", body=FEEDBACK.read_text().replace(MODEL_IMAGE, serin.model))
    shop.apply(manifest(serin.model, SERVES))
    shop.wait_serving(NAME, "1")
    shop.kubectl("rollout", "status", "deployment/feedback", "--timeout=120s")
    with (
        Traffic(f"http://{shop.address(NAME)}:{PORT}", cases, rate=RATE) as traffic,
        Reporter(f"http://{shop.address('feedback')}:{FEEDBACK_PORT}", traffic) as reporter,
    ):
        traffic.settle()
        shop.apply(manifest(serin.model, NEW, strategy={"bandit": BANDIT}))
        status = shop.wait(NAME, "rid of the arm that errs", lambda one: "Eliminated" in json.dumps(one.get("arms")))
        named = snapshots(shop)
        (out,) = (arm for arm in status["arms"] if arm["standing"] == "Eliminated")
        assert (out["snapshot"], out["reason"]) == (named["errs"], "WorseThanStable")
        assert out["snapshot"] not in status["traffic"]["weights"]
        begun = traffic.summary()
        shop.wait(NAME, "promoted", lambda one: one["stable"]["snapshot"] == named[BEST], 500)
        traffic.wait_for("all of the best", lambda one: set(one.snapshots) == {named[BEST]} and one.requests > 100)
        summary = traffic.stop()
        assert not reporter.problem
    print(f"{summary}\n{shop.story(NAME)}")
    assert summary.failures == 0, "no client saw a failure of the arm that errs"
    assert begun.requests > 100
    status = shop.status(NAME)
    assert status["concluded"]["winner"] == named[BEST]
    standings = {arm["snapshot"]: arm["standing"] for arm in status["concluded"]["arms"]}
    assert standings == {named[NEW]: "Evaluating", named[BEST]: "Winner", named["errs"]: "Eliminated"}
    assert shop.get("msnap", named["errs"])["status"]["rejected"]
