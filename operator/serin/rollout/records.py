"""What is recorded on snapshots, where it outlives the deployment's status, and which of them are kept.

Everything is level-triggered: a record that a crash has lost is found missing at the next look and written then.
"""

from typing import Final

from serin.api.json import JsonObject
from serin.api.snapshots import Snapshot
from serin.api.state import State
from serin.api.times import rfc3339
from serin.api.verdicts import SnapshotVerdict
from serin.rollout import summary
from serin.rollout.model import DeleteSnapshot, Order, RecordSnapshot
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.snapshots import eliminated, ways_back

SNAPSHOTS_KEPT: Final = 10


def record_verdicts(builder: PlanBuilder) -> None:
    """Write what was decided onto the snapshots that do not say it yet."""
    state, snapshots = builder.state, builder.seen.snapshots
    arms = set(state.rollout.active) if state.rollout else set()
    rejected = {_record_rejected(builder, arms), *_record_eliminated(builder, arms)}
    for name in sorted(arms & snapshots.keys()):
        if snapshots[name].rejected or snapshots[name].verdict in (None, SnapshotVerdict.SUPERSEDED):
            _record(builder, name, {"verdict": SnapshotVerdict.UNDER_EVALUATION.value, "rejected": False})
    for snapshot in snapshots.values():
        if snapshot.verdict is SnapshotVerdict.UNDER_EVALUATION and snapshot.name not in (arms | rejected):
            _record(builder, snapshot.name, {"verdict": SnapshotVerdict.SUPERSEDED.value, "rejected": False})
    stable = snapshots.get(state.stable) if state.stable else None
    if stable and not _is_recorded(stable, state):
        since = builder.seen.now if state.stable_since is None else state.stable_since
        said: JsonObject = {"verdict": SnapshotVerdict.PROMOTED.value, "rejected": False, "promotedAt": rfc3339(since)}
        # After the write that promotes: until that is done, nothing has been promoted.
        _record(builder, stable.name, {**said, "metrics": _metrics(builder, stable)}, Order.SCALE_DOWN)


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
    _record(builder, snapshot.name, {**said, "metrics": _metrics(builder, snapshot)})


def _record(builder: PlanBuilder, snapshot: str, status: JsonObject, order: Order = Order.RECORD) -> None:
    builder.act(RecordSnapshot(snapshot, status, order))


def _is_recorded(stable: Snapshot, state: State) -> bool:
    """Whether the stable snapshot says that it is, since when: the way back is found by these times."""
    if stable.verdict is not SnapshotVerdict.PROMOTED or stable.promoted is None:
        return False
    return state.stable_since is None or rfc3339(stable.promoted) == rfc3339(state.stable_since)


def _metrics(builder: PlanBuilder, snapshot: Snapshot) -> list[JsonObject]:
    """What each metric says now; what it said last when nothing is measured, as when a person goes back."""
    return summary.metric_rows(builder, snapshot.name) or list(snapshot.metrics)


def prune_history(builder: PlanBuilder, wanted: str) -> None:
    """Keep the newest snapshots, and every one that something still names."""
    state, snapshots, last = builder.state, builder.seen.snapshots, builder.state.last_rollback
    named = {wanted, state.stable, *builder.seen.workloads, *builder.seen.declared}
    named |= {arm.snapshot for arm in state.rollout.arms} if state.rollout else set()
    named |= {last.source, last.target} if last else set()
    named |= {state.manual_rollback.target} if state.manual_rollback else set()
    named |= {one.name for one in ways_back(snapshots, state)[:1]}  # the last good one, however many failed since
    others = sorted(
        (one for one in snapshots.values() if one.name not in named),
        key=lambda one: one.created,
        reverse=True,
    )
    for snapshot in others[SNAPSHOTS_KEPT:]:
        builder.act(DeleteSnapshot(snapshot.name, snapshot.uid, snapshot.resource_version))
