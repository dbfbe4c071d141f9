"""Readings of router pods: counted from pod to pod, and how they and Prometheus go on from each other."""

import pytest

from serin.analysis.types import HistogramTick, NoData, RatioTick
from serin.api.conditions import Reason
from serin.api.spec import Metric, TemplateRef
from serin.api.verdicts import Against, Severity
from serin.metrics.answers import Series
from serin.metrics.counting import TIME_TOLERANCE
from serin.metrics.live import Past, base_of, can_be_read, continued, live_tick
from serin.metrics.pod_readings import Base, Begun, PodReading, as_values, is_reading, stamp
from serin.metrics.readings import Row
from serin.metrics.sources import RouterSource, router_source
from serin.metrics.ticks import ArmRows, Window, ratio_tick, without_memory
from serin.metrics.wants import Want
from tests.catalog import CATALOG

NOW = 1_800_000_000.0
PLACE = ("shop", "fraud")
ERRORS = Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE)
LATENCY = Metric("latency", TemplateRef("request-latency"), Severity.MAJOR, Against.STABLE)
Counts = tuple[float, float, float, float]  # of b: attempts and failures; of a: the same


def version(snapshot: str) -> dict[str, str]:
    return {"serin_namespace": "shop", "serin_model_deployment": "fraud", "serin_snapshot": snapshot}


def source_of(metric: Metric) -> RouterSource:
    found = router_source(metric, None, CATALOG)
    assert found is not None
    assert can_be_read(found)
    return found


SOURCE = source_of(ERRORS)


def want(since: float = NOW, metric: Metric = ERRORS) -> Want:
    return Want(*PLACE, "b", "a", metric, since, counted=True)


def shown(counts: Counts) -> list[tuple[str, dict[str, str], float]]:
    """Series with their first increment, and others that no metric reads."""
    found: list[tuple[str, dict[str, str], float]] = []
    for snapshot, (attempts, failures) in (("b", counts[:2]), ("a", counts[2:])):
        found.append(("envoy_cluster_membership_total", version(snapshot), 1.0))
        first = {**version(snapshot), "serin_attempt": "first", "serin_slot": "0"}
        numbers = (("envoy_serin_attempts", attempts), ("envoy_serin_failures", failures))
        found += [(name, first, value) for name, value in numbers if value]
        found.append(("envoy_serin_attempts", {**first, "serin_attempt": "shield"}, 99.0))
    return found


def pod(counts: Counts, *, at: float, began: float = 0.0, name: str = "router-1", time: float = NOW) -> PodReading:
    return PodReading(f"{name}:9902", began, at, time, frozenset((PLACE,)), as_values(shown(counts)))


def counted(tick: object) -> Counts:
    assert isinstance(tick, RatioTick)
    return tick.candidate.requests, tick.candidate.bad, tick.stable.requests, tick.stable.bad


def tick_of(base: Base, now: Base, at: float = NOW + 1.0, joined: float = 50.0, since: float = NOW) -> object:
    return live_tick(SOURCE, want(since), base, now, at, joined, 1.0)


def test_a_reading_has_a_time_that_no_sample_has() -> None:
    for moment in (NOW, NOW + 0.0004, NOW + 0.0009999, NOW + 0.5):
        at = stamp(moment)
        assert is_reading(at)
        assert abs(at - round(at, 3)) > TIME_TOLERANCE
        assert not is_reading(round(moment, 3))


def test_each_pod_is_counted_by_itself() -> None:
    base = {"x": pod((10, 0, 100, 1), at=60.0), "y": pod((5, 1, 7, 0), at=60.0)}
    now = {"x": pod((13, 2, 110, 1), at=61.0), "y": pod((5, 1, 9, 0), at=61.0)}
    tick = tick_of(base, now)
    assert counted(tick) == (3, 2, 12, 0)
    assert isinstance(tick, RatioTick)
    assert tick.at == NOW + 1.0


def test_a_process_that_restarted_counts_from_nothing() -> None:
    base = {"x": pod((10, 4, 3, 0), at=60.0)}
    assert counted(tick_of(base, {"x": pod((7, 5, 4, 0), at=70.0, began=65.0)})) == (7, 5, 4, 0)


def test_a_clock_that_was_set_is_no_restart() -> None:
    base = {"x": pod((10, 4, 3, 0), at=60.0)}
    assert counted(tick_of(base, {"x": pod((11, 4, 3, 0), at=70.0, began=65.0)})) == (1, 0, 0, 0)


def test_a_pod_that_is_gone_counts_no_more_and_a_new_one_from_nothing() -> None:
    base = {"x": pod((10, 4, 3, 0), at=60.0)}
    assert counted(tick_of(base, {"new": pod((2, 0, 9, 1), at=61.0, began=60.0)})) == (2, 0, 9, 1)


def test_a_pod_that_may_have_been_counted_before_is_left_to_prometheus() -> None:
    base = {"x": pod((10, 4, 3, 0), at=60.0)}
    now = {"x": pod((11, 4, 3, 0), at=61.0), "y": pod((2, 0, 9, 1), at=61.0, began=50.5)}
    assert tick_of(base, now) is None
    elsewhere = {"x": pod((11, 4, 3, 0), at=61.0)}
    assert tick_of({"x": PodReading("x:9902", 0.0, 60.0, NOW, frozenset((("bank", "fraud"),)), {})}, elsewhere) is None


def test_without_a_version_or_any_time_prometheus_says_what_there_is() -> None:
    base = {"x": pod((10, 4, 3, 0), at=60.0)}
    assert tick_of(base, base, at=NOW) is None
    assert tick_of(base, {"x": PodReading("x:9902", 0.0, 61.0, NOW, frozenset((PLACE,)), {})}) is None
    idle = tick_of(base, {"x": pod((10, 4, 3, 0), at=61.0)})
    assert isinstance(idle, NoData)
    assert (idle.reason, idle.at) == (Reason.NO_TRAFFIC, NOW + 1.0)


def test_buckets_are_counted_too() -> None:
    def reading(at: float, *counts: float) -> PodReading:
        series = [("envoy_cluster_membership_total", version(one), 1.0) for one in "ab"]
        for snapshot in "ab":
            labels = {**version(snapshot), "serin_attempt": "first"}
            bounds = zip(("10", "+Inf"), counts, strict=True)
            series += [("envoy_serin_milliseconds_bucket", {**labels, "le": le}, count) for le, count in bounds]
        return PodReading("x:9902", 0.0, at, NOW, frozenset((PLACE,)), as_values(series))

    base, now = {"x": reading(60.0, 3, 4)}, {"x": reading(61.0, 5, 9)}
    tick = live_tick(source_of(LATENCY), want(metric=LATENCY), base, now, NOW + 1.0, 50.0, 1.0)
    assert isinstance(tick, HistogramTick)
    assert (tick.candidate, tick.stable, tick.unit) == ((2, 3), (2, 3), "ms")


def rows(name: str, *samples: tuple[float, Counts], job: str = "router") -> list[ArmRows]:
    """Both arms as Prometheus has scraped a pod: `samples` by seconds after NOW."""
    arms = []
    for snapshot, place in (("b", 0), ("a", 2)):
        labels = {**version(snapshot), "instance": f"{name}:9902", "job": job, "namespace": "serin-system"}
        first = {**labels, "serin_attempt": "first", "serin_slot": "0"}

        def row(metric: str, labels: dict[str, str], values: list[float]) -> list[Row]:
            there = [(NOW + at, value) for (at, _), value in zip(samples, values, strict=True) if value]
            if not there:
                return []
            times, numbers = zip(*there, strict=True)
            starts = frozenset(times[:1]) if len(there) < len(samples) else frozenset()
            return [Row(1, Series({**labels, "__name__": metric}, times, numbers), starts)]

        total = row("envoy_serin_attempts", first, [counts[place] for _, counts in samples])
        bad = row("envoy_serin_failures", first, [counts[place + 1] for _, counts in samples])
        there = row("envoy_cluster_membership_total", labels, [1.0 for _ in samples])
        arms.append(ArmRows(snapshot, total, bad, there))
    return arms


def joined(*pods: list[ArmRows]) -> list[ArmRows]:
    return [
        ArmRows(
            arms[0].snapshot,
            [row for arm in arms for row in arm.total],
            [row for arm in arms for row in arm.bad],
            [row for arm in arms for row in arm.presence],
        )
        for arms in zip(*pods, strict=True)
    ]


def counted_on(base: Base, arms: list[ArmRows], since: float = NOW, until: float = NOW + 5.0) -> object:
    window = Window(since, until, 1.0)
    subject, stable = continued(Begun(SOURCE, base), want(since).owners, arms, window)
    if max(subject.newest, stable.newest) <= since:
        return None
    return ratio_tick(subject, stable, window, {})


def test_prometheus_counts_on_from_a_reading() -> None:
    base = {"x": pod((10, 2, 100, 1), at=60.0, name="x")}
    arms = rows("x", (-0.4, (7, 0, 90, 1)), (0.6, (12, 3, 103, 1)), (1.6, (14, 3, 108, 2)))
    assert counted(counted_on(base, arms)) == (4, 1, 8, 1)


def test_a_scrape_that_shows_less_was_made_before_the_reading() -> None:
    base = {"x": pod((10, 2, 100, 1), at=60.0, name="x")}
    early = rows("x", (-0.9, (7, 0, 90, 1)), (0.1, (9, 2, 99, 1)))
    assert counted_on(base, early) is None
    assert counted(counted_on(base, rows("x", (0.1, (9, 2, 99, 1)), (1.1, (11, 2, 104, 1))))) == (1, 0, 4, 0)


def test_what_was_read_and_is_not_scraped_yet_is_counted_once() -> None:
    """The evidence then ends at x's scrape, and the next tick counts y from its last one."""
    base = {"x": pod((10, 2, 100, 1), at=60.0, name="x"), "y": pod((20, 3, 200, 0), at=60.0, name="y")}
    arms = joined(rows("x", (0.6, (19, 4, 190, 2))), rows("y", (-0.4, (18, 0, 190, 0))))
    soon = counted_on(base, arms)  # y's failures would be fewer than none
    assert isinstance(soon, NoData)
    assert (soon.reason, soon.at) == (Reason.PARTIAL, None)
    arms = joined(rows("x", (0.6, (22, 9, 190, 2))), rows("y", (-0.4, (18, 0, 190, 0))))
    assert counted(counted_on(base, arms)) == (12 - 2, 7 - 3, 90 - 10, 1)


def test_what_was_scraped_after_the_reading_of_a_slow_pod_is_counted() -> None:
    """Evidence ends 2 s after y was read, and y is not scraped again before x is: the next tick counts from there."""
    slow = pod((20, 3, 200, 0), at=58.0, name="y", time=NOW - 2.0)
    base = {"x": pod((10, 2, 100, 1), at=60.0, name="x"), "y": slow}
    arms = joined(rows("x", (0.6, (12, 3, 103, 1))), rows("y", (-0.4, (24, 3, 207, 1))))
    assert counted(counted_on(base, arms)) == (2 + 4, 1 + 0, 3 + 7, 0 + 1)


def test_a_restart_long_after_a_reading_counts_from_nothing() -> None:
    base = {"x": pod((10, 2, 100, 1), at=60.0, name="x")}
    arms = rows("x", (0.6, (11, 2, 101, 1)), (12.0, (3, 1, 4, 0)))
    assert counted(counted_on(base, arms, until=NOW + 15.0)) == (1 + 3, 0 + 1, 1 + 4, 0)


def test_whoever_does_not_know_a_reading_counts_nothing_twice() -> None:
    since = stamp(NOW)
    arms = rows("x", (-0.9, (7, 0, 90, 1)), (0.6, (12, 3, 103, 1)), (1.6, (14, 3, 108, 2)), (2.6, (15, 4, 109, 2)))
    assert not any(arm.shows(since) for arm in arms)
    window = Window(since, NOW + 5.0, 1.0)
    subject, stable = without_memory(arms, window)
    # The scrape of 0.6 s after may have been made before, by another clock.
    assert counted(ratio_tick(subject, stable, window, {})) == (1, 1, 1, 0)


def begins(now: Base, arms: list[ArmRows], *later: dict[str, str], moment: float = NOW + 1.0) -> Base | None:
    return base_of(SOURCE, want(), Past(arms, later), now, moment)


def test_readings_go_on_from_what_prometheus_has_counted() -> None:
    now = {"x": pod((10, 2, 100, 1), at=60.0, name="x")}
    base = begins(now, rows("x", (-0.4, (7, 0, 90, 1))))
    assert base is not None
    assert counted(tick_of(base, now)) == (3, 2, 10, 0)


@pytest.mark.parametrize("why", ["young", "less", "stranger"])
def test_readings_do_not_begin_where_something_is_not_known(why: str) -> None:
    arms = rows("x", (-0.4, (7, 0, 90, 1)))
    now = {"x": pod((10, 2, 100, 1), at=60.0, began=57.0 if why == "young" else 0.0, name="x")}
    if why == "less":
        now = {"x": pod((6, 2, 100, 1), at=60.0, name="x")}
    later = [{"instance": "y:9902", "job": "router"}] if why == "stranger" else []
    assert begins(now, arms, *later) is None


def test_a_pod_that_is_younger_than_the_evidence_has_counted_nothing_of_it() -> None:
    arms = rows("x", (-0.4, (7, 0, 90, 1)))
    now = {"x": pod((10, 2, 100, 1), at=60.0, name="x"), "new": pod((4, 0, 5, 0), at=60.0, began=58.0, name="new")}
    assert begins(now, arms) is None
    base = begins(now, arms, moment=NOW + 10.0)
    assert base is not None
    assert counted(tick_of(base, now)) == (3 + 4, 2, 10 + 5, 0)
