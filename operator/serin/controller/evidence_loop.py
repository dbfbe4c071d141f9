"""The one clock of all evidence: collects what is asked for in one batch, then asks for a look.

While nothing is asked for the clock stands still. What is counted, and from when on, is evaluation's own affair
(evaluation/samples.py); so is what it says. A sample is kept only until the next one: evaluation folds it into the
evidence, and the status is where evidence lives.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog

from serin.analysis.types import NoData, Tick
from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.spec import Metric, ModelDeployment, TemplateRef
from serin.api.state import State
from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Kind
from serin.controller.specs import Specs
from serin.controller.telemetry import Telemetry
from serin.evaluation.samples import SPLIT, Sample, SampleRequest, Samples, requests, subjects
from serin.metrics.collector import Key, Want
from serin.rollout.strategies.table import strategy_of

log: Final = structlog.get_logger("serin.evidence")

_SHORTEST_SECONDS: Final = 1.0
# Before the scrape interval is known.
_FIRST_SECONDS: Final = 5.0
# How old a measured overdispersion may be.
_DISPERSION_SECONDS: Final = 300.0

Place = tuple[str, str]  # namespace and name of a ModelDeployment


class Collects(Protocol):
    """Where samples come from; metrics.collector.Collector is it."""

    async def collect(self, now: float, wants: Sequence[Want]) -> Mapping[Key, Tick]:
        """One tick for each want, where there is one. Never raises for what users or Prometheus do wrong."""

    async def overdispersion(self, now: float, wants: Sequence[Want]) -> Mapping[Key, float]:
        """How much more bad requests vary between the baseline's pods than by chance, where that can be read."""

    async def slowest_pods(self, now: float, wants: Sequence[Want]) -> Mapping[Key, float]:
        """How many times as much the worst of those pods took as the others, where that can be read."""

    def scrape_interval(self, namespace: str, metric: Metric, template: JsonObject | None = None) -> float | None:
        """Seconds between scrapes of what the metric is read from; None while unknown."""


def template_of(cache: ObjectCache, namespace: str, metric: Metric) -> JsonObject | None:
    """The spec of the user's MetricTemplate that a metric names, None when it names none or a built-in one."""
    if not isinstance(metric.source, TemplateRef):
        return None
    body = cache.get(kinds.METRIC_TEMPLATE, namespace, metric.source.name)
    return None if body is None else body.get("spec") or {}


class EvidenceLoop:
    """Collects while anything is under judgement.

    `request_template`: the built-in template by which a deployment's router counts requests per snapshot; raises
    InvalidSpec. `enqueue`: asks for a look at (namespace, name). `delay`: what delays all evidence now, in words; none:
    nothing. `clock`: unix seconds.
    """

    def __init__(
        self,
        cache: ObjectCache,
        collector: Collects,
        telemetry: Telemetry,
        enqueue: Callable[[Place], None],
        *,
        request_template: Callable[[ModelDeployment], str],
        delay: Callable[[], str] = str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._collector, self._telemetry = cache, collector, telemetry
        self._enqueue, self._request_template, self._clock = enqueue, request_template, clock
        self._delay = delay
        self._newest: dict[Place, dict[tuple[str, str], Sample]] = {}
        # When it was asked for, and the answers: overdispersion, and the slowest pod.
        self._dispersions: dict[Place, dict[Key, tuple[float, float | None, float | None]]] = {}
        self._due: set[Place] = set()
        self._specs = Specs()
        self._wake = asyncio.Event()
        for body in cache.all(kinds.MODEL_DEPLOYMENT):
            self._on_change(kinds.MODEL_DEPLOYMENT, None, body)
        self._stop_listening = cache.listen(self._on_change)

    def close(self) -> None:
        """Hear of no change any more: the term is over."""
        self._stop_listening()

    def samples(self, deployment: ModelDeployment) -> Samples:
        """The newest samples of a deployment, and how they are taken."""
        place = deployment.key
        known = {key[-1]: one for key, one in self._dispersions.get(place, {}).items()}
        dispersions = {metric: phi for metric, (_, phi, _) in known.items() if phi is not None}
        slowest = {metric: times for metric, (_, _, times) in known.items() if times is not None}
        newest = self._newest.get(place, {})
        return Samples(newest, self.interval(deployment), dispersions, delay=self._delay(), slowest_pods=slowest)

    def interval(self, deployment: ModelDeployment) -> float:
        """Seconds between two samples of a deployment: as it asks, else as its fastest metric is scraped."""
        asked = deployment.spec.analysis.interval
        if asked is not None:
            return max(_SHORTEST_SECONDS, asked)
        namespace = deployment.namespace
        known = [
            self._collector.scrape_interval(namespace, metric, template_of(self._cache, namespace, metric))
            for metric in deployment.spec.metrics
        ]
        return max(_SHORTEST_SECONDS, min((one for one in known if one is not None), default=_FIRST_SECONDS))

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            under_judgement = self.under_judgement()
            self._telemetry.rollouts.set(sum(state.judged is not None for _, state in under_judgement))
            if not under_judgement:
                self._newest.clear()
                self._dispersions.clear()
                self._wake.clear()
                await self._wake.wait()
                continue
            started, pause = time.monotonic(), _FIRST_SECONDS
            try:
                await self.tick(under_judgement)
                pause = min(self.interval(deployment) for deployment, _ in under_judgement)
            except Exception:
                # Evidence that is missing holds a rollout, and says so; without a clock nothing would even be held.
                log.exception("tick.failed")
            await asyncio.sleep(max(0.0, pause - (time.monotonic() - started)))

    def under_judgement(self) -> list[tuple[ModelDeployment, State]]:
        """Every deployment that has a subject, so that there is something to count."""
        found = []
        for place in sorted(self._due):
            body = self._cache.get(kinds.MODEL_DEPLOYMENT, *place)
            if body is not None:
                try:
                    found.append((self._specs.read(body), read_state(body.get("status") or {})))
                except InvalidSpec:
                    continue  # its own look says so
                except Exception:
                    # One object that cannot be read must not end the evidence of all others.
                    log.exception("deployment.unreadable", namespace=place[0], deployment=place[1])
        return found

    async def tick(self, deployments: Sequence[tuple[ModelDeployment, State]]) -> None:
        """Collect once for all of these, and ask for a look at each."""
        asked = {
            want.key: (request, want)
            for deployment, state in deployments
            for request, want in self._wants_or_none(deployment, state)
        }
        wants = {key: want for key, (_, want) in asked.items()}
        with self._telemetry.tick_seconds.time():
            await self._measure_dispersion(wants)
            found = await self._collector.collect(self._clock(), list(wants.values()))
        self._telemetry.ticks.inc()
        kept: dict[Place, dict[tuple[str, str], Sample]] = {}
        for key, (request, want) in asked.items():
            before = self._newest.get(key[:2], {}).get(request.key)
            sample = Sample(_explained(found[key], self._delay()), want.since) if key in found else before
            if sample:
                kept.setdefault(key[:2], {})[request.key] = sample
        self._newest = kept
        log.debug("evidence.collected", deployments=len(deployments), wanted=len(wants), found=len(found))
        for deployment, _ in deployments:
            self._enqueue(deployment.key)

    async def _measure_dispersion(self, wants: Mapping[Key, Want]) -> None:
        """Ask for what was not asked yet, or is old; before a tick, so that even the first one is judged by it."""
        now = self._clock()
        known = {key: one for answers in self._dispersions.values() for key, one in answers.items() if key in wants}
        due = [
            want
            for key, want in wants.items()
            if want.metric.name != SPLIT
            and want.baseline is not None  # else nothing is judged
            and now - known.get(key, (0.0,))[0] > _DISPERSION_SECONDS
        ]
        if due:
            measured, slowest = await asyncio.gather(
                self._collector.overdispersion(now, due), self._collector.slowest_pods(now, due)
            )
            known |= {want.key: (now, measured.get(want.key), slowest.get(want.key)) for want in due}
        self._dispersions = {}
        for key, one in known.items():
            self._dispersions.setdefault(key[:2], {})[key] = one

    def _wants_or_none(self, deployment: ModelDeployment, state: State) -> list[tuple[SampleRequest, Want]]:
        """Nothing for a spec that cannot be read: observe says why, and no other deployment waits for it."""
        try:
            return self._wants(deployment, state)
        except InvalidSpec:
            return []
        except Exception:
            log.exception("deployment.unreadable", namespace=deployment.namespace, deployment=deployment.name)
            return []

    def _wants(self, deployment: ModelDeployment, state: State) -> list[tuple[SampleRequest, Want]]:
        settled = None
        if state.rollout:
            settled = strategy_of(deployment.spec).settled_at(state.rollout.stage)
            settled = None if settled is None else settled + self.interval(deployment)
        asked = requests(
            state,
            deployment.spec.metrics,
            self._newest.get(deployment.key, {}),
            request_template=self._request_template(deployment),
            settled_at=settled,
        )
        return [(one, self._want(deployment, one)) for one in asked]

    def _want(self, deployment: ModelDeployment, asked: SampleRequest) -> Want:
        template = template_of(self._cache, deployment.namespace, asked.metric)
        return Want(
            *deployment.key, asked.subject, asked.baseline, asked.metric, asked.since, template, counted=asked.counted
        )

    def _on_change(self, kind: Kind, before: JsonObject | None, after: JsonObject | None) -> None:
        """Keep the list of deployments that have a subject, so that a tick need not look at all."""
        body = after if after is not None else before
        if kind != kinds.MODEL_DEPLOYMENT or body is None:
            return
        place = body["metadata"]["namespace"], body["metadata"]["name"]
        if after is not None and subjects(read_state(after.get("status") or {})):
            self._due.add(place)
            self._wake.set()
        else:
            self._due.discard(place)
            self._specs.forget(place)


def _explained(tick: Tick, delay: str) -> Tick:
    """A tick without data says what delays it."""
    return replace(tick, message=f"{tick.message}; {delay}") if delay and isinstance(tick, NoData) else tick
