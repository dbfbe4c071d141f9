"""The ModelDeployment's spec as frozen values.

The schema in crds/ has validated and defaulted what arrives here; `parse.py` turns the JSON into these. Durations are
seconds, weights and percentages whole numbers, probabilities floats.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from serin.api.guard import OutputGuard
from serin.api.guard_agreement import DISAGREEMENTS, AgreementGuard
from serin.api.guard_inputs import InputGuard
from serin.api.guard_record import RecordGuard
from serin.api.guard_review import ReviewGuard
from serin.api.integrity import UNCHECKED, Integrity
from serin.api.json import JsonObject
from serin.api.kill_switch import OFF, Fallback, Killed
from serin.api.names import Key
from serin.api.notifications import Receiver
from serin.api.retraining import RetrainingSpec
from serin.api.validation import ValidationSpec
from serin.api.verdicts import Against, Severity

WARMUP: Final = 30.0  # seconds, in an object from before the CRD was updated
SNAPSHOTS_KEPT: Final = 10  # when spec.snapshots does not say it
# Seconds, when the spec does not say it: how far back a limit looks after a promotion, and how it is watched then.
LIMIT_WINDOW: Final = 3600.0
SLICE_REQUESTS: Final = 100  # from which on a slice of the requests counts
LEAST_COVERAGE: Final = 0.8  # of a window that is compared with the past
LIMIT_INTERVAL: Final = 60.0
ROLL_BACK_WITHIN: Final = 72 * 3600.0


class NoDataAction(StrEnum):
    """What a rollout does when there is no data for longer than the policy allows."""

    HOLD = "Hold"
    ROLLBACK = "Rollback"


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """The one member of `spec.router`: its name, and its settings as JSON (the router of that name reads them)."""

    name: str
    settings: JsonObject


@dataclass(frozen=True, slots=True)
class ExtraPort:
    """A further port of the clients' Service, which leads straight to stable's pods.

    `name`: also of the port in the pod template, so that each version says where it listens.
    """

    name: str
    port: int
    app_protocol: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """`spec.service`: the Service that clients use, which is the deployment's own, whatever version it serves.

    None: the user leaves it to Serin (the port) or to whoever else sets it (the rest).
    """

    port: int | None = None
    type: str | None = None
    app_protocol: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra_ports: tuple[ExtraPort, ...] = ()


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """The one member of `spec.strategy`: its name, and its settings as JSON (rollout/strategies reads them)."""

    name: str
    settings: JsonObject


# Left out in the spec, and stored so: a default of the schema would stay beside another strategy that is applied later.
DEFAULT_STRATEGY: Final = StrategySpec(
    "canary",
    {"steps": [{"weight": 5, "bake": "5m"}, {"weight": 25, "bake": "10m"}, {"weight": 50, "bake": "10m"}]},
)


@dataclass(frozen=True, slots=True)
class RatioQuery:
    """The user's own counters: PromQL selectors for bad and for all requests, with {{.version}} where labels go."""

    bad: str
    total: str


@dataclass(frozen=True, slots=True)
class ValueQuery:
    """The user's own number with its limits; `consecutive_seconds` is how long it must stay outside them."""

    query: str
    minimum: float | None = None
    maximum: float | None = None
    consecutive_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DistributionQuery:
    """The user's own counter of answers: `by` is the label that says what was answered, "le" cumulative buckets.

    `reference`: frozen counts by that label's values (by upper bounds, not cumulative, for "le"); empty without one.
    """

    counts: str
    by: str
    reference: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MeanQuery:
    """A number that requests carry: the user's own counters of its sum and of how many requests carried it."""

    sum: str
    count: str


@dataclass(frozen=True, slots=True)
class ConcentrationQuery:
    """How often two answers are the same: a counter of them, and in `by` the label that says what was answered."""

    counts: str
    by: str


@dataclass(frozen=True, slots=True)
class TemplateRef:
    """A built-in template, or a MetricTemplate of the deployment's namespace, with its arguments."""

    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)


MetricSource = TemplateRef | RatioQuery | DistributionQuery | MeanQuery | ConcentrationQuery | ValueQuery


def query_of(source: MetricSource) -> str:
    """What is read, in one line: two values are comparable when this is the same."""
    match source:
        case TemplateRef(name, arguments):
            given = ", ".join(f"{key}={value}" for key, value in sorted(arguments.items()))
            return f"template {name}({given})" if given else f"template {name}"
        case RatioQuery(bad, total):
            return f"{bad} / {total}"
        case DistributionQuery(counts, by):
            return f"{counts} by {by}"
        case ConcentrationQuery(counts, by):
            return f"{counts} by {by}, two alike"
        case MeanQuery(total, count):
            return f"{total} / {count}"
        case ValueQuery(query):
            return query


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much slower than stable is let pass: a share of its time (0.2: 20%), and seconds; None: as by default."""

    ratio: float | None = None
    least: float | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of `spec.metrics`: exactly one source.

    `limit`: what is still good; for distributions the PSI that counts, for means how many times stable's.
    `lower_is_worse`: means only. `tolerance`: latencies against stable only. `window`: seconds after which what was
    counted is forgotten while a limit is watched after the promotion, and how much is compared with the past; None: as
    by default (`seen_within`). Also only then: `label_delay`, seconds after the promotion before which nothing counts;
    `escalate_after`, seconds after which a minor breach counts as a major one, None: never. Against the past alone:
    `least_coverage`, the share of a window that must have data, and `lasting`, seconds for which it must be worse.
    Ratios alone: `by`, the label by whose values requests are judged too ("": none), each from `slice_requests` on.
    """

    name: str
    source: MetricSource
    severity: Severity
    against: Against
    limit: float | None = None
    lower_is_worse: bool = False
    tolerance: Tolerance = Tolerance()
    window: float | None = None
    label_delay: float = 0.0
    escalate_after: float | None = None
    least_coverage: float = LEAST_COVERAGE
    lasting: float = 0.0
    by: str = ""
    slice_requests: int = SLICE_REQUESTS

    def is_built_in(self, name: str) -> bool:
        """Whether it is the built-in template of this name."""
        return isinstance(self.source, TemplateRef) and self.source.name == name

    @property
    def seen_within(self) -> float:
        """Seconds over which it is judged while it is watched after the promotion."""
        return LIMIT_WINDOW if self.window is None else self.window


@dataclass(frozen=True, slots=True)
class Analysis:
    """`spec.analysis`. `interval` is in seconds, None: the scrape interval of what is read; `warmup` is in seconds."""

    interval: float | None = None
    false_rollback_rate_critical: float = 0.01
    false_rollback_rate_minor: float = 0.05
    minimum_detectable_effect: float = 2.0
    on_no_data: NoDataAction = NoDataAction.HOLD
    on_no_data_after: float = 1800.0
    warmup: float = WARMUP


@dataclass(frozen=True, slots=True)
class Holdback:
    """`spec.watch.holdback`: the version before a promotion keeps `weight` percent of the traffic for `seconds`."""

    weight: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """`spec.watch`, as far as it is about metrics with a limit: they are watched for as long as a version serves.

    `interval`: seconds between two looks. `roll_back_within`: seconds after the promotion in which a breach goes back.
    """

    interval: float = LIMIT_INTERVAL
    roll_back_within: float = ROLL_BACK_WITHIN


@dataclass(frozen=True, slots=True)
class Variant:
    """A version that an experiment declares beside the spec's own: its content, and the hashes of its dimensions."""

    name: str
    content: Mapping[str, JsonObject | None]
    hashes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """`spec.snapshots`. `every`: seconds between two scheduled records of what serves, None: there are none.

    `keep`: earlier versions that are kept although nothing names them, of those that were stable and of the others.
    """

    every: float | None = None
    keep: int = SNAPSHOTS_KEPT


# In the place of dimensions: each that has changed, in turn.
AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class RollbackPolicy:
    """`spec.rollback`. `scope`: what is reverted of a version that was rolled back, once stable has all traffic.

    Dimensions: these together; (AUTO,): each alone, in turn; (): nothing but the whole. Of what is watched after its
    promotion: `most_per_day`, how often it may go back by itself in 24 hours, None: always; `cooldown`, seconds after
    which it may do so again; `validation`: what compares the target with what serves before, None: nothing.
    """

    scope: tuple[str, ...] = ()
    most_per_day: int | None = None
    cooldown: float = 0.0
    validation: ValidationSpec | None = None


@dataclass(frozen=True, slots=True)
class ModelDeploymentSpec:
    """The whole spec.

    `content`: the four dimensions' JSON as the user wrote it, `hashes`: of each; what a snapshot's name is made of.
    `variants`: of the experiment that is the strategy, in the order of the spec. `holdback`: after a promotion, None:
    nobody is held back. `limit_policy`: how limits are watched then, None: they are not.
    `retraining`: None: there is none. `output_guard`: None: answers are not checked. `agreement`: None: they are not
    compared. `input_guard`: None: requests are not checked. `record`: None: no answers are recorded.
    `review`: None: nobody looks at any.
    """

    replicas: int
    port: int
    runtime: str  # profile name
    content: Mapping[str, JsonObject | None]
    hashes: Mapping[str, str]
    service: ServiceSpec
    router: RouterSpec
    strategy: StrategySpec
    metrics: tuple[Metric, ...]
    analysis: Analysis
    progress_deadline: float
    fallback: Fallback | None = None
    variants: tuple[Variant, ...] = ()
    holdback: Holdback | None = None
    limit_policy: LimitPolicy | None = None
    snapshots: SnapshotPolicy = SnapshotPolicy()
    rollback: RollbackPolicy = RollbackPolicy()
    integrity: Integrity = UNCHECKED
    retraining: RetrainingSpec | None = None
    notifications: tuple[Receiver, ...] = ()
    output_guard: OutputGuard | None = None
    input_guard: InputGuard | None = None
    agreement: AgreementGuard | None = None
    record: RecordGuard | None = None
    review: ReviewGuard | None = None

    @property
    def guarded(self) -> bool:
        """Whether it needs the platform's guard."""
        parts = (self.output_guard, self.input_guard, self.agreement, self.record, self.review)
        return any(one is not None for one in parts)

    @property
    def of_versions(self) -> tuple[Metric, ...]:
        """Metrics that say something of a version: all but those that are compared with the day before."""
        return tuple(one for one in self.metrics if one.against is not Against.DAY)

    @property
    def watched(self) -> tuple[Metric, ...]:
        """Metrics that are watched for as long as a version serves: what needs no other version beside it."""
        alone = (
            one for one in self.metrics if one.against is not Against.STABLE and not one.is_built_in(DISAGREEMENTS)
        )
        return tuple(alone) if self.limit_policy else ()


@dataclass(frozen=True, slots=True)
class ModelDeployment:
    """A ModelDeployment as read from the cluster; `status` stays JSON here, the rollout layer parses its own part."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    deleting: bool
    annotations: Mapping[str, str]
    spec: ModelDeploymentSpec
    status: JsonObject
    killed: Killed = OFF

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name
