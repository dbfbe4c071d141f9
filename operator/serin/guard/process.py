"""The process `serin guard`: flags, what runs, and how it ends. It asks the API server for nothing."""

import argparse
import asyncio
import os
import signal
from functools import lru_cache, partial
from typing import Final

import structlog

from serin.api.guard import LARGEST_ANSWER, PORT, OutputGuard, read_written
from serin.api.guard_agreement import Pairing, is_pairing, read_written_pairing
from serin.api.guard_inputs import InputGuard, is_input, read_written_input
from serin.guard.exchange import Exchange
from serin.guard.pairs import Pairs
from serin.guard.request_exchange import RequestExchange
from serin.guard.server import Answering, GuardServer, Limits
from serin.guard.watched import Watched

log: Final = structlog.get_logger("serin.guard")

# Of the memory, what pairs of answers may have beside it.
_PAIRS_SHARE: Final = 2


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
    pairs = Pairs(arguments.memory // _PAIRS_SHARE)
    server = GuardServer(partial(_begin, pairs), Limits(LARGEST_ANSWER, arguments.memory))
    port = await server.start(None, arguments.port)
    log.info("guard.serving", port=port)
    await stopping.wait()
    log.info("guard.stopping")
    await server.stop()
    await pairs.stop()


def _begin(pairs: Pairs, settings: bytes, peer: str) -> Answering:
    found = _read(settings)
    if isinstance(found, Pairing):
        return Watched(found, pairs, peer)
    return RequestExchange(found) if isinstance(found, InputGuard) else Exchange(found)


@lru_cache(maxsize=4096)
def _read(settings: bytes) -> OutputGuard | InputGuard | Pairing:
    text = settings.decode("ascii")
    if is_pairing(text):
        return read_written_pairing(text)
    return read_written_input(text) if is_input(text) else read_written(text)
