"""What is recorded on snapshots, where it outlives the deployment's status, and which of them are kept.

Everything is level-triggered: a record that a crash has lost is found missing at the next look and written then, then
without what was measured. A record is one request, and comes after the write that it tells of.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from serin.analysis.histograms import distribution
from serin.analysis.measured import reading
from serin.api import names
from serin.api.histograms import Histogram
from serin.api.json import JsonObject
from serin.api.records import (
    MOST_IMAGES,
    Measurement,
    Occasion,
    Record,
    bounded,
    decided,
    newest_scheduled,
    summary,
    write_records,
)
from serin.api.signature import write_signature
from serin.api.snapshots import Snapshot
from serin.api.spec import query_of
from serin.api.state import Measuring, Rollout, State
from serin.api.times import rfc3339
from serin.api.verdicts import SnapshotVerdict
from serin.rollout import summary as shown
from serin.rollout.model import DeleteSnapshot, Order, RecordSnapshot
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.snapshots import eliminated, ways_back

# Seconds. After a promotion or a rollback the first scheduled record comes so soon.
_SOON: Final = 300.0
# The longest time that a scheduled record looks back over: what is read grows with it.
_LONGEST_WINDOW: Final = 3600.0
# A metric that has no sample by then is left out of a scheduled record.
_PATIENCE: Final = 60.0
_WITH_HISTOGRAMS: Final = (Occasion.PROMOTED, Occasion.REPLACED)
_STABLE: Final = (Occasion.PROMOTED, Occasion.RESTORED)


def record_verdicts(builder: PlanBuilder) -> None:
    """Write what was decided onto the snapshots that do not say it yet."""
    state, snapshots = builder.state, builder.seen.snapshots
    arms = set(state.rollout.active) if state.rollout else set()
    rejected = {_record_rejected(builder, arms), *_record_eliminated(builder, arms)}
    for name in sorted(arms & snapshots.keys()):
        if snapshots[name].rejected or snapshots[name].verdict in (None, SnapshotVerdict.SUPERSEDED):
            _record(builder, snapshots[name], {"verdict": SnapshotVerdict.UNDER_EVALUATION.value, "rejected": False})
        elif not snapshots[name].images and "images" in _identity(builder, snapshots[name]):
            _add(builder, snapshots[name])  # at once: later pods are held to what the first ones ran
    for snapshot in snapshots.values():
        elsewhere = snapshot.name not in (arms | rejected | {state.stable})
        if snapshot.verdict is SnapshotVerdict.UNDER_EVALUATION and elsewhere:
            _record(builder, snapshot, {"verdict": SnapshotVerdict.SUPERSEDED.value, "rejected": False})
        elif elsewhere and _served_last(snapshot) and state.stable_since is not None:
            _add(builder, snapshot, Occasion.REPLACED, state.stable_since)
    if stable := snapshots.get(state.stable or ""):
        _record_stable(builder, stable)


def _record_stable(builder: PlanBuilder, stable: Snapshot) -> None:
    """That it is stable, and that everything came back to it."""
    state, last = builder.state, builder.state.last_rollback
    returned = last is not None and last.target == stable.name
    if not _is_recorded(stable, state):
        since = builder.seen.now if state.stable_since is None else state.stable_since
        said: JsonObject = {"verdict": SnapshotVerdict.PROMOTED.value, "rejected": False, "promotedAt": rfc3339(since)}
        on = Occasion.RESTORED if last and returned and last.at >= since else Occasion.PROMOTED
        # After the write that promotes: until that is done, nothing has been promoted.
        _record(builder, stable, {**said, "metrics": _metrics(builder, stable)}, on, since, Order.SCALE_DOWN)
    elif last and returned and (before := decided(stable.records)) and before.at < last.at:
        _add(builder, stable, Occasion.RESTORED, last.at)
    elif stable.signature is None and "signature" in _identity(builder, stable):
        _add(builder, stable)


def _record_rejected(builder: PlanBuilder, arms: set[str]) -> str | None:
    """Write the last rollback onto the snapshot that was left; answers which one that is."""
    last, snapshots = builder.state.last_rollback, builder.seen.snapshots
    if last is None or last.retried or last.source in arms or last.source not in snapshots:
        return None
    rejected = snapshots[last.source]
    if not rejected.rejected:
        _record_rejection(builder, rejected, last.reason, last.message, last.at)
    return rejected.name


def _record_eliminated(builder: PlanBuilder, arms: set[str]) -> set[str]:
    """Write onto the snapshots of eliminated arms why they are; answers which ones those are."""
    state, snapshots = builder.state, builder.seen.snapshots
    out = {name: arm for name, arm in eliminated(state).items() if name in snapshots.keys() - arms}
    recorded = {state.stable, state.last_rollback.source if state.last_rollback else None}
    for name, arm in out.items():
        if not snapshots[name].rejected and name not in recorded:
            at = builder.seen.now if arm.at is None else arm.at
            _record_rejection(builder, snapshots[name], arm.reason, arm.message, at)
    return set(out)


def _record_rejection(builder: PlanBuilder, snapshot: Snapshot, reason: str, message: str, at: float) -> None:
    said: JsonObject = {"verdict": SnapshotVerdict.ROLLED_BACK.value, "rejected": True}
    said |= {"reason": reason, "message": message, "rejectedAt": rfc3339(at)}
    _record(builder, snapshot, {**said, "metrics": _metrics(builder, snapshot)}, Occasion.ROLLED_BACK, at)


def _is_recorded(stable: Snapshot, state: State) -> bool:
    """Whether the stable snapshot says that it is, since when: the way back is found by these times."""
    if stable.verdict is not SnapshotVerdict.PROMOTED or stable.promoted is None:
        return False
    return state.stable_since is None or rfc3339(stable.promoted) == rfc3339(state.stable_since)


def _metrics(builder: PlanBuilder, snapshot: Snapshot) -> list[JsonObject]:
    """What each metric says now; what it said last when nothing is measured, as when a person goes back.

    Of a version that is gone back to nothing is measured: what a holdback has shown is about the one that was promoted.
    """
    watch = builder.seen.state.watch
    if watch is not None and watch.before == snapshot.name:
        return list(snapshot.metrics)
    return shown.metric_rows(builder, snapshot.name) or list(snapshot.metrics)


# ── The record of how well it served ──────────────────────────────────────────────────────────────────────────────────


def _add(builder: PlanBuilder, snapshot: Snapshot, on: Occasion | None = None, at: float = 0.0) -> None:
    """Add a record, or what was found out, to a snapshot about which nothing new is decided."""
    said: dict[str, Any] = {
        "verdict": snapshot.verdict.value if snapshot.verdict else None,
        "rejected": snapshot.rejected,
        "reason": snapshot.reason,
        "message": snapshot.message,
        "rejectedAt": None if snapshot.rolled_back is None else rfc3339(snapshot.rolled_back),
        "metrics": list(snapshot.metrics),
    }
    _record(builder, snapshot, {key: value for key, value in said.items() if value not in (None, "", [])}, on, at)


def _record(
    builder: PlanBuilder,
    snapshot: Snapshot,
    said: JsonObject,
    on: Occasion | None = None,
    at: float = 0.0,
    order: Order = Order.RECORD,
) -> None:
    """Write the snapshot's whole status: a server-side apply takes away what is left out. `on`, `at`: a new record."""
    left = at if on in (Occasion.REPLACED, Occasion.ROLLED_BACK) and _served_last(snapshot) else snapshot.left
    times = {"promotedAt": snapshot.promoted, "leftAt": left}
    found = snapshot.records or (_created(builder, snapshot),)
    if on is not None:
        new = Record(at, on, builder.seen.state.split.weights, _measured(builder, snapshot.name))
        if on in _WITH_HISTOGRAMS and (drawn := _histograms(builder, snapshot.name)):
            found = tuple(replace(one, histograms=()) for one in found)  # the newest are enough, and are not small
            new = replace(new, histograms=drawn)
        found = bounded((*found, replace(new, approved_by=_approved(builder, on))))
    revision = next((one.revision for one in found if one.revision), "")
    short = {"measured": summary(found), "revision": revision}
    said = {**said, **_identity(builder, snapshot)}
    status: JsonObject = {key: rfc3339(moment) for key, moment in times.items() if moment is not None}
    status |= {key: text for key, text in short.items() if text}
    builder.act(RecordSnapshot(snapshot.name, {**status, **said, "records": write_records(found)}, order))


def _identity(builder: PlanBuilder, snapshot: Snapshot) -> JsonObject:
    """What the version was found to be: its signature, its answers to golden probes, and the images first run."""
    seen, name = builder.seen, snapshot.name
    told, asked, running = seen.signatures.get(name), seen.golden.get(name), seen.digests.get(name)
    signature = (told.known if told else None) or snapshot.signature
    images = dict(snapshot.images or (running.images if running else {}))
    found: JsonObject = {
        "signature": write_signature(signature) if signature else None,
        "goldenFingerprint": (asked.fingerprint if asked else "") or snapshot.fingerprint,
        "images": dict(list(images.items())[:MOST_IMAGES]),
    }
    return {key: value for key, value in found.items() if value}


def _approved(builder: PlanBuilder, on: Occasion) -> tuple[str, ...]:
    """Who has approved steps of the rollout that ends with a promotion."""
    rollout = builder.seen.state.rollout if on is Occasion.PROMOTED else None
    return tuple(dict.fromkeys(one.by for one in rollout.approvals if one.by)) if rollout else ()


def _created(builder: PlanBuilder, snapshot: Snapshot) -> Record:
    """Where it comes from: as the deployment is annotated while it describes this version."""
    described = snapshot.name in builder.seen.contents
    annotations = builder.seen.deployment.annotations if described else {}
    revision, author = (
        annotations.get(one, "").strip() for one in (names.ANNOTATION_GIT_REVISION, names.ANNOTATION_GIT_AUTHOR)
    )
    return Record(snapshot.created, Occasion.CREATED, revision=revision, author=author)


def _served_last(snapshot: Snapshot) -> bool:
    """Whether its records end with that it is stable."""
    last = decided(snapshot.records)
    return last is not None and last.occasion in _STABLE


def _measured(builder: PlanBuilder, snapshot: str) -> tuple[Measurement, ...]:
    """What was measured of a version up to this look: as an arm, as the baseline beside the leading one, or alone."""
    rollout, measuring, evidence = builder.seen.state.judged, builder.seen.state.measuring, builder.assessment.evidence
    baseline = rollout is not None and snapshot == rollout.stable
    whose = rollout.candidate if rollout and baseline else snapshot
    since = _counted_since(rollout) if rollout else measuring.since if measuring else 0.0
    found = []
    for metric in builder.seen.deployment.spec.metrics:
        one = reading(evidence.get(whose, {}).get(metric.name), baseline=baseline)
        if one is not None:
            numbers = (one.value, one.low, one.high, one.requests, one.unit)
            found.append(Measurement(metric.name, *numbers, since, one.at, query_of(metric.source)))
    return tuple(found)


def _histograms(builder: PlanBuilder, snapshot: str) -> tuple[Histogram, ...]:
    """How the requests of a version were distributed, of every metric that has such evidence."""
    rollout, evidence = builder.seen.state.judged, builder.assessment.evidence
    baseline = rollout is not None and snapshot == rollout.stable
    whose = rollout.candidate if rollout and baseline else snapshot
    found = []
    for metric in builder.seen.deployment.spec.metrics:
        one = distribution(evidence.get(whose, {}).get(metric.name), baseline=baseline)
        if one is not None:
            drawn = (one.values, one.counts, one.ordered, one.unit)
            found.append(Histogram(metric.name, *drawn, query=query_of(metric.source)))
    return tuple(found)


def _counted_since(rollout: Rollout) -> float:
    return rollout.since if rollout.counted_since is None else rollout.counted_since


def record_on_schedule(builder: PlanBuilder) -> None:
    """Measure what serves when `spec.snapshots.every` asks for it, and record it when that is done."""
    seen, state, every = builder.seen, builder.state, builder.seen.deployment.spec.snapshots.every
    stable = seen.snapshots.get(state.stable or "")
    if every is None or stable is None or state.rollout or state.manual_rollback or seen.deployment.killed:
        builder.update(measuring=None)
        return
    since = _serves_since(stable, state)
    last = newest_scheduled(stable.records)
    due = last + every if last is not None and last > since else since + min(every, _SOON)
    if any(isinstance(one, RecordSnapshot) and one.name == stable.name for one in builder.actions):
        return  # a second write would take the first one's record away; this one brings another look
    if state.watch:  # which measures it anyway
        builder.update(measuring=None)
        if seen.now >= due:
            _add(builder, stable, Occasion.SCHEDULED, seen.now)
            due = seen.now + every
    elif state.measuring:
        if not _is_measured(builder, stable.name, state.measuring):
            builder.requeue_after(state.measuring.begun + _PATIENCE - seen.now)
            return
        _add(builder, stable, Occasion.SCHEDULED, seen.now)
        builder.update(measuring=None)
        due = seen.now + every
    elif seen.now >= due:
        window = min(every, _LONGEST_WINDOW)
        builder.update(measuring=Measuring(since=max(since, seen.now - window), begun=seen.now))
        due = seen.now + _PATIENCE
    builder.requeue_after(due - seen.now)


def _serves_since(stable: Snapshot, state: State) -> float:
    """Since when stable has all traffic: it was promoted, or what followed it was left."""
    last = state.last_rollback
    moments = [state.stable_since, last.at if last and last.target == stable.name else None]
    return max((one for one in moments if one is not None), default=stable.created)


def _is_measured(builder: PlanBuilder, stable: str, measuring: Measuring) -> bool:
    """Whether every metric has a sample, or has had the time for one."""
    newest = builder.seen.samples.newest
    samples = [newest.get((stable, one.name)) for one in builder.seen.deployment.spec.metrics]
    there = all(one is not None and one.since >= measuring.since for one in samples)
    return there or builder.seen.now - measuring.begun >= _PATIENCE


# ── Which snapshots are kept ──────────────────────────────────────────────────────────────────────────────────────────


def prune_history(builder: PlanBuilder, wanted: str) -> None:
    """Keep the newest snapshots of those that were stable and of the others, and every one that something names."""
    state, snapshots, keep = builder.state, builder.seen.snapshots, builder.seen.deployment.spec.snapshots.keep
    named = {wanted, *_referenced(builder), *(one.name for one in snapshots.values() if one.pinned)}
    good = ways_back(snapshots, state)
    named |= {one.name for one in good[:1]}  # the last good one, however few are to be kept
    others = [one for one in snapshots.values() if one not in good and one.name not in named]
    newest = sorted(others, key=lambda one: (one.created, one.name), reverse=True)
    _delete(builder, [one for one in good if one.name not in named][keep:])
    _delete(builder, newest[keep:])


def _referenced(builder: PlanBuilder) -> Iterable[str]:
    state, last = builder.state, builder.state.last_rollback
    yield from (*builder.seen.workloads, *builder.seen.contents)
    yield from (arm.snapshot for arm in state.rollout.arms) if state.rollout else ()
    yield from (last.source, last.target) if last else ()
    yield from (state.bisection.cause.source, state.bisection.cause.target) if state.bisection else ()
    yield from (state.stable,) if state.stable else ()
    yield from (state.watch.before,) if state.watch else ()
    yield from (state.manual_rollback.target, *state.manual_rollback.others) if state.manual_rollback else ()


def _delete(builder: PlanBuilder, snapshots: Iterable[Snapshot]) -> None:
    for snapshot in snapshots:
        builder.act(DeleteSnapshot(snapshot.name, snapshot.uid, snapshot.resource_version))
