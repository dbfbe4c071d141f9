"""What Serin adds to every selector: of the router's series, and of what users write."""

from collections.abc import Mapping

import pytest

from serin.api.json import JsonObject
from serin.api.spec import DistributionQuery, MeanQuery, Metric, MetricSource, RatioQuery, TemplateRef, ValueQuery
from serin.api.verdicts import Against, Severity
from serin.metrics.catalog import Catalog
from serin.metrics.enforced import Trust, open_selectors, read_matchers, restrict
from serin.metrics.promql import Matcher, PromQLError
from serin.metrics.readings import plan_reading
from serin.metrics.sources import ExpressionSource, Source, SourceError, ValueSource, resolve
from serin.routers import envoy

SHOP = (Matcher("ns", "=", "shop"),)
VERSION = "{{.version}}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max(a)", 'max(a{ns="shop"})'),
        ("max(a{ {{.candidate}} }) / max(b)", 'max(a{{{.candidate}},ns="shop"}) / max(b{ns="shop"})'),
        ("max(rate(a[5m] offset 1h))", 'max(rate(a{ns="shop"}[5m] offset 1h))'),
        ("max_over_time(sum(a)[10m:1m])", 'max_over_time(sum(a{ns="shop"})[10m:1m])'),
        ("scalar(a) + absent(b)", 'scalar(a{ns="shop"}) + absent(b{ns="shop"})'),
        ("sum(a) by (x) > bool on (x) group_left(y) b", None),
        ('{"a.b"}', '{__name__="a.b",ns="shop"}'),
        ('{__name__=~".+"}', '{__name__=~".+",ns="shop"}'),
        ('a{x=~`\\d+"}`, ns="bank"}', 'a{ns="bank",ns="shop",x=~`\\d+"}`}'),
        ('a{x="} or b{y=\\""}', 'a{ns="shop",x="} or b{y=\\""}'),
        ("a # } or b\n + c", 'a{ns="shop"} + c{ns="shop"}'),
        ('label_replace(a, "x", "$1", "y", "(.*)")', 'label_replace(a{ns="shop"}, "x", "$1", "y", "(.*)")'),
        ('a{__serin_candidate__="0"}', 'a{__serin_candidate__="0",ns="shop"}'),
        ("time() - a", 'time() - a{ns="shop"}'),
        ("- a ^ 2", '-a{ns="shop"} ^ 2'),
    ],
)
def test_every_selector_gets_the_matchers(text: str, expected: str | None) -> None:
    found = restrict(text, SHOP)
    assert expected in (None, found)
    assert found.count('ns="shop"') >= 1
    assert restrict(text, ()) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('a{x="1" or y="2"}', "has `or` inside of braces"),
        ("a{ {{.candidate}} or x='1'}", "has `or` inside of braces"),
        ("a @ 5", "has @"),
        ("a @ -5", "has @"),
        ('{"a.b"="c"}', "a label name is in quotes"),
        ("info(a)", "has info\\(\\)"),
        ("no_function_that_is_known(a)", 'add ns="shop" to every selector of the query, and cannot read it: unknown'),
        ("{{.candidate}}", "cannot read it"),
        ("sum by ({{.candidate}}) (a)", "cannot read it"),
        ("WITH (x = a) x", "cannot read it"),
        ("a offset 1e30", "cannot read it"),
        ("a offset 99999999999999y", "cannot read it"),
        ("a[99999999999999y]", "cannot read it"),
        ("(" * 500 + "a" + ")" * 500, "write at most"),
    ],
)
def test_what_cannot_be_restricted_is_refused(text: str, words: str) -> None:
    with pytest.raises(PromQLError, match=words):
        restrict(text, SHOP)


def test_selectors_that_name_no_version_are_known() -> None:
    query = 'max(a{ {{.candidate}} }) / max(b{x="1"}) + rate(c[5m]) + d{serin_namespace="shop"}'
    assert sorted(open_selectors(query)) == ['b{x="1"}', "c"]


TRUST = Trust.read('namespace="serin-system",job=~"a|b+"', "namespace", True)


def source(written: MetricSource, template: JsonObject | None = None, trust: Trust = TRUST) -> Source:
    catalog = Catalog.of(envoy.templates(), trust=trust)
    return resolve(Metric("mine", written, Severity.MAJOR, Against.STABLE), template, catalog, "shop")


def selectors(found: Source) -> tuple[str, ...]:
    match found:
        case ValueSource():
            return (found.query,)
        case ExpressionSource():
            return found.total, found.bad
        case _:
            return plan_reading(found.parts).selectors


@pytest.mark.parametrize("name", sorted(envoy.templates()))
def test_a_routers_templates_read_series_of_the_router_alone(name: str) -> None:
    needs = {one["name"]: "a" for one in envoy.templates()[name].get("arguments", ())}
    found = selectors(source(TemplateRef(name, needs)))
    assert found
    for selector in found:
        assert 'namespace="serin-system",job=~"a|b+"' in selector
        assert 'namespace="shop"' not in selector


A, B = f"a{{ {VERSION} }}", f"b{{ {VERSION} }}"
OWN: Mapping[str, tuple[MetricSource, JsonObject | None]] = {
    "ratio": (RatioQuery(A, B), None),
    "ratio of two queries": (RatioQuery(f'a{{x=~"1+", {VERSION} }}', B), None),
    "expression": (RatioQuery(f"sum by (serin_snapshot) ({A} * scalar(other))", B), None),
    "distribution": (DistributionQuery(A, "label"), None),
    "mean": (MeanQuery(A, B), None),
    "value": (ValueQuery(f"max({A}) / max(other)"), None),
    "template": (TemplateRef("own"), {"ratio": {"total": A, "bad": B}}),
    "histogram": (TemplateRef("own"), {"histogram": {"buckets": A}}),
    "hidden": (TemplateRef("request-errors"), {"ratio": {"total": A, "bad": B}}),
}


@pytest.mark.parametrize("kind", OWN)
def test_what_users_write_reads_series_of_their_namespace_alone(kind: str) -> None:
    for selector in selectors(source(*OWN[kind])):
        assert selector.count('namespace="shop"') == selector.count("{") - 2 * selector.count("{{.")
        assert "serin-system" not in selector


def test_serins_own_label_is_in_the_placeholder_already() -> None:
    trust = Trust(tenant_label="serin_namespace")
    assert source(*OWN["ratio"], trust=trust) == source(*OWN["ratio"], trust=Trust())
    [query] = selectors(source(*OWN["value"], trust=trust))
    assert 'max(other{serin_namespace="shop"})' in query


@pytest.mark.parametrize("kind", OWN)
def test_templates_alone(kind: str) -> None:
    trust = Trust(user_queries=False)
    with pytest.raises(SourceError) as refused:
        source(*OWN[kind], trust=trust)
    words = "metric mine: queries of users are switched off in this cluster (prometheus.userQueries): write template: "
    assert str(refused.value).startswith(words + "{name: NAME} with one of bad-outputs, disagreements, ")
    assert ("delete the MetricTemplate request-errors, which hides it" in str(refused.value)) is (kind == "hidden")
    assert source(TemplateRef("request-errors"), trust=trust)


@pytest.mark.parametrize(
    "text", ["a", "a=1", '{a="b"}', 'a="b"} or {c="d"', 'a="b"} offset 5m #', '"a.b"="c"', 'a="b" or c="d"', 'a=~"b']
)
def test_what_is_no_list_of_matchers_is_refused(text: str) -> None:
    with pytest.raises(PromQLError, match="is no list of label matchers"):
        read_matchers(text)


def test_settings_of_trust() -> None:
    assert Trust.read(" ", "", False) == Trust((), "", False)
    assert Trust.read('a="b",c!~"d"', "x", True).router == (Matcher("a", "=", "b"), Matcher("c", "!~", "d"))
    with pytest.raises(PromQLError, match="'a-b' is no name of a label: write for example serin_namespace"):
        Trust.read("", "a-b", True)
    with pytest.raises(PromQLError, match="serin_snapshot is what a series says of itself"):
        Trust.read('serin_snapshot="a"', "", True)
