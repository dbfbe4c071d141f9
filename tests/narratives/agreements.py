"""Stories of two versions whose answers to the same requests are compared."""

from collections.abc import Mapping
from typing import Any

from serin.analysis.types import Arm, NoData, RatioTick, Tick
from serin.api.conditions import Reason
from serin.api.state import ClientRequests
from serin.evaluation.samples import SampleRequest
from tests.narratives.world import Sampler, World, spec

DIFFER: dict[str, Any] = {
    "name": "disagreements",
    "template": {"name": "disagreements"},
    "severity": "critical",
    "against": "limit",
    "limit": "0.05",
}
ERRORS = {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}
SHADOW = {"mirror": 20, "bake": "60s", "then": "Promote"}
GUARD = {"agreement": {"protocol": "OpenInference", "share": 10, "compare": [{"path": "label"}]}}


def compared(version: str) -> dict[str, Any]:
    """A spec whose new versions answer copies before they answer anybody; what serves is watched."""
    return spec(version, strategy={"shadow": SHADOW}, metrics=[ERRORS, DIFFER], guard=GUARD, watch={})


def differ(shares: Mapping[str, float]) -> Sampler:
    """Versions that fail nothing, and answer this share of the requests otherwise than stable."""

    def sample(world: World, asked: SampleRequest) -> Tick:
        if asked.metric.name != "disagreements":
            return RatioTick(world.now, Arm(20_000, 20), Arm(380_000, 380))
        assert world.status["phase"] != "Healthy", "nothing is compared with a version that serves alone"
        share = shares[world.snapshots[asked.subject].model_version]
        return RatioTick(world.now, Arm(200, round(200 * share)), Arm(0, 0))

    return sample


def shadow_that_answers_otherwise(world: World) -> None:
    """One that answers quickly, with 200, and nine times in ten otherwise: no label says so, and no client gets it."""
    world.spec, world.sampler = compared("1"), differ({"2": 0.9, "3": 0.01})
    world.run(20)
    world.change(compared("2"))
    world.run(40)
    # Copies only: what the router has counted of clients' requests, some time later.
    world.counted = ClientRequests(0, 0, 0, world.now - 40, world.now)
    world.run(5)
    world.counted = None
    world.change(compared("3"))
    world.run(200)
    world.run(300, tick=60)


def shadow_whose_answers_cannot_be_compared(world: World) -> None:
    """Errors pass; of the answers nothing is known, so it goes nowhere."""
    unread = "fraud-2: 60 of 200 answers passed unchecked: the guard was away or late, or they are none that it reads"
    good = differ({})

    def sample(world: World, asked: SampleRequest) -> Tick:
        if asked.metric.name == "disagreements":
            return NoData(Reason.PARTIAL, unread)
        return good(world, asked)

    world.spec, world.sampler = compared("1"), sample
    world.run(20)
    world.change(compared("2"))
    world.run(200)


ALL = (
    shadow_that_answers_otherwise,
    shadow_whose_answers_cannot_be_compared,
)
