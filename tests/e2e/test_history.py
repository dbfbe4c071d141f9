"""How well each version served is on record, measured by the real Prometheus, and people can read it."""

import copy
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME, fraud
from tests.e2e.install import Installation
from tests.e2e.models.image import model_image
from tests.e2e.shop import Json, Shop
from tests.e2e.traffic import Traffic

# A metric that is measured and rolls nothing back: so versions of every quality are promoted.
MEASURED = [{**ERRORS, "severity": "info"}]
STEPS = ({"weight": 50, "bake": "15s"},)
SCHEDULE = {"every": "1m", "keep": 5}


def run(serin: Installation, shop: Shop, *words: str) -> str:
    """What a verb of the command line prints."""
    command = [sys.executable, "-m", "serin", *words, "--namespace", shop.namespace]
    environment = {**os.environ, "KUBECONFIG": str(serin.cluster.kubeconfig)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def promote(shop: Shop, version: Apply, number: str, **more: Any) -> str:
    """Roll a version out until it is stable; answers its snapshot."""
    version(number, metrics=MEASURED, steps=STEPS, snapshots=SCHEDULE, **more)
    status = shop.wait_serving(NAME, number)
    return str(status["stable"]["snapshot"])


def record(shop: Shop, snapshot: str, occasion: str) -> Json:
    """The newest record of this occasion that has measurements."""

    def look() -> Json:
        rows = shop.get("msnap", snapshot).get("status", {}).get("records", [])
        found: Json = next((one for one in rows[::-1] if one["occasion"] == occasion and one.get("metrics")), {})
        return found

    return shop.until(f"record {occasion} of {snapshot}", look)


def errors(one: Json) -> Json:
    """The row of the metric `errors` of a record."""
    row: Json = next(row for row in one["metrics"] if row["name"] == "errors")
    print(one["occasion"], row)
    return row


@pytest.mark.timeout(900)
def test_two_versions_of_different_quality_are_on_record(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    first = shop.status(NAME)["stable"]["snapshot"]
    shop.annotate(NAME, "serin.dev/git-revision=4f1c2ab8d1e0")
    shop.annotate(NAME, "serin.dev/git-author=Ada")
    traffic.malformed = 0.3  # what both fail
    second = promote(shop, version, "2", config={"error-ratio": "0.3"})
    traffic.malformed = 0.0
    new, old = errors(record(shop, second, "Promoted")), errors(record(shop, first, "Replaced"))
    assert 0.25 < float(old["value"]) < float(old["high"]) < float(new["low"])
    assert float(new["value"]) > 0.4
    assert min(new["requests"], old["requests"]) > 100
    assert new["query"] == old["query"] == "template request-errors"
    scheduled = errors(record(shop, second, "Scheduled"))
    assert 0.2 < float(scheduled["value"]) < 0.4
    assert scheduled["requests"] > 1000, "a minute of all requests"

    table = {row.split()[0]: row for row in shop.kubectl("get", "msnap", "-o", "wide").splitlines()}
    print("\n".join(table.values()))
    assert "4f1c2ab8d1e0" in table[second]
    assert f"errors {float(old['value']) * 100:.3g}%" in table[first]
    assert f"errors {float(scheduled['value']) * 100:.3g}%" in table[second]
    history = run(serin, shop, "history", NAME)
    print(history)
    assert [line.split()[0] for line in history.splitlines()[1:3]] == [second, first]
    assert "4f1c2ab8d1e0" in history
    diff = run(serin, shop, "diff", first, second)
    print(diff)
    assert "differ in: model, config" in diff
    assert "config: error-ratio" in diff
    assert f"{scheduled['requests']:,} requests" in diff
    run(serin, shop, "rollback", NAME, "--to", "previous")
    shop.wait(NAME, "back", lambda one: one["stable"]["snapshot"] == first)
    assert [one["occasion"] for one in shop.record(second)["records"]][-1] == "RolledBack"


@pytest.mark.timeout(1200)
def test_back_to_the_best_one_and_to_the_next_when_its_image_is_gone(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic
) -> None:
    special = model_image("history")
    serin.cluster.load(special)
    template = copy.deepcopy(fraud(special.reference, "3")["spec"]["template"])
    traffic.malformed = 0.3  # all that served so far is measured in bad times, as in the test before
    best = promote(shop, version, "3", template=template)
    traffic.malformed = 0.0
    second = promote(shop, version, "2", config={"error-ratio": "0.15"})
    worst = promote(shop, version, "1", config={"error-ratio": "0.4"})
    rows = [errors(record(shop, best, "Replaced")), errors(record(shop, second, "Replaced"))]
    assert float(rows[0]["high"]) < float(rows[1]["low"])

    print(run(serin, shop, "rollback", NAME, "--to", "best"))
    status = shop.wait(NAME, "back", lambda one: one["stable"]["snapshot"] == best)
    assert (status["lastRollback"]["from"], status["lastRollback"]["to"]) == (worst, best), "not to the one before"

    promote(shop, version, "2", config={"error-ratio": "0.45"}, progressDeadline="60s")
    shop.kubectl("wait", "--for=delete", "pods", "-l", f"serin.dev/snapshot={best}", "--timeout=110s")
    serin.cluster.remove_image(special.reference)
    shop.annotate(NAME, f"serin.dev/rollback-to=best:errors@{time.time()}")
    status = shop.wait(NAME, "back", lambda one: one["stable"]["snapshot"] == second)
    assert status["lastRollback"]["to"] == second

    def told() -> list[str]:
        events = shop.items("events.events.k8s.io")
        return [one.get("note", "") for one in events if one["reason"] == "RollbackFailed"]

    def is_told() -> bool:
        return any(f"{best} does not come back" in one and f"The next one is {second}" in one for one in told())

    shop.until("Event", is_told)  # written a moment after the status
    print(told())
    assert any("ImagePull" in one or "image" in one for one in told())
    assert not shop.get("msnap", best)["status"]["rejected"], "it served well"
    traffic.wait_for("the next one's", lambda seen: seen.share(second) == 1.0 and seen.requests > 100)
