"""The fifth stage: tells what a look has led to, in log, Events and metrics. Conditions are in the status already.

A note is told once its status is written, and not before: what was planned and not done is planned and told again.
"""

from collections.abc import Callable
from typing import Final, Protocol

import structlog

from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.names import Key, key_of
from serin.api.state import State
from serin.api.status import read_state
from serin.controller.apply import Applied
from serin.controller.telemetry import Telemetry
from serin.rollout.model import Observation, Plan, WriteStatus

log: Final = structlog.get_logger("serin.rollout")


class Records(Protocol):
    """Where Events go; cluster.events.EventRecorder is it."""

    def record(self, regarding: JsonObject, reason: str, note: str, *, warning: bool = False) -> None:
        """Note that something happened to an object. Returns at once."""


class Reporter:
    """Turns plans that were carried out into their story. `hear`: is told every note, with its reason."""

    def __init__(
        self, events: Records, telemetry: Telemetry, hear: Callable[[Key, str, str], None] = lambda *_: None
    ) -> None:
        self._events, self._telemetry, self._hear = events, telemetry, hear

    def report(self, body: JsonObject, seen: Observation, plan: Plan, applied: Applied) -> None:
        """Tell the notes of `plan` about the ModelDeployment `body`, as far as they have become true."""
        if applied.why:
            log.info("plan.stopped", outcome=applied.outcome.value, why=applied.why)
        for action in applied.done:
            log.info("action.done", action=type(action).__name__, order=action.order.name)
            if isinstance(action, WriteStatus):
                self._count(seen.state, read_state(action.status))
        if applied.denied:
            log.warning("write.denied", message=applied.denied)
            self._events.record(body, Reason.WRITE_DENIED.value, applied.denied, warning=True)
        if not applied.recorded:
            return
        for note in plan.events:
            (log.warning if note.warning else log.info)("rollout.noted", reason=note.reason.value, message=note.message)
            self._events.record(body, note.reason.value, note.message, warning=note.warning)
            self._hear(key_of(body), note.reason.value, note.message)

    def refuse(self, body: JsonObject, message: str) -> None:
        """Tell that the spec cannot work."""
        log.warning("spec.refused", message=message)
        self._events.record(body, Reason.INVALID_SPEC.value, message, warning=True)

    def _count(self, before: State, after: State) -> None:
        """Count what happened from what is written, so that the numbers and the status can never disagree."""
        if before.split != after.split:
            log.info("weights.shifted", before=dict(before.split.weights), after=dict(after.split.weights))
        last = after.last_rollback
        if last and (before.last_rollback is None or before.last_rollback.at != last.at):
            self._telemetry.rollbacks.labels(last.reason).inc()
        elif before.stable is not None and after.stable != before.stable:
            self._telemetry.promotions.inc()
        if last and last.outcome and (before.last_rollback is None or before.last_rollback.outcome != last.outcome):
            self._telemetry.recoveries.labels(last.outcome).inc()
