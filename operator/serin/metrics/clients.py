"""What a version was for clients, counted once after it was left: for its report, and for nothing that is decided.

Counted like evidence, series by series from raw samples (counting.py), in parts of a quarter of an hour, so that no
answer is large however long the version was tried.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from serin.analysis.types import NoData
from serin.api.conditions import Reason
from serin.api.state import ClientRequests
from serin.metrics.answers import Ask, Series
from serin.metrics.counting import increase
from serin.metrics.enforced import restrict_terms
from serin.metrics.no_data import failure_of, series_of
from serin.metrics.promql import DEPLOYMENT_LABEL, NAMESPACE_LABEL, Matcher, any_of, fill
from serin.metrics.readings import Reading, Row, plan_reading, tabulate
from serin.metrics.sums import parse_sum

_PART: Final = 900.0
# What was counted before the first sample of a part is told by an earlier one, which no scrape interval is apart from.
_BEFORE: Final = 300.0


@dataclass(frozen=True, slots=True)
class Left:
    """A version that was left: what to count of it, from `since` until `until` (unix seconds)."""

    namespace: str
    deployment: str
    snapshot: str
    since: float
    until: float


def reading_of(answers: str, failures: str, shielded: str, presence: str, trusted: Sequence[Matcher]) -> Reading:
    """How to read a router's counters. `trusted`: the matchers that only its own series fit."""
    more = [one for one in trusted if one.label != NAMESPACE_LABEL]  # {{.version}} says that
    parts = (parse_sum(text) or () for text in (answers, failures, shielded, presence))
    return plan_reading(tuple(restrict_terms(part, more) for part in parts))


async def count_clients(ask: Ask, reading: Reading, left: Left) -> ClientRequests | NoData:
    """Count until the newest sample. NoData: Prometheus could not say, or has not all of the time."""
    counted, begin, newest = [0.0, 0.0, 0.0], left.since, left.since
    while begin < left.until:
        end = min(begin + _PART, left.until)
        fetched = await _fetch(ask, reading, left, begin, end)
        if isinstance(fetched, NoData):
            return fetched
        newest = max(one.times[-1] for each in fetched for one in each)
        for place, part in enumerate(_count(reading, fetched, left, begin)):
            counted[place] += part
        begin = end
    if not all(map(math.isfinite, counted)):
        return NoData(Reason.QUERY_FAILED, "a counter is no number")
    exposed, failed, shielded = (max(0, round(one)) for one in counted)
    return ClientRequests(exposed, failed, shielded, left.since, newest)


async def _fetch(
    ask: Ask, reading: Reading, left: Left, begin: float, end: float
) -> Sequence[Sequence[Series]] | NoData:
    where = f"{any_of(NAMESPACE_LABEL, [left.namespace])},{any_of(DEPLOYMENT_LABEL, [left.deployment])}"
    window = f"[{end - begin + _BEFORE:.0f}s]"
    answers = await asyncio.gather(*(ask(fill(text, {"version": where}) + window, end) for text in reading.selectors))
    if failure := next((one for one in map(failure_of, answers) if one), None):
        return failure
    fetched = [series_of(answer) for answer in answers]
    if not any(one.times[-1] > begin for each in fetched for one in each):
        return NoData(Reason.SERIES_ABSENT, f"Prometheus has no sample of the router's at {end:.0f}")
    return fetched


def _count(reading: Reading, fetched: Sequence[Sequence[Series]], left: Left, begin: float) -> list[float]:
    """Answers of the version, those that failed, and what was shielded in the deployment, after `begin`."""
    tables = tabulate(fetched)
    own = (left.namespace, left.deployment, left.snapshot)
    found = []
    for part, of_version in zip(reading.parts, (True, True, False), strict=False):
        rows: list[Row] = []
        for pick in part:
            table = tables[pick.fetch]
            # Who answered in the version's place is counted with its own snapshot.
            owners = [own] if of_version else [owner for owner in table.owners if owner[:2] == own[:2]]
            rows += [row for owner in owners for row in table.rows(pick, owner)]
        found.append(sum(row.sign * increase(row.series, row.start_times, begin, None) for row in rows))
    return found
