"""Counts what a version was for clients once it was left, for the report of its rollback.

A task of its own, a while after the rollback: nothing waits for it, and nothing is decided by it. What was counted is
kept in memory until the status has it. Of a rollback of which Prometheus says nothing within ten minutes it stays
unknown.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import structlog

from serin.analysis.types import NoData
from serin.api.conditions import Reason
from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.parse import parse_model_deployment
from serin.api.spec import ModelDeployment
from serin.api.state import ClientRequests, RollbackRecord
from serin.api.status import read_state
from serin.api.times import moment
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.metrics.answers import Ask
from serin.metrics.clients import Left, count_clients, reading_of
from serin.metrics.promql import Matcher
from serin.metrics.readings import Reading
from serin.routers.base import ClientSeries

log: Final = structlog.get_logger("serin.clients")

# Seconds after the decision: answers that were under way have ended, and were scraped.
_AFTER: Final = 15.0
# A sample counts as one of after the rollback when it is so much younger than that.
_ENDED: Final = 5.0
_AGAIN: Final = 15.0
_PATIENCE: Final = 600.0
# The longest time that is counted: Prometheus reads samples of all of it.
LONGEST: Final = 6 * 3600.0


class ClientCounter:
    """Counts for each rollback once; `run` until cancelled.

    `look`: asks for a look at a deployment. `series`: of a deployment's router; raises InvalidSpec. `clock`: unix
    seconds.
    """

    def __init__(
        self,
        cache: ObjectCache,
        ask: Ask,
        look: Callable[[Key], None],
        *,
        series: Callable[[ModelDeployment], ClientSeries | None],
        trusted: Sequence[Matcher] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._ask, self._look, self._series, self._clock = cache, ask, look, series, clock
        self._trusted = tuple(trusted)
        self._due: dict[Key, tuple[float, float]] = {}  # when it was rolled back, and when to count (unix seconds)
        self._counted: dict[Key, tuple[float, ClientRequests]] = {}
        self._done: dict[Key, float] = {}  # the rollback that was dealt with
        self._wake = asyncio.Event()
        self.close = cache.follow(kinds.MODEL_DEPLOYMENT, self._on_change)  # at the end of the term

    def counted(self, deployment: Key) -> tuple[float, ClientRequests] | None:
        """What was counted for the rollback of this moment; None: nothing, or the status has it."""
        return self._counted.get(deployment)

    async def run(self) -> None:
        """Count whatever is due, one after the other, until cancelled."""
        while True:
            self._wake.clear()
            now = self._clock()
            for key in sorted(key for key, (_, due) in self._due.items() if due <= now):
                await self._deal_with(key)
            if not self._due:
                await self._wake.wait()
            left = min((due for _, due in self._due.values()), default=0.0) - self._clock()
            await asyncio.sleep(min(max(1.0, left), _AGAIN))

    async def _deal_with(self, key: Key) -> None:
        at, _ = self._due[key]
        try:
            found = await self._count(key, at)
        except InvalidSpec:
            found = None  # its own look says so
        except Exception:
            # One deployment that cannot be counted must not end the counts of all others.
            log.exception("clients.failed", namespace=key[0], deployment=key[1])
            found = None
        if self._due.get(key, (None,))[0] != at:
            return  # another rollback, or none, by now
        if isinstance(found, NoData) and self._clock() - at < _PATIENCE:
            self._due[key] = at, self._clock() + _AGAIN
            return
        del self._due[key]
        self._done[key] = at
        if isinstance(found, NoData):
            log.info("clients.unknown", namespace=key[0], deployment=key[1], message=found.message)
        elif found is not None:
            self._counted[key] = at, found
            log.info("clients.counted", namespace=key[0], deployment=key[1], exposed=found.exposed)
            self._look(key)

    async def _count(self, key: Key, at: float) -> ClientRequests | NoData | None:
        """None: it cannot be known."""
        body = self._cache.get(kinds.MODEL_DEPLOYMENT, *key)
        last = read_state((body or {}).get("status") or {}).last_rollback
        if body is None or last is None or last.at != at or last.since is None:
            return None
        series = self._series(parse_model_deployment(body))
        if series is None:
            return None
        found = await count_clients(self._ask, _reading(series, self._trusted), self._left(key, last, last.since))
        early = isinstance(found, ClientRequests) and found.until < (last.restored or at) + _ENDED
        return NoData(Reason.STALE, "Prometheus has no sample of after the rollback yet") if early else found

    def _left(self, key: Key, last: RollbackRecord, since: float) -> Left:
        return Left(*key, last.source, max(since, last.at - LONGEST), self._clock())

    def _on_change(self, key: Key, after: JsonObject | None) -> None:
        """Hear of a rollback, and that the status has what was counted."""
        last = ((after or {}).get("status") or {}).get("lastRollback") or {}
        at = moment(last.get("at"))
        if at is None or last.get("clients") or not last.get("since") or self._clock() - at > _PATIENCE:
            for kept in (self._due, self._counted, self._done):
                kept.pop(key, None)
        elif self._done.get(key) != at and self._due.get(key, (None,))[0] != at:
            self._counted.pop(key, None)
            self._due[key] = at, at + _AFTER
            self._wake.set()


@lru_cache(maxsize=8)
def _reading(series: ClientSeries, trusted: tuple[Matcher, ...]) -> Reading:
    return reading_of(series.answers, series.failures, series.shielded, series.presence, trusted)
