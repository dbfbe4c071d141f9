"""Whose series count, on a real Prometheus: nobody passes for the router, and nobody reads another's series."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serin.analysis.types import Arm, NoData, RatioTick, Tick, ValueTick
from serin.api.conditions import Reason
from serin.api.spec import Metric, MetricSource, RatioQuery, TemplateRef, ValueQuery
from serin.api.verdicts import Against, Severity
from serin.metrics.answers import Value
from serin.metrics.catalog import Catalog
from serin.metrics.collector import Collector, Want
from serin.metrics.enforced import Trust, restrict
from serin.metrics.prometheus import Prometheus, Settings
from serin.metrics.promql import Matcher
from serin.metrics.sources import RatioSource, resolve
from serin.metrics.traffic import measure
from serin.routers.envoy.templates import templates
from tests.integration.prometheus_server import Exporter, PrometheusServer, Sample, wait_for, write_history

pytestmark = pytest.mark.usefixtures("debian_packages")

STABLE, CANDIDATE = "fraud-a", "fraud-b"
INTERVAL, SCRAPES = 15.0, 40
SYSTEM, SHOP, BANK = "serin-system", "shop", "bank"
TRUST = Trust.read(f'namespace="{SYSTEM}"', "namespace", True)
ERRORS = TemplateRef("request-errors")


def history(end: float) -> Iterator[Sample]:
    """The router in its namespace, a pod of another tenant that exports the same, and gauges of two tenants."""
    for step in range(SCRAPES):
        at = end - INTERVAL * (SCRAPES - 1 - step)
        for snapshot in (STABLE, CANDIDATE):
            version = {"serin_namespace": SHOP, "serin_model_deployment": "fraud", "serin_snapshot": snapshot}
            for namespace, bad in ((SYSTEM, 1.0), (BANK, 9.0)):
                target = {"job": "pods", "instance": f"{namespace}:9902", "namespace": namespace, **version}
                yield "envoy_serin_attempts", {**target, "serin_attempt": "first"}, 10.0 * step, at
                yield "envoy_serin_failures", {**target, "serin_attempt": "first"}, bad * step, at
                yield "envoy_cluster_membership_total", target, 1.0, at
        for namespace, value in ((SHOP, 1.0), (BANK, 7.0)):
            target = {"job": "pods", "instance": f"{namespace}:80", "namespace": namespace}
            yield "secret", target, value, at
            own = {**target, "serin_namespace": namespace, "serin_model_deployment": "fraud", "serin_snapshot": STABLE}
            for le, count in (("1", value), ("10", 8.0), ("+Inf", 8.0)):
                yield "seconds_bucket", {**own, "le": le, "path": "a b"}, count * step, at


@pytest.fixture(scope="module")
def end() -> float:
    return round(time.time()) - 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, end: float) -> Iterator[PrometheusServer]:
    folder = tmp_path_factory.mktemp("prometheus")
    write_history(folder / "data", history(end))
    server = PrometheusServer(folder).start()
    yield server
    server.stop()


async def collect(server: PrometheusServer, end: float, source: MetricSource, trust: Trust) -> Tick:
    prometheus = Prometheus(Settings(server.url))
    against = Against.LIMIT if isinstance(source, ValueQuery) else Against.STABLE
    metric = Metric("mine", source, Severity.MAJOR, against)
    want = Want(SHOP, "fraud", CANDIDATE, STABLE, metric, end - 10 * INTERVAL)
    catalog = Catalog.of(templates(), trust=trust)
    ticks = await Collector(prometheus, catalog, patience=60.0).collect(end + INTERVAL + 1.0, [want])
    prometheus.close()
    return ticks[want.key]


async def test_what_another_pod_exports_in_the_routers_name_does_not_count(
    server: PrometheusServer, end: float
) -> None:
    tick = await collect(server, end, ERRORS, TRUST)
    assert isinstance(tick, RatioTick)
    assert (tick.candidate, tick.stable) == (Arm(100, 10), Arm(100, 10))
    everybody = await collect(server, end, ERRORS, Trust())
    assert isinstance(everybody, RatioTick)
    assert everybody.candidate == Arm(200, 100), "the impostor is there"


async def test_nor_is_it_traffic(server: PrometheusServer, end: float) -> None:
    prometheus = Prometheus(Settings(server.url))
    metric = Metric("errors", ERRORS, Severity.MAJOR, Against.STABLE)
    source = resolve(metric, None, Catalog.of(templates(), trust=TRUST), SHOP)
    assert isinstance(source, RatioSource)
    found = await measure(prometheus.query, source, [(SHOP, "fraud")], end)
    prometheus.close()
    assert not isinstance(found, NoData)
    [traffic] = found.values()
    assert (traffic.rate, traffic.bad) == (pytest.approx(20.0 / INTERVAL, rel=0.02), pytest.approx(0.1))


async def test_a_router_without_the_labels_is_said(server: PrometheusServer, end: float) -> None:
    tick = await collect(server, end, ERRORS, Trust.read('job="router"', "", True))
    assert isinstance(tick, NoData)
    assert tick.reason is Reason.SERIES_ABSENT
    assert tick.message.endswith('and labels it job="router": series without count for nobody')


@pytest.mark.parametrize("label", ["namespace", "serin_namespace"])
async def test_a_value_reads_nothing_of_another_namespace(server: PrometheusServer, end: float, label: str) -> None:
    trust = Trust(tenant_label=label)
    theirs = ValueQuery('sum(secret{namespace="bank"}) + 0 * count(up{ {{.candidate}} } or vector(1))')
    assert isinstance(await collect(server, end, theirs, Trust()), ValueTick), "it could be read"
    tick = await collect(server, end, theirs, trust)
    assert isinstance(tick, NoData)
    assert tick.message == f'the query has no result among series with {label}="shop", and a query reads no others'
    both = await collect(server, end, ValueQuery("sum(secret) + 0 * count(up{ {{.candidate}} } or vector(1))"), trust)
    assert (isinstance(both, ValueTick) and both.value == 1.0) is (label == "namespace"), "their own is not labelled"


async def test_an_expression_reads_nothing_of_another_namespace(server: PrometheusServer, end: float) -> None:
    theirs = "sum by (serin_snapshot) (envoy_serin_attempts{ {{.version}} }) * scalar(sum(secret{namespace='bank'}))"
    bad = "sum by (serin_snapshot) (envoy_serin_failures{ {{.version}} })"
    assert isinstance(await collect(server, end, RatioQuery(bad, theirs), Trust()), RatioTick)
    tick = await collect(server, end, RatioQuery(bad, theirs), TRUST)
    assert isinstance(tick, NoData)


@pytest.mark.parametrize(
    "text",
    [
        "sum(rate(seconds_bucket[5m]))",
        "histogram_quantile(0.9, sum by (le) (rate(seconds_bucket[5m] offset 30s)))",
        "max_over_time(sum(secret)[2m:15s])",
        "max_over_time(secret[2m:15s] offset 1m)",
        "secret + on (instance) group_left (path) count by (instance, path) (seconds_bucket)",
        'seconds_bucket{le="1", path=~`a b|c\\d`} > bool 2',
        'label_replace(secret, "x", "$1\\"#", "instance", "(.*):80")',
        "topk(1, seconds_bucket) and ignoring (le) seconds_bucket unless secret == 2",
        "-secret ^ 2 * -1 % 3 - (secret - (secret - 1)) atan2 2",
        'count_values("x", seconds_bucket)',
        "avg(seconds_bucket) # } or b",
        "sum without (le) (seconds_bucket offset 1m)",
        "1e3 * secret + 0x1F - Inf",
        "sort_desc(clamp_max(seconds_bucket, 5))",
        "seconds_bucket / ignoring (le) group_left sum without (le) (seconds_bucket)",
    ],
)
async def test_a_restricted_query_means_the_same_of_fewer_series(
    server: PrometheusServer, end: float, text: str
) -> None:
    """The restriction alone changes what is read: with a label that every series has, the answer is the same."""
    prometheus = Prometheus(Settings(server.url))
    plain = await prometheus.query(text, end)
    everybody = await prometheus.query(restrict(text, (Matcher("job", "=", "pods"),)), end)
    own = await prometheus.query(restrict(text, (Matcher("namespace", "=", SHOP),)), end)
    prometheus.close()
    assert isinstance(plain, Value)
    assert plain == everybody
    assert isinstance(own, Value)
    assert own != plain


def test_a_pod_does_not_choose_its_namespace_unless_the_scrape_lets_it(tmp_path: Path) -> None:
    """What docs/metrics.md asks of the platform, shown on a Prometheus that scrapes."""
    pod = Exporter()
    pod.add("envoy_serin_attempts", {"namespace": SYSTEM, "serin_namespace": SHOP}, 1)
    config = "global: {scrape_interval: 1s}\nscrape_configs:\n"
    for job, honor in (("usual", "false"), ("trusting", "true")):
        target = f'{{targets: ["{pod.address}"], labels: {{namespace: {BANK}}}}}'
        config += f"- job_name: {job}\n  honor_labels: {honor}\n  static_configs: [{target}]\n"
    server = PrometheusServer(tmp_path / "prometheus", config).start()
    try:
        wait_for(lambda: server.value("count(envoy_serin_attempts)") == 2.0, "nothing is scraped")
        fits = f'count(envoy_serin_attempts{{namespace="{SYSTEM}",job="%s"}})'
        assert [server.value(fits % job) for job in ("usual", "trusting")] == [None, 1.0]
        assert server.value(f'count(envoy_serin_attempts{{namespace="{BANK}",exported_namespace="{SYSTEM}"}})') == 1.0
    finally:
        server.stop()
        pod.stop()
