"""Metrics that Prometheus computes: a user's own number, and totals that are no plain sums of counters.

Such a total is read at both ends of the tick. It carries weaker promises than counters (see counting): a pod that
vanishes makes it fall, which is NoData and never a tick, and requests before a pod's first scrape may be lost.
"""

import asyncio
import math

from serin.analysis.types import Arm, NoData, RatioTick, Tick, ValueTick
from serin.api.conditions import Reason
from serin.metrics.answers import Answer, Ask
from serin.metrics.no_data import failure_of, series_of
from serin.metrics.promql import SNAPSHOT_LABEL, Version, fill, matchers_of, placeholders
from serin.metrics.sources import ExpressionSource, ValueSource


async def value_tick(ask: Ask, source: ValueSource, version: Version, at: float) -> Tick:
    """Evaluate the user's number at `at` (unix seconds)."""
    texts = {"version": matchers_of([version])}
    for name, snapshot in zip(("candidate", "stable"), version.snapshots, strict=False):
        texts[name] = matchers_of([Version(version.namespace, version.deployment, (snapshot,))])
    if len(version.snapshots) < 2 and "stable" in placeholders(source.query):
        message = "the query names {{.stable}}, and there is no other version to compare with now"
        return NoData(Reason.QUERY_FAILED, message)
    answer = await ask(fill(source.query, texts), at)
    if failure := failure_of(answer):
        return failure
    found = series_of(answer)
    if not found:
        return NoData(Reason.SERIES_ABSENT, f"the query has no result{_of(source.only)}")
    if len(found) > 1 or len(found[0].values) != 1:
        return NoData(Reason.QUERY_FAILED, f"the query has {len(found)} results: make it one number, as with max(...)")
    value = found[0].values[0]
    if not math.isfinite(value):
        return NoData(Reason.NOT_A_NUMBER, f"the query's value is {value}", at)
    return ValueTick(at, value)


async def expression_tick(ask: Ask, source: ExpressionSource, version: Version, since: float, at: float) -> Tick:
    """Count between `since` and `at` (unix seconds) by what the totals were at either."""
    texts = [fill(text, {"version": matchers_of([version])}) for text in (source.total, source.bad)]
    answers = await asyncio.gather(*(ask(text, moment) for moment in (since, at) for text in texts))
    if failure := next((found for found in map(failure_of, answers) if found), None):
        return failure
    totals = [_by_snapshot(answer) for answer in answers]
    if problem := next((found for found in totals if isinstance(found, NoData)), None):
        return problem
    total_before, bad_before, total, bad = (found for found in totals if not isinstance(found, NoData))
    arms = []
    for index, snapshot in enumerate(version.snapshots):
        if snapshot not in total:
            return NoData(Reason.SERIES_ABSENT, f"{snapshot}: total has no result{_of(source.only)}")
        if index == 1 and snapshot not in total_before:
            return NoData(Reason.SERIES_ABSENT, f"{snapshot}: total had no result at the tick before", at)
        requests = total[snapshot] - total_before.get(snapshot, 0.0)
        failures = bad.get(snapshot, 0.0) - bad_before.get(snapshot, 0.0)
        if problem := _check(snapshot, requests, failures, at):
            return problem
        arms.append(Arm(round(requests), round(failures)))
    if not any(arm.requests for arm in arms):
        return NoData(Reason.NO_TRAFFIC, "no request was counted", at)
    return RatioTick(at, arms[0], arms[1] if len(arms) > 1 else Arm(0, 0))


def _of(only: str) -> str:
    return f" among series with {only}, and a query reads no others" if only else ""


def _check(snapshot: str, requests: float, bad: float, at: float) -> NoData | None:
    if not (math.isfinite(requests) and math.isfinite(bad)):
        return NoData(Reason.NOT_A_NUMBER, f"{snapshot}: a total is not a finite number", at)
    if requests < 0 or bad < 0:
        return NoData(
            Reason.QUERY_FAILED,
            f"{snapshot}: a total fell by {-min(requests, bad):g} (a pod restarted or vanished, or it is no counter). "
            "Write plain counters, name{ {{.version}} }, which are counted pod by pod",
            at,
        )
    if round(bad) > round(requests):
        return NoData(
            Reason.PARTIAL,
            f"{snapshot}: {bad:g} bad of {requests:g} requests do not add up; bad must be a part of total",
        )
    return None


def _by_snapshot(answer: Answer) -> dict[str, float] | NoData:
    """One number for each snapshot of an answer; an empty answer is no requests."""
    found: dict[str, float] = {}
    for one in series_of(answer):
        if SNAPSHOT_LABEL not in one.labels:
            return NoData(
                Reason.QUERY_FAILED,
                f"the result does not say which version it is: write sum by ({SNAPSHOT_LABEL}) (...)",
            )
        snapshot = one.labels[SNAPSHOT_LABEL]
        found[snapshot] = found.get(snapshot, 0.0) + one.values[-1]
    return found
