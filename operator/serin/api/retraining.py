"""`spec.retraining` and `status.retraining`: when a model is retrained, by whom, and how that went.

Serin begins a retraining and tells its cause; what it makes comes back as an ordinary change of the spec. The JSON of
both is read and written here. As with the rest of a status, what does not parse is left out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from serin.api.conditions import Reason
from serin.api.fields import Field, InvalidSpec
from serin.api.json import JsonObject
from serin.api.text import shortened
from serin.api.times import moment, rfc3339

# Bounds of the schema (crds/modeldeployments.yaml); a test compares them.
LONGEST_TEXT: Final = 1024
MOST_ROLLBACKS: Final = 20
MOST_REQUESTS: Final = 2**63 - 1


class Trigger(StrEnum):
    """Why a retraining begins."""

    SCHEDULE = "Schedule"
    PERFORMANCE = "Performance"
    VOLUME = "Volume"
    DRIFT = "Drift"
    ROLLBACKS = "Rollbacks"


class RunPhase(StrEnum):
    """How far a retraining is."""

    REQUESTED = "Requested"  # decided; there is no Job yet, and no webhook has taken it
    RUNNING = "Running"  # the Job exists and has not ended
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DELIVERED = "Delivered"  # the webhook has taken it: Serin hears no more of it
    CANCELLED = "Cancelled"  # spec.retraining was removed before it began


_REASONS: Final = {
    RunPhase.RUNNING: Reason.RETRAINING_RUNS,
    RunPhase.SUCCEEDED: Reason.RETRAINING_SUCCEEDED,
    RunPhase.FAILED: Reason.RETRAINING_FAILED,
    RunPhase.DELIVERED: Reason.RETRAINING_DELIVERED,
    RunPhase.CANCELLED: Reason.RETRAINING_CANCELLED,
}
UNDER_WAY: Final = frozenset({RunPhase.REQUESTED, RunPhase.RUNNING})


# ── The spec ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class When:
    """One entry of `triggers`. What belongs to another trigger is empty.

    `every`, `within`: seconds. `metric`: of performance and volume. `requests`: of volume. `count`: of rollbacks.
    """

    trigger: Trigger
    every: float = 0.0
    metric: str = ""
    requests: int = 0
    count: int = 0
    within: float = 0.0


@dataclass(frozen=True, slots=True)
class RetrainingSpec:
    """`spec.retraining`. `cooldown`: seconds after the end of one. Exactly one of `job` (JSON) and `webhook` (name)."""

    triggers: tuple[When, ...]
    cooldown: float
    job: JsonObject | None = None
    webhook: str = ""

    def asks(self, trigger: Trigger) -> tuple[When, ...]:
        """The entries of one trigger."""
        return tuple(one for one in self.triggers if one.trigger is trigger)


def read_retraining(field: Field | None) -> RetrainingSpec | None:
    """From the settings, defaults included. Raises InvalidSpec."""
    if field is None:
        return None
    job, webhook = field.get("job"), field.get("webhook")
    if (job is None) == (webhook is None):
        raise InvalidSpec(f"{field.path}: write exactly one of job: {{spec: ...}} and webhook: {{name: ...}}")
    on = tuple(_when(one) for one in field["triggers"].items())
    for trigger in (Trigger.SCHEDULE, Trigger.VOLUME):
        if sum(one.trigger is trigger for one in on) > 1:
            raise InvalidSpec(f"{field.path}.triggers: {trigger.lower()} is there twice: write it once")
    return RetrainingSpec(
        on,
        field["cooldown"].duration(),
        job=job.value if job else None,
        webhook=webhook["name"].value if webhook else "",
    )


def _when(field: Field) -> When:
    members = [name for name, settings in field.value.items() if settings is not None]
    if len(members) != 1 or members[0].capitalize() not in Trigger.__members__.values():
        words = ", ".join(one.lower() for one in Trigger)
        raise InvalidSpec(f"{field.path}: write exactly one of {words}")
    trigger, settings = Trigger(members[0].capitalize()), field[members[0]]
    match trigger:
        case Trigger.SCHEDULE:
            return When(trigger, every=settings["every"].duration())
        case Trigger.PERFORMANCE:
            return When(trigger, metric=settings["metric"].value)
        case Trigger.VOLUME:
            return When(trigger, metric=settings["metric"].value, requests=settings["requests"].value)
        case Trigger.ROLLBACKS:
            return When(trigger, count=settings["count"].value, within=settings["within"].duration())
    return When(trigger)


# ── What was decided ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a retraining was begun, for whoever trains.

    `snapshot`: what served, `model`: its model version. `metric`: that the trigger is about, "" without one; `estimate`
    and `interval` as shown, `requests`: that it was measured on. `since`, `until`: the window (unix seconds).
    `measured`: what the snapshot's newest record says of it, in a line.
    """

    trigger: Trigger
    message: str
    snapshot: str
    model: str = ""
    metric: str = ""
    estimate: str = ""
    interval: str = ""
    requests: int = 0
    since: float | None = None
    until: float | None = None
    measured: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """The newest retraining.

    `name`: of its Job, and the id of what a webhook gets; the same cause never gets two. `at`: when it was decided
    (unix seconds). `webhook`: the webhook's name, "" for a Job. `uid`: of the Job, "" until it was seen. `message`: why
    it has not begun yet, or how it ended. `ended`: unix seconds, None while it is under way.
    """

    name: str
    cause: Cause
    at: float
    phase: RunPhase = RunPhase.REQUESTED
    webhook: str = ""
    uid: str = ""
    message: str = ""
    ended: float | None = None

    @property
    def under_way(self) -> bool:
        """Whether it has not ended."""
        return self.phase in UNDER_WAY


def reason_of(run: Run) -> Reason:
    """How a retraining stands, in one word."""
    waits = Reason.RETRAINING_WAITS if run.message else Reason.RETRAINING_REQUESTED
    return _REASONS.get(run.phase, waits)


@dataclass(frozen=True, slots=True)
class Retraining:
    """What is kept of retraining between two looks.

    `since`: from when on the triggers count (unix seconds): when they were written, or the newest retraining began.
    `number`: how many were begun. `run`: the newest one. `counted`, `counted_until`: requests of the volume since then,
    and until when (unix seconds). `rollbacks`: when there were some since then, oldest first.
    """

    since: float
    number: int = 0
    run: Run | None = None
    counted: int = 0
    counted_until: float | None = None
    rollbacks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSeen:
    """The Job of a retraining as it is. `succeeded`: None while it has not ended; `message`: why it has failed."""

    uid: str
    succeeded: bool | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class RetrainingSeen:
    """What is known of a retraining beside the status.

    `job`: of the newest one. `delivered`: the webhook has taken it. `problem`: why it could not be begun so far, in
    words. `volume`: requests since `counted_until`, and until when (unix seconds).
    """

    job: JobSeen | None = None
    delivered: bool = False
    problem: str = ""
    volume: tuple[float, int, float] | None = None  # since, requests, until


def cause_json(run: Run, namespace: str, deployment: str) -> JsonObject:
    """What a Job finds in SERIN_RETRAINING_CAUSE, and a webhook as the data of its event."""
    return {
        "id": run.name,
        "namespace": namespace,
        "modelDeployment": deployment,
        "at": rfc3339(run.at),
        **_write_cause(run.cause),
    }


def cause_text(run: Run, namespace: str, deployment: str) -> str:
    """The same on one line."""
    return json.dumps(cause_json(run, namespace, deployment), separators=(",", ":"), ensure_ascii=False)


# ── Reading and writing the status ────────────────────────────────────────────────────────────────────────────────────


def retraining_of(row: JsonObject) -> Retraining | None:
    """From the JSON of `status.retraining`; None without one."""
    since = moment(row.get("since"))
    if since is None:
        return None
    rollbacks = row.get("rollbacks")
    found = (moment(one) for one in rollbacks) if isinstance(rollbacks, list) else ()
    run = row.get("run")
    return Retraining(
        since=since,
        number=_count(row, "number"),
        run=_read_run(run) if isinstance(run, dict) else None,
        counted=_count(row, "requests"),
        counted_until=moment(row.get("countedUntil")),
        rollbacks=tuple(one for one in found if one is not None),
    )


def write_retraining(one: Retraining) -> JsonObject:
    """As JSON, within the bounds of the schema."""
    row: dict[str, Any] = {"since": rfc3339(one.since), "number": one.number}
    row |= {"requests": min(one.counted, MOST_REQUESTS)} if one.counted else {}
    row |= {"countedUntil": rfc3339(one.counted_until)} if one.counted_until is not None else {}
    row |= {"rollbacks": [rfc3339(at) for at in one.rollbacks[-MOST_ROLLBACKS:]]} if one.rollbacks else {}
    return row | ({"run": _write_run(one.run)} if one.run else {})


def smallest_retraining(one: Retraining | None) -> Retraining | None:
    """Without texts: what has been begun must not be begun again, whatever else a status has no room for."""
    if one is None or one.run is None:
        return one
    cause = replace(one.run.cause, message="", metric="", estimate="", interval="", model="", measured="")
    return replace(one, run=replace(one.run, cause=cause, message=""))


def _read_run(row: JsonObject) -> Run | None:
    at, phase, cause = moment(row.get("at")), _text(row, "phase"), row.get("cause")
    read = _read_cause(cause) if isinstance(cause, dict) else None
    if at is None or read is None or phase not in RunPhase.__members__.values() or not _text(row, "name"):
        return None
    texts = {key: _text(row, key) for key in ("webhook", "uid", "message")}
    return Run(_text(row, "name"), read, at, RunPhase(phase), **texts, ended=moment(row.get("ended")))


def _write_run(run: Run) -> JsonObject:
    row: JsonObject = {"name": run.name, "at": rfc3339(run.at), "phase": run.phase.value}
    texts = {"webhook": run.webhook, "uid": run.uid, "message": shortened(run.message, LONGEST_TEXT)}
    row |= {key: value for key, value in texts.items() if value}
    row |= {"ended": rfc3339(run.ended)} if run.ended is not None else {}
    return row | {"cause": _write_cause(run.cause)}


def _read_cause(row: JsonObject) -> Cause | None:
    trigger = _text(row, "trigger")
    if trigger not in Trigger.__members__.values():
        return None
    texts = {key: _text(row, key) for key in ("model", "metric", "estimate", "interval", "measured")}
    return Cause(
        Trigger(trigger),
        _text(row, "message"),
        _text(row, "snapshot"),
        **texts,
        requests=_count(row, "requests"),
        since=moment(row.get("since")),
        until=moment(row.get("until")),
    )


def _write_cause(cause: Cause) -> JsonObject:
    row: JsonObject = {"trigger": cause.trigger.value, "snapshot": cause.snapshot}
    texts: Mapping[str, Any] = {
        "message": shortened(cause.message, LONGEST_TEXT),
        "model": cause.model,
        "metric": cause.metric,
        "estimate": cause.estimate,
        "interval": cause.interval,
        "requests": min(cause.requests, MOST_REQUESTS),
        "measured": cause.measured,
    }
    row |= {key: value for key, value in texts.items() if value}
    times = {"since": cause.since, "until": cause.until}
    return row | {key: rfc3339(at) for key, at in times.items() if at is not None}


def _text(row: JsonObject, key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""


def _count(row: JsonObject, key: str) -> int:
    value = row.get(key)
    return value if type(value) is int and value >= 0 else 0
