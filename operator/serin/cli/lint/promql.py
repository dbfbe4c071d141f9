"""PromQL of metrics and MetricTemplates: is it PromQL at all, and can it tell the versions apart?

Syntax and types of functions are checked by promql-parser, within the bounds that the operator sets (metrics.sums);
what the operator itself makes of a metric is asked of the operator's own code (metrics.sources). Whether the series
exist, nobody can say without Prometheus.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import promql_parser

from serin.api.json import JsonObject
from serin.cli.lint.schema import Problem
from serin.metrics.enforced import open_selectors
from serin.metrics.promql import (
    OWN_PLACEHOLDERS,
    SNAPSHOT_LABEL,
    PromQLError,
    Version,
    check_placeholders,
    fill,
    matchers_of,
    placeholders,
)
from serin.metrics.sources import ExpressionSource, Source, ValueSource
from serin.metrics.sums import check_bounds, parse

_NOBODY: Final = Version("namespace", "deployment", ("candidate", "stable"))
_QUERIES: Final = (
    ("ratio", "bad"),
    ("ratio", "total"),
    ("histogram", "buckets"),
    ("distribution", "counts"),
    ("mean", "sum"),
    ("mean", "count"),
    ("concentration", "counts"),
    ("value", "query"),
)
# What turns a counter into something that is counted no more.
_RATE: Final = re.compile(r"\b(?:rate|irate|increase|delta)\s*\(")


def check(body: JsonObject, path: str, arguments: Mapping[str, str]) -> Iterator[Problem]:
    """Queries of a metric or a MetricTemplate's spec. `arguments`: values for the template's own placeholders."""
    for source, field in _QUERIES:
        text = (body.get(source) or {}).get(field)
        if isinstance(text, str):
            for message in _query(text, source, arguments):
                yield Problem(f"{path}.{source}.{field}", message)


def _query(text: str, source: str, arguments: Mapping[str, str]) -> Iterator[str]:
    matchers = matchers_of([_NOBODY])
    try:
        written = fill(text, {**{name: f"{{{{.{name}}}}}" for name in OWN_PLACEHOLDERS}, **arguments})
        check_placeholders(written, check_bounds(written).strings)
        filled = fill(written, dict.fromkeys(OWN_PLACEHOLDERS, matchers))
    except PromQLError as error:
        yield str(error)
        return
    try:
        parse(filled)
    except ValueError as error:
        yield f"this is no PromQL: {error}, in {text}"
        return
    if source != "value" and _RATE.search(text):
        yield "write the counters themselves, without rate and time window: Serin counts between its own collections"
    if source == "value" and not placeholders(text) & set(OWN_PLACEHOLDERS):
        yield (
            "the query is the same for every version, so it says nothing about the candidate: write "
            "{{.candidate}} among the labels"
        )


def open_to_all(source: Source) -> list[str]:
    """Selectors of what Prometheus computes that name no version, nor a namespace."""
    match source:
        case ValueSource():
            texts = [source.query]
        case ExpressionSource():
            texts = [source.total, source.bad]
        case _:
            texts = []
    return sorted({one for text in texts for one in open_selectors(text)})


def versions_lost(source: Source) -> Iterator[str]:
    """An expression of totals that sums the versions up: its result could be anybody's."""
    if not isinstance(source, ExpressionSource):
        return
    for part, text in (("total", source.total), ("bad", source.bad)):
        parsed = parse(fill(text, {"version": matchers_of([_NOBODY])}))
        if isinstance(parsed, promql_parser.AggregateExpr) and SNAPSHOT_LABEL not in text:
            yield f"{part} does not keep the versions apart: write sum by ({SNAPSHOT_LABEL}) (...)"
