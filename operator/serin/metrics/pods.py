"""How much the pods of a snapshot differ, from their last hour in Prometheus.

What the analysis engine divides its evidence by (analysis/dispersion.py), and by how much a pod may be slower than the
others (analysis/between_pods.py). Counters are read once a minute and their series differenced; what a series counted
before its first reading is left out. That is good enough for such ratios, and for nothing else: evidence is counted in
ticks.py. (`increase` would not do: it extrapolates what it saw of a minute to the whole minute, and with it the
variance.)
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from serin.analysis.between_pods import slowest
from serin.analysis.dispersion import overdispersion
from serin.analysis.types import Arm, Moments
from serin.metrics.answers import Series
from serin.metrics.duplicates import first_of_each
from serin.metrics.readings import Owner, owner_of
from serin.metrics.sources import HistogramSource, MeanSource, RatioSource
from serin.metrics.sums import Term

MINUTES: Final = 60
_BUCKET: Final = "_bucket"


def queries(source: RatioSource) -> tuple[str, str] | None:
    """PromQL for requests and bad requests by pod and minute, {{.version}} still in it.

    None for sums of several counters, which are rare and not worth a query each.
    """
    return _by_minute(source.total, source.bad)


def mean_queries(source: HistogramSource | MeanSource) -> tuple[str, str] | None:
    """The same for the numbers that requests carry: how many carried one, and their sum.

    None where they cannot be told apart by pod. A user's histogram has both by Prometheus' naming convention.
    """
    if isinstance(source, MeanSource):
        return _by_minute(source.count, source.sum)
    if source.by_pod:
        return _by_minute(*source.by_pod)
    stem = source.buckets[0].selector.name.removesuffix(_BUCKET)
    if stem == source.buckets[0].selector.name:
        return None
    return _by_minute(*(_named(source.buckets, f"{stem}_{part}") for part in ("count", "sum")))


def _named(terms: Sequence[Term], name: str) -> Sequence[Term]:
    """The same of another counter."""
    return [replace(one, selector=replace(one.selector, name=name)) for one in terms]


def _by_minute(one: Sequence[Term], other: Sequence[Term]) -> tuple[str, str] | None:
    if len(one) != 1 or len(other) != 1:
        return None
    first, second = (f"{part[0].selector.render()}[{MINUTES}m:1m]" for part in (one, other))
    return first, second


def dispersions(
    total: Iterable[Series], bad: Iterable[Series], pods: str, owners: Sequence[Owner]
) -> Mapping[Owner, float]:
    """The overdispersion of each owner; 2 where there is too little to go by."""
    requests, failures = (_by_pod(first_of_each(one), pods) for one in (total, bad))
    found = {}
    for owner in owners:
        mine, theirs = requests.get(owner, {}), failures.get(owner, {})
        window = _window(mine)
        found[owner] = overdispersion(
            [[_arm(counts, theirs.get(pod, {}), minute) for minute in window] for pod, counts in sorted(mine.items())]
        )
    return found


def slowest_pods(
    count: Iterable[Series], total: Iterable[Series], pods: str, owners: Sequence[Owner], *, lower_is_worse: bool
) -> Mapping[Owner, float]:
    """How many times as much the worst pod of each owner took as its others."""
    requests, sums = (_by_pod(first_of_each(one), pods) for one in (count, total))
    found = {}
    for owner in owners:
        mine, theirs = requests.get(owner, {}), sums.get(owner, {})
        window = _window(mine)
        numbers = [
            [Moments(round(counts.get(minute, 0.0)), theirs.get(pod, {}).get(minute, 0.0)) for minute in window]
            for pod, counts in sorted(mine.items())
        ]
        found[owner] = slowest(numbers, lower_is_worse=lower_is_worse)
    return found


_Minutes = dict[int, float]


def _window(pods: Mapping[str, _Minutes]) -> Sequence[int]:
    """Every minute from the first that any pod has to the last."""
    minutes = sorted({minute for counts in pods.values() for minute in counts})
    return range(minutes[0], minutes[-1] + 1) if minutes else ()


def _arm(requests: _Minutes, bad: _Minutes, minute: int) -> Arm:
    total = round(requests.get(minute, 0.0))
    return Arm(total, min(total, round(bad.get(minute, 0.0))))


def _by_pod(series: Iterable[Series], pods: str) -> dict[Owner, dict[str, _Minutes]]:
    """Increments by owner, pod and minute, over all series that a pod has (one for each router pod)."""
    found: dict[Owner, dict[str, _Minutes]] = {}
    for one in series:
        counts = found.setdefault(owner_of(one.labels), {}).setdefault(one.labels.get(pods, ""), {})
        for (_, before), (at, value) in pairwise(zip(one.times, one.values, strict=True)):
            increase = value - before if value >= before else value  # a reset
            if math.isfinite(increase):
                counts[round(at / 60.0)] = counts.get(round(at / 60.0), 0.0) + increase
    return found
