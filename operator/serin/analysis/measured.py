"""What one version was measured to be by itself: the number behind a metric, without anything that it is compared with.

Read from the evidence that judges it, so nothing is counted twice. For a share that is Wilson's interval at 95%; for
times the 95th percentile, with the interval that the binomial ranks of its neighbours give, both interpolated within
their buckets. For display and to rank earlier versions by; no rollback is decided by these numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from serin.analysis import psi
from serin.analysis.buckets import quantile
from serin.analysis.categories import occupied
from serin.analysis.evidence import Evidence, Kind, Unreadable, array, floats, number, word
from serin.analysis.types import Json

Z: Final = 1.959964  # of a two-sided 95% interval
TAIL: Final = 0.95  # the share of the requests that took no longer than what is recorded


@dataclass(frozen=True, slots=True)
class Reading:
    """A number with its 95% interval (None: not known), the requests behind it, its unit, and until when.

    `unit`: "share" (from 0 to 1), "s", "ms", "PSI", or "" for a plain number. `at`: unix seconds.
    """

    value: float
    low: float | None
    high: float | None
    requests: int
    unit: str
    at: float


def reading(evidence: Mapping[str, Json] | None, *, baseline: bool = False) -> Reading | None:
    """What evidence says of the candidate, or of the baseline beside it; None when it says nothing of it alone."""
    if not evidence:
        return None
    try:
        return _READERS[Kind(str(evidence.get("kind")))](evidence, baseline)
    except (Unreadable, ValueError, KeyError):  # another version's, or of a kind that has no number of its own
        return None


def share(bad: float, requests: float, at: float) -> Reading | None:
    """The share of bad requests with Wilson's interval."""
    if requests <= 0 or not 0 <= bad <= requests:
        return None
    middle, reach = (bad + Z * Z / 2) / (requests + Z * Z), Z / (requests + Z * Z)
    reach *= math.sqrt(bad * (requests - bad) / requests + Z * Z / 4)
    return Reading(bad / requests, max(0.0, middle - reach), min(1.0, middle + reach), int(requests), "share", at)


def _ratio(evidence: Evidence, baseline: bool) -> Reading | None:
    candidate, candidate_bad, stable, stable_bad = floats(evidence, "total", 4)
    pair = (stable_bad, stable) if baseline else (candidate_bad, candidate)
    return share(*pair, number(evidence, "at"))


def _limit(evidence: Evidence, baseline: bool) -> Reading | None:
    requests, bad = floats(evidence, "total", 2)
    return None if baseline else share(bad, requests, number(evidence, "at"))


def _sliced(evidence: Evidence, baseline: bool) -> Reading | None:
    whole = evidence.get("whole")
    return reading(whole, baseline=baseline) if isinstance(whole, dict) else None


def _latency(evidence: Evidence, baseline: bool) -> Reading | None:
    bounds = tuple(floats(evidence, "bounds"))
    counts = array(evidence, "stable" if baseline else "candidate", len(bounds) + 1)
    requests = float(counts.sum())
    if requests < 1:
        return None
    reach = Z * math.sqrt(TAIL * (1 - TAIL) / requests)
    value, low, high = (quantile(bounds, counts, min(1.0, TAIL + by)) for by in (0.0, -reach, reach))
    if value is None:
        return None
    return Reading(value, low, high, int(requests), word(evidence, "unit"), number(evidence, "at"))


def _value(evidence: Evidence, baseline: bool) -> Reading | None:
    return None if baseline else Reading(number(evidence, "value"), None, None, 0, "", number(evidence, "at"))


def _mean(evidence: Evidence, baseline: bool) -> Reading | None:
    total = floats(evidence, "total", 4)
    requests, summed = total[2:] if baseline else total[:2]
    if requests < 1:
        return None
    return Reading(summed / requests, None, None, int(requests), "", number(evidence, "at"))


def _reference(evidence: Evidence, baseline: bool) -> Reading | None:
    live, reference = array(evidence, "stable" if baseline else "live"), array(evidence, "reference")
    if not live.any() or not reference.any() or live.size != reference.size:
        return None
    index, deviation = psi.stability_index(*occupied(live, reference))
    low, high = max(0.0, index - Z * deviation), max(0.0, index + Z * deviation)
    return Reading(max(0.0, index), low, high, int(np.sum(live)), "PSI", number(evidence, "at"))


_READERS: Final = {
    Kind.RATIO: _ratio,
    Kind.LIMIT: _limit,
    Kind.SLICED: _sliced,
    Kind.LATENCY: _latency,
    Kind.VALUE: _value,
    Kind.MEAN: _mean,
    Kind.REFERENCE: _reference,
}
