"""What the guard does beside the exchanges, in tasks: so many at once of one deployment, and of all."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Final

import structlog

from serin.guard.room import Held
from serin.guard.shares import less

log: Final = structlog.get_logger("serin.guard")


class UnderWay:
    """Tasks: `most_of_one` of one deployment, and `most` of all. `failed`: the event of one that ends with a defect."""

    def __init__(self, failed: str, most_of_one: int, most: int) -> None:
        self._failed, self._most_of_one, self._most = failed, most_of_one, most
        self.tasks = set[asyncio.Task[None]]()
        self.by_name = Counter[str]()

    def has_room(self, name: str) -> bool:
        """Whether one more of a deployment may begin."""
        return self.by_name[name] < self._most_of_one and len(self.tasks) < self._most

    def begin(self, name: str, work: Coroutine[None, None, None], held: Held) -> None:
        """Begin one. `held`: is given back at its end."""
        self.by_name[name] += 1
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self.tasks.discard(task)
            less(self.by_name, name, 1)
            held.give_back()
            if not task.cancelled() and (error := task.exception()):  # a defect
                log.error(self._failed, error=type(error).__name__)

        task.add_done_callback(done)

    async def stop(self) -> None:
        """End all of them."""
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
