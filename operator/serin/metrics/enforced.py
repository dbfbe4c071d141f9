"""Label matchers that Serin adds to every selector of a query, so that it reads no more than it may.

Two kinds: a router's series are believed only with labels that no other pod's series can have, and what users write
reads the series of their own namespace alone. A query is parsed, its selectors are written anew with the matchers, and
the whole is printed from the syntax tree: what Prometheus gets is never the user's own text, so nothing that the parser
reads in another way than Prometheus can hide a selector. What the parser does not know is refused.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Final

import promql_parser

from serin.metrics.promql import (
    DEPLOYMENT_LABEL,
    NAMESPACE_LABEL,
    OWN_PLACEHOLDERS,
    SNAPSHOT_LABEL,
    Matcher,
    PromQLError,
    fill,
)
from serin.metrics.sums import (
    MATCH_OPERATORS,
    Masked,
    Term,
    check_bounds,
    is_label,
    is_name,
    matchers_in,
    panics_refused,
    parse,
    unmask,
)


@dataclass(frozen=True, slots=True)
class Trust:
    """Which series are believed, and which users may read.

    `router`: matchers that only the router's own series fit. `tenant_label`: the label that says a series' namespace,
    "": users may read everything. `user_queries`: whether users may write queries, or use built-in templates alone.
    """

    router: tuple[Matcher, ...] = ()
    tenant_label: str = ""
    user_queries: bool = True

    @classmethod
    def read(cls, router: str, tenant_label: str, user_queries: bool) -> "Trust":
        """Read the settings: matchers as in a selector, and the name of a label. Raises PromQLError."""
        if tenant_label and not is_label(tenant_label):
            raise PromQLError(f"{tenant_label!r} is no name of a label: write for example {NAMESPACE_LABEL}")
        matchers = read_matchers(router)
        if own := [one.label for one in matchers if one.label in (NAMESPACE_LABEL, DEPLOYMENT_LABEL, SNAPSHOT_LABEL)]:
            raise PromQLError(f"{own[0]} is what a series says of itself: write labels that Prometheus sets")
        return cls(matchers, tenant_label, user_queries)

    def of_tenant(self, namespace: str) -> tuple[Matcher, ...]:
        """Matchers for what users of a namespace write."""
        return (Matcher(self.tenant_label, "=", namespace),) if self.tenant_label else ()


def render(matchers: Sequence[Matcher]) -> str:
    """Write matchers as in a selector, without braces."""
    return ",".join(matcher.render() for matcher in matchers)


def read_matchers(text: str) -> tuple[Matcher, ...]:
    """Read matchers as they are written in a selector, without braces. Raises PromQLError; none for no text."""
    if not text.strip():
        return ()
    masked = check_bounds(f"{{{text}}}")
    parsed = None
    with suppress(ValueError):
        parsed = parse(masked.text)
    if isinstance(parsed, promql_parser.VectorSelector) and (parsed.name, parsed.offset, parsed.at) == (None,) * 3:
        found = matchers_in(parsed, masked.strings)
        if found:
            return found
    raise PromQLError(f'{text} is no list of label matchers: write for example namespace="serin-system"')


def restrict_terms(terms: tuple[Term, ...], matchers: Sequence[Matcher]) -> tuple[Term, ...]:
    """The same sum with the matchers in each selector."""
    return tuple(
        replace(term, selector=replace(term.selector, matchers=(*term.selector.matchers, *matchers))) for term in terms
    )


@lru_cache(maxsize=1024)
def restrict(text: str, matchers: tuple[Matcher, ...]) -> str:
    """The same query with the matchers in each selector; {{.version}} and the like stay. Raises PromQLError."""
    if not matchers:
        return text
    query = _Query.of(check_bounds(text), matchers)
    try:
        with panics_refused():
            printed = promql_parser.transform(parse(query.masked), pre_visit=query.restricted).prettify()
            query.check(parse(printed))
    except PromQLError:
        raise
    except ValueError as error:
        raise PromQLError(
            f"Serin has to add {render(matchers)} to every selector of the query, and cannot read it: {error}"
        ) from error
    return query.unmasked(printed)


def open_selectors(text: str) -> list[str]:
    """Selectors without {{.version}} or the like, as they are printed: what restrict narrows most."""
    query = _Query.of(check_bounds(text), ())
    found = []

    def look(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            labels = {one.name for one in node.matchers.matchers}
            if not labels & {NAMESPACE_LABEL, *_MARKS}:
                found.append(query.unmasked(node.prettify()))
        return True

    promql_parser.walk(parse(query.masked), pre_visit=look)
    return found


# Stands for {{.version}} and the like; the label of a matcher whose value is none of the user's strings.
_MARKS: Final = {f"__serin_{name}__": name for name in OWN_PLACEHOLDERS}


@dataclass(frozen=True, slots=True)
class _Query:
    """A query without its strings, and what is added to it. `enforced`: as text, its values among the `strings`."""

    masked: str
    strings: tuple[str, ...]
    mark: str
    enforced: tuple[str, ...]

    @classmethod
    def of(cls, masked: Masked, matchers: Sequence[Matcher]) -> "_Query":
        quoted = [Matcher("", "", matcher.value).render() for matcher in matchers]
        first = len(masked.strings) + 1
        enforced = tuple(f'{one.label}{one.operator}"{first + place}"' for place, one in enumerate(matchers))
        mark = str(first - 1)
        marks = {name: f'{label}="{mark}"' for label, name in _MARKS.items()}
        return cls(fill(masked.text, marks), (*masked.strings, '""', *quoted), mark, enforced)

    def restricted(self, node: promql_parser.Expr) -> promql_parser.Expr | None:
        """In the place of a selector the same one with the matchers; None: no selector."""
        match node:
            case promql_parser.VectorSelector():
                return parse(self._selector(node))
            case promql_parser.Call() if node.func.name == "info":
                raise PromQLError("the query has info(), which reads everybody's series: write a join, * on (...) ...")
            case _:
                return None

    def _selector(self, node: promql_parser.VectorSelector) -> str:
        if node.at is not None:
            raise PromQLError("the query has @, which is the same moment for ever: write it without")
        if node.matchers.or_matchers:
            raise PromQLError("the query has `or` inside of braces: write two selectors with `or` between them")
        name = node.name or ""
        if name and not is_name(name):
            raise PromQLError('a metric name is in quotes: write {__name__="..."}')
        written = [*map(self._matcher, node.matchers.matchers), *self.enforced]
        offset = "" if node.offset is None else f" offset {_milliseconds(node.offset)}"
        return f"{name}{{{','.join(written)}}}{offset}"

    def _matcher(self, one: promql_parser.Matcher) -> str:
        if not is_label(one.name):
            raise PromQLError("a label name is in quotes: write one of letters, digits and _")
        return f'{one.name}{MATCH_OPERATORS[str(one.op)]}"{one.value}"'

    def check(self, printed: promql_parser.Expr) -> None:
        """What was printed reads back with the matchers in each selector. Raises PromQLError."""

        def has_all(node: promql_parser.Expr) -> bool:
            selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
            if not isinstance(selector, promql_parser.VectorSelector):
                return True
            found = {self._matcher(one) for one in selector.matchers.matchers}
            return not selector.matchers.or_matchers and found.issuperset(self.enforced)

        if not promql_parser.walk(printed, pre_visit=has_all):
            raise PromQLError("a selector of the query cannot be restricted: write the query in another way")

    def unmasked(self, printed: str) -> str:
        """With the strings, and with the placeholders."""
        for label, name in _MARKS.items():
            printed = printed.replace(f'{label}="{self.mark}"', f"{{{{.{name}}}}}")
        return unmask(Masked(printed, self.strings))


def _milliseconds(duration: timedelta) -> str:
    return f"{round(duration / timedelta(milliseconds=1))}ms"
