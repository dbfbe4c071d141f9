"""Stories of slices: a version that is bad for a few, and good on the whole."""

from collections.abc import Mapping
from typing import Any

from serin.analysis.types import Arm, RatioTick, SlicedTick, Tick
from serin.evaluation.samples import SampleRequest
from tests.narratives.holdbacks import QUICK
from tests.narratives.limits import ERRORS, RECALL, sees
from tests.narratives.world import Sampler, World, spec

SLICED: dict[str, Any] = {
    "name": "missed",
    "ratio": RECALL["ratio"],
    "severity": "major",
    "by": "country",
}
COUNTRIES = {"de": 4_000, "fr": 3_000, "pt": 200}


def misses(shares: Mapping[tuple[str, str], float]) -> Sampler:
    """Of each country's requests a version misses 2%, or the share that is given for it and that country."""

    def arm(world: World, snapshot: str | None, country: str) -> Arm:
        if snapshot is None:
            return Arm(0, 0)
        version, requests = world.snapshots[snapshot].model_version, COUNTRIES[country]
        return Arm(requests, int(requests * shares.get((version, country), 0.02)))

    def sample(world: World, asked: SampleRequest) -> Tick:
        if asked.metric.name != "missed":
            return RatioTick(world.now, Arm(20_000, 20), Arm(380_000, 380))
        found = {one: (arm(world, asked.subject, one), arm(world, asked.baseline, one)) for one in COUNTRIES}
        whole = (
            Arm(sum(one.requests for one in arms), sum(one.bad for one in arms))
            for arms in zip(*found.values(), strict=True)
        )
        return SlicedTick(world.now, RatioTick(world.now, *whole), found)

    return sample


def _begun(world: World, metric: Mapping[str, Any], **more: Any) -> None:
    for version in ("1", "2"):
        world.change(spec(version, strategy=QUICK, metrics=[ERRORS, dict(metric)], **more))
        world.run(60)


def bad_for_one_country(world: World) -> None:
    world.sampler = misses({("2", "pt"): 0.4})
    _begun(world, SLICED)
    sees(world)


def bad_for_a_country_with_few_requests(world: World) -> None:
    world.sampler = misses({("2", "pt"): 0.1})
    _begun(world, {**SLICED, "minRequests": 100_000})
    sees(world)


def good_for_every_country(world: World) -> None:
    world.sampler = misses({})
    _begun(world, SLICED)
    sees(world)


def limit_of_one_country(world: World) -> None:
    shares: dict[tuple[str, str], float] = {}
    world.sampler = misses(shares)
    limited = {**SLICED, "against": "limit", "limit": "0.1", "window": "10m"}
    _begun(world, limited, watch={})
    world.run(180, tick=60)
    shares["2", "pt"] = 0.4
    world.tell("the world: version 2 misses 40% of pt from now on")
    world.run(600, tick=60)
    sees(world)


ALL = (
    bad_for_one_country,
    bad_for_a_country_with_few_requests,
    good_for_every_country,
    limit_of_one_country,
)
