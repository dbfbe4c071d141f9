"""What others write to the objects that Serin keeps: what is theirs causes no write, what is Serin's is put back.

However often somebody writes again, Serin's answers become rarer, and the status says who writes against whom.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serin.api.json import JsonObject
from tests.integration.operator_process import Cluster, operating, routing, until
from tests.integration.proxy import Proxy
from tests.integration.test_operator_life import ROUTER, router

pytestmark = pytest.mark.control_plane

SNAPSHOT, CLIENTS, SLICE, NAME = "snapshot", "fraud", "fraud-router", "fraud"
_PORT = {"name": "extra", "port": 9090, "protocol": "TCP", "targetPort": 9090}
_META = {"metadata": {"labels": {"team": "risk"}, "annotations": {"example.com/note": "mine"}}}
# Kind, name, patch and its type. Nothing of it is a field that Serin sets.
FOREIGN: dict[str, tuple[str, str, JsonObject]] = {
    "clients' Service: labels": ("service", CLIENTS, _META),
    "clients' Service: a port": ("service", CLIENTS, {"spec": {"ports": [_PORT]}}),
    "clients' Service: its own fields": (
        "service",
        CLIENTS,
        {"spec": {"sessionAffinity": "ClientIP", "type": "NodePort", "externalTrafficPolicy": "Local"}},
    ),
    "clients' Service: a field of our port": (
        "service",
        CLIENTS,
        {"spec": {"ports": [{"port": 8080, "protocol": "TCP", "appProtocol": "kubernetes.io/ws"}]}},
    ),
    "endpoints: labels": ("endpointslice", SLICE, _META),
    "snapshot's Service: labels": ("service", SNAPSHOT, _META),
    "snapshot's Service: a port": ("service", SNAPSHOT, {"spec": {"ports": [_PORT]}}),
    "snapshot's Service: its own fields": ("service", SNAPSHOT, {"spec": {"publishNotReadyAddresses": True}}),
    "Deployment: labels": ("deployment", SNAPSHOT, _META),
    "Deployment: its own fields": (
        "deployment",
        SNAPSHOT,
        {"spec": {"minReadySeconds": 1, "progressDeadlineSeconds": 700, "paused": True}},
    ),
    "ModelSnapshot: labels": ("msnap", SNAPSHOT, _META),
    "ModelDeployment: labels": ("md", NAME, _META),
}
# Writes against Serin's own fields, and how many writes put one back: a pod template takes two, and its stamp.
OURS: dict[str, tuple[str, str, JsonObject]] = {
    "clients' Service: our port": (
        "service",
        CLIENTS,
        {"spec": {"ports": [{"port": 8080, "protocol": "TCP", "name": "renamed"}]}},
    ),
    "clients' Service: our label": ("service", CLIENTS, {"metadata": {"labels": {"serin.dev/model-deployment": None}}}),
    "endpoints: another address": ("endpointslice", SLICE, {"endpoints": [{"addresses": ["10.9.9.9"]}]}),
    "snapshot's Service: the selector": ("service", SNAPSHOT, {"spec": {"selector": {"serin.dev/snapshot": "x"}}}),
    "Deployment: replicas": ("deployment", SNAPSHOT, {"spec": {"replicas": 3}}),
    "Deployment: our label": ("deployment", SNAPSHOT, {"metadata": {"labels": {"serin.dev/role": "mine"}}}),
    "Deployment: the strategy": (
        "deployment",
        SNAPSHOT,
        {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}},
    ),
    "Deployment: our annotation": (
        "deployment",
        SNAPSHOT,
        {"metadata": {"annotations": {"serin.dev/template-hash": None}}},
    ),
    "Deployment: the pod template": (
        "deployment",
        SNAPSHOT,
        {"spec": {"template": {"metadata": {"annotations": {"example.com/injected": "yes"}}}}},
    ),
}
PATHS = {"service": "services", "endpointslice": "endpointslices", "deployment": "deployments"}


def _patch(cluster: Cluster, snapshot: str, kind: str, name: str, patch: JsonObject) -> None:
    named = snapshot if name == SNAPSHOT else name
    how = "strategic" if kind in ("service", "deployment") else "merge"
    cluster.kubectl("patch", kind, named, f"--type={how}", "-p", json.dumps(patch))


async def _writes_after(proxy: Proxy, act: Callable[[], Any], seconds: float = 3.0) -> dict[tuple[str, str], int]:
    """Serin's writes but the Lease's and Events, from when `act` is done until none came for so long (15 s at most)."""
    before = _writes(proxy)
    await asyncio.to_thread(act)
    for _ in range(int(15 / seconds)):
        seen = _writes(proxy)
        await asyncio.sleep(seconds)
        if _writes(proxy) == seen:
            break
    return {key: more for key, times in _writes(proxy).items() if (more := times - before.get(key, 0))}


def _writes(proxy: Proxy) -> dict[tuple[str, str], int]:
    return {key: times for key, times in proxy.writes().items() if "/leases" not in key[1] and "/events" not in key[1]}


async def _serving(cluster: Cluster) -> str:
    await until(lambda: cluster.make_pods_ready() and "stable" in cluster.status(), what="fraud serving")
    return str(cluster.status()["stable"]["snapshot"])


@pytest.mark.usefixtures("simulated_nodes")
async def test_what_others_add_to_any_object_causes_no_write_and_what_they_change_is_put_back_once(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
    async with operating(control_plane, cluster, tmp_path) as (operator, proxy), routing(operator, ROUTER):
        cluster.deploy()
        snapshot = await _serving(cluster)
        await _writes_after(proxy, lambda: None)
        for case, one in FOREIGN.items():
            caused = await _writes_after(proxy, partial(_patch, cluster, snapshot, *one), 1.5)
            assert caused == {}, case
        for case, one in OURS.items():
            caused = await _writes_after(proxy, partial(_patch, cluster, snapshot, *one), 3.0)
            object_writes = sum(times for (_, path), times in caused.items() if f"/{PATHS[one[0]]}/" in path)
            assert 1 <= object_writes <= 2, (case, caused)
            assert sum(caused.values()) <= 5, (case, caused)


@pytest.mark.usefixtures("simulated_nodes")
@pytest.mark.parametrize("case", ["clients' Service: our port", "Deployment: the pod template", "Deployment: replicas"])
async def test_a_fight_is_bounded_and_told(case: str, control_plane: Any, cluster: Cluster, tmp_path: Path) -> None:
    """Another controller wants a field of Serin's, and writes it whenever it is not as it says."""
    async with operating(control_plane, cluster, tmp_path) as (operator, proxy):
        cluster.deploy()
        snapshot = await _serving(cluster)
        await _writes_after(proxy, lambda: None)
        stop = asyncio.Event()

        async def other_controller() -> int:
            times = 0
            while not stop.is_set():
                await asyncio.to_thread(_patch, cluster, snapshot, *OURS[case])
                times += 1
            return times

        before, started = sum(_writes(proxy).values()), time.monotonic()
        fighting = asyncio.create_task(other_controller())
        await until(lambda: _contested(cluster), what="the condition")
        await asyncio.sleep(max(0.0, 20.0 - (time.monotonic() - started)))
        stop.set()
        times, lasted = await fighting, time.monotonic() - started
        # Five answers at once, then one after 1, 2, 4, 8 ... s; each may be two writes and two of the status.
        answers = 6 + math.log2(lasted + 1)
        assert sum(_writes(proxy).values()) - before <= 4 * answers, times
        kind = OURS[case][0]
        message = _contested(cluster)
        assert message.startswith(f"something else changes {kind.capitalize()} ")
        assert f"get {kind} " in message
        await until(lambda: "Overwritten" in cluster.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}"))
        assert not await operator.metric("serin_reconciles_total", outcome="failed")


def _contested(cluster: Cluster) -> str:
    conditions = cluster.status().get("conditions") or ()
    return next((str(one["message"]) for one in conditions if one["type"] == "Contested"), "")
