"""Tells people and machines what a look has led to: log, Events, metrics. Conditions are in the status already.

A note is told once its status is written, and not before: what was planned and not done is planned and told again.
"""

from typing import Final, Protocol

import structlog

from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.controller.apply import Applied
from serin.controller.telemetry import Telemetry
from serin.rollout.model import Observation, Plan, WriteStatus

log: Final = structlog.get_logger("serin.rollout")


class Records(Protocol):
    """Where Events go; cluster.events.EventRecorder is it."""

    def record(self, regarding: JsonObject, reason: str, note: str, *, warning: bool = False) -> None:
        """Note that something happened to an object. Returns at once."""


class Reporter:
    """Turns plans that were carried out into their story."""

    def __init__(self, events: Records, telemetry: Telemetry) -> None:
        self._events, self._telemetry = events, telemetry

    def report(self, body: JsonObject, seen: Observation, plan: Plan, applied: Applied) -> None:
        """Tell the notes of `plan` about the ModelDeployment `body`, as far as they have become true."""
        if applied.why:
            log.info("plan.stopped", outcome=applied.outcome.value, why=applied.why)
        for action in applied.done:
            log.info("action.done", action=type(action).__name__, order=action.order.name)
            if isinstance(action, WriteStatus):
                self._count(seen.deployment.status, action.status)
        if not applied.recorded:
            return
        for note in plan.notes:
            (log.warning if note.warning else log.info)("rollout.noted", reason=note.reason.value, message=note.message)
            self._events.record(body, note.reason.value, note.message, warning=note.warning)

    def refuse(self, body: JsonObject, message: str) -> None:
        """Tell that the spec cannot work."""
        log.warning("spec.refused", message=message)
        self._events.record(body, Reason.INVALID_SPEC.value, message, warning=True)

    def _count(self, before: JsonObject, after: JsonObject) -> None:
        """Count what happened from what is written, so that the numbers and the status can never disagree."""
        weights = [_weights(before), _weights(after)]
        if weights[0] != weights[1]:
            log.info("weights.shifted", before=weights[0], after=weights[1])
        last = after.get("lastRollback") or {}
        stable, former = _snapshot(after), _snapshot(before)
        if last.get("at") != (before.get("lastRollback") or {}).get("at"):
            self._telemetry.rollbacks.labels(last.get("reason", "")).inc()
        elif former is not None and stable != former:
            self._telemetry.promotions.inc()


def _weights(status: JsonObject) -> JsonObject:
    return dict((status.get("traffic") or {}).get("weights") or {})


def _snapshot(status: JsonObject) -> str | None:
    return (status.get("stable") or {}).get("snapshot")
