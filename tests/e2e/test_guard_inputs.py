"""Requests with too few features, which every version fails: refused before any version sees them, or counted."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME
from tests.e2e.install import Installation
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

STEPS = ({"weight": 50, "bake": "15s"},)


def guard(cases: Cases, on_invalid: str) -> dict[str, Any]:
    features = {"name": "features", "type": "Number", "shape": [-1, len(cases.rows[0])]}
    return {"input": {"onInvalid": on_invalid, "rows": 8, "columns": [features]}}


def ask(shop: Shop, row: list[Any]) -> tuple[int, str, str]:
    """Status, what the guard says in its header, and the body."""
    question = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, len(row)], "data": row}]}
    url = f"http://{shop.address(NAME)}:{PORT}/v2/models/{NAME}/infer"
    request = urllib.request.Request(url, json.dumps(question).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers.get("x-serin-guard", ""), answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers.get("x-serin-guard", ""), refused.read().decode()


@pytest.mark.timeout(900)
def test_invalid_requests_reach_no_version_and_count_against_none(
    serin: Installation, shop: Shop, version: Apply, traffic: Traffic, cases: Cases
) -> None:
    row = list(cases.rows[0])

    def total(series: str) -> float:
        return serin.measured(f'sum(envoy_serin_{series}{{serin_namespace="{shop.namespace}"}})').get("", 0.0)

    version("2", steps=STEPS, metrics=[ERRORS], guard=guard(cases, "Reject"))
    shop.until("the guard is asked", lambda: all(ask(shop, row[:3])[0] == 422 for _ in range(10)))
    status, mark, body = ask(shop, row[:3])
    said = json.loads(body)
    assert (status, mark, said["field"]) == (422, "invalid-input", "features")
    assert said["reason"] == f"its shape is not [-1, {len(row)}]"
    status, _, body = ask(shop, ["4111-1111", *row[1:]])
    assert (status, json.loads(body)["reason"]) == (422, "a value is no number")
    assert "4111" not in body
    assert ask(shop, row)[0] == 200

    begun, failed = time.time(), total("failures") + total("rejections")
    traffic.malformed = 0.3  # without the guard each of them is a failure of the version that gets it
    shop.wait_serving(NAME, "2")
    traffic.malformed = 0.0
    mine = [one for one in traffic.answers if one.at >= begun]
    invalid = [one for one in mine if one.malformed]
    print(f"{len(invalid)} of {len(mine)} requests were invalid")
    assert len(invalid) > 50
    assert {(one.status, one.snapshot) for one in invalid} == {(422, "")}
    assert traffic.summary(since=begun).failures == 0
    shop.until("invalid inputs are counted", lambda: total("invalid_inputs") >= len(invalid))
    assert total("failures") + total("rejections") == failed

    version("2", steps=STEPS, metrics=[ERRORS], guard=guard(cases, "Count"))
    shop.until("they pass", lambda: all(ask(shop, row[:3])[1] != "invalid-input" for _ in range(10)))
    before = total("invalid_inputs")
    for _ in range(20):
        status, mark, _ = ask(shop, row[:3])
        assert (status >= 400, mark) == (True, ""), "the model itself says no"
    shop.until("they are counted", lambda: total("invalid_inputs") >= before + 20)
    assert ask(shop, row)[0] == 200
    traffic.stop()
    assert traffic.summary(since=begun).failures == 0
