"""Envoy's bootstrap: the part of its configuration that does not come from the operator.

The Helm chart's ConfigMap is this, rendered. The metrics port leads to two paths of Envoy's administration interface;
the rest of it (which can end the process) listens on loopback alone.

What Envoy asks of the operator carries the token of its pod. The kubelet replaces the token in its file from time to
time; Envoy notices that only of what a *discovered* secret names, so there is a file that does nothing but name it.
"""

from pathlib import PurePosixPath
from typing import Final

from serin.api.json import JsonObject
from serin.routers.envoy.guarding import NO_FLOW_CONTROL, guard_cluster
from serin.routers.envoy.limits import socket_options
from serin.routers.envoy.series import stats_config
from serin.routers.envoy.shape import XDS_CLUSTER, any_of, config_source, socket_address, typed

METRICS_PORT: Final = 9902
ADMIN_PORT: Final = 9901
XDS_PORT: Final = 18000
# Where the chart mounts this pod's token, and the file that names it to Envoy.
TOKEN_FILE: Final = "/var/run/secrets/serin.dev/xds/token"
TOKEN_SECRET_FILE: Final = "/etc/envoy/xds-token.yaml"
_TOKEN_SECRET: Final = "serin-xds-token"

MAX_HEAP: Final = 900 * 1024 * 1024
MAX_CONNECTIONS: Final = 20_000
# What is done from which share of the largest heap on: free memory goes back to the system, then new requests are
# turned away with 503. What is under way goes on, and the process lives. (Envoy can also end the requests that hold
# most, but only those of HTTP/2.)
_RELIEF: Final = {"shrink_heap": 0.8, "stop_accepting_requests": 0.95}
# The operator holds one request per cluster and per deployment; of Envoy's default of 1,024 at once some would wait.
_MAX_XDS_REQUESTS: Final = 100_000
_METRICS_PATHS: Final = ("/stats/prometheus", "/ready")


def bootstrap(
    xds_host: str,
    xds_port: int = XDS_PORT,
    *,
    token_secret_file: str | None = TOKEN_SECRET_FILE,
    node_id: str | None = None,
    address: str = "0.0.0.0",
    metrics_port: int = METRICS_PORT,
    admin_port: int = ADMIN_PORT,
    max_heap: int | str = MAX_HEAP,
    max_connections: int | str = MAX_CONNECTIONS,
    guard: tuple[str, int] | None = None,
) -> JsonObject:
    """Envoy's bootstrap as JSON.

    `xds_host`: name or address of the operator's xDS Service. `token_secret_file`: has what `token_secret` returns;
    None: requests carry no token. `node_id`: unique per Envoy process; None leaves it to the command line
    (`--service-node`), where a pod puts its own name. `address`: where the metrics port listens. `max_heap`: bytes,
    less than the memory that the process may have. `max_connections`: from all clients together. `guard`: name or
    address of the guard's processes, and their port; None: there is none.
    """
    node: JsonObject = {"cluster": "serin-router"}
    if node_id is not None:
        node["id"] = node_id
    return {
        "node": node,
        "admin": {"address": socket_address("127.0.0.1", admin_port)},
        "dynamic_resources": {"cds_config": config_source(), "lds_config": config_source()},
        "static_resources": {
            "listeners": [_metrics_listener(address, metrics_port)],
            "clusters": [
                _static_cluster("serin-admin", "STATIC", "127.0.0.1", admin_port, 16),
                _static_cluster(XDS_CLUSTER, "STRICT_DNS", xds_host, xds_port, _MAX_XDS_REQUESTS)
                | (_with_token(token_secret_file) if token_secret_file else {}),
                guard_cluster(*(guard or (None,))),
            ],
        },
        "layered_runtime": {"layers": [{"name": "serin", "static_layer": dict(NO_FLOW_CONTROL)}]},
        "cluster_manager": {"upstream_bind_config": {"socket_options": socket_options()}},
        "stats_config": stats_config(),
        # Envoy brings histograms up to date no more often than this: a latency verdict waits for it.
        "stats_flush_interval": "1s",
        # Series that nothing has added to for that long, such as those of snapshots that are gone.
        "stats_eviction_interval": "21600s",
        "overload_manager": _overload_manager(max_heap, max_connections),
    }


def _overload_manager(max_heap: int | str, max_connections: int | str) -> JsonObject:
    heap = "envoy.resource_monitors.fixed_heap"
    connections = "envoy.resource_monitors.global_downstream_max_connections"
    message = "envoy.extensions.resource_monitors"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            typed(heap, f"{message}.fixed_heap.v3.FixedHeapConfig", {"max_heap_size_bytes": max_heap}),
            typed(
                connections,
                f"{message}.downstream_connections.v3.DownstreamConnectionsConfig",
                {"max_active_downstream_connections": max_connections},
            ),
        ],
        "actions": [
            {
                "name": f"envoy.overload_actions.{action}",
                "triggers": [{"name": heap, "threshold": {"value": share}}],
            }
            for action, share in _RELIEF.items()
        ],
    }


def token_secret(token_file: str = TOKEN_FILE) -> JsonObject:
    """The discovery response that names the token's file to Envoy."""
    source = {"filename": token_file, "watched_directory": {"path": str(PurePosixPath(token_file).parent)}}
    secret = {"name": _TOKEN_SECRET, "generic_secret": {"secret": source}}
    return {"resources": [any_of("envoy.extensions.transport_sockets.tls.v3.Secret", secret)]}


def _with_token(secret_file: str) -> JsonObject:
    """What a cluster needs so that its requests carry the token."""
    generic = typed(
        "envoy.http.injected_credentials.generic",
        "envoy.extensions.http.injected_credentials.generic.v3.Generic",
        {
            "credential": {"name": _TOKEN_SECRET, "sds_config": {"path_config_source": {"path": secret_file}}},
            "header_value_prefix": "Bearer ",
        },
    )
    filters = [
        typed(
            "token",
            "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
            {"credential": generic, "overwrite": True},
        ),
        typed("codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec", {}),
    ]
    options = {"explicit_http_config": {"http_protocol_options": {}}, "http_filters": filters}
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {"typed_extension_protocol_options": {name: any_of(name, options)}}


def _static_cluster(name: str, kind: str, host: str, port: int, limit: int) -> JsonObject:
    endpoint = {"lb_endpoints": [{"endpoint": {"address": socket_address(host, port)}}]}
    limits = ("max_connections", "max_pending_requests", "max_requests")
    return {
        "name": name,
        "type": kind,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [endpoint]},
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, limit)]},
        # Finds a server that vanished without closing its connections.
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": 10, "keepalive_interval": 5, "keepalive_probes": 3}
        },
    }


def _metrics_listener(address: str, port: int) -> JsonObject:
    routes = [{"match": {"path": path}, "route": {"cluster": "serin-admin"}} for path in _METRICS_PATHS]
    connections = {
        "stat_prefix": "serin-metrics",
        "route_config": {"virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": routes}]},
        "http_filters": [typed("router", "envoy.extensions.filters.http.router.v3.Router", {})],
    }
    return {
        "name": "serin-metrics",
        "address": socket_address(address, port),
        # Prometheus and the kubelet are not turned away when clients hold every connection, or all of the memory.
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
        "filter_chains": [
            {
                "filters": [
                    typed(
                        "http",
                        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        connections,
                    )
                ]
            }
        ],
    }
