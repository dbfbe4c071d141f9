"""One model deployment as read from the cluster: what `status` and `explain` are made of.

What was decided is read by the rollout layer's own `status.read`; nothing is worked out a second time here. Parts that
the user may not read (pods) or that are not there yet (a status) are None or empty, never guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from serin.api import names
from serin.api.conditions import ConditionType
from serin.api.json import JsonObject
from serin.api.parse import InvalidSpec, parse_spec
from serin.api.spec import ModelDeploymentSpec, Step
from serin.api.status import State, read
from serin.workload import pods as workload_pods


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything at one moment. `now`: unix seconds. `spec`: None when it cannot be parsed; `invalid` says why.

    `problems`: snapshot -> why its pods are not all ready, in the words of whoever refused.
    """

    namespace: str
    name: str
    now: float
    generation: int
    annotations: Mapping[str, str]
    status: JsonObject
    state: State
    spec: ModelDeploymentSpec | None
    invalid: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def observed(self) -> bool:
        """Whether the operator has looked at the spec as it is now."""
        return int(self.status.get("observedGeneration", 0)) >= self.generation

    @property
    def reason(self) -> str:
        """Why it is as it is, in one word; "" before the first look."""
        return str(self.status.get("reason", ""))

    @property
    def message(self) -> str:
        """The same in a sentence."""
        return str(self.status.get("message", ""))

    @property
    def wanted(self) -> str | None:
        """The snapshot that the spec describes; None when the spec cannot be parsed."""
        return names.snapshot_name(self.name, self.spec.content) if self.spec else None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the rollout."""
        return self.spec.canary.steps if self.spec else ()

    @property
    def step(self) -> Step | None:
        """The present step; None without a rollout, and when all have passed."""
        index = self.state.step.index
        return self.steps[index] if self.state.candidate and index < len(self.steps) else None

    @property
    def weight(self) -> int:
        """Percent of the requests that the candidate gets."""
        return self.state.split.of(self.state.candidate or "")

    @property
    def metrics(self) -> Sequence[JsonObject]:
        """What each metric says, in the order of the spec."""
        return self.status.get("metrics") or ()

    @property
    def in_step(self) -> int:
        """Candidate requests counted since the present step began."""
        counted = max((int(one.get("requests", 0)) for one in self.metrics), default=0)
        return max(0, counted - self.state.step.requests_before)

    @property
    def rejected(self) -> bool:
        """Whether what the spec describes was rolled back and is not tried again by itself."""
        last = self.state.last_rollback
        # The condition is about the spec that the operator has seen, which may be the one before.
        refused = self.observed and self.condition(ConditionType.CANDIDATE_REJECTED).get("status") == "True"
        same = last is not None and last.source == self.wanted and not last.retried
        return self.state.candidate is None and (same or (refused and self.wanted != self.state.stable))

    @property
    def serves_what_is_wanted(self) -> bool:
        """Whether the spec's version is the stable one, ready, and nothing is under way."""
        ready = self.condition(ConditionType.READY).get("status") == "True"
        under_way = self.state.candidate or self.state.manual_rollback
        return self.observed and ready and not under_way and self.state.stable == self.wanted

    def condition(self, kind: ConditionType) -> JsonObject:
        """One condition; empty when it is not there."""
        conditions = self.status.get("conditions") or ()
        return next((one for one in conditions if one["type"] == kind), {})

    def version(self, snapshot: str) -> str:
        """How people call a snapshot: its model version where it has one, else its own name."""
        for part in ("stable", "candidate", "rollingBack"):
            shown = self.status.get(part) or {}
            if shown.get("snapshot") == snapshot and shown.get("model"):
                return f"model {shown['model']}"
        model = (self.spec.content.get("model") if self.spec and snapshot == self.wanted else None) or {}
        return f"model {model['version']}" if model.get("version") else snapshot


def gather(
    body: JsonObject, now: float, deployments: Sequence[JsonObject] = (), pods: Sequence[JsonObject] = ()
) -> Facts:
    """Read a ModelDeployment, with the Deployments and pods of its snapshots as far as they are known."""
    metadata, status = body["metadata"], body.get("status") or {}
    spec, invalid = None, ""
    try:
        spec = parse_spec(body["spec"])
    except InvalidSpec as error:
        invalid = str(error)
    workloads = [workload_pods.workload(one, pods) for one in deployments]
    return Facts(
        namespace=metadata["namespace"],
        name=metadata["name"],
        now=now,
        generation=metadata.get("generation", 0),
        annotations=metadata.get("annotations") or {},
        status=status,
        state=read(status),
        spec=spec,
        invalid=invalid,
        problems={one.snapshot: one.problem for one in workloads if one.problem},
    )
