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
from serin.controller.pod_checks import PodChecks
from serin.controller.telemetry import Telemetry
from serin.controller.traffic_estimator import TrafficEstimator
from serin.evaluation.samples import SPLIT, Samples, subjects, uncounted
from serin.metrics.answers import Answer
from serin.metrics.collector import Key, Want
from serin.metrics.counting import in_step
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
        self.missing: set[str] = set()
        self._interval = interval
        self.phase: float | None = None  # seconds after a whole interval, at which there is something new
        self.collected: list[float] = []

    async def collect(self, now: float, wants: Sequence[Want]) -> Mapping[Key, Tick]:
        assert now >= NOW
        self.batches.append(wants)
        self.collected.append(now)
        tick = RatioTick(self.at, Arm(10, 1), Arm(100, 2))
        found = [want for want in wants if want.metric.name not in self.missing]
        return {want.key: self.answers.get(want.metric.name, tick) for want in found}

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

    def in_step(self, wanted: float, within: float) -> float:
        if self.phase is None or self._interval is None:
            return wanted
        assert within >= self._interval / 2.0, "a pause is at least an interval"
        return in_step([NOW + self.phase], self._interval, wanted) + 0.05


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
        self.clock: Callable[[], float] = lambda: self.now
        self.traffic_estimator = TrafficEstimator(
            self.cache, self.prometheus.ask, self.looks.append, catalog=CATALOG, clock=lambda: NOW
        )
        self.pod_checks = PodChecks(self.cache, self.looks.append, clock=lambda: self.now)
        self.loop = EvidenceLoop(
            self.cache,
            self.prometheus,
            Telemetry(),
            self.looks.append,
            request_template=request_template,
            delay=lambda: self.delay,
            clock=lambda: self.clock(),
        )

    async def tick(self) -> None:
        await self.loop.tick(self.loop.under_judgement())

    def samples(self, body: JsonObject) -> Samples:
        found = parse_model_deployment(body)
        return self.loop.samples(found, read_state(found.status))

    def interval(self, body: JsonObject) -> float:
        return self.samples(body).interval

    def newest(self, body: JsonObject, metric: str = "errors") -> Tick | None:
        """The newest sample that the evidence of `body` has not counted."""
        found = parse_model_deployment(body)
        [subject] = subjects(read_state(found.status))
        sample = uncounted(subject, metric, self.loop.samples(found, read_state(found.status)).newest)
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


async def test_a_tick_leaves_no_gap_behind_evidence_that_ends_earlier() -> None:
    """Somebody has put an earlier status back: what was counted before the tick is in no evidence any more."""
    bench = Bench(deployment(errors=NOW - 10))
    await bench.tick()
    earlier = deployment(version=2, errors=NOW - 20)
    assert bench.newest(earlier) is None
    bench.prometheus.answers["errors"] = NoData(Reason.NO_TRAFFIC, "nobody asks", at=NOW - 5)
    await bench.tick()
    bench.cache.put(kinds.MODEL_DEPLOYMENT, earlier)
    await bench.tick()
    [since] = [want.since for want in bench.prometheus.batches[-1] if want.metric.name == "errors"]
    assert since == NOW - 20


async def test_counting_goes_on_from_what_is_not_written() -> None:
    body = deployment(errors=NOW - 20)
    bench = Bench(body)
    bench.loop.unwritten.keep(body, deployment(errors=NOW - 10)["status"])
    await bench.tick()
    [since] = [want.since for want in bench.prometheus.batches[-1] if want.metric.name == "errors"]
    assert since == NOW - 10


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
    assert bench.samples(body).delay == "the clock is wrong"


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
    assert Bench(interval=15.0).interval(body) == 15.0
    assert Bench(interval=0.2).interval(body) == 1.0
    assert Bench(interval=None).interval(body) == 5.0
    body["spec"]["analysis"]["interval"] = "20s"
    assert Bench(interval=15.0).interval(body) == 20.0


async def test_overdispersion_is_measured_once_in_five_minutes() -> None:
    body = deployment()
    bench = Bench(body)

    def known() -> dict[str, float]:
        return dict(bench.samples(body).overdispersion)

    assert known() == {}
    bench.prometheus.dispersions = {"errors": 3.5}
    for later in (0.0, 10.0, 290.0):
        bench.now = NOW + later
        await bench.tick()
    assert known() == {"errors": 3.5}, "what could not be measured is unknown"
    assert bench.samples(body).slowest_pods == {"latency": 1.25}
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
    samples = bench.samples(due)
    assert samples.newest["fraud-a", "errors"].since == NOW - 3600.0
    assert bench.looks == [("shop", "fraud")]
    bench.cache.put(kinds.MODEL_DEPLOYMENT, _in_version(body, 3))
    assert bench.loop.under_judgement() == []


# ── Limits of what serves ─────────────────────────────────────────────────────────────────────────────────────────────

LIMIT = {"name": "errors", "template": {"name": "request-errors"}, "severity": "major", "against": "limit"}


def limited(name: str, version: int = 1, **evidence: float) -> JsonObject:
    """A deployment that serves, and is held to a limit."""
    body = deployment(name, weight=0, version=version)
    for gone in ("candidate", "arms"):
        del body["status"][gone]
    watched = {metric: {"at": at} for metric, at in evidence.items()}
    body["status"] |= {"phase": "Healthy", "traffic": {"weights": {f"{name}-a": 100}}}
    body["status"]["limits"] = {"since": rfc3339(NOW - 600.0), "asked": "x", "evidence": watched}
    body["spec"]["metrics"] = [{**LIMIT, "limit": "0.01"}, dict(METRICS[1])]
    body["spec"]["watch"] = {}
    return body


async def test_all_limits_are_read_in_one_batch_with_what_is_compared() -> None:
    bench = Bench(limited("fraud", errors=NOW - 60.0), limited("churn"), deployment("bank"), interval=5.0)
    await bench.tick()
    [batch] = bench.prometheus.batches
    asked = {(one.deployment, one.subject, one.baseline, one.metric.name, one.since) for one in batch}
    begun = read_state(deployment("bank")["status"]).rollout
    assert begun
    assert asked == {
        ("fraud", "fraud-a", None, "errors", NOW - 60.0),
        ("churn", "churn-a", None, "errors", NOW - 600.0),
        ("bank", "bank-b", "bank-a", "errors", begun.since),
        ("bank", "bank-b", "bank-a", "latency", begun.since),
    }, "what has no limit is read of nobody who is compared with nothing"
    assert bench.prometheus.asked == [{"errors", "latency"}], "how pods differ is known for a limit as well"


@in_jumping_time
async def test_limits_alone_are_read_once_a_minute() -> None:
    bench = ticking(limited("fraud"), limited("churn"))
    running = asyncio.create_task(bench.loop.run())
    await asyncio.sleep(600.0)
    running.cancel()
    assert len(bench.prometheus.batches) == pytest.approx(10, abs=1)
    assert {len(batch) for batch in bench.prometheus.batches} == {2}, "one batch for all"
    assert len(bench.prometheus.asked) == 2, "how pods differ is asked every five minutes"


@pytest.mark.parametrize("phase", [0.0, 0.3, 2.4, 2.6, 4.9])
@in_jumping_time
async def test_collections_fall_into_step_with_the_scrapes_and_keep_their_number(phase: float) -> None:
    bench = ticking(deployment("fraud"))
    bench.prometheus.phase = phase
    running = asyncio.create_task(bench.loop.run())
    await asyncio.sleep(100.0)
    running.cancel()
    late = [(at - NOW - phase) % 5.0 for at in bench.prometheus.collected[1:]]
    assert late == pytest.approx([0.0] * len(late), abs=0.1)
    assert len(late) == pytest.approx(20, abs=1)


@in_jumping_time
async def test_limits_are_read_seldom_beside_a_rollout_and_keep_their_samples() -> None:
    bench = ticking(limited("fraud"), deployment("bank"))
    running = asyncio.create_task(bench.loop.run())
    await asyncio.sleep(300.0)
    running.cancel()
    of = [{want.deployment for want in batch} for batch in bench.prometheus.batches]
    assert len(of) == pytest.approx(60, abs=2)
    assert sum("fraud" in one for one in of) == pytest.approx(5, abs=1)
    assert ("fraud-a", "errors") in bench.samples(limited("fraud")).newest
    assert bench.looks.count(("shop", "fraud")) == sum("fraud" in one for one in of)


@in_jumping_time
async def test_a_rollout_that_begins_does_not_wait_for_the_next_minute() -> None:
    bench = ticking(limited("fraud"))
    running = asyncio.create_task(bench.loop.run())
    await asyncio.sleep(20.0)
    began = bench.clock()
    bench.cache.put(kinds.MODEL_DEPLOYMENT, deployment("bank"))
    await asyncio.sleep(6.0)
    running.cancel()
    assert bench.clock() - began < 7.0
    assert any(want.deployment == "bank" for want in bench.prometheus.batches[-1])


@in_jumping_time
async def test_what_is_not_there_yet_is_asked_for_again_soon() -> None:
    bench = ticking(limited("fraud"))
    bench.prometheus.missing = {"errors"}
    running = asyncio.create_task(bench.loop.run())
    await asyncio.sleep(61.0)
    running.cancel()
    assert len(bench.prometheus.batches) == pytest.approx(5, abs=1)


def ticking(*bodies: JsonObject) -> Bench:
    """With a clock that goes with the loop's."""
    bench = Bench(*bodies, interval=5.0)
    begun = asyncio.get_running_loop().time()
    bench.clock = lambda: NOW + asyncio.get_running_loop().time() - begun
    return bench


def _in_version(body: JsonObject, version: int) -> JsonObject:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}


async def test_a_sample_of_a_metric_that_was_edited_since_is_none_of_the_new_one() -> None:
    body = deployment()
    bench = Bench(body)
    await bench.tick()
    assert bench.newest(body) is not None
    body["spec"]["metrics"][0] |= {"against": "limit", "limit": "0.01"}
    assert (bench.newest(body), bench.newest(body, "latency")) == (None, RatioTick(NOW, Arm(10, 1), Arm(100, 2)))


async def test_a_sample_of_a_template_that_was_edited_since_is_none_of_the_new_one() -> None:
    body = deployment()
    body["spec"]["metrics"] = [{"name": "mine", "template": {"name": "half"}, "severity": "major"}]
    bench = Bench(body)
    place = {"namespace": "shop", "name": "half", "uid": "t"}

    def edit(version: int, **spec: str) -> None:
        metadata = {**place, "resourceVersion": str(version)}
        bench.cache.put(kinds.METRIC_TEMPLATE, {"metadata": metadata, "spec": {"value": spec}})

    edit(1, query="1")
    await bench.tick()
    assert bench.newest(body, "mine") is not None
    edit(2, query="2")
    assert bench.newest(body, "mine") is None
