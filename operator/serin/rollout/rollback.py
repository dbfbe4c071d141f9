"""How a rollout ends badly: every request back to stable, and the record of why, in one write."""

from dataclasses import replace

from serin.api.split import all_to
from serin.api.status import Phase, Rollback, State, StepState
from serin.evaluation.diagnosis import diagnosis
from serin.rollout import report
from serin.rollout.gates import Finding, RolloutContext
from serin.rollout.model import Note
from serin.rollout.plan_builder import PlanBuilder


def without_candidate(builder: PlanBuilder) -> State:
    """Forget the candidate; its pods drain from now on if they had traffic."""
    state = builder.state
    draining = dict(state.draining)
    if state.candidate:
        draining[state.candidate] = builder.seen.now
    stable = all_to(state.stable) if state.stable else state.split
    return replace(state, candidate=None, step=StepState(), evidence={}, split=stable, draining=draining)


def roll_back(builder: PlanBuilder, look: RolloutContext, why: Finding) -> None:
    """Every request back to stable; the record goes with the same write, so no crash can separate the two."""
    rollback = Rollback(
        source=look.candidate,
        target=look.stable,
        reason=why.reason.value,
        message=why.message,
        at=builder.seen.now,
        metric=why.metric.metric if why.metric else "",
        estimate=report.ratio(why.metric.estimate, why.metric.unit) if why.metric else "",
        interval=report.interval(why.metric.low, why.metric.high, why.metric.unit) if why.metric else "",
        trouble=diagnosis(builder.seen, look.stable).trouble.value if why.metric else "",
    )
    message = f"{look.candidate} is rolled back, all traffic to {look.stable}: {why.message}"
    builder.state = replace(
        without_candidate(builder), phase=Phase.HEALTHY, split=all_to(look.stable), last_rollback=rollback
    )
    builder.why = Note(why.reason, message, warning=True)
    builder.add_event(why.reason, message, warning=True)
