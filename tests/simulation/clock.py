"""Virtual time: a loop that jumps to the next timer as soon as nothing is ready, and the clocks that are read from it.

The whole asynchronous operator runs in it: an hour passes in the time that its own code takes, the same in every run.
Work for threads is done at once, in the loop, so that no thread decides the order of events. Sockets do not work here:
nothing waits for them; give what needs one a real loop.
"""

import asyncio
import contextlib
import contextvars
import random
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

T = TypeVar("T")

EPOCH: Final = datetime(2026, 11, 22, 10, 0, tzinfo=UTC).timestamp()
"""Unix seconds when a virtual loop begins."""


_TICK: Final = 1e-9  # the resolution of a loop's clock, in seconds


class Deadlock(RuntimeError):
    """Everything waits for something that never comes."""


class _Selector(selectors.SelectSelector):
    """Never waits: the time that it should have waited is over instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if ready := super().select(0):
            return ready
        if timeout is None:
            waiting = sorted(task.get_name() for task in asyncio.all_tasks(asyncio.get_running_loop()))
            raise Deadlock(f"everything waits for something that never comes: {', '.join(waiting)}")
        if timeout > 0:
            # And a little more: sums of floats may fall short of the time that was waited for, again and again.
            self.now += timeout + _TICK
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time()` begins at 0 and passes only while all tasks wait."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds that have passed for whoever waited."""
        return self._virtual.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        """Run it now, in this thread."""
        del executor
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run(main: Callable[[], Coroutine[Any, Any, T]], *, seed: int = 0) -> T:
    """Run a coroutine function in a virtual loop of its own, and cancel what it has left running.

    `seed`: of the module `random`, which back-offs and hold times are drawn from.
    """
    chance = random.getstate()
    random.seed(seed)
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main())
    finally:
        random.setstate(chance)


def now() -> float:
    """Monotonic seconds of the running loop."""
    return asyncio.get_running_loop().time()


def wall() -> float:
    """Unix seconds, by the loop that runs."""
    return EPOCH + now()


def timestamp(seconds: float | None = None) -> str:
    """Unix seconds (none: now) as Kubernetes writes a time."""
    moment = datetime.fromtimestamp(wall() if seconds is None else seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class Clock:
    """One machine's clocks: the loop's time, wrong by as much as a test wants.

    `skew`: seconds that its wall clock is ahead. `drift`: how much faster its monotonic clock runs (0.01: 1 %).
    `asleep`: seconds that its monotonic clock has missed, because the machine slept.
    """

    skew: float = 0.0
    drift: float = 0.0
    asleep: float = 0.0

    def monotonic(self) -> float:
        """As time.monotonic."""
        return now() * (1.0 + self.drift) - self.asleep

    def boottime(self) -> float:
        """As CLOCK_BOOTTIME: sleep counts."""
        return now() * (1.0 + self.drift)

    def time(self) -> float:
        """As time.time: unix seconds."""
        return wall() + self.skew

    def datetime(self) -> datetime:
        """As datetime.now(UTC)."""
        return datetime.fromtimestamp(self.time(), UTC)


_machine: contextvars.ContextVar[Clock] = contextvars.ContextVar("_machine")
_REAL: Final = Clock()


@contextlib.contextmanager
def machine(clock: Clock) -> Iterator[None]:
    """What is started inside lives on a machine with this clock (see `everywhere`)."""
    token = _machine.set(clock)
    try:
        yield
    finally:
        _machine.reset(token)


def settle_on(clock: Clock) -> None:
    """Let whatever runs in the current context live on a machine with this clock, for good."""
    _machine.set(clock)


@contextlib.contextmanager
def everywhere() -> Iterator[None]:
    """Let time.time and time.monotonic mean the virtual clocks, for code that cannot be given one.

    Whatever has taken the functions before (as a default of an argument, say) keeps the real ones: give it a clock.
    """
    real = time.time, time.monotonic

    def of_machine(name: str, otherwise: Callable[[], float]) -> Callable[[], float]:
        def read() -> float:
            if not isinstance(asyncio._get_running_loop(), VirtualLoop):
                return otherwise()
            chosen: Callable[[], float] = getattr(_machine.get(_REAL), name)
            return chosen()

        return read

    time.time, time.monotonic = of_machine("time", real[0]), of_machine("monotonic", real[1])
    try:
        yield
    finally:
        time.time, time.monotonic = real
