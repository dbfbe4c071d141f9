"""What experiments on several arms have in common: how shares are reached, and how an arm wins."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from serin.api.conditions import Reason
from serin.api.split import Split, Sticky, lowered
from serin.api.state import Arm, StageState, Standing
from serin.rollout.gates import HOLD, first, unproven
from serin.rollout.rollback import resettled
from serin.rollout.strategies.base import Advance, Finding, RolloutContext
from serin.rollout.strategies.moves import held, waiting_for_pods


class Direction(StrEnum):
    """Which way the deciding metric is better."""

    HIGHER = "Higher"
    LOWER = "Lower"


def age_of(context: RolloutContext) -> float:
    """Seconds since the arms have traffic."""
    return 0.0 if context.stage.since is None else context.seen.now - context.stage.since


def shared(context: RolloutContext, shares: Mapping[str, int], sticky: Sticky | None = None) -> Split:
    """The split in which the arms have these percents, and stable the rest.

    When it has begun, an arm that has lost its pods is waited for, and the others go on: its share is stable's.
    """
    begun = context.stage.since is not None
    present = [one for one in context.each if not begun or one.weight or one.ready >= one.needed]
    weights = {one.candidate: shares[one.candidate] for one in present if shares[one.candidate]}
    return Split({context.stable: 100 - sum(weights.values()), **weights}, sticky=sticky)


def reach(
    context: RolloutContext,
    shares: Mapping[str, int],
    split: Split,
    *,
    rising: str,
    falling: str,
    requeue_after: float,
) -> Advance:
    """Lower the arms that have more than their share, at once; then bring up the pods of the others, and raise them.

    Those are two writes, as a write that lowers waits for nothing. `split`: as `shared` makes it. `rising`, `falling`:
    what either write does, in words.
    """
    stage, now = context.stage, context.seen.now
    if any(one.weight > shares[one.candidate] for one in context.each) and context.seen.ready(context.stable):
        state = resettled(context).state
        less = replace(lowered(state.split, shares, context.stable), sticky=split.sticky)
        return Advance(replace(state, split=less), Finding(Reason.STEP_STARTED, falling), event=True)
    higher = [one for one in context.each if split.of(one.candidate) > one.weight]
    if why := first(HOLD, context) or next(filter(None, (unproven(one) for one in higher if one.weight)), None):
        return held(context, why)
    for one in higher:
        if one.ready < one.needed:
            return held(one, waiting_for_pods(one, f"{split.of(one.candidate)}%"))
    begun = replace(stage, entered=now, since=now if stage.since is None else stage.since)
    state = replace(context.at(begun).state, split=split)
    proof = {one.candidate: one.needed for one in higher}
    return Advance(state, Finding(Reason.STEP_STARTED, rising), event=True, proof=proof, requeue_after=requeue_after)


def win(context: RolloutContext, snapshot: str) -> Advance:
    """Go on to the promotion of this arm, at once."""
    arm = context.rollout.arm(snapshot) or Arm(snapshot)
    won = replace(context, arm="").having(context.rollout.with_arm(replace(arm, standing=Standing.WINNER)))
    last, requests = context.strategy.last_stage(), replace(context, arm=snapshot).requests
    return context.strategy.advance(
        won.at(StageState(last, context.seen.now, requests_before=requests)), approved=False
    )
