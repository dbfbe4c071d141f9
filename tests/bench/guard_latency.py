"""What the guard costs a request: latency with and without, through a real Envoy, and CPU of Envoy and of the guard.

    python -m tests.bench.guard_latency [rounds]

One Envoy and one guard; rounds without, with `spec.guard.output`, and with `spec.guard.record` of every answer
(observing: nobody waits for the guard) are interleaved, so that whatever else the machine does hits all of them. Client
and model server are in this process. Ratios within one run mean something, times do not.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import aiohttp

from serin.api.guard_record import Recorded, RecordGuard
from tests.integration.envoy_rig import model
from tests.integration.test_envoy_guard import GUARD, INFER, guarded

RATES = {50.0: 250, 500.0: 2_000}  # requests a second, and how many
RECORD = RecordGuard(GUARD.protocol, 100, (Recorded("score", "score", buckets=(0.25, 0.5, 0.75)),))
TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def send(client: aiohttp.ClientSession, url: str, rate: float, count: int) -> list[float]:
    """Milliseconds of each request, on time whether or not earlier ones were answered."""
    found: list[float] = []

    async def one() -> None:
        began = time.perf_counter()
        async with client.post(url, data=b"{}") as response:
            await response.read()
            assert response.status == 200
        found.append((time.perf_counter() - began) * 1000)

    started, tasks = time.monotonic(), []
    for number in range(count):
        await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    return found


async def main(rounds: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        async with guarded(Path(folder), weight=0) as it:
            assert it.it.envoy.process is not None
            pids = {"Envoy": it.it.envoy.process.pid, "guard": it.process.pid}
            plain = replace(model(it.it.port, (it.it.stable,)), guard=None)
            url = it.it.url + INFER
            kinds = {
                "without": plain,
                "outputs": replace(plain, guard=GUARD),
                "observing": replace(plain, record=RECORD),
            }
            times: dict[tuple[float, str], list[float]] = {}
            cost: dict[tuple[float, str, str], float] = {}
            for _ in range(rounds):
                for rate, count in RATES.items():
                    for kind, wanted in kinds.items():
                        await it.route(wanted)
                        await send(it.it.client, url, 50.0, 25)
                        before = {name: cpu(pid) for name, pid in pids.items()}
                        times.setdefault((rate, kind), []).extend(await send(it.it.client, url, rate, count))
                        for name, pid in pids.items():
                            key = rate, kind, name
                            cost[key] = cost.get(key, 0.0) + cpu(pid) - before[name]
    for rate, count in RATES.items():
        base = times[rate, "without"]
        for kind in kinds:
            found = times[rate, kind]
            p50, p99 = statistics.median(found), statistics.quantiles(found, n=100)[-1]
            used = ", ".join(f"{name} {cost[rate, kind, name] / (rounds * count) * 1000:.2f} ms" for name in pids)
            print(
                f"{rate:g}/s {kind:9} p50 {p50:.1f} ms ({p50 / statistics.median(base):.1f}), p99 {p99:.0f} ms "
                f"({p99 / statistics.quantiles(base, n=100)[-1]:.1f}); CPU a request: {used}"
            )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
