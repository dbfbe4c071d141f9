"""The web server of `serin dashboard`: on this machine only, for whoever has the address with its token.

Every page on a machine can send requests to its loopback address, and so can all of its users. So a request counts only
with the token in its path, which is in no other place than the browser's own; with a Host header that is this server's
(another name that was pointed here is not); and, when it changes something, with an Origin that is this server's. What
is asked of the cluster is asked with the user's own rights, by the functions of the command line.
"""

import asyncio
import hmac
import json
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_urlsafe
from typing import Final, TypeVar

from aiohttp import web

from serin.cli.connection import Connection
from serin.cli.dashboard import pages
from serin.cli.dashboard.markup import NOTHING, Html, tag
from serin.cli.dashboard.views import View
from serin.cli.exit_codes import Exit, Stop
from serin.cluster.protocol import Retryable

# Seconds between two looks at the cluster for an open page; of a list that takes long to read, more.
_ONE_EVERY: Final = 2.0
_LIST_EVERY: Final = 5.0
_TIMES_ITS_DURATION: Final = 5.0
_MOST_FORM_BYTES: Final = 64 * 1024
_MOST_KEPT: Final = 50
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_STATUS: Final = {Exit.NOT_FOUND: 404, Exit.NO_ACCESS: 403, Exit.NO: 409, Exit.TIMED_OUT: 504}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # The path has the token: no other site is told of it. A form of this site's says where it comes from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATIC: Final = {"page.css": "text/css", "page.js": "text/javascript"}

_T = TypeVar("_T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Dashboard:
    """Pages about what one user sees of one cluster. `everywhere`: the first page lists all namespaces.

    `port`: where it listens, as in its own addresses.
    """

    def __init__(self, connection: Connection, port: int, *, everywhere: bool = False) -> None:
        self._connection, self._everywhere = connection, everywhere
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._token = token_urlsafe(24)
        self.root = f"/{self._token}"
        self._told: OrderedDict[str, tuple[str, bool]] = OrderedDict()
        self._rendered: OrderedDict[str, Mapping[str, Html]] = OrderedDict()
        # Looks of open pages never make an action wait.
        self._looks, self._acts = ThreadPoolExecutor(4), ThreadPoolExecutor(8)

    def application(self) -> web.Application:
        """What aiohttp serves."""
        made = web.Application(middlewares=[self._guard], client_max_size=_MOST_FORM_BYTES)
        one = "/{token}/in/{namespace}/{name}"
        made.add_routes(
            [
                web.get("/{token}/", self._start),
                web.get("/{token}/static/{file}", _static),
                web.get("/{token}/all", self._list),
                web.get("/{token}/in/{namespace}", self._list),
                web.get("/{token}/go", self._go),
                web.get(one, self._deployment),
                web.get(one + "/diff/{before}/{after}", self._diff),
                web.get(one + "/report/{snapshot}", self._report),
                web.get(one + "/ask/{verb}", self._ask),
                web.post(one + "/do/{verb}", self._do),
                web.get("/{token}/live/all", self._live_list),
                web.get("/{token}/live/in/{namespace}", self._live_list),
                web.get("/{token}/live/in/{namespace}/{name}", self._live_deployment),
            ]
        )
        return made

    # ── Who may ask ───────────────────────────────────────────────────────────────────────────────────────────────────

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Let through what the user's own browser asks; make an answer of whatever is raised."""
        response = self._refused(request)
        if response is None:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = error if error.status < 400 else self._said(error.reason, error.status)
            except Stop as stop:
                response = self._said(stop.message, _STATUS.get(stop.code, 400))
            except Retryable as error:
                response = self._said(f"{error.message}; load the page again", 502)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def _refused(self, request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Host", "") not in self._hosts:
            return web.Response(status=421, text="this is not a name of serin dashboard\n")
        given = request.path.split("/", 2)[1].encode(errors="replace")
        if not hmac.compare_digest(given, self._token.encode()):
            return web.Response(status=403, text="use the address that serin dashboard has printed: it has a token\n")
        origins = {f"http://{host}" for host in self._hosts}
        if request.method not in ("GET", "HEAD") and request.headers.get("Origin") not in origins:
            return web.Response(status=403, text="this was not asked by a page of serin dashboard\n")
        wrong = [one for key, one in request.match_info.items() if key in _NAMES and not _NAME.fullmatch(one)]
        return web.Response(status=404, text="there is no such page\n") if wrong else None

    # ── Pages ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self, _request: web.Request) -> web.StreamResponse:
        raise web.HTTPSeeOther(
            f"{self.root}/all" if self._everywhere else f"{self.root}/in/{self._connection.namespace}"
        )

    async def _go(self, request: web.Request) -> web.StreamResponse:
        """From the field for a namespace."""
        namespace = request.query.get("namespace", "").strip()
        if namespace and not _NAME.fullmatch(namespace):
            raise web.HTTPNotFound(reason="that is no name of a namespace")
        raise web.HTTPSeeOther(f"{self.root}/in/{namespace}" if namespace else f"{self.root}/all")

    async def _list(self, request: web.Request) -> web.StreamResponse:
        where = request.match_info.get("namespace")
        view = await self._look(lambda: pages.listing(self._connection, self.root, where))
        live = f"{self.root}/live/in/{where}" if where else f"{self.root}/live/all"
        return self._page(view, live=live, before=_filter())

    async def _deployment(self, request: web.Request) -> web.StreamResponse:
        connection, name = self._of(request)
        view = await self._look(lambda: pages.deployment(connection, self.root, name))
        live = f"{self.root}/live/in/{connection.namespace}/{name}"
        return self._page(view, connection.namespace, live=live, before=self._outcome(request))

    async def _diff(self, request: web.Request) -> web.StreamResponse:
        connection, name = self._of(request)
        both = request.match_info["before"], request.match_info["after"]
        view = await self._look(lambda: pages.diff(connection, *both))
        return self._page(view, connection.namespace, name)

    async def _report(self, request: web.Request) -> web.StreamResponse:
        connection, name = self._of(request)
        view = await self._look(lambda: pages.report(connection, name, request.match_info["snapshot"]))
        return self._page(view, connection.namespace, name)

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        connection, name = self._of(request)
        view = await self._look(lambda: pages.ask(connection, self.root, name, request.match_info["verb"]))
        return self._page(view, connection.namespace, name)

    async def _do(self, request: web.Request) -> web.StreamResponse:
        """Do what was asked and confirmed; then show the deployment, with what came of it."""
        connection, name = self._of(request)
        verb, sent = request.match_info["verb"], await request.post()
        form = {key: value for key, value in sent.items() if isinstance(value, str)}
        try:
            told, good = await self._run(self._acts, lambda: pages.act(connection, name, verb, form)), True
        except Stop as stop:
            told, good = stop.message, False
        except Retryable as error:
            told, good = f"{error.message}. Look whether it has been done before you ask again.", False
        key = token_urlsafe(8)
        _keep(self._told, key, (told, good))
        raise web.HTTPSeeOther(f"{self.root}/in/{connection.namespace}/{name}?told={key}")

    def _outcome(self, request: web.Request) -> Html:
        told, good = self._told.get(request.query.get("told", ""), ("", True))
        return tag("div", tag("pre", told), class_="note" if good else "note bad", role="status") if told else Html("")

    def _page(
        self, view: View, namespace: str = "", name: str = "", *, live: str = "", before: Html = NOTHING
    ) -> web.Response:
        if live:
            key = token_urlsafe(8)
            _keep(self._rendered, key, view.parts)
            live = f"{live}?seen={key}"
        page = pages.page(self.root, view, namespace, name, live=live, before=before)
        return web.Response(text=page, content_type="text/html")

    def _said(self, message: str, status: int) -> web.Response:
        view = View("serin", {}, tag("div", tag("p", message), class_="note bad", role="alert"))
        return web.Response(text=pages.page(self.root, view), content_type="text/html", status=status)

    # ── Pages that go on ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _live_list(self, request: web.Request) -> web.StreamResponse:
        where = request.match_info.get("namespace")
        return await self._live(request, lambda: pages.listing(self._connection, self.root, where), _LIST_EVERY)

    async def _live_deployment(self, request: web.Request) -> web.StreamResponse:
        connection, name = self._of(request)
        return await self._live(request, lambda: pages.deployment(connection, self.root, name), _ONE_EVERY)

    async def _live(self, request: web.Request, look: Callable[[], View], every: float) -> web.StreamResponse:
        """Server-sent events: the parts that have changed, as JSON. Ends when the browser goes."""
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        # What the page has already stays as it is: an element that is renewed under the mouse takes no click.
        shown = self._rendered.pop(request.query.get("seen", ""), None)
        trouble = ""
        while True:
            begun, said, changed = time.monotonic(), "", {}
            try:
                view = await self._look(look)
                same = shown is not None and view.parts.keys() == shown.keys()
                changed = dict(view.parts.items() - shown.items()) if same and shown else {"view": view.whole}
                shown = view.parts
            except Stop as stop:
                said = stop.message
            except Retryable as error:
                said = f"{error.message}; trying again"
            if said != trouble:
                trouble = said
                changed["trouble"] = tag("div", said, class_="note bad") if said else Html("")
            data = f"data: {json.dumps(changed)}\n\n" if changed else ": nothing new\n\n"
            try:
                await response.write(data.encode())
            except ConnectionResetError:  # the page was closed
                return response
            await asyncio.sleep(max(every, _TIMES_ITS_DURATION * (time.monotonic() - begun)))

    # ── The cluster ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _of(self, request: web.Request) -> tuple[Connection, str]:
        return self._connection.within(request.match_info["namespace"]), request.match_info["name"]

    async def _look(self, work: Callable[[], _T]) -> _T:
        return await self._run(self._looks, work)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(threads, work)


_NAMES: Final = frozenset({"namespace", "name", "before", "after", "snapshot"})


def _keep(kept: OrderedDict[str, _T], key: str, value: _T) -> None:
    kept[key] = value
    while len(kept) > _MOST_KEPT:
        kept.popitem(last=False)


def _filter() -> Html:
    field = tag("input", type="search", id="filter", autocomplete="off", placeholder="for example: fraud Baking")
    return tag("p", tag("label", "Show only rows with these words: ", field))


async def _static(request: web.Request) -> web.StreamResponse:
    kind = _STATIC.get(request.match_info["file"])
    if kind is None:
        raise web.HTTPNotFound(reason="there is no such file")
    text = (Path(__file__).parent / request.match_info["file"]).read_text()
    return web.Response(text=text, content_type=kind)
