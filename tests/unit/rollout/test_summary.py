"""Numbers as people read them."""

import pytest

from serin.api.split import between
from serin.api.state import Arm, Rollout, State
from serin.evaluation.samples import SPLIT
from serin.rollout.model import ApplyDeployment, Order, Route, WriteStatus
from serin.rollout.summary import _observed, interval, ratio
from tests.narratives.world import World, spec


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "x", ""),
        (1.2345, "x", "1.23x"),
        (0.0, "x", "0x"),
        (3.99e6, "x", "over 1000x"),
        (0.3210, "PSI", "PSI 0.321"),
        (3.99e6, "", "3.99e+06"),
    ],
)
def test_an_estimate_has_its_unit(value: float | None, unit: str, text: str) -> None:
    assert ratio(value, unit) == text


def test_an_interval_is_both_ends_or_nothing() -> None:
    assert interval(0.6, 2.4) == "0.6x to 2.4x"
    assert interval(0.6, None) == ""


def test_stable_may_be_down_once_the_candidate_has_everything() -> None:
    world = World(spec=spec("1"))
    world.run(20)
    stable = world.wanted
    candidate = world.change(spec("2"))
    while world.weights.get(candidate) != 100:
        world.look()
        world.now += 5
    world.router_hears = False
    world.problems[stable] = "pod fraud-a: its node is lost"
    world.look()
    told = {one["type"]: (one["status"], one["message"]) for one in world.status["conditions"]}
    assert world.status["stable"]["snapshot"] == stable
    assert told["Ready"] == ("True", f"{candidate} serves with 4 of 4 pods")


def test_evidence_that_is_late_says_so() -> None:
    world = World(spec=spec("1"))
    world.run(20)
    world.change(spec("2"))
    world.run(60)

    def evidence() -> tuple[str, str, str]:
        [found] = [one for one in world.status["conditions"] if one["type"] == "EvidenceAvailable"]
        return found["status"], found["reason"], found["message"]

    assert evidence() == ("True", "EvidenceAvailable", "every metric that decides has data")
    world.evidence_delay = "the clock is wrong"
    world.run(10)
    assert evidence() == ("True", "ClockSkewed", "every metric that decides has data; the clock is wrong")


def test_pods_that_something_else_has_asked_for_are_put_back_and_not_told() -> None:
    """Otherwise a fight over the size of a Deployment is a fight of writes of the status too, of several for each."""
    world = World(spec=spec("1"))
    world.run(60)
    stable = world.wanted
    world.pods[stable].desired = 7
    assert world.look().actions == (ApplyDeployment(stable, 4, "stable", Order.SCALE_DOWN),)
    world.pods[stable].desired = 1
    told, restored = world.look().actions
    assert isinstance(told, WriteStatus)
    assert restored == ApplyDeployment(stable, 4, "stable")
    assert (told.status["replicas"], told.status["stable"]["replicas"], told.status["stable"]["ready"]) == (4, 4, 1)


def test_a_first_version_that_is_refused_says_so_also_while_no_router_is_ready() -> None:
    """The router comes by itself, the pod template does not."""
    world = World(spec=spec("1"), route=Route(ready=False), router_hears=False)
    world.refused[world.wanted] = "spec.containers[0].image: Required value"
    world.run(10)
    told = {one["type"]: one["reason"] for one in world.status["conditions"] if one["type"] in ("Ready", "Stalled")}
    assert {world.status["reason"], *told.values()} == {"PodTemplateRefused"}
    world.refused.clear()
    world.run(10)
    assert world.status["reason"] == "RouterNotReady"


@pytest.mark.parametrize("requests", ["x", 7, {"a": 1}, [1], [1, 2, 3], ["a", "b"], [-5, 10], [0, 0], None], ids=str)
def test_shares_that_cannot_be_read_are_not_shown(requests: object) -> None:
    """Somebody has edited the evidence: a look goes on without what it only shows."""
    rollout = Rollout("a", (Arm("b", {SPLIT: {"weights": [95, 5], "requests": requests}}),), since=0.0)
    assert _observed(State(stable="a", rollout=rollout, split=between("a", "b", 5))) == {}


def test_shares_are_of_all_requests_that_were_counted() -> None:
    rollout = Rollout("a", (Arm("b", {SPLIT: {"weights": [95, 5], "requests": [950, 50]}}),), since=0.0)
    assert _observed(State(stable="a", rollout=rollout, split=between("a", "b", 5))) == {"a": "95.0%", "b": "5.0%"}
