"""Clusters and their endpoints: one cluster per snapshot.

A cluster of a snapshot that is not stable has two priorities: its own pods, then stable's. Without health checks every
pod counts as healthy, so a first attempt goes to the snapshot's own pods as long as there is one; the shield's retry
policy (routes.py) turns to the next priority. Which pod belongs to whom is written into the endpoints' metadata: it
labels the series, and the answer's headers.

A cluster speaks one protocol to all of its pods. So when the snapshot's is not stable's there are two more clusters
beside it: `...+stable` has stable's pods and speaks as stable does, and `...+shielded`, which the route names, is an
aggregate cluster. Its priorities are those of the snapshot's own cluster, then those of the other, and each attempt
uses the connections of the cluster that its pod is from.

Copies of requests have a cluster of their own, `...+copies`, with the snapshot's pods. Its buffers take a whole copy,
so that no client waits while a version does not read; its limits let copies fail before they fill the router.
"""

from collections.abc import Mapping
from typing import Final

from serin.api.guard_agreement import KEY
from serin.api.json import JsonObject
from serin.api.serving import Protocol
from serin.api.spec import WARMUP
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.guarding import guard_filters
from serin.routers.envoy.limits import CONNECTION_BUFFER, COPIED_BYTES, COPIES, HEADERS, HTTP2_WINDOWS, Limits
from serin.routers.envoy.recording import record_filters
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.series import FIRST, METADATA, SHADOWED, SHIELD, SLOTS, UNKEYED
from serin.routers.envoy.shape import any_of, config_source, seconds, typed

# A pod that a node took with it does not refuse a connection, it never answers.
_CONNECT_TIMEOUT: Final = "1s"
# Shorter than the keep-alive of common model servers (uvicorn: 5 s), or Envoy would use a connection in the moment that
# the server closes it, and the request would be lost.
_IDLE_TIMEOUT: Final = "4s"
# In effect none: Envoy's own few would let the shield give way under load, and the model server knows best when it is
# full.
_NO_LIMIT: Final = 1_000_000_000


# Behind a snapshot's name; no name of Kubernetes has a plus. series.py leaves their counters out.
_STABLE: Final = "+stable"
_SHIELDED: Final = "+shielded"
_UNKEYED: Final = "+unkeyed"
_COPIES: Final = "+copies"
# Of a copy, when the version has no time-out.
LONGEST_COPY: Final = 300.0
_MUTATION: Final = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster_name(model: RoutedModel, snapshot: str) -> str:
    """Name of a snapshot's cluster; series.py takes it apart again."""
    return f"{model.namespace}/{model.name}/{snapshot}"


def shielded_cluster(model: RoutedModel, arm: Arm) -> str:
    """Name of the cluster whose second attempts go to stable."""
    name = cluster_name(model, arm.snapshot)
    return name + _SHIELDED if _other_stable(model, arm) else name


def unkeyed_cluster(model: RoutedModel, snapshot: str) -> str:
    """Name of the cluster by which requests reach stable that a sticky split cannot assign (sticky.py)."""
    return cluster_name(model, snapshot) + _UNKEYED


def copies_cluster(model: RoutedModel, snapshot: str) -> str:
    """Name of the cluster that copies go to."""
    return cluster_name(model, snapshot) + _COPIES


def with_parts(name: str) -> frozenset[str]:
    """A cluster that a route names, and those that it is made of."""
    own = name.removesuffix(_SHIELDED)
    return frozenset({name}) if own == name else frozenset({name, own, own + _STABLE})


def built_of(part: str) -> frozenset[str]:
    """A cluster with endpoints, and the one that it may be a part of."""
    own = part.removesuffix(_STABLE)
    return frozenset({part}) if own == part else frozenset({part, own + _SHIELDED})


def has_endpoints(name: str) -> bool:
    """Whether Envoy asks for endpoints of a cluster of this name."""
    return not name.endswith(_SHIELDED)


def clusters(model: RoutedModel, limits: Limits) -> dict[str, JsonObject]:
    """All clusters of a deployment by name, without their endpoints, which change far more often."""
    found: dict[str, JsonObject] = {}
    for arm in model.arms:
        name = cluster_name(model, arm.snapshot)
        found[name] = _eds_cluster(name, arm.serving.protocol, model.warmup, limits)
        if stable := _other_stable(model, arm):
            found[name + _STABLE] = _eds_cluster(name + _STABLE, stable.serving.protocol, model.warmup, limits)
            found[name + _SHIELDED] = _aggregate(name)
        if model.copies_to(arm):
            found[name + _COPIES] = _for_copies(_eds_cluster(name + _COPIES, arm.serving.protocol, 0, limits), arm)
    if unkeyed := _unkeyed(model):
        name = unkeyed_cluster(model, unkeyed.snapshot)
        found[name] = _eds_cluster(name, unkeyed.serving.protocol, model.warmup, limits)
    shown = [
        *record_filters(model),
        *(guard_filters(model.guard, model.guard_key, limits.guard) if model.guard else []),
    ]
    return {name: _shown(one, shown) for name, one in found.items()} if shown and limits.guard else found


def former_cluster(name: str) -> JsonObject:
    """A cluster that has no pods any more, for an Envoy that may still have a route to it."""
    own = name.removesuffix(_SHIELDED)
    return _eds_cluster(name, Protocol.HTTP1, WARMUP, Limits()) if own == name else _aggregate(own)


def endpoints(model: RoutedModel) -> dict[str, JsonObject]:
    """The pods of every snapshot, and behind them those of stable that answer in their place, by cluster."""
    found: dict[str, JsonObject] = {}
    stable = model.arm(model.stable)
    for arm in model.arms:
        name, groups = cluster_name(model, arm.snapshot), [_endpoints(arm, FIRST)]
        if other := _other_stable(model, arm):
            found[name + _STABLE] = _assignment(name + _STABLE, [_endpoints(other, SHIELD)])
        elif stable is not None and stable.snapshot != arm.snapshot:
            groups.append(_endpoints(stable, SHIELD))
        found[name] = _assignment(name, groups)
        if model.copies_to(arm):
            found[name + _COPIES] = _assignment(name + _COPIES, [_endpoints(arm, FIRST)])
    if unkeyed := _unkeyed(model):
        name = unkeyed_cluster(model, unkeyed.snapshot)
        found[name] = _assignment(name, [_endpoints(unkeyed, UNKEYED)])
    return found


def _unkeyed(model: RoutedModel) -> Arm | None:
    """Who answers requests that a sticky split cannot assign: stable; None without such a split."""
    return model.arm(model.stable) if model.sticky is not None else None


def _other_stable(model: RoutedModel, arm: Arm) -> Arm | None:
    """Stable, when it is another snapshot and speaks another protocol."""
    stable = model.arm(model.stable)
    if stable is None or stable.snapshot == arm.snapshot or stable.serving.protocol is arm.serving.protocol:
        return None
    return stable


def _eds_cluster(name: str, protocol: Protocol, warmup: float, limits: Limits) -> JsonObject:
    # A hedge sends a request twice.
    most = dict.fromkeys(("max_pending_requests", "max_requests"), 2 * limits.connections)
    return {
        **_cluster(name, most),
        "type": "EDS",
        "eds_cluster_config": {"eds_config": config_source()},
        "lb_policy": "LEAST_REQUEST",
        "least_request_lb_config": {"slow_start_config": _slow_start(warmup)} if warmup else {},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any_of(
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                {
                    "common_http_protocol_options": {
                        "idle_timeout": _IDLE_TIMEOUT,
                        "max_headers_count": HEADERS,
                        "max_response_headers_kb": limits.header_kilobytes,
                    },
                    "explicit_http_config": _protocol(protocol),
                },
            )
        },
    }


def _for_copies(cluster: JsonObject, arm: Arm) -> JsonObject:
    """A route's time-outs do not hold for copies, so the cluster's own ends those that take too long.

    Envoy adds a header to every request of its own making. Those that the guard has made (agreeing.py) have the header
    by which they came here, and lack the one that a copy has.
    """
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    removed = [{"remove": one} for one in ("x-envoy-internal", KEY)]
    options = cluster["typed_extension_protocol_options"][name]
    options["http_filters"] = [
        typed("headers", _MUTATION, {"mutations": {"request_mutations": [*removed, {"append": SHADOWED}]}}),
        typed("codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec", {}),
    ]
    options["common_http_protocol_options"]["max_stream_duration"] = seconds(arm.serving.timeout or LONGEST_COPY)
    if http2 := options["explicit_http_config"].get("http2_protocol_options"):
        windows = {"initial_stream_window_size": 2 * COPIED_BYTES}
        options["explicit_http_config"] = {"http2_protocol_options": {**http2, **windows}}
    most = dict.fromkeys(("max_pending_requests", "max_requests"), COPIES)
    thresholds = [{**cluster["circuit_breakers"]["thresholds"][0], **most}]
    return {
        **cluster,
        "per_connection_buffer_limit_bytes": 2 * COPIED_BYTES,
        "circuit_breakers": {"thresholds": thresholds},
    }


def _shown(cluster: JsonObject, shown: list[JsonObject]) -> JsonObject:
    """The same with the guard's filters. Of an aggregate's own run, and not those of the clusters in it."""
    every = cluster.get("typed_extension_protocol_options", {})
    options = every.get(_OPTIONS) or any_of(_OPTIONS, {"explicit_http_config": _protocol(Protocol.HTTP1)})
    codec = typed("codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec", {})
    filters = [*shown, *options.get("http_filters", [codec])]
    return {
        **cluster,
        "typed_extension_protocol_options": {**every, _OPTIONS: {**options, "http_filters": filters}},
    }


def _slow_start(warmup: float) -> JsonObject:
    """A new pod begins with half of its share, which then grows with its age.

    Ages are of this cluster's pods in this Envoy, so it is a matter of new pods among older ones. Where all are as old,
    as stable's are when a rollback gives everything back to them, or as new, it changes nothing. Half, and not Envoy's
    tenth, because what new pods do not take the older ones must: when a candidate that has one pod grows to ten and
    gets everything, that one must not be buried. So it gets twice its share at most.
    """
    return {"slow_start_window": f"{warmup:.3f}s", "min_weight_percent": {"value": 50}}


def _aggregate(own: str) -> JsonObject:
    aggregate = "envoy.extensions.clusters.aggregate.v3.ClusterConfig"
    return {
        **_cluster(own + _SHIELDED, {}),
        "cluster_type": typed("envoy.clusters.aggregate", aggregate, {"clusters": [own, own + _STABLE]}),
        "lb_policy": "CLUSTER_PROVIDED",
    }


def _cluster(name: str, most: Mapping[str, int]) -> JsonObject:
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": name,
        "connect_timeout": _CONNECT_TIMEOUT,
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER,
        "circuit_breakers": {"thresholds": [{**dict.fromkeys(limits, _NO_LIMIT), **most}]},
    }


def _assignment(name: str, groups: list[list[JsonObject]]) -> JsonObject:
    return {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": [{"priority": place, "lb_endpoints": pods} for place, pods in enumerate(groups)],
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
