"""Two versions that are spoken to differently: each by its own snapshot, whatever the spec says by now."""

from typing import Any

import pytest

from serin.api.serving import Protocol, Serving
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.clusters import former_cluster, with_parts
from serin.routers.envoy.rendered import Rendered, render
from serin.routers.envoy.routed_model import Arm, RoutedModel, read_model
from serin.routers.envoy.routes import clusters_of
from serin.routers.envoy.settings import EnvoySettings, Shield
from tests.unit.routers.test_routed_model import deployment, endpoint_slice, pod

HTTP1, HTTP2 = Serving(), Serving(Protocol.HTTP2)
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
STATUS: dict[str, Any] = {
    "router": {"envoy": {"port": 10001}},
    "stable": {"snapshot": "fraud-a"},
    "traffic": {"weights": {"fraud-a": 90, "fraud-b": 10}},
}


def snapshot(name: str, **runtime: Any) -> dict[str, Any]:
    content = {"runtime": {"template": {}, "runtime": "generic", "port": 8080, **runtime}}
    return {"metadata": {"name": name}, "spec": {"content": content}}


def rendered(stable: Serving, candidate: Serving, weight: int = 10, **settings: Any) -> Rendered:
    arms = (
        Arm("a", 100 - weight, (Endpoint("10.0.0.1", 80),), stable),
        Arm("b", weight, (Endpoint("10.0.0.2", 9000),), candidate),
    )
    return render(RoutedModel("shop", "fraud", 10001, EnvoySettings(**settings), "a", arms))


def speaks(found: Rendered, name: str) -> set[str]:
    config = found.clusters[name]["typed_extension_protocol_options"][OPTIONS]["explicit_http_config"]
    return set(config)


def test_each_arm_is_read_from_its_own_snapshot_and_not_from_the_spec() -> None:
    body = deployment(**STATUS)
    body["spec"] |= {"protocol": "HTTP2", "timeout": "5s"}
    slices = [endpoint_slice("fraud-a", pod("10.0.0.1")), endpoint_slice("fraud-b", pod("10.0.0.2"))]
    found = read_model(body, slices, [snapshot("fraud-a"), snapshot("fraud-b", protocol="HTTP2", timeout="5s")]).model
    assert found is not None
    assert [arm.serving for arm in found.arms] == [Serving(), Serving(Protocol.HTTP2, 5.0)]


def test_a_snapshot_that_is_gone_or_unreadable_is_spoken_to_as_before() -> None:
    slices = [endpoint_slice("fraud-a", pod("10.0.0.1")), endpoint_slice("fraud-b", pod("10.0.0.2"))]
    both = [snapshot("fraud-a", protocol="HTTP2"), snapshot("fraud-b", timeout="5s")]
    last = read_model(deployment(**STATUS), slices, both).model
    changed = {**STATUS, "traffic": {"weights": {"fraud-a": 100}}}
    found = read_model(deployment(**changed), slices, [snapshot("fraud-b", protocol="HTTP3")], last)
    assert found.problem.startswith("ModelSnapshot fraud-b: spec.content.runtime.protocol: 'HTTP3' is unknown")
    assert found.model is not None
    assert [(arm.weight, arm.serving) for arm in found.model.arms] == [(100, HTTP2), (0, Serving(timeout=5.0))]


@pytest.mark.parametrize(("stable", "candidate"), [(HTTP1, HTTP2), (HTTP2, HTTP1)])
def test_the_shield_speaks_to_stable_as_stable_does(stable: Serving, candidate: Serving) -> None:
    found = rendered(stable, candidate)
    own, behind, both = "shop/fraud/b", "shop/fraud/b+stable", "shop/fraud/b+shielded"
    assert clusters_of(found.routes) == {"shop/fraud/a", own, behind, both}
    assert speaks(found, behind) == speaks(found, "shop/fraud/a") != speaks(found, own)
    assert found.clusters[both]["cluster_type"]["typed_config"]["clusters"] == [own, behind], "in this order"
    assert set(found.endpoints) == {"shop/fraud/a", own, behind}
    for name, address, attempt in ((own, "10.0.0.2", "first"), (behind, "10.0.0.1", "shield")):
        [group] = found.endpoints[name]["endpoints"]
        [one] = group["lb_endpoints"]
        assert one["endpoint"]["address"]["socket_address"]["address"] == address
        assert one["metadata"]["filter_metadata"]["serin"]["attempt"] == attempt
    route, _ = found.routes["virtual_hosts"][0]["routes"]
    assert route["route"]["cluster"] == both
    assert route["route"]["retry_policy"]["retry_priority"]


def test_grpc_answers_that_fail_are_shielded_where_the_candidate_speaks_it() -> None:
    for stable, candidate, shielded in ((HTTP1, HTTP2, True), (HTTP2, HTTP1, False), (HTTP2, HTTP2, True)):
        route, own = rendered(stable, candidate).routes["virtual_hosts"][0]["routes"]
        assert ("retriable_headers" in route["route"]["retry_policy"]) is shielded
        assert "retriable_headers" not in own["route"]["retry_policy"]


def test_versions_that_speak_alike_share_a_cluster() -> None:
    assert set(rendered(HTTP2, HTTP2).clusters) == {"shop/fraud/a", "shop/fraud/b"}


def test_every_route_has_its_own_versions_time_out() -> None:
    quick, patient = Serving(timeout=5.0), Serving(timeout=600.0)
    for shield in (Shield.FAILURES, Shield.OFF):
        routes = rendered(quick, patient, shield=shield).routes["virtual_hosts"][0]["routes"]
        limits = [one["route"]["retry_policy"]["per_try_idle_timeout"] for one in routes]
        assert limits == ["600.000s", "5.000s"]


def test_the_listener_does_not_depend_on_the_version() -> None:
    """Or a rollout would replace it, and with it the connections of every client."""
    listeners = [rendered(HTTP1, HTTP1), rendered(HTTP1, HTTP2), rendered(HTTP2, Serving(timeout=1.0))]
    assert listeners[0].listener == listeners[1].listener == listeners[2].listener


def test_a_cluster_of_before_the_restart_is_of_the_same_type() -> None:
    found = rendered(HTTP1, HTTP2)
    for name in with_parts("shop/fraud/b+shielded"):
        former = former_cluster(name)
        assert former["name"] == name
        assert former.get("cluster_type") == found.clusters[name].get("cluster_type")
