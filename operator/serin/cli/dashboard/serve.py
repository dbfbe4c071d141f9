"""Starts the server of `serin dashboard`, opens the browser, and waits until the user has had enough."""

import contextlib
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from serin.cli.connection import Connection
from serin.cli.dashboard.markup import tag
from serin.cli.dashboard.own_browser import OwnBrowser
from serin.cli.dashboard.server import Dashboard
from serin.cli.exit_codes import Exit, Stop
from serin.cli.output import say

_LOOPBACK = "127.0.0.1"


def serve(connection: Connection, *, everywhere: bool, port: int, browser: bool) -> None:
    """Serve until interrupted. `port`: 0 for a free one. Raises Stop when it is taken."""
    listening = _listen(port)
    port = listening.getsockname()[1]
    access = OwnBrowser(connection, port, everywhere=everywhere)
    url = f"http://{_LOOPBACK}:{port}{access.root}/"
    print(url, flush=True)
    say("This address is for you alone: who has it acts with your rights. Ctrl-C ends it.")
    with _opened(url) if browser else contextlib.nullcontext():
        web.run_app(Dashboard(access).application(), sock=listening, print=None, access_log=None, shutdown_timeout=1.0)


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_LOOPBACK, port))
        listening.listen()  # before the address is told: a browser may be quick
    except OSError as error:
        listening.close()
        words = f"cannot listen on port {port}: {error.strerror}. Leave --port away, or write another one"
        raise Stop(Exit.USAGE, words) from error
    return listening


@contextlib.contextmanager
def _opened(url: str) -> Iterator[None]:
    """Open the browser by a file that only the user reads: what a command line has, all users of a machine see."""
    with tempfile.TemporaryDirectory(prefix="serin-") as folder:
        file = Path(folder) / "open.html"
        refresh = tag("meta", http_equiv="refresh", content=f"0;url={url}")
        file.write_text(f"<!DOCTYPE html>{refresh}")
        if not webbrowser.open(file.as_uri()):
            say("No browser was found: open the address yourself.")
        yield
