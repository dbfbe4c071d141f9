"""What probes and scrapes see: /healthz, /readyz and /metrics on one port.

Healthy means that the event loop turns (it answers), that every watch is asked for again and again, and that the looks
of the replica that decides come to an end. An API server or a Prometheus that is away makes nobody unhealthy: asking
goes on, and looks end with an error; a restart would mend nothing and lose the caches. Ready means that the caches are
complete, so that this replica may be elected and may answer the router; a standby is ready too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from serin.controller.telemetry import Telemetry
from serin.routers.connections import Connections

# Says in words what is missing; empty when nothing is.
Missing = Callable[[], str]


def application(telemetry: Telemetry, not_healthy: Missing, not_ready: Missing) -> web.Application:
    """The three pages."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(not_healthy())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(not_healthy() or not_ready())

    async def metrics(_: web.Request) -> web.Response:
        page, content_type = telemetry.page()
        return web.Response(body=page, headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


def _answer(missing: str) -> web.Response:
    return web.Response(status=503 if missing else 200, text=(missing or "ok") + "\n")


@asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[int]:
    """Serve an application on all addresses; yields the port, which is chosen by the system when `port` is 0."""
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_strangers(app: web.Application, port: int, *, most: int, seconds: float) -> AsyncIterator[int]:
    """The same for whoever asks once and goes.

    No connection lasts longer than `seconds` (rounded up to whole ones), and of more than `most` the oldest goes.
    """
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    assert runner.server is not None
    connections = Connections(runner.server, lambda _: False, most=most, patience=seconds)
    sweeping = asyncio.create_task(connections.run(), name=f"connections of port {port}")
    listener = None
    try:
        listener = await asyncio.get_running_loop().create_server(connections.accept, None, port, backlog=most)
        yield int(listener.sockets[0].getsockname()[1])
    finally:
        if listener is not None:
            listener.close()
        sweeping.cancel()
        await runner.cleanup()
