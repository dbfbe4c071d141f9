"""Listener ports: one deployment, one port, for ever; never the same one twice."""

import pytest

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.envoy import ports
from serin.routers.envoy.ports import Ports, PortsExhausted


def deployment(name: str, port: int | None = None, version: int = 1) -> JsonObject:
    status = {} if port is None else {"router": {"envoy": {"port": port}}}
    metadata = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {}, "status": status}


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
