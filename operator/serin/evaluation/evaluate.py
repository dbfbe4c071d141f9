"""The second stage: samples in, evidence, verdicts and a diagnosis out.

Pure, so that every decision can be replayed from the samples that led to it. The same samples twice give the same
evidence: what is counted is not counted again.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from serin.analysis import engine
from serin.analysis.diagnosis import Diagnosis
from serin.analysis.evidence import Kind
from serin.analysis.types import Arm, HistogramTick, Judgement, MetricVerdict, Policy, RatioTick, SplitTick
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.spec import ModelDeploymentSpec
from serin.api.split import Split
from serin.api.state import Rollout
from serin.api.verdicts import FAILURES, Severity, Trouble
from serin.evaluation.diagnosis import diagnosis
from serin.evaluation.feasibility import Schedule, feasible
from serin.evaluation.goals import judge_goal, moments
from serin.evaluation.limits import Limits
from serin.evaluation.policies import policies
from serin.evaluation.questions import rollout_as_asked, with_questions
from serin.evaluation.rewards import Rewards, judge_rewards
from serin.evaluation.samples import SPLIT, Sample, Samples, Subject, subject_of, uncounted

_SPLIT_POLICY = Policy(SPLIT, Severity.INFO)
# What a pod's node can do to the numbers. Failures are left to the pods' own words, answers do not come from nodes.
_OF_PODS = (Kind.LATENCY, Kind.MEAN)
_NOTHING = Diagnosis(Trouble.NONE, "")


@dataclass(frozen=True, slots=True)
class Case:
    """One rollout, and all that its judgement needs.

    `split`: the weights that hold now. `settled_at`: from when on requests that end were routed by them (unix seconds),
    None while that is not so. `elsewhere`: what is wrong with the router or with stable's pods, in sentences. Of each
    snapshot, as far as that is known: `ready`, when its newest pod became ready (unix seconds), `pods`: how many are.
    """

    spec: ModelDeploymentSpec
    rollout: Rollout
    split: Split
    schedule: Schedule
    settled_at: float | None
    samples: Samples
    elsewhere: tuple[str, ...] = ()
    ready: Mapping[str, float] = field(default_factory=dict)
    pods: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the samples so far say.

    `evidence`: to keep, by subject and metric. `verdicts`: by subject, in the order of the spec's metrics, what decides
    an experiment last. `split`: whether the snapshots receive the shares that were decided, None before that was
    measured. `feasible`: whether the traffic suffices for the policy, None while that is not known. `rewards`: of a
    bandit, what its arms have earned. `limits`: of the stable version while it is held to them.
    `together`: evidence to keep that is of all arms together, by metric.
    """

    evidence: Mapping[str, Mapping[str, JsonObject]] = field(default_factory=dict)
    verdicts: Mapping[str, tuple[MetricVerdict, ...]] = field(default_factory=dict)
    split: MetricVerdict | None = None
    diagnosis: Diagnosis = _NOTHING
    feasible: tuple[Reason, str] | None = None
    rewards: Rewards | None = None
    limits: Limits | None = None
    together: Mapping[str, JsonObject] = field(default_factory=dict)


def evaluate(case: Case) -> Assessment:
    """Judge every arm of a rollout."""
    case = replace(case, rollout=rollout_as_asked(case.rollout, case.samples.questions))
    # What is compared with the day before is no version's doing, so no version is judged by it.
    samples, spec = case.samples, replace(case.spec, metrics=case.spec.of_versions)
    asked, deciding = case.schedule.goal, case.schedule.deciding
    measured = (samples.overdispersion, samples.slowest_pods)
    arms = len(case.rollout.arms)
    seconds, every = case.schedule.expected_seconds, samples.every
    found = policies(spec, samples.interval, seconds, *measured, goal=deciding, arms=arms, every=every)
    rewards = _rewards(case)
    evidence: dict[str, Mapping[str, JsonObject]] = {}
    verdicts: dict[str, tuple[MetricVerdict, ...]] = {}
    splits: list[MetricVerdict] = []
    for arm in (one for one in case.rollout.arms if not one.eliminated):
        subject = subject_of(arm, case.rollout)
        judged = {name: _judge(policy, subject, case) for name, policy in found.items()}
        if asked and any(one.name == deciding for one in spec.metrics):
            sample = uncounted(subject, deciding, samples.newest)
            part = replace(asked, goal=replace(asked.goal, alpha=asked.goal.alpha / arms))
            judged[deciding] = judge_goal(part, subject.evidence.get(deciding), sample, case.settled_at)
        verdicts[arm.snapshot] = tuple(one.verdict for one in judged.values())
        evidence[arm.snapshot] = {name: dict(one.evidence) for name, one in judged.items() if one.evidence}
        if rewards:
            verdicts[arm.snapshot] += (rewards.verdict(arm.snapshot),)
            evidence[arm.snapshot] = {**evidence[arm.snapshot], **rewards.counted(arm.snapshot)}
        split = _judge_split(case, subject)
        if split.evidence:
            evidence[arm.snapshot] = {**evidence[arm.snapshot], SPLIT: dict(split.evidence)}
            splits.append(split.verdict)
        evidence[arm.snapshot] = with_questions(evidence[arm.snapshot], samples.questions)
    return Assessment(
        evidence,
        verdicts,
        next((one for one in splits if one.verdict in FAILURES), next(iter(splits), None)),
        diagnosis(verdicts.get(case.rollout.candidate, ()), spec.metrics, case.elsewhere),
        feasible(found, samples.traffic, case.schedule),
        rewards,
        together=with_questions(rewards.evidence, samples.questions) if rewards else {},
    )


def _rewards(case: Case) -> Rewards | None:
    """What the arms of a bandit have earned; None without a bandit, or without its metric."""
    asked = case.schedule.reward
    if asked is None or all(one.name != asked.metric for one in case.spec.metrics):
        return None
    return judge_rewards(asked, case.rollout, case.split, case.samples.newest)


def measure(spec: ModelDeploymentSpec, subject: Subject, samples: Samples) -> Assessment:
    """What was counted of a subject that nothing is compared with. It is recorded, and never judged."""
    found = policies(spec, samples.interval, samples.interval)
    folded = {name: _fold(one, subject, uncounted(subject, name, samples.newest)) for name, one in found.items()}
    return Assessment({subject.snapshot: {name: dict(one.evidence) for name, one in folded.items() if one.evidence}})


def _judge(policy: Policy, subject: Subject, case: Case) -> Judgement:
    sample = uncounted(subject, policy.metric, case.samples.newest)
    if sample is not None and isinstance(sample.tick, HistogramTick):
        sample = replace(sample, tick=_with_ages(sample.tick, sample.since, subject, case))
    judged = _fold(policy, subject, sample)
    of_one_pod = judged.evidence.get("kind") in _OF_PODS and case.pods.get(subject.snapshot) == 1
    if of_one_pod and judged.verdict.verdict in FAILURES:
        message = f"{judged.verdict.message}; it has one pod, and a slow node would look the same"
        return replace(judged, verdict=replace(judged.verdict, message=message))
    return judged


def _with_ages(tick: HistogramTick, since: float, subject: Subject, case: Case) -> HistogramTick:
    """The tick with what tells a warm-up: since when the newest pods are ready, and the candidate has this share."""
    arms = (subject.snapshot, subject.baseline)
    ready = max(case.ready.get(name, -math.inf) for name in arms if name is not None)
    reached = case.rollout.stage.since
    return replace(tick, since=since if reached is None else max(since, min(reached, tick.at)), ready=ready)


def _judge_split(case: Case, subject: Subject) -> Judgement:
    """Whether stable's requests and the arm's arrive in the shares that hold, as counted since they hold."""
    found = _split_sample(case, subject)
    if found is None or not isinstance(found.tick, RatioTick) or case.settled_at is None:
        return _fold(_SPLIT_POLICY, subject, None)
    if found.since < case.settled_at:
        return _fold(_SPLIT_POLICY, subject, None)
    counted = (found.tick.stable.requests, found.tick.candidate.requests)
    weights = (case.split.of(case.rollout.stable), case.split.of(subject.snapshot))
    return _fold(_SPLIT_POLICY, subject, Sample(SplitTick(found.tick.at, counted, weights), found.since))


def _split_sample(case: Case, subject: Subject) -> Sample | None:
    """What was counted to measure the split.

    Requests of one user stay together in a sticky split, so there only a goal that counts users can measure it.
    """
    asked = case.schedule.goal
    if case.split.sticky is None:
        return uncounted(subject, SPLIT, case.samples.newest)
    if asked is None or not asked.goal.per_user:
        return None
    found = uncounted(subject, asked.metric, case.samples.newest)
    if found is None or found.since < (case.settled_at or math.inf) + asked.label_delay:
        return None
    counted = moments(found.tick)
    if counted is None:
        return None
    at, candidate, stable = counted
    return Sample(RatioTick(at, Arm(candidate.requests, 0), Arm(stable.requests, 0)), found.since)


def _fold(policy: Policy, subject: Subject, sample: Sample | None) -> Judgement:
    evidence = subject.evidence.get(policy.metric)
    if sample is None:
        return Judgement(evidence or {}, engine.judge(policy, evidence))
    return engine.fold(policy, evidence, sample.tick)
