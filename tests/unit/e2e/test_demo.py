"""What the demo works out and refuses by itself, without a cluster."""

from typing import Any

import pytest

from tests.cluster.errors import ClusterError
from tests.e2e.demo.stage import find_prometheus
from tests.e2e.demo.summary import Costs, Trial
from tests.e2e.demo.wishes import Wishes
from tests.e2e.traffic import Answer

BAD, GOOD = "fraud-bad", "fraud-good"


def answer(at: float, snapshot: str, **more: Any) -> Answer:
    fields: dict[str, Any] = {"status": 200, "seconds": 0.02, "right": True, "malformed": False, "late": False} | more
    return Answer(at=at, snapshot=snapshot, **fields)


class TestCosts:
    ANSWERS = (
        answer(9.9, GOOD, right=False),
        answer(10.0, GOOD),
        answer(12.0, BAD, right=False),
        answer(13.0, GOOD, shielded=True),
        answer(14.0, BAD, seconds=0.4),
        answer(15.5, "", status=0, right=None),
        answer(16.5, GOOD, shielded=True),
        answer(20.0, BAD),
    )

    def trial(self, decided: float | None = 16.0) -> Trial:
        return Trial("3", "bad", BAD, begun=10.0, took=9.0, decided=decided, reason="", message="")

    def test_counts_what_the_client_saw_during_the_trial(self) -> None:
        costs = Costs.of(self.trial(), self.ANSWERS, 20.0)
        assert (costs.requests, costs.tried, costs.saved) == (6, 4, 2)
        assert (costs.failed, costs.wrong, costs.slow) == (1, 1, 1)

    def test_detects_from_the_first_request_and_restores_with_the_last(self) -> None:
        costs = Costs.of(self.trial(), self.ANSWERS, 20.0)
        assert (costs.detect, costs.restore) == (4.0, 0.5)

    def test_a_promotion_has_nothing_to_restore(self) -> None:
        costs = Costs.of(self.trial(decided=None), self.ANSWERS, 20.0)
        assert (costs.detect, costs.restore) == (None, None)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"CLUSTER": "kind"}, "write CLUSTER=current"),
        ({"KEEP": "please"}, "write KEEP=1"),
        ({"OPERATOR_IMAGE": "example/serin:1"}, "OPERATOR_IMAGE is for CLUSTER=current"),
    ],
)
def test_a_wish_that_cannot_be_meant_is_refused(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        Wishes.read(environment)


def test_wishes() -> None:
    assert Wishes.read({}) == Wishes()
    assert Wishes.read({"CLUSTER": "current", "KEEP": "1", "IMAGE": "a/b:1"}) == Wishes(True, True, "a/b:1")


def service(name: str, namespace: str = "monitoring", port: int = 9090) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"ports": [{"port": port}]}}


def test_the_one_prometheus_is_found() -> None:
    services = [service("kubernetes", "default", 443), service("prometheus-server", port=80)]
    assert find_prometheus(services) == "http://prometheus-server.monitoring.svc:80"


@pytest.mark.parametrize(
    ("services", "words"),
    [([], "none was found"), ([service("prometheus"), service("prometheus", "other")], "there are 2")],
)
def test_no_prometheus_or_two_need_the_users_word(services: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ClusterError, match=f"{words}.*set PROMETHEUS_URL"):
        find_prometheus(services)
