"""Envoy's resources as data: what must never be in them, and what must. tests/integration runs them in a real Envoy."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from serin.api.serving import Protocol, Serving
from serin.api.split import Rule, Sticky
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.bootstrap import bootstrap
from serin.routers.envoy.limits import CONNECTION_BUFFER, UNSENT_BUFFER, Limits
from serin.routers.envoy.rendered import render
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.routes import clusters_of
from serin.routers.envoy.series import BUCKETS
from serin.routers.envoy.settings import EnvoySettings, EventStreams, Shield

POD = (Endpoint("10.0.0.1", 80),)
HTTP2 = Serving(Protocol.HTTP2)


def model(*arms: Arm, **router: Any) -> RoutedModel:
    return RoutedModel("shop", "fraud", 10001, EnvoySettings(**router), "a", arms)


def routes(found: RoutedModel) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = render(found).routes["virtual_hosts"][0]["routes"]
    return listed


def shares(found: RoutedModel) -> list[tuple[str, int | None]]:
    """Snapshot and upper end of its share in ten-thousandths; None takes the rest."""
    return [
        (one["name"], one["match"].get("runtime_fraction", {}).get("default_value", {}).get("numerator"))
        for one in routes(found)
    ]


def test_shares_are_cumulative_and_stable_takes_the_rest() -> None:
    found = model(Arm("a", 20, POD), Arm("b", 30, POD), Arm("c", 50, POD))
    assert shares(found) == [("b", 3000), ("c", 8000), ("a", None)]


def test_without_weight_no_route_names_the_candidate_but_its_cluster_is_there() -> None:
    found = render(model(Arm("a", 100, POD), Arm("b", 0, POD)))
    assert clusters_of(found.routes) == {"shop/fraud/a"}
    assert set(found.clusters) == set(found.endpoints) == {"shop/fraud/a", "shop/fraud/b"}


def test_at_weight_100_no_route_names_stable_which_still_answers_for_the_candidate() -> None:
    found = render(model(Arm("a", 0, POD), Arm("b", 100, (Endpoint("10.0.0.2", 80),))))
    assert clusters_of(found.routes) == {"shop/fraud/b"}
    groups = found.endpoints["shop/fraud/b"]["endpoints"]
    assert [group["priority"] for group in groups] == [0, 1]
    metadata = [group["lb_endpoints"][0]["metadata"]["filter_metadata"]["serin"] for group in groups]
    assert metadata == [
        {"snapshot": "b", "attempt": "first", "slot": "0"},
        {"snapshot": "a", "attempt": "shield", "slot": "0", "shielded": "true"},
    ]


def test_pods_have_places_which_are_few() -> None:
    pods = tuple(Endpoint(f"10.0.0.{number}", 80) for number in range(1, 19))
    [group] = render(model(Arm("a", 100, pods))).endpoints["shop/fraud/a"]["endpoints"]
    slots = [one["metadata"]["filter_metadata"]["serin"]["slot"] for one in group["lb_endpoints"]]
    assert slots == [*(str(number) for number in range(16)), "0", "1"]


def test_stable_never_falls_back_to_another_version() -> None:
    found = render(model(Arm("a", 50, POD), Arm("b", 50, POD)))
    assert [group["priority"] for group in found.endpoints["shop/fraud/a"]["endpoints"]] == [0]
    policy = next(one for one in routes(model(Arm("a", 50, POD), Arm("b", 50, POD))) if one["name"] == "a")["route"]
    assert "5xx" not in policy["retry_policy"]["retry_on"]
    assert "hedge_policy" not in policy


def test_a_version_without_pods_is_said_to_be_unavailable() -> None:
    (only,) = routes(model(Arm("a", 100, ())))
    assert only["direct_response"]["status"] == 503
    assert "shop/fraud" in only["direct_response"]["body"]["inline_string"]
    assert routes(model()) != []


@pytest.mark.parametrize(
    ("router", "retry_on", "hedged"),
    [
        ({}, "5xx,reset,connect-failure,refused-stream", False),
        ({"hedge_after": 1.0}, "5xx,reset,connect-failure,refused-stream", True),
        ({"shield": Shield.UNSENT}, "connect-failure,refused-stream,reset-before-request", False),
        ({"shield": Shield.UNSENT, "hedge_after": 1.0}, "connect-failure,refused-stream,reset-before-request", False),
        ({"shield": Shield.OFF, "hedge_after": 1.0}, None, False),
    ],
)
def test_the_shield_is_the_candidates_retry_policy(router: dict[str, Any], retry_on: str | None, hedged: bool) -> None:
    candidate = routes(model(Arm("a", 90, POD), Arm("b", 10, POD), **router))[0]["route"]
    assert candidate["retry_policy"].get("retry_on") == retry_on
    assert ("hedge_policy" in candidate) is hedged
    policy = candidate["retry_policy"]
    limits = {name: policy[name] for name in ("per_try_timeout", "per_try_idle_timeout") if name in policy}
    assert limits == ({"per_try_timeout": "1.000s"} if hedged else {"per_try_idle_timeout": "300.000s"})


def test_a_request_is_kept_where_it_can_be_sent_again_and_nowhere_else() -> None:
    large = 8 * 1024 * 1024

    def kept(found: RoutedModel) -> list[int]:
        made = render(found, limits=Limits(shielded_bytes=large)).routes
        assert "request_body_buffer_limit" not in made["virtual_hosts"][0]
        return [one.get("request_body_buffer_limit", 0) for one in made["virtual_hosts"][0]["routes"]]

    during = Arm("a", 90, POD), Arm("b", 10, POD)
    assert kept(model(Arm("a", 100, POD))) == [UNSENT_BUFFER], "no rollout"
    assert kept(model(*during)) == [large, UNSENT_BUFFER], "the candidate's, then stable's"
    for shield in (Shield.UNSENT, Shield.OFF):
        assert kept(model(*during, shield=shield)) == [UNSENT_BUFFER, UNSENT_BUFFER]
    none = render(model(*during), limits=Limits(shielded_bytes=0)).routes["virtual_hosts"][0]["routes"]
    assert none[0]["request_body_buffer_limit"] == UNSENT_BUFFER, "what reached no pod goes to another all the same"


def test_buffers_of_all_connections_are_bounded() -> None:
    found = render(model(Arm("a", 100, POD, HTTP2)), limits=Limits(connections=7))
    limit, http = (one["typed_config"] for one in found.listener["filter_chains"][0]["filters"])
    assert limit["max_connections"] == 7
    [cluster] = found.clusters.values()
    assert cluster["per_connection_buffer_limit_bytes"] == found.listener["per_connection_buffer_limit_bytes"]
    assert found.listener["per_connection_buffer_limit_bytes"] < UNSENT_BUFFER / 2, "or what is unsent would not fit"
    options = cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
    for one in (http["http2_protocol_options"], options["explicit_http_config"]["http2_protocol_options"]):
        assert one["initial_stream_window_size"] <= CONNECTION_BUFFER


def test_a_full_heap_is_relieved_before_the_process_ends() -> None:
    manager = bootstrap("serin-xds.serin-system.svc", max_heap=1000)["overload_manager"]
    shares = {
        action["name"].rpartition(".")[2]: trigger["threshold"]["value"]
        for action in manager["actions"]
        for trigger in action["triggers"]
    }
    assert list(shares) == ["shrink_heap", "stop_accepting_requests"]
    assert 0 < shares["shrink_heap"] < shares["stop_accepting_requests"] < 1
    assert {trigger["name"] for action in manager["actions"] for trigger in action["triggers"]} <= {
        monitor["name"] for monitor in manager["resource_monitors"]
    }


def test_what_reads_event_streams_is_there_only_where_it_is_asked_for() -> None:
    def filters(**router: Any) -> tuple[list[str], str]:
        made = render(model(Arm("a", 100, POD), **router)).listener
        http = made["filter_chains"][0]["filters"][-1]["typed_config"]
        return [one["name"] for one in http["http_filters"]], json.dumps(http["access_log"])

    names, logs = filters()
    assert names == ["router"]
    assert "metadata_filter" not in logs
    names, logs = filters(event_streams=EventStreams.READ)
    assert names == ["envoy.filters.http.lua", "router"]
    assert "metadata_filter" in logs


def test_no_time_out_is_no_limit_anywhere() -> None:
    unlimited = Serving(timeout=0.0)
    for one in routes(model(Arm("a", 90, POD, unlimited), Arm("b", 10, POD, unlimited))):
        assert one["route"]["timeout"] == "0s"
        assert one["route"]["idle_timeout"] == "0.000s"
        assert not {"per_try_timeout", "per_try_idle_timeout"} & set(one["route"]["retry_policy"])
    text = json.dumps(render(model(Arm("a", 100, POD, unlimited), hedge_after=1.0)).listener)
    assert text.count("duration_filter") == 1, "that of copies, which tells them from those that a client has given up"


def test_weights_change_the_routes_and_nothing_else() -> None:
    before, after = (render(model(Arm("a", 100 - weight, POD), Arm("b", weight, POD))) for weight in (5, 50))
    assert before.routes != after.routes
    assert (before.listener, before.clusters, before.endpoints) == (after.listener, after.clusters, after.endpoints)


def test_the_administration_interface_stays_on_loopback() -> None:
    found = bootstrap("serin-xds.serin-system.svc")
    assert found["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    (listener,) = found["static_resources"]["listeners"]
    routes = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    assert [one["match"] for one in routes] == [{"path": "/stats/prometheus"}, {"path": "/ready"}]


def test_buckets_see_a_latency_that_doubles() -> None:
    assert list(BUCKETS) == sorted(set(BUCKETS))
    assert all(upper <= 2 * lower for lower, upper in pairwise(BUCKETS) if lower < 60_000)


BETA = Rule("b", headers={"x-beta": "true"}, cookies={"a.b": "1"})
PREVIEW = Rule("b", headers={"x-serin-preview": "true"}, preview=True)


def test_rules_come_before_the_shares() -> None:
    found = replace(model(Arm("a", 95, POD), Arm("b", 5, POD)), rules=(BETA, PREVIEW))
    assert shares(found) == [("b", None), ("b", None), ("b", 500), ("a", None)]
    first, second = routes(found)[:2]
    assert [one["name"] for one in first["match"]["headers"]] == ["x-beta"]
    assert [one["name"] for one in first["match"]["cookies"]] == ["a.b"]
    assert first["route"]["retry_policy"]["retry_priority"], "stable answers what the cohort's version fails"
    assert "retry_priority" not in second["route"]["retry_policy"], "who tries a version sees what it does"
    assert render(found).split.rules == (BETA, PREVIEW)


def test_what_users_write_becomes_no_regular_expression() -> None:
    """Envoy takes none of more than a hundred steps, and refuses the routes; the schema allows values of 256."""
    longest = Rule("b", cookies={"n" * 64: "v" * 256})
    match = routes(replace(model(Arm("a", 100, POD), Arm("b", 0, POD)), rules=(longest,)))[0]["match"]
    assert match == {"prefix": "/", "cookies": [{"name": "n" * 64, "string_match": {"exact": "v" * 256}}]}


def test_a_cohort_goes_to_stable_while_its_version_has_no_pod() -> None:
    found = replace(model(Arm("a", 100, POD), Arm("b", 0, ())), rules=(BETA,))
    assert shares(found) == [("a", None)]
    preview = replace(found, rules=(PREVIEW,))
    assert routes(preview)[0]["direct_response"]["status"] == 503, "who tries a version hears that it is not there"


def test_new_pods_begin_with_half_of_their_share_for_as_long_as_pods_warm_up() -> None:
    found = render(replace(model(Arm("a", 100, POD)), warmup=45.0)).clusters["shop/fraud/a"]
    slow_start = found["least_request_lb_config"]["slow_start_config"]
    assert slow_start == {"slow_start_window": "45.000s", "min_weight_percent": {"value": 50}}
    without = render(replace(model(Arm("a", 100, POD)), warmup=0.0)).clusters["shop/fraud/a"]
    assert "slow_start_config" not in without["least_request_lb_config"]


BY_USER = Sticky(header="x-user-id", salt="test-1")


def thresholds(found: RoutedModel) -> list[tuple[str, int]]:
    """Snapshot and the lowest hash (of ten thousand) with which a user gets it or one before it."""
    matchers = render(found).routes["virtual_hosts"][0]["matcher"]["matcher_list"]["matchers"]
    listed = []
    for one in matchers:
        hashing = one["predicate"]["and_matcher"]["predicate"][1]["single_predicate"]["custom_match"]["typed_config"]
        (route,) = one["on_match"]["action"]["typed_config"]["routes"]
        listed.append((route["name"], hashing["threshold"]))
    return listed


def test_a_sticky_split_has_thresholds_that_a_growing_share_only_lowers() -> None:
    small = replace(model(Arm("a", 80, POD), Arm("b", 20, POD)), sticky=BY_USER)
    large = replace(model(Arm("a", 50, POD), Arm("b", 50, POD)), sticky=BY_USER)
    assert thresholds(small) == [("b", 8000), ("a", 0)]
    assert thresholds(large) == [("b", 5000), ("a", 0)]
    several = replace(model(Arm("a", 40, POD), Arm("b", 20, POD), Arm("c", 40, POD)), sticky=BY_USER)
    assert thresholds(several) == [("b", 8000), ("c", 4000), ("a", 0)]


def test_each_of_several_arms_has_a_part_of_the_hashes_of_its_own() -> None:
    sticky = replace(BY_USER, arms=("b", "c"))
    both = replace(model(Arm("a", 60, POD), Arm("b", 20, POD), Arm("c", 20, POD)), sticky=sticky)
    assert thresholds(both) == [("b", 8000), ("a", 5000), ("c", 3000), ("a", 0)]
    without_b = replace(model(Arm("a", 80, POD), Arm("b", 0, POD), Arm("c", 20, POD)), sticky=sticky)
    assert thresholds(without_b) == [("a", 5000), ("c", 3000), ("a", 0)]
    podless = replace(model(Arm("a", 60, POD), Arm("b", 20, ()), Arm("c", 20, POD)), sticky=sticky)
    assert thresholds(podless) == thresholds(without_b), "the users of an arm without pods are stable's meanwhile"


def test_requests_without_a_key_reach_stable_by_a_cluster_whose_attempts_are_labelled() -> None:
    found = render(replace(model(Arm("a", 80, POD), Arm("b", 20, POD)), sticky=BY_USER))
    (route,) = found.routes["virtual_hosts"][0]["matcher"]["on_no_match"]["action"]["typed_config"]["routes"]
    assert route["route"]["cluster"] == "shop/fraud/a+unkeyed"
    (group,) = found.endpoints["shop/fraud/a+unkeyed"]["endpoints"]
    assert group["lb_endpoints"][0]["metadata"]["filter_metadata"]["serin"]["attempt"] == "unkeyed"
    assert clusters_of(found.routes) == {"shop/fraud/a", "shop/fraud/b", "shop/fraud/a+unkeyed"} == set(found.clusters)


def test_rules_come_before_the_users_hash() -> None:
    rule = Rule("b", headers={"x-beta": "true"})
    found = render(replace(model(Arm("a", 80, POD), Arm("b", 20, POD)), sticky=BY_USER, rules=(rule,)))
    tree = found.routes["virtual_hosts"][0]["matcher"]
    actions = [*(one["on_match"] for one in tree["matcher_list"]["matchers"]), tree["on_no_match"]]
    for action in actions:
        first = action["action"]["typed_config"]["routes"][0]
        assert (first["name"], first["match"]["headers"][0]["name"]) == ("b", "x-beta")


def test_only_a_cookie_needs_a_filter_and_nobody_forges_its_header() -> None:
    plain = model(Arm("a", 80, POD), Arm("b", 20, POD))
    by_cookie = replace(plain, sticky=Sticky(cookie="serin-ab", ttl=60))
    assert render(plain).listener == render(replace(plain, sticky=BY_USER)).listener
    filters = render(by_cookie).listener["filter_chains"][0]["filters"][1]["typed_config"]["http_filters"]
    code = filters[0]["typed_config"]["default_source_code"]["inline_string"]
    assert 'name == "serin-ab"' in code
    assert 'headers:remove("x-serin-user")' in code
    assert "x-serin-user" in render(by_cookie).routes["virtual_hosts"][0]["request_headers_to_remove"]
