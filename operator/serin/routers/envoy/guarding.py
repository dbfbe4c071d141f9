"""The guard, as Envoy asks it: of answers by a filter of every cluster of a guarded deployment, stable's too.

Of the clusters and not of the listener, because an answer that is refused is then the version's own failure:
the shield answers in its place, and the evidence counts it. The same for all versions, or their comparison would be
unfair. What is to be checked goes along with every exchange, signed (`settings_of`); the guard itself knows no
deployment.

Of requests by a filter of the listener: what is refused there reaches no version, so it counts against none, and is
neither shielded nor hedged. What the guard says of them is in the request's metadata, which a client cannot write.

It fails open: without an answer of the guard within a moment the model's answer passes. Such an answer lacks the header
that the guard marks others with, so it is counted (series.py). A model's own header of that name is removed first.

Headers and body have to be held (`SEND`, and one of the buffered modes), or the status has gone when the body is seen.
Of an answer that does not fit into the buffer only a part is shown, and it passes (`BUFFERED` would make a 500 of it).
The buffer is the route's (routes.py): as large as the largest answer that is looked at.

Envoy 1.40 ends with a segmentation fault when such an answer is larger than the window of the exchange, unless
`NO_FLOW_CONTROL` is in its bootstrap (tests/integration/test_envoy_guard.py sends such answers).
"""

from typing import Final

from serin.api.guard import FAILED, FALLBACK, MARK, PORT, SETTINGS, OutputGuard, write_output
from serin.api.guard_inputs import METADATA, InputGuard, write_input
from serin.api.guard_keys import sign_settings
from serin.api.json import JsonObject
from serin.api.kill_switch import FixedAnswer
from serin.routers.envoy.shape import any_of, seconds, set_header, socket_address, typed

CLUSTER: Final = "serin-guard"
INPUT_FILTER: Final = "serin-guard-input"
FALLBACK_FILTER: Final = "serin-guard-fallback"
# The part of the bootstrap without which there must be no guard.
NO_FLOW_CONTROL: Final = {"envoy.reloadable_features.grpc_side_stream_flow_control": False}
NO_GUARD: Final = (
    "spec.guard: this cluster has no guard: ask whoever installs Serin to set the chart value guard.enabled, or remove "
    "spec.guard"
)
NO_KEY: Final = (
    "spec.guard: the guard cannot be asked: {}. Ask whoever installs Serin to mend that, or remove spec.guard"
)
_MATCHED: Final = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
_COMPOSITE: Final = "envoy.extensions.filters.http.composite.v3.Composite"
_EXECUTE: Final = "envoy.extensions.filters.http.composite.v3.ExecuteFilterAction"
_REQUEST_HEADER: Final = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
PER_ROUTE: Final = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
_CUSTOM: Final = "envoy.extensions.filters.http.custom_response.v3.CustomResponse"
_LOCAL_ANSWER: Final = "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"
_MUTATION: Final = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
PROCESSOR: Final = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"


def settings_of(written: str, key: bytes) -> list[JsonObject]:
    """The metadata by which the guard is told what to do, in the operator's name. `written`: by a `write_...`."""
    return [{"key": SETTINGS, "value": sign_settings(key, written)}]


def guard_filters(guard: OutputGuard, key: bytes, milliseconds: int) -> list[JsonObject]:
    """Filters of a cluster, before its codec. Of an answer the last one comes first.

    `milliseconds`: how long headers, and then the body, wait for the guard.
    """
    processor = _processor(settings_of(write_output(guard), key), milliseconds) | {
        "processing_mode": {
            "request_header_mode": "SKIP",
            "response_header_mode": "SEND",
            "response_body_mode": "BUFFERED_PARTIAL",
            "response_trailer_mode": "SKIP",
        },
        "response_attributes": ["request.method", "request.path"],
    }
    return [
        typed("serin-guard", PROCESSOR, processor),
        typed("serin-guard-mark", _MUTATION, {"mutations": {"response_mutations": [{"remove": MARK}]}}),
    ]


def input_filter(guard: InputGuard, key: bytes, milliseconds: int) -> JsonObject:
    """A filter of the listener, before a pod is chosen: what is refused there is no attempt of any version.

    `milliseconds`: how long headers, and then the body, wait for the guard.
    """
    processor = _processor(settings_of(write_input(guard), key), milliseconds) | {
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED_PARTIAL",
            "request_trailer_mode": "SKIP",
            "response_header_mode": "SKIP",
            "response_trailer_mode": "SKIP",
        },
        "metadata_options": {"receiving_namespaces": {"untyped": [METADATA]}},
    }
    return typed(INPUT_FILTER, PROCESSOR, processor)


def fallback_filter(answer: FixedAnswer) -> JsonObject:
    """A filter of the listener, farther from the router than whatever reads answers of versions.

    An answer that was refused has counted as its version's failure before it comes here.
    """
    local = {
        "status_code": answer.status,
        "body": {"inline_string": answer.body},
        "response_headers_to_add": [set_header("content-type", answer.content_type), set_header(MARK, FALLBACK)],
    }
    mark = typed("mark", "envoy.type.matcher.v3.HttpResponseHeaderMatchInput", {"header_name": MARK})
    matcher = {
        "predicate": {"single_predicate": {"input": mark, "value_match": {"exact": FAILED}}},
        "on_match": {"action": typed("fallback", _LOCAL_ANSWER, local)},
    }
    return typed(FALLBACK_FILTER, _CUSTOM, {"custom_response_matcher": {"matcher_list": {"matchers": [matcher]}}})


def observing(modes: JsonObject, settings: list[JsonObject] | None = None) -> JsonObject:
    """A processor that only looks: nobody waits for the guard. `modes`: what it is shown."""
    metadata = {"initial_metadata": settings} if settings else {}
    return {
        "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, **metadata},
        "observability_mode": True,
        "failure_mode_allow": True,
        "deferred_close_timeout": "1s",
        "processing_mode": {**modes, "response_header_mode": "SEND", "response_body_mode": "STREAMED"}
        | {"response_trailer_mode": "SKIP"},
    }


def drawn_filter(name: str, processor: JsonObject, percent: int, asked: list[JsonObject]) -> JsonObject:
    """A filter that sees a share of the requests of which all predicates hold; the guard hears nothing of others."""
    share = {"default_value": {"numerator": percent}}  # of a hundred
    drawn = {"typed_config": typed(name, PROCESSOR, processor), "sample_percent": share}
    predicate = {"and_matcher": {"predicate": asked}} if len(asked) > 1 else asked[0]
    matcher = {"predicate": predicate, "on_match": {"action": typed("drawn", _EXECUTE, drawn)}}
    matched = {
        "extension_config": {"name": "composite", "typed_config": any_of(_COMPOSITE, {})},
        "xds_matcher": {"matcher_list": {"matchers": [matcher]}},
    }
    return typed(name, _MATCHED, matched)


def has_header(name: str, value: JsonObject) -> JsonObject:
    """A predicate of `drawn_filter`."""
    read = typed("header", _REQUEST_HEADER, {"header_name": name})
    return {"single_predicate": {"input": read, "value_match": value}}


def inputs_off(inputs: InputGuard | None) -> JsonObject:
    """What a route says of filters so that its requests, which are no client's, are not checked."""
    return {INPUT_FILTER: any_of(PER_ROUTE, {"disabled": True})} if inputs else {}


def _processor(settings: list[JsonObject], milliseconds: int) -> JsonObject:
    """What both have in common."""
    return {
        "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, "initial_metadata": settings},
        "allow_mode_override": True,
        "failure_mode_allow": True,
        "message_timeout": seconds(milliseconds / 1000),
    }


def guard_cluster(host: str | None, port: int = PORT) -> JsonObject:
    """The guard's processes: every address of the name is one, and each is asked whether it is well.

    None: there is none. The cluster is there all the same, as Envoy refuses a filter that names one it does not know:
    in the moment that the guard is taken away the operator may still tell a router of it.
    """
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": socket_address(host, port)}}]}] if host else []
    limits = ("max_connections", "max_pending_requests", "max_requests")
    protocols = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": CLUSTER, **({"endpoints": endpoints} if endpoints else {})},
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, 100_000)]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
        "typed_extension_protocol_options": {
            protocols: {
                "@type": f"type.googleapis.com/{protocols}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
