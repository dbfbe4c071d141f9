"""The traffic before a rollout, from a real Prometheus with a written history of which every count is known."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serin.analysis.traffic import Traffic
from serin.analysis.types import NoData
from serin.api.conditions import Reason
from serin.api.spec import Metric, RatioQuery, TemplateRef
from serin.api.verdicts import Against, Severity
from serin.metrics.prometheus import Prometheus, Settings
from serin.metrics.sources import RatioSource, resolve
from serin.metrics.traffic import measure
from tests.catalog import CATALOG
from tests.integration.prometheus_server import PrometheusServer, Sample, write_history

pytestmark = pytest.mark.usefixtures("debian_packages")

NOW = float(int(time.time()) - 60)
INTERVAL = 15.0
PLACE = ("shop", "fraud")


def source(metric: Metric) -> RatioSource:
    found = resolve(metric, None, CATALOG, "shop")
    assert isinstance(found, RatioSource)
    return found


ERRORS = source(Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE))
OWN = source(
    Metric(
        "own", RatioQuery("bad_total{ {{.version}} }", "all_total{ {{.version}} }"), Severity.CRITICAL, Against.STABLE
    )
)


def counter(
    name: str,
    snapshot: str,
    rate: float,
    *,
    seconds: float = 3600.0,
    until: float = 0.0,
    router: str = "a",
    base: float = 0.0,
    deployment: str = "fraud",
) -> Iterator[Sample]:
    """A counter that grew by `rate` a second for `seconds`, up to `until` seconds ago; it counted from `base`."""
    labels = {
        "serin_namespace": "shop",
        "serin_model_deployment": deployment,
        "serin_snapshot": snapshot,
        "serin_attempt": "first",
        "job": "router",
        "instance": router,
    }
    steps = int(seconds / INTERVAL)
    for step in range(steps + 1):
        yield name, labels, base + rate * INTERVAL * step, NOW - until - INTERVAL * (steps - step)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Deployments of one Prometheus: one for each of the tests below."""
    attempts, failures = "envoy_serin_attempts", "envoy_serin_failures"
    samples = [
        # Two routers, one of which went ten minutes ago and was replaced by another.
        *counter(attempts, "fraud-a", 20.0),
        *counter(failures, "fraud-a", 0.2),
        *counter(attempts, "fraud-a", 30.0, until=600.0, router="b", base=7.0),
        *counter(attempts, "fraud-a", 30.0, seconds=585.0, router="c"),
        # Stable since five minutes ago: before, most of the requests went to another version.
        *counter(attempts, "new-a", 40.0, until=300.0, deployment="new"),
        *counter(attempts, "new-b", 10.0, deployment="new"),
        *counter(attempts, "new-b", 40.0, seconds=285.0, router="b", deployment="new"),
        # Serves for two minutes only.
        *counter(attempts, "young-a", 12.0, seconds=120.0, deployment="young"),
        # Nobody asks.
        *counter(attempts, "quiet-a", 0.0, base=900.0, deployment="quiet"),
        # Its own counters.
        *counter("all_total", "own-a", 8.0, deployment="own"),
        *counter("bad_total", "own-a", 2.0, deployment="own"),
    ]
    folder = tmp_path_factory.mktemp("traffic")
    write_history(folder / "data", samples)
    running = PrometheusServer(folder).start()
    yield running
    running.stop()


@contextmanager
def asking(url: str) -> Iterator[Prometheus]:
    prometheus = Prometheus(Settings(url, timeout=120))
    yield prometheus
    prometheus.close()


def measured(server: PrometheusServer, *names: str, of: RatioSource = ERRORS) -> dict[str, Traffic]:
    with asking(server.url) as prometheus:
        found = asyncio.run(measure(prometheus.query, of, [("shop", name) for name in names], NOW))
    assert not isinstance(found, NoData)
    return {name: one for (_, name), one in found.items()}


def test_routers_that_come_and_go_do_not_distort_it(server: PrometheusServer) -> None:
    found = measured(server, "fraud")["fraud"]
    assert found.rate == pytest.approx(50.0, rel=0.03)
    assert found.bad == pytest.approx(0.2 / 50.0, rel=0.05)


def test_all_versions_count_together(server: PrometheusServer) -> None:
    assert measured(server, "new")["new"].rate == pytest.approx(50.0, rel=0.05)


def test_a_young_deployment_is_not_taken_for_a_quiet_one(server: PrometheusServer) -> None:
    assert measured(server, "young")["young"].rate == pytest.approx(12.0, rel=0.15)


def test_no_requests_are_known_and_no_series_are_not(server: PrometheusServer) -> None:
    assert measured(server, "quiet", "absent") == {"quiet": Traffic(0.0, 0.0)}


def test_a_users_own_counters_are_measured(server: PrometheusServer) -> None:
    found = measured(server, "own", of=OWN)["own"]
    assert (found.rate, found.bad) == (pytest.approx(8.0, rel=0.03), pytest.approx(0.25))


def test_one_batch_asks_for_many(server: PrometheusServer) -> None:
    with asking(server.url) as prometheus:
        places = [("shop", name) for name in ("fraud", "new", "young", *(f"other-{n}" for n in range(60)))]
        found = asyncio.run(measure(prometheus.query, ERRORS, places, NOW))
        assert not isinstance(found, NoData)
        assert {name for _, name in found} == {"fraud", "new", "young"}
        assert prometheus.usage.queries == 2, "fifty deployments at a time"


def test_prometheus_is_away(tmp_path: Path) -> None:
    with asking(PrometheusServer(tmp_path).url) as prometheus:
        found = asyncio.run(measure(prometheus.query, ERRORS, [PLACE], NOW))
    assert isinstance(found, NoData)
    assert found.reason is Reason.PROMETHEUS_UNREACHABLE
