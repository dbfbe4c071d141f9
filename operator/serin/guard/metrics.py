"""What was recorded, for Prometheus: one page, which costs the same however many ask for it, and how.

With all the series that there may be (counts.py) it has six megabytes and takes seconds to write, beside what clients
wait for. So it is written in a thread, by one at a time, and again only after several times as long as it took. Some
readers at once get it, piece by piece, and a few of one address, so that nobody keeps Prometheus away; one that does
not read is let go.
"""

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

# Readers at once, and those of one address.
MOST_READERS: Final = 32
MOST_OF_ONE: Final = 4
# Seconds for a whole page, and the shortest that one is given out for.
_READ_SECONDS: Final = 10.0
_FRESH_SECONDS: Final = 1.0
# How many times as long as it took to write a page is given out: of one core a sixth at most is spent on pages.
_TIMES: Final = 5.0
_PIECE: Final = 256 * 1024
_HEADERS: Final = {"Content-Type": CONTENT_TYPE_LATEST}
_BUSY: Final = "serin: too many are reading this page: ask again in a moment\n"


class MetricsPage:
    """Serves GET /metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._page, self._until = b"", 0.0
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._readers = Counter[str]()
        self._runner: web.AppRunner | None = None

    async def start(self, address: str | None, port: int) -> int:
        """Listen; returns the port. `address` None: every one, IPv4 and IPv6. Raises OSError when it is taken."""
        app = web.Application()
        app.router.add_get("/metrics", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port).start()
        found: int = self._runner.addresses[0][1]
        return found

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._writing is not None:
            self._writing.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        reader = request.remote or ""
        if self._readers.total() >= MOST_READERS or self._readers[reader] >= MOST_OF_ONE:
            return web.Response(status=503, text=_BUSY)
        self._readers[reader] += 1
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await self._send(request, await self._written())
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # or what was not read would be kept for as long as the reader likes
            return web.Response(status=503)
        finally:
            self._readers -= Counter([reader])

    async def _send(self, request: web.Request, page: bytes) -> web.StreamResponse:
        """Piece by piece, as the reader takes them: the page is in memory once."""
        response = web.StreamResponse(headers=_HEADERS)
        response.content_length = len(page)
        await response.prepare(request)
        whole = memoryview(page)
        for begin in range(0, len(page), _PIECE):
            await response.write(whole[begin : begin + _PIECE])
        await response.write_eof()
        return response

    async def _written(self) -> bytes:
        """A reader that goes ends nothing: what is being written is for whoever comes next."""
        if time.monotonic() >= self._until:
            if self._writing is None or self._writing.done():
                self._writing = asyncio.create_task(self._write(), name="metrics page")
            await asyncio.shield(self._writing)
        return self._page

    async def _write(self) -> None:
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        self._page = await loop.run_in_executor(self._thread, generate_latest, self._registry)
        took = time.monotonic() - began
        self._until = began + took + max(_FRESH_SECONDS, _TIMES * took)
