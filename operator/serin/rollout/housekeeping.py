"""What follows from a decision: which workloads run at which size, what is remembered, and what is thrown away.

Nothing here changes where traffic goes. Everything is level-triggered: a record that a crash has lost is found missing
at the next look and written then.
"""

from dataclasses import replace
from typing import Final

from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.names import ROLE_CANDIDATE, ROLE_STABLE
from serin.api.status import State
from serin.api.times import rfc3339
from serin.rollout import report
from serin.rollout.gates import RolloutContext
from serin.rollout.model import DeleteSnapshot, DeleteWorkload, Order, RecordSnapshot, RunWorkload, Snapshot
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.snapshots import PROMOTED, ROLLED_BACK, SUPERSEDED, UNDER_EVALUATION, ways_back

# Seconds between a snapshot's last new request and the end of its pods: what is under way may finish.
DRAIN: Final = 30.0
SNAPSHOTS_KEPT: Final = 10


def reconcile_workloads(builder: PlanBuilder, wanted: str) -> None:
    """Run, retire, remember, forget."""
    _run(builder, wanted)
    _scale_down_drained(builder, wanted)
    _record_verdicts(builder)
    _prune_history(builder, wanted)


def _run(builder: PlanBuilder, wanted: str) -> None:
    """Stable keeps what it had until another version has taken its place: there is always a way back."""
    state, spec = builder.state, builder.seen.deployment.spec
    other = state.manual_rollback.target if state.manual_rollback else state.candidate
    if other is None:
        _ensure(builder, state.stable or wanted, spec.replicas, ROLE_STABLE)
        return
    stable = str(state.stable)
    _ensure(builder, stable, _at_least(builder, stable, spec.replicas), ROLE_STABLE)
    needed = spec.replicas if state.manual_rollback else RolloutContext(builder.seen, state, stable, other).needed
    _ensure(builder, other, _at_least(builder, other, needed), ROLE_CANDIDATE)


def _at_least(builder: PlanBuilder, snapshot: str, replicas: int) -> int:
    """So many pods, or more when the snapshot has more: none is taken away while anything is under way."""
    running = builder.seen.workloads.get(snapshot)
    return max(replicas, running.desired if running else 0)


def _ensure(builder: PlanBuilder, snapshot: str, replicas: int, role: str) -> None:
    running = builder.seen.workloads.get(snapshot)
    as_wanted = running and running.desired == replicas and running.role == role and not running.drifted
    if running and (running.refused or as_wanted):
        return
    if running and running.drifted:
        why = "is not what the snapshot says: it is put back. Change the ModelDeployment instead"
        builder.add_event(
            Reason.POD_TEMPLATE_RESTORED, f"the pod template of Deployment {snapshot} {why}", warning=True
        )
    shrinks = running is not None and running.desired > replicas
    builder.act(RunWorkload(snapshot, replicas, role, Order.SCALE_DOWN if shrinks else Order.CREATE))


def _scale_down_drained(builder: PlanBuilder, wanted: str) -> None:
    """Pods of a version that nobody is sent to any more finish what they have, then go."""
    state, now = builder.state, builder.seen.now
    kept = {state.stable or wanted, state.candidate, state.manual_rollback.target if state.manual_rollback else None}
    workloads = builder.seen.workloads.items()
    idle = {name: one for name, one in workloads if name not in kept and not one.refused}
    draining = {name: state.draining.get(name, now) for name in idle}
    builder.state = replace(state, draining=draining)
    for name, workload in idle.items():
        left = DRAIN - (now - draining[name]) if state.stable else 0.0
        if left <= 0:
            builder.act(DeleteWorkload(name, workload.uid, workload.resource_version))
        else:
            builder.requeue_after(left)


def _record_verdicts(builder: PlanBuilder) -> None:
    """Write what was decided onto the snapshots, where it outlives the deployment's status."""
    state, snapshots = builder.state, builder.seen.snapshots
    last = state.last_rollback
    rejected = snapshots.get(last.source) if last and not last.retried and last.source != state.candidate else None
    if last and rejected and not rejected.rejected:
        record: JsonObject = {"verdict": ROLLED_BACK, "rejected": True, "reason": last.reason, "message": last.message}
        record["rejectedAt"] = rfc3339(last.at)
        builder.act(RecordSnapshot(rejected.name, {**record, "metrics": _metrics(builder, rejected)}))
    candidate = snapshots.get(state.candidate or "")
    if candidate and (candidate.rejected or candidate.verdict is None):
        builder.act(RecordSnapshot(candidate.name, {"verdict": UNDER_EVALUATION, "rejected": False}))
    for snapshot in snapshots.values():
        if snapshot.verdict == UNDER_EVALUATION and snapshot not in (candidate, rejected):
            builder.act(RecordSnapshot(snapshot.name, {"verdict": SUPERSEDED, "rejected": False}))
    stable = snapshots.get(state.stable or "")
    if stable and not _is_recorded(stable, state):
        since = builder.seen.now if state.stable_since is None else state.stable_since
        record = {"verdict": PROMOTED, "rejected": False, "promotedAt": rfc3339(since)}
        # After the write that promotes: a record of what then did not happen would be a lie.
        builder.act(RecordSnapshot(stable.name, {**record, "metrics": _metrics(builder, stable)}, Order.SCALE_DOWN))


def _is_recorded(stable: Snapshot, state: State) -> bool:
    """Whether the stable snapshot says that it is, since when: the way back is found by these times."""
    if stable.verdict != PROMOTED or stable.promoted is None:
        return False
    return state.stable_since is None or rfc3339(stable.promoted) == rfc3339(state.stable_since)


def _metrics(builder: PlanBuilder, snapshot: Snapshot) -> list[JsonObject]:
    """What each metric says now; what it said last when nothing is measured, as when a person goes back."""
    return report.metrics(builder.seen) or list(snapshot.metrics)


def _prune_history(builder: PlanBuilder, wanted: str) -> None:
    """Keep the newest snapshots, and every one that something still names."""
    last = builder.state.last_rollback
    state, snapshots = builder.state, builder.seen.snapshots
    named = {wanted, state.stable, state.candidate, *builder.seen.workloads}
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
