"""Notices every list that kopf makes, so that the cache knows when it is complete and what a watch gap has hidden.

kopf turns a list into one event per object and says nothing about objects that are no longer in it, nor when a list is
over. Both are read here from the traffic of kopf's own HTTP session (aiohttp's tracing), so it costs no request.
"""

import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import aiohttp

from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import RequestObserver
from serin.cluster.protocol import Kind


def trace_lists(
    cache: ObjectCache,
    watched: Iterable[tuple[Kind, str | None]],
    *,
    observer: RequestObserver,
    on_swept: Callable[[Kind, int], None],
) -> aiohttp.TraceConfig:
    """Trace the requests of a session: `cache` learns of every list of a `watched` kind and namespace.

    `observer` counts each request; `on_swept` is told of every list that shows deletions missed before it.
    """
    paths = {kinds.collection_path(kind, namespace): (kind, namespace) for kind, namespace in watched}

    async def started(_session: Any, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams) -> None:
        scope = paths.get(params.url.path)
        context.listing = None
        context.verb = "watch" if "watch" in params.url.query else "list"
        context.kind = scope[0].name if scope else "discovery"
        if scope and context.verb == "list":
            context.listing = cache.begin_listing(*scope)

    async def answered(
        _session: Any, context: SimpleNamespace, params: aiohttp.TraceResponseChunkReceivedParams
    ) -> None:
        """The body of an answer that was read whole: a list, or an error; a watch is never read whole."""
        if context.listing is None:
            return
        body = json.loads(params.chunk or b"{}")
        if "items" in body:
            uids = [item["metadata"]["uid"] for item in body["items"] or ()]
            missed = cache.finish_listing(context.listing, uids, body["metadata"]["resourceVersion"])
            if missed:
                on_swept(context.listing.kind, missed)

    async def ended(_session: Any, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        observer(context.verb, context.kind, params.response.status, 0.0)

    async def failed(_session: Any, context: SimpleNamespace, _params: aiohttp.TraceRequestExceptionParams) -> None:
        observer(context.verb, context.kind, 0, 0.0)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(started)
    trace.on_response_chunk_received.append(answered)
    trace.on_request_end.append(ended)
    trace.on_request_exception.append(failed)
    return trace
