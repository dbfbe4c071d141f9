"""A small world in which the planner lives: it keeps the rules of the API server and of pods, and its clock is ours.

Not a mock of Serin: planner, parsing and status are the real ones. What is simulated is what surrounds them: objects
that are created, pods that take time to be ready, traffic that arrives in proportion to weights. Every look checks the
invariants of the design, so that a story that ends well by breaking a rule on the way still fails.
"""

import json
import marshal
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from serin.analysis.traffic import Traffic
from serin.analysis.types import Arm, NoData, PastTick, RatioTick, Stretch, Tick
from serin.api.conditions import Reason
from serin.api.kill_switch import read_kill_switch
from serin.api.names import dimension_hashes, snapshot_name
from serin.api.notifications import Deliveries
from serin.api.parse import parse_spec
from serin.api.retraining import JobSeen, RetrainingSeen, RunPhase
from serin.api.signature import Signature, Tensor
from serin.api.snapshots import Snapshot, read_snapshot
from serin.api.spec import ModelDeployment, ModelDeploymentSpec
from serin.api.split import NOWHERE
from serin.api.state import ClientRequests, Phase, State
from serin.api.status import read_state, read_status
from serin.api.times import rfc3339
from serin.api.validation import ValidationSeen
from serin.api.verdicts import BLOCKING, Against, SnapshotVerdict
from serin.controller.specs import Specs
from serin.evaluation.evaluate import Assessment
from serin.evaluation.past import PastRequest
from serin.evaluation.questions import question_of
from serin.evaluation.samples import SPLIT, Key, Sample, SampleRequest, Samples, looks_every, requests, still_counted
from serin.rollout.assess import assess
from serin.rollout.model import (
    Action,
    ApplyDeployment,
    ApplyPreview,
    ApplyRouteObject,
    ApplyService,
    CreateJob,
    CreateSnapshot,
    DeleteDeployment,
    DeletePreview,
    DeleteService,
    DeleteSnapshot,
    Digests,
    GoldenAnswers,
    Observation,
    Order,
    Plan,
    Preview,
    ProveReady,
    RecordSnapshot,
    RestoreTemplate,
    Route,
    Signatures,
    Workload,
    WriteStatus,
    Written,
)
from serin.rollout.planner import plan
from serin.rollout.strategies.table import strategy_of
from serin.workload.pods import refused

START = 1_700_000_000.0
Sampler = Callable[["World", SampleRequest], Tick]
INTERVAL = 5.0


def spec(version: str = "1", **changes: Any) -> dict[str, Any]:
    """A spec as the API server stores it, every default filled in."""
    container = {"name": "model", "image": "registry.test/fraud:1", "ports": [{"containerPort": 8080}]}
    body: dict[str, Any] = {
        "replicas": 4,
        "runtime": "generic",
        "model": {"name": "fraud", "version": version},
        "template": {"spec": {"containers": [container]}},
        "router": {"envoy": {"shield": "Failures"}},
        "timeout": "300s",
        "strategy": {
            "canary": {
                "steps": [{"weight": 5, "bake": "60s"}, {"weight": 25, "bake": "60s"}, {"weight": 50, "bake": "60s"}]
            }
        },
        "metrics": [{"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}],
        "analysis": {
            "falseRollbackRate": {"critical": "0.01", "minor": "0.05"},
            "minimumDetectableEffect": "2",
            "onNoData": {"action": "Hold", "after": "30m"},
        },
        "progressDeadline": "10m",
    }
    return body | changes


def passes(world: "World", _: SampleRequest) -> Tick:
    """A candidate that is as good as stable, on so many requests that the first sample shows it."""
    return RatioTick(world.now, Arm(20_000, 20), Arm(380_000, 380))


def fails(world: "World", _: SampleRequest) -> Tick:
    """A candidate that fails half of its requests."""
    return RatioTick(world.now, Arm(1_000, 500), Arm(19_000, 19))


def undecided(world: "World", _: SampleRequest) -> Tick:
    """Too few requests to tell."""
    return RatioTick(world.now, Arm(12, 0), Arm(228, 0))


def silent(_world: "World", _: SampleRequest) -> Tick:
    """Nobody asks the candidate anything."""
    return NoData(Reason.NO_TRAFFIC, "the metric is scraped, and neither version had a request")


def never_answers(_world: "World", _asked: CreateJob, _seconds: float) -> ValidationSeen:
    """A Job that hangs."""
    return ValidationSeen()


PROBES = {
    "integrity": {
        "goldenProbes": [
            {
                "name": "known",
                "path": "/predict",
                "body": '{"x": [1]}',
                "expected": '{"y": [0.12]}',
                "tolerance": "0.01",
                "timeout": "10s",
            }
        ],
        "every": "5m",
        "signature": "Off",
        "digest": "Off",
    }
}
FITTING = Signature((Tensor("x", "FP32", (-1, 4)),), (Tensor("y", "FP32", (-1,)),))
RUNNING = Digests({"model": f"sha256:{'a' * 64}"})
CONVERSION = "conversion"
GOAL = {"metric": CONVERSION, "better": "Higher", "minimumDetectableEffect": "1.1", "per": "User"}


def ab_test(version: str = "1", **changes: Any) -> dict[str, Any]:
    """A spec with an A/B test of minutes; the goal counts each user once."""
    settings = {
        "split": 50,
        "sticky": {"header": "X-User-Id"},
        "goal": GOAL,
        "minDuration": "60s",
        "maxDuration": "300s",
        "whenInconclusive": "KeepStable",
        **changes,
    }
    bought, users = 'users_total{outcome="bought", {{.version}}}', "users_total{ {{.version}} }"
    metrics = [
        {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"},
        {"name": CONVERSION, "ratio": {"bad": bought, "total": users}, "severity": "major"},
    ]
    return spec(version, strategy={"abTest": settings}, metrics=metrics)


def users_buy(candidate: float, stable: float, users: int = 4_000) -> Sampler:
    """So many users of either version are counted a sample at 50 %, and these shares of them buy; nothing fails."""

    def sample(world: "World", asked: SampleRequest) -> Tick:
        if asked.metric.name != CONVERSION:
            return passes(world, asked)
        dice, weights = Random(world.now), world.weights
        sides = []
        for share, buys in ((weights.get(asked.subject, 0), candidate), (weights.get(asked.baseline or "", 0), stable)):
            count = users * share // 50
            sides.append(Arm(count, max(0, round(dice.gauss(count * buys, (count * buys * (1 - buys)) ** 0.5)))))
        return RatioTick(world.now, sides[0], sides[1])

    return sample


def versions_buy(buys: Mapping[str, float], failing: str = "") -> Sampler:
    """Users of each model version buy by these shares; the version `failing` fails half of its requests."""

    def version(world: "World", snapshot: str | None) -> str:
        return world.snapshots[snapshot or ""].model_version

    def sample(world: "World", asked: SampleRequest) -> Tick:
        mine = version(world, asked.subject)
        if mine == failing:
            return fails(world, asked)
        other = buys[version(world, asked.baseline)] if asked.baseline else 0.0
        return users_buy(buys[mine], other)(world, asked)

    return sample


def bandit(version: str = "1", **changes: Any) -> dict[str, Any]:
    """A spec with a bandit of minutes, whose reward is the same conversion."""
    settings = {
        "reward": {"metric": CONVERSION, "better": "Higher"},
        "interval": "30s",
        "minWeight": 5,
        "maxWeight": 80,
        "maxStep": 20,
        "stopAt": "0.95",
        "minRequests": 1000,
        "minDuration": "60s",
        "maxDuration": "600s",
        **changes,
    }
    return spec(version, strategy={"bandit": settings}, metrics=ab_test()["metrics"])


def arms_earn(shares: Mapping[str, float], failing: str = "", requests: int = 4_000) -> Sampler:
    """So many requests a sample, of which each model version earns its share; one version may fail half of its own."""

    def of(world: "World", snapshot: str | None) -> Arm:
        version = world.snapshots[snapshot or ""].model_version
        count, share = requests * world.weights.get(snapshot or "", 0) // 100, shares[version]
        dice = Random(f"{world.now} {snapshot}")
        return Arm(count, min(count, max(0, round(dice.gauss(count * share, (count * share * (1 - share)) ** 0.5)))))

    def sample(world: "World", asked: SampleRequest) -> Tick:
        if asked.metric.name == CONVERSION:
            return RatioTick(world.now, of(world, asked.subject), of(world, asked.baseline))
        return (fails if world.snapshots[asked.subject].model_version == failing else passes)(world, asked)

    return sample


def variants(*versions: str) -> list[dict[str, Any]]:
    """Variants that are other versions of the model: b, c and so on."""
    return [{"name": chr(ord("b") + place), "model": {"version": one}} for place, one in enumerate(versions)]


@dataclass
class Pods:
    """A Deployment of the world: pods are ready `delay` seconds after they were asked for, or never."""

    desired: int
    role: str
    uid: str
    created: float
    grown: float
    before: int = 0
    stamped: bool = False


def _questions(of: ModelDeploymentSpec) -> dict[str, str]:
    """What its metrics ask, as the evidence loop says it."""
    return {one.name: question_of(one) for one in of.metrics}


def _beside_a_quiet_past(tick: RatioTick, asked: PastRequest) -> PastTick:
    """What a sampler says of now, beside weeks in which one request in a thousand was bad."""
    counted = tick.candidate
    now = Stretch(counted.requests, counted.bad / max(1, counted.requests), 1.0)
    earlier = tuple(Stretch(10_000, 0.001, 1.0) for _ in asked.moments)
    return PastTick(tick.at, now, asked.slot, earlier or None, "share")


class BrokenRule(AssertionError):
    """An invariant of the design does not hold."""


@dataclass
class World:
    """Objects, clock and story of one model deployment."""

    spec: dict[str, Any] = field(default_factory=spec)
    sampler: Sampler = passes
    now: float = START
    delay: float = 5.0
    annotations: dict[str, str] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    generation: int = 1
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    pods: dict[str, Pods] = field(default_factory=dict)
    evidence_delay: str = ""  # what delays all evidence, in words
    invalid: tuple[Reason, str] | None = None  # a part of the spec cannot work
    problems: dict[str, str] = field(default_factory=dict)  # snapshot -> why its pods are never ready
    lost: dict[str, int] = field(default_factory=dict)  # snapshot -> how many of its pods have that problem; else all
    refused: dict[str, str] = field(default_factory=dict)
    again_at: float = math.inf  # when what was refused is sent once more
    crashed: set[str] = field(default_factory=set)
    unasked: bool = False  # pods on trial have not been asked their golden probes yet
    unanswered: dict[str, tuple[str, float]] = field(default_factory=dict)  # snapshot -> why, and since when
    wrong: dict[str, str] = field(default_factory=dict)  # snapshot -> how its answer differs
    signatures: dict[str, Signature | None] = field(default_factory=dict)  # snapshot -> what its pods say; else FITTING
    digests: dict[str, Digests] = field(default_factory=dict)  # snapshot -> what its pods run; else RUNNING
    route: Route = field(default_factory=Route)
    shares: tuple[int, int] | None = None  # requests of candidate and stable that really arrive; None: as decided
    newest: dict[Key, Sample] = field(default_factory=dict)
    sampled: float = -math.inf  # when anything was counted last
    services: set[str] = field(default_factory=set)
    published: bool = False
    preview: str | None = None  # where the preview's Service leads
    router_hears: bool = True
    routed: dict[str, int] = field(default_factory=dict)  # what the router's one pod really serves
    traffic: Mapping[str, Traffic] = field(default_factory=dict)  # by metric, as measured when a rollout begins
    writes: int = 0
    story: list[str] = field(default_factory=list)
    last_plan: Plan | None = None
    jobs: dict[str, JobSeen | None] = field(default_factory=dict)  # of retrainings, by name; None: deleted
    taken: bool = False  # the webhook has taken the event
    webhook_problem: str = ""  # why it has not
    receiver_problem: str = ""  # why no receiver takes a notification
    training: Callable[[float], JobSeen | None] = lambda _: None  # how a Job ends that was made so many seconds ago
    no_jobs: str = ""  # why the API server takes no Job
    validations: dict[str, tuple[CreateJob, float]] = field(default_factory=dict)  # by name of the Job; made when
    compares: Callable[["World", CreateJob, float], ValidationSeen] = never_answers  # after so many seconds
    counted: ClientRequests | None = None  # what clients got of the version that was left
    volume: int = 0  # requests that the volume of retraining counts, a minute
    proven: dict[str, int] = field(default_factory=dict)  # pods that live reads have shown since the last status write
    every: float = 0.0  # seconds between two status writes that change numbers alone
    unwritten: dict[str, Any] | None = None  # the status that the operator goes on from, and has not written
    written_at: float = -math.inf
    specs: Specs = field(default_factory=Specs)  # every look reads the same spec

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
        return parse_spec(_copied(self.spec)).content

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
        return {"metadata": metadata, "spec": _copied(self.spec), "status": _copied(self.status)}

    @property
    def weights(self) -> dict[str, int]:
        return dict((self.status.get("traffic") or {}).get("weights") or {})

    @property
    def candidate(self) -> str | None:
        return read_state(self.status).candidate

    @property
    def candidate_weight(self) -> int:
        return self.weights.get(self.candidate or "", 0)

    def ready(self, snapshot: str) -> int:
        pods = self.pods.get(snapshot)
        if pods is None or snapshot in self.problems.keys() - self.lost.keys() or snapshot in self.crashed:
            return 0
        if snapshot in self.lost:
            return max(0, pods.desired - self.lost[snapshot])
        return pods.desired if self.now - pods.grown >= self.delay else min(pods.before, pods.desired)

    def observe(self) -> Observation:
        body = self.body
        kept = body["status"] if self.unwritten is None else _copied(self.unwritten)
        deployment, status = self.specs.read({**body, "status": kept}), read_status(kept)
        state = status.state
        self._sample(deployment.spec, state)
        return Observation(
            now=self.now,
            deployment=deployment,
            status=status,
            snapshots=dict(self.snapshots),
            workloads=self._workloads(),
            services={name: f"uid-service-{name}" for name in sorted(self.services)},
            route=self.observe_route(deployment, state),
            preview=Preview("uid-preview", self.preview) if self.preview else None,
            invalid=self.invalid,
            golden=self.golden(deployment.spec, state),
            retraining=self._retraining(state),
            validation=self._validation(state),
            deliveries=self._deliveries(state),
            signatures=self.known_signatures(deployment.spec, state),
            digests=self.running(deployment.spec, state),
            clients=(state.last_rollback.at, self.counted) if state.last_rollback and self.counted else None,
            samples=Samples(
                still_counted(self.newest, _questions(deployment.spec)),
                looks_every(deployment.spec, state, INTERVAL),
                traffic=self.traffic if state.rollout else {},
                delay=self.evidence_delay,
                questions=_questions(deployment.spec),
            ),
            written=Written(body["status"], self.written_at, self.every),
        )

    def golden(self, spec: ModelDeploymentSpec, state: State) -> dict[str, GoldenAnswers]:
        """What the pods on trial have answered."""
        judged = state.judged if spec.integrity.golden_probes and not self.unasked else None
        found = {}
        for snapshot in judged.active if judged else ():
            asked, (why, since) = self.ready(snapshot), self.unanswered.get(snapshot, ("", self.now))
            wrong = self.wrong.get(snapshot, "")
            told = f"golden probe known: {wrong} (pod {snapshot}-x)" if wrong and asked else ""
            waits = f"golden probe known: {why} (pod {snapshot}-x)" if why and asked else ""
            passed = 0 if told or waits else asked
            waited = max(0.0, self.now - since) if waits else 0.0
            found[snapshot] = GoldenAnswers(
                asked, passed, told, waits, waited, f"print-of-{snapshot}" if passed else ""
            )
        return found

    def _validation(self, state: State) -> ValidationSeen | None:
        """The Job of the validation that is under way."""
        known = state.manual_rollback.validation if state.manual_rollback else None
        if known is None:
            return None
        if known.name in self.validations:
            action, made = self.validations[known.name]
            return self.compares(self, action, self.now - made)
        return ValidationSeen(problem=self.no_jobs) if self.no_jobs else None

    def _deliveries(self, state: State) -> Deliveries:
        """As who sends notifications knows it: they are taken at once, unless the receivers have a problem."""
        if self.receiver_problem and state.outbox.pending:
            return Deliveries(problem=self.receiver_problem)
        taken = [(one, receiver) for one in state.outbox.pending for receiver in one.receivers]
        for one, receiver in taken:
            self.tell(f"webhook {receiver} takes {one.event}: {one.message}")
        return Deliveries(frozenset((one.id, receiver) for one, receiver in taken))

    def _retraining(self, state: State) -> RetrainingSeen:
        """As who carries out retrainings knows it: its Job is made at once, unless the API server takes none."""
        kept = state.retraining
        if kept is None:
            return RetrainingSeen()
        volume = None
        if kept.counted_until is not None and self.now - kept.counted_until >= 60.0:
            volume = kept.counted_until, self.volume, self.now
        run = kept.run
        if run is None:
            return RetrainingSeen(volume=volume)
        if run.webhook:
            return RetrainingSeen(delivered=self.taken, problem=self.webhook_problem, volume=volume)
        if run.phase is RunPhase.REQUESTED and not self.no_jobs and run.name not in self.jobs:
            self.jobs[run.name] = JobSeen(f"uid-{run.name}")
            self.tell(f"Job {run.name} is made")
        job = self.jobs.get(run.name)
        if job and job.succeeded is None and (ended := self.training(self.now - run.at)):
            job = self.jobs[run.name] = replace(ended, uid=job.uid)
        return RetrainingSeen(job, problem="" if job else self.no_jobs, volume=volume)

    def known_signatures(self, spec: ModelDeploymentSpec, state: State) -> dict[str, Signatures]:
        """What is known of the signatures of stable and of the versions on trial."""
        active = state.judged.active if state.judged else ()
        found = {}
        for one in {*active, state.stable or ""} & self.snapshots.keys() if spec.integrity.signature else ():
            said, asked, recorded = self.signatures.get(one, FITTING), self.ready(one), self.snapshots[one].signature
            if self.unasked or said is None:
                waits = "" if self.unasked else f"the model's metadata has neither inputs nor outputs (pod {one}-x)"
                waited = self.now - self.snapshots[one].created if waits and asked else 0.0
                found[one] = Signatures(recorded, asked=asked, waits=waits, waited=waited)
            else:
                found[one] = Signatures(said if asked else recorded, asked=asked, told=asked)
        return found

    def running(self, spec: ModelDeploymentSpec, state: State) -> dict[str, Digests]:
        """What the pods on trial run."""
        active = state.judged.active if state.judged and spec.integrity.digest else ()
        return {one: self.digests.get(one, RUNNING) if self.ready(one) else Digests() for one in active}

    def observe_route(self, _deployment: ModelDeployment, state: State) -> Route:
        """What the router says; a test may put a router of its own in this place."""
        split = state.split
        if self.router_hears:
            self.routed = dict.fromkeys(split.reached(), 1)
        return replace(
            self.route,
            split=split if self.router_hears else NOWHERE,
            instances={"router-a": split if self.router_hears else None},
            unheard=""
            if self.router_hears
            else "router pod router-a is ready, and no replica of the operator hears it",
            repairs=() if self.published or self.route.not_ours else ({"kind": "Service"}, {"kind": "EndpointSlice"}),
            router="router",
            state={"place": 1},
        )

    def _workloads(self) -> dict[str, Workload]:
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
                stamped=pods.stamped,
                crashed=name in self.crashed,
                crashing=name in self.crashed,
                starting=(pods.grown,) * max(0, pods.desired - self.ready(name)),
            )
            for name, pods in self.pods.items()
        }
        for name, message in self.refused.items():
            workloads[name] = refused(name, message, self.now, self.again_at)
        return workloads

    def _sample(self, spec: ModelDeploymentSpec, state: State) -> None:
        """Collect what evaluation asks for, once a moment: what is counted up to now is not counted again."""
        if self.now - self.sampled < looks_every(spec, state, 0.0):
            return
        settled = strategy_of(spec).settled_at(state.rollout.stage) if state.rollout else None
        asked = requests(
            state,
            spec.metrics,
            self.newest,
            request_template="request-errors",
            settled_at=None if settled is None else settled + INTERVAL,
            now=self.now,
            questions=_questions(spec),
        )
        for one in asked:
            if one.since < self.now:
                self.sampled = self.now
                tick = self._split_tick(one) if one.metric.name == SPLIT else self.sampler(self, one)
                if one.past and isinstance(tick, RatioTick):
                    tick = _beside_a_quiet_past(tick, one.past)
                self.newest[one.key] = Sample(tick, one.since, one.follows, question_of(one.metric))

    def _split_tick(self, asked: SampleRequest) -> Tick:
        weights = self.weights
        decided = (2_000 * weights.get(asked.subject, 0), 2_000 * weights.get(asked.baseline or "", 0))
        candidate, stable = self.shares or decided
        return RatioTick(self.now, Arm(candidate, 0), Arm(stable, 0))

    # ── One look ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def look(self, *, crash_after: int | None = None) -> Plan:
        """Observe, evaluate, plan, apply. `crash_after`: the operator dies after this many requests."""
        seen = self.observe()
        assessment = assess(seen)
        made = plan(seen, assessment)
        if assess(seen) != assessment or plan(seen, assessment) != made:
            raise BrokenRule("evaluation or planner are not pure functions")
        if made.requeue_after is not None and made.requeue_after <= 0.0:
            raise BrokenRule("looks follow each other without end")
        self._tell_look(seen, assessment, made)
        for action in made.actions[:crash_after]:
            self._apply(action)
        if crash_after is not None and crash_after < len(made.actions):
            self.die()
        else:
            self._keep(made)
            for note in made.events:
                self.tell(f"{note.reason.value}: {note.message}")
        self.last_plan = made
        return made

    def die(self) -> None:
        """The operator loses what it has in memory; the next one knows nothing but what is written."""
        self.unwritten, self.written_at = None, self.now
        self.newest.clear()

    def _keep(self, made: Plan) -> None:
        if made.unwritten is None:
            return
        if _stored(made.unwritten) != made.unwritten:
            raise BrokenRule("a status in memory is not what would be read back")
        if made.events:
            raise BrokenRule("what is told is not written")
        self.unwritten = made.unwritten

    def _tell_look(self, seen: Observation, assessment: Assessment, made: Plan) -> None:
        """What was seen and what is planned, when that is more than to keep evidence."""
        if not made.events and all(isinstance(one, WriteStatus) and one.order is Order.RECORD for one in made.actions):
            return
        pods = ", ".join(
            f"{name} refused" if one.refused else f"{name} {one.ready}/{one.desired}"
            for name, one in sorted(seen.workloads.items())
        )
        said = "".join(
            f"; {one.metric} {one.verdict.value} ({one.requests} requests)"
            for verdicts in assessment.verdicts.values()
            for one in verdicts
        )
        self._detail(f"sees  pods {pods or 'none'}{said}")
        actions = ", ".join(_in_words(action) for action in made.actions)
        again = "" if made.requeue_after is None else f"; looks again in {made.requeue_after:g} s"
        self._detail(f"plans {actions or 'nothing'}{again}")

    def _detail(self, line: str) -> None:
        for name in {*self.snapshots, *self.pods, *self.refused}:
            line = line.replace(name, self.nickname(name))
        self.story.append(f"{'':8} {line}")

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
            wish = self.last_plan.requeue_after if self.last_plan else None
            self.now = min(end, self.now + min(tick, tick if wish is None else max(wish, 0.5)))
        self.settle()

    def tell(self, line: str) -> None:
        """Add a line to the story: seconds since the start, weights, and what happened."""
        shares = " ".join(f"{self.nickname(name)}:{weight}" for name, weight in sorted(self.weights.items()) if weight)
        for name in {*self.snapshots, *self.pods}:
            line = line.replace(name, self.nickname(name))
        self.story.append(f"{self.now - START:7.1f}s [{shares:9}] {line}")

    @property
    def said(self) -> list[str]:
        """The story without what was seen and planned."""
        return [line for line in self.story if not line.startswith("         ")]

    def nickname(self, snapshot: str) -> str:
        """v<model version>, with the image's tag when that is not 1: hashes would make the stories hard to read."""
        known = self.snapshots.get(snapshot)
        if known is None or not (model := known.content.get("model")):
            return snapshot
        containers = (known.content["runtime"] or {})["template"]["spec"]["containers"]
        image = str(containers[0]["image"]).rpartition(":")[2]
        config = "" if "threshold" not in (known.content.get("config") or {}) else " with threshold"
        return f"v{model['version']}" + ("" if image == "1" else f" on image {image}") + config

    # ── The rules of the API server, and of the design ────────────────────────────────────────────────────────────────

    def _apply(self, action: Action) -> None:
        self.writes += not isinstance(action, ProveReady)
        match action:
            case WriteStatus():
                self._write_status(action)
            case ProveReady(snapshot, pods):
                if self.ready(snapshot) < pods:
                    raise BrokenRule(f"{self.ready(snapshot)} of {pods} pods of {snapshot} are there")
                self.proven[snapshot] = pods
            case CreateSnapshot(name, content):
                made = Snapshot(name, f"uid-{name}", "1", self.now, content, dimension_hashes(content))
                self.snapshots.setdefault(name, made)
            case RecordSnapshot(name, status):
                self._record(name, status)
            case ApplyService(snapshot):
                self.services.add(snapshot)
            case ApplyDeployment(snapshot, replicas, role):
                self._run_workload(snapshot, replicas, role, stamp=action.stamp)
            case RestoreTemplate():
                pass
            case CreateJob(name, target, present):
                if not (self.ready(target) and self.ready(present)):
                    raise BrokenRule(f"{name} compares {target} and {present}, and one of them does not answer")
                if not self.no_jobs:
                    self.validations.setdefault(name, (action, self.now))
            case ApplyRouteObject(body):
                self.published = body["kind"] == "EndpointSlice"
            case DeleteDeployment(snapshot):
                self._delete_deployment(snapshot)
            case DeleteService(snapshot):
                if snapshot in self.pods:
                    raise BrokenRule(f"the Service of {snapshot} goes before its Deployment")
                self.services.remove(snapshot)
            case ApplyPreview(snapshot):
                if snapshot not in self.services:
                    raise BrokenRule(f"the preview leads to {snapshot}, which has no Service")
                self.preview = snapshot
            case DeletePreview():
                self.preview = None
            case DeleteSnapshot(name):
                del self.snapshots[name]

    def _record(self, name: str, status: Mapping[str, Any]) -> None:
        if name not in self.snapshots:
            return
        before = self.snapshots[name]
        spec = {"content": dict(before.content), "hashes": dict(before.hashes)}
        metadata = {"name": name, "uid": before.uid, "resourceVersion": "1"}
        metadata |= {"creationTimestamp": rfc3339(before.created)}
        read = read_snapshot({"metadata": metadata, "spec": spec, "status": _stored(dict(status))})
        self.snapshots[name] = replace(read, created=before.created, content=before.content, pinned=before.pinned)

    def _delete_deployment(self, snapshot: str) -> None:
        state = read_state(self.status)
        if self.weights.get(snapshot):
            raise BrokenRule(f"{snapshot} is deleted while it has traffic")
        if self.routed.get(snapshot):
            raise BrokenRule(f"{snapshot} is deleted while a router pod sends to it")
        if state.manual_rollback and snapshot in (state.stable, state.manual_rollback.target):
            raise BrokenRule(f"{snapshot} is deleted while a person goes back")
        if state.watch and snapshot == state.watch.before:
            raise BrokenRule(f"{snapshot} is deleted while it is held back")
        del self.pods[snapshot]

    def _run_workload(self, snapshot: str, replicas: int, role: str, *, stamp: bool) -> None:
        if snapshot in self.refused:
            return
        if snapshot not in self.services:
            raise BrokenRule(f"the Deployment of {snapshot} comes before its Service")
        old = self.pods.get(snapshot)
        if old is None:
            self.pods[snapshot] = Pods(replicas, role, f"uid-{snapshot}", self.now, self.now, stamped=stamp)
            return
        state = read_state(self.status)
        if (state.rollout or state.manual_rollback) and role == "stable" and replicas < old.desired:
            raise BrokenRule("stable loses pods while something is under way")
        grown = self.now if replicas > old.desired else old.grown
        before = self.ready(snapshot) if replicas != old.desired else old.before
        self.pods[snapshot] = Pods(
            replicas, role, old.uid, old.created, grown, before=before, stamped=stamp or old.stamped
        )

    def _write_status(self, action: WriteStatus) -> None:
        before, after = read_state(self.status), read_state(action.status)
        if before.phase is not after.phase and after.phase not in MAY_FOLLOW[before.phase]:
            raise BrokenRule(f"no way leads from {before.phase} to {after.phase}")
        for snapshot, weight in after.split.weights.items():
            back = before.watch is not None and after.split.is_all_to(
                before.watch.before
            )  # a rollback waits for nothing
            rises = weight > before.split.of(snapshot) and snapshot != before.stable and not back
            if rises and action.order is not Order.RAISE:
                raise BrokenRule(f"traffic of {snapshot} rises in a write of order {action.order.name}")
            forced = after.rollout is not None and after.rollout.stage.forced
            unverified = self.unasked or snapshot in self.wrong or snapshot in self.unanswered
            if rises and after.rollout and unverified and not forced and self.spec.get("integrity"):
                raise BrokenRule(f"traffic of {snapshot} rises before its pods have answered their golden probes")
            if rises and after.rollout and not forced:
                self._check_integrity(snapshot)
            if rises and not self.proven.get(snapshot):
                raise BrokenRule(f"traffic of {snapshot} rises without live reads")
            rejected = rises and self.snapshots[snapshot].verdict is SnapshotVerdict.ROLLED_BACK
            if rejected and not (after.rollout and snapshot in after.rollout.active):
                raise BrokenRule(f"rejected {snapshot} gets traffic")
        for rule in after.split.rules:
            if rule not in before.split.rules and (
                action.order is not Order.RAISE or not self.proven.get(rule.snapshot)
            ):
                raise BrokenRule(f"requests go to {rule.snapshot} without live reads")
        mirror, earlier = after.split.mirror, before.split.mirror
        more = mirror and (earlier is None or mirror.percent > earlier.percent or mirror.snapshot != earlier.snapshot)
        if mirror and more and (action.order is not Order.RAISE or not self.proven.get(mirror.snapshot)):
            raise BrokenRule(f"copies go to {mirror.snapshot} without live reads")
        if mirror and after.split.of(mirror.snapshot):
            raise BrokenRule(f"{mirror.snapshot} gets copies and requests: {after.split}")
        if before.stable != after.stable and after.stable not in (None, *after.split.serving()):
            raise BrokenRule(f"{after.stable} is stable without traffic: {after.split}")
        self._check_eliminated(before, after)
        killed = read_kill_switch(self.annotations, self.spec)
        if killed and after.rollout:
            raise BrokenRule(f"a rollout goes on while the kill switch is {killed.level}")
        if after.kill_switch is not killed.level:
            raise BrokenRule(f"the status says that the kill switch is {after.kill_switch}, and it is {killed.level}")
        self._check_watch(before, after)
        self._check_limits(before, after)
        self._check_validation(after, action.status)
        self._check_manual_rollback(before, after)
        self._check_rollback(before, after)
        if before.phase is not Phase.INITIALIZING and sum(after.split.weights.values()) != 100:
            raise BrokenRule(f"traffic is lost: {after.split}")
        self.proven = {}
        self.status, self.unwritten, self.written_at = _stored(action.status), None, self.now

    def _check_integrity(self, snapshot: str) -> None:
        """No traffic rises of a version that clients cannot speak to, or that is not what it declares."""
        required = self.spec.get("integrity", {})
        if required.get("signature") == "Required" and (
            self.unasked or self.signatures.get(snapshot, FITTING) != FITTING
        ):
            raise BrokenRule(f"traffic of {snapshot} rises, and its signature is not stable's")
        if required.get("digest") == "Required" and self.digests.get(snapshot, RUNNING) != RUNNING:
            raise BrokenRule(f"traffic of {snapshot} rises, and it runs something else than it declares")

    def _check_eliminated(self, before: State, after: State) -> None:
        """An eliminated arm has no traffic, and never comes back."""
        out = {arm.snapshot for arm in before.rollout.arms if arm.eliminated} if before.rollout else set()
        goes_on = before.rollout and after.rollout and after.rollout.since == before.rollout.since
        back = out & set(after.rollout.active) if goes_on and after.rollout else set()
        served = {one for one in out if goes_on and after.split.has_clients(one)}
        if back or served:
            raise BrokenRule(f"{', '.join(sorted(back | served))} is eliminated and comes back")

    def _check_rollback(self, before: State, after: State) -> None:
        """Nothing but a person takes the traffic from a version that serves, and gives it to one that does not."""
        last = after.last_rollback
        if last is None or last == before.last_rollback or last.reason.endswith("ByUser"):
            return
        if before.split.of(last.source) and self.ready(last.source) and not self.ready(last.target):
            raise BrokenRule(f"{last.source} is rolled back to {last.target}, which has no ready pod")

    def _check_watch(self, before: State, after: State) -> None:
        """The version before has a share while the promoted one is watched, and that no more than the spec says."""
        if after.watch is None or after.stable is None:
            return
        if after.rollout or after.manual_rollback:
            raise BrokenRule("a version is watched while something is under way")
        if after.watch.before == after.stable:
            raise BrokenRule(f"{after.stable} is watched against itself")
        pair = (after.stable, after.watch.before)
        if any(map(self.ready, pair)) and not any(map(self.ready, after.split.serving())):
            raise BrokenRule(f"requests go to nobody, and a version that is watched could answer: {after.split}")
        share = after.split.of(after.watch.before)
        allowed = self.spec.get("watch", {}).get("holdback", {"weight": 0})["weight"]
        if share > max(allowed, before.split.of(after.watch.before)) and self.ready(after.stable):
            raise BrokenRule(f"{share}% are held back, the spec says {allowed}%")

    def _check_limits(self, before: State, after: State) -> None:
        """Limits are those of what serves, and of a spec that asks for it. A promotion is left for one once at most."""
        asked = after.manual_rollback
        if asked and asked.cause and before.manual_rollback is None and before.watch is None:
            if before.limits is None or (before.limits.tried and not before.limits.refused):
                raise BrokenRule(f"{before.stable} is left for a limit that is not watched, or once more")
            metric = next(one for one in parse_spec(_copied(self.spec)).metrics if one.name == asked.cause.metric)
            begun = before.limits.begun.get(metric.name, math.inf)
            if metric.severity not in BLOCKING and self.now - begun < (metric.escalate_after or math.inf):
                raise BrokenRule(f"{before.stable} is left for {metric.name}, which only tells")
            if metric.against in (Against.SNAPSHOT, Against.REFERENCE):
                raise BrokenRule(f"{before.stable} is left for {metric.name}, which says that the world has moved")
        if after.limits is None:
            return
        if after.judged:
            raise BrokenRule("stable is held to limits while something is compared")
        if "watch" not in self.spec:
            raise BrokenRule("limits are watched that nobody asked to watch")
        names = {one["name"] for one in self.spec["metrics"]}
        if not names >= {*after.limits.evidence, *after.limits.breached}:
            raise BrokenRule(f"evidence is kept of metrics that are gone: {after.limits}")

    def _check_validation(self, after: State, status: Mapping[str, Any]) -> None:
        """A version that fails goes on serving for no longer than the spec lets a validation last."""
        going, policy = after.manual_rollback, parse_spec(_copied(self.spec)).rollback.validation
        validating = status.get("reason") == Reason.VALIDATING.value
        if going is None or going.validation is None or not validating:
            return
        if policy is None or self.now - going.validation.since >= policy.timeout:
            raise BrokenRule(f"{after.stable} serves on for a validation that is over, or that nobody asks for")
        if going.cause is None or not self.ready(after.stable or ""):
            raise BrokenRule(f"{going.target} is validated although somebody waits for it")

    def _check_manual_rollback(self, before: State, after: State) -> None:
        """Whoever gets everything has as many pods as carried it, or all that are asked for."""
        asked, earlier = after.manual_rollback, before.manual_rollback
        if asked is None or asked.moved is None or (earlier and earlier.moved is not None):
            return
        carried, there = self.ready(before.stable or ""), self.proven.get(asked.target, 0)
        if there < min(carried, self.spec["replicas"]):
            raise BrokenRule(f"{there} pods get what {carried} carried")


def _stored(value: dict[str, Any]) -> dict[str, Any]:
    """Through JSON, as to an API server."""
    copy: dict[str, Any] = json.loads(json.dumps(value))
    return copy


def _copied(value: dict[str, Any]) -> dict[str, Any]:
    """As an API server answers: what the planner does to its copy is not stored."""
    copy: dict[str, Any] = marshal.loads(marshal.dumps(value))
    return copy


def _in_words(action: Action) -> str:
    """One request of a plan."""
    match action:
        case WriteStatus(order):
            return f"write status ({order.name.lower()})"
        case ProveReady(snapshot, pods):
            return f"see {pods} pods of {snapshot} live"
        case CreateSnapshot(name) | RecordSnapshot(name) | DeleteSnapshot(name):
            verb = {"CreateSnapshot": "create", "RecordSnapshot": "record", "DeleteSnapshot": "delete"}
            return f"{verb[type(action).__name__]} snapshot {name}"
        case ApplyPreview(snapshot):
            return f"let the preview lead to {snapshot}"
        case DeletePreview():
            return "delete the preview"
        case ApplyService(snapshot):
            return f"apply service {snapshot}"
        case ApplyDeployment(snapshot, replicas, role):
            return f"{'apply' if action.stamp else 'create'} deployment {snapshot} with {replicas} as {role}"
        case CreateJob(_, target, present):
            return f"create job that compares {target} with {present}"
        case RestoreTemplate(snapshot):
            return f"restore template of {snapshot}"
        case ApplyRouteObject(body):
            return f"apply route {body['kind']}"
        case DeleteDeployment(snapshot):
            return f"delete deployment {snapshot}"
        case DeleteService(snapshot):
            return f"delete service {snapshot}"


# Phase -> phases that one look may lead to. Staying is always allowed.
MAY_FOLLOW = {
    Phase.INITIALIZING: {Phase.HEALTHY},
    Phase.HEALTHY: {Phase.STARTING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.ROLLING_BACK},
    Phase.STARTING: {Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.ROLLING_BACK, Phase.HEALTHY},
    Phase.PROGRESSING: {Phase.PAUSED, Phase.PROMOTING, Phase.STARTING, Phase.ROLLING_BACK, Phase.HEALTHY},
    Phase.PAUSED: {Phase.PROGRESSING, Phase.PROMOTING, Phase.STARTING, Phase.ROLLING_BACK, Phase.HEALTHY},
    Phase.PROMOTING: {Phase.HEALTHY, Phase.STARTING, Phase.PAUSED, Phase.PROGRESSING, Phase.ROLLING_BACK},
    Phase.ROLLING_BACK: {Phase.HEALTHY},
}
