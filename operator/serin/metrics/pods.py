"""How much the stable pods of a deployment differ, from their last hour in Prometheus.

What the analysis engine divides its evidence by (analysis/dispersion.py). Read by minutes with `increase`, which is not
exact (it extrapolates, and loses a series' first sample); that is good enough for a variance ratio, and for nothing
else: evidence is counted in ticks.py.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from serin.analysis.dispersion import overdispersion
from serin.analysis.model import Arm
from serin.metrics.answers import Series
from serin.metrics.promql import DEPLOYMENT_LABEL, NAMESPACE_LABEL, SNAPSHOT_LABEL
from serin.metrics.readings import Owner, owner_of
from serin.metrics.sources import RatioSource

MINUTES: Final = 60


def queries(source: RatioSource) -> tuple[str, str] | None:
    """PromQL for requests and bad requests by pod and minute, {{.version}} still in it.

    None for sums of several counters: their series cannot be told apart once `increase` has dropped the names.
    """
    if len(source.total) != 1 or len(source.bad) != 1:
        return None
    by = ", ".join((NAMESPACE_LABEL, DEPLOYMENT_LABEL, SNAPSHOT_LABEL, source.pods))
    total, bad = (
        f"sum by ({by}) (increase({part[0].selector.render()}[1m]))[{MINUTES}m:1m]"
        for part in (source.total, source.bad)
    )
    return total, bad


def dispersions(
    total: Iterable[Series], bad: Iterable[Series], pods: str, owners: Sequence[Owner]
) -> Mapping[Owner, float]:
    """The overdispersion of each owner; 2 where there is too little to go by."""
    requests, failures = _by_pod(total, pods), _by_pod(bad, pods)
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
    found: dict[Owner, dict[str, _Minutes]] = {}
    for one in series:
        counts = {
            round(at / 60.0): round(value)
            for at, value in zip(one.times, one.values, strict=True)
            if 0 <= value < math.inf
        }
        found.setdefault(owner_of(one.labels), {})[one.labels.get(pods, "")] = counts
    return found
