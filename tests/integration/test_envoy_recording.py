"""Answers that a real guard records behind a real Envoy, as Prometheus is told of them."""

import asyncio
import json
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from serin.analysis.types import Arm, DistributionTick, RatioTick, Tick
from serin.api.guard import Protocol
from serin.api.guard_record import Recorded, RecordGuard
from serin.api.spec import Metric, TemplateRef
from serin.api.split import Mirror
from serin.api.verdicts import Against, Severity
from serin.metrics.catalog import Catalog
from serin.metrics.collector import Collector, Want
from serin.metrics.enforced import Trust
from serin.metrics.prometheus import Prometheus, Settings
from serin.routers.envoy.routed_model import RoutedModel
from serin.routers.envoy.templates import templates
from tests.integration.envoy_rig import CANDIDATE, DEPLOYMENT, NAMESPACE, STABLE, eventually
from tests.integration.prometheus_server import PrometheusServer
from tests.integration.test_envoy_guard import INFER, MEBIBYTE, Guarded, bad, guarded

pytestmark = pytest.mark.usefixtures("debian_packages")

TRUST = Trust.read('namespace="serin-system"', "namespace", False)
SCRAPES = """
global: {scrape_interval: 1s}
scrape_configs:
- job_name: guard
  static_configs: [{targets: ["127.0.0.1:%d"], labels: {namespace: serin-system}}]
"""
HOW = RecordGuard(
    Protocol.OPEN_INFERENCE,
    100,
    (Recorded("label", "label", labels=("fraud", "legit")), Recorded("score", "score", buckets=(0.25, 0.75))),
)


def saying(label: str, score: float) -> object:
    outputs = [
        {"name": "label", "datatype": "BYTES", "shape": [2], "data": [label, label]},
        {"name": "score", "datatype": "FP32", "shape": [1], "data": [score]},
        {"name": "note", "datatype": "BYTES", "shape": [1], "data": ["secret"]},
    ]

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=json.dumps({"outputs": outputs}).encode(), content_type="application/json")

    return answer


async def page(it: Guarded) -> str:
    async with it.it.client.get(f"http://127.0.0.1:{it.metrics_port}/metrics") as response:
        return await response.text()


async def recorded(it: Guarded) -> Counter[tuple[str, str, str]]:
    """By snapshot, field, and label or upper bound."""
    found = Counter[tuple[str, str, str]]()
    for family in text_string_to_metric_families(await page(it)):
        for one in family.samples:
            if one.name in ("serin_predictions_total", "serin_prediction_values_bucket"):
                what = one.labels.get("label") or one.labels["le"]
                found[one.labels["serin_snapshot"], one.labels["field"], what] += int(one.value)
    return found


def routed(it: Guarded, weight: int, share: int = 100, **more: object) -> RoutedModel:
    return replace(it.model(weight), record=replace(HOW, share=share), **more)  # type: ignore[arg-type]


async def test_answers_are_counted_by_version_and_nothing_else_of_them_is_kept(tmp_path: Path) -> None:
    async with guarded(tmp_path, weight=0) as it:
        it.it.stable.answer, it.it.candidate.answer = saying("legit", 0.1), saying("fraud", 0.9)  # type: ignore[assignment]
        await it.route(routed(it, 50))
        count = 100
        seen = await it.it.send(count, path=INFER)
        await it.it.send(5, path="/v2/models/fraud")  # which asks no model
        assert seen["200"] == count
        mine, theirs = seen[CANDIDATE], seen[STABLE]
        found = await eventually(lambda: recorded(it), lambda one: one.total() >= 2 * mine + 4 * theirs)
        # However many values an answer has, it counts once.
        assert (found[CANDIDATE, "label", "fraud"], found[CANDIDATE, "label", "legit"]) == (mine, 0)
        assert (found[STABLE, "label", "legit"], found[STABLE, "label", "other"]) == (theirs, 0)
        assert [found[CANDIDATE, "score", one] for one in ("0.25", "0.75", "+Inf")] == [0, 0, mine]
        assert [found[STABLE, "score", one] for one in ("0.25", "0.75", "+Inf")] == [theirs, theirs, theirs]
        assert "secret" not in await page(it)


async def test_answers_to_copies_count_and_those_in_the_candidates_place_do_not(tmp_path: Path) -> None:
    async with guarded(tmp_path, weight=0) as it:
        it.it.stable.answer, it.it.candidate.answer = saying("legit", 0.1), saying("fraud", 0.9)  # type: ignore[assignment]
        await it.route(routed(it, 0, mirror=Mirror(CANDIDATE, 100)))
        await it.it.send(50, path=INFER)
        await eventually(lambda: recorded(it), lambda one: one[CANDIDATE, "label", "fraud"] == 50)
        # Refused answers are none, and stable's in their place are no fair sample of stable's.
        it.it.candidate.answer = bad
        await it.route(routed(it, 100))
        before = await eventually(lambda: recorded(it), lambda one: one[STABLE, "label", "legit"] == 50)
        seen = await it.it.send(50, path=INFER)
        assert seen["shielded"] == 50
        # A last one that counts, so that those before have come.
        await it.route(routed(it, 0))
        await it.it.send(1, path=INFER)
        after = await eventually(lambda: recorded(it), lambda one: one[STABLE, "label", "legit"] >= 51)
        assert after[STABLE, "label", "legit"] == before[STABLE, "label", "legit"] + 1
        assert after[CANDIDATE, "label", "fraud"] == 50


async def test_a_guard_that_stands_still_keeps_nobody_waiting_and_hurts_no_router(tmp_path: Path) -> None:
    async with guarded(tmp_path, weight=0) as it:
        await it.route(routed(it, 0, guard=None))
        it.process.send_signal(signal.SIGSTOP)
        paths = [INFER, *(f"{INFER}?size={3 * MEBIBYTE}{how}" for how in ("", "&chunked"))]
        for path in paths:
            seen = await asyncio.wait_for(it.it.send(20, path=path), 60)
            assert (seen["200"], seen[STABLE]) == (20, 20)
        assert it.it.envoy.process is not None
        assert it.it.envoy.process.returncode is None


async def test_a_share_is_drawn(tmp_path: Path) -> None:
    async with guarded(tmp_path, weight=0) as it:
        it.it.stable.answer = saying("legit", 0.1)  # type: ignore[assignment]
        await it.route(routed(it, 0, share=20, guard=None))
        await it.it.send(500, rate=400, path=INFER)
        found = await eventually(lambda: recorded(it), lambda one: one[STABLE, "label", "legit"] >= 55)
        assert found[STABLE, "label", "legit"] < 150  # of 100 expected; five deviations of 9


async def test_metrics_judge_what_prometheus_has_scraped_of_it(tmp_path: Path) -> None:
    async with guarded(tmp_path, weight=0) as it:
        server = PrometheusServer(tmp_path / "prometheus", SCRAPES % it.metrics_port).start()
        prometheus = Prometheus(Settings(server.url))
        try:
            it.it.stable.answer, it.it.candidate.answer = saying("legit", 0.1), saying("fraud", 0.9)  # type: ignore[assignment]
            await it.route(routed(it, 50))
            first = await it.it.send(50, path=INFER)
            await scraped(server, first)
            since = time.time()
            seen = await it.it.send(100, path=INFER)
            await scraped(server, first + seen)
            mine, theirs = seen[CANDIDATE], seen[STABLE]
            share = await collect(prometheus, since, "prediction-share", field="label", label="fraud")
            assert isinstance(share, RatioTick)
            assert (share.candidate, share.stable) == (Arm(mine, mine), Arm(theirs, 0))
            labels = await collect(prometheus, since, "predictions", field="label")
            assert isinstance(labels, DistributionTick)
            assert labels.categories == ("fraud", "legit")
            assert (labels.candidate, labels.stable) == ((mine, 0), (0, theirs))
            numbers = await collect(prometheus, since, "prediction-values", field="score")
            assert isinstance(numbers, DistributionTick)
            assert (numbers.candidate, numbers.stable) == ((0, 0, mine), (theirs, 0, 0))
        finally:
            prometheus.close()
            server.stop()


async def scraped(server: PrometheusServer, seen: Counter[str]) -> None:
    """Wait until Prometheus has a value of each answer."""

    async def read() -> float:
        return server.value("sum(serin_predictions_total)") or 0.0

    await eventually(read, lambda found: found == seen[CANDIDATE] + seen[STABLE])


async def collect(prometheus: Prometheus, since: float, name: str, **arguments: str) -> Tick:
    metric = Metric("mine", TemplateRef(name, arguments), Severity.MAJOR, Against.STABLE)
    want = Want(NAMESPACE, DEPLOYMENT, CANDIDATE, STABLE, metric, since)
    collector = Collector(prometheus, Catalog.of(templates(), trust=TRUST), patience=60.0)
    return (await collector.collect(time.time() + 2.0, [want]))[want.key]
