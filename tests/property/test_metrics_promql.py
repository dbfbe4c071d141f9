"""Sums of selectors: the grammar of promql-parser reads what the hand-written one read."""

from hypothesis import given, settings
from hypothesis import strategies as st

from serin.metrics import promql, sums
from serin.metrics.promql import PromQLError

SPACE = st.sampled_from(["", " ", "\n", "\t "])
NAMES = st.sampled_from(["a", "b_total", "ns:x:rate", "_c", "A9", "max", "by", "offset", "sumo", "rate"])
LABELS = st.sampled_from(["x", "le", "__name__", "by", "sum", "_"])
VALUES = st.sampled_from(
    [
        '"v"',
        "'v'",
        "`v`",
        '"a|b"',
        '""',
        '"}"',
        '"("',
        '"# x"',
        "'\"'",
        '"\\\\."',
        '"\\n"',
        '"\\x41"',
        '"\\""',
        "`\\d`",
        '"5.."',
    ]
)
VERSION = st.sampled_from(["{{.version}}", "{{ .version }}"])


@st.composite
def selectors(draw: st.DrawFn) -> str:
    one = st.builds("{}{}{}{}".format, LABELS, SPACE, st.sampled_from(["=", "!=", "=~", "!~"]), VALUES)
    matchers = draw(st.lists(one, max_size=3))
    matchers.insert(draw(st.integers(0, len(matchers))), draw(VERSION))
    gap = draw(SPACE)
    end = draw(st.sampled_from(["", "", "", ","]))
    return f"{draw(NAMES)}{gap}{{{gap} {f',{gap}'.join(matchers)}{end} }}{gap}"


def wrapped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    by = st.sampled_from(["", " by (x, y)", " without (x)", " by ()"])
    two = st.builds("{}{}{}".format, inner, st.sampled_from([" + ", "-", " - ", "+"]), inner)
    other = st.sampled_from(
        [
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
            "{} or {0}",
        ]
    )
    return st.one_of(
        st.builds("({})".format, inner),
        st.builds("sum{}({})".format, by, inner),
        st.builds("sum({}){}".format, inner, by),
        two,
        st.builds(lambda pattern, text: pattern.replace("{}", text).replace("{0}", text), other, inner),
    )


def of(parse: object, text: str) -> object:
    try:
        found = parse(text)  # type: ignore[operator]
    except PromQLError as error:
        return str(error)
    return None if found is None else [(one.sign, one.selector.render()) for one in found]


@settings(max_examples=500, deadline=None)
@given(st.recursive(selectors(), wrapped, max_leaves=6))
def test_both_grammars_read_the_same(text: str) -> None:
    old, new = of(promql.parse_sum, text), of(sums.parse_sum, text)
    if old != new:
        # What is no PromQL at all was read by the old grammar, and refused by Prometheus later.
        assert new is None, (text, old, new)
        filled = sums._mask(text).text.replace("{{.version}}", 'v="1"').replace("{{ .version }}", 'v="1"')
        try:
            sums.parse(filled)
        except ValueError:
            return
        raise AssertionError((text, old, new))
