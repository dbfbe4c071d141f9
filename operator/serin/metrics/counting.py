"""How much each counter increased between two moments: exact, per series, from raw samples.

PromQL's `increase()` extrapolates to the edges of its window and drops a series' first sample; a labelled error counter
appears with the value 1, so it would lose the very errors that matter. Differences of a sum go negative when a pod
vanishes. So every series is differenced by itself, from its last sample at or before the previous tick, and the results
are added.

One scrape gives all its samples the same timestamp. A series that is missing from a scrape which gave samples to other
series of the same target did not exist at that moment: whatever it shows later, it counted from 0. That is how starts
and restarts are told from gaps, without asking anything else.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from statistics import median

from serin.metrics.answers import Series

# Timestamps have milliseconds; a float of unix seconds carries them with less error than this. Less than half a
# millisecond, so that what was read between two of them (live.py) is neither.
TIME_TOLERANCE = 0.0002

Times = tuple[float, ...]
Target = tuple[str, str]


def target_of(labels: Mapping[str, str]) -> Target:
    """Job and instance: Prometheus' identity of what it scrapes."""
    return labels.get("job", ""), labels.get("instance", "")


def cut(series: Iterable[Series], until: float) -> tuple[Series, ...]:
    """Give the series without samples later than `until`, and without the series that then have none."""
    limit = until + TIME_TOLERANCE
    kept = []
    for one in series:
        if one.times[-1] <= limit:
            kept.append(one)
        elif one.times[0] <= limit:
            count = sum(time <= limit for time in one.times)
            kept.append(Series(one.labels, one.times[:count], one.values[:count]))
    return tuple(kept)


def learn_interval(series: Iterable[Series]) -> float | None:
    """Scrape interval in seconds: the median spacing within each job, the longest of the jobs; None: too few samples.

    The median, because a missed scrape doubles one spacing. Never below 1 s, the shortest tick.
    """
    targets: dict[Target, set[Times]] = {}
    for one in series:
        targets.setdefault(target_of(one.labels), set()).add(one.times)
    patterns: dict[str, list[Times]] = {}
    for (job, _), found in targets.items():
        patterns.setdefault(job, []).extend(found)
    per_job = []
    for each in patterns.values():
        gaps = [after - before for times in each for before, after in pairwise(times)]
        if gaps:
            per_job.append(median(gaps))
    return max(1.0, *per_job) if per_job else None


def newest_by_target(series: Iterable[Series]) -> dict[Target, float]:
    """When each target was scraped last (unix seconds), as far as these series show."""
    found: dict[Target, float] = {}
    for one in series:
        target = target_of(one.labels)
        found[target] = max(one.times[-1], found.get(target, 0.0))
    return found


def in_step(newest: Collection[float], interval: float, wanted: float) -> float:
    """The moment nearest to `wanted` just after which samples of targets arrive, or become as old as an interval.

    `newest`: when each target was scraped last; all are scraped at the same `interval`, so it does not matter which of
    the two it is. Of several targets it is the one that leaves the others the shortest time ago. Unix seconds.
    """
    phase = min(newest, key=lambda one: sum((one - other) % interval for other in newest))
    return wanted + (phase - wanted + interval / 2.0) % interval - interval / 2.0


def find_start_times(series: Sequence[Series]) -> list[frozenset[float]]:
    """For each series, the times of its samples before which it counted from 0 (it appeared, or restarted unseen).

    Proof is another series of the same target that was scraped at that very time, and also at a time when this series
    was missing: before its first sample, or between two of them.
    """
    targets: dict[Target, dict[Times, list[int]]] = {}
    for place, one in enumerate(series):
        targets.setdefault(target_of(one.labels), {}).setdefault(one.times, []).append(place)
    found = [frozenset[float]()] * len(series)
    for patterns in targets.values():
        for times, places in patterns.items() if len(patterns) > 1 else ():
            started = _start_times(times, [mates for mates in patterns if mates != times])
            for place in places if started else ():
                found[place] = started
    return found


def _start_times(times: Times, mates: Sequence[Times]) -> frozenset[float]:
    found = set()
    for other in mates:
        shared = set(other)
        if other[0] < times[0] and times[0] in shared:
            found.add(times[0])
        for before, after in pairwise(times):
            following = bisect_right(other, before)
            if before in shared and after in shared and other[following] < after:
                found.add(after)
    return frozenset(found)


def are_of_one_server(answers: Sequence[Sequence[Series]]) -> bool:
    """Whether these answers can be of the same Prometheus: series of one target that are there together share a scrape.

    Two that answer in turn scrape at different times, and what one says of all requests does not fit what the other
    says of the bad ones.
    """
    times: dict[Target, list[set[float]]] = {}
    for each in answers if len(answers) > 1 else ():
        found: dict[Target, set[float]] = {}
        for one in each:
            found.setdefault(target_of(one.labels), set()).update(one.times)
        for target, seen in found.items():
            times.setdefault(target, []).append(seen)
    return not any(_disagree(one, other) for seen in times.values() for one, other in combinations(seen, 2))


def _disagree(one: set[float], other: set[float]) -> bool:
    first, last = max(min(one), min(other)), min(max(one), max(other))
    mine, theirs = ({time for time in each if first <= time <= last} for each in (one, other))
    return bool(mine and theirs) and not mine & theirs


def is_without_start(series: Series, start_times: frozenset[float], since: float) -> bool:
    """Whether nothing among the samples says what to count the first one from."""
    return series.times[0] > since + TIME_TOLERANCE and series.times[0] not in start_times


def resets(series: Series, since: float) -> list[float]:
    """Times after `since` of samples that are lower than the one before."""
    pairs = pairwise(zip(series.times, series.values, strict=True))
    return [time for (_, before), (time, value) in pairs if time > since + TIME_TOLERANCE and value < before]


def increase(series: Series, start_times: frozenset[float], since: float, base: float | None) -> float:
    """Increase of a counter after `since` up to its last sample; a lower value is a reset: it counted from 0.

    `base`: what the first sample of a series without start is counted from; None: unknown, so the first sample only
    sets the base.
    Anything not finite among the samples makes the result not finite.
    """
    total = 0.0
    last = base
    for time, value in zip(series.times, series.values, strict=True):
        if time > since + TIME_TOLERANCE:
            if time in start_times:
                last = 0.0
            if last is not None:
                total += value if value < last else value - last
        last = value
    return total
