"""A label with 10,000 values in a real Prometheus: slices ask for nothing more, and say what they leave out."""

import json
import time
from pathlib import Path

import pytest

from serin.analysis import engine
from serin.analysis.types import Arm, Policy, SlicedTick
from serin.api.spec import Metric, RatioQuery
from serin.api.verdicts import Against, Severity, Verdict
from serin.metrics.answers import Answer
from serin.metrics.collector import Collector, Want
from serin.metrics.prometheus import SHARED, Prometheus, Settings
from tests.catalog import CATALOG
from tests.integration.prometheus_server import PrometheusServer, Sample, write_history

pytestmark = pytest.mark.usefixtures("debian_packages")

STABLE, CANDIDATE = "fraud-aaaaaaaaaa", "fraud-bbbbbbbbbb"
VALUES, LARGE, INTERVAL = 10_000, ("de", "fr", "pt"), 15.0
SEEN = RatioQuery('seen_total{ {{.version}}, outcome="wrong" }', "seen_total{ {{.version}} }")
PLAIN = Metric("seen", SEEN, Severity.MAJOR, Against.STABLE)
SLICED = Metric("seen", SEEN, Severity.MAJOR, Against.STABLE, by="country")
POLICY = Policy("seen", Severity.MAJOR, alpha_minor=0.005, alpha_critical=0.001, by="country", slice_requests=100)


class Listened(Prometheus):
    """Remembers what was asked."""

    asked: list[str]

    async def query(self, query: str, at: float, namespace: str = SHARED) -> Answer:
        self.asked.append(query)
        return await super().query(query, at, namespace)


def history(origin: float) -> list[Sample]:
    """Six scrapes of a pod of each version; between the second and the third all requests come."""
    samples: list[Sample] = []
    for snapshot in (STABLE, CANDIDATE):
        pod = {"job": "models", "instance": f"{snapshot}:80", "outcome": "right"}
        pod |= {"serin_namespace": "shop", "serin_model_deployment": "fraud", "serin_snapshot": snapshot}
        requests = {**{f"c{place}": 1 for place in range(VALUES)}, **dict.fromkeys(LARGE, 200)}
        for country, more in requests.items():
            labels = {**pod, "country": country}
            samples += [
                ("seen_total", labels, 1.0 + more * (scrape >= 2), origin + INTERVAL * scrape) for scrape in range(6)
            ]
    return samples


async def test_a_label_with_ten_thousand_values_hurts_nobody(tmp_path: Path) -> None:
    origin = round(time.time()) - 3600.0
    write_history(tmp_path / "data", history(origin))
    server = PrometheusServer(tmp_path).start()
    try:
        asked, ticks = {}, {}
        for metric in (SLICED, PLAIN):
            prometheus = Listened(Settings(server.url, timeout=60))
            prometheus.asked = []
            want = Want("shop", "fraud", CANDIDATE, STABLE, metric, origin + INTERVAL + 1.0)
            collector = Collector(prometheus, CATALOG, patience=120.0)
            ticks[metric.by] = (await collector.collect(origin + 5 * INTERVAL + 1.0, [want]))[want.key]
            asked[metric.by] = prometheus.asked
    finally:
        server.stop()
    assert asked["country"] == asked[""], "slices ask for nothing more"
    tick = ticks["country"]
    assert isinstance(tick, SlicedTick)
    assert tick.whole == ticks[""]
    assert tick.whole.candidate == tick.whole.stable == Arm(VALUES + 200 * len(LARGE), 0)
    judged = engine.fold(POLICY, None, tick)
    assert judged.verdict.verdict is Verdict.PASS
    assert {*LARGE} < judged.evidence["slices"].keys()  # type: ignore[union-attr]
    assert len(json.dumps(judged.evidence)) < 6_000
    assert judged.verdict.message.endswith("of 3 with enough requests (9,995 more count in the whole alone)")
