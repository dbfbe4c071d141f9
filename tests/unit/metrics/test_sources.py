"""From a metric of the spec to what is read: built-in templates, the user's own, arguments, and what is refused."""

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import pytest

from serin.api.guard_record import TEMPLATES as RECORDED
from serin.api.json import JsonObject
from serin.api.spec import (
    ConcentrationQuery,
    DistributionQuery,
    MeanQuery,
    Metric,
    MetricSource,
    RatioQuery,
    TemplateRef,
    Tolerance,
    ValueQuery,
)
from serin.api.verdicts import Against, Severity
from serin.metrics import sources
from serin.metrics.readings import plan_reading
from serin.metrics.sources import (
    ConcentrationSource,
    DistributionSource,
    ExpressionSource,
    HistogramSource,
    MeanSource,
    RatioSource,
    Source,
    SourceError,
    ValueSource,
    reference_of,
    resolve,
    router_source,
)
from serin.routers import envoy
from tests.catalog import CATALOG

TEMPLATE: JsonObject = {
    "arguments": [{"name": "model"}, {"name": "code", "default": "5.."}],
    "ratio": {
        "total": 'infer_total{ {{.version}}, model="{{.model}}" }',
        "bad": 'infer_total{ {{.version}}, model="{{.model}}", code=~"{{.code}}" }',
    },
}


def read(source: MetricSource, template: JsonObject | None = None) -> Source:
    return resolve(Metric("mine", source, Severity.MAJOR, Against.STABLE), template, CATALOG, "shop")


def test_every_template_of_a_router_is_one_query() -> None:
    assert set(envoy.templates()) == {
        "request-errors",
        "request-latency",
        "request-rejections",
        "bad-outputs",
        "invalid-inputs",
        "disagreements",
        "reviewed-wrong",
        *RECORDED,
    }
    for name in sorted(set(envoy.templates()) - set(RECORDED)):
        source = read(TemplateRef(name))
        assert isinstance(source, RatioSource | HistogramSource)
        reading = plan_reading(source.parts)
        assert len(reading.selectors) == 1, name
        assert source.presence, name
        if name not in ("invalid-inputs", "disagreements", "reviewed-wrong"):  # which are no attempts
            assert 'serin_attempt!="shield"' in reading.selectors[0], "the shield's attempts are no evidence"


def test_what_the_guard_has_recorded_is_read_by_its_field() -> None:
    share = read(TemplateRef("prediction-share", {"field": "label", "label": "fraud"}))
    assert isinstance(share, RatioSource)
    assert len(plan_reading(share.parts).selectors) == 1
    labels, numbers = (
        read(TemplateRef("predictions", {"field": "a"})),
        read(TemplateRef("prediction-values", {"field": "a"})),
    )
    assert isinstance(labels, DistributionSource)
    assert isinstance(numbers, DistributionSource)
    assert (labels.by, numbers.by) == ("label", "le")
    # The router's pods do not count it.
    metric = Metric(
        "mine", TemplateRef("prediction-share", {"field": "a", "label": "b"}), Severity.MAJOR, Against.STABLE
    )
    assert router_source(metric, None, CATALOG) is None
    errors = Metric("mine", TemplateRef("request-errors"), Severity.MAJOR, Against.STABLE)
    assert router_source(errors, None, CATALOG) is not None


@pytest.mark.parametrize("hostile", ['a"} + envoy_serin_attempts{x="', "a\\", "{{.version}}", "a\nb"])
def test_an_argument_of_a_built_in_template_stays_within_its_string(hostile: str) -> None:
    with pytest.raises(SourceError, match="the argument field has one of"):
        read(TemplateRef("predictions", {"field": hostile}))


def test_terms_of_one_query_are_told_apart_by_name_and_labels() -> None:
    source = read(TemplateRef("mine", {"model": "fraud", "code": "500|503"}), TEMPLATE)
    assert isinstance(source, RatioSource)
    reading = plan_reading((source.total, source.bad, ()))
    assert reading.selectors == ('{__name__=~"infer_total",model="fraud",{{.version}}}',)
    (total,), (bad,), _ = reading.parts
    good_series = {"__name__": "infer_total", "model": "fraud", "code": "200"}
    bad_series = {"__name__": "infer_total", "model": "fraud", "code": "503"}
    assert [total.accepts(good_series), total.accepts(bad_series)] == [True, True]
    assert [bad.accepts(good_series), bad.accepts(bad_series)] == [False, True]


def test_terms_that_differ_in_a_regular_expression_have_queries_of_their_own() -> None:
    source = read(TemplateRef("mine", {"model": "fraud", "code": "(5+)+x"}), TEMPLATE)
    assert isinstance(source, RatioSource)
    reading = plan_reading((source.total, source.bad, ()))
    assert reading.selectors == (
        'infer_total{model="fraud",{{.version}}}',
        'infer_total{model="fraud",code=~"(5+)+x",{{.version}}}',
    )
    (total,), (bad,), _ = reading.parts
    assert [(one.fetch, one.matchers) for one in (total, bad)] == [(0, ()), (1, ())]


def test_a_regular_expression_that_all_terms_have_needs_one_query() -> None:
    source = read(RatioQuery('a{x=~"b+", {{.version}} }', 'c{x=~"b+", {{.version}} }'))
    assert isinstance(source, RatioSource)
    assert plan_reading(source.parts).selectors == ('{__name__=~"a|c",x=~"b+",{{.version}}}',)


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
    limited = Metric("mine", TemplateRef("v"), Severity.MAJOR, Against.LIMIT, limit=0.9)
    template = {"value": {"query": "max(up{ {{.candidate}} })"}}
    assert resolve(limited, template, CATALOG, "shop") == ValueSource("max(up{ {{.candidate}} })")


@pytest.mark.parametrize(
    ("source", "template", "words"),
    [
        (TemplateRef("x"), None, "no template x: create a MetricTemplate of that name, or write one of bad-outputs"),
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
        (DistributionQuery("increase(a{ {{.version}} }[5m])", "label"), None, "counts has increase()"),
        (DistributionQuery("a{ {{.version}} } * 2", "label"), None, "counts must be a plain selector of a counter"),
        (DistributionQuery("a{ {{.version}} } - b{ {{.version}} }", "le"), None, "nothing taken off"),
        (MeanQuery(sum="s{ {{.version}} }", count="c"), None, "c does not say which version: write c{ {{.version}} }"),
        (
            RatioQuery(bad="b{ {{.version}} }", total='a{namespace="{{.namespace}}", {{.version}} }'),
            None,
            "{{.namespace}} is not known here: write {{.candidate}}, {{.stable}} or {{.version}}",
        ),
        (RatioQuery(bad="b{ {{.version}} }", total='a{x="{{.version}}"}'), None, "{{.version}} stands inside quotes"),
        (ValueQuery('max(a{x="{{.candidate}}"})'), None, "{{.candidate}} stands inside quotes"),
        (ValueQuery("(" * 400 + "a{ {{.candidate}} }" + ")" * 400), None, "401 parentheses inside each other"),
        (
            RatioQuery(bad="b{ {{.version}} }", total="(" * 400 + "a{ {{.version}} }" + ")" * 400),
            None,
            "the query has 401 parentheses inside each other: write at most 32",
        ),
        (ValueQuery("a{ {{.candidate}} }" + "+1" * 101), None, "the query has 101 operators: write at most 100"),
        (
            TemplateRef("v", {"a": "x" * 9000}),
            {"arguments": [{"name": "a"}], "value": {"query": "{{.a}}"}},
            "at most 8192",
        ),
        (TemplateRef("x"), {}, "write one of ratio, histogram, distribution, mean, concentration, value"),
    ],
)
def test_refusals_say_what_to_write(source: MetricSource, template: JsonObject | None, words: str) -> None:
    with pytest.raises(SourceError) as refused:
        read(source, template)
    assert str(refused.value).startswith("metric mine: ")
    assert words in str(refused.value)


ANSWERS = "predictions_total{ {{.version}} }"
COUNTED = {"distribution": {"counts": ANSWERS, "by": "label"}}
KNOWN = {"distribution": {"counts": ANSWERS, "by": "label", "reference": {"legit": 97, "fraud": 3}}}
TOKENS = {"mean": {"sum": "t_sum{ {{.version}} }", "count": "t_count{ {{.version}} }"}}
RATIO = {"ratio": {"bad": "b{ {{.version}} }", "total": "t{ {{.version}} }"}}


def test_answers_and_means_are_one_query_each() -> None:
    answers = read(DistributionQuery(f"sum by (label) ({ANSWERS})", "label"))
    assert isinstance(answers, DistributionSource)
    assert plan_reading(answers.parts).selectors == ("predictions_total{{{.version}}}",)
    tokens = read(MeanQuery(sum="t_sum{ {{.version}} }", count="t_count{ {{.version}} }"))
    assert isinstance(tokens, MeanSource)
    reading = plan_reading(tokens.parts)
    assert reading.selectors == ('{__name__=~"t_count|t_sum",{{.version}}}',)
    assert [len(part) for part in reading.parts] == [1, 0, 0, 1]


def test_templates_of_answers_and_means() -> None:
    assert read(TemplateRef("a"), COUNTED) == read(DistributionQuery(ANSWERS, "label"))
    assert isinstance(read(TemplateRef("t"), TOKENS), MeanSource)


def test_a_concentration_reads_what_a_distribution_reads() -> None:
    found = read(ConcentrationQuery(ANSWERS, "label"))
    assert isinstance(found, ConcentrationSource)
    assert plan_reading(found.parts).selectors == ("predictions_total{{{.version}}}",)
    assert read(TemplateRef("c"), {"concentration": COUNTED["distribution"]}) == found


def test_deployments_with_different_references_share_their_query() -> None:
    one, other = ({"legit": 97, "fraud": 3}, {"legit": 50, "fraud": 50})
    found = {
        resolve(
            Metric("a", DistributionQuery(ANSWERS, "label", each), Severity.INFO, Against.REFERENCE),
            None,
            CATALOG,
            "shop",
        )
        for each in (one, other)
    }
    assert len(found) == 1


def test_bounds_of_a_reference_ascend_and_end_with_infinity() -> None:
    query = DistributionQuery("p_bucket{ {{.version}} }", "le", {"10": 1, "9.50": 2, "-1": 3})
    metric = Metric("a", query, Severity.INFO, Against.REFERENCE)
    assert list(reference_of(metric).items()) == [("-1.0", 3), ("9.5", 2), ("10.0", 1), ("inf", 0)]
    twice = Metric("a", DistributionQuery(query.counts, "le", {"0.5": 1, "0.50": 2}), Severity.INFO, Against.REFERENCE)
    with pytest.raises(SourceError, match=r"has the bound 0\.50 twice"):
        resolve(twice, None, CATALOG, "shop")


@pytest.mark.parametrize(
    ("metric", "template", "words"),
    [
        (
            Metric("m", TemplateRef("x"), Severity.INFO, Against.REFERENCE),
            RATIO,
            "needs a distribution with a reference",
        ),
        (
            Metric("m", TemplateRef("x"), Severity.INFO, Against.REFERENCE),
            COUNTED,
            "needs a distribution with a reference",
        ),
        (
            Metric("m", TemplateRef("x"), Severity.MAJOR, Against.REFERENCE),
            KNOWN,
            "write severity: minor (holds) or info",
        ),
        (Metric("m", TemplateRef("x"), Severity.MAJOR, Against.LIMIT, 0.1), COUNTED, "remove against: limit"),
        (
            Metric("m", TemplateRef("x"), Severity.MAJOR, Against.STABLE, 1.1),
            COUNTED,
            "write a PSI above 0 and below 1",
        ),
        (
            Metric("m", TemplateRef("x"), Severity.MAJOR, Against.STABLE, 0.9),
            TOKENS,
            "how many times stable's mean is still good",
        ),
        (
            Metric("m", TemplateRef("x"), Severity.MAJOR, Against.STABLE, 0.9),
            {"concentration": COUNTED["distribution"]},
            "how many times stable's concentration is still good",
        ),
        (
            Metric("m", TemplateRef("x"), Severity.MAJOR, Against.STABLE),
            {"concentration": {"counts": "b{ {{.version}} }", "by": "le"}},
            "buckets are no answers",
        ),
        (
            Metric("m", TemplateRef("x"), Severity.MAJOR, Against.STABLE, 0.1),
            RATIO,
            "limit only counts with against: limit",
        ),
        (
            Metric("m", TemplateRef("x"), Severity.MAJOR, Against.STABLE, lower_is_worse=True),
            RATIO,
            "belongs to a mean",
        ),
        (
            Metric("m", TemplateRef("x"), Severity.MAJOR, Against.STABLE, tolerance=Tolerance(0.1)),
            RATIO,
            "tolerance belongs to a histogram that is compared with stable",
        ),
        (
            Metric("m", TemplateRef("x"), Severity.MAJOR, Against.STABLE, tolerance=Tolerance(None, 0.1)),
            {"histogram": {"buckets": "a_bucket{ {{.version}} }", "unit": ""}},
            "write percent alone",
        ),
        (
            Metric("m", TemplateRef("x"), Severity.MAJOR, Against.LIMIT, 0.9, window=86_400.0),
            {"value": {"query": "max(memory_used_ratio{ {{.candidate}} })"}},
            "it has no window: remove window",
        ),
    ],
)
def test_a_template_is_used_as_what_it_is(metric: Metric, template: JsonObject, words: str) -> None:
    with pytest.raises(SourceError) as refused:
        resolve(metric, template, CATALOG, "shop")
    assert words in str(refused.value)


@pytest.mark.parametrize("template", [{}, {"ratio": 7}, {"ratio": {"bad": "a"}}, {"distribution": {"counts": None}}, 7])
def test_a_template_of_another_shape_is_that_metrics_error_alone(template: Any) -> None:
    with pytest.raises(SourceError, match="metric mine: "):
        resolve(Metric("mine", TemplateRef("half"), Severity.MAJOR, Against.STABLE), template, CATALOG, "shop")


def test_a_metric_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at a deployment asks for each of its metrics; an edited template is another object."""
    asked: list[Metric] = []
    monkeypatch.setattr(sources, "_resolve", lambda metric, *_: asked.append(metric) or VALUE)
    catalog = replace(CATALOG, resolved=OrderedDict())
    metric = Metric("value", TemplateRef("mine"), Severity.INFO, Against.LIMIT, limit=1.0)
    before, after = {"value": {"query": "one"}}, {"value": {"query": "two"}}
    for template in (before, before, after, after, before):
        assert sources.resolve(metric, template, catalog, "shop") is VALUE
    assert len(asked) == 2
    sources.resolve(metric, before, catalog, "bank")
    assert len(asked) == 3


VALUE = ValueSource("up")


@pytest.mark.parametrize(
    ("metric", "template"),
    [
        (Metric("m", TemplateRef("request-errors"), Severity.MAJOR, Against.STABLE, by="country"), None),
        (Metric("m", TemplateRef("x"), Severity.MAJOR, Against.STABLE, by="country"), TOKENS),
        (
            Metric(
                "m",
                RatioQuery("rate(a{ {{.version}} }[5m])", "b{ {{.version}} }"),
                Severity.MAJOR,
                Against.STABLE,
                by="c",
            ),
            None,
        ),
    ],
)
def test_slices_need_counters_of_ones_own(metric: Metric, template: JsonObject | None) -> None:
    with pytest.raises(SourceError):
        resolve(metric, template, CATALOG, "shop")


def test_deployments_with_the_same_slices_share_a_query_and_others_do_not() -> None:
    plain = Metric("m", TemplateRef("x"), Severity.MAJOR, Against.STABLE)
    found = [resolve(replace(plain, by=one), RATIO, CATALOG, "shop") for one in ("country", "country", "tenant", "")]
    assert found[0] == found[1]
    assert len({*found}) == 3
