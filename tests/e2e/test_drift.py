"""Answers that are quick, well-formed and wrong: the router sees nothing, the model server's own counter does."""

import uuid
from typing import Any

import pytest

from tests.e2e.fraud import ERRORS, NAME, fraud
from tests.e2e.install import Installation
from tests.e2e.models.image import METRICS_PORT, PORT
from tests.e2e.models.train import Cases
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

RATE = 50.0
ANSWERS = {
    "name": "answers",
    "distribution": {"counts": "predictions_total{ {{.version}} }", "by": "label"},
    "severity": "major",
}

ALIKE = {
    "name": "alike",
    "concentration": {"counts": "predictions_total{ {{.version}} }", "by": "label"},
    "severity": "info",
}


def scraped(image: str, version: str, **more: Any) -> dict[str, Any]:
    """The fraud model with the annotations by which Prometheus finds the pods' own metrics."""
    body = fraud(image, version, metrics=[ERRORS, ANSWERS, ALIKE], **more)
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)}
    body["spec"]["template"]["metadata"] = {"annotations": annotations}
    return body


@pytest.mark.timeout(900)
def test_a_version_that_answers_differently_is_rolled_back(serin: Installation, cases: Cases) -> None:
    namespace = f"drift-{uuid.uuid4().hex[:5]}"
    serin.cluster.kubectl("create", "namespace", namespace)
    shop = Shop(serin.cluster, namespace)
    shop.apply(scraped(serin.model, "1"))
    shop.wait_serving(NAME, "1")
    with Traffic(f"http://{shop.address(NAME)}:{PORT}", cases, rate=RATE) as traffic:
        traffic.settle()
        # Another model with the same answers passes by the very same metric, before anything is found by it.
        shop.apply(scraped(serin.model, "2"))
        shop.wait_serving(NAME, "2")
        shop.apply(scraped(serin.model, "2", config={"wrong-order": "true"}, steps=({"weight": 50, "bake": "300s"},)))
        rollback = shop.wait_rolled_back(NAME)
        summary = traffic.stop()
    print(f"{rollback['message']} ({rollback['estimate']}, {rollback['interval']})\n{summary}\n{shop.story(NAME)}")
    assert (rollback["metric"], rollback["reason"]) == ("answers", "DifferentFromStable")
    assert ", most in " in rollback["message"]
    assert rollback["estimate"].startswith("PSI ")
    assert summary.failures == 0, "no client's request failed: nothing but the answers was wrong"
    verdicts = {row["name"]: row for row in shop.record(rollback["from"])["metrics"]}
    assert not verdicts["errors"]["verdict"].startswith("Fail")
    assert verdicts["answers"]["requests"] < 1_000
    assert verdicts["alike"]["requests"], "how often two answers are the same is counted beside that"
    serin.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
