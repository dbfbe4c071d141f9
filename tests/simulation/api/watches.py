"""Watches: what was committed, told to each watcher in order, as late as a test wants.

A watcher is told of a kind by its own connection, so kinds overtake each other, as they do in a cluster. Nothing is
told twice or left out on one connection; when the history that a connection would need is gone, it ends with 410.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from serin.api.json import JsonObject
from serin.cluster.protocol import Kind
from tests.simulation import clock
from tests.simulation.api import selectors
from tests.simulation.api.server import ApiServer
from tests.simulation.api.status import expired
from tests.simulation.api.store import Commit, copied

BOOKMARK_SECONDS: Final = 60.0
_DEFAULT_LAG: Final = 0.01


@dataclass(slots=True, eq=False)
class _Connection:
    """One open watch."""

    watcher: str
    kind: Kind
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False


class Watches:
    """All open watches of a server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._connections: dict[_Connection, None] = {}  # in the order of their opening
        self._lags: dict[tuple[str, str], float] = {("", ""): _DEFAULT_LAG}
        server.store.listen(self._on_commit)

    # What a test decides

    def lag(self, seconds: float, *, watcher: str = "", kind: str = "") -> None:
        """Tell of commits so much later. `watcher` and `kind` (its name): of all when empty.

        The closest setting counts. math.inf freezes: nothing is told until another lag is set.
        """
        self._lags[watcher, kind] = seconds
        self._wake_all()

    def freeze(self, *, watcher: str = "", kind: str = "") -> None:
        """Tell nothing more, until `thaw` or another lag."""
        self.lag(math.inf, watcher=watcher, kind=kind)

    def thaw(self, *, watcher: str = "", kind: str = "") -> None:
        """Take back what was set with the same words."""
        if (watcher, kind) == ("", ""):
            self._lags["", ""] = _DEFAULT_LAG
        else:
            self._lags.pop((watcher, kind), None)
        self._wake_all()

    def close(self, *, watcher: str = "", kind: str = "") -> None:
        """Break connections; who watches comes again."""
        for one in list(self._connections):
            if watcher in ("", one.watcher) and kind in ("", one.kind.name):
                one.closed = True
                one.wake.set()

    def compact(self) -> None:
        """Forget the history: every watch that is behind, or begins behind, gets 410 and must list again."""
        self._server.store.compact()
        self._wake_all()

    def compact_and_close(self) -> None:
        """Break all connections and forget what happens meanwhile, as after an etcd restore: everybody lists again."""
        self.close()
        self.compact()

    def lag_of(self, watcher: str, kind: str) -> float:
        """How late this watcher hears of this kind."""
        for place in ((watcher, kind), (watcher, ""), ("", kind)):
            if place in self._lags:
                return self._lags[place]
        return self._lags["", ""]

    # What a watcher gets

    async def watch(
        self,
        watcher: str,
        kind: Kind,
        version: str,
        *,
        namespace: str | None = None,
        selector: str = "",
        bookmarks: bool = True,
        seconds: float = math.inf,
    ) -> AsyncIterator[JsonObject]:
        """Events after `version`, until the connection breaks, `seconds` are over, or an ERROR event (410) ends it."""
        connection = _Connection(watcher, kind)
        self._connections[connection] = None
        try:
            async for event in self._events(connection, int(version), bookmarks, clock.now() + seconds):
                if isinstance(event, Commit):
                    if told := _told(event, namespace, selector):
                        yield told
                else:
                    yield event
        finally:
            self._connections.pop(connection, None)

    async def _events(
        self, connection: _Connection, cursor: int, bookmarks: bool, end: float
    ) -> AsyncIterator[Commit | JsonObject]:
        store, kind = self._server.store, connection.kind
        bookmark = clock.now() + BOOKMARK_SECONDS
        while not connection.closed and clock.now() < end:
            if cursor < store.compacted:
                error = expired(f"too old resource version: {cursor} ({store.compacted + 1})")
                yield {"type": "ERROR", "object": error.body()}
                return
            connection.wake.clear()
            commit = next(store.since(kind, cursor), None)
            due = bookmark if bookmarks else math.inf
            if commit is not None:
                due = commit.at + self.lag_of(connection.watcher, kind.name)
                if due <= clock.now():
                    cursor = commit.version
                    yield commit
                    continue
            elif clock.now() >= bookmark:
                cursor, bookmark = store.version, clock.now() + BOOKMARK_SECONDS
                if bookmarks:
                    yield _bookmark(kind, cursor)
                continue
            await _wait(connection.wake, min(due, end) - clock.now())

    def _on_commit(self, commit: Commit) -> None:
        for one in self._connections:
            if one.kind == commit.kind:
                one.wake.set()

    def _wake_all(self) -> None:
        for one in self._connections:
            one.wake.set()


def _told(commit: Commit, namespace: str | None, selector: str) -> JsonObject | None:
    """What a watch with this selector hears of a commit: an object that matches no longer is DELETED."""
    if namespace not in (None, commit.key[0]):
        return None
    fits = selectors.matcher(selector)

    def matches(body: JsonObject | None) -> bool:
        return body is not None and fits(body["metadata"].get("labels") or {})

    had, has = matches(commit.before), matches(commit.after)
    if not (had or has):
        return None
    kind = "MODIFIED" if had and has else "ADDED" if has else "DELETED"
    body = copied(commit.last)
    if kind == "DELETED" and commit.after is not None and commit.before is not None:
        version = body["metadata"]["resourceVersion"]
        body = copied(commit.before)
        body["metadata"]["resourceVersion"] = version
    return {"type": kind, "object": body}


def _bookmark(kind: Kind, version: int) -> JsonObject:
    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
    return {
        "type": "BOOKMARK",
        "object": {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata},
    }


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(None if seconds == math.inf else max(0.0, seconds)):
            await event.wait()
