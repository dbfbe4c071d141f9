"""The work queue: which objects to look at, and when.

A key stands for "look again", not for an event: adding one that waits already changes nothing, and the earliest of two
times wins. A key is never handled twice at once; added while it is being handled, it comes back right after. A failure
delays that key alone, longer each time. The queue knows nothing of what a key means, and keeps nothing over a restart:
the watches refill it.
"""

import asyncio
import heapq
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_FIRST_RETRY_SECONDS: Final = 0.2
_LONGEST_RETRY_SECONDS: Final = 60.0
# No wait is shorter: rounding leaves ones that no clock sees pass, and the same look would come again and again.
_SHORTEST_WAIT_SECONDS: Final = 0.001


class WorkQueue(Generic[K]):
    """Keys with the time at which each is due. `clock`: monotonic seconds. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[K, float] = {}
        # Also holds entries that an earlier addition has overtaken; `_due` says which entry counts.
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._active: dict[K, float] = {}  # since when it is being handled
        self._ended = clock()  # when a key was handled last
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """How many keys wait, due or not."""
        return len(self._due)

    def ready(self) -> int:
        """How many keys are due and wait for a worker: the backlog."""
        now = self._clock()
        return sum(1 for due in self._due.values() if due <= now)

    def stuck(self) -> float:
        """Seconds for which nothing has moved although something is to be done: due and not taken, or not finished."""
        now = self._clock()
        waiting = [max(due, self._ended) for due in self._due.values() if due <= now]
        return now - min([*waiting, *self._active.values()], default=now)

    def add(self, key: K, after: float = 0.0) -> None:
        """Look at `key` in `after` seconds, or earlier if that is planned already."""
        due = self._clock() + max(0.0, after)
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        if key not in self._active:
            self._offer(key)

    def clear(self) -> None:
        """Forget everything that waits, and every failure; what is being handled goes on."""
        self._due.clear()
        self._heap.clear()
        self._failures.clear()

    async def run(self, handle: Callable[[K], Awaitable[float | None]], workers: int) -> None:
        """Handle keys with so many workers until cancelled.

        `handle` returns in how many seconds to look again (None: when something happens). When it raises, the key comes
        back with exponential back-off; it logs its own errors.
        """
        free = asyncio.Semaphore(workers)
        self._ended = self._clock()
        async with asyncio.TaskGroup() as group:
            while True:
                await free.acquire()
                group.create_task(self._work(await self._take(), handle, free))

    async def _work(self, key: K, handle: Callable[[K], Awaitable[float | None]], free: asyncio.Semaphore) -> None:
        try:
            again = await handle(key)
        except Exception:
            self.add(key, self._back_off(key))
        else:
            self._failures.pop(key, None)
            if again is not None:
                self.add(key, again)
        finally:
            free.release()
            self._active.pop(key, None)
            self._ended = self._clock()
            if key in self._due:
                self._offer(key)

    def _offer(self, key: K) -> None:
        """Let a key that waits and is not being handled be taken."""
        self._sequence += 1
        heapq.heappush(self._heap, (self._due[key], self._sequence, key))
        self._changed.set()

    async def _take(self) -> K:
        """Wait for the key that is due first and not being handled."""
        while True:
            self._changed.clear()
            wait = self._seconds_to_first()
            if wait is not None and wait <= 0:
                _, _, key = heapq.heappop(self._heap)
                del self._due[key]
                self._active[key] = self._clock()
                return key
            # Not wait_for: until Python 3.12 it swallows a cancellation that comes together with a key.
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait is None else max(wait, _SHORTEST_WAIT_SECONDS)):
                    await self._changed.wait()

    def _seconds_to_first(self) -> float | None:
        """Seconds until the first key is due (not positive: now), None when nothing waits."""
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) == due and key not in self._active:
                return due - self._clock()
            heapq.heappop(self._heap)
        return None

    def _back_off(self, key: K) -> float:
        """Seconds to wait after another failure of this key: doubling, with jitter."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        longest = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20))
        return longest * random.uniform(0.5, 1.0)
