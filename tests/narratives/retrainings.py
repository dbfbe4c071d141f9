"""Stories of retraining: what asks for one, that one is under way at a time, and how its end is told."""

from collections.abc import Callable
from typing import Any

from serin.analysis.types import ReferenceTick, Tick
from serin.api import names
from serin.api.retraining import JobSeen
from serin.evaluation.samples import SampleRequest
from tests.narratives.limits import RECALL, limited, measures
from tests.narratives.world import Sampler, World, fails, passes, spec

JOB: dict[str, Any] = {"spec": {"template": {"spec": {"containers": [{"name": "train", "image": "train:1"}]}}}}
ANSWERS: dict[str, Any] = {
    "name": "answers",
    "distribution": {
        "counts": "answers_total{ {{.version}} }",
        "by": "label",
        "reference": {"legit": 9700, "fraud": 300},
    },
    "against": "reference",
    "severity": "minor",
}
DRIFT, WEEKLY = {"drift": {}}, {"schedule": {"every": "168h"}}


def retrained(version: str, *triggers: dict[str, Any], cooldown: str = "1h", **changes: Any) -> dict[str, Any]:
    """A spec whose model is retrained, by a Job unless `changes` say otherwise."""
    begun = {"webhook": {"name": "pipelines"}} if changes.pop("webhook", False) else {"job": JOB}
    metrics = [*spec()["metrics"], ANSWERS]
    asked = {"triggers": list(triggers), "cooldown": cooldown, **begun}
    return spec(version, metrics=metrics, retraining=asked, **changes)


def ends(after: float, error: str = "") -> Callable[[float], JobSeen | None]:
    """Jobs that end so many seconds after they were asked for."""
    return lambda age: JobSeen("", not error, error) if age >= after else None


def serving(world: World, first: dict[str, Any]) -> None:
    world.spec = first
    world.run(20)


def answering(candidate: tuple[int, int], stable: tuple[int, ...]) -> Sampler:
    """So many answers of each label a sample, and as good as stable in everything else."""

    def sample(world: World, asked: SampleRequest) -> Tick:
        if asked.metric.name != "answers":
            return passes(world, asked)
        names = ("legit", "fraud", "other")
        return ReferenceTick(world.now, (*candidate, 0), (9700, 300, 0), (*stable, 0) if stable else (), names)

    return sample


moved = answering((800, 200), (7300, 1700))


def _sees(world: World) -> None:
    kept = world.status.get("retraining", {"number": 0})
    told = next((one for one in world.status["conditions"] if one["type"] == "Retraining"), None)
    said = f"{told['status']} {told['reason']}" if told else "none"
    world.tell(f"sees: {kept['number']} retrainings, {len(world.jobs)} Jobs, condition Retraining {said}")


def world_moves_and_one_is_begun(world: World) -> None:
    serving(world, retrained("1", DRIFT))
    world.training = ends(60)
    world.sampler = moved
    world.change(retrained("2", DRIFT))
    world.run(400)
    _sees(world)


def candidate_moves_alone_and_none_is_begun(world: World) -> None:
    serving(world, retrained("1", DRIFT))
    world.sampler = answering((800, 200), (29, 1))
    world.change(retrained("2", DRIFT))
    world.run(100)
    world.tell("the world: stable's answers are enough to tell, and as they were")
    world.sampler = answering((800, 200), (9700, 300))
    world.run(100)
    _sees(world)


def world_moves_while_it_serves_and_one_is_begun(world: World) -> None:
    serving(world, retrained("1", DRIFT, watch={}))
    world.training, world.sampler = ends(60), answering((9700, 300), ())
    world.run(300)
    _sees(world)
    world.sampler = answering((8000, 2000), ())
    world.run(1200)
    _sees(world)


def drift_that_stays_asks_again(world: World) -> None:
    serving(world, retrained("1", DRIFT, cooldown="5m"))
    world.training = ends(60)
    world.sampler = moved
    world.change(retrained("2", DRIFT, cooldown="5m"))
    world.run(500)
    _sees(world)


def rollbacks_in_a_row_ask_for_a_retraining(world: World) -> None:
    asked = {"rollbacks": {"count": 2, "within": "1h"}}
    serving(world, retrained("1", asked))
    world.sampler = fails
    for version in "23":
        world.change(retrained(version, asked))
        world.run(60)
        _sees(world)
    world.training = ends(0, "BackoffLimitExceeded: Job has reached the specified backoff limit")
    world.run(60)
    _sees(world)


def aborted_rollouts_ask_for_none(world: World) -> None:
    asked = {"rollbacks": {"count": 1, "within": "1h"}}
    serving(world, retrained("1", asked))
    world.change(retrained("2", asked))
    world.run(60)
    world.annotate(names.ANNOTATION_ABORT)
    world.run(60)
    _sees(world)


def _over_its_limit(world: World, severity: str) -> None:
    metrics = [*spec()["metrics"], RECALL | {"severity": severity}]
    asked = {"triggers": [{"performance": {"metric": "missed"}}], "cooldown": "1h", "job": JOB}

    def version(number: str) -> dict[str, Any]:
        return limited(number) | {"metrics": metrics, "retraining": asked}

    world.spec, world.sampler, world.training = version("1"), measures({"1": 0.05, "2": 0.05}), ends(60)
    world.run(420)
    world.change(version("2"))
    world.run(420)
    world.sampler = measures({"1": 0.05, "2": 0.2})
    world.run(300)
    _sees(world)


def minor_limit_asks_for_a_retraining(world: World) -> None:
    _over_its_limit(world, "minor")


def limit_that_a_rollback_mends_asks_for_none(world: World) -> None:
    _over_its_limit(world, "major")


def enough_requests_ask_for_a_retraining(world: World) -> None:
    world.volume, world.training = 4_000, ends(30)
    serving(world, retrained("1", {"volume": {"metric": "errors", "requests": 10_000}}, cooldown="0s"))
    world.run(400)
    _sees(world)


def retrained_every_week(world: World) -> None:
    world.training = ends(3600)
    serving(world, retrained("1", WEEKLY))
    for _ in range(2):
        world.run(168 * 3600, tick=6 * 3600)
        _sees(world)


def retrained_model_comes_as_a_change_of_the_spec(world: World) -> None:
    world.training = ends(600)
    serving(world, retrained("1", {"schedule": {"every": "1h"}}, cooldown="2h"))
    world.run(3700, tick=60)
    world.run(700, tick=60)
    world.change(retrained("2", {"schedule": {"every": "1h"}}, cooldown="2h"))
    world.run(400)
    _sees(world)


def job_is_refused(world: World) -> None:
    world.no_jobs = 'jobs.batch is forbidden: User "serin-operator" cannot create resource "jobs"'
    serving(world, retrained("1", {"schedule": {"every": "1m"}}))
    world.run(120)
    _sees(world)
    world.no_jobs = ""
    world.run(20)
    _sees(world)


def job_is_deleted(world: World) -> None:
    serving(world, retrained("1", {"schedule": {"every": "1m"}}))
    world.run(60)
    name = world.status["retraining"]["run"]["name"]
    world.jobs[name] = None
    world.run(20)
    _sees(world)


def retraining_is_removed_before_it_begins(world: World) -> None:
    world.no_jobs = "exceeded quota"
    serving(world, retrained("1", {"schedule": {"every": "1m"}}))
    world.run(60)
    world.change(spec("1"))
    world.run(20)
    _sees(world)


def webhook_takes_it(world: World) -> None:
    serving(world, retrained("1", {"schedule": {"every": "1m"}}, webhook=True))
    world.run(40)
    world.taken = True
    world.run(40)
    _sees(world)


def webhook_does_not_answer(world: World) -> None:
    world.webhook_problem = "webhook pipelines: no answer within 10 s"
    serving(world, retrained("1", {"schedule": {"every": "1m"}}, webhook=True))
    world.run(4000, tick=300)
    _sees(world)


def kill_switch_holds_retraining(world: World) -> None:
    serving(world, retrained("1", {"schedule": {"every": "1m"}}))
    world.annotate(names.ANNOTATION_KILL_SWITCH, "Candidate")
    world.run(120)
    _sees(world)
    world.annotate(names.ANNOTATION_KILL_SWITCH, None)
    world.run(20)
    _sees(world)


ALL = (
    world_moves_and_one_is_begun,
    candidate_moves_alone_and_none_is_begun,
    world_moves_while_it_serves_and_one_is_begun,
    drift_that_stays_asks_again,
    rollbacks_in_a_row_ask_for_a_retraining,
    aborted_rollouts_ask_for_none,
    minor_limit_asks_for_a_retraining,
    limit_that_a_rollback_mends_asks_for_none,
    enough_requests_ask_for_a_retraining,
    retrained_every_week,
    retrained_model_comes_as_a_change_of_the_spec,
    job_is_refused,
    job_is_deleted,
    retraining_is_removed_before_it_begins,
    webhook_takes_it,
    webhook_does_not_answer,
    kill_switch_holds_retraining,
)
