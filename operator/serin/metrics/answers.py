"""What Prometheus can answer, as values: the rest of Serin never sees an HTTP response.

Only `Value` can ever support a promotion. A partial answer keeps its series for display, but it is a type of its own,
so that nobody counts it by mistake.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from serin.analysis.model import NoData, NoDataReason


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
    """No answer. `reason` is PROMETHEUS_UNREACHABLE or QUERY_FAILED; `message` is a sentence that names the URL."""

    reason: NoDataReason
    message: str


Answer = Value | NoData | Partial | Failed
