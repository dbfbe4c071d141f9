"""Reading a deployment's routes from cached Kubernetes objects."""

from typing import Any

import pytest

from serin.api.kill_switch import FixedAnswer
from serin.api.split import NOWHERE, Split
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.routed_model import Arm, Reading, RoutedModel, read_model
from serin.routers.envoy.settings import EnvoySettings, Shield


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
    found = read_model(body, slices)
    assert found.model is not None
    assert found.problem == ""
    return found.model


def test_the_kill_switch_leaves_a_version_that_is_held_back_nothing() -> None:
    body = deployment(
        router={"envoy": {"port": 10001}},
        stable={"snapshot": "fraud-b"},
        watch={"snapshot": "fraud-a", "since": "2026-11-22T09:30:00Z"},
        traffic={"weights": {"fraud-b": 99, "fraud-a": 1}},
    )
    pods = [endpoint_slice(one, pod(f"10.0.0.{place}", ready=True)) for place, one in enumerate(("fraud-a", "fraud-b"))]
    assert read(body, *pods).split() == Split({"fraud-b": 99, "fraud-a": 1})
    body["metadata"]["annotations"] = {"serin.dev/kill-switch": "Candidate"}
    assert read(body, *pods).split() == Split({"fraud-b": 100})
    body["status"]["traffic"] = {"weights": {"fraud-a": 100}}
    assert read(body, *pods).split() == Split({"fraud-a": 100}), "stable has no pod"


def test_weights_are_those_of_the_status_and_pods_those_that_are_ready() -> None:
    found = read(
        deployment(
            router={"envoy": {"port": 10001}},
            stable={"snapshot": "fraud-a"},
            arms=[{"snapshot": "fraud-b"}, {"snapshot": "fraud-d"}],
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
        EnvoySettings(),
        "fraud-a",
        (
            Arm("fraud-a", 90, (Endpoint("10.0.0.1", 8080), Endpoint("10.0.0.2", 8080))),
            Arm("fraud-b", 10, (Endpoint("10.0.0.4", 8080),)),
            Arm("fraud-c", 0, (Endpoint("10.0.0.5", 8080),)),
            Arm("fraud-d", 0, ()),
        ),
    )


def test_a_deployment_without_a_port_is_left_out() -> None:
    assert read_model(deployment(traffic={"weights": {"fraud-a": 100}}), []) == Reading(None)
    assert read_model({"metadata": {"namespace": "shop", "name": "fraud"}, "spec": {}}, []) == Reading(None)


def test_router_options_are_read() -> None:
    body = deployment(router={"envoy": {"port": 10001}})
    body["spec"]["router"]["envoy"] = {"shield": "Off", "hedgeAfter": "1s500ms"}
    assert read(body).settings == EnvoySettings(Shield.OFF, 1.5)


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
    found = read(
        deployment(router={"envoy": {"port": 10001}}, stable={"snapshot": "fraud-a"}), endpoint_slice("fraud-a", *pods)
    )
    assert [one.address for one in found.arms[0].endpoints] == served


def test_several_slices_of_one_service_are_one_list() -> None:
    slices = [endpoint_slice("fraud-a", pod(f"10.0.0.{number}", ready=True)) for number in (3, 1, 2, 1)]
    assert [one.address for one in read(deployment(router={"envoy": {"port": 10001}}), *slices).arms[0].endpoints] == [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
    ]


def test_slices_of_other_services_are_ignored() -> None:
    clients = endpoint_slice("fraud", pod("10.0.0.9", ready=True), **{"serin.dev/snapshot": ""})
    foreign = {"metadata": {"namespace": "shop", "name": "x"}, "endpoints": [pod("10.0.0.7", ready=True)]}
    assert read(deployment(router={"envoy": {"port": 10001}}), clients, foreign).arms == ()


def serving(**changes: Any) -> dict[str, Any]:
    status = {
        "router": {"envoy": {"port": 10001}},
        "stable": {"snapshot": "fraud-a"},
        "traffic": {"weights": {"fraud-a": 90, "fraud-b": 10}},
    }
    return deployment(**status | changes)


def test_a_word_that_only_a_newer_serin_knows_keeps_the_last_settings_and_the_rest_goes_on() -> None:
    body = serving()
    body["spec"]["router"]["envoy"] = {"shield": "Unsent"}
    last = read(body)
    lowered = serving(traffic={"weights": {"fraud-a": 100}})
    lowered["spec"]["router"]["envoy"] = {"shield": "Sometimes"}
    found = read_model(lowered, [endpoint_slice("fraud-a", pod("10.0.0.9"))], last=last)
    assert found.problem.startswith("spec.router.envoy.shield: 'Sometimes' is unknown: write one of Failures")
    assert found.model is not None
    assert found.model.settings == EnvoySettings(Shield.UNSENT)
    assert found.model.arms == (Arm("fraud-a", 100, (Endpoint("10.0.0.9", 8080),)),)
    fresh = read_model(lowered, [])
    assert fresh.model is not None, "an operator that has just started takes nothing away"
    assert fresh.model.settings == EnvoySettings()


@pytest.mark.parametrize("port", [0, 9902, 65536, "10001", True])
def test_what_is_no_port_keeps_the_last_one_and_the_rest_goes_on(port: Any) -> None:
    last = read(serving())
    broken = serving(router={"envoy": {"port": port}}, traffic={"weights": {"fraud-a": 100}})
    found = read_model(broken, [endpoint_slice("fraud-a", pod("10.0.0.9"))], last=last)
    assert found.problem == f"status.router.envoy.port: {port!r} is no listener port"
    assert found.model is not None
    assert (found.model.port, found.model.split()) == (10001, Split({"fraud-a": 100}))
    assert found.model.arm("fraud-a") == Arm("fraud-a", 100, (Endpoint("10.0.0.9", 8080),))


def test_weights_that_are_no_split_are_read_as_the_planner_reads_them() -> None:
    """It writes that at its next look; until then router and planner agree."""
    assert read(serving(traffic={"weights": {"fraud-a": 90, "fraud-b": 15}})).split() == Split({"fraud-a": 100})


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
    assert RoutedModel("shop", "fraud", 1, EnvoySettings(), "a", found).split() == Split(split)


def test_no_weights_is_nowhere() -> None:
    assert RoutedModel("shop", "fraud", 1, EnvoySettings(), None, ()).split() == NOWHERE
    assert RoutedModel("shop", "fraud", 1, EnvoySettings(), "a", (Arm("a", 0, ()),)).split() == NOWHERE


def killed(level: str, **spec: Any) -> dict[str, Any]:
    """A candidate has half of the traffic, by the status."""
    body = deployment(
        router={"envoy": {"port": 10001}},
        stable={"snapshot": "fraud-a"},
        arms=[{"snapshot": "fraud-b"}],
        traffic={"weights": {"fraud-a": 50, "fraud-b": 50}, "rules": [{"snapshot": "fraud-b", "headers": {"x": "y"}}]},
    )
    body["metadata"]["annotations"] = {"serin.dev/kill-switch": level}
    body["spec"] |= spec
    return body


@pytest.mark.parametrize("level", ["Candidate", "All"])
def test_the_kill_switch_waits_for_no_status(level: str) -> None:
    found = read(killed(level), endpoint_slice("fraud-a", pod("10.0.0.1")), endpoint_slice("fraud-b", pod("10.0.0.2")))
    assert found.split() == Split({"fraud-a": 100})
    assert found.killed is (level == "All")


def test_the_kill_switch_needs_no_valid_spec() -> None:
    body = killed("All", router={"envoy": {"shield": "Nonsense"}}, fallback={"service": 3, "answer": None})
    body["spec"]["fallback"] = {"answer": {"status": 200}}
    found = read_model(body, [])
    assert found.model is not None
    assert (found.model.killed, found.model.fallback) == (True, None)


def test_a_way_back_goes_on_under_the_kill_switch() -> None:
    body = killed("Candidate")
    del body["status"]["arms"], body["status"]["traffic"]["rules"]
    body["status"] |= {"rollingBack": {"snapshot": "fraud-b", "since": "2026-01-01T00:00:00Z"}}
    body["status"]["traffic"] = {"weights": {"fraud-b": 100}}
    assert read(body, endpoint_slice("fraud-b", pod("10.0.0.2"))).split() == Split({"fraud-b": 100})


def test_what_answers_in_place_of_all_versions() -> None:
    answer = {"status": 200, "contentType": "text/plain", "body": "0"}
    assert read(killed("All", fallback={"answer": answer})).fallback == FixedAnswer(200, "text/plain", "0")
    body, found = killed("Off", fallback={"service": {"name": "rules", "port": 80}}), Endpoint("10.96.0.7", 80)
    model = read_model(body, [], address=lambda service: found if service.name == "rules" else None).model
    assert model is not None
    assert (model.killed, model.fallback) == (False, found)
