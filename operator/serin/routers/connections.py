"""Connections to a port of the operator's, and how many of strangers there may be.

A connection is a stranger's until a request on it was let in. A stranger has a few seconds for that, and when there are
too many of them the oldest goes: a router asks as soon as it is connected, so whoever holds connections without asking
fills no place that a router needs, and takes no file that the operator needs for its own. The addresses of pods that
may ask are never turned away. Where no request is let in for good, no connection has more than these seconds.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

# Not fewer than the server's backlog, as that many may be accepted before the first of them is read.
MOST: Final = 4096
# Seconds until a request must have been let in.
PATIENCE: Final = 10.0
_SWEEP_SECONDS: Final = 1.0


class Connections:
    """Makes the protocol of each new connection. `knows`: whether an address is one of a pod that may ask."""

    def __init__(
        self, server: web.Server, knows: Callable[[str], bool], *, most: int = MOST, patience: float = PATIENCE
    ) -> None:
        self._server, self._knows = server, knows
        self._most, self._patience = most, patience
        self._strangers: OrderedDict[RequestHandler, float] = OrderedDict()

    def accept(self) -> RequestHandler:
        """The protocol of a connection that has just come."""
        protocol = self._server()
        self._strangers[protocol] = time.monotonic()
        while len(self._strangers) > self._most:
            oldest, _ = self._strangers.popitem(last=False)
            if not self._is_known(oldest):
                oldest.force_close()
        return protocol

    def admit(self, protocol: RequestHandler) -> None:
        """A request on this connection was let in."""
        self._strangers.pop(protocol, None)

    async def run(self) -> None:
        """Close connections of strangers whose time is over, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            over = time.monotonic() - self._patience
            while self._strangers and next(iter(self._strangers.values())) < over:
                self._strangers.popitem(last=False)[0].force_close()

    def _is_known(self, protocol: RequestHandler) -> bool:
        peer = protocol.transport.get_extra_info("peername") if protocol.transport is not None else None
        return peer is not None and self._knows(peer[0])
