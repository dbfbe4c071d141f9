"""The one shape of PromQL that is counted exactly, sample by sample: a sum or difference of plain selectors.

Anything else still works, as a number that Prometheus computes, with the weaker promises of such a number.

The grammar is promql-parser's, which the command line uses too. It is native code that recurses and compiles regular
expressions, so what it is given is bounded first: the length, the nesting, the number of operators. Strings are taken
out and numbered before, so that a user's regular expression is read by Prometheus and by nobody else.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import promql_parser

from serin.metrics.promql import PLACEHOLDER, Matcher, PromQLError, check_placeholders, fill

# Bounds of one query, far above what anybody writes by hand; the parser takes milliseconds for what is within them.
LONGEST: Final = 8192
DEEPEST: Final = 32
MOST_OPERATORS: Final = 100

# Stands for {{.version}} while a selector is parsed; no PromQL label has such a name.
_MARK: Final = "__serin_version__"
_STRING_OR_COMMENT: Final = re.compile(
    r"\"(?:\\.|[^\"\\])*+(?:\"|\\?\Z)|'(?:\\.|[^'\\])*+(?:'|\\?\Z)|`[^`]*+(?:`|\Z)|\#[^\n]*", re.DOTALL
)
_BRACES: Final = re.compile(r"\{[^{}]*\}")
_OPERATOR: Final = re.compile(r"[-+*/%^<>=!]|\b(?:and|or|unless|atan2|offset)\b", re.IGNORECASE)
MATCH_OPERATORS: Final = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NUMBER: Final = re.compile(r'"(\d+)"')


@dataclass(frozen=True, slots=True)
class Selector:
    """A plain selector of one version's series: metric name (empty: given by a matcher on __name__) and matchers."""

    name: str
    matchers: tuple[Matcher, ...]

    def render(self) -> str:
        """Write it as PromQL, with {{.version}} in its place."""
        return f"{self.name}{{{','.join([*(matcher.render() for matcher in self.matchers), '{{.version}}'])}}}"


@dataclass(frozen=True, slots=True)
class Term:
    """A selector that is added (`sign` 1) or subtracted (-1)."""

    sign: int
    selector: Selector


@dataclass(frozen=True, slots=True)
class Masked:
    """PromQL with its strings replaced by their numbers, and without comments; `strings`: as they were written."""

    text: str
    strings: tuple[str, ...]


@lru_cache(maxsize=1024)
def parse_sum(text: str) -> tuple[Term, ...] | None:
    """Terms of a sum or difference of plain selectors, `sum(...)` around them dropped; None: it is something else.

    Every selector must hold {{.version}}, else PromQLError: without it the versions cannot be told apart. PromQLError
    also for placeholders that are not known or stand inside quotes, and for what check_bounds refuses.
    """
    masked = check_bounds(text)
    if check_placeholders(text, masked.strings) - {"version"}:
        return None
    try:
        terms = _terms(parse(fill(masked.text, {"version": f'{_MARK}="v"'})), masked.strings)
    except ValueError:
        return None  # Prometheus says it better
    return None if terms is None else tuple(map(_of_a_version, terms))


def check_bounds(text: str) -> Masked:
    """Refuse PromQL that is too long, too deep or has too many operators, in words. Raises PromQLError."""
    if len(text) > LONGEST:
        raise PromQLError(f"the query has {len(text)} characters: write at most {LONGEST}")
    masked = _mask(text)
    bare = PLACEHOLDER.sub("", masked.text)
    depth = deepest = 0
    for character in bare:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise PromQLError(f"the query has {deepest} parentheses inside each other: write at most {DEEPEST}")
    operators = len(_OPERATOR.findall(_BRACES.sub("", bare)))
    if operators > MOST_OPERATORS:
        raise PromQLError(f"the query has {operators} operators: write at most {MOST_OPERATORS}")
    return masked


def parse(text: str) -> promql_parser.Expr:
    """Parse PromQL that is within the bounds. Raises ValueError with the parser's words."""
    with panics_refused():
        return promql_parser.parse(text)


@contextmanager
def panics_refused() -> Iterator[None]:
    """Numbers that are too large make the native code panic, which is no Exception and would end the process."""
    try:
        yield
    except ValueError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError("a number in it is too large") from error
        raise


def _mask(text: str) -> Masked:
    strings: list[str] = []

    def number(found: re.Match[str]) -> str:
        written = found[0]
        if written.startswith("#"):
            return ""
        if len(written) < 2 or written[-1] != written[0]:
            return written[0]  # not closed: the parser says so
        strings.append(written)
        return f'"{len(strings) - 1}"'

    return Masked(_STRING_OR_COMMENT.sub(number, text), tuple(strings))


def _terms(parsed: promql_parser.Expr, strings: tuple[str, ...]) -> list[Term] | None:
    found: list[Term] = []
    todo = [(1, parsed)]
    while todo:
        sign, node = todo.pop()
        match node:
            case promql_parser.ParenExpr():
                todo.append((sign, node.expr))
            case promql_parser.AggregateExpr() if str(node.op) == "sum":
                todo.append((sign, node.expr))
            case promql_parser.BinaryExpr() if str(node.op) in ("+", "-") and node.modifier is None:
                todo += [(sign if str(node.op) == "+" else -sign, node.rhs), (sign, node.lhs)]
            case promql_parser.VectorSelector() if node.offset is None and node.at is None:
                selector = _selector(node, strings)
                if selector is None:
                    return None
                found.append(Term(sign, selector))
            case _:
                return None
    return found


def _selector(node: promql_parser.VectorSelector, strings: tuple[str, ...]) -> Selector | None:
    matchers = matchers_in(node, strings)
    return None if matchers is None or not is_name(node.name or "_") else Selector(node.name or "", matchers)


def matchers_in(node: promql_parser.VectorSelector, strings: tuple[str, ...]) -> tuple[Matcher, ...] | None:
    """Label matchers of a selector without its strings; None for what nobody needs (see _unquote)."""
    if node.matchers.or_matchers:
        return None
    matchers = []
    for one in node.matchers.matchers:
        value = "" if one.name == _MARK else _unquote(strings[int(one.value)])
        if value is None or not is_label(one.name):
            return None
        matchers.append(Matcher(one.name, MATCH_OPERATORS[str(one.op)], value))
    return tuple(matchers)


def is_name(text: str) -> bool:
    """Whether a metric name needs no quotes. One that is in quotes is a number here (see Masked)."""
    return _NAME.fullmatch(text) is not None


def is_label(text: str) -> bool:
    """Whether a label name needs no quotes."""
    return _LABEL.fullmatch(text) is not None


def unmask(masked: Masked) -> str:
    """PromQL with its strings in their places again."""
    return _NUMBER.sub(lambda found: masked.strings[int(found[1])], masked.text)


def _of_a_version(term: Term) -> Term:
    name, matchers = term.selector.name, term.selector.matchers
    others = tuple(one for one in matchers if one.label != _MARK)
    if len(others) == len(matchers):
        shown = name or "the selector"
        raise PromQLError(f"{shown} does not say which version: write {shown}{{ {{{{.version}}}} }}")
    return Term(term.sign, Selector(name, others))


def _unquote(literal: str) -> str | None:
    """Text of a PromQL string; None for escapes beyond backslash, quotes and newline, which nobody needs in labels."""
    body = literal[1:-1]
    if literal[0] == "`":
        return body
    plain = {"\\": "\\", '"': '"', "'": "'", "n": "\n"}
    if any(found not in plain for found in re.findall(r"\\(.)", body, re.DOTALL)):
        return None
    return re.sub(r"\\(.)", lambda found: plain[found[1]], body)
