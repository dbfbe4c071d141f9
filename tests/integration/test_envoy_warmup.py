"""Slow start on a real Envoy: a new pod begins with less than its share, and a rollback is not slowed by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.integration.envoy_rig import CANDIDATE, STABLE, ModelServer, Rig, eventually, model, rig

WARMUP = 8.0


@asynccontextmanager
async def another(name: str) -> AsyncIterator[ModelServer]:
    server = await ModelServer(name).start()
    try:
        yield server
    finally:
        await server.stop()


async def route(it: Rig, stable: tuple[ModelServer, ...], weight: int) -> None:
    wanted = replace(model(it.port, stable, (it.candidate,), weight), warmup=WARMUP)
    it.xds.update([wanted])
    await it.served(wanted)


async def test_a_new_pod_among_older_ones_begins_with_about_half_of_its_share(tmp_path: Path) -> None:
    async with rig(tmp_path) as it, another(STABLE) as new:
        await route(it, (it.stable,), 0)
        await it.send(20)
        await asyncio.sleep(WARMUP + 0.5)  # now this one is old
        old = it.stable.truth["received"]
        await route(it, (it.stable, new), 0)
        await it.send(200)
        share = new.truth["received"] / (new.truth["received"] + it.stable.truth["received"] - old)
        assert 0.2 < share < 0.45  # a third at first, half when it is warm


async def test_stables_pods_take_everything_back_at_once(tmp_path: Path) -> None:
    """All of them are as old, also those that have had no request for a while."""
    async with rig(tmp_path) as it, another(STABLE) as other:
        await route(it, (it.stable, other), 0)
        await it.send(20)
        await route(it, (it.stable, other), 100)
        assert (await it.send(50))[CANDIDATE] == 50
        before = it.stable.truth["received"], other.truth["received"]
        await route(it, (it.stable, other), 0)
        seen = await it.send(400)
        assert (seen[STABLE], seen["200"]) == (400, 400)
        shares = [one.truth["received"] - had for one, had in zip((it.stable, other), before, strict=True)]
        assert min(shares) > 140


async def test_times_are_summed_by_pod(tmp_path: Path) -> None:
    """How much a version's pods differ is read from these sums (metrics/pods.py)."""
    async with rig(tmp_path) as it, another(STABLE) as slow:
        slow.delay = 0.2
        await route(it, (it.stable, slow), 0)
        await it.send(40)
        pods: list[tuple[float, float]] = []

        async def counted() -> float:
            pods.clear()
            for slot in ("0", "1"):
                labels = {"serin_snapshot": STABLE, "serin_attempt": "first", "serin_slot": slot}
                pods.append(
                    (
                        await it.envoy.count("envoy_serin_attempts", **labels),
                        await it.envoy.count("envoy_serin_milliseconds_by_pod", **labels),
                    )
                )
            return sum(requests for requests, _ in pods)

        await eventually(counted, lambda found: found == 40)
        means = sorted(total / requests for requests, total in pods)
        assert means[0] < 150
        assert 195 < means[1] < 1000
