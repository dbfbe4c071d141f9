"""Who may use the page in the cluster: whoever signs in with a token that the API server takes.

The process has no rights of its own: the API server says whose token it is, and judges every request by it. What this
module adds is what a browser needs: a cookie that no script and no other site gets, checks of Host and Origin, and
bounds on everything that somebody without rights could use up. A token is never in an address, a page or a log.
"""

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from aiohttp import web

from serin.api.text import printable
from serin.cli.dashboard import pages
from serin.cli.dashboard.as_user import ApiServer, SignedOut
from serin.cli.dashboard.hosts import Hosts
from serin.cli.dashboard.markup import tag
from serin.cli.dashboard.server import EVENTS, SIGNED_OUT, Handler
from serin.cli.dashboard.sessions import Sessions, seconds_left
from serin.cli.dashboard.visitor import Visitor
from serin.cluster.protocol import ClusterError

log: Final = structlog.get_logger("serin.dashboard")

# The browser itself refuses a cookie of this name that is not Secure, or is of another host.
COOKIE: Final = "__Host-serin"
# As in an Authorization header (RFC 6750, b64token): nothing that could end it.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_MOST_TOKEN: Final = 16 * 1024
_OURS: Final = re.compile(r"(/[a-z0-9][a-z0-9.-]*)+|/")
_MOST_CHECKS: Final = 32
_REFUSED_SECONDS: Final = 1.0
_ENDED: Final = "You are signed out: your session has ended, or the API server no longer accepts its token."

# Told of a request of a user's: the request, and his name.
_Admit = Callable[[web.Request, str], None]


class SignIn:
    """Sessions of users who have shown a token. `hosts`: the names of the page. `admit`: told who asks."""

    root = ""

    def __init__(self, server: ApiServer, hosts: Hosts, admit: _Admit, sessions: Sessions | None = None) -> None:
        self._server, self._hosts, self._admit = server, hosts, admit
        self._sessions = sessions or Sessions()
        self._checks, self._checking = ThreadPoolExecutor(4), 0

    def routes(self) -> list[web.RouteDef]:
        """Where one signs in and out, and what probes ask."""
        return [
            web.post("/sign-in", self._sign_in),
            web.post("/sign-out", self._sign_out),
            web.get("/healthz", _healthy),
        ]

    def visitor(self, request: web.Request) -> Visitor:
        """Who has the session of this request, now. Raises SignedOut."""
        found = self._sessions.find(_key(request))
        if found is None:
            raise SignedOut(_ENDED if _key(request) else "")
        return found

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let through what users ask who are signed in.

        Anybody else's connection ends with the answer: what stays open would be closed as a stranger's in the middle of
        the next request.
        """
        response = await self._answer(request, handler)
        if self._sessions.find(_key(request)) is None:
            response.force_close()
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/healthz":  # the kubelet asks by the pod's address
            return await handler(request)
        host = request.headers.get("Host", "").lower()
        if not self._hosts.has(host):
            words = "this is not a name of this page: whoever installs it adds names by dashboard.hosts\n"
            return web.Response(status=421, text=words)
        if request.method not in ("GET", "HEAD") and request.headers.get("Origin", "").lower() != f"https://{host}":
            return web.Response(status=403, text="this was not asked by a page of this address\n")
        if request.path in ("/sign-in", "/sign-out") or request.path.startswith("/static/"):
            return await handler(request)
        if _comes_from_elsewhere(request):
            return _loaded_again(request)
        try:
            self._admit(request, self.visitor(request).name)
            return await handler(request)
        except SignedOut as ended:
            self._sessions.close(_key(request))
            unsure = " Look whether it was done before you ask again." if request.method == "POST" else ""
            return _asked_to_sign_in(request, ended.why + unsure)

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        to = _ours(form.get("to"))
        address = request.remote or ""
        token = str(form.get("token", "")).strip().removeprefix("Bearer ").strip()
        if not _TOKEN.fullmatch(token) or len(token) > _MOST_TOKEN:
            return _form("That is no token: paste all of it, and nothing else.", to, 400)
        if self._checking >= _MOST_CHECKS:
            return _form("Many people sign in just now. Try again in a moment.", to, 503)
        try:
            name = await self._whose(token)
            key = self._sessions.open(name, self._server.connection(token), seconds_left(token, time.time()))
        except SignedOut as refused:
            log.info("sign_in.refused", address=address)
            # Who guesses waits, and nobody else: behind an ingress or a port-forward all people have one address.
            await asyncio.sleep(_REFUSED_SECONDS)
            return _form(refused.why, to, 401)
        except ClusterError as error:
            return _form(f"The API server did not say whose token this is: {error.message}", to, 502)
        self._sessions.close(_key(request))
        log.info("user.signed_in", user=printable(name), address=address)
        response = web.Response(status=303, headers={"Location": to})
        response.set_cookie(COOKIE, key, path="/", secure=True, httponly=True, samesite="Strict")
        return response

    async def _whose(self, token: str) -> str:
        """The user's name. Raises SignedOut when the token is nobody's, and ClusterErrors."""
        self._checking += 1
        try:
            connection = self._server.connection(token)
            name = await asyncio.get_running_loop().run_in_executor(self._checks, connection.who_am_i)
        finally:
            self._checking -= 1
        if not name or name == "system:anonymous":
            raise SignedOut("The API server does not know whose token this is.")
        return name

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        found = self._sessions.find(_key(request))
        if found is not None:
            log.info("user.signed_out", user=printable(found.name))
        self._sessions.close(_key(request))
        response = web.Response(status=303, headers={"Location": "/"})
        response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
        return response


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _key(request: web.Request) -> str:
    return request.cookies.get(COOKIE, "")


def _ours(to: object) -> str:
    """Where to go after signing in: a path of the page's own, and no other place."""
    return to if isinstance(to, str) and len(to) < 2000 and _OURS.fullmatch(to) else "/"


def _asked_to_sign_in(request: web.Request, why: str) -> web.Response:
    if request.path.startswith("/live/"):  # no page but a stream: the page that follows it is loaded anew
        return web.Response(body=SIGNED_OUT, headers={"Content-Type": EVENTS})
    # What was to be done is not done after signing in, but asked about again.
    return _form(why, _ours(re.sub(r"/(ask|do)/[a-z-]+$", "", request.path)), 401)


def _form(why: str, to: str, status: int) -> web.Response:
    return web.Response(text=pages.sign_in(why, to), content_type="text/html", status=status)


def _comes_from_elsewhere(request: web.Request) -> bool:
    """Whether a link of another site led here: the browser then keeps the cookie back, which is SameSite=Strict."""
    return not _key(request) and request.headers.get("Sec-Fetch-Site") == "cross-site"


def _loaded_again(request: web.Request) -> web.Response:
    """A page that leads to itself: it is of this site, so the browser shows the cookie when it has one."""
    refresh = tag("meta", http_equiv="refresh", content=f"0;url={_ours(request.path)}")
    return web.Response(text=f"<!DOCTYPE html>\n{refresh}\n", content_type="text/html")
