"""Histograms in a ModelSnapshot's record: how a version's requests were distributed when it was promoted or replaced.

As the rest of a record it is bounded when it is written, and what does not parse is left out when it is read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from serin.api.json import JsonObject
from serin.api.text import shortened

# Bounds of the schema (crds/modelsnapshots.yaml); a test compares them.
MOST_HISTOGRAMS: Final = 8
MOST_VALUES: Final = 32
LONGEST_VALUE: Final = 64
_OTHER: Final = "other"
_MOST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Histogram:
    """Requests by value, of one metric. `ordered`: values are upper bounds, ascending, in `unit`.

    `query`: what was read, as the spec says it; those of two queries are not compared.
    """

    name: str
    values: tuple[str, ...]
    counts: tuple[int, ...]
    ordered: bool = False
    unit: str = ""
    query: str = ""

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.counts)


def bounded_histograms(found: Iterable[Histogram], longest_query: int) -> tuple[Histogram, ...]:
    """As many, and as large, as there is room for."""
    return tuple(_bounded(one, longest_query) for one in list(found)[:MOST_HISTOGRAMS])


def _bounded(one: Histogram, longest_query: int) -> Histogram:
    rows = [
        (shortened(value, LONGEST_VALUE), min(count, _MOST))
        for value, count in zip(one.values, one.counts, strict=True)
    ]
    if len(rows) > MOST_VALUES and one.ordered:
        rows = _merged(rows)
    elif len(rows) > MOST_VALUES:
        rows = _largest(rows)
    values, counts = zip(*rows, strict=True)
    return Histogram(one.name, values, counts, one.ordered, one.unit, one.query[:longest_query])


def _merged(rows: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Neighbouring buckets together, each under its last bound."""
    size = -(-len(rows) // MOST_VALUES)
    # From the end, so that only the first group is smaller than the others.
    starts = range(len(rows) % size, len(rows), size)
    groups = [rows[: len(rows) % size], *(rows[start : start + size] for start in starts)]
    return [(group[-1][0], sum(count for _, count in group)) for group in groups if group]


def _largest(rows: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The values that were most frequent, in their order; the others count as `other`."""
    named = [row for row in rows if row[0] != _OTHER]
    kept = {value for value, _ in sorted(named, key=lambda row: -row[1])[: MOST_VALUES - 1]}
    left = sum(count for value, count in rows if value not in kept)
    return [*(row for row in named if row[0] in kept), (_OTHER, left)]


def read_histograms(rows: object) -> tuple[Histogram, ...]:
    """Those that parse, in their order."""
    found = (_read(row) for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()
    return tuple(one for one in found if one is not None)


def _read(row: JsonObject) -> Histogram | None:
    name, values, counts = row.get("name"), row.get("values"), row.get("counts")
    if not isinstance(name, str) or not isinstance(values, list) or not isinstance(counts, list):
        return None
    right = all(isinstance(one, str) for one in values) and all(type(one) is int and one >= 0 for one in counts)
    if not right or len(values) != len(counts) or not sum(counts):
        return None
    unit, query = (str(row.get(key, "")) for key in ("unit", "query"))
    return Histogram(name, tuple(values), tuple(counts), row.get("ordered") is True, unit, query)


def write_histograms(found: Iterable[Histogram]) -> list[JsonObject]:
    """As JSON; what is empty is left out."""
    return [_write(one) for one in found]


def _write(one: Histogram) -> JsonObject:
    row: dict[str, Any] = {"name": one.name, "values": list(one.values), "counts": list(one.counts)}
    optional = {"ordered": one.ordered, "unit": one.unit, "query": one.query}
    return row | {key: value for key, value in optional.items() if value}
