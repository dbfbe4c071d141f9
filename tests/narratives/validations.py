"""Stories of validation: the user's Job compares two versions before one that serves goes back, and never for long."""

from collections.abc import Mapping
from typing import Any

from serin.api import names
from serin.api.validation import ValidationSeen
from serin.rollout.model import CreateJob
from tests.narratives.limits import QUEUE, RECALL, limited, measures, sees
from tests.narratives.world import World

JOB = {"spec": {"template": {"spec": {"containers": [{"name": "score", "image": "registry.test/score:1"}]}}}}
VALIDATED = {"validation": {"timeout": "2m", "job": JOB}}


def says(answers: Mapping[str, str], seconds: float = 30.0) -> Any:
    """Jobs that say this of the target with this version of the model, after so long."""

    def compare(world: World, asked: CreateJob, waited: float) -> ValidationSeen:
        version = world.snapshots[asked.target].model_version
        return ValidationSeen(succeeded=True, said=answers[version]) if waited >= seconds else ValidationSeen()

    return compare


def validated(version: str, *, rollback: Mapping[str, Any] = VALIDATED, severity: str = "major") -> dict[str, Any]:
    """A spec that is held to two limits, and whose rollbacks are validated."""
    metrics = {**RECALL, "severity": severity}, {**QUEUE, "severity": "critical", "for": "20s"}
    return limited(version, *metrics) | {"rollback": dict(rollback)}


def begins_to_miss(world: World, *, severity: str = "major") -> dict[str, float]:
    """Versions 1, 2 and 3 serve, of which 1 is the best by its record; then version 3 begins to miss more.

    Answers how long the queue of each version is, which is critical.
    """
    shares, queues = {"1": 0.02, "2": 0.06, "3": 0.03}, dict.fromkeys("123", 10.0)
    world.sampler = measures(shares, queues)
    world.run(20)
    for version in "123":
        world.change(validated(version, severity=severity))
        while world.snapshots.get(world.wanted) is None or world.status["stable"]["snapshot"] != world.wanted:
            world.run(10)
        world.run(420 if version != "3" else 200)
    shares["3"] = 0.3
    return queues


def _compared(world: World) -> None:
    """Until a Job compares two versions."""
    before = len(world.validations)
    while len(world.validations) == before:
        world.run(10)


def _ends(world: World, seconds: float = 500) -> None:
    world.run(seconds)
    sees(world)
    world.tell(f"sees: last rollback: {world.status.get('lastRollback', {}).get('validation', 'not validated')}")


def validated_and_gone_back_to(world: World) -> None:
    world.compares = says({"1": '{"target": 0.98, "present": 0.7}'})
    begins_to_miss(world)
    _ends(world)


def refused_for_the_next_older(world: World) -> None:
    """On the holdout version 1 is worse than what serves, whatever its record says: version 2 comes up."""
    worse = '{"target": 0.6, "present": 0.7, "message": "recall on the holdout of May"}'
    world.compares = says({"1": worse, "2": '{"target": 0.94, "present": 0.7}'})
    begins_to_miss(world)
    _ends(world)


def refused_until_none_is_left(world: World) -> None:
    world.compares = says(dict.fromkeys("12", '{"accept": false, "message": "the holdout has a new label"}'))
    begins_to_miss(world)
    _ends(world, 700)


def validation_hangs(world: World) -> None:
    """The rollback waits for it as long as the spec says, and no longer."""
    begins_to_miss(world)
    _ends(world)


def validation_says_something_else(world: World) -> None:
    world.compares = says({"1": "Traceback (most recent call last):"})
    begins_to_miss(world)
    _ends(world)


def validation_fails(world: World) -> None:
    world.compares = lambda _world, _asked, _seconds: ValidationSeen(succeeded=False, problem="BackoffLimitExceeded")
    begins_to_miss(world)
    _ends(world)


def validation_cannot_start(world: World) -> None:
    world.no_jobs = "exceeded quota: jobs"
    begins_to_miss(world)
    _ends(world)


def critical_breach_waits_for_no_validation(world: World) -> None:
    world.compares = says({"1": '{"target": 0.6, "present": 0.7}'})
    begins_to_miss(world, severity="critical")
    _ends(world)


def person_waits_for_no_validation(world: World) -> None:
    world.compares = says({"2": '{"target": 0.6, "present": 0.7}'})
    begins_to_miss(world)
    world.sampler = measures(dict.fromkeys("123", 0.02))
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous")
    _ends(world, 100)


def present_is_lost_while_it_is_compared(world: World) -> None:
    """There is nobody any more who serves meanwhile."""
    begins_to_miss(world)
    _compared(world)
    world.problems[world.status["stable"]["snapshot"]] = "the node is gone"
    _ends(world, 100)


def time_is_that_of_all_targets(world: World) -> None:
    """Version 1 is refused late: what is left of the time is version 2's, and no more."""
    worse = '{"target": 0.6, "present": 0.7}'
    world.compares = says({"1": worse, "2": worse}, seconds=80.0)
    begins_to_miss(world)
    _ends(world)


def no_time_is_left_for_the_next_older(world: World) -> None:
    """Its pods come up when the time is over: no Job is made for it."""
    world.compares = says({"1": '{"target": 0.6, "present": 0.7}'}, seconds=100.0)
    begins_to_miss(world)
    next_older = next(name for name, one in world.snapshots.items() if one.model_version == "2")
    world.problems[next_older] = "pulling the image takes its time"
    _compared(world)
    world.run(150)
    del world.problems[next_older]
    _ends(world)


def critical_breach_while_it_is_compared(world: World) -> None:
    """The version that serves on meanwhile gets worse in a way that waits for nothing."""
    queues = begins_to_miss(world)
    _compared(world)
    world.run(20)
    queues["3"] = 80.0
    _ends(world, 120)


def critical_breach_after_all_were_refused(world: World) -> None:
    """What serves has stayed, as the Jobs wanted it; a critical breach does not ask them."""
    world.compares = says(dict.fromkeys("12", '{"accept": false}'))
    queues = begins_to_miss(world)
    _ends(world, 300)
    queues["3"] = 80.0
    _ends(world, 120)


def validation_is_taken_out_of_the_spec(world: World) -> None:
    begins_to_miss(world)
    _compared(world)
    world.change(validated("3", rollback={"maxPerDay": 5}))
    _ends(world, 60)


def timeout_is_made_shorter(world: World) -> None:
    """Another Job in the spec is none for the validation that is under way; a shorter timeout counts at once."""
    begins_to_miss(world)
    _compared(world)
    world.run(30)
    other = {"spec": {"template": {"spec": {"containers": [{"name": "score", "image": "registry.test/score:2"}]}}}}
    world.change(validated("3", rollback={"validation": {"timeout": "20s", "job": other}}))
    _ends(world, 60)


def person_asks_while_it_is_compared(world: World) -> None:
    begins_to_miss(world)
    _compared(world)
    world.annotate(names.ANNOTATION_ROLLBACK_TO, "previous")
    _ends(world, 120)


def person_aborts_while_it_is_compared(world: World) -> None:
    begins_to_miss(world)
    _compared(world)
    world.annotate(names.ANNOTATION_ABORT)
    _ends(world, 120)


def kill_switch_while_it_is_compared(world: World) -> None:
    """It ends rollouts, and no way back."""
    world.compares = says({"1": '{"target": 0.98, "present": 0.7}'})
    begins_to_miss(world)
    _compared(world)
    world.annotate(names.ANNOTATION_KILL_SWITCH, "Candidate")
    _ends(world, 120)


ALL = (
    validated_and_gone_back_to,
    refused_for_the_next_older,
    refused_until_none_is_left,
    validation_hangs,
    validation_says_something_else,
    validation_fails,
    validation_cannot_start,
    critical_breach_waits_for_no_validation,
    person_waits_for_no_validation,
    present_is_lost_while_it_is_compared,
    time_is_that_of_all_targets,
    no_time_is_left_for_the_next_older,
    critical_breach_while_it_is_compared,
    critical_breach_after_all_were_refused,
    validation_is_taken_out_of_the_spec,
    timeout_is_made_shorter,
    person_asks_while_it_is_compared,
    person_aborts_while_it_is_compared,
    kill_switch_while_it_is_compared,
)
