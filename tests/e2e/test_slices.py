"""A version that is wrong for an eighth of the clients: found where it is wrong, by the user's own metric with `by`.

On the whole it keeps the limit.
"""

import statistics
import uuid
from bisect import bisect
from typing import Any

import pytest

from tests.e2e.demo.feedback import PORT as FEEDBACK_PORT
from tests.e2e.demo.feedback import Reporter
from tests.e2e.demo.images import MODEL_IMAGE
from tests.e2e.demo.stage import SAMPLES
from tests.e2e.fraud import ERRORS, NAME, fraud
from tests.e2e.install import Installation
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

WRONG: dict[str, Any] = {
    "name": "wrong-answers",
    "severity": "critical",
    "ratio": {"bad": 'answers_total{outcome="wrong", {{.version}}}', "total": "answers_total{ {{.version}} }"},
    "against": "limit",
    "limit": "0.25",
    "by": "segment",
    "minRequests": 20,
}
STEPS = ({"weight": 50, "bake": "5m"},)


@pytest.mark.timeout(900)
def test_a_version_that_is_wrong_for_some_is_found_where_it_is_wrong(serin: Installation, cases: Cases) -> None:
    namespace = f"slices-{uuid.uuid4().hex[:5]}"
    serin.cluster.kubectl("create", "namespace", namespace)
    shop = Shop(serin.cluster, namespace)
    edges = statistics.quantiles((row[0] for row in cases.rows), n=8)

    def version(number: str, **config: str) -> None:
        shop.apply(fraud(serin.model, number, metrics=[ERRORS, WRONG], steps=STEPS, config=config or None))

    feedback = (SAMPLES / "feedback.yaml").read_text().replace(MODEL_IMAGE, serin.model)
    shop.kubectl("apply", "-f", "-", body=feedback)
    version("1")
    shop.wait_serving(NAME, "1")
    shop.kubectl("rollout", "status", "deployment/feedback", "--timeout=110s")
    traffic = Traffic(f"http://{shop.address(NAME)}:{PORT}", cases, rate=50.0)
    url = f"http://{shop.address('feedback')}:{FEEDBACK_PORT}"
    with traffic, Reporter(url, traffic, lambda answer: f"part-{bisect(edges, answer.feature)}"):
        traffic.settle()
        version("2", **{"wrong-above": str(edges[-1])})
        rollback = shop.wait_rolled_back(NAME)
        total = traffic.stop()
    print(f"{rollback['message']}\n{total}\n{shop.story(NAME)}")
    assert (rollback["metric"], rollback["reason"]) == ("wrong-answers", "OverLimit")
    assert rollback["message"].startswith("wrong-answers: segment part-7: "), "the part of the clients is named"
    assert total.failures == 0, "every answer had status 200"
    serin.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
