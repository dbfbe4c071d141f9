"""After a promotion: does the stable version keep the limits of its metrics, and is it as good as it used to be?

No version is there to compare it with. No promise holds here, since nobody says for how long it is watched. A ratio or
a latency is over its limit when the requests of its window prove it, by the same evidence as in a rollout, and are over
it all together: a short dip in a long window is none. The evidence begins anew with every window, so what went wrong
before is forgotten; so it does for what is compared with a frozen reference. A value is over its limit for as long as
it stays there. What is compared with its own past (past.py) is measured anew at each look.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from serin.analysis import engine
from serin.analysis.diagnosis import SOURCE_DOWN, Diagnosis
from serin.analysis.evidence import Kind
from serin.analysis.slo import QUANTILE
from serin.analysis.types import (
    HistogramTick,
    Judgement,
    MetricVerdict,
    NoData,
    PastTick,
    Policy,
    Tick,
    ValueTick,
    known_number,
)
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.names import content_hash
from serin.api.spec import Metric, ModelDeploymentSpec, ValueQuery, query_of
from serin.api.state import LimitWatch
from serin.api.times import rfc3339_whole
from serin.api.verdicts import FAILURES, PAST, Against, Severity, Trouble, Verdict
from serin.evaluation.past import not_yet
from serin.evaluation.policies import policies
from serin.evaluation.questions import still_asked, with_questions
from serin.evaluation.samples import Sample, Samples, Subject, counts_since, uncounted


@dataclass(frozen=True, slots=True)
class Limits:
    """What the samples so far say of each metric that is watched, in the order of the spec.

    `moved`: metrics whose breach says that the data has drifted, not that the version is bad.
    `questions`: as in Samples.
    """

    judged: Mapping[str, Judgement] = field(default_factory=dict)
    moved: tuple[str, ...] = ()
    questions: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdicts(self) -> tuple[MetricVerdict, ...]:
        """What each metric says."""
        return tuple(one.verdict for one in self.judged.values())

    def allowed(self, metric: Metric) -> float | None:
        """The largest number that keeps the limit: of times it is the share of requests that may take longer.

        None when there is no such number: what is compared with the past has none that other versions were held to.
        """
        judged = self.judged.get(metric.name)
        if metric.against is not Against.LIMIT:
            return None
        return 1.0 - QUANTILE if judged and judged.evidence.get("slowerThan") else metric.limit

    @property
    def evidence(self) -> dict[str, JsonObject]:
        """What to keep, by metric."""
        found = {name: dict(one.evidence) for name, one in self.judged.items() if one.evidence}
        return with_questions(found, self.questions)


def question(spec: ModelDeploymentSpec) -> str:
    """What is asked of the metrics with a limit, as a hash: evidence of another question is of no use."""
    asked = [
        [one.name, query_of(one.source), one.severity.value, one.limit, one.seen_within, *_of_value(one), *_more(one)]
        for one in spec.watched
    ]
    return content_hash([[None if part is None else str(part) for part in one] for one in asked])


def judge_limits(
    spec: ModelDeploymentSpec, limits: LimitWatch, subject: Subject, samples: Samples, ready: float, now: float
) -> Limits:
    """Judge every metric that is watched. `ready`: when the newest pod of stable became ready, `now` (unix seconds)."""
    found = policies(spec, samples.interval, samples.interval, samples.overdispersion)
    subject = replace(subject, evidence=still_asked(subject.evidence, samples.questions))
    return Limits(
        {
            one.name: _waiting(one, subject, now) or _judge(found[one.name], one, limits, subject, samples, ready)
            for one in spec.watched
        },
        questions=samples.questions,
    )


def _waiting(metric: Metric, subject: Subject, now: float) -> Judgement | None:
    """That a metric's time has not come yet; None when it has."""
    begins = counts_since(subject, metric)
    why = f"labels come late: counting begins at {rfc3339_whole(begins)} (labelDelay)" if now < begins else ""
    if not why and metric.against in PAST and metric.name not in subject.evidence:
        why = not_yet(metric, begins, now)
    if not why:
        return None
    return Judgement(
        {}, MetricVerdict(metric.name, metric.severity, Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE, why)
    )


def says_that_the_data_drifted(metric: Metric, *, new: bool) -> bool:
    """Whether a breach says that the data has drifted, not that the version is bad: no rollback mends that.

    So it is when answers leave a frozen reference, a version is worse than it was itself, or something is worse than
    the day before. Against the weeks before it is the version's doing while that is `new`, and drift later on.
    """
    return metric.against in (Against.REFERENCE, Against.SNAPSHOT, Against.DAY) or (
        metric.against is Against.HISTORY and not new
    )


def diagnose_limits(limits: Limits, infrastructure: Sequence[str]) -> Diagnosis:
    """Name the trouble; `infrastructure`: what is wrong with the router or with stable's pods, in sentences."""
    verdicts = [one for one in limits.verdicts if one.severity is not Severity.INFO]
    failed = [one for one in verdicts if one.verdict in FAILURES]
    over = [one for one in failed if one.metric not in limits.moved]
    silent = [one for one in verdicts if one.verdict is Verdict.NO_DATA]
    down = [one for one in silent if one.reason in SOURCE_DOWN]
    said = "; ".join(f"{one.metric}: {one.message}" for one in over or failed or down or silent)
    if infrastructure:
        return Diagnosis(Trouble.INFRASTRUCTURE, "; ".join(infrastructure))
    if over:
        return Diagnosis(Trouble.BAD_MODEL, f"stable does not keep its limits: {said}")
    if failed:
        return Diagnosis(Trouble.DATA_DRIFT, f"the data has drifted, and no other version would help: {said}")
    if down:
        return Diagnosis(Trouble.INFRASTRUCTURE, f"the source of the metrics is down: {said}")
    return Diagnosis(Trouble.NO_DATA if silent else Trouble.NONE, said)


def _judge(
    policy: Policy, metric: Metric, limits: LimitWatch, subject: Subject, samples: Samples, ready: float
) -> Judgement:
    policy = replace(policy, expected_ticks=max(1, math.ceil(metric.seen_within / samples.interval)))
    judged = _folded(policy, metric, limits, subject, samples, ready)
    verdict = judged.verdict
    if verdict.verdict in FAILURES and not _is_over(metric, judged):
        verdict = replace(verdict, verdict=Verdict.INCONCLUSIVE, reason=Reason.GATHERING_EVIDENCE)
    return replace(judged, verdict=replace(verdict, message=verdict.message.replace("the candidate", "stable")))


def _is_over(metric: Metric, judged: Judgement) -> bool:
    """Whether the requests of the window are over the limit, all together."""
    share, allowed = judged.verdict.estimate, Limits({metric.name: judged}).allowed(metric)
    if judged.evidence.get("kind") not in (Kind.LIMIT, Kind.SLICED) or allowed is None:
        return True
    return share is not None and share > allowed


def _folded(
    policy: Policy, metric: Metric, limits: LimitWatch, subject: Subject, samples: Samples, ready: float
) -> Judgement:
    kept, sample = subject.evidence.get(metric.name), uncounted(subject, metric.name, samples.newest)
    if sample is None:
        return Judgement(kept or {}, engine.judge(policy, kept))
    if isinstance(sample.tick, NoData):
        # Silence proves nothing, not even that what was over its limit still is.
        said = engine.judge(policy, kept)
        silent = replace(said, verdict=Verdict.NO_DATA, reason=sample.tick.reason, message=sample.tick.message)
        return Judgement(kept or {}, silent)
    return engine.fold(policy, _of_the_same_window(metric, limits, kept, sample), _with_age(sample, ready))


def _of_the_same_window(
    metric: Metric, limits: LimitWatch, kept: JsonObject | None, sample: Sample
) -> JsonObject | None:
    """The evidence that the sample is counted on top of."""
    if kept is None or isinstance(sample.tick, NoData):
        return kept
    if isinstance(sample.tick, ValueTick):
        return {**kept, "failed": ""}  # as soon as it is back it has failed no more
    if isinstance(sample.tick, PastTick):
        return kept  # it has its own window
    ends = (known_number(kept, "at") or 0.0, sample.tick.at)
    windows = {math.floor((at - limits.since) / metric.seen_within) for at in ends}
    return kept if len(windows) == 1 else None


def _with_age(sample: Sample, ready: float) -> Tick:
    if isinstance(sample.tick, HistogramTick):
        return replace(sample.tick, since=sample.since, ready=ready)
    return sample.tick


def _more(metric: Metric) -> tuple[object, ...]:
    """What else a metric asks. Nothing of what is left out, so that evidence of before it could be asked remains."""
    past = (metric.against, metric.least_coverage, metric.lasting) if metric.against is not Against.LIMIT else ()
    late = ("labelDelay", metric.label_delay) if metric.label_delay else ()
    return (*past, *late, *(("by", metric.by, metric.slice_requests) if metric.by else ()))


def _of_value(metric: Metric) -> tuple[float | None, ...]:
    source = metric.source
    return (source.minimum, source.maximum, source.consecutive_seconds) if isinstance(source, ValueQuery) else ()
