"""What is judged, and what has to be counted for it.

A *subject* is a snapshot under judgement. Its *baseline* is the snapshot that is counted in the same seconds, None for
what is judged alone. The subjects are the arms of a rollout that have traffic, against stable; after a promotion with a
holdback it is the new stable version, against the one before; else stable alone, while it is measured for its record.
Counting goes on where the evidence ends, so a sample that was counted before the last evidence was written never counts
on top of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from serin.analysis.traffic import Traffic
from serin.analysis.types import NoData, Tick
from serin.api.json import JsonObject
from serin.api.spec import Metric, TemplateRef
from serin.api.state import Arm, Rollout, State
from serin.api.verdicts import Against, Severity

# Kept beside the metrics' evidence. No metric of a user's can have the name: theirs are in lower case.
SPLIT: Final = "Split"

Key = tuple[str, str]  # subject (a snapshot) and metric


@dataclass(frozen=True, slots=True)
class Subject:
    """A snapshot under judgement. `since`: counting begins there (unix seconds). `evidence`: so far, by metric."""

    snapshot: str
    baseline: str | None
    since: float
    evidence: Mapping[str, JsonObject]


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What to count next: one metric of one subject, after `since` (unix seconds).

    `counted`: `since` is the time of the newest sample that was counted, not that of an event.
    """

    subject: str
    baseline: str | None
    metric: Metric
    since: float
    counted: bool = False

    @property
    def key(self) -> Key:
        """Where the sample is kept."""
        return self.subject, self.metric.name


@dataclass(frozen=True, slots=True)
class Sample:
    """What was counted, and from when on (unix seconds)."""

    tick: Tick
    since: float


@dataclass(frozen=True, slots=True)
class Samples:
    """The newest samples of one deployment, and what is known about how they are taken.

    `interval`: seconds between two samples. `overdispersion`: as measured, by metric. `traffic`: of ratio metrics, as
    measured when the rollout began. `slowest_pods`: how many times as much the worst of stable's pods took as its
    others, by metric, where that was measured. `delay`: what delays all of them, in words; empty: nothing.
    """

    newest: Mapping[Key, Sample] = field(default_factory=dict)
    interval: float = 5.0
    overdispersion: Mapping[str, float] = field(default_factory=dict)
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    delay: str = ""
    slowest_pods: Mapping[str, float] = field(default_factory=dict)


def subjects(state: State) -> tuple[Subject, ...]:
    """Whom to count for: every arm that has traffic; after a promotion, stable while the version before has some.

    Else stable alone, while it is measured.
    """
    judged, watch = state.judged, state.watch
    if judged is None:
        return tuple(filter(None, (measured_subject(state),)))
    if state.rollout is None and watch and not state.split.of(watch.before):
        return ()
    return tuple(subject_of(arm, judged) for arm in judged.arms if state.split.is_asked(arm.snapshot))


def measured_subject(state: State) -> Subject | None:
    """Stable while it is measured for its record: by itself, and anew each time."""
    if state.measuring is None or state.stable is None or state.judged:
        return None
    return Subject(state.stable, None, state.measuring.since, {})


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
) -> Iterator[SampleRequest]:
    """What to count next. `settled_at`: from when on requests that end were routed by the present weights, if any.

    `request_template`: the built-in template by which the router counts requests per snapshot.
    """
    for subject in subjects(state):
        for metric in metrics:
            since, counted = _since(subject, metric.name, newest)
            yield SampleRequest(subject.snapshot, subject.baseline, metric, since, counted)
        if settled_at is not None:
            metric = Metric(SPLIT, TemplateRef(request_template), Severity.INFO, Against.STABLE)
            since, counted = _since(subject, SPLIT, newest)
            if since < settled_at:
                since, counted = settled_at, False
            yield SampleRequest(subject.snapshot, subject.baseline, metric, since, counted)


def uncounted(subject: Subject, metric: str, newest: Mapping[Key, Sample]) -> Sample | None:
    """The sample that the evidence has not counted yet; None when there is none, or when the two overlap.

    A sample of an earlier rollout of the same snapshot is none of this one.
    """
    found = newest.get((subject.snapshot, metric))
    if found is None or found.since < subject.since:
        return None
    counted = (subject.evidence.get(metric) or {}).get("at")
    overlaps = counted is not None and counted > found.since and not isinstance(found.tick, NoData)
    return None if overlaps else found


def _since(subject: Subject, metric: str, newest: Mapping[Key, Sample]) -> tuple[float, bool]:
    """From when on to count: after the evidence so far, or after what is known to have been empty.

    And whether that is the time of a sample.
    """
    counted = (subject.evidence.get(metric) or {}).get("at")
    since = subject.since if counted is None else float(counted)
    last = newest.get((subject.snapshot, metric))
    if last and isinstance(last.tick, NoData) and last.tick.at is not None and last.tick.at > since:
        return last.tick.at, True
    return since, counted is not None
