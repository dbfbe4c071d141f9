"""The evidence loop: stands still without rollouts, one batch for all, and no tick is counted on top of another."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest

from serin.analysis.types import Arm, NoData, RatioTick, Tick
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.parse import parse_model_deployment
from serin.api.spec import Metric, ModelDeployment
from serin.api.status import read_state
from serin.api.times import rfc3339
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller.evidence_loop import EvidenceLoop
from serin.controller.telemetry import Telemetry
from serin.controller.traffic_estimator import TrafficEstimator
from serin.evaluation.samples import SPLIT, subjects, uncounted
from serin.metrics.answers import Answer
from serin.metrics.collector import Key, Want
from tests.catalog import CATALOG
from tests.crds import defaulted
from tests.unit.jumping_time import in_jumping_time

NOW = 1_800_000_000.0


class Prometheus:
    """Answers each want with a tick at `at`, or with what `answers` has for its metric."""

    def __init__(self, interval: float | None = None) -> None:
        self.batches: list[Sequence[Want]] = []
        self.at, self.answers = NOW, dict[str, Tick]()
        self.dispersions, self.asked = dict[str, float](), list[set[str]]()
        self._interval = interval

    async def collect(self, now: float, wants: Sequence[Want]) -> Mapping[Key, Tick]:
        assert now >= NOW
        self.batches.append(wants)
        tick = RatioTick(self.at, Arm(10, 1), Arm(100, 2))
        return {want.key: self.answers.get(want.metric.name, tick) for want in wants}

    async def slowest_pods(self, now: float, wants: Sequence[Want]) -> Mapping[Key, float]:
        assert now
        return {want.key: 1.25 for want in wants if want.metric.name == "latency"}

    async def overdispersion(self, now: float, wants: Sequence[Want]) -> Mapping[Key, float]:
        assert now >= NOW
        self.asked.append({want.metric.name for want in wants})
        found = {want.key: self.dispersions.get(want.metric.name) for want in wants}
        return {key: phi for key, phi in found.items() if phi is not None}

    async def ask(self, query: str, at: float) -> Answer:
        """What the traffic estimator asks before a rollout has traffic: nothing was scraped yet."""
        assert (query.endswith("[900s]"), at) == (True, NOW)
        return NoData(Reason.SERIES_ABSENT, "nothing")

    def scrape_interval(self, _namespace: str, metric: Metric, template: JsonObject | None = None) -> float | None:
        return self._interval if metric.name and template is None else None


# Two that are read from one query.
METRICS = (
    {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"},
    {"name": "latency", "template": {"name": "request-latency"}, "severity": "major"},
)


def deployment(name: str = "fraud", weight: int = 5, version: int = 1, **evidence: float) -> JsonObject:
    container = {"name": "model", "image": "m:1", "ports": [{"containerPort": 8080}]}
    body = defaulted(
        {
            "apiVersion": "serin.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"template": {"spec": {"containers": [container]}}, "metrics": [dict(one) for one in METRICS]},
        }
    )
    body["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": str(version), "generation": 1}
    body["status"] = {
        "phase": "Progressing",
        "stable": {"snapshot": f"{name}-a"},
        "candidate": {"snapshot": f"{name}-b", "since": "2027-01-15T07:59:00Z"},
        "traffic": {"weights": {f"{name}-a": 100 - weight, f"{name}-b": weight}},
        "arms": [{"snapshot": f"{name}-b", "evidence": {metric: {"at": at} for metric, at in evidence.items()}}],
    }
    return body


class Bench:
    def __init__(
        self,
        *bodies: JsonObject,
        interval: float | None = None,
        request_template: Callable[[ModelDeployment], str] = lambda _: "request-errors",
    ) -> None:
        self.cache, self.prometheus, self.looks = ObjectCache(), Prometheus(interval), list[tuple[str, str]]()
        for body in bodies:
            self.cache.put(kinds.MODEL_DEPLOYMENT, body)
        self.now, self.delay = NOW, ""
        self.traffic_estimator = TrafficEstimator(
            self.cache, self.prometheus.ask, self.looks.append, catalog=CATALOG, clock=lambda: NOW
        )
        self.loop = EvidenceLoop(
            self.cache,
            self.prometheus,
            Telemetry(),
            self.looks.append,
            request_template=request_template,
            delay=lambda: self.delay,
            clock=lambda: self.now,
        )

    async def tick(self) -> None:
        await self.loop.tick(self.loop.under_judgement())

    def newest(self, body: JsonObject, metric: str = "errors") -> Tick | None:
        """The newest sample that the evidence of `body` has not counted."""
        found = parse_model_deployment(body)
        [subject] = subjects(read_state(found.status))
        sample = uncounted(subject, metric, self.loop.samples(found).newest)
        return sample.tick if sample else None


def metric_names(body: JsonObject) -> set[str]:
    return {metric["name"] for metric in body["spec"]["metrics"]}


async def test_one_batch_serves_all_rollouts_and_each_is_looked_at() -> None:
    fraud, churn = deployment("fraud"), deployment("churn")
    bench = Bench(fraud, churn, deployment("idle", weight=0))
    await bench.tick()
    [batch] = bench.prometheus.batches
    assert {want.key for want in batch} == {
        ("shop", name, f"{name}-b", metric) for name in ("fraud", "churn") for metric in metric_names(fraud)
    }
    assert sorted(bench.looks) == [("shop", "churn"), ("shop", "fraud")]


async def test_counting_starts_with_the_candidate_and_goes_on_where_the_evidence_ends() -> None:
    body = deployment(errors=NOW - 7)
    bench = Bench(body)
    await bench.tick()
    since = {want.metric.name: want.since for want in bench.prometheus.batches[0]}
    rollout = read_state(body["status"]).rollout
    assert since["errors"] == NOW - 7
    assert rollout
    assert {at for name, at in since.items() if name != "errors"} == {rollout.since}


async def test_a_tick_is_offered_until_its_evidence_is_written_and_then_counts_no_more() -> None:
    before = deployment(errors=NOW - 10)
    bench = Bench(before)
    await bench.tick()
    assert isinstance(bench.newest(before), RatioTick)
    # Another tick was folded and written while this one was under way: they overlap, so this one is void.
    assert bench.newest(deployment(errors=NOW - 5)) is None


async def test_a_tick_of_one_candidate_says_nothing_about_the_next() -> None:
    body = deployment()
    bench = Bench(body)
    await bench.tick()
    body["status"]["arms"][0]["snapshot"] = "fraud-c"
    body["status"]["traffic"]["weights"] = {"fraud-a": 95, "fraud-c": 5}
    assert bench.newest(body) is None


async def test_a_look_without_data_moves_the_start_of_the_next_only_as_far_as_it_is_sure() -> None:
    body = deployment(errors=NOW - 30)
    bench = Bench(body)
    bench.prometheus.answers["errors"] = NoData(Reason.NO_TRAFFIC, "nobody asks", at=NOW - 10)
    await bench.tick()
    assert isinstance(bench.newest(body), NoData)
    bench.prometheus.answers["errors"] = NoData(Reason.PROMETHEUS_UNREACHABLE, "away")
    await bench.tick()
    await bench.tick()
    since = [want.since for batch in bench.prometheus.batches for want in batch if want.metric.name == "errors"]
    assert since[:2] == [NOW - 30, NOW - 10]


async def test_counting_knows_whether_it_goes_on_at_a_sample() -> None:
    """Or at an event, at which nothing was scraped."""
    body = at_step(NOW - 100)
    body["status"]["arms"][0]["evidence"] = {"errors": {"at": NOW - 7}, SPLIT: {"at": NOW - 200}}
    bench = Bench(body, interval=5.0)

    async def counted() -> dict[str, bool]:
        await bench.tick()
        return {want.metric.name: want.counted for want in bench.prometheus.batches[-1]}

    assert await counted() == {"errors": True, "latency": False, SPLIT: False}
    bench.prometheus.answers["latency"] = NoData(Reason.NO_TRAFFIC, "nobody asks", at=NOW - 10)
    await bench.tick()
    assert await counted() == {"errors": True, "latency": True, SPLIT: False}
    body["status"]["arms"][0]["evidence"][SPLIT] = {"at": NOW - 5}
    bench = Bench(body, interval=5.0)
    assert (await counted())[SPLIT]


async def test_a_look_without_data_says_what_delays_it() -> None:
    body = deployment()
    bench = Bench(body)
    bench.prometheus.answers["errors"] = NoData(Reason.STALE, "nothing new", at=NOW - 10)
    bench.delay = "the clock is wrong"
    await bench.tick()
    assert bench.newest(body) == NoData(Reason.STALE, "nothing new; the clock is wrong", at=NOW - 10)
    assert isinstance(bench.newest(body, "latency"), RatioTick)
    assert bench.loop.samples(parse_model_deployment(body)).delay == "the clock is wrong"


async def test_a_deployment_that_cannot_be_read_ends_nobodys_evidence() -> None:
    broken = deployment("churn")
    del broken["metadata"]["generation"]
    bench = Bench(deployment("fraud"), broken)
    await bench.tick()
    assert bench.looks == [("shop", "fraud")]


@in_jumping_time
async def test_the_clock_stands_still_until_a_rollout_begins_and_stops_with_the_last() -> None:
    bench = Bench(deployment(weight=0), interval=0.0)
    task = asyncio.create_task(bench.loop.run())
    await asyncio.sleep(600)
    assert bench.prometheus.batches == []
    bench.cache.put(kinds.MODEL_DEPLOYMENT, deployment(version=2))
    await asyncio.sleep(0.05)
    assert len(bench.prometheus.batches) == 1, "the first tick comes at once"
    bench.cache.put(kinds.MODEL_DEPLOYMENT, deployment(weight=0, version=3))
    await asyncio.sleep(600)
    assert len(bench.prometheus.batches) == 1
    task.cancel()


def test_the_interval_is_the_users_else_the_fastest_scrape_and_a_second_at_least() -> None:
    body = deployment()
    assert Bench(interval=15.0).loop.interval(parse_model_deployment(body)) == 15.0
    assert Bench(interval=0.2).loop.interval(parse_model_deployment(body)) == 1.0
    assert Bench(interval=None).loop.interval(parse_model_deployment(body)) == 5.0
    body["spec"]["analysis"]["interval"] = "20s"
    assert Bench(interval=15.0).loop.interval(parse_model_deployment(body)) == 20.0


async def test_overdispersion_is_measured_once_in_five_minutes() -> None:
    body = deployment()
    bench = Bench(body)

    def known() -> dict[str, float]:
        return dict(bench.loop.samples(parse_model_deployment(body)).overdispersion)

    assert known() == {}
    bench.prometheus.dispersions = {"errors": 3.5}
    for later in (0.0, 10.0, 290.0):
        bench.now = NOW + later
        await bench.tick()
    assert known() == {"errors": 3.5}, "what could not be measured is unknown"
    assert bench.loop.samples(parse_model_deployment(body)).slowest_pods == {"latency": 1.25}
    assert bench.prometheus.asked == [metric_names(body)]
    bench.now = NOW + 301.0
    bench.prometheus.dispersions = {"errors": 1.0}
    await bench.tick()
    assert known() == {"errors": 1.0}


BAKE = 60.0


def at_step(since: float) -> JsonObject:
    """A rollout whose only step has had its weight since then."""
    body = deployment(weight=25)
    body["spec"]["strategy"] = {"canary": {"steps": [{"weight": 25, "bake": f"{BAKE:.0f}s"}]}}
    body["status"]["step"] = {"index": 1, "entered": rfc3339(since), "since": rfc3339(since)}
    return body


def settled(body: JsonObject) -> Want | None:
    """What is asked about the split."""
    bench = Bench(body, interval=5.0)
    asyncio.run(bench.tick())
    return next((want for want in bench.prometheus.batches[0] if want.metric.name == SPLIT), None)


def test_the_split_is_counted_once_requests_under_the_old_weights_have_ended() -> None:
    want = settled(at_step(NOW - 100))
    assert want
    assert want.since == pytest.approx(NOW - 100 + 5 + BAKE / 4)
    assert want.template is None, "the router's own count, whatever the user calls request-errors"


def test_a_weight_that_is_not_reached_yet_is_not_measured() -> None:
    assert settled(deployment()) is None


def test_after_the_last_step_no_split_is_measured() -> None:
    """All traffic goes to the candidate then, while stable still stands."""
    body = at_step(NOW - 100)
    body["status"]["step"]["index"] = 2
    assert settled(body) is None


async def test_the_variation_of_the_split_is_not_asked_for() -> None:
    body = at_step(NOW - 100)
    bench = Bench(body, interval=5.0)
    await bench.tick()
    assert bench.prometheus.asked == [metric_names(body)]


@in_jumping_time
async def test_a_deployment_that_nobody_can_ask_for_stops_no_other_evidence() -> None:
    def request_template(found: ModelDeployment) -> str:
        if found.name == "broken":
            raise LookupError("no such router")
        return "request-errors"

    bench = Bench(deployment("fraud"), deployment("broken"), request_template=request_template)
    running = asyncio.create_task(bench.loop.run())
    await asyncio.sleep(8)
    assert not running.done()
    running.cancel()
    assert len(bench.prometheus.batches) > 1
    assert {want.deployment for batch in bench.prometheus.batches for want in batch} == {"fraud"}


async def test_a_template_without_a_spec_is_one_without_a_query() -> None:
    body = deployment()
    body["spec"]["metrics"] = [{"name": "mine", "template": {"name": "half"}, "severity": "major"}]
    bench = Bench(body)
    place = {"namespace": "shop", "name": "half", "uid": "t", "resourceVersion": "1"}
    bench.cache.put(kinds.METRIC_TEMPLATE, {"metadata": place})
    await bench.tick()
    assert {want.template is None for want in bench.prometheus.batches[0] if want.metric.name == "mine"} == {False}


async def test_what_serves_is_measured_by_itself_while_its_record_is_due() -> None:
    body = deployment(weight=0)
    for gone in ("candidate", "arms"):
        del body["status"][gone]
    body["status"] |= {"phase": "Healthy", "traffic": {"weights": {"fraud-a": 100}}}
    bench = Bench(body)
    assert bench.loop.under_judgement() == [], "nothing is asked while nothing is due"
    due = {**body, "status": {**body["status"], "measuring": {"since": rfc3339(NOW - 3600.0), "begun": rfc3339(NOW)}}}
    bench.cache.put(kinds.MODEL_DEPLOYMENT, _in_version(due, 2))
    await bench.tick()
    [wants] = bench.prometheus.batches
    assert {(one.subject, one.baseline, one.since, one.metric.name) for one in wants} == {
        ("fraud-a", None, NOW - 3600.0, "errors"),
        ("fraud-a", None, NOW - 3600.0, "latency"),
    }
    assert bench.prometheus.asked == [], "nothing is judged, so nobody needs to know how pods differ"
    samples = bench.loop.samples(parse_model_deployment(due))
    assert samples.newest["fraud-a", "errors"].since == NOW - 3600.0
    assert bench.looks == [("shop", "fraud")]
    bench.cache.put(kinds.MODEL_DEPLOYMENT, _in_version(body, 3))
    assert bench.loop.under_judgement() == []


def _in_version(body: JsonObject, version: int) -> JsonObject:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}
