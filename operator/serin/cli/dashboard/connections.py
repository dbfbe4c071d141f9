"""How many connections to the page in the cluster there are: of people who are not signed in, and of each user.

Who has not signed in has some seconds for it, and when there are too many of them the oldest goes, so nobody who holds
connections open keeps others out. A browser opens a new one by itself.
"""

import asyncio
import time
from collections import OrderedDict
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

MOST_STRANGERS: Final = 256
MOST_OF_ONE: Final = 32
# Longer than the API server may take to say whose a token is.
PATIENCE: Final = 30.0
_SWEEP_SECONDS: Final = 1.0


class Connections:
    """Makes the protocol of each new connection."""

    def __init__(self, server: web.Server, *, most: int = MOST_STRANGERS, patience: float = PATIENCE) -> None:
        self._server, self._most, self._patience = server, most, patience
        self._strangers: OrderedDict[RequestHandler, float] = OrderedDict()
        self._owners: dict[RequestHandler, str] = {}
        self._owned: dict[str, OrderedDict[RequestHandler, None]] = {}

    def accept(self) -> RequestHandler:
        """The protocol of a connection that has just come."""
        protocol = self._server()
        self._strangers[protocol] = time.monotonic()
        while len(self._strangers) > self._most:
            self._strangers.popitem(last=False)[0].force_close()
        return protocol

    def admit(self, protocol: RequestHandler, owner: str) -> None:
        """A request of this user came on it. Behind an ingress the next one may be another user's."""
        self._strangers.pop(protocol, None)
        self._forget(protocol)
        self._owners[protocol] = owner
        mine = self._owned.setdefault(owner, OrderedDict())
        mine[protocol] = None
        while len(mine) > MOST_OF_ONE:
            oldest = next(iter(mine))
            self._forget(oldest)
            oldest.force_close()

    async def run(self) -> None:
        """Close connections of strangers whose time is over, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep()

    def sweep(self) -> None:
        """Close what is over, and forget what was closed."""
        over = time.monotonic() - self._patience
        while self._strangers and next(iter(self._strangers.values())) < over:
            self._strangers.popitem(last=False)[0].force_close()
        for protocol in [one for one in self._owners if one.transport is None]:
            self._forget(protocol)

    def _forget(self, protocol: RequestHandler) -> None:
        owner = self._owners.pop(protocol, None)
        if owner is None:
            return
        mine = self._owned[owner]
        del mine[protocol]
        if not mine:
            del self._owned[owner]
