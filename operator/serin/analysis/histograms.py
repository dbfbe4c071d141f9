"""How the requests of one version were distributed, read from the evidence that judges it: answers, or times.

For display and as a reference later on; nothing is decided by it. What the evidence keeps is small already: buckets are
merged, and answers without a name of their own are counted together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from serin.analysis.evidence import Evidence, Kind, Unreadable, array, floats, word, words
from serin.analysis.hypergeometric import Floats
from serin.analysis.types import OTHER, Json

_LAST: Final = ("inf", "+Inf")  # the upper bound of the last bucket, as written


@dataclass(frozen=True, slots=True)
class Distribution:
    """Counts of requests by value, in order. `ordered`: the values are upper bounds of a number, in `unit`."""

    values: tuple[str, ...]
    counts: tuple[int, ...]
    ordered: bool = False
    unit: str = ""


def distribution(evidence: Mapping[str, Json] | None, *, baseline: bool = False) -> Distribution | None:
    """Of the candidate, or of the baseline beside it; None when the evidence has none of it."""
    if not evidence:
        return None
    try:
        return _READERS[Kind(str(evidence.get("kind")))](evidence, baseline)
    except (Unreadable, ValueError, KeyError):  # another version's, or of a kind that has none
        return None


def _of_answers(evidence: Evidence, baseline: bool) -> Distribution | None:
    values = words(evidence, "categories")
    ordered = evidence.get("ordered") is True
    names = values if ordered else (*values, OTHER)
    return _made(names, array(evidence, "stable" if baseline else "candidate", len(names)), ordered=ordered)


def _of_reference(evidence: Evidence, baseline: bool) -> Distribution | None:
    values = words(evidence, "categories")
    counts = array(evidence, "stable" if baseline else "live", len(values))
    return _made(values, counts, ordered=values[-1:] in [(one,) for one in _LAST])


def _of_times(evidence: Evidence, baseline: bool) -> Distribution | None:
    bounds = floats(evidence, "bounds")
    counts = array(evidence, "stable" if baseline else "candidate", len(bounds) + 1)
    values = (*(f"{bound:.6g}" for bound in bounds), _LAST[0])
    return _made(values, counts, ordered=True, unit=word(evidence, "unit"))


def _made(values: tuple[str, ...], counts: Floats, *, ordered: bool, unit: str = "") -> Distribution | None:
    if len(values) < 2 or len({*values}) != len(values) or counts.min() < 0.0 or counts.sum() < 1.0:
        return None
    return Distribution(values, tuple(map(int, counts)), ordered, unit)


_READERS: Final[Mapping[Kind, Callable[[Evidence, bool], Distribution | None]]] = {
    Kind.DRIFT: _of_answers,
    Kind.REFERENCE: _of_reference,
    Kind.LATENCY: _of_times,
}
