"""A small world in which the planner lives: it keeps the rules of the API server and of pods, and its clock is ours.

Not a mock of Serin: planner, parsing and status are the real ones. What is simulated is what surrounds them: objects
that are created, pods that take time to be ready, traffic that arrives in proportion to weights. Every look checks the
invariants of the design, so that a story that ends well by breaking a rule on the way still fails.
"""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from serin.analysis.model import Judgement, MetricVerdict, NoDataReason, Severity, Verdict
from serin.analysis.traffic import Traffic
from serin.api.names import snapshot_name
from serin.api.parse import parse_model_deployment
from serin.api.split import Split
from serin.api.times import parse_rfc3339
from serin.rollout.model import (
    CreateSnapshot,
    DeleteSnapshot,
    DeleteWorkload,
    Evidence,
    Observation,
    Order,
    Plan,
    PublishRoute,
    RecordSnapshot,
    Route,
    RunWorkload,
    Snapshot,
    Workload,
    WriteStatus,
)
from serin.rollout.phases import Phase, allowed
from serin.rollout.planner import plan
from serin.rollout.policies import SPLIT, policies
from serin.rollout.prospects import feasible
from serin.rollout.snapshots import ROLLED_BACK
from serin.rollout.status import read

START = 1_700_000_000.0
Judge = Callable[["World"], tuple[MetricVerdict, ...]]


def spec(version: str = "1", **changes: Any) -> dict[str, Any]:
    """A spec as the API server stores it, every default filled in."""
    container = {"name": "model", "image": "registry.test/fraud:1", "ports": [{"containerPort": 8080}]}
    body: dict[str, Any] = {
        "replicas": 4,
        "runtime": "generic",
        "model": {"name": "fraud", "version": version},
        "template": {"spec": {"containers": [container]}},
        "router": {"envoy": {"shield": "Failures", "timeout": "300s", "protocol": "HTTP1"}},
        "strategy": {
            "canary": {
                "steps": [{"weight": 5, "bake": "60s"}, {"weight": 25, "bake": "60s"}, {"weight": 50, "bake": "60s"}]
            }
        },
        "metrics": [{"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}],
        "analysis": {
            "falseRollback": {"critical": "0.01", "minor": "0.05"},
            "ableToSee": "2",
            "onNoData": {"action": "Hold", "after": "30m"},
        },
        "progressDeadline": "10m",
    }
    return body | changes


def verdict(kind: Verdict, at: float, *, requests: int = 1000, severity: Severity = Severity.CRITICAL) -> MetricVerdict:
    """One verdict of the metric `errors`."""
    reasons = {
        Verdict.PASS: "NotWorse",
        Verdict.INCONCLUSIVE: "GatheringEvidence",
        Verdict.FAIL_CRITICAL: "WorseThanStable",
        Verdict.FAIL_MINOR: "WorseThanStable",
        Verdict.NO_DATA: NoDataReason.NO_TRAFFIC.value,
    }
    estimates = {
        Verdict.FAIL_CRITICAL: (9.7, 4.0, 21.0),
        Verdict.FAIL_MINOR: (2.1, 1.2, 3.9),
        Verdict.PASS: (1.0, 0.5, 1.7),
    }
    estimate, low, high = estimates.get(kind, (None, None, None))
    message = f"as if measured: {kind.value}"
    return MetricVerdict("errors", severity, kind, reasons[kind], message, 0.0, estimate, low, high, requests, None, at)


def passes(world: "World") -> tuple[MetricVerdict, ...]:
    """A candidate that is as good as stable, seen as soon as it has traffic."""
    return (verdict(Verdict.PASS, world.now),) if world.candidate_weight else ()


def fails(world: "World") -> tuple[MetricVerdict, ...]:
    """A candidate that fails, seen as soon as it has traffic."""
    return (verdict(Verdict.FAIL_CRITICAL, world.now),) if world.candidate_weight else ()


def undecided(world: "World") -> tuple[MetricVerdict, ...]:
    """Too few requests to tell."""
    return (verdict(Verdict.INCONCLUSIVE, world.now, requests=12),) if world.candidate_weight else ()


def silent(_: "World") -> tuple[MetricVerdict, ...]:
    """Nobody asks the candidate anything."""
    return (verdict(Verdict.NO_DATA, 0.0, requests=0),)


@dataclass
class Pods:
    """A Deployment of the world: pods are ready `delay` seconds after they were asked for, or never."""

    desired: int
    role: str
    uid: str
    created: float
    grown: float
    before: int = 0


class BrokenRule(AssertionError):
    """An invariant of the design does not hold."""


@dataclass
class World:
    """Objects, clock and story of one model deployment."""

    spec: dict[str, Any] = field(default_factory=spec)
    judge: Judge = passes
    now: float = START
    delay: float = 5.0
    annotations: dict[str, str] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    generation: int = 1
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    pods: dict[str, Pods] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # snapshot -> why its pods are never ready
    refused: dict[str, str] = field(default_factory=dict)
    crashed: set[str] = field(default_factory=set)
    route: Route = field(default_factory=Route)
    split: Judgement | None = None  # whether the requests arrive in the shares that were decided
    published: bool = False
    router_hears: bool = True
    traffic: Mapping[str, Traffic] = field(default_factory=dict)  # by metric, as measured when a rollout begins
    writes: int = 0
    story: list[str] = field(default_factory=list)
    last_plan: Plan | None = None

    # ── What a person does ────────────────────────────────────────────────────────────────────────────────────────────

    def change(self, new: Mapping[str, Any]) -> str:
        """Apply another spec; answers the name of the snapshot that it wants."""
        self.spec = dict(new)
        self.generation += 1
        self.tell(f"user: applies model {self.spec['model']['version']}")
        return self.wanted

    def annotate(self, name: str, value: str | None = "yes") -> None:
        """Set an annotation, or remove it with None."""
        self.annotations.pop(name, None)
        if value is not None:
            self.annotations[name] = value
        self.tell(f"user: {name}={value}" if value is not None else f"user: removes {name}")

    # ── What is there ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def wanted(self) -> str:
        return snapshot_name("fraud", self.body_spec_content)

    @property
    def body_spec_content(self) -> Mapping[str, Any]:
        return parse_model_deployment(self.body).spec.content

    @property
    def body(self) -> dict[str, Any]:
        metadata = {
            "namespace": "shop",
            "name": "fraud",
            "uid": "uid-fraud",
            "resourceVersion": str(self.writes),
            "generation": self.generation,
            "annotations": dict(self.annotations),
        }
        # Through JSON as from an API server: what the planner does to its copy is not stored.
        return {"metadata": metadata, **json.loads(json.dumps({"spec": self.spec, "status": self.status}))}

    @property
    def weights(self) -> dict[str, int]:
        return dict((self.status.get("traffic") or {}).get("weights") or {})

    @property
    def candidate(self) -> str | None:
        return read(self.status).candidate

    @property
    def candidate_weight(self) -> int:
        return self.weights.get(self.candidate or "", 0)

    def ready(self, snapshot: str) -> int:
        pods = self.pods.get(snapshot)
        if pods is None or snapshot in self.problems or snapshot in self.crashed:
            return 0
        return pods.desired if self.now - pods.grown >= self.delay else min(pods.before, pods.desired)

    def observe(self) -> Observation:
        workloads = {
            name: Workload(
                snapshot=name,
                uid=pods.uid,
                resource_version="1",
                desired=pods.desired,
                ready=self.ready(name),
                since=pods.created,
                role=pods.role,
                problem=self.problems.get(name),
                crashed=name in self.crashed,
            )
            for name, pods in self.pods.items()
        }
        for name, message in self.refused.items():
            workloads[name] = Workload(name, "", "", 0, 0, self.now, problem=message, refused=True)
        verdicts = self.judge(self) if self.candidate else ()
        deployment = parse_model_deployment(self.body)
        kept: dict[str, Any] = {one.metric: {"requests": one.requests} for one in verdicts}
        if self.split:
            kept[SPLIT.metric] = dict(self.split.evidence)
        return Observation(
            now=self.now,
            deployment=deployment,
            snapshots=dict(self.snapshots),
            workloads=workloads,
            route=replace(self.route, published=self.published, split=Split(self.weights if self.router_hears else {})),
            evidence=Evidence(kept, verdicts, self.split.verdict if self.split else None),
            free_port=10_000,
            feasible=feasible(deployment.spec, policies(deployment.spec, 5.0), self.traffic)
            if self.candidate
            else None,
        )

    # ── One look ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def look(self, *, crash_after: int | None = None) -> Plan:
        """Observe, plan, apply. `crash_after`: the operator dies after this many actions."""
        seen = self.observe()
        made = plan(seen)
        if plan(seen) != made:
            raise BrokenRule("the planner is not a pure function")
        for action in made.actions[:crash_after]:
            self._apply(action)
        if crash_after is None or crash_after >= len(made.actions):
            for note in made.notes:
                self.tell(f"{note.reason.value}: {note.message}")
        self.last_plan = made
        return made

    def settle(self, limit: int = 20) -> None:
        """Look until nothing more is done at this moment."""
        for _ in range(limit):
            if not self.look().actions:
                return
        raise BrokenRule(f"the planner does not come to rest: {self.last_plan}")

    def run(self, seconds: float, *, tick: float = 10.0) -> None:
        """Let time pass: look at every tick and whenever the planner asked to be called."""
        end = self.now + seconds
        while self.now < end:
            self.settle()
            wish = self.last_plan.next_look if self.last_plan else None
            self.now = min(end, self.now + min(tick, tick if wish is None else max(wish, 0.5)))
        self.settle()

    def tell(self, line: str) -> None:
        """Add a line to the story: seconds since the start, weights, and what happened."""
        shares = " ".join(f"{self.nickname(name)}:{weight}" for name, weight in sorted(self.weights.items()) if weight)
        for name in {*self.snapshots, *self.pods}:
            line = line.replace(name, self.nickname(name))
        self.story.append(f"{self.now - START:7.1f}s [{shares:9}] {line}")

    def nickname(self, snapshot: str) -> str:
        """v<model version>: hashes would make the stories hard to read."""
        known = self.snapshots.get(snapshot)
        model = known.content.get("model") if known else None
        return f"v{model['version']}" if model else snapshot

    # ── The rules of the API server, and of the design ────────────────────────────────────────────────────────────────

    def _apply(self, action: Any) -> None:
        self.writes += 1
        match action:
            case WriteStatus():
                self._write_status(action)
            case CreateSnapshot(name, content):
                self.snapshots.setdefault(name, Snapshot(name, f"uid-{name}", "1", self.now, content))
            case RecordSnapshot(name, status):
                if name in self.snapshots:
                    known = self.snapshots[name]
                    promoted = status.get("promotedAt")
                    self.snapshots[name] = replace(
                        known,
                        rejected=status.get("rejected", False),
                        verdict=status.get("verdict"),
                        promoted=promoted and parse_rfc3339(promoted),
                        metrics=tuple(status.get("metrics") or ()),
                    )
            case RunWorkload(snapshot, replicas, role):
                self._run_workload(snapshot, replicas, role)
            case PublishRoute():
                self.published = True
            case DeleteWorkload(snapshot):
                state = read(self.status)
                if self.weights.get(snapshot):
                    raise BrokenRule(f"{snapshot} is deleted while it has traffic")
                if state.going_back and snapshot in (state.stable, state.going_back.target):
                    raise BrokenRule(f"{snapshot} is deleted while a person goes back")
                del self.pods[snapshot]
            case DeleteSnapshot(name):
                del self.snapshots[name]

    def _run_workload(self, snapshot: str, replicas: int, role: str) -> None:
        if snapshot in self.refused:
            return
        old = self.pods.get(snapshot)
        if old is None:
            self.pods[snapshot] = Pods(replicas, role, f"uid-{snapshot}", self.now, self.now)
            return
        state = read(self.status)
        if (state.candidate or state.going_back) and role == "stable" and replicas < old.desired:
            raise BrokenRule("stable loses pods while something is under way")
        grown = self.now if replicas > old.desired else old.grown
        self.pods[snapshot] = Pods(replicas, role, old.uid, old.created, grown, before=self.ready(snapshot))

    def _write_status(self, action: WriteStatus) -> None:
        before, after = read(self.status), read(action.status)
        if not allowed(before.phase, after.phase):
            raise BrokenRule(f"the table has no way from {before.phase} to {after.phase}")
        for snapshot, weight in after.split.weights.items():
            rises = weight > before.split.of(snapshot) and snapshot != before.stable
            if rises and action.order is not Order.RAISE:
                raise BrokenRule(f"traffic of {snapshot} rises in a write of order {action.order.name}")
            if rises and not action.proof.get(snapshot):
                raise BrokenRule(f"traffic of {snapshot} rises without live reads")
            if rises and self.ready(snapshot) < action.proof[snapshot]:
                raise BrokenRule(f"traffic of {snapshot} rises to {weight}% with {self.ready(snapshot)} ready pods")
            if rises and self.snapshots[snapshot].verdict == ROLLED_BACK and snapshot != after.candidate:
                raise BrokenRule(f"rejected {snapshot} gets traffic")
        if before.stable != after.stable and after.stable not in (None, *after.split.serving()):
            raise BrokenRule(f"{after.stable} is stable without traffic: {after.split}")
        moves = after.going_back and after.going_back.moved and not (before.going_back and before.going_back.moved)
        if after.going_back and moves:
            carried, there = self.ready(str(before.stable)), action.proof[after.going_back.target]
            if there < min(carried, self.spec["replicas"]):
                raise BrokenRule(f"{there} pods get what {carried} carried")
        if before.phase is not Phase.INITIALIZING and sum(after.split.weights.values()) != 100:
            raise BrokenRule(f"traffic is lost: {after.split}")
        self.status = deepcopy(action.status)
