"""What a metric of `spec.metrics` is read from: built-in templates, a user's MetricTemplate, or PromQL in the spec.

All three have the same form, so that a built-in template is an example for users; templates/*.yaml holds one each.
This module reads no cluster: whoever calls it hands it the MetricTemplate's spec.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import yaml

from serin.api.json import JsonObject
from serin.api.spec import Metric, RatioQuery, TemplateRef, ValueQuery
from serin.metrics.promql import PromQLError, Term, fill, parse_sum, placeholders

UNITS = ("s", "ms", "")
OWN_PLACEHOLDERS = ("version", "candidate", "stable")

_RATE = re.compile(r"\b(rate|irate|increase|delta|idelta|deriv)\s*\(")


class SourceError(ValueError):
    """The metric cannot be read as it is written; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class RatioSource:
    """Counters of all and of bad requests, as sums of plain selectors: counted exactly.

    `presence`: series that exist as soon as a target knows the version, even before its first request (built-in
    templates only). Without them, the counters of all requests must exist.
    """

    total: tuple[Term, ...]
    bad: tuple[Term, ...]
    presence: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class HistogramSource:
    """Cumulative `le` buckets, as a sum of plain selectors; `unit` of the bounds: "s", "ms" or "".

    `presence`: as in RatioSource.
    """

    buckets: tuple[Term, ...]
    unit: str
    presence: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class ExpressionSource:
    """Totals that Prometheus computes, at least one of them not a plain sum: read at both ends of the tick."""

    total: str
    bad: str


@dataclass(frozen=True, slots=True)
class ValueSource:
    """One number, as Prometheus computes it now."""

    query: str


CounterSource = RatioSource | HistogramSource
Source = RatioSource | HistogramSource | ExpressionSource | ValueSource


@cache
def built_in() -> Mapping[str, JsonObject]:
    """Read the built-in templates: name to the same JSON that a MetricTemplate has as its spec."""
    found = {}
    for file in resources.files("serin.metrics").joinpath("templates").iterdir():
        if file.name.endswith(".yaml"):
            body = yaml.safe_load(file.read_text())
            found[body.pop("name")] = body
    return found


def resolve(metric: Metric, template: JsonObject | None = None) -> Source:
    """Find the source of a metric. `template`: spec of the MetricTemplate that it names, when there is one.

    A MetricTemplate of the user's wins over a built-in one of the same name. Raises SourceError.
    """
    source = metric.source
    try:
        match source:
            case RatioQuery():
                return _ratio(source.total, source.bad)
            case ValueQuery():
                return _value(source.query)
            case TemplateRef():
                found = _from_template(source, template)
                if isinstance(found, ValueSource) and metric.limit is None:
                    raise SourceError(
                        f"template {source.name} gives a number, and a number needs a limit: "
                        'write against: limit and limit: "0.95" (the largest value that is still good)'
                    )
                return found
    except PromQLError as error:
        raise SourceError(f"metric {metric.name}: {error}") from error
    except SourceError as error:
        raise SourceError(f"metric {metric.name}: {error}") from error


def _from_template(reference: TemplateRef, template: JsonObject | None) -> Source:
    body = template if template is not None else built_in().get(reference.name)
    if body is None:
        known = ", ".join(sorted(built_in()))
        raise SourceError(
            f"no template {reference.name}: create a MetricTemplate of that name, or write one of {known}"
        )
    arguments = _arguments(reference, body)
    presence = (parse_sum(body["presence"]) or ()) if template is None and "presence" in body else ()
    if "ratio" in body:
        found = _ratio(fill(body["ratio"]["total"], arguments), fill(body["ratio"]["bad"], arguments))
        return replace(found, presence=presence) if isinstance(found, RatioSource) else found
    if "histogram" in body:
        buckets = fill(body["histogram"]["buckets"], arguments)
        return replace(_histogram(buckets, body["histogram"].get("unit", "s")), presence=presence)
    if "value" in body:
        return _value(fill(body["value"]["query"], arguments))
    raise SourceError(f"template {reference.name} has no source: write one of ratio, histogram, value")


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


def _ratio(total: str, bad: str) -> Source:
    all_terms, bad_terms = parse_sum(total), parse_sum(bad)
    if all_terms is not None and bad_terms is not None:
        return RatioSource(all_terms, bad_terms)
    for part, text in (("total", total), ("bad", bad)):
        if found := _RATE.search(text):
            raise PromQLError(
                f"{part} has {found[1]}(), and Serin counts from one look to the next by itself: "
                "write the counter alone, as in name{ {{.version}} }"
            )
        if placeholders(text) != {"version"}:
            raise PromQLError(
                f"{part} must say whose series it means by {{{{.version}}}} among the labels, and by nothing else: "
                f"sum by (serin_snapshot) (name{{ {{{{.version}}}} }})"
            )
    return ExpressionSource(total, bad)


def _histogram(buckets: str, unit: str) -> HistogramSource:
    terms = parse_sum(buckets)
    if terms is None or any(term.sign < 0 for term in terms):
        raise PromQLError("buckets must be a plain selector of the cumulative buckets: name_bucket{ {{.version}} }")
    if unit not in UNITS:
        raise SourceError(f'unit is {unit!r}: write "s", "ms", or "" for a plain number')
    return HistogramSource(terms, unit)


def _value(query: str) -> ValueSource:
    used = placeholders(query)
    unknown = sorted(used - set(OWN_PLACEHOLDERS))
    if unknown:
        raise PromQLError(
            f"{{{{.{unknown[0]}}}}} is not known here: write {{{{.candidate}}}}, {{{{.stable}}}} or {{{{.version}}}}"
        )
    return ValueSource(query)
