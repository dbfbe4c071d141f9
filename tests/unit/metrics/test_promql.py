"""PromQL as text: what is understood, what is left to Prometheus, and what the user is told."""

import pytest

from serin.metrics.promql import Matcher, PromQLError, Version, fill, matchers_of
from serin.metrics.sums import parse_sum


def terms(text: str) -> list[tuple[int, str]] | None:
    found = parse_sum(text)
    return None if found is None else [(term.sign, term.selector.render()) for term in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_total{ {{.version}} }", [(1, "a_total{{{.version}}}")]),
        ("a_total{{{.version}}}", [(1, "a_total{{{.version}}}")]),
        ("a:b{c='d',{{ .version }},}", [(1, 'a:b{c="d",{{.version}}}')]),
        ("sum(a{ {{.version}} })", [(1, "a{{{.version}}}")]),
        ("sum by (x, y) (a{ {{.version}} })", [(1, "a{{{.version}}}")]),
        ("sum(a{ {{.version}} }) without (x)", [(1, "a{{{.version}}}")]),
        ("a{ {{.version}} } + b{ {{.version}} } - c{ {{.version}} }", [(1, "a"), (1, "b"), (-1, "c")]),
        ("a{ {{.version}} } - (b{ {{.version}} } - c{ {{.version}} })", [(1, "a"), (-1, "b"), (1, "c")]),
        ('{__name__="a.b", {{.version}}}', [(1, '{__name__="a.b",{{.version}}}')]),
        ('a{b=~"x\\\\.y", {{.version}}}', [(1, 'a{b=~"x\\\\.y",{{.version}}}')]),
        ('a{b="}", {{.version}}}', [(1, 'a{b="}",{{.version}}}')]),
    ],
)
def test_sums_of_selectors_are_understood(text: str, expected: list[tuple[int, str]]) -> None:
    whole = [(sign, name if "{" in name else f"{name}{{{{{{.version}}}}}}") for sign, name in expected]
    assert terms(text) == whole


@pytest.mark.parametrize(
    "text",
    [
        "sum(rate(a{ {{.version}} }[1m]))",
        "a{ {{.version}} }[5m]",
        "a{ {{.version}} } offset 5m",
        "a{ {{.version}} } * 2",
        "a{ {{.version}} } / b{ {{.version}} }",
        "max by (x) (a{ {{.version}} })",
        "a{ {{.version}} } > 0",
        'a{b="\\x41", {{.version}}}',
        "sum(a{ {{.version}} }",
        "1",
        "",
    ],
)
def test_anything_else_is_left_to_prometheus(text: str) -> None:
    assert terms(text) is None


def test_a_selector_without_its_version_is_refused() -> None:
    with pytest.raises(PromQLError, match=r"b_total does not say which version: write b_total\{ \{\{\.version\}\} \}"):
        parse_sum("a{ {{.version}} } + b_total")


def test_matchers_of_one_and_of_many_deployments() -> None:
    one = Version("shop", "fraud", ("fraud-b", "fraud-a"))
    assert matchers_of([one]) == (
        'serin_namespace="shop",serin_model_deployment="fraud",serin_snapshot=~"fraud-a|fraud-b"'
    )
    two = Version("bank", "loan.eu", ("loan.eu-b", "loan.eu-a"))
    assert matchers_of([one, two]) == (
        'serin_namespace=~"bank|shop",serin_model_deployment=~"fraud|loan\\\\.eu",'
        'serin_snapshot=~"fraud-a|fraud-b|loan\\\\.eu-a|loan\\\\.eu-b"'
    )


@pytest.mark.parametrize(
    ("matcher", "labels", "hit"),
    [
        (Matcher("code", "=", "500"), {"code": "500"}, True),
        (Matcher("code", "=", ""), {}, True),
        (Matcher("code", "!=", "500"), {}, True),
        (Matcher("code", "=~", "503|504"), {"code": "503"}, True),
        (Matcher("code", "=~", "503|504"), {"code": "5031"}, False),
        (Matcher("code", "=~", "5"), {"code": "503"}, False),
        (Matcher("code", "=~", "503|"), {}, True),
        (Matcher("code", "!~", "503|504"), {"code": "503"}, False),
        (Matcher("code", "!~", "503|504"), {}, True),
    ],
)
def test_matchers_decide_as_prometheus_does(matcher: Matcher, labels: dict[str, str], hit: bool) -> None:
    assert matcher.accepts(labels) is hit


@pytest.mark.parametrize("regex", ["\\d", "(?i)a", "[a]", "a{2}", "(a", "a.b", "a+", "a*", "a?", "^a", "a$", "(a+)+b"])
@pytest.mark.parametrize("operator", ["=~", "!~"])
def test_regular_expressions_are_left_to_prometheus(regex: str, operator: str) -> None:
    matcher = Matcher("a", operator, regex)
    assert matcher.literals() is None
    with pytest.raises(ValueError, match="only Prometheus evaluates"):
        matcher.accepts({"a": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})


def test_fill_names_what_is_known() -> None:
    assert fill("up{ {{.version}} }", {"version": 'a="b"'}) == 'up{ a="b" }'
    with pytest.raises(PromQLError, match=r"\{\{\.canary\}\} is not known here: write one of \{\{\.version\}\}"):
        fill("up{ {{.canary}} }", {"version": "x"})


@pytest.mark.parametrize(
    "text", ["a{ {{.version}} } offset 1e30", "a{ {{.version}} }[1e19]", "a{ {{.version}} } offset 1e17"]
)
def test_numbers_that_native_code_cannot_hold_end_nothing(text: str) -> None:
    assert parse_sum(text) is None
