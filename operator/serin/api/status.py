"""The JSON of a ModelDeployment's status: the one module that reads and writes it.

Reading never fails: a status can be edited, restored from a backup, or written by another version. What does not parse
is left out (weights that are no split: everything to stable), and the next write replaces it. Writing keeps to the
bounds of the schema: texts are cut and maps are capped, so that no write is refused for what somebody else has said.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace
from typing import Any, Final

from serin.api import trail
from serin.api.json import JsonObject
from serin.api.kill_switch import KillSwitch
from serin.api.notifications import outbox_of, smallest_outbox, write_outbox
from serin.api.records import MOST_REQUESTS
from serin.api.retraining import retraining_of, smallest_retraining, write_retraining
from serin.api.split import NOWHERE, Split, all_to, read_split, write_split
from serin.api.state import (
    Approval,
    Arm,
    Bisection,
    ClientRequests,
    Concluded,
    LimitWatch,
    ManualRollback,
    Measuring,
    MetricStatus,
    Phase,
    RollbackRecord,
    Rollout,
    StageState,
    StageStatus,
    Standing,
    State,
    Status,
    Try,
    VersionStatus,
    Watch,
)
from serin.api.text import shortened
from serin.api.times import moment, rfc3339
from serin.api.validation import LONGEST_TEXT, Validation

# Bounds of the schema (crds/modeldeployments.yaml); a test compares them.
LONGEST_MESSAGE: Final = 4096
LONGEST_ARM: Final = 1024  # of an arm's message
MOST_DRAINING: Final = 16
MOST_OTHERS: Final = 5  # versions to go back to in turn
MOST_WENT_BACK: Final = 10  # times at which what served went back by itself


# ── Reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_state(status: JsonObject) -> State:
    """What was decided; an empty status is a deployment that nothing was decided about."""
    stable = _map(status, "stable")
    name = _text(stable, "snapshot") or None
    phase, kill_switch = _text(status, "phase"), _text(status, "killSwitch")
    return State(
        phase=Phase(phase) if phase in Phase.__members__.values() else Phase.INITIALIZING,
        stable=name,
        stable_since=_moment(stable, "since"),
        rollout=_read_rollout(status, name),
        manual_rollback=_read_manual_rollback(_map(status, "rollingBack")),
        split=_read_split(status, name),
        router={key: value for key, value in _map(status, "router").items() if isinstance(value, dict)},
        unrouted_since=_moment(_map(status, "traffic"), "unroutedSince"),
        draining=_moments(_map(status, "draining")),
        last_rollback=_read_record(_map(status, "lastRollback")),
        rollback_failure=_text(status, "rollbackFailure"),
        handled={key: value for key, value in _map(status, "handled").items() if isinstance(value, str)},
        looked=_moment(status, "lookedAt"),
        kept=_moments(_map(status, "kept")),
        concluded=_read_concluded(_map(status, "concluded")),
        watch=_read_watch(_map(status, "watch")),
        measuring=_read_measuring(_map(status, "measuring")),
        bisection=_read_bisection(_map(status, "bisection")),
        limits=_read_limits(_map(status, "limits")),
        retraining=retraining_of(_map(status, "retraining")),
        went_back=_read_times(status.get("wentBack")),
        outbox=outbox_of(_map(status, "notifications")),
        kill_switch=KillSwitch(kill_switch) if kill_switch in KillSwitch.__members__.values() else KillSwitch.OFF,
    )


def read_status(status: JsonObject) -> Status:
    """All of it, for those who show it."""
    rows = [*_rows(status, "arms"), *(_map(status, one) for one in ("stable", "candidate", "rollingBack", "watch"))]
    diagnosis = _map(status, "diagnosis")
    return Status(
        state=read_state(status),
        observed_generation=_count(status, "observedGeneration"),
        reason=_text(status, "reason"),
        message=_text(status, "message"),
        verdict=_text(status, "verdict"),
        versions={_text(row, "snapshot"): _read_version(row) for row in rows if row.get("snapshot")},
        stage=_read_stage_status(_map(status, "step")),
        metrics=tuple(read_metric(row) for row in _rows(status, "metrics") if row.get("name")),
        observed={key: str(value) for key, value in _map(_map(status, "traffic"), "observed").items()},
        trouble=_text(diagnosis, "trouble"),
        trouble_message=_text(diagnosis, "message"),
        conditions=tuple(one for one in _rows(status, "conditions") if one.get("type")),
        replicas=status.get("replicas"),
        selector=_text(status, "selector"),
    )


def _read_rollout(status: JsonObject, stable: str | None) -> Rollout | None:
    arms = tuple(_read_arm(row) for row in _rows(status, "arms") if row.get("snapshot"))
    if stable is None or not arms:
        return None
    candidate, step = _map(status, "candidate"), _map(status, "step")
    stage = StageState(
        index=max(0, _count(step, "index") - 1),
        entered=_moment(step, "entered") or 0.0,
        since=_moment(step, "since"),
        requests_before=_count(step, "requestsBefore"),
        forced=step.get("forced") is True,
    )
    return Rollout(
        stable,
        arms,
        _moment(candidate, "since") or 0.0,
        stage,
        warned=candidate.get("warned") is True,
        strategy=_text(candidate, "strategy"),
        counted_since=_moment(candidate, "countedSince"),
        evidence=_read_evidence(_map(status, "strategy")),
        shares=_read_shares(_map(_map(status, "strategy"), "shares")),
        approvals=tuple(_read_approvals(status)),
    )


def _read_approvals(status: JsonObject) -> Iterator[Approval]:
    for row in _rows(status, "approvals"):
        at = _moment(row, "at")
        if at is not None:
            yield Approval(max(0, _count(row, "step") - 1), _text(row, "by"), at)


def _read_arm(row: JsonObject) -> Arm:
    standing = _text(row, "standing")
    return Arm(
        snapshot=_text(row, "snapshot"),
        evidence=_read_evidence(row),
        standing=Standing(standing) if standing in Standing.__members__.values() else Standing.EVALUATING,
        reason=_text(row, "reason"),
        message=_text(row, "message"),
        at=_moment(row, "at"),
    )


def _read_evidence(row: JsonObject) -> dict[str, JsonObject]:
    return {key: value for key, value in _map(row, "evidence").items() if isinstance(value, dict)}


def _read_shares(row: JsonObject) -> dict[str, int]:
    return {name: share for name, share in row.items() if isinstance(share, int) and 0 <= share <= 100}


def _read_concluded(row: JsonObject) -> Concluded | None:
    declared = row.get("declared")
    if not isinstance(declared, list) or not declared:
        return None
    arms = tuple(_read_arm(one) for one in _rows(row, "arms") if one.get("snapshot"))
    return Concluded(tuple(map(str, declared)), arms, _text(row, "winner"))


def _read_watch(row: JsonObject) -> Watch | None:
    since, evidence = _moment(row, "since"), _map(row, "evidence")
    if since is None or not _text(row, "snapshot"):
        return None
    return Watch(_text(row, "snapshot"), since, {key: one for key, one in evidence.items() if isinstance(one, dict)})


def _read_times(rows: object) -> tuple[float, ...]:
    found = map(moment, rows) if isinstance(rows, list) else ()
    return tuple(sorted(one for one in found if one is not None))


def _read_limits(row: JsonObject) -> LimitWatch | None:
    since = _moment(row, "since")
    if since is None:
        return None
    breached, begun = (_moments(_map(row, key)) for key in ("breached", "begun"))
    tried, refused = (row.get(key) is True for key in ("tried", "refused"))
    return LimitWatch(since, _text(row, "asked"), _read_evidence(row), breached, begun, tried, refused)


def _read_split(status: JsonObject, stable: str | None) -> Split:
    """The weights; stable's are all when they are no split, or not there (a status that was restored in part)."""
    traffic, otherwise = _map(status, "traffic"), all_to(stable) if stable else NOWHERE
    try:
        found = read_split(traffic) if traffic.get("weights") else otherwise
    except ValueError:
        return otherwise
    return found if found.serving() else otherwise


def _read_record(row: JsonObject) -> RollbackRecord | None:
    at = _moment(row, "at")
    if at is None or not row.get("from"):
        return None
    said = (_text(row, key) for key in ("from", "to", "reason", "message"))
    source, target, reason, message = said
    return RollbackRecord(
        source,
        target,
        reason,
        message,
        at,
        metric=_text(row, "metric"),
        estimate=_text(row, "estimate"),
        interval=_text(row, "interval"),
        trouble=_text(row, "trouble"),
        retried=row.get("retried") is True,
        first_bad=_moment(row, "firstBadAt"),
        restored=_moment(row, "restoredAt"),
        outcome=_text(row, "outcome"),
        outcome_message=_text(row, "outcomeMessage"),
        validation=_text(row, "validation"),
        since=_moment(row, "since"),
        clients=_read_clients(_map(row, "clients")),
    )


def _read_clients(row: JsonObject) -> ClientRequests | None:
    counts = [row.get(key) for key in ("exposed", "failed", "shielded")]
    exposed, failed, shielded = (one if type(one) is int and one >= 0 else None for one in counts)
    since, until = _moment(row, "since"), _moment(row, "until")
    if exposed is None or failed is None or shielded is None or since is None or until is None:
        return None
    return ClientRequests(exposed, failed, shielded, since, until)


def _read_manual_rollback(row: JsonObject) -> ManualRollback | None:
    since = _moment(row, "since")
    if since is None or not row.get("snapshot"):
        return None
    cause = _read_record(_map(row, "cause"))
    validation = _read_validation(_map(row, "validation"))
    others = _texts(row, "others")
    return ManualRollback(_text(row, "snapshot"), since, _moment(row, "moved"), others, cause, validation)


def _read_validation(row: JsonObject) -> Validation | None:
    since = _moment(row, "since")
    if since is None or not row.get("job"):
        return None
    return Validation(_text(row, "job"), since, _text(row, "outcome"), _text(row, "message"))


def _read_measuring(row: JsonObject) -> Measuring | None:
    since, begun = _moment(row, "since"), _moment(row, "begun")
    return None if since is None or begun is None else Measuring(since, begun)


def _read_bisection(row: JsonObject) -> Bisection | None:
    cause = _read_record(_map(row, "cause"))
    if cause is None:
        return None
    tries = tuple(_read_try(one) for one in _rows(row, "tries") if one.get("snapshot") and _texts(one, "reverts"))
    return Bisection(cause, _texts(row, "scope"), tries, _text(row, "message"))


def _read_try(row: JsonObject) -> Try:
    reason, message = _text(row, "reason"), _text(row, "message")
    return Try(_text(row, "snapshot"), _texts(row, "reverts"), reason, message, _moment(row, "at"))


def _read_version(row: JsonObject) -> VersionStatus:
    return VersionStatus(
        model=_text(row, "model"),
        ready=_count(row, "ready"),
        replicas=_count(row, "replicas"),
        changed=_texts(row, "changed"),
    )


def _read_stage_status(row: JsonObject) -> StageStatus:
    return StageStatus(
        of=_count(row, "of"),
        weight=_count(row, "weight"),
        position=_text(row, "position"),
        titles=_texts(row, "titles"),
        index=max(0, _count(row, "index") - 1),
        until=_moment(row, "until"),
        deadline=_moment(row, "deadline"),
        requests=_count(row, "requests"),
        min_requests=_count(row, "minRequests"),
        approval=row.get("approval") is True,
        cohort=_text(row, "cohort"),
        note=_text(row, "note"),
    )


def read_metric(row: JsonObject) -> MetricStatus:
    """One row of `status.metrics`, of a deployment or of a snapshot."""
    said = (_text(row, key) for key in ("name", "severity", "verdict", "reason", "message"))
    name, severity, verdict, reason, message = said
    numbers = (_text(row, key) for key in ("estimate", "interval"))
    estimate, interval = numbers
    needed = _count(row, "needed") if "needed" in row else None
    fails_at = tuple(one for text in _texts(row, "failsAt") if (one := _number(text)) is not None)
    return MetricStatus(
        name,
        severity,
        verdict,
        reason,
        message,
        _count(row, "requests"),
        estimate,
        interval,
        needed,
        fails_at,
        _number(_text(row, "passesAt")),
        trail.read(row.get("trail")),
    )


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _map(row: JsonObject, key: str) -> JsonObject:
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def _rows(row: JsonObject, key: str) -> list[JsonObject]:
    value = row.get(key)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(row: JsonObject, key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""


def _texts(row: JsonObject, key: str) -> tuple[str, ...]:
    value = row.get(key)
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _count(row: JsonObject, key: str) -> int:
    value = row.get(key)
    return value if isinstance(value, int) else 0


def _moment(row: JsonObject, key: str) -> float | None:
    return moment(row.get(key))


def _moments(row: JsonObject) -> dict[str, float]:
    return {name: at for name, text in row.items() if (at := moment(text)) is not None}


# ── Writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_status(status: Status) -> JsonObject:
    """The whole status as JSON; of its decided part the inverse of `read_state` (times to the millisecond)."""
    state = status.state
    result = write_state(state)
    shown: dict[str, Any] = {
        "reason": status.reason,
        "message": cut(status.message),
        "verdict": status.verdict,
        "selector": status.selector,
        "metrics": [metric_row(one) for one in status.metrics],
        "conditions": [{**one, "message": cut(str(one["message"]))} for one in status.conditions],
    }
    result |= {key: value for key, value in shown.items() if value or (key == "metrics" and state.judged)}
    result["observedGeneration"] = status.observed_generation
    if status.replicas is not None:
        result["replicas"] = status.replicas
    if status.observed:
        result["traffic"]["observed"] = dict(status.observed)
    for key in ("stable", "candidate", "rollingBack", "watch"):
        if key in result and (version := status.versions.get(result[key]["snapshot"])):
            result[key] |= _write_version(version, changed=key == "candidate")
    if state.rollout:
        result["step"] |= _write_stage_status(status.stage)
        for row in result["arms"] if len(result["arms"]) > 1 else ():
            row |= _write_version(status.versions.get(row["snapshot"], VersionStatus()), changed=True)
    if status.trouble:
        result["diagnosis"] = _without_empty({"trouble": status.trouble, "message": cut(status.trouble_message)})
    return result


def write_state(state: State) -> JsonObject:
    """The decided part alone: the smallest status that loses nothing."""
    result: JsonObject = {"phase": state.phase.value, "traffic": write_split(state.split)}
    if state.unrouted_since is not None:
        result["traffic"]["unroutedSince"] = rfc3339(state.unrouted_since)
    if state.stable:
        result["stable"] = {"snapshot": state.stable}
        if state.stable_since is not None:
            result["stable"]["since"] = rfc3339(state.stable_since)
    if state.rollout:
        result |= _write_rollout(state.rollout, state.split)
    if state.router:
        result["router"] = {name: dict(kept) for name, kept in state.router.items()}
    if state.draining:
        result["draining"] = {name: rfc3339(at) for name, at in _oldest(state.draining)}
    if state.last_rollback:
        result["lastRollback"] = _write_record(state.last_rollback)
    if state.manual_rollback:
        result["rollingBack"] = _write_manual_rollback(state.manual_rollback)
    if state.rollback_failure:
        result["rollbackFailure"] = cut(state.rollback_failure)
    if state.handled:
        result["handled"] = dict(state.handled)
    if state.looked is not None:
        result["lookedAt"] = rfc3339(state.looked)
    if state.kept:
        result["kept"] = {name: rfc3339(at) for name, at in _oldest(state.kept)}
    if state.concluded:
        result["concluded"] = _write_concluded(state.concluded)
    if state.watch:
        result["watch"] = _write_watch(state.watch)
    if state.measuring:
        result["measuring"] = {"since": rfc3339(state.measuring.since), "begun": rfc3339(state.measuring.begun)}
    if state.bisection:
        result["bisection"] = _write_bisection(state.bisection)
    if state.limits:
        result["limits"] = _write_limits(state.limits)
    if state.retraining:
        result["retraining"] = write_retraining(state.retraining)
    if outbox := write_outbox(state.outbox):
        result["notifications"] = outbox
    if state.went_back:
        result["wentBack"] = [rfc3339(at) for at in state.went_back[-MOST_WENT_BACK:]]
    if state.kill_switch is not KillSwitch.OFF:
        result["killSwitch"] = state.kill_switch.value
    return result


def _without_words(record: RollbackRecord) -> RollbackRecord:
    return replace(record, message="", metric="", estimate="", interval="", outcome_message="", validation="")


def smallest(status: JsonObject) -> JsonObject:
    """What a status must say when the whole of it was refused: who serves and why, and that the rollback has happened.

    Nothing that was counted or said is kept.
    """
    state = read_state(status)
    last, back, watch, serving = state.last_rollback, state.manual_rollback, state.watch, set(state.split.serving())
    kept = replace(
        state,
        rollout=_smallest_rollout(state.rollout, serving),
        manual_rollback=ManualRollback(back.target, back.since, back.moved)
        if back and back.target in serving
        else None,
        draining={},
        kept={},
        watch=Watch(watch.before, watch.since) if watch and watch.before in serving else None,
        last_rollback=_without_words(last) if last else None,
        rollback_failure="",
        measuring=None,
        bisection=None,
        limits=None,
        retraining=smallest_retraining(state.retraining),
        outbox=smallest_outbox(state.outbox),
        handled={},
    )
    return write_state(kept) | {key: status[key] for key in ("reason", "observedGeneration") if key in status}


def _smallest_rollout(rollout: Rollout | None, serving: Set[str]) -> Rollout | None:
    """The rollout at its begin, without what was counted or said of its arms; None when none of them serves."""
    if rollout is None or not serving & set(rollout.active):
        return None
    arms = tuple(Arm(one.snapshot, standing=one.standing, at=one.at) for one in rollout.arms)
    return Rollout(rollout.stable, arms, rollout.since, strategy=rollout.strategy, shares=rollout.shares)


def cut(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """The text, or its beginning: a message may quote what anybody has written."""
    return shortened(text, longest)


def _write_rollout(rollout: Rollout, split: Split) -> JsonObject:
    stage = rollout.stage
    step: JsonObject = {
        "index": stage.index + 1,
        "entered": rfc3339(stage.entered),
        "requestsBefore": stage.requests_before,
    }
    if stage.since is not None:
        step["since"] = rfc3339(stage.since)
    if stage.forced:
        step["forced"] = True
    candidate: JsonObject = {"snapshot": rollout.candidate, "since": rfc3339(rollout.since)}
    if rollout.warned:
        candidate["warned"] = True
    if rollout.strategy:
        candidate["strategy"] = rollout.strategy
    if rollout.counted_since is not None:
        candidate["countedSince"] = rfc3339(rollout.counted_since)
    arms = [
        {**_write_arm(arm), "weight": split.of(arm.snapshot), **_without_empty({"evidence": dict(arm.evidence)})}
        for arm in rollout.arms
    ]
    together = _without_empty({"shares": dict(rollout.shares), "evidence": dict(rollout.evidence)})
    approvals = [
        {"step": one.step + 1, "at": rfc3339(one.at), **_without_empty({"by": one.by})} for one in rollout.approvals
    ]
    more = _without_empty({"strategy": together, "approvals": approvals})
    return {"candidate": candidate, "step": step, "arms": arms} | more


def _write_arm(arm: Arm) -> JsonObject:
    """An empty map is left out: where there was a full one, a server-side apply would store null, which is refused."""
    row: JsonObject = {"snapshot": arm.snapshot, "standing": arm.standing.value}
    row |= _without_empty({"reason": arm.reason, "message": cut(arm.message, LONGEST_ARM)})
    return row if arm.at is None else {**row, "at": rfc3339(arm.at)}


def _write_concluded(ended: Concluded) -> JsonObject:
    row: JsonObject = {"declared": list(ended.declared), "arms": [_write_arm(arm) for arm in ended.arms]}
    return row | _without_empty({"winner": ended.winner})


def _write_watch(watch: Watch) -> JsonObject:
    row: JsonObject = {"snapshot": watch.before, "since": rfc3339(watch.since)}
    return row | _without_empty({"evidence": dict(watch.evidence)})


def _write_limits(limits: LimitWatch) -> JsonObject:
    row: JsonObject = {"since": rfc3339(limits.since), "asked": limits.asked}
    row |= _without_empty({"evidence": dict(limits.evidence), "tried": limits.tried, "refused": limits.refused})
    times = {"breached": limits.breached, "begun": limits.begun}
    return row | _without_empty({key: {name: rfc3339(at) for name, at in one.items()} for key, one in times.items()})


def _oldest(draining: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """As many as the schema has room for: those that have waited longest go first, and make room for the others."""
    kept = sorted(draining.items(), key=lambda one: (one[1], one[0]))[:MOST_DRAINING]
    return sorted(kept)


def _write_record(record: RollbackRecord) -> JsonObject:
    row: JsonObject = {
        "from": record.source,
        "to": record.target,
        "reason": record.reason,
        "message": cut(record.message),
        "at": rfc3339(record.at),
    }
    optional = {"metric": record.metric, "estimate": record.estimate, "interval": record.interval}
    row |= _without_empty({**optional, "trouble": record.trouble, "outcome": record.outcome})
    row |= _without_empty({"outcomeMessage": cut(record.outcome_message)})
    row |= _without_empty({"validation": shortened(record.validation, LONGEST_TEXT)})
    times = {"since": record.since, "firstBadAt": record.first_bad, "restoredAt": record.restored}
    row |= {key: rfc3339(at) for key, at in times.items() if at is not None}
    row |= {"clients": _write_clients(record.clients)} if record.clients else {}
    return row | ({"retried": True} if record.retried else {})


def _write_clients(one: ClientRequests) -> JsonObject:
    counts = {"exposed": one.exposed, "failed": one.failed, "shielded": one.shielded}
    row: JsonObject = {key: min(count, MOST_REQUESTS) for key, count in counts.items()}
    return row | {"since": rfc3339(one.since), "until": rfc3339(one.until)}


def _write_manual_rollback(asked: ManualRollback) -> JsonObject:
    row: JsonObject = {"snapshot": asked.target, "since": rfc3339(asked.since)}
    row |= _without_empty({"others": list(asked.others[:MOST_OTHERS])})
    row |= {"cause": _write_record(asked.cause)} if asked.cause else {}
    row |= {"validation": _write_validation(asked.validation)} if asked.validation else {}
    return row if asked.moved is None else {**row, "moved": rfc3339(asked.moved)}


def _write_validation(one: Validation) -> JsonObject:
    row: JsonObject = {"job": one.name, "since": rfc3339(one.since)}
    return row | _without_empty({"outcome": one.outcome, "message": shortened(one.message, LONGEST_TEXT)})


def _write_bisection(search: Bisection) -> JsonObject:
    row: JsonObject = {"cause": _write_record(search.cause), "scope": list(search.scope)}
    tries = [_write_try(one) for one in search.tries]
    return row | _without_empty({"tries": tries, "message": cut(search.message)})


def _write_try(one: Try) -> JsonObject:
    row: JsonObject = {"snapshot": one.snapshot, "reverts": list(one.reverts)}
    row |= _without_empty({"reason": one.reason, "message": cut(one.message, LONGEST_ARM)})
    return row if one.at is None else {**row, "at": rfc3339(one.at)}


def _write_version(version: VersionStatus, *, changed: bool) -> JsonObject:
    row: JsonObject = {"replicas": version.replicas, "ready": version.ready}
    row |= {"model": version.model} if version.model else {}
    return row | ({"changed": list(version.changed)} if changed else {})


def _write_stage_status(stage: StageStatus) -> JsonObject:
    row: JsonObject = {"of": stage.of, "weight": stage.weight, "position": stage.position}
    row |= _without_empty({"titles": list(stage.titles), "requests": stage.requests})
    row |= _without_empty({"minRequests": stage.min_requests, "approval": stage.approval})
    row |= _without_empty({"cohort": stage.cohort, "note": stage.note})
    times = {"until": stage.until, "deadline": stage.deadline}
    return row | {key: rfc3339(at) for key, at in times.items() if at is not None}


def metric_row(one: MetricStatus) -> JsonObject:
    """One row of `status.metrics`, of a deployment or of a snapshot."""
    row: JsonObject = {
        "name": one.name,
        "severity": one.severity,
        "verdict": one.verdict,
        "reason": one.reason,
        "message": cut(one.message),
        "requests": one.requests,
    }
    row |= _without_empty({"estimate": one.estimate, "interval": one.interval})
    row |= _without_empty({"failsAt": [f"{line:.4g}" for line in one.fails_at], "trail": trail.write(one.trail)})
    row |= {} if one.passes_at is None else {"passesAt": f"{one.passes_at:.4g}"}
    return row if one.needed is None else {**row, "needed": one.needed}


def _without_empty(row: JsonObject) -> JsonObject:
    return {key: value for key, value in row.items() if value}
