"""Watching: after a promotion the version before keeps a share of the traffic, and the promoted one is judged by it.

The promoted version is stable: it answers what the version before fails, and a new spec is rolled out from it. What is
compared is what a rollout compares, by the same metrics: the promoted version is on trial, the one before it is the
baseline. Evidence begins anew, so the promise about false rollbacks is one of its own.

The version before keeps as many pods as the promoted one. So a breach is one write, which waits for nothing; and while
one of the two has no ready pod, the other one answers everything.
"""

from dataclasses import replace
from typing import Final

from serin.analysis.traffic import Stage
from serin.api.conditions import Reason
from serin.api.spec import Holdback, ModelDeploymentSpec
from serin.api.split import Split, all_to, between
from serin.api.state import Concluded, State, Watch
from serin.api.times import human
from serin.api.verdicts import BLOCKING, Verdict
from serin.evaluation.feasibility import Schedule
from serin.rollout.gates import (
    answers_wrongly,
    breaks_clients,
    crashed_under_traffic,
    first,
    metric_failed,
    paused,
    route_unsure,
    runs_something_else,
)
from serin.rollout.model import Note
from serin.rollout.plan_builder import PlanBuilder
from serin.rollout.rollback import eliminated, record_of
from serin.rollout.strategies.base import Finding, Gate, RolloutContext

# What nobody waits for, as it was promoted on proof: its pods were ready in time, and silence proves nothing.
_BREACHES: Final[tuple[Gate, ...]] = (
    metric_failed,
    runs_something_else,
    breaks_clients,
    answers_wrongly,
    crashed_under_traffic,
)
# What an edit of the spec leaves of a holdback that is not over yet.
_NOBODY: Final = Holdback(0, 0.0)


def schedule_of(holdback: Holdback) -> Schedule:
    """What is planned, as far as evidence depends on it."""
    return Schedule((Stage(1, 100 - holdback.weight, holdback.seconds),), holdback.seconds)


def without_goal(spec: ModelDeploymentSpec, goal: str) -> ModelDeploymentSpec:
    """The spec without the metric that decides an experiment: more of that may be better."""
    return replace(spec, metrics=tuple(one for one in spec.metrics if one.name != goal))


def watch(builder: PlanBuilder, stable: str) -> bool:
    """Go on watching, and sum the look up; False when nothing is watched. `stable`: the version that was promoted."""
    state, seen = builder.state, builder.seen
    if state.watch is None:
        return False
    one = replace(state.watch, evidence=builder.assessment.evidence.get(stable) or state.watch.evidence)
    builder.update(watch=one)
    context, breach = _context(builder, one, stable), breach_of(builder, stable)
    if breach and seen.ready(one.before):
        go_back(builder, breach)
    elif ended := _over(context, one):
        builder.state = end_watch(builder.state, seen.now)
        builder.sum_up(Note(Reason.HOLDBACK_OVER, f"all traffic to {stable}: {ended}"), event=True)
    else:
        _hold_back(builder, context, seen.deployment.spec.holdback or _NOBODY)
    return True


def breach_of(builder: PlanBuilder, stable: str) -> Finding | None:
    """Why the promoted version cannot stay; None when it can, or nothing is watched."""
    one = builder.state.watch
    return first(_BREACHES, _context(builder, one, stable)) if one else None


def _context(builder: PlanBuilder, one: Watch, stable: str) -> RolloutContext:
    return RolloutContext(builder.seen, builder.assessment, builder.strategy, builder.state, one.as_rollout(stable))


def go_back(builder: PlanBuilder, why: Finding) -> None:
    """All traffic to the version before, which is stable again; the promoted one is rejected, in the same write."""
    state, now = builder.state, builder.seen.now
    if state.watch is None or state.stable is None:
        return
    promoted, before = state.stable, state.watch.before
    message = f"{promoted} is rolled back after its promotion, all traffic to {before}: {why.message}"
    builder.state = replace(
        _moved(state, before, promoted, now),
        last_rollback=record_of(builder, promoted, before, why),
        concluded=_without_winner(state.concluded, promoted, why, now),
    )
    builder.sum_up(Note(why.reason, message, warning=True), event=True)


def spec_is_back(builder: PlanBuilder, wanted: str) -> bool:
    """Take the spec's word when it describes the version before again: that has its pods, so no steps are needed."""
    one, stable = builder.state.watch, builder.state.stable
    if one is None or stable is None or one.before != wanted or not has_the_pods(builder):
        return False
    builder.state = _moved(builder.state, wanted, stable, builder.seen.now)
    message = f"the spec is back at {wanted}, which kept its pods: all traffic to it, no steps"
    builder.sum_up(Note(Reason.SPEC_BACK_TO_STABLE, message), event=True)
    return True


def has_the_pods(builder: PlanBuilder) -> bool:
    """Whether the version before could take over now: it has as many ready pods as carry the traffic."""
    one, stable, seen = builder.state.watch, builder.state.stable, builder.seen
    if one is None or stable is None:
        return False
    if builder.state.split.is_all_to(one.before):
        return True
    return seen.ready(one.before) >= min(max(1, seen.ready(stable)), max(1, seen.deployment.spec.replicas))


def end_watch(state: State, now: float) -> State:
    """Whoever serves stays, which is stable unless it has no pod; the other one drains from now on (unix seconds)."""
    if state.watch is None or state.stable is None:
        return state
    before = state.watch.before
    if state.split.is_all_to(before):
        return _moved(state, before, state.stable, now)
    return _moved(state, state.stable, before, now)


def shares(builder: PlanBuilder, stable: str, weight: int) -> Split:
    """The split with `weight` percent held back: what a version without a ready pod would get goes to the other one."""
    one, seen, now = builder.state.watch, builder.seen, builder.state.split
    if one is None or not seen.ready(one.before):
        return all_to(stable)
    back = not now.is_all_to(one.before) or _has_returned(builder, stable, one)
    return between(one.before, stable, 100 - weight) if seen.ready(stable) and back else all_to(one.before)


def _has_returned(builder: PlanBuilder, stable: str, one: Watch) -> bool:
    """Whether the promoted version, which had lost its pods, can carry what the version before does."""
    return builder.seen.ready(stable) >= min(builder.seen.ready(one.before), builder.seen.deployment.spec.replicas)


def _moved(state: State, to: str, left: str, now: float) -> State:
    """Nothing is watched any more: `to` is stable and has everything, and `left` drains."""
    return replace(state, stable=to, watch=None, split=all_to(to), draining={**state.draining, left: now})


def _over(context: RolloutContext, one: Watch) -> str:
    """Why the watching ends, in words; "" while it goes on, as it does while the promoted version cannot serve."""
    holdback, age = context.seen.deployment.spec.holdback, context.seen.now - one.since
    if context.state.split.is_all_to(one.before) or not context.ready:
        return ""
    if holdback is None:
        return f"spec.watch is gone, so nothing is held back any more for {one.before}"
    if age < holdback.seconds or paused(context):
        return ""
    return f"{one.before} has had its share for {human(holdback.seconds)}; {_found(context)}"


def _found(context: RolloutContext) -> str:
    """What the evidence says at the end."""
    open_ = [one for one in context.verdicts if one.severity in BLOCKING and one.verdict is not Verdict.PASS]
    if context.verdicts and not open_:
        return f"{context.candidate} was no worse"
    told = "; ".join(f"{one.metric}: {one.message}" for one in open_)
    return f"that {context.candidate} is no worse is not shown: {told or 'nothing was measured'}"


def _hold_back(builder: PlanBuilder, context: RolloutContext, holdback: Holdback) -> None:
    """Keep the split, or bring it about: what raises the version before needs its pods, and nobody who says wait."""
    stable, before, seen = context.candidate, context.stable, builder.seen
    split, now = shares(builder, stable, holdback.weight), builder.state.split
    if split.of(stable) and split.of(before) > now.of(before):
        if why := first((paused, route_unsure), context):
            builder.sum_up(Note(why.reason, why.message))
            return
        builder.proof = {before: 1}
    builder.update(split=split)
    if why := paused(context):
        builder.sum_up(Note(why.reason, why.message))
    elif split.is_all_to(before):
        message = f"no pod of {stable} is ready{seen.problem(stable)}: all traffic to {before} until it is back"
        builder.sum_up(Note(Reason.STABLE_UNAVAILABLE, message, warning=True))
    elif split.is_all_to(stable):
        message = f"no pod of {before} is ready{seen.problem(before)}: all traffic to {stable} until one is"
        builder.sum_up(Note(Reason.HOLDBACK_UNAVAILABLE, message, warning=True))
    else:
        message = f"{holdback.weight}% of the traffic stays with {before} for {human(holdback.seconds)}"
        builder.sum_up(Note(Reason.WATCHING, f"{message}: {stable} is compared with it"), event=split != now)
    builder.requeue_after(holdback.seconds - (seen.now - (builder.state.watch or Watch(before, seen.now)).since))


def _without_winner(ended: Concluded | None, promoted: str, why: Finding, now: float) -> Concluded | None:
    """An experiment whose winner is rolled back has none: the spec's own content is wanted again, and rejected too."""
    if ended is None or ended.winner != promoted:
        return ended
    arms = (one if one.eliminated else eliminated(one.snapshot, why, now) for one in ended.arms)
    return Concluded(ended.declared, tuple(arms))
