"""A plain-HTTP proxy in front of a real API server, so that a test can count, cut and break the connection to it.

Everything that passes is the API server's own traffic; the proxy only closes connections, refuses them, ends a watch
with the API server's own words for "too old", makes the pages of lists small, or answers for one page in its place.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from kubernetes.aio.client import Configuration

from serin.cluster.login import log_in, watch_session

_HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive"}


class Proxy:
    """`requests`: (method, path, whether it is a watch) -> how often. `cut` severs and refuses all until `mend`.

    `page`: at most so many objects in one answer to a list, whatever was asked for. `swallowed`: writes to these paths
    get no answer, and are not passed on.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, bool]] = Counter()
        self.url = ""
        self.page: int | None = None
        self.swallowed: set[str] = set()
        self._next_pages: dict[str, Callable[[], Awaitable[web.Response]]] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._watches: set[asyncio.Task[Any]] = set()
        self._too_old: set[str] = set()

    def writes(self) -> dict[tuple[str, str], int]:
        """Every request so far that was not a read."""
        return {(method, path): times for (method, path, _), times in self.requests.items() if method != "GET"}

    def cut(self) -> None:
        """Close every connection under way, and refuse new ones."""
        self._open.clear()
        for task in list(self._watches):
            task.cancel()

    def mend(self, *too_old: str) -> None:
        """Accept connections again; the next watch of each path in `too_old` is told that its version is too old."""
        self._too_old.update(too_old)
        self._open.set()

    def answer_next_page(self, path: str, answer: Callable[[], Awaitable[web.Response]]) -> None:
        """Let `answer` answer the next request for any but the first page of a list, instead of the API server."""
        self._next_pages[path] = answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on."""
        watch = "watch" in request.query
        self.requests[request.method, request.path, watch] += 1
        if not self._open.is_set():
            _hang_up(request)
        if watch and request.path in self._too_old:
            self._too_old.discard(request.path)
            error = {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old"}
            return web.Response(text=json.dumps({"type": "ERROR", "object": error}) + "\n")
        if "continue" in request.query and request.path in self._next_pages:
            return await self._next_pages.pop(request.path)()
        if request.method != "GET" and request.path in self.swallowed:
            await asyncio.sleep(60.0)
        task = asyncio.ensure_future(self._forward(request))
        self._watches.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            _hang_up(request)
        finally:
            self._watches.discard(task)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        session, upstream = request.app[SESSION], request.app[UPSTREAM]
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP}
        timeout = aiohttp.ClientTimeout(total=None)
        target = request.raw_path
        if self.page and request.method == "GET" and "watch" not in request.query:
            target = str(request.rel_url.update_query(limit=self.page))
        async with session.request(
            request.method,
            upstream + target,
            data=await request.read() or None,
            headers=headers,
            timeout=timeout,
        ) as answer:
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response


def _hang_up(request: web.Request) -> Any:
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError


SESSION = web.AppKey("session", aiohttp.ClientSession)
UPSTREAM = web.AppKey("upstream", str)


@asynccontextmanager
async def proxied(kubeconfig: Path, proxy: Proxy | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy on a free loopback port; it adds the kubeconfig's credentials to every request."""
    login = await log_in(kubeconfig)
    proxy = proxy or Proxy()
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    app[SESSION], app[UPSTREAM] = watch_session(login), login.host
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        yield proxy
    finally:
        proxy.cut()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(runner.cleanup(), 5)
        await app[SESSION].close()


def through(proxy: Proxy) -> Configuration:
    """A login that goes through the proxy."""
    return Configuration(host=proxy.url)


def kubeconfig_through(proxy: Proxy, folder: Path) -> Path:
    """Write a kubeconfig that goes through the proxy, for another process."""
    path = folder / "kubeconfig-through-proxy.json"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": proxy.url}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
        "current-context": "proxy",
    }
    path.write_text(json.dumps(config))
    return path
