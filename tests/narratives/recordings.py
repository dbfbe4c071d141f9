"""Stories of versions whose answers are counted by the guard: what they answer is judged, and not whether they do."""

from collections.abc import Mapping
from typing import Any

from serin.analysis.types import Arm, DistributionTick, NoData, RatioTick, Tick
from serin.api.conditions import Reason
from serin.evaluation.samples import SampleRequest
from tests.narratives.world import Sampler, World, spec

FIELD = {"field": "label"}
ERRORS = {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}
ANSWERS = {"name": "answers", "template": {"name": "predictions", "arguments": FIELD}, "severity": "minor"}
FRAUDS: dict[str, Any] = {
    "name": "frauds",
    "template": {"name": "prediction-share", "arguments": {**FIELD, "label": "fraud"}},
    "severity": "critical",
    "against": "limit",
    "limit": "0.05",
}
LABEL = {"name": "label", "path": "label", "labels": ["legit", "fraud"]}
GUARD = {"record": {"protocol": "OpenInference", "share": 10, "predictions": [LABEL]}}


def recorded(version: str) -> dict[str, Any]:
    """A spec whose new versions must not call more than 5 % fraud."""
    return spec(version, metrics=[ERRORS, ANSWERS, FRAUDS], guard=GUARD)


def calling(shares: Mapping[str, float]) -> Sampler:
    """Versions that fail nothing, and call this share of what they are asked fraud; stable 3 %."""

    def sample(world: World, asked: SampleRequest) -> Tick:
        share = shares.get(world.snapshots[asked.subject].model_version, 0.03)
        mine, stables = round(200 * share), 114
        if asked.metric.name == "answers":
            return DistributionTick(
                world.now, (200 - mine, mine, 0), (3_686, stables, 0), categories=("legit", "fraud", "other")
            )
        if asked.metric.name == "frauds":
            return RatioTick(world.now, Arm(200, mine), Arm(3_800, stables))
        return RatioTick(world.now, Arm(200, 0), Arm(3_800, 4))

    return sample


def version_that_calls_too_much_fraud(world: World) -> None:
    """It answers quickly, and with 200; no label says yet whether it is right."""
    world.spec, world.sampler = recorded("1"), calling({"2": 0.3})
    world.run(20)
    world.change(recorded("2"))
    world.run(60)
    world.change(recorded("3"))
    world.run(400)


def version_of_whose_answers_nothing_is_recorded(world: World) -> None:
    """The guard is away: errors pass, and of the answers nothing is known, so it goes nowhere until they are."""
    absent = 'no series serin_predictions_total{serin_snapshot="fraud-2"}'
    good = calling({})

    def sample(world: World, asked: SampleRequest) -> Tick:
        return good(world, asked) if asked.metric.name == "errors" else NoData(Reason.SERIES_ABSENT, absent)

    world.spec, world.sampler = recorded("1"), sample
    world.run(20)
    world.change(recorded("2"))
    world.run(120)
    world.sampler = good
    world.run(400)


ALL = (
    version_that_calls_too_much_fraud,
    version_of_whose_answers_nothing_is_recorded,
)
