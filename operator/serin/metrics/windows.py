"""Windows of counters, as Prometheus sums them up: what was counted now, and in earlier windows of the same length.

For what is compared with its own past (evaluation/past.py). `increase` is good enough for such a comparison, and for
nothing else: evidence against another version is counted in ticks.py. It extrapolates to the edges of its window, and
leaves out what a series counted before its first sample; both happen in all windows alike.

One query for each sum, window and moment, for all deployments that ask for the same. They are sent one after the other:
many samples may be read, and nobody's rollout waits for that.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from serin.analysis.buckets import quantile
from serin.analysis.measured import TAIL
from serin.analysis.past import SHARE
from serin.analysis.types import CONCENTRATION, NoData, PastTick, Stretch, Tick
from serin.api.conditions import Reason
from serin.metrics.answers import Answer, Ask, Series
from serin.metrics.distributions import alike
from serin.metrics.no_data import failure_of, series_of
from serin.metrics.promql import DEPLOYMENT_LABEL, NAMESPACE_LABEL, SNAPSHOT_LABEL, fill, matchers_of
from serin.metrics.readings import owner_of
from serin.metrics.sources import ConcentrationSource, HistogramSource, MeanSource, RatioSource, Source
from serin.metrics.sums import Term
from serin.metrics.wants import Key, Want

# In how many parts a window is cut to say how much of it has data.
PARTS: Final = 20

_Readable = RatioSource | MeanSource | ConcentrationSource | HistogramSource
_Whose = tuple[str, str, str]  # namespace, deployment, and snapshot ("" for all that the deployment has served)
# By upper bound or by answer; "" for what has neither.
_Sums = Mapping[_Whose, Mapping[str, float]]


class _Failed(Exception):
    """A query came to nothing; `why` says so."""

    def __init__(self, why: NoData) -> None:
        super().__init__(why.message)
        self.why = why


async def past_ticks(ask: Ask, source: Source, wants: Sequence[Want], at: float) -> dict[Key, Tick]:
    """One tick for each want, all of which ask for the same windows of one source. `at`: unix seconds."""
    asked = wants[0].past
    if asked is None or not isinstance(source, _Readable):
        words = "only counters are compared with the past: write ratio, mean, concentration or a histogram"
        return {want.key: NoData(Reason.QUERY_FAILED, words) for want in wants}
    try:
        now = await _stretches(ask, source, wants, at, asked.window, own=True)
        past = [await _stretches(ask, source, wants, one, asked.length, own=asked.own) for one in asked.moments]
    except _Failed as failed:
        return {want.key: failed.why for want in wants}
    found: dict[Key, Tick] = {}
    for want in wants:
        mine = _whose(want, own=True)
        earlier = tuple(one.get(_whose(want, own=asked.own), _NOTHING) for one in past)
        known = earlier if asked.moments else None
        found[want.key] = PastTick(at, now.get(mine, _NOTHING), asked.slot, known, _unit(source), asked.length)
    return found


_NOTHING: Final = Stretch(0, 0.0, 0.0)


def _unit(source: _Readable) -> str:
    """The unit of a window's number, as PastTick has it."""
    match source:
        case HistogramSource():
            return source.unit
        case RatioSource():
            return SHARE
        case ConcentrationSource():
            return CONCENTRATION
        case MeanSource():
            return ""


def _whose(want: Want, *, own: bool) -> _Whose:
    return want.namespace, want.deployment, want.subject if own else ""


async def _stretches(
    ask: Ask, source: _Readable, wants: Sequence[Want], at: float, seconds: float, *, own: bool
) -> dict[_Whose, Stretch]:
    """What was counted in the window that ends at `at`. Raises _Failed."""
    labels = ",".join((NAMESPACE_LABEL, DEPLOYMENT_LABEL, *((SNAPSHOT_LABEL,) if own else ())))
    version = matchers_of([want.version for want in wants], snapshots=own)

    async def total(terms: Sequence[Term], by: str = "") -> _Sums:
        found: dict[_Whose, dict[str, float]] = {}
        each = f"{labels},{by}" if by else labels
        for term in terms:
            selector = fill(term.selector.render(), {"version": version})
            answer = await ask(f"sum by ({each}) (increase({selector}[{math.ceil(seconds)}s]))", at)
            _add(found, _checked(answer), term.sign, by)
        return found

    known = source.presence if isinstance(source, RatioSource | HistogramSource) else ()
    coverage = await _coverage(ask, known or _counted(source), version, labels, at, seconds)
    if isinstance(source, HistogramSource):
        found = dict(_times(await total(source.buckets, "le")))
    elif isinstance(source, ConcentrationSource):
        found = dict(_concentrations(await total(source.counts, source.by)))
    elif isinstance(source, MeanSource):
        found = dict(_quotients(await total(source.count), await total(source.sum)))
    else:
        found = dict(_quotients(await total(source.total), await total(source.bad)))
    return {
        whose: Stretch(*found.get(whose, (0, 0.0)), coverage.get(whose, 0.0))
        for whose in found.keys() | coverage.keys()
    }


async def _coverage(
    ask: Ask, terms: Sequence[Term], version: str, labels: str, at: float, seconds: float
) -> dict[_Whose, float]:
    """The share of the window at which there was any series."""
    selector = fill(terms[0].selector.render(), {"version": version})
    part = math.ceil(seconds / PARTS)
    answer = await ask(f"count_over_time((sum by ({labels}) ({selector}))[{math.ceil(seconds)}s:{part}s])", at)
    return {_owner(one): min(1.0, one.values[-1] / PARTS) for one in _checked(answer)}


def _counted(source: _Readable) -> Sequence[Term]:
    """The terms without which nothing was counted."""
    match source:
        case RatioSource():
            return source.total
        case MeanSource():
            return source.count
        case ConcentrationSource():
            return source.counts
        case HistogramSource():
            return source.buckets


def _checked(answer: Answer) -> tuple[Series, ...]:
    """The series of an answer, none when it has none. Raises _Failed."""
    if failure := failure_of(answer):
        raise _Failed(failure)
    return series_of(answer)


def _add(found: dict[_Whose, dict[str, float]], series: Iterable[Series], sign: int, by: str) -> None:
    for one in series:
        if math.isfinite(one.values[-1]):
            mine, name = found.setdefault(_owner(one), {}), one.labels.get(by, "")
            mine[name] = mine.get(name, 0.0) + sign * one.values[-1]


def _owner(one: Series) -> _Whose:
    namespace, deployment, snapshot = owner_of(one.labels)
    return namespace, deployment, snapshot


def _bound(text: str) -> float:
    """The upper bound of a bucket; not a number for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _quotients(count: _Sums, total: _Sums) -> Iterator[tuple[_Whose, tuple[int, float]]]:
    """How many, and what share of them was bad, or their mean."""
    for whose, counted in count.items():
        requests = sum(counted.values())
        if requests >= 1.0:
            yield whose, (round(requests), sum(total.get(whose, {}).values()) / requests)


def _concentrations(answers: _Sums) -> Iterator[tuple[_Whose, tuple[int, float]]]:
    """How many answers, and how often two of them are the same."""
    for whose, counted in answers.items():
        found = alike(counted.values())
        if found[0]:
            yield whose, found


def _times(buckets: _Sums) -> Iterator[tuple[_Whose, tuple[int, float]]]:
    """How many, and the time within which 95% of them were answered."""
    for whose, named in buckets.items():
        counted = {_bound(name): count for name, count in named.items()}
        bounds = sorted(one for one in counted if not math.isnan(one))
        cumulative = [counted[one] for one in bounds]
        each = np.clip(np.diff([0.0, *cumulative]), 0.0, None)
        value = quantile(tuple(bounds[:-1]), each, TAIL)
        if value is not None and each.sum() >= 1.0:
            yield whose, (round(float(each.sum())), value)
