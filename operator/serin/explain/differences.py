"""What `diff` says of two versions: in which fields their content differs, and how well each was measured to serve."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from serin.api import names
from serin.api.records import Measurement, in_words, number_in_words
from serin.api.snapshots import Snapshot
from serin.api.text import count
from serin.api.times import human
from serin.explain.snapshots import changed_since, served
from serin.explain.tables import NONE, Cell, Row, Table, plain

OTHER_QUERY: Final = "measured by different queries: not comparable"


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that differs: its dimension, its path in it, and both values in words (NONE: it is not there)."""

    dimension: str
    path: str
    values: tuple[str, str]


def differences(one: Snapshot, other: Snapshot) -> list[Difference]:
    """Every field in which two versions differ, by dimension and path."""
    found = []
    for dimension in names.DIMENSIONS:
        both = [dict(_fields(each.content.get(dimension))) for each in (one, other)]
        for path in sorted({*both[0], *both[1]}):
            values = both[0].get(path, NONE), both[1].get(path, NONE)
            if values[0] != values[1]:
                found.append(Difference(dimension, path, values))
    return found


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of JSON with its path. An item of a list goes by its name, where it has one."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _fields(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            name = inner.get("name") if isinstance(inner, dict) else None
            yield from _fields(inner, f"{path}[{name or index}]")
    elif value is not None:
        yield path, str(value)


def content(one: Snapshot, other: Snapshot, now: float) -> Table:
    """What is known of both, and each field in which they differ. `now`: unix seconds."""
    about = [("MODEL", *(each.model_version for each in (one, other)))]
    about += [("VERDICT", *(each.verdict or "" for each in (one, other)))]
    about += [("WHY", *(each.reason for each in (one, other)))]
    about += [("SERVED", *(served(each, now) for each in (one, other)))]
    about += [("CREATED", *(f"{human(now - each.created)} ago" for each in (one, other)))]
    about += [("REVISION", *(each.revision for each in (one, other)))]
    about += [("AUTHOR", *(_author(each) for each in (one, other)))]
    rows = [plain(title, *(each or NONE for each in both)) for title, *both in about if any(both)]
    rows += [plain(f"{each.dimension}: {each.path}", *each.values) for each in differences(one, other)]
    return Table(("", one.name, other.name), tuple(rows))


def _author(one: Snapshot) -> str:
    return next((each.author for each in one.records if each.author), "")


def metrics(one: Snapshot, other: Snapshot) -> Table | None:
    """What each metric was when it was measured last, side by side; None when nothing was measured."""
    both = [_newest(one), _newest(other)]
    rows = [_metric(name, both[0].get(name), both[1].get(name)) for name in dict.fromkeys([*both[0], *both[1]])]
    return Table(("METRIC", one.name, other.name, ""), tuple(rows)) if rows else None


def _newest(one: Snapshot) -> dict[str, Measurement]:
    found: dict[str, Measurement] = {}
    for record in one.records:
        found |= {each.name: each for each in record.metrics}
    return found


def _metric(name: str, one: Measurement | None, other: Measurement | None) -> Row:
    differ = one is not None and other is not None and (one.query, one.unit) != (other.query, other.unit)
    return *plain(name, _measured(one), _measured(other)), Cell(OTHER_QUERY if differ else "")


def _measured(one: Measurement | None) -> str:
    """A value with its interval and the requests behind it."""
    if one is None:
        return NONE
    text = in_words(one)
    if one.low is not None and one.high is not None:
        text += f" ({number_in_words(one.low, one.unit)} to {number_in_words(one.high, one.unit)})"
    return f"{text}, {count(one.requests)} requests" if one.requests else text


def headline(one: Snapshot, other: Snapshot) -> str:
    """In which dimensions they differ."""
    changed: Sequence[str] = changed_since(other, one)
    return f"{one.name} and {other.name} differ in: {', '.join(changed)}" if changed else "they have the same content"
