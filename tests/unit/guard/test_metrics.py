"""The page for Prometheus: what it costs does not grow with those who ask, and none of them keeps others away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serin.guard import metrics
from serin.guard.metrics import MOST_OF_ONE, MetricsPage

SERIES, LENGTH = 15_000, 1_000


class Large(Collector):
    """A page that is larger than what the kernel keeps of a connection. `written`: how often."""

    def __init__(self) -> None:
        self.written = 0

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that it is not written when it is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """As Prometheus is told."""
        self.written += 1
        family = GaugeMetricFamily("large", "Many.", labels=["number"])
        for number in range(SERIES):
            family.add_metric([f"{number:0{LENGTH}}"], 1.0)
        yield family


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[Large, int, aiohttp.ClientSession]]:
    registry, large = CollectorRegistry(), Large()
    registry.register(large)
    page = MetricsPage(registry)
    port = await page.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        try:
            yield large, port, client
        finally:
            await page.stop()


async def read(client: aiohttp.ClientSession, port: int) -> tuple[int, int]:
    """Status and length."""
    async with client.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return answer.status, len(await answer.read())


async def test_many_who_ask_at_once_cost_one_page_and_those_over_the_bound_are_told() -> None:
    async with serving() as (large, port, client):
        found = await asyncio.gather(*(read(client, port) for _ in range(16)))
        good = [length for status, length in found if status == 200]
        assert len(good) == MOST_OF_ONE
        assert min(good) == max(good) > SERIES * LENGTH
        assert {status for status, _ in found} == {200, 503}
        assert large.written == 1
        assert (await read(client, port))[0] == 200, "those that have read it leave room for others"
        assert large.written == 1


async def test_readers_that_hang_up_begin_no_second_page() -> None:
    async with serving() as (large, port, client):
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(0.02)
            writer.close()
        assert (await read(client, port))[0] == 200
        assert large.written == 1


async def test_a_page_is_written_again_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(metrics, "_TIMES", 0.0)
    async with serving() as (large, port, client):
        assert [await read(client, port) for _ in range(2)]
        assert large.written == 2


async def test_one_that_does_not_read_is_let_go_and_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_READ_SECONDS", 2.0)
    async with serving() as (_, port, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await read(client, port))[0] == 200
        with contextlib.suppress(ConnectionError):  # reset, with what has come until then
            async with asyncio.timeout(20):
                await asyncio.sleep(2.5)
                assert len(await reader.read()) < SERIES * LENGTH
        writer.close()
