"""Statuses written by hand, in the words of the API: what no story of the planner's brings about, or not so exactly."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from serin.api import names
from serin.api.conditions import ConditionType, Reason, condition
from serin.api.json import JsonObject
from serin.api.parse import content_of
from serin.api.split import Split
from serin.api.state import Arm, MetricStatus, Phase, Rollout, StageState, StageStatus, State, Status, VersionStatus
from serin.api.status import write_status
from serin.explain.facts import Facts, gather

NOW = 1_700_000_000.0


def spec(version: str = "2", **changes: Any) -> JsonObject:
    """As the API server stores it, every default filled in."""
    container = {"name": "model", "image": "registry.test/fraud:1", "ports": [{"containerPort": 8080}]}
    body = {
        "replicas": 4,
        "runtime": "generic",
        "model": {"name": "fraud", "version": version},
        "template": {"spec": {"containers": [container]}},
        "router": {"envoy": {"shield": "Failures"}},
        "timeout": "300s",
        "strategy": {"canary": {"steps": [{"weight": 5, "bake": "60s"}]}},
        "metrics": [{"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}],
        "analysis": {
            "falseRollbackRate": {"critical": "0.01", "minor": "0.05"},
            "minimumDetectableEffect": "2",
            "onNoData": {"action": "Hold", "after": "30m"},
        },
        "progressDeadline": "10m",
    }
    return body | changes


def snapshot(version: str) -> str:
    return names.snapshot_name("fraud", content_of(spec(version)))


OLD, NEW = snapshot("1"), snapshot("2")
ERRORS = MetricStatus("errors", "critical", "Inconclusive", "GatheringEvidence", "too few requests", requests=412)


def said(kind: ConditionType, holds: bool, reason: Reason, message: str) -> JsonObject:
    return condition(kind, holds, reason, message, generation=1, now="2023-11-14T22:13:20Z")


READY = said(ConditionType.READY, True, Reason.SERVING, "serves all traffic")

SERVING = Status(
    state=State(Phase.HEALTHY, stable=NEW, split=Split({NEW: 100})),
    observed_generation=1,
    reason="Serving",
    message=f"{NEW} serves all traffic",
    versions={NEW: VersionStatus("2", 4, 4)},
    conditions=(READY,),
)

# The second of four stages, a minute before it has lasted long enough.
TITLES = ("5% for 5m", "25% for 5m", "pause until approved", "50% for 5m")

BAKING = Status(
    state=State(
        Phase.PROGRESSING,
        stable=OLD,
        rollout=Rollout(OLD, (Arm(NEW),), NOW - 600, StageState(1, NOW - 300, NOW - 240, 100)),
        split=Split({OLD: 75, NEW: 25}),
    ),
    observed_generation=1,
    reason="Baking",
    message="step 2 bakes for 5m at 25%",
    verdict="Inconclusive",
    versions={OLD: VersionStatus("1", 4, 4), NEW: VersionStatus("2", 2, 2, ("model",))},
    stage=StageStatus(4, 25, "2/4", TITLES, 1, until=NOW + 60, requests=312),
    metrics=(ERRORS,),
    conditions=(READY,),
)


def rollout(status: Status, **changes: Any) -> Status:
    """The same with other fields of its rollout."""
    assert status.state.rollout
    return replace(status, state=replace(status.state, rollout=replace(status.state.rollout, **changes)))


def facts(
    status: Status | None,
    *,
    now: float = NOW,
    generation: int = 1,
    annotations: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    **spec_changes: Any,
) -> Facts:
    """As read from a cluster in which the operator has written this status; None: it has written none."""
    metadata = {"namespace": "shop", "name": "fraud", "generation": generation, "annotations": dict(annotations or {})}
    body: JsonObject = {"metadata": metadata, "spec": spec(**spec_changes)}
    if status is not None:
        body["status"] = write_status(status)
    return gather(body, now, problems or {})
