"""Copies as Envoy's resources: which requests are copied, where copies go, and what bounds them."""

from dataclasses import replace
from typing import Any

import pytest

from serin.api.serving import Protocol, Serving
from serin.api.split import Mirror
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.limits import COPIED_BYTES, COPIES
from serin.routers.envoy.rendered import Rendered, render
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.routes import clusters_of
from serin.routers.envoy.settings import EnvoySettings

POD, OTHER = (Endpoint("10.0.0.1", 80),), (Endpoint("10.0.0.2", 80),)
COPIES_OF_B = "shop/fraud/b+copies"
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def model(*arms: Arm) -> RoutedModel:
    found = RoutedModel("shop", "fraud", 10001, EnvoySettings(), "a", arms)
    return replace(found, mirror=Mirror("b", 20))


def routes(found: Rendered) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = found.routes["virtual_hosts"][0]["routes"]
    return listed


def test_stable_answers_everything_and_the_last_route_copies_nothing() -> None:
    found = render(model(Arm("a", 100, POD), Arm("b", 0, OTHER)))
    assert {one["name"] for one in routes(found)} == {"a"}
    assert {one["route"]["cluster"] for one in routes(found)} == {"shop/fraud/a"}
    *copied, last = routes(found)
    assert last["match"] == {"prefix": "/"}
    assert "request_mirror_policies" not in last["route"]
    for one in copied:
        (policy,) = one["route"]["request_mirror_policies"]
        assert policy["cluster"] == COPIES_OF_B
        assert policy["runtime_fraction"]["default_value"] == {"numerator": 2000, "denominator": "TEN_THOUSAND"}
        assert policy["disable_shadow_host_suffix_append"] is True
    assert found.split.mirror == Mirror("b", 20)


def test_the_route_of_copies_uses_their_cluster_so_envoy_has_it_first() -> None:
    found = render(model(Arm("a", 100, POD), Arm("b", 0, OTHER)))
    assert clusters_of(found.routes) == {"shop/fraud/a", COPIES_OF_B}
    assert {COPIES_OF_B} <= set(found.clusters)
    assert {COPIES_OF_B} <= set(found.endpoints)
    (group,) = found.endpoints[COPIES_OF_B]["endpoints"]
    metadata = [pod["metadata"]["filter_metadata"]["serin"] for pod in group["lb_endpoints"]]
    assert metadata == [{"snapshot": "b", "attempt": "first", "slot": "0"}], "stable answers no copy"


def test_without_a_pod_nothing_is_copied() -> None:
    found = render(model(Arm("a", 100, POD), Arm("b", 0, ())))
    assert found.split.mirror is None
    assert clusters_of(found.routes) == {"shop/fraud/a"}
    assert len(routes(found)) == 1


def test_a_killed_deployment_copies_nothing() -> None:
    found = render(replace(model(Arm("a", 100, POD), Arm("b", 0, OTHER)), killed=True))
    assert clusters_of(found.routes) == frozenset()


@pytest.mark.parametrize("protocol", list(Protocol))
def test_copies_are_bounded_in_number_size_and_time(protocol: Protocol) -> None:
    serving = Serving(protocol, timeout=7.0)
    cluster = render(model(Arm("a", 100, POD, serving), Arm("b", 0, OTHER, serving))).clusters[COPIES_OF_B]
    (threshold,) = cluster["circuit_breakers"]["thresholds"]
    assert (threshold["max_requests"], threshold["max_pending_requests"]) == (COPIES, COPIES)
    assert cluster["per_connection_buffer_limit_bytes"] > COPIED_BYTES
    options = cluster["typed_extension_protocol_options"][HTTP]
    assert options["common_http_protocol_options"]["max_stream_duration"] == "7.000s"
    if protocol is Protocol.HTTP2:
        http2 = options["explicit_http_config"]["http2_protocol_options"]
        assert http2["initial_stream_window_size"] > COPIED_BYTES


def test_a_version_without_a_time_out_keeps_no_copy_for_ever() -> None:
    serving = Serving(timeout=0.0)
    cluster = render(model(Arm("a", 100, POD, serving), Arm("b", 0, OTHER, serving))).clusters[COPIES_OF_B]
    options = cluster["typed_extension_protocol_options"][HTTP]["common_http_protocol_options"]
    assert options["max_stream_duration"] == "300.000s"


def test_a_mirror_changes_no_listener_so_no_connection_is_lost() -> None:
    arms = Arm("a", 100, POD), Arm("b", 0, OTHER)
    assert render(model(*arms)).listener == render(replace(model(*arms), mirror=None)).listener
