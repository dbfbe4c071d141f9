"""Which queries a source needs, and which of their series belong to which of its terms.

The terms of one template are fetched together: one query with all metric names, and the label matchers in which they
differ applied here. Regular expressions are left to Prometheus, so terms that differ in one get a query each.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from serin.metrics.answers import Series
from serin.metrics.counting import find_start_times
from serin.metrics.duplicates import Started, merge
from serin.metrics.promql import DEPLOYMENT_LABEL, NAMESPACE_LABEL, SNAPSHOT_LABEL, Matcher
from serin.metrics.sums import Selector, Term

Owner = tuple[str, str, str]  # namespace, deployment, snapshot


@dataclass(frozen=True, slots=True)
class Pick:
    """One term: its sign, the query that fetches it, and what its series have in common beyond that query."""

    sign: int
    fetch: int
    name: str
    matchers: tuple[Matcher, ...]

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Whether a series of the query belongs to this term."""
        if self.name and labels.get("__name__") != self.name:
            return False
        return all(matcher.accepts(labels) for matcher in self.matchers)


@dataclass(frozen=True, slots=True)
class Reading:
    """Selectors to query, {{.version}} still in them, and the picks of each part (a part is a sum of terms)."""

    selectors: tuple[str, ...]
    parts: tuple[tuple[Pick, ...], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One series of a term: its sign, and the sample times before which it counted from 0."""

    sign: int
    series: Series
    start_times: frozenset[float]


@lru_cache(maxsize=1024)
def plan_reading(parts: tuple[tuple[Term, ...], ...]) -> Reading:
    """Plan the queries of some sums: one when their matchers can be applied here, else one for each distinct term."""
    selectors = list(dict.fromkeys(term.selector for part in parts for term in part))
    names = sorted({selector.name for selector in selectors})
    common = tuple(one for one in selectors[0].matchers if all(one in each.matchers for each in selectors))
    others = [one for each in selectors for one in each.matchers if one not in common]
    if len(selectors) > 1 and all(names) and all(one.literals() is not None for one in others):
        together = Selector("", (Matcher("__name__", "=~", "|".join(names)), *common))
        return Reading((together.render(),), tuple(tuple(_pick(term, common) for term in part) for part in parts))
    texts = tuple(dict.fromkeys(selector.render() for selector in selectors))
    separate = (tuple(Pick(term.sign, texts.index(term.selector.render()), "", ()) for term in part) for part in parts)
    return Reading(texts, tuple(separate))


def _pick(term: Term, common: tuple[Matcher, ...]) -> Pick:
    """Pick a term out of the query for all of them, which has applied the `common` matchers."""
    return Pick(term.sign, 0, term.selector.name, tuple(one for one in term.selector.matchers if one not in common))


def owner_of(labels: Mapping[str, str]) -> Owner:
    """Whose series this is."""
    return labels.get(NAMESPACE_LABEL, ""), labels.get(DEPLOYMENT_LABEL, ""), labels.get(SNAPSHOT_LABEL, "")


class Table:
    """Series of one query by owner, for picking terms out of them."""

    def __init__(self, found: Sequence[Started]) -> None:
        self._rows: dict[Owner, list[Started]] = {}
        for one, began in found:
            self._rows.setdefault(owner_of(one.labels), []).append((one, began))

    @property
    def owners(self) -> Collection[Owner]:
        """Every snapshot that has series here."""
        return self._rows.keys()

    def rows(self, pick: Pick, owner: Owner) -> list[Row]:
        """Rows of one term and one snapshot."""
        found = self._rows.get(owner, ())
        return [Row(pick.sign, series, began) for series, began in found if pick.accepts(series.labels)]


def tabulate(fetched: Sequence[Sequence[Series]]) -> tuple[Table, ...]:
    """One table for each query of a reading.

    Start times are told by other series of the same scrape, which another query of the same reading may hold. What
    several jobs have scraped is one series (see duplicates.py).
    """
    start_times = iter(find_start_times([one for each in fetched for one in each]))
    return tuple(Table(merge([(one, next(start_times)) for one in each])) for each in fetched)
