"""The demo's own files: a quick, well-formed and wrong version is rolled back by a metric that the user has added."""

import time
import uuid

import pytest

from tests.e2e.demo.feedback import PORT as FEEDBACK_PORT
from tests.e2e.demo.feedback import Reporter
from tests.e2e.demo.images import MODEL_IMAGE
from tests.e2e.demo.stage import SAMPLES
from tests.e2e.demo.summary import Costs, Trial
from tests.e2e.fraud import NAME
from tests.e2e.install import Installation
from tests.e2e.models.image import PORT
from tests.e2e.models.train import Cases
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

RATE = 50.0


@pytest.mark.timeout(900)
def test_wrong_answers_are_rolled_back_by_the_users_own_metric(serin: Installation, cases: Cases) -> None:
    namespace = f"demo-{uuid.uuid4().hex[:5]}"
    serin.cluster.kubectl("create", "namespace", namespace)
    shop = Shop(serin.cluster, namespace)

    def apply(name: str) -> None:
        shop.kubectl("apply", "-f", "-", body=(SAMPLES / name).read_text().replace(MODEL_IMAGE, serin.model))

    apply("feedback.yaml")
    apply("version-1.yaml")
    shop.wait_serving(NAME, "1")
    shop.kubectl("rollout", "status", "deployment/feedback", "--timeout=110s")
    feedback = f"http://{shop.address('feedback')}:{FEEDBACK_PORT}"
    with Traffic(f"http://{shop.address(NAME)}:{PORT}", cases, rate=RATE) as traffic, Reporter(feedback, traffic):
        traffic.settle()
        begun = time.time()
        apply("version-5.yaml")
        rollback = shop.wait_rolled_back(NAME)
        decided = time.time()
        time.sleep(2)
        total = traffic.stop()
    print(f"{rollback['message']}\n{total}\n{shop.story(NAME)}")
    assert (rollback["metric"], rollback["reason"]) == ("wrong-answers", "WorseThanStable")
    assert total.failures == 0, "every answer had status 200"
    trial = Trial("5", "", rollback["from"], begun, decided - begun, decided, "", "")
    costs = Costs.of(trial, traffic.answers, time.time())
    assert total.wrong == costs.wrong <= costs.tried, "only version 5 was wrong, and only while it was tried"
    serin.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
