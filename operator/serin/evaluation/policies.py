"""The spec's metrics as policies of the analysis engine: who may roll back, on how much of the promise."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from serin.analysis.combine import split_alpha
from serin.analysis.dispersion import UNKNOWN
from serin.analysis.sliced import JUDGEMENTS
from serin.analysis.types import TOLERANCE, TOLERANCE_LEAST, Policy
from serin.api.guard_agreement import DISAGREEMENTS
from serin.api.guard_record import SHARE_TEMPLATE
from serin.api.guard_review import REVIEWED_WRONG
from serin.api.spec import Metric, ModelDeploymentSpec, ValueQuery
from serin.api.verdicts import BLOCKING, Severity


def policies(
    spec: ModelDeploymentSpec,
    interval: float,
    expected_seconds: float,
    overdispersion: Mapping[str, float] = MappingProxyType({}),
    slowest_pods: Mapping[str, float] = MappingProxyType({}),
    goal: str = "",
    arms: int = 1,
    every: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Policy]:
    """One policy per metric. `interval`: seconds between samples. Two are as measured, by metric.

    `every`: seconds between samples of metrics that have another interval.

    `goal`: the metric that decides an experiment; it has no policy, as it rolls nothing back.

    `expected_seconds`: how long evidence is gathered if nothing has to wait.

    The promise about false rollbacks is split evenly: the critical part over the critical metrics, the minor part over
    all metrics that can roll back. Both are of the whole rollout, so each of several `arms` has its part of them.
    """
    metrics = [one for one in spec.metrics if one.name != goal]
    critical = [one.name for one in metrics if one.severity == Severity.CRITICAL]
    blocking = [one.name for one in metrics if one.severity in BLOCKING]
    analysis = spec.analysis
    all_critical, all_minor = analysis.false_rollback_rate_critical / arms, analysis.false_rollback_rate_minor / arms
    alpha_critical = split_alpha(all_critical, dict.fromkeys(critical, 1.0)) if critical else {}
    alpha_minor = split_alpha(all_minor, dict.fromkeys(blocking, 1.0)) if blocking else {}
    return {
        metric.name: _policy(
            spec,
            metric,
            alpha_critical.get(metric.name, all_critical),
            alpha_minor.get(metric.name, all_minor),
            interval,
            expected_ticks=max(1, math.ceil(expected_seconds / every.get(metric.name, interval))),
            overdispersion=overdispersion.get(metric.name, UNKNOWN),
            slowest_pod=slowest_pods.get(metric.name, 1.0),
        )
        for metric in metrics
    }


# What became of the bad ones of a ratio's requests.
_BAD: Final = {
    DISAGREEMENTS: "were answered otherwise than by stable",
    SHARE_TEMPLATE: "were answered with the label",
    REVIEWED_WRONG: "were called wrong by people",
}


def _policy(
    spec: ModelDeploymentSpec,
    metric: Metric,
    alpha_critical: float,
    alpha_minor: float,
    interval: float,
    expected_ticks: int,
    overdispersion: float,
    slowest_pod: float,
) -> Policy:
    tolerance = metric.tolerance
    parts = JUDGEMENTS if metric.by else 1  # of the whole and of each slice
    value = metric.source if isinstance(metric.source, ValueQuery) else None
    return Policy(
        metric=metric.name,
        severity=metric.severity,
        against=metric.against,
        alpha_critical=alpha_critical / parts,
        alpha_minor=alpha_minor / parts,
        minimum_detectable_effect=spec.analysis.minimum_detectable_effect,
        limit=metric.limit,
        minimum=value.minimum if value else None,
        maximum=value.maximum if value else None,
        consecutive=max(1, math.ceil(value.consecutive_seconds / interval)) if value else 1,
        expected_ticks=expected_ticks,
        overdispersion=overdispersion,
        slowest_pod=slowest_pod,
        lower_is_worse=metric.lower_is_worse,
        tolerance=TOLERANCE if tolerance.ratio is None else tolerance.ratio,
        tolerance_least=TOLERANCE_LEAST if tolerance.least is None else tolerance.least,
        warmup=spec.analysis.warmup,
        window=metric.seen_within,
        least_coverage=metric.least_coverage,
        lasting=metric.lasting,
        by=metric.by,
        slice_requests=metric.slice_requests,
        bad=next((words for name, words in _BAD.items() if metric.is_built_in(name)), "failed"),
    )
