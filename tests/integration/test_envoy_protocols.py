"""A version that speaks HTTP/2 beside one that speaks HTTP/1.1, through a real Envoy: each is spoken to as it wants."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from serin.api.json import JsonObject
from serin.api.serving import Protocol, Serving
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.settings import EnvoySettings, Shield
from tests.cluster.ports import free_port
from tests.integration.envoy_rig import DEPLOYMENT, NAMESPACE, Envoy, ModelServer, Rig, rig

# Not the snapshots that the rig begins with: one snapshot never speaks two protocols.
STABLE, CANDIDATE = "fraud-one", "fraud-two"
SPOKEN = {Protocol.HTTP1: Serving(), Protocol.HTTP2: Serving(Protocol.HTTP2)}
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


class Http2Front(Envoy):
    """A server that speaks HTTP/2 without TLS and nothing else: an Envoy of its own in front of a model server."""

    port: int

    async def start(self) -> "Http2Front":
        self.port = free_port()
        await super().start()
        return self

    def config(self) -> JsonObject:
        action = {"cluster": "behind", "timeout": "0s"}
        hosts = [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}]
        http = {
            "@type": f"type.googleapis.com/{MANAGER}",
            "stat_prefix": "front",
            "codec_type": "HTTP2",
            "route_config": {"virtual_hosts": hosts},
            "http_filters": [
                {
                    "name": "router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }
            ],
        }
        behind = {"endpoint": {"address": _address(self.xds_port)}}
        return {
            "admin": {"address": _address(self.admin_port)},
            "static_resources": {
                "listeners": [
                    {
                        "name": "front",
                        "address": _address(self.port),
                        "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
                    }
                ],
                "clusters": [
                    {
                        "name": "behind",
                        "load_assignment": {"cluster_name": "behind", "endpoints": [{"lb_endpoints": [behind]}]},
                    }
                ],
            },
        }


def _address(port: int) -> JsonObject:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@asynccontextmanager
async def speaking(folder: Path, server: ModelServer, protocol: Protocol) -> AsyncIterator[Endpoint]:
    """Where a model server is reached over a protocol."""
    if protocol is Protocol.HTTP1:
        yield server.endpoint
        return
    front = await Http2Front(folder, server.port, name=f"front-{server.name}").start()
    try:
        await front.live()
        yield Endpoint("127.0.0.1", front.port)
    finally:
        await front.stop()


@asynccontextmanager
async def two(folder: Path, stable: Protocol, candidate: Protocol) -> AsyncIterator[tuple[Rig, Arm, Arm]]:
    """A rig, and its two versions without traffic."""
    async with (
        rig(folder) as it,
        speaking(folder, it.stable, stable) as one,
        speaking(folder, it.candidate, candidate) as other,
    ):
        yield it, Arm(STABLE, 0, (one,), SPOKEN[stable]), Arm(CANDIDATE, 0, (other,), SPOKEN[candidate])


async def route(it: Rig, stable: str, *arms: Arm, shield: Shield = Shield.FAILURES) -> None:
    wanted = RoutedModel(NAMESPACE, DEPLOYMENT, it.port, EnvoySettings(shield=shield), stable, arms)
    it.xds.update([wanted])
    await it.served(wanted)


BOTH_WAYS = [(Protocol.HTTP1, Protocol.HTTP2), (Protocol.HTTP2, Protocol.HTTP1)]


@pytest.mark.parametrize(("before", "after"), BOTH_WAYS)
async def test_a_rollout_and_its_rollback_lose_no_request(tmp_path: Path, before: Protocol, after: Protocol) -> None:
    async with two(tmp_path, before, after) as (it, stable, candidate):
        await route(it, STABLE, replace(stable, weight=100))
        async with it.traffic() as seen:
            for weight in (0, 10, 50, 100):
                await route(it, STABLE, replace(stable, weight=100 - weight), replace(candidate, weight=weight))
                await it.send(100)
            await route(it, CANDIDATE, stable, replace(candidate, weight=100))
            await it.send(100)
            await route(it, CANDIDATE, replace(candidate, weight=100))
            # A person goes back: the earlier version gets everything, and is stable then.
            await route(it, CANDIDATE, stable, replace(candidate, weight=100))
            await route(it, CANDIDATE, replace(stable, weight=100), candidate)
            await it.send(100)
            await route(it, STABLE, replace(stable, weight=100), candidate)
            await route(it, STABLE, replace(stable, weight=100))
            await it.send(100)
        print(f"{before} to {after} and back: {dict(seen)}")
        assert seen["200"] == seen["sent"]
        assert min(seen[STABLE], seen[CANDIDATE]) > 100
        assert seen["shielded"] == 0


@pytest.mark.parametrize(("before", "after"), BOTH_WAYS)
async def test_stable_answers_what_the_candidate_fails(tmp_path: Path, before: Protocol, after: Protocol) -> None:
    async with two(tmp_path, before, after) as (it, stable, candidate):
        await route(it, STABLE, replace(stable, weight=50), replace(candidate, weight=50))
        it.candidate.error_share = 0.5
        seen = await it.send(400)
        first = {"serin_snapshot": CANDIDATE, "serin_attempt": "first"}
        failed = it.candidate.truth["failed"]
        print(f"{after} shielded by {before}: {dict(seen)}, candidate {dict(it.candidate.truth)}")
        assert seen["200"] == 400
        assert seen["shielded"] == failed > 50
        assert await it.envoy.count("envoy_serin_failures", **first) == failed
        assert await it.envoy.count("envoy_serin_attempts", serin_snapshot=STABLE, serin_attempt="shield") == failed
        assert await it.envoy.count("envoy_cluster_membership_total", serin_snapshot=CANDIDATE) == 1
        it.candidate.error_share = 0.0
        assert (await it.send(100))["200"] == 100


@pytest.mark.parametrize(("before", "after"), BOTH_WAYS)
@pytest.mark.parametrize("shield", [Shield.FAILURES, Shield.UNSENT])
async def test_stable_answers_for_a_candidate_that_is_gone(
    tmp_path: Path, before: Protocol, after: Protocol, shield: Shield
) -> None:
    async with two(tmp_path, before, after) as (it, stable, candidate):
        gone = replace(candidate, weight=50, endpoints=(Endpoint("127.0.0.1", free_port()),))
        await route(it, STABLE, replace(stable, weight=50), gone, shield=shield)
        seen = await it.send(200)
        assert seen["200"] == 200
        assert seen["shielded"] > 50


@pytest.mark.parametrize(("before", "after"), BOTH_WAYS)
async def test_without_a_shield_each_version_is_spoken_to_as_it_wants(
    tmp_path: Path, before: Protocol, after: Protocol
) -> None:
    async with two(tmp_path, before, after) as (it, stable, candidate):
        both = replace(stable, weight=50), replace(candidate, weight=50)
        await route(it, STABLE, *both, shield=Shield.OFF)
        it.candidate.error_share = 0.5
        seen = await it.send(200)
        assert seen["500"] == it.candidate.truth["failed"] > 10
        assert seen["shielded"] == 0
        assert seen["200"] == 200 - seen["500"]
