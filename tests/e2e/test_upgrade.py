"""Serin is upgraded, taken away and installed again by Helm, as docs/operations.md says, under a client's traffic."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import recipes
from tests.crds import FILES
from tests.documented import Terminal
from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.install import Installation
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

pytestmark = pytest.mark.alone


@pytest.fixture
def terminal(serin: Installation, helm: Path, shop: Shop, tmp_path: Path) -> Terminal:
    return Terminal(serin.cluster, helm, tmp_path, namespace=shop.namespace)


@contextmanager
def watching(shop: Shop) -> Iterator[list[dict[str, Any]]]:
    """Look at the status every second, in a thread of its own."""
    seen: list[dict[str, Any]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            seen.append(shop.status(NAME))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(10)


def requests(status: dict[str, Any]) -> dict[str, int]:
    """Candidate requests counted, by metric."""
    return {one["name"]: one.get("requests", 0) for one in status.get("metrics", ())}


@pytest.mark.timeout(900)
def test_an_upgrade_in_mid_rollout_loses_no_request_and_no_evidence(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic, terminal: Terminal
) -> None:
    newer = replace(recipes.operator_image(), reference="serin.test/operator:newer")
    serin.cluster.load(newer)
    pods = {name: set(serin.pods(name)) for name in ("serin-operator", "serin-router")}
    version("2", steps=({"weight": 50, "bake": "45s"},), analysis={"minimumDetectableEffect": "5"})
    shop.wait(NAME, "weighed", lambda one: min(requests(one).values(), default=0) > 100)
    with watching(shop) as seen:
        begun = time.time()
        values = f"--set operator.image={newer.reference} --set router.resources.limits.memory=768Mi"
        terminal.documented("## Upgrade", more=values)
        print(f"helm upgrade --wait took {time.time() - begun:.1f} s")
        status = shop.wait_serving(NAME, "2")
    total = traffic.stop()
    print(traffic.summary(since=begun))
    for name, before in pods.items():
        terminal(f"kubectl -n serin-system wait --for=delete pod {' '.join(sorted(before))} --timeout=120s")
        assert before.isdisjoint(serin.pods(name)), f"{name} was not replaced"
    assert status["stable"]["model"] == "2"
    assert "lastRollback" not in status
    rollout = [requests(one) for one in seen if one.get("candidate")]
    for metric in ("errors", "latency"):
        counted = [one[metric] for one in rollout if metric in one]
        assert counted == sorted(counted), f"{metric}: evidence was lost: {counted}"
        assert counted[-1] > counted[0] > 0
    assert total.failures == 0, total


@pytest.mark.timeout(900)
def test_serin_goes_without_an_interruption_and_a_new_one_adopts_what_is_left(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic, terminal: Terminal
) -> None:
    # The test before this one has left an old version that still drains.
    shop.wait_at_rest(NAME)
    before, begun = shop.get("md", NAME), time.time()
    pods = {one["metadata"]["name"] for one in shop.items("pods")}
    terminal.documented("### Taking Serin away and keeping the models")
    print(f"taken away in {time.time() - begun:.1f} s")
    time.sleep(5)
    gone = traffic.stop()
    print(gone)
    assert gone.failures == 0, gone
    assert not serin.pods("serin-operator")
    assert (
        json.loads(terminal("kubectl get clusterroles,clusterrolebindings -o json -l app.kubernetes.io/part-of=serin"))[
            "items"
        ]
        == []
    )
    for name in ("modeldeployments", "modelsnapshots", "metrictemplates", "reviewitems"):
        terminal(f"kubectl get crd {name}.serin.dev")
    assert len(FILES) == 4
    after = shop.get("md", NAME)
    assert (after["spec"], after["status"]) == (before["spec"], before["status"])
    assert {one["metadata"]["name"] for one in shop.items("pods")} == pods, "a model's pod was touched"

    begun = time.time()
    terminal.documented("### Bringing it back")
    serin.wait("serin-operator")
    # The Service has another address than before.
    with Traffic(traffic.url.replace(_host(traffic.url), shop.address(NAME)), traffic.cases, rate=50) as again:
        again.settle()
        print(f"back after {time.time() - begun:.1f} s")
        assert {one["metadata"]["name"] for one in shop.items("pods")} == pods, "what was left was adopted as it is"
        version("3", steps=({"weight": 50, "bake": "2s"},), analysis={"minimumDetectableEffect": "5"}, metrics=[ERRORS])
        shop.wait_serving(NAME, "3")
        # Not before: the status that was left says so too.
        shop.wait(NAME, "routed again", lambda one: _true(one, "Routed") and _true(one, "Ready"))
        adopted = again.stop()
        assert adopted.failures == 0, adopted


def _true(status: dict[str, Any], kind: str) -> bool:
    return any(one["type"] == kind and one["status"] == "True" for one in status.get("conditions", ()))


def _host(url: str) -> str:
    return url.split("//")[1].split(":")[0]
