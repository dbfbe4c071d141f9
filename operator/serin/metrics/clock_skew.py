"""How far Prometheus' clock is from ours, as the `Date` of its answers tells.

Samples have the time of Prometheus, and what to count is between moments of the operator's clock. Ahead, what was
scraped counts that much later; behind, what was scraped right after a change of weights looks older than it. Neither
counts anything wrongly, and both delay evidence, so it is said.

`Date` has whole seconds: an answer that was sent between two moments of ours gives an upper and a lower bound. Bounds
of many answers together are narrow; when they contradict each other, a clock was set, and the newest begins anew. What
answers may be a proxy in front of Prometheus: then it is that one's clock.
"""

import math
import threading
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import structlog

log: Final = structlog.get_logger("serin.metrics")

# Below that, nothing is said: an answer to one query tells no less than this, and scrapes are rarer.
TOLERATED_SECONDS: Final = 2.0
# Bounds are not kept for longer: clocks drift.
_KEPT_SECONDS: Final = 600.0
# What is said of a skew, so that a status does not change with every look.
_STEPS: Final = (TOLERATED_SECONDS, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)


class ClockSkew:
    """What is known of it. Safe to call from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lower, self._upper = -math.inf, math.inf
        self._began = -math.inf
        self._told = False

    def learn(self, date: str | None, sent: float, received: float) -> None:
        """Take in one answer: its `Date`, and between which moments of ours (unix seconds) it was made."""
        moment = _unix_seconds(date)
        if moment is None:
            return
        with self._lock:
            lower, upper = moment - received, moment + 1.0 - sent
            if received - self._began > _KEPT_SECONDS or lower > self._upper or upper < self._lower:
                self._lower, self._upper, self._began = lower, upper, received
            self._lower, self._upper = max(lower, self._lower), min(upper, self._upper)
            self._tell()

    @property
    def seconds(self) -> float:
        """Seconds that it is ahead of ours, at least; below 0: behind; 0 when both may be right."""
        return max(self._lower, 0.0) + min(self._upper, 0.0)

    @property
    def words(self) -> str:
        """That it delays evidence; nothing when it hardly does."""
        skew = self.seconds
        if abs(skew) < TOLERATED_SECONDS:
            return ""
        least = max(step for step in _STEPS if step <= abs(skew))
        side = "ahead of" if skew > 0 else "behind"
        return f"Prometheus' clock is at least {least:g} s {side} Serin's, which delays evidence by as much"

    def _tell(self) -> None:
        skewed = abs(self.seconds) >= TOLERATED_SECONDS
        if skewed and not self._told:
            log.warning("prometheus.clock_skewed", seconds=round(self.seconds, 1))
        elif self._told and not skewed:
            log.info("prometheus.clock_right", seconds=round(self.seconds, 1))
        self._told = skewed


def _unix_seconds(date: str | None) -> float | None:
    try:
        found = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
