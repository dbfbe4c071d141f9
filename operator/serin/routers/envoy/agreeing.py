"""Paired agreement, as Envoy takes part in it: what it shows to the guard, and what the guard asks and tells it.

Of stable's requests a share has a route of its own, and that route alone switches on a filter of the listener by which
the guard sees requests and answers. It only looks (`observability_mode`): no client waits for it. So the listener is
the same whether a rollout is under way or not, and what is not in the sample costs nothing. Envoy draws one number for
a request, for its route and for a mirror alike: the sample is a part of the mirror's, not more than that.

What the guard sends comes to the clients' port with a header that no client knows. With it a request goes to the
candidate, in the cluster of copies, whose limits and whose header of copies hold for it; or it tells what came of a
comparison, and the log counts that. Such a request is no client's, so none of the counters of clients' answers has it.
With the header and another value it goes nowhere: the rollout it was for is over, or it is a client's invention.
"""

from typing import Final

from serin.api.guard_agreement import KEY, OUTCOME, Pairing, key_of, write_pairing
from serin.api.json import JsonObject
from serin.api.split import Split
from serin.routers.envoy.clusters import LONGEST_COPY, copies_cluster
from serin.routers.envoy.guarding import FALLBACK_FILTER, PER_ROUTE, PROCESSOR, inputs_off, observing, settings_of
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.series import PAIR
from serin.routers.envoy.shape import any_of, typed

POST: Final = {"name": ":method", "string_match": {"exact": "POST"}}
_FILTER: Final = "serin-guard-agreement"
_TOLD: Final = {"name": OUTCOME, "present_match": True}
_GONE: Final = "serin: nothing is compared here: send the request without the header x-serin-agreement\n"


def watching_filter() -> JsonObject:
    """The filter of the listener, off but on routes that switch it on."""
    # A route says the rest (`watching`).
    modes = {"request_header_mode": "SEND", "request_body_mode": "STREAMED", "request_trailer_mode": "SKIP"}
    return {**typed(_FILTER, PROCESSOR, observing(modes)), "disabled": True}


def watched_share(model: RoutedModel, split: Split) -> int:
    """Percent of all requests that stable answers and the guard sees."""
    candidate, stable = model.arm(model.compared()), model.arm(model.stable)
    if model.agreement is None or candidate is None or not candidate.endpoints or stable is None:
        return 0
    share = model.agreement.how.share
    return min(share, split.mirror.percent) if split.mirror else share


def watching(model: RoutedModel) -> JsonObject:
    """What a route says of filters, so that the guard is shown its requests, and compares."""
    candidate = model.arm(model.compared())
    assert model.agreement is not None
    assert model.stable is not None
    assert candidate is not None
    pairing = Pairing(
        protocol=model.agreement.how.protocol,
        compare=model.agreement.how.compare,
        name=f"{model.namespace}/{model.name}",
        port=model.port,
        key=key_of(model.agreement.uid, candidate.snapshot),
        stable=model.stable,
        candidate=candidate.snapshot,
        seconds=candidate.serving.timeout or LONGEST_COPY,
    )
    settings = settings_of(write_pairing(pairing), model.guard_key)
    return {_FILTER: any_of(PER_ROUTE, {"overrides": {"grpc_initial_metadata": settings}})}


def guards_routes(model: RoutedModel, buffer: int) -> list[JsonObject]:
    """The routes of what the guard sends, before all others. `buffer`: bytes of a request that are kept."""
    if model.agreement is None:
        return []
    found = [_route("none", [{"name": KEY, "present_match": True}], _answer(404, _GONE))]
    candidate = model.arm(model.compared())
    if candidate is not None and candidate.endpoints:
        key = {"name": KEY, "string_match": {"exact": key_of(model.agreement.uid, candidate.snapshot)}}
        asked = {"cluster": copies_cluster(model, candidate.snapshot), "timeout": "0s", "idle_timeout": "0s"}
        copied = {"route": asked, "request_body_buffer_limit": buffer}
        told = _route(candidate.snapshot, [key, _TOLD], _answer(204))
        found = [told, _route(candidate.snapshot + PAIR, [key, POST], copied), *found]
    off = inputs_off(model.inputs)
    if model.guard and model.guard.fallback:  # or it would be compared as the candidate's answer
        off[FALLBACK_FILTER] = any_of("envoy.config.route.v3.FilterConfig", {"disabled": True})
    return [{**one, "typed_per_filter_config": off} for one in found]


def _route(name: str, headers: list[JsonObject], action: JsonObject) -> JsonObject:
    return {"name": name, "match": {"prefix": "/", "headers": headers}, **action}


def _answer(status: int, text: str = "") -> JsonObject:
    body = {"body": {"inline_string": text}} if text else {}
    return {"direct_response": {"status": status, **body}}
