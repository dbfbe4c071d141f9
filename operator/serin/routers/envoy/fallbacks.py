"""What Envoy answers while the kill switch keeps every version from answering.

A fixed answer is the route's own. A Service has a cluster of its own, which is there before anybody needs it. It may be
another deployment's clients' Service, so a request that one fallback has sent here already goes to no second one: two
deployments that point at each other would send it round for ever.
"""

from typing import Final

from serin.api.json import JsonObject
from serin.api.kill_switch import FixedAnswer
from serin.api.serving import UNWRITTEN
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.limits import CONNECTION_BUFFER, HTTP2_WINDOWS, UNSENT_BUFFER
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.series import FIRST, METADATA
from serin.routers.envoy.shape import any_of, config_source, seconds, set_header

NAME: Final = "fallback"  # no snapshot's: theirs have a hash behind a hyphen
# Bytes of a fixed answer: as many characters as the schema allows, of four bytes each.
LONGEST_BODY: Final = 4 * 4096
_SENT_ON: Final = "x-serin-fallback"
_ALL: Final[JsonObject] = {"prefix": "/"}
_NO_LIMIT: Final = 1_000_000_000


def fallback_routes(model: RoutedModel) -> list[JsonObject]:
    """All routes of a deployment whose versions must not answer."""
    place, found = f"{model.namespace}/{model.name}", model.fallback
    if isinstance(found, FixedAnswer):
        return [_fixed(_ALL, found.status, found.body, found.content_type)]
    text = f"serin: model deployment {place} is switched off"
    if found is None:
        return [_fixed(_ALL, 503, f"{text} (kill switch)\n", "text/plain")]
    round_trip = {**_ALL, "headers": [{"name": _SENT_ON, "present_match": True}]}
    return [_fixed(round_trip, 503, f"{text}, and so is what falls back on it\n", "text/plain"), _to_service(model)]


def fallback_clusters(model: RoutedModel) -> dict[str, JsonObject]:
    """The cluster of the Service, by its name; none for a fixed answer."""
    if not isinstance(model.fallback, Endpoint):
        return {}
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    message = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    # Whatever the client speaks, HTTP/1.1 or HTTP/2.
    options = {"http_protocol_options": {}, "http2_protocol_options": dict(HTTP2_WINDOWS)}
    protocols = {
        "common_http_protocol_options": {"idle_timeout": "4s"},
        "use_downstream_protocol_config": options,
    }
    return {
        _cluster_name(model): {
            "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            "name": _cluster_name(model),
            "type": "EDS",
            "eds_cluster_config": {"eds_config": config_source()},
            "connect_timeout": "1s",
            "per_connection_buffer_limit_bytes": CONNECTION_BUFFER,
            "circuit_breakers": {"thresholds": [dict.fromkeys(limits, _NO_LIMIT)]},
            "typed_extension_protocol_options": {message: any_of(message, protocols)},
        }
    }


def fallback_endpoints(model: RoutedModel) -> dict[str, JsonObject]:
    """The address of the Service, by the cluster's name."""
    if not isinstance(model.fallback, Endpoint):
        return {}
    address = {"address": model.fallback.address, "port_value": model.fallback.port}
    metadata = {"filter_metadata": {METADATA: {"snapshot": NAME, "attempt": FIRST, "slot": "0"}}}
    endpoint = {"endpoint": {"address": {"socket_address": address}}, "metadata": metadata}
    return {
        _cluster_name(model): {
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": _cluster_name(model),
            "endpoints": [{"lb_endpoints": [endpoint]}],
        }
    }


def _cluster_name(model: RoutedModel) -> str:
    return f"{model.namespace}/{model.name}/{NAME}"


def _fixed(match: JsonObject, status: int, body: str, content_type: str) -> JsonObject:
    return {
        "name": NAME,
        "match": match,
        "direct_response": {"status": status, **({"body": {"inline_string": body}} if body else {})},
        "response_headers_to_add": [set_header("content-type", content_type)],
    }


def _to_service(model: RoutedModel) -> JsonObject:
    stable = model.arm(model.stable)
    limit = (stable.serving if stable else UNWRITTEN).timeout  # nobody waits longer for it than for a version
    policy: JsonObject = {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2}
    return {
        "name": NAME,
        "match": _ALL,
        "route": {
            "cluster": _cluster_name(model),
            "timeout": "0s",
            "idle_timeout": seconds(limit),
            "retry_policy": policy | ({"per_try_timeout": seconds(limit)} if limit else {}),
        },
        "request_headers_to_add": [{"header": {"key": _SENT_ON, "value": f"{model.namespace}/{model.name}"}}],
        "request_body_buffer_limit": UNSENT_BUFFER,
    }
