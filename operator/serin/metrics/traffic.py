"""How many requests a deployment gets: asked once when a rollout begins, and by rehearsals.

All versions are counted together, because stable may have become stable only minutes ago. Counted like evidence, series
by series from raw samples, so that a router or pod that came or went inside the window does not distort it; the time
that the counts span is that of the samples, so that a deployment of five minutes is not taken for a quiet one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from serin.analysis.traffic import Traffic
from serin.analysis.types import NoData
from serin.metrics.answers import Ask, Series
from serin.metrics.counting import increase, learn_interval
from serin.metrics.no_data import failure_of, series_of
from serin.metrics.promql import DEPLOYMENT_LABEL, NAMESPACE_LABEL, any_of, fill
from serin.metrics.readings import Pick, Row, plan_reading, tabulate
from serin.metrics.sources import RatioSource

Place = tuple[str, str]  # namespace, deployment

WINDOW: Final = 900.0
# Deployments that are asked for at once: 40 series each, scraped every 5 s, are 360,000 samples.
MAX_DEPLOYMENTS: Final = 50


async def measure(
    ask: Ask, source: RatioSource, places: Sequence[Place], now: float
) -> Mapping[Place, Traffic] | NoData:
    """Traffic of each deployment over the last WINDOW seconds; none for one whose series are absent or too young.

    `now`: unix seconds. NoData: Prometheus could not say.
    """
    found: dict[Place, Traffic] = {}
    for start in range(0, len(places), MAX_DEPLOYMENTS):
        chunk = places[start : start + MAX_DEPLOYMENTS]
        measured = await _measure(ask, source, chunk, now)
        if isinstance(measured, NoData):
            return measured
        found |= measured
    return found


async def _measure(ask: Ask, source: RatioSource, places: Sequence[Place], now: float) -> dict[Place, Traffic] | NoData:
    reading = plan_reading((source.total, source.bad))
    namespaces, names = zip(*places, strict=True)
    where = f"{any_of(NAMESPACE_LABEL, namespaces)},{any_of(DEPLOYMENT_LABEL, names)}"
    texts = [f"{fill(text, {'version': where})}[{WINDOW:.0f}s]" for text in reading.selectors]
    answers = await asyncio.gather(*(ask(text, now) for text in texts))
    if failure := next((one for one in map(failure_of, answers) if one), None):
        return failure
    fetched = [series_of(answer) for answer in answers]
    tables = tabulate(fetched)
    interval = learn_interval(one for each in fetched for one in each) or 0.0

    def rows(picks: Sequence[Pick], place: Place) -> list[Row]:
        return [
            row
            for pick in picks
            for owner in tables[pick.fetch].owners
            if owner[:2] == place
            for row in tables[pick.fetch].rows(pick, owner)
        ]

    total, bad = reading.parts
    found = {place: _traffic(rows(total, place), rows(bad, place), now - WINDOW, interval) for place in places}
    return {place: one for place, one in found.items() if one is not None}


def _traffic(total: Sequence[Row], bad: Sequence[Row], since: float, interval: float) -> Traffic | None:
    """None: no series, or a single scrape of them. The window has no end that a series could be counted from."""
    seconds = _span([row.series for row in total])
    if not seconds:
        return None
    starts_inside = any(row.series.times[0] in row.start_times for row in total)
    requests, failed = (
        sum(row.sign * increase(row.series, row.start_times, since, None) for row in part) for part in (total, bad)
    )
    if not requests > 0.0:
        return Traffic(0.0, 0.0)
    return Traffic(requests / (seconds + interval * starts_inside), min(1.0, max(0.0, failed / requests)))


def _span(series: Sequence[Series]) -> float:
    """Seconds between the first and the last sample of all series."""
    times = [moment for one in series for moment in (one.times[0], one.times[-1])]
    return max(times) - min(times) if times else 0.0
