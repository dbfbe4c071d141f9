"""Answers that are no numbers, and answers that are others than stable's, in pairs or on the whole: all go back.

And answers that people look at.
"""

import pytest

from tests.e2e.conftest import Apply
from tests.e2e.fraud import ERRORS, NAME, fraud
from tests.e2e.install import Installation
from tests.e2e.shop import Shop
from tests.e2e.traffic import NO_NUMBER, Traffic

GUARD = {"output": {"checks": [{"path": "probability", "min": "0", "max": "1"}]}}
BAD_OUTPUTS = {"name": "bad-outputs", "template": {"name": "bad-outputs"}, "severity": "critical"}
# Half of the requests: enough for a verdict before the bake is over.
STEPS = ({"weight": 50, "bake": "5m"},)


@pytest.mark.timeout(900)
def test_answers_that_are_no_numbers_reach_nobody(shop: Shop, version: Apply, traffic: Traffic) -> None:
    traffic.rate = 100.0
    stable = shop.status(NAME)["stable"]["snapshot"]
    version("2", config={"nan-ratio": "0.05"}, steps=STEPS, metrics=[BAD_OUTPUTS], guard=GUARD)
    rollback = shop.wait_rolled_back(NAME)
    summary = traffic.stop()
    print(f"{rollback['message']}\n{summary}")
    assert (rollback["reason"], rollback["metric"], rollback["to"]) == ("WorseThanStable", "bad-outputs", stable)
    assert summary.failures == 0
    assert summary.problems[NO_NUMBER] == 0
    assert summary.snapshots[rollback["from"]] > 50
    assert summary.shielded > 0


AGREEMENT = {"agreement": {"share": 50, "compare": [{"path": "label"}]}}
DISAGREEMENTS = {
    "name": "disagreements",
    "template": {"name": "disagreements"},
    "against": "limit",
    "limit": "0.05",
    "severity": "critical",
}
SHADOW = {"shadow": {"mirror": 50, "bake": "5m", "then": "Promote"}}


@pytest.mark.timeout(900)
def test_a_version_that_answers_otherwise_is_stopped_before_it_answers_anybody(
    shop: Shop, version: Apply, traffic: Traffic
) -> None:
    """It gets its features in another order: quick, with 200, well-formed, and no label tells."""
    stable = shop.status(NAME)["stable"]["snapshot"]
    wrong = {"wrong-order": "true"}
    version("2", config=wrong, strategy=SHADOW, metrics=[ERRORS, DISAGREEMENTS], guard=AGREEMENT)
    rollback = shop.wait_rolled_back(NAME)
    summary = traffic.stop()
    print(f"{rollback['message']}\n{summary}")
    assert (rollback["reason"], rollback["metric"], rollback["to"]) == ("OverLimit", "disagreements", stable)
    assert (summary.failures, summary.wrong, set(summary.snapshots)) == (0, 0, {stable})
    assert summary.shielded == 0
    verdicts = {row["name"]: row for row in shop.record(rollback["from"])["metrics"]}
    assert not verdicts["errors"]["verdict"].startswith("Fail")


REVIEW = {"review": {"share": 100, "perHour": 120, "request": ["features"], "answer": ["label"]}}
REVIEWED = {"name": "reviewed-wrong", "template": {"name": "reviewed-wrong"}, "severity": "info"}


@pytest.mark.timeout(600)
def test_what_people_say_of_an_answer_counts_by_version(serin: Installation, shop: Shop, traffic: Traffic) -> None:
    stable = shop.status(NAME)["stable"]["snapshot"]
    shop.apply(fraud(serin.model, "1", metrics=[ERRORS, REVIEWED], guard=REVIEW))
    [item] = shop.until("an answer for people", lambda: shop.items("reviewitems")[:1])
    fields = {one["of"]: one for one in item["spec"]["fields"]}
    assert (item["spec"]["snapshot"], fields["Answer"]["path"]) == (stable, "label")
    assert fields["Request"]["value"].startswith("[")
    shop.kubectl("label", "review", item["metadata"]["name"], "serin.dev/reviewed=wrong")
    series = f'sum(envoy_serin_reviewed_wrong{{serin_namespace="{shop.namespace}",serin_snapshot="{stable}"}})'
    shop.until("it has counted", lambda: serin.measured(series).get("") == 1.0)
    assert shop.get("reviewitem", item["metadata"]["name"])["metadata"]["labels"]["serin.dev/counted"] == "wrong"
    assert traffic.stop().failures == 0
    shop.apply(fraud(serin.model, "1"))


LABEL = {"name": "label", "path": "label", "labels": ["0", "1"]}
RECORD = {"record": {"share": 100, "predictions": [LABEL]}}
ANSWERS = {
    "name": "answers",
    "template": {"name": "predictions", "arguments": {"field": "label"}},
    "severity": "critical",
}


@pytest.mark.timeout(900)
def test_a_version_that_answers_with_other_labels_is_rolled_back(shop: Shop, version: Apply, traffic: Traffic) -> None:
    """The model server counts nothing: the guard does."""
    traffic.rate = 100.0
    stable = shop.status(NAME)["stable"]["snapshot"]
    version("2", config={"wrong-order": "true"}, steps=STEPS, metrics=[ERRORS, ANSWERS], guard=RECORD)
    rollback = shop.wait_rolled_back(NAME)
    summary = traffic.stop()
    print(f"{rollback['message']}\n{summary}")
    assert (rollback["reason"], rollback["metric"], rollback["to"]) == ("DifferentFromStable", "answers", stable)
    assert summary.failures == 0
    verdicts = {row["name"]: row for row in shop.record(rollback["from"])["metrics"]}
    assert not verdicts["errors"]["verdict"].startswith("Fail")
    assert verdicts["answers"]["requests"] > 0
