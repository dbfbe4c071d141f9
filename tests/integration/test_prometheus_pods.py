"""Overdispersion read from a real Prometheus that holds an hour of the router's counts by pod."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serin.analysis.dispersion import UNKNOWN
from serin.api.spec import Metric, RatioQuery, TemplateRef
from serin.api.verdicts import Against, Severity
from serin.metrics.collector import Collector, Want
from serin.metrics.prometheus import Prometheus, Settings
from tests.catalog import CATALOG
from tests.integration.prometheus_server import PrometheusServer, Sample, write_history

pytestmark = pytest.mark.usefixtures("debian_packages")

INTERVAL, SCRAPES = 15, 260  # a little over an hour
ERRORS = Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE)
LATENCY = Metric("latency", TemplateRef("request-latency"), Severity.MAJOR, Against.STABLE)
OWN = Metric(
    "own", RatioQuery("wrong_total{ {{.version}} }", "answers_total{ {{.version}} }"), Severity.MAJOR, Against.STABLE
)
BURST = {"even": 1, "bursts": 6, "few-even": 1, "few-bursts": 6}  # bad requests that come together
PODS = {"even": 4, "bursts": 4, "few-even": 2, "few-bursts": 2}


def history(start: float) -> list[Sample]:
    """Pods serve about 20 requests/s, and fail 1 % of them, alone or in bursts; two router pods count half each."""
    rng = np.random.default_rng(1)
    samples: list[Sample] = []
    for name, burst in BURST.items():
        version = {"serin_namespace": "shop", "serin_model_deployment": name, "serin_snapshot": f"{name}-a"}
        for pod in range(PODS[name]):
            requests = rng.poisson(20 * INTERVAL, SCRAPES).cumsum()
            bad = burst * rng.binomial(20 * INTERVAL, 0.01 / burst, SCRAPES).cumsum()
            own = {**version, "job": "models", "instance": f"{name}-{pod}:8080"}
            for scrape in range(SCRAPES):
                at = start + scrape * INTERVAL
                for envoy in range(2):
                    seen = {**version, "job": "router", "instance": f"envoy-{envoy}:9902"}
                    seen |= {"serin_attempt": "first", "serin_slot": str(pod)}
                    samples.append(("envoy_serin_attempts", seen, float((requests[scrape] + envoy) // 2), at))
                    samples.append(("envoy_serin_failures", seen, float((bad[scrape] + envoy) // 2), at))
                samples.append(("answers_total", own, float(requests[scrape]), at))
                samples.append(("wrong_total", own, float(bad[scrape]), at))
    return samples


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrometheusServer, float]]:
    folder: Path = tmp_path_factory.mktemp("pods")
    # A whole hour: minutes are cut the same way in every run, so that what is measured is the same number.
    start = float((time.time() - 3 * 3600) // 3600 * 3600)
    write_history(folder / "data", history(start))
    prometheus = PrometheusServer(folder).start()
    yield prometheus, start + SCRAPES * INTERVAL
    prometheus.stop()


async def test_pods_in_bursts_are_told_from_pods_by_chance(server: tuple[PrometheusServer, float]) -> None:
    prometheus, end = server
    wants = [
        Want("shop", name, f"{name}-b", f"{name}-a", metric, end - 60)
        for name in (*BURST, "unknown")
        for metric in (ERRORS, LATENCY, OWN)
    ]
    collector = Collector(Prometheus(Settings(prometheus.url, timeout=120)), CATALOG, patience=120.0)
    found = await collector.overdispersion(end, wants)
    assert collector.queries == 4, "two for each source, however many deployments"
    for metric in ("errors", "own"):
        assert found["shop", "even", "even-b", metric] < 1.3
        assert 4.0 < found["shop", "bursts", "bursts-b", metric] < 9.0
        assert found["shop", "few-even", "few-even-b", metric] == UNKNOWN, "never less with so few pods"
        # Wider than with four pods: an hour has 60 minutes to compare, and two pods never say less.
        assert 4.0 < found["shop", "few-bursts", "few-bursts-b", metric] < 12.0, "minutes tell what two pods cannot"
        assert found["shop", "unknown", "unknown-b", metric] == UNKNOWN
    assert not [key for key in found if key[-1] == "latency"], "a histogram's pods cannot be told apart"


async def test_without_prometheus_nothing_is_known() -> None:
    collector = Collector(Prometheus(Settings("http://127.0.0.1:9", timeout=1)), CATALOG, patience=120.0)
    assert await collector.overdispersion(time.time(), [Want("shop", "even", "b", "a", ERRORS, 0.0)]) == {}
