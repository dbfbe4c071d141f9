"""What a rollout's status says is wrong: the model, the world, or what they run on."""

from dataclasses import replace

import pytest

from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Verdict
from serin.rollout.model import Route
from tests.narratives.world import World, fails, passes, silent, spec, verdict

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
    world.judge = fails
    world.settle()
    assert world.status["lastRollback"]["trouble"] == "BadModel"
    assert "diagnosis" not in world.status, "there is no candidate to diagnose"


def test_a_rollback_while_stable_is_short_of_pods_says_so_and_happens_all_the_same() -> None:
    world = in_progress()
    world.judge = fails
    world.problems[next(name for name in world.pods if name != world.candidate)] = "pod x: node is gone"
    world.settle()
    assert world.status["lastRollback"]["trouble"] == "Infrastructure"
    assert world.candidate is None


def test_a_router_that_is_away_is_infrastructure() -> None:
    world = in_progress()
    world.route = Route(ready=False)
    world.settle()
    assert world.status["diagnosis"] == {"trouble": "Infrastructure", "message": "no router pod is ready"}


def test_silence_is_no_data() -> None:
    world = in_progress()
    world.judge = silent
    world.settle()
    assert trouble(world) == "NoData"


@pytest.mark.parametrize(
    ("moved", "reason", "found"),
    [
        (Verdict.FAIL_MINOR, Reason.DRIFTED_FROM_REFERENCE, "DataDrift"),
        (Verdict.FAIL_MINOR, Reason.DIFFERENT_FROM_STABLE, "None"),
        (Verdict.PASS, Reason.NOT_WORSE, "None"),
    ],
)
def test_answers_that_left_the_reference_with_stables_are_a_changed_world(
    moved: Verdict, reason: Reason, found: str
) -> None:
    def judge(world: World) -> tuple[MetricVerdict, ...]:
        drift = replace(verdict(moved, world.now), metric="drift", severity=Severity.MINOR)
        return (*passes(world), replace(drift, reason=reason))

    world = in_progress(metrics=[ERRORS, DRIFT])
    world.judge = judge
    world.settle()
    assert trouble(world) == found
