"""A process that several jobs scrape counts once, whoever missed what."""

import random
from collections.abc import Mapping, Sequence

import pytest

from serin.metrics.answers import Series
from serin.metrics.counting import TIME_TOLERANCE, cut, find_start_times, increase
from serin.metrics.duplicates import counters_of, first_of_each, merge
from serin.metrics.readings import tabulate

OWN = {
    "__name__": "requests",
    "serin_namespace": "shop",
    "serin_model_deployment": "fraud",
    "serin_snapshot": "fraud-b",
}
ANNOTATED = {"job": "pods", "instance": "10.0.0.5:9902", "namespace": "serin-system", "pod": "router-x"}
MONITORED = {**ANNOTATED, "job": "serin-system/router", "container": "envoy", "endpoint": "metrics"}


def series(target: Mapping[str, str], values: Sequence[float] = (1.0,), **labels: str) -> Series:
    return Series({**OWN, **target, **labels}, tuple(map(float, range(len(values)))), tuple(values))


def same(*targets: Mapping[str, str]) -> bool:
    """Whether each counter of these targets is one; every target has two counters."""
    found = [series(target, code=code) for target in targets for code in ("200", "500")]
    distinct = len(set(counters_of(found)))
    assert distinct in (2, 2 * len(targets))
    assert len(merge([(one, frozenset()) for one in found])) == len(first_of_each(found)) == distinct
    return distinct == 2


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({}, True),
        ({"instance": "router-x"}, True),
        ({"instance": "router-x", "endpoint": "other", "node": "n"}, True),
        ({"job": "pods"}, False),
        ({"pod": "router-y"}, False),
        ({"instance": "10.0.0.5:8080"}, False),
        ({"instance": "10.0.0.6:9902", "pod": "router-y"}, False),
        ({"instance": "10.0.0.6:9902", "namespace": "other"}, False),
    ],
)
def test_which_targets_are_the_same_process(others: Mapping[str, str], expected: bool) -> None:
    if others.get("job") == "pods":
        assert not same(ANNOTATED, {**MONITORED, **others, "instance": "10.0.0.5:80"})
        return
    assert same(ANNOTATED, {**MONITORED, **others}) is expected


def test_containers_of_a_pod_and_pods_of_other_labels_are_apart() -> None:
    assert not same(MONITORED, {**MONITORED, "job": "b", "instance": "router-x", "container": "sidecar"})
    bare = {"job": "a", "instance": "10.0.0.5:80"}
    assert same(bare, {**bare, "job": "b"}, {**bare, "job": "c", "zone": "z"})
    assert not same(bare, {**bare, "job": "b", "instance": "10.0.0.6:80"})


def test_labels_of_the_exporter_keep_counters_apart() -> None:
    found = [series(MONITORED, le="1"), series(MONITORED, le="2"), series(ANNOTATED, le="1"), series(ANNOTATED, le="2")]
    one, two, again, more = counters_of(found)
    assert (one, two) == (again, more)
    assert one != two


def test_rows_of_two_jobs_are_one_row() -> None:
    tables = tabulate([[series(ANNOTATED, [1.0, 2.0, 3.0]), series(MONITORED, [1.0, 2.0, 4.0])]])
    [owner] = tables[0].owners
    rows = tables[0]._rows[owner]
    assert [one.values for one, _ in rows] == [(1.0, 2.0, 4.0)]
    assert rows[0][0].labels["job"] == "pods"


def test_a_number_that_is_none_is_seen() -> None:
    [(merged, _)] = merge(
        [(series(ANNOTATED, [1.0, 2.0]), frozenset()), (series(MONITORED, [1.0, float("nan")]), frozenset())]
    )
    assert str(merged.values[-1]) == "nan"


class Process:
    """A counter that grows, and restarts; scraped by several jobs at their own times, some scrapes missed."""

    def __init__(self, seed: int, restarts: bool) -> None:
        self.chance = random.Random(seed)
        self.steps: list[tuple[float, float, int]] = []  # time, value after it, truth after it
        value = truth = 0
        for step in range(2000):
            if restarts and self.chance.random() < 0.004:
                value = 0
            grown = self.chance.choice((0, 0, 1, 7))
            value, truth = value + grown, truth + grown
            self.steps.append((step * 0.1, float(value), truth))

    def at(self, time: float) -> tuple[float, int]:
        _, value, truth = self.steps[int(time * 10)]
        return value, truth

    def scraped(self, target: Mapping[str, str], phase: float, missed: float) -> list[Series]:
        """The counter, and a gauge that tells of each scrape."""
        times = [5.0 * n + phase for n in range(39) if self.chance.random() >= missed]
        values = tuple(self.at(time)[0] for time in times)
        return [
            Series({**OWN, **target}, tuple(times), values),
            Series({**OWN, **target, "__name__": "presence"}, tuple(times), tuple(1.0 for _ in times)),
        ]


def counted(found: Sequence[Series], chance: random.Random, since: float) -> tuple[float, float]:
    """Sum over collections at random moments, each with what it can see; and the newest sample counted."""
    total, until = 0.0, since
    while until < 200.0:
        until += chance.uniform(1.0, 25.0)
        seen = [
            Series(o.labels, o.times[k:], o.values[k:]) for o in cut(found, until) for k in [_from(o, since - 20.0)]
        ]
        seen = [one for one in seen if one.times]
        merged = merge(list(zip(seen, find_start_times(seen), strict=True)))
        rows = [(one, starts) for one, starts in merged if one.labels["__name__"] == "requests"]
        assert len(rows) <= 1
        for one, starts in rows:
            if one.times[-1] > since + TIME_TOLERANCE:
                total += increase(one, starts, since, None)
                since = one.times[-1]
    return total, since


def _from(one: Series, start: float) -> int:
    return sum(time <= start for time in one.times)


@pytest.mark.parametrize("seed", range(30))
def test_collections_add_up_to_what_was_counted(seed: int) -> None:
    process = Process(seed, restarts=False)
    jobs = [(ANNOTATED, 0.3, 0.3), (MONITORED, 2.9, 0.5), ({**MONITORED, "job": "third"}, 4.1, 0.1)]
    found = [one for target, phase, missed in jobs for one in process.scraped(target, phase, missed)]
    first = max(min(one.times) for one in found)
    since = max(time for one in found for time in one.times if time <= first)
    total, newest = counted(found, process.chance, since)
    assert total == process.at(newest)[1] - process.at(since)[1] > 100


@pytest.mark.parametrize("seed", range(30))
def test_restarts_make_nothing_count_twice(seed: int) -> None:
    process = Process(seed, restarts=True)
    jobs = [(ANNOTATED, 0.3, 0.2), (MONITORED, 2.9, 0.2)]
    found = [one for target, phase, missed in jobs for one in process.scraped(target, phase, missed)]
    first = max(min(one.times) for one in found)
    since = max(time for one in found for time in one.times if time <= first)
    total, newest = counted(found, process.chance, since)
    truth = process.at(newest)[1] - process.at(since)[1]
    assert 0.75 * truth < total <= truth
