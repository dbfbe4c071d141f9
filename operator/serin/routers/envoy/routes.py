"""Routes: the split, and the shield.

The split is a list of routes. The first ones are its rules; the others each match a share of the requests. Envoy draws
one random number per request and compares it with every route in turn, so the shares are cumulative; the last route
takes the rest.

The shield is the retry policy of a route to a snapshot that is not stable. Its second attempt goes to the next priority
of the same cluster, which is stable's pods (clusters.py):

- `Failures`: whatever fails; with `hedgeAfter` also what is slow, and the first answer wins;
- `Unsent`: what never reached the model: no connection, a stream refused, a reset before the request was sent;
- `Off`: nothing, the client sees what the candidate does.

Before all of them are the routes of the guard's own requests, and stable's of which the guard sees requests and answers
(agreeing.py), and those of what people say (reviewing.py).

A mirror's copies are made on stable's route, of requests whose size is known before they are read and small enough to
be kept: the copy of any other could keep its client waiting, as Envoy reads on no faster than both servers do.

Stable's own route tries another pod of stable for what never reached the model, which a pod that has just gone needs.

A request is kept until its answer begins, or it could not be sent again: with the shield `Failures` all of it, up to
`Limits.shielded_bytes`; elsewhere no more than may have come before a pod was reached.

A version's `timeout` is the longest time until an answer *begins*, and the longest that one which has begun may stand
still: one that streams for an hour is no time-out. On the route of a candidate both attempts have the candidate's.
Envoy's `per_try_idle_timeout` is both. A hedge needs `per_try_timeout`, which ends Envoy's look at the pauses when it
comes; there the route's own `idle_timeout` ends what stands still.
"""

from collections.abc import Mapping
from typing import Final

from serin.api.guard import LARGEST_ANSWER
from serin.api.json import JsonObject
from serin.api.serving import Protocol
from serin.api.split import Mirror, Rule
from serin.routers.envoy.agreeing import POST, guards_routes, watched_share, watching
from serin.routers.envoy.clusters import (
    cluster_name,
    copies_cluster,
    shielded_cluster,
    unkeyed_cluster,
    with_parts,
)
from serin.routers.envoy.fallbacks import LONGEST_BODY, fallback_routes
from serin.routers.envoy.limits import COPIED_BYTES, UNSENT_BUFFER, Limits
from serin.routers.envoy.reviewing import verdict_routes
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.series import METADATA, SHADOW_HEADER, SHADOWED
from serin.routers.envoy.settings import Shield
from serin.routers.envoy.shape import seconds, set_header, typed
from serin.routers.envoy.sticky import KEY_HEADER, matcher, new_cookie

_UNSENT: Final = "connect-failure,refused-stream,reset-before-request"
_FAILURES: Final = "5xx,reset,connect-failure,refused-stream"
# UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, when no message came before them.
_GRPC_FAILURE: Final = {"name": "grpc-status", "string_match": {"safe_regex": {"regex": "2|4|12|13|14|15"}}}
_NO_UPGRADE: Final = {"name": "upgrade", "present_match": False}
_NO_LENGTH: Final = {"name": "content-length", "present_match": False}
_NO_CHUNKS: Final = {"name": "transfer-encoding", "present_match": False}
_NO_BODY: Final = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
_SMALL: Final = {"name": "content-length", "range_match": {"start": 0, "end": COPIED_BYTES + 1}}
# What is copied: a request that says how large it is, or that has no body.
_COPIED: Final = ([_NO_UPGRADE, _SMALL], [_NO_UPGRADE, _NO_BODY, _NO_LENGTH, _NO_CHUNKS])
_SCALE: Final = 100  # Envoy's denominator is TEN_THOUSAND, weights are percent


def hedges(model: RoutedModel) -> bool:
    """Whether slow requests are sent to stable as well."""
    return model.settings.shield is Shield.FAILURES and model.settings.hedge_after is not None


def route_configuration(model: RoutedModel, limits: Limits) -> JsonObject:
    """All routes of one deployment."""
    own = guards_routes(model, _buffer(model, limits, shields=False)) + verdict_routes(model) if limits.guard else []
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": f"{model.namespace}/{model.name}",
        "max_direct_response_body_size_bytes": LONGEST_BODY,
        "virtual_hosts": [
            {
                "name": f"{model.namespace}/{model.name}",
                "domains": ["*"],
                **({"routes": [*own, *fallback_routes(model)]} if model.killed else _chosen(model, limits, own)),
                # A client's own would make a server leave out what it should do.
                "request_headers_to_remove": [
                    SHADOW_HEADER,
                    *([KEY_HEADER] if model.sticky and model.sticky.cookie else []),
                ],
                "response_headers_to_add": [
                    _header("x-serin-snapshot", "snapshot"),
                    _header("x-serin-shielded", "shielded"),
                ],
            }
        ],
    }


def clusters_of(route: JsonObject) -> frozenset[str]:
    """Names of the clusters that a route configuration sends requests to, with those that they are made of."""
    host = route["virtual_hosts"][0]
    lists = [host.get("routes") or ()]
    if tree := host.get("matcher"):
        actions = [*(one["on_match"] for one in tree["matcher_list"]["matchers"]), tree["on_no_match"]]
        lists += [one["action"]["typed_config"]["routes"] for one in actions]
    routed = [entry["route"] for routes in lists for entry in routes if "route" in entry]
    named = {one["cluster"] for one in routed}
    named |= {policy["cluster"] for one in routed for policy in one.get("request_mirror_policies", ())}
    return frozenset[str]().union(*map(with_parts, named))


def _chosen(model: RoutedModel, limits: Limits, own: list[JsonObject]) -> JsonObject:
    """How one of the routes is chosen: by chance, or by the user. `own`: the guard's, which come before all others."""
    split = model.split()
    rules = own + [
        _route(model, limits, rule.snapshot, _match_rule(rule), shield=not rule.preview) for rule in split.rules
    ]
    shares = split.turns(model.stable)
    if split.sticky is None or not shares:
        routes, begin = rules, 0
        for below, name in shares:
            if name == model.stable and (share := watched_share(model, split) if limits.guard else 0):
                routes.append(_watched_route(model, limits, name, min(begin + share, below)))
            begin = below
            if split.mirror and name == model.stable:
                routes += _copied_routes(model, limits, split.mirror, name)
            routes.append(_route(model, limits, name, _match(below)))
        return {"routes": routes or [_unavailable(model, model.stable or "none", _match(100))]}
    chosen = [(below, _route(model, limits, name, _match(100))) for below, name in shares]
    rest = _route(model, limits, model.stable or shares[-1][1], _match(100), unkeyed=True)
    rest["response_headers_to_add"] = new_cookie(split.sticky)
    return {"matcher": matcher(model, split.sticky, chosen, rules, rest)}


def _route(
    model: RoutedModel, limits: Limits, snapshot: str, match: JsonObject, *, shield: bool = True, unkeyed: bool = False
) -> JsonObject:
    """One route. `shield`: what the snapshot fails may be answered by stable. `unkeyed`: of requests without a user."""
    arm = model.arm(snapshot)
    if arm is None or not arm.endpoints:
        return _unavailable(model, snapshot, match)
    is_stable = snapshot == model.stable
    action: JsonObject = {
        "cluster": _cluster_of(model, arm, unkeyed=unkeyed),
        "timeout": "0s",  # of the whole answer; its beginning and its pauses are limited below
        "idle_timeout": seconds(_patience(model, arm)),
        "retry_policy": _own_policy(model, arm) if is_stable else _shield_policy(model, arm, shield=shield),
    }
    if hedges(model) and shield and not is_stable:
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    shields = shield and not is_stable and model.settings.shield is Shield.FAILURES
    return {
        "name": snapshot,
        "match": match,
        "route": action,
        "request_body_buffer_limit": _buffer(model, limits, shields=shields),
    }


def _buffer(model: RoutedModel, limits: Limits, *, shields: bool) -> int:
    """Bytes of a request that are kept, and of requests and answers that the guard is shown."""
    shown = LARGEST_ANSWER if (model.guard or model.inputs) and limits.guard else 0
    return max(UNSENT_BUFFER, shown, limits.shielded_bytes if shields else 0)


def _cluster_of(model: RoutedModel, arm: Arm, *, unkeyed: bool) -> str:
    if unkeyed:
        return unkeyed_cluster(model, arm.snapshot)
    return cluster_name(model, arm.snapshot) if arm.snapshot == model.stable else shielded_cluster(model, arm)


def _watched_route(model: RoutedModel, limits: Limits, stable: str, below: int) -> JsonObject:
    """A route of stable's that shows its requests and answers to the guard."""
    found = _route(model, limits, stable, {**_match(below), "headers": [*_COPIED[0], POST]})
    return {**found, "typed_per_filter_config": watching(model)}


def _copied_routes(model: RoutedModel, limits: Limits, mirror: Mirror, stable: str) -> list[JsonObject]:
    """Routes of stable's whose requests are copied."""
    share = {"numerator": mirror.percent * _SCALE, "denominator": "TEN_THOUSAND"}
    policy = {
        "cluster": copies_cluster(model, mirror.snapshot),
        "runtime_fraction": {"default_value": share},
        "disable_shadow_host_suffix_append": True,
        "request_headers_mutations": [{"append": SHADOWED}],
    }
    routes = [_route(model, limits, stable, {**_match(100), "headers": headers}) for headers in _COPIED]
    for one in routes:
        if "route" in one:
            one["route"]["request_mirror_policies"] = [policy]
    return routes


def _unavailable(model: RoutedModel, snapshot: str, match: JsonObject) -> JsonObject:
    body = f"serin: no pod of model deployment {model.namespace}/{model.name} is ready (snapshot {snapshot})\n"
    return {
        "name": snapshot,
        "match": match,
        "direct_response": {"status": 503, "body": {"inline_string": body}},
    }


def _match(below: int) -> JsonObject:
    if below >= 100:
        return {"prefix": "/"}
    share = {"numerator": below * _SCALE, "denominator": "TEN_THOUSAND"}
    return {"prefix": "/", "runtime_fraction": {"default_value": share}}


def _match_rule(rule: Rule) -> JsonObject:
    match: JsonObject = {"prefix": "/"}
    if rule.headers:
        match["headers"] = _exact(rule.headers)
    if rule.cookies:
        match["cookies"] = _exact(rule.cookies)
    return match


def _exact(values: Mapping[str, str]) -> list[JsonObject]:
    return [{"name": name, "string_match": {"exact": value}} for name, value in sorted(values.items())]


def _patience(model: RoutedModel, arm: Arm) -> float:
    """Seconds that nothing may move. Two attempts may follow one another, except that a hedge lets both run at once."""
    attempts = 1 if hedges(model) else 2
    margin = 0 if hedges(model) else 1
    return arm.serving.timeout * attempts + margin if arm.serving.timeout else 0


def _own_policy(model: RoutedModel, arm: Arm) -> JsonObject:
    return {
        "retry_on": _UNSENT,
        "num_retries": 3,
        "retry_host_predicate": [
            typed(
                "envoy.retry_host_predicates.previous_hosts",
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                {},
            )
        ],
        # A pod that has gone has no requests in flight, so the load balancer likes it best: draw until it is another.
        "host_selection_retry_max_attempts": 20,
        **_back_off(),
        **_give_up(model, arm),
    }


def _shield_policy(model: RoutedModel, arm: Arm, *, shield: bool) -> JsonObject:
    """Without a pod of stable nothing can answer in its place: one attempt, as with the shield off."""
    settings, stable = model.settings, model.arm(model.stable)
    if not shield or settings.shield is Shield.OFF or stable is None or not stable.endpoints:
        return _give_up(model, arm)
    policy: JsonObject = {
        "retry_on": _FAILURES if settings.shield is Shield.FAILURES else _UNSENT,
        "num_retries": 1,
        "retry_priority": typed(
            "envoy.retry_priorities.previous_priorities",
            "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            {"update_frequency": 1},
        ),
        **_back_off(),
        **_give_up(model, arm),
    }
    if settings.hedge_after is not None and hedges(model):
        policy["per_try_timeout"] = seconds(settings.hedge_after)
    if settings.shield is Shield.FAILURES and arm.serving.protocol is Protocol.HTTP2:
        policy["retry_on"] += ",retriable-headers"
        policy["retriable_headers"] = [_GRPC_FAILURE]
    return policy


def _back_off() -> JsonObject:
    return {"retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"}}


def _give_up(model: RoutedModel, arm: Arm) -> JsonObject:
    """When an attempt has taken too long."""
    limit = "per_try_timeout" if hedges(model) else "per_try_idle_timeout"
    return {limit: seconds(arm.serving.timeout)} if arm.serving.timeout else {}


def _header(name: str, field: str) -> JsonObject:
    return set_header(name, f"%UPSTREAM_METADATA({METADATA}:{field})%")
