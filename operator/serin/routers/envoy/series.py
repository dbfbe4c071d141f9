"""The series that Envoy exports about Serin's traffic, and the parts of Envoy's configuration that make them.

Envoy's own counters of a cluster cannot tell the candidate's attempts from stable's when stable answers in the
candidate's place, so the evidence does not rest on them. Envoy's stats logger counts instead: the router's *upstream*
log has one entry per attempt, with the metadata of the very pod that got it; the listener's log has one entry per
answer that a client got. Failures are a subset of the same entries, so they can never exceed the requests, and each is
counted exactly once, whether it was shielded or not.

- `envoy_serin_attempts`: requests that were sent to a pod of the snapshot, or could not be;
- `envoy_serin_failures`: those of them that failed: 5xx, no connection, reset before or within the answer, time-out,
  gRPC status 2, 4, 12, 13, 14 or 15;
- `envoy_serin_hedged`: those that had not begun to answer after `hedgeAfter`, so that stable was asked as well. Not
  failures;
- `envoy_serin_milliseconds` (histogram): from the attempt's start to its end (WebSocket: to the handshake's answer).
  One that was cancelled because the other one answered counts with the time that it had lasted;
- `envoy_serin_answers`: answers that clients got, by the snapshot that the weights had chosen;
- `envoy_serin_answer_failures`: those that failed in the client's eyes.

All carry `serin_namespace`, `serin_model_deployment` and `serin_snapshot`. Those about attempts also carry
`serin_attempt`: `first`, or `shield` when stable answered in the candidate's place; such requests are no fair sample,
so evidence reads `first` alone. Attempts and failures carry `serin_slot`, the pod's place among those of its snapshot:
how much the pods differ tells how far failures are from independent. A place and not a name, so that series do not pile
up as pods come and go. A request that the client cancelled counts and is no failure. 4xx is no failure.

Of a connection that goes on as WebSocket its handshake counts, at the moment that it is answered: its end may be hours
away, and one that is closed in order looks like one whose process died.

A series appears with its first increment, never with 0. `envoy_cluster_membership_total`, with the same labels, is
there from the moment that Envoy knows the snapshot.
"""

from collections.abc import Mapping
from typing import Final

from serin.api.json import JsonObject
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.settings import Protocol
from serin.routers.envoy.shape import typed

METADATA: Final = "serin"  # filter metadata of an endpoint, read by the tags below and by the response headers
FIRST: Final = "first"
SHIELD: Final = "shield"
SLOTS: Final = 16  # places that pods are told apart by; more pods than that share them

# Upper bounds in milliseconds, a factor of the square root of two apart: fine enough to see a latency that doubles.
BUCKETS: Final = (
    *(0.5, 1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 56, 80, 110, 160, 220, 320, 450, 640, 900),
    *(1300, 1800, 2500, 3600, 5000, 7000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000),
)

# UF: no connection. UC, UR: reset. UPE: broken answer.
_LOST_UPSTREAM: Final = ("UF", "UC", "UR", "UPE")
# A client's answer that had begun and broke off, or never came (UT: time-out, SI: the stream stood still).
_LOST_DOWNSTREAM: Final = (*_LOST_UPSTREAM, "UT", "SI")
# An attempt that took longer than it may. With a hedge that is no failure yet, only the reason for a second attempt.
_LATE: Final = "UT"
_GRPC_FAILURES: Final = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")

# Envoy's timers run by a clock that a busy worker reads late, so a time-out can come that much too early.
_TIMER_SHARE: Final = 0.1
_TIMER_SECONDS: Final = 1.0


def attempt_logs(model: RoutedModel, *, hedged: bool) -> list[JsonObject]:
    """Loggers of attempts (the router filter's upstream_log). Attempts that were upgraded are in `upgrade_logs`."""
    tags, by_pod = _attempt_tags(model)
    lost = _LOST_UPSTREAM if hedged else (*_LOST_UPSTREAM, _LATE)
    failed = [_status_at_least(500), {"response_flag_filter": {"flags": list(lost)}}]
    if hedged and model.settings.timeout:
        failed.append(_all_of(_no_status(), _lasted(model.settings.timeout)))
    logs = [
        _logger([_counter("attempts", by_pod)], histograms=[_duration(tags, "%DURATION%")], only=_not_upgraded()),
        _logger(
            [_counter("failures", by_pod)],
            only=_all_of(_not_upgraded(), _any_of(*failed, *_grpc_failed(model.settings.protocol))),
        ),
    ]
    if hedged:
        flag: JsonObject = {"response_flag_filter": {"flags": [_LATE]}}
        logs.append(_logger([_counter("hedged", tags)], only=flag))
    return logs


def answer_logs(model: RoutedModel) -> list[JsonObject]:
    """Loggers of answers (the listener's access_log). Routes are named after the snapshot that the weights chose."""
    tags = {**_tags(model), "serin_snapshot": "%ROUTE_NAME%"}
    failed = [
        _status_at_least(500),
        _all_of(_status_at_least(200), {"response_flag_filter": {"flags": list(_LOST_DOWNSTREAM)}}),
        *_grpc_failed(model.settings.protocol),
    ]
    return [
        _logger([_counter("answers", tags)], only=_any_of(_upgraded(), _status_at_least(200))),
        _logger([_counter("answer_failures", tags)], only=_any_of(*failed)),
    ]


def upgrade_logs(model: RoutedModel) -> list[JsonObject]:
    """Loggers of connections that went on as WebSocket (the listener's access_log): at the moment that they do."""
    tags, by_pod = _attempt_tags(model)
    to_headers = _duration(tags, "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ms)%")
    return [_logger([_counter("attempts", by_pod)], histograms=[to_headers], only=_upgraded())]


def stats_config() -> JsonObject:
    """`stats_config` of the bootstrap: labels, bucket bounds, and only the series that somebody reads.

    Envoy has some 200 series per cluster; 1,000 model deployments would cost Prometheus 400,000.
    """
    ours = r"^cluster\.[^/.]+/[^/.]+/[^/.]+\.(membership_total|upstream_rq_total)$"
    own = r"^server\.(live|state|uptime|memory_allocated|total_connections)$"
    xds = r"^(cluster_manager\.cds|listener_manager\.lds)\.update_(success|rejected|failure)$"
    # Clients' connections over a deployment's limit, and whether new requests are turned away for want of memory.
    full = (
        r"^(connection_limit\.serin-clients\.limited_connections"
        r"|overload\.envoy\.overload_actions\.stop_accepting_requests\.active)$"
    )
    return {
        "stats_tags": [
            {"tag_name": "serin_namespace", "regex": r"^cluster\.(([^/.]+)/)[^/.]+/[^/.]+\."},
            {"tag_name": "serin_model_deployment", "regex": r"^cluster\.[^/.]+/(([^/.]+)/)[^/.]+\."},
            {"tag_name": "serin_snapshot", "regex": r"^cluster\.[^/.]+/[^/.]+/(([^/.]+)\.)"},
        ],
        "use_all_default_tags": False,
        "stats_matcher": {
            "inclusion_list": {
                "patterns": [
                    {"prefix": "serin."},
                    *({"safe_regex": {"regex": regex}} for regex in (ours, own, xds, full)),
                ]
            }
        },
        "histogram_bucket_settings": [{"match": {"prefix": "serin."}, "buckets": list(BUCKETS)}],
    }


def _attempt_tags(model: RoutedModel) -> tuple[dict[str, str], dict[str, str]]:
    """Labels of a series about attempts: without the pod's place, and with it."""
    tags = {**_tags(model), "serin_snapshot": _host("snapshot"), "serin_attempt": _host("attempt")}
    return tags, {**tags, "serin_slot": _host("slot")}


def _duration(tags: Mapping[str, str], value: str) -> JsonObject:
    return {"stat": _stat("milliseconds", tags), "unit": "Milliseconds", "value_format": value}


def _tags(model: RoutedModel) -> dict[str, str]:
    return {"serin_namespace": model.namespace, "serin_model_deployment": model.name}


def _host(field: str) -> str:
    return f"%UPSTREAM_METADATA({METADATA}:{field})%"


def _stat(name: str, tags: Mapping[str, str]) -> JsonObject:
    return {"name": name, "tags": [{"name": tag, "value_format": value} for tag, value in tags.items()]}


def _counter(name: str, tags: Mapping[str, str]) -> JsonObject:
    return {"stat": _stat(name, tags), "value_fixed": 1}


def _logger(
    counters: list[JsonObject], *, histograms: list[JsonObject] | None = None, only: JsonObject | None = None
) -> JsonObject:
    """A stats logger. The shared scope keeps the counts when a listener is replaced; idle series are dropped."""
    config = {
        "stats_scope": {"prefix": "serin", "sharing_name": "serin", "enable_eviction": True},
        "counters": counters,
        "histograms": histograms or [],
    }
    logger = typed("envoy.access_loggers.stats", "envoy.extensions.access_loggers.stats.v3.Config", config)
    return {**logger, "filter": only} if only else logger


def _compare(operator: str, value: int) -> JsonObject:
    # Envoy wants a runtime key beside every number; nobody sets it.
    return {"comparison": {"op": operator, "value": {"default_value": value, "runtime_key": "serin.unset"}}}


def _status_at_least(code: int) -> JsonObject:
    return {"status_code_filter": _compare("GE", code)}


def _upgraded() -> JsonObject:
    """A connection that goes on as WebSocket, at the moment that it does."""
    return {"log_type_filter": {"types": ["DownstreamTunnelSuccessfullyEstablished"]}}


def _not_upgraded() -> JsonObject:
    return {"status_code_filter": _compare("NE", 101)}


def _no_status() -> JsonObject:
    return {"status_code_filter": _compare("LE", 0)}


def _lasted(seconds: float) -> JsonObject:
    limit = seconds - min(_TIMER_SECONDS, _TIMER_SHARE * seconds)
    return {"duration_filter": _compare("GE", max(round(limit * 1000), 1))}


def _any_of(*filters: JsonObject) -> JsonObject:
    return {"or_filter": {"filters": list(filters)}}


def _all_of(*filters: JsonObject) -> JsonObject:
    return {"and_filter": {"filters": list(filters)}}


def _grpc_failed(protocol: Protocol) -> list[JsonObject]:
    """gRPC says 200 and puts its status into headers or trailers. Plain requests must not be read as gRPC's."""
    if protocol is not Protocol.HTTP2:
        return []
    is_grpc = {"header_filter": {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}}
    return [_all_of(is_grpc, {"grpc_status_filter": {"statuses": list(_GRPC_FAILURES)}})]
