"""Stories of partial rollback: a version that changed several dimensions fails, and combinations of it are tried."""

from typing import Any

from serin.analysis.types import Tick
from serin.api import names
from serin.evaluation.samples import SampleRequest
from tests.narratives.world import Sampler, World, fails, passes, spec

QUICK = {"canary": {"steps": [{"weight": 50, "bake": "20s"}]}}
AUTO = {"scope": "auto"}


def both(version: str = "2", image: str = "registry.test/fraud:2", **changes: Any) -> dict[str, Any]:
    """A version with another model on another image, and the policy that searches."""
    body = spec(version, **{"strategy": QUICK, "rollback": AUTO} | changes)
    body["template"]["spec"]["containers"][0]["image"] = image
    return body


def bad(*, image: str = "", model: str = "", threshold: str = "") -> Sampler:
    """Every version fails that has this image, this model or this configuration."""

    def sample(world: World, asked: SampleRequest) -> Tick:
        content = world.snapshots[asked.subject].content
        runtime, config = content["runtime"] or {}, content["config"] or {}
        found = (runtime["template"]["spec"]["containers"][0]["image"], config.get("threshold"))
        is_bad = found[0] == image or found[1] == threshold or world.snapshots[asked.subject].model_version == model
        return (fails if is_bad else passes)(world, asked)

    return sample


def _applied(world: World, sampler: Sampler, body: dict[str, Any]) -> None:
    world.run(20)
    world.sampler = sampler
    world.change(body)


def _tell(world: World) -> None:
    content = world.snapshots[world.status["stable"]["snapshot"]].content
    runtime = content["runtime"] or {}
    image = runtime["template"]["spec"]["containers"][0]["image"]
    world.tell(f"sees: stable has model {(content['model'] or {})['version']} on {image}")
    world.tell(f"sees: {world.status['reason']}: {world.status['message']}")
    said = {one["type"]: one["status"] for one in world.status["conditions"]}
    world.tell("sees: " + ", ".join(f"{one}={said[one]}" for one in ("Ready", "CandidateRejected", "Stalled")))


def _sees_after(world: World, seconds: float) -> None:
    world.run(seconds)
    _tell(world)


def _with_a_combination(world: World, sampler: Sampler) -> None:
    """Version 2 was rolled back, and a combination of it has traffic."""
    _applied(world, sampler, both())
    while not (world.status.get("bisection") and world.candidate_weight):
        world.run(1, tick=1)


def runtime_is_to_blame(world: World) -> None:
    _applied(world, bad(image="registry.test/fraud:2"), both())
    _sees_after(world, 300)


def model_is_to_blame(world: World) -> None:
    _applied(world, bad(model="2"), both())
    _sees_after(world, 300)


def accuracy_points_to_the_model(world: World) -> None:
    accuracy = {"name": "accuracy", "ratio": {"bad": "wrong_total", "total": "labels_total"}, "severity": "critical"}
    _applied(world, bad(model="2"), both(metrics=[accuracy]))
    _sees_after(world, 300)


def no_dimension_alone_is_to_blame(world: World) -> None:
    body = both(config={"threshold": "0.9"})
    _applied(world, bad(image="registry.test/fraud:2", model="2"), body)
    _sees_after(world, 600)
    world.sampler = passes
    world.annotate(names.ANNOTATION_RETRY, "1")
    _sees_after(world, 90)


def config_is_to_blame_of_three(world: World) -> None:
    _applied(world, bad(threshold="0.9"), both(config={"threshold": "0.9"}))
    _sees_after(world, 600)


def one_change_is_to_blame(world: World) -> None:
    _applied(world, bad(model="2"), both(image="registry.test/fraud:1"))
    _sees_after(world, 100)


def only_listed_dimensions_are_reverted(world: World) -> None:
    _applied(world, bad(model="2"), both(rollback={"dimensions": ["runtime"]}))
    _sees_after(world, 300)


def nothing_listed_was_changed(world: World) -> None:
    _applied(world, bad(model="2"), both(rollback={"dimensions": ["config", "features"]}))
    _sees_after(world, 100)


def runtime_whose_pods_never_run(world: World) -> None:
    _applied(world, passes, both())
    world.problems[world.wanted] = "pod fraud-x: container model exited with code 2"
    _sees_after(world, 900)


def combination_is_aborted(world: World) -> None:
    _with_a_combination(world, bad(image="registry.test/fraud:2"))
    world.annotate(names.ANNOTATION_ABORT, "1")
    _sees_after(world, 120)


def combination_and_a_person_who_goes_back(world: World) -> None:
    _with_a_combination(world, bad(image="registry.test/fraud:2"))
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous@1")
    _sees_after(world, 120)


def combination_is_promoted_by_a_person(world: World) -> None:
    _with_a_combination(world, bad(model="2"))
    world.annotate(names.ANNOTATION_PROMOTE, "1")
    world.sampler = passes
    _sees_after(world, 120)


def combination_and_the_kill_switch(world: World) -> None:
    _with_a_combination(world, bad(image="registry.test/fraud:2"))
    world.annotate(names.ANNOTATION_KILL_SWITCH, "Candidate")
    world.run(60)
    world.annotate(names.ANNOTATION_KILL_SWITCH, None)
    _sees_after(world, 120)


def combination_that_is_paused(world: World) -> None:
    _applied(world, bad(image="registry.test/fraud:2"), both())
    world.annotate(names.ANNOTATION_PAUSE, "true")
    world.run(200)
    world.annotate(names.ANNOTATION_PAUSE, None)
    _sees_after(world, 200)


def spec_is_corrected_while_a_combination_serves(world: World) -> None:
    runtime_is_to_blame(world)
    world.change(both(image="registry.test/fraud:3"))
    _sees_after(world, 200)


def spec_is_reverted_while_a_combination_is_tried(world: World) -> None:
    _with_a_combination(world, bad(image="registry.test/fraud:2"))
    world.change(spec(strategy=QUICK))
    _sees_after(world, 100)


def policy_is_removed_while_a_combination_serves(world: World) -> None:
    runtime_is_to_blame(world)
    body = both()
    del body["rollback"]
    world.change(body)
    _sees_after(world, 30)
    world.sampler = passes
    world.annotate(names.ANNOTATION_RETRY, "1")
    _sees_after(world, 100)


def combination_fails_in_its_holdback(world: World) -> None:
    _applied(world, bad(image="registry.test/fraud:2"), both(watch={"holdback": {"weight": 5, "for": "10m"}}))
    while not world.status.get("watch"):
        world.run(1, tick=1)
    _sees_after(world, 20)
    world.sampler = bad(model="2", image="registry.test/fraud:2")
    _sees_after(world, 300)


def blue_green_finds_the_runtime(world: World) -> None:
    green = {"preview": {"replicas": 1}, "approve": "Auto", "holdback": 10, "bake": "30s", "keep": "1m"}
    _applied(world, bad(image="registry.test/fraud:2"), both(strategy={"blueGreen": green}))
    _sees_after(world, 400)


ALL = (
    runtime_is_to_blame,
    model_is_to_blame,
    accuracy_points_to_the_model,
    no_dimension_alone_is_to_blame,
    config_is_to_blame_of_three,
    one_change_is_to_blame,
    only_listed_dimensions_are_reverted,
    nothing_listed_was_changed,
    runtime_whose_pods_never_run,
    combination_is_aborted,
    combination_and_a_person_who_goes_back,
    combination_is_promoted_by_a_person,
    combination_and_the_kill_switch,
    combination_that_is_paused,
    spec_is_corrected_while_a_combination_serves,
    spec_is_reverted_while_a_combination_is_tried,
    policy_is_removed_while_a_combination_serves,
    combination_fails_in_its_holdback,
    blue_green_finds_the_runtime,
)
