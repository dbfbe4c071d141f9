"""A manifest as a rehearsal: its policies, and for each metric a world to rehearse it in, or why there is none.

Read as `serin lint` reads it, offline and with the defaults of the CRD. What lint refuses is not rehearsed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from serin.analysis.rehearsal import Rehearsed, latency, ratio
from serin.analysis.traffic import Traffic
from serin.analysis.types import Policy
from serin.api import names
from serin.api.json import JsonObject
from serin.api.parse import parse_spec
from serin.api.spec import ModelDeploymentSpec, TemplateRef
from serin.api.verdicts import BLOCKING
from serin.cli.exit_codes import Exit, Stop
from serin.cli.lint import documents, schema
from serin.cli.lint.check import ANY_NAMESPACE, CATALOG, check
from serin.evaluation.feasibility import Schedule
from serin.evaluation.policies import policies
from serin.metrics.sources import ExpressionSource, HistogramSource, RatioSource, Source, resolve
from serin.rollout.strategies.table import strategy_of
from serin.routers import ROUTERS

# Between looks, where the spec leaves it to the scrapes: what most Prometheus installations have, or less.
ASSUMED_INTERVAL: Final = 15.0
# Latencies are rehearsed as log-normal: half of the requests within 100 ms, 99 of 100 within 323 ms.
MEDIAN_MS: Final = 100.0
SPREAD: Final = 0.504
_UNITS: Final = {"ms": 1.0, "s": 0.001}


@dataclass(frozen=True, slots=True)
class Plan:
    """One ModelDeployment. `namespace`: "" when the file leaves it to kubectl. `sources`: what each metric reads.

    `of_router`: the metrics that read the router's series.
    """

    namespace: str
    name: str
    spec: ModelDeploymentSpec
    sources: Mapping[str, Source]
    of_router: frozenset[str]

    @property
    def interval(self) -> float:
        """Seconds between looks."""
        return self.spec.analysis.interval or ASSUMED_INTERVAL

    @property
    def schedule(self) -> Schedule:
        """What the strategy plans."""
        return strategy_of(self.spec).schedule()

    @property
    def policies(self) -> dict[str, Policy]:
        """Of the metrics that can roll back."""
        schedule = self.schedule
        arms = 1 + len(self.spec.variants)
        found = policies(self.spec, self.interval, schedule.expected_seconds, goal=schedule.deciding, arms=arms)
        return {name: one for name, one in found.items() if one.severity in BLOCKING}

    def ratios(self) -> dict[str, RatioSource]:
        """Metrics that can roll back, whose traffic Prometheus can say."""
        found = {name: self.sources.get(name) for name in self.policies}
        return {name: source for name, source in found.items() if isinstance(source, RatioSource)}


def read(files: Iterable[Path]) -> list[Plan]:
    """Every ModelDeployment of the files. Raises Stop when lint finds errors, or there is none."""
    paths = documents.expand(tuple(files))
    report = check(paths)
    if report.errors:
        raise Stop(Exit.NO, f"not rehearsed, because it cannot work as written:\n{report.text()}")
    found = documents.read(paths).documents
    templates = {one.name: one.body["spec"] for one in found if one.kind == names.METRIC_TEMPLATE}
    plans = [_plan(one, templates) for one in found if one.kind == names.MODEL_DEPLOYMENT]
    if not plans:
        raise Stop(Exit.USAGE, "there is no ModelDeployment in these files")
    return plans


def _plan(document: documents.Document, templates: Mapping[str, JsonObject]) -> Plan:
    spec = parse_spec(schema.defaulted(document.body)["spec"])
    spec = replace(spec, metrics=spec.of_versions)
    sources = {}
    for metric in spec.metrics:
        reference = metric.source.name if isinstance(metric.source, TemplateRef) else ""
        try:
            sources[metric.name] = resolve(
                metric, templates.get(reference), CATALOG, document.namespace or ANY_NAMESPACE
            )
        except ValueError:  # a MetricTemplate of the cluster's, which lint has noted
            continue
    of_router = frozenset(
        metric.name
        for metric in spec.metrics
        if isinstance(metric.source, TemplateRef)
        and metric.source.name in CATALOG.of_routers - CATALOG.scraped
        and metric.source.name not in templates
    )
    return Plan(document.namespace, document.name, spec, sources, of_router)


def worlds(plan: Plan, traffic: Mapping[str, Traffic]) -> tuple[list[Rehearsed], dict[str, str]]:
    """The metrics that can be rehearsed, and why the others cannot, by name. `traffic`: by metric."""
    found: list[Rehearsed] = []
    left: dict[str, str] = {}
    rates = [one.rate for one in traffic.values()]
    for name, policy in plan.policies.items():
        source = plan.sources.get(name)
        if isinstance(source, RatioSource | ExpressionSource) and name in traffic:
            found.append(ratio(policy, traffic[name]))
        elif isinstance(source, HistogramSource) and source.unit in _UNITS and rates:
            bounds = ROUTERS[plan.spec.router.name].latency_bounds
            found.append(_latency(policy, max(rates), source.unit, bounds))
        else:
            left[name] = _why_not(source)
    return found, left


def _latency(policy: Policy, rate: float, unit: str, bounds_ms: tuple[float, ...]) -> Rehearsed:
    factor = _UNITS[unit]
    bounds = tuple(factor * bound for bound in bounds_ms)
    return latency(policy, rate, bounds, median=factor * MEDIAN_MS, spread=SPREAD, unit=unit)


def _why_not(source: Source | None) -> str:
    match source:
        case None:
            return "its MetricTemplate is not in these files"
        case RatioSource() | ExpressionSource():
            return "its traffic is not known: write --rps and --error-rate"
        case HistogramSource():
            return "its numbers are no times, so nobody can guess how they are distributed"
        case _:
            return "it is not a share of bad requests or a latency, and nobody can guess how its numbers vary"
