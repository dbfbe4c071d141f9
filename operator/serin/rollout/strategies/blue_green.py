"""Blue/green: the new version is tried beside the old one, gets everything but a holdback in one write, and bakes.

Blue, the version that serves, stays stable until the bake has passed: what green fails, blue answers, and going back is
one write. The holdback is a random share of the requests that stays with blue, so green is judged against blue in the
same seconds. Without one there is nothing to compare with: then limits alone decide, and the status says so.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from serin.analysis.traffic import Stage
from serin.api.capabilities import Capability, Needs
from serin.api.conditions import Reason
from serin.api.fields import Field
from serin.api.names import ANNOTATION_APPROVE, PREVIEW_HEADER, preview_service
from serin.api.split import Rule, Split, between
from serin.api.state import StageState, StageStatus
from serin.api.text import count
from serin.api.times import human
from serin.api.verdicts import COMPARED
from serin.evaluation.feasibility import Schedule
from serin.rollout.gates import HOLD, first, unproven
from serin.rollout.rollback import resettled
from serin.rollout.strategies.base import Advance, ApprovalRule, Finding, RolloutContext
from serin.rollout.strategies.moves import bake, held, promote, settled, waiting_for_pods

_PREVIEW, _BAKE, _PROMOTION = range(3)  # the stages, by index
_NO_PROMISE: Final = "no promise against stable: nobody is held back, so limits alone decide"


class Approve(StrEnum):
    """Who lets green take over."""

    AUTO = "Auto"
    MANUAL = "Manual"


@dataclass(frozen=True, slots=True)
class BlueGreen:
    """`spec.strategy.blueGreen`. `holdback`: percent that stays with blue; `bake`, `keep`, `max_duration`: seconds.

    `preview`: pods of green before the switch. `keep`: how long blue's pods stay after the promotion.
    """

    preview: int
    approve: Approve
    holdback: int
    bake: float
    keep: float
    min_requests: int = 0
    max_duration: float | None = None

    @classmethod
    def read(cls, settings: Field) -> "BlueGreen":
        """From the settings, defaults included. Raises InvalidSpec."""
        return cls(
            preview=settings["preview"]["replicas"].value,
            approve=settings["approve"].one_of(Approve),
            holdback=settings["holdback"].value,
            bake=settings["bake"].duration(),
            keep=settings["keep"].duration(),
            min_requests=settings.value.get("minRequests") or 0,
            max_duration=settings.duration_of("maxDuration"),
        )

    def needs(self) -> Needs:
        """A header for the preview, and weights for the holdback."""
        path = "spec.strategy.blueGreen"
        return {Capability.HEADERS: path, Capability.WEIGHTS: f"{path}.holdback"}

    def schedule(self) -> Schedule:
        """The bake alone is evidence, and that only while somebody is held back."""
        stage = Stage(_BAKE + 1, 100 - self.holdback, self.bake, self.min_requests)
        return Schedule((stage,) if self.holdback else (), self.bake, self.max_duration)

    def last_stage(self) -> int:
        """After the bake."""
        return _PROMOTION

    def settled_at(self, stage: StageState) -> float | None:
        """As a weight of a canary, in the bake.

        `entered` is later than `since` when the holdback was edited: that does not begin the bake anew.
        """
        if stage.index != _BAKE or stage.since is None:
            return None
        return settled(max(stage.entered, stage.since), self.bake)

    def pods(self, context: RolloutContext) -> int:
        """Few for the preview, all from the switch on."""
        replicas = context.seen.deployment.spec.replicas
        return min(self.preview, replicas) if context.stage.index == _PREVIEW else replicas

    def waits_for_approval(self, stage: StageState) -> ApprovalRule | None:
        """While green can be tried, and a person has to say yes."""
        waits = stage.index == _PREVIEW and stage.since is not None and self.approve is Approve.MANUAL
        return ApprovalRule() if waits else None

    def show(self, context: RolloutContext) -> StageStatus:
        """The present stage."""
        stage, baking = context.stage, context.stage.index == _BAKE
        until = stage.since + self.bake if baking and stage.since is not None else None
        begun = baking and stage.since is not None
        return StageStatus(
            of=_PROMOTION,
            weight=context.weight,
            position=f"{stage.index + 1}/{_PROMOTION}" if stage.index < _PROMOTION else "promoting",
            titles=self._titles(),
            index=stage.index,
            until=until,
            deadline=None if self.max_duration is None else context.rollout.since + self.max_duration,
            requests=max(0, context.requests - stage.requests_before) if begun else 0,
            min_requests=self.min_requests if baking else 0,
            approval=self.waits_for_approval(stage) is not None,
            note=_NO_PROMISE if begun and not self.holdback else "",
        )

    def _titles(self) -> tuple[str, str]:
        least = f", {count(self.min_requests)} requests" if self.min_requests else ""
        preview = "preview until approved" if self.approve is Approve.MANUAL else "preview"
        return preview, f"{100 - self.holdback}% for {human(self.bake)}{least}"

    def advance(self, context: RolloutContext, *, approved: bool) -> Advance:
        """Preview, switch, bake, promote."""
        stage = context.stage
        if stage.forced or stage.index >= _PROMOTION:
            return self._promote(context.at(replace(stage, index=_PROMOTION)))
        if stage.index == _BAKE:
            if stage.since is None:
                return self._switch(context)
            return self._lower(context) if self._is_too_much(context) else self._bake(context)
        return self._preview(context, approved=approved)

    def _preview(self, context: RolloutContext, *, approved: bool) -> Advance:
        """People who ask for green get it, and nobody else does."""
        if context.stage.since is None or not _previewed(context):
            return self._begin_preview(context)
        if self.approve is Approve.MANUAL and not approved:
            command = context.seen.command(ANNOTATION_APPROVE)
            where = f"to try it: header {PREVIEW_HEADER}: true{_or_service(context)}"
            why = Finding(Reason.WAITING_FOR_APPROVAL, f"green waits for approval: {command}; {where}")
            return Advance(context.state, why)
        return replace(self._switch(context.at(StageState(_BAKE, entered=context.seen.now))), event=True)

    def _begin_preview(self, context: RolloutContext) -> Advance:
        if why := first(HOLD, context):
            return held(context, why)
        if context.ready < context.needed:
            return held(context, waiting_for_pods(context, "the preview"))
        rule = Rule(context.candidate, {PREVIEW_HEADER: "true"}, preview=True)
        state = context.at(replace(context.stage, since=context.seen.now)).state
        message = f"{context.candidate} can be tried with the header {PREVIEW_HEADER}: true, and has no other requests"
        why = Finding(Reason.STEP_STARTED, f"step 1 of {_PROMOTION}: {message}")
        split = Split({context.stable: 100}, (rule,))
        return Advance(replace(state, split=split), why, event=True, proof=context.proof)

    def _switch(self, context: RolloutContext) -> Advance:
        """Green has all of its pods: everything but the holdback in one write. Requests of the preview do not count."""
        if why := first(HOLD, context):
            return held(context, why)
        share = 100 - self.holdback
        if context.ready < context.needed:
            return held(context, waiting_for_pods(context, f"{share}%"))
        context = context.counting_anew()
        state = context.at(replace(context.stage, since=context.seen.now, requests_before=0)).state
        rest = f"; {self.holdback}% stay with {context.stable}" if self.holdback else ""
        message = f"step 2 of {_PROMOTION}: {share}% of the traffic to {context.candidate}{rest}"
        why = Finding(Reason.STEP_STARTED, message)
        split = between(context.stable, context.candidate, share)
        return Advance(
            replace(state, split=split),
            why,
            event=True,
            proof=context.proof,
            requeue_after=self.bake,
        )

    def _is_too_much(self, context: RolloutContext) -> bool:
        """Whether the user has edited the holdback to more than is held back now."""
        return context.weight > 100 - self.holdback and context.seen.ready(context.stable) > 0

    def _lower(self, context: RolloutContext) -> Advance:
        """Less traffic needs neither proof nor pods."""
        share = 100 - self.holdback
        why = Finding(
            Reason.STEP_STARTED, f"holdback was edited: {share}% of the traffic to {context.candidate}, at once"
        )
        split = between(context.stable, context.candidate, share)
        return Advance(replace(resettled(context).state, split=split), why, event=True)

    def _bake(self, context: RolloutContext) -> Advance:
        """Blue is stable still."""
        rest = f"{self.holdback}% held back" if self.holdback else _NO_PROMISE
        told = f"green bakes for {human(self.bake)} at {context.weight}% ({rest})"
        if goes_on := bake(context, self.bake, self.min_requests, told, self._unproven):
            return goes_on
        fresh = StageState(_PROMOTION, entered=context.seen.now, requests_before=context.requests)
        return self._promote(context.at(fresh))

    def _unproven(self, context: RolloutContext) -> Finding | None:
        """With nobody held back there is nothing to compare with."""
        return unproven(context) if self.holdback else unproven(context, without=COMPARED)

    def _promote(self, context: RolloutContext) -> Advance:
        """The rest of the requests too; when that has made green stable, blue keeps its pods for a while."""
        outcome = promote(context, evidence=self._unproven)
        if outcome.state.rollout is not None or not self.keep:
            return outcome
        kept = {context.stable: context.seen.now + self.keep}
        message = f"{outcome.why.message}; {context.stable} keeps its pods for {human(self.keep)}"
        state = replace(outcome.state, kept=kept)
        return replace(outcome, state=state, why=replace(outcome.why, message=message))


def _previewed(context: RolloutContext) -> bool:
    return any(rule.preview and rule.snapshot == context.candidate for rule in context.state.split.rules)


def _or_service(context: RolloutContext) -> str:
    """The other way to try green, and why there is none."""
    name, found = preview_service(context.seen.deployment.name), context.seen.preview
    return f" (Service {name} is not Serin's)" if found and found.not_ours else f", or Service {name}"
