"""Policy that the API server accepts and that cannot do what it says: each check is a sentence with the way out.

Only what is certain from the file is said. What depends on traffic (whether the requests ever suffice) is not.
"""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from serin.api import capabilities
from serin.api.spec import DistributionQuery, ModelDeploymentSpec, NoDataAction, ValueQuery
from serin.api.text import count
from serin.api.times import human
from serin.api.verdicts import BLOCKING, Against
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


CHECKS: Final[tuple[Check, ...]] = (
    _somebody_decides,  # a rollout that nothing can stop
    _something_is_compared,  # the same for want of anything to compare with
    _breach_counts_in_time,  # a breach that is over before it counts
    _silence_acts_in_time,  # an action that never comes
    _deadline_before_the_end,  # the same for the pods' deadline
    _looks_within_a_step,  # looks that are rarer than steps
    _looks_within_the_holdback,  # the same after the promotion
    _reference_is_enough,  # a comparison with next to nothing
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
