"""What to count a series' first sample from, when nothing in the window tells it.

Such a series belongs to a target that gave no sample before: a new pod, a pod that Prometheus could not reach for a
while, or an old pod that Prometheus has only now begun to scrape. Rare, so it may cost a query or two:

- the series had an older sample: count from that, whatever its age (up to LOOKBACK);
- its target had been scraped, but it was not there: it appeared since, count from 0;
- the subject's: all that it ever counted is since it came up to be judged, count from 0;
- the baseline's: count from 0 only if its process started after the previous tick; else its past is older than the
  subject, and its first sample only sets the base.
"""

import math
from collections.abc import Sequence

from serin.analysis.types import NoData
from serin.metrics.answers import Ask, Series
from serin.metrics.counting import Target, target_of
from serin.metrics.no_data import failure_of, series_of
from serin.metrics.promql import any_of

Identity = frozenset[tuple[str, str]]

LOOKBACK = "1h"

# When a process began, in unix seconds, by the convention of Prometheus' client libraries.
_START = "process_start_time_seconds"


async def resolve_bases(
    ask: Ask,
    selectors: Sequence[str],
    without_start: Sequence[tuple[Series, bool, float]],
    ages: Sequence[str],
    start: float,
    until: float,
) -> dict[Identity, float | None] | NoData:
    """Find the base of each series without start (None: unknown).

    `without_start`: the series, whether it is the subject's, and `since`. `ages`: see catalog.py.
    `start` is the lower end of the window that was read, `until` the upper; NoData when Prometheus cannot tell.
    """
    before: dict[Identity, float] = {}
    scraped: set[Target] = set()
    for selector in selectors:
        answer = await ask(f"last_over_time({selector}[{LOOKBACK}])", start)
        if failure := failure_of(answer):
            return failure
        for one in series_of(answer):
            before[frozenset(one.labels.items())] = one.values[-1]
            scraped.add(target_of(one.labels))
    bases: dict[Identity, float | None] = {}
    unknown: list[tuple[Series, float]] = []
    for series, is_subject, since in without_start:
        identity = frozenset(series.labels.items())
        if identity in before:
            bases[identity] = before[identity]
        elif is_subject or target_of(series.labels) in scraped:
            bases[identity] = 0.0
        else:
            unknown.append((series, since))
    if unknown:
        started = await _started(ask, {target_of(series.labels) for series, _ in unknown}, ages, start, until)
        if isinstance(started, NoData):
            return started
        for series, since in unknown:
            young = started.get(target_of(series.labels), 0.0) >= since
            bases[frozenset(series.labels.items())] = 0.0 if young else None
    return bases


async def _started(
    ask: Ask, targets: set[Target], ages: Sequence[str], start: float, until: float
) -> dict[Target, float] | NoData:
    """When the targets' processes began, in unix seconds, by their first sample in the window; of those that say it."""
    jobs = any_of("job", [job for job, _ in targets])
    instances = any_of("instance", [instance for _, instance in targets])
    window = math.ceil((until - start) * 1000)
    names = any_of("__name__", [_START, *ages])
    answer = await ask(f"{{{names},{jobs},{instances}}}[{window}ms]", until)
    if failure := failure_of(answer):
        return failure
    return {target_of(one.labels): _began(one, ages) for one in series_of(answer)}


def _began(series: Series, ages: Sequence[str]) -> float:
    is_age = series.labels["__name__"] in ages
    return series.times[0] - series.values[0] if is_age else series.values[0]
