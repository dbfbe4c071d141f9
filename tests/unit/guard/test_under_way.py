"""Tasks beside the exchanges: how many there may be, and what they leave behind."""

import asyncio

from serin.guard.room import Held, Room
from serin.guard.under_way import UnderWay


async def test_there_are_so_many_of_one_and_so_many_of_all_and_each_gives_back_what_it_holds() -> None:
    room, under_way, never = Room(1_600), UnderWay("guard.failed", 2, 3), asyncio.Event()

    async def work() -> None:
        await never.wait()

    def begin(name: str) -> bool:
        held = Held(name, room)
        if not under_way.has_room(name):
            return False
        assert held.take(10)
        under_way.begin(name, work(), held)
        return True

    assert [begin(name) for name in ("a/b", "a/b", "a/b", "c/d", "e/f")] == [True, True, False, True, False]
    assert room.held.total() == 30
    never.set()
    await asyncio.sleep(0.01)
    assert (room.held.total(), dict(under_way.by_name), under_way.tasks) == (0, {}, set())
    assert begin("e/f")
    await under_way.stop()
    await asyncio.sleep(0)
    assert room.held.total() == 0
