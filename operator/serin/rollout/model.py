"""What the planner sees and what it answers.

`Observation` is everything there is to know at one moment, the clock included. `Plan` is an ordered tuple of actions;
every prefix of the tuple leaves a safe cluster, so a crash test is "drop the rest".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.spec import ModelDeployment
from serin.api.split import NOWHERE, Split


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A ModelSnapshot as read: content (the four dimensions), its hashes, and what is recorded about it."""

    name: str
    uid: str
    resource_version: str
    created: float  # unix seconds
    content: Mapping[str, JsonObject | None]
    rejected: bool = False  # not tried again until the content changes or the user asks
    verdict: str | None = None  # what was decided about it: Promoted, RolledBack, Superseded, ...
    promoted: float | None = None  # unix seconds when it became stable, the last time
    metrics: tuple[JsonObject, ...] = ()  # what each metric said last


@dataclass(frozen=True, slots=True)
class Workload:
    """One snapshot's Deployment as it runs.

    `desired`: replicas asked for. `ready`: pods of *this* content that are ready with their model loaded.
    `problem`: the pods' or the API server's own words on why there are not more, None when nothing is wrong.
    `refused`: the API server refused the pod template (cannot get better without a new spec).
    """

    snapshot: str
    uid: str
    resource_version: str
    desired: int
    ready: int
    since: float  # unix seconds of the creation
    role: str = ""  # stable or candidate, as labelled
    problem: str | None = None
    refused: bool = False
    drifted: bool = False  # somebody else changed the pod template since Serin wrote it
    crashed: bool = False  # every pod's container has exited with an error: the process died, not the node


@dataclass(frozen=True, slots=True)
class Route:
    """What the router says.

    `split`: what it serves. `refused`: in which words it refused a configuration (None: it did not). `ready`: there is
    a router that can serve. `published`: the clients' Service and its endpoints lead to the router's pods as they are.
    `not_ours`: an object of the clients' Service's name exists that Serin did not make, in a sentence.
    """

    split: Split = NOWHERE
    refused: str | None = None
    ready: bool = True
    published: bool = True
    not_ours: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the engine made of the ticks so far: JSON to keep per metric, and the verdicts it gives now.

    `split`: whether the snapshots receive the shares that the router was told to send, None before it was measured.
    """

    kept: Mapping[str, JsonObject] = field(default_factory=dict)
    verdicts: tuple[MetricVerdict, ...] = ()
    split: MetricVerdict | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything at one moment. `now` is unix seconds.

    `free_port`: a listener port of the router that no deployment has; taken when this one has none yet.
    `invalid`: a part of the spec cannot work (a metric template that does not exist), in a sentence for its user.
    `feasible`: whether the candidate's traffic suffices for the policy, in a sentence; None while that is not known.
    """

    now: float
    deployment: ModelDeployment
    snapshots: Mapping[str, Snapshot]
    workloads: Mapping[str, Workload]
    route: Route
    evidence: Evidence
    free_port: int
    invalid: tuple[Reason, str] | None = None
    feasible: tuple[Reason, str] | None = None


class Order(IntEnum):
    """The order of writes (docs/design.md): a plan's actions never go backwards in it."""

    LOWER = 1  # candidate traffic down: waits for nothing
    RECORD = 2
    CREATE = 3  # create or scale up
    RAISE = 4  # candidate traffic up: apply proves readiness with live reads first
    SCALE_DOWN = 5
    DELETE = 6


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write the deployment's whole status. `raises`: only after live reads show `proof` ready pods of each snapshot."""

    order: Order
    status: JsonObject
    proof: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CreateSnapshot:
    """Make the immutable record of a version."""

    name: str
    content: Mapping[str, JsonObject | None]
    order: Order = Order.CREATE


@dataclass(frozen=True, slots=True)
class RecordSnapshot:
    """Write what was decided about a snapshot into its status: the verdict, why, and its metrics as last seen."""

    name: str
    status: JsonObject
    order: Order = Order.RECORD


@dataclass(frozen=True, slots=True)
class RunWorkload:
    """Make sure that the snapshot's Deployment and Service exist as rendered, with this many replicas."""

    snapshot: str
    replicas: int
    role: str
    order: Order


@dataclass(frozen=True, slots=True)
class PublishRoute:
    """Make sure that the clients' Service leads to the router's pods, at this deployment's listener port."""

    port: int
    order: Order = Order.CREATE


@dataclass(frozen=True, slots=True)
class DeleteWorkload:
    """Delete the snapshot's Deployment and Service; the preconditions make a stale read harmless."""

    snapshot: str
    uid: str
    resource_version: str
    order: Order = Order.DELETE


@dataclass(frozen=True, slots=True)
class DeleteSnapshot:
    """Delete a snapshot that history no longer needs."""

    name: str
    uid: str
    resource_version: str
    order: Order = Order.DELETE


Action = WriteStatus | CreateSnapshot | RecordSnapshot | RunWorkload | PublishRoute | DeleteWorkload | DeleteSnapshot


@dataclass(frozen=True, slots=True)
class Note:
    """Why something was done, or was not: the same reason and sentence for condition, event, log and command line."""

    reason: Reason
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered actions, the notes that explain them, and when to look again (in seconds; None: on the next event)."""

    actions: tuple[Action, ...]
    notes: tuple[Note, ...]
    requeue_after: float | None

    def __post_init__(self) -> None:
        orders = [action.order for action in self.actions]
        if orders != sorted(orders):
            raise ValueError(f"actions out of order: {[action.order.name for action in self.actions]}")
