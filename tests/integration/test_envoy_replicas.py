"""Two replicas of the operator, a real Envoy at one of them: the other one knows what it has taken and refused."""

import asyncio
from dataclasses import replace
from pathlib import Path

import aiohttp

from serin.api.names import Key
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.endpoints import SERVICE_LABEL, Endpoint
from serin.routers.envoy.service_pods import XDS, ServicePods
from serin.routers.envoy.xds.server import XdsServer
from serin.routers.envoy.xds_peers import XdsPeers
from tests.cluster.ports import free_port
from tests.integration.envoy_rig import Rig, eventually, model, rig

SYSTEM = "serin-system"


def _cache(*addresses: str) -> ObjectCache:
    """What the watch shows of the replicas' Service."""
    cache = ObjectCache()
    metadata = {"namespace": SYSTEM, "name": "xds-1", "uid": "u", "resourceVersion": "1"}
    body = {
        "metadata": {**metadata, "labels": {SERVICE_LABEL: XDS}},
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }
    cache.put(kinds.ENDPOINT_SLICE, body)
    return cache


async def _leader(it: Rig) -> tuple[XdsServer, XdsPeers, list[Key]]:
    """Another replica on another address of the loopback, at the same port, with no Envoy of its own."""
    leader = XdsServer()
    await leader.start("127.0.0.2", it.xds_port)
    looks: list[Key] = []
    token = it.folder / "no-token"
    cache = _cache("127.0.0.1", "127.0.0.2", "127.0.0.3")  # nobody answers at the third
    return leader, XdsPeers(leader, ServicePods(cache, SYSTEM), it.xds_port, looks.append, token), looks


async def test_the_leader_knows_what_another_replicas_envoy_has_taken(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        leader, replicas, _ = await _leader(it)
        try:
            await it.route(25)
            assert leader.observe("shop", "fraud") is None
            async with aiohttp.ClientSession() as session:
                await replicas.ask(session)
            assert len(replicas.heard()) == 1
            assert list(replicas.serves("shop", "fraud").values()) == [it.xds.observe("shop", "fraud")]
            assert list(replicas.serves("shop", "other").values()) == [None]
        finally:
            await leader.stop()


async def test_a_refusal_at_another_replica_is_known_and_asks_for_a_look(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        leader, replicas, looks = await _leader(it)
        good = model(it.port, (it.stable,), (it.candidate,), 10)
        bad = model(free_port(), (it.stable,), name="bad")
        arms = (replace(bad.arms[0], endpoints=(Endpoint("not an address", 80),)),)
        asking = asyncio.create_task(replicas.run())
        try:
            it.xds.update([good, replace(bad, arms=arms)])

            async def looked() -> list[Key]:
                return looks

            await eventually(looked, bool)
            assert set(looks) == {bad.key}
            assert set(replicas.refused()) == {bad.key}
        finally:
            asking.cancel()
            await leader.stop()
