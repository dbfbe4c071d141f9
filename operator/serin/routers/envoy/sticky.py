"""A user keeps a version: the choice between a deployment's routes by a hash of the user in place of chance.

Envoy's matcher of consistent hashing holds when `hash(key, seed) % modulo >= threshold`. The snapshots take their turn
from the upper end of the hashes, stable last, so a share that grows only lowers a threshold: users move one way. Of
several arms each has a part of the hashes of its own, and stable the rest of every part. The hash is the same in every
process, so neither a restart nor another router pod moves anybody. The seed is made of the deployment and of the
split's salt, so that who got the candidate of one test does not get it in the next one as well.

A request without a key, or with an empty one, goes to stable, by a cluster of its own: it is none of those that were
shared out, so its attempts are labelled `unkeyed` and no evidence reads them. When the key is a cookie, its answer sets
one, and the client is in the test from its next request on. Envoy's matchers read no cookies, so a filter of the
listener first copies the cookie into a header of ours, and has the route chosen again.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from serin.api.json import JsonObject
from serin.api.split import Sticky
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.shape import typed

KEY_HEADER: Final = "x-serin-user"
_MODULO: Final = 10_000
_SCALE: Final = 100
_HEADER_INPUT: Final = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_HASHING: Final = "envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing"
_ROUTES: Final = "envoy.config.route.v3.RouteList"
_LUA: Final = "envoy.extensions.filters.http.lua.v3.Lua"
# The schema lets no cookie be called anything that ends a text in Lua. A cookie begins behind a semicolon and nowhere
# else: a pattern that may begin anywhere tries every place of whatever a client sends, which takes a thread of Envoy a
# minute for 50 KB.
_COOKIE_TO_HEADER: Final = """
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove("HEADER")
  for name, value in string.gmatch(";" .. (headers:get("cookie") or ""), ";%s*([^=;%s]+)=([^;]*)") do
    if name == "COOKIE" then
      headers:replace("HEADER", value)
      break
    end
  end
  handle:clearRouteCache()
end
"""


def matcher(
    model: RoutedModel,
    sticky: Sticky,
    shares: Iterable[tuple[int, JsonObject]],
    rules: Sequence[JsonObject],
    rest: JsonObject,
) -> JsonObject:
    """The matcher of a virtual host. `shares`: cumulative percent and route, in order; `rules` come before each.

    `rest`: the route of requests without a key.
    """
    matchers = [
        {"predicate": _predicate(model, sticky, below), "on_match": _action([*rules, route])} for below, route in shares
    ]
    return {"matcher_list": {"matchers": matchers}, "on_no_match": _action([*rules, rest])}


def key_header(sticky: Sticky) -> str:
    """The header that says who the user is."""
    return sticky.header or KEY_HEADER


def key_filters(sticky: Sticky | None) -> list[JsonObject]:
    """Filters of the listener that make the key a header."""
    if sticky is None or not sticky.cookie:
        return []
    code = _COOKIE_TO_HEADER.replace("HEADER", KEY_HEADER).replace("COOKIE", sticky.cookie)
    return [typed("key", _LUA, {"default_source_code": {"inline_string": code}})]


def new_cookie(sticky: Sticky) -> list[JsonObject]:
    """Headers of the answer to a client without a key."""
    if not sticky.cookie:
        return []
    value = f"{sticky.cookie}=%UNIQUE_ID%; Max-Age={sticky.ttl}; Path=/; HttpOnly; SameSite=Lax"
    return [{"header": {"key": "set-cookie", "value": value}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}]


def _predicate(model: RoutedModel, sticky: Sticky, below: int) -> JsonObject:
    given = typed("key", _HEADER_INPUT, {"header_name": key_header(sticky)})
    hashed = {"threshold": _MODULO - below * _SCALE, "modulo": _MODULO, "seed": _seed(model, sticky)}
    parts = (
        {"value_match": {"safe_regex": {"google_re2": {}, "regex": ".+"}}},
        {"custom_match": typed("hash", _HASHING, hashed)},
    )
    return {"and_matcher": {"predicate": [{"single_predicate": {"input": given, **part}} for part in parts]}}


def _seed(model: RoutedModel, sticky: Sticky) -> str:
    """64 bits, as JSON writes them."""
    said = f"{model.namespace}/{model.name}/{sticky.salt}"
    return str(int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big"))


def _action(routes: list[JsonObject]) -> JsonObject:
    return {"action": typed("route", _ROUTES, {"routes": routes})}
