"""Listener ports: one deployment, one port, for ever; never the same one twice."""

import pytest

from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.parse import parse_model_deployment
from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.envoy import ports
from serin.routers.envoy.ports import Ports, PortsExhausted
from serin.routers.envoy.router import EnvoyRouter
from tests.narratives.world import World
from tests.unit.routers.context import router_context


def deployment(
    name: str, port: int | None = None, version: int = 1, created: str = "2026-11-22T10:00:00Z"
) -> JsonObject:
    status = {} if port is None else {"router": {"envoy": {"port": port}}}
    metadata = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": {**metadata, "creationTimestamp": created}, "spec": {}, "status": status}


def holding(*bodies: JsonObject) -> ObjectCache:
    cache = ObjectCache()
    for body in bodies:
        cache.put(kinds.MODEL_DEPLOYMENT, body)
    return cache


def test_a_port_that_was_given_stays() -> None:
    assert Ports(holding(deployment("fraud", 12345))).free_for(("shop", "fraud")) == 12345


def test_two_that_are_looked_at_before_either_is_written_get_different_ports() -> None:
    names = [f"model-{number}" for number in range(200)]
    found = Ports(holding(*map(deployment, names)))
    given = {name: found.free_for(("shop", name)) for name in names}
    assert len(set(given.values())) == len(names)
    assert given == {name: found.free_for(("shop", name)) for name in names}
    assert all(ports.FIRST <= port <= ports.LAST for port in given.values())


def test_a_port_that_somebody_else_has_is_never_given() -> None:
    first = Ports(holding(deployment("fraud"))).free_for(("shop", "fraud"))
    cache = holding(deployment("fraud"), deployment("other", first))
    assert Ports(cache).free_for(("shop", "fraud")) != first
    # Taken after it was set aside, by a leader before this one: set aside is not given.
    found = Ports(holding(deployment("fraud")))
    assert found.free_for(("shop", "fraud")) == first
    found._cache.put(kinds.MODEL_DEPLOYMENT, deployment("other", first))
    assert found.free_for(("shop", "fraud")) != first


def test_what_was_set_aside_for_a_deployment_that_is_gone_is_free_again() -> None:
    cache = holding(deployment("fraud"))
    found = Ports(cache)
    found.free_for(("shop", "fraud"))
    cache.drop(kinds.MODEL_DEPLOYMENT, deployment("fraud", version=2))
    cache.put(kinds.MODEL_DEPLOYMENT, deployment("churn"))
    found.free_for(("shop", "churn"))
    assert found._reserved.keys() == {("shop", "churn")}


def test_no_port_left_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_COUNT", 2)
    taken = [deployment(f"model-{number}", ports.FIRST + number) for number in range(2)]
    with pytest.raises(PortsExhausted, match="delete model deployments"):
        Ports(holding(deployment("fraud"), *taken)).free_for(("shop", "fraud"))


def test_without_a_port_there_is_a_look_that_says_so_until_one_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_COUNT", 1)
    body = World().body
    body["metadata"]["creationTimestamp"] = "2026-11-22T10:00:00Z"
    body["status"] = {"router": {"envoy": {"port": ports.FIRST}}}
    older = deployment("older", ports.FIRST, created="2026-11-21T10:00:00Z")
    cache = holding(older, body)
    router, seen = EnvoyRouter(router_context(cache)), parse_model_deployment(body)
    route = router.observe(seen, read_state(seen.status))
    problem = route.problem()
    assert problem is not None
    assert problem.reason is Reason.ROUTER_FULL
    assert problem.message == "all 1 listener ports of the router are taken: delete model deployments"
    assert "port" not in route.state, "the one that is another deployment's is given up"
    assert route.repairs == ()
    cache.drop(kinds.MODEL_DEPLOYMENT, deployment("older", ports.FIRST, version=2))
    route = router.observe(seen, read_state(seen.status))
    assert (route.full, route.state["port"]) == (None, ports.FIRST)


def test_of_two_with_the_same_port_the_older_keeps_it_and_the_other_gets_another() -> None:
    """As after a restore that brings a status along, or a hand that edits one."""
    old, new = deployment("z-old", 12345), deployment("a-new", 12345, created="2026-11-23T10:00:00Z")
    for bodies in ((old, new), (new, old)):
        found = Ports(holding(*bodies))
        assert found.free_for(("shop", "z-old")) == 12345
        other = found.free_for(("shop", "a-new"))
        assert other != 12345
        assert found.free_for(("shop", "a-new")) == other, "the same one until it is written"
        found._cache.put(kinds.MODEL_DEPLOYMENT, deployment("a-new", other, version=2))
        assert found.free_for(("shop", "a-new")) == other
        assert not found._reserved


def test_of_the_same_age_the_smaller_uid_keeps_it() -> None:
    found = Ports(holding(deployment("b", 12345), deployment("a", 12345)))
    assert (found.holder(12345), found.holder(12346)) == (("shop", "a"), None)
    assert found.free_for(("shop", "b")) != 12345


@pytest.mark.parametrize("port", [9902, 80, ports.FIRST - 1, ports.LAST + 1])
def test_a_port_that_is_none_of_the_deployments_is_given_up(port: int) -> None:
    assert ports.FIRST <= Ports(holding(deployment("fraud", port))).free_for(("shop", "fraud")) <= ports.LAST
