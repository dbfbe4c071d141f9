"""Reading a deployment's routes from cached Kubernetes objects."""

from typing import Any

import pytest

from serin.api.spec import EnvoyRouter, Protocol, Shield
from serin.api.split import NOWHERE, Split
from serin.routers.envoy.routed_model import Arm, Endpoint, RoutedModel, read_models


def deployment(**status: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": "fraud"}, "spec": {"router": {"envoy": {}}}, "status": status}


def endpoint_slice(
    snapshot: str, *endpoints: dict[str, Any], deployment: str = "fraud", **labels: str
) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "shop",
            "name": f"{snapshot}-x",
            "labels": {
                "kubernetes.io/service-name": snapshot,
                "serin.dev/model-deployment": deployment,
                "serin.dev/snapshot": snapshot,
                **labels,
            },
        },
        "ports": [{"name": "metrics", "port": 1}, {"name": "http", "port": 8080}],
        "endpoints": list(endpoints),
    }


def pod(address: str, **conditions: bool | None) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions}


def read(body: dict[str, Any], *slices: dict[str, Any]) -> RoutedModel:
    (found,) = read_models([body], slices)
    return found


def test_weights_are_those_of_the_status_and_pods_those_that_are_ready() -> None:
    found = read(
        deployment(
            router={"port": 10001},
            stable={"snapshot": "fraud-a"},
            candidate={"snapshot": "fraud-b"},
            traffic={"weights": {"fraud-a": 90, "fraud-b": 10}},
        ),
        endpoint_slice(
            "fraud-a", pod("10.0.0.2", ready=True), pod("10.0.0.1", ready=True), pod("10.0.0.3", ready=False)
        ),
        endpoint_slice("fraud-b", pod("10.0.0.4")),
        endpoint_slice("fraud-c", pod("10.0.0.5", ready=True)),
    )
    assert found == RoutedModel(
        "shop",
        "fraud",
        10001,
        EnvoyRouter(),
        "fraud-a",
        (
            Arm("fraud-a", 90, (Endpoint("10.0.0.1", 8080), Endpoint("10.0.0.2", 8080))),
            Arm("fraud-b", 10, (Endpoint("10.0.0.4", 8080),)),
            Arm("fraud-c", 0, (Endpoint("10.0.0.5", 8080),)),
        ),
    )


def test_a_deployment_without_a_port_is_left_out() -> None:
    assert read_models([deployment(traffic={"weights": {"fraud-a": 100}})], []) == ()
    assert read_models([{"metadata": {"namespace": "shop", "name": "fraud"}, "spec": {}}], []) == ()


def test_router_options_are_read() -> None:
    body = deployment(router={"port": 1})
    body["spec"]["router"]["envoy"] = {"shield": "Off", "hedgeAfter": "1s500ms", "timeout": "2m", "protocol": "HTTP2"}
    assert read(body).router == EnvoyRouter(Shield.OFF, 1.5, 120.0, Protocol.HTTP2)


@pytest.mark.parametrize(
    ("pods", "served"),
    [
        ([pod("10.0.0.1", ready=True), pod("10.0.0.2", ready=False, serving=True, terminating=True)], ["10.0.0.1"]),
        ([pod("10.0.0.2", ready=False, serving=True, terminating=True)], ["10.0.0.2"]),
        ([pod("10.0.0.2", ready=False, serving=False, terminating=True)], []),
        ([pod("10.0.0.2", ready=False, serving=False, terminating=False)], []),
    ],
)
def test_pods_that_leave_serve_only_when_no_other_does(pods: list[dict[str, Any]], served: list[str]) -> None:
    found = read(deployment(router={"port": 1}, stable={"snapshot": "fraud-a"}), endpoint_slice("fraud-a", *pods))
    assert [one.address for one in found.arms[0].endpoints] == served


def test_several_slices_of_one_service_are_one_list() -> None:
    slices = [endpoint_slice("fraud-a", pod(f"10.0.0.{number}", ready=True)) for number in (3, 1, 2, 1)]
    assert [one.address for one in read(deployment(router={"port": 1}), *slices).arms[0].endpoints] == [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
    ]


def test_slices_of_other_services_are_ignored() -> None:
    clients = endpoint_slice("fraud", pod("10.0.0.9", ready=True), **{"serin.dev/snapshot": ""})
    elsewhere = endpoint_slice("fraud-a", pod("10.0.0.8", ready=True), deployment="other")
    foreign = {"metadata": {"namespace": "shop", "name": "x"}, "endpoints": [pod("10.0.0.7", ready=True)]}
    assert read(deployment(router={"port": 1}), clients, elsewhere, foreign).arms == ()


@pytest.mark.parametrize(
    ("arms", "split"),
    [
        ((("a", 90, 1), ("b", 10, 1)), {"a": 90, "b": 10}),
        ((("a", 90, 1), ("b", 10, 0)), {"a": 100}),
        ((("a", 90, 0), ("b", 10, 1)), {"a": 90, "b": 10}),
        ((("a", 0, 1), ("b", 100, 0)), {"a": 100}),
        ((("a", 100, 1), ("b", 0, 1)), {"a": 100}),
        ((("a", 20, 1), ("b", 30, 0), ("c", 50, 1)), {"a": 50, "c": 50}),
    ],
)
def test_weight_without_pods_goes_to_stable_and_never_from_it(
    arms: tuple[tuple[str, int, int], ...], split: dict[str, int]
) -> None:
    pods = (Endpoint("10.0.0.1", 80),)
    found = tuple(Arm(snapshot, weight, pods * count) for snapshot, weight, count in arms)
    assert RoutedModel("shop", "fraud", 1, EnvoyRouter(), "a", found).split() == Split(split)


def test_no_weights_is_nowhere() -> None:
    assert RoutedModel("shop", "fraud", 1, EnvoyRouter(), None, ()).split() == NOWHERE
    assert RoutedModel("shop", "fraud", 1, EnvoyRouter(), "a", (Arm("a", 0, ()),)).split() == NOWHERE
