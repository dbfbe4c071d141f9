"""How long from a candidate's fault until no request reaches it, and where the time goes. Run by `make bench-react`.

Real are the API server, the operator's process, Prometheus, Envoy, the requests, and the model servers that fail.
Simulated are the pods alone: they are objects that this program makes ready, and all have the address of this machine.
Two deployments run side by side, one with the shield and one without. All of it shares this machine's cores.

Writes docs/react-bench.md. "Enough" is the moment at which the engine would have decided had it seen every request at
once: the samples of Prometheus are judged again, and from the last sample before on, request by request.
"""

import argparse
import asyncio
import json
import logging
import math
import os
import random
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp
from aiohttp import web

from serin.analysis import ratio
from serin.analysis.types import Arm, Policy, RatioTick
from serin.api.json import JsonObject
from serin.api.parse import parse_model_deployment
from serin.api.state import State
from serin.api.status import read_state
from serin.api.times import parse_rfc3339, rfc3339_whole
from serin.api.verdicts import Verdict
from serin.evaluation.policies import policies
from serin.routers.envoy.bootstrap import METRICS_PORT
from tests.bench import analysis_alternatives
from tests.bench.scale import control_plane, watched
from tests.cluster.local import ControlPlane
from tests.integration.envoy_rig import Envoy
from tests.integration.operator_process import Cluster, OperatorProcess
from tests.integration.prometheus_server import PrometheusServer
from tests.integration.proxy import Proxy, kubeconfig_through, proxied
from tests.integration.test_operator_life import ROUTER, router

SCRAPE: Final = 1.0  # seconds
RATE: Final = 50.0  # requests a second of each deployment
WEIGHT: Final = 10  # of the candidate, in percent
BASE: Final = 0.01  # the share of requests that fail anyway
KINDS: Final = (1.0, 0.5, 0.2)  # the share of the candidate's requests that fail after the fault
SHIELDS: Final = ("Failures", "Off")
HEALTHY: Final = (8.0, 12.0)  # seconds with traffic before the fault, at random, so that no clock is in step with it
PATIENCE: Final = 120.0  # seconds for whatever is waited for
NODE: Final = "this-machine"
MERGE: Final = {"Content-Type": "application/merge-patch+json"}
FAILING: Final = (Verdict.FAIL_MINOR, Verdict.FAIL_CRITICAL)

Counts = tuple[float, float, float, float]  # requests and failures of the candidate, and of stable, so far


class Stopwatch(Proxy):
    """Notes when each write of a status began and ended, in unix seconds, by the deployment's name."""

    def __init__(self) -> None:
        super().__init__()
        self.took: dict[str, list[tuple[float, float]]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        began = time.time()
        try:
            return await super().handle(request)
        finally:
            if request.method == "PATCH" and "/modeldeployments/" in request.path and request.path.endswith("/status"):
                self.took.setdefault(request.path.split("/")[-2], []).append((began, time.time()))


@dataclass
class Model:
    """A model server. `seen`: when each request came (unix seconds), and whether it failed."""

    address: str
    failing: float = BASE
    seen: list[tuple[float, bool]] = field(default_factory=list)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, 0).start()
        self.port: int = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        await request.read()
        failed = random.random() < self.failing
        self.seen.append((time.time(), failed))
        return web.Response(status=500 if failed else 200)

    def failures(self, since: float, until: float) -> int:
        return sum(failed for at, failed in self.seen if since <= at <= until)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Moments in unix seconds; `counted` and `happened`: failures of the candidate since it began.

    `enough`, `scraped`: when enough had happened to decide, and the first scrape or reading after. `harmed`: clients'
    requests that failed since the fault although stable does not fail them.
    """

    share: float
    shield: str
    began: float
    enough: float
    scraped: float
    collected: float
    asked: float
    written: float
    taken: float
    counted: int
    happened: int
    harmed: int
    load: float
    alpha: float
    overdispersion: float


@dataclass
class Shop:
    """One deployment: its servers, its clients, and what the API server says of it."""

    name: str
    shield: str
    stable: Model
    candidate: Model
    body: JsonObject = field(default_factory=dict)
    answers: list[tuple[float, int]] = field(default_factory=list)  # when asked, and the status

    @property
    def state(self) -> State:
        return read_state(self.body.get("status") or {})

    @property
    def port(self) -> int:
        found: int = self.body["status"]["router"]["envoy"]["port"]
        return found

    def manifest(self, version: int) -> JsonObject:
        """The first version is stable; each later one listens where the candidate does."""
        port = self.stable.port if version == 1 else self.candidate.port
        container = {"name": "model", "image": "registry.test/model:1", "ports": [{"containerPort": port}]}
        spec = {
            "replicas": 1,
            "model": {"name": self.name, "version": str(version)},
            "template": {
                "spec": {"nodeName": NODE, "tolerations": [{"operator": "Exists"}], "containers": [container]}
            },
            "strategy": {"canary": {"steps": [{"weight": WEIGHT, "bake": "1h"}]}},
            "router": {"envoy": {"shield": self.shield}},
        }
        metadata = {"name": self.name}
        return {"apiVersion": "serin.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": spec}

    async def ask(self) -> None:
        """Send requests until cancelled."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            due = time.monotonic()
            while True:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due = max(due + 1.0 / RATE, time.monotonic() - 1.0)
                group.create_task(self._request(session))

    async def _request(self, session: aiohttp.ClientSession) -> None:
        at, status = time.time(), 0
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.post(f"http://127.0.0.1:{self.port}/predict", data=b"{}") as answer:
                await answer.read()
                status = answer.status
        self.answers.append((at, status))


@dataclass
class Bench:
    """Everything that runs."""

    cluster: Cluster
    proxy: Stopwatch
    prometheus: PrometheusServer
    operator: OperatorProcess
    session: aiohttp.ClientSession
    address: str
    version: int = 1

    async def roll_out(self, shops: Sequence[Shop]) -> None:
        """The next version of each, until it has its traffic; the first one until it serves."""
        for shop in shops:
            shop.candidate.failing = BASE
            await asyncio.to_thread(self.cluster.kubectl, "apply", "-f", "-", body=shop.manifest(self.version))
        wanted = 1 if self.version == 1 else 2

        def there() -> bool:
            return all(sum(map(bool, one.state.split.weights.values())) == wanted for one in shops)

        await self.until(there, "every version has traffic", self._make_pods_ready)
        self.version += 1

    async def until(
        self, holds: Callable[[], bool], what: str, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        limit = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > limit:
                there = self.cluster.kubectl("get", "md,deploy,pods,endpointslices", "-o", "wide")
                raise TimeoutError(f"it is not so that {what}:\n{self.operator.log()[-3000:]}\n{there}")
            if meanwhile is not None:
                await meanwhile()
            await asyncio.sleep(0.2)

    async def _make_pods_ready(self) -> None:
        """Do with every pod what a kubelet would, with this machine's address."""
        url = f"{self.proxy.url}/api/v1/namespaces/{self.cluster.shop}/pods"
        async with self.session.get(url) as answer:
            pods = (await answer.json())["items"]
        ready = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "podIP": self.address, "podIPs": [{"ip": self.address}], "conditions": ready}
        for pod in pods:
            path = f"{url}/{pod['metadata']['name']}"
            if "deletionTimestamp" in pod["metadata"]:
                await self._send("DELETE", path, {"gracePeriodSeconds": 0})
            elif not pod["status"].get("podIP"):
                await self._send("PATCH", f"{path}/status", {"status": status})

    async def _send(self, method: str, url: str, body: JsonObject) -> None:
        headers = MERGE if method == "PATCH" else {"Content-Type": "application/json"}
        async with self.session.request(method, url, data=json.dumps(body), headers=headers) as answer:
            if answer.status not in (200, 404, 409):
                raise RuntimeError(await answer.text())

    async def beat(self) -> None:
        """Keep the node that all pods are on alive, until cancelled."""
        self.cluster.kubectl("create", "-f", "-", body={"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        while True:
            ready = {
                "type": "Ready",
                "status": "True",
                "reason": "Here",
                "lastHeartbeatTime": rfc3339_whole(time.time()),
            }
            await self._send(
                "PATCH", f"{self.proxy.url}/api/v1/nodes/{NODE}/status", {"status": {"conditions": [ready]}}
            )
            await asyncio.sleep(10.0)

    async def fault(self, shop: Shop, share: float) -> Fault:
        """Let the candidate fail, until the router has taken its end."""
        candidate, stable = next(iter(shop.state.rollout.active)), str(shop.state.stable)  # type: ignore[union-attr]
        policy = _policy(shop)
        await asyncio.sleep(random.uniform(*HEALTHY))
        began = time.time()
        shop.candidate.failing = share

        def over() -> bool:
            last = shop.state.last_rollback
            return last is not None and last.source == candidate and last.restored is not None

        await self.until(over, f"{candidate} is rolled back")
        last = shop.state.last_rollback
        assert last is not None
        assert last.restored is not None
        asked, written = next(one for one in self.proxy.took[shop.name] if one[1] > last.at)
        collected, counted_until = max(one for one in self._collections() if one[0] <= asked)
        reads = [at for _, at in self._collections()]
        await asyncio.sleep(3 * SCRAPE)  # until Prometheus has all of it, too
        samples = await self._samples(shop.name, candidate, stable)
        enough = _enough(policy, samples, shop.candidate, began)
        print(last.message, flush=True)
        harmed = sum(began <= at <= last.restored and status != 200 for at, status in shop.answers)
        stables_own = shop.stable.failures(began, last.restored)
        return Fault(
            share=share,
            shield=shop.shield,
            began=began,
            enough=enough,
            scraped=min((at for at in (*(at for at, _ in samples), *reads) if at >= enough), default=enough),
            collected=collected,
            asked=asked,
            written=written,
            taken=last.restored,
            counted=shop.candidate.failures(began, counted_until),
            happened=shop.candidate.failures(began, asked),
            harmed=max(0, harmed - stables_own),
            load=os.getloadavg()[0],
            alpha=policy.alpha_minor,
            overdispersion=policy.overdispersion,
        )

    def _collections(self) -> list[tuple[float, float]]:
        """When each collection was over, and its newest sample, as the operator's log says."""
        lines = (json.loads(line) for line in self.operator.log().splitlines() if '"evidence.collected"' in line)
        return [(parse_rfc3339(line["timestamp"]), line["at"] or 0.0) for line in lines]

    async def _samples(self, name: str, candidate: str, stable: str) -> list[tuple[float, Counts]]:
        """What Prometheus has scraped since the candidate had traffic, in order of time."""
        query = (
            f'{{__name__=~"envoy_serin_(attempts|failures)",serin_model_deployment="{name}",serin_attempt="first"}}[2m]'
        )
        async with self.session.get(f"{self.prometheus.url}/api/v1/query", params={"query": query}) as answer:
            found = (await answer.json())["data"]["result"]
        names = ("envoy_serin_attempts", "envoy_serin_failures")
        columns = [(snapshot, one) for snapshot in (candidate, stable) for one in names]
        sums: dict[float, list[float]] = {}
        for series in found:
            column = (series["metric"]["serin_snapshot"], series["metric"]["__name__"])
            for at, value in series["values"] if column in columns else ():
                sums.setdefault(at, [0.0] * 4)[columns.index(column)] += float(value)
        return [(at, (row[0], row[1], row[2], row[3])) for at, row in sorted(sums.items()) if row[0]]


def _policy(shop: Shop) -> Policy:
    """By which the operator judges the errors: a version with a single pod, so failures count half."""
    spec = parse_model_deployment(shop.body).spec
    return policies(spec, SCRAPE, 3600.0)["errors"]


def _enough(policy: Policy, samples: Sequence[tuple[float, Counts]], candidate: Model, began: float) -> float:
    """When enough had happened, in unix seconds; the last sample's time if that cannot be told."""
    state: ratio.State | None = None
    requests = [one for one in candidate.seen if one[0] >= samples[0][0]]
    for (before, old), (at, new) in pairwise(samples):
        grown = [after - former for former, after in zip(old, new, strict=True)]
        passing = [one for one in requests if before < one[0] <= at] if at > began else []
        for place, (moment, _) in enumerate(passing):
            share = (moment - before) / (at - before)
            bad = sum(failed for _, failed in passing[: place + 1])
            counts = (place + 1, bad, round(grown[2] * share), round(grown[3] * share))
            if _fails(policy, ratio.fold(policy, state, _tick(moment, counts))):
                return moment
        state = ratio.fold(policy, state, _tick(at, grown))
        if _fails(policy, state):
            return at
    return samples[-1][0]


def _tick(at: float, counts: Sequence[float]) -> RatioTick:
    return RatioTick(at, Arm(round(counts[0]), round(counts[1])), Arm(round(counts[2]), round(counts[3])))


def _fails(policy: Policy, state: ratio.State) -> bool:
    return ratio.judge(policy, state).verdict in FAILING


def _own_address() -> str:
    """An address of this machine that a pod may have; no packet is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        found: str = probe.getsockname()[0]
    if found.startswith("127."):
        raise SystemExit("this machine has no address but loopback, which the API server allows no pod")
    return found


def _scrapes(address: str) -> str:
    """Prometheus' configuration: the router's pod, as often as it can be."""
    job = f"{{job_name: router, metrics_path: /stats/prometheus, static_configs: [{{targets: ['{address}']}}]}}"
    return f"global: {{scrape_interval: {SCRAPE:g}s, scrape_timeout: {SCRAPE:g}s}}\nscrape_configs: [{job}]\n"


@asynccontextmanager
async def running(plane: ControlPlane, folder: Path, *, live: bool) -> AsyncIterator[Bench]:
    """An operator that leads, the proxy before the API server, an Envoy that asks it, and a Prometheus.

    `live`: the operator reads the Envoy's counters itself, at the port where a router's pod has them.
    """
    cluster, address = Cluster(plane), _own_address()
    pods = router(cluster)
    pods["endpoints"][0]["addresses"] = [address]
    plane.kubectl("apply", "-f", "-", input=json.dumps(pods))
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        proxy = Stopwatch()
        await stack.enter_async_context(proxied(plane.kubeconfig, proxy))
        prometheus = PrometheusServer(folder / "prometheus")
        more = {"router_matchers": "", "log_level": "debug", "live_counters": str(live).lower()}
        log = folder / "operator.log"
        operator = OperatorProcess(kubeconfig_through(proxy, folder), cluster, log, prometheus.url, **more)
        stack.push_async_callback(operator.stop)
        await operator.wait_until_leading()
        envoy = Envoy(folder, operator.xds_port, ROUTER, address=address, metrics_port=METRICS_PORT)
        await envoy.start()
        stack.push_async_callback(envoy.stop)
        prometheus.config = _scrapes(f"{address}:{METRICS_PORT}")
        stack.callback(prometheus.start().stop)
        yield Bench(cluster, proxy, prometheus, operator, session, address)


@asynccontextmanager
async def shops(bench: Bench, plane: ControlPlane) -> AsyncIterator[list[Shop]]:
    """A deployment for each shield, that serves and is asked."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        found: dict[str, Shop] = {}
        for shield in SHIELDS:
            stable, candidate = Model(bench.address), Model(bench.address)
            for model in (stable, candidate):
                await model.start()
                stack.push_async_callback(model.stop)
            name = f"shield-{shield.lower()}"
            found[name] = Shop(name, shield, stable, candidate)

        async def follow() -> None:
            async for body in watched(plane, bench.cluster.shop):
                found[body["metadata"]["name"]].body = body

        tasks = [group.create_task(follow()), group.create_task(bench.beat())]
        await bench.roll_out(list(found.values()))
        tasks += [group.create_task(one.ask()) for one in found.values()]
        try:
            yield list(found.values())
        finally:
            for task in tasks:
                task.cancel()


async def measure(times: int, folder: Path, *, live: bool) -> list[Fault]:
    """So many faults of each kind, with the shield and without, one kind after the other."""
    found: list[Fault] = []
    with control_plane(folder / "cluster", 0) as plane:
        async with running(plane, folder, live=live) as bench, shops(bench, plane) as both:
            for number, share in enumerate(list(KINDS) * times, 1):
                await bench.roll_out(both)
                found += await asyncio.gather(*(bench.fault(one, share) for one in both))
                print(f"{number} of {len(KINDS) * times}", file=sys.stderr)
    return found


def bound(fault: Fault) -> tuple[float, float]:
    """Candidate requests that no test of this promise can do without (mean, Wald), and the seconds that they take."""
    rate = min(fault.share + (1.0 - fault.share) * BASE, 1.0 - 1e-6)
    odds = rate / (1.0 - rate) / (BASE / (1.0 - BASE))
    requests = fault.overdispersion * analysis_alternatives.wald(BASE, odds, fault.alpha, WEIGHT / 100.0)
    return requests, requests / (RATE * WEIGHT / 100.0)


STAGES: Final[dict[str, Callable[[Fault], float]]] = {
    "enough happens": lambda one: one.enough - one.began,
    "scrape": lambda one: one.scraped - one.enough,
    "settle and tick": lambda one: one.collected - one.scraped,
    "decision": lambda one: one.asked - one.collected,
    "write": lambda one: one.written - one.asked,
    "propagation": lambda one: one.taken - one.written,
    "pipeline": lambda one: one.taken - one.enough,
    "fault to route": lambda one: one.taken - one.began,
}


def table(found: Sequence[Fault]) -> str:
    """A column for each kind: medians, and the worst in brackets; times in seconds."""
    kinds = {share: [one for one in found if one.share == share] for share in KINDS}
    lines = ["| | " + " | ".join(f"errors to {share:.0%}" for share in kinds) + " |", "|---|" + "---:|" * len(kinds)]

    def row(name: str, cell: Callable[[list[Fault]], str]) -> None:
        lines.append(f"| {name} | " + " | ".join(cell(each) for each in kinds.values()) + " |")

    def spread(of: Callable[[Fault], float], digits: str) -> Callable[[list[Fault]], str]:
        return lambda each: f"{statistics.median(map(of, each)):{digits}} ({max(map(of, each)):{digits}})"

    def harmed(shield: str) -> Callable[[list[Fault]], str]:
        return lambda each: spread(lambda one: one.harmed, ".0f")([one for one in each if one.shield == shield])

    row("faults", lambda each: str(len(each)))
    for name, stage in STAGES.items():
        row(f"**{name}**" if name == "fault to route" else name, spread(stage, ".2f"))
    row("Wald's bound, requests of the candidate", lambda each: f"{bound(each[0])[0]:.1f}")
    row("Wald's bound, seconds", lambda each: f"{bound(each[0])[1]:.2f}")
    row("failures counted when it was decided", spread(lambda one: one.counted, ".0f"))
    row("failures that had happened by then", spread(lambda one: one.happened, ".0f"))
    for shield in SHIELDS:
        row(f"clients' requests harmed, shield: {shield}", harmed(shield))
    row("load of the machine", spread(lambda one: one.load, ".1f"))
    return "\n".join(lines)


PAGE: Final = """# From a fault to the route: measured

Written by `make bench-react`; do not edit. {deployments} deployments side by side, one with the shield and one without:
{rate:g} requests/s each, the candidate gets {weight} %, {base:.0%} of all requests fail anyway, a scrape every
{scrape:g} s, the three default metrics, no history and one pod of each version, so failures count half. After some
seconds the candidate begins to fail more. Real are the API server, the operator, Prometheus, Envoy and the requests;
pods are objects alone. Everything runs on the same {cores} cores, whose load is in the last line: with a load above the
number of cores, take times as upper bounds, and compare counts.

Medians, with the worst in brackets; seconds unless it says otherwise.

## Counters read from the router's pods

As Serin does it. Prometheus is the record and the fallback.

{live}

## Counters as Prometheus has scraped them

With the chart value `router.liveCounters: false`, and for what is not read directly: users' own metrics, for example.

{scraped}

## What the rows are

- **enough happens**: until the engine would have decided, had it been told of every request at once. Wald's bound is
  what no test of the same promise can do without on the average, even one that knows how bad the candidate is.
- **scrape**: until the next reading or scrape. **settle and tick**: until a collection may count it, and does.
  **decision**: until the status is being written. **write**: until the API server has answered (through a proxy that
  takes the time). **propagation**: until every router pod has acknowledged the route, and a look has seen that.
- **pipeline**: all but the first.
- **harmed**: requests of clients that failed by the candidate's fault.
"""


def page(live: Sequence[Fault], scraped: Sequence[Fault]) -> str:
    """The page."""
    return PAGE.format(
        deployments=len(SHIELDS),
        rate=RATE,
        weight=WEIGHT,
        base=BASE,
        scrape=SCRAPE,
        cores=os.cpu_count(),
        live=table(live),
        scraped=table(scraped),
    )


def main() -> None:
    """Measure, print the page and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=30, help="of each kind (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page")
    options = parser.parse_args()
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # connections that the end of the run closes
    times, found = math.ceil(options.faults / len(SHIELDS)), []  # each comes twice, with the shield and without
    for live in (True, False):
        with TemporaryDirectory(prefix="serin-react-") as folder:
            found.append(asyncio.run(measure(times, Path(folder), live=live)))
    print(page(*found))
    (options.out / "react-bench.md").write_text(page(*found))


if __name__ == "__main__":
    main()
