"""One look at one model deployment: observe, evaluate, plan, apply, report.

Level-triggered: a look reads everything, moves one step closer, and says when to look again. Which event led to it does
not matter, and none is needed for a look to be right.
"""

import time
from collections.abc import Callable
from typing import Final

import structlog

from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.kill_switch import read_kill_switch
from serin.api.names import Key
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import ClusterError
from serin.controller.apply import Applier
from serin.controller.observe import Observer
from serin.controller.report import Reporter
from serin.controller.telemetry import Outcome, Telemetry
from serin.evaluation.evaluate import Assessment
from serin.rollout.assess import assess
from serin.rollout.model import Observation, Plan, WriteStatus
from serin.rollout.refusal import refuse

log: Final = structlog.get_logger("serin.reconcile")


class TryAgain(Exception):
    """The look did not succeed; the queue brings the key back with back-off. It is logged already."""


class Reconciler:
    """Looks at model deployments. `plan` is the planner; `clock` gives unix seconds."""

    def __init__(
        self,
        cache: ObjectCache,
        observer: Observer,
        plan: Callable[[Observation, Assessment], Plan],
        applier: Applier,
        reporter: Reporter,
        telemetry: Telemetry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._observer = cache, observer
        self._plan, self._applier, self._reporter = plan, applier, reporter
        self._telemetry, self._clock = telemetry, clock

    async def __call__(self, key: Key) -> float | None:
        """Look at one deployment; returns in how many seconds to look again. Raises TryAgain."""
        namespace, name = key
        bound = structlog.contextvars.bound_contextvars(namespace=namespace, deployment=name)
        with bound, self._telemetry.reconcile_seconds.time():
            try:
                outcome, again = await self._look(namespace, name)
            except ClusterError as error:
                log.warning("request.failed", error=error.message, status=error.status, kind=type(error).__name__)
                outcome, again = Outcome.FAILED, None
            except Exception:
                log.exception("look.failed")
                outcome, again = Outcome.FAILED, None
        self._telemetry.reconciles.labels(outcome.value).inc()
        if outcome in (Outcome.FAILED, Outcome.CONFLICT):
            raise TryAgain
        return again

    async def _look(self, namespace: str, name: str) -> tuple[Outcome, float | None]:
        body = self._cache.get(kinds.MODEL_DEPLOYMENT, namespace, name)
        if body is None:
            self._observer.forget((namespace, name))
            self._applier.lowering.end((namespace, name))
            return Outcome.GONE, None
        try:
            seen = self._observer.observe(body, self._clock())
        except InvalidSpec as invalid:
            self._applier.lowering.end((namespace, name))
            outcome = await self._refuse(body, str(invalid))
            return outcome, 1.0 if outcome is Outcome.STOPPED else None
        if decided := self._applier.lowering.of(seen):
            seen, plan = decided  # what could not be written comes before anything new
        else:
            plan = self._plan(seen, assess(seen))
        self._measure_age(seen)
        applied = await self._applier.apply(seen, plan)
        if plan.unwritten is not None:
            self._observer.unwritten.keep(body, plan.unwritten)
        elif any(isinstance(action, WriteStatus) for action in applied.done):
            self._observer.unwritten.wrote(seen.deployment.key)
        self._reporter.report(body, seen, plan, applied)
        again = plan.requeue_after if applied.outcome is Outcome.DONE else 1.0
        return applied.outcome, min((one for one in (again, applied.again) if one is not None), default=None)

    def _measure_age(self, seen: Observation) -> None:
        ends = [sample.tick.at for sample in seen.samples.newest.values() if sample.tick.at is not None]
        if ends:
            self._telemetry.evidence_age.observe(seen.now - min(ends))

    async def _refuse(self, body: JsonObject, message: str) -> Outcome:
        """A spec that cannot be planned with; see rollout.refusal for what becomes of it."""
        status, metadata, now = body.get("status") or {}, body["metadata"], self._clock()
        killed = read_kill_switch(metadata.get("annotations") or {}, body["spec"])
        told = refuse(status, message, generation=metadata["generation"], now=now, killed=killed)
        if told is status:
            return Outcome.DONE
        outcome = await self._applier.refuse(body, told, now)
        if outcome is Outcome.DONE:
            self._reporter.refuse(body, message)
        return outcome
