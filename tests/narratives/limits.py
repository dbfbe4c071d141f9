"""Stories of limits: what happens when a version that serves is over a limit, long after its promotion or soon."""

from collections.abc import Mapping
from typing import Any

from serin.analysis.types import Arm, NoData, RatioTick, Tick, ValueTick
from serin.api import names
from serin.api.conditions import Reason
from serin.api.state import Phase
from serin.evaluation.samples import SampleRequest
from tests.narratives.holdbacks import QUICK
from tests.narratives.world import Sampler, World, spec

ERRORS = {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}
RECALL: dict[str, Any] = {
    "name": "missed",
    "ratio": {"bad": "missed_total{ {{.version}} }", "total": "seen_total{ {{.version}} }"},
    "severity": "major",
    "against": "limit",
    "limit": "0.1",
    "window": "10m",
}
QUEUE: dict[str, Any] = {
    "name": "queue",
    "value": {"query": "max(queue_length{ {{.version}} })", "max": "50"},
    "severity": "major",
    "for": "3m",
}


def limited(version: str, *metrics: Mapping[str, Any], watch: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A spec with a short canary whose limits are watched."""
    found = [ERRORS, *map(dict, metrics or (RECALL,))]
    return spec(version, strategy=QUICK, metrics=found, watch=dict(watch or {}), snapshots={"every": "5m", "keep": 10})


def measures(missed: Mapping[str, float], queue: Mapping[str, float] | None = None) -> Sampler:
    """Versions of the model miss these shares of what they should find, and have queues of this length."""

    def sample(world: World, asked: SampleRequest) -> Tick:
        version = world.snapshots[asked.subject].model_version
        if asked.metric.name == "queue":
            return ValueTick(world.now, (queue or {}).get(version, 10.0))
        if asked.metric.name == "missed":
            return RatioTick(world.now, Arm(1_000, int(1_000 * missed[version])), Arm(0, 0))
        return RatioTick(world.now, Arm(20_000, 20), Arm(380_000, 380))

    return sample


def served(world: World, *versions: str, **more: Any) -> None:
    """These versions serve one after the other, each for a while; the last one is just promoted."""
    world.run(20)
    for version in versions:
        world.change(limited(version, *more.get("metrics", ()), watch=more.get("watch")))
        while world.snapshots.get(world.wanted) is None or world.status["stable"]["snapshot"] != world.wanted:
            world.run(10)
        if version != versions[-1]:
            world.run(420)
    world.run(10)


def what_was_gone_back_to_fails_in_another_way(world: World) -> None:
    """Version 1 has mended what version 3 was left for, and breaks another limit: on to the next older one."""
    shares, queues = {"1": 0.02, "2": 0.06, "3": 0.03}, dict.fromkeys("123", 10.0)
    world.sampler = measures(shares, queues)
    served(world, "1", "2", "3", metrics=[RECALL, QUEUE])
    world.run(200)
    shares["3"], queues["1"] = 0.3, 80.0
    world.run(1500, tick=30)
    sees(world)


def sees(world: World) -> None:
    stable = world.status["stable"]["snapshot"]
    within = next((one for one in world.status["conditions"] if one["type"] == "WithinLimits"), None)
    told = "{status} {reason}: {message}".format(**within) if within else "nothing is watched"
    world.tell(f"sees: {stable} is stable, {world.status['phase']}, {world.status['reason']}; WithinLimits {told}")


def sees_after(world: World, seconds: float, tick: float = 10) -> None:
    world.run(seconds, tick=tick)
    sees(world)


def _begins_to_miss(world: World, share: float = 0.3, version: str = "3") -> None:
    """Versions 1, 2 and 3 serve, of which 1 is the best; then one begins to miss more."""
    shares = {"1": 0.02, "2": 0.06, "3": 0.03, "4": 0.03}
    world.sampler = measures(shares)
    served(world, "1", "2", "3")
    sees_after(world, 200)
    shares[version] = share
    world.tell(f"the world: version {version} misses {share:.0%} from now on")


def limit_is_kept(world: World) -> None:
    world.sampler = measures({"1": 0.02, "2": 0.02})
    served(world, "1", "2")
    sees_after(world, 1800, tick=60)


def over_a_limit_goes_back_to_the_best(world: World) -> None:
    _begins_to_miss(world)
    sees_after(world, 300)


def minor_limit_only_tells(world: World) -> None:
    shares = {"1": 0.02, "2": 0.3}
    world.sampler = measures(shares)
    served(world, "1", "2", metrics=[{**RECALL, "severity": "info"}])
    world.change(limited("2", {**RECALL, "severity": "minor"}))
    sees_after(world, 300)
    shares["2"] = 0.02
    sees_after(world, 1200)


def info_limit_is_shown(world: World) -> None:
    world.sampler = measures({"1": 0.02, "2": 0.3})
    served(world, "1", "2", metrics=[{**RECALL, "severity": "info"}])
    sees_after(world, 300)
    row = next(one for one in world.status["metrics"] if one["name"] == "missed")
    world.tell(f"sees: {row['verdict']}: {row['message']}")


def value_must_stay_outside(world: World) -> None:
    queues = {"1": 10.0, "2": 10.0}
    world.sampler = measures({}, queues)
    served(world, "1", "2", metrics=[QUEUE])
    world.run(120)
    queues["2"] = 80.0
    world.run(110)
    queues["2"] = 10.0
    sees_after(world, 120)
    queues["2"] = 80.0
    sees_after(world, 400)


def over_a_limit_too_late(world: World) -> None:
    shares = {"1": 0.02, "2": 0.02}
    world.sampler = measures(shares)
    served(world, "1", "2", watch={"rollBackWithin": "10m"})
    world.run(900, tick=60)
    shares["2"] = 0.3
    sees_after(world, 300)


def what_was_gone_back_to_fails_as_well(world: World) -> None:
    """The world has changed for every version: one way back is tried, and no more."""
    shares = {"1": 0.02, "2": 0.06, "3": 0.03}
    world.sampler = measures(shares)
    served(world, "1", "2", "3")
    world.run(200)
    shares |= dict.fromkeys("123", 0.3)
    sees_after(world, 1800, tick=30)


def no_earlier_version_was_better(world: World) -> None:
    world.sampler = measures({"1": 0.3, "2": 0.25})
    served(world, "1", "2", metrics=[{**RECALL, "severity": "info"}])
    world.change(limited("2"))
    sees_after(world, 400)


def first_version_is_over_its_limit(world: World) -> None:
    world.sampler = measures({"1": 0.3})
    world.change(limited("1"))
    sees_after(world, 300)


def limit_without_data(world: World) -> None:
    _begins_to_miss(world, share=0.03)

    def silent(world: World, _: SampleRequest) -> Tick:
        return NoData(Reason.TARGET_DOWN, f"no target could be scraped since {world.now - 60:.0f}")

    world.sampler = silent
    sees_after(world, 600, tick=60)


def over_a_limit_while_nodes_are_gone(world: World) -> None:
    _begins_to_miss(world)
    stable = world.status["stable"]["snapshot"]
    world.problems[stable], world.lost[stable] = "0/3 nodes are available", 2
    sees_after(world, 200)
    del world.problems[stable], world.lost[stable]
    sees_after(world, 200)


def way_back_from_a_limit_is_aborted(world: World) -> None:
    _begins_to_miss(world)
    while world.status["phase"] != Phase.ROLLING_BACK:
        world.run(1, tick=1)
    world.annotate(names.ANNOTATION_ABORT, "1")
    sees_after(world, 600, tick=60)


def way_back_from_a_limit_fails(world: World) -> None:
    _begins_to_miss(world)
    world.problems |= dict.fromkeys(set(world.snapshots) - {world.wanted}, "pod fraud-a: ImagePullBackOff")
    sees_after(world, 2400, tick=60)
    world.change(limited("4"))
    sees_after(world, 300)


def limit_is_edited(world: World) -> None:
    _begins_to_miss(world)
    world.change(limited("3", {**RECALL, "limit": "0.5"}))
    sees_after(world, 300)
    world.change(spec("3", strategy=QUICK, metrics=[ERRORS, RECALL]))
    sees_after(world, 20)


def new_version_ends_what_is_over_a_limit(world: World) -> None:
    shares = {"1": 0.02, "2": 0.3, "3": 0.02}
    world.sampler = measures(shares)
    served(world, "1", "2", metrics=[{**RECALL, "severity": "info"}])
    world.change(limited("2", {**RECALL, "severity": "minor"}))
    sees_after(world, 200)
    world.change(limited("3", {**RECALL, "severity": "minor"}))
    sees_after(world, 300)


def limits_after_a_holdback(world: World) -> None:
    shares = {"1": 0.02, "2": 0.03}
    world.sampler = measures(shares)
    served(world, "1", "2", watch={"holdback": {"weight": 1, "for": "2m"}})
    sees_after(world, 300)
    shares["2"] = 0.4
    sees_after(world, 300)


def limits_and_the_kill_switch(world: World) -> None:
    _begins_to_miss(world, share=0.03)
    world.annotate(names.ANNOTATION_KILL_SWITCH, "Candidate")
    world.sampler = measures(dict.fromkeys("1234", 0.3))
    sees_after(world, 300)


ALL = (
    limit_is_kept,
    over_a_limit_goes_back_to_the_best,
    minor_limit_only_tells,
    info_limit_is_shown,
    value_must_stay_outside,
    over_a_limit_too_late,
    what_was_gone_back_to_fails_as_well,
    what_was_gone_back_to_fails_in_another_way,
    no_earlier_version_was_better,
    first_version_is_over_its_limit,
    limit_without_data,
    over_a_limit_while_nodes_are_gone,
    way_back_from_a_limit_is_aborted,
    way_back_from_a_limit_fails,
    limit_is_edited,
    new_version_ends_what_is_over_a_limit,
    limits_after_a_holdback,
    limits_and_the_kill_switch,
)
