"""The clocks of the machine that a replica runs on, in one place, so that a test can give a replica others."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from serin.cluster.lease import boottime


@dataclass(frozen=True, slots=True)
class Clocks:
    """`time`: unix seconds. `monotonic`: seconds that no correction moves. `boottime`: those, and all sleep with it."""

    time: Callable[[], float]
    monotonic: Callable[[], float]
    boottime: Callable[[], float]

    def utc(self) -> datetime:
        """The time of day, as it is written for people."""
        return datetime.fromtimestamp(self.time(), UTC)


SYSTEM: Final = Clocks(time.time, time.monotonic, boottime)
