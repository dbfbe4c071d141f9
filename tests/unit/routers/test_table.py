"""A router is a folder and a line in the table: one from a test file carries a rollout, nothing else has changed."""

import argparse
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from serin.api.fields import InvalidSpec
from serin.api.parse import parse_model_deployment
from serin.api.spec import ModelDeployment
from serin.api.split import all_to
from serin.api.state import Phase, State
from serin.api.status import read_state
from serin.cluster.cache import ObjectCache
from serin.controller.settings import add_arguments
from serin.rollout.model import ApplyRouteObject, Route
from serin.routers import ROUTERS, build_routers, router_of
from serin.routers.base import Router
from tests.narratives.world import World, spec
from tests.unit.routers.context import router_context
from tests.unit.routers.dummy import DUMMY, PATIENCE, Dummy


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROUTERS, "dummy", DUMMY)


def routers(*flags: str) -> dict[str, Router]:
    return build_routers(router_context(ObjectCache(), *flags))


@dataclass
class Routed(World):
    """A world whose router is one of the table."""

    routers: dict[str, Router] = field(default_factory=routers)

    @property
    def dummy(self) -> Dummy:
        found = self.routers["dummy"]
        assert isinstance(found, Dummy)
        return found

    def observe_route(self, _deployment: ModelDeployment, _state: State) -> Route:
        return router_of(self.routers, _deployment).observe(_deployment, _state)

    def _apply(self, action: Any) -> None:
        super()._apply(action)
        if isinstance(action, ApplyRouteObject):
            self.dummy.published.append(action.body)


def wanting(version: str, colour: str = "blue") -> dict[str, Any]:
    return spec(version, router={"dummy": {"colour": colour}})


def test_a_rollout_goes_through_a_router_of_a_test_file() -> None:
    world = Routed(spec=wanting("1"))
    world.run(20)
    assert world.status["router"] == {"dummy": {"lane": "left"}}
    assert [body["metadata"]["labels"] for body in world.dummy.published] == [{"colour": "blue"}]
    first = world.wanted
    second = world.change(wanting("2", "red"))
    seen = set[int]()
    for _ in range(60):
        world.run(5)
        seen.add(world.weights.get(second, 0))
    assert seen == {5, 25, 50, 100}
    assert (world.weights, read_state(world.status).phase) == ({second: 100}, Phase.HEALTHY)
    assert first not in world.pods
    assert world.status["router"] == {"dummy": {"lane": "left"}}
    assert [body["metadata"]["labels"]["colour"] for body in world.dummy.published] == ["blue", "red"]


def test_a_move_waits_until_the_router_has_it_and_tells_so_after_its_patience() -> None:
    world = Routed(spec=wanting("1"))
    world.run(20)
    first, second = world.wanted, world.change(wanting("2"))
    while world.weights.get(second) != 100:
        world.run(1, tick=1)
        world.dummy.frozen = all_to(first)
    moved = world.now
    while world.status["reason"] == "Promoting":
        assert world.last_plan is not None
        assert world.last_plan.requeue_after == pytest.approx(0.25)
        world.now += 0.25
        world.settle()
    assert PATIENCE - 1 <= world.now - moved <= PATIENCE + 1
    assert world.status["reason"] == "RouteNotTaken"
    world.run(1800)
    assert world.last_plan is not None
    assert world.last_plan.requeue_after == pytest.approx(PATIENCE / 2)
    assert (read_state(world.status).stable, set(world.pods)) == (first, {first, second})
    world.dummy.frozen = None
    world.settle()
    assert read_state(world.status).stable == second


def test_a_router_defines_its_own_flags_and_its_metrics() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, {"SERIN_DUMMY_LANE": "right", "SERIN_XDS_PORT": "18001"})
    found = parser.parse_args([])
    assert (found.dummy_lane, found.xds_port) == ("right", 18001)
    made = routers("--dummy-lane", "right")["dummy"]
    assert isinstance(made, Dummy)
    assert made.lane == "right"
    registry = CollectorRegistry()
    build_routers(router_context(ObjectCache(), registry=registry))
    page = generate_latest(registry).decode()
    assert "serin_router_envoys 0.0" in page
    assert "serin_route_propagation_seconds_count 0.0" in page


def test_a_router_that_is_not_in_the_table_is_refused_in_words_that_name_the_others() -> None:
    deployment = parse_model_deployment(World(spec=spec(router={"pigeon": {}})).body)
    with pytest.raises(InvalidSpec, match=r"^spec\.router\.pigeon is unknown: write one of envoy, dummy$"):
        router_of(routers(), deployment)


@pytest.mark.parametrize("name", sorted(ROUTERS))
def test_every_router_goes_by_its_name_in_the_table(name: str) -> None:
    assert routers()[name].name == name
