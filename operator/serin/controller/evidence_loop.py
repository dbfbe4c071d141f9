"""The one clock of all rollouts: collects evidence for everything in progress in one batch, then asks for a look.

While nothing is in progress the clock stands still. A tick is kept only until the next one: what it says is folded into
the evidence by observe, and the status is where evidence lives. A tick remembers from when on it counted, so that one
collected before the last evidence was written is never counted on top of it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from serin.analysis.types import NoData, Policy, RatioTick, SplitTick, Tick
from serin.api.json import JsonObject
from serin.api.parse import InvalidSpec, parse_model_deployment
from serin.api.spec import Metric, ModelDeployment, TemplateRef, WeightStep
from serin.api.status import State, read
from serin.api.verdicts import Against, Severity
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Kind
from serin.controller.telemetry import Telemetry
from serin.evaluation.policies import SPLIT, policies
from serin.metrics.collector import Key, Want

log: Final = structlog.get_logger("serin.ticker")

_SHORTEST_SECONDS: Final = 1.0
# Before the scrape interval is known.
_FIRST_SECONDS: Final = 5.0


# The split is read from the router's own count of attempts, whatever metrics the user has chosen.
_SPLIT: Final = Metric(SPLIT.metric, TemplateRef("request-errors"), severity=Severity.INFO, against=Against.STABLE)
# How long a weight may take to become the share of the *finished* requests, at most; a quarter of a short bake.
_SETTLE_SECONDS: Final = 30.0
# How old a measured overdispersion may be.
_DISPERSION_SECONDS: Final = 300.0


class Collects(Protocol):
    """Where ticks come from; metrics.collector.Collector is it."""

    async def collect(self, now: float, wants: Sequence[Want]) -> Mapping[Key, Tick]:
        """One tick for each want, where there is one. Never raises for what users or Prometheus do wrong."""

    async def overdispersion(self, now: float, wants: Sequence[Want]) -> Mapping[Key, float]:
        """How much more bad requests vary between stable's pods than by chance, where that can be read."""

    def scrape_interval(self, metric: Metric, template: JsonObject | None = None) -> float | None:
        """Seconds between scrapes of what the metric is read from; None while unknown."""


@dataclass(frozen=True, slots=True)
class Collected:
    """A tick of a candidate, and from when on it counted (unix seconds)."""

    tick: Tick
    candidate: str
    since: float


def template_of(cache: ObjectCache, namespace: str, metric: Metric) -> JsonObject | None:
    """The spec of the user's MetricTemplate that a metric names, None when it names none or a built-in one."""
    if not isinstance(metric.source, TemplateRef):
        return None
    body = cache.get(kinds.METRIC_TEMPLATE, namespace, metric.source.name)
    return None if body is None else body["spec"]


class EvidenceLoop:
    """Collects while anything is in progress. `look`: asks for a look at (namespace, name)."""

    def __init__(
        self,
        cache: ObjectCache,
        collector: Collects,
        telemetry: Telemetry,
        look: Callable[[tuple[str, str]], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._collector, self._telemetry = cache, collector, telemetry
        self._look, self._clock = look, clock
        self._newest: dict[Key, Collected] = {}
        self._dispersions: dict[Key, tuple[float, float | None]] = {}  # when it was asked for, and the answer
        self._wake = asyncio.Event()
        cache.listen(self._on_change)

    def newest(self, deployment: ModelDeployment, state: State, metric: str) -> Tick | None:
        """The tick that the evidence of `state` has not counted yet, None when there is none."""
        found = self._uncounted(deployment, state, metric)
        return found.tick if found else None

    def split(self, deployment: ModelDeployment, state: State) -> SplitTick | None:
        """The requests of stable and candidate since the present weights hold, None when there is nothing new."""
        found, settled = self._uncounted(deployment, state, SPLIT.metric), self._settled(deployment, state)
        if found is None or not isinstance(found.tick, RatioTick) or settled is None or found.since < settled:
            return None
        tick, stable, candidate = found.tick, str(state.stable), str(state.candidate)
        requests = (tick.stable.requests, tick.candidate.requests)
        return SplitTick(tick.at, requests, (state.split.of(stable), state.split.of(candidate)))

    def policies(self, deployment: ModelDeployment) -> dict[str, Policy]:
        """What each metric may decide, at this clock's interval and with the overdispersion that was measured."""
        return policies(deployment.spec, self.interval(deployment), self._overdispersion(deployment))

    def _overdispersion(self, deployment: ModelDeployment) -> Mapping[str, float]:
        names = (metric.name for metric in deployment.spec.metrics)
        known = {name: self._dispersions.get((deployment.namespace, deployment.name, name)) for name in names}
        return {name: found[1] for name, found in known.items() if found and found[1] is not None}

    def _uncounted(self, deployment: ModelDeployment, state: State, metric: str) -> Collected | None:
        found = self._newest.get((deployment.namespace, deployment.name, metric))
        counted = (state.evidence.get(metric) or {}).get("at")
        if found is None or found.candidate != state.candidate:
            return None
        overlaps = counted is not None and counted > found.since and not isinstance(found.tick, NoData)
        return None if overlaps else found

    def _settled(self, deployment: ModelDeployment, state: State) -> float | None:
        """From when on the requests that end were routed by the present weights; None while there are none."""
        steps, step = deployment.spec.canary.steps, state.step
        if step.since is None or step.index >= len(steps):
            return None
        bakes = [one.bake for one in steps[: step.index + 1] if isinstance(one, WeightStep)]
        settle = min(_SETTLE_SECONDS, bakes[-1] / 4 if bakes else _SETTLE_SECONDS)
        return step.since + self.interval(deployment) + settle

    def interval(self, deployment: ModelDeployment) -> float:
        """Seconds between two ticks of a deployment: as it asks, else as its fastest metric is scraped."""
        asked = deployment.spec.analysis.interval
        if asked is not None:
            return max(_SHORTEST_SECONDS, asked)
        known = [
            self._collector.scrape_interval(metric, self._template(deployment, metric))
            for metric in deployment.spec.metrics
        ]
        return max(_SHORTEST_SECONDS, min((one for one in known if one is not None), default=_FIRST_SECONDS))

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            rollouts = self._in_progress()
            self._telemetry.rollouts.set(len(rollouts))
            if not rollouts:
                self._newest.clear()
                self._dispersions.clear()
                self._wake.clear()
                await self._wake.wait()
                continue
            started = time.monotonic()
            try:
                await self.tick(rollouts)
            except Exception:
                # Evidence that is missing holds a rollout, and says so; without a clock nothing would even be held.
                log.exception("tick.failed")
            pause = min(self.interval(deployment) for deployment, _ in rollouts)
            await asyncio.sleep(max(0.0, pause - (time.monotonic() - started)))

    async def tick(self, rollouts: Sequence[tuple[ModelDeployment, State]]) -> None:
        """Collect once for all of these, and ask for a look at each."""
        wants = {want.key: want for rollout in rollouts for want in self._wants(*rollout)}
        with self._telemetry.tick_seconds.time():
            await self._measure_dispersion(wants)
            found = await self._collector.collect(self._clock(), list(wants.values()))
        self._telemetry.ticks.inc()
        kept = {key: one for key, one in self._newest.items() if key in wants}
        fresh = {key: Collected(tick, wants[key].subject, wants[key].since) for key, tick in found.items()}
        self._newest = kept | fresh
        log.debug("evidence.collected", rollouts=len(rollouts), wanted=len(wants), found=len(found))
        for deployment, _ in rollouts:
            self._look((deployment.namespace, deployment.name))

    async def _measure_dispersion(self, wants: Mapping[Key, Want]) -> None:
        """Ask for what was not asked yet, or is old; before a tick, so that even the first one is weighed by it."""
        now = self._clock()
        self._dispersions = {key: one for key, one in self._dispersions.items() if key in wants}
        due = [
            want
            for key, want in wants.items()
            if want.metric is not _SPLIT and now - self._dispersions.get(key, (0.0,))[0] > _DISPERSION_SECONDS
        ]
        if due:
            measured = await self._collector.overdispersion(now, due)
            self._dispersions |= {want.key: (now, measured.get(want.key)) for want in due}

    def _wants(self, deployment: ModelDeployment, state: State) -> list[Want]:
        def want(metric: Metric, since: float, template: JsonObject | None) -> Want:
            versions = str(state.candidate), str(state.stable)
            return Want(deployment.namespace, deployment.name, *versions, metric, since, template)

        wanted = [
            want(metric, self._since(deployment, state, metric.name), self._template(deployment, metric))
            for metric in deployment.spec.metrics
        ]
        if (settled := self._settled(deployment, state)) is not None:
            wanted.append(want(_SPLIT, max(settled, self._since(deployment, state, SPLIT.metric)), None))
        return wanted

    def _template(self, deployment: ModelDeployment, metric: Metric) -> JsonObject | None:
        return template_of(self._cache, deployment.namespace, metric)

    def _since(self, deployment: ModelDeployment, state: State, metric: str) -> float:
        """From when on to count: after the evidence so far, or after what is known to have been empty."""
        counted = (state.evidence.get(metric) or {}).get("at")
        since = state.candidate_since if counted is None else float(counted)
        last = self._newest.get((deployment.namespace, deployment.name, metric))
        if last and last.candidate == state.candidate and isinstance(last.tick, NoData) and last.tick.at is not None:
            since = max(since, last.tick.at)
        return since

    def _in_progress(self) -> list[tuple[ModelDeployment, State]]:
        """Every deployment whose candidate has traffic, so that there is something to count."""
        found = []
        for body in self._cache.all(kinds.MODEL_DEPLOYMENT):
            if _gathers(body):
                try:
                    deployment = parse_model_deployment(body)
                except InvalidSpec:
                    continue
                found.append((deployment, read(deployment.status)))
        return found

    def _on_change(self, kind: Kind, _before: JsonObject | None, after: JsonObject | None) -> None:
        if kind == kinds.MODEL_DEPLOYMENT and after is not None and _gathers(after):
            self._wake.set()


def _gathers(body: JsonObject) -> bool:
    status = body.get("status") or {}
    candidate = (status.get("candidate") or {}).get("snapshot")
    weights = (status.get("traffic") or {}).get("weights") or {}
    return bool(candidate and weights.get(candidate))
