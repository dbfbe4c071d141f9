"""A change of runtime and model of which one is bad: the other serves in the end, and the culprit is named.

The bad runtime fails a third of the requests, whatever model it has (an environment variable of the container). The bad
model is a file that is none, as after a broken upload, so no pod loads it on any runtime.
"""

from typing import Any

import pytest

from tests.e2e.fraud import ERRORS, NAME, fraud
from tests.e2e.install import Installation
from tests.e2e.shop import Json, Shop
from tests.e2e.traffic import Traffic

STEPS = ({"weight": 50, "bake": "4s"},)
LIMIT = 420.0
NO_MODEL = "file:///app/models/cases.json"


def several(image: str, version: str, failing: str, **model: str) -> dict[str, Any]:
    """A model version on a runtime that fails this share of the requests, and the policy that searches."""
    policy = {"rollback": {"scope": "auto"}, "progressDeadline": "90s"}
    body = fraud(image, version, steps=STEPS, metrics=[ERRORS], **policy)
    body["spec"]["model"] |= model
    body["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "RUNTIME_ERROR_RATIO", "value": failing}]
    return body


def _content(shop: Shop, snapshot: str) -> Json:
    content: Json = shop.get("modelsnapshot", snapshot)["spec"]["content"]
    return content


def _found(shop: Shop) -> Json:
    """The status once the search is over, and a combination serves."""
    return shop.wait(NAME, "partly rolled back", lambda one: one.get("reason") == "PartlyRolledBack", LIMIT)


@pytest.mark.timeout(900)
def test_the_new_model_serves_on_the_old_runtime(shop: Shop, serin: Installation, traffic: Traffic) -> None:
    before = shop.status(NAME)["stable"]["snapshot"]
    shop.apply(several(serin.model, "2", "0.33"))
    described = shop.get("modeldeployment", NAME)["spec"]
    status = _found(shop)
    stable, search = status["stable"], status["bisection"]
    assert search["message"] == status["message"] == "runtime is to blame: model 2 runs on the runtime of model 1"
    assert [one["reverts"] for one in search["tries"]] == [["runtime"], ["model"]]
    assert search["tries"][0]["snapshot"] == stable["snapshot"]
    assert (search["cause"]["metric"], search["cause"]["to"]) == ("errors", before)
    content, old, rejected = (_content(shop, one) for one in (stable["snapshot"], before, search["cause"]["from"]))
    assert content["runtime"] == old["runtime"] != rejected["runtime"]
    assert content["model"] == rejected["model"] != old["model"]
    assert shop.get("modeldeployment", NAME)["spec"] == described, "the spec is its owner's"
    served = stable["snapshot"]
    seen = traffic.wait_for("served", lambda one: set(one.snapshots) == {served} and one.requests > 100)
    assert not seen.failures
    rows = shop.items("events.events.k8s.io")
    told = {(one["reason"], one.get("note")) for one in rows if one["regarding"]["kind"] == "ModelDeployment"}
    assert ("PartlyRolledBack", search["message"]) in told
    print(search)

    shop.apply(several(serin.model, "2", "0"))
    status = shop.wait(NAME, "serving the corrected spec", lambda one: one.get("reason") == "Serving", LIMIT)
    assert "bisection" not in status
    assert status["stable"]["snapshot"] not in {served, before, search["cause"]["from"]}


@pytest.mark.timeout(900)
def test_the_old_model_serves_on_the_new_runtime(shop: Shop, serin: Installation, traffic: Traffic) -> None:
    before = shop.status(NAME)["stable"]["snapshot"]
    shop.apply(several(serin.model, "3", "0.0", uri=NO_MODEL))
    status = _found(shop)
    stable, search = status["stable"], status["bisection"]
    assert search["message"] == "model is to blame: model 2 runs on the runtime of model 3"
    first, second = search["tries"]
    assert (first["reverts"], first["reason"]) == (["runtime"], "ProgressDeadlineExceeded")
    assert (second["reverts"], second.get("reason")) == (["model"], None)
    assert second["snapshot"] == stable["snapshot"]
    content, old, rejected = (_content(shop, one) for one in (stable["snapshot"], before, search["cause"]["from"]))
    assert content["model"] == old["model"] != rejected["model"]
    assert content["runtime"] == rejected["runtime"] != old["runtime"]
    served = stable["snapshot"]
    seen = traffic.wait_for("served", lambda one: set(one.snapshots) == {served} and one.requests > 100)
    assert not seen.failures
    assert traffic.stop().failures == 0, "what does not load its model is sent no request"
