"""What a metric of `spec.metrics` is read from: built-in templates, a user's MetricTemplate, or PromQL in the spec.

All three have the same form, so that a built-in template is an example for users. This module reads no cluster: whoever
calls it hands it the MetricTemplate's spec, and the catalog of built-in templates.
"""

import math
import re
from dataclasses import dataclass, replace

from serin.api.guard_record import UNQUOTED
from serin.api.json import JsonObject
from serin.api.spec import (
    ConcentrationQuery,
    DistributionQuery,
    MeanQuery,
    Metric,
    RatioQuery,
    TemplateRef,
    Tolerance,
    ValueQuery,
)
from serin.api.verdicts import BLOCKING, COMPARED, PAST, Against
from serin.metrics.catalog import Catalog
from serin.metrics.enforced import render, restrict, restrict_terms
from serin.metrics.messages import shorten
from serin.metrics.promql import (
    NAMESPACE_LABEL,
    OWN_PLACEHOLDERS,
    Matcher,
    PromQLError,
    check_placeholders,
    fill,
    placeholders,
)
from serin.metrics.sums import Term, check_bounds, parse_sum

UNITS = ("s", "ms", "")

_RATE = re.compile(r"\b(rate|irate|increase|delta|idelta|deriv)\s*\(")


class SourceError(ValueError):
    """The metric cannot be read as it is written; the message says what to write instead."""


Parts = tuple[tuple[Term, ...], ...]


@dataclass(frozen=True, slots=True)
class RatioSource:
    """Counters of all and of bad requests, as sums of plain selectors: counted exactly.

    `presence`, `pods`, `unchecked`: what catalog.py says of built-in templates. Without `presence`, the counters of all
    requests must exist. `by`: the label by whose values they are counted too. `only`, here and in all sources: the
    matchers that Serin has added to every selector, for messages.
    """

    total: tuple[Term, ...]
    bad: tuple[Term, ...]
    presence: tuple[Term, ...] = ()
    pods: str = "instance"
    only: str = ""
    by: str = ""
    unchecked: tuple[Term, ...] = ()

    @property
    def parts(self) -> Parts:
        """What to read, as ticks.ArmRows has it."""
        return self.total, self.bad, self.presence, (), self.unchecked


@dataclass(frozen=True, slots=True)
class HistogramSource:
    """Cumulative `le` buckets, as a sum of plain selectors; `unit` of the bounds: "s", "ms" or "".

    `presence`, `pods`: as in RatioSource. `by_pod`: how many numbers, and their sum, by that label; empty: not known.
    """

    buckets: tuple[Term, ...]
    unit: str
    presence: tuple[Term, ...] = ()
    by_pod: tuple[tuple[Term, ...], ...] = ()
    pods: str = "instance"
    only: str = ""

    @property
    def parts(self) -> Parts:
        """What to read, as ticks.ArmRows has it."""
        return self.buckets, (), self.presence


@dataclass(frozen=True, slots=True)
class DistributionSource:
    """A counter of answers, as a sum of plain selectors; `by`: the label that says what was answered.

    "le": cumulative buckets. A reference is no part of this, so that deployments with different ones share queries.
    """

    counts: tuple[Term, ...]
    by: str
    only: str = ""

    @property
    def parts(self) -> Parts:
        """What to read, as ticks.ArmRows has it."""
        return (self.counts,)


@dataclass(frozen=True, slots=True)
class MeanSource:
    """Counters of a number that requests carry, as sums of plain selectors: its sum, and how many carried it.

    `pods`: as in RatioSource.
    """

    sum: tuple[Term, ...]
    count: tuple[Term, ...]
    pods: str = "instance"
    only: str = ""

    @property
    def parts(self) -> Parts:
        """What to read, as ticks.ArmRows has it."""
        return self.count, (), (), self.sum


@dataclass(frozen=True, slots=True)
class ConcentrationSource:
    """A counter of answers, as a sum of plain selectors; `by`: the label that says what was answered.

    Read for how often two answers are the same.
    """

    counts: tuple[Term, ...]
    by: str
    only: str = ""

    @property
    def parts(self) -> Parts:
        """What to read, as ticks.ArmRows has it."""
        return (self.counts,)


@dataclass(frozen=True, slots=True)
class ExpressionSource:
    """Totals that Prometheus computes, at least one of them not a plain sum: read at both ends of the tick."""

    total: str
    bad: str
    only: str = ""


@dataclass(frozen=True, slots=True)
class ValueSource:
    """One number, as Prometheus computes it now."""

    query: str
    only: str = ""


RouterSource = RatioSource | HistogramSource
CounterSource = RatioSource | HistogramSource | DistributionSource | ConcentrationSource | MeanSource
Source = CounterSource | ExpressionSource | ValueSource


def resolve(metric: Metric, template: JsonObject | None, catalog: Catalog, namespace: str) -> Source:
    """Find the source of a metric of a deployment in `namespace`, restricted to what the catalog's `trust` allows.

    `template`: spec of the MetricTemplate that it names, when there is one; it wins over a built-in one of the same
    name. Raises SourceError.

    The same two objects are resolved once: a metric is read once for each generation of its deployment, and every look
    at it asks.
    """
    key = (id(metric), id(template), namespace)
    known = catalog.resolved.get(key)
    if known is None or known[0] is not metric or known[1] is not template:
        known = (metric, template, _resolved(metric, template, catalog, namespace))
        catalog.keep(key, known)
    found: Source | SourceError = known[-1]
    if isinstance(found, SourceError):
        raise SourceError(str(found))
    return found


def _resolved(metric: Metric, template: JsonObject | None, catalog: Catalog, namespace: str) -> Source | SourceError:
    """The source, or why there is none."""
    try:
        return _resolve(metric, template, catalog, namespace)
    except SourceError as error:
        return error


def _resolve(metric: Metric, template: JsonObject | None, catalog: Catalog, namespace: str) -> Source:
    try:
        built_in = is_built_in(metric, template, catalog)
        if not (built_in or catalog.trust.user_queries):
            raise SourceError(only_built_in(catalog) + _hidden(metric, template, catalog))
        found = _source(metric, template, catalog)
        if metric.against == Against.REFERENCE:
            reference_of(metric, template)
        _check_use(metric, found)
        if metric.by:
            found = _by_slice(metric, found, built_in)
        if built_in and isinstance(metric.source, TemplateRef) and metric.source.name in catalog.of_routers:
            return restricted(found, catalog.trust.router)
        return restricted(found, catalog.trust.of_tenant(namespace))
    except (PromQLError, SourceError) as error:
        raise SourceError(shorten(f"metric {metric.name}: {error}")) from error
    except Exception as error:
        # A template that a CRD of another version has let through, for example. Only its own metric is without data.
        words = f"metric {metric.name}: it cannot be read ({error!r}): write its query anew"
        raise SourceError(shorten(words)) from error


def is_built_in(metric: Metric, template: JsonObject | None, catalog: Catalog) -> bool:
    """Whether a metric reads a built-in template, and nothing that users have written."""
    return isinstance(metric.source, TemplateRef) and template is None and metric.source.name in catalog.templates


def router_source(metric: Metric, template: JsonObject | None, catalog: Catalog) -> RouterSource | None:
    """The source of a built-in metric of the router's, without the matchers of what a scrape adds; None: another."""
    if not is_built_in(metric, template, catalog) or metric.by:
        return None
    if not isinstance(metric.source, TemplateRef) or metric.source.name not in catalog.of_routers:
        return None
    if catalog.templates[metric.source.name].get("scraped"):
        return None
    try:
        found = _source(metric, template, catalog)
    except (PromQLError, SourceError):
        return None
    return found if isinstance(found, RatioSource | HistogramSource) else None


def only_built_in(catalog: Catalog) -> str:
    """What is said where users may write no queries."""
    known = ", ".join(catalog.names)
    where = "queries of users are switched off in this cluster (prometheus.userQueries)"
    return f"{where}: write template: {{name: NAME}} with one of {known}"


def _hidden(metric: Metric, template: JsonObject | None, catalog: Catalog) -> str:
    name = metric.source.name if isinstance(metric.source, TemplateRef) and template is not None else ""
    return f", and delete the MetricTemplate {name}, which hides it" if name in catalog.templates else ""


def restricted(found: Source, matchers: tuple[Matcher, ...]) -> Source:
    """The same source with the matchers in every selector. Raises PromQLError."""
    only = render(matchers)
    match found:
        case ValueSource():
            return ValueSource(restrict(found.query, matchers), only)
        case ExpressionSource():
            return ExpressionSource(restrict(found.total, matchers), restrict(found.bad, matchers), only)
    # {{.version}}, which each of these selectors has, says the namespace by Serin's own label.
    more = [one for one in matchers if one.label != NAMESPACE_LABEL]
    if not more:
        return found
    match found:
        case RatioSource():
            parts = (found.total, found.bad, found.presence, found.unchecked)
            total, bad, presence, unchecked = (restrict_terms(part, more) for part in parts)
            return replace(found, total=total, bad=bad, presence=presence, unchecked=unchecked, only=only)
        case HistogramSource():
            buckets, presence = (restrict_terms(part, more) for part in (found.buckets, found.presence))
            by_pod = tuple(restrict_terms(part, more) for part in found.by_pod)
            return replace(found, buckets=buckets, presence=presence, by_pod=by_pod, only=only)
        case DistributionSource() | ConcentrationSource():
            return replace(found, counts=restrict_terms(found.counts, more), only=only)
        case MeanSource():
            total, count = (restrict_terms(part, more) for part in (found.sum, found.count))
            return replace(found, sum=total, count=count, only=only)


def reference_of(metric: Metric, template: JsonObject | None = None) -> dict[str, int]:
    """Counts of the frozen reference that a metric is compared with, by category (by upper bound for `by: le`).

    Upper bounds ascend as numbers and end with "inf". Raises SourceError.
    """
    if isinstance(metric.source, DistributionQuery):
        by, reference = metric.source.by, metric.source.reference
    else:
        body = (template or {}).get("distribution", {})
        by, reference = body.get("by", ""), body.get("reference") or {}
    if not reference:
        raise SourceError(
            "against: reference needs a distribution with a reference: "
            "distribution: {counts: ..., by: label, reference: {legit: 9700, fraud: 300}}"
        )
    if by != "le":
        return dict(reference)
    bounds: dict[float, int] = {}
    for text, count in reference.items():
        bound = float(text)
        if bound in bounds:
            raise SourceError(f"the reference has the bound {text} twice: write each upper bound once")
        bounds[bound] = count
    return {repr(bound): count for bound, count in sorted({math.inf: 0, **bounds}.items())}


def _source(metric: Metric, template: JsonObject | None, catalog: Catalog) -> Source:
    source = metric.source
    match source:
        case RatioQuery():
            return _ratio(source.total, source.bad)
        case DistributionQuery():
            return _distribution(source.counts, source.by)
        case MeanQuery():
            return _mean(source.sum, source.count)
        case ConcentrationQuery():
            return _concentration(source.counts, source.by)
        case ValueQuery():
            return _value(source.query)
        case TemplateRef():
            return _from_template(source, template, catalog)


def _check_use(metric: Metric, found: Source) -> None:
    """What the schema cannot see of a metric with a template: whether it uses it as what it is."""
    name = metric.source.name if isinstance(metric.source, TemplateRef) else ""
    if isinstance(found, ValueSource) and name and metric.limit is None:
        raise SourceError(
            f"template {name} gives a number, and a number needs a limit: "
            'write against: limit and limit: "0.95" (the largest value that is still good)'
        )
    if metric.against in PAST:
        _check_past(metric, found)
    elif isinstance(found, ValueSource) and metric.window is not None:
        raise SourceError(
            f"template {name} gives a number, which is judged as it is now, so it has no window: remove window, or say "
            "in the query over which time it is meant, as with avg_over_time(...[24h])"
        )
    if metric.tolerance != Tolerance():
        _check_tolerance(metric, found)
    if metric.lower_is_worse and not isinstance(found, MeanSource):
        raise SourceError(f"lowerIsWorse belongs to a mean, and template {name} has none: remove lowerIsWorse")
    if metric.against in (Against.REFERENCE, Against.DAY) and metric.severity in BLOCKING:
        does = "holds" if metric.against == Against.REFERENCE else "tells"
        raise SourceError(f"against: {metric.against} rolls nothing back: write severity: minor ({does}) or info")
    if isinstance(found, DistributionSource | MeanSource | ConcentrationSource):
        if metric.against == Against.LIMIT:
            raise SourceError("distributions, means and concentrations are compared with stable: remove against: limit")
        _check_limit(metric.limit, found)
    elif metric.limit is not None and metric.against == Against.STABLE:
        raise SourceError("limit only counts with against: limit: write that too, or remove limit")


def _by_slice(metric: Metric, found: Source, built_in: bool) -> Source:
    if built_in or not isinstance(found, RatioSource):
        raise SourceError(
            f"by: {metric.by} needs plain counters of your own with that label: write ratio: {{bad: ..., total: ...}} "
            "with selectors and sums of them, or remove by"
        )
    return replace(found, by=metric.by)


def _check_past(metric: Metric, found: Source) -> None:
    if not isinstance(found, RatioSource | MeanSource | HistogramSource | ConcentrationSource):
        raise SourceError(
            f"against: {metric.against} needs plain counters: write ratio: {{bad: ..., total: ...}} or mean with "
            "selectors and sums of them, a concentration, or a template with a histogram; a distribution has "
            "against: reference"
        )
    if metric.limit is not None and not 1.0 <= metric.limit <= 100.0:
        raise SourceError(f'limit is {metric.limit:g}: write how many times its past is still good, for example "1.2"')


def _check_tolerance(metric: Metric, found: Source) -> None:
    if not isinstance(found, HistogramSource) or metric.against not in COMPARED:
        raise SourceError(
            "tolerance belongs to a histogram that is compared with stable, such as request-latency: remove tolerance "
            "(for a distribution, a mean, and against: limit, limit says what is still good)"
        )
    if not found.unit and metric.tolerance.least is not None:
        raise SourceError("the histogram has no unit of time, so tolerance can have no atLeast: write percent alone")


def _check_limit(limit: float | None, found: DistributionSource | MeanSource | ConcentrationSource) -> None:
    if limit is None:
        return
    if isinstance(found, DistributionSource) and not 0.0 < limit < 1.0:
        raise SourceError(f'limit is {limit:g}: write a PSI above 0 and below 1, for example "0.1"')
    if not isinstance(found, DistributionSource) and not 1.0 <= limit <= 100.0:
        what = "mean" if isinstance(found, MeanSource) else "concentration"
        raise SourceError(f'limit is {limit:g}: write how many times stable\'s {what} is still good, for example "1.1"')


def _from_template(reference: TemplateRef, template: JsonObject | None, catalog: Catalog) -> Source:
    built_in = catalog.templates.get(reference.name)
    body = template if template is not None else built_in
    if body is None:
        known = ", ".join(catalog.names)
        raise SourceError(
            f"no template {reference.name}: create a MetricTemplate of that name, or write one of {known}"
        )
    arguments = _arguments(reference, body)
    if body is built_in:
        _check_quoted(reference)
    # Only built-in templates have these: a user's may not point at the router's series.
    extra = body if body is built_in else {}
    presence = (parse_sum(extra["presence"]) or ()) if "presence" in extra else ()
    if "ratio" in body:
        found = _ratio(fill(body["ratio"]["total"], arguments), fill(body["ratio"]["bad"], arguments))
        if not isinstance(found, RatioSource):
            return found
        unchecked = (parse_sum(extra["unchecked"]) or ()) if "unchecked" in extra else ()
        return replace(found, presence=presence, pods=extra.get("pods", found.pods), unchecked=unchecked)
    if "histogram" in body:
        histogram = _histogram(fill(body["histogram"]["buckets"], arguments), body["histogram"].get("unit", "s"))
        named = extra.get("byPod", {})
        by_pod = tuple(parse_sum(named[part]) or () for part in ("count", "sum") if part in named)
        return replace(histogram, presence=presence, by_pod=by_pod, pods=extra.get("pods", histogram.pods))
    if "distribution" in body:
        return _distribution(fill(body["distribution"]["counts"], arguments), body["distribution"]["by"])
    if "concentration" in body:
        return _concentration(fill(body["concentration"]["counts"], arguments), body["concentration"]["by"])
    if "mean" in body:
        return _mean(fill(body["mean"]["sum"], arguments), fill(body["mean"]["count"], arguments))
    if "value" in body:
        return _value(fill(body["value"]["query"], arguments))
    raise SourceError(
        f"template {reference.name} has no source: write one of ratio, histogram, distribution, mean, concentration, "
        "value"
    )


def _arguments(reference: TemplateRef, body: JsonObject) -> dict[str, str]:
    """Values for {{.name}}: the template's defaults, then what the metric gives; our own placeholders stay."""
    declared = {one["name"]: one.get("default") for one in body.get("arguments", ())}
    unknown = sorted(set(reference.arguments) - set(declared))
    if unknown:
        known = ", ".join(sorted(declared)) or "none"
        raise SourceError(f"template {reference.name} has no argument {unknown[0]}; it has: {known}")
    given = {**declared, **reference.arguments}
    missing = sorted(name for name, value in given.items() if value is None)
    if missing:
        raise SourceError(f"template {reference.name} needs the argument {missing[0]}: write it under arguments")
    kept = {name: f"{{{{.{name}}}}}" for name in OWN_PLACEHOLDERS}
    return {**{name: str(value) for name, value in given.items()}, **kept}


def _check_quoted(reference: TemplateRef) -> None:
    """A built-in template may read what its user may not, so an argument cannot end the string that it stands in."""
    for name, value in reference.arguments.items():
        if UNQUOTED.intersection(str(value)):
            raise SourceError(
                f'template {reference.name}: the argument {name} has one of " \\ {{ }}: write another one'
            )


def _ratio(total: str, bad: str) -> Source:
    all_terms, bad_terms = parse_sum(total), parse_sum(bad)
    if all_terms is not None and bad_terms is not None:
        return RatioSource(all_terms, bad_terms)
    for part, text in (("total", total), ("bad", bad)):
        _refuse_rate(part, text)
        if placeholders(text) != {"version"}:
            raise PromQLError(
                f"{part} must say whose series it means by {{{{.version}}}} among the labels, and by nothing else: "
                f"sum by (serin_snapshot) (name{{ {{{{.version}}}} }})"
            )
    return ExpressionSource(total, bad)


def _refuse_rate(part: str, text: str) -> None:
    if found := _RATE.search(text):
        raise PromQLError(
            f"{part} has {found[1]}(), and Serin counts from one collection to the next by itself: "
            "write the counter alone, as in name{ {{.version}} }"
        )


def _counters(part: str, text: str) -> tuple[Term, ...]:
    """A sum of plain selectors, which is what can be counted pod by pod."""
    terms = parse_sum(text)
    if terms is None:
        _refuse_rate(part, text)
        raise PromQLError(
            f"{part} must be a plain selector of a counter, or a sum of them: write name{{ {{{{.version}}}} }}"
        )
    return terms


def _distribution(counts: str, by: str) -> DistributionSource:
    terms = _counters("counts", counts)
    if by == "le" and any(term.sign < 0 for term in terms):
        raise PromQLError("counts must be the cumulative buckets, nothing taken off: name_bucket{ {{.version}} }")
    return DistributionSource(terms, by)


def _concentration(counts: str, by: str) -> ConcentrationSource:
    if by == "le":
        raise SourceError("buckets are no answers: write by: the label that says what was answered")
    return ConcentrationSource(_counters("counts", counts), by)


def _mean(total: str, count: str) -> MeanSource:
    return MeanSource(_counters("sum", total), _counters("count", count))


def _histogram(buckets: str, unit: str) -> HistogramSource:
    terms = parse_sum(buckets)
    if terms is None or any(term.sign < 0 for term in terms):
        raise PromQLError("buckets must be a plain selector of the cumulative buckets: name_bucket{ {{.version}} }")
    if unit not in UNITS:
        raise SourceError(f'unit is {unit!r}: write "s", "ms", or "" for a plain number')
    return HistogramSource(terms, unit)


def _value(query: str) -> ValueSource:
    check_placeholders(query, check_bounds(query).strings)
    return ValueSource(query)
