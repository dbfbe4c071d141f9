"""Answers that people may look at: collected, selected in a thread, and given to the operator.

The guard keeps none: what the operator does not take is gone, and the next item says how many those were. All of it is
bounded, and by deployment: answers that wait for the thread, items under way, and by version one item in a while. So a
deployment of which everything is uncertain takes no more than one of which nothing is.
"""

import asyncio
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import aiohttp
import orjson
import structlog

from serin.api.guard_agreement import KEY as AGREEMENT_KEY
from serin.api.guard_review import KEY, Item, Reviewing, write_item
from serin.guard.pairs import Answer, Pairs, Request
from serin.guard.room import Held
from serin.guard.selection import selected
from serin.guard.under_way import UnderWay
from serin.guard.watched import Watching

log: Final = structlog.get_logger("serin.guard")

# Answers that wait for the thread or are on their way, of one deployment and of all.
MOST_OF_ONE: Final = 4
MOST: Final = 512
# Versions of which it is known when the last item was taken.
_KNOWN: Final = 4096
_SECONDS: Final = 5.0
_TOO_SOON: Final = 429  # another process of the guard has just given one of this version
_KEPT: Final = ("content-encoding", AGREEMENT_KEY, KEY)
_SNAPSHOT: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Reviews:
    """Everything that is under way. `operator`: host and port that take items, "": nobody does."""

    def __init__(self, operator: str, pairs: Pairs) -> None:
        self._operator, self._pairs = operator, pairs
        self._thread = ThreadPoolExecutor(1, "review")
        self._under_way = UnderWay("guard.review-failed", MOST_OF_ONE, MOST)
        self._taken: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._left_out = Counter[str]()
        self._session: aiohttp.ClientSession | None = None

    def hold(self, name: str) -> Held:
        """Nothing yet, of a deployment's. It shares its part of the memory with what is compared."""
        return self._pairs.hold(name)

    def due(self, how: Reviewing, snapshot: str) -> bool:
        """Whether an item of a version may be taken now."""
        return bool(self._operator) and self._pause_is_over(how, snapshot) and self._under_way.has_room(how.name)

    def begin(self, how: Reviewing, snapshot: str, request: Request, answer: Answer, held: Held) -> None:
        """Look at an answer, some time. `held`: has the bytes of both, which are given back then."""
        if not self.due(how, snapshot):
            held.give_back()
            return
        self._under_way.begin(how.name, self._run(how, snapshot, request, answer), held)

    async def stop(self) -> None:
        """End what is under way."""
        await self._under_way.stop()
        if self._session is not None:
            await self._session.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, how: Reviewing, snapshot: str, request: Request, answer: Answer) -> None:
        encoding = request.headers.get("content-encoding", "")
        both = (answer.body, answer.encoding)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._thread, selected, request.body, encoding, both, how)
        if found is None or not self._take_turn(how, snapshot):
            return
        item = Item(how.name, how.proof, snapshot, *found, left_out=self._left_out.pop(how.name, 0))
        try:
            status = await self._give(item)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # Nothing of an item is in the name of an error.
            log.info("guard.item-not-given", error=type(error).__name__)
            status = 0
        if status // 100 != 2 and (how.name in self._left_out or len(self._left_out) < _KNOWN):
            self._left_out[how.name] += item.left_out + (status != _TOO_SOON)

    def _pause_is_over(self, how: Reviewing, snapshot: str) -> bool:
        last = self._taken.get((how.name, snapshot))
        return last is None or time.monotonic() - last >= how.pause

    def _take_turn(self, how: Reviewing, snapshot: str) -> bool:
        """Whether this answer is the one; others may have come by the thread before."""
        if not self._pause_is_over(how, snapshot):
            return False
        version = how.name, snapshot
        self._taken[version] = time.monotonic()
        self._taken.move_to_end(version)
        if len(self._taken) > _KNOWN:
            self._taken.popitem(last=False)
        return True

    async def _give(self, item: Item) -> int:
        """An HTTP status. Every replica of the operator is tried: the one that decides is the only one that listens."""
        if self._session is None:
            # One connection for each item: who listens may be another one by then.
            connector = aiohttp.TCPConnector(limit=MOST, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        # As UTF-8: in ASCII with escapes a text of another script would be several times as long.
        data = orjson.dumps(write_item(item))
        post = self._session.post(f"http://{self._operator}/", data=data, timeout=timeout, allow_redirects=False)
        async with post as answer:
            return answer.status


class Reviewed(Watching):
    """An answer that a client got, and its request as far as something of it is kept."""

    __slots__ = ("_how", "_reviews", "_snapshot")

    def __init__(self, how: Reviewing, reviews: Reviews) -> None:
        super().__init__(how.protocol, reviews.hold(how.name), shows_request=bool(how.request))
        self._how, self._reviews, self._snapshot = how, reviews, ""

    def keeps(self, headers: Mapping[str, str]) -> dict[str, str]:
        """What is asked of them later."""
        return {name: headers[name] for name in _KEPT if name in headers}

    def wants(self, headers: Mapping[str, str]) -> bool:
        """One of a version of which an item is due, to a client's own request."""
        self._snapshot = headers.get("x-serin-snapshot", "")
        own = AGREEMENT_KEY in self._headers or KEY in self._headers
        return bool(_SNAPSHOT.fullmatch(self._snapshot)) and not own and self._reviews.due(self._how, self._snapshot)

    def complete(self, request: Request, answer: Answer) -> None:
        """Look at it, some time."""
        held, self._held = self._held, self._reviews.hold(self._how.name)
        self._reviews.begin(self._how, self._snapshot, request, answer, held)
