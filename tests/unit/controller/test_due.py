"""What is due has its turn in time: many side by side, none twice at once, and again later each time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serin.controller.due import FIRST_PAUSE, LONGEST_PAUSE, Due
from tests.unit.background import in_background
from tests.unit.jumping_time import in_jumping_time, now


class Work:
    """What was done, and when; each takes `lasts` seconds."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []
        self.lasts = 0.0
        self.due = Due(self._do, now)

    async def _do(self, key: str) -> None:
        self.begun.append((key, now() - self.since))
        await asyncio.sleep(self.lasts)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.since = now()
        async with in_background(self.due.run("work on")):
            yield


@in_jumping_time
async def test_each_has_its_turn_when_it_is_due_also_one_that_comes_while_another_is_waited_for() -> None:
    work = Work()
    async with work.running():
        work.due.later("a", 0)
        await asyncio.sleep(1.0)
        work.due.now("b")
        assert "b" in work.due
        await asyncio.sleep(60.0)
        assert [(key, round(at)) for key, at in work.begun] == [("b", 1), ("a", round(FIRST_PAUSE))]
        assert "b" not in work.due


@in_jumping_time
async def test_none_is_done_twice_at_once_and_what_comes_meanwhile_has_its_turn_afterwards() -> None:
    work = Work()
    work.lasts = 30.0
    async with work.running():
        work.due.now("a")
        await asyncio.sleep(1.0)
        work.due.now("a")
        work.due.now("b")
        await asyncio.sleep(100.0)
        assert [(key, round(at)) for key, at in work.begun] == [("a", 0), ("b", 1), ("a", 30)]


@in_jumping_time
async def test_it_is_tried_again_later_each_time_and_never_much_later() -> None:
    work = Work()
    async with work.running():
        for tried in (0, 1, 2, 20, 2000):
            work.due.later("a", tried)
            before = now() - work.since
            await asyncio.sleep(LONGEST_PAUSE + 1.0)
            pause = work.begun[-1][1] - before
            assert round(pause) == {0: 5, 1: 10, 2: 20}.get(tried, 300)


@in_jumping_time
async def test_what_is_dropped_has_no_turn() -> None:
    work = Work()
    async with work.running():
        work.due.now("a")
        work.due.drop("a")
        work.due.drop("never there")
        await asyncio.sleep(60.0)
        assert work.begun == []
