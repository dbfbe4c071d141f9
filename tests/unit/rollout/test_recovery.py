"""Whether a rollback has helped: what the stories in tests/narratives/limits.py do not tell."""

from serin.analysis.types import NoData, Tick
from serin.api.conditions import Reason
from serin.api.names import ANNOTATION_ABORT
from serin.api.status import read_state
from serin.evaluation.samples import SampleRequest
from tests.narratives.limits import QUEUE, RECALL, limited, measures, served
from tests.narratives.world import Sampler, World


def gone_back(shares: dict[str, float]) -> World:
    """Version 2 has missed too much, and everything is back on version 1, of which nothing is counted yet."""
    world = World(sampler=measures(shares))
    served(world, "1", "2")
    world.run(200)
    shares["2"] = 0.3
    while not read_state(world.status).last_rollback:
        world.run(10)
    assert "outcome" not in world.status["lastRollback"]
    return world


def silent(_world: World, _asked: SampleRequest) -> Tick:
    return NoData(Reason.NO_TRAFFIC, "the metric is scraped, and nobody asks")


def told(world: World, reason: Reason) -> int:
    return sum(f"{reason}:" in line for line in world.said)


def test_it_is_said_once() -> None:
    world = gone_back({"1": 0.02, "2": 0.02})
    world.run(900)
    assert world.status["lastRollback"]["outcome"] == "Recovered"
    assert told(world, Reason.RECOVERED) == 1


def test_without_data_it_is_not_known_once_the_window_is_over() -> None:
    world = gone_back({"1": 0.02, "2": 0.02})
    world.sampler = silent
    world.run(600)
    assert "outcome" not in world.status["lastRollback"], "its window of 10m is not over"
    world.run(120)
    assert world.status["lastRollback"]["outcome"] == "RecoveryNotShown"
    assert "nobody asks; its window of 10m is over" in world.status["lastRollback"]["outcomeMessage"]
    assert told(world, Reason.RECOVERY_NOT_SHOWN) == 1


def test_a_target_that_fails_as_well_has_not_helped() -> None:
    shares = {"1": 0.02, "2": 0.02}
    world = gone_back(shares)
    shares["1"] = 0.3
    world.run(900)
    assert world.status["lastRollback"]["outcome"] == "NotRecovered"
    assert told(world, Reason.NOT_RECOVERED) == 1


def test_a_rollback_of_a_candidate_is_not_looked_at() -> None:
    """Stable is what it was, and nothing was left for a limit of its own."""
    world = World(sampler=measures({"1": 0.02, "2": 0.02}))
    served(world, "1")
    world.change(limited("2"))
    world.run(15)
    world.annotate(ANNOTATION_ABORT)
    world.run(900)
    assert world.status["lastRollback"]["reason"] == "AbortedByUser"
    assert "outcome" not in world.status["lastRollback"]


def test_a_candidate_that_has_failed_the_same_metric_is_no_rollback_of_what_serves() -> None:
    world = World(sampler=measures({"1": 0.02, "2": 0.3}))
    served(world, "1")
    world.change(limited("2"))
    world.run(900)
    assert world.status["lastRollback"]["metric"] == "missed"
    assert "outcome" not in world.status["lastRollback"]


def test_a_metric_that_is_only_shown_says_nothing_of_it() -> None:
    shares, queues = {"1": 0.02, "2": 0.02}, {"1": 80.0, "2": 10.0}
    world = World(sampler=measures(shares, queues))
    served(world, "1", "2", metrics=[RECALL, {**QUEUE, "severity": "info", "for": "20s"}])
    world.run(200)
    shares["2"] = 0.3
    world.run(900)
    assert world.status["lastRollback"]["outcome"] == "Recovered"


def test_another_limit_that_is_broken_first_says_that_it_has_not_helped() -> None:
    shares, queues = {"1": 0.02, "2": 0.02}, {"1": 10.0, "2": 10.0}
    world = World(sampler=measures(shares, queues))
    served(world, "1", "2", metrics=[RECALL, {**QUEUE, "for": "20s"}])
    world.run(200)
    shares["2"], queues["1"] = 0.3, 80.0
    world.sampler = without("missed", measures(shares, queues), of="1")
    while "outcome" not in world.status.get("lastRollback", {}):
        world.run(10)
    last = world.status["lastRollback"]
    assert (last["metric"], last["outcome"]) == ("missed", "NotRecovered")
    assert last["outcomeMessage"].startswith("queue: ")


def test_labels_that_come_late_are_waited_for() -> None:
    world = World(sampler=measures({"1": 0.02, "2": 0.02}))
    late = {**RECALL, "labelDelay": "5m"}
    served(world, "1", "2", metrics=[late])
    world.run(600)
    world.sampler = measures({"1": 0.02, "2": 0.3})
    while not read_state(world.status).last_rollback:
        world.run(10)
    world.sampler = silent
    world.run(900)
    assert "outcome" not in world.status["lastRollback"], "5m of no labels, and its window of 10m, are not over"
    world.run(120)
    assert world.status["lastRollback"]["outcome"] == "RecoveryNotShown"


def test_it_is_looked_at_when_the_window_is_over() -> None:
    world = gone_back({"1": 0.02, "2": 0.02})
    world.sampler = silent
    world.run(600)
    last, asked = read_state(world.status).last_rollback, world.look().requeue_after
    assert last is not None
    assert asked is not None
    assert asked <= last.at + 660 - world.now


def without(metric: str, sampler: Sampler, of: str) -> Sampler:
    """The same, and nothing of this metric of this version of the model."""

    def sample(world: World, asked: SampleRequest) -> Tick:
        there = asked.metric.name != metric or world.snapshots[asked.subject].model_version != of
        return sampler(world, asked) if there else silent(world, asked)

    return sample
