"""Stories of a holdback: what happens after a promotion while the version before keeps a share of the requests."""

from typing import Any

from serin.analysis.types import Arm, RatioTick, Tick
from serin.api import names
from serin.evaluation.samples import SampleRequest
from tests.narratives.world import World, ab_test, fails, passes, silent, spec, variants, versions_buy

QUICK = {"canary": {"steps": [{"weight": 50, "bake": "20s"}]}}


def held(version: str, *, weight: int = 1, seconds: int = 300, **changes: Any) -> dict[str, Any]:
    """A spec with a short canary and a holdback."""
    watch = {"holdback": {"weight": weight, "for": f"{seconds}s"}}
    return spec(version, **{"strategy": QUICK, "watch": watch} | changes)


def promoted(world: World, **changes: Any) -> None:
    """Version 1 serves, and 2 is promoted and watched."""
    world.run(20)
    world.change(held("2", **changes))
    while not world.status.get("watch"):
        world.run(1, tick=1)
    world.run(5)


def holdback_that_finds_nothing(world: World) -> None:
    promoted(world)
    world.tell(f"sees: {world.status['phase']}, pods of {', '.join(sorted(world.pods))}")
    world.run(400)
    world.tell(f"sees: pods of {', '.join(sorted(world.pods))}")


def holdback_finds_a_regression(world: World) -> None:
    promoted(world)
    world.run(100)
    world.sampler = fails
    world.run(60)
    world.tell(f"sees: stable is {world.status['stable']['snapshot']}, pods of {', '.join(sorted(world.pods))}")
    world.sampler = passes
    world.annotate(names.ANNOTATION_RETRY, "1")
    world.run(60)


def holdback_whose_pods_are_lost(world: World) -> None:
    promoted(world)
    before = world.status["watch"]["snapshot"]
    world.problems[before] = "0/1 nodes are available"
    world.run(30)
    del world.problems[before]
    world.run(30)


def holdback_is_no_way_back_without_pods(world: World) -> None:
    promoted(world)
    before = world.status["watch"]["snapshot"]
    world.sampler = fails
    world.problems[before] = "0/1 nodes are available"
    world.run(30)
    del world.problems[before]
    world.run(30)


def holdback_falls_back_to_the_best(world: World) -> None:
    best, before = _third_version_fails_in_its_holdback(world)
    world.problems[before] = "0/1 nodes are available"
    world.run(60)
    world.tell(f"sees: stable is {world.status['stable']['snapshot']}, {world.status['lastRollback']['metric']}")
    world.tell(f"sees: {best} was the best")


def holdback_falls_back_to_the_next(world: World) -> None:
    best, before = _third_version_fails_in_its_holdback(world)
    world.problems |= dict.fromkeys((best, before), "pod fraud-a: ImagePullBackOff: no such image")
    world.run(650)
    del world.problems[before]
    world.run(60)
    world.tell(f"sees: stable is {world.status['stable']['snapshot']}")


def holdback_falls_back_to_nothing(world: World) -> None:
    world.problems |= dict.fromkeys(_third_version_fails_in_its_holdback(world), "pod fraud-a: ImagePullBackOff")
    world.run(1500)
    stalled = next(one for one in world.status["conditions"] if one["type"] == "Stalled")
    world.tell(f"sees: {world.status['reason']}, Stalled={stalled['status']}: {stalled['message']}")
    world.sampler = passes
    world.change(held("4"))
    world.run(60)


def _third_version_fails_in_its_holdback(world: World) -> tuple[str, str]:
    """Version 3 was promoted, and fails from now on; answers the best earlier version, and the one before it."""
    errors = {"1": 20, "2": 200, "3": 20}  # of 20,000 requests

    def sample(world: World, asked: SampleRequest) -> Tick:
        both = (asked.subject, asked.baseline or asked.subject)
        return RatioTick(world.now, *(Arm(20_000, errors[world.snapshots[one].model_version]) for one in both))

    world.run(20)
    first = world.wanted
    world.sampler = sample
    info = [{"name": "errors", "template": {"name": "request-errors"}, "severity": "info"}]
    second = world.change(spec("2", strategy=QUICK, metrics=info))
    world.run(90)
    world.change(held("3"))
    while not world.status.get("watch"):
        world.run(1, tick=1)
    world.run(20)
    errors["3"] = 10_000
    world.now += 5.0  # what is counted at the next look
    return first, second


def promoted_version_crashes_beside_lost_pods(world: World) -> None:
    best, before = _third_version_fails_in_its_holdback(world)
    world.sampler = passes
    world.problems[before] = "0/1 nodes are available"
    world.run(30)
    stable = world.status["stable"]["snapshot"]
    world.problems[stable] = "pod fraud-x: container model exited with code 139"
    world.crashed.add(stable)
    world.run(60)
    world.tell(f"sees: stable is {world.status['stable']['snapshot']}, {best} was the best")


def promoted_version_loses_its_pods(world: World) -> None:
    promoted(world, seconds=60)
    stable = world.status["stable"]["snapshot"]
    world.problems[stable] = "0/1 nodes are available"
    world.run(120)
    world.lost[stable] = 2
    world.run(20)
    world.tell(f"sees: weights {world.weights}")
    del world.problems[stable], world.lost[stable]
    world.run(60)


def promoted_version_crashes(world: World) -> None:
    promoted(world)
    stable = world.status["stable"]["snapshot"]
    world.problems[stable] = "pod fraud-x: container model exited with code 139"
    world.crashed.add(stable)
    world.run(60)


def new_spec_in_a_holdback(world: World) -> None:
    promoted(world)
    world.change(held("3"))
    world.run(20)
    world.tell(f"sees: stable is {world.status['stable']['snapshot']}")
    world.run(120)


def spec_back_in_a_holdback(world: World) -> None:
    promoted(world)
    world.change(held("1"))
    world.run(60)


def goes_back_in_a_holdback(world: World) -> None:
    promoted(world)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    world.run(60)


def goes_further_back_in_a_holdback(world: World) -> None:
    promoted(world)
    first = world.status["watch"]["snapshot"]
    world.change(held("3"))
    world.run(60)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, f"{first}@1")
    world.run(60)


def holdback_that_is_paused(world: World) -> None:
    promoted(world, seconds=60)
    world.annotate(names.ANNOTATION_PAUSE)
    world.run(120)
    world.annotate(names.ANNOTATION_PAUSE, None)
    world.run(20)


def holdback_that_is_edited(world: World) -> None:
    promoted(world)
    world.change(held("2", weight=10))
    world.run(20)
    world.change(held("2", weight=2, replicas=6))
    world.run(30)
    world.change(spec("2", strategy=QUICK))
    world.run(60)


def holdback_and_the_kill_switch(world: World) -> None:
    promoted(world)
    world.annotate(names.ANNOTATION_KILL_SWITCH, "Candidate")
    world.run(60)
    world.annotate(names.ANNOTATION_KILL_SWITCH, None)
    world.run(20)


def holdback_without_data(world: World) -> None:
    promoted(world, seconds=120)
    world.sampler = silent
    world.run(150)


def holdback_of_a_promotion_by_a_person(world: World) -> None:
    world.run(20)
    stable = world.status["stable"]["snapshot"]
    world.change(held("2", strategy={"canary": {"steps": [{"weight": 50, "bake": "1h"}]}}))
    world.run(30)
    world.problems[stable] = "0/1 nodes are available"
    world.annotate(names.ANNOTATION_PROMOTE, "1")
    world.run(60)
    world.tell(f"sees: watched: {'watch' in world.status}")


def holdback_after_blue_green(world: World) -> None:
    green = {"preview": {"replicas": 1}, "approve": "Auto", "holdback": 1, "bake": "20s", "keep": "5m"}
    promoted(world, strategy={"blueGreen": green}, seconds=60)
    world.run(90)
    world.tell(f"sees: pods of {', '.join(sorted(world.pods))}, kept {sorted(world.status['kept'])}")


def holdback_after_a_shadow(world: World) -> None:
    shadow = {"mirror": 20, "bake": "20s", "then": "Promote"}
    promoted(world, strategy={"shadow": shadow}, seconds=60)
    world.sampler = fails
    world.run(30)


def holdback_after_an_ab_test_of_variants(world: World) -> None:
    world.run(20)
    world.sampler = versions_buy({"1": 0.1, "2": 0.1, "3": 0.2})
    tested = ab_test("2", variants=variants("3")) | {"watch": {"holdback": {"weight": 1, "for": "300s"}}}
    world.change(tested)
    while not world.status.get("watch"):
        world.run(10)
    world.run(60)

    def errors(it: World, asked: SampleRequest) -> Tick:
        return fails(it, asked) if asked.metric.name == "errors" else passes(it, asked)

    world.sampler = errors
    world.run(60)


ALL = (
    holdback_that_finds_nothing,
    holdback_finds_a_regression,
    holdback_whose_pods_are_lost,
    holdback_is_no_way_back_without_pods,
    holdback_falls_back_to_the_best,
    holdback_falls_back_to_the_next,
    holdback_falls_back_to_nothing,
    promoted_version_crashes_beside_lost_pods,
    promoted_version_loses_its_pods,
    promoted_version_crashes,
    new_spec_in_a_holdback,
    spec_back_in_a_holdback,
    goes_back_in_a_holdback,
    goes_further_back_in_a_holdback,
    holdback_that_is_paused,
    holdback_that_is_edited,
    holdback_and_the_kill_switch,
    holdback_without_data,
    holdback_of_a_promotion_by_a_person,
    holdback_after_blue_green,
    holdback_after_a_shadow,
    holdback_after_an_ab_test_of_variants,
)
