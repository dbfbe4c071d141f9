"""Stories of versions whose doubtful answers people look at."""

from typing import Any

from serin.analysis.types import Arm, NoData, RatioTick, Tick
from serin.api.conditions import Reason
from serin.evaluation.samples import SampleRequest
from tests.narratives.holdbacks import QUICK
from tests.narratives.limits import ERRORS, sees, sees_after
from tests.narratives.world import World, spec

WRONG: dict[str, Any] = {
    "name": "reviewed-wrong",
    "template": {"name": "reviewed-wrong"},
    "severity": "minor",
    "against": "limit",
    "limit": "0.2",
    "window": "30m",
}
GUARD = {
    "review": {
        "protocol": "OpenInference",
        "confidence": {"path": "probabilities", "below": "0.6", "of": "Classes"},
        "share": 10,
        "perHour": 20,
        "answer": ["label"],
        "keep": 50,
        "expireAfter": "168h",
    }
}


def people_call_answers_of_what_serves_wrong(world: World) -> None:
    """A version is promoted before anybody has looked at its answers. Then people do, and what they say is told."""
    labels = {"1": (20, 2), "2": (0, 0)}

    def sample(world: World, asked: SampleRequest) -> Tick:
        if asked.metric.name != "reviewed-wrong":
            return RatioTick(world.now, Arm(20_000, 20), Arm(380_000, 380))
        said, wrong = labels[world.snapshots[asked.subject].model_version]
        return RatioTick(world.now, Arm(said, wrong), Arm(0, 0)) if said else NoData(Reason.NO_TRAFFIC, "no label yet")

    def reviewed(version: str) -> dict[str, Any]:
        return spec(version, strategy=QUICK, metrics=[ERRORS, WRONG], guard=GUARD, watch={})

    world.spec, world.sampler = reviewed("1"), sample
    world.run(20)
    world.change(reviewed("2"))
    world.run(60)
    sees(world)
    labels["2"] = (20, 11)
    world.tell("people: 11 of 20 answers are wrong in every minute from now on")
    sees_after(world, 300)


ALL = (people_call_answers_of_what_serves_wrong,)
