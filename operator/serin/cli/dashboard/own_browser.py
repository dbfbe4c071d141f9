"""Who may use `serin dashboard`: whoever has the address with its token, which is the user's own browser.

Every page on a machine can send requests to its loopback address, and so can all of its users. So a request counts only
with the token in its path, which is in no other place than the browser's own; with a Host header that is this server's
(another name that was pointed here is not); and, when it changes something, with an Origin that is this server's.
"""

import hmac
from secrets import token_urlsafe

from aiohttp import web

from serin.cli.connection import Connection
from serin.cli.dashboard.server import Handler
from serin.cli.dashboard.visitor import Turns, Visitor


class OwnBrowser:
    """One user, with the rights of a connection. `everywhere`: the first page lists all namespaces.

    `port`: where it listens, as in its own addresses.
    """

    def __init__(self, connection: Connection, port: int, *, everywhere: bool) -> None:
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._token = token_urlsafe(24)
        self.root = f"/{self._token}"
        first = "/all" if everywhere else f"/in/{connection.namespace}"
        self._visitor = Visitor(connection, Turns(looks=4, acts=8, follows=100), first=first)

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let through what the user's own browser asks."""
        if request.headers.get("Host", "") not in self._hosts:
            return web.Response(status=421, text="this is not a name of serin dashboard\n")
        given = request.path.split("/", 2)[1].encode(errors="replace")
        if not hmac.compare_digest(given, self._token.encode()):
            return web.Response(status=403, text="use the address that serin dashboard has printed: it has a token\n")
        origins = {f"http://{host}" for host in self._hosts}
        if request.method not in ("GET", "HEAD") and request.headers.get("Origin") not in origins:
            return web.Response(status=403, text="this was not asked by a page of serin dashboard\n")
        return await handler(request)

    def visitor(self, _request: web.Request) -> Visitor:
        """The user."""
        return self._visitor

    def routes(self) -> list[web.RouteDef]:
        """None: nobody signs in."""
        return []
