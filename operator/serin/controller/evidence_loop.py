"""The one clock of all evidence: collects what is asked for in one batch, then asks for a look.

While nothing is asked for the clock stands still. What is counted, and from when on, is evaluation's own affair
(evaluation/samples.py); so is what it says. A sample is kept only until the next one: evaluation folds it into the
evidence, and the status is where evidence lives.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, Protocol

import structlog

from serin.analysis.types import NoData, Tick
from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.spec import Metric, ModelDeployment, TemplateRef
from serin.api.state import State
from serin.api.status import read_state
from serin.api.verdicts import PAST, Against
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller.live_evidence import LOOKS_PER_SECOND, MOST_ROLLOUTS, PERIOD, LiveEvidence
from serin.controller.specs import Specs
from serin.controller.telemetry import Telemetry
from serin.controller.unwritten import Unwritten
from serin.evaluation.questions import question_of
from serin.evaluation.samples import (
    SPLIT,
    Sample,
    SampleRequest,
    Samples,
    looks_every,
    requests,
    still_counted,
    subjects,
)
from serin.metrics.collector import Key, Want
from serin.rollout.strategies.table import strategy_of

log: Final = structlog.get_logger("serin.evidence")

_SHORTEST_SECONDS: Final = 1.0
# Before the scrape interval is known.
_FIRST_SECONDS: Final = 5.0
# Writes a second that change nothing but numbers, of all rollouts together: what few people watch is live for few.
NUMBERS_PER_SECOND: Final = 2.0
# How old a measured overdispersion may be.
_DISPERSION_SECONDS: Final = 300.0
# How soon is asked again for what was not there yet, while only limits are watched.
_AGAIN_SECONDS: Final = 15.0

# What is judged although nothing is counted beside it.
_JUDGED_ALONE: Final = (Against.LIMIT, *PAST)

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

    def in_step(self, wanted: float, within: float) -> float:
        """The moment nearest to `wanted` at which there is something new to count (unix seconds)."""


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
    nothing. `clock`: unix seconds. `live`: counts what can be read from the router itself (`run_live`); `can_be_live`:
    whether that can be done for a deployment.
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
        live: LiveEvidence | None = None,
        can_be_live: Callable[[ModelDeployment], bool] = lambda _: False,
    ) -> None:
        self._cache, self._collector, self._telemetry = cache, collector, telemetry
        self._enqueue, self._request_template, self._clock = enqueue, request_template, clock
        self._delay, self._live, self._can_be_live = delay, live, can_be_live
        self._live_period = PERIOD
        self.unwritten = Unwritten(self._numbers_every, clock)
        self._newest: dict[Place, dict[tuple[str, str], Sample]] = {}
        # When it was asked for, and the answers: overdispersion, and the slowest pod.
        self._dispersions: dict[Place, dict[Key, tuple[float, float | None, float | None]]] = {}
        self._collected: dict[Place, float] = {}  # when all of a deployment's samples were there last
        self._due: dict[Place, bool] = {}  # those with a subject, and whether only its limits are watched
        self._in_rollout: set[Place] = set()
        self._specs = Specs()
        self._wake, self._wake_live = asyncio.Event(), asyncio.Event()
        self.close = cache.follow(kinds.MODEL_DEPLOYMENT, self._on_change)  # at the end of the term

    def samples(self, deployment: ModelDeployment, state: State) -> Samples:
        """The newest samples of a deployment, and how they are taken. `state`: what was decided for it."""
        place = deployment.key
        known = {key[-1]: one for key, one in self._dispersions.get(place, {}).items()}
        dispersions = {metric: phi for metric, (_, phi, _) in known.items() if phi is not None}
        slowest = {metric: times for metric, (_, _, times) in known.items() if times is not None}
        questions = self._questions(deployment)
        return Samples(
            still_counted(self._newest.get(place, {}), questions),
            self.interval(deployment, state),
            dispersions,
            delay=self._delay(),
            slowest_pods=slowest,
            questions=questions,
            every=self._every(place),
        )

    def _every(self, place: Place) -> dict[str, float]:
        """Seconds between two samples of each metric that is counted from readings now."""
        known = self._newest.get(place, {}) if self._live else ()
        return {metric: self._live_period for subject, metric in known if self._is_live((*place, subject, metric))}

    def _is_live(self, key: Key) -> bool:
        return self._live is not None and self._live.counts(key)

    def _questions(self, deployment: ModelDeployment) -> dict[str, str]:
        """What each metric of a deployment asks now."""
        return {
            one.name: question_of(one, template_of(self._cache, deployment.namespace, one))
            for one in deployment.spec.metrics
        }

    def interval(self, deployment: ModelDeployment, state: State) -> float:
        """Seconds between two samples of a deployment: as it asks, else as its fastest metric is scraped.

        While only limits are watched it is longer.
        """
        return looks_every(deployment.spec, state, self._shortest(deployment))

    def _shortest(self, deployment: ModelDeployment) -> float:
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
            self._wake.clear()
            under_judgement = self.under_judgement()
            self._telemetry.rollouts.set(sum(state.judged is not None for _, state in under_judgement))
            if not under_judgement:
                self._newest.clear()
                self._dispersions.clear()
                self._collected.clear()
                await self._wake.wait()
                continue
            began, started, pause = self._clock(), time.monotonic(), _FIRST_SECONDS
            try:
                if due := self.due(under_judgement):
                    await self.tick(due)
                pause = self._in_step(began, self._pause(under_judgement))
            except Exception:
                # Evidence that is missing holds a rollout, and says so; without a clock nothing would even be held.
                log.exception("tick.failed")
            await self._sleep(pause - (time.monotonic() - started))

    async def _sleep(self, seconds: float) -> None:
        """A long sleep ends when somebody else comes under judgement."""
        await asyncio.sleep(max(0.0, min(seconds, _FIRST_SECONDS)))
        if seconds > _FIRST_SECONDS:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds - _FIRST_SECONDS):
                    await self._wake.wait()

    def _numbers_every(self) -> float:
        """Seconds between two writes of one deployment that change numbers alone."""
        return len(self._due) / NUMBERS_PER_SECOND

    async def run_live(self) -> None:
        """Count what can be read from the router itself, and ask for looks at it, until cancelled."""
        assert self._live is not None
        try:
            while True:
                self._wake_live.clear()
                if not self._in_rollout:
                    self._live.stop()
                    await self._wake_live.wait()
                    continue
                started = time.monotonic()
                try:
                    # So many would be read less often than they are scraped.
                    few = len(self._in_rollout) <= MOST_ROLLOUTS
                    await self.tick_live(self._read(self._in_rollout) if few else [])
                except Exception:
                    # Prometheus has it all.
                    self._live.stop()
                    log.exception("live.failed")
                await asyncio.sleep(max(0.0, self._live_period - (time.monotonic() - started)))
        finally:
            self._live.close()

    async def tick_live(self, rollouts: Sequence[tuple[ModelDeployment, State]]) -> None:
        """Read once for all of these, and ask for a look at each of which something was counted."""
        assert self._live is not None
        able = {
            deployment.key: found for deployment, state in rollouts if (found := self._live_wants(deployment, state))
        }
        self._live_period = max(PERIOD, len(able) / LOOKS_PER_SECOND)
        # Where readings would come less often than scrapes they are of no use.
        rare = {deployment.key for deployment, _ in rollouts if self._live_period > self._shortest(deployment)}
        asked = {want.key: (one, want) for place, found in able.items() if place not in rare for one, want in found}
        for key, tick in (await self._live.collect([want for _, want in asked.values()])).items():
            request, want = asked[key]
            sample = Sample(tick, want.since, request.follows, question_of(want.metric, want.template))
            self._newest.setdefault(key[:2], {})[request.key] = sample
        for place in sorted({key[:2] for key in asked if self._is_live(key)}):
            self._enqueue(place)

    def _live_wants(self, deployment: ModelDeployment, state: State) -> list[tuple[SampleRequest, Want]]:
        """What can be counted from readings; nothing for a spec that cannot be read, and nobody else waits for it."""
        try:
            if deployment.spec.analysis.interval is not None or not self._can_be_live(deployment):
                return []
            left = _joined_with_others(deployment, state)
            return [one for one in self._wants(deployment, state) if one[1].metric.name != left]
        except InvalidSpec:
            return []
        except Exception:
            log.exception("deployment.unreadable", namespace=deployment.namespace, deployment=deployment.name)
            return []

    def under_judgement(self) -> list[tuple[ModelDeployment, State]]:
        """Every deployment that has a subject, so that there is something to count."""
        return self._read(self._due)

    def _read(self, places: Collection[Place]) -> list[tuple[ModelDeployment, State]]:
        found = []
        for place in sorted(places):
            body = self._cache.get(kinds.MODEL_DEPLOYMENT, *place)
            if body is not None:
                try:
                    state = read_state(self.unwritten.status_of(body))
                    found.append((self._specs.read(body), state))
                except InvalidSpec:
                    continue  # its own look says so
                except Exception:
                    # One object that cannot be read must not end the evidence of all others.
                    log.exception("deployment.unreadable", namespace=place[0], deployment=place[1])
        return found

    def due(self, under_judgement: Sequence[tuple[ModelDeployment, State]]) -> list[tuple[ModelDeployment, State]]:
        """Those whose time has come: a limit that is only watched is read seldom, in a batch with what others ask."""
        there = {deployment.key for deployment, _ in under_judgement}
        self._newest = {place: one for place, one in self._newest.items() if place in there}
        self._dispersions = {place: one for place, one in self._dispersions.items() if place in there}
        self._collected = {place: at for place, at in self._collected.items() if place in there}
        return [one for one in under_judgement if self._left(*one) <= 0.0]

    def _pause(self, under_judgement: Sequence[tuple[ModelDeployment, State]]) -> float:
        """Seconds from the beginning of a tick to that of the next."""
        return min(
            max(self._left(*one), min(self.interval(*one), max(self._shortest(one[0]), _AGAIN_SECONDS)))
            if self._is_seldom(*one)
            else self._shortest(one[0])
            for one in under_judgement
        )

    def _in_step(self, began: float, pause: float) -> float:
        """About the same pause, but so that it ends when the next scrape has just become old enough to be counted.

        A collection that comes at any other moment adds up to an interval to the time until a failure is counted.
        """
        return self._collector.in_step(began + pause, pause / 2.0) - began

    def _is_seldom(self, deployment: ModelDeployment, state: State) -> bool:
        return self.interval(deployment, state) > self._shortest(deployment)

    def _left(self, deployment: ModelDeployment, state: State) -> float:
        """Seconds until a deployment is due. One that is compared is at every tick, as is what is not all there yet."""
        seldom, at = self.interval(deployment, state), self._collected.get(deployment.key)
        if at is None or not self._is_seldom(deployment, state):
            return 0.0
        passed = self._clock() - at
        return max(0.0, seldom - passed - _SHORTEST_SECONDS) if passed >= 0.0 else 0.0

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
            found = dict(await self._collector.collect(self._clock(), self._not_live(wants)))
        self._telemetry.ticks.inc()
        asked_of = {deployment.key for deployment, _ in deployments}
        # What is counted from readings by now is newer.
        live = {key for key in asked if self._is_live(key)}
        found = {key: tick for key, tick in found.items() if key not in live}
        missing = {key[:2] for key in asked if key not in found and key not in live}
        self._collected |= dict.fromkeys(asked_of - missing, self._clock())
        for place in missing:
            self._collected.pop(place, None)
        kept = {place: one for place, one in self._newest.items() if place not in asked_of}
        for key, (request, want) in asked.items():
            before = self._newest.get(key[:2], {}).get(request.key)
            sample = before
            if key in found:
                tick, asks = _explained(found[key], self._delay()), question_of(want.metric, want.template)
                sample = Sample(tick, want.since, request.follows, asks)
            if sample:
                kept.setdefault(key[:2], {})[request.key] = sample
        self._newest = kept
        newest = max((tick.at for tick in found.values() if tick.at is not None), default=None)
        log.debug("evidence.collected", deployments=len(deployments), wanted=len(wants), found=len(found), at=newest)
        for deployment, _ in deployments:
            self._enqueue(deployment.key)

    def _not_live(self, wants: Mapping[Key, Want]) -> list[Want]:
        """What Prometheus is asked for, going on from the last readings where there were some."""
        asked = [want for key, want in wants.items() if not self._is_live(key)]
        return [replace(want, base=self._live.begun(want)) for want in asked] if self._live else asked

    async def _measure_dispersion(self, wants: Mapping[Key, Want]) -> None:
        """Ask for what was not asked yet, or is old; before a tick, so that even the first one is judged by it."""
        now = self._clock()
        places = {key[:2] for key in wants}
        known = {
            key: one
            for place, answers in self._dispersions.items()
            for key, one in answers.items()
            if key in wants or place not in places
        }
        due = [
            want
            for key, want in wants.items()
            if want.metric.name != SPLIT
            and (want.baseline is not None or want.metric.against in _JUDGED_ALONE)  # else nothing is
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
            settled = None if settled is None else settled + self.interval(deployment, state)
        asked = requests(
            state,
            deployment.spec.metrics,
            self._newest.get(deployment.key, {}),
            request_template=self._request_template(deployment),
            settled_at=settled,
            now=self._clock(),
            questions=self._questions(deployment),
        )
        return [(one, self._want(deployment, one)) for one in asked]

    def _want(self, deployment: ModelDeployment, asked: SampleRequest) -> Want:
        template = template_of(self._cache, deployment.namespace, asked.metric)
        return Want(
            *deployment.key,
            asked.subject,
            asked.baseline,
            asked.metric,
            asked.since,
            template,
            counted=asked.counted,
            past=asked.past,
        )

    def _on_change(self, place: Place, after: JsonObject | None) -> None:
        """Keep the list of deployments that have a subject, so that a tick need not look at all."""
        state = read_state(after.get("status") or {}) if after is not None else None
        found = subjects(state) if state is not None else ()
        if state is None or state.rollout is None or not found:
            self._in_rollout.discard(place)
        else:
            self._in_rollout.add(place)
            self._wake_live.set()
        if not found:
            self._due.pop(place, None)
            self._specs.forget(place)
            if after is None:
                self.unwritten.forget(place)
            return
        only_limits = all(one.limits for one in found)
        if self._due.get(place) != only_limits:
            self._wake.set()
        self._due[place] = only_limits


def _joined_with_others(deployment: ModelDeployment, state: State) -> str:
    """The metric whose samples of all arms must be of one collection; "" for none."""
    reward = strategy_of(deployment.spec).schedule().reward if state.rollout and len(state.rollout.arms) > 1 else None
    return reward.metric if reward else ""


def _explained(tick: Tick, delay: str) -> Tick:
    """A tick without data says what delays it."""
    return replace(tick, message=f"{tick.message}; {delay}") if delay and isinstance(tick, NoData) else tick
