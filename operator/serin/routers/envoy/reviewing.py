"""Review, as Envoy takes part in it: which answers it shows to the guard, and how it counts what people say of them.

The filter is in the listener, as agreement's: it shows what clients asked and got, with the version that has answered.
It only looks (`observability_mode`): no client waits for it. Envoy draws a share of the requests that ask the model
by POST; of all others the guard hears nothing. Requests that the guard or the operator make are none of them.

What a person has said of an answer comes from the operator, once, to the clients' port of one router pod, with a header
that no client knows. The log counts it by the version whose route that is. Such a request reaches no model and is no
client's, so none of the other counters has it. A version that the router does not know any more has no such route.
"""

from collections.abc import Mapping
from typing import Final

import aiohttp

from serin.api.guard_agreement import KEY as AGREEMENT_KEY
from serin.api.guard_review import KEY, VERDICT, Verdict, reviewing, verdict_key, write_reviewing
from serin.api.json import JsonObject
from serin.routers.base import Told
from serin.routers.envoy.guarding import CLUSTER, INPUT_FILTER, PROCESSOR, settings_of
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.shape import any_of, typed

FILTER: Final = "serin-guard-review"
_SECONDS: Final = 5.0
_MATCHED: Final = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
_COMPOSITE: Final = "envoy.extensions.filters.http.composite.v3.Composite"
_EXECUTE: Final = "envoy.extensions.filters.http.composite.v3.ExecuteFilterAction"
_HEADER: Final = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_PER_ROUTE: Final = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
_SAID: Final = {one.value: one for one in (Told.COUNTED, Told.UNKNOWN_VERSION)}
_GONE: Final = "serin: no answer of this version is reviewed here: send the request without the header x-serin-review\n"


def review_filter(model: RoutedModel) -> list[JsonObject]:
    """The filter of the listener; none where nothing is reviewed."""
    if model.review is None:
        return []
    how = reviewing(f"{model.namespace}/{model.name}", model.review.uid, model.review.how)
    settings = settings_of(write_reviewing(how), model.guard_key)
    processor = {
        "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, "initial_metadata": settings},
        "observability_mode": True,
        "failure_mode_allow": True,
        "deferred_close_timeout": "1s",
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "STREAMED" if how.request else "NONE",
            "request_trailer_mode": "SKIP",
            "response_header_mode": "SEND",
            "response_body_mode": "STREAMED",
            "response_trailer_mode": "SKIP",
        },
    }
    share = {"default_value": {"numerator": model.review.how.share}}  # of a hundred
    drawn = {"typed_config": typed(FILTER, PROCESSOR, processor), "sample_percent": share}
    asked = [_has(":method", {"exact": "POST"}), *({"not_matcher": _has(one)} for one in (KEY, AGREEMENT_KEY))]
    matcher = {"predicate": {"and_matcher": {"predicate": asked}}, "on_match": {"action": typed("r", _EXECUTE, drawn)}}
    matched = {
        "extension_config": {"name": "composite", "typed_config": any_of(_COMPOSITE, {})},
        "xds_matcher": {"matcher_list": {"matchers": [matcher]}},
    }
    return [typed(FILTER, _MATCHED, matched)]


def verdict_routes(model: RoutedModel) -> list[JsonObject]:
    """The routes of what the operator tells, before all others."""
    if model.review is None:
        return []
    verdict = {"name": VERDICT, "string_match": {"safe_regex": {"regex": "|".join(Verdict)}}}
    keys = {arm.snapshot: verdict_key(model.guard_key, model.review.uid, arm.snapshot) for arm in model.arms}
    told = [
        _route(snapshot, [{"name": KEY, "string_match": {"exact": key}}, verdict], 204, Told.COUNTED)
        for snapshot, key in keys.items()
    ]
    found = [*told, _route("none", [{"name": KEY, "present_match": True}], 404, Told.UNKNOWN_VERSION, _GONE)]
    off = {INPUT_FILTER: any_of(_PER_ROUTE, {"disabled": True})} if model.inputs else {}
    return [{**one, "typed_per_filter_config": off} for one in found]


async def tell(address: str, port: int, headers: Mapping[str, str]) -> Told:
    """Tell a router pod what a person says. Takes some seconds at most."""
    host = f"[{address}]" if ":" in address else address
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.post(f"http://{host}:{port}/", headers=headers, allow_redirects=False) as answer,
        ):
            # Whoever has no such route yet passes it on to a model, which says something of its own.
            return _SAID.get(answer.headers.get(KEY, ""), Told.NOT_SENT)
    except aiohttp.ClientConnectorError:
        return Told.NOT_SENT
    except (aiohttp.ClientError, TimeoutError, OSError):
        return Told.PERHAPS


def _has(name: str, value: JsonObject | None = None) -> JsonObject:
    """A predicate of a header; without a value that it is there."""
    found = value or {"safe_regex": {"google_re2": {}, "regex": ".*"}}
    return {"single_predicate": {"input": typed("header", _HEADER, {"header_name": name}), "value_match": found}}


def _route(name: str, headers: list[JsonObject], status: int, said: Told, text: str = "") -> JsonObject:
    body = {"body": {"inline_string": text}} if text else {}
    header = {"header": {"key": KEY, "value": said.value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        "name": name,
        "match": {"prefix": "/", "headers": headers},
        "direct_response": {"status": status, **body},
        "response_headers_to_add": [header],
    }
