"""What strategies have in common: to wait, to bake, and to arrive."""

from dataclasses import replace
from typing import Final

from serin.api.conditions import Reason
from serin.api.split import all_to
from serin.api.state import Watch
from serin.rollout.gates import HOLD, first, paused, route_unsure, unproven
from serin.rollout.rollback import concluded
from serin.rollout.strategies.base import Advance, Finding, Gate, RolloutContext

# How long a weight may take to become the share of the *finished* requests, at most; a quarter of a short bake.
_SETTLE_SECONDS: Final = 30.0


def settled(since: float, bake: float) -> float:
    """From when on requests that end were routed by a weight that was reached at `since` (unix seconds)."""
    return since + min(_SETTLE_SECONDS, bake / 4)


def pods_for(weight: int, replicas: int) -> int:
    """As many pods as make the load of each no higher than stable's, which keeps `replicas`, at `weight` percent."""
    others = 100 - weight
    return replicas if weight >= others else max(1, -(-replicas * weight // others))


def bake(context: RolloutContext, seconds: float, least: int, told: str, evidence: Gate = unproven) -> Advance | None:
    """Stay until time, requests and evidence are complete; None when they are.

    `least`: candidate requests in this stage. `told`: what is said while time is missing. `evidence`: why it does not
    suffice.
    """
    stage, now = context.stage, context.seen.now
    left = seconds - (now - (now if stage.since is None else stage.since))
    gathered = context.requests - stage.requests_before
    if why := first(HOLD, context):
        return held(context, why)
    if left > 0:
        return held(context, Finding(Reason.BAKING, told), requeue_after=left)
    if gathered < least:
        message = f"{gathered} of {least} candidate requests (minRequests) in this step"
        return held(context, Finding(Reason.GATHERING_EVIDENCE, message))
    return held(context, why) if (why := evidence(context)) else None


def promote(context: RolloutContext, because: str = "every step passed", evidence: Gate = unproven) -> Advance:
    """Grow to full size, then all traffic at once; stable once the router has taken that.

    `because`: why, in words. `evidence`: why it does not suffice.
    """
    if context.weight == 100:
        return arrive(context, because)
    forced = context.stage.forced
    gates = (paused, route_unsure) if forced else HOLD
    if why := first(gates, context) or (None if forced else evidence(context)):
        return held(context, why)
    if context.ready < context.needed:
        return held(context, waiting_for_pods(context, "100%"))
    moved = context.at(replace(context.stage, since=context.seen.now)).state
    state = replace(moved, split=all_to(context.candidate))
    message = f"all traffic to {context.candidate}; it is stable when the router has taken that"
    poll = context.seen.route.poll
    return Advance(state, Finding(Reason.PROMOTING, message), proof=context.proof, requeue_after=poll)


def arrive(context: RolloutContext, because: str = "every step passed") -> Advance:
    """The candidate has everything. Stable answers what it cannot, until the router is known to reach it."""
    state, stage, route = context.state, context.stage, context.seen.route
    if lost := route_unsure(context):
        return Advance(state, lost)
    moved = stage.entered if stage.since is None else stage.since
    if not route.has_taken(context.candidate):
        waited = context.seen.now - moved
        said = route.waiting(context.candidate, waited, Reason.PROMOTING)
        return Advance(state, Finding(said.reason, said.message), requeue_after=route.look_after(waited))
    others = {one for one in context.rollout.active if one != context.candidate}
    draining = {**state.draining, **dict.fromkeys((context.stable, *sorted(others)), context.seen.now)}
    ended = concluded(context, context.rollout.arms, context.candidate)
    holdback = context.seen.deployment.spec.holdback
    watched = holdback is not None and context.seen.ready(context.stable) > 0
    promoted = replace(
        state,
        stable=context.candidate,
        rollout=None,
        draining=draining,
        concluded=ended,
        watch=Watch(context.stable, context.seen.now) if watched else None,
    )
    because = "asked for by the user" if stage.forced else because
    why = Finding(Reason.PROMOTED, f"{context.candidate} is the new stable snapshot ({because})")
    return Advance(promoted, why, event=True)


def waiting_for_pods(context: RolloutContext, whose: str) -> Finding:
    """Say how many pods are there. `whose`: what they are for."""
    reason = Reason.WAITING_FOR_CAPACITY if context.is_asked else Reason.CANDIDATE_STARTING
    problem = context.seen.problem(context.candidate)
    return Finding(reason, f"{context.ready} of {context.needed} candidate pods are ready for {whose}{problem}")


def held(context: RolloutContext, why: Finding, *, requeue_after: float | None = None) -> Advance:
    """Stay. A wait that has its pods starts the progress deadline afresh: a late loss is not held against it."""
    stage, now, deadline = context.stage, context.seen.now, context.seen.deployment.spec.progress_deadline
    if stage.since is not None:
        return Advance(context.state, why, requeue_after=requeue_after)
    left = deadline - (now - stage.entered)
    if context.ready >= context.needed and left < deadline / 2:
        context, left = context.at(replace(stage, entered=now)), deadline
    return Advance(context.state, why, requeue_after=left if requeue_after is None else min(requeue_after, left))
