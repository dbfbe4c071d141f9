"""The web server of the page: routes, live pages, and the threads in which the cluster is asked.

The same for `serin dashboard` on a user's machine and for `serin serve-dashboard` in the cluster. Who may ask, and with
whose rights, an Access decides (`own_browser.py`, `sign_in.py`); what is asked of the cluster is asked by the functions
of the command line.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from secrets import token_urlsafe
from typing import Final, Protocol, TypeVar

from aiohttp import web

from serin.cli.connection import Connection
from serin.cli.dashboard import pages
from serin.cli.dashboard.as_user import SignedOut
from serin.cli.dashboard.markup import NOTHING, Html, tag
from serin.cli.dashboard.views import View
from serin.cli.dashboard.visitor import Visitor, keep
from serin.cli.exit_codes import Exit, Stop
from serin.cluster.protocol import Retryable

# Seconds between two looks at the cluster for an open page; of a list that takes long to read, more.
_ONE_EVERY: Final = 2.0
_LIST_EVERY: Final = 5.0
_TIMES_ITS_DURATION: Final = 5.0
_MOST_FORM_BYTES: Final = 64 * 1024
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_STATUS: Final = {Exit.NOT_FOUND: 404, Exit.NO_ACCESS: 403, Exit.NO: 409, Exit.TIMED_OUT: 504}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # The path may have a token: no other site is told of it. A form of this site's says where it comes from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
EVENTS: Final = "text/event-stream; charset=utf-8"
SIGNED_OUT: Final = b"event: signed-out\ndata: \n\n"
_STATIC: Final = {"page.css": "text/css", "page.js": "text/javascript"}

_T = TypeVar("_T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(Protocol):
    """Who may ask. `root`: the path of all pages, without a slash at its end."""

    root: str

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What the handler answers, or why it is not asked."""

    def visitor(self, request: web.Request) -> Visitor:
        """Who asks. Raises SignedOut when nobody does, by now."""

    def routes(self) -> list[web.RouteDef]:
        """Pages of its own."""


class Dashboard:
    """Pages about what users see of one cluster. `looks`, `acts`: how many of them are under way at once."""

    def __init__(self, access: Access, *, looks: int = 4, acts: int = 8) -> None:
        self._access, self._root = access, access.root
        # Looks of open pages never make an action wait.
        self._looks, self._acts = ThreadPoolExecutor(looks), ThreadPoolExecutor(acts)

    def application(self) -> web.Application:
        """What aiohttp serves."""
        made = web.Application(middlewares=[self._guard], client_max_size=_MOST_FORM_BYTES)
        made.on_response_prepare.append(_add_headers)
        root = self._root
        one = root + "/in/{namespace}/{name}"
        made.add_routes(
            [
                web.get(f"{root}/", self._start),
                web.get(root + "/static/{file}", _static),
                web.get(f"{root}/all", self._list),
                web.get(root + "/in/{namespace}", self._list),
                web.get(f"{root}/go", self._go),
                web.get(one, self._deployment),
                web.get(one + "/diff/{before}/{after}", self._diff),
                web.get(one + "/report/{snapshot}", self._report),
                web.get(one + "/ask/{verb}", self._ask),
                web.post(one + "/do/{verb}", self._do),
                web.get(f"{root}/live/all", self._live_list),
                web.get(root + "/live/in/{namespace}", self._live_list),
                web.get(root + "/live/in/{namespace}/{name}", self._live_deployment),
                *self._access.routes(),
            ]
        )
        return made

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        async def answered(request: web.Request) -> web.StreamResponse:
            """Make an answer of whatever is raised, but of SignedOut."""
            if any(key in _NAMES and not _NAME.fullmatch(one) for key, one in request.match_info.items()):
                return web.Response(status=404, text="there is no such page\n")
            try:
                return await handler(request)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                return self._said(request, error.reason, error.status)
            except Stop as stop:
                return self._said(request, stop.message, _STATUS.get(stop.code, 400))
            except Retryable as error:
                return self._said(request, f"{error.message}; load the page again", 502)

        return await self._access.answer(request, answered)

    # ── Pages ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self, request: web.Request) -> web.StreamResponse:
        visitor = self._access.visitor(request)
        if visitor.first is not None:
            raise web.HTTPSeeOther(self._root + visitor.first)
        view = await self._look(visitor, lambda: pages.start(visitor.connection, self._root, visitor.name))
        if view is None:
            raise web.HTTPSeeOther(f"{self._root}/all")
        return self._page(request, view)

    async def _go(self, request: web.Request) -> web.StreamResponse:
        """From the field for a namespace."""
        namespace = request.query.get("namespace", "").strip()
        if namespace and not _NAME.fullmatch(namespace):
            raise web.HTTPNotFound(reason="that is no name of a namespace")
        raise web.HTTPSeeOther(f"{self._root}/in/{namespace}" if namespace else f"{self._root}/all")

    async def _list(self, request: web.Request) -> web.StreamResponse:
        where, visitor = request.match_info.get("namespace"), self._access.visitor(request)
        view = await self._look(visitor, lambda: pages.listing(visitor.connection, self._root, where))
        live = f"{self._root}/live/in/{where}" if where else f"{self._root}/live/all"
        return self._page(request, view, live=live, before=_filter())

    async def _deployment(self, request: web.Request) -> web.StreamResponse:
        visitor, connection, name = self._of(request)
        view = await self._look(visitor, lambda: pages.deployment(connection, self._root, name))
        live = f"{self._root}/live/in/{connection.namespace}/{name}"
        return self._page(request, view, connection.namespace, live=live, before=_outcome(visitor, request))

    async def _diff(self, request: web.Request) -> web.StreamResponse:
        visitor, connection, name = self._of(request)
        both = request.match_info["before"], request.match_info["after"]
        view = await self._look(visitor, lambda: pages.diff(connection, *both))
        return self._page(request, view, connection.namespace, name)

    async def _report(self, request: web.Request) -> web.StreamResponse:
        visitor, connection, name = self._of(request)
        view = await self._look(visitor, lambda: pages.report(connection, name, request.match_info["snapshot"]))
        return self._page(request, view, connection.namespace, name)

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        visitor, connection, name = self._of(request)
        view = await self._look(visitor, lambda: pages.ask(connection, self._root, name, request.match_info["verb"]))
        return self._page(request, view, connection.namespace, name)

    async def _do(self, request: web.Request) -> web.StreamResponse:
        """Do what was asked and confirmed; then show the deployment, with what came of it."""
        visitor, connection, name = self._of(request)
        verb, sent = request.match_info["verb"], await request.post()
        form = {key: value for key, value in sent.items() if isinstance(value, str)}
        try:
            with visitor.turns.take("actions"):
                told, good = await _run(self._acts, lambda: pages.act(connection, name, verb, form)), True
        except Stop as stop:
            told, good = stop.message, False
        except Retryable as error:
            told, good = f"{error.message}. Look whether it has been done before you ask again.", False
        key = token_urlsafe(8)
        keep(visitor.told, key, (told, good))
        raise web.HTTPSeeOther(f"{self._root}/in/{connection.namespace}/{name}?told={key}")

    def _page(
        self,
        request: web.Request,
        view: View,
        namespace: str = "",
        name: str = "",
        *,
        live: str = "",
        before: Html = NOTHING,
    ) -> web.Response:
        visitor = self._access.visitor(request)
        if live:
            key = token_urlsafe(8)
            keep(visitor.seen, key, _hashes(view))
            live = f"{live}?seen={key}"
        page = pages.page(self._root, view, namespace, name, live=live, before=before, user=visitor.name)
        return web.Response(text=page, content_type="text/html")

    def _said(self, request: web.Request, message: str, status: int) -> web.Response:
        view = View("serin", {}, tag("div", tag("p", message), class_="note bad", role="alert"))
        user = self._access.visitor(request).name
        return web.Response(text=pages.page(self._root, view, user=user), content_type="text/html", status=status)

    # ── Pages that go on ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _live_list(self, request: web.Request) -> web.StreamResponse:
        where, connection = request.match_info.get("namespace"), self._access.visitor(request).connection
        return await self._live(request, lambda: pages.listing(connection, self._root, where), _LIST_EVERY)

    async def _live_deployment(self, request: web.Request) -> web.StreamResponse:
        _, connection, name = self._of(request)
        return await self._live(request, lambda: pages.deployment(connection, self._root, name), _ONE_EVERY)

    async def _live(self, request: web.Request, look: Callable[[], View], every: float) -> web.StreamResponse:
        """Server-sent events: the parts that have changed, as JSON. Ends when the browser goes, or its session."""
        visitor = self._access.visitor(request)
        with visitor.turns.take("pages"):
            response = web.StreamResponse(headers={"Content-Type": EVENTS})
            await response.prepare(request)
            with suppress(ConnectionResetError):  # the page was closed
                try:
                    await self._follow(request, response, look, every)
                except SignedOut:
                    await response.write(SIGNED_OUT)
            return response

    async def _follow(
        self, request: web.Request, response: web.StreamResponse, look: Callable[[], View], every: float
    ) -> None:
        """Look and tell. Raises ConnectionResetError and SignedOut."""
        # What the page has already stays as it is: an element that is renewed under the mouse takes no click.
        shown = self._access.visitor(request).seen.pop(request.query.get("seen", ""), None)
        trouble = ""
        while True:
            begun, said, changed = time.monotonic(), "", {}
            try:
                view = await self._look(self._access.visitor(request), look)
                found = _hashes(view)
                same = shown is not None and found.keys() == shown.keys()
                changed = {key: view.parts[key] for key, _ in found.items() - shown.items()} if same and shown else {}
                changed = changed if same else {"view": view.whole}
                shown = found
            except Stop as stop:
                said = stop.message
            except Retryable as error:
                said = f"{error.message}; trying again"
            except web.HTTPTooManyRequests as error:
                said = error.reason
            if said != trouble:
                trouble = said
                changed["trouble"] = tag("div", said, class_="note bad") if said else Html("")
            data = f"data: {json.dumps(changed)}\n\n" if changed else ": nothing new\n\n"
            await response.write(data.encode())
            await asyncio.sleep(max(every, _TIMES_ITS_DURATION * (time.monotonic() - begun)))

    # ── The cluster ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _of(self, request: web.Request) -> tuple[Visitor, Connection, str]:
        visitor = self._access.visitor(request)
        return visitor, visitor.connection.within(request.match_info["namespace"]), request.match_info["name"]

    async def _look(self, visitor: Visitor, work: Callable[[], _T]) -> _T:
        with visitor.turns.take("looks"):
            async with visitor.turns.look:
                return await _run(self._looks, work)


_NAMES: Final = frozenset({"namespace", "name", "before", "after", "snapshot"})


async def _run(threads: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _hashes(view: View) -> dict[str, int]:
    """Which parts are the same as before. They themselves would be a copy of the page for each that is open."""
    return {key: hash(part) for key, part in view.parts.items()}


def _outcome(visitor: Visitor, request: web.Request) -> Html:
    told, good = visitor.told.get(request.query.get("told", ""), ("", True))
    return tag("div", tag("pre", told), class_="note" if good else "note bad", role="status") if told else Html("")


def _filter() -> Html:
    field = tag("input", type="search", id="filter", autocomplete="off", placeholder="for example: fraud Baking")
    return tag("p", tag("label", "Show only rows with these words: ", field))


async def _static(request: web.Request) -> web.StreamResponse:
    kind = _STATIC.get(request.match_info["file"])
    if kind is None:
        raise web.HTTPNotFound(reason="there is no such file")
    text = (Path(__file__).parent / request.match_info["file"]).read_text()
    return web.Response(text=text, content_type=kind)
