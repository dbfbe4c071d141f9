"""Which workloads run at which size: what follows from a decision, and never changes where traffic goes."""

from typing import Final

from serin.api.conditions import Reason
from serin.api.names import ROLE_CANDIDATE, ROLE_HOLDBACK, ROLE_STABLE
from serin.rollout.model import (
    ApplyDeployment,
    ApplyPreview,
    ApplyService,
    DeleteDeployment,
    DeletePreview,
    DeleteService,
    Note,
    Order,
    RestoreTemplate,
    Workload,
)
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.strategies.base import RolloutContext

# Seconds between a snapshot's last new request and the end of its pods: what is under way may finish.
DRAIN: Final = 30.0


def reconcile_workloads(builder: PlanBuilder, wanted: str) -> None:
    """Run what is needed, and scale down what has drained. `wanted`: the snapshot that the spec describes."""
    kept = _run(builder, wanted)
    kept |= _keep(builder, kept) | _hold_back(builder)
    _scale_down_drained(builder, kept)
    _reconcile_preview(builder)
    _delete_services(builder, kept)


def _run(builder: PlanBuilder, wanted: str) -> frozenset[str]:
    """Stable keeps what it had until another version has taken its place: there is always a way back.

    Answers the snapshots that run.
    """
    state, replicas = builder.state, builder.seen.deployment.spec.replicas
    needed: dict[str, int] = {}
    if state.manual_rollback:
        needed[state.manual_rollback.target] = replicas
    elif state.rollout:
        context = RolloutContext(builder.seen, builder.assessment, builder.strategy, state, state.rollout)
        needed = {one.candidate: builder.strategy.pods(one) for one in context.each}
    stable = state.stable or wanted
    _ensure(builder, stable, _at_least(builder, stable, replicas) if needed else replicas, ROLE_STABLE)
    for snapshot, pods in needed.items():
        _ensure(builder, snapshot, _at_least(builder, snapshot, pods), ROLE_CANDIDATE)
    return frozenset({stable, *needed})


def _keep(builder: PlanBuilder, running: frozenset[str]) -> frozenset[str]:
    """What keeps its pods for a while after another version has taken its place: a warm way back."""
    seen = builder.seen
    there = seen.workloads.keys() - running
    kept = {name: at for name, at in builder.state.kept.items() if at > seen.now and name in there}
    builder.update(kept=kept)
    for at in kept.values():
        builder.requeue_after(at - seen.now)
    return frozenset(kept)


def _hold_back(builder: PlanBuilder) -> frozenset[str]:
    """The version before a promotion that is watched has as many pods as the promoted one: it may get all at once."""
    if builder.state.watch is None:
        return frozenset()
    before = builder.state.watch.before
    _ensure(builder, before, builder.seen.deployment.spec.replicas, ROLE_HOLDBACK)
    return frozenset({before})


def _reconcile_preview(builder: PlanBuilder) -> None:
    """While a version can be tried, a Service leads to it."""
    seen = builder.seen
    previewed = next((rule.snapshot for rule in builder.state.split.rules if rule.preview), None)
    if seen.preview and seen.preview.not_ours:
        return
    if previewed and (seen.preview is None or seen.preview.snapshot != previewed):
        builder.act(ApplyPreview(previewed))
    elif seen.preview and not previewed:
        builder.act(DeletePreview(seen.preview.uid))


def _at_least(builder: PlanBuilder, snapshot: str, replicas: int) -> int:
    """So many pods, or more when the snapshot has more: none is taken away while anything is under way."""
    running = builder.seen.workloads.get(snapshot)
    return max(replicas, running.desired if running else 0)


def _ensure(builder: PlanBuilder, snapshot: str, replicas: int, role: str) -> None:
    running = builder.seen.workloads.get(snapshot)
    if running and running.desired > replicas and builder.seen.route.is_unsure():
        # An instance of the router that nobody hears goes on using the pods that it knew.
        replicas = running.desired
        builder.requeue_after(DRAIN / 2)
    builder.pods[snapshot] = replicas
    if running and (running.refused or running.denied) and running.again_at > builder.seen.now:
        builder.requeue_after(running.again_at - builder.seen.now)
        return
    if running and not running.uid:
        running = None  # what has refused it may have been mended: it is sent once more
    if snapshot not in builder.seen.services or snapshot in builder.seen.altered_services:
        builder.act(ApplyService(snapshot))
    if running is None:
        builder.act(ApplyDeployment(snapshot, replicas, role, stamp=False))
        builder.act(ApplyDeployment(snapshot, replicas, role))
    elif running.drifted or not running.stamped:
        _restore(builder, running, replicas, role)
    elif running.desired != replicas or running.role != role or running.altered:
        order = Order.SCALE_DOWN if running.desired > replicas else Order.CREATE
        builder.act(ApplyDeployment(snapshot, replicas, role, order))


def _restore(builder: PlanBuilder, running: Workload, replicas: int, role: str) -> None:
    """Put the pod template back; the same finishes what a crash has cut short while the Deployment was made."""
    if running.drifted:
        why = "is not what the snapshot says: it is put back. Change the ModelDeployment instead"
        message = f"the pod template of Deployment {running.snapshot} {why}"
        builder.add_event(Reason.POD_TEMPLATE_RESTORED, message, warning=True)
    order = Order.SCALE_DOWN if running.desired > replicas else Order.CREATE
    builder.act(RestoreTemplate(running.snapshot, replicas, role, order))
    builder.act(ApplyDeployment(running.snapshot, replicas, role, order))


def _scale_down_drained(builder: PlanBuilder, kept: frozenset[str]) -> None:
    """Pods of a version that nobody is sent to any more finish what they have, then go."""
    state, now = builder.state, builder.seen.now
    workloads = builder.seen.workloads.items()
    idle = {name: one for name, one in workloads if name not in kept and one.uid}
    draining = {name: _drains_since(builder, name) for name in idle}
    builder.update(draining=draining)
    for name, workload in idle.items():
        left = DRAIN - (now - draining[name]) if state.stable else 0.0
        if _may_be_used(builder, name):
            _keep_for_the_router(builder, name)
        elif left <= 0:
            # The Deployment first: its precondition says whether the workload may go at all.
            builder.act(DeleteDeployment(name, workload.uid, workload.resource_version))
            if name in builder.seen.services:
                builder.act(DeleteService(name, builder.seen.services[name]))
        else:
            builder.requeue_after(left)


def _drains_since(builder: PlanBuilder, name: str) -> float:
    """Since when nobody is sent to a snapshot: it begins anew while some instance of the router may still send there.

    Not at every look, as each would be a write: then the second half of the time is what is left for certain.
    """
    now = builder.seen.now
    since = builder.state.draining.get(name, now)
    return now if now - since >= DRAIN / 2 and _may_be_used(builder, name) else since


def _may_be_used(builder: PlanBuilder, name: str) -> bool:
    return builder.seen.route.may_use(name, builder.seen.state.split)


def _keep_for_the_router(builder: PlanBuilder, name: str) -> None:
    """No pod goes that some instance of the router may still use."""
    builder.requeue_after(DRAIN / 2)
    unheard = builder.seen.route.unheard
    if unheard and builder.why.reason is Reason.SERVING:
        builder.sum_up(Note(Reason.ROUTE_NOT_TAKEN, f"{name} keeps its pods: {unheard}", warning=True))


def _delete_services(builder: PlanBuilder, kept: frozenset[str]) -> None:
    """Services whose Deployment is gone: a crash came between the two deletions."""
    for name, uid in builder.seen.services.items():
        if name not in kept and name not in builder.seen.workloads:
            builder.act(DeleteService(name, uid))
