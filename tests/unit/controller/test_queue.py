"""The queue: one look per key, the earliest time wins, never the same key twice at once, failures back off."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from serin.controller.queue import WorkQueue
from tests.unit.background import in_background
from tests.unit.jumping_time import in_jumping_time, now


@asynccontextmanager
async def working(
    queue: WorkQueue[str], handle: Callable[[str], Awaitable[float | None]], workers: int = 2
) -> AsyncIterator[None]:
    async with in_background(queue.run(handle, workers)):
        yield


async def settle(seconds: float = 0.05) -> None:
    await asyncio.sleep(seconds)


@in_jumping_time
async def test_many_additions_of_a_waiting_key_are_one_look() -> None:
    queue, looks = WorkQueue[str](now), list[str]()

    async def handle(key: str) -> None:
        looks.append(key)

    for _ in range(100):
        queue.add("a")
        queue.add("b")
    async with working(queue, handle):
        await settle()
    assert sorted(looks) == ["a", "b"]


@in_jumping_time
async def test_the_earliest_of_several_times_wins_and_the_later_ones_are_dropped() -> None:
    queue, looks = WorkQueue[str](now), list[float]()

    async def handle(_key: str) -> None:
        looks.append(now())

    async with working(queue, handle):
        for after in (0.5, 0.1, 0.3):
            queue.add("a", after)
        await settle(0.7)
    assert looks == pytest.approx([0.1])


@in_jumping_time
async def test_a_delayed_key_does_not_hold_up_others_and_is_not_early() -> None:
    queue, looks = WorkQueue[str](now), list[str]()

    async def handle(key: str) -> None:
        looks.append(key)

    queue.add("later", 0.2)
    async with working(queue, handle, workers=1):
        queue.add("now")
        await settle()
        assert looks == ["now"]
        await settle(0.3)
    assert looks == ["now", "later"]


@in_jumping_time
async def test_a_key_is_never_handled_twice_at_once_and_comes_back_when_added_meanwhile() -> None:
    queue, running, most, looks = WorkQueue[str](now), 0, 0, 0

    async def handle(_key: str) -> None:
        nonlocal running, most, looks
        running, looks = running + 1, looks + 1
        most = max(most, running)
        if looks < 3:
            queue.add("a")
        await asyncio.sleep(0.02)
        running -= 1

    async with working(queue, handle, workers=4):
        queue.add("a")
        await settle(0.2)
    assert most == 1
    assert looks == 3


@in_jumping_time
async def test_different_keys_are_handled_side_by_side() -> None:
    queue, both, passed = WorkQueue[str](now), asyncio.Barrier(2), asyncio.Event()

    async def handle(_key: str) -> None:
        await both.wait()
        passed.set()

    async with working(queue, handle):
        queue.add("a")
        queue.add("b")
        await asyncio.wait_for(passed.wait(), 1)


@in_jumping_time
async def test_handle_decides_when_to_look_again() -> None:
    queue, looks = WorkQueue[str](now), 0

    async def handle(_key: str) -> float | None:
        nonlocal looks
        looks += 1
        return 0.01 if looks < 4 else None

    async with working(queue, handle):
        queue.add("a")
        await settle(0.2)
    assert looks == 4
    assert len(queue) == 0


@in_jumping_time
async def test_failures_delay_their_own_key_longer_each_time_and_success_forgives() -> None:
    clock = 0.0
    queue, fails = WorkQueue[str](lambda: clock), True
    delays: list[float] = []

    async def handle(key: str) -> None:
        if fails and key == "a":
            raise OSError("down")

    async with working(queue, handle, workers=1):
        for _ in range(12):
            queue.add("a")
            await settle(0.01)
            delays.append(queue._due["a"] - clock)
            clock += 1000
            queue.add("a clock that jumps wakes nobody, a new key does")
        fails = False
        queue.add("a")
        await settle(0.01)
        fails = True
        queue.add("a")
        await settle(0.01)
        after_success = queue._due["a"] - clock
    # Each delay is drawn from the upper half of 0.2, 0.4, 0.8, ... seconds, at most a minute.
    for failures, delay in enumerate(delays):
        longest = min(60.0, 0.2 * 2**failures)
        assert longest / 2 <= delay <= longest
    assert after_success <= 0.2


@in_jumping_time
async def test_no_addition_is_lost_however_it_falls_between_the_workers_steps() -> None:
    """A key that is far off when a look ends is wanted at once, in each of the next few turns of the event loop."""
    tasks = []
    for turns in range(12):
        queue, looks = WorkQueue[str](now), 0

        async def handle(_key: str, queue: WorkQueue[str] = queue, turns: int = turns) -> float:
            nonlocal looks
            looks += 1
            if looks == 1:
                tasks.append(asyncio.ensure_future(add_after(queue, turns)))
            return 600.0

        async with working(queue, handle, workers=4):
            queue.add("a")
            await settle(0.02)
        assert looks == 2, f"the addition after {turns} turns was lost"


async def add_after(queue: WorkQueue[str], turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    queue.add("a")


@in_jumping_time
async def test_clear_forgets_what_waits() -> None:
    queue, looks = WorkQueue[str](now), list[str]()

    async def handle(key: str) -> None:
        looks.append(key)

    queue.add("a")
    queue.add("b", 0.05)
    queue.clear()
    async with working(queue, handle):
        await settle(0.1)
    assert looks == []


@in_jumping_time
async def test_ready_counts_what_is_due() -> None:
    queue = WorkQueue[str](now)
    queue.add("a")
    queue.add("b", 60)
    assert (queue.ready(), len(queue)) == (1, 2)


@pytest.mark.parametrize("steps", range(8))
@in_jumping_time
async def test_it_stops_at_whatever_moment(steps: int) -> None:
    """Also when a key comes in the very moment: asyncio.wait_for of Python 3.11 would swallow the cancellation."""
    queue, looks = WorkQueue[str](now), list[str]()

    async def handle(key: str) -> None:
        looks.append(key)

    queue.add("later", 1000.0)
    task = asyncio.create_task(queue.run(handle, 2))
    await settle()
    queue.add("now")
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=10.0)
    task.cancel()
    assert done, "it goes on, though it was told to stop"
    looks.clear()
    queue.clear()
    queue.add("now")
    async with working(queue, handle):
        await settle()
    assert looks == ["now"]


@in_jumping_time
async def test_a_queue_that_has_nothing_to_do_or_does_it_is_not_stuck() -> None:
    queue = WorkQueue[str](now)

    async def handle(key: str) -> float | None:
        await asyncio.sleep(1.0)
        if key == "fails":
            raise RuntimeError
        return 5.0

    async with working(queue, handle):
        await settle(10_000.0)
        assert queue.stuck() == 0.0
        for key in ("a", "b", "c", "fails"):
            queue.add(key)
        for _ in range(2000):
            await settle(1.0)
            assert queue.stuck() <= 3.0


@in_jumping_time
async def test_looks_that_never_end_are_seen_also_when_others_do() -> None:
    queue = WorkQueue[str](now)

    async def handle(key: str) -> float | None:
        await asyncio.sleep(0.1 if key == "well" else 1e9)
        return 5.0

    async with working(queue, handle):
        queue.add("well")
        queue.add("hangs")
        await settle(1000.0)
        assert 999.0 <= queue.stuck() <= 1000.0
    queue.clear()
    assert queue.stuck() == 0.0, "the term is over"


@in_jumping_time
async def test_keys_that_nobody_takes_are_seen() -> None:
    queue = WorkQueue[str](now)
    queue.add("a", after=100.0)
    await settle(50.0)
    assert queue.stuck() == 0.0
    await settle(650.0)
    assert queue.stuck() == pytest.approx(600.0, abs=1.0)
