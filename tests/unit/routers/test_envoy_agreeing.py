"""What Envoy is told for agreement: when versions are compared, which share is shown, and what stays as it was.

tests/integration/test_envoy_agreement.py has a real Envoy and a real guard.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from serin.api.guard import Protocol
from serin.api.guard_agreement import KEY, AgreementGuard, Comparison, key_of, read_written_pairing
from serin.api.guard_inputs import Column, InputGuard
from serin.api.guard_keys import read_signed
from serin.api.json import JsonObject
from serin.api.split import Mirror, Rule, Sticky
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.limits import Limits
from serin.routers.envoy.rendered import render
from serin.routers.envoy.routed_model import Agreement, Arm, RoutedModel, read_model
from serin.routers.envoy.settings import EnvoySettings
from tests.narratives.agreements import GUARD, compared
from tests.narratives.world import World
from tests.unit.routers.test_envoy_guard import text

POD = (Endpoint("10.0.0.1", 80),)
INSTALLED = Limits(guard=250)
HOW = AgreementGuard(Protocol.JSON, (Comparison("label"),), share=10)
IDLE = RoutedModel("shop", "fraud", 10001, EnvoySettings(), "a", (Arm("a", 100, POD), Arm("b", 0, POD)))
WAITS = replace(IDLE, agreement=Agreement(HOW, "7f", None))
COPIED = replace(IDLE, agreement=Agreement(HOW, "7f", "b"), mirror=Mirror("b", 20))
WEIGHTED = replace(COPIED, mirror=None, arms=(Arm("a", 60, POD), Arm("b", 40, POD)))


def routes(model: RoutedModel) -> list[JsonObject]:
    found: list[JsonObject] = render(model, limits=INSTALLED).routes["virtual_hosts"][0]["routes"]
    return found


def shown(model: RoutedModel) -> list[tuple[str, int | None]]:
    """Routes that show the guard what they carry: their names, and up to which hundredth of a percent."""
    found = [one for one in routes(model) if "serin-guard-agreement" in one.get("typed_per_filter_config", {})]
    shares = [one["match"].get("runtime_fraction", {}).get("default_value", {}).get("numerator") for one in found]
    return [(one["name"], share) for one, share in zip(found, shares, strict=True)]


def test_a_deployment_without_it_has_what_it_had() -> None:
    assert "agreement" not in text(render(IDLE, limits=INSTALLED))
    assert text(render(WAITS)) == text(render(IDLE))  # the chart takes the guard away


def test_a_rollout_changes_routes_and_no_listener() -> None:
    listeners = [render(one, limits=INSTALLED).listener for one in (WAITS, COPIED, WEIGHTED)]
    assert listeners[0] == listeners[1] == listeners[2] != render(IDLE, limits=INSTALLED).listener


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (COPIED, [("a", 1000)]),
        (replace(COPIED, mirror=Mirror("b", 5)), [("a", 500)]),  # no more than the mirror says
        (WEIGHTED, [("a", 5000)]),  # beside the 40 percent of the candidate's
        (replace(WEIGHTED, arms=(Arm("a", 4, POD), Arm("b", 96, POD))), [("a", None)]),  # all that stable has
        (replace(COPIED, mirror=None, rules=(Rule("b", {"x-beta": "1"}),)), [("a", 1000)]),
        (replace(COPIED, mirror=None, rules=(Rule("b", {"x-beta": "1"}, preview=True),)), []),
        (replace(COPIED, mirror=None), []),
        (WAITS, []),
        (replace(WEIGHTED, agreement=WAITS.agreement), []),  # a holdback: no rollout
        (replace(WEIGHTED, arms=(Arm("a", 60, POD), Arm("b", 40, ()))), []),
        (replace(WEIGHTED, stable="b"), []),
        (replace(WEIGHTED, stable=None), []),
    ],
)
def test_which_share_is_shown(model: RoutedModel, found: list[tuple[str, int | None]]) -> None:
    assert shown(model) == found
    key = key_of("7f", "b")
    ways = [one for one in routes(model) if one.get("route", {}).get("cluster") == "shop/fraud/b+copies"]
    assert len(ways) == len(found)
    assert all(one["match"]["headers"][0] == {"name": KEY, "string_match": {"exact": key}} for one in ways)
    assert not found or "shop/fraud/b+copies" in render(model, limits=INSTALLED).clusters


@pytest.mark.parametrize("model", [replace(WEIGHTED, killed=True), replace(WEIGHTED, sticky=Sticky(header="x-user"))])
def test_nothing_is_shown_where_nothing_is_compared_and_the_guards_own_requests_go_nowhere(model: RoutedModel) -> None:
    found = text(render(model, limits=INSTALLED))
    assert "grpc_initial_metadata" not in found
    host = render(model, limits=INSTALLED).routes["virtual_hosts"][0]
    lists = (
        [host["routes"]]
        if "routes" in host
        else [
            one["action"]["typed_config"]["routes"]
            for one in (
                *(each["on_match"] for each in host["matcher"]["matcher_list"]["matchers"]),
                host["matcher"]["on_no_match"],
            )
        ]
    )
    for one in lists:
        assert one[0]["match"]["headers"] == [{"name": KEY, "present_match": True}]
        assert one[0]["direct_response"]["status"] == 404


def test_what_the_guard_is_told() -> None:
    [way] = [one for one in routes(COPIED) if "serin-guard-agreement" in one.get("typed_per_filter_config", {})]
    told = way["typed_per_filter_config"]["serin-guard-agreement"]["overrides"]["grpc_initial_metadata"]
    found = read_written_pairing(read_signed(b"", told[0]["value"].encode()))
    assert (found.name, found.port, found.stable, found.candidate) == ("shop/fraud", 10001, "a", "b")
    assert (found.key, found.compare, found.seconds) == (key_of("7f", "b"), HOW.compare, 300.0)


def test_the_guards_own_requests_are_not_checked_as_clients_are() -> None:
    inputs = InputGuard(Protocol.JSON, (Column("a"),))
    own = [one for one in routes(replace(COPIED, inputs=inputs)) if KEY in json.dumps(one["match"])]
    assert len(own) == 3
    assert all(one["typed_per_filter_config"]["serin-guard-input"]["disabled"] for one in own)


def test_one_candidate_of_a_rollout_is_compared() -> None:
    world = World()
    world.spec = compared("1")
    world.run(20)
    world.change(compared("2"))
    world.run(10)
    assert _read(world).agreement is not None
    found = _read(world).agreement
    assert found is not None
    assert (found.how.share, found.how.compare[0].path) == (GUARD["agreement"]["share"], "label")
    assert found.candidate == world.wanted
    world.run(200)  # it is promoted
    found = _read(world).agreement
    assert found is not None
    assert found.candidate is None


def _read(world: World) -> RoutedModel:
    body: Any = json.loads(json.dumps(world.body))
    body["status"]["router"] = {"envoy": {"port": 10001}}
    found = read_model(body, ()).model
    assert found is not None
    return found
