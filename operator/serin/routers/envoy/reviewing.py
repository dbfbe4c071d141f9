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
from serin.routers.envoy.guarding import drawn_filter, has_header, inputs_off, observing, settings_of
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.shape import set_header

FILTER: Final = "serin-guard-review"
_SECONDS: Final = 5.0
_ANYTHING: Final = {"safe_regex": {"google_re2": {}, "regex": ".*"}}
_SAID: Final = {one.value: one for one in (Told.COUNTED, Told.UNKNOWN_VERSION)}
_GONE: Final = "serin: no answer of this version is reviewed here: send the request without the header x-serin-review\n"


def review_filter(model: RoutedModel) -> list[JsonObject]:
    """The filter of the listener; none where nothing is reviewed."""
    if model.review is None:
        return []
    how = reviewing(f"{model.namespace}/{model.name}", model.review.uid, model.review.how)
    settings = settings_of(write_reviewing(how), model.guard_key)
    bodies = "STREAMED" if how.request else "NONE"
    modes = {"request_header_mode": "SEND", "request_body_mode": bodies, "request_trailer_mode": "SKIP"}
    own = [{"not_matcher": has_header(one, _ANYTHING)} for one in (KEY, AGREEMENT_KEY)]
    asked = [has_header(":method", {"exact": "POST"}), *own]
    return [drawn_filter(FILTER, observing(modes, settings), model.review.how.share, asked)]


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
    return [{**one, "typed_per_filter_config": inputs_off(model.inputs)} for one in found]


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


def _route(name: str, headers: list[JsonObject], status: int, said: Told, text: str = "") -> JsonObject:
    body = {"body": {"inline_string": text}} if text else {}
    return {
        "name": name,
        "match": {"prefix": "/", "headers": headers},
        "direct_response": {"status": status, **body},
        "response_headers_to_add": [set_header(KEY, said.value)],
    }
