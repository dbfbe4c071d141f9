"""A real Envoy, the real xDS server and small model servers on loopback, for the tests of the router.

The model servers keep the truth: what reached them and what they failed. Tests compare it with what Envoy says.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from serin.api.json import JsonObject
from serin.api.serving import Serving
from serin.routers.endpoints import Endpoint
from serin.routers.envoy.bootstrap import MAX_HEAP, bootstrap, token_secret
from serin.routers.envoy.limits import Limits
from serin.routers.envoy.rendered import render
from serin.routers.envoy.routed_model import Arm, RoutedModel
from serin.routers.envoy.settings import EnvoySettings
from serin.routers.envoy.xds.access import ANYBODY, Access
from serin.routers.envoy.xds.server import XdsServer
from tests.cluster.ports import free_port

NAMESPACE, DEPLOYMENT = "shop", "fraud"
STABLE, CANDIDATE = "fraud-stable", "fraud-candidate"
ENVOY = Path(sys.executable).parent / "envoy"
LIMITS = Limits()
T = TypeVar("T")


async def eventually(read: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], seconds: float = 60.0) -> T:
    """Read until it is as wanted; the last reading is in the failure's message."""
    until = time.monotonic() + seconds
    while not wanted(value := await read()):
        if time.monotonic() > until:
            raise AssertionError(f"after {seconds} s still {value!r}")
        await asyncio.sleep(0.02)
    return value


@dataclass
class ModelServer:
    """A model server whose faults can be set while it runs. `truth` counts what happened to first attempts and all."""

    name: str
    port: int = 0
    error_share: float = 0.0  # answers 500
    refuse_share: float = 0.0  # answers 400
    reset_share: float = 0.0  # cuts the connection without an answer
    delay: float = 0.0  # seconds before the answer
    slow_share: float = 1.0  # of the requests, that `delay` holds for
    hold: Callable[[], Awaitable[object]] | None = None  # awaited before an answer begins
    watch: Callable[[web.Request], object] | None = None  # sees every request
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None  # instead of the usual one
    cut: asyncio.Event = field(default_factory=asyncio.Event)  # lets the next answer of /broken break off
    truth: Counter[str] = field(default_factory=Counter)
    seed: int = 1
    _runner: web.AppRunner | None = None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)

    async def start(self) -> "ModelServer":
        self._random = random.Random(self.seed)
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/broken", self._broken)
        app.router.add_get("/socket", self._socket)
        app.router.add_route("*", "/{path:.*}", self._predict)
        # The router lets headers of 60 KiB pass.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True, max_field_size=64 * 1024
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def count(self, what: str) -> int:
        """For waiting: what `truth` has by now."""
        return self.truth[what]

    async def _predict(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.truth["received"] += 1
        if self.watch is not None:
            self.watch(request)
        if self.delay and self._random.random() < self.slow_share:
            self.truth["slow"] += 1
            await asyncio.sleep(self.delay)
        if self.hold is not None:
            await self.hold()
        drawn = self._random.random()
        if drawn < self.error_share:
            self.truth["failed"] += 1
            return web.Response(status=500, text=self.name)
        if drawn < self.error_share + self.refuse_share:
            self.truth["refused"] += 1
            return web.Response(status=400, text=self.name)
        if drawn < self.error_share + self.refuse_share + self.reset_share:
            self.truth["failed"] += 1
            assert request.transport is not None
            request.transport.abort()
        self.truth["answered"] += 1
        if self.answer is not None:
            return await self.answer(request)
        return web.json_response({"model": self.name, "bytes": len(body)})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: ?events=N&pause=SECONDS. `truth` has how many were sent."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in range(int(request.query["events"])):
            await response.write(f"data: {self.name} {number}\n\n".encode())
            self.truth["events"] += 1
            await asyncio.sleep(float(request.query["pause"]))
        await response.write_eof()
        return response

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        """A WebSocket that sends back what comes, with its name; "break" ends it without a closing handshake."""
        self.truth["received"] += 1
        if self.error_share:
            self.truth["failed"] += 1
            return web.Response(status=500, text=self.name)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.truth["sockets"] += 1
        async for message in socket:
            if message.data == "break":
                self.truth["failed"] += 1
                assert request.transport is not None
                request.transport.abort()
            await socket.send_str(f"{self.name} {message.data}")
        self.truth["closed"] += 1
        return socket

    async def _broken(self, request: web.Request) -> web.StreamResponse:
        """An answer that breaks off in its middle, when `cut` says so."""
        self.truth["received"] += 1
        self.truth["failed"] += 1
        response = web.StreamResponse()
        response.content_length = 1000
        await response.prepare(request)
        await response.write(b"half")
        await self.cut.wait()
        self.cut.clear()
        assert request.transport is not None
        request.transport.abort()
        return response


class TokenFolder:
    """A pod's token as the kubelet keeps it: a link to a folder, which it exchanges at once."""

    def __init__(self, folder: Path, token: str) -> None:
        self._folder, self._number = folder / "xds", 0
        self._folder.mkdir()
        self.write(token)
        self.token = self._folder / "token"
        self.token.symlink_to("..data/token")
        self.secret = folder / "xds-token.json"
        self.secret.write_text(json.dumps(token_secret(str(self.token))))

    def write(self, token: str) -> None:
        """Exchange it."""
        self._number += 1
        inside = self._folder / f"..{self._number}"
        inside.mkdir()
        (inside / "token").write_text(token)
        link = self._folder / "..data_tmp"
        link.symlink_to(inside.name)
        os.rename(link, self._folder / "..data")


@dataclass
class Envoy:
    """One Envoy process with its own administration and metrics ports. `metrics_port`: 0 takes a free one."""

    folder: Path
    xds_port: int
    name: str = "router-1"
    token: TokenFolder | None = None
    max_heap: int = MAX_HEAP
    guard: int | None = None  # the guard's port
    address: str = "127.0.0.1"  # where the metrics port listens
    metrics_port: int = 0
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> "Envoy":
        self.metrics_port, self.admin_port = self.metrics_port or free_port(), free_port()
        path = self.folder / f"{self.name}.json"
        path.write_text(json.dumps(self.config()))
        self.log = self.folder / f"{self.name}.log"
        self.process = await asyncio.create_subprocess_exec(
            *(str(ENVOY), "--config-path", str(path), "--concurrency", "2", "--use-dynamic-base-id"),
            *("--log-level", "warning", "--log-path", str(self.log), "--drain-time-s", "5"),
        )
        return self

    def config(self) -> JsonObject:
        """What it starts with."""
        return bootstrap(
            "127.0.0.1",
            self.xds_port,
            token_secret_file=str(self.token.secret) if self.token else None,
            node_id=self.name,
            address=self.address,
            metrics_port=self.metrics_port,
            admin_port=self.admin_port,
            max_heap=self.max_heap,
            guard=("127.0.0.1", self.guard) if self.guard else None,
        )

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    async def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        """Status and text, of the metrics port unless told otherwise; (0, reason) when nothing listens."""
        url = f"http://127.0.0.1:{port or self.metrics_port}{path}"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                return response.status, await response.text()
        except aiohttp.ClientError as error:
            return 0, str(error)

    async def ready(self) -> None:
        await eventually(lambda: self.get("/ready"), lambda found: found[0] == 200)

    async def live(self) -> None:
        """Wait until it serves what it has started with."""
        await eventually(lambda: self.get("/ready", self.admin_port), lambda found: found[0] == 200)

    async def listens(self, wanted: RoutedModel, limits: Limits = LIMITS) -> None:
        """Wait until requests meet a deployment's listener as it is now."""
        made = render(wanted, "127.0.0.1", limits).listener

        async def active() -> Counter[str]:
            _, text = await self.get("/config_dump?resource=dynamic_listeners", self.admin_port)
            found = json.loads(text).get("configs", []) if text.startswith("{") else []
            return _marks([one.get("active_state") for one in found if one["name"] == made["name"]])

        await eventually(active, lambda marks: marks == _marks(made))

    def memory(self) -> int:
        """Bytes of memory that the process has."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    async def parted(self, server: ModelServer) -> None:
        """Wait until Envoy has seen that a server which has stopped has closed every connection."""
        connections = f"::127.0.0.1:{server.port}::cx_active::"

        async def kept() -> list[str]:
            _, text = await self.get("/clusters", self.admin_port)
            return [line for line in text.splitlines() if connections in line and not line.endswith("::0")]

        await eventually(kept, lambda found: not found)

    async def scrape(self) -> "Scrape":
        _, text = await self.get("/stats/prometheus")
        return Scrape(text)

    async def count(self, series: str, **labels: str) -> float:
        return (await self.scrape()).count(series, **labels)


def _marks(part: object) -> Counter[str]:
    """What two renderings of one configuration share: its names and numbers. The version stays behind in a dump."""
    marks = Counter[str]()
    for value in part if isinstance(part, list) else part.values() if isinstance(part, dict) else ():
        marks += _marks(value)
    if isinstance(part, dict):
        marks.update(f"{key} {part[key]}" for key in ("name", "default_value") if part.get(key))
    return marks


class Scrape:
    """One reading of all series."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def count(self, series: str, **labels: str) -> float:
        """Sum of all samples of one series with these labels (those of the deployment under test unless given)."""
        wanted = {"serin_namespace": NAMESPACE, "serin_model_deployment": DEPLOYMENT, **labels}
        # The parser calls every counter ..._total.
        names = (series, f"{series}_total")
        found = [
            sample.value for sample in self.samples if sample.name in names and wanted.items() <= sample.labels.items()
        ]
        return sum(found)

    def total(self, series: str) -> float:
        """One of Envoy's own counters, which has no labels."""
        return sum(sample.value for sample in self.samples if sample.name in (series, f"{series}_total"))


def model(
    port: int,
    stable: tuple[ModelServer, ...],
    candidate: tuple[ModelServer, ...] = (),
    weight: int = 0,
    router: EnvoySettings | None = None,
    *,
    serving: Serving | None = None,
    name: str = DEPLOYMENT,
) -> RoutedModel:
    """A deployment with a stable and (when it has servers) a candidate snapshot, which are spoken to alike."""
    spoken = serving or Serving()
    arms = [Arm(f"{name}-stable", 100 - weight, tuple(server.endpoint for server in stable), spoken)]
    if candidate:
        arms.append(Arm(f"{name}-candidate", weight, tuple(server.endpoint for server in candidate), spoken))
    return RoutedModel(NAMESPACE, name, port, router or EnvoySettings(), f"{name}-stable", tuple(arms))


@dataclass
class Rig:
    """Everything of one test: xDS server, one Envoy, one pair of model servers, and a client."""

    folder: Path
    xds: XdsServer
    xds_port: int
    envoy: Envoy
    stable: ModelServer
    candidate: ModelServer
    client: aiohttp.ClientSession
    port: int
    propagations: list[float]
    envoys: list[Envoy] = field(default_factory=list)
    limits: Limits = LIMITS

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def route(self, weight: int, router: EnvoySettings | None = None, patience: float = 300.0) -> None:
        """Set the split, the router's options and the time-out of both, and wait until every Envoy has them."""
        serving = Serving(timeout=patience)
        wanted = model(self.port, (self.stable,), (self.candidate,), weight, router, serving=serving)
        self.xds.update([wanted])
        await self.served(wanted)
        for envoy in self.envoys:
            await envoy.listens(wanted, self.limits)

    async def served(self, wanted: RoutedModel) -> None:
        """Wait until every Envoy has the split. What else has changed may come a moment later."""

        async def observe() -> object:
            return self.xds.observe(wanted.namespace, wanted.name)

        await eventually(observe, lambda split: split == wanted.split())

    async def send(self, count: int, rate: float = 200.0, path: str = "/predict", **arguments: object) -> Counter[str]:
        """Send `count` requests at `rate` a second. Counts status codes, models that answered, and shielded answers."""
        seen: Counter[str] = Counter()

        async def one() -> None:
            try:
                async with self.client.post(self.url + path, data=b"{}", **arguments) as response:  # type: ignore[arg-type]
                    await response.read()
                    seen[str(response.status)] += 1
                    seen[response.headers.get("x-serin-snapshot", "-")] += 1
                    seen["shielded"] += "x-serin-shielded" in response.headers
            except (aiohttp.ClientError, TimeoutError) as error:
                seen[type(error).__name__] += 1

        started, tasks = time.monotonic(), []
        for number in range(count):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            tasks.append(asyncio.create_task(one()))
        await asyncio.gather(*tasks)
        return seen

    @asynccontextmanager
    async def traffic(self, rate: float = 200.0) -> AsyncIterator[Counter[str]]:
        """Requests for as long as the block lasts; at its end, what `send` tells of them, and how many were `sent`."""
        seen: Counter[str] = Counter()
        over = asyncio.Event()

        async def flow() -> None:
            while not over.is_set():
                seen.update(await self.send(20, rate))
                seen["sent"] += 20

        flowing = asyncio.create_task(flow())
        try:
            yield seen
        finally:
            over.set()
            await flowing


@asynccontextmanager
async def rig(
    folder: Path,
    access: Access = ANYBODY,
    token: TokenFolder | None = None,
    limits: Limits = LIMITS,
    max_heap: int = MAX_HEAP,
    guard: int | None = None,
) -> AsyncIterator[Rig]:
    """Start everything with all traffic to stable, and stop it again."""
    propagations: list[float] = []
    xds = XdsServer(
        access=access,
        propagated=lambda _, seconds: propagations.append(seconds),
        listen_address="127.0.0.1",
        limits=limits,
    )
    xds_port = await xds.start("127.0.0.1", free_port())
    stable, candidate = await ModelServer("stable").start(), await ModelServer("candidate", seed=2).start()
    envoy = await Envoy(folder, xds_port, token=token, max_heap=max_heap, guard=guard).start()
    connector = aiohttp.TCPConnector(limit=0)
    client = aiohttp.ClientSession(connector=connector)
    found = Rig(folder, xds, xds_port, envoy, stable, candidate, client, free_port(), propagations, [envoy], limits)
    try:
        await found.route(0)
        await envoy.ready()
        yield found
    finally:
        await client.close()
        for started in found.envoys:
            await started.stop()
        await found.xds.stop()
        for server in (stable, candidate):
            await server.stop()
