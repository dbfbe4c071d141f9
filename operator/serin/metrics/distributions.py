"""From the series of both arms to counts per category of the model's answers. Pure, and counted as in ticks.py.

Names of categories are cut to a length that the evidence has room for. Which of them the engine keeps apart, and what a
new one counts as, is its own affair (analysis/two_sample.py): here every answered category is told. Buckets of a
number are named by their upper bounds; of more than the engine takes, evenly chosen ones are left, which is exact and
only coarser.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final

from serin.analysis.psi import MOST
from serin.analysis.types import CONCENTRATION, OTHER, DistributionTick, MeanTick, Moments, NoData, ReferenceTick, Tick
from serin.api.conditions import Reason
from serin.metrics.messages import name_of
from serin.metrics.promql import DEPLOYMENT_LABEL, NAMESPACE_LABEL, SNAPSHOT_LABEL
from serin.metrics.readings import Row
from serin.metrics.ticks import ArmRows, Bases, Buckets, Window, count_buckets, inconsistent, increase_of, no_traffic

LONGEST: Final = 20
# Values of the label that says what was answered; a label with more is no category, but an identity or free text.
MAX_CATEGORIES: Final = 1_000
_NOT_CATEGORIES: Final = ("__name__", "job", "instance", NAMESPACE_LABEL, DEPLOYMENT_LABEL, SNAPSHOT_LABEL)


def distribution_tick(subject: ArmRows, baseline: ArmRows, window: Window, bases: Bases, by: str) -> Tick:
    """Count answers per value of the label `by` of both arms; "le": per bucket."""
    if by == "le":
        found = count_buckets(subject, baseline, window, bases)
        if isinstance(found, NoData):
            return found
        found = _over(found, _thinned(found.bounds))
        names = tuple(map(repr, found.bounds))
        return DistributionTick(found.at, found.subject, found.baseline, ordered=True, categories=names)
    counted = _count_categories(subject, baseline, window, bases, by)
    if isinstance(counted, NoData):
        return counted
    at, first, second = counted
    names = tuple(sorted({*first, *second}))
    one, other = (tuple(arm.get(name, 0) for name in names) for arm in (first, second))
    return DistributionTick(at, one, other, categories=names)


def concentration_tick(subject: ArmRows, baseline: ArmRows, window: Window, bases: Bases, by: str) -> Tick:
    """How often two answers of either arm are the same, by the label `by`; its "requests" are the answers."""
    counted = _count_categories(subject, baseline, window, bases, by)
    if isinstance(counted, NoData):
        return counted
    at, *arms = counted
    mine, theirs = (Moments(count, count * share) for count, share in map(alike, (arm.values() for arm in arms)))
    return MeanTick(at, mine, theirs, CONCENTRATION)


def alike(counts: Iterable[float]) -> tuple[int, float]:
    """How many answers, and the share of all pairs of them that are the same; none when there is no pair.

    The unbiased estimate of Simpson's index (Simpson, Nature 1949), the sum of all squared shares: so few answers are
    not taken for a concentration.
    """
    numbers = [one for one in counts if one > 0.0]
    total = sum(numbers)
    if round(total) < 2:
        return 0, 0.0
    pairs = sum(one * (one - 1.0) for one in numbers) / (total * (total - 1.0))
    return round(total), min(1.0, max(0.0, pairs))


def reference_tick(
    subject: ArmRows, baseline: ArmRows, window: Window, bases: Bases, by: str, reference: Mapping[str, int]
) -> Tick:
    """Count the subject's answers, and the baseline's beside them, in the categories of a frozen reference.

    `reference`: as sources.reference_of gives it. Categories that it does not name are counted together as OTHER.
    """
    if by == "le":
        found = count_buckets(subject, baseline, window, bases)
        if isinstance(found, NoData):
            return found
        bounds = tuple(float(text) for text in reference)
        if absent := [bound for bound in bounds if bound not in found.bounds]:
            has = ", ".join(f"{bound:g}" for bound in found.bounds)
            message = f"the reference has the bound {absent[0]:g}, and the histogram does not; it has: {has}"
            return NoData(Reason.QUERY_FAILED, message)
        found = _over(found, bounds)
        return ReferenceTick(found.at, found.subject, tuple(reference.values()), found.baseline, tuple(reference))
    counted = _count_categories(subject, baseline, window, bases, by)
    if isinstance(counted, NoData):
        return counted
    at, first, second = counted
    named = {name_of(name, LONGEST): count for name, count in reference.items() if name != OTHER}
    names = (*named, OTHER)
    live, beside = (_sorted_in(tuple(named), arm) for arm in (first, second))
    return ReferenceTick(at, live, (*named.values(), reference.get(OTHER, 0)), beside, names)


def _sorted_in(known: Sequence[str], counts: Mapping[str, int]) -> tuple[int, ...]:
    """Counts in the order of `known`, then those of all others together."""
    others = sum(count for name, count in counts.items() if name not in known)
    return (*(counts.get(name, 0) for name in known), others)


_Counted = tuple[float, dict[str, int], dict[str, int]]


def _count_categories(subject: ArmRows, baseline: ArmRows, window: Window, bases: Bases, by: str) -> _Counted | NoData:
    """Time of the newest sample, and answers per category of subject and baseline, without empty ones."""
    at = max(subject.newest, baseline.newest)
    rows = [*subject.total, *baseline.total]
    if rows and not any(row.series.labels.get(by) for row in rows):
        has = sorted({label for row in rows for label in row.series.labels if label not in _NOT_CATEGORIES})
        message = f"the series have no label {by}: write by: one of {', '.join(has) or 'none, for they have no label'}"
        return NoData(Reason.QUERY_FAILED, message)
    distinct = len({row.series.labels.get(by, "") for row in rows})
    if distinct > MAX_CATEGORIES:
        message = f"the label {by} has {distinct} values: write by: a label with at most {MAX_CATEGORIES}"
        return NoData(Reason.QUERY_FAILED, message)
    counts = []
    for arm in (subject, baseline):
        groups: dict[str, list[Row]] = {}
        for row in arm.total:
            groups.setdefault(name_of(row.series.labels.get(by, ""), LONGEST), []).append(row)
        found = {category: increase_of(group, window.since, bases) for category, group in groups.items()}
        if not all(map(math.isfinite, found.values())):
            return NoData(Reason.NOT_A_NUMBER, f"{arm.snapshot}: a counter was not a finite number", at)
        if negative := [category for category, count in found.items() if round(count) < 0]:
            return inconsistent(f"{arm.snapshot}: the answers {negative[0]}", at, window)
        counts.append({category: round(count) for category, count in found.items() if round(count)})
    if not any(counts):
        return no_traffic(at)
    return at, counts[0], counts[1]


def _thinned(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """At most MOST of the bounds, evenly chosen by their place, the last one among them."""
    if len(bounds) <= MOST:
        return bounds
    return tuple(bounds[round((place + 1) * len(bounds) / MOST) - 1] for place in range(MOST))


def _over(found: Buckets, bounds: tuple[float, ...]) -> Buckets:
    """The same counts over some of the bounds alone; the last one is infinite."""
    subject, baseline = (_merged(found.bounds, arm, bounds) for arm in (found.subject, found.baseline))
    return Buckets(found.at, bounds, subject, baseline)


def _merged(bounds: Sequence[float], counts: Sequence[int], kept: Sequence[float]) -> tuple[int, ...]:
    cumulative = dict(zip(bounds, accumulate(counts), strict=True))
    return tuple(upper - lower for lower, upper in pairwise([0, *(cumulative[bound] for bound in kept)]))
