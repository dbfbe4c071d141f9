"""To whom pages are shown: the cluster with this user's rights, what is kept for him, how much of the server he has.

Whatever outlives a request is in a Visitor, so that nothing that one user was shown can reach another one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from aiohttp import web

from serin.cli.connection import Connection

_MOST_KEPT: Final = 20
_MOST_WAITING: Final = 20

_T = TypeVar("_T")


class Turns:
    """How much of the server a user has at a time. `looks`: at the cluster, `acts`: actions, `follows`: live pages."""

    def __init__(self, looks: int = 2, acts: int = 4, follows: int = 12) -> None:
        self.look = asyncio.Semaphore(looks)
        self._free = {"looks": looks + _MOST_WAITING, "actions": acts, "pages": follows}

    @contextmanager
    def take(self, what: str) -> Iterator[None]:
        """One more of "looks" (running and waiting), "actions" or live "pages". Raises HTTPTooManyRequests."""
        if not self._free[what]:
            raise web.HTTPTooManyRequests(reason=f"too many {what} of yours at once: wait until one has ended")
        self._free[what] -= 1
        try:
            yield
        finally:
            self._free[what] += 1


@dataclass(slots=True)
class Visitor:
    """One user, or one session of his. `name`: as the API server knows him, "" where nobody has to sign in.

    `first`: the path after the root where he begins, None to find out. `told`: what came of actions, and whether it is
    good. `seen`: of pages that were sent, a hash of each part.
    """

    connection: Connection
    turns: Turns
    name: str = ""
    first: str | None = None
    told: OrderedDict[str, tuple[str, bool]] = field(default_factory=OrderedDict)
    seen: OrderedDict[str, Mapping[str, int]] = field(default_factory=OrderedDict)


def keep(kept: OrderedDict[str, _T], key: str, value: _T) -> None:
    """Keep the newest few."""
    kept[key] = value
    while len(kept) > _MOST_KEPT:
        kept.popitem(last=False)
