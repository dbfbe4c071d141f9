"""What a router pod carries: Envoy's memory by the number of deployments, and its CPU and latency for a request.

    python -m tests.bench.router [rounds]

A real Envoy with the configuration that Serin writes, and what it costs to ask the model server without it, in turn.
Client and model server are in this process. CPU is Envoy's own; latencies mean something beside each other alone.
"""

import asyncio
import logging
import statistics
import sys
import tempfile
from pathlib import Path

import structlog

from serin.routers.envoy.routed_model import RoutedModel
from tests.bench.guard_latency import TICKS, cpu, send
from tests.cluster.ports import free_port
from tests.integration.envoy_rig import Rig, eventually, model, rig

DEPLOYMENTS = (1, 100, 300, 1000)
RATES = {50.0: 250, 500.0: 2_000, 1000.0: 4_000}  # requests a second, and how many
GIBIBYTE = 2**30


async def known(it: Rig, wanted: RoutedModel) -> None:
    """Wait until Envoy has a deployment's route, however long the others take."""

    async def split() -> object:
        return it.xds.observe(wanted.namespace, wanted.name)

    await eventually(split, lambda found: found == wanted.split(), seconds=120)


async def memory(it: Rig) -> None:
    """Print Envoy's memory with so many deployments, and with the most of them all in a rollout."""
    ports = [free_port() for _ in range(max(DEPLOYMENTS))]
    # Envoy gives no memory back, so the most comes last.
    for count, candidate in [*((one, ()) for one in DEPLOYMENTS), (DEPLOYMENTS[-1], (it.candidate,))]:
        wanted = [
            model(port, (it.stable,), candidate, 10 if candidate else 0, name=f"m{number:04}")
            for number, port in enumerate(ports[:count])
        ]
        it.xds.update(wanted)
        await known(it, wanted[-1])
        await asyncio.sleep(3.0)
        what = "in a rollout" if candidate else "serve"
        print(f"{count:5} deployments {what:12} {it.envoy.memory() / 2**20:.0f} MiB", flush=True)


async def load(it: Rig, rounds: int) -> None:
    """Print what a request costs through Envoy, and without."""
    assert it.envoy.process is not None
    await it.route(0)
    urls = {"direct": f"http://127.0.0.1:{it.stable.port}/predict", "router": f"{it.url}/predict"}
    times: dict[tuple[float, str], list[float]] = {}
    spent = dict.fromkeys(RATES, 0.0)
    for _ in range(rounds):
        for rate, count in RATES.items():
            for way, url in urls.items():
                await send(it.client, url, 50.0, 25)
                before = cpu(it.envoy.process.pid)
                times.setdefault((rate, way), []).extend(await send(it.client, url, rate, count))
                if way == "router":
                    spent[rate] += cpu(it.envoy.process.pid) - before
    for rate, count in RATES.items():
        direct, routed = times[rate, "direct"], times[rate, "router"]
        p50, p99 = (
            statistics.quantiles(routed, n=100)[one] - statistics.quantiles(direct, n=100)[one] for one in (49, 98)
        )
        each = spent[rate] / (rounds * count)
        print(
            f"{rate:g}/s: {p50:+.1f} ms p50, {p99:+.1f} ms p99, CPU {each * 1000:.2f} ms a request: "
            f"{1 / max(each, 1 / TICKS / count):,.0f} a second for one core"
        )


async def main(rounds: int) -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        async with rig(Path(folder), max_heap=4 * GIBIBYTE) as it:
            await load(it, rounds)
            await memory(it)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
