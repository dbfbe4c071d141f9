"""What the planner sees and what it answers.

`Observation` is everything there is to know at one moment, the clock included. `Plan` is an ordered tuple of actions;
an action is one request, and every prefix of the tuple leaves a safe cluster: a crash test is "drop the rest".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

from serin.api import effective
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.notifications import Deliveries
from serin.api.retraining import RetrainingSeen
from serin.api.signature import Signature
from serin.api.snapshots import Snapshot
from serin.api.spec import ModelDeployment
from serin.api.split import NOWHERE, Split
from serin.api.state import Bisection, ClientRequests, State, Status
from serin.api.validation import ValidationSeen
from serin.evaluation.samples import Samples


@dataclass(frozen=True, slots=True)
class Workload:
    """One snapshot's Deployment as it runs.

    `desired`: replicas asked for. `ready`: pods of *this* content that are ready with their model loaded.
    `problem`: the pods' or the API server's own words on why there are not more, None when nothing is wrong; `waits`:
    what is waited for then, as in every good start. `refused`: the API server refused the pod template. `denied`: it
    does not let Serin write it now (a quota, a policy). `again_at`: unix seconds when it is sent once more after that.
    """

    snapshot: str
    uid: str
    resource_version: str
    desired: int
    ready: int
    since: float  # unix seconds of the creation
    role: str = ""  # stable or candidate, as labelled
    problem: str | None = None
    waits: str | None = None
    refused: bool = False
    denied: bool = False
    again_at: float = math.inf
    stamped: bool = True  # its template's hash is recorded: its making has come to its end
    altered: bool = False  # somebody else changed what Serin sets beside the pod template
    drifted: bool = False  # somebody else changed the pod template since Serin wrote it
    newest: float = -math.inf  # unix seconds when the newest of the ready pods became ready
    crashed: bool = False  # every pod's container has exited with an error: the process died, not the node
    crashing: bool = False  # that of one pod has, at least
    starting: tuple[float, ...] = ()  # unix seconds at which its pods that are not ready were made
    short: bool = False  # Kubernetes says that it cannot make more pods: a quota, a policy

    def in_time(self, needed: int, now: float, deadline: float) -> int:
        """How many of the `needed` pods are missing and not late: made in the last `deadline` seconds, or about to be.

        An autoscaler may ask for more pods again and again, and no number of them is ever ready then. That is not held
        against a version of which a pod is ready; one that has not shown any has no more time than the deadline.
        """
        if not self.ready:
            return 0
        young = sum(now - made < deadline for made in self.starting)
        unmade = max(0, needed - self.ready - len(self.starting))
        return young + (0 if self.short or self.denied else unmade)


@dataclass(frozen=True, slots=True)
class Preview:
    """The Service of the preview's name. `snapshot`: to which it leads. `not_ours`: somebody else's, left alone."""

    uid: str
    snapshot: str
    not_ours: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """What the router says.

    `split`: what all of it is known to serve. `instances`: what each pod of it serves that clients may reach (None: not
    known), as far as it tells them apart. `unheard`: pods that were not heard for a while, in a sentence. `refused`: in
    which words it refused a configuration (None: it did not). `ready`: there is a router that can serve. `not_ours`: an
    object of the clients' Service's name exists that Serin did not make, in a sentence. `full`: the router has no room
    for this deployment, in a sentence. `denied`: in which words the API server does not let Serin write one of these
    objects. `repairs`: objects to apply so that clients reach the router. `router`, `state`: its name, and what it
    wants kept in the status under that name. `no_fallback`: why the Service of `spec.fallback` cannot answer, in a
    sentence ("": it can, or there is none). `patience`: seconds after which it is worth telling that a move waits for
    its word; `poll`: seconds between two looks before that. `lacks`: what the spec asks of the router and this
    installation does not have, in a sentence ("": nothing): nothing rises then, and nothing else waits.
    """

    split: Split = NOWHERE
    instances: Mapping[str, Split | None] = field(default_factory=dict)
    unheard: str = ""
    refused: str | None = None
    ready: bool = True
    not_ours: str | None = None
    full: str | None = None
    denied: str | None = None
    repairs: tuple[JsonObject, ...] = ()
    router: str = ""
    state: JsonObject = field(default_factory=dict)
    no_fallback: str = ""
    patience: float = 10.0
    poll: float = 0.5
    lacks: str = ""

    def problem(self) -> "Note | None":
        """Why clients do not reach what the weights say; None when they do."""
        if self.not_ours:
            return Note(Reason.SERVICE_NOT_OURS, self.not_ours, warning=True)
        if self.full:
            return Note(Reason.ROUTER_FULL, self.full, warning=True)
        if self.refused:
            return Note(Reason.ROUTE_REFUSED, f"the router refused its configuration: {self.refused}", warning=True)
        if self.denied:
            return Note(Reason.WRITE_DENIED, self.denied, warning=True)
        if not self.ready:
            return Note(Reason.ROUTER_NOT_READY, "no router pod is ready", warning=True)
        return None

    def has_taken(self, snapshot: str) -> bool:
        """Whether everything is known to go to `snapshot`.

        Until then the version that served before stays stable: it answers what the other one cannot yet, and what an
        instance that nobody hears may still send it.
        """
        return self.split.is_all_to(snapshot)

    def look_after(self, waited: float) -> float:
        """Seconds until the next look while a move waits for the router's word, and has for `waited` seconds."""
        return self.poll if waited < self.patience else self.patience / 2

    def waiting(self, snapshot: str, waited: float, routine: Reason) -> "Note":
        """What to say while everything is to go to `snapshot`, and the router's word is missing for `waited` seconds.

        `routine`: the reason for as long as that is nothing unusual.
        """
        if waited < self.patience:
            return Note(routine, f"all traffic to {snapshot}, as soon as the router has taken it")
        whose = self._missing(snapshot)
        message = f"all traffic to {snapshot} is decided, and not known to be routed: {whose}"
        return Note(Reason.ROUTE_NOT_TAKEN, f"{message}. The version before keeps its pods until it is", warning=True)

    def _missing(self, snapshot: str) -> str:
        late = [name for name, split in self.instances.items() if split is not None and not split.is_all_to(snapshot)]
        told = [f"{', '.join(sorted(late))} serves an earlier route"] if late else []
        silent = [name for name, split in self.instances.items() if split is None]
        told += [f"{', '.join(sorted(silent))} is ready and not heard"] if silent else []
        return f"router pod {'; '.join(told)}" if told else "the router does not say so"

    def may_use(self, snapshot: str, decided: Split) -> bool:
        """Whether some instance may go on sending requests to `snapshot`; what an unheard one does is not known.

        `decided`: as before this look. Who serves just that takes what is decided now in a moment.
        """
        served = self.instances.values()
        return any(split is None or (split != decided and snapshot in split.reached()) for split in served)

    def is_unsure(self) -> bool:
        """Whether it is not known what some instance serves: then it may use every pod that it ever knew of."""
        return None in self.instances.values()


@dataclass(frozen=True, slots=True)
class Contested:
    """An object of Serin's that something else changes again and again; over `until` (unix seconds) if that ends."""

    kind: str
    name: str
    until: float


@dataclass(frozen=True, slots=True)
class GoldenAnswers:
    """What the ready pods of a version have answered to the golden probes.

    `asked`: ready pods; `passed`: those whose newest answers are as expected. `wrong`: the first difference of an
    answer that was given twice, "" when there is none. `waits`: why the others have not passed, as far as it is known.
    `waited`: seconds for which one of them has been asked in vain. `fingerprint`: of answers as expected.
    """

    asked: int = 0
    passed: int = 0
    wrong: str = ""
    waits: str = ""
    waited: float = 0.0
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Signatures:
    """What is known of a version's signature. `known`: declared, or as its pods say it.

    `differs`: how a pod first contradicts what is declared, or another pod. `asked`: ready pods; `told`: those that
    have answered. `waits`: why the others have not, as far as it is known; `waited`: seconds for which one was asked in
    vain.
    """

    known: Signature | None = None
    differs: str = ""
    asked: int = 0
    told: int = 0
    waits: str = ""
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class Digests:
    """What a version's ready pods run. `images`: the digest of each container's image, as far as it is known.

    `differs`: how that first differs from what it should be; `unknown`: why nobody can say it of a pod.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    differs: str = ""
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What the API server has of the status, and when numbers in it are written again.

    `at`: when it was written last (unix seconds; -inf: not known). `every`: seconds between two writes that change
    numbers alone. `phase`: 0 to 1, another one for each deployment.
    """

    status: JsonObject
    at: float = -math.inf
    every: float = 0.0
    phase: float = 0.0


@dataclass(frozen=True)
class Observation:
    """Everything at one moment. `now` is unix seconds.

    `status`: as the last look left it. `written`: what of that is written; None: all. `services`: snapshots that have a
    Service. `altered_services`: those whose Service somebody else has changed. `preview`: its Service, None: there is
    none. `samples`: the newest ones, not judged yet. `invalid`: a part of the spec cannot work (a metric template that
    does not exist), in a sentence for its user. `golden`, `digests`: of the snapshots on trial; `signatures`: of those
    and of stable. `validation`: the Job of the one that is under way, None: there is none.
    `clients`: what the version that was left at this moment was for clients, None: not counted yet.
    """

    now: float
    deployment: ModelDeployment
    status: Status
    snapshots: Mapping[str, Snapshot]
    workloads: Mapping[str, Workload]
    services: Mapping[str, str]  # snapshot -> uid of its Service
    route: Route
    samples: Samples = field(default_factory=Samples)
    preview: Preview | None = None
    invalid: tuple[Reason, str] | None = None
    altered_services: frozenset[str] = frozenset()
    contested: tuple[Contested, ...] = ()
    golden: Mapping[str, GoldenAnswers] = field(default_factory=dict)
    written: Written | None = None
    retraining: RetrainingSeen = field(default_factory=RetrainingSeen)
    deliveries: Deliveries = field(default_factory=Deliveries)
    signatures: Mapping[str, Signatures] = field(default_factory=dict)
    digests: Mapping[str, Digests] = field(default_factory=dict)
    validation: ValidationSeen | None = None
    clients: tuple[float, ClientRequests] | None = None

    @cached_property
    def declared(self) -> Mapping[str, effective.Content]:
        """Every version that the spec describes, by snapshot."""
        return effective.declared(self.deployment.name, self.deployment.spec)

    @cached_property
    def bisection(self) -> Bisection | None:
        """The search for what is to blame for the rollback of what the spec describes."""
        return effective.bisection(self.deployment.name, self.deployment.spec, self.state)

    @cached_property
    def contents(self) -> Mapping[str, effective.Content]:
        """What may have to be written down: every version that the spec describes, and the combination of one."""
        search = self.bisection
        base = self.snapshots.get(search.cause.target) if search else None
        if search is None or search.present is None or base is None:
            return self.declared
        tried = effective.combined(self.deployment.spec.content, base.content, search.present.reverts)
        return {**self.declared, search.present.snapshot: tried}

    @cached_property
    def versions(self) -> tuple[str, ...]:
        """Snapshots that may serve, the one that the spec asks for first."""
        return effective.versions(self.deployment.name, self.deployment.spec, self.state)

    @property
    def wanted(self) -> str:
        """The snapshot that the spec asks for: its own content, the winner of its experiment, or a combination."""
        return self.versions[0]

    @property
    def state(self) -> State:
        """What was decided so far."""
        return self.status.state

    def command(self, annotation: str) -> str:
        """What a person types to ask for what an annotation asks for."""
        deployment = self.deployment
        return f"kubectl annotate md {deployment.name} -n {deployment.namespace} --overwrite {annotation}=$(date +%s)"

    def ready(self, snapshot: str) -> int:
        """Ready pods of a snapshot."""
        workload = self.workloads.get(snapshot)
        return workload.ready if workload else 0

    def problem(self, snapshot: str) -> str:
        """What is wrong with a snapshot's pods, to be put behind a sentence: `: the words`, or nothing."""
        workload = self.workloads.get(snapshot)
        return f": {workload.problem}" if workload and workload.problem else ""

    def reason(self, snapshot: str) -> str:
        """Why a snapshot has too few ready pods although it has had its time: there is always something to say."""
        workload = self.workloads.get(snapshot)
        if workload is None:
            return "it has no Deployment"
        return workload.problem or workload.waits or "its pods have given no reason"


class Order(IntEnum):
    """The order of writes (docs/design.md): a plan's actions never go backwards in it."""

    LOWER = 1  # candidate traffic down: waits for nothing
    RECORD = 2
    CREATE = 3  # create or scale up
    RAISE = 4  # candidate traffic up: live reads prove readiness first
    SCALE_DOWN = 5
    DELETE = 6


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write the deployment's whole status."""

    order: Order
    status: JsonObject


@dataclass(frozen=True, slots=True)
class ProveReady:
    """Read live that so many pods of a snapshot are ready now; the plan ends here when they are not."""

    snapshot: str
    pods: int
    order: Order = Order.RAISE


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
class ApplyService:
    """Make sure that the snapshot's Service exists as rendered."""

    snapshot: str
    order: Order = Order.CREATE


@dataclass(frozen=True, slots=True)
class ApplyPreview:
    """Make sure that the preview's Service leads to this snapshot."""

    snapshot: str
    order: Order = Order.CREATE


@dataclass(frozen=True, slots=True)
class DeletePreview:
    """Delete the preview's Service."""

    uid: str
    order: Order = Order.DELETE


@dataclass(frozen=True, slots=True)
class ApplyDeployment:
    """Make sure that the snapshot's Deployment exists as rendered, with this many replicas.

    `stamp`: record the hash of the template that the API server has stored, by which drift is noticed later.
    """

    snapshot: str
    replicas: int
    role: str
    order: Order = Order.CREATE
    stamp: bool = True


@dataclass(frozen=True, slots=True)
class RestoreTemplate:
    """Make the pod template exactly what was rendered: an apply would leave what others have added."""

    snapshot: str
    replicas: int
    role: str
    order: Order = Order.CREATE


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Make the Job that validates `target` against `present`, unless it is there. `seconds`: for which it may run."""

    name: str
    target: str
    present: str
    seconds: float
    order: Order = Order.CREATE


@dataclass(frozen=True, slots=True)
class ApplyRouteObject:
    """Apply one of the objects that lead clients to the router."""

    body: JsonObject
    order: Order = Order.CREATE


@dataclass(frozen=True, slots=True)
class DeleteDeployment:
    """Delete the snapshot's Deployment; the preconditions make a stale read harmless."""

    snapshot: str
    uid: str
    resource_version: str
    order: Order = Order.DELETE


@dataclass(frozen=True, slots=True)
class DeleteService:
    """Delete the Service of a snapshot whose Deployment is gone."""

    snapshot: str
    uid: str
    order: Order = Order.DELETE


@dataclass(frozen=True, slots=True)
class DeleteSnapshot:
    """Delete a snapshot that history no longer needs."""

    name: str
    uid: str
    resource_version: str
    order: Order = Order.DELETE


Action = (
    WriteStatus
    | ProveReady
    | CreateSnapshot
    | RecordSnapshot
    | ApplyService
    | ApplyPreview
    | DeletePreview
    | ApplyDeployment
    | RestoreTemplate
    | CreateJob
    | ApplyRouteObject
    | DeleteDeployment
    | DeleteService
    | DeleteSnapshot
)


@dataclass(frozen=True, slots=True)
class Note:
    """Why something was done, or was not: the same reason and sentence for condition, event, log and command line."""

    reason: Reason
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered actions, the events that explain them, and when to look again (in seconds; None: on the next change).

    `unwritten`: the status to go on from, when nothing but numbers has changed and no write of those is due.
    """

    actions: tuple[Action, ...]
    events: tuple[Note, ...]
    requeue_after: float | None
    unwritten: JsonObject | None = None

    def __post_init__(self) -> None:
        orders = [action.order for action in self.actions]
        if orders != sorted(orders):
            raise ValueError(f"actions out of order: {[action.order.name for action in self.actions]}")
