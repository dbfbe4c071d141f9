"""What clients got of a version: of its own series, after it began, part by part."""

import re
from collections.abc import Mapping

import pytest

from serin.analysis.types import NoData
from serin.api.conditions import Reason
from serin.api.state import ClientRequests
from serin.metrics.answers import Answer, Failed, Series, Value
from serin.metrics.clients import Left, count_clients, reading_of
from serin.metrics.promql import Matcher
from serin.routers.envoy.series import CLIENTS

T = 1_700_000_000.0
SCRAPE = 10.0


def series(name: str, values: Mapping[float, float], pod: str = "router-0", **labels: str) -> Series:
    named = {"__name__": name, "job": "envoy", "instance": pod, "serin_namespace": "shop"}
    named |= {"serin_model_deployment": "fraud", "serin_snapshot": "fraud-2", **labels}
    return Series(named, tuple(values), tuple(values.values()))


def steady(name: str, per_scrape: float, begin: float = -300.0, end: float = 3600.0, **labels: str) -> Series:
    """A counter that is scraped all the time, and grows by so much between two scrapes."""
    count = int((end - begin) / SCRAPE) + 1
    times = [T + begin + SCRAPE * number for number in range(count)]
    return series(name, {at: per_scrape * number for number, at in enumerate(times)}, **labels)


class Server:
    """Answers with what its series have shown in the window that is asked for."""

    def __init__(self, *known: Series) -> None:
        self.known, self.asked = known, list[tuple[str, float]]()
        self.failure: Answer | None = None

    async def ask(self, query: str, at: float) -> Answer:
        self.asked.append((query, at))
        if self.failure:
            return self.failure
        window = float(re.findall(r"\[(\d+)s\]$", query)[0])
        cut = []
        for one in self.known:
            kept = [pair for pair in zip(one.times, one.values, strict=True) if at - window < pair[0] <= at]
            if kept and one.labels["__name__"] in query:
                cut.append(Series(one.labels, *zip(*kept, strict=True)))
        return Value(tuple(cut)) if cut else NoData(Reason.SERIES_ABSENT, "nothing")


READING = reading_of(CLIENTS.answers, CLIENTS.failures, CLIENTS.shielded, CLIENTS.presence, ())
PRESENT = steady("envoy_cluster_membership_total", 0.0)


async def count(server: Server, since: float = 0.0, until: float = 60.0) -> ClientRequests | NoData:
    return await count_clients(server.ask, READING, Left("shop", "fraud", "fraud-2", T + since, T + until))


async def test_a_version_is_counted_by_its_own_series_and_the_shield_by_whoever_answered() -> None:
    stable = {"serin_snapshot": "fraud-1"}
    server = Server(
        PRESENT,
        steady("envoy_serin_answers", 7.0),
        steady("envoy_serin_answers", 90.0, **stable),
        steady("envoy_serin_answer_failures", 1.0),
        steady("envoy_serin_attempts", 3.0, serin_attempt="shield", **stable),
        steady("envoy_serin_failures", 1.0, serin_attempt="shield", **stable),
        steady("envoy_serin_attempts", 50.0, serin_attempt="first"),
        steady("envoy_serin_failures", 40.0, serin_attempt="first"),
    )
    assert await count(server) == ClientRequests(42, 6, 12, T, T + 60.0)
    for query, _ in server.asked:
        assert 'serin_namespace="shop",serin_model_deployment="fraud"' in query


async def test_a_long_trial_is_counted_in_parts_and_each_request_once() -> None:
    server = Server(PRESENT, steady("envoy_serin_answers", 7.0))
    assert await count(server, 5.0, 3605.0) == ClientRequests(7 * 360, 0, 0, T + 5.0, T + 3600.0)
    assert [at - T for _, at in server.asked] == [905.0, 1805.0, 2705.0, 3605.0]


async def test_a_counter_that_appears_counts_from_nothing_and_one_that_begins_anew_goes_on() -> None:
    appeared = series("envoy_serin_answers", {T + 20.0: 5.0, T + 30.0: 9.0})
    again = series("envoy_serin_answers", {T - 10.0: 100.0, T + 10.0: 104.0, T + 20.0: 3.0}, pod="router-1")
    assert await count(Server(PRESENT, appeared, again)) == ClientRequests(9 + 4 + 3, 0, 0, T, T + 60.0)


async def test_what_prometheus_does_not_know_is_not_zero() -> None:
    nothing = await count(Server(steady("envoy_cluster_membership_total", 0.0, end=-10.0)))
    assert isinstance(nothing, NoData)
    begins_later = Server(steady("envoy_serin_answers", 7.0, begin=1000.0))
    assert isinstance(await count(begins_later, 0.0, 1800.0), NoData), "a part of the time is not there"
    server = Server(PRESENT)
    server.failure = Failed(Reason.PROMETHEUS_UNREACHABLE, "no answer")
    found = await count(server)
    assert isinstance(found, NoData)
    assert found.reason is Reason.PROMETHEUS_UNREACHABLE
    assert isinstance(await count(Server(PRESENT, steady("envoy_serin_answers", float("nan")))), NoData)


@pytest.mark.parametrize(
    ("trusted", "words"), [(Matcher("namespace", "=", "serin-system"), 'namespace="serin-system"')]
)
async def test_only_series_that_are_the_routers_count(trusted: Matcher, words: str) -> None:
    reading = reading_of(CLIENTS.answers, CLIENTS.failures, CLIENTS.shielded, CLIENTS.presence, (trusted,))
    server = Server(PRESENT)
    await count_clients(server.ask, reading, Left("shop", "fraud", "fraud-2", T, T + 60.0))
    assert all(words in query for query, _ in server.asked)
