"""What a rollout's status says is wrong: the model, the world, or what they run on."""

import pytest

from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.parse import parse_spec
from serin.api.verdicts import Severity, Trouble, Verdict
from serin.evaluation.diagnosis import diagnosis
from serin.rollout.model import Route
from tests.narratives.world import World, fails, silent, spec

DRIFT = {
    "name": "drift",
    "distribution": {"counts": "labels_total{ {{.version}} }", "by": "label", "reference": {"a": 900, "b": 100}},
    "against": "reference",
    "severity": "minor",
}
ERRORS = {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}


def in_progress(**changes: object) -> World:
    world = World()
    world.run(20)
    world.change(spec("2", **changes))
    world.run(20)
    assert world.candidate_weight
    return world


def trouble(world: World) -> str:
    return str(world.status["diagnosis"]["trouble"])


def test_a_candidate_that_passes_is_in_no_trouble() -> None:
    assert in_progress().status["diagnosis"] == {"trouble": "None"}


def test_a_rollback_for_a_metric_says_that_the_model_is_bad() -> None:
    world = in_progress()
    world.sampler = fails
    world.run(10)
    assert world.status["lastRollback"]["trouble"] == "BadModel"
    assert "diagnosis" not in world.status, "there is no candidate to diagnose"


def test_a_rollback_while_stable_is_short_of_pods_says_so_and_happens_all_the_same() -> None:
    world = in_progress()
    world.sampler = fails
    stable = world.status["stable"]["snapshot"]
    world.problems[stable], world.lost[stable] = "pod x: node is gone", 1
    world.run(10)
    assert world.status["lastRollback"]["trouble"] == "Infrastructure"
    assert world.candidate is None


def test_a_router_that_is_away_is_infrastructure() -> None:
    world = in_progress()
    world.route = Route(ready=False)
    world.settle()
    assert world.status["diagnosis"] == {"trouble": "Infrastructure", "message": "no router pod is ready"}


def test_silence_is_no_data() -> None:
    world = in_progress()
    world.sampler = silent
    world.run(10)
    assert trouble(world) == "NoData"


@pytest.mark.parametrize(
    ("moved", "reason", "both", "found"),
    [
        (Verdict.FAIL_MINOR, Reason.DRIFTED_FROM_REFERENCE, True, Trouble.DATA_DRIFT),
        (Verdict.FAIL_MINOR, Reason.DRIFTED_FROM_REFERENCE, False, Trouble.UNDECIDED),
        (Verdict.FAIL_MINOR, Reason.DIFFERENT_FROM_STABLE, False, Trouble.NONE),
        (Verdict.PASS, Reason.NOT_WORSE, False, Trouble.NONE),
    ],
)
def test_answers_that_left_the_reference_with_stables_are_data_drift(
    moved: Verdict, reason: Reason, both: bool, found: Trouble
) -> None:
    metrics = parse_spec(spec(metrics=[ERRORS, DRIFT])).metrics
    passed = MetricVerdict("errors", Severity.CRITICAL, Verdict.PASS, Reason.NOT_WORSE, "as good")
    drift = MetricVerdict("drift", Severity.MINOR, moved, reason, "moved", both_moved=both)
    assert diagnosis([passed, drift], metrics, ()).trouble is found
