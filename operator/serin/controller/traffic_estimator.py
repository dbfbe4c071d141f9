"""How much traffic there is for a rollout, asked of Prometheus once when it begins.

A deployment that is not rolled out is never asked about. What was found is kept in memory for as long as its candidate
lives: a sentence about it must not change at every look. After a restart it is asked again. This decides nothing, so an
answer that does not come is asked for again only after a while, whatever happens to the deployment meanwhile.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog

from serin.analysis.traffic import Traffic
from serin.analysis.types import NoData
from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.parse import parse_model_deployment
from serin.api.spec import ModelDeployment
from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller.evidence_loop import template_of
from serin.metrics.answers import Ask
from serin.metrics.catalog import Catalog
from serin.metrics.sources import RatioSource, SourceError, resolve
from serin.metrics.traffic import Place, measure

log: Final = structlog.get_logger("serin.traffic")

_RETRY_SECONDS: Final = 60.0
# Rollouts that begin together share a query.
_TOGETHER_SECONDS: Final = 1.0


class TrafficEstimator:
    """Asks for each new candidate. `look`: asks for a look at (namespace, name) when something was found."""

    def __init__(
        self,
        cache: ObjectCache,
        ask: Ask,
        look: Callable[[Place], None],
        *,
        catalog: Catalog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._ask, self._look, self._clock = cache, ask, look, clock
        self._catalog = catalog
        self._found: dict[Place, tuple[str, Mapping[str, Traffic]]] = {}  # the candidate, and traffic by metric
        self._asked: dict[Place, tuple[str, float]] = {}  # the candidate, and when
        self._wake = asyncio.Event()
        self._candidates: dict[Place, str] = {}
        self.close = cache.follow(kinds.MODEL_DEPLOYMENT, self._on_change)  # at the end of the term

    def traffic(self, place: Place, candidate: str | None) -> Mapping[str, Traffic]:
        """By metric, as measured when this candidate's rollout began; empty while it is not known."""
        known, found = self._found.get(place, (None, {}))
        return found if known == candidate else {}

    async def run(self) -> None:
        """Ask whenever a rollout begins, until cancelled."""
        while True:
            self._wake.clear()
            try:
                complete = await self.estimate()
            except Exception:
                log.exception("estimate.failed")
                complete = False
            try:
                async with asyncio.timeout(None if complete else _RETRY_SECONDS):
                    await self._wake.wait()
                await asyncio.sleep(_TOGETHER_SECONDS)
            except TimeoutError:
                continue

    async def estimate(self) -> bool:
        """Ask for what is not known yet; whether everything is known now. Forgets candidates that are no more."""
        candidates = dict(self._candidates)
        self._found = {place: one for place, one in self._found.items() if place in candidates}
        self._asked = {place: one for place, one in self._asked.items() if place in candidates}
        due: dict[Place, ModelDeployment] = {}
        for place, candidate in candidates.items():
            body = self._cache.get(kinds.MODEL_DEPLOYMENT, *place)
            if body is not None and self._is_due(place, candidate):
                with suppress(InvalidSpec):
                    due[place] = parse_model_deployment(body)
                    self._asked[place] = candidate, self._clock()
        measured = await self._measure(due)
        for place, found in measured.items():
            self._found[place] = candidates[place], found
            rates = {name: one.rate for name, one in found.items()}
            log.info("traffic.measured", namespace=place[0], deployment=place[1], rates=rates)
            self._look(place)
        return all(self._knows(place, candidate) for place, candidate in candidates.items())

    def _knows(self, place: Place, candidate: str) -> bool:
        return self._found.get(place, ("",))[0] == candidate

    def _is_due(self, place: Place, candidate: str) -> bool:
        if self._knows(place, candidate):
            return False
        asked, at = self._asked.get(place, ("", 0.0))
        return asked != candidate or self._clock() - at >= _RETRY_SECONDS

    async def _measure(self, due: Mapping[Place, ModelDeployment]) -> dict[Place, dict[str, Traffic]]:
        """Traffic by metric of each deployment; deployments with the same source share its queries."""
        asked: dict[RatioSource, list[tuple[Place, str]]] = {}
        for place, deployment in due.items():
            for metric in deployment.spec.metrics:
                try:
                    source = resolve(metric, template_of(self._cache, place[0], metric), self._catalog, place[0])
                except SourceError:
                    continue
                if isinstance(source, RatioSource):
                    asked.setdefault(source, []).append((place, metric.name))
        found: dict[Place, dict[str, Traffic]] = {}
        for source, wanted in asked.items():
            traffic = await measure(self._ask, source, sorted({place for place, _ in wanted}), self._clock())
            if isinstance(traffic, NoData):
                log.info("traffic.unknown", reason=traffic.reason.value, message=traffic.message)
                continue
            for place, metric_name in wanted:
                if place in traffic:
                    found.setdefault(place, {})[metric_name] = traffic[place]
        return found

    def _on_change(self, place: Place, after: JsonObject | None) -> None:
        """Keep the list of candidates: when many rollouts begin, none of them is a reason to read all the others."""
        candidate = read_state(after.get("status") or {}).candidate if after is not None else None
        if candidate is None:
            self._candidates.pop(place, None)
            return
        self._candidates[place] = candidate
        if self._asked.get(place, ("",))[0] != candidate:
            self._wake.set()
