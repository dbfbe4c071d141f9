"""Dashboard and alerts on real series: a real Envoy with traffic and the operator's own page, scraped by Prometheus."""

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from manifests.dashboard import dashboard
from manifests.generate import CHART

from serin.api.guard import OutputGuard, Protocol
from serin.api.guard_inputs import InputGuard
from serin.controller.telemetry import Telemetry
from serin.routers.envoy.limits import Limits
from tests.integration.envoy_rig import free_port, model, rig
from tests.integration.prometheus_server import PrometheusServer, wait_for

pytestmark = pytest.mark.usefixtures("debian_packages")

ROUTERS_OWN = (
    "serin_route_propagation_seconds",
    "serin_router_envoys",
    "serin_router_pods_unheard",
    "serin_xds_denied",
)
"""Registered by the router when the operator runs."""


def queries() -> Iterator[tuple[str, str]]:
    for panel in json.loads(dashboard())["panels"]:
        for target in panel.get("targets", ()):
            filled = target["expr"].replace("$__rate_interval", "10s")
            yield panel["title"], filled.replace("$namespace", ".*").replace("$deployment", ".*")


def alerts() -> Iterator[tuple[str, str]]:
    text = (CHART / "files" / "rules.yaml").read_text().replace("ROUTER", 'job="router"')
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:serin|envoy)_[a-z_]+\b(?=[{\[)\s]|$)", expression)) - {
        "serin_namespace",
        "serin_model_deployment",
        "serin_snapshot",
    }


async def test_every_query_reads_series_that_exist(tmp_path: Path) -> None:
    telemetry = Telemetry()
    telemetry.rollbacks.labels("WorseThanStable").inc()
    telemetry.recoveries.labels("NotRecovered").inc()
    telemetry.observe_request("get", "Pod", 200, 0.01)

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=telemetry.page()[0], headers={"Content-Type": telemetry.page()[1]})

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    # Of a deployment with a guard, which is away: what passes it unchecked is counted.
    async with rig(tmp_path, limits=Limits(guard=50), guard=free_port()) as it:
        it.candidate.error_share, it.stable.error_share, it.stable.refuse_share = 0.5, 0.1, 0.1
        guarded = replace(
            model(it.port, (it.stable,), (it.candidate,), 50),
            guard=OutputGuard(Protocol.JSON, ()),
            inputs=InputGuard(Protocol.OPEN_INFERENCE),
        )
        it.xds.update([guarded])
        await it.served(guarded)
        await it.envoy.listens(guarded, it.limits)
        jobs = {
            "router": ("/stats/prometheus", it.envoy.metrics_port),
            "operator": ("/metrics", runner.addresses[0][1]),
        }
        config: dict[str, Any] = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}}
        config["scrape_configs"] = [
            {"job_name": job, "metrics_path": path, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for job, (path, port) in jobs.items()
        ]
        prometheus = PrometheusServer(tmp_path / "prometheus", yaml.safe_dump(config)).start()
        try:
            for _ in range(6):
                await it.send(100, rate=100)
            asked = [*queries(), *alerts()]
            assert len(asked) > 30
            known = _stored(prometheus)
            for title, expression in asked:
                prometheus.value(expression)  # raises for what is no PromQL
                missing = {one for one in names(expression) if one not in known and not one.startswith(ROUTERS_OWN)}
                assert not missing, title
            for title in ("Requests by version", "Share of the traffic", "Failures by version", "Shielded requests"):
                [expression] = [one for name, one in queries() if name == title]
                wait_for(lambda query=expression: prometheus.value(query), f"{title} shows nothing", 30)
            for title, expression in queries():
                if title.startswith("Latency") or "Rejections" in title:
                    assert (prometheus.value(expression) or 0) > 0, title
        finally:
            prometheus.stop()
            await runner.cleanup()


def _stored(prometheus: PrometheusServer) -> set[str]:
    with urllib.request.urlopen(f"{prometheus.url}/api/v1/label/__name__/values", timeout=5) as answer:
        return set(json.load(answer)["data"])
