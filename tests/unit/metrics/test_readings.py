"""Series sorted by owner: when each started is told by whatever else was scraped with it."""

from serin.metrics.answers import Series
from serin.metrics.readings import Pick, tabulate

OWNER = ("shop", "fraud", "fraud-a")


def series(name: str, *times: float) -> Series:
    owner = dict(zip(("serin_namespace", "serin_model_deployment", "serin_snapshot"), OWNER, strict=True))
    return Series({**owner, "__name__": name, "job": "router", "instance": "a"}, times, tuple(times))


def test_a_start_is_told_by_a_series_of_another_query_of_the_same_reading() -> None:
    requests, failures = tabulate([[series("requests", 10.0, 20.0, 30.0)], [series("failures", 20.0, 30.0)]])
    [row] = failures.rows(Pick(1, 1, "", ()), OWNER)
    assert row.start_times == {20.0}, "it was scraped at 10 s, and had not failed yet"
    [row] = requests.rows(Pick(1, 0, "", ()), OWNER)
    assert row.start_times == frozenset()
    assert list(requests.owners) == [OWNER]
