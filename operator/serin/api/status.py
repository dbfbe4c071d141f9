"""The part of a ModelDeployment's status that decides: what was decided so far, read back after every restart.

`State` is what the planner carries from one look to the next, and all of it: nothing is kept in memory. What is only
shown to people (ready counts, conditions, metric tables) is added by `report.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from serin.api.json import JsonObject
from serin.api.split import NOWHERE, Split
from serin.api.times import parse_rfc3339, rfc3339


class Phase(StrEnum):
    """What is happening, in one word."""

    INITIALIZING = "Initializing"  # the first version is on its way: nothing serves yet
    HEALTHY = "Healthy"  # stable serves everything and nothing is under evaluation
    STARTING = "Starting"  # the candidate's pods are coming up; it has no traffic
    PROGRESSING = "Progressing"  # the candidate has traffic and is being weighed
    PAUSED = "Paused"  # a person, or a pause step, holds the weight where it is
    PROMOTING = "Promoting"  # every step has passed; the candidate grows to full size
    ROLLING_BACK = "RollingBack"  # a person asked for an earlier version: it comes up, then gets everything


@dataclass(frozen=True, slots=True)
class StepState:
    """Where the rollout stands in its steps.

    `index`: 0-based, equal to the number of steps when all have passed. `entered`: when the wait for this step's pods
    began. `since`: when its weight was reached (or its pause began), None until then. `requests_before`: candidate
    requests counted before this step. `forced`: the user asked to promote, so evidence is no longer waited for.
    """

    index: int = 0
    entered: float = 0.0
    since: float | None = None
    requests_before: int = 0
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Rollback:
    """The last rollback: from which snapshot to which, why, on what numbers, and when (unix seconds)."""

    source: str
    target: str
    reason: str
    message: str
    at: float
    metric: str = ""
    estimate: str = ""
    interval: str = ""
    trouble: str = ""  # what was wrong, when a metric said so: BadModel, or Infrastructure as well
    retried: bool = False  # the user asked to try the rejected content again


@dataclass(frozen=True, slots=True)
class ManualRollback:
    """A person asked for an earlier version. `target`: its snapshot.

    `since`: when its pods were asked for. `moved`: when it got all traffic, None until then; stable stays what it was
    until the router has taken that.
    """

    target: str
    since: float
    moved: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What was decided so far."""

    phase: Phase = Phase.INITIALIZING
    stable: str | None = None
    stable_since: float | None = None  # when it became stable; None in a status that an earlier Serin has written
    candidate: str | None = None
    candidate_since: float = 0.0
    step: StepState = StepState()
    split: Split = NOWHERE
    port: int | None = None
    evidence: Mapping[str, JsonObject] = field(default_factory=dict)
    draining: Mapping[str, float] = field(default_factory=dict)  # snapshot -> since when it gets no new requests
    last_rollback: Rollback | None = None
    manual_rollback: ManualRollback | None = None
    rollback_failure: str = (
        ""  # why the last attempt to go back came to nothing; "" when it did not, or something else began
    )
    handled: Mapping[str, str] = field(default_factory=dict)  # annotation -> value that was acted on


def read(status: JsonObject) -> State:
    """Parse a ModelDeployment's status; an empty one is a deployment that nothing was decided about."""
    stable, candidate = status.get("stable") or {}, status.get("candidate") or {}
    step = status.get("step") or {}
    return State(
        phase=Phase(status.get("phase", Phase.INITIALIZING)),
        stable=stable.get("snapshot"),
        stable_since=_moment(stable.get("since")),
        candidate=candidate.get("snapshot"),
        candidate_since=_moment(candidate.get("since")) or 0.0,
        step=StepState(
            index=max(0, step.get("index", 1) - 1),
            entered=_moment(step.get("entered")) or 0.0,
            since=_moment(step.get("since")),
            requests_before=step.get("requestsBefore", 0),
            forced=step.get("forced", False),
        ),
        split=Split((status.get("traffic") or {}).get("weights") or {}),
        port=(status.get("router") or {}).get("port"),
        evidence=status.get("evidence") or {},
        draining={name: parse_rfc3339(at) for name, at in (status.get("draining") or {}).items()},
        last_rollback=_read_rollback(status.get("lastRollback")),
        manual_rollback=_read_going_back(status.get("rollingBack")),
        rollback_failure=status.get("rollbackFailure", ""),
        handled=status.get("handled") or {},
    )


def write(state: State) -> JsonObject:
    """The decided part of the status; the inverse of `read` (times to the millisecond)."""
    status: JsonObject = {"phase": state.phase.value, "traffic": {"weights": dict(state.split.weights)}}
    if state.stable:
        status["stable"] = {"snapshot": state.stable}
        if state.stable_since is not None:
            status["stable"]["since"] = rfc3339(state.stable_since)
    if state.candidate:
        status["candidate"] = {"snapshot": state.candidate, "since": rfc3339(state.candidate_since)}
        status["step"] = {
            "index": state.step.index + 1,
            "entered": rfc3339(state.step.entered),
            "requestsBefore": state.step.requests_before,
        }
        if state.step.since is not None:
            status["step"]["since"] = rfc3339(state.step.since)
        if state.step.forced:
            status["step"]["forced"] = True
        status["evidence"] = dict(state.evidence)
    if state.port is not None:
        status["router"] = {"port": state.port}
    if state.draining:
        status["draining"] = {name: rfc3339(at) for name, at in sorted(state.draining.items())}
    if state.last_rollback:
        status["lastRollback"] = _write_rollback(state.last_rollback)
    if state.manual_rollback:
        status["rollingBack"] = _write_going_back(state.manual_rollback)
    if state.rollback_failure:
        status["rollbackFailure"] = state.rollback_failure
    if state.handled:
        status["handled"] = dict(state.handled)
    return status


def _moment(text: str | None) -> float | None:
    return None if text is None else parse_rfc3339(text)


def _read_rollback(status: JsonObject | None) -> Rollback | None:
    if not status:
        return None
    return Rollback(
        source=status["from"],
        target=status["to"],
        reason=status["reason"],
        message=status["message"],
        at=parse_rfc3339(status["at"]),
        metric=status.get("metric", ""),
        estimate=status.get("estimate", ""),
        interval=status.get("interval", ""),
        trouble=status.get("trouble", ""),
        retried=status.get("retried", False),
    )


def _write_rollback(rollback: Rollback) -> JsonObject:
    status: JsonObject = {
        "from": rollback.source,
        "to": rollback.target,
        "reason": rollback.reason,
        "message": rollback.message,
        "at": rfc3339(rollback.at),
    }
    optional = {
        "metric": rollback.metric,
        "estimate": rollback.estimate,
        "interval": rollback.interval,
        "trouble": rollback.trouble,
    }
    status.update({key: value for key, value in optional.items() if value})
    if rollback.retried:
        status["retried"] = True
    return status


def _read_going_back(status: JsonObject | None) -> ManualRollback | None:
    if not status:
        return None
    return ManualRollback(status["snapshot"], parse_rfc3339(status["since"]), _moment(status.get("moved")))


def _write_going_back(manual_rollback: ManualRollback) -> JsonObject:
    status: JsonObject = {"snapshot": manual_rollback.target, "since": rfc3339(manual_rollback.since)}
    return status if manual_rollback.moved is None else {**status, "moved": rfc3339(manual_rollback.moved)}
