"""Evidence from the router's own pods: who is read, how often, and that nobody waits for one that is slow or wrong."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from serin.analysis.types import RatioTick
from serin.api.fields import InvalidSpec
from serin.api.names import Key as Place
from serin.api.spec import Metric, ModelDeployment, TemplateRef
from serin.api.verdicts import Against, Severity
from serin.controller.evidence_loop import EvidenceLoop
from serin.controller.live_evidence import LiveEvidence
from serin.controller.telemetry import Telemetry
from serin.metrics.live import Past
from serin.metrics.wants import Key, Want
from serin.routers.base import CountersUnread, PodCounters, RouterPod
from tests.catalog import CATALOG
from tests.unit.controller.test_evidence_loop import NOW, Bench, deployment
from tests.unit.metrics.test_live import rows

ERRORS = Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE)


@dataclass
class Router:
    """Pods of a router, each with what it shows; one that shows nothing never answers."""

    shown: dict[str, float | None]
    serves: bool = True
    reads: list[tuple[str, frozenset[Place]]] = field(default_factory=list)

    def pods(self) -> tuple[RouterPod, ...]:
        return tuple(RouterPod(name, f"{name}:9902", self.serves) for name in self.shown)

    async def read(self, pod: RouterPod, deployments: Collection[Place]) -> PodCounters:
        self.reads.append((pod.name, frozenset(deployments)))
        attempts = self.shown[pod.name]
        if attempts is None:
            await asyncio.Event().wait()
            raise CountersUnread("never")
        series: list[tuple[str, Mapping[str, str], float]] = []
        for snapshot in "ab":
            owner = {"serin_namespace": "shop", "serin_model_deployment": "fraud", "serin_snapshot": snapshot}
            series.append(("envoy_cluster_membership_total", owner, 1.0))
            labels = {**owner, "serin_attempt": "first", "serin_slot": "0"}
            series.append(("envoy_serin_attempts", labels, attempts))
        return PodCounters(1000.0, tuple(series))


class Prometheus:
    """It has scraped 7 and 90 attempts of pod x when it is asked what was counted."""

    def __init__(self) -> None:
        self.asked = 0

    async def past(self, _now: float, wants: Sequence[Want]) -> Mapping[Key, Past]:
        self.asked += 1
        return {want.key: Past(rows("x", (-0.4, (7, 0, 90, 0)))) for want in wants}


@dataclass
class Case:
    router: Router
    prometheus: Prometheus = field(default_factory=Prometheus)
    now: float = NOW + 1.0
    telemetry: Telemetry = field(default_factory=Telemetry)
    doubts: bool = False

    def __post_init__(self) -> None:
        self.live = LiveEvidence(
            self.router,
            self.prometheus,
            CATALOG,
            self.telemetry,
            doubtful=lambda: self.doubts,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )

    async def collect(self, *wants: Want) -> Mapping[Key, object]:
        self.now += 0.5
        found = await self.live.collect(wants)
        for _ in range(5):
            await asyncio.sleep(0)
        return found


def want(metric: Metric = ERRORS, since: float = NOW) -> Want:
    return Want("shop", "fraud", "b", "a", metric, since, counted=True)


async def test_readings_begin_where_prometheus_has_counted() -> None:
    case = Case(Router({"x": 100.0}))
    assert await case.collect(want()) == {}
    assert case.live.counts(want().key), "Prometheus is not asked for it meanwhile"
    (tick,) = (await case.collect(want())).values()
    assert isinstance(tick, RatioTick)
    assert (tick.candidate.requests, tick.stable.requests) == (93, 10)
    assert case.telemetry.registry.get_sample_value("serin_live_rollouts") == 1.0
    case.router.shown["x"] = 105.0
    (tick,) = (await case.collect(want(since=tick.at))).values()
    assert isinstance(tick, RatioTick)
    assert (tick.candidate.requests, tick.stable.requests) == (5, 5)
    assert case.prometheus.asked == 1


async def test_one_read_of_a_pod_serves_all_and_one_that_is_slow_is_asked_once() -> None:
    case = Case(Router({"x": 100.0, "y": None}))
    others = [replace(want(), deployment=name) for name in ("one", "two")]
    for _ in range(3):
        assert await case.collect(want(), *others) == {}, "y serves, and is not known"
    places = frozenset((("shop", "fraud"), ("shop", "one"), ("shop", "two")))
    assert case.router.reads == [("x", places), ("y", places), ("x", places), ("x", places)]
    case.live.close()


async def test_a_pod_that_does_not_serve_is_not_waited_for() -> None:
    case = Case(Router({"x": 100.0, "y": None}, serves=False))
    await case.collect(want())
    assert len(await case.collect(want())) == 1
    case.live.close()


async def test_what_is_no_metric_of_the_routers_is_not_read() -> None:
    case = Case(Router({"x": 100.0}))
    mine = replace(ERRORS, source=TemplateRef("mine"))
    assert await case.collect(want(mine), replace(want(), baseline=None)) == {}
    assert case.router.reads == []


async def test_while_clocks_differ_prometheus_counts() -> None:
    case = Case(Router({"x": 100.0}))
    await case.collect(want())
    case.doubts = True
    assert await case.collect(want()) == {}
    assert not case.live.counts(want().key)


async def test_a_loop_that_hangs_leaves_it_to_prometheus() -> None:
    case = Case(Router({"x": 100.0}))
    await case.collect(want())
    assert await case.collect(want())
    case.now += 10.0
    assert not case.live.counts(want().key)


async def test_a_spec_that_cannot_be_read_is_nobody_elses_affair() -> None:
    def can_be_live(found: ModelDeployment) -> bool:
        if found.name == "broken":
            raise InvalidSpec("spec.router.name: there is no such router")
        return True

    case, bench = Case(Router({"x": 100.0})), Bench(deployment("broken"), deployment("fraud"), interval=5.0)
    loop = EvidenceLoop(
        bench.cache,
        bench.prometheus,
        Telemetry(),
        bench.looks.append,
        request_template=lambda _: "request-errors",
        live=case.live,
        can_be_live=can_be_live,
        clock=lambda: case.now,
    )
    await loop.tick_live(loop.under_judgement())
    assert case.router.reads == [("x", frozenset((("shop", "fraud"),)))]
    case.live.close()
