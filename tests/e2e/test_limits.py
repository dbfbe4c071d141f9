"""Limits of what serves, with nobody held back: the best earlier version comes up again, and a minor limit only tells.

The number is the user's own PromQL, as the real Prometheus computes it: the share of requests that failed lately. Clock
and limits are compressed: a look every 5 seconds stands for one a minute.
"""

import json
import time
from typing import Any

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.install import Installation
from tests.e2e.models.train import Cases
from tests.e2e.shop import Json, Shop
from tests.e2e.test_holdback import ABOVE, _seldom
from tests.e2e.traffic import Traffic

FAILING = (
    "(sum(rate(envoy_serin_failures{ {{.candidate}} }[15s])) or vector(0)) "
    "/ sum(rate(envoy_serin_attempts{ {{.candidate}} }[15s]))"
)
SHARE: dict[str, Any] = {"name": "failing", "value": {"query": FAILING, "max": "0.08"}, "for": "10s"}
# By these a version of any quality is promoted, as long as its share keeps the limit.
METRICS = [{**ERRORS, "severity": "info"}, {**SHARE, "severity": "major"}]
TOLD = [{**ERRORS, "severity": "info"}, {**SHARE, "severity": "minor"}]
# Asks both versions what is known, and says which share each of them has answered rightly.
SCORE = """
import json, os, pathlib, urllib.error, urllib.request
rows, labels = json.loads(os.environ["ROWS"]), json.loads(os.environ["LABELS"])
def right(address, row, label):
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, len(row)], "data": row}
    body = json.dumps({"inputs": [tensor]}).encode()
    url = "http://" + os.environ[address] + "/v2/models/fraud/infer"
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)["outputs"][0]["data"][0] == label
    except urllib.error.HTTPError:
        return False
def share(role):
    address = "SERIN_VALIDATION_" + role + "_ADDRESS"
    return sum(right(address, *case) for case in zip(rows, labels)) / len(rows)
said = {"target": share("TARGET"), "present": share("PRESENT"), "message": "holdout"}
pathlib.Path("/dev/termination-log").write_text(json.dumps(said))
"""
STEPS = ({"weight": 50, "bake": "12s"},)
WATCH = {"interval": "5s"}


def _promote(shop: Shop, version: Apply, number: str, **more: Any) -> str:
    before = shop.status(NAME)["stable"]["snapshot"]
    version(number, metrics=METRICS, steps=STEPS, watch=WATCH, **more)
    status = shop.wait(NAME, f"model {number}", lambda one: one["stable"]["snapshot"] != before and _rests(one))
    return str(status["stable"]["snapshot"])


def _validation(serin: Installation, cases: Cases) -> dict[str, Any]:
    """A Job with a holdout of ten cases, most of which a version that fails above some value fails."""
    chosen = sorted(range(len(cases.rows)), key=lambda place: -cases.rows[place][0])[:10]
    rows, labels = [cases.rows[place] for place in chosen], [cases.labels[place] for place in chosen]
    score = {
        "name": "score",
        "image": serin.model,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", SCORE],
        "env": [{"name": "ROWS", "value": json.dumps(rows)}, {"name": "LABELS", "value": json.dumps(labels)}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    return {"validation": {"timeout": "3m", "job": {"spec": {"template": {"spec": {"containers": [score]}}}}}}


def _rests(status: Json) -> bool:
    return status["phase"] == "Healthy" and not status.get("candidate")


def _within(status: Json) -> Json:
    found: Json = next((one for one in status["conditions"] if one["type"] == "WithinLimits"), {})
    return found


def _told(shop: Shop, reason: str) -> list[str]:
    return [one.get("note", "") for one in shop.items("events.events.k8s.io") if one["reason"] == reason]


@pytest.mark.timeout(900)
def test_over_a_limit_goes_back_to_the_best_and_a_minor_one_only_tells(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic, cases: Cases
) -> None:
    """A Job of the user's validates the best one first; afterwards the limit is seen to be kept again."""
    traffic.cases = _seldom(cases)
    share = 1 - len(traffic.cases.rows) / len(cases.rows)
    assert share > 0.1, f"{share:.0%} of the inputs are above {ABOVE}"
    best = _promote(shop, version, "2")
    worse = _promote(shop, version, "3", config={"error-ratio": "0.04"})
    validation = _validation(serin, cases)
    bad = _promote(shop, version, "2", config={"fails-above": str(ABOVE)}, rollback=validation)
    shop.wait(NAME, "within its limits", lambda one: _within(one).get("status") == "True")
    assert len({best, worse, bad}) == 3

    begun = time.time()
    traffic.cases = cases
    rollback = shop.wait_rolled_back(NAME)
    print(f"gone back {time.time() - begun:.1f} s after it began: {rollback['message']}")
    after = shop.status(NAME)
    assert (rollback["from"], rollback["to"]) == (bad, best), f"to the best, not to {worse}, the one before"
    assert rollback["metric"] == "failing"
    print(rollback["validation"])
    assert rollback["validation"].startswith("Passed: target ")
    assert rollback["validation"].endswith(": holdout")
    assert after["stable"]["snapshot"] == best
    assert after["traffic"]["weights"] == {best: 100}
    traffic.wait_for("back", lambda one: set(one.snapshots) == {best} and one.requests > 100 and not one.failures)
    shop.record(bad)
    helped = shop.wait(NAME, "recovered", lambda one: one["lastRollback"].get("outcome"))["lastRollback"]
    print(helped["outcomeMessage"])
    assert helped["outcome"] == "Recovered"

    version("2", metrics=TOLD, steps=STEPS, watch=WATCH, config={"fails-above": str(ABOVE)})
    shop.wait(NAME, "within its limits", lambda one: _within(one).get("status") == "True")
    traffic.malformed = 0.4
    over = _within(shop.wait(NAME, "over its limit", lambda one: _within(one).get("status") == "False"))
    print(over["message"])
    assert over["reason"] == "DataDrift", (
        "what was gone back to for this metric breaks it too: it is no version's doing"
    )
    assert "failing" in over["message"]
    time.sleep(15)
    status = shop.status(NAME)
    assert (status["stable"]["snapshot"], status["phase"]) == (best, "Healthy"), "a minor one only tells"
    assert "rollingBack" not in status
    traffic.malformed = 0.0
    shop.wait(NAME, "within its limits again", lambda one: _within(one).get("status") == "True")
    for reason in ("OverLimit", "DataDrift", "WithinLimits"):
        shop.until(f"Event {reason}", lambda reason=reason: [one for one in _told(shop, reason) if "failing" in one])
