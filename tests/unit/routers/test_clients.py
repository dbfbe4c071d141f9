"""The clients' Service and its endpoints: what is written when, and what others may add without a write."""

import copy
from typing import Any

import pytest

from serin.api import names
from serin.api.json import JsonObject
from serin.api.parse import parse_model_deployment
from serin.api.state import State
from serin.routers.envoy.clients import ClientRoute, clients_port
from tests.narratives.world import World

ROUTERS = ("10.1.0.1", "10.1.0.2")
Found = list[JsonObject]  # the Service and its endpoints


def route(*routers: str, listener: int = 10_000, port: int = 8080, service: JsonObject | None = None) -> ClientRoute:
    world = World()
    world.spec["service"] = service or {}
    return ClientRoute(parse_model_deployment(world.body), port, listener, routers)


def stored(*bodies: JsonObject) -> list[JsonObject]:
    """Objects as the API server returns them: with fields that it fills in."""
    found = copy.deepcopy(list(bodies))
    for body in found:
        body["metadata"] |= {"uid": body["kind"], "resourceVersion": "1", "creationTimestamp": "2026-11-22T10:00:00Z"}
        if body["kind"] == "Service":
            body["spec"] |= {"clusterIP": "10.96.0.7", "type": "ClusterIP", "sessionAffinity": "None"}
            for port in body["spec"]["ports"]:
                port["targetPort"] = port["port"]
    return found


def published(of: ClientRoute) -> list[JsonObject]:
    return stored(of.service(), of.endpoint_slice())


def kinds_of(bodies: tuple[JsonObject, ...]) -> list[str]:
    return [body["kind"] for body in bodies]


def test_what_is_missing_is_made_and_then_there_is_nothing_to_do() -> None:
    wanted = route(*ROUTERS)
    assert kinds_of(wanted.repairs(None, None)) == ["Service", "EndpointSlice"]
    service, endpoints = published(wanted)
    assert wanted.repairs(service, endpoints) == ()
    assert kinds_of(wanted.repairs(service, None)) == ["EndpointSlice"]


def _another_port(found: Found) -> None:
    found[0]["spec"]["ports"].append({"name": "metrics", "port": 9090, "protocol": "TCP", "targetPort": 9090})


def _another_port_before_ours(found: Found) -> None:
    found[0]["spec"]["ports"].insert(0, {"name": "grpc", "port": 8081, "protocol": "TCP", "targetPort": 8081})


def _labels_and_annotations(found: Found) -> None:
    for body in found:
        body["metadata"]["labels"]["team"] = "risk"
        body["metadata"].setdefault("annotations", {})["prometheus.io/scrape"] = "true"


def _another_owner(found: Found) -> None:
    for body in found:
        body["metadata"]["ownerReferences"].append({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"})


def _fields_of_our_port(found: Found) -> None:
    found[0]["spec"]["ports"][0] |= {"appProtocol": "kubernetes.io/ws", "nodePort": 30080, "targetPort": "http"}


def _fields_of_the_spec(found: Found) -> None:
    found[0]["spec"] |= {"type": "LoadBalancer", "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local"}


def _fields_of_our_endpoints(found: Found) -> None:
    for one in found[1]["endpoints"]:
        one |= {"zone": "a", "nodeName": "n"}
        one["conditions"]["serving"] = True


@pytest.mark.parametrize(
    "add",
    [
        _another_port,
        _another_port_before_ours,
        _labels_and_annotations,
        _another_owner,
        _fields_of_our_port,
        _fields_of_the_spec,
        _fields_of_our_endpoints,
    ],
)
def test_what_others_add_is_theirs(add: Any) -> None:
    wanted = route(*ROUTERS)
    both = published(wanted)
    add(both)
    assert wanted.repairs(*both) == ()


def _our_port(found: Found) -> None:
    found[0]["spec"]["ports"][0]["port"] = 9999


def _our_label(found: Found) -> None:
    del found[0]["metadata"]["labels"][names.LABEL_MODEL_DEPLOYMENT]


def _our_hash(found: Found) -> None:
    del found[0]["metadata"]["annotations"]


@pytest.mark.parametrize("change", [_our_port, _our_label, _our_hash])
def test_what_others_take_from_the_service_is_put_back(change: Any) -> None:
    wanted = route(*ROUTERS)
    both = published(wanted)
    change(both)
    assert kinds_of(wanted.repairs(*both)) == ["Service"]


def _one_more_address(endpoints: JsonObject) -> None:
    endpoints["endpoints"].append({"addresses": ["10.9.9.9"], "conditions": {"ready": True}})


def _one_less_address(endpoints: JsonObject) -> None:
    del endpoints["endpoints"][0]


def _another_listener(endpoints: JsonObject) -> None:
    endpoints["ports"][0]["port"] = 1


def _one_more_listener(endpoints: JsonObject) -> None:
    endpoints["ports"].append({"name": "more", "port": 1, "protocol": "TCP"})


def _no_service(endpoints: JsonObject) -> None:
    del endpoints["metadata"]["labels"]["kubernetes.io/service-name"]


def _not_ready(endpoints: JsonObject) -> None:
    endpoints["endpoints"][0]["conditions"]["ready"] = False


@pytest.mark.parametrize(
    "change", [_one_more_address, _one_less_address, _another_listener, _one_more_listener, _no_service, _not_ready]
)
def test_the_endpoints_are_serins_alone(change: Any) -> None:
    wanted = route(*ROUTERS)
    service, endpoints = published(wanted)
    change(endpoints)
    assert kinds_of(wanted.repairs(service, endpoints)) == ["EndpointSlice"]


def test_what_serin_no_longer_sets_is_written_once() -> None:
    """Nothing of it is missing in the Service, so only the hash tells that Serin set more."""
    more, less = route(*ROUTERS, service={"appProtocol": "kubernetes.io/h2c"}), route(*ROUTERS)
    service, endpoints = published(more)
    assert kinds_of(less.repairs(service, endpoints)) == ["Service"]
    # Somebody else owns the field as well: it stays, and that is no reason to write again.
    [after] = stored(less.service())
    after["spec"]["ports"][0]["appProtocol"] = "kubernetes.io/h2c"
    assert less.repairs(after, endpoints) == ()


def test_another_port_for_clients_is_written() -> None:
    service, endpoints = published(route(*ROUTERS))
    assert kinds_of(route(*ROUTERS, port=9000).repairs(service, endpoints)) == ["Service"]


def test_what_users_set_of_the_service_is_in_it() -> None:
    service = route(
        *ROUTERS,
        port=80,
        service={"type": "LoadBalancer", "appProtocol": "grpc", "annotations": {"example.com/internal": "true"}},
    ).service()
    assert service["spec"] == {
        "type": "LoadBalancer",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "grpc"}],
    }
    assert set(service["metadata"]["annotations"]) == {"example.com/internal", names.ANNOTATION_APPLIED_HASH}


@pytest.mark.parametrize(
    ("written", "kept", "port"),
    [(None, None, 8080), (80, None, 80), (None, 9000, 9000), (80, 9000, 80), (None, "9000", 8080), (None, 0, 8080)],
)
def test_the_port_for_clients_is_the_users_or_stays_or_is_the_first_versions(
    written: int | None, kept: Any, port: int
) -> None:
    world = World()
    world.spec["service"] = {"port": written} if written else {}
    state = State(router={"envoy": {"servicePort": kept} if kept is not None else {}})
    assert clients_port(parse_model_deployment(world.body), state) == port


def test_without_a_router_pod_the_endpoints_of_before_stay() -> None:
    service, endpoints = published(route(*ROUTERS))
    assert route().repairs(service, endpoints) == ()
    _no_service(endpoints)
    [repaired] = route().repairs(service, endpoints)
    assert [one["addresses"] for one in repaired["endpoints"]] == [["10.1.0.1"], ["10.1.0.2"]]
    v6 = route("fd00::1")
    service, endpoints = published(v6)
    assert route().repairs(service, endpoints) == ()


def test_endpoints_that_the_api_server_gives_back_as_null_are_no_endpoints() -> None:
    wanted = route()
    service, endpoints = published(wanted)
    endpoints["endpoints"] = None
    assert wanted.repairs(service, endpoints) == ()


def test_an_object_of_somebody_else_is_named() -> None:
    wanted = route(*ROUTERS)
    service, endpoints = published(wanted)
    assert wanted.not_ours(service, endpoints) is None
    assert wanted.not_ours(None, None) is None
    for number, words in ((0, "a Service named fraud exists already"), (1, "an EndpointSlice named fraud-router exi")):
        foreign = [copy.deepcopy(service), copy.deepcopy(endpoints)]
        foreign[number]["metadata"]["ownerReferences"] = []
        assert (wanted.not_ours(*foreign) or "").startswith(words)
