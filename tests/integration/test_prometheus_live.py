"""The collector against a real Prometheus that scrapes every second, while pods, targets and Prometheus itself fail."""

import asyncio
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from serin.analysis import engine
from serin.analysis.types import Judgement, NoData, NoDataReason, Policy, RatioTick, SlicedTick, Tick, ValueTick
from serin.api.conditions import Reason
from serin.api.spec import Metric, RatioQuery, TemplateRef, ValueQuery
from serin.api.verdicts import FAILURES, Against, Severity
from serin.metrics.collector import Collector, Want
from serin.metrics.prometheus import Prometheus, Settings
from tests.catalog import CATALOG
from tests.integration.prometheus_server import Exporter, PrometheusServer, look_until_told, render, wait_for

pytestmark = pytest.mark.usefixtures("debian_packages")

STABLE, CANDIDATE = "fraud-aaaaaaaaaa", "fraud-bbbbbbbbbb"
UNKNOWN = "fraud-cccccccccc"  # no target carries its labels
ERRORS = Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE)
FIRST = {"serin_attempt": "first"}


def version(snapshot: str) -> dict[str, str]:
    return {"serin_namespace": "shop", "serin_model_deployment": "fraud", "serin_snapshot": snapshot}


@dataclass
class World:
    """Router pods, one pod of the model's own metrics per version, and the Prometheus that scrapes them."""

    server: PrometheusServer
    pods: list[Exporter]
    models: dict[str, Exporter]
    truth: dict[str, list[int]] = field(default_factory=lambda: {STABLE: [0, 0], CANDIDATE: [0, 0]})

    def know(self, pod: Exporter, *snapshots: str) -> None:
        for snapshot in snapshots:
            pod.add("envoy_cluster_membership_total", version(snapshot), 1)

    def serve(self, pod: Exporter, snapshot: str, requests: int, bad: int) -> None:
        """Count as the router does: a failure and its request at the same moment, series born with their first."""
        pod.add_together(
            {
                render("envoy_serin_attempts", {**version(snapshot), **FIRST}): requests,
                render("envoy_serin_failures", {**version(snapshot), **FIRST}): bad,
            }
        )
        self.truth[snapshot][0] += requests
        self.truth[snapshot][1] += bad

    def wait_scrape(self, pod: Exporter) -> None:
        """Wait until everything that the pod has counted is stored."""
        self.server.wait_stored(pod)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    pods = [Exporter(), Exporter()]
    models = {STABLE: Exporter(), CANDIDATE: Exporter()}
    routers = ", ".join(f'"{pod.address}"' for pod in pods)
    config = (
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n"
        f"- job_name: router\n  static_configs: [{{targets: [{routers}]}}]\n- job_name: models\n  static_configs:\n"
    )
    for snapshot, model in models.items():
        labels = ", ".join(f"{name}: {value}" for name, value in version(snapshot).items())
        config += f'  - {{targets: ["{model.address}"], labels: {{{labels}}}}}\n'
    server = PrometheusServer(tmp_path / "prometheus", config).start()
    yield World(server, pods, models)
    server.stop()
    for exporter in (*pods, *models.values()):
        exporter.stop()


@pytest.fixture(scope="module")
def itself(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes itself twice, under two jobs, each with the labels of a version."""
    server = PrometheusServer(tmp_path_factory.mktemp("itself"))
    server.config = "global: {scrape_interval: 1s}\nscrape_configs:\n"
    for snapshot in (STABLE, CANDIDATE):
        labels = ", ".join(f"{name}: {value}" for name, value in version(snapshot).items())
        target = f'{{targets: ["127.0.0.1:{server.port}"], labels: {{{labels}}}}}'
        server.config += f"- job_name: {snapshot}\n  static_configs: [{target}]\n"
    server.start()
    wait_for(lambda: (server.value("count(up)") or 0) > 1, "nothing is scraped")
    time.sleep(1.5)  # values are read as they were a second ago
    yield server
    server.stop()


class Looker:
    """Looks as the operator does: keeps `since` with the evidence, and sums what it was told."""

    def __init__(
        self, world: World, metric: Metric = ERRORS, since: float | None = None, candidate: str = CANDIDATE
    ) -> None:
        self.prometheus = Prometheus(Settings(world.server.url, timeout=10))
        self.collector = Collector(self.prometheus, CATALOG, patience=120.0)
        self.metric = metric
        self.candidate = candidate
        self.since = time.time() if since is None else since
        self.sums = {STABLE: [0, 0], candidate: [0, 0]}
        self.seen: list[Tick] = []

    async def look(self) -> Tick | None:
        want = Want("shop", "fraud", self.candidate, STABLE, self.metric, self.since)
        tick = (await self.collector.collect(time.time(), [want])).get(want.key)
        if tick is None:
            return None
        self.seen.append(tick)
        if isinstance(tick, RatioTick):
            assert tick.at > self.since
            for snapshot, arm in ((STABLE, tick.stable), (self.candidate, tick.candidate)):
                self.sums[snapshot][0] += arm.requests
                self.sums[snapshot][1] += arm.bad
        self.since = tick.at or self.since
        return tick

    async def until(self, condition: Callable[[Tick | None], object], seconds: float = 60.0) -> Tick:
        """Look three times a second until a tick is as wanted."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            tick = await self.look()
            if tick is not None and condition(tick):
                return tick
            await asyncio.sleep(0.3)
        raise AssertionError(f"not seen; the last looks found {self.seen[-3:]}")


def no_data(reason: NoDataReason) -> Callable[[Tick | None], bool]:
    return lambda tick: isinstance(tick, NoData) and tick.reason is reason


async def in_thread(function: Callable[..., object], *arguments: object) -> None:
    await asyncio.to_thread(function, *arguments)


@pytest.mark.slow
async def test_counts_survive_everything_that_fails(world: World) -> None:
    """Traffic all the time; looks at random moments, the collector replaced at random; pods and Prometheus fail."""
    for pod in world.pods:
        world.know(pod, STABLE)
        world.serve(pod, STABLE, 1000, 10)  # long before the candidate
    await in_thread(world.wait_scrape, world.pods[0])
    await in_thread(world.wait_scrape, world.pods[1])
    world.truth[STABLE] = [0, 0]
    looker = Looker(world)
    for pod in world.pods:
        world.know(pod, CANDIDATE)
    chance = random.Random(3)
    paused: set[int] = set()
    done = asyncio.Event()

    async def traffic() -> None:
        while not done.is_set():
            for index, pod in enumerate(world.pods):
                if index not in paused:
                    world.serve(pod, STABLE, chance.randrange(9), 0)
                    world.serve(pod, CANDIDATE, requests := chance.randrange(3), chance.randrange(requests + 1))
            await asyncio.sleep(0.02)

    async def looks() -> None:
        while not done.is_set():
            if chance.random() < 0.2:
                looker.collector = Collector(looker.prometheus, CATALOG, patience=120.0)
            await looker.look()
            await asyncio.sleep(chance.choice((0.05, 0.7, 1.3, 2.9)))

    tasks = [asyncio.create_task(traffic()), asyncio.create_task(looks())]
    await asyncio.sleep(4)
    # A pod's process restarts just after a scrape: its counters begin again, series by series.
    paused.add(0)
    await in_thread(world.wait_scrape, world.pods[0])
    with world.pods[0].lock:
        world.pods[0].values.clear()
    world.know(world.pods[0], STABLE, CANDIDATE)
    await in_thread(world.wait_scrape, world.pods[0])
    paused.clear()
    await asyncio.sleep(2)
    # Scrapes are missed for longer than any window that a tick reads.
    world.pods[1].down = True
    await asyncio.sleep(7)
    world.pods[1].down = False
    await asyncio.sleep(2)
    # Prometheus restarts with its data.
    await in_thread(world.server.stop)
    await asyncio.sleep(5)
    is_unreachable = no_data(Reason.PROMETHEUS_UNREACHABLE)
    await in_thread(wait_for, lambda: any(map(is_unreachable, looker.seen)), "Prometheus' restart was not noticed")
    await in_thread(world.server.start)
    await asyncio.sleep(3)
    # A pod vanishes just after a scrape.
    paused.add(1)
    await in_thread(world.wait_scrape, world.pods[1])
    world.pods[1].down = True
    await asyncio.sleep(3)
    paused.add(0)
    await in_thread(world.wait_scrape, world.pods[0])
    done.set()
    await asyncio.gather(*tasks)
    await look_until_told(looker.look, lambda: looker.sums == world.truth)
    assert world.truth[CANDIDATE][0] > 500
    assert looker.sums == world.truth
    assert sum(isinstance(tick, RatioTick) for tick in looker.seen) > 8


async def test_nobody_asks_is_no_traffic_and_then_traffic_counts(world: World) -> None:
    for pod in world.pods:
        world.know(pod, STABLE, CANDIDATE)
    looker = Looker(world)
    # Before the first scrapes the reason may be another. What was certainly idle need not be read again: it has an end.
    await looker.until(lambda tick: no_data(Reason.NO_TRAFFIC)(tick) and isinstance(tick, NoData) and tick.at)
    world.serve(world.pods[0], CANDIDATE, 5, 5)
    tick = await looker.until(lambda tick: isinstance(tick, RatioTick))
    assert isinstance(tick, RatioTick)
    assert (tick.candidate.requests, tick.candidate.bad) == (5, 5), "born at 5, counted from 0"


async def test_an_unknown_candidate_is_an_absent_series(world: World) -> None:
    world.know(world.pods[0], STABLE)
    looker = Looker(world, candidate=UNKNOWN)
    await in_thread(world.wait_scrape, world.pods[0])
    tick = await looker.until(no_data(Reason.SERIES_ABSENT))
    assert isinstance(tick, NoData)
    assert UNKNOWN in tick.message


async def test_a_target_that_is_down_is_said_with_its_address(world: World) -> None:
    for pod in world.pods:
        world.know(pod, STABLE, CANDIDATE)
    looker = Looker(world)
    await looker.until(no_data(Reason.NO_TRAFFIC))
    for pod in world.pods:
        pod.down = True
    tick = await looker.until(no_data(Reason.TARGET_DOWN))
    assert isinstance(tick, NoData)
    assert f"cannot scrape {min(pod.address for pod in world.pods)} (job router)" in tick.message
    for pod in world.pods:
        pod.down = False
    world.serve(world.pods[0], CANDIDATE, 3, 1)
    tick = await looker.until(lambda tick: isinstance(tick, RatioTick))
    assert isinstance(tick, RatioTick)
    assert (tick.candidate.requests, tick.candidate.bad) == (3, 1)


async def test_series_that_stop_while_their_target_is_up_are_stale(world: World) -> None:
    world.know(world.pods[0], STABLE, CANDIDATE)
    looker = Looker(world)
    await looker.until(no_data(Reason.NO_TRAFFIC))
    with world.pods[0].lock:
        world.pods[0].values.clear()
    tick = await looker.until(no_data(Reason.STALE))
    assert isinstance(tick, NoData)
    assert "series have stopped" in tick.message


async def test_prometheus_away_and_back_is_one_tick_with_everything(world: World) -> None:
    for pod in world.pods:
        world.know(pod, STABLE, CANDIDATE)
    looker = Looker(world)
    await looker.until(no_data(Reason.NO_TRAFFIC))
    await in_thread(world.server.stop)
    tick = await looker.until(no_data(Reason.PROMETHEUS_UNREACHABLE))
    assert isinstance(tick, NoData)
    assert world.server.url in tick.message
    for _ in range(50):
        world.serve(world.pods[1], CANDIDATE, 2, 1)
    await in_thread(world.server.start)
    tick = await looker.until(lambda tick: isinstance(tick, RatioTick))
    assert isinstance(tick, RatioTick)
    assert (tick.candidate.requests, tick.candidate.bad) == (100, 50)


def predictions(model: Exporter, count: int, **labels: str) -> None:
    """The model server's own counter; Prometheus adds the labels of the target."""
    model.add("predictions_total", labels, count)


def own(total: str, bad: str) -> Metric:
    return Metric("own", RatioQuery(bad, total), Severity.MAJOR, Against.STABLE)


PLAIN = own("predictions_total{ {{.version}} }", 'predictions_total{ {{.version}}, outcome="wrong" }')
COMPUTED = own(
    "sum by (serin_snapshot) (predictions_total{ {{.version}} } * 1)",
    'sum by (serin_snapshot) (predictions_total{ {{.version}}, outcome="wrong" } * 1)',
)


@pytest.mark.parametrize("metric", [PLAIN, COMPUTED], ids=["plain", "computed"])
async def test_own_promql_as_a_ratio(world: World, metric: Metric) -> None:
    for model in world.models.values():
        predictions(model, 40, outcome="right")
        predictions(model, 10, outcome="wrong")
        await in_thread(world.wait_scrape, model)
    await asyncio.sleep(1.2)
    looker = Looker(world, metric)
    await learn_interval(looker)
    predictions(world.models[CANDIDATE], 7, outcome="right")
    predictions(world.models[CANDIDATE], 3, outcome="wrong")
    predictions(world.models[STABLE], 20, outcome="right")
    await looker.until(lambda _: looker.sums == {CANDIDATE: [10, 3], STABLE: [20, 0]})


async def learn_interval(looker: Looker) -> None:
    """Let the collector know the scrape interval, as one does that has counted something before."""
    want = Want("shop", "fraud", CANDIDATE, STABLE, PLAIN, time.time() - 10)
    async with asyncio.timeout(60):
        while looker.collector.scrape_interval("shop", PLAIN) != pytest.approx(1.0, abs=0.05):
            await looker.collector.collect(time.time(), [want])
            await asyncio.sleep(0.3)


SLICED = replace(PLAIN, by="country")
HOSTILE = ("\x1b[2Jpt", "a" * 5_000)  # written by clients


async def test_a_version_that_is_bad_for_one_country_is_found_by_slices(world: World) -> None:
    """Good on the whole; some requests have no country, and some have one that is a command, or without an end."""
    usual = {"de": 800, "fr": 600, "pt": 20, "": 10, HOSTILE[0]: 5, HOSTILE[1]: 5}
    for model in world.models.values():
        for country in usual:
            predictions(model, 1, outcome="right", country=country)
            predictions(model, 1, outcome="wrong", country=country)
        await in_thread(world.wait_scrape, model)
    looker = Looker(world, SLICED)
    await learn_interval(looker)
    policy = Policy("own", Severity.MAJOR, alpha_minor=0.005, alpha_critical=0.001, by="country", slice_requests=100)
    whole: Judgement | None = None
    judged: Judgement | None = None

    def fold(tick: Tick | None) -> bool:
        nonlocal whole, judged
        if isinstance(tick, SlicedTick):
            whole = engine.fold(policy, whole.evidence if whole else None, tick.whole)
            judged = engine.fold(policy, judged.evidence if judged else None, tick)
        for snapshot, model in world.models.items():
            for country, requests in usual.items():
                wrong = 6 if (snapshot, country) == (CANDIDATE, "pt") else requests // 50
                predictions(model, requests - wrong, outcome="right", country=country)
                predictions(model, wrong, outcome="wrong", country=country)
        return judged is not None and judged.verdict.verdict in FAILURES

    await looker.until(fold)
    assert judged is not None
    assert whole is not None
    assert judged.verdict.message.startswith("country pt: 30.0% of the candidate's requests failed")
    assert whole.verdict.verdict not in FAILURES
    names = judged.evidence["slices"].keys()  # type: ignore[union-attr]
    assert {"de", "fr", "pt"} < names
    assert len(names) == 5
    assert all(name.isprintable() and len(name) <= 40 for name in names)


async def test_own_counter_without_a_request_yet_is_no_traffic(world: World) -> None:
    predictions(world.models[STABLE], 40, outcome="right")
    looker = Looker(world, PLAIN)
    await in_thread(world.wait_scrape, world.models[CANDIDATE])
    tick = await looker.until(no_data(Reason.NO_TRAFFIC))
    assert isinstance(tick, NoData)
    assert f"{CANDIDATE}: its pods are scraped, but have counted no request yet" in tick.message


async def test_own_promql_as_a_value(world: World) -> None:
    query = "max(gpu_memory_used_ratio{ {{.candidate}} }) / max(gpu_memory_used_ratio{ {{.stable}} })"
    for model, used in ((world.models[CANDIDATE], 0.9), (world.models[STABLE], 0.45)):
        model.add("gpu_memory_used_ratio", {}, used)
        await in_thread(world.wait_scrape, model)
    looker = Looker(
        world, Metric("memory", ValueQuery(query, maximum=0.95), Severity.MINOR, Against.LIMIT), time.time() - 60
    )
    tick = await looker.until(lambda tick: isinstance(tick, ValueTick))
    assert isinstance(tick, ValueTick)
    assert tick.value == 2.0


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        (ValueQuery("max(nothing{ {{.candidate}} })"), Reason.SERIES_ABSENT, "no result"),
        (ValueQuery("up"), Reason.QUERY_FAILED, "make it one number, as with max(...)"),
        (ValueQuery("vector(0) / 0"), Reason.NOT_A_NUMBER, "nan"),
        (ValueQuery("vector(1) / 0"), Reason.NOT_A_NUMBER, "inf"),
        (ValueQuery("max(up{ {{.canary}} })"), Reason.QUERY_FAILED, "{{.canary}} is not known here"),
        (ValueQuery("max(up"), Reason.QUERY_FAILED, "unclosed left parenthesis"),
        (
            RatioQuery("errors_total", "up{ {{.version}} }"),
            Reason.QUERY_FAILED,
            "write errors_total{ {{.version}} }",
        ),
        (RatioQuery("a{ {{.version}}, b=~`[` }", "up{ {{.version}} }"), Reason.QUERY_FAILED, "missing closing ]"),
        (
            RatioQuery("rate(a{ {{.version}} }[1m])", "sum(rate(up{ {{.version}} }[1m]))"),
            Reason.QUERY_FAILED,
            "total has rate(), and Serin counts from one collection to the next by itself: write the counter alone",
        ),
        (
            RatioQuery("vector(0) unless up{ {{.version}} }", "vector(1) unless up{ {{.version}} }"),
            Reason.QUERY_FAILED,
            "write sum by (serin_snapshot) (...)",
        ),
        (TemplateRef("reqest-errors"), Reason.QUERY_FAILED, "write one of bad-outputs, disagreements, invalid-inputs"),
    ],
)
async def test_what_the_user_must_mend_is_said(
    itself: PrometheusServer, source: RatioQuery | ValueQuery | TemplateRef, reason: NoDataReason, words: str
) -> None:
    metric = Metric("mine", source, Severity.MINOR, Against.LIMIT)
    prometheus = Prometheus(Settings(itself.url))
    want = Want("shop", "fraud", CANDIDATE, STABLE, metric, time.time() - 60)
    tick = (await Collector(prometheus, CATALOG, patience=120.0).collect(time.time(), [want]))[want.key]
    prometheus.close()
    assert isinstance(tick, NoData)
    assert tick.reason is reason
    assert words in tick.message


async def test_the_number_of_queries_does_not_grow_with_the_deployments(world: World) -> None:
    names = [f"model-{number}" for number in range(200)]
    for name in names:
        for snapshot in ("a", "b"):
            labels = {"serin_namespace": "shop", "serin_model_deployment": name, "serin_snapshot": f"{name}-{snapshot}"}
            world.pods[0].add("envoy_cluster_membership_total", labels, 1)
            world.pods[0].add("envoy_serin_attempts", {**labels, **FIRST}, 100)
    await in_thread(world.wait_scrape, world.pods[0])
    since = time.time()
    for name in names:
        labels = {"serin_namespace": "shop", "serin_model_deployment": name, "serin_snapshot": f"{name}-b"}
        world.pods[0].add("envoy_serin_attempts", {**labels, **FIRST}, 5)
        world.pods[0].add("envoy_serin_failures", {**labels, **FIRST}, 2)
    await in_thread(world.wait_scrape, world.pods[0])
    await asyncio.sleep(1.5)
    prometheus = Prometheus(Settings(world.server.url, timeout=60))
    collector = Collector(prometheus, CATALOG, patience=120.0)
    wants = [Want("shop", name, f"{name}-b", f"{name}-a", ERRORS, since) for name in names]
    ticks = await collector.collect(time.time(), wants)
    assert collector.queries == 2, "one to learn the scrape interval, once, and one for all deployments"
    await collector.collect(time.time() + 1, wants)
    prometheus.close()
    assert collector.queries == 3
    assert len(ticks) == 200
    for tick in ticks.values():
        assert isinstance(tick, RatioTick), tick
        assert (tick.candidate.requests, tick.candidate.bad, tick.stable.requests) == (5, 2, 0)


async def test_a_prometheus_that_lost_its_data_counts_nothing_again(world: World) -> None:
    for pod in world.pods:
        world.know(pod, STABLE, CANDIDATE)
        await in_thread(world.wait_scrape, pod)
    looker = Looker(world)
    # A slow scrape has the time at which it began: what it saw at its end would be of before.
    await looker.until(lambda tick: no_data(Reason.NO_TRAFFIC)(tick) and isinstance(tick, NoData) and tick.at)
    for pod in world.pods:
        world.serve(pod, CANDIDATE, 100, 50)
        world.serve(pod, STABLE, 200, 2)
    await looker.until(lambda _: looker.sums == world.truth)
    await in_thread(world.server.stop)
    shutil.rmtree(world.server.folder / "data")
    await in_thread(world.server.start)
    for pod in world.pods:
        await in_thread(world.wait_scrape, pod)
    for pod in world.pods:
        world.serve(pod, CANDIDATE, 7, 3)
        world.serve(pod, STABLE, 20, 1)
    await look_until_told(looker.look, lambda: looker.sums == world.truth)
    assert looker.sums == world.truth, looker.seen[-6:]
