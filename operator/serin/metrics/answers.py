"""What Prometheus can answer, as values: the rest of Serin never sees an HTTP response.

Only `Value` can ever support a promotion. A partial answer keeps its series for display, but it is a type of its own,
so that nobody counts it by mistake.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serin.analysis.types import NoData, NoDataReason
from serin.api.conditions import Reason
from serin.metrics.messages import shorten

MAX_REMARKS = 5


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its labels, and its samples in order of time (unix seconds; one sample for an instant vector)."""

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A whole answer with at least one series. `notes`: what Prometheus remarked without doubting the answer."""

    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Partial:
    """An answer that Prometheus itself doubts (its `warnings`): some store or shard did not answer."""

    series: tuple[Series, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer. `reason` is PROMETHEUS_UNREACHABLE or QUERY_FAILED; `message` is a sentence that names the URL.

    `too_large`: there is an answer, and it is larger than one answer may be; a part of it can be asked for.
    """

    reason: NoDataReason
    message: str
    too_large: bool = False


Answer = Value | NoData | Partial | Failed
Ask = Callable[[str, float], Awaitable[Answer]]  # PromQL, and unix seconds


def answer_of(body: Mapping[str, Any]) -> Value | Partial | NoData:
    """Read the body of a query that succeeded."""
    series = _parse(body["data"])
    warnings, notes = _remarks(body)
    if warnings:
        return Partial(series, warnings)
    if not series:
        return NoData(Reason.SERIES_ABSENT, "the query has no result")
    return Value(series, notes)


def _parse(data: Mapping[str, Any]) -> tuple[Series, ...]:
    """Series of a vector, matrix or scalar; a string has none."""
    kind, result = data["resultType"], data["result"]
    if kind == "matrix":
        return tuple(_matrix_series(item["metric"], item["values"]) for item in result if "values" in item)
    if kind == "vector":
        return tuple(_matrix_series(item["metric"], [item["value"]]) for item in result if "value" in item)
    return (_matrix_series({}, [result]),) if kind == "scalar" else ()


def _matrix_series(labels: Mapping[str, str], samples: list[tuple[float, str]]) -> Series:
    return Series(labels, tuple(float(time) for time, _ in samples), tuple(float(value) for _, value in samples))


def _remarks(body: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Warnings that doubt the answer, and mere hints (`infos` of Prometheus 3, "PromQL info" among 2.5x' warnings)."""
    said = [str(text) for text in body.get("warnings") or ()]
    hints = [text for text in said if text.startswith("PromQL info")]
    doubts = [text for text in said if text not in hints]
    hints += map(str, body.get("infos") or ())
    return tuple(map(shorten, doubts[:MAX_REMARKS])), tuple(map(shorten, hints[:MAX_REMARKS]))
