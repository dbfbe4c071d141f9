"""What waits while a router pod is not heard, beside the stories: pods of a version that shrinks, and `maxDuration`."""

from serin.api.status import read_state
from serin.rollout.model import Route
from tests.narratives.world import World, spec


def test_no_version_shrinks_while_a_router_pod_may_use_every_pod() -> None:
    world = World()
    world.run(20)
    world.router_hears = False
    world.change(spec("1", replicas=2))
    world.run(600)
    assert world.pods[world.wanted].desired == 4
    world.change(spec("1", replicas=6))
    world.run(20)
    assert world.pods[world.wanted].desired == 6, "growing waits for nobody"
    world.change(spec("1", replicas=2))
    world.router_hears = True
    world.run(20)
    assert world.pods[world.wanted].desired == 2


def test_what_has_passed_and_waits_for_the_router_alone_is_not_too_late() -> None:
    strategy = {"canary": {"steps": [{"weight": 50, "bake": "60s"}], "maxDuration": "10m"}}
    world = World(spec=spec("1", strategy=strategy))
    world.run(20)
    candidate = world.change(spec("2", strategy=strategy))
    while world.weights.get(candidate) != 100:
        world.run(1, tick=1)
        world.router_hears = world.weights.get(candidate, 0) < 50
    world.run(1200)
    assert world.weights == {candidate: 100}
    assert world.status["reason"] == "RouteNotTaken"
    world.router_hears = True
    world.run(20)
    assert read_state(world.status).stable == candidate


def test_it_is_told_once_also_when_the_router_refuses_something_besides() -> None:
    world = World()
    world.run(20)
    world.router_hears = False
    world.run(60)
    world.route = Route(refused="no")
    world.run(60)
    world.route = Route()
    world.run(60)
    told = [line for line in world.story if "RouteNotTaken" in line]
    assert len(told) == 2, "once before and once after"
