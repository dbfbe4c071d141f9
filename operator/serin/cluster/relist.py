"""Notices every list that kopf makes, so that the cache knows when it is complete and what a watch gap has hidden.

kopf turns a list into one event per object and says nothing about objects that are no longer in it, nor when a list is
over. Both are read here from the traffic of kopf's own HTTP session (aiohttp's tracing), so it costs no request.

After etcd was restored from a backup, a watch that goes on from a version of before gets nothing until the versions
have grown past that. So it is told to begin afresh (`relist`): its connection is closed, and the next one asks for a
version that is too old for the API server, whose answer makes kopf list again.

A list may come in pages: each but the last carries `metadata.continue`, the token with which the next is asked for.
kopf sends no `limit` (its setting `watching.chunk_size`) and the API server then answers in one page, from its watch
cache; but kopf goes on wherever there is a token, so nothing here takes a page for the whole. A token that has expired
(410) means that the list has to be begun afresh: kopf would end, so the session does it (`begin_afresh`).
"""

import json
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import structlog
from yarl import URL

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.cache import Listing, ObjectCache
from serin.cluster.client import RequestObserver
from serin.cluster.protocol import Kind

log: Final = structlog.get_logger("serin.relist")

_EXPIRED: Final = 410
_TOKEN: Final = "continue"
_WATCH: Final = "watch"
_VERSION: Final = "resourceVersion"
_TOO_OLD: Final = "1"


@dataclass(slots=True)
class _UnderWay:
    """A list of which a page is still to come: the one that is asked for with this token (empty: without)."""

    listing: Listing
    token: str


class ListObserver:
    """Tells `cache` of every list of a `watched` kind and namespace that is made through sessions with `trace`.

    `observer` counts each request; `on_swept` is told of every list that shows deletions missed before it. `clock`:
    monotonic seconds. One object serves all sessions of a process: a list may begin in one and, after a new login, end
    in another.
    """

    def __init__(
        self,
        cache: ObjectCache,
        watched: Iterable[tuple[Kind, str | None]],
        *,
        observer: RequestObserver,
        on_swept: Callable[[Kind, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache, self._observer, self._on_swept = cache, observer, on_swept
        self._paths = {kinds.collection_path(kind, namespace): (kind, namespace) for kind, namespace in watched}
        self._under_way: dict[str, _UnderWay] = {}
        self._outdated: set[str] = set()  # paths whose next watch must not go on from where it was
        self._watches = weakref.WeakSet[aiohttp.ClientResponse]()
        self._clock = clock
        self._asked: dict[str, float] = {}
        self.trace = aiohttp.TraceConfig()
        self.trace.on_request_start.append(self._started)
        self.trace.on_response_chunk_received.append(self._answered)
        self.trace.on_request_end.append(self._ended)
        self.trace.on_request_exception.append(self._failed)

    async def begin_afresh(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Middleware: ask for the first page when the token of a later one has expired. kopf goes on from there.

        A watch is kept in mind, so that it can be ended.
        """
        url = request.url
        if _WATCH in url.query:
            return await self._watch(request, send)
        response = await send(request)
        if response.status != _EXPIRED or _TOKEN not in url.query or url.path not in self._paths:
            return response
        log.info("list.expired", path=url.path)
        response.close()
        # What is answered now still counts, for kopf and for aiohttp's signals, as the answer to the expired token.
        self._begin(url.path, url.query[_TOKEN])
        request.url = url.without_query_params(_TOKEN)
        return await send(request)

    def relist(self) -> None:
        """Let every watch begin with a list again."""
        log.warning("watches.begin-afresh")
        self._outdated = {path for path in self._paths if path not in self._under_way}
        for response in tuple(self._watches):
            response.close()

    async def _watch(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        path = request.url.path
        while True:
            told = path in self._outdated
            if told:
                request.url = request.url.update_query({_VERSION: _TOO_OLD})
            response = await send(request)
            if told or path not in self._outdated:
                self._watches.add(response)
                return response
            # `relist` came between question and answer, and could not end what was not answered yet.
            response.close()

    def silent(self) -> tuple[float, str]:
        """For how many seconds nothing was asked about a kind and namespace, and which path that is; the longest."""
        now = self._clock()
        return max(((now - at, path) for path, at in self._asked.items()), default=(0.0, ""))

    def _begin(self, path: str, token: str = "") -> None:
        self._outdated.discard(path)
        self._under_way[path] = _UnderWay(self._cache.begin_listing(*self._paths[path]), token)

    def _take_page(self, url: URL, page: JsonObject) -> None:
        under_way = self._under_way.get(url.path)
        if under_way is None or under_way.token != url.query.get(_TOKEN, ""):
            return
        listing, metadata = under_way.listing, page["metadata"]
        self._cache.add_page(
            listing, [item["metadata"]["uid"] for item in page["items"] or ()], metadata["resourceVersion"]
        )
        under_way.token = metadata.get(_TOKEN) or ""
        if under_way.token:
            return
        del self._under_way[url.path]
        missed = self._cache.finish_listing(listing, metadata["resourceVersion"])
        if missed:
            self._on_swept(listing.kind, missed)

    # aiohttp's signals

    async def _started(self, _session: Any, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams) -> None:
        url = params.url
        context.verb = "watch" if _WATCH in url.query else "list"
        context.kind = self._paths[url.path][0].name if url.path in self._paths else "discovery"
        if url.path in self._paths:
            self._asked[url.path] = self._clock()
        context.lists = context.verb == "list" and url.path in self._paths
        if context.lists and _TOKEN not in url.query:
            self._begin(url.path)

    async def _answered(
        self, _session: Any, context: SimpleNamespace, params: aiohttp.TraceResponseChunkReceivedParams
    ) -> None:
        """The body of an answer that was read whole: a page, or an error; a watch is never read whole."""
        if not context.lists:
            return
        try:
            answer = json.loads(params.chunk)
        except ValueError:  # the words of something between here and the API server; kopf deals with the status
            return
        if isinstance(answer, dict) and "items" in answer:
            self._take_page(params.url, answer)

    async def _ended(self, _session: Any, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        self._observer(context.verb, context.kind, params.response.status, 0.0)

    async def _failed(
        self, _session: Any, context: SimpleNamespace, _params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        self._observer(context.verb, context.kind, 0, 0.0)
