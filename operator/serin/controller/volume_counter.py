"""Counts the requests of the volume that asks for a retraining: in one batch for all deployments, every five minutes.

Apart from the evidence loop, because nothing is judged by it and no rollout waits for it. A deployment without such a
trigger costs nothing. What was counted is kept in memory until the status has it; after a gap of more than an hour (no
replica ran) only the last hour is counted.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from serin.analysis.types import DistributionTick, HistogramTick, MeanTick, RatioTick, ReferenceTick, Tick
from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.parse import parse_model_deployment
from serin.api.retraining import Trigger
from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller.evidence_loop import template_of
from serin.metrics.collector import Collector
from serin.metrics.wants import Want

log: Final = structlog.get_logger("serin.volume")

EVERY: Final = 300.0
_LONGEST_GAP: Final = 3600.0

Counted = tuple[float, int, float]  # from when on, requests, until when (unix seconds)


class VolumeCounter:
    """Keeps the newest count of each deployment. `look` asks for a look at it; `collector` is nobody else's."""

    def __init__(
        self,
        cache: ObjectCache,
        collector: Collector,
        look: Callable[[Key], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._collector, self._look, self._clock = cache, collector, look, clock
        self._asking: set[Key] = set()
        self._counted: dict[Key, Counted] = {}
        self._wake = asyncio.Event()
        self.close = cache.follow(kinds.MODEL_DEPLOYMENT, self._on_change)  # at the end of the term

    def counted(self, deployment: Key) -> Counted | None:
        """The newest count; it continues what was kept only when that ends where this one begins."""
        return self._counted.get(deployment)

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            if not self._asking:
                self._wake.clear()
                await self._wake.wait()
            try:
                await self.count()
            except Exception:
                log.exception("count.failed")
            await asyncio.sleep(EVERY)

    async def count(self) -> None:
        """Count once for everybody who asks."""
        now = self._clock()
        wants = {want.key: (since, want) for key in sorted(self._asking) for since, want in self._wants(key, now)}
        self._counted = {key: one for key, one in self._counted.items() if key in self._asking}
        found = await self._collector.collect(now, [want for _, want in wants.values()])
        for name, (since, want) in wants.items():
            requests = requests_of(found[name]) if name in found else None
            if requests is not None:
                counted, until = requests
                self._counted[name[0], name[1]] = since, counted, until
                log.info("volume.counted", namespace=name[0], deployment=name[1], requests=counted)
                self._look((want.namespace, want.deployment))

    def _wants(self, key: Key, now: float) -> list[tuple[float, Want]]:
        """What to count of a deployment, and where its count ends so far."""
        body = self._cache.get(kinds.MODEL_DEPLOYMENT, *key)
        state = read_state((body or {}).get("status") or {})
        kept = state.retraining
        if body is None or state.stable is None or kept is None or kept.counted_until is None:
            return []
        try:
            spec = parse_model_deployment(body).spec
        except InvalidSpec:
            return []  # its own look says so
        asked = spec.retraining.asks(Trigger.VOLUME) if spec.retraining else ()
        metric = next((one for one in spec.metrics for when in asked if one.name == when.metric), None)
        if metric is None:
            return []
        since = max(kept.counted_until, now - _LONGEST_GAP)
        template = template_of(self._cache, key[0], metric)
        # No baseline: only what serves is counted.
        want = Want(*key, state.stable, None, replace(metric, name="Volume"), since, template, counted=True)
        return [(kept.counted_until, want)]

    def _on_change(self, key: Key, after: JsonObject | None) -> None:
        asked = ((after or {}).get("spec", {}).get("retraining") or {}).get("triggers") or ()
        if any(isinstance(one, dict) and one.get("volume") for one in asked):
            self._asking.add(key)
            self._wake.set()
        else:
            self._asking.discard(key)


def requests_of(tick: Tick) -> tuple[int, float] | None:
    """How many requests of what serves a tick has counted, and until when; None when it has counted none."""
    match tick:
        case RatioTick(at, candidate):
            return candidate.requests, at
        case HistogramTick(at, _, candidate) | DistributionTick(at, candidate):
            return sum(candidate), at
        case ReferenceTick(at, live):
            return sum(live), at
        case MeanTick(at, candidate):
            return candidate.requests, at
    return None
