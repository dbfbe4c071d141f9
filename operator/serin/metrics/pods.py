"""How much the pods of a snapshot differ, from their last hour in Prometheus.

What the analysis engine divides its evidence by (analysis/dispersion.py). Counters are read once a minute and their
series differenced; what a series counted before its first reading is left out. That is good enough for a variance
ratio, and for nothing else: evidence is counted in ticks.py. (`increase` would not do: it extrapolates what it saw of a
minute to the whole minute, and with it the variance.)
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from serin.analysis.dispersion import overdispersion
from serin.analysis.types import Arm
from serin.metrics.answers import Series
from serin.metrics.duplicates import first_of_each
from serin.metrics.readings import Owner, owner_of
from serin.metrics.sources import RatioSource

MINUTES: Final = 60


def queries(source: RatioSource) -> tuple[str, str] | None:
    """PromQL for requests and bad requests by pod and minute, {{.version}} still in it.

    None for sums of several counters, which are rare and not worth a query each.
    """
    if len(source.total) != 1 or len(source.bad) != 1:
        return None
    total, bad = (f"{part[0].selector.render()}[{MINUTES}m:1m]" for part in (source.total, source.bad))
    return total, bad


def dispersions(
    total: Iterable[Series], bad: Iterable[Series], pods: str, owners: Sequence[Owner]
) -> Mapping[Owner, float]:
    """The overdispersion of each owner; 2 where there is too little to go by."""
    requests, failures = (_by_pod(first_of_each(one), pods) for one in (total, bad))
    found = {}
    for owner in owners:
        mine = requests.get(owner, {})
        minutes = sorted({minute for counts in mine.values() for minute in counts})
        window = range(minutes[0], minutes[-1] + 1) if minutes else ()
        theirs = failures.get(owner, {})
        found[owner] = overdispersion(
            [[_arm(counts, theirs.get(pod, {}), minute) for minute in window] for pod, counts in sorted(mine.items())]
        )
    return found


_Minutes = dict[int, int]


def _arm(requests: _Minutes, bad: _Minutes, minute: int) -> Arm:
    total = requests.get(minute, 0)
    return Arm(total, min(total, bad.get(minute, 0)))


def _by_pod(series: Iterable[Series], pods: str) -> dict[Owner, dict[str, _Minutes]]:
    """Increments by owner, pod and minute, over all series that a pod has (one for each router pod)."""
    found: dict[Owner, dict[str, _Minutes]] = {}
    for one in series:
        counts = found.setdefault(owner_of(one.labels), {}).setdefault(one.labels.get(pods, ""), {})
        for (_, before), (at, value) in pairwise(zip(one.times, one.values, strict=True)):
            increase = value - before if value >= before else value  # a reset
            if math.isfinite(increase):
                counts[round(at / 60.0)] = counts.get(round(at / 60.0), 0) + round(increase)
    return found
