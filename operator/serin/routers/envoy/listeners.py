"""Listeners: one port per model deployment, so that Host headers do not matter.

What changes with the weights is in the routes, which Envoy replaces without touching a connection; a listener changes
only with `spec.router`, and when a split begins or ends that knows users by a cookie.
"""

from typing import Final

from serin.api.json import JsonObject
from serin.routers.envoy.agreeing import watching_filter
from serin.routers.envoy.guarding import fallback_filter, input_filter
from serin.routers.envoy.limits import CONNECTION_BUFFER, HEADERS, HTTP2_WINDOWS, STREAMS, Limits, socket_options
from serin.routers.envoy.reviewing import review_filter
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.routes import hedges
from serin.routers.envoy.series import answer_logs, attempt_logs
from serin.routers.envoy.settings import EventStreams
from serin.routers.envoy.shape import config_source, socket_address, typed
from serin.routers.envoy.sticky import key_filters
from serin.routers.envoy.streams import stream_filter

_HTTP: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
# Clients that keep a connection are asked to open another one after this time, so that a router pod on its way out has
# none left when it ends: the chart lets it go on for 5 s longer.
_LONGEST_CONNECTION: Final = "10s"
# From the first byte of a request until its headers are complete: one that never completes them holds its connection.
_HEADERS_TIMEOUT: Final = "10s"
# A connection on which nothing is under way. Long, as a client's next request may meet its end.
_IDLE_TIMEOUT: Final = "300s"
# What a client may ask to go on with in place of HTTP; whether it may is the model server's answer (101, or another).
_UPGRADES: Final = ("websocket",)
# Offers that a client makes to whomever it may concern and does without. (Envoy itself passes h2c over.)
_IGNORED_UPGRADES: Final = ("TLS/", "HTTP/")
_LIMIT: Final = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"
_ROUTER: Final = "envoy.extensions.filters.http.router.v3.Router"


def listener(model: RoutedModel, limits: Limits, address: str = "0.0.0.0") -> JsonObject:
    """The listener of one deployment on its own port."""
    name = f"{model.namespace}/{model.name}"
    # Whoever holds connections open, complete or not, takes them from this deployment's clients and nobody else's.
    limit = typed("connections", _LIMIT, {"stat_prefix": "serin-clients", "max_connections": limits.connections})
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "address": socket_address(address, model.port),
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER,
        "socket_options": socket_options(),
        "filter_chains": [{"filters": [limit, typed("http", _HTTP, _connections(model, name, limits))]}],
    }


def _connections(model: RoutedModel, name: str, limits: Limits) -> JsonObject:
    router: JsonObject = {
        "upstream_log": attempt_logs(model, hedged=hedges(model), guarded=bool(model.guard and limits.guard)),
        "suppress_envoy_headers": True,
    }
    reading = [stream_filter()] if model.settings.event_streams is EventStreams.READ else []
    inputs = model.inputs if limits.guard else None
    instead = model.guard.fallback if model.guard and limits.guard else None
    shown = [fallback_filter(instead)] if instead else []
    if inputs:
        shown.append(input_filter(inputs, model.guard_key, limits.guard))
    compared, reviewed = bool(model.agreement and limits.guard), bool(model.review and limits.guard)
    if compared:
        shown.append(watching_filter())
    if limits.guard:
        shown += review_filter(model)
    return {
        "stat_prefix": "serin-clients",
        "codec_type": "AUTO",  # HTTP/1.1, and HTTP/2 (gRPC) without TLS
        "rds": {"route_config_name": name, "config_source": config_source()},
        "http_filters": [*key_filters(model.sticky), *shown, *reading, typed("router", _ROUTER, router)],
        "access_log": answer_logs(model, guarded=inputs is not None, compared=compared, reviewed=reviewed),
        "access_log_options": {"flush_log_on_tunnel_successfully_established": True},
        # No client is trusted to switch the shield off with an x-envoy-... header: no address is internal.
        "use_remote_address": True,
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "server_header_transformation": "PASS_THROUGH",
        # HTTP/1.0 is what nginx's proxy_pass and ApacheBench speak by default. It needs no Host header, HTTP/1.1 does.
        "http_protocol_options": {
            "accept_http_10": True,
            "default_host_for_http_10": f"{model.name}.{model.namespace}",
            "ignore_http_11_upgrade": [{"prefix": one} for one in _IGNORED_UPGRADES],
        },
        "upgrade_configs": [{"upgrade_type": one} for one in _UPGRADES],
        "http2_protocol_options": {**HTTP2_WINDOWS, "max_concurrent_streams": STREAMS},
        "max_request_headers_kb": limits.header_kilobytes,
        "common_http_protocol_options": {
            "max_connection_duration": _LONGEST_CONNECTION,
            "idle_timeout": _IDLE_TIMEOUT,
            "max_headers_count": HEADERS,
        },
        "http1_safe_max_connection_duration": True,  # announced in a response, so that no request meets a closed port
        "request_headers_timeout": _HEADERS_TIMEOUT,
        "stream_idle_timeout": "0s",  # the routes' own
        "generate_request_id": False,
    }
