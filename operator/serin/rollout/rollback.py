"""How a rollout ends badly: every request back to stable, and the record of why, in one write."""

from dataclasses import replace

from serin.api.split import all_to
from serin.api.state import RollbackRecord, State
from serin.rollout import summary
from serin.rollout.model import Note
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.strategies.base import Finding, RolloutContext


def without_rollout(state: State, now: float) -> State:
    """End the rollout, if there is one: all traffic to stable; pods of its arms drain from now on (unix seconds)."""
    if state.rollout is None:
        return state
    draining = {**state.draining, **{arm.snapshot: now for arm in state.rollout.arms}}
    return replace(state, rollout=None, split=all_to(state.rollout.stable), draining=draining)


def roll_back(builder: PlanBuilder, context: RolloutContext, why: Finding) -> None:
    """Every request back to stable; the record goes with the same write, so no crash can separate the two."""
    record = RollbackRecord(
        source=context.candidate,
        target=context.stable,
        reason=why.reason.value,
        message=why.message,
        at=builder.seen.now,
        metric=why.metric.metric if why.metric else "",
        estimate=summary.ratio(why.metric.estimate, why.metric.unit) if why.metric else "",
        interval=summary.interval(why.metric.low, why.metric.high, why.metric.unit) if why.metric else "",
        trouble=builder.assessment.diagnosis.trouble.value if why.metric else "",
    )
    message = f"{context.candidate} is rolled back, all traffic to {context.stable}: {why.message}"
    builder.state = replace(without_rollout(builder.state, builder.seen.now), last_rollback=record)
    builder.sum_up(Note(why.reason, message, warning=True), event=True)
