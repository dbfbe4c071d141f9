"""Clusters and their endpoints: one cluster per snapshot.

A cluster of a snapshot that is not stable has two priorities: its own pods, then stable's. Without health checks every
pod counts as healthy, so a first attempt goes to the snapshot's own pods as long as there is one; the shield's retry
policy (routes.py) turns to the next priority. Which pod belongs to whom is written into the endpoints' metadata: it
labels the series, and the answer's headers.
"""

from typing import Final

from serin.api.json import JsonObject
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.limits import CONNECTION_BUFFER, HTTP2_WINDOWS
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.series import FIRST, METADATA, SHIELD, SLOTS
from serin.routers.envoy.settings import Protocol
from serin.routers.envoy.shape import any_of, config_source

# A pod that a node took with it does not refuse a connection, it never answers.
_CONNECT_TIMEOUT: Final = "1s"
# Shorter than the keep-alive of common model servers (uvicorn: 5 s), or Envoy would use a connection in the moment that
# the server closes it, and the request would be lost.
_IDLE_TIMEOUT: Final = "4s"
# In effect none: the model server knows best when it is full, and a shield that gives way under load is none.
_NO_LIMIT: Final = 1_000_000_000


def cluster_name(model: RoutedModel, snapshot: str) -> str:
    """Name of a snapshot's cluster; series.py takes it apart again."""
    return f"{model.namespace}/{model.name}/{snapshot}"


def cluster(model: RoutedModel, arm: Arm) -> JsonObject:
    """The cluster of one snapshot, without its endpoints, which change far more often."""
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": cluster_name(model, arm.snapshot),
        "type": "EDS",
        "eds_cluster_config": {"eds_config": config_source()},
        "connect_timeout": _CONNECT_TIMEOUT,
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER,
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, _NO_LIMIT)]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any_of(
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                {
                    "common_http_protocol_options": {"idle_timeout": _IDLE_TIMEOUT},
                    "explicit_http_config": _protocol(model.settings.protocol),
                },
            )
        },
    }


def endpoints(model: RoutedModel, arm: Arm) -> JsonObject:
    """The pods of one snapshot, and behind them those of stable that answer in their place."""
    stable = model.arm(model.stable)
    groups = [{"priority": 0, "lb_endpoints": _endpoints(arm, FIRST)}]
    if stable is not None and stable.snapshot != arm.snapshot:
        groups.append({"priority": 1, "lb_endpoints": _endpoints(stable, SHIELD)})
    return {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster_name(model, arm.snapshot),
        "endpoints": groups,
    }


def _endpoints(arm: Arm, attempt: str) -> list[JsonObject]:
    return [_endpoint(pod, arm.snapshot, attempt, place % SLOTS) for place, pod in enumerate(arm.endpoints)]


def _endpoint(pod: Endpoint, snapshot: str, attempt: str, slot: int) -> JsonObject:
    metadata = {"snapshot": snapshot, "attempt": attempt, "slot": str(slot)}
    if attempt == SHIELD:
        metadata["shielded"] = "true"
    return {
        "endpoint": {"address": {"socket_address": {"address": pod.address, "port_value": pod.port}}},
        "metadata": {"filter_metadata": {METADATA: metadata}},
    }


def _protocol(protocol: Protocol) -> JsonObject:
    if protocol is Protocol.HTTP1:
        return {"http_protocol_options": {}}
    # The pings find a pod that vanished under open streams.
    return {"http2_protocol_options": {**HTTP2_WINDOWS, "connection_keepalive": {"interval": "30s", "timeout": "5s"}}}
