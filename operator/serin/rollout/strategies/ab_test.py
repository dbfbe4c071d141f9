"""The A/B test: users are shared out, stay where they are, and the version that is better for its goal serves them all.

The goal decides, and never before `minDuration`; every other metric is a guardrail and judged as in a canary, at once.
What ends it: `Better` (promoted), `Worse` (back to stable), and what `whenInconclusive` says for `NoDifference` and for
a test that has no answer at `maxDuration`. A split that is not as routed has no winner at all.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from serin.analysis.goal import Goal
from serin.analysis.traffic import Stage
from serin.analysis.types import MetricVerdict
from serin.api.capabilities import Capability, Needs
from serin.api.conditions import Reason
from serin.api.fields import Field, InvalidSpec
from serin.api.split import Split, Sticky
from serin.api.state import StageState, StageStatus
from serin.api.times import human
from serin.evaluation.feasibility import Schedule
from serin.evaluation.goals import AskedGoal
from serin.rollout.gates import HOLD, first, split_unfaithful, stable_down, unproven
from serin.rollout.strategies.base import Advance, Finding, RolloutContext
from serin.rollout.strategies.experiment import Direction, age_of, reach, shared, win
from serin.rollout.strategies.moves import held, pods_for, promote, settled


class Per(StrEnum):
    """What the goal's metric counts: each user once, or every request."""

    USER = "User"
    REQUEST = "Request"


class WhenInconclusive(StrEnum):
    """What becomes of a test without a winner."""

    KEEP_STABLE = "KeepStable"
    PROMOTE = "Promote"


@dataclass(frozen=True, slots=True)
class AbTest:
    """`spec.strategy.abTest`. `split`: the new version's share in percent. Durations are seconds."""

    split: int
    sticky: Sticky
    goal: AskedGoal
    shortest: float
    longest: float
    when_inconclusive: WhenInconclusive = WhenInconclusive.KEEP_STABLE
    variants: int = 0

    @classmethod
    def read(cls, settings: Field) -> "AbTest":
        """From the settings, defaults included. Raises InvalidSpec."""
        return cls(
            split=settings["split"].value,
            sticky=_read_sticky(settings["sticky"]),
            goal=_read_goal(settings["goal"]),
            shortest=settings["minDuration"].duration(),
            longest=settings["maxDuration"].duration(),
            when_inconclusive=settings["whenInconclusive"].one_of(WhenInconclusive),
            variants=len(settings.value.get("variants") or ()),
        )

    @property
    def max_duration(self) -> float | None:
        """None: the end of the test is no failure, so `advance` sees to it."""
        return None

    def needs(self) -> Needs:
        """Users that stay where they are."""
        path = "spec.strategy.abTest"
        return {Capability.WEIGHTS: path, Capability.STICKY: f"{path}.sticky"}

    def schedule(self) -> Schedule:
        """One stage, for as long as the test lasts at least."""
        return Schedule(
            (Stage(1, max(1, self.split // (1 + self.variants)), self.shortest),), self.shortest, None, self.goal
        )

    def last_stage(self) -> int:
        """After the test."""
        return 1

    def settled_at(self, stage: StageState) -> float | None:
        """Requests last a while, so a split is seen among the finished ones only later.

        `entered` is when it was set last: an edit of the share does not begin the test anew.
        """
        return None if stage.since is None or stage.index else settled(stage.entered, self.shortest)

    def pods(self, context: RolloutContext) -> int:
        """As many as the share needs; all replicas for the promotion."""
        wins = context.stage.index and context.candidate == context.rollout.candidate
        weight = 100 if wins else self._share(context)
        return pods_for(weight, context.seen.deployment.spec.replicas)

    def waits_for_approval(self, stage: StageState) -> None:
        """Never."""

    def show(self, context: RolloutContext) -> StageStatus:
        """The test, or the promotion."""
        since, testing = context.stage.since, context.stage.index == 0
        gives_up = testing and since is not None and self.when_inconclusive is WhenInconclusive.KEEP_STABLE
        return StageStatus(
            of=1,
            weight=context.weight,
            position="testing" if testing else "promoting",
            titles=(f"a test with {self._shares(context)} for {human(self.shortest)} to {human(self.longest)}",),
            index=context.stage.index,
            until=since + self.shortest if testing and since is not None else None,
            deadline=since + self.longest if gives_up and since is not None else None,
            requests=context.requests if testing else 0,
        )

    def advance(self, context: RolloutContext, *, approved: bool) -> Advance:  # noqa: ARG002 - nothing to approve
        """Share the users out, wait for an answer, and act on it."""
        if context.stage.index >= self.last_stage():
            return promote(context, self._why_promoted(context))
        reached = context.stage.since is not None and context.state.split == self._shared(context)
        return self._test(context) if reached else self._reach(context)

    def _shares(self, context: RolloutContext) -> str:
        arms = len(context.rollout.arms)
        return f"{self._share(context)}%{f' for each of {arms} versions' if arms > 1 else ''}"

    def _share(self, context: RolloutContext) -> int:
        """Percent of the users for each arm. One that is gone leaves its users to stable, not to the others."""
        return self.split // len(context.rollout.arms)

    def _shared(self, context: RolloutContext) -> Split:
        """The split of the test. Its salt is the first version, so that another test draws other users."""
        arms = tuple(arm.snapshot for arm in context.rollout.arms)
        sticky = replace(self.sticky, salt=arms[0], arms=arms if len(arms) > 1 else ())
        return shared(context, self._shares_of_arms(context), sticky)

    def _shares_of_arms(self, context: RolloutContext) -> dict[str, int]:
        return dict.fromkeys(context.rollout.active, self._share(context))

    def _reach(self, context: RolloutContext) -> Advance:
        """Bring up the pods, then share the users out; also when a person has changed the share on the way."""
        split, share, shares = self._shared(context), self._share(context), self._shares_of_arms(context)
        who = self.sticky.header or f"cookie {self.sticky.cookie}"
        each = " each" if len(split.serving()) > 2 else ""
        whose = ", ".join(one.candidate for one in context.each if split.of(one.candidate))
        rising = f"{share}% of the users (by {who}){each} to {whose}, where they stay"
        falling = f"the share was edited: {share}% of the users to {', '.join(shares)}, at once"
        return reach(context, shares, split, rising=rising, falling=falling, requeue_after=self.shortest)

    def _test(self, context: RolloutContext) -> Advance:
        """Stay until the goal has an answer, and time enough has passed."""
        age = age_of(context)
        if not stable_down(context) and (lost := self._lost(context, age)):
            return lost
        if why := first(HOLD, context):
            return held(context, why, requeue_after=self.longest - age)
        if age < self.shortest:
            return held(context, self._waiting(context), requeue_after=self.shortest - age)
        return self._decide(context, over=age >= self.longest) or held(
            context, self._unsafe(context) or self._waiting(context), requeue_after=self.longest - age
        )

    def _lost(self, context: RolloutContext, age: float) -> Advance | None:
        """What sends users back to stable: that waits neither for a pause nor for a router. `age`: seconds."""
        over = age >= self.longest
        if astray := split_unfaithful(context):
            return Advance(context.state, astray, lost=True) if over else None
        worse = {one.candidate: self._found(one) for one in context.each if self._said(one) is Reason.WORSE_THAN_STABLE}
        if worse and age >= self.shortest:
            return Advance(context.state, next(iter(worse.values())), out=worse)
        ended = self._decide(context, over=True) if over else None
        return ended if ended and ended.lost else None

    def _decide(self, context: RolloutContext, *, over: bool) -> Advance | None:
        """What ends the test; None while some arm has no answer and there is time."""
        answers = {self._said(one) for one in context.each}
        if not over and not answers <= {Reason.BETTER_THAN_STABLE, Reason.NO_DIFFERENCE}:
            return None
        better = [one for one in context.each if self._said(one) is Reason.BETTER_THAN_STABLE]
        if safe := [one for one in better if unproven(one) is None]:
            return win(context, max(safe, key=self._worth).candidate)
        if not over and better:
            return None
        if not over:
            return self._end(context, self._found(context))
        goal = self._verdict(context)
        said = f"{goal.metric}: {goal.message}" if goal else "nothing was measured"
        message = f"no answer after {human(self.longest)} (maxDuration): {said}"
        return self._end(context, Finding(Reason.INCONCLUSIVE, message, goal))

    def _end(self, context: RolloutContext, why: Finding) -> Advance:
        """The test has no winner."""
        safe = [one for one in context.each if unproven(one) is None]
        if self.when_inconclusive is WhenInconclusive.PROMOTE and safe:
            return win(context, max(safe, key=self._worth).candidate)
        return Advance(context.state, why, lost=True)

    def _worth(self, context: RolloutContext) -> float:
        """How good the arm is for the goal, as far as it is known."""
        goal = self._verdict(context)
        estimate = goal.estimate if goal and goal.estimate is not None else 1.0
        return estimate if self.goal.goal.higher else -estimate

    def _said(self, context: RolloutContext) -> Reason | None:
        """What the goal says of the arm."""
        goal = self._verdict(context)
        return goal.reason if goal else None

    def _unsafe(self, context: RolloutContext) -> Finding | None:
        """Why an arm that is better is not promoted yet."""
        better = (one for one in context.each if self._said(one) is Reason.BETTER_THAN_STABLE)
        return next(filter(None, map(unproven, better)), None)

    def _found(self, context: RolloutContext) -> Finding:
        """The goal's own words of the arm."""
        goal = self._verdict(context)
        if goal is None:
            return Finding(Reason.GATHERING_EVIDENCE, "nothing was measured yet")
        return Finding(goal.reason, f"{goal.metric}: {goal.message}", goal)

    def _why_promoted(self, context: RolloutContext) -> str:
        goal = self._verdict(context)
        if goal is not None and goal.reason is Reason.BETTER_THAN_STABLE:
            return f"it is better: {goal.metric}: {goal.message}"
        said = f": {goal.metric}: {goal.message}" if goal else ""
        return f"no winner, and whenInconclusive says Promote{said}"

    def _waiting(self, context: RolloutContext) -> Finding:
        several, left = len(context.rollout.active) > 1, self.shortest - age_of(context)
        told = [(f"{one.candidate}: " if several else "") + self._found(one).message for one in context.each]
        time = f"; at least {human(left)} more (minDuration)" if left > 0 else ""
        return Finding(Reason.TESTING, f"{'; '.join(told)}{time}", self._verdict(context))

    def _verdict(self, context: RolloutContext) -> MetricVerdict | None:
        return next((one for one in context.verdicts if one.metric == self.goal.metric), None)


def _read_sticky(field: Field) -> Sticky:
    header, cookie = field.get("header"), field.get("cookie")
    try:
        if cookie is not None:
            return Sticky(cookie=cookie["name"].value, ttl=round(cookie["ttl"].duration()))
        return Sticky(header=header.value.lower() if header else "")
    except ValueError as error:
        if isinstance(error, InvalidSpec):
            raise
        raise InvalidSpec(f"{field.path}: {error}") from None


def _read_goal(field: Field) -> AskedGoal:
    effect = field["minimumDetectableEffect"].quantity()
    if effect <= 1.0:
        path = f"{field.path}.minimumDetectableEffect"
        raise InvalidSpec(f'{path}: write a ratio over 1, for example "1.02" for an effect of 2 %')
    return AskedGoal(
        metric=field["metric"].value,
        goal=Goal(
            higher=field["better"].one_of(Direction) is Direction.HIGHER,
            effect=effect,
            per_user=field["per"].one_of(Per) is Per.USER,
        ),
        label_delay=field.duration_of("labelDelay") or 0.0,
    )
