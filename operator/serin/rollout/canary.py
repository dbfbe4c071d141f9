"""The canary strategy: weights that rise in steps, each earned by the one before.

`advance` is asked only while nothing speaks against the candidate (the ROLL_BACK gates ran first). It answers with the
state to keep, whether traffic rises, and one sentence on what it is doing or waiting for.
"""

from dataclasses import dataclass, replace

from serin.api.conditions import Reason
from serin.api.names import ANNOTATION_APPROVE
from serin.api.spec import PauseStep, WeightStep
from serin.api.split import all_to, between
from serin.api.status import Phase, State, StepState
from serin.api.times import human
from serin.rollout.gates import (
    HOLD,
    ROUTER_SECONDS,
    Finding,
    RolloutContext,
    first,
    has_taken,
    paused,
    route_unsure,
    unproven,
)


@dataclass(frozen=True, slots=True)
class Advance:
    """What the strategy decided.

    `state`: with phase, step and split set. `why`: what it does or waits for. `happened`: a step began, ended or was
    approved, so `why` is news. `proof`: ready candidate pods that must be seen before the
    traffic rises, 0 when it does not. `again`: seconds until time alone changes
    the answer, None when only events or evidence can.
    """

    state: State
    why: Finding
    happened: bool = False
    proof: int = 0
    again: float | None = None


def advance(look: RolloutContext, *, approved: bool) -> Advance:
    """Take the rollout one step further, or say what it waits for. `approved`: the user approved the present pause."""
    steps = look.seen.deployment.spec.canary.steps
    if look.state.step.index >= len(steps):
        return _promote(look)
    step = steps[look.state.step.index]
    if isinstance(step, PauseStep):
        return _pause(look, step, approved=approved)
    # The user may have edited the steps in mid-rollout: then the weight is no longer this step's.
    reached = look.state.step.since is not None and look.weight == step.weight
    return _bake(look, step) if reached else _reach(look, step)


def _next(look: RolloutContext) -> Advance:
    """Enter the next step and look at it at once."""
    gathered = max((one.requests for one in look.seen.evidence.verdicts), default=0)
    step = StepState(look.state.step.index + 1, entered=look.seen.now, requests_before=gathered)
    return advance(replace(look, state=replace(look.state, step=step)), approved=False)


def _pause(look: RolloutContext, step: PauseStep, *, approved: bool) -> Advance:
    state, now = look.state, look.seen.now
    if approved:
        return replace(_next(look), happened=True)
    since = now if state.step.since is None else state.step.since
    left = None if step.seconds is None else step.seconds - (now - since)
    if left is not None and left <= 0:
        return _next(look)
    paused_state = replace(state, phase=Phase.PAUSED, step=replace(state.step, since=since))
    if left is None:
        ask = f"kubectl annotate md {look.seen.deployment.name} --overwrite {ANNOTATION_APPROVE}=$(date +%s)"
        why = Finding(Reason.WAITING_FOR_APPROVAL, f"step {state.step.index + 1} waits for approval: {ask}")
    else:
        why = Finding(Reason.WAITING, f"step {state.step.index + 1} waits for {human(step.seconds or 0)}")
    return Advance(paused_state, why, happened=state.step.since is None, again=left)


def _reach(look: RolloutContext, step: WeightStep) -> Advance:
    """Bring up the pods that the step's weight needs, then raise the weight."""
    phase = Phase.PROGRESSING if look.weight else Phase.STARTING
    if held := first(HOLD, look) or (unproven(look) if look.weight else None):
        return _held(look, held, phase)
    if look.ready < look.needed:
        return _held(look, _waiting_for_pods(look, step.weight), phase)
    state = replace(
        look.state,
        phase=Phase.PROGRESSING,
        split=between(look.stable, look.candidate, step.weight),
        step=replace(look.state.step, since=look.seen.now),
    )
    steps = look.seen.deployment.spec.canary.steps
    message = f"step {state.step.index + 1} of {len(steps)}: {step.weight}% of the traffic to {look.candidate}"
    return Advance(state, Finding(Reason.STEP_STARTED, message), happened=True, proof=look.needed, again=step.bake)


def _bake(look: RolloutContext, step: WeightStep) -> Advance:
    """Stay at the weight until time, requests and evidence are complete."""
    since = look.state.step.since or look.seen.now
    left = step.bake - (look.seen.now - since)
    gathered = max((one.requests for one in look.seen.evidence.verdicts), default=0) - look.state.step.requests_before
    if held := first(HOLD, look):
        return _held(look, held, Phase.PROGRESSING)
    if left > 0:
        number = look.state.step.index + 1
        until = f"step {number} bakes for {human(step.bake)} at {look.weight}%"
        return _held(look, Finding(Reason.BAKING, until), Phase.PROGRESSING, again=left)
    if gathered < step.min_requests:
        message = f"{gathered} of {step.min_requests} candidate requests (minRequests) in this step"
        return _held(look, Finding(Reason.GATHERING_EVIDENCE, message), Phase.PROGRESSING)
    if waiting := unproven(look):
        return _held(look, waiting, Phase.PROGRESSING)
    return _next(look)


def _promote(look: RolloutContext) -> Advance:
    """Every step has passed: grow to full size, then all traffic at once; stable once the router has taken that."""
    if look.weight == 100:
        return _arrive(look)
    forced = look.state.step.forced
    gates = (paused, route_unsure) if forced else HOLD
    held = first(gates, look) or (None if forced else unproven(look))
    if held:
        return _held(look, held, Phase.PROMOTING)
    if look.ready < look.needed:
        return _held(look, _waiting_for_pods(look, 100), Phase.PROMOTING)
    state = replace(
        look.state,
        phase=Phase.PROMOTING,
        split=all_to(look.candidate),
        step=replace(look.state.step, since=look.seen.now),
    )
    why = Finding(Reason.PROMOTING, f"all traffic to {look.candidate}; it is stable when the router has taken that")
    return Advance(state, why, proof=look.needed, again=ROUTER_SECONDS)


def _arrive(look: RolloutContext) -> Advance:
    """The candidate has everything. Stable answers what it cannot, until the router is known to reach it."""
    if held := route_unsure(look):
        return Advance(look.state, held)
    if not has_taken(look.seen, look.candidate, look.state.step.since or look.state.step.entered):
        why = Finding(Reason.PROMOTING, f"all traffic to {look.candidate}, as soon as the router has taken it")
        return Advance(look.state, why, again=ROUTER_SECONDS)
    state = replace(
        look.state,
        phase=Phase.HEALTHY,
        stable=look.candidate,
        candidate=None,
        draining={**look.state.draining, look.stable: look.seen.now},
    )
    because = "asked for by the user" if look.state.step.forced else "every step passed"
    why = Finding(Reason.PROMOTED, f"{look.candidate} is the new stable snapshot ({because})")
    return Advance(state, why, happened=True)


def _waiting_for_pods(look: RolloutContext, weight: int) -> Finding:
    reason = Reason.WAITING_FOR_CAPACITY if look.weight else Reason.CANDIDATE_STARTING
    problem = f": {look.workload.problem}" if look.workload and look.workload.problem else ""
    return Finding(reason, f"{look.ready} of {look.needed} candidate pods are ready for {weight}%{problem}")


def _held(look: RolloutContext, why: Finding, phase: Phase, *, again: float | None = None) -> Advance:
    """Stay. A wait that has its pods starts the progress deadline afresh: a late loss is not held against it."""
    state = replace(look.state, phase=Phase.PAUSED if why.reason is Reason.PAUSED_BY_USER else phase)
    deadline = look.seen.deployment.spec.progress_deadline
    if state.step.since is None:
        left = deadline - (look.seen.now - state.step.entered)
        if look.ready >= look.needed and left < deadline / 2:
            state = replace(state, step=replace(state.step, entered=look.seen.now))
            left = deadline
        again = left if again is None else min(again, left)
    return Advance(state, why, again=again)
