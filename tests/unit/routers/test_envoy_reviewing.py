"""What Envoy is told for review: what it shows to the guard, and what becomes of what people say.

tests/integration/test_envoy_reviewing.py has a real Envoy and a real guard.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from serin.api.guard import Protocol
from serin.api.guard_keys import read_signed
from serin.api.guard_review import KEY, ReviewGuard, item_proof, read_written_reviewing, verdict_key
from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.base import Told
from serin.routers.envoy import router as envoy_router
from serin.routers.envoy.rendered import render
from serin.routers.envoy.reviewing import FILTER
from serin.routers.envoy.routed_model import Review, read_model
from serin.routers.envoy.router import EnvoyRouter
from tests.narratives.agreements import compared
from tests.narratives.reviews import GUARD
from tests.narratives.world import World
from tests.unit.routers.context import router_context
from tests.unit.routers.test_envoy_agreeing import IDLE, INSTALLED, WEIGHTED
from tests.unit.routers.test_envoy_guard import text

HOW = ReviewGuard(Protocol.JSON, 10, 60, ("a",), ("label",), 50, 3600.0)
REVIEWED = replace(IDLE, review=Review(HOW, "7f"))


def filters(listener: JsonObject) -> list[JsonObject]:
    found: list[JsonObject] = listener["filter_chains"][0]["filters"][-1]["typed_config"]["http_filters"]
    return found


def test_a_deployment_without_it_has_what_it_had() -> None:
    assert "review" not in text(render(IDLE, limits=INSTALLED))
    assert text(render(REVIEWED)) == text(render(IDLE))  # the chart takes the guard away


def test_a_share_of_what_clients_ask_is_shown_and_nobody_waits() -> None:
    [one] = [each for each in filters(render(REVIEWED, limits=INSTALLED).listener) if each["name"] == FILTER]
    [matcher] = one["typed_config"]["xds_matcher"]["matcher_list"]["matchers"]
    drawn = matcher["on_match"]["action"]["typed_config"]
    assert drawn["sample_percent"]["default_value"] == {"numerator": 10}
    processor = drawn["typed_config"]["typed_config"]
    assert processor["observability_mode"] is True
    assert processor["processing_mode"]["request_body_mode"] == "STREAMED"
    [told] = processor["grpc_service"]["initial_metadata"]
    found = read_written_reviewing(read_signed(b"", told["value"].encode()))
    assert (found.name, found.pause, found.proof) == ("shop/fraud", 60.0, item_proof("7f"))
    answers = replace(REVIEWED, review=Review(replace(HOW, request=()), "7f"))
    assert '"request_body_mode":"NONE"' in json.dumps(
        filters(render(answers, limits=INSTALLED).listener), separators=(",", ":")
    )


def test_verdicts_of_known_versions_reach_no_model_and_others_are_not_here() -> None:
    routes = render(replace(WEIGHTED, review=REVIEWED.review), limits=INSTALLED).routes["virtual_hosts"][0]["routes"]
    own = [one for one in routes if any(head["name"] == KEY for head in one["match"].get("headers", ()))]
    assert [one["name"] for one in own] == ["a", "b", "none"]
    assert [one["direct_response"]["status"] for one in own] == [204, 204, 404]
    assert own[0]["match"]["headers"][0] == {"name": KEY, "string_match": {"exact": verdict_key(b"", "7f", "a")}}
    first = next(at for at, one in enumerate(routes) if "route" in one and "headers" not in one["match"])
    assert all(routes.index(one) < first for one in own)
    killed = render(replace(REVIEWED, killed=True), limits=INSTALLED).routes["virtual_hosts"][0]["routes"]
    assert [one["name"] for one in killed[:2]] == ["a", "b"]


def test_a_rollout_changes_no_listener() -> None:
    models = (REVIEWED, replace(WEIGHTED, agreement=None, review=REVIEWED.review))
    assert len({json.dumps(render(one, limits=INSTALLED).listener, sort_keys=True) for one in models}) == 1


def test_it_is_read_of_the_spec_and_a_bad_one_changes_nothing() -> None:
    world = World()
    world.spec = compared("1") | {"guard": GUARD}
    world.run(20)
    body: Any = json.loads(json.dumps(world.body))
    body["status"]["router"] = {"envoy": {"port": 10001}}
    first = read_model(body, ()).model
    assert first is not None
    assert first.review is not None
    assert first.review.how.answer == ("label",)
    body["spec"]["guard"]["review"]["answer"] = ["sort(x)"]
    second = read_model(body, (), last=first)
    assert second.model is not None
    assert second.model.review == first.review
    assert "spec.guard.review.answer[0]" in second.problem


@pytest.mark.parametrize("key", [b"", b"k" * 32])
async def test_without_a_key_no_model_is_told_what_people_say(monkeypatch: pytest.MonkeyPatch, key: bytes) -> None:
    told: list[Mapping[str, str]] = []

    async def tell(_address: str, _port: int, headers: Mapping[str, str]) -> Told:
        told.append(headers)
        return Told.COUNTED

    monkeypatch.setattr(envoy_router, "tell", tell)
    cache, body = ObjectCache(), World().body
    body["status"] = {"router": {"envoy": {"port": 10001}}}
    cache.put(kinds.MODEL_DEPLOYMENT, body)
    router = EnvoyRouter(router_context(cache, "--guard-timeout", "250"))
    monkeypatch.setattr(router._pods, "ready", lambda _: ("127.0.0.1",))
    assert router._secret is not None
    router._secret.key = key
    found = await router.tell_verdict(("shop", "fraud"), "fraud-a", "wrong")
    assert (found, len(told)) == ((Told.COUNTED, 1) if key else (Told.NOT_SENT, 0))
