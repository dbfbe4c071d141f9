"""The process `serin guard`: flags, what runs, and how it ends. It asks the API server for nothing.

It does what the operator has signed with the key that both have, and nothing else (keys.py).
"""

import argparse
import asyncio
import os
import signal
import sys
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector

from serin.api.guard import LARGEST_ANSWER, PORT, OutputGuard, read_written
from serin.api.guard_agreement import Pairing, is_pairing, read_written_pairing
from serin.api.guard_inputs import InputGuard, is_input, read_written_input
from serin.api.guard_keys import DATA, SECRET, read_signed
from serin.api.guard_record import METRICS_PORT, Recording, is_recording, read_written_recording
from serin.api.guard_review import Reviewing, is_reviewing, read_written_reviewing
from serin.guard.counts import Counts
from serin.guard.exchange import Exchange
from serin.guard.keys import Keys, NoKey
from serin.guard.metrics import MetricsPage
from serin.guard.pairs import Pairs
from serin.guard.recorder import Recorder, RecordExchange
from serin.guard.request_exchange import RequestExchange
from serin.guard.reviewed import Reviewed, Reviews
from serin.guard.server import Answering, GuardServer, Limits
from serin.guard.watched import Watched

log: Final = structlog.get_logger("serin.guard")

# Where the chart mounts the key.
_KEY_FILE: Final = f"/etc/serin/guard/{DATA}"
# For how long a thread that compares, records or writes a page goes on while clients wait for the one that answers them
# (Python's own is 5 ms, which every request would wait).
_SWITCH_SECONDS: Final = 0.0002
# Of the memory, what pairs of answers may have beside it.
_PAIRS_SHARE: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags; a variable of the environment is a flag's default."""

    def number(name: str, default: int, text: str) -> None:
        variable = "SERIN_GUARD_" + name.upper().replace("-", "_")
        value = os.environ.get(variable, str(default))
        parser.add_argument(f"--{name}", default=value, type=int, help=f"{text} [{variable}]")

    number("port", PORT, "port for the router")
    text = "file with the key by which the operator's settings are known; read again when it changes"
    default = os.environ.get("SERIN_GUARD_KEY_FILE", _KEY_FILE)
    parser.add_argument("--key-file", default=default, type=Path, help=f"{text} [SERIN_GUARD_KEY_FILE]")
    number("metrics-port", METRICS_PORT, "port for Prometheus, with what was recorded; 0: none")
    operator = os.environ.get("SERIN_GUARD_REVIEWS", "")
    text = "host:port of the operator, which takes what people look at; none: nobody does [SERIN_GUARD_REVIEWS]"
    parser.add_argument("--reviews", default=operator, help=text)
    number("memory", 64 * 1024 * 1024, "bytes of requests and answers that may be held at once; more pass unchecked")


def main(arguments: argparse.Namespace) -> None:
    """Serve until told to stop."""
    try:
        asyncio.run(run(arguments))
    except NoKey as error:
        sys.exit(f"serin guard: {error}: mount {DATA} of the Secret {SECRET} there, which the operator writes")


async def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the port is taken, NoKey."""
    keys = Keys(arguments.key_file)
    sys.setswitchinterval(_SWITCH_SECONDS)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    pairs = Pairs(arguments.memory // _PAIRS_SHARE)
    recorder = Recorder(Counts())
    metrics = MetricsPage(_registry(recorder))
    if arguments.metrics_port:
        await metrics.start(None, arguments.metrics_port)
    reviews = Reviews(arguments.reviews, pairs)
    server = GuardServer(partial(_begin, keys, pairs, recorder, reviews), Limits(LARGEST_ANSWER, arguments.memory))
    port = await server.start(None, arguments.port)
    reading = asyncio.create_task(keys.run(), name="key")
    log.info("guard.serving", port=port)
    try:
        await stopping.wait()
    finally:
        log.info("guard.stopping")
        reading.cancel()
        await server.stop()
        await reviews.stop()
        await pairs.stop()
        recorder.stop()
        await metrics.stop()


def _registry(recorder: Recorder) -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(recorder.counts)
    return registry


def _begin(keys: Keys, pairs: Pairs, recorder: Recorder, reviews: Reviews, settings: bytes, peer: str) -> Answering:
    found = _read(keys.key, settings)
    if isinstance(found, Pairing):
        return Watched(found, pairs, peer)
    if isinstance(found, Recording):
        return RecordExchange(found, recorder, pairs)
    if isinstance(found, Reviewing):
        return Reviewed(found, reviews)
    return RequestExchange(found) if isinstance(found, InputGuard) else Exchange(found)


@lru_cache(maxsize=1024)  # 25 KB each at most
def _read(key: bytes, settings: bytes) -> OutputGuard | InputGuard | Pairing | Recording | Reviewing:
    text = read_signed(key, settings)
    if is_reviewing(text):
        return read_written_reviewing(text)
    if is_pairing(text):
        return read_written_pairing(text)
    if is_recording(text):
        return read_written_recording(text)
    return read_written_input(text) if is_input(text) else read_written(text)
