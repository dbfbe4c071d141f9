"""The series that Envoy exports about Serin's traffic, and the parts of Envoy's configuration that make them.

Envoy's own counters of a cluster cannot tell the candidate's attempts from stable's when stable answers in the
candidate's place, so the evidence does not rest on them. Envoy's stats logger counts instead: the router's *upstream*
log has one entry per attempt, with the metadata of the very pod that got it; the listener's log has one entry per
answer that a client got. Each failure is counted exactly once, whether it was shielded or not: in the attempt's own
entry, or, where that shows none, in the listener's (a stream that says it has failed, one that stands still beside a
hedge). So failures never exceed the attempts.

- `envoy_serin_attempts`: requests that were sent to a pod of the snapshot, or could not be;
- `envoy_serin_failures`: those of them that failed: 5xx, no connection, reset before or within the answer, time-out
  before it or a pause of that length in it, gRPC status 2, 4, 12, 13, 14 or 15; and event streams as in streams.py;
- `envoy_serin_rejections`: those that the version called the client's mistake: 4xx, gRPC status 3, 5 to 11 or 16. Not
  failures;
- `envoy_serin_hedged`: those that had not begun to answer after `hedgeAfter`, so that stable was asked as well. Not
  failures;
- `envoy_serin_milliseconds` (histogram): from the attempt's start to its end (event stream: to the first byte of
  its body; WebSocket: to the handshake's answer). One that was cancelled because the other one answered counts with
  the time that it had lasted;
- `envoy_serin_milliseconds_by_pod`: the sum of the same, by pod: how much the pods differ;
- `envoy_serin_checked`, `envoy_serin_bad_outputs`, `envoy_serin_unchecked`, of a guarded deployment: answers that the
  guard has judged; those of them that it has refused, which are failures too; those that passed without;
- `envoy_serin_inputs_checked`, `envoy_serin_invalid_inputs`, `envoy_serin_inputs_unchecked`, of a deployment whose
  requests are checked: requests that the guard has judged; those of them that are invalid; those that passed without.
  By the snapshot that the weights had chosen, which has not seen the refused ones;
- `envoy_serin_compared`, `envoy_serin_disagreements`, `envoy_serin_incomparable`, of a deployment whose versions are
  compared: requests to which the guard has compared the candidate's answer with stable's; those of them to which they
  differ, by `serin_kind`; those of which one of both answers could not be looked at. All of the candidate's;
- `envoy_serin_reviewed`, `envoy_serin_reviewed_wrong`, of a deployment whose answers people look at: answers of which
  somebody has said whether they are right; those of them that are wrong;
- `envoy_serin_answers`: answers that clients got, by the snapshot that the weights had chosen, and not
  those of the guard or the operator;
- `envoy_serin_answer_failures`: those that failed in the client's eyes.

All carry `serin_namespace`, `serin_model_deployment` and `serin_snapshot`. Those about attempts also carry
`serin_attempt`: `first`; `shield` when stable answered in the candidate's place; `unkeyed` when a sticky split did not
know the user. The last two are no fair sample, so evidence does not read them. Attempts, failures, rejections and the
sums carry `serin_slot`, the pod's place among those of its snapshot: how much the pods differ tells how far failures
are from independent. A place and not a name, so that series do not pile up as pods come and go.

A request that the client cancelled counts and is no failure. 4xx is no failure.

Of a connection that goes on as WebSocket its handshake counts, at the moment that it is answered: its end may be hours
away, and one that is closed in order looks like one whose process died.

A series appears with its first increment, never with 0. `envoy_cluster_membership_total`, with the same labels, is
there from the moment that Envoy knows the snapshot.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from serin.api.guard import FAILED, MARK, NOT_ASKED, PASSED
from serin.api.guard_agreement import DIFFERENCES, KEY, OUTCOME, Outcome, proof_of
from serin.api.guard_inputs import METADATA as INPUT
from serin.api.guard_inputs import STATE, Looked
from serin.api.guard_review import KEY as REVIEW_KEY
from serin.api.guard_review import VERDICT, Verdict, verdict_proof
from serin.api.json import JsonObject
from serin.routers.base import ClientSeries
from serin.routers.envoy.log_filters import (
    all_of,
    any_of,
    expression,
    flags,
    grpc_status,
    lasted,
    metadata_is,
    no_status,
    request_header,
    status_at_least,
    status_at_most,
    status_is_not,
    upgraded,
)
from serin.routers.envoy.routed_model import Agreement, Review, RoutedModel
from serin.routers.envoy.settings import EventStreams
from serin.routers.envoy.shape import set_header, typed
from serin.routers.envoy.streams import failed_in_order, is_no_stream, is_stream

METADATA: Final = "serin"  # filter metadata of an endpoint, read by the tags below and by the response headers
FIRST: Final = "first"
SHIELD: Final = "shield"
UNKEYED: Final = "unkeyed"
PAIR: Final = "+pair"  # behind the name of a route, by which the guard asks the candidate
SLOTS: Final = 16  # places that pods are told apart by; more pods than that share them

CLIENTS: Final = ClientSeries(
    answers="envoy_serin_answers{ {{.version}} }",
    failures="envoy_serin_answer_failures{ {{.version}} }",
    shielded='envoy_serin_attempts{ {{.version}}, serin_attempt="shield" }'
    ' - envoy_serin_failures{ {{.version}}, serin_attempt="shield" }',
    presence="envoy_cluster_membership_total{ {{.version}} }",
)

# Upper bounds in milliseconds, a factor of the square root of two apart: fine enough to see a latency that doubles.
BUCKETS: Final = (
    *(0.5, 1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 56, 80, 110, 160, 220, 320, 450, 640, 900),
    *(1300, 1800, 2500, 3600, 5000, 7000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000),
)

# UF: no connection. UC, UR: reset. UPE: broken answer.
_LOST_UPSTREAM: Final = ("UF", "UC", "UR", "UPE")
_STOOD_STILL: Final = "SI"
# An attempt that took longer than it may, or that stood still for as long. With a hedge that is no failure yet, only
# the reason for a second attempt.
_LATE: Final = ("UT", _STOOD_STILL)
# A copy of a request is ended by its cluster (clusters.py), of which its entry shows nothing but that no answer has
# begun. (One that has may be a stream.) A copy whose client goes before its request is complete ends like that too, and
# much sooner.
SHADOW_HEADER: Final = "x-serin-shadow"
SHADOWED: Final = set_header(SHADOW_HEADER, "true")
_COPY_MILLISECONDS: Final = 100
# A client's answer that had begun and broke off, or never came.
_LOST_DOWNSTREAM: Final = (*_LOST_UPSTREAM, *_LATE)
# Envoy takes an answer without a status for UNKNOWN, also one that its client gave up. One that has ended without is
# its server's mistake; of one that has not ended the last expression is an error, which counts as false.
_GRPC_ENDED: Final = " || ".join(
    (
        "'grpc-status' in response.headers",
        "'grpc-status' in response.trailers",
        "response.backend_latency > duration('0s')",
    )
)
_GRPC_FAILURES: Final = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")

# Requests that the version calls the client's mistake.
_GRPC_REJECTIONS: Final = (
    *("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED"),
    *("RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
)
_REJECTED: Final = all_of(status_at_least(400), status_at_most(499))

# Envoy's timers run by a clock that a busy worker reads late, so a time-out can come that much too early.
_TIMER_SHARE: Final = 0.1
_TIMER_SECONDS: Final = 1.0

# From the beginning of the entry. A stream of which no byte came counts with the time that it had lasted.
_TO_END: Final = "%DURATION%"
_TO_HEADERS: Final = "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ms)%"
_BODY: Final = {"command": "COMMON_DURATION", "param": "DS_RX_BEG:US_RX_BODY_BEG:ms"}
_TO_FIRST_BYTE: Final = f"%COALESCE({json.dumps({'operators': [_BODY, 'DURATION']})})%"

# A connection that goes on as WebSocket counts when it does (`upgraded`), and its end does not.
_NOT_UPGRADED: Final = status_is_not(101)

# What the guard said of an answer stands in its headers; what it said nothing of passed it by.
_MARKED: Final = f"'{MARK}' in response.headers && response.headers['{MARK}']"
_SUCCEEDED: Final = all_of(status_at_least(200), status_at_most(299))
_BY_GUARD: Final = {
    "checked": expression(f"{_MARKED} in ['{PASSED}', '{FAILED}']"),
    "bad_outputs": expression(f"{_MARKED} == '{FAILED}'"),
    "unchecked": all_of(
        _SUCCEEDED, expression(f"request.method == 'POST' && !({_MARKED} in ['{PASSED}', '{FAILED}', '{NOT_ASKED}'])")
    ),
}


# What the guard said of a request stands in its metadata; of what it said nothing, that passed it by.
def _looked(*states: Looked, or_not: bool = False) -> JsonObject:
    return any_of(*(metadata_is(INPUT, STATE, one, otherwise=or_not) for one in states))


_BY_INPUT_GUARD: Final = {
    "inputs_checked": _looked(Looked.PASSED, Looked.INVALID, Looked.REJECTED),
    "invalid_inputs": _looked(Looked.INVALID, Looked.REJECTED),
    "inputs_unchecked": all_of(expression("request.method == 'POST'"), _looked(Looked.UNCHECKED, or_not=True)),
}
_NOT_REJECTED: Final = _looked(*(one for one in Looked if one is not Looked.REJECTED), or_not=True)


def attempt_logs(model: RoutedModel, *, hedged: bool, guarded: bool = False) -> list[JsonObject]:
    """Loggers of attempts (the router filter's upstream_log). What only the listener's log knows of them is there."""
    tags, by_pod = _attempt_tags(model)
    lost = _LOST_UPSTREAM if hedged else (*_LOST_UPSTREAM, *_LATE)
    failed = [
        status_at_least(500),
        flags(*lost),
        _grpc_answered(*_GRPC_FAILURES),
        all_of(request_header(SHADOW_HEADER, {"exact": "true"}), no_status(), lasted(_COPY_MILLISECONDS)),
    ]
    # Of versions with different time-outs the shortest: no attempt of either is known to have had less.
    limits = [arm.serving.timeout for arm in model.arms if arm.serving.timeout]
    if hedged and limits:
        failed.append(all_of(no_status(), lasted(_surely(min(limits)))))
    logs = [
        _logger([_counter("attempts", by_pod)], only=_NOT_UPGRADED),
        _logger([_counter("failures", by_pod)], only=all_of(_NOT_UPGRADED, any_of(*failed))),
        _logger([_counter("rejections", by_pod)], only=any_of(_REJECTED, _grpc_answered(*_GRPC_REJECTIONS))),
        *(
            _logger([_sum("milliseconds_by_pod", by_pod, value)], histograms=[_duration(tags, value)], only=only)
            for value, only in ((_TO_END, all_of(_NOT_UPGRADED, is_no_stream())), (_TO_FIRST_BYTE, is_stream()))
        ),
    ]
    if hedged:
        logs.append(_logger([_counter("hedged", tags)], only=flags(*_LATE)))
    if guarded:
        logs += [_logger([_counter(name, by_pod)], only=only) for name, only in _BY_GUARD.items()]
    return logs


def _by_agreement(model: RoutedModel, agreement: Agreement) -> list[JsonObject]:
    """Loggers of what the guard says has come of comparisons, on routes that are named after the candidate."""
    tags = {**_tags(model), "serin_snapshot": "%ROUTE_NAME%"}
    proven = request_header(KEY, {"prefix": proof_of(agreement.uid)})

    def logger(name: str, outcomes: Sequence[Outcome], more: Mapping[str, str]) -> JsonObject:
        only = request_header(OUTCOME, {"safe_regex": {"regex": "|".join(outcomes)}})
        return _logger([_counter(name, {**tags, **more})], only=all_of(proven, only))

    return [
        logger("compared", (Outcome.SAME, *DIFFERENCES), {}),
        logger("disagreements", DIFFERENCES, {"serin_kind": f"%REQ({OUTCOME})%"}),
        logger("incomparable", (Outcome.UNREAD,), {}),
    ]


def _by_review(model: RoutedModel, review: Review) -> list[JsonObject]:
    """Loggers of what people say, on routes that are named after the version."""
    tags = {**_tags(model), "serin_snapshot": "%ROUTE_NAME%"}
    proven = request_header(REVIEW_KEY, {"prefix": verdict_proof(model.guard_key, review.uid)})
    told = all_of(proven, status_at_least(204), status_at_most(204))
    wrong = request_header(VERDICT, {"exact": Verdict.WRONG})
    return [
        _logger([_counter("reviewed", tags)], only=told),
        _logger([_counter("reviewed_wrong", tags)], only=all_of(told, wrong)),
    ]


def _of_clients(agreement: Agreement) -> JsonObject:
    """What is none of the guard's own requests: neither a copy, nor what it tells."""
    told = _without(KEY, proof_of(agreement.uid))
    return all_of(expression(f"!xds.route_name.endsWith('{PAIR}')"), told)


def _without(header: str, proof: str) -> JsonObject:
    """What does not have the header with that beginning."""
    told: JsonObject = {"name": header, "string_match": {"prefix": proof}, "invert_match": True}
    told["treat_missing_header_as_empty"] = True  # or what has no header is no match either
    return {"header_filter": {"header": told}}


def answer_logs(
    model: RoutedModel, *, guarded: bool = False, compared: bool = False, reviewed: bool = False
) -> list[JsonObject]:
    """Loggers of answers (the listener's access_log). Routes are named after the snapshot that the weights chose.

    Of attempts: those that went on as WebSocket, when they do; and those that failed after their headers in a way that
    the attempt's own entry does not show. Such an entry has no failure of its own, so none counts twice.
    """
    tags = {**_tags(model), "serin_snapshot": "%ROUTE_NAME%"}
    attempt, by_pod = _attempt_tags(model)
    later = [flags(_STOOD_STILL), *([failed_in_order()] if model.settings.event_streams is EventStreams.READ else [])]
    begun_well = all_of(status_at_least(200), status_at_most(499))
    failed_later = all_of(begun_well, any_of(*later))
    lost = all_of(status_at_least(200), flags(*_LOST_DOWNSTREAM))
    failed = any_of(status_at_least(500), lost, failed_later, _grpc_answered(*_GRPC_FAILURES))
    answered = any_of(upgraded(), status_at_least(200))
    agreement = model.agreement if compared else None
    review = model.review if reviewed else None
    clients = [_of_clients(agreement)] if agreement else []
    clients += [_without(REVIEW_KEY, verdict_proof(model.guard_key, review.uid))] if review else []
    inputs = _BY_INPUT_GUARD.items() if guarded else ()
    return [
        *(_logger([_counter(name, tags)], only=all_of(only, *clients)) for name, only in inputs),
        *(_by_agreement(model, agreement) if agreement else ()),
        *(_by_review(model, review) if review else ()),
        _logger([_counter("answers", tags)], only=all_of(answered, *([_NOT_REJECTED] if guarded else []), *clients)),
        _logger([_counter("answer_failures", tags)], only=all_of(failed, *clients)),
        _logger([_counter("failures", by_pod)], only=failed_later),
        _logger([_counter("attempts", by_pod)], histograms=[_duration(attempt, _TO_HEADERS)], only=upgraded()),
    ]


def stats_config() -> JsonObject:
    """`stats_config` of the bootstrap: labels, bucket bounds, and only the series that somebody reads.

    Envoy has some 200 series per cluster; 1,000 model deployments would cost Prometheus 400,000.
    """
    ours = r"^cluster\.[^/.]+/[^/.]+/[^/.+]+\.(membership_total|upstream_rq_total)$"
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


def _surely(seconds: float) -> int:
    """Milliseconds that an attempt which has timed out has surely lasted."""
    return max(round((seconds - min(_TIMER_SECONDS, _TIMER_SHARE * seconds)) * 1000), 1)


def _tags(model: RoutedModel) -> dict[str, str]:
    return {"serin_namespace": model.namespace, "serin_model_deployment": model.name}


def _host(field: str) -> str:
    return f"%UPSTREAM_METADATA({METADATA}:{field})%"


def _stat(name: str, tags: Mapping[str, str]) -> JsonObject:
    return {"name": name, "tags": [{"name": tag, "value_format": value} for tag, value in tags.items()]}


def _counter(name: str, tags: Mapping[str, str]) -> JsonObject:
    return {"stat": _stat(name, tags), "value_fixed": 1}


def _sum(name: str, tags: Mapping[str, str], value: str) -> JsonObject:
    return {"stat": _stat(name, tags), "value_format": value}


def _logger(
    counters: Sequence[JsonObject] = (), *, histograms: Sequence[JsonObject] = (), only: JsonObject
) -> JsonObject:
    """A stats logger. The shared scope keeps the counts when a listener is replaced; idle series are dropped."""
    config = {
        "stats_scope": {"prefix": "serin", "sharing_name": "serin", "enable_eviction": True},
        "counters": list(counters),
        "histograms": list(histograms),
    }
    logger = typed("envoy.access_loggers.stats", "envoy.extensions.access_loggers.stats.v3.Config", config)
    return {**logger, "filter": only}


def _grpc_answered(*statuses: str) -> JsonObject:
    """gRPC says 200 and puts its status into headers or trailers. Plain requests must not be read as gRPC's.

    Nor those of gRPC-Web, whose trailers are in the body.
    """
    grpc = {"safe_regex": {"regex": r"application/grpc(\+[^;]*)?(;.*)?"}}
    return all_of(request_header("content-type", grpc), grpc_status(*statuses), expression(_GRPC_ENDED))
