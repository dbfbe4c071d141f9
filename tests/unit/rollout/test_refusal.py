"""A spec that only the parser can refuse: nobody loses traffic, and nobody gets traffic that is not weighed."""

from serin.api.kill_switch import read_kill_switch
from serin.api.names import ANNOTATION_KILL_SWITCH
from serin.api.status import read_state
from serin.rollout.refusal import refuse
from tests.narratives.world import World, spec

MESSAGE = "spec.config: two keys become one variable: rename one of them"


def _refused(world: World) -> dict[str, object]:
    return refuse(world.status, MESSAGE, generation=7, now=world.now)


def test_what_serves_goes_on() -> None:
    world = World()
    world.run(20)
    refused = _refused(world)
    assert read_state(refused).split == read_state(world.status).split
    assert refused["stable"] == world.status["stable"]
    stalled = {one["type"]: one for one in refused["conditions"]}["Stalled"]  # type: ignore[attr-defined]
    assert (stalled["status"], stalled["reason"], stalled["message"]) == ("True", "InvalidSpec", MESSAGE)
    assert {one["type"] for one in world.status["conditions"]} <= {one["type"] for one in refused["conditions"]}  # type: ignore[attr-defined]


def test_a_candidate_that_nobody_weighs_loses_its_traffic() -> None:
    world = World()
    world.run(20)
    candidate = world.change(spec("2"))
    world.run(30)
    assert world.candidate_weight
    refused = _refused(world)
    told = {one["type"] for one in refused["conditions"]}  # type: ignore[attr-defined]
    assert not told & {"EvidenceAvailable", "PolicyFeasible"}, "there is no rollout that these could be about"
    after = read_state(refused)
    assert after.split.of(candidate) == 0
    assert after.candidate is None
    assert candidate in after.draining


def test_saying_it_again_changes_nothing() -> None:
    world = World()
    world.run(20)
    refused = _refused(world)
    assert refuse(refused, MESSAGE, generation=7, now=world.now + 60) is refused


def test_the_kill_switch_is_told_beside_it() -> None:
    world = World()
    world.run(20)
    killed = read_kill_switch({ANNOTATION_KILL_SWITCH: "All"}, {})
    refused = refuse(world.status, MESSAGE, generation=7, now=world.now, killed=killed)
    assert refused["killSwitch"] == "All"
    assert "kill switch is All" in refused["message"]
    conditions = {one["type"]: one for one in refused["conditions"]}
    assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("False", "KillSwitch")
    again = refuse(refused, MESSAGE, generation=7, now=world.now)
    assert "killSwitch" not in again
    assert {one["type"]: one["status"] for one in again["conditions"]}["Ready"] == "Unknown"
