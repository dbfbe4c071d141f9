"""The process `serin guard`: flags, what runs, and how it ends. It asks the API server for nothing."""

import argparse
import asyncio
import os
import signal
from functools import lru_cache
from typing import Final

import structlog

from serin.api.guard import LARGEST_ANSWER, PORT, OutputGuard, read_written
from serin.api.guard_inputs import InputGuard, is_input, read_written_input
from serin.guard.exchange import Exchange
from serin.guard.request_exchange import RequestExchange
from serin.guard.server import GuardServer, Limits

log: Final = structlog.get_logger("serin.guard")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags; a variable of the environment is a flag's default."""

    def number(name: str, default: int, text: str) -> None:
        variable = "SERIN_GUARD_" + name.upper().replace("-", "_")
        value = os.environ.get(variable, str(default))
        parser.add_argument(f"--{name}", default=value, type=int, help=f"{text} [{variable}]")

    number("port", PORT, "port for the router")
    number("memory", 64 * 1024 * 1024, "bytes of requests and answers that may be held at once; more pass unchecked")


def main(arguments: argparse.Namespace) -> None:
    """Serve until told to stop."""
    asyncio.run(run(arguments))


async def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the port is taken."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    server = GuardServer(_begin, Limits(LARGEST_ANSWER, arguments.memory))
    port = await server.start(None, arguments.port)
    log.info("guard.serving", port=port)
    await stopping.wait()
    log.info("guard.stopping")
    await server.stop()


def _begin(settings: bytes) -> Exchange | RequestExchange:
    found = _read(settings)
    return RequestExchange(found) if isinstance(found, InputGuard) else Exchange(found)


@lru_cache(maxsize=4096)
def _read(settings: bytes) -> OutputGuard | InputGuard:
    text = settings.decode("ascii")
    return read_written_input(text) if is_input(text) else read_written(text)
