"""What to count a series' first sample from, when nothing in the window tells it.

Such a series belongs to a target that gave no sample before: a new pod, a pod that Prometheus could not reach for a
while, an old pod that Prometheus has only now begun to scrape, or any pod after Prometheus has lost its data. Rare, so
it may cost a query or two. The first of these that holds decides:

- the series had an older sample, or one of the same counter under another job: count from that, whatever its age (up
  to LOOKBACK);
- its target had been scraped before the previous tick, but it was not there: it appeared since, count from 0;
- its process started after the previous tick: count from 0;
- it is the subject's, and Prometheus has samples from well before the previous tick, so that it has not lost its data:
  all that the series ever counted is since it came up to be judged, and nothing of it was counted, so count from 0;
- else its past may be older than the subject, or counted already: its first sample only sets the base.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from serin.analysis.types import NoData
from serin.metrics.answers import Ask, Series
from serin.metrics.counting import Target, target_of
from serin.metrics.duplicates import Counter, counters_of
from serin.metrics.no_data import failure_of, series_of
from serin.metrics.promql import any_of

Identity = frozenset[tuple[str, str]]

LOOKBACK = "1h"
# Intervals before the previous tick from which Prometheus must have samples, or it may have lost its data. Targets
# appear one by one after a loss, and what the first of them shows is no memory.
REMEMBERED_INTERVALS = 4

# When a process began, in unix seconds, by the convention of Prometheus' client libraries.
_START = "process_start_time_seconds"


@dataclass(frozen=True, slots=True)
class WithoutStart:
    """A series of which nothing says what to count its first sample from.

    `since`: unix seconds of the previous tick. `interval`: seconds between scrapes; another target may have been
    scraped that much before the previous tick.
    """

    series: Series
    is_subject: bool
    since: float
    interval: float

    @property
    def identity(self) -> Identity:
        """The series' labels."""
        return frozenset(self.series.labels.items())

    @property
    def target(self) -> Target:
        """What exposes it."""
        return target_of(self.series.labels)


async def resolve_bases(
    ask: Ask,
    selectors: Sequence[str],
    without_start: Sequence[WithoutStart],
    ages: Sequence[str],
    start: float,
    until: float,
) -> dict[Identity, float | None] | NoData:
    """Find the base of each series without start (None: unknown).

    `ages`: see catalog.py. `start` is the lower end of the window that was read, `until` the upper; NoData when
    Prometheus cannot tell.
    """
    older: list[Series] = []
    for selector in selectors:
        answer = await ask(f"last_over_time({selector}[{LOOKBACK}])", start)
        if failure := failure_of(answer):
            return failure
        older += series_of(answer)
    counters = counters_of([*(one.series for one in without_start), *older])
    before: dict[Counter, float] = {}
    for counter, series in zip(counters[len(without_start) :], older, strict=True):
        before[counter] = max(series.values[-1], before.get(counter, -math.inf))
    scraped = {process for process, _ in before}
    bases: dict[Identity, float | None] = {}
    unknown: list[WithoutStart] = []
    for one, counter in zip(without_start, counters, strict=False):
        if counter in before:
            bases[one.identity] = before[counter]
        elif counter[0] in scraped:
            bases[one.identity] = 0.0
        else:
            unknown.append(one)
    found = await _bases_of_unknown(ask, selectors, unknown, ages, start, until)
    return found if isinstance(found, NoData) else bases | found


async def _bases_of_unknown(
    ask: Ask,
    selectors: Sequence[str],
    unknown: Sequence[WithoutStart],
    ages: Sequence[str],
    start: float,
    until: float,
) -> dict[Identity, float | None] | NoData:
    """Find the bases of series whose targets gave no other series of the selectors before."""
    if not unknown:
        return {}
    targets = {one.target for one in unknown}
    up = await ask(f"max_over_time(up{{{_matchers(targets)}}}[{LOOKBACK}]) > 0", min(one.since for one in unknown))
    if failure := failure_of(up):
        return failure
    scraped = {target_of(one.labels) for one in series_of(up)}
    started = await _started(ask, targets - scraped, ages, start, until)
    if isinstance(started, NoData):
        return started
    old = [
        one for one in unknown if one.target not in scraped and started.get(one.target, 0.0) < one.since - one.interval
    ]
    moments = [one.since - REMEMBERED_INTERVALS * one.interval for one in old if one.is_subject]
    remembers = await _remembers(ask, selectors, moments)
    if isinstance(remembers, NoData):
        return remembers
    return {one.identity: None if one in old and not (one.is_subject and remembers) else 0.0 for one in unknown}


async def _remembers(ask: Ask, selectors: Sequence[str], moments: Sequence[float]) -> bool | NoData:
    """Whether Prometheus has any sample from before all of these moments (unix seconds)."""
    if not moments:
        return False
    query = " or ".join(f"group(last_over_time({one}[{LOOKBACK}]))" for one in ("up", *selectors))
    answer = await ask(query, min(moments))
    return failure_of(answer) or bool(series_of(answer))


async def _started(
    ask: Ask, targets: set[Target], ages: Sequence[str], start: float, until: float
) -> dict[Target, float] | NoData:
    """When the targets' processes began, in unix seconds, by their first sample in the window; of those that say it."""
    if not targets:
        return {}
    window = math.ceil((until - start) * 1000)
    names = any_of("__name__", [_START, *ages])
    answer = await ask(f"{{{names},{_matchers(targets)}}}[{window}ms]", until)
    if failure := failure_of(answer):
        return failure
    return {target_of(one.labels): _began(one, ages) for one in series_of(answer)}


def _matchers(targets: set[Target]) -> str:
    jobs = any_of("job", [job for job, _ in targets])
    instances = any_of("instance", [instance for _, instance in targets])
    return f"{jobs},{instances}"


def _began(series: Series, ages: Sequence[str]) -> float:
    is_age = series.labels["__name__"] in ages
    return series.times[0] - series.values[0] if is_age else series.values[0]
