"""The canary: weights that rise in steps, each earned by the one before; before them, copies of requests and cohorts.

Copies are of requests drawn by chance, so what the candidate does with them is evidence like any other: it is compared
with stable's own requests of the same time. Nobody but the candidate sees them, so a share of copies is no split.

A cohort is not a random part of the users, so what the candidate does with it says nothing about stable at the promised
error rates. It may still roll back, as any comparison with stable may; it proves nothing, and it is forgotten when the
first weight begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from serin.analysis.traffic import Stage
from serin.api.capabilities import Capability, Needs, needed_by
from serin.api.conditions import Reason
from serin.api.fields import Field
from serin.api.names import ANNOTATION_APPROVE
from serin.api.split import Mirror, Rule, Split, between
from serin.api.state import StageState, StageStatus
from serin.api.text import count, cut_to_bytes
from serin.api.times import human
from serin.evaluation.feasibility import Schedule
from serin.rollout.approvals import expires_in, missing
from serin.rollout.gates import HOLD, first, minor_failed, unproven
from serin.rollout.strategies.base import Advance, ApprovalRule, Finding, RolloutContext
from serin.rollout.strategies.moves import bake, held, pods_for, promote, settled, waiting_for_pods


@dataclass(frozen=True, slots=True)
class WeightStep:
    """Send `weight` percent to the candidate for at least `bake` seconds and `min_requests` candidate requests."""

    weight: int
    bake: float
    min_requests: int = 0

    @property
    def title(self) -> str:
        """As people write it: `5% for 5m`."""
        least = f", {count(self.min_requests)} requests" if self.min_requests else ""
        return f"{self.weight}% for {human(self.bake)}{least}"


@dataclass(frozen=True, slots=True)
class MirrorStep:
    """Send copies of `percent` of the requests to the candidate for `bake` seconds and `min_requests` copies."""

    percent: int
    bake: float
    min_requests: int = 0

    @property
    def title(self) -> str:
        """As people write it: `copies of 20% for 10m`."""
        least = f", {count(self.min_requests)} requests" if self.min_requests else ""
        return f"copies of {self.percent}% for {human(self.bake)}{least}"

    def split(self, stable: str, candidate: str) -> Split:
        """Stable answers everything."""
        return Split({stable: 100}, mirror=Mirror(candidate, self.percent))


@dataclass(frozen=True, slots=True)
class CohortStep:
    """Send the requests with these headers and cookies to the candidate, for at least `bake` seconds.

    `replicas`: pods for that, None: as many as stable has.
    """

    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    bake: float
    min_requests: int = 1
    replicas: int | None = None

    @property
    def cohort(self) -> str:
        """Whose requests, in words that fit into the status."""
        headers = [f"{name}: {value}" for name, value in self.headers.items()]
        said = " and ".join([*headers, *(f"cookie {name}={value}" for name, value in self.cookies.items())])
        return cut_to_bytes(said, _LONGEST_COHORT)

    @property
    def title(self) -> str:
        """As people write it: `x-beta: true for 10m`."""
        least = f", {count(self.min_requests)} requests" if self.min_requests > 1 else ""
        return f"{self.cohort} for {human(self.bake)}{least}"

    def split(self, stable: str, candidate: str) -> Split:
        """Nobody else is sent to the candidate."""
        return Split({stable: 100}, (Rule(candidate, self.headers, self.cookies),))


_ONE: Final = ApprovalRule()


@dataclass(frozen=True, slots=True)
class PauseStep:
    """Wait for approval, or for `seconds` when given. `approvals`: how many, and how long one counts."""

    seconds: float | None = None
    approvals: ApprovalRule = _ONE

    @property
    def title(self) -> str:
        """As people write it: `pause for 1h`, `pause until approved`, `pause until approved by 2`."""
        by = f" by {self.approvals.count}" if self.approvals.count > 1 else ""
        return f"pause until approved{by}" if self.seconds is None else f"pause for {human(self.seconds)}"


ActiveStep = WeightStep | MirrorStep | CohortStep
Step = ActiveStep | PauseStep
# Bytes of what a cohort is called: a title has more than that, and 256.
_LONGEST_COHORT: Final = 180
_NO_PROMISE: Final = "no promise against stable: the cohort is no random part of the users"


@dataclass(frozen=True, slots=True)
class Canary:
    """`spec.strategy.canary`. `max_duration`: seconds. `mirror`: where a mirror is written that is no step."""

    steps: tuple[Step, ...]
    max_duration: float | None = None
    mirror: str = ""

    @classmethod
    def read(cls, settings: Field) -> "Canary":
        """From the settings, defaults included. Raises InvalidSpec."""
        return cls(tuple(_read_step(item) for item in settings["steps"].items()), settings.duration_of("maxDuration"))

    def needs(self) -> Needs:
        """Weights, copies, and what the cohorts are known by."""
        found: dict[Capability, str] = {}
        for index, step in enumerate(self.steps):
            if isinstance(step, WeightStep):
                found[Capability.WEIGHTS] = "spec.strategy.canary"
            elif isinstance(step, MirrorStep):
                found[Capability.MIRROR] = self.mirror or f"spec.strategy.canary.steps[{index}].mirror"
            elif isinstance(step, CohortStep):
                path = f"spec.strategy.canary.steps[{index}].match"
                found |= dict.fromkeys(needed_by(step.split("", "candidate")), path)
        return found

    def schedule(self) -> Schedule:
        """Every step in which the candidate has traffic; a pause for a time goes on with the share before it.

        A pause until approval lasts as long as it lasts, and is left out; so are cohorts, which are no evidence.
        """
        found: list[Stage] = []
        asked: tuple[int, bool] | None = None  # percent, and whether of copies
        for number, step in enumerate(self.steps, 1):
            match step:
                case WeightStep(weight=percent) | MirrorStep(percent=percent):
                    asked = percent, isinstance(step, MirrorStep)
                    found.append(Stage(number, percent, step.bake, step.min_requests, copies=asked[1]))
                case CohortStep():
                    asked = None
                case PauseStep(seconds=float(seconds)) if asked:
                    found.append(Stage(number, asked[0], seconds, copies=asked[1]))
        bakes = sum(step.bake for step in self.steps if isinstance(step, WeightStep | MirrorStep))
        return Schedule(tuple(found), bakes, self.max_duration)

    def last_stage(self) -> int:
        """After the last step."""
        return len(self.steps)

    def settled_at(self, stage: StageState) -> float | None:
        """Requests last a while, so a new weight is seen among the finished ones only later."""
        if stage.since is None or stage.index >= len(self.steps):
            return None
        bakes = [one.bake for one in self.steps[: stage.index + 1] if isinstance(one, WeightStep)]
        return settled(stage.since, bakes[-1]) if bakes else None

    def pods(self, context: RolloutContext) -> int:
        """As many as make the candidate's load per pod no higher than stable's; all replicas for the promotion.

        Stable keeps all of its pods. With fewer candidate pods, a latency that comes from the load would be held
        against the version.
        """
        replicas, weight = context.seen.deployment.spec.replicas, self._weight(context.stage.index)
        match self._lasting(context.stage):
            case CohortStep(replicas=wanted):
                return replicas if wanted is None else min(replicas, wanted)
            case MirrorStep(percent=percent):
                return max(1, -(-replicas * percent // 100))  # stable still answers everything
        return pods_for(weight, replicas)

    def waits_for_approval(self, stage: StageState) -> ApprovalRule | None:
        """In a pause that has begun."""
        step = self._step(stage)
        return step.approvals if stage.since is not None and isinstance(step, PauseStep) else None

    def show(self, context: RolloutContext) -> StageStatus:
        """The present step."""
        stage, step = context.stage, self._step(context.stage)
        length = step.bake if isinstance(step, ActiveStep) else step.seconds if step else None
        begun = stage.since is not None and context.weight == self._weight(stage.index)
        cohort = self._served(context)
        return StageStatus(
            of=len(self.steps),
            weight=context.weight,
            position=f"{stage.index + 1}/{len(self.steps)}" if step else "promoting",
            titles=tuple(one.title for one in self.steps),
            index=stage.index,
            until=stage.since + length if begun and stage.since is not None and length is not None else None,
            deadline=None if self.max_duration is None else context.rollout.since + self.max_duration,
            requests=max(0, context.requests - stage.requests_before) if step else 0,
            min_requests=step.min_requests if isinstance(step, ActiveStep) else 0,
            approval=self.waits_for_approval(stage) is not None,
            cohort=cohort.cohort if cohort else "",
            note=_NO_PROMISE if cohort else "",
        )

    def advance(self, context: RolloutContext, *, approved: bool) -> Advance:
        """Take the rollout one step further, or say what it waits for."""
        context = self._fitted(context)
        step, weight = self._step(context.stage), self._weight(context.stage.index)
        edited = self._is_edited(context)
        if (context.weight > weight or edited) and context.seen.ready(context.stable):
            return self._lower(context, min(weight, context.weight))
        if step is None:
            return promote(context)
        if isinstance(step, PauseStep):
            return self._pause(context, step, approved=approved)
        # The user may have edited the steps in mid-rollout: then the split is no longer this step's.
        reached = context.stage.since is not None and context.state.split == _split(context, step)
        return self._bake(context, step) if reached else self._reach(context, step)

    def _step(self, stage: StageState) -> Step | None:
        """The present step, None when all have passed."""
        return self.steps[stage.index] if stage.index < len(self.steps) else None

    def _weight(self, index: int) -> int:
        """The weight that the step of this index stands for: of a pause, that of the steps before it."""
        if index >= len(self.steps):
            return 100
        return max((step.weight for step in self.steps[: index + 1] if isinstance(step, WeightStep)), default=0)

    def _fitted(self, context: RolloutContext) -> RolloutContext:
        """The same in the steps as they are now: the user may have edited them since the last look.

        A stage keeps its number. No edit lets the first traffic skip a step, ends a promotion that a person asked for,
        or takes its own wait for pods from the promotion.
        """
        stage, last = context.stage, len(self.steps)
        if stage.forced:
            return context.at(replace(stage, index=last))
        fresh = StageState(last, entered=context.seen.now, requests_before=context.requests)
        if not context.weight and stage.index and self._weight(stage.index - 1):
            return context.at(replace(fresh, index=0))
        waits_like_a_step = stage.since is not None and context.weight < 100
        if stage.index > last or (stage.index == last and waits_like_a_step):
            return context.at(fresh)
        return context

    def _lower(self, context: RolloutContext, weight: int) -> Advance:
        """The user has edited the steps to less than the candidate has: that needs neither proof nor pods."""
        now, number = context.seen.now, context.stage.index + 1
        stage = replace(context.stage, since=now, requests_before=context.requests)
        if context.state.split.rules:
            context, stage = context.counting_anew(), replace(stage, requests_before=0)
        split = between(context.stable, context.candidate, weight)
        why = f"step {number} of {len(self.steps)} was edited: {weight}% of the traffic to {context.candidate}, at once"
        state = replace(context.at(stage).state, split=split)
        return Advance(state, Finding(Reason.STEP_STARTED, why), event=True, requeue_after=context.seen.route.poll)

    def _is_edited(self, context: RolloutContext) -> bool:
        """Whether no step says any more whose requests, or how many copies, the candidate has."""
        mirror = context.state.split.mirror
        copied = [one.percent for one in self.steps[: context.stage.index + 1] if isinstance(one, MirrorStep)]
        if mirror and mirror.percent not in copied:
            return True
        return bool(context.state.split.rules) and self._served(context) is None

    def _served(self, context: RolloutContext) -> CohortStep | None:
        """Whose requests the candidate has now; None without a cohort, also when the user has edited it."""
        cohorts = (one for one in self.steps[: context.stage.index + 1] if isinstance(one, CohortStep))
        rules = context.state.split.rules
        return next((one for one in cohorts if rules and _split(context, one).rules == rules), None)

    def _lasting(self, stage: StageState) -> Step | None:
        """The newest step that is no pause: it goes on in those after it. None before the first, after the last."""
        until_now = [one for one in self.steps[: stage.index + 1] if not isinstance(one, PauseStep)]
        return until_now[-1] if until_now and stage.index < len(self.steps) else None

    def _next(self, context: RolloutContext) -> Advance:
        """Enter the next step and look at it at once."""
        stage = StageState(context.stage.index + 1, entered=context.seen.now, requests_before=context.requests)
        return self.advance(context.at(stage), approved=False)

    def _pause(self, context: RolloutContext, step: PauseStep, *, approved: bool) -> Advance:
        stage, now = context.stage, context.seen.now
        if approved:
            return replace(self._next(context), event=True)
        since = now if stage.since is None else stage.since
        left = None if step.seconds is None else step.seconds - (now - since)
        if left is not None and left <= 0:
            return self._next(context)
        state = context.at(replace(stage, since=since)).state
        if left is None:
            several = step.approvals.count > 1
            one = context.seen.deployment
            verb = f"serin approve {one.name} -n {one.namespace}"
            command = verb if several else context.seen.command(ANNOTATION_APPROVE)
            people = missing(context.rollout, step.approvals, now)
            why = Finding(Reason.WAITING_FOR_APPROVAL, f"step {stage.index + 1} waits for approval{people}: {command}")
            left = expires_in(context.rollout, step.approvals, now)
        else:
            why = Finding(Reason.WAITING, f"step {stage.index + 1} waits for {human(step.seconds or 0)}")
        return Advance(state, why, event=stage.since is None, requeue_after=left)

    def _reach(self, context: RolloutContext, step: ActiveStep) -> Advance:
        """Bring up the pods that the step needs, then send the candidate its requests."""
        counts = context.weight or context.state.split.mirror
        if why := first(HOLD, context) or (unproven(context) if counts else None):
            return held(context, why)
        if context.ready < context.needed:
            whose = f"{step.weight}%" if isinstance(step, WeightStep) else _whose(step)
            return held(context, waiting_for_pods(context, whose))
        now, number, split = context.seen.now, context.stage.index + 1, _split(context, step)
        stage = replace(context.stage, since=now, requests_before=context.requests)
        if context.state.split.rules:
            context, stage = context.counting_anew(), replace(stage, requests_before=0)
        state = replace(context.at(stage).state, split=split)
        message = f"step {number} of {len(self.steps)}: {_whose(step)} to {context.candidate}"
        why = Finding(Reason.STEP_STARTED, message)
        return Advance(state, why, event=True, proof=context.proof, requeue_after=step.bake)

    def _bake(self, context: RolloutContext, step: ActiveStep) -> Advance:
        """A cohort's requests are no evidence."""
        told = f"step {context.stage.index + 1} bakes for {human(step.bake)} {_with_what(step)}"
        evidence = minor_failed if isinstance(step, CohortStep) else unproven
        return bake(context, step.bake, step.min_requests, told, evidence) or self._next(context)


def _read_step(field: Field) -> Step:
    pause = field.get("pause")
    if pause is not None:
        rule = ApprovalRule(pause.value.get("approvals", 1), pause.duration_of("expireAfter"))
        return PauseStep(pause.duration_of("for"), rule)
    least, match = field.get("minRequests"), field.get("match")
    if field.get("mirror") is not None:
        return read_mirror(field)
    if match is not None:
        return CohortStep(
            headers={name.lower(): value for name, value in (match.value.get("headers") or {}).items()},
            cookies=match.value.get("cookies") or {},
            bake=field["bake"].duration(),
            min_requests=1 if least is None else least.value,
            replicas=field.value.get("replicas"),
        )
    return WeightStep(
        weight=field["weight"].value,
        bake=field["bake"].duration(),
        min_requests=0 if least is None else least.value,
    )


def read_mirror(field: Field) -> MirrorStep:
    """Copies: `mirror`, `bake` and `minRequests`."""
    least = field.get("minRequests")
    return MirrorStep(field["mirror"].value, field["bake"].duration(), 0 if least is None else least.value)


def _split(context: RolloutContext, step: ActiveStep) -> Split:
    if isinstance(step, WeightStep):
        return between(context.stable, context.candidate, step.weight)
    return step.split(context.stable, context.candidate)


def _whose(step: ActiveStep) -> str:
    match step:
        case CohortStep():
            return f"requests with {step.cohort}"
        case MirrorStep():
            return f"copies of {step.percent}% of the traffic"
        case WeightStep():
            return f"{step.weight}% of the traffic"


def _with_what(step: ActiveStep) -> str:
    match step:
        case CohortStep():
            return f"with {step.cohort} ({_NO_PROMISE})"
        case MirrorStep():
            return f"with copies of {step.percent}%"
        case WeightStep():
            return f"at {step.weight}%"
