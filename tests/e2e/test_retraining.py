"""The data drifts for both versions: nothing is rolled back, and one Job retrains the model, whoever dies.

The data set that the clients replay changes: only large tumours are sent from some moment on, so both versions rightly
answer otherwise than when the reference was taken.
"""

import json
import uuid
from collections import Counter
from typing import Any

import pytest

from serin.api.names import SYSTEM_NAMESPACE
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.install import Installation
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases
from tests.e2e.processes import kill_pod
from tests.e2e.shop import Shop
from tests.e2e.test_drift import scraped
from tests.e2e.traffic import Traffic

RATE = 50.0


def answers(cases: Cases) -> dict[str, Any]:
    """The metric, whose reference is what the held-out rows are answered with."""
    usual = {str(label): 100 * count for label, count in sorted(Counter(cases.labels).items())}
    distribution = {"counts": "predictions_total{ {{.version}} }", "by": "label", "reference": usual}
    return {"name": "answers", "distribution": distribution, "against": "reference", "severity": "minor"}


def moved(cases: Cases) -> Cases:
    """The same rows, but only those with a large radius: the first of the 30 features."""
    middle = sorted(row[0] for row in cases.rows)[len(cases.rows) * 2 // 3]
    kept = [(row, label) for row, label in zip(cases.rows, cases.labels, strict=True) if row[0] > middle]
    return Cases(tuple(row for row, _ in kept), tuple(label for _, label in kept))


def retraining(image: str) -> dict[str, Any]:
    """A Job that prints why it runs, as the first step of any training would want to know."""
    program = "import os, time; print(os.environ['SERIN_RETRAINING_CAUSE']); time.sleep(15)"
    container = {
        "name": "train",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", program],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    return {
        "triggers": [{"drift": {}}],
        "cooldown": "1h",
        "job": {"spec": {"backoffLimit": 0, "template": {"spec": {"containers": [container]}}}},
    }


def leader(serin: Installation) -> str:
    words = ["-n", SYSTEM_NAMESPACE, "get", "lease", "serin", "-o", "jsonpath={.spec.holderIdentity}"]
    holder = serin.cluster.kubectl(*words)
    return next(pod for pod in serin.pods("serin-operator") if holder.startswith(pod))


@pytest.mark.timeout(900)
def test_the_data_drifts_and_the_model_is_retrained_once(serin: Installation, cases: Cases) -> None:
    namespace = f"retrain-{uuid.uuid4().hex[:5]}"
    serin.cluster.kubectl("create", "namespace", namespace)
    shop = Shop(serin.cluster, namespace)
    more = {"metrics": [ERRORS, answers(cases)], "retraining": retraining(serin.model)}

    def version(number: str, **changes: Any) -> None:
        body = scraped(serin.model, number, **changes)
        body["spec"] |= more
        shop.apply(body)

    version("1")
    shop.wait_serving(NAME, "1")
    with Traffic(f"http://{shop.address(NAME)}:{PORT}", cases, rate=RATE) as traffic:
        traffic.settle()
        version("2", steps=({"weight": 50, "bake": "600s"},))
        shop.wait(NAME, "measured", lambda one: any(row.get("requests", 0) > 300 for row in one.get("metrics", ())))
        assert "run" not in shop.status(NAME)["retraining"], "the world is as it was"
        traffic.cases = moved(cases)
        begun = shop.wait(NAME, "to be retrained", lambda one: one.get("retraining", {}).get("run"))
        kill_pod(serin.cluster, leader(serin))
        ended = shop.wait(NAME, "trained", lambda one: one["retraining"]["run"].get("ended"))["retraining"]
        summary = traffic.stop()
    story = shop.story(NAME)
    print(f"{json.dumps(ended, indent=1)}\n{summary}\n{story}")
    run = begun["retraining"]["run"]
    assert (ended["run"]["name"], ended["run"]["phase"], ended["number"]) == (run["name"], "Succeeded", 1)
    assert [one["metadata"]["name"] for one in shop.items("jobs")] == [run["name"]]
    cause = json.loads(shop.kubectl("logs", f"job/{run['name']}"))
    assert (cause["trigger"], cause["metric"], cause["id"]) == ("Drift", "answers", run["name"])
    assert cause["snapshot"] == shop.status(NAME)["stable"]["snapshot"]
    assert "the data has drifted" in cause["message"]
    assert "lastRollback" not in shop.status(NAME)
    assert summary.failures == 0
    assert "RetrainingRequested" in story
    assert "RetrainingSucceeded" in story
    serin.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
