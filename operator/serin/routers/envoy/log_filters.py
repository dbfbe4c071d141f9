"""Filters of Envoy's access logs: what an entry must be for a logger to count it."""

from serin.api.json import JsonObject
from serin.routers.envoy.shape import typed


def any_of(*filters: JsonObject) -> JsonObject:
    """One of these."""
    return {"or_filter": {"filters": list(filters)}} if len(filters) > 1 else filters[0]


def all_of(*filters: JsonObject) -> JsonObject:
    """Each of these."""
    return {"and_filter": {"filters": list(filters)}} if len(filters) > 1 else filters[0]


def status_at_least(code: int) -> JsonObject:
    """An answer with this status or a higher one."""
    return {"status_code_filter": _compare("GE", code)}


def status_at_most(code: int) -> JsonObject:
    """An answer with this status or a lower one, or none."""
    return {"status_code_filter": _compare("LE", code)}


def status_is_not(code: int) -> JsonObject:
    """An answer with another status, or none."""
    return {"status_code_filter": _compare("NE", code)}


def no_status() -> JsonObject:
    """No answer has begun."""
    return status_at_most(0)


def lasted(milliseconds: int) -> JsonObject:
    """It took at least so long."""
    return {"duration_filter": _compare("GE", milliseconds)}


def flags(*names: str) -> JsonObject:
    """One of these response flags is set."""
    return {"response_flag_filter": {"flags": list(names)}}


def upgraded() -> JsonObject:
    """A connection that goes on as WebSocket, at the moment that it does."""
    return {"log_type_filter": {"types": ["DownstreamTunnelSuccessfullyEstablished"]}}


def request_header(name: str, value: JsonObject) -> JsonObject:
    """The request has a header that fits a StringMatcher."""
    return {"header_filter": {"header": {"name": name, "string_match": value}}}


def grpc_status(*names: str) -> JsonObject:
    """One of these gRPC statuses."""
    return {"grpc_status_filter": {"statuses": list(names)}}


def metadata(namespace: str, key: str) -> JsonObject:
    """The request's metadata has this key."""
    matcher = {"filter": namespace, "path": [{"key": key}], "value": {"present_match": True}}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": False}}


def metadata_is(namespace: str, key: str, value: str, *, otherwise: bool) -> JsonObject:
    """The request's metadata has this value; `otherwise`: what holds when it has none at all."""
    matcher = {"filter": namespace, "path": [{"key": key}], "value": {"string_match": {"exact": value}}}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": otherwise}}


def expression(text: str) -> JsonObject:
    """An expression in CEL over Envoy's attributes. An error counts as false."""
    name = "envoy.access_loggers.extension_filters.cel"
    message = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {"extension_filter": typed(name, message, {"expression": text})}


def _compare(operator: str, value: int) -> JsonObject:
    # Envoy wants a runtime key beside every number; nobody sets it.
    return {"comparison": {"op": operator, "value": {"default_value": value, "runtime_key": "serin.unset"}}}
