"""What many rollouts at once cost. Run by `make bench-scale`; prints a table.

Real are the API server with its controllers, the operator's process, and Prometheus, which scrapes an exporter with the
router's series of every version. Simulated are the pods (KWOK: ready when scheduled), the requests behind the counters,
and one Envoy that asks for every route over HTTP and takes it at once. All of that shares this machine's cores with the
operator, so its waiting times are upper bounds; its processor time is its own.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from aiohttp import web

from serin.api.json import JsonObject
from serin.api.status import read_state
from tests.cluster import launcher
from tests.cluster.local import ControlPlane
from tests.cluster.ports import free_port
from tests.cluster.rest import MERGE
from tests.integration.operator_process import Cluster, OperatorProcess, routing
from tests.integration.prometheus_server import PrometheusServer
from tests.integration.test_operator_life import ROUTER, router

SCRAPE: Final = 5.0  # seconds
RATE: Final = 50.0  # requests a second of each deployment
MEASURE: Final = 60.0  # seconds
WRITERS: Final = 8  # requests of users that are under way at once
STEPS: Final = [{"weight": 10, "bake": "1h"}]
AGE: Final = "serin_evidence_age_seconds"
BOUNDS: Final = ("5", "10", "25", "50", "100", "250", "500", "1000", "2500", "+Inf")


@dataclass(slots=True)
class Deployment:
    """What the API server has told of one: its weights, and what was counted for each version."""

    weights: dict[str, int] = field(default_factory=dict)
    counted: dict[str, float] = field(default_factory=dict)
    healthy: bool = False


class Fleet:
    """All deployments, as a watch tells of them; and the router's counters of their requests."""

    def __init__(self, cluster: Cluster, control_plane: ControlPlane) -> None:
        self.namespace, self._control_plane = cluster.shop, control_plane
        self.deployments: dict[str, Deployment] = {}
        self._last = time.monotonic()

    @property
    def healthy(self) -> int:
        return sum(one.healthy for one in self.deployments.values())

    @property
    def asked(self) -> int:
        """Deployments whose candidate has traffic."""
        return sum(len(one.weights) > 1 for one in self.deployments.values())

    async def watch(self) -> None:
        """Follow the ModelDeployments until cancelled."""
        async for body in watched(self._control_plane, self.namespace):
            self._take(body)

    def _take(self, body: JsonObject) -> None:
        known = self.deployments.setdefault(body["metadata"]["name"], Deployment())
        state = read_state(body.get("status") or {})
        known.weights = {name: weight for name, weight in state.split.weights.items() if weight}
        known.healthy = not state.rollout and bool(state.stable)

    def page(self) -> str:
        """The router's metrics page: one per cent of the requests fail."""
        now, lines = time.monotonic(), ["envoy_server_uptime 100000"]
        passed, self._last = now - self._last, now
        for name, one in list(self.deployments.items()):
            for snapshot, weight in one.weights.items():
                total = one.counted[snapshot] = one.counted.get(snapshot, 0.0) + passed * RATE * weight / 100
                labels = (
                    f'serin_namespace="{self.namespace}",serin_model_deployment="{name}",'
                    f'serin_snapshot="{snapshot}",serin_attempt="first"'
                )
                lines.append(f"envoy_cluster_membership_total{{{labels}}} 2")
                for pod in (0, 1):
                    lines.append(f'envoy_serin_attempts{{{labels},serin_slot="{pod}"}} {int(total / 2)}')
                    lines.append(f'envoy_serin_failures{{{labels},serin_slot="{pod}"}} {int(total / 200)}')
                for place, bound in enumerate(BOUNDS):
                    share = min(1.0, 0.3 + 0.1 * place)
                    lines.append(f'envoy_serin_milliseconds_bucket{{{labels},le="{bound}"}} {int(total * share)}')
        return "\n".join(lines) + "\n"


async def watched(control_plane: ControlPlane, namespace: str) -> AsyncIterator[JsonObject]:
    """The ModelDeployments of a namespace as they are, and then each as it changes."""
    words = f"--kubeconfig={control_plane.kubeconfig} get md -n {namespace} --watch -o json --output-watch-events"
    process = await asyncio.create_subprocess_exec(
        *control_plane.kubectl_command(), *words.split(), stdout=subprocess.PIPE, limit=2**26
    )
    assert process.stdout is not None
    decoder, text = json.JSONDecoder(), ""
    try:
        while part := await process.stdout.read(2**20):
            text += part.decode()
            while text := text.lstrip():
                try:
                    event, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:]
                yield event["object"]
    finally:
        process.kill()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Times in seconds."""

    what: str
    deployments: int
    until: float  # all were healthy, or all candidates had traffic
    cpu: float  # of the operator, seconds a minute
    memory: float  # of the operator, MiB, at the end
    tick: float
    look_milliseconds: float
    looks: float  # a minute
    status_writes: float  # a minute
    other_requests: float  # a minute
    queries: float  # a minute
    evidence: float  # its age at a look, 99 %
    load: float  # of the machine, 1 minute

    def line(self) -> str:
        """As Markdown."""
        cells = (
            self.what,
            f"{self.deployments:,}",
            f"{self.until:.0f} s",
            f"{self.cpu:.1f} s",
            f"{self.memory:.0f} MiB",
            _shown(self.tick, ".2f", "s"),
            _shown(self.look_milliseconds, ".1f", "ms"),
            f"{self.looks:.0f}",
            f"{self.status_writes:.0f}",
            f"{self.other_requests:.0f}",
            f"{self.queries:.0f}",
            _shown(self.evidence, ".0f", "s"),
            f"{self.load:.1f}",
        )
        return f"| {' | '.join(cells)} |"


def _quantile(cumulative: dict[float, float], share: float) -> float:
    """Of a histogram, by its counts up to each bound: straight lines between them, as Prometheus draws them."""
    bounds = sorted(cumulative)
    if not bounds or not cumulative[bounds[-1]]:
        return float("nan")
    wanted = share * cumulative[bounds[-1]]
    place = next(place for place, bound in enumerate(bounds) if cumulative[bound] >= wanted)
    lower = bounds[place - 1] if place else 0.0
    below = cumulative[lower] if place else 0.0
    if bounds[place] == float("inf"):
        return lower
    return lower + (bounds[place] - lower) * (wanted - below) / (cumulative[bounds[place]] - below)


def _shown(value: float, digits: str, unit: str) -> str:
    """Nothing where nothing was measured."""
    return f"{value:{digits}} {unit}" if np.isfinite(value) else ""


HEADER: Final = (
    "| | deployments | until all were so | CPU a minute | memory | one collection | one look | looks a minute"
    " | status writes a minute | other requests a minute | queries a minute | age of the evidence, 99 % | load |"
)


@contextmanager
def control_plane(folder: Path, deployments: int) -> Iterator[ControlPlane]:
    """A control plane whose simulated nodes have room for all pods."""
    cluster = launcher.start_control_plane(folder, nodes=2 + deployments * 5 // 1000)
    try:
        yield cluster
    finally:
        launcher.end(cluster)


@contextmanager
def prometheus(folder: Path, exporter: int) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes the exporter as a router."""
    job = f"{{job_name: router, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}"
    config = f"global: {{scrape_interval: {SCRAPE:g}s, scrape_timeout: {SCRAPE:g}s}}\nscrape_configs: [{job}]\n"
    server = PrometheusServer(folder, config).start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def exporting(fleet: Fleet, port: int) -> AsyncIterator[None]:
    """Serve the router's metrics."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=fleet.page())

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


class Meter:
    """Reads what the operator says of itself, and what the kernel says of its process."""

    def __init__(self, operator: OperatorProcess) -> None:
        self._operator = operator

    async def read(self) -> dict[str, float]:
        """Sums of its metrics by name; requests also by what they are."""
        _, text = await self._operator.page("metrics")
        found: dict[str, float] = {}
        for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
            found[name] = found.get(name, 0.0) + float(value)
            if name == f"{AGE}_bucket":
                found[labels] = float(value)
            if name == "serin_api_requests_total":
                has = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                kind = {"Lease": "lease", "ModelDeployment": "status"}.get(has["kind"], "other")
                kind = "watch" if has["verb"] == "watch" else kind
                found[f"requests {kind}"] = found.get(f"requests {kind}", 0.0) + float(value)
        return found

    async def row(self, what: str, fleet: Fleet, until: float) -> Row:
        """Measure for a minute."""
        before = await self.read()
        await asyncio.sleep(MEASURE)
        after = await self.read()

        def grown(name: str) -> float:
            return (after.get(name, 0.0) - before.get(name, 0.0)) * 60.0 / MEASURE

        def mean(name: str) -> float:
            times = grown(f"{name}_count")
            return grown(f"{name}_sum") / times if times else float("nan")

        bounds = {float(label[4:-1]): grown(label) for label in after if label.startswith("le=")}
        return Row(
            what=what,
            deployments=len(fleet.deployments),
            until=until,
            cpu=grown("process_cpu_seconds_total"),
            memory=after["process_resident_memory_bytes"] / 2**20,
            tick=mean("serin_tick_seconds"),
            look_milliseconds=1000.0 * mean("serin_reconcile_seconds"),
            looks=grown("serin_reconciles_total"),
            status_writes=grown("requests status"),
            other_requests=grown("requests other"),
            queries=grown("serin_prometheus_queries"),
            evidence=_quantile(bounds, 0.99),
            load=os.getloadavg()[0],
        )


async def until(what: str, count: Any, wanted: int, limit: float) -> float:
    """Seconds until `count()` reached `wanted`; after `limit` the rest is left behind, and said."""
    begun, told = time.monotonic(), 0.0
    while (now := count()) < wanted and time.monotonic() - begun < limit:
        if time.monotonic() - told > 10.0:
            print(f"{what}: {now} of {wanted} after {time.monotonic() - begun:.0f} s", file=sys.stderr)
            told = time.monotonic()
        await asyncio.sleep(0.5)
    print(f"{what}: {count()} of {wanted} after {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return time.monotonic() - begun


def write_version(cluster: Cluster, plane: ControlPlane, version: str, number: int) -> None:
    """Create a deployment, or give it another version: in one request, as a tool for GitOps does."""
    body = manifest(f"m{number:04}", version)
    if version == "1":
        cluster.create(body)
    else:
        change = {"spec": {"model": body["spec"]["model"]}}
        plane.rest.request("PATCH", plane.rest.path("md", cluster.shop, body["metadata"]["name"]), change, MERGE)


def manifest(name: str, version: str) -> JsonObject:
    """A deployment of this version."""
    container = {"name": "model", "image": "registry.test/model:1", "ports": [{"containerPort": 8080}]}
    spec = {
        "replicas": 2,
        "model": {"name": "m", "version": version},
        "template": {"spec": {"containers": [container]}},
        "strategy": {"canary": {"steps": STEPS}},
        "router": {"envoy": {}},
    }
    return {"apiVersion": "serin.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name}, "spec": spec}


async def measure(count: int, idle_only: bool, limit: float, folder: Path) -> list[Row]:
    """The rows of so many deployments: idle, and, unless `idle_only`, all in a rollout at once."""
    rows = []
    with control_plane(folder / "cluster", count) as plane:
        cluster, exporter = Cluster(plane), free_port()
        fleet = Fleet(cluster, plane)
        plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
        with prometheus(folder / "prometheus", exporter) as server:
            log = folder / "operator.log"
            operator = OperatorProcess(plane.kubeconfig, cluster, log, server.url, router_matchers="")
            try:
                await operator.wait_until_leading()
                async with exporting(fleet, exporter), routing(operator, ROUTER), asyncio.TaskGroup() as group:
                    watching = group.create_task(fleet.watch())
                    meter = Meter(operator)

                    async def apply(version: str) -> None:
                        with ThreadPoolExecutor(WRITERS) as writers:
                            loop = asyncio.get_running_loop()
                            write = partial(write_version, cluster, plane, version)
                            await asyncio.gather(*(loop.run_in_executor(writers, write, one) for one in range(count)))

                    applying = group.create_task(apply("1"))
                    took = await until("healthy", lambda: fleet.healthy, count, limit)
                    await applying
                    await asyncio.sleep(20.0)
                    rows.append(await meter.row("idle", fleet, took))
                    if not idle_only:
                        applying = group.create_task(apply("2"))
                        took = await until("candidates with traffic", lambda: fleet.asked, count, limit)
                        await applying
                        await asyncio.sleep(20.0)
                        rows.append(await meter.row("all in a rollout", fleet, took))
                    watching.cancel()
            finally:
                await operator.stop()
    return rows


def table(rows: list[Row]) -> str:
    """All rows, as Markdown."""
    return "\n".join((HEADER, "|---|" + "---:|" * (HEADER.count("|") - 2), *(one.line() for one in rows)))


def main() -> None:
    """Measure each number of deployments in a cluster of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deployments", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--idle", type=int, nargs="*", default=[], help="numbers of deployments that only serve")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds to wait for all (default: %(default)s)")
    options = parser.parse_args()
    rows: list[Row] = []
    for count in (*options.deployments, *options.idle):
        with TemporaryDirectory(prefix="serin-scale-") as folder:
            rows += asyncio.run(measure(count, count in options.idle, options.limit, Path(folder)))
    print(table(rows))


if __name__ == "__main__":
    main()
