"""What is to be done outside of looks, each thing when it is due: many side by side, none twice at once.

What did not succeed is tried again, later each time. Whoever has something to do says what and when; how many at once
may reach for the same is theirs to bound.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 300.0

K = TypeVar("K", bound=Hashable)


class Due(Generic[K]):
    """Calls `do` with each key that is due, until `run` is cancelled. `clock` is in seconds; `do` must not raise.

    A key that becomes due while `do` is at it has its turn afterwards.
    """

    def __init__(self, do: Callable[[K], Awaitable[None]], clock: Callable[[], float]) -> None:
        self._do, self._clock = do, clock
        self._at: dict[K, float] = {}  # when to try (again), by the clock
        self._under_way: set[K] = set()
        self._wake = asyncio.Event()

    def __contains__(self, key: K) -> bool:
        """Whether its turn is still to come."""
        return key in self._at

    def now(self, key: K) -> None:
        """It is due at once."""
        self._at[key] = self._clock()
        self._wake.set()

    def later(self, key: K, tried: int) -> None:
        """It is due after a pause. `tried`: how often in vain before."""
        self._at[key] = self._clock() + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tried, 10))
        self._wake.set()

    def drop(self, key: K) -> None:
        """There is nothing more to do for it."""
        self._at.pop(key, None)

    async def run(self, name: str) -> None:
        """Do whatever is due, until cancelled. `name`: of its tasks."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                now = self._clock()
                for key in [one for one, at in self._at.items() if at <= now and one not in self._under_way]:
                    del self._at[key]
                    self._under_way.add(key)
                    group.create_task(self._take_turn(key), name=f"{name} {key}")
                waits = [at for one, at in self._at.items() if one not in self._under_way]
                try:
                    async with asyncio.timeout(max(0.0, min(waits) - now) if waits else None):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _take_turn(self, key: K) -> None:
        try:
            await self._do(key)
        finally:
            self._under_way.discard(key)
            self._wake.set()
