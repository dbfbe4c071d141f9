"""What `diff` says of two versions: in which fields their content differs, and how well each was measured to serve."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from serin.api import names
from serin.api.histograms import Histogram
from serin.api.records import Measurement, in_words, number_in_words
from serin.api.signature import in_words as tensor_in_words
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
    about += [("GOLDEN PROBES", *(each.fingerprint for each in (one, other)))]
    about += _signatures(one, other)
    about += [(f"IMAGE {name}", *(each.images.get(name, "") for each in (one, other))) for name in _images(one, other)]
    about += [("APPROVED BY", *(_approvers(each) for each in (one, other)))]
    rows = [plain(title, *(each or NONE for each in both)) for title, *both in about if any(both)]
    rows += [plain(f"{each.dimension}: {each.path}", *each.values) for each in differences(one, other)]
    return Table(("", one.name, other.name), tuple(rows))


def _signatures(one: Snapshot, other: Snapshot) -> list[tuple[str, str, str]]:
    """Inputs and outputs in which they differ; all of them, in a row each, when only one of them has a signature."""
    both = [dict(_tensors(each)) for each in (one, other)]
    found = [(title, *(each.get(title, "") for each in both)) for title in dict.fromkeys([*both[0], *both[1]])]
    return [(title, here, there) for title, here, there in found if here != there]


def _tensors(one: Snapshot) -> Iterator[tuple[str, str]]:
    for title, tensors in (("INPUT", "inputs"), ("OUTPUT", "outputs")):
        for each in getattr(one.signature, tensors, ()):
            yield f"{title} {each.name}", tensor_in_words(each)


def _images(one: Snapshot, other: Snapshot) -> list[str]:
    """Containers whose image differs."""
    known = dict.fromkeys([*one.images, *other.images])
    return [name for name in known if one.images.get(name) != other.images.get(name)]


def _author(one: Snapshot) -> str:
    return next((each.author for each in one.records if each.author), "")


def _approvers(one: Snapshot) -> str:
    return ", ".join(next((each.approved_by for each in reversed(one.records) if each.approved_by), ()))


def metrics(one: Snapshot, other: Snapshot) -> Table | None:
    """What each metric was when it was measured last, side by side; None when nothing was measured."""
    both = [_newest(one), _newest(other)]
    rows = [_metric(name, both[0].get(name), both[1].get(name)) for name in dict.fromkeys([*both[0], *both[1]])]
    return Table(("METRIC", one.name, other.name, ""), tuple(rows)) if rows else None


def histograms(one: Snapshot, other: Snapshot) -> Table | None:
    """Shares of the requests by value, of the newest histograms of both; None when there are none."""
    both = [{each.name: each for record in who.records for each in record.histograms} for who in (one, other)]
    metrics_ = dict.fromkeys([*both[0], *both[1]])
    rows = [row for name in metrics_ for row in _shares(both[0].get(name), both[1].get(name))]
    return Table(("DISTRIBUTION", one.name, other.name, ""), tuple(rows)) if rows else None


def _shares(one: Histogram | None, other: Histogram | None) -> Iterator[Row]:
    """A row for each value, in its order; those of the second that the first does not have come last."""
    known = [each for each in (one, other) if each]
    differ = len({(each.query, each.unit, each.ordered) for each in known}) > 1
    for value in dict.fromkeys(value for each in known for value in each.values):
        cells = (_share(each, value) for each in (one, other))
        yield *plain(f"{known[0].name}: {_value(known[0], value)}", *cells), Cell(OTHER_QUERY if differ else "")


def _share(one: Histogram | None, value: str) -> str:
    if one is None or value not in one.values:
        return NONE
    return f"{one.counts[one.values.index(value)] / one.requests * 100:.3g}%"


def _value(one: Histogram, value: str) -> str:
    """The value as people read it: a label, or the end of a bucket."""
    if not one.ordered:
        return value or "without the label"
    last = value == one.values[-1] and len(one.values) > 1 and value.lower().endswith("inf")
    return f"over {one.values[-2]}{one.unit}" if last else f"up to {value}{one.unit}"


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
