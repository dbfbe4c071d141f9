"""From a metric of the spec to what is read: built-in templates, the user's own, arguments, and what is refused."""

import pytest

from serin.api.json import JsonObject
from serin.api.spec import Metric, RatioQuery, TemplateRef, ValueQuery
from serin.metrics.readings import plan_reading
from serin.metrics.sources import (
    ExpressionSource,
    HistogramSource,
    RatioSource,
    Source,
    SourceError,
    ValueSource,
    built_in,
    resolve,
)

TEMPLATE: JsonObject = {
    "arguments": [{"name": "model"}, {"name": "code", "default": "5.."}],
    "ratio": {
        "total": 'infer_total{ {{.version}}, model="{{.model}}" }',
        "bad": 'infer_total{ {{.version}}, model="{{.model}}", code=~"{{.code}}" }',
    },
}


def read(source: TemplateRef | RatioQuery | ValueQuery, template: JsonObject | None = None) -> Source:
    return resolve(Metric("mine", source, "major", "stable"), template)


def test_every_built_in_template_is_one_query() -> None:
    assert set(built_in()) == {"request-errors", "request-latency"}
    for name in built_in():
        source = read(TemplateRef(name))
        assert isinstance(source, RatioSource | HistogramSource)
        total, bad = (source.total, source.bad) if isinstance(source, RatioSource) else (source.buckets, ())
        reading = plan_reading((total, bad, source.presence))
        assert len(reading.selectors) == 1, name
        assert source.presence, name
        assert 'serin_attempt!="shield"' in reading.selectors[0], "the shield's attempts are no evidence"


def test_terms_of_one_query_are_told_apart_by_name_and_labels() -> None:
    source = read(TemplateRef("mine", {"model": "fraud"}), TEMPLATE)
    assert isinstance(source, RatioSource)
    reading = plan_reading((source.total, source.bad, ()))
    assert reading.selectors == ('{__name__=~"infer_total",model="fraud",{{.version}}}',)
    (total,), (bad,), _ = reading.parts
    good_series = {"__name__": "infer_total", "model": "fraud", "code": "200"}
    bad_series = {"__name__": "infer_total", "model": "fraud", "code": "503"}
    assert [total.accepts(good_series), total.accepts(bad_series)] == [True, True]
    assert [bad.accepts(good_series), bad.accepts(bad_series)] == [False, True]


def test_arguments_replace_defaults() -> None:
    source = read(TemplateRef("mine", {"model": "fraud", "code": "4.."}), TEMPLATE)
    assert isinstance(source, RatioSource)
    assert source.bad[0].selector.matchers[1].value == "4.."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "metric mine: template mine needs the argument model: write it under arguments"),
        ({"model": "a", "modle": "b"}, "metric mine: template mine has no argument modle; it has: code, model"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, str], words: str) -> None:
    with pytest.raises(SourceError) as refused:
        read(TemplateRef("mine", arguments), TEMPLATE)
    assert str(refused.value) == words


def test_what_is_no_sum_of_counters_is_computed_by_prometheus() -> None:
    total = "sum by (serin_snapshot) (a{ {{.version}} } * 2)"
    source = read(RatioQuery(bad="b{ {{.version}} }", total=total))
    assert source == ExpressionSource(total=total, bad="b{ {{.version}} }")


def test_histogram_and_value_templates() -> None:
    histogram = read(TemplateRef("h"), {"histogram": {"buckets": "d_bucket{ {{.version}} }", "unit": "ms"}})
    assert isinstance(histogram, HistogramSource)
    assert histogram.unit == "ms"
    limited = Metric("mine", TemplateRef("v"), "major", "limit", limit=0.9)
    template = {"value": {"query": "max(up{ {{.candidate}} })"}}
    assert resolve(limited, template) == ValueSource("max(up{ {{.candidate}} })")


@pytest.mark.parametrize(
    ("source", "template", "words"),
    [
        (TemplateRef("x"), None, "no template x: create a MetricTemplate of that name, or write one of request-errors"),
        (
            TemplateRef("x"),
            {"histogram": {"buckets": "sum(rate(a{ {{.version}} }[1m]))"}},
            "name_bucket{ {{.version}} }",
        ),
        (RatioQuery(bad="a", total="b{ {{.version}} }"), None, "a does not say which version: write a{ {{.version}} }"),
        (RatioQuery(bad="a{ {{.candidate}} } * 1", total="b{ {{.version}} }"), None, "bad must say whose series"),
        (RatioQuery(bad="increase(a{ {{.version}} }[5m])", total="b{ {{.version}} }"), None, "bad has increase()"),
        (TemplateRef("v"), {"value": {"query": "max(up{ {{.candidate}} })"}}, "write against: limit and limit:"),
        (ValueQuery("max(a{ {{.canary}} })"), None, "write {{.candidate}}, {{.stable}} or {{.version}}"),
    ],
)
def test_refusals_say_what_to_write(
    source: TemplateRef | RatioQuery | ValueQuery, template: JsonObject | None, words: str
) -> None:
    with pytest.raises(SourceError) as refused:
        read(source, template)
    assert str(refused.value).startswith("metric mine: ")
    assert words in str(refused.value)
