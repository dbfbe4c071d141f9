"""What is judged, and what has to be counted for it.

A *subject* is a snapshot under judgement. Its *baseline* is the snapshot that is counted in the same seconds, None for
what is judged alone. The subjects are the arms of a rollout that have traffic, against stable; after a promotion with a
holdback it is the new stable version, against the one before; else stable alone, while it is measured for its record
or held to limits.
Counting goes on where the evidence ends, so a sample that was counted before the last evidence was written never counts
on top of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from serin.analysis.traffic import Traffic
from serin.analysis.types import NoData, Tick, known_number
from serin.api.json import JsonObject
from serin.api.spec import Metric, ModelDeploymentSpec, TemplateRef
from serin.api.state import Arm, Rollout, State
from serin.api.verdicts import PAST, Against, Severity
from serin.evaluation.past import PastRequest, past_request
from serin.evaluation.questions import is_same, still_asked

# Kept beside the metrics' evidence. No metric of a user's can have the name: theirs are in lower case.
SPLIT: Final = "Split"

Key = tuple[str, str]  # subject (a snapshot) and metric


@dataclass(frozen=True, slots=True)
class Subject:
    """A snapshot under judgement. `since`: counting begins there (unix seconds). `evidence`: so far, by metric.

    `limits`: only what is watched is counted, and it has been stable since `promoted` (unix seconds).
    """

    snapshot: str
    baseline: str | None
    since: float
    evidence: Mapping[str, JsonObject]
    limits: bool = False
    promoted: float | None = None


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What to count next: one metric of one subject, after `since` (unix seconds).

    `counted`: `since` is the time of the newest sample that was counted, not that of an event. `follows`: where the
    evidence ends that it is counted for, None when there is none.
    `past`: windows to read instead.
    """

    subject: str
    baseline: str | None
    metric: Metric
    since: float
    counted: bool = False
    follows: float | None = None
    past: PastRequest | None = None

    @property
    def key(self) -> Key:
        """Where the sample is kept."""
        return self.subject, self.metric.name


@dataclass(frozen=True, slots=True)
class Sample:
    """What was counted, and from when on (unix seconds). `follows`: as in SampleRequest; None: not known.

    `asked`: what the metric asked (questions.py); "": not known.
    """

    tick: Tick
    since: float
    follows: float | None = None
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Samples:
    """The newest samples of one deployment, and what is known about how they are taken.

    `interval`: seconds between two samples. `overdispersion`: as measured, by metric. `traffic`: of ratio metrics, as
    measured when the rollout began. `slowest_pods`: how many times as much the worst of stable's pods took as its
    others, by metric, where that was measured. `delay`: what delays all of them, in words; empty: nothing.
    `questions`: what each metric asks now (questions.py), by metric. `every`: seconds between two samples of metrics
    that have another interval.
    """

    newest: Mapping[Key, Sample] = field(default_factory=dict)
    interval: float = 5.0
    overdispersion: Mapping[str, float] = field(default_factory=dict)
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    delay: str = ""
    slowest_pods: Mapping[str, float] = field(default_factory=dict)
    questions: Mapping[str, str] = field(default_factory=dict)
    every: Mapping[str, float] = field(default_factory=dict)


def subjects(state: State) -> tuple[Subject, ...]:
    """Whom to count for: every arm that has traffic; after a promotion, stable while the version before has some.

    Else stable alone: for its record while that is made, and then for its limits, which go on where they were.
    """
    judged, watch = state.judged, state.watch
    if judged is None:
        return tuple(filter(None, (measured_subject(state) or limited_subject(state),)))
    if state.rollout is None and watch and not state.split.of(watch.before):
        return ()
    return tuple(subject_of(arm, judged) for arm in judged.arms if state.split.is_asked(arm.snapshot))


def measured_subject(state: State) -> Subject | None:
    """Stable while it is measured for its record: by itself, and anew each time."""
    if state.measuring is None or state.stable is None or state.judged:
        return None
    return Subject(state.stable, None, state.measuring.since, {})


def limited_subject(state: State) -> Subject | None:
    """Stable while it is held to limits."""
    limits = state.held_to_limits
    if limits is None or state.stable is None:
        return None
    return Subject(state.stable, None, limits.since, limits.evidence, limits=True, promoted=state.stable_since)


def looks_every(spec: ModelDeploymentSpec, state: State, interval: float) -> float:
    """Seconds between two samples: `interval`, and no less than what is asked for while only limits are watched."""
    only = measured_subject(state) is None and limited_subject(state) is not None
    return max(interval, spec.limit_policy.interval) if only and spec.limit_policy else interval


def subject_of(arm: Arm, rollout: Rollout) -> Subject:
    """An arm of a rollout as the subject of a judgement."""
    since = rollout.since if rollout.counted_since is None else rollout.counted_since
    return Subject(arm.snapshot, rollout.stable, since, arm.evidence)


def requests(
    state: State,
    metrics: Sequence[Metric],
    newest: Mapping[Key, Sample],
    *,
    request_template: str,
    settled_at: float | None,
    now: float,
    questions: Mapping[str, str],
) -> Iterator[SampleRequest]:
    """What to count next. `settled_at`: from when on requests that end were routed by the present weights, if any.

    `request_template`: the built-in template by which the router counts requests per snapshot. `now`: unix seconds.
    `questions`: as in Samples; what was counted for others is counted anew.
    """
    newest = still_counted(newest, questions)
    for subject in (replace(one, evidence=still_asked(one.evidence, questions)) for one in subjects(state)):
        if subject.limits:
            yield from _watched(subject, metrics, newest, now)
            continue
        for metric in (one for one in metrics if one.against is not Against.DAY):
            since, counted = _since(subject, metric.name, newest)
            ended = _ended(subject, metric.name)
            yield SampleRequest(subject.snapshot, subject.baseline, metric, since, counted, ended)
        if settled_at is not None:
            metric = Metric(SPLIT, TemplateRef(request_template), Severity.INFO, Against.STABLE)
            since, counted = _since(subject, SPLIT, newest)
            if since < settled_at:
                since, counted = settled_at, False
            yield SampleRequest(subject.snapshot, subject.baseline, metric, since, counted, _ended(subject, SPLIT))


def counts_since(subject: Subject, metric: Metric) -> float:
    """From when on requests count while what serves is watched: their labels have come by then (unix seconds)."""
    promoted = subject.since if subject.promoted is None else subject.promoted
    return max(subject.since, promoted + metric.label_delay)


def _watched(
    subject: Subject, metrics: Sequence[Metric], newest: Mapping[Key, Sample], now: float
) -> Iterator[SampleRequest]:
    for metric in (one for one in metrics if one.against is not Against.STABLE):
        begins = counts_since(subject, metric)
        if metric.against in PAST:
            since, _ = _since(subject, metric.name, newest)
            if past := past_request(metric, subject.evidence.get(metric.name), begins, now):
                yield SampleRequest(
                    subject.snapshot, None, metric, since, follows=_ended(subject, metric.name), past=past
                )
            continue
        since, counted = _since(subject, metric.name, newest)
        if begins <= now:
            since, counted = max(since, begins), counted and since >= begins
            yield SampleRequest(subject.snapshot, None, metric, since, counted, _ended(subject, metric.name))


def still_counted(newest: Mapping[Key, Sample], questions: Mapping[str, str]) -> dict[Key, Sample]:
    """The samples of what is still asked."""
    return {key: one for key, one in newest.items() if is_same(one.asked, questions.get(key[-1], ""))}


def uncounted(subject: Subject, metric: str, newest: Mapping[Key, Sample]) -> Sample | None:
    """The sample that the evidence has not counted yet; None when there is none, or when the two do not meet.

    They overlap when the evidence goes on behind the sample's beginning. There is a gap when it has ended earlier than
    when the sample was asked for: somebody has put an earlier status back. A sample of an earlier rollout of the same
    snapshot is none of this one.
    """
    found, ended = newest.get((subject.snapshot, metric)), _ended(subject, metric)
    # The beginning moves on while nobody looks (rollout/credit.py), and the evidence does not.
    begun = subject.since if ended is None else min(subject.since, ended)
    if found is None or found.since < begun:
        return None
    if isinstance(found.tick, NoData):
        return found
    overlaps = ended is not None and ended > found.since
    return None if overlaps or _leaves_gap(found, ended) else found


def _leaves_gap(sample: Sample, ended: float | None) -> bool:
    """Whether something was counted before the sample that is not in evidence which has `ended` then."""
    return sample.follows is not None and (ended is None or ended < sample.follows)


def _ended(subject: Subject, metric: str) -> float | None:
    """Until when the evidence has counted; None when that cannot be read, as the evidence then begins anew."""
    return known_number(subject.evidence.get(metric), "at")


def _since(subject: Subject, metric: str, newest: Mapping[Key, Sample]) -> tuple[float, bool]:
    """From when on to count: after the evidence so far, or after what is known to have been empty.

    And whether that is the time of a sample.
    """
    ended = _ended(subject, metric)
    since = subject.since if ended is None else ended
    last = newest.get((subject.snapshot, metric))
    empty = last.tick.at if last and isinstance(last.tick, NoData) and not _leaves_gap(last, ended) else None
    if empty is not None and empty > since:
        return empty, True
    return since, ended is not None
