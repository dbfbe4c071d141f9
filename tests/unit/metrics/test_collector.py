"""One collection for many: what one user writes, or what goes wrong for one metric, is that metric's own affair."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from serin.analysis.types import NoData, PastTick, RatioTick, Tick, ValueTick
from serin.api.conditions import Reason
from serin.api.spec import DistributionQuery, MeanQuery, Metric, MetricSource, RatioQuery, TemplateRef, ValueQuery
from serin.api.verdicts import Against, Severity
from serin.evaluation.past import PastRequest
from serin.metrics.answers import Answer, Failed, Series, Value
from serin.metrics.collector import A_MOMENT, REMEMBERED, Collector, Want
from serin.metrics.counters import MAX_MOMENTS
from serin.metrics.prometheus import Usage
from tests.catalog import CATALOG

NOW = 1_800_000_000.0
ERRORS = TemplateRef("request-errors")
BROKEN = RatioQuery(
    bad='b{namespace="{{.namespace}}", {{.version}} }', total='a{namespace="{{.namespace}}", {{.version}} }'
)


class Prometheus:
    """Scraped every ten seconds for five minutes; every snapshot that is asked about has 5 requests in each, 1 bad."""

    def __init__(self) -> None:
        self.usage, self.asked, self.names = Usage(), list[str](), ["a", "b"]
        self.hold: asyncio.Event | None = None
        self.held = asyncio.Event()
        self.answer: Callable[[str, float], Answer | None] = lambda _query, _at: None

    async def query(self, query: str, at: float, namespace: str) -> Answer:
        self.asked.append(query)
        if self.hold and namespace:
            self.held.set()
            await self.hold.wait()
        found = self.answer(query, at)
        return self._counters(query, at) if found is None else found

    def _counters(self, query: str, at: float) -> Value:
        times = tuple(at - 10.0 * back for back in range(30, -1, -1))
        series = []
        for deployment in self.names:
            for snapshot in (f"{deployment}-1", f"{deployment}-2"):
                if snapshot not in query:
                    continue
                owner = {"serin_namespace": "shop", "serin_model_deployment": deployment, "serin_snapshot": snapshot}
                for name, each in (("envoy_serin_attempts", 5.0), ("envoy_serin_failures", 1.0)):
                    if name in query:
                        labels = {**owner, "__name__": name, "serin_attempt": "first", "job": "r", "instance": "r"}
                        series.append(Series(labels, times, tuple(each * round(time / 10.0) for time in times)))
        return Value(tuple(series))


def want(name: str, source: MetricSource = ERRORS, metric: str = "errors", since: float = NOW - 100.0) -> Want:
    return Want(
        "shop", name, f"{name}-2", f"{name}-1", Metric(metric, source, Severity.CRITICAL, Against.STABLE), since
    )


def collect(prometheus: Prometheus, *wants: Want) -> Mapping[Any, Tick]:
    collector = Collector(prometheus, CATALOG, patience=60.0)  # type: ignore[arg-type]
    return asyncio.run(collector.collect(NOW, wants))


def test_a_metric_that_cannot_be_read_is_told_of_that_metric_alone() -> None:
    good, bad = want("a"), want("b", BROKEN, "mine")
    ticks = collect(Prometheus(), good, bad)
    assert isinstance(ticks[good.key], RatioTick)
    told = ticks[bad.key]
    assert isinstance(told, NoData)
    assert told.reason is Reason.QUERY_FAILED
    assert "metric mine: {{.namespace}} is not known here: write" in told.message


def broken_labels(query: str, _at: float) -> Answer | None:
    """One deployment's series make the reading of them fail, as a defect would."""
    if "b-2" not in query:
        return None
    return Value((Series({"serin_namespace": "shop"}, (), ()),))


def test_a_defect_that_one_deployment_brings_out_is_told_of_that_deployment_alone() -> None:
    prometheus = Prometheus()
    prometheus.names = [f"m{number}" for number in range(20)] + ["b"]
    prometheus.answer = broken_labels
    wants = [want(name) for name in prometheus.names]
    ticks = collect(prometheus, *wants)
    assert {key[1] for key, tick in ticks.items() if isinstance(tick, RatioTick)} == set(prometheus.names) - {"b"}
    told = ticks[wants[-1].key]
    assert isinstance(told, NoData)
    assert "metric errors: a defect of Serin keeps it from being read (IndexError" in told.message


def test_what_breaks_the_reading_of_a_want_itself_is_told_of_it_alone() -> None:
    good, odd = want("a"), replace(want("b", TemplateRef("mine"), "mine"), template={"ratio": {}})
    ticks = collect(Prometheus(), good, odd)
    assert isinstance(ticks[good.key], RatioTick)
    assert isinstance(ticks[odd.key], NoData)


def test_an_answer_that_is_too_large_is_asked_for_in_parts() -> None:
    """First of the deployments, then of the time: the ticks that come out follow each other."""
    prometheus = Prometheus()
    prometheus.names = ["a", "b"]

    def too_large(query: str, _at: float) -> Answer | None:
        window = re.search(r"\[(\d+)ms\]$", query)
        if window and "a-2" in query and ("b-2" in query or int(window[1]) > 2_000_000):
            return Failed(Reason.QUERY_FAILED, "more than 12 MB", too_large=True)
        return None

    prometheus.answer = too_large
    wants = want("a", since=NOW - 3000.0), want("b", since=NOW - 3000.0)
    ticks = collect(prometheus, *wants)
    first, second = (ticks[one.key] for one in wants)
    assert isinstance(first, RatioTick)
    assert isinstance(second, RatioTick)
    assert NOW - 2000.0 < first.at < NOW - 1000.0
    assert second.at > NOW - 100.0


def test_an_answer_that_stays_too_large_is_said() -> None:
    prometheus = Prometheus()
    prometheus.answer = lambda _query, _at: Failed(Reason.QUERY_FAILED, "more than 12 MB", too_large=True)
    (told,) = collect(prometheus, want("a", since=NOW - 1e6)).values()
    assert told == NoData(Reason.QUERY_FAILED, "more than 12 MB")


def test_messages_are_cut() -> None:
    prometheus = Prometheus()
    prometheus.answer = lambda _query, _at: Failed(Reason.QUERY_FAILED, "x" * 100_000)
    (told,) = collect(prometheus, want("a")).values()
    assert isinstance(told, NoData)
    assert (len(told.message), told.message[-1]) == (500, "…")
    (told,) = collect(prometheus, want("a", RatioQuery("b" * 4000, "a{ {{.version}} }"), "mine")).values()
    assert isinstance(told, NoData)
    assert len(told.message) == 500


def test_users_sources_are_asked_by_namespace_and_built_in_ones_once() -> None:
    prometheus, query = Prometheus(), RatioQuery("b{ {{.version}} }", "a{ {{.version}} }")
    names = [("shop", "a"), ("shop", "b"), ("bank", "c")]
    metric = Metric("mine", query, Severity.MINOR, Against.STABLE)
    collect(prometheus, *(Want(space, name, f"{name}-2", f"{name}-1", metric, NOW - 100.0) for space, name in names))
    of_shop = [text for text in prometheus.asked if 'serin_namespace="shop"' in text]
    of_bank = [text for text in prometheus.asked if 'serin_namespace="bank"' in text]
    assert len(of_shop) == len(of_bank) > 0
    assert len(prometheus.asked) == len(of_shop) + len(of_bank), "no query is about both"


def test_a_regular_expression_that_python_never_ends_is_not_pythons_to_read() -> None:
    prometheus = Prometheus()
    evil = RatioQuery(bad='a{code=~"(a+)+b", {{.version}} }', total="a{ {{.version}} }")
    labels = {"__name__": "a", "serin_namespace": "shop", "serin_model_deployment": "a", "code": "a" * 40}

    def answer(query: str, at: float) -> Answer:
        series = [
            Series({**labels, "serin_snapshot": name}, (at - 20.0, at - 10.0, at), (0.0, 10.0, 20.0))
            for name in ("a-1", "a-2")
        ]
        return Value(tuple(series if "(a+)+b" not in query else series[:1]))

    prometheus.answer = answer
    began = time.monotonic()
    (tick,) = collect(prometheus, want("a", evil, "mine", NOW - 15.0)).values()
    assert isinstance(tick, RatioTick)
    assert time.monotonic() - began < 60.0


def test_a_label_with_too_many_values_is_no_category() -> None:
    prometheus = Prometheus()
    owner = {"serin_namespace": "shop", "serin_model_deployment": "a", "serin_snapshot": "a-2", "__name__": "p"}

    def answer(_query: str, at: float) -> Answer:
        times = (at - 20.0, at - 10.0, at)
        return Value(tuple(Series({**owner, "id": str(number)}, times, (1.0, 2.0, 3.0)) for number in range(1001)))

    prometheus.answer = answer
    (told,) = collect(prometheus, want("a", DistributionQuery("p{ {{.version}} }", "id"), "mine")).values()
    assert isinstance(told, NoData)
    # Stable has none of these series, which is said first; without a baseline the label is.
    alone = replace(want("a", DistributionQuery("p{ {{.version}} }", "id"), "mine"), baseline=None)
    (told,) = collect(prometheus, alone).values()
    assert isinstance(told, NoData)
    assert told.message == "the label id has 1001 values: write by: a label with at most 1000"


def test_a_value_needs_no_baseline_unless_it_names_stable() -> None:
    prometheus = Prometheus()
    prometheus.answer = lambda _query, at: Value((Series({}, (at,), (7.0,)),))
    for query, known in (("max(a{ {{.candidate}} })", True), ("max(a{ {{.stable}} })", False)):
        alone = replace(want("a", ValueQuery(query), "mine"), baseline=None)
        (tick,) = collect(prometheus, alone).values()
        assert isinstance(tick, ValueTick if known else NoData)


@pytest.mark.parametrize("text", ["(" * 2000 + "a" + ")" * 2000, "-" * 4000 + "a", "+".join(["a"] * 2000)])
def test_queries_that_no_parser_bears_are_refused(text: str) -> None:
    (told,) = collect(Prometheus(), want("a", RatioQuery("b{ {{.version}} }", text), "mine")).values()
    assert isinstance(told, NoData)
    assert "write at most" in told.message


def test_nobody_is_told_of_another_ones_series() -> None:
    prometheus = Prometheus()
    prometheus.answer = lambda _query, _at: NoData(Reason.SERIES_ABSENT, "the query has no result")
    mine, others = want("a"), replace(want("b"), namespace="bank")
    told = collect(prometheus, mine, others)[mine.key]
    assert isinstance(told, NoData)
    assert told.reason is Reason.SERIES_ABSENT
    assert 'serin_snapshot="a-2"' in told.message
    assert "bank" not in told.message


async def test_what_a_user_wrote_slowly_holds_up_nobody_and_comes_later() -> None:
    prometheus, slow = Prometheus(), want("b", ValueQuery("max(a{ {{.candidate}} })"), "mine")
    prometheus.hold = asyncio.Event()
    collector = Collector(prometheus, CATALOG, patience=0.05)  # type: ignore[arg-type]
    for _ in range(2):
        assert [key[-1] for key in await collector.collect(NOW, [want("a"), slow])] == ["errors"]
    assert sum("max(" in query for query in prometheus.asked) == 1, "what is under way is not asked again"
    assert await collector.overdispersion(NOW, [want("a", RatioQuery("a{ {{.version}} }", "b{ {{.version}} }"))]) == {}
    prometheus.answer = lambda _query, at: Value((Series({}, (at,), (7.0,)),))
    prometheus.hold.set()
    await asyncio.sleep(0)
    changed = replace(slow, subject="b-3")
    collector._patience = 60.0
    assert not (await collector.collect(NOW, [])), "nobody wants it any more"
    assert isinstance((await collector.collect(NOW, [changed]))[changed.key], ValueTick)


async def test_what_a_user_asks_a_built_in_template_for_holds_up_nobody() -> None:
    """Its arguments are the user's, and each of them makes another query."""
    prometheus = Prometheus()
    mine = [
        want("b", TemplateRef("prediction-share", {"field": f"f{number}", "label": "a"}), f"share-{number}")
        for number in range(20)
    ]
    prometheus.hold = asyncio.Event()
    collector = Collector(prometheus, CATALOG, patience=0.05)  # type: ignore[arg-type]
    assert [key[-1] for key in await collector.collect(NOW, [want("a"), *mine])] == ["errors"]
    prometheus.hold.set()
    await asyncio.wait(collector._tasks)


def by_pod(query: str, _at: float) -> Value:
    """An hour of four of stable's pods: 100 requests a minute that take 10 each, and 20 on the third pod."""
    hour, series = tuple(NOW - 60.0 * back for back in range(60, -1, -1)), []
    rng = np.random.default_rng(1)
    for pod in range(4):
        labels = {"serin_namespace": "shop", "serin_model_deployment": "a", "serin_snapshot": "a-1"}
        labels |= {"instance": f"10.0.0.{pod}", "job": "m", "serin_slot": str(pod), "__name__": query.split("{")[0]}
        each = np.full(61, 100.0)
        if not re.search("attempts|count", query):
            each = (2.0 if pod == 2 else 1.0) * rng.normal(1000.0, 20.0, 61)
        series.append(Series(labels, hour, tuple(each.cumsum().tolist())))
    return Value(tuple(series))


async def test_the_slowest_of_stables_pods_is_read_where_a_slow_pod_is_let_pass() -> None:
    prometheus = Prometheus()
    prometheus.answer = by_pod
    collector = Collector(prometheus, CATALOG, patience=60.0)  # type: ignore[arg-type]
    latency = want("a", TemplateRef("request-latency"), "latency")
    cost = want("a", MeanQuery("cost_sum{ {{.version}} }", "cost_count{ {{.version}} }"), "cost")
    reward = replace(cost, metric=replace(cost.metric, name="reward", lower_is_worse=True))
    limit = replace(latency, metric=replace(latency.metric, name="limit", against=Against.LIMIT, limit=500.0))
    found = await collector.slowest_pods(NOW, [latency, cost, reward, limit, want("a")])
    assert found == {
        latency.key: pytest.approx(2.0, abs=0.1),
        cost.key: pytest.approx(2.0, abs=0.1),
        reward.key: pytest.approx(1.0, abs=0.1),
    }
    assert sum("[60m:1m]" in query for query in prometheus.asked) == len(prometheus.asked) == 6


@pytest.mark.parametrize("answer", [NoData(Reason.SERIES_ABSENT, "none"), Failed(Reason.QUERY_FAILED, "broken")])
async def test_of_pods_that_cannot_be_read_nothing_is_known(answer: Answer) -> None:
    prometheus = Prometheus()
    prometheus.answer = lambda _query, _at: answer
    collector = Collector(prometheus, CATALOG, patience=60.0)  # type: ignore[arg-type]
    wants = [want("a"), want("a", TemplateRef("request-latency"), "latency")]
    assert await collector.slowest_pods(NOW, wants) == await collector.overdispersion(NOW, wants) == {}


async def test_a_late_tick_is_given_to_the_very_same_want_alone() -> None:
    prometheus, slow = Prometheus(), want("b", ValueQuery("max(a{ {{.candidate}} })"), "mine")
    prometheus.hold = asyncio.Event()
    prometheus.answer = lambda query, at: Value((Series({}, (at,), (3.0 if "b-3" in query else 2.0,)),))
    collector = Collector(prometheus, CATALOG, patience=0.05)  # type: ignore[arg-type]
    assert await collector.collect(NOW, [slow]) == {}
    prometheus.hold.set()
    await asyncio.wait(collector._tasks)
    late = (await collector.collect(NOW + 5.0, [slow]))[slow.key]
    assert isinstance(late, ValueTick)
    assert (late.at, late.value) == (NOW - 1.0, 2.0)
    prometheus.hold.clear()
    assert await collector.collect(NOW, [slow]) == {}
    prometheus.hold.set()
    newer = replace(slow, subject="b-3")
    collector._patience = 60.0
    tick = (await collector.collect(NOW, [newer]))[newer.key]
    assert isinstance(tick, ValueTick)
    assert tick.value == 3.0
    prometheus.hold.clear()
    collector._patience = 0.05
    assert await collector.collect(NOW, [slow]) == {}
    prometheus.hold.set()
    await asyncio.wait(collector._tasks)
    broken = want("b", BROKEN, "mine")
    assert isinstance((await collector.collect(NOW, [broken]))[broken.key], NoData), "as it is written now"


async def test_nothing_is_kept_of_namespaces_that_ask_no_more() -> None:
    collector = Collector(Prometheus(), CATALOG, patience=60.0)  # type: ignore[arg-type]
    query = RatioQuery("envoy_serin_failures{ {{.version}} }", "envoy_serin_attempts{ {{.version}} }")
    own = Metric("mine", query, Severity.MAJOR, Against.STABLE)
    for number in range(50):
        mine = Want(f"space-{number}", "a", "a-2", "a-1", own, NOW - 100.0)
        await collector.collect(NOW + number * REMEMBERED, [want("a"), mine])
    assert collector._known.keys() == {"", "space-49"}
    assert collector.scrape_interval("shop", want("a").metric) == 10.0


async def test_a_collection_that_is_cancelled_leaves_nothing_under_way() -> None:
    prometheus = Prometheus()
    prometheus.hold = asyncio.Event()
    collector = Collector(prometheus, CATALOG, patience=60.0)  # type: ignore[arg-type]
    collecting = asyncio.create_task(
        collector.collect(NOW, [want("b", ValueQuery("max(a{ {{.candidate}} })"), "mine")])
    )
    await prometheus.held.wait()
    under_way = list(collector._tasks)
    collecting.cancel()
    await asyncio.gather(collecting, *under_way, return_exceptions=True)
    assert [task.cancelled() for task in under_way] == [True]


async def test_windows_of_the_past_hold_up_nobodys_evidence() -> None:
    """They are many samples, also for built-in templates, whose other queries are waited for."""
    prometheus, asked = Prometheus(), PastRequest(3_600.0, NOW, (), 3_600.0, own=True)
    free = asyncio.Event()
    answer = prometheus.query

    async def query(text: str, at: float, namespace: str) -> Answer:
        if "increase(" in text or "count_over_time(" in text:
            await free.wait()
            return Value((Series({"serin_namespace": "shop", "serin_model_deployment": "b"}, (at,), (20.0,)),))
        return await answer(text, at, namespace)

    prometheus.query = query  # type: ignore[method-assign]
    collector = Collector(prometheus, CATALOG, patience=600.0)  # type: ignore[arg-type]
    rollout, watched = want("a"), replace(want("b"), baseline=None, past=asked)
    first = await asyncio.wait_for(collector.collect(NOW, [rollout, watched]), 60.0)
    assert isinstance(first[rollout.key], RatioTick)
    assert watched.key not in first
    free.set()
    while watched.key not in (later := await collector.collect(NOW, [watched])):
        pass
    assert isinstance(later[watched.key], PastTick)


async def test_windows_of_the_past_are_read_one_query_at_a_time() -> None:
    """However many windows users think of: else they would fill the queue in which a rollout's evidence waits."""
    prometheus, under_way, most = Prometheus(), 0, 0

    async def query(_text: str, at: float, namespace: str) -> Answer:
        nonlocal under_way, most
        assert namespace == ""
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.0)
        under_way -= 1
        return Value((Series({"serin_namespace": "shop", "serin_model_deployment": "b"}, (at,), (20.0,)),))

    prometheus.query = query  # type: ignore[method-assign]
    collector = Collector(prometheus, CATALOG, patience=60.0)  # type: ignore[arg-type]
    wants = [
        replace(want(f"m{hours}"), baseline=None, past=PastRequest(hours * 3_600.0, NOW, (), 3_600.0, own=True))
        for hours in range(1, 9)
    ]
    assert len(await collector.collect(NOW, wants)) == 8
    assert most == 1


def test_what_was_collected_tells_when_there_is_something_new() -> None:
    """Scraped every 10 s; the newest scrape that can be counted is of 3 s before NOW less an interval."""
    prometheus, counters = Prometheus(), Prometheus()._counters
    prometheus.answer = lambda query, at: counters(query, at - 3.0)
    collector = Collector(prometheus, CATALOG)  # type: ignore[arg-type]
    assert collector.in_step(NOW + 10.0, 5.0) == NOW + 10.0, "nothing is known yet"
    asyncio.run(collector.collect(NOW, [want("a")]))
    assert collector.in_step(NOW + 10.0, 5.0) == pytest.approx(NOW + 7.0 + A_MOMENT)
    assert collector.in_step(NOW + 13.0, 5.0) == pytest.approx(NOW + 17.0 + A_MOMENT)
    assert collector.in_step(NOW + 1.0, 0.5) == NOW + 1.0, "who looks more often than is scraped goes on so"
    assert collector.in_step(NOW + 300.0, 5.0) == NOW + 300.0, "that is too long ago"


def test_who_has_many_targets_makes_nobody_elses_collections_wait() -> None:
    """Every two moments are compared in the loop that all deployments share."""
    prometheus, counters = Prometheus(), Prometheus()._counters

    def answer(query: str, at: float) -> Value:
        each = [
            replace(one, labels={**one.labels, "instance": str(n)})
            for n in range(200)
            for one in counters(query, at).series
        ]
        return Value(tuple(each))

    prometheus.answer = answer
    collector = Collector(prometheus, CATALOG)  # type: ignore[arg-type]
    asyncio.run(collector.collect(NOW, [want("a")]))
    kept = [len(newest) for known in collector._known.values() for _, newest in known.scrapes()]
    assert kept == [MAX_MOMENTS]
    assert collector.in_step(NOW + 12.0, 5.0) == pytest.approx(NOW + 10.0 + A_MOMENT)
