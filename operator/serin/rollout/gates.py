"""Gates: small questions about a rollout, each answered with a reason or nothing.

Two lists. `ROLL_BACK` ends the rollout at once, whatever step it is in; `HOLD` keeps the candidate's weight as it is.
A gate sees one `RolloutContext` and does no I/O. A new gate is a function here (or in a module of its own) and a line
in a list; the order of a list is the order in which a person would want to hear the answers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.names import ANNOTATION_PAUSE
from serin.api.spec import NoDataAction, PauseStep, WeightStep
from serin.api.status import State
from serin.api.times import human
from serin.api.verdicts import BLOCKING, FAILURES, Severity, Verdict
from serin.rollout.model import Observation, Route, Workload


@dataclass(frozen=True, slots=True)
class RolloutContext:
    """One look at a rollout in progress: what is observed, what was decided, and the two versions by name."""

    seen: Observation
    state: State
    stable: str
    candidate: str

    @property
    def weight(self) -> int:
        """The candidate's share of the traffic in percent."""
        return self.state.split.of(self.candidate)

    @property
    def workload(self) -> Workload | None:
        """The candidate's workload, None before it exists."""
        return self.seen.workloads.get(self.candidate)

    @property
    def ready(self) -> int:
        """Candidate pods that are ready with their model loaded."""
        return self.workload.ready if self.workload else 0

    @property
    def waits_for_approval(self) -> bool:
        """Whether the rollout stands in a pause step that has begun."""
        steps, step = self.seen.deployment.spec.canary.steps, self.state.step
        return step.index < len(steps) and step.since is not None and isinstance(steps[step.index], PauseStep)

    @property
    def needed(self) -> int:
        """Candidate pods that the present step needs; all of the replicas for the promotion.

        Stable keeps all of its pods, so the candidate gets as many as make its load per pod no higher than stable's:
        with fewer, a latency that comes from the load would be held against the version.
        """
        spec, index = self.seen.deployment.spec, self.state.step.index
        reached = [step.weight for step in spec.canary.steps[: index + 1] if isinstance(step, WeightStep)]
        weight = 100 if index >= len(spec.canary.steps) else max(reached, default=0)
        others = 100 - weight
        return spec.replicas if weight >= others else max(1, -(-spec.replicas * weight // others))


@dataclass(frozen=True, slots=True)
class Finding:
    """A gate's answer: why, in one reason and one sentence; the metric that says so, when one does."""

    reason: Reason
    message: str
    metric: MetricVerdict | None = None


Gate = Callable[[RolloutContext], Finding | None]


def first(gates: Iterable[Gate], look: RolloutContext) -> Finding | None:
    """The first gate's finding, in list order; None when every gate is open."""
    return next((finding for gate in gates if (finding := gate(look))), None)


# ── What ends a rollout ───────────────────────────────────────────────────────────────────────────────────────────────


def metric_failed(look: RolloutContext) -> Finding | None:
    """A critical or major metric has failed. The worst verdict speaks first."""
    failed = [one for one in look.seen.evidence.verdicts if one.verdict in FAILURES and one.severity in BLOCKING]
    if not failed:
        return None
    worst = max(failed, key=lambda one: (one.verdict is Verdict.FAIL_CRITICAL, one.severity is Severity.CRITICAL))
    return Finding(Reason(worst.reason), f"{worst.metric}: {worst.message}", worst)


def template_refused(look: RolloutContext) -> Finding | None:
    """The API server does not accept the pod template, and never will."""
    if look.workload and look.workload.refused:
        return Finding(Reason.POD_TEMPLATE_REFUSED, f"the API server refuses the pod template: {look.workload.problem}")
    return None


def crashed_under_traffic(look: RolloutContext) -> Finding | None:
    """Every candidate pod's process died while it had traffic: that is the version, not the node."""
    if look.weight and look.workload and look.workload.crashed and not look.ready:
        return Finding(Reason.CANDIDATE_CRASHED, f"the candidate crashed under traffic: {look.workload.problem}")
    return None


def never_ready(look: RolloutContext) -> Finding | None:
    """The candidate has not reached the pods that the present step needs within the progress deadline."""
    deadline = look.seen.deployment.spec.progress_deadline
    waited = look.seen.now - look.state.step.entered
    if look.state.step.since is not None or look.ready >= look.needed or waited < deadline:
        return None
    why = (look.workload.problem if look.workload else None) or "its pods have given no reason"
    message = (
        f"{look.ready} of {look.needed} candidate pods are ready after {human(waited)} "
        f"(progressDeadline {human(deadline)}): {why}"
    )
    return Finding(Reason.PROGRESS_DEADLINE_EXCEEDED, message)


def took_too_long(look: RolloutContext) -> Finding | None:
    """The whole rollout is older than `maxDuration`."""
    limit = look.seen.deployment.spec.canary.max_duration
    age = look.seen.now - look.state.candidate_since
    if limit is None or age < limit:
        return None
    return Finding(Reason.MAX_DURATION_EXCEEDED, f"the rollout has taken {human(age)}, maxDuration is {human(limit)}")


def silent_too_long(look: RolloutContext) -> Finding | None:
    """No data for longer than the policy bears, and the policy says to roll back."""
    analysis = look.seen.deployment.spec.analysis
    silent = missing(look)
    if analysis.on_no_data is not NoDataAction.ROLLBACK or not silent or not look.weight:
        return None
    quiet = look.seen.now - max(silent[0].at or 0.0, look.state.step.since or look.state.candidate_since)
    if quiet < analysis.on_no_data_after:
        return None
    message = f"no data for {human(quiet)} ({silent[0].metric}: {silent[0].message}), onNoData says Rollback"
    return Finding(Reason.NO_DATA_FOR_TOO_LONG, message, silent[0])


ROLL_BACK: tuple[Gate, ...] = (
    metric_failed,  # the evidence says that the candidate is worse
    template_refused,  # it can never run
    crashed_under_traffic,  # it ran, and died
    never_ready,  # it does not come up in time
    took_too_long,  # it neither fails nor passes
    silent_too_long,  # nobody can say
)


# ── What holds a rollout where it is ──────────────────────────────────────────────────────────────────────────────────


def paused(look: RolloutContext) -> Finding | None:
    """A person holds the rollout."""
    asked = look.seen.deployment.annotations.get(ANNOTATION_PAUSE)
    if asked is None or asked == "false":
        return None
    return Finding(Reason.PAUSED_BY_USER, f"paused: remove the annotation {ANNOTATION_PAUSE} to go on")


def spec_incomplete(look: RolloutContext) -> Finding | None:
    """The policy names something that is not there."""
    return Finding(*look.seen.invalid) if look.seen.invalid else None


def route_unsure(look: RolloutContext) -> Finding | None:
    """The router is away, or refused what it was given: weights would say one thing and traffic do another."""
    return unrouted(look.seen.route)


# For how long the router's word is waited for after a move, and how often it is asked. Not for ever: an Envoy that asks
# a replica of the operator that nobody can reach is not seen from here.
ROUTER_PATIENCE: Final = 10.0
ROUTER_SECONDS: Final = 0.5


def has_taken(seen: Observation, snapshot: str, moved: float) -> bool:
    """Whether the router sends everything to `snapshot`, as was decided at `moved`, or has been waited for long enough.

    Until then the version that served before stays stable, so that it answers what the other one cannot yet.
    """
    return seen.route.split.of(snapshot) == 100 or seen.now - moved >= ROUTER_PATIENCE


def unrouted(route: Route) -> Finding | None:
    """Why clients do not reach what the weights say; None when they do."""
    if route.not_ours:
        return Finding(Reason.SERVICE_NOT_OURS, route.not_ours)
    if route.refused:
        return Finding(Reason.ROUTE_REFUSED, f"the router refused its configuration: {route.refused}")
    if not route.ready:
        return Finding(Reason.ROUTER_NOT_READY, "no router pod is ready")
    return None


def stable_down(look: RolloutContext) -> Finding | None:
    """Nothing to compare with, and nowhere to go back to."""
    stable = look.seen.workloads.get(look.stable)
    if stable and stable.ready:
        return None
    why = (stable.problem if stable else None) or "none of its pods is ready"
    message = f"stable is down ({why}): the candidate keeps its weight; serin.dev/promote makes it stable"
    return Finding(Reason.STABLE_UNAVAILABLE, message)


def split_unfaithful(look: RolloutContext) -> Finding | None:
    """The snapshots do not receive the shares that were decided: the step does not show what it is thought to show."""
    split = look.seen.evidence.split
    if split is None or split.verdict not in FAILURES or look.state.step.since is None:
        return None
    return Finding(Reason.SPLIT_NOT_AS_ROUTED, split.message)


HOLD: tuple[Gate, ...] = (
    paused,  # a person said so
    spec_incomplete,  # the policy cannot be judged as written
    route_unsure,  # weights would not be traffic
    stable_down,  # no baseline
    split_unfaithful,  # the traffic is not what the weights say
)


# ── What a step must gather before the next one ───────────────────────────────────────────────────────────────────────


def missing(look: RolloutContext) -> list[MetricVerdict]:
    """Critical and major metrics whose newest look found nothing."""
    verdicts = look.seen.evidence.verdicts
    return [one for one in verdicts if one.verdict is Verdict.NO_DATA and one.severity in BLOCKING]


def unproven(look: RolloutContext) -> Finding | None:
    """Why the evidence does not allow the next step yet; None when every metric that counts has passed.

    A Pass must rest on data of this step: what a smaller weight showed says nothing about load at this one.
    """
    if silent := missing(look):
        return Finding(Reason(silent[0].reason), f"{silent[0].metric}: {silent[0].message}", silent[0])
    since = look.state.step.since or 0.0
    for one in look.seen.evidence.verdicts:
        if one.severity is Severity.INFO:
            continue
        if one.verdict is Verdict.FAIL_MINOR and one.severity is Severity.MINOR:
            return Finding(Reason(one.reason), f"{one.metric}: {one.message}; a minor metric holds the rollout", one)
        if one.severity in BLOCKING and (one.verdict is not Verdict.PASS or (one.at or 0.0) < since):
            return Finding(Reason.GATHERING_EVIDENCE, f"{one.metric}: {one.message}", one)
    unseen = [one.name for one in look.seen.deployment.spec.metrics if one.severity in BLOCKING]
    judged = {one.metric for one in look.seen.evidence.verdicts}
    if waiting := [name for name in unseen if name not in judged]:
        return Finding(Reason.GATHERING_EVIDENCE, f"{', '.join(waiting)}: no look at Prometheus has come back yet")
    return None
