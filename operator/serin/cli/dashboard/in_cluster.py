"""The process `serin serve-dashboard`: flags, what runs, and how it ends. It needs no rights in the cluster."""

import argparse
import asyncio
import os
import signal
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from serin.cli.dashboard.as_user import ApiServer
from serin.cli.dashboard.certificates import Certificate
from serin.cli.dashboard.connections import Connections
from serin.cli.dashboard.hosts import Hosts
from serin.cli.dashboard.server import Dashboard
from serin.cli.dashboard.sign_in import SignIn

log: Final = structlog.get_logger("serin.dashboard")

PORT: Final = 8443
_LOOKS: Final = 8
_ACTS: Final = 64  # most of their time they wait for the operator
_RENEW_SECONDS: Final = 60.0
_HANDSHAKE_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 75.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags; a variable of the environment is a flag's default."""

    def flag(name: str, default: str, text: str) -> None:
        variable = "SERIN_DASHBOARD_" + name.upper().replace("-", "_")
        parser.add_argument(f"--{name}", default=os.environ.get(variable, default), help=f"{text} [{variable}]")

    flag("port", str(PORT), "port for browsers, TLS alone")
    flag("hosts", "", "names of the page, separated by commas; those of a port-forward are known")
    flag("tls", "", "folder with tls.crt and tls.key; without one a certificate is made at the start")
    flag("server", _own_api_server(), "address of the API server; default: that of the pod's cluster")
    flag("server-ca", "", "file with the certificates that prove the API server")


def _own_api_server() -> str:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}" if host else ""


def main(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Serve until told to stop."""
    if not arguments.server.startswith("https://"):
        parser.error("--server: write the address of the API server, for example https://10.96.0.1:443")
    try:
        hosts = Hosts([one.strip().lower() for one in arguments.hosts.split(",") if one.strip()])
        certificate = Certificate(Path(arguments.tls) if arguments.tls else None, hosts.names)
        port = int(arguments.port)
    except (ValueError, OSError) as error:  # ssl.SSLError is one
        parser.error(str(error))
    server = ApiServer(arguments.server, Path(arguments.server_ca) if arguments.server_ca else None)
    asyncio.run(run(server, hosts, certificate, port))


async def run(server: ApiServer, hosts: Hosts, certificate: Certificate, port: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the port is taken."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    def admit(request: web.Request, name: str) -> None:
        connections.admit(request.protocol, name)

    application = Dashboard(SignIn(server, hosts, admit), looks=_LOOKS, acts=_ACTS).application()
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0, keepalive_timeout=_IDLE_SECONDS)
    await runner.setup()
    assert runner.server is not None
    connections = Connections(runner.server)
    listener = await asyncio.get_running_loop().create_server(
        connections.accept, None, port, ssl=certificate.context, ssl_handshake_timeout=_HANDSHAKE_SECONDS
    )
    tasks = [asyncio.create_task(connections.run()), asyncio.create_task(_renew(certificate))]
    log.info("dashboard.serving", port=port, hosts=list(hosts.names))
    await stopping.wait()
    log.info("dashboard.stopping")
    for one in tasks:
        one.cancel()
    listener.close()
    await runner.cleanup()


async def _renew(certificate: Certificate) -> None:
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        try:
            if await asyncio.to_thread(certificate.renew):
                log.info("certificate.renewed")
        except (OSError, ValueError) as error:
            log.warning("certificate.refused", error=str(error))
