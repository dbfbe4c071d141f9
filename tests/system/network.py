"""The network between the operator's replicas and its Envoys, in memory: who listens at which address.

The operator's own server and client of this traffic run as they are; only the sockets are left out. What is asked of a
replica runs on that replica's machine, with its clocks, and ends when the replica does.
"""

import asyncio
import contextlib
import contextvars
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import re2  # type: ignore[import-untyped]
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from serin.api.json import JsonObject
from serin.routers.envoy.xds.server import XdsServer
from tests.simulation.envoys import AppLink
from tests.simulation.traffic import Series

_STATS: Final = "/stats/prometheus"
_OWNER: Final = ("serin_namespace", "serin_model_deployment", "serin_snapshot")

ADDRESS: contextvars.ContextVar[str] = contextvars.ContextVar("ADDRESS")
"""The address of the pod in which the running code lives."""


@dataclass(slots=True)
class Listening:
    """A replica that answers. `context`: of its process."""

    app: web.Application
    link: AppLink
    context: contextvars.Context
    open: set[asyncio.Task[Any]] = field(default_factory=set)


class Network:
    """Who listens where. `parted`: pairs of addresses between which nothing passes, in both directions."""

    def __init__(self) -> None:
        self._listening: dict[str, Listening] = {}
        self.parted: set[frozenset[str]] = set()
        self.counters: dict[str, Callable[[], Mapping[Series, float] | None]] = {}  # of Envoys, by address
        self.slow: dict[str, float] = {}  # seconds until an Envoy answers, by address
        self.read: Counter[str] = Counter()  # how often an Envoy's counters were asked for, by address

    def listen(self, app: web.Application) -> None:
        """Answer at the address of the pod that calls this."""
        self._listening[ADDRESS.get()] = Listening(app, AppLink(app), contextvars.copy_context())

    def close(self, address: str) -> None:
        """Nobody listens there any more; whoever waits for an answer loses the connection."""
        gone = self._listening.pop(address, None)
        for task in list(gone.open) if gone else ():
            task.cancel()

    def addresses(self) -> list[str]:
        """Where somebody listens."""
        return sorted(self._listening)

    async def discover(self, source: str, address: str, kind: str, question: JsonObject) -> tuple[int, Any]:
        """An Envoy's question. Raises ConnectionError."""
        there = self._reach(source, address)
        return await self._ask(there, there.link.ask(kind, question))

    async def get(self, source: str, address: str, path: str) -> bytes:
        """The answer to a GET. Raises ConnectionError."""
        there = self._reach(source, address)
        request = make_mocked_request("GET", path, app=there.app)
        response = await self._ask(there, there.app._handle(request))
        return bytes(response.body)

    async def stats(self, source: str, address: str, names: str) -> bytes:
        """An Envoy's counters in the text format, of those that it calls by `names`. Raises ConnectionError."""
        self.read[address] += 1
        await asyncio.sleep(self.slow.get(address, 0.002))
        shown = self.counters[address]() if address in self.counters else None
        if shown is None or frozenset((source, address)) in self.parted:
            raise ConnectionError(f"nobody answers at {address}")
        matches = re2.compile(names).fullmatch
        lines = [_line(series, value) for series, value in shown.items() if matches(_own_name(series))]
        return "".join(lines).encode()

    def _reach(self, source: str, address: str) -> Listening:
        there = self._listening.get(address)
        if there is None or frozenset((source, address)) in self.parted:
            raise ConnectionError(f"nobody answers at {address}")
        return there

    async def _ask(self, there: Listening, answer: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.get_running_loop().create_task(answer, context=there.context.copy())
        there.open.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and there not in self._listening.values():
                raise ConnectionError("the connection was closed") from None
            task.cancel()
            raise
        finally:
            there.open.discard(task)


class ServiceLink:
    """An Envoy's way to the operator's Service: to the replica that it had (`first`), else to one that answers."""

    def __init__(self, network: Network, source: str, first: str = "") -> None:
        self._network, self._source = network, source
        self._address = first

    async def ask(self, kind: str, question: JsonObject) -> tuple[int, JsonObject | None]:
        """Send a DiscoveryRequest. Raises ConnectionError."""
        there = self._network.addresses()
        if self._address not in there:
            if not there:
                raise ConnectionError("no replica of the operator answers")
            self._address = there[sum(self._source.encode()) % len(there)]
        try:
            return await self._network.discover(self._source, self._address, kind, question)
        except ConnectionError:
            self._address = ""
            raise


def _line(series: Series, value: float) -> str:
    name, labels = series
    written = ",".join(f'{label}="{text}"' for label, text in labels)
    return f"{name}{{{written}}} {value:.17g}\n"


def _own_name(series: Series) -> str:
    """What Envoy itself calls a series."""
    name, labels = series[0].removeprefix("envoy_"), dict(series[1])
    if name == "server_uptime":
        return "server.uptime"
    namespace, deployment, snapshot = (labels.pop(one) for one in _OWNER)
    if name.startswith("cluster_"):
        return f"cluster.{namespace}/{deployment}/{snapshot}.{name.removeprefix('cluster_')}"
    labels.pop("le", None)
    name = re.sub("_(bucket|count|sum)$", "", name).replace("serin_", "serin.", 1)
    owner = zip(_OWNER, (namespace, deployment, snapshot), strict=True)
    return ".".join((name, *(part for item in (*owner, *labels.items()) for part in item)))


class _Session:
    """aiohttp.ClientSession, as far as replicas ask each other, and the router for its counters."""

    def __init__(self, network: Network, timeout: aiohttp.ClientTimeout | None = None, **_: Any) -> None:
        self._network, self._seconds = network, timeout.total if timeout else None

    async def __aenter__(self) -> "_Session":
        return self

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to close."""

    @contextlib.asynccontextmanager
    async def get(self, url: str | URL, **_: Any) -> AsyncIterator[Any]:
        target = URL(url)
        try:
            async with asyncio.timeout(self._seconds):
                if target.path == _STATS:
                    answer = await self._network.stats(ADDRESS.get(), str(target.host), target.query["filter"])
                else:
                    answer = await self._network.get(ADDRESS.get(), str(target.host), target.path)
        except ConnectionError as error:
            raise aiohttp.ClientConnectionError(str(error)) from error

        async def parts() -> AsyncIterator[bytes]:
            yield answer

        yield SimpleNamespace(content=SimpleNamespace(iter_any=parts), raise_for_status=lambda: None)


@contextlib.contextmanager
def in_memory(network: Network) -> Iterator[None]:
    """Let XdsServer listen, and replicas ask each other, through `network`."""

    async def start(self: XdsServer, address: str = "", port: int = 0) -> int:
        del address
        network.listen(self.app())
        return port

    real = XdsServer.start, aiohttp.ClientSession
    XdsServer.start = start  # type: ignore[method-assign]
    aiohttp.ClientSession = lambda **more: _Session(network, **more)  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        XdsServer.start, aiohttp.ClientSession = real  # type: ignore[method-assign, misc]
