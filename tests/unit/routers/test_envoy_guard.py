"""A guarded deployment as Envoy's resources; tests/integration runs them in a real Envoy."""

import json
from dataclasses import replace

import pytest

from serin.api.guard import LARGEST_ANSWER, Check, OutputGuard, Protocol, read_written
from serin.api.guard_agreement import AgreementGuard, Comparison
from serin.api.guard_inputs import Column, InputGuard, read_written_input
from serin.api.guard_keys import read_signed
from serin.api.guard_record import Recorded, RecordGuard
from serin.api.json import JsonObject
from serin.api.kill_switch import FixedAnswer
from serin.api.parse import parse_model_deployment
from serin.api.serving import Protocol as Spoken
from serin.api.serving import Serving
from serin.api.split import Mirror, Sticky
from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.bootstrap import bootstrap
from serin.routers.envoy.limits import Limits
from serin.routers.envoy.rendered import Rendered, render
from serin.routers.envoy.routed_model import Agreement, Arm, RoutedModel, read_model
from serin.routers.envoy.router import EnvoyRouter
from serin.routers.envoy.settings import EnvoySettings
from tests.narratives.world import World
from tests.unit.routers.context import router_context

POD = (Endpoint("10.0.0.1", 80),)
GUARD = OutputGuard(Protocol.JSON, (Check("score", minimum=0.0, maximum=1.0),))
INPUTS = InputGuard(Protocol.JSON, (Column("amount 100 %", minimum=0.0),))
AGREEMENT = Agreement(AgreementGuard(Protocol.JSON, (Comparison("label"),), 10), "1-2-3", "b")
RECORD = RecordGuard(Protocol.JSON, 7, (Recorded("label", "label", labels=("a",)),))
INSTALLED = Limits(guard=250)
KEY = b"k" * 32
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PLAIN = RoutedModel(
    "shop",
    "fraud",
    10001,
    EnvoySettings(),
    "a",
    (Arm("a", 90, POD), Arm("b", 10, POD, Serving(Spoken.HTTP2))),
    mirror=Mirror("b", 10),
)


def text(found: Rendered) -> str:
    return json.dumps([found.listener, found.routes, dict(found.clusters), dict(found.endpoints)], sort_keys=True)


def test_a_deployment_without_it_has_what_it_had() -> None:
    without = text(render(PLAIN))
    assert "guard" not in without
    assert text(render(PLAIN, limits=INSTALLED)) == without
    # Nor has one whose router has none, such as while the chart takes it away.
    everything = replace(PLAIN, guard=GUARD, inputs=INPUTS, record=RECORD)
    assert text(render(everything)) == without
    assert PLAIN.signed(b"") == PLAIN


def test_without_a_key_everything_passes_unchecked_and_is_counted() -> None:
    asked = replace(PLAIN, guard=GUARD, inputs=INPUTS)
    with_key, without = (json.dumps(render(asked.signed(key), limits=INSTALLED).listener) for key in (KEY, b""))
    for series in ("unchecked", "inputs_unchecked", "checked"):
        assert f'"{series}"' in with_key
        assert f'"{series}"' in without
    [config] = [
        one["typed_config"]
        for one in json.loads(without)["filter_chains"][0]["filters"][1]["typed_config"]["http_filters"]
        if one["name"] == "serin-guard-input"
    ]
    with pytest.raises(ValueError, match="not signed with the key that this guard has"):
        read_signed(KEY, config["grpc_service"]["initial_metadata"][0]["value"].encode())


@pytest.mark.parametrize("sticky", [None, Sticky(header="x-user")])
def test_every_cluster_shows_a_share_of_its_answers_to_be_recorded(sticky: Sticky | None) -> None:
    model = replace(PLAIN, record=RECORD, sticky=sticky)
    found, without = (render(one, limits=INSTALLED) for one in (model, replace(model, record=None)))
    assert (found.listener, found.routes, found.endpoints) == (without.listener, without.routes, without.endpoints)
    assert len(found.clusters) == 5 + bool(sticky)
    for cluster in found.clusters.values():
        first, *_, last = cluster["typed_extension_protocol_options"][OPTIONS]["http_filters"]
        assert (first["name"], last["name"]) == ("serin-guard-record", "codec")
        assert json.dumps(first).count('"sample_percent": {"default_value": {"numerator": 7}}') == 1
        assert '"observability_mode": true' in json.dumps(first)
    # What output refuses is not recorded: of an answer the last filter comes first.
    both = render(replace(model, guard=GUARD), limits=INSTALLED).clusters["shop/fraud/a"]
    names = [one["name"] for one in both["typed_extension_protocol_options"][OPTIONS]["http_filters"]]
    assert names == ["serin-guard-record", "serin-guard", "serin-guard-mark", "codec"]


@pytest.mark.parametrize("sticky", [None, Sticky(header="x-user")])
def test_every_cluster_shows_its_answers_to_the_guard(sticky: Sticky | None) -> None:
    model = replace(PLAIN, guard=GUARD, sticky=sticky).signed(KEY)
    found = render(model, limits=INSTALLED)
    assert len(found.clusters) == 5 + bool(sticky)
    for cluster in found.clusters.values():
        filters = cluster["typed_extension_protocol_options"][OPTIONS]["http_filters"]
        # Of an answer the last comes first: what a model says in the guard's name is removed, then the guard looks.
        assert [one["name"] for one in filters[:2]] == ["serin-guard", "serin-guard-mark"]
        assert filters[-1]["name"] == "codec"
        settings = filters[0]["typed_config"]["grpc_service"]["initial_metadata"][0]["value"]
        assert read_written(read_signed(KEY, settings.encode())) == GUARD
        assert filters[0]["typed_config"]["failure_mode_allow"] is True
        assert filters[0]["typed_config"]["message_timeout"] == "0.250s"


def test_the_listener_shows_requests_to_the_guard_before_a_pod_is_chosen() -> None:
    found = render(replace(PLAIN, inputs=INPUTS).signed(KEY), limits=INSTALLED)
    connections = found.listener["filter_chains"][0]["filters"][1]["typed_config"]
    asked, router = connections["http_filters"]
    assert (asked["name"], router["name"]) == ("serin-guard-input", "router")
    config = asked["typed_config"]
    settings = config["grpc_service"]["initial_metadata"][0]["value"]
    assert read_written_input(read_signed(KEY, settings.encode())) == INPUTS
    assert "%" not in settings
    assert (config["failure_mode_allow"], config["message_timeout"]) == (True, "0.250s")
    # What a version does to a request is its own: no cluster has a filter for it.
    assert dict(found.clusters) == dict(render(PLAIN, limits=INSTALLED).clusters)
    for route in found.routes["virtual_hosts"][0]["routes"]:
        assert route["request_body_buffer_limit"] >= LARGEST_ANSWER


def test_what_is_refused_is_replaced_after_all_that_reads_answers_of_versions() -> None:
    fallback = FixedAnswer(200, "application/json", '{"label": "unknown"}')
    model = replace(PLAIN, guard=replace(GUARD, fallback=fallback), inputs=INPUTS, agreement=AGREEMENT)
    found = render(model, limits=INSTALLED)
    filters = found.listener["filter_chains"][0]["filters"][1]["typed_config"]["http_filters"]
    # Of an answer the last one comes first.
    assert [one["name"] for one in filters] == [
        *("serin-guard-fallback", "serin-guard-input", "serin-guard-agreement", "router")
    ]
    assert '"inline_string": "{\\"label\\": \\"unknown\\"}"' in json.dumps(filters[0])
    # It is no answer of the candidate's: the guard's own requests get what the candidate has said.
    for route in found.routes["virtual_hosts"][0]["routes"][:3]:
        assert route["typed_per_filter_config"]["serin-guard-fallback"]["disabled"] is True
    # Clusters check alike with it and without.
    assert dict(found.clusters) == dict(render(replace(model, guard=GUARD), limits=INSTALLED).clusters)


def test_the_answer_is_held_as_long_as_the_guard_looks_at_it() -> None:
    for route in render(replace(PLAIN, guard=GUARD), limits=INSTALLED).routes["virtual_hosts"][0]["routes"]:
        assert route["request_body_buffer_limit"] >= LARGEST_ANSWER


def test_the_bootstrap_keeps_the_router_alive_and_knows_the_guard_where_there_is_one() -> None:
    for guard in (None, ("serin-guard.serin-system.svc", 18001)):
        found = bootstrap("serin-xds", guard=guard)
        flags = found["layered_runtime"]["layers"][0]["static_layer"]
        assert flags == {"envoy.reloadable_features.grpc_side_stream_flow_control": False}
        [cluster] = [one for one in found["static_resources"]["clusters"] if one["name"] == "serin-guard"]
        # The cluster is always there: Envoy refuses a filter that names one it does not know.
        assert bool(cluster["load_assignment"].get("endpoints")) is bool(guard)


@pytest.mark.parametrize(
    "guard",
    [
        {"output": {"protocol": "JSON", "checks": [{"path": "score", "finite": True}]}},
        {"input": {"protocol": "JSON", "onInvalid": "Count", "rows": 1}},
    ],
)
@pytest.mark.parametrize(("flag", "lacks"), [("250", ""), ("0", "spec.guard: this cluster has no guard")])
def test_a_guard_that_is_not_there_is_told_and_stops_no_look(flag: str, lacks: str, guard: JsonObject) -> None:
    body = World().body
    body["spec"]["guard"] = guard
    cache = ObjectCache()
    cache.put(kinds.MODEL_DEPLOYMENT, body)
    seen = parse_model_deployment(body)
    route = EnvoyRouter(router_context(cache, "--guard-timeout", flag)).observe(seen, read_state(seen.status))
    assert route.lacks.startswith(lacks)
    assert bool(route.lacks) is bool(lacks)


def test_a_guard_that_cannot_be_asked_is_told_with_the_reason() -> None:
    body = World().body
    body["spec"]["guard"] = {"output": {"protocol": "JSON", "checks": [{"path": "score", "finite": True}]}}
    cache = ObjectCache()
    cache.put(kinds.MODEL_DEPLOYMENT, body)
    seen = parse_model_deployment(body)
    router = EnvoyRouter(router_context(cache, "--guard-timeout", "250"))
    assert router._secret is not None
    router._secret._fail("the Secret serin-system/serin-guard is missing")
    lacks = router.observe(seen, read_state(seen.status)).lacks
    assert lacks.startswith("spec.guard: the guard cannot be asked: the Secret serin-system/serin-guard is missing.")
    assert lacks.endswith("or remove spec.guard")


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ({"output": {"protocol": "JSON", "checks": [{"path": "a["}]}}, "output.checks[0].path: this is no JMESPath"),
        ({"input": {"protocol": "JSON", "onInvalid": "Reject", "path": "a["}}, "input.path: this is no JMESPath"),
    ],
)
def test_settings_that_cannot_be_read_leave_the_last_ones(guard: JsonObject, said: str) -> None:
    spec = {"router": {"envoy": {}}, "guard": guard}
    metadata = {"namespace": "shop", "name": "fraud", "uid": "1", "resourceVersion": "1"}
    body = {"metadata": metadata, "spec": spec, "status": {"router": {"envoy": {"port": 10001}}}}
    found = read_model(body, (), (), replace(PLAIN, guard=GUARD, inputs=INPUTS))
    assert found.model is not None
    assert (found.model.guard, found.model.inputs) == (GUARD, INPUTS)
    assert f"spec.guard.{said}" in found.problem


@pytest.mark.parametrize(
    ("where", "count", "said"),
    [("declared", 2, ""), ("recorded", 2, ""), ("nowhere", 0, ""), ("recorded", 100, "its signature is too long")],
)
def test_columns_are_those_of_the_version_that_serves(where: str, count: int, said: str) -> None:
    """Whatever the spec describes already. A signature that is not known, or that is too long, checks nothing."""
    rows = [{"name": "x" * 100 + str(one), "datatype": "FP32", "shape": [-1, 4]} for one in range(count)]
    signature = {"inputs": rows, "outputs": []}
    guard = {"input": {"protocol": "OpenInference", "onInvalid": "Reject", "signature": True}}
    metadata = {"namespace": "shop", "name": "fraud", "uid": "1", "resourceVersion": "1"}
    status = {"router": {"envoy": {"port": 10001}}, "stable": {"snapshot": "a"}}
    content: JsonObject = {"runtime": {"kind": "mlserver", "port": 80}}
    snapshot: JsonObject = {"metadata": {"name": "a"}, "spec": {"content": content}}
    if where == "declared":
        content["features"] = {"signature": signature}
    elif where == "recorded":
        snapshot["status"] = {"signature": signature}
    spec = {"router": {"envoy": {}}, "guard": guard, "features": {"signature": {"inputs": [], "outputs": []}}}
    found = read_model({"metadata": metadata, "spec": spec, "status": status}, (), (snapshot,))
    assert found.model is not None
    columns = found.model.inputs.columns if found.model.inputs else ()
    assert {one.name for one in columns} == ({one["name"] for one in rows} if not said else set())
    assert said in found.problem


def test_a_schema_alone_is_enough_to_ask_the_guard() -> None:
    metadata = {"namespace": "shop", "name": "fraud", "uid": "1", "resourceVersion": "1"}
    guard = {"input": {"protocol": "OpenAI", "onInvalid": "Reject", "schema": '{"required": ["model"]}'}}
    status = {"router": {"envoy": {"port": 10001}}}
    found = read_model(
        {"metadata": metadata, "spec": {"router": {"envoy": {}}, "guard": guard}, "status": status}, (), ()
    )
    assert found.model is not None
    assert found.model.inputs is not None
    assert found.model.inputs.schema == '{"required":["model"]}'
