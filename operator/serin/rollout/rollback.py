"""How a rollout ends badly: every request back to stable, and the record of why, in one write."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from serin.analysis.engine import first_bad
from serin.api.split import all_to, lowered
from serin.api.state import Arm, Concluded, RollbackRecord, Rollout, Standing, State
from serin.rollout import summary
from serin.rollout.model import Note
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.strategies.base import Finding, RolloutContext

# Seconds. What is only found after that says when an operator came back, and not when the router had it.
_RESTORED_WITHIN: Final = 600.0


def without_rollout(state: State, now: float) -> State:
    """End the rollout, if there is one: all traffic to stable; pods of its arms drain from now on (unix seconds)."""
    if state.rollout is None:
        return state
    draining = {**state.draining, **{arm.snapshot: now for arm in state.rollout.arms}}
    return replace(state, rollout=None, split=all_to(state.rollout.stable), draining=draining)


def without_winner(rollout: Rollout) -> Rollout:
    """The same with every arm that is not eliminated under evaluation again."""
    arms = (one if one.eliminated else replace(one, standing=Standing.EVALUATING) for one in rollout.arms)
    return replace(rollout, arms=tuple(arms))


def resettled(context: RolloutContext) -> RolloutContext:
    """The same, in which the shares hold from now on: what is counted of them begins here."""
    stage = context.stage
    return context if stage.since is None else context.at(replace(stage, entered=context.seen.now))


def eliminate(builder: PlanBuilder, context: RolloutContext, why: Mapping[str, Finding]) -> None:
    """Arms leave: their users go to stable, they are rejected and drain, and the others go on.

    What they leave behind is in the same write as the traffic, so no crash can bring one of them back.
    """
    now, rollout = builder.seen.now, context.rollout
    for snapshot, finding in why.items():
        rollout = rollout.with_arm(eliminated(snapshot, finding, now))
        message = f"{snapshot} is eliminated, its traffic goes to {context.stable}: {finding.message}"
        builder.sum_up(Note(finding.reason, message, warning=True), event=True)
    state = resettled(context.having(rollout)).state
    builder.state = replace(
        state,
        split=lowered(state.split, dict.fromkeys(why, 0), context.stable),
        draining={**state.draining, **dict.fromkeys(why, now)},
    )


def eliminated(snapshot: str, why: Finding, now: float) -> Arm:
    """An arm that is out: why, and when (unix seconds)."""
    return Arm(snapshot, {}, Standing.ELIMINATED, why.reason.value, why.message, now)


def concluded(context: RolloutContext, arms: tuple[Arm, ...], winner: str = "") -> Concluded | None:
    """What to keep of an experiment with variants that has ended; of any other rollout, what was kept before."""
    if not context.seen.deployment.spec.variants:
        return context.state.concluded
    return Concluded(tuple(context.seen.declared), tuple(replace(one, evidence={}) for one in arms), winner)


def record_of(builder: PlanBuilder, source: str, target: str, why: Finding) -> RollbackRecord:
    """What is remembered of a rollback from one snapshot to another, in this look."""
    return RollbackRecord(
        source=source,
        target=target,
        reason=why.reason.value,
        message=why.message,
        at=builder.seen.now,
        metric=why.metric.metric if why.metric else "",
        estimate=summary.ratio(why.metric.estimate, why.metric.unit) if why.metric else "",
        interval=summary.interval(why.metric.low, why.metric.high, why.metric.unit) if why.metric else "",
        trouble=builder.assessment.diagnosis.trouble.value if why.metric else "",
        since=tried_since(builder, source),
        first_bad=first_bad(builder.assessment.evidence.get(source, {}).get(why.metric.metric)) if why.metric else None,
    )


def tried_since(builder: PlanBuilder, snapshot: str) -> float | None:
    """When a version began to be tried, or to be stable, as this look has found it (unix seconds); None: not known."""
    state = builder.seen.state
    if state.rollout and state.rollout.arm(snapshot):
        return state.rollout.since
    return state.stable_since if snapshot == state.stable else None


def note_clients(builder: PlanBuilder) -> None:
    """Keep what the version that was left was for clients, which is counted afterwards. It decides nothing."""
    last, before, found = builder.state.last_rollback, builder.seen.state.last_rollback, builder.seen.clients
    if found is None or last is None or before is None or last.at != before.at or last.clients:
        return
    at, clients = found
    if at == last.at:
        builder.update(last_rollback=replace(last, clients=clients))


def note_restored(builder: PlanBuilder) -> None:
    """Keep when the router was known to have taken the last rollback. It decides nothing, and comes after the fact."""
    last, before = builder.state.last_rollback, builder.seen.state.last_rollback
    if last is None or before is None or last.at != before.at or last.restored is not None:
        return
    soon = builder.seen.now - last.at <= _RESTORED_WITHIN
    if soon and builder.seen.state.split == all_to(last.target) and builder.seen.route.has_taken(last.target):
        builder.update(last_rollback=replace(last, restored=builder.seen.now))


def roll_back(
    builder: PlanBuilder, context: RolloutContext, why: Finding, of_arms: Mapping[str, Finding] = MappingProxyType({})
) -> None:
    """Every request back to stable; the record goes with the same write, so no crash can separate the two.

    `of_arms`: why each arm has lost, where that is not for the same reason.
    """
    now = builder.seen.now
    arms = tuple(
        one if one.eliminated else eliminated(one.snapshot, of_arms.get(one.snapshot, why), now)
        for one in context.rollout.arms
    )
    record = record_of(builder, context.candidate, context.stable, why)
    lost = ", ".join(context.rollout.active)
    verb = "is" if len(context.rollout.active) == 1 else "are"
    message = f"{lost} {verb} rolled back, all traffic to {context.stable}: {why.message}"
    ended = replace(without_rollout(builder.state, now), last_rollback=record, concluded=concluded(context, arms))
    builder.state = ended
    builder.sum_up(Note(why.reason, message, warning=True), event=True)
