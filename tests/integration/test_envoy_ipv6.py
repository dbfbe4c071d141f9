"""A router of a cluster whose pods have IPv6 addresses: operator, clients and models are reached at them."""

from pathlib import Path
from types import SimpleNamespace

import aiohttp
from aiohttp import web

from serin.routers.endpoints import Endpoint
from serin.routers.envoy.bootstrap import bootstrap
from serin.routers.envoy.xds.server import XdsServer
from tests.cluster.ports import free_port
from tests.integration.envoy_rig import Envoy, eventually, model

LOOPBACK = "::1"


class Ipv6Envoy(Envoy):
    """Its operator is found at an IPv6 address, and it listens as with `router.ipv6` of the chart."""

    def config(self) -> dict[str, object]:
        return bootstrap(
            LOOPBACK,
            self.xds_port,
            token_secret_file=None,
            node_id=self.name,
            address="::",
            metrics_port=self.metrics_port,
            admin_port=self.admin_port,
        )


async def test_clients_of_both_families_are_answered_by_a_model_with_an_ipv6_address(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="from ::1")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    served = SimpleNamespace(endpoint=Endpoint(LOOPBACK, runner.addresses[0][1]))
    port, xds = free_port(), XdsServer(listen_address="::")
    xds_port = await xds.start(None, free_port())
    envoy = await Ipv6Envoy(tmp_path, xds_port).start()
    try:
        xds.update([model(port, (served,))])
        await envoy.ready()
        for host in ("127.0.0.1", f"[{LOOPBACK}]"):
            for at, path, wanted in ((port, "/", "from ::1"), (envoy.metrics_port, "/ready", "LIVE")):

                async def got(url: str = f"http://{host}:{at}{path}") -> str:
                    try:
                        async with aiohttp.ClientSession() as session, session.get(url) as response:
                            return await response.text()
                    except aiohttp.ClientError as error:
                        return str(error)

                await eventually(got, lambda text, wanted=wanted: text.strip() == wanted, 30)  # type: ignore[misc]
    finally:
        await envoy.stop()
        await xds.stop()
        await runner.cleanup()
