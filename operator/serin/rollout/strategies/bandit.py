"""The bandit: the weights of several arms follow what each of them earns, until one is known to be the best.

Stable is an arm like the others. The arms begin at `minWeight`; after every `interval` the weight of each becomes the
probability that it is the best (analysis/bandit.py), within the limits and by at most `maxStep`. An arm rises only when
its guardrails, which are all other metrics, have passed; what no arm may have is stable's. Without new rewards nothing
moves. It ends when the best arm is proven, or at `maxDuration` with the likeliest one, which then serves everything.
"""

from dataclasses import dataclass, replace

import numpy as np

from serin.analysis import bandit as analysis
from serin.analysis.bandit import Shares
from serin.analysis.traffic import Stage
from serin.api.capabilities import Capability, Needs
from serin.api.conditions import Reason
from serin.api.fields import Field, InvalidSpec
from serin.api.state import StageState, StageStatus
from serin.api.times import human
from serin.evaluation.feasibility import Schedule
from serin.evaluation.rewards import AskedReward, Rewards
from serin.rollout.gates import HOLD, first, split_unfaithful, stable_down, unproven
from serin.rollout.strategies.base import Advance, Finding, RolloutContext
from serin.rollout.strategies.experiment import Direction, age_of, reach, shared, win
from serin.rollout.strategies.moves import held, promote, settled


@dataclass(frozen=True, slots=True)
class Bandit:
    """`spec.strategy.bandit`. `limits`: of the weights. `interval`: seconds between two moves, as all durations."""

    reward: AskedReward
    limits: Shares
    interval: float
    shortest: float
    longest: float

    @classmethod
    def read(cls, settings: Field) -> "Bandit":
        """From the settings, defaults included. Raises InvalidSpec."""
        return cls(
            reward=_read_reward(settings),
            limits=Shares(*(settings[name].value for name in ("minWeight", "maxWeight", "maxStep"))),
            interval=settings["interval"].duration(),
            shortest=settings["minDuration"].duration(),
            longest=settings["maxDuration"].duration(),
        )

    @property
    def max_duration(self) -> float | None:
        """None: the end of the bandit is no failure, so `advance` sees to it."""
        return None

    def needs(self) -> Needs:
        """Weights: no request has to stay where the one before it went."""
        return {Capability.WEIGHTS: "spec.strategy.bandit"}

    def schedule(self) -> Schedule:
        """One stage, at the smallest weight that an arm may have for all of it."""
        lasts = max(self.shortest, self.interval)
        return Schedule((Stage(1, self.limits.least, lasts),), lasts, None, reward=self.reward)

    def last_stage(self) -> int:
        """After the bandit."""
        return 1

    def settled_at(self, stage: StageState) -> float | None:
        """Requests last a while, so weights are seen among the finished ones only later. `entered`: the last move."""
        return None if stage.since is None or stage.index else settled(stage.entered, self.interval)

    def pods(self, context: RolloutContext) -> int:
        """As many as stable, or an arm would be slower for having fewer; so a weight that rises waits for no pod."""
        return context.seen.deployment.spec.replicas

    def waits_for_approval(self, stage: StageState) -> None:
        """Never."""

    def show(self, context: RolloutContext) -> StageStatus:
        """The bandit, or the promotion."""
        since, playing = context.stage.since, context.stage.index == 0
        limits, arms = f"{self.limits.least}% to {self.limits.most}%", 1 + len(context.rollout.arms)
        return StageStatus(
            of=1,
            weight=context.weight,
            position="exploring" if playing else "promoting",
            titles=(
                f"a bandit of {arms} arms with {limits} each, for {human(self.shortest)} to {human(self.longest)}",
            ),
            index=context.stage.index,
            until=since + self.shortest if playing and since is not None else None,
            requests=context.requests if playing else 0,
        )

    def advance(self, context: RolloutContext, *, approved: bool) -> Advance:  # noqa: ARG002 - nothing to approve
        """Give every arm its share, let the shares follow the rewards, and end with the best arm."""
        if context.stage.index >= self.last_stage():
            return promote(context, self._why_promoted(context))
        if context.stage.since is None:  # before the first traffic, also when all of it was lost
            return self._reach(context.having(replace(context.rollout, shares={})))
        if context.state.split != shared(context, self._shares(context)):
            return self._reach(context)
        return self._play(context)

    def _shares(self, context: RolloutContext) -> dict[str, int]:
        """Percent of each arm as decided last; the limits may have been edited since."""
        decided, limits = context.rollout.shares, self.limits
        return {one: min(decided.get(one, limits.least), limits.most) for one in context.rollout.active}

    def _reach(self, context: RolloutContext) -> Advance:
        shares = self._shares(context)
        split = shared(context, shares)
        told = ", ".join(f"{one} {split.of(one)}%" for one in (context.stable, *shares))
        down = ", ".join(f"{one.candidate} {shares[one.candidate]}%" for one in context.each if self._falls(one))
        falling, rising = f"first what falls: {down}", f"the weights are {told}{self._because(context)}"
        return reach(context, shares, split, rising=rising, falling=falling, requeue_after=self.interval)

    def _falls(self, context: RolloutContext) -> bool:
        return context.weight > self._shares(context)[context.candidate]

    def _because(self, context: RolloutContext) -> str:
        found = context.assessment.rewards
        if found is None or not context.rollout.shares:
            return ""
        arms = (context.stable, *context.rollout.active)
        return f"; chance of being the best: {', '.join(f'{one} {found.arms[one].chance:.0%}' for one in arms)}"

    def _play(self, context: RolloutContext) -> Advance:
        """Stay until the next move, and move; until the best arm is known, or there is no more time."""
        found, left = context.assessment.rewards, self.longest - age_of(context)
        ended = None if stable_down(context) else self._ended(context, found)
        if ended and ended.lost:
            return ended  # what sends requests back to stable waits neither for a pause nor for a router
        if why := first(HOLD, context):
            return held(context, why, requeue_after=left)
        if ended:
            return ended
        rest = self.interval - (context.seen.now - context.stage.entered)
        if rest > 0:
            return held(context, self._waiting(context), requeue_after=min(left, rest))
        if frozen := self._frozen(context, found):
            return held(context, frozen, requeue_after=left)
        return self._move(context)

    def _ended(self, context: RolloutContext, found: Rewards | None) -> Advance | None:
        """What ends the bandit; None while no arm is known to be the best, and there is time."""
        over = age_of(context) >= self.longest
        if astray := split_unfaithful(context):
            return Advance(context.state, astray, lost=True) if over else None
        if over:
            return self._end(context, found)
        return self._won(context, found) if found and age_of(context) >= self.shortest else None

    def _frozen(self, context: RolloutContext, found: Rewards | None) -> Finding | None:
        """Why the weights stay: a move rests on rewards that were counted since the one before."""
        if found is None:
            return Finding(Reason.GATHERING_EVIDENCE, "nothing was measured yet; the weights stay")
        if found.missing:
            return Finding(Reason(found.missing.reason), f"{found.metric}: {found.missing.message}; the weights stay")
        if (
            found.at is None
            or found.at <= context.stage.entered
            or not any(one.requests for one in found.arms.values())
        ):
            return Finding(Reason.GATHERING_EVIDENCE, f"{found.metric}: nothing new is counted; the weights stay")
        return None

    def _move(self, context: RolloutContext) -> Advance:
        """The next weights; an arm whose guardrails have not passed gets no more than it has."""
        shares = self._next(context)
        moved = context.having(replace(context.rollout, shares=shares))
        if moved.state.split != shared(moved, self._shares(moved)):
            return self._reach(moved)
        state = moved.at(replace(moved.stage, entered=moved.seen.now)).state
        return Advance(state, self._waiting(context), requeue_after=self.interval)

    def _next(self, context: RolloutContext) -> dict[str, int]:
        found, arms = context.assessment.rewards, context.rollout.arms
        chances = {name: one.chance for name, one in found.arms.items()} if found else {}
        names = (context.stable, *(arm.snapshot for arm in arms))
        wanted = analysis.weights(
            np.array([chances[name] for name in names]),
            [context.state.split.of(name) for name in names],
            [True, *(not arm.eliminated for arm in arms)],
            self.limits,
        )
        most = {one.candidate: 100 if unproven(one) is None else one.weight for one in context.each if one.weight}
        weights = dict(zip(names, wanted, strict=True))
        return {name: min(weights[name], most.get(name, self.limits.least)) for name in context.rollout.active}

    def _won(self, context: RolloutContext, found: Rewards) -> Advance | None:
        """The best arm is proven: it serves from now on, once its guardrails have passed."""
        if found.winner == context.stable:
            why = Finding(Reason.STABLE_IS_BEST, f"stable is the best arm: {self._told(context)}")
            return Advance(context.state, why, lost=True)
        safe = found.winner and unproven(replace(context, arm=found.winner)) is None
        return win(context, found.winner) if safe else None

    def _end(self, context: RolloutContext, found: Rewards | None) -> Advance:
        """There is no more time: the likeliest of the arms that may serve, if enough is known of every one."""
        playing = (context.stable, *context.rollout.active)
        if found is None or min(found.arms[one].requests for one in playing) < self.reward.min_requests:
            said = f"too few rewards to choose after {human(self.longest)} (maxDuration): {self._told(context)}"
            return Advance(context.state, Finding(Reason.INCONCLUSIVE, said), lost=True)
        may = (context.stable, *(one.candidate for one in context.each if unproven(one) is None))
        best = max(may, key=lambda one: found.arms[one].chance)
        if best != context.stable:
            return win(context, best)
        said = f"stable is the likeliest best of what may serve after {human(self.longest)} (maxDuration)"
        return Advance(context.state, Finding(Reason.STABLE_IS_BEST, f"{said}: {self._told(context)}"), lost=True)

    def _why_promoted(self, context: RolloutContext) -> str:
        found = context.assessment.rewards
        proven = found is not None and found.winner == context.candidate
        what = "it is the best arm" if proven else f"it is the likeliest best at the end of {human(self.longest)}"
        return f"{what}: {self._told(context)}"

    def _waiting(self, context: RolloutContext) -> Finding:
        left, found = self.shortest - age_of(context), context.assessment.rewards
        best = found.winner if found and found.winner in context.rollout.active else ""
        unsafe = unproven(replace(context, arm=best)) if best else None
        waits = f"; {best} is the best, and its guardrails have not passed: {unsafe.message}" if unsafe else ""
        time = f"; at least {human(left)} more (minDuration)" if left > 0 else ""
        return Finding(Reason.TESTING, f"{self._told(context)}{waits}{time}")

    def _told(self, context: RolloutContext) -> str:
        """What every arm has earned."""
        found = context.assessment.rewards
        if found is None:
            return "nothing was measured yet"
        arms = (context.stable, *context.rollout.active)
        return f"{found.metric}: {'; '.join(f'{one} {found.told(one)}' for one in arms)}"


def _read_reward(settings: Field) -> AskedReward:
    field, stop_at = settings["reward"], settings["stopAt"].quantity()
    if not 0.5 < stop_at < 1.0:
        raise InvalidSpec(f'{settings.path}.stopAt: write a probability over 0.5 and below 1, for example "0.95"')
    return AskedReward(
        metric=field["metric"].value,
        higher=field["better"].one_of(Direction) is Direction.HIGHER,
        half_life=settings.duration_of("halfLife"),
        label_delay=field.duration_of("labelDelay") or 0.0,
        stop_at=stop_at,
        min_requests=settings["minRequests"].value,
    )
