"""What every strategy answers: which arms there are, which pods they need, how far they may go, and when it is over.

A strategy is a file in this folder and a line in its table. It decides nothing about safety: gates (rollout/gates.py)
run before it is asked to go on, and it gets to see one `RolloutContext`, which exists only while something is under
evaluation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from serin.analysis.types import MetricVerdict
from serin.api.capabilities import Needs
from serin.api.conditions import Reason
from serin.api.state import Rollout, StageState, StageStatus, State
from serin.evaluation.evaluate import Assessment
from serin.evaluation.feasibility import Schedule
from serin.rollout.model import GoldenAnswers, Observation, Signatures, Workload


@dataclass(frozen=True, slots=True)
class Finding:
    """A gate's answer: why, in one reason and one sentence; the metric that says so, when one does."""

    reason: Reason
    message: str
    metric: MetricVerdict | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """What the strategy decided.

    `state`: with rollout and split set. `why`: what it does or waits for. `event`: a stage began, ended or was
    approved, so `why` is worth an Event. `proof`: by snapshot, the ready pods that must be seen before its traffic
    rises; empty when none does. `requeue_after`: seconds until time alone changes the answer, None when only changes or
    evidence can. `lost`: the rollout ends, and all traffic goes back to stable because of `why`. `out`: arms that are
    eliminated, and why, while the others go on; with all of them the rollout ends.
    """

    state: State
    why: Finding
    event: bool = False
    proof: Mapping[str, int] = field(default_factory=dict)
    requeue_after: float | None = None
    lost: bool = False
    out: Mapping[str, Finding] = field(default_factory=dict)


class Strategy(Protocol):
    """How a new version takes over, as its settings say. Frozen, and made anew for every look."""

    @property
    def max_duration(self) -> float | None:
        """Seconds after which the rollout is given up, None: never."""

    def needs(self) -> Needs:
        """What its router must be able to do."""

    def schedule(self) -> Schedule:
        """What is planned, as far as evidence depends on it."""

    def last_stage(self) -> int:
        """Index of the stage after the last one: where a rollout stands that is to be promoted."""

    def settled_at(self, stage: StageState) -> float | None:
        """From when on requests that end were routed by the present weights (unix seconds); None: not known."""

    def pods(self, context: "RolloutContext") -> int:
        """Pods that the arm needs in the present stage."""

    def waits_for_approval(self, stage: StageState) -> "ApprovalRule | None":
        """Whether people may approve now, and how many of them have to."""

    def advance(self, context: "RolloutContext", *, approved: bool) -> Advance:
        """Go on, or say what is waited for. Asked only while nothing speaks against the arms."""

    def show(self, context: "RolloutContext") -> StageStatus:
        """The present stage as people read it."""


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """How many people have to approve a stage. `lasts`: for how many seconds one counts, None: as long as it waits."""

    count: int = 1
    lasts: float | None = None


@dataclass(frozen=True, slots=True)
class RolloutContext:
    """One look at a rollout in progress: what is observed, what it says, and what was decided.

    It is about one arm: `arm` is its snapshot, "" the leading one.
    """

    seen: Observation
    assessment: Assessment
    strategy: Strategy
    state: State
    rollout: Rollout
    arm: str = ""

    @property
    def stage(self) -> StageState:
        """Where it stands."""
        return self.rollout.stage

    @property
    def stable(self) -> str:
        """The snapshot that it is compared with, and that serves the rest."""
        return self.rollout.stable

    @property
    def candidate(self) -> str:
        """Snapshot of the arm."""
        return self.arm or self.rollout.candidate

    @property
    def each(self) -> "tuple[RolloutContext, ...]":
        """The same for each arm that is not eliminated."""
        return tuple(replace(self, arm=snapshot) for snapshot in self.rollout.active)

    @property
    def weight(self) -> int:
        """The candidate's share of the traffic in percent."""
        return self.state.split.of(self.candidate)

    @property
    def has_clients(self) -> bool:
        """Whether clients are sent to the candidate, by weight or by rule."""
        return self.state.split.has_clients(self.candidate)

    @property
    def is_asked(self) -> bool:
        """Whether the candidate is sent requests: clients', or copies of theirs."""
        return self.state.split.is_asked(self.candidate)

    @property
    def workload(self) -> Workload | None:
        """The candidate's workload, None before it exists."""
        return self.seen.workloads.get(self.candidate)

    @property
    def ready(self) -> int:
        """Candidate pods that are ready with their model loaded."""
        return self.seen.ready(self.candidate)

    @property
    def golden(self) -> GoldenAnswers | None:
        """What the candidate's ready pods answer to golden probes; None when none is known to be asked."""
        return self.seen.golden.get(self.candidate)

    @property
    def signatures(self) -> Signatures | None:
        """What is known of the candidate's signature; None when it may be any."""
        return self.seen.signatures.get(self.candidate)

    @property
    def needed(self) -> int:
        """Candidate pods that the present stage needs."""
        return self.strategy.pods(self)

    @property
    def proof(self) -> dict[str, int]:
        """What must be seen before the arm's traffic rises."""
        return {self.candidate: self.needed}

    @property
    def verdicts(self) -> tuple[MetricVerdict, ...]:
        """What each metric says about the candidate."""
        return self.assessment.verdicts.get(self.candidate, ())

    @property
    def requests(self) -> int:
        """Candidate requests counted so far, by the metric that counted most."""
        return max((one.requests for one in self.verdicts), default=0)

    def counting_anew(self) -> "RolloutContext":
        """The same without the evidence so far: what was asked until now was no random part of all requests."""
        arms = tuple(replace(arm, evidence={}) for arm in self.rollout.arms)
        return self.having(replace(self.rollout, arms=arms, counted_since=self.seen.now, evidence={}))

    def at(self, stage: StageState) -> "RolloutContext":
        """The same at another stage."""
        return self.having(replace(self.rollout, stage=stage))

    def having(self, rollout: Rollout) -> "RolloutContext":
        """The same with another rollout."""
        return replace(self, rollout=rollout, state=replace(self.state, rollout=rollout))


Gate = Callable[[RolloutContext], Finding | None]
