"""Sums of selectors: whatever they are written like, what is read is what was meant."""

from contextlib import suppress
from dataclasses import dataclass

import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serin.metrics.promql import Matcher, PromQLError
from serin.metrics.sums import Selector, Term, parse_sum

SPACE = st.sampled_from(["", " ", "\n", "\t ", " # more\n"])
NAMES = st.sampled_from(["a", "b_total", "ns:x:rate", "_c", "A9", "max", "by", "offset", "sumo", "rate"])
LABELS = st.sampled_from(["x", "le", "by", "sum", "_"])
OPERATORS = st.sampled_from(["=", "!=", "=~", "!~"])
# As written, and as meant.
VALUES = st.sampled_from(
    [
        ('"v"', "v"),
        ("'v'", "v"),
        ("`\\d`", "\\d"),
        ('"a|b"', "a|b"),
        ('""', ""),
        ('"}"', "}"),
        ('"("', "("),
        ('"# x"', "# x"),
        ("'\"'", '"'),
        ('"\\\\."', "\\."),
        ('"\\n"', "\n"),
        ('"\\""', '"'),
        ('"(a+)+"', "(a+)+"),
    ]
)
VERSION = st.sampled_from(["{{.version}}", "{{ .version }}"])


@dataclass(frozen=True)
class Written:
    """PromQL, and the terms that it means."""

    text: str
    terms: tuple[Term, ...]


@st.composite
def selectors(draw: st.DrawFn) -> Written:
    texts, matchers = [], []
    for _ in range(draw(st.integers(0, 3))):
        label, operator, (text, value) = draw(LABELS), draw(OPERATORS), draw(VALUES)
        texts.append(f"{label}{draw(SPACE)}{operator}{draw(SPACE)}{text}")
        matchers.append(Matcher(label, operator, value))
    texts.insert(draw(st.integers(0, len(texts))), draw(VERSION))
    name, gap = draw(NAMES), draw(SPACE)
    end = draw(st.sampled_from(["", ","]))
    text = f"{name}{gap}{{{gap} {f',{gap}'.join(texts)}{end} }}{gap}"
    return Written(text, (Term(1, Selector(name, tuple(matchers))),))


def sums(inner: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    by = st.sampled_from(["", " by (x, y)", " without (x)", " by ()"])

    def added(sign: str, one: Written, other: Written) -> Written:
        more = tuple(Term(term.sign if "+" in sign else -term.sign, term.selector) for term in other.terms)
        return Written(f"{one.text}{sign}({other.text})", one.terms + more)

    return st.one_of(
        st.builds(lambda one: Written(f"({one.text})", one.terms), inner),
        st.builds(lambda by, one: Written(f"sum{by}({one.text})", one.terms), by, inner),
        st.builds(lambda by, one: Written(f"sum({one.text}){by}", one.terms), by, inner),
        st.builds(added, st.sampled_from([" + ", "-", " - ", "+"]), inner, inner),
    )


WRITTEN = st.recursive(selectors(), sums, max_leaves=6)


@settings(deadline=None)
@given(WRITTEN)
def test_what_is_read_is_what_was_meant(written: Written) -> None:
    assert parse_sum(written.text) == written.terms


@settings(deadline=None)
@given(WRITTEN)
def test_what_is_read_can_be_written_again(written: Written) -> None:
    again = "0" + "".join(f"{'+' if one.sign > 0 else '-'}{one.selector.render()}" for one in written.terms)
    assert parse_sum(again.removeprefix("0+")) == written.terms


OTHER = [
    "{}[5m]",
    "{} offset 5m",
    "{} * 2",
    "rate({}[1m])",
    "max by (x) ({})",
    "{} > 0",
    "-{}",
    "{} + 1",
    "{}}}",
    "({}",
]


@settings(deadline=None)
@given(WRITTEN, st.sampled_from(OTHER))
def test_anything_else_is_none(written: Written, pattern: str) -> None:
    assert parse_sum(pattern.replace("{}", f"({written.text})")) is None


@settings(deadline=None)
@given(st.text("ab{}()[]'\"`\\#+-*/.,=~!<>:@ \n\x00é∞0159versionsumbyoffset", max_size=200))
def test_no_text_ends_anything(text: str) -> None:
    with suppress(PromQLError):
        parse_sum(text)


def test_native_code_never_sees_what_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compiles regular expressions, which takes seconds for some of them."""
    seen = []
    real = promql_parser.parse
    monkeypatch.setattr(promql_parser, "parse", lambda text: (seen.append(text), real(text))[1])
    parse_sum.cache_clear()
    found = parse_sum('a{b=~"\\\\w{900}", {{.version}} }')
    assert found == (Term(1, Selector("a", (Matcher("b", "=~", "\\w{900}"),))),)
    assert "900" not in "".join(seen)
    assert len(seen) == 1
