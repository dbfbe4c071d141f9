"""One model deployment at one moment: what sentences and tables are made of.

The status is read by `serin.api.status`; nothing is worked out a second time here. What pods say comes from whoever has
read them. Parts that are not known (pods that the user may not list, a status that is not there yet) are empty or None,
never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from serin.api.conditions import ConditionType
from serin.api.effective import bisection, declared, versions
from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.kill_switch import OFF, Killed, read_kill_switch
from serin.api.names import ANNOTATION_PAUSE
from serin.api.parse import parse_spec
from serin.api.spec import ModelDeploymentSpec
from serin.api.state import Bisection, MetricStatus, Rollout, StageStatus, State, Status, VersionStatus
from serin.api.status import read_status


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of the status. `holds`: None when it is not there, or not known."""

    holds: bool | None = None
    reason: str = ""
    message: str = ""


_HOLDS: Final = {"True": True, "False": False}


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything at one moment. `now`: unix seconds. `spec`: None when it cannot be parsed; `invalid` says why.

    `problems`: by snapshot, why its pods are not all ready, in the words of whoever refused. `killed`: the kill switch,
    as the resource says it now.
    """

    namespace: str
    name: str
    now: float
    generation: int
    annotations: Mapping[str, str]
    status: Status
    spec: ModelDeploymentSpec | None
    invalid: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)
    killed: Killed = OFF

    @property
    def state(self) -> State:
        """What was decided."""
        return self.status.state

    @property
    def rollout(self) -> Rollout | None:
        """What is under evaluation, None while nothing is."""
        return self.status.state.rollout

    @property
    def watched(self) -> bool:
        """Whether the stable version is judged after its promotion."""
        return self.rollout is None and self.state.watch is not None

    @property
    def limited(self) -> bool:
        """Whether the stable version is held to the limits of its metrics."""
        return self.state.held_to_limits is not None

    @property
    def is_measured(self) -> bool:
        """Whether the metrics say something of a version that is tried, or that serves."""
        return self.is_asked or self.watched or self.limited

    @property
    def over_limits(self) -> tuple[str, ...]:
        """Metrics of which stable is over the limit."""
        limits = self.state.held_to_limits
        return tuple(sorted(limits.breached)) if limits else ()

    @property
    def stage(self) -> StageStatus:
        """The present stage of the rollout as people read it."""
        return self.status.stage

    @property
    def metrics(self) -> tuple[MetricStatus, ...]:
        """What each metric says, in the order of the spec."""
        return self.status.metrics

    @property
    def reason(self) -> str:
        """Why it is as it is, in one word; "" before the operator has looked at it."""
        return self.status.reason

    @property
    def message(self) -> str:
        """The same in a sentence."""
        return self.status.message

    @property
    def known(self) -> bool:
        """Whether the operator has looked at it at all."""
        return self.status.observed_generation > 0

    @property
    def observed(self) -> bool:
        """Whether the operator has looked at the spec as it is now."""
        return self.known and self.status.observed_generation >= self.generation

    @property
    def paused(self) -> bool:
        """Whether a person holds it."""
        return self.annotations.get(ANNOTATION_PAUSE) not in (None, "false")

    @property
    def wanted(self) -> str | None:
        """The snapshot that the spec asks for; None when the spec cannot be parsed."""
        return versions(self.name, self.spec, self.state)[0] if self.spec else None

    @property
    def bisection(self) -> Bisection | None:
        """The search for what is to blame for the rollback of the version that the spec describes."""
        return bisection(self.name, self.spec, self.state) if self.spec else None

    @property
    def partly_rolled_back(self) -> bool:
        """Whether a combination serves in the place of the version that the spec describes."""
        search, stable = self.bisection, self.state.stable
        found = search is not None and search.present is not None and search.present.snapshot == stable
        return found and self.rollout is None

    @property
    def weight(self) -> int:
        """Percent of the requests that the candidate gets."""
        return self.state.split.of(self.state.candidate or "")

    @property
    def is_asked(self) -> bool:
        """Whether the candidate is sent requests: clients', by weight or by rule, or copies of theirs."""
        return self.state.split.is_asked(self.state.candidate or "")

    @property
    def rejected(self) -> bool:
        """Whether what the spec describes was rolled back and is not tried again by itself."""
        last = self.state.last_rollback
        # The condition is about the spec that the operator has seen, which may be the one before.
        refused = self.observed and self.condition(ConditionType.CANDIDATE_REJECTED).holds is True
        same = last is not None and last.source == self.wanted and not last.retried
        if self.partly_rolled_back:
            return True
        return self.rollout is None and (same or (refused and self.wanted != self.state.stable))

    @property
    def ready(self) -> Condition:
        """Whether clients are served."""
        return self.condition(ConditionType.READY)

    @property
    def stalled(self) -> bool:
        """Whether it cannot go on before somebody changes something."""
        return self.condition(ConditionType.STALLED).holds is True

    @property
    def serves_what_is_wanted(self) -> bool:
        """Whether the spec's version is the stable one, ready, and nothing is under way."""
        under_way = self.rollout or self.state.manual_rollback or self.partly_rolled_back
        return self.observed and self.ready.holds is True and not under_way and self.state.stable == self.wanted

    def condition(self, kind: ConditionType) -> Condition:
        """One condition; all of it unknown when it is not there."""
        found = next((one for one in self.status.conditions if one["type"] == kind), {})
        return Condition(
            _HOLDS.get(found.get("status", "")), str(found.get("reason", "")), str(found.get("message", ""))
        )

    def pods(self, snapshot: str) -> VersionStatus:
        """A version's pods as the status counts them; none of a version that it does not name."""
        return self.status.versions.get(snapshot, VersionStatus())

    def version(self, snapshot: str) -> str:
        """How people call a snapshot: its model version where it has one, else its own name."""
        if model := self.pods(snapshot).model:
            return f"model {model}"
        described = declared(self.name, self.spec).get(snapshot, {}) if self.spec else {}
        content = described.get("model") or {}
        return f"model {content['version']}" if content.get("version") else snapshot


def gather(body: JsonObject, now: float, problems: Mapping[str, str] = MappingProxyType({})) -> Facts:
    """Read a ModelDeployment. `now`: unix seconds. `problems`: by snapshot, why its pods are not all ready."""
    metadata = body["metadata"]
    spec, invalid = None, ""
    annotations = metadata.get("annotations") or {}
    try:
        spec = parse_spec(body["spec"], metadata["name"])
    except InvalidSpec as error:
        invalid = str(error)
    return Facts(
        namespace=metadata["namespace"],
        name=metadata["name"],
        now=now,
        generation=metadata.get("generation", 0),
        annotations=annotations,
        status=read_status(body.get("status") or {}),
        spec=spec,
        invalid=invalid,
        problems=problems,
        killed=read_kill_switch(annotations, body["spec"]),
    )
