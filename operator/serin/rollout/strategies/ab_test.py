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
from serin.api.state import Arm, StageState, StageStatus
from serin.api.times import human
from serin.evaluation.feasibility import Schedule
from serin.evaluation.goals import AskedGoal
from serin.rollout.gates import HOLD, first, split_unfaithful, unproven
from serin.rollout.strategies.base import Advance, Finding, RolloutContext
from serin.rollout.strategies.moves import held, pods_for, promote, settled, waiting_for_pods


class Direction(StrEnum):
    """Which way the goal is better."""

    HIGHER = "Higher"
    LOWER = "Lower"


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
        return Schedule((Stage(1, self.split, self.shortest),), self.shortest, None, self.goal)

    def arms(self, wanted: str) -> tuple[Arm, ...]:
        """The new version; stable is the other arm."""
        return (Arm(wanted),)

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
        return pods_for(100 if context.stage.index else self.split, context.seen.deployment.spec.replicas)

    def waits_for_approval(self, stage: StageState) -> bool:  # noqa: ARG002 - nothing here does
        """Never."""
        return False

    def show(self, context: RolloutContext) -> StageStatus:
        """The test, or the promotion."""
        since, testing = context.stage.since, context.stage.index == 0
        gives_up = testing and since is not None and self.when_inconclusive is WhenInconclusive.KEEP_STABLE
        return StageStatus(
            of=1,
            weight=context.weight,
            position="testing" if testing else "promoting",
            titles=(f"a test with {self.split}% for {human(self.shortest)} to {human(self.longest)}",),
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

    def _shared(self, context: RolloutContext) -> Split:
        """The split of the test. Its salt is the new version, so that another test draws other users."""
        sticky = replace(self.sticky, salt=context.candidate)
        return Split({context.stable: 100 - self.split, context.candidate: self.split}, sticky=sticky)

    def _reach(self, context: RolloutContext) -> Advance:
        """Bring up the pods, then share the users out; also when a person has changed the share on the way."""
        rises = self.split > context.weight > 0
        if self.split < context.weight and context.seen.ready(context.stable):
            message = f"the share was edited: {self.split}% of the users to {context.candidate}, at once"
            lowered = context.at(replace(context.stage, entered=context.seen.now)).state
            state = replace(lowered, split=self._shared(context))
            return Advance(state, Finding(Reason.STEP_STARTED, message), event=True)
        if why := first(HOLD, context) or (unproven(context) if rises else None):
            return held(context, why)
        if context.ready < context.needed:
            return held(context, waiting_for_pods(context, f"{self.split}%"))
        stage, now = context.stage, context.seen.now
        begun = replace(stage, entered=now, since=now if stage.since is None else stage.since)
        state = replace(context.at(begun).state, split=self._shared(context))
        who = self.sticky.header or f"cookie {self.sticky.cookie}"
        message = f"{self.split}% of the users (by {who}) to {context.candidate}, where they stay"
        why = Finding(Reason.STEP_STARTED, message)
        return Advance(state, why, event=True, proof=context.needed, requeue_after=self.shortest)

    def _test(self, context: RolloutContext) -> Advance:
        """Stay until the goal has an answer, and time enough has passed."""
        age, goal = self._age(context), self._verdict(context)
        over = age >= self.longest
        if over and (astray := split_unfaithful(context)):
            return Advance(context.state, astray, lost=True)
        if why := first(HOLD, context):
            return held(context, why, requeue_after=self.longest - age)
        if age < self.shortest:
            return held(context, self._waiting(context, goal), requeue_after=self.shortest - age)
        if goal is not None and goal.reason is Reason.WORSE_THAN_STABLE:
            return Advance(context.state, _found(goal, goal.reason), lost=True)
        unsafe = unproven(context)
        if goal is not None and goal.reason is Reason.BETTER_THAN_STABLE and unsafe is None:
            return self._win(context)
        if goal is not None and goal.reason is Reason.NO_DIFFERENCE:
            return self._end(context, _found(goal, goal.reason), unsafe)
        if over:
            said = f"{goal.metric}: {goal.message}" if goal else "nothing was measured"
            message = f"no answer after {human(self.longest)} (maxDuration): {said}"
            return self._end(context, Finding(Reason.INCONCLUSIVE, message, goal), unsafe)
        better = goal is not None and goal.reason is Reason.BETTER_THAN_STABLE
        why = unsafe if better and unsafe else self._waiting(context, goal)
        return held(context, why, requeue_after=self.longest - age)

    def _end(self, context: RolloutContext, why: Finding, unsafe: Finding | None) -> Advance:
        """The test has no winner."""
        if self.when_inconclusive is WhenInconclusive.PROMOTE and unsafe is None:
            return self._win(context)
        return Advance(context.state, why, lost=True)

    def _win(self, context: RolloutContext) -> Advance:
        """Go on to the promotion, at once."""
        stage = StageState(self.last_stage(), entered=context.seen.now, requests_before=context.requests)
        return self.advance(context.at(stage), approved=False)

    def _why_promoted(self, context: RolloutContext) -> str:
        goal = self._verdict(context)
        if goal is not None and goal.reason is Reason.BETTER_THAN_STABLE:
            return f"it is better: {goal.metric}: {goal.message}"
        said = f": {goal.metric}: {goal.message}" if goal else ""
        return f"no winner, and whenInconclusive says Promote{said}"

    def _waiting(self, context: RolloutContext, goal: MetricVerdict | None) -> Finding:
        said = f"{goal.metric}: {goal.message}" if goal else "nothing was measured yet"
        left = self.shortest - self._age(context)
        time = f"; at least {human(left)} more (minDuration)" if left > 0 else ""
        return Finding(Reason.TESTING, f"{said}{time}", goal)

    def _age(self, context: RolloutContext) -> float:
        """Seconds since the users were shared out."""
        return 0.0 if context.stage.since is None else context.seen.now - context.stage.since

    def _verdict(self, context: RolloutContext) -> MetricVerdict | None:
        return next((one for one in context.verdicts if one.metric == self.goal.metric), None)


def _found(goal: MetricVerdict, reason: Reason) -> Finding:
    return Finding(reason, f"{goal.metric}: {goal.message}", goal)


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
