"""Policy that the API server accepts and that cannot do what it says: each check is a sentence with the way out.

Only what is certain from the file is said. What depends on traffic (whether the requests ever suffice) is not.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from serin.api import capabilities
from serin.api.guard import Protocol
from serin.api.guard_agreement import DISAGREEMENTS
from serin.api.guard_record import OTHER, SHARE_TEMPLATE, VALUES_TEMPLATE
from serin.api.guard_record import TEMPLATES as RECORDED
from serin.api.guard_review import REVIEWED_WRONG
from serin.api.retraining import Trigger
from serin.api.signature import declared
from serin.api.spec import DistributionQuery, ModelDeploymentSpec, NoDataAction, TemplateRef, ValueQuery
from serin.api.text import count
from serin.api.times import human
from serin.api.verdicts import BLOCKING, Against, Severity
from serin.cli.lint.schema import Problem
from serin.routers import ROUTERS

if TYPE_CHECKING:
    from serin.evaluation.feasibility import Schedule

Check = Callable[[ModelDeploymentSpec, "Schedule"], Iterator[Problem]]


def _bakes(schedule: "Schedule") -> list[float]:
    """Of the stages that raise what is asked: in one that does not, evidence may not be waited for."""
    asked = [(not one.copies, one.weight) for one in schedule.stages]  # any weight is more than copies
    before = [(False, 0), *asked]
    return [one.bake for one, now, then in zip(schedule.stages, asked, before, strict=False) if now > then]


def _somebody_decides(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    if not any(one.severity in BLOCKING for one in spec.metrics):
        yield Problem(
            "spec.metrics",
            "no metric is critical or major, so no evidence can roll a bad version back: give one severity: critical",
        )


def _something_is_compared(spec: ModelDeploymentSpec, schedule: "Schedule") -> Iterator[Problem]:
    limited = (one for one in spec.metrics if one.severity in BLOCKING and one.against is Against.LIMIT)
    if not schedule.stages and not any(limited):
        yield Problem(
            f"spec.strategy.{spec.strategy.name}",
            "nobody is held back to compare with, and no critical or major metric has a limit, so no evidence can roll "
            'a bad version back: write holdback: 1, or a metric with against: limit and limit: "0.01"',
        )


def _breach_counts_in_time(spec: ModelDeploymentSpec, schedule: "Schedule") -> Iterator[Problem]:
    together = schedule.expected_seconds
    for index, metric in enumerate(spec.metrics):
        source = metric.source
        if isinstance(source, ValueQuery) and source.consecutive_seconds > together:
            yield Problem(
                f"spec.metrics[{index}].for",
                f"the value must stay outside its limits for {human(source.consecutive_seconds)}, but all steps "
                f"together bake for {human(together)}: write a shorter for, or longer bakes",
            )


def _silence_acts_in_time(spec: ModelDeploymentSpec, schedule: "Schedule") -> Iterator[Problem]:
    limit, analysis = schedule.max_duration, spec.analysis
    if analysis.on_no_data is NoDataAction.ROLLBACK and limit is not None and analysis.on_no_data_after >= limit:
        yield Problem(
            "spec.analysis.onNoData.after",
            f"the rollout is over after {human(limit)} (maxDuration), before there can be no data for "
            f"{human(analysis.on_no_data_after)}: write a shorter time",
        )


def _deadline_before_the_end(spec: ModelDeploymentSpec, schedule: "Schedule") -> Iterator[Problem]:
    limit = schedule.max_duration
    if limit is not None and spec.progress_deadline >= limit:
        yield Problem(
            "spec.progressDeadline",
            f"the rollout is over after {human(limit)} (maxDuration), before this deadline of "
            f"{human(spec.progress_deadline)} can pass: write a shorter one, or a longer maxDuration",
        )


def _looks_within_a_step(spec: ModelDeploymentSpec, schedule: "Schedule") -> Iterator[Problem]:
    interval, bakes = spec.analysis.interval, [one for one in _bakes(schedule) if one]
    if interval is not None and bakes and interval > min(bakes):
        yield Problem(
            "spec.analysis.interval",
            f"the shortest bake is {human(min(bakes))}, so with a look every {human(interval)} no step can end by "
            "then: write an interval of a tenth of the bake or less",
        )


def _reference_is_enough(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    for index, metric in enumerate(spec.metrics):
        source = metric.source
        if not isinstance(source, DistributionQuery) or not source.reference:
            continue
        from serin.analysis.psi import THRESHOLD, requests_needed  # takes a second, and is seldom needed

        total, categories = sum(source.reference.values()), len(source.reference)
        limit = THRESHOLD if metric.limit is None else metric.limit
        if requests_needed(categories, total, limit) is None:
            least = (requests_needed(categories, math.inf, limit) or 0) + 1
            yield Problem(
                f"spec.metrics[{index}].distribution.reference",
                f"chance alone moves {count(total)} answers in {categories} categories by a PSI of {limit:g}, so there "
                f"can be no verdict: write at least {count(2 * least)} answers, fewer categories, or a larger limit",
            )


def _looks_within_the_holdback(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    interval, holdback = spec.analysis.interval, spec.holdback
    if interval is not None and holdback is not None and interval >= holdback.seconds:
        yield Problem(
            "spec.watch.holdback.for",
            f"the holdback is over after {human(holdback.seconds)}, and there is a look every {human(interval)}, so it "
            "finds nothing: write a longer for, or a shorter analysis.interval",
        )


def _no_single_value_goes_back(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    policy = spec.limit_policy
    for index, metric in enumerate(spec.metrics):
        source = metric.source
        if policy is None or not policy.roll_back_within or not isinstance(source, ValueQuery):
            continue
        if metric.severity in BLOCKING and source.consecutive_seconds <= policy.interval:
            yield Problem(
                f"spec.metrics[{index}].for",
                f"the value is read every {human(policy.interval)} after the promotion (spec.watch), so a single one "
                f"outside its limits takes a promoted version back: write for: {human(5 * policy.interval)}, or "
                "severity: minor",
            )


def _drift_can_be_seen(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    asked = spec.retraining is not None and spec.retraining.asks(Trigger.DRIFT)
    if asked and all(one.against in (Against.STABLE, Against.LIMIT) for one in spec.metrics):
        yield Problem(
            "spec.retraining.triggers",
            "drift never begins a retraining: no metric is compared with a reference or with the past. Write a "
            "distribution with reference: {legit: 97000, fraud: 3000} and against: reference, or remove drift",
        )


def _a_breach_comes_in_time_to_go_back(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    policy = spec.limit_policy
    for index, metric in enumerate(spec.metrics):
        if policy is None or not policy.roll_back_within or metric.severity not in BLOCKING:
            continue
        first = metric.label_delay + (metric.seen_within if metric.against is Against.HISTORY else 0.0)
        if metric.against in (Against.LIMIT, Against.HISTORY) and first >= policy.roll_back_within:
            yield Problem(
                f"spec.metrics[{index}]",
                f"after a promotion it says nothing for {human(first)} (labelDelay, and window with against: history), "
                f"and what goes back does so within {human(policy.roll_back_within)}, so a breach is only told: write "
                "a longer watch.rollBackWithin, or severity: minor",
            )


def _signature_is_compared(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    asked = spec.integrity.signature or (spec.input_guard is not None and spec.input_guard.signature)
    if declared(spec.content.get("features")) and not asked:
        yield Problem(
            "spec.features.signature",
            "it is compared with nothing: write integrity: {signature: Required}, or leave it out",
        )


def _model_digest_is_said(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    digest = str((spec.content.get("model") or {}).get("digest", ""))
    pod = ((spec.content.get("runtime") or {}).get("template") or {}).get("spec") or {}
    is_image = any(str(one.get("image", "")).endswith(f"@{digest}") for one in pod.get("containers") or ())
    if spec.integrity.digest and digest and not pod.get("initContainers") and not is_image:
        yield Problem(
            "spec.integrity.digest",
            "nothing in the pod can say the digest of its model, so every version is rejected: fetch the model in an "
            "init container that writes the digest to /dev/termination-log, or leave out spec.model.digest",
        )


def _validation_is_asked(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    policy, moves = spec.limit_policy, (Against.LIMIT, Against.HISTORY)
    major = (one for one in spec.watched if one.against in moves and one.severity is Severity.MAJOR)
    escalated = (one for one in spec.watched if one.against in moves and one.escalate_after is not None)
    asked = policy is not None and policy.roll_back_within and (any(major) or any(escalated))
    if spec.rollback.validation is not None and not asked:
        yield Problem(
            "spec.rollback.validation",
            "its Job is never made: it is asked when a version that serves is over a limit that is not critical. Write "
            'watch: {}, and a metric with severity: major, against: limit and limit: "0.1"',
        )


def _checked_answers_are_counted(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    name = "bad-outputs"
    asked = [
        at for at, one in enumerate(spec.metrics) if isinstance(one.source, TemplateRef) and one.source.name == name
    ]
    if asked and spec.output_guard is None:
        yield Problem(
            f"spec.metrics[{asked[0]}]",
            f"no answer is checked, so {name} never has data: write spec.guard.output, or remove the metric",
        )
    if spec.output_guard is not None and not asked:
        yield Problem(
            "spec.guard.output",
            "a version is promoted although answers pass unchecked, as while the guard is away: write the metric "
            f"{{name: {name}, template: {{name: {name}}}, severity: critical}}",
        )


def _checked_requests_are_counted(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    name = "invalid-inputs"
    asked = [
        at for at, one in enumerate(spec.metrics) if isinstance(one.source, TemplateRef) and one.source.name == name
    ]
    if asked and spec.input_guard is None:
        yield Problem(
            f"spec.metrics[{asked[0]}]",
            f"no request is checked, so {name} never has data: write spec.guard.input, or remove the metric",
        )
    if spec.input_guard is not None and not spec.input_guard.reject and not asked:
        yield Problem(
            "spec.guard.input",
            "nobody is told of invalid requests, which pass: write watch: {} and the metric "
            f"{{name: {name}, template: {{name: {name}}}, against: day, severity: minor}}, or onInvalid: Reject",
        )


def _compared_answers_are_counted(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    asked = [at for at, one in enumerate(spec.metrics) if one.is_built_in(DISAGREEMENTS)]
    if asked and spec.agreement is None:
        yield Problem(
            f"spec.metrics[{asked[0]}]",
            f"no answers are compared, so {DISAGREEMENTS} never has data: write spec.guard.agreement, or remove the "
            "metric",
        )
    if spec.agreement is not None and not asked:
        yield Problem(
            "spec.guard.agreement",
            "a version is promoted whatever it answers: write the metric "
            f"{{name: {DISAGREEMENTS}, template: {{name: {DISAGREEMENTS}}}, against: limit, limit: "
            '"0.02", severity: critical}',
        )


def _recorded_answers_are_judged(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    fields = {one.name: one for one in spec.record.predictions} if spec.record else {}
    for at, metric in enumerate(spec.metrics):
        if not isinstance(metric.source, TemplateRef) or metric.source.name not in RECORDED:
            continue
        where, name, given = f"spec.metrics[{at}]", metric.source.name, metric.source.arguments
        field = fields.get(given.get("field", ""))
        if spec.record is None:
            yield Problem(where, f"nothing is recorded, so {name} never has data: write spec.guard.record")
        elif field is None:
            yield Problem(where, f"no such field is recorded: write arguments: {{field: {' or '.join(fields)}}}")
        elif (name == VALUES_TEMPLATE) is bool(field.labels):
            other = "labels" if name != VALUES_TEMPLATE else "buckets"
            yield Problem(where, f"{name} needs {other} of {field.name} in spec.guard.record: write another field")
        elif name == SHARE_TEMPLATE and given.get("label") not in (None, *field.labels, OTHER):
            yield Problem(where, f"no such label is recorded: write label: {' or '.join((*field.labels, OTHER))}")


def _answers_are_reviewed(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    asked = [at for at, one in enumerate(spec.metrics) if one.is_built_in(REVIEWED_WRONG)]
    if asked and spec.review is None:
        yield Problem(
            f"spec.metrics[{asked[0]}]",
            f"nobody looks at answers, so {REVIEWED_WRONG} never has data: write spec.guard.review, or remove the "
            "metric",
        )
    for at in asked:
        one = spec.metrics[at]
        if spec.review and one.severity in BLOCKING and one.against is Against.STABLE:
            yield Problem(
                f"spec.metrics[{at}]",
                "a rollout waits until people have labelled answers of both versions: write severity: info, or "
                'against: limit and for example limit: "0.2", if they do so within the steps',
            )


def _answers_are_compared(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    if spec.agreement is not None and (spec.strategy.name == "abTest" or spec.variants):
        yield Problem(
            "spec.guard.agreement",
            "nothing is compared while users keep their version, or while there are several new ones: remove it, and "
            f"the metric {DISAGREEMENTS}, or write strategy: {{canary: ...}} or {{shadow: ...}}",
        )


def _paths_begin_at_the_answer(spec: ModelDeploymentSpec, _: "Schedule") -> Iterator[Problem]:
    output, agreement = spec.output_guard, spec.agreement
    asked: list[tuple[str, Protocol, str]] = []
    if output is not None:
        asked += ((f"output.checks[{at}]", output.protocol, one.path) for at, one in enumerate(output.checks))
    if agreement is not None:
        asked += (
            (f"agreement.compare[{at}]", agreement.protocol, one.path) for at, one in enumerate(agreement.compare)
        )
    if spec.review is not None:
        asked += ((f"review.answer[{at}]", spec.review.protocol, one) for at, one in enumerate(spec.review.answer))
    for where, protocol, path in asked:
        if protocol is Protocol.OPEN_AI and _OF_A_CHOICE.match(path):
            yield Problem(
                f"spec.guard.{where}" + ("" if where.startswith("review") else ".path"),
                "no answer has this: paths of OpenAI begin at the whole answer: write for example "
                "choices[].message.content",
            )


# What a path may not begin with where it begins at the whole answer of a completion.
_OF_A_CHOICE: Final = re.compile(r"\[|\*|(message|delta|content|text|finish_reason|logprobs)\b")


CHECKS: Final[tuple[Check, ...]] = (
    _somebody_decides,  # a rollout that nothing can stop
    _something_is_compared,  # the same for want of anything to compare with
    _breach_counts_in_time,  # a breach that is over before it counts
    _silence_acts_in_time,  # an action that never comes
    _deadline_before_the_end,  # the same for the pods' deadline
    _looks_within_a_step,  # looks that are rarer than steps
    _looks_within_the_holdback,  # the same after the promotion
    _no_single_value_goes_back,  # a spike that takes a good version back
    _drift_can_be_seen,  # a retraining that never begins
    _a_breach_comes_in_time_to_go_back,  # a way back that is closed before anything is known
    _reference_is_enough,  # a comparison with next to nothing
    _signature_is_compared,  # the same with nothing at all
    _model_digest_is_said,  # a comparison that nothing can answer
    _validation_is_asked,  # one that nobody asks for
    _checked_answers_are_counted,  # one whose absence nobody notices
    _checked_requests_are_counted,  # the same of requests
    _compared_answers_are_counted,  # the same of two versions' answers
    _answers_are_reviewed,  # one that nobody answers
    _answers_are_compared,  # a comparison that never takes place
    _paths_begin_at_the_answer,  # a check that every answer fails
    _recorded_answers_are_judged,  # a metric of what is not recorded
)


def check(spec: ModelDeploymentSpec) -> Iterator[Problem]:
    """Every check's findings, in the order of CHECKS. Raises InvalidSpec for settings that the strategy cannot read."""
    from serin.rollout.strategies.table import (  # brings the analysis with it, which takes a second
        needs_of,
        strategy_of,
    )

    capabilities.check(spec.router.name, ROUTERS[spec.router.name].capabilities, needs_of(spec))
    schedule = strategy_of(spec).schedule()
    for one in CHECKS:
        yield from one(spec, schedule)
