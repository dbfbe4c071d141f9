"""Windows of counters: what is asked for, and what becomes of the sums that come back, odd ones included.

tests/integration/test_prometheus_past.py asks a real Prometheus.
"""

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from serin.analysis.types import NoData, PastTick, Stretch, Tick
from serin.api.conditions import Reason
from serin.api.spec import Metric, RatioQuery
from serin.api.verdicts import Against, Severity
from serin.evaluation.past import PastRequest
from serin.metrics.answers import Answer, Failed, Partial, Series, Value
from serin.metrics.sources import ConcentrationSource, HistogramSource, MeanSource, RatioSource, Source, ValueSource
from serin.metrics.sums import parse_sum
from serin.metrics.wants import Want
from serin.metrics.windows import PARTS, past_ticks

NOW, WEEK, HOUR = 1_800_000_000.0, 604_800.0, 3_600.0
METRIC = Metric("missed", RatioQuery("a", "b"), Severity.MAJOR, Against.HISTORY)
HISTORY = PastRequest(HOUR, NOW - 60.0, (NOW - WEEK, NOW - 2 * WEEK), HOUR, own=False)
WANT = Want("shop", "fraud", "fraud-b", None, METRIC, NOW - HOUR, past=HISTORY)
RATIO = RatioSource(parse_sum("seen{ {{.version}} } - cached{ {{.version}} }"), parse_sum("missed{ {{.version}} }"))
MEAN = MeanSource(parse_sum("tokens_sum{ {{.version}} }"), parse_sum("tokens_count{ {{.version}} }"))
ALIKE = ConcentrationSource(parse_sum("shown{ {{.version}} } - tests{ {{.version}} }"), "le")
TIMES = HistogramSource(parse_sum("seconds_bucket{ {{.version}} }"), "s")


class Prometheus:
    """What each counter grew by in a window, by name: the same in all windows."""

    def __init__(self, **grown: float | Mapping[str, float]) -> None:
        self.grown, self.asked = grown, list[tuple[str, float]]()
        self.covered, self.owners = float(PARTS), [("shop", "fraud", "fraud-b")]
        self.fails: Answer | None = None

    async def ask(self, query: str, at: float) -> Answer:
        self.asked.append((query, at))
        if self.fails and at < NOW:
            return self.fails
        [by], [name] = re.findall(r"by \(([^)]*)\)", query), re.findall(r"\(([a-z_]+)\{", query)
        found = self.covered if "count_over_time" in query else self.grown.get(name, {})
        rows = found if isinstance(found, Mapping) else {"": found}
        return Value(tuple(Series(_labels(by, *one, le), (at,), (rows[le],)) for one in self.owners for le in rows))


def _labels(by: str, namespace: str, deployment: str, snapshot: str, le: str) -> dict[str, str]:
    """Those of the sum: of an owner, and of a bucket."""
    owner = {"serin_namespace": namespace, "serin_model_deployment": deployment, "serin_snapshot": snapshot, "le": le}
    return {name: one for name, one in owner.items() if name in by.split(",") and one}


def tick(prometheus: Prometheus, source: Source, want: Want = WANT) -> Tick:
    return asyncio.run(past_ticks(prometheus.ask, source, [want], NOW))[want.key]


def past(prometheus: Prometheus, source: Source, want: Want = WANT) -> PastTick:
    found = tick(prometheus, source, want)
    assert isinstance(found, PastTick)
    return found


def test_a_share_is_of_what_is_left_of_a_difference() -> None:
    found = past(Prometheus(seen=1_200.4, cached=200.0, missed=50.0), RATIO)
    each = Stretch(1_000, pytest.approx(50.0 / 1_000.4), 1.0)
    assert found == PastTick(NOW, each, NOW - 60.0, (each, each), "share", HOUR)


def test_a_mean_is_the_sum_by_its_count() -> None:
    found = past(Prometheus(tokens_sum=900.0, tokens_count=30.0), MEAN)
    assert (found.now, found.unit) == (Stretch(30, 30.0, 1.0), "")


def test_times_are_read_from_cumulative_buckets() -> None:
    buckets = {"0.5": 90.0, "0.1": 50.0, "1": 100.0, "+Inf": 100.0, "x": 7.0}
    found = past(Prometheus(seconds_bucket=buckets), TIMES)
    assert (found.now, found.unit) == (Stretch(100, pytest.approx(0.75), 1.0), "s"), "between 0.5 and 1"


def test_how_often_answers_are_the_same_is_of_what_is_left_of_a_difference() -> None:
    found = past(Prometheus(shown={"a": 8.0, "b": 2.0}, tests={"a": 5.0, "b": 1.0}), ALIKE)
    assert (found.now, found.unit) == (Stretch(4, 0.5, 1.0), "concentration"), "of 3 and 1 answers 6 pairs of 12"
    assert past(Prometheus(shown={"a": 1.0}, tests={"a": 0.0}), ALIKE).now == Stretch(0, 0.0, 1.0), "no pair"


def test_less_than_one_answer_in_time_is_none() -> None:
    assert past(Prometheus(seconds_bucket={"0.1": 0.3, "+Inf": 0.6}), TIMES).now == Stretch(0, 0.0, 1.0)


def test_where_it_is_said_what_shows_that_a_version_is_known_that_covers_a_window() -> None:
    prometheus = Prometheus(missed=0.0)
    past(prometheus, replace(RATIO, presence=parse_sum("pods{ {{.version}} }")))
    assert [
        re.findall(r"\(([a-z_]+)\{", one) for one, at in prometheus.asked if "count_over_time" in one and at == NOW
    ] == [["pods"]]


@pytest.mark.parametrize(("covered", "share"), [(PARTS / 4, 0.25), (PARTS + 1.0, 1.0)])
def test_how_much_of_a_window_has_data(covered: float, share: float) -> None:
    prometheus = Prometheus(tokens_sum=900.0, tokens_count=30.0)
    prometheus.covered = covered
    assert past(prometheus, MEAN).now.coverage == share
    assert any("[3600s:180s]" in query for query, _ in prometheus.asked), "in twenty parts"


def test_what_is_no_number_or_nearly_nothing_counts_as_nothing() -> None:
    assert past(Prometheus(tokens_sum=math.nan, tokens_count=30.0), MEAN).now == Stretch(30, 0.0, 1.0)
    assert past(Prometheus(tokens_sum=9.0, tokens_count=math.inf), MEAN).now == Stretch(0, 0.0, 1.0)
    assert past(Prometheus(tokens_sum=9.0, tokens_count=0.4), MEAN).now == Stretch(0, 0.0, 1.0)


def test_of_history_all_versions_count_and_of_a_first_day_its_own_alone() -> None:
    prometheus = Prometheus(seen=1_000.0, cached=0.0, missed=50.0)
    prometheus.owners = [("shop", "fraud", "fraud-b"), ("shop", "other", "other-a")]
    past(prometheus, RATIO)
    before, after = ([one for one, at in prometheus.asked if (at < NOW) is earlier] for earlier in (True, False))
    assert all("serin_snapshot" in one for one in after)
    assert not any("serin_snapshot" in one for one in before)
    own = replace(WANT, past=replace(HISTORY, own=True, length=2 * HOUR, moments=(NOW - WEEK,)))
    prometheus.asked.clear()
    found = past(prometheus, RATIO, own)
    assert found.earlier == (Stretch(1_000, 0.05, 1.0),)
    assert found.length == 2 * HOUR
    assert all("serin_snapshot" in one for one, _ in prometheus.asked)
    assert {"7200s" in one for one, at in prometheus.asked if at < NOW} == {True}


def test_a_past_that_is_known_is_not_read() -> None:
    prometheus = Prometheus(seen=1_000.0, cached=0.0, missed=50.0)
    found = past(prometheus, RATIO, replace(WANT, past=replace(HISTORY, moments=())))
    assert found.earlier is None
    assert {at for _, at in prometheus.asked} == {NOW}


def test_a_version_without_series_has_windows_without_data() -> None:
    prometheus = Prometheus(seen=1_000.0, cached=0.0, missed=50.0)
    prometheus.owners = [("shop", "other", "other-a")]
    nothing = Stretch(0, 0.0, 0.0)
    found = past(prometheus, RATIO)
    assert (found.now, found.earlier) == (nothing, (nothing, nothing))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Failed(Reason.QUERY_FAILED, "too many samples"), Reason.QUERY_FAILED),
        (Partial((), ("a store did not answer",)), Reason.PARTIAL),
    ],
)
def test_one_window_that_cannot_be_read_is_no_comparison(answer: Answer, reason: Reason) -> None:
    prometheus = Prometheus(seen=1_000.0, cached=0.0, missed=50.0)
    prometheus.fails = answer
    found = tick(prometheus, RATIO)
    assert isinstance(found, NoData)
    assert found.reason is reason


def test_what_is_no_counter_has_no_past() -> None:
    found = tick(Prometheus(), ValueSource("max(queue)"))
    assert isinstance(found, NoData)
    assert "write ratio, mean, concentration or a histogram" in found.message
