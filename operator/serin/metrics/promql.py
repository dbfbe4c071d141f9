"""PromQL as text: placeholders, label matchers, and the one shape that can be counted exactly.

A sum or difference of plain selectors is read sample by sample (see counting). Anything else still works, as a number
that Prometheus computes, with the weaker promises of such a number. This module knows no more PromQL than that.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

NAMESPACE_LABEL = "serin_namespace"
DEPLOYMENT_LABEL = "serin_model_deployment"
SNAPSHOT_LABEL = "serin_snapshot"

OWN_PLACEHOLDERS = ("version", "candidate", "stable")
PLACEHOLDER = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
# Stands for {{.version}} while a selector is parsed; no PromQL label has such a name.
_VERSION_MARK = '__serin_version__="here"'

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SPACE = re.compile(r"\s*")
_GROUPING = re.compile(r"\s*(?:by|without)\s*\([^()]*\)")
_MATCHER = re.compile(
    r"\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*(\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`)\s*(,|(?=\}))"
)
# Regular expressions that Python and Prometheus read alike.
_SHARED_REGEX = re.compile(r"[\w\s:/.,=@%&~<>;|*+?()\[\]^-]*")


class PromQLError(ValueError):
    """The user's PromQL cannot be used; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Version:
    """Whose series are meant: a deployment and its snapshots (the one under judgement first)."""

    namespace: str
    deployment: str
    snapshots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher, `operator` one of = != =~ !~."""

    label: str
    operator: str
    value: str

    def render(self) -> str:
        """Write it as PromQL."""
        quoted = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.operator}"{quoted}"'

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels fits; a missing label is the empty string, as in Prometheus."""
        value = labels.get(self.label, "")
        hit = value == self.value if self.operator in ("=", "!=") else re.fullmatch(self.value, value) is not None
        return hit == (self.operator in ("=", "=~"))

    def local(self) -> bool:
        """Whether `accepts` is sure to decide as Prometheus would."""
        if self.operator in ("=", "!="):
            return True
        if not _SHARED_REGEX.fullmatch(self.value) or "[[" in self.value or "(?" in self.value:
            return False
        try:
            re.compile(self.value)
        except re.error:
            return False
        return True


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


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace {{.name}} by values[name]. Raises PromQLError for a name that is not there."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in values:
            known = ", ".join(f"{{{{.{one}}}}}" for one in values)
            raise PromQLError(f"{{{{.{name}}}}} is not known here: write one of {known}")
        return values[name]

    return PLACEHOLDER.sub(value, text)


def placeholders(text: str) -> frozenset[str]:
    """Names in {{.name}}."""
    return frozenset(PLACEHOLDER.findall(text))


def check_placeholders(text: str, strings: Iterable[str]) -> frozenset[str]:
    """Names in {{.name}} that Serin fills in; `strings`: the quoted parts of the text. Raises PromQLError for others."""
    used = placeholders(text)
    for name in sorted(used - set(OWN_PLACEHOLDERS)):
        raise PromQLError(
            f"{{{{.{name}}}}} is not known here: write {{{{.candidate}}}}, {{{{.stable}}}} or {{{{.version}}}}, which "
            "select the namespace too"
        )
    if quoted := sorted(name for one in strings for name in placeholders(one)):
        raise PromQLError(
            f"{{{{.{quoted[0]}}}}} stands inside quotes, and it is a list of label matchers: write it among them, as "
            f"in name{{ {{{{.{quoted[0]}}}}} }}"
        )
    return used


def matchers_of(versions: Sequence[Version]) -> str:
    """Label matchers, without braces, of the snapshots of one or many deployments: one query serves them all."""
    return ",".join(
        (
            _one_of(NAMESPACE_LABEL, [version.namespace for version in versions]),
            _one_of(DEPLOYMENT_LABEL, [version.deployment for version in versions]),
            _one_of(SNAPSHOT_LABEL, [name for version in versions for name in version.snapshots]),
        )
    )


def any_of(label: str, values: Sequence[str]) -> str:
    """Make a matcher for one of the values, taken literally."""
    return _one_of(label, values)


def _one_of(label: str, values: Sequence[str]) -> str:
    distinct = sorted(set(values))
    if len(distinct) == 1:
        return Matcher(label, "=", distinct[0]).render()
    return Matcher(label, "=~", "|".join(re.escape(value).replace("\\-", "-") for value in distinct)).render()


@cache
def parse_sum(text: str) -> tuple[Term, ...] | None:
    """Terms of a sum or difference of plain selectors, `sum(...)` around them dropped; None: it is something else.

    Every selector must hold {{.version}}, else PromQLError: without it the versions cannot be told apart.
    """
    marked = PLACEHOLDER.sub(lambda found: _VERSION_MARK if found[1] == "version" else found[0], text)
    parser = _Parser(marked)
    terms = parser.sum()
    if terms is None or not parser.at_end():
        return None
    checked = []
    for term in terms:
        matchers = tuple(one for one in term.selector.matchers if one.label != "__serin_version__")
        if len(matchers) == len(term.selector.matchers):
            name = term.selector.name or "the selector"
            raise PromQLError(f"{name} does not say which version: write {name}{{ {{{{.version}}}} }}")
        checked.append(Term(term.sign, Selector(term.selector.name, matchers)))
    return tuple(checked)


class _Parser:
    """Recursive descent over sum := term (("+" | "-") term)*; every method gives None for what it does not know."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def at_end(self) -> bool:
        self._skip(_SPACE)
        return self._at == len(self._text)

    def sum(self) -> list[Term] | None:
        terms = self._term()
        while terms is not None and (sign := self._take("+-")):
            more = self._term()
            factor = 1 if sign == "+" else -1
            terms = None if more is None else [*terms, *(Term(one.sign * factor, one.selector) for one in more)]
        return terms

    def _term(self) -> list[Term] | None:
        if self._take("("):
            return self._closed()
        self._skip(_SPACE)
        found = _NAME.match(self._text, self._at)
        if found and found[0] == "sum":
            self._at = found.end()
            self._skip(_GROUPING)
            inner = self._closed() if self._take("(") else None
            self._skip(_GROUPING)
            return inner
        if found:
            self._at = found.end()
        matchers = self._matchers()
        if matchers is None or not (found or matchers):
            return None
        return [Term(1, Selector(found[0] if found else "", tuple(matchers)))]

    def _closed(self) -> list[Term] | None:
        inner = self.sum()
        return inner if self._take(")") else None

    def _matchers(self) -> list[Matcher] | None:
        """Matchers in braces; none without braces."""
        matchers: list[Matcher] = []
        if not self._take("{"):
            return matchers
        while not self._take("}"):
            found = _MATCHER.match(self._text, self._at)
            value = _unquote(found[3]) if found else None
            if found is None or value is None:
                return None
            matchers.append(Matcher(found[1], found[2], value))
            self._at = found.end()
        return matchers

    def _take(self, characters: str) -> str:
        """Consume one of the characters after spaces; the empty string when there is none."""
        self._skip(_SPACE)
        found = self._text[self._at : self._at + 1]
        if not found or found not in characters:
            return ""
        self._at += 1
        return found

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()


def _unquote(literal: str) -> str | None:
    """Text of a PromQL string; None for escapes beyond backslash, quotes and newline, which nobody needs in labels."""
    body = literal[1:-1]
    if literal[0] == "`":
        return body
    plain = {"\\": "\\", '"': '"', "'": "'", "n": "\n"}
    if any(found not in plain for found in re.findall(r"\\(.)", body)):
        return None
    return re.sub(r"\\(.)", lambda found: plain[found[1]], body)
