"""What probes and scrapes see: /healthz, /readyz and /metrics on one port.

Healthy means that the event loop turns (it answers), that every watch is asked for again and again, and that the looks
of the replica that decides come to an end. An API server or a Prometheus that is away makes nobody unhealthy: asking
goes on, and looks end with an error; a restart would mend nothing and lose the caches. Ready means that the caches are
complete, so that this replica may be elected and may answer the router; a standby is ready too.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from serin.controller.telemetry import Telemetry

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
async def serving(app: web.Application, port: int, *, shutdown: float = 1.0) -> AsyncIterator[int]:
    """Serve an application on all addresses; yields the port, which is chosen by the system when `port` is 0.

    `shutdown`: seconds that requests under way have at the end.
    """
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=shutdown)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
