"""Readiness checks: small blocking requests, made from the host or from a cluster's network namespace.

A namespace's loopback cannot be reached from outside, so such a request is made by a thread that first moves itself
(the thread, not the process) into the namespace.
"""

from __future__ import annotations

import ctypes
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.cluster.processes import Probe

_CLONE_NEWNET = 0x40000000
_SECONDS = 15.0


def http(url: str, ca: Path | None = None, network: Path | None = None) -> Probe:
    """Ready when `url` answers 200; `network` is the namespace's file, `ca` what to check a certificate against.

    Without `ca` an https answer is believed unchecked: enough for a component's own self-signed health port.
    """

    def probe() -> str | None:
        return _inside(network, lambda: _get(url, ca)) if network else _get(url, ca)

    return probe


def _get(url: str, ca: Path | None) -> str | None:
    context = None
    if url.startswith("https:"):
        context = ssl.create_default_context(cafile=str(ca)) if ca else ssl._create_unverified_context()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
    )
    try:
        with opener.open(url, timeout=_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}: {error.read(2000).decode(errors='replace').strip()}"
    except OSError as error:
        return f"{url}: {getattr(error, 'reason', error)}"


def _inside(network: Path, request: Callable[[], str | None]) -> str | None:
    answer: list[str | None] = []

    def run() -> None:
        try:
            enter_network(network)
            answer.append(request())
        except OSError as error:
            answer.append(f"{network}: {error}")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return answer[0] if answer else "the check itself failed"


def enter_network(network: Path) -> None:
    """Move the calling thread into a network namespace for good (os.setns exists only from Python 3.12 on)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with network.open() as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
