"""What is known of a rollout between two looks: `State` is what was decided, the rest of `Status` is what is shown.

`State` is all that the planner carries from one look to the next: nothing is kept in memory. What is shown to people
and tools is written anew at every look, and nothing is decided from it. status.py turns both into JSON and back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from serin.api.json import JsonObject
from serin.api.kill_switch import KillSwitch
from serin.api.notifications import NOTHING_TO_TELL, Outbox
from serin.api.retraining import Retraining
from serin.api.split import NOWHERE, Split
from serin.api.trail import Point
from serin.api.validation import Validation


class Phase(StrEnum):
    """What is happening, in one word."""

    INITIALIZING = "Initializing"  # the first version is on its way: nothing serves yet
    HEALTHY = "Healthy"  # stable serves everything and nothing is under evaluation
    STARTING = "Starting"  # the candidate's pods are coming up; it has no traffic
    PROGRESSING = "Progressing"  # the candidate has traffic and is being judged
    PAUSED = "Paused"  # a person, or a pause, holds the weight where it is
    PROMOTING = "Promoting"  # every stage has passed; the candidate grows to full size
    ROLLING_BACK = "RollingBack"  # a person asked for an earlier version: it comes up, then gets everything


class Standing(StrEnum):
    """How an arm of a rollout stands."""

    EVALUATING = "Evaluating"
    ELIMINATED = "Eliminated"  # a guardrail has failed: no traffic, and rejected
    WINNER = "Winner"


# ── What was decided ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class StageState:
    """Where a rollout stands in the stages of its strategy.

    `index`: 0-based, equal to the number of stages when all have passed. `entered`: when the wait for this stage's pods
    began. `since`: when its weight was reached (or its pause began), None until then. `requests_before`: requests of
    the arm counted before this stage. `forced`: the user asked to promote, so evidence is no longer waited for. Times
    are unix seconds.
    """

    index: int = 0
    entered: float = 0.0
    since: float | None = None
    requests_before: int = 0
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Arm:
    """A snapshot under evaluation, with the evidence about it by metric.

    `reason`, `message`, `at`: of an eliminated arm, why, in words, and when (unix seconds).
    """

    snapshot: str
    evidence: Mapping[str, JsonObject] = field(default_factory=dict)
    standing: Standing = Standing.EVALUATING
    reason: str = ""
    message: str = ""
    at: float | None = None

    @property
    def eliminated(self) -> bool:
        """Whether it is out: no traffic, and rejected."""
        return self.standing is Standing.ELIMINATED


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody has approved a stage. `step`: its index; `by`: who, "" without a name; `at`: unix seconds."""

    step: int
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """What is under evaluation; exists only while something is.

    `arms`: at least one, in the order of the spec, the eliminated ones as well. `since`: when it began (unix seconds).
    `warned`: that the traffic is too low for the policy has been told. `strategy`: its name, which `stage` counts the
    stages of; "" is not known. `counted_since`: requests before then are no evidence (None: all count), as they were no
    random part of all. `evidence`: by metric, what is counted of all arms together. `shares`: the percents that a
    strategy without fixed ones has decided for the arms last, by snapshot. `approvals`: of all stages, oldest first.
    """

    stable: str
    arms: tuple[Arm, ...]
    since: float
    stage: StageState = StageState()
    warned: bool = False
    strategy: str = ""
    counted_since: float | None = None
    evidence: Mapping[str, JsonObject] = field(default_factory=dict)
    shares: Mapping[str, int] = field(default_factory=dict)
    approvals: tuple[Approval, ...] = ()

    @property
    def active(self) -> tuple[str, ...]:
        """Snapshots of the arms that are not eliminated."""
        return tuple(arm.snapshot for arm in self.arms if not arm.eliminated)

    @property
    def candidate(self) -> str:
        """Snapshot of the leading arm: the winner, else the first that is not eliminated."""
        won = next((arm.snapshot for arm in self.arms if arm.standing is Standing.WINNER), None)
        return won or next(iter(self.active), self.arms[0].snapshot)

    def arm(self, snapshot: str) -> Arm | None:
        """The arm of a snapshot, None when it has none."""
        return next((arm for arm in self.arms if arm.snapshot == snapshot), None)

    def with_arm(self, changed: Arm) -> "Rollout":
        """The same with this arm in the place of the one of its snapshot."""
        return replace(self, arms=tuple(changed if one.snapshot == changed.snapshot else one for one in self.arms))


@dataclass(frozen=True, slots=True)
class Watch:
    """The stable version is judged after its promotion: against `before`, the snapshot that was stable until then.

    `since`: when that began (unix seconds). `evidence`: since then, by metric.
    """

    before: str
    since: float
    evidence: Mapping[str, JsonObject] = field(default_factory=dict)

    def as_rollout(self, stable: str) -> Rollout:
        """What is compared, in the terms of a rollout: `stable` is on trial, and the version before is the baseline."""
        return Rollout(self.before, (Arm(stable, self.evidence),), self.since)


@dataclass(frozen=True, slots=True)
class LimitWatch:
    """The stable version is held to the limits of its metrics for as long as it serves, and compared with nothing.

    `since`: when that began (unix seconds). `asked`: which limits, as a hash; others begin anew. `evidence`: by metric.
    `breached`: by metric, when it was seen to be over its limit last (unix seconds), until it keeps it again, and
    `begun`: when first. `tried`: a way back was begun, and the version is still there. `refused`: because a validation
    has refused a target, so that only a critical breach begins another.
    """

    since: float
    asked: str
    evidence: Mapping[str, JsonObject] = field(default_factory=dict)
    breached: Mapping[str, float] = field(default_factory=dict)
    begun: Mapping[str, float] = field(default_factory=dict)
    tried: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Concluded:
    """The last experiment with variants that has come to its end.

    `declared`: the snapshots that the spec described then. `winner`: the one that serves from then on, although the
    spec may go on describing another; "" without one. `arms`: how each of them ended, without evidence.
    """

    declared: tuple[str, ...]
    arms: tuple[Arm, ...]
    winner: str = ""


@dataclass(frozen=True, slots=True)
class ClientRequests:
    """What clients got of a version, between two moments (unix seconds), as the router has counted their answers.

    `exposed`: requests for which the version was chosen. `failed`: those of them that failed for their client.
    `shielded`: those that stable answered well in the place of a version on trial.
    """

    exposed: int
    failed: int
    shielded: int
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class RollbackRecord:
    """The last rollback: from which snapshot to which, why, on what numbers, and when (unix seconds).

    `first_bad`: when the first request was counted that the metric calls bad; None where it counts none. `restored`:
    when all of the router was known to send everything to `target`, None until then.
    `outcome`: whether it has helped, "" while that is not known or not looked at; `outcome_message`: by which numbers.
    `since`: when the version began to be tried, or to be stable. `clients`: what it was for them, counted afterwards.
    """

    source: str
    target: str
    reason: str
    message: str
    at: float
    metric: str = ""
    estimate: str = ""
    interval: str = ""
    trouble: str = ""  # what was wrong, when a metric said so: BadModel, or Infrastructure as well
    retried: bool = False  # the user asked to try the rejected content again
    first_bad: float | None = None
    restored: float | None = None
    outcome: str = ""
    outcome_message: str = ""
    validation: str = ""  # what compared both versions before, in words
    since: float | None = None
    clients: ClientRequests | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """A combination that is tried: the rejected version, with the dimensions `reverts` as stable has them.

    `snapshot`: its name. `reason`, `message`, `at`: why and when (unix seconds) it was rolled back; "" and None before.
    """

    snapshot: str
    reverts: tuple[str, ...]
    reason: str = ""
    message: str = ""
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Bisection:
    """Which dimensions of a rejected version are to blame: searched for, or found.

    `cause`: the rollback of that version (`source`) to stable (`target`). `scope`: the policy that asked for it.
    `tries`: the combinations, in their order. `message`: what was found, in words; "" as long as it is searched for.
    """

    cause: RollbackRecord
    scope: tuple[str, ...]
    tries: tuple[Try, ...] = ()
    message: str = ""

    @property
    def present(self) -> Try | None:
        """The combination that is tried now, or serves; None when all have failed."""
        return next((one for one in self.tries if not one.reason), None)


@dataclass(frozen=True, slots=True)
class ManualRollback:
    """An earlier version whose pods come up first: a person asked for it, or the promoted one failed.

    `target`: its snapshot. `others`: to go to in turn when it cannot run. `cause`: what the promoted version failed
    by, None: a person asked. `validation`: of the target, None: it has not begun. `since`: when its pods were asked
    for. `moved`: when it got all traffic, None until then; stable stays what it was until the router has taken that.
    """

    target: str
    since: float
    moved: float | None = None
    others: tuple[str, ...] = ()
    cause: RollbackRecord | None = None
    validation: Validation | None = None

    @property
    def is_validated_now(self) -> bool:
        """Whether a validation is under way; what is left serves meanwhile."""
        return self.moved is None and self.validation is not None and not self.validation.outcome


@dataclass(frozen=True, slots=True)
class Measuring:
    """Stable is measured for its record: what it served after `since`. `begun`: when that was asked for.

    Both are unix seconds.
    """

    since: float
    begun: float


@dataclass(frozen=True, slots=True)
class State:
    """What was decided so far.

    `stable_since`: unix seconds, None before anything is stable. `router`: by the router's name what it wants kept,
    opaque to everybody else. `unrouted_since`: since when the first readiness waits for the router, None when it does
    not. `draining`: snapshot to the time since when it gets no new requests. `handled`: annotation to the value that
    was acted on. `rollback_failure`: why the last manual rollback failed, "" when it did not or something else began.
    `looked`: when that was looked at last, while time alone can change it. `kill_switch`: as at the last look.
    `kept`: snapshot to the time (unix seconds) until which it keeps its pods although nobody is sent to it.
    `concluded`: the last experiment with variants, None when there was none. `watch`: how the stable version is judged
    after its promotion, None while it is not. `measuring`: stable is measured for its record, None while it is not.
    `bisection`: of the version that the spec describes, None when there is none.
    `retraining`: what its triggers count and what they have begun, None without spec.retraining. `outbox`: what is
    still to be told to the receivers of spec.notifications.
    `limits`: how stable is held to limits, None while it is not. `went_back`: when what served went back by itself
    lately, with no other version beside it (unix seconds), the newest last.
    """

    phase: Phase = Phase.INITIALIZING
    stable: str | None = None
    stable_since: float | None = None
    rollout: Rollout | None = None
    manual_rollback: ManualRollback | None = None
    split: Split = NOWHERE
    router: Mapping[str, JsonObject] = field(default_factory=dict)
    unrouted_since: float | None = None
    draining: Mapping[str, float] = field(default_factory=dict)
    last_rollback: RollbackRecord | None = None
    rollback_failure: str = ""
    handled: Mapping[str, str] = field(default_factory=dict)
    looked: float | None = None
    kill_switch: KillSwitch = KillSwitch.OFF
    kept: Mapping[str, float] = field(default_factory=dict)
    concluded: Concluded | None = None
    watch: Watch | None = None
    measuring: Measuring | None = None
    bisection: Bisection | None = None
    limits: LimitWatch | None = None
    retraining: Retraining | None = None
    went_back: tuple[float, ...] = ()
    outbox: Outbox = NOTHING_TO_TELL

    @property
    def judged(self) -> Rollout | None:
        """What evidence is gathered about: the rollout, or the stable version beside the one before it."""
        if self.rollout or self.watch is None or self.stable is None:
            return self.rollout
        return self.watch.as_rollout(self.stable)

    @property
    def held_to_limits(self) -> LimitWatch | None:
        """How stable is held to limits now: not while it is compared, or on the way to an earlier version.

        While that one is validated it is: a critical breach ends the validation.
        """
        leaves = self.manual_rollback is not None and not self.manual_rollback.is_validated_now
        return None if self.stable is None or self.judged or leaves else self.limits

    @property
    def candidate(self) -> str | None:
        """Snapshot of the leading arm, None while nothing is under evaluation."""
        return self.rollout.candidate if self.rollout else None


# ── What is shown ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """A snapshot that has a role. `changed`: dimensions in which it differs from stable."""

    model: str = ""
    ready: int = 0
    replicas: int = 0
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StageStatus:
    """The present stage as people read it.

    `titles`: every stage in words, such as `25% for 10m`; `index`: of the present one, after the last when all passed.
    `until`: when it has lasted long enough, `deadline`: when the rollout is given up (unix seconds). `requests`: of the
    arm in this stage, of `min_requests`. `approval`: it waits for a person. `cohort`: whose requests go to the arm, as
    long as they are no random part of all. `note`: what the evidence of this stage does not promise; "" when it does.
    """

    of: int = 0
    weight: int = 0
    position: str = ""
    titles: tuple[str, ...] = ()
    index: int = 0
    until: float | None = None
    deadline: float | None = None
    requests: int = 0
    min_requests: int = 0
    approval: bool = False
    cohort: str = ""
    note: str = ""

    @property
    def title(self) -> str:
        """The present stage in words; "" when all have passed."""
        return self.titles[self.index] if self.index < len(self.titles) else ""

    @property
    def next(self) -> str:
        """The stage after it in words; "" when there is none."""
        return self.titles[self.index + 1] if self.index + 1 < len(self.titles) else ""


@dataclass(frozen=True, slots=True)
class MetricStatus:
    """What one metric says. `needed`: requests until a Pass can be expected, None when that is not known.

    `fails_at`: of the estimate, where a failure begins (of a value with two limits: both); `passes_at`: what a Pass
    rules out. `trail`: the looks so far, oldest first.
    """

    name: str
    severity: str
    verdict: str
    reason: str
    message: str
    requests: int = 0
    estimate: str = ""
    interval: str = ""
    needed: int | None = None
    fails_at: tuple[float, ...] = ()
    passes_at: float | None = None
    trail: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """The whole status. `versions` by snapshot; `observed`: measured share of the requests by snapshot, as text."""

    state: State = State()
    observed_generation: int = 0
    reason: str = ""
    message: str = ""
    verdict: str = ""
    versions: Mapping[str, VersionStatus] = field(default_factory=dict)
    stage: StageStatus = StageStatus()
    metrics: tuple[MetricStatus, ...] = ()
    observed: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""
    trouble_message: str = ""
    conditions: tuple[JsonObject, ...] = ()
    replicas: int | None = None
    selector: str = ""
