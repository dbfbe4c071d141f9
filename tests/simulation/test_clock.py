"""Virtual time."""

import asyncio
import time

import pytest

from tests.simulation import clock
from tests.simulation.clock import Clock


def test_an_hour_passes_at_once_and_in_order() -> None:
    async def main() -> list[tuple[str, float]]:
        told: list[tuple[str, float]] = []

        async def wait(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            told.append((name, round(clock.now(), 6)))

        await asyncio.gather(wait("hour", 3600.0), wait("minute", 60.0), wait("moment", 0.001))
        return told

    assert clock.run(main) == [("moment", 0.001), ("minute", 60.0), ("hour", 3600.0)]


def test_waiting_for_nobody_is_told_with_names() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(clock.Deadlock, match=r"never comes: .*Task"):
        clock.run(main)


def test_work_for_threads_is_done_at_once() -> None:
    async def main() -> float:
        assert await asyncio.to_thread(sum, [1, 2]) == 3
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        return clock.now()

    assert clock.run(main) == 0.0


def test_machines_have_clocks_of_their_own() -> None:
    async def main() -> None:
        ahead, sleepy = Clock(skew=300.0), Clock(drift=0.01)
        with clock.everywhere():
            await asyncio.sleep(100.0)
            assert time.time() == pytest.approx(clock.EPOCH + 100.0, abs=1e-6)
            with clock.machine(ahead):
                assert await asyncio.create_task(read()) == pytest.approx((clock.EPOCH + 400.0, 100.0), abs=1e-6)
            sleepy.asleep = 30.0
            with clock.machine(sleepy):
                assert await asyncio.create_task(read()) == pytest.approx((clock.EPOCH + 100.0, 71.0), abs=1e-6)
        assert ahead.datetime().timestamp() == pytest.approx(clock.EPOCH + 400.0, abs=1e-3)

    async def read() -> tuple[float, float]:
        return time.time(), time.monotonic()

    clock.run(main)
    assert abs(time.time() - clock.EPOCH) > 1000.0 or time.time() > 0  # the real clock is back
