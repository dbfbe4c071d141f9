"""What serves beside its own past, read from a real Prometheus that remembers five weeks: a day that is worse is found.

Three deployments with the same metrics and a day and a week in their numbers. Nothing is wrong with `spam`; `fraud`
misses more in the last day; of `gap` nothing was scraped for half of that day.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping

import pytest

from serin.analysis import engine
from serin.analysis.types import MetricVerdict, NoData, PastTick, Policy
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.spec import ConcentrationQuery, MeanQuery, Metric, RatioQuery, TemplateRef
from serin.api.verdicts import Against, Severity, Verdict
from serin.evaluation.past import DAY, HOUR, PARTS, past_request
from serin.metrics.collector import Collector, Want
from serin.metrics.prometheus import Prometheus, Settings
from tests.catalog import CATALOG
from tests.integration.prometheus_server import PrometheusServer, Sample, write_history

pytestmark = pytest.mark.usefixtures("debian_packages")

SCRAPED = 120.0  # seconds between two
WEEKS = 5
DEPLOYMENTS = ("fraud", "spam", "gap")
PROMOTED = 10 * DAY  # before now
MISSED = RatioQuery("missed_total{ {{.version}} }", "seen_total{ {{.version}} }")
TOKENS = MeanQuery("tokens_sum{ {{.version}} }", "tokens_count{ {{.version}} }")
HISTOGRAM: JsonObject = {"histogram": {"buckets": "answer_seconds_bucket{ {{.version}} }", "unit": "s"}}
SHOWN = ConcentrationQuery("items_total{ {{.version}} }", "item")
ITEMS = {"a": 0.5, "b": 0.3, "c": 0.2}  # two are the same in 38% of cases
FEW = {"a": 0.9, "b": 0.05, "c": 0.05}  # and here in 81.5%
BOUNDS = {"0.1": 0.5, "0.5": 0.9, "1": 0.99, "+Inf": 1.0}


def live(now: float) -> Iterator[Sample]:
    """Five weeks; the version changed ten days ago. In the last day nine in ten answers of fraud are alike."""
    for name in DEPLOYMENTS:
        totals: dict[tuple[str, str], dict[str, float]] = {}
        for step in range(int(WEEKS * 7 * DAY / SCRAPED)):
            at = now - WEEKS * 7 * DAY + step * SCRAPED
            last_day = now - at <= DAY
            snapshot = f"{name}-new" if now - at <= PROMOTED else f"{name}-old"
            labels = {"serin_namespace": "shop", "serin_model_deployment": name, "serin_snapshot": snapshot}
            target = {**labels, "job": "models", "instance": f"{snapshot}:8080"}
            kept = totals.setdefault((name, snapshot), dict.fromkeys(("seen", "missed", "tokens"), 0.0))
            day, week = (math.sin(2 * math.pi * at / length) for length in (DAY, 7 * DAY))
            seen = round(400 * (1.5 + day))
            kept["seen"] += seen
            kept["missed"] += seen * 0.05 * (1 + 0.3 * day + 0.1 * week) * (1.6 if last_day and name == "fraud" else 1)
            kept["tokens"] += seen * (20 + 3 * day)
            if name == "gap" and now - at <= DAY / 2:
                continue
            yield "seen_total", target, kept["seen"], at
            yield "missed_total", target, round(kept["missed"]), at
            if name != "gap":
                for item, share in (FEW if last_day and name == "fraud" else ITEMS).items():
                    kept[item] = kept.get(item, 0.0) + round(seen * share)
                    yield "items_total", {**target, "item": item}, kept[item], at
            if name == "spam":
                yield "tokens_count", target, kept["seen"], at
                yield "tokens_sum", target, round(kept["tokens"]), at
                for bound, share in BOUNDS.items():
                    yield "answer_seconds_bucket", {**target, "le": bound}, round(kept["seen"] * share), at


@pytest.fixture(scope="module")
def now() -> float:
    """The last nine in the evening: how steeply the numbers rise, and so what is usual, is the same at any hour."""
    evening = 21 * HOUR
    return math.floor((time.time() - evening) / DAY) * DAY + evening


@pytest.fixture(scope="module")
def server(now: float, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    folder = tmp_path_factory.mktemp("prometheus")
    write_history(folder / "data", live(now), block="168h")
    server = PrometheusServer(folder, retention="60d").start()
    yield server
    server.stop()


@pytest.fixture
def collector(server: PrometheusServer) -> Iterator[Collector]:
    prometheus = Prometheus(Settings(server.url, timeout=60))
    yield Collector(prometheus, CATALOG, patience=120.0)
    prometheus.close()


def metric(
    against: Against, window: float, source: RatioQuery | MeanQuery | ConcentrationQuery | TemplateRef = MISSED
) -> Metric:
    severity = Severity.MINOR if against is Against.DAY else Severity.MAJOR  # a day says nothing of the version
    return Metric("missed", source, severity, against, window=window)


async def verdicts(
    collector: Collector,
    asked: Metric,
    now: float,
    deployments: Iterable[str] = DEPLOYMENTS,
    template: JsonObject | None = None,
) -> Mapping[str, MetricVerdict]:
    wants = [
        Want(
            "shop", name, f"{name}-new", None, asked, now - HOUR, template,
            past=past_request(asked, None, now - PROMOTED + HOUR, now),
        )
        for name in deployments
    ]  # fmt: skip
    found = await collector.collect(now, wants)
    policy = Policy("missed", Severity.MAJOR, asked.against, window=asked.seen_within)
    for tick in found.values():
        assert isinstance(tick, PastTick), tick
    return {want.deployment: engine.fold(policy, None, found[want.key]).verdict for want in wants}


async def test_a_day_that_is_worse_than_that_day_of_the_weeks_before_is_found(collector: Collector, now: float) -> None:
    found = await verdicts(collector, metric(Against.HISTORY, DAY), now)
    print("\n".join(one.message for one in found.values()))
    assert found["spam"].verdict is Verdict.PASS, "nothing is wrong with it"
    assert (found["fraud"].verdict, found["fraud"].reason) == (Verdict.FAIL_MINOR, Reason.WORSE_THAN_PAST)
    assert found["fraud"].estimate == pytest.approx(1.6, rel=0.1)
    assert "windows at this hour in the past four weeks" in found["fraud"].message
    assert found["gap"].verdict is Verdict.NO_DATA
    assert "of the last 24h, and minCoverage is 80.0%" in found["gap"].message


async def test_the_day_before_nothing_is_found(collector: Collector, now: float) -> None:
    found = await verdicts(collector, metric(Against.HISTORY, DAY), now - DAY - HOUR)
    assert {name: one.verdict for name, one in found.items()} == dict.fromkeys(DEPLOYMENTS, Verdict.PASS)


async def test_a_rise_since_the_day_before_is_found(collector: Collector, now: float) -> None:
    """What has changed for good is usual a day later; the last day of fraud began 24 hours ago."""
    asked = metric(Against.DAY, HOUR)
    found = await verdicts(collector, asked, now - 15 * HOUR, ("spam", "fraud"))
    print("\n".join(one.message for one in found.values()))
    assert found["spam"].verdict is Verdict.PASS
    assert (found["fraud"].verdict, found["fraud"].reason) == (Verdict.FAIL_MINOR, Reason.WORSE_THAN_PAST)
    assert "8 windows around this hour of the day before" in found["fraud"].message
    assert "of the requests are bad" in found["fraud"].message


@pytest.mark.parametrize("hours", range(0, 24, 4))
async def test_the_hours_of_a_day_differ_and_that_is_usual(collector: Collector, now: float, hours: int) -> None:
    found = await verdicts(collector, metric(Against.HISTORY, HOUR), now - hours * HOUR, ("spam",))
    assert found["spam"].verdict is Verdict.PASS, found["spam"].message


async def test_what_is_worse_than_its_first_day_is_found_and_it_is_read_in_parts(
    collector: Collector, now: float
) -> None:
    found = await verdicts(collector, metric(Against.SNAPSHOT, DAY), now, ("spam", "fraud"))
    assert found["spam"].verdict is Verdict.PASS
    assert f"from {PARTS} parts of its first day" in found["spam"].message
    assert found["fraud"].estimate == pytest.approx(1.6, rel=0.2)


async def test_means_and_times_have_a_past_as_well(collector: Collector, now: float) -> None:
    tokens = (await verdicts(collector, metric(Against.HISTORY, DAY, TOKENS), now, ("spam",)))["spam"]
    assert tokens.verdict is Verdict.PASS
    assert "stable's mean is 21" in tokens.message
    asked = metric(Against.HISTORY, DAY, TemplateRef("answer-seconds"))
    times = (await verdicts(collector, asked, now, ("spam",), HISTOGRAM))["spam"]
    assert times.verdict is Verdict.PASS
    assert "95% of stable's requests took up to 0.77" in times.message


@pytest.mark.parametrize("against", [Against.HISTORY, Against.SNAPSHOT])
async def test_answers_that_are_ever_the_same_are_found(collector: Collector, now: float, against: Against) -> None:
    found = await verdicts(collector, metric(against, DAY, SHOWN), now, ("spam", "fraud"))
    print("\n".join(one.message for one in found.values()))
    assert found["spam"].verdict is Verdict.PASS
    assert "two of stable's answers are the same in 38.0% of cases" in found["spam"].message
    assert (found["fraud"].verdict, found["fraud"].reason) == (Verdict.FAIL_MINOR, Reason.WORSE_THAN_PAST)
    assert found["fraud"].estimate == pytest.approx(0.815 / 0.38, rel=0.02)


async def test_the_queries_do_not_grow_with_the_deployments_and_the_past_is_read_once_an_hour(
    collector: Collector, now: float
) -> None:
    asked = metric(Against.HISTORY, HOUR)
    await verdicts(collector, asked, now, ("spam",))
    one = collector.queries
    await verdicts(collector, asked, now)
    assert collector.queries == 2 * one, "three deployments ask as much as one"
    evidence = {"at": now - 2 * 60.0, "slot": math.floor(now / HOUR) * HOUR}
    known = past_request(asked, evidence, now - PROMOTED, now)
    wants = [Want("shop", name, f"{name}-new", None, asked, now - HOUR, past=known) for name in DEPLOYMENTS]
    assert len(await collector.collect(now, wants)) == 3
    assert collector.queries == 2 * one + 3, "all, missed, and how much of the hour has data"


async def test_what_is_not_there_has_no_data(collector: Collector, now: float) -> None:
    asked = metric(Against.HISTORY, HOUR, RatioQuery("none_total{ {{.version}} }", "nobody_total{ {{.version}} }"))
    found = await verdicts(collector, asked, now, ("spam",))
    assert found["spam"].verdict is Verdict.NO_DATA


async def test_a_query_that_fails_is_that_metrics_affair(now: float) -> None:
    prometheus = Prometheus(Settings("http://127.0.0.1:9", timeout=2))
    asked = metric(Against.HISTORY, HOUR)
    want = Want(
        "shop", "spam", "spam-new", None, asked, now - HOUR, past=past_request(asked, None, now - PROMOTED, now)
    )
    found = await Collector(prometheus, CATALOG).collect(now, [want])
    prometheus.close()
    tick = found[want.key]
    assert isinstance(tick, NoData)
    assert tick.reason is Reason.PROMETHEUS_UNREACHABLE
