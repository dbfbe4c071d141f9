"""Stories of the whole operator. Each ends at rest, however long that takes: what goes wrong on the way is a test's.

The namespace `shop` has the story. `bank` has a rollout of its own beside it, so that every story has two tenants.
"""

import asyncio
import json
from typing import Any

from serin.analysis import ratio
from serin.api.json import JsonObject
from serin.api.names import ANNOTATION_ABORT, ANNOTATION_RETRY, ANNOTATION_ROLLBACK_TO
from serin.api.records import Record, newest
from serin.api.retraining import RunPhase
from serin.api.snapshots import read_snapshot
from serin.cluster import kinds
from serin.cluster.protocol import Kind
from tests.crds import schema
from tests.simulation import clock
from tests.simulation.api import faults, status
from tests.simulation.api.faults import Fault
from tests.simulation.api.status import ApiError
from tests.simulation.kubelet import Behaviour, image, snapshot
from tests.simulation.traffic import Quality
from tests.simulation.workloads import JobEnd
from tests.system.process import WEBHOOK, Pod
from tests.system.stage import BAD, METADATA, Stage, Story

# What the schema writes where a user writes no metrics.
_SPEC = schema("ModelDeployment")["properties"]["spec"]["properties"]
DEFAULT_METRICS: list[JsonObject] = _SPEC["metrics"]["default"]
REST = 75.0  # seconds in which everything that was drained is gone, also when the leader dies meanwhile


async def _two_tenants(stage: Stage, **changes: Any) -> None:
    """Both have version 1, and `bank` is on its way to version 2. `changes`: of the spec of `shop`."""
    stage.create("shop", **changes)
    stage.create("bank")
    await stage.serves("shop", "1")
    await stage.serves("bank", "1")
    await asyncio.sleep(5.0)  # every Envoy has it
    for place in stage.clients:
        stage.watch(place)
    stage.upgrade("bank", "2")


async def _rest(stage: Stage) -> None:
    await stage.serves("bank", "2")
    await asyncio.sleep(REST)


async def good_candidate(stage: Stage) -> None:
    """Version 2 is promoted."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await _rest(stage)


async def bad_candidate(stage: Stage) -> None:
    """Version 2 fails a fifth of its requests, and is rolled back."""
    stage.qualities["shop", "2"] = BAD
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    seen = stage.clients["shop", "fraud"].seen
    assert seen.shielded, "the candidate's failures are answered by stable"
    assert seen.failed - seen.nobody < seen.requests / 100
    await _rest(stage)


async def gone_bad_at_half(stage: Stage) -> None:
    """Version 2 begins to fail when it has half of the traffic."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2") == 50)
    stage.qualities["shop", "2"] = BAD
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await _rest(stage)


def requests_of_the_candidate(stage: Stage) -> tuple[float, float]:
    """Requests of the candidate of `shop`: what the evidence has counted, and what its routers have sent."""
    rollout = stage.state("shop").rollout
    if rollout is None:
        return 0.0, 0.0
    evidence = rollout.arms[0].evidence.get("errors")
    counted = ratio.read(evidence).total.candidate if evidence else 0
    return counted, sum(proxy.attempts[rollout.candidate] for proxy in stage.proxies)


async def counted_at_the_pods(stage: Stage) -> None:
    """The routers are read themselves, and Prometheus takes over whenever one is not: each request counts once."""
    await _two_tenants(stage, strategy={"canary": {"steps": [{"weight": 20, "bake": "1h"}]}})
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    for number in range(6):
        address = f"10.8.0.{number % 2 + 1}"
        await asyncio.sleep(13.7 + number)
        stage.network.slow[address] = 30.0
        await asyncio.sleep(1.9 + 9.7 * (number % 3))
        stage.prometheus.unreachable = "connection refused" if number == 3 else ""
        del stage.network.slow[address]
        await asyncio.sleep(3.1 if number == 3 else 0.0)
        stage.prometheus.unreachable = ""
        counted, sent = requests_of_the_candidate(stage)
        assert counted <= sent, f"{counted} of {sent} requests are counted"
    await stage.be_quiet("shop")
    await asyncio.sleep(20.0)
    counted, sent = requests_of_the_candidate(stage)
    assert counted == sent or (not _unharmed(stage) and counted < sent), f"{counted} of {sent} requests are counted"
    stage.annotate("shop", ANNOTATION_ABORT)
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await _rest(stage)


async def gone_bad_at_the_pods(stage: Stage) -> None:
    """Version 2 begins to fail, which the routers say long before Prometheus scrapes them the next time."""
    await _two_tenants(stage, strategy={"canary": {"steps": [{"weight": 20, "bake": "1h"}]}})
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    await asyncio.sleep(30.0)
    stage.qualities["shop", "2"] = BAD
    began = clock.now()
    await stage.until(lambda: stage.serving("shop") == {"1": 100})
    assert clock.now() - began < stage.prometheus.interval or not _unharmed(stage), f"{clock.now() - began:.1f} s"
    await stage.serves("shop", "1")
    await _rest(stage)


MIRROR: dict[str, Any] = {"canary": {"steps": [{"mirror": 20, "bake": "20s"}, {"weight": 50, "bake": "20s"}]}}


def _asked_by_copies_alone(stage: Stage) -> None:
    """Version 2 has got requests, and no client an answer of its."""
    asked = {stage.version(name)[1] for proxy in stage.proxies for name in proxy.attempts if name}
    seen = stage.clients["shop", "fraud"].seen
    assert "2" in asked, "copies arrive"
    answered = {stage.version(name) for name in seen.by}
    assert ("shop", "2") not in answered, f"clients got answers of a version that only gets copies: {seen}"
    assert not seen.shielded


async def good_copies(stage: Stage) -> None:
    """Version 2 gets copies first, and is promoted."""
    await _two_tenants(stage, strategy=MIRROR)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").split.mirror)
    await asyncio.sleep(15.0)
    _asked_by_copies_alone(stage)
    await stage.serves("shop", "2")
    await _rest(stage)


async def bad_copies(stage: Stage) -> None:
    """Version 2 fails a fifth of the copies, and is rolled back before it has answered anybody."""
    stage.qualities["shop", "2"] = BAD
    await _two_tenants(stage, strategy=MIRROR)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    _asked_by_copies_alone(stage)
    await _rest(stage)


HOLDBACK: dict[str, Any] = {"holdback": {"weight": 5, "for": "60s"}}


async def good_holdback(stage: Stage) -> None:
    """Version 2 is promoted, and watched for a minute while version 1 keeps a share and its pods."""
    await _two_tenants(stage, watch=HOLDBACK)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").watch)
    await stage.until(lambda: stage.serving("shop") == {"1": 5, "2": 95})
    assert stage.pods_of("shop") == {"1": 2, "2": 2}
    await stage.until(lambda: stage.state("shop").watch is None)
    await stage.serves("shop", "2")
    await _rest(stage)


async def gone_bad_in_the_holdback(stage: Stage) -> None:
    """Version 2 begins to fail 20 seconds after its promotion: version 1 is stable again."""
    await _two_tenants(stage, watch=HOLDBACK)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop") == {"1": 5, "2": 95})
    await asyncio.sleep(20.0)
    stage.qualities["shop", "2"] = BAD
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await _rest(stage)


# Half of the requests that `BAD` fails, in windows of a story; the errors of a rollout are compared with stable.
LIMIT: dict[str, Any] = {
    "name": "availability",
    "template": {"name": "request-errors"},
    "severity": "major",
    "against": "limit",
    "limit": "0.1",
    "window": "1m",
}


async def gone_bad_long_after(stage: Stage) -> None:
    """Version 2 is over a limit a minute after its promotion, with nobody held back: version 1 comes up again."""
    await _two_tenants(stage, metrics=[*DEFAULT_METRICS, LIMIT], watch={"interval": "10s"})
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await asyncio.sleep(60.0)
    assert stage.pods_of("shop") == {"2": 2}, "no version is kept for that"
    kept = stage.state("shop").held_to_limits
    assert kept
    assert kept.evidence
    assert not kept.breached
    stage.qualities["shop", "2"] = BAD
    await stage.until(lambda: (last := stage.state("shop").last_rollback) and last.outcome)
    assert stage.status("shop")["lastRollback"]["outcome"] == "Recovered"
    await stage.serves("shop", "1")
    await _rest(stage)


async def validation_never_ends(stage: Stage) -> None:
    """Version 2 is over a limit, and the Job that compares version 1 with it hangs: version 1 serves all the same."""
    stage.workloads.jobs["shop"] = JobEnd(after=1e6)
    said = await _validated(stage)
    assert "within 20s" in said or "DeadlineExceeded" in said
    assert len(jobs_made(stage)) == 1


async def validation_is_not_admitted(stage: Stage) -> None:
    """Whatever admits Jobs is down: one is tried to be made again and again, and no longer than a validation lasts."""
    said = await _validated(stage, status.internal("failed calling webhook policy.test: no endpoints available"))
    assert "has not answered within 20s" in said
    assert not jobs_made(stage)


async def validation_is_forbidden(stage: Stage) -> None:
    """A quota is full, or Serin may make no Jobs here: nobody waits for one that there cannot be."""
    said = await _validated(stage, status.forbidden(kinds.JOB, "fraud-validate", "exceeded quota: jobs"))
    assert "exceeded quota: jobs" in said
    assert not jobs_made(stage)


async def _validated(stage: Stage, refusal: ApiError | None = None) -> str:
    """Version 2 serves and is over a limit, and Jobs meet the refusal; answers what is said of the validation."""

    def policy(kind: Kind, _body: JsonObject, _old: JsonObject | None) -> None:
        if kind == kinds.JOB and refusal:
            raise refusal

    stage.server.admission.append(policy)
    rollback = {"validation": {"timeout": "20s", "job": TRAIN}}
    await _two_tenants(stage, metrics=[*DEFAULT_METRICS, LIMIT], watch={"interval": "10s"}, rollback=rollback)
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await asyncio.sleep(60.0)
    stage.qualities["shop", "2"] = BAD
    await stage.until(lambda: stage.state("shop").last_rollback)
    last = stage.state("shop").last_rollback
    assert last
    assert last.validation.startswith("Skipped: ")
    await stage.serves("shop", "1")
    await _rest(stage)
    return last.validation


async def tells_of_a_minor_limit(stage: Stage) -> None:
    """Version 2 is over a minor limit after its promotion: that is told, and nothing else happens."""
    await _two_tenants(stage, metrics=[*DEFAULT_METRICS, {**LIMIT, "severity": "minor"}], watch={"interval": "10s"})
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await asyncio.sleep(30.0)
    stage.qualities["shop", "2"] = BAD
    await stage.until(lambda: stage.status("shop")["reason"] == "OverLimit")
    [within] = [one for one in stage.status("shop")["conditions"] if one["type"] == "WithinLimits"]
    assert within["status"] == "False"
    assert "availability" in within["message"]
    await _rest(stage)


async def tells_of_a_rollback(stage: Stage) -> None:
    """Version 2 fails a fifth of its requests: its beginning and its end are told to whoever is on call."""
    stage.qualities["shop", "2"] = BAD
    await _two_tenants(stage, notifications=[{"webhook": {"name": WEBHOOK}}])
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await stage.until(lambda: not stage.state("shop").outbox.pending)
    assert len({one["id"] for one in stage.told}) == 2
    await _rest(stage)


PROBES: dict[str, Any] = {
    "goldenProbes": [{"name": "known", "path": "/predict", "body": '{"x": [1]}', "expected": '{"y": [0.12]}'}],
    "every": "10s",
}


def _answered(stage: Stage, version: str) -> int:
    """Requests of clients that a version has got, and copies of them."""
    return sum(proxy.attempts[one] for proxy in stage.proxies for one in proxy.attempts if _is(stage, one, version))


def _is(stage: Stage, snapshot: str, version: str) -> bool:
    return bool(snapshot) and stage.version(snapshot) == ("shop", version)


async def right_answers(stage: Stage) -> None:
    """Version 2 answers its golden probe, also when it is asked again, and is promoted."""
    await _two_tenants(stage, integrity=PROBES)
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    assert stage.asked["shop", "2"] > 4, f"each pod is asked before it gets anything, and again: {stage.asked}"
    assert not stage.asked["shop", "1"], "the first version is not asked"
    await _rest(stage)


async def wrong_answers(stage: Stage) -> None:
    """Version 2 answers quickly, with 200 and wrongly: no client ever asks it."""
    stage.answers["shop", "2"] = b'{"y": [0.93]}'
    await _two_tenants(stage, integrity=PROBES)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    last = stage.state("shop").last_rollback
    assert last
    assert "y[0] is 0.93, expected 0.12 within 0.001" in last.message
    await stage.serves("shop", "1")
    await _rest(stage)
    assert _answered(stage, "2") == 0


async def answers_late(stage: Stage) -> None:
    """Version 2 is ready for 40 seconds before it answers, and waits for that without any traffic."""
    stage.answers["shop", "2"] = b""
    await _two_tenants(stage, integrity=PROBES)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.status("shop")["reason"] == "GoldenProbesPending")
    await asyncio.sleep(40.0)
    assert _answered(stage, "2") == 0
    del stage.answers["shop", "2"]
    await stage.serves("shop", "2")
    await _rest(stage)


async def never_answers(stage: Stage) -> None:
    """Version 2 is ready and never answers: it is rolled back at the progress deadline."""
    stage.answers["shop", "2"] = b""
    await _two_tenants(stage, integrity=PROBES)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await _rest(stage)
    assert _answered(stage, "2") == 0


async def goes_wrong_under_traffic(stage: Stage) -> None:
    """Version 2 begins to answer wrongly when it has half of the traffic: the next time that it is asked ends it."""
    await _two_tenants(stage, integrity=PROBES)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2") == 50)
    stage.answers["shop", "2"] = b'{"y": [0.93]}'
    began = clock.now()
    await stage.until(lambda: stage.state("shop").last_rollback)
    assert clock.now() - began < 20.0
    await stage.serves("shop", "1")
    await _rest(stage)


TRAIN: JsonObject = {"spec": {"template": {"spec": {"containers": [{"name": "train", "image": "train:1"}]}}}}
AFTER_A_ROLLBACK: JsonObject = {
    "triggers": [{"rollbacks": {"count": 1, "within": "1h"}}],
    "cooldown": "1h",
    "job": TRAIN,
}


def jobs_made(stage: Stage) -> list[str]:
    """Every Job that was ever made, by its name."""
    made = (one for one in stage.server.store.history() if one.kind == kinds.JOB and one.before is None)
    return [str(one.last["metadata"]["name"]) for one in made]


async def retrained(stage: Stage) -> None:
    """Version 2 is rolled back, and a Job trains the model anew: one, whatever happens."""
    stage.qualities["shop", "2"] = BAD
    await _two_tenants(stage, retraining=AFTER_A_ROLLBACK)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.until(lambda: _run_of(stage) and not _run_of(stage).under_way)
    await stage.serves("shop", "1")
    assert _run_of(stage).phase is RunPhase.SUCCEEDED
    assert jobs_made(stage) == [_run_of(stage).name]
    await _rest(stage)


def _run_of(stage: Stage) -> Any:
    kept = stage.state("shop").retraining
    return kept.run if kept else None


# By pod: the label of Envoy's counters that tells them apart.
SLICED: dict[str, Any] = {
    "name": "by-pod",
    "ratio": {"bad": "envoy_serin_failures{ {{.version}} }", "total": "envoy_serin_attempts{ {{.version}} }"},
    "severity": "major",
    "by": "serin_slot",
}


async def bad_by_slices(stage: Stage) -> None:
    """Version 2 fails; its errors are judged pod by pod, and by nothing else."""
    stage.qualities["shop", "2"] = BAD
    await _two_tenants(stage, metrics=[SLICED])
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    last = stage.state("shop").last_rollback
    assert last
    assert "serin_slot" in last.message
    await stage.serves("shop", "1")
    await _rest(stage)


async def good_by_slices(stage: Stage) -> None:
    """Version 2 is as good as version 1 on each of its pods, and is promoted."""
    await _two_tenants(stage, metrics=[SLICED])
    stage.upgrade("shop", "2")
    await stage.until(lambda: "no serin_slot is proven worse, of" in _message(stage, "by-pod"))
    await stage.serves("shop", "2")
    await _rest(stage)


# What failed is compared with the same hour of the past four weeks.
PAST: dict[str, Any] = {
    "name": "availability",
    "template": {"name": "request-errors"},
    "severity": "major",
    "against": "history",
    "window": "10m",
}


async def worse_than_the_weeks_before(stage: Stage) -> None:
    """Version 2 fails more than was usual in the past four weeks, ten minutes after its promotion: version 1 again."""
    stage.remember_weeks("shop", rate=50.0, failing=0.01)
    await _two_tenants(stage, metrics=[*DEFAULT_METRICS, PAST], watch={"interval": "10s"})
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await stage.until(lambda: "usual" in _message(stage, "availability"), seconds=800.0)
    assert stage.status("shop")["reason"] == "Serving"
    stage.qualities["shop", "2"] = BAD
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await _rest(stage)


async def world_moves(stage: Stage) -> None:
    """Version 2 fails more than was usual, longer after its promotion than it could be its own doing: that is told."""
    stage.remember_weeks("shop", rate=50.0, failing=0.01)
    watch = {"interval": "10s", "rollBackWithin": "5m"}
    await _two_tenants(stage, metrics=[*DEFAULT_METRICS, PAST], watch=watch)
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await stage.until(lambda: "usual" in _message(stage, "availability"), seconds=800.0)
    stage.qualities["shop", "2"] = BAD
    await stage.until(lambda: stage.status("shop")["reason"] == "DataDrift")
    assert stage.status("shop")["diagnosis"]["trouble"] == "DataDrift"
    await asyncio.sleep(60.0)
    await _rest(stage)


def _message(stage: Stage, metric: str) -> str:
    rows = stage.status("shop").get("metrics") or ()
    return next((str(one["message"]) for one in rows if one["name"] == metric), "")


CHECKS: dict[str, Any] = {"runtime": "mlserver", "integrity": {"signature": "Required", "digest": "Required"}}


async def fits_and_is_what_it_says(stage: Stage) -> None:
    """Version 2 takes what version 1 takes, in all pods from one image, and is promoted."""
    await _two_tenants(stage, **CHECKS)
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await _rest(stage)
    first, second = (stage.snapshot("shop", version)["status"] for version in ("1", "2"))
    assert first["signature"] == second["signature"] == json.loads(METADATA)
    assert list(second["images"]) == ["model"]


async def takes_another_input(stage: Stage) -> None:
    """Version 2 takes FP64 where clients send FP32: none of them ever asks it."""
    stage.metadata["shop", "2"] = METADATA.replace(b"FP32", b"FP64")
    await _two_tenants(stage, **CHECKS)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    last = stage.state("shop").last_rollback
    assert last
    assert last.message == "input x is FP64 [-1, 4], stable has FP32 [-1, 4]"
    await stage.serves("shop", "1")
    await _rest(stage)
    assert _answered(stage, "2") == 0


async def tag_moves_in_mid_rollout(stage: Stage) -> None:
    """What version 2's tag names changes after its first pod has come up; the next pod ends the rollout."""
    tried = {"weight": 20, "bake": "20s"}, {"weight": 50, "bake": "20s"}
    await _two_tenants(stage, replicas=4, strategy={"canary": {"steps": list(tried)}}, **CHECKS)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2") == 20)
    stage.kubelets.images["registry.test/model:1"] = "registry.test/model:another"
    await stage.until(lambda: stage.state("shop").last_rollback)
    last = stage.state("shop").last_rollback
    assert last
    assert last.message.startswith("container model runs sha256:")
    assert "what registry.test/model:1 names has changed" in last.message
    await stage.serves("shop", "1")
    await _rest(stage)


# The reward is an answer within 20 ms, which Envoy counts.
REWARD: dict[str, Any] = {
    "name": "quick",
    "ratio": {
        "bad": 'envoy_serin_milliseconds_bucket{le="20", {{.version}}}',
        "total": "envoy_serin_milliseconds_count{ {{.version}} }",
    },
}
BANDIT: dict[str, Any] = {
    "reward": {"metric": "quick"},
    "interval": "10s",
    "minDuration": "40s",
    "minRequests": 300,
    "variants": [{"name": "b", "model": {"version": "3"}}],
}


async def best_of_three(stage: Stage) -> None:
    """Of three arms of a bandit version 2 fails a fifth of its requests and is out; 3 is quicker than 1, and wins."""
    stage.qualities["shop", "2"] = BAD
    stage.qualities["shop", "3"] = Quality(errors=0.002, median=12.0)
    metrics = [{"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}, REWARD]
    await _two_tenants(stage, metrics=metrics)
    stage.change("shop", model={"version": "2"}, strategy={"canary": None, "bandit": BANDIT})
    await stage.until(lambda: "Eliminated" in str(stage.status("shop").get("arms")))
    assert "2" not in stage.serving("shop")
    await stage.until(lambda: stage.serving("shop").get("3", 0) > 40)
    await stage.serves("shop", "3")
    seen = stage.clients["shop", "fraud"].seen
    assert seen.failed - seen.nobody < seen.requests / 100, "stable answers what an arm fails"
    await _rest(stage)


async def never_ready(stage: Stage) -> None:
    """Version 2 never loads its model: it gets no request, and its deadline passes."""
    await _two_tenants(stage)
    stage.kubelets.behave(image("registry.test/model:broken"), Behaviour(never_ready=True))
    container = {"name": "model", "image": "registry.test/model:broken", "ports": [{"containerPort": 8080}]}
    stage.change("shop", model={"version": "2"}, template={"spec": {"containers": [container]}})
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await _rest(stage)


async def runtime_is_to_blame(stage: Stage) -> None:
    """Version 2 comes with an image that never loads a model: it ends on version 1's image, by itself."""
    await _two_tenants(stage, rollback={"scope": "auto"}, progressDeadline="60s")
    stage.kubelets.behave(image("registry.test/model:broken"), Behaviour(never_ready=True))
    container = {"name": "model", "image": "registry.test/model:broken", "ports": [{"containerPort": 8080}]}
    stage.change("shop", model={"version": "2"}, template={"spec": {"containers": [container]}})
    await stage.until(lambda: stage.state("shop").bisection)
    await stage.serves("shop", "2")
    await stage.until(lambda: (found := stage.state("shop").bisection) and found.message)
    await _rest(stage)


async def model_is_to_blame(stage: Stage) -> None:
    """Version 2 fails a fifth of its requests on any image: version 1 ends on the new image, after one more try."""
    stage.qualities["shop", "2"] = BAD
    await _two_tenants(stage, rollback={"scope": "auto"})
    container = {"name": "model", "image": "registry.test/model:2", "ports": [{"containerPort": 8080}]}
    stage.change("shop", model={"version": "2"}, template={"spec": {"containers": [container]}})
    await stage.until(lambda: (found := stage.state("shop").bisection) and found.message)
    await stage.serves("shop", "1")
    search = stage.state("shop").bisection
    assert search is not None
    assert [bool(one.reason) for one in search.tries] == [True, False]
    assert search.present is not None
    assert search.present.snapshot == stage.state("shop").stable
    await _rest(stage)


async def scaled_while_it_starts(stage: Stage) -> None:
    """An autoscaler asks for more pods all the time, and a pod takes 45 s: version 2 is fine, and never complete."""
    at_once = {"canary": {"steps": [{"weight": 100, "bake": "20s"}]}}
    await _two_tenants(stage, progressDeadline="1m30s", strategy=at_once)
    stage.kubelets.behave(image("registry.test/model:large"), Behaviour(start=45.0))
    container = {"name": "model", "image": "registry.test/model:large", "ports": [{"containerPort": 8080}]}
    stage.change("shop", model={"version": "2"}, template={"spec": {"containers": [container]}})
    for replicas in range(3, 9):
        await asyncio.sleep(25.0)
        stage.change("shop", replicas=replicas)
        assert stage.serving("shop") == {"1": 100}, "all of its pods are never ready"
    await stage.serves("shop", "2")
    await _rest(stage)


async def aborted(stage: Stage) -> None:
    """A person ends the rollout of version 2."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    stage.annotate("shop", ANNOTATION_ABORT)
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await _rest(stage)


async def goes_back(stage: Stage) -> None:
    """Version 2 is promoted, and later a person goes back to version 1."""
    await _two_tenants(stage)
    first = stage.state("shop").stable
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await asyncio.sleep(REST)
    stage.annotate("shop", ANNOTATION_ROLLBACK_TO, f"{first}@1")
    await stage.serves("shop", "1")
    await _rest(stage)


async def goes_back_to_the_best(stage: Stage) -> None:
    """Version 3 is the worst of three. The best is version 2, which cannot run any more: version 1 comes back."""
    errors = [{"name": "errors", "template": {"name": "request-errors"}, "severity": "info"}]
    stage.qualities["shop", "2"] = Quality()
    stage.qualities["shop", "3"] = Quality(errors=0.05)
    await _two_tenants(stage, metrics=errors, snapshots={"every": "1m"})
    container = {"name": "model", "image": "registry.test/model:2", "ports": [{"containerPort": 8080}]}
    stage.change("shop", model={"version": "2"}, template={"spec": {"containers": [container]}})
    await stage.serves("shop", "2")
    container["image"] = "registry.test/model:3"
    stage.change("shop", model={"version": "3"}, template={"spec": {"containers": [container]}})
    await stage.serves("shop", "3")
    await asyncio.sleep(REST)
    assert {version: _errors(stage, version) < 0.01 for version in "123"} == {"1": True, "2": True, "3": False}
    assert _errors(stage, "2") < _errors(stage, "1")
    assert _occasions(stage, "3") == ["Created", "Promoted", "Scheduled"]
    stage.kubelets.behave(image("registry.test/model:2"), Behaviour(never_ready=True))
    stage.annotate("shop", ANNOTATION_ROLLBACK_TO, "best:errors@1")
    await stage.until(lambda: stage.state("shop").manual_rollback)
    await stage.serves("shop", "1")
    await _rest(stage)
    assert [_occasions(stage, one)[:4] for one in "12"] == [
        ["Created", "Promoted", "Replaced", "Restored"],
        ["Created", "Promoted", "Replaced"],
    ]
    assert _occasions(stage, "3")[-1] == "RolledBack"


def _records(stage: Stage, version: str) -> tuple[Record, ...]:
    found = map(read_snapshot, stage.server.store.all(kinds.MODEL_SNAPSHOT, "shop"))
    return next(one.records for one in found if one.model_version == version)


def _occasions(stage: Stage, version: str) -> list[str]:
    return [one.occasion.value for one in _records(stage, version)]


def _errors(stage: Stage, version: str) -> float:
    """The share of bad requests that is on record of a version of `shop`."""
    measured = newest(_records(stage, version), "errors", "template request-errors")
    assert measured, f"version {version} has no record"
    return measured.value


async def overtaken(stage: Stage) -> None:
    """While version 2 is rolled out the user asks for version 3."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    stage.upgrade("shop", "3")
    await stage.serves("shop", "3")
    await _rest(stage)


async def scaled(stage: Stage) -> None:
    """The user asks for more pods while version 2 is rolled out, and for fewer afterwards."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    stage.change("shop", replicas=4)
    await stage.serves("shop", "2")
    stage.change("shop", replicas=1)
    await stage.until(lambda: stage.pods_of("shop").get("2") == 1)
    await _rest(stage)


async def deleted(stage: Stage) -> None:
    """The deployment is deleted in the middle of its rollout; nothing of it is left."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    stage.delete("shop")
    await stage.until(lambda: not stage.pods_of("shop"))
    await _rest(stage)
    assert not any("shop/fraud" in envoy.deployments() for envoy in stage.envoys), "Envoys know it no longer"


async def each_step_by_itself(stage: Stage) -> None:
    """Steps that bake for a second and ask for requests of their own: nothing of an earlier step counts."""
    strategy = {
        "canary": {
            "steps": [
                {"weight": 20, "bake": "1s", "minRequests": 400},
                {"weight": 25, "bake": "1s"},
                {"weight": 30, "bake": "1s"},
                {"weight": 33, "bake": "1s", "minRequests": 3000},  # one pod is enough for each
            ]
        }
    }
    await _two_tenants(stage, strategy=strategy)
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await _rest(stage)


async def slow_candidate(stage: Stage) -> None:
    """Version 2 takes ten times as long; latency is a major metric."""
    stage.qualities["shop", "2"] = Quality(errors=0.002, median=200.0)
    errors = {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}
    latency = {"name": "latency", "template": {"name": "request-latency"}, "severity": "major"}
    await _two_tenants(stage, metrics=[errors, latency])
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await _rest(stage)


async def refusing_candidate(stage: Stage) -> None:
    """Version 2 answers 422 to everything: no failure, and quick. It is found by a metric that every rollout has."""
    stage.qualities["shop", "2"] = Quality(rejects=1.0, median=5.0)
    stage.qualities["shop", "1"] = Quality(errors=0.002, rejects=0.02)
    await _two_tenants(stage, metrics=DEFAULT_METRICS)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").last_rollback)
    last = stage.state("shop").last_rollback
    assert last
    assert last.metric == "rejections"
    await stage.serves("shop", "1")
    seen = stage.clients["shop", "fraud"].seen
    refused = {stage.version(name)[1]: count for name, count in seen.rejected.items()}
    assert refused["2"] < 0.2 * 400.0 * 20.0, "it had its first share for less than its first bake"
    assert not seen.shielded, "an answer is nothing to send again"
    await _rest(stage)


async def stable_is_lost(stage: Stage) -> None:
    """Stable's pods are gone while version 2, which has half of the traffic, begins to fail: it keeps what it has."""
    await _two_tenants(stage)
    stable = str(stage.state("shop").stable)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2") == 50)
    stage.may_lose.add(("shop", "fraud"))
    stage.qualities["shop", "2"] = BAD
    await asyncio.sleep(4.0)  # in which stable answers yet, or nothing could be compared
    _break(stage, stable, Behaviour(never_ready=True))
    await asyncio.sleep(60.0)
    assert stage.serving("shop") == {"1": 50, "2": 50}
    _break(stage, stable, Behaviour())
    await stage.until(lambda: stage.state("shop").last_rollback)
    await stage.serves("shop", "1")
    await _rest(stage)


def _break(stage: Stage, name: str, behaviour: Behaviour) -> None:
    """Restart every pod of a snapshot; they behave so from now on."""
    stage.kubelets.behave(snapshot(name), behaviour)
    for pod in stage.pods_with("shop", stage.version(name)[1]):
        stage.kubelets.crash("shop", pod["metadata"]["name"])


async def template_refused(stage: Stage) -> None:
    """A policy webhook refuses version 2's pods; the policy is mended, and the user asks to try again."""
    await _two_tenants(stage)

    def policy(kind: Kind, body: JsonObject, _old: JsonObject | None) -> None:
        if kind == kinds.DEPLOYMENT and "forbidden" in str(body["spec"]["template"]):
            raise ApiError(422, "Invalid", "admission webhook policy.test denied the request: forbidden image")

    stage.server.admission.append(policy)
    container = {"name": "model", "image": "registry.test/model:forbidden", "ports": [{"containerPort": 8080}]}
    stage.change("shop", model={"version": "2"}, template={"spec": {"containers": [container]}})
    await stage.until(lambda: stage.state("shop").last_rollback)
    await asyncio.sleep(REST)
    stage.server.admission.remove(policy)
    stage.annotate("shop", ANNOTATION_RETRY)
    await stage.serves("shop", "2")
    await _rest(stage)


async def made_again(stage: Stage) -> None:
    """The deployment is deleted in the middle of its rollout and made again at once, under the same name."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    stage.delete("shop")
    await stage.until(lambda: not stage.status("shop"))
    stage.create("shop")
    await stage.serves("shop", "1")
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await _rest(stage)


async def unready_unseen(stage: Stage) -> None:
    """One of version 2's pods is not ready any more, and no watch has said so: live reads show it."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2") == 50)
    for kind in ("Pod", "EndpointSlice", "Deployment"):
        stage.control_plane.watches.freeze(watcher=stage.leader().name, kind=kind)
    name = stage.pods_with("shop", "2")[0]["metadata"]["name"]
    stage.show_ready(_pod(stage, name), ready=False)
    await asyncio.sleep(60.0)
    assert stage.serving("shop") == {"1": 50, "2": 50}
    stage.show_ready(_pod(stage, name), ready=True)
    for kind in ("Pod", "EndpointSlice", "Deployment"):
        stage.control_plane.watches.thaw(watcher=stage.leader().name, kind=kind)
    await stage.serves("shop", "2")
    await _rest(stage)


def _pod(stage: Stage, name: str) -> JsonObject:
    record = stage.server.store.get(kinds.POD, ("shop", name))
    assert record
    return record.body


async def behind(stage: Stage) -> None:
    """The leader's watch is a minute behind, and somebody touches the resource just before version 2 begins to fail."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2") == 50)
    stage.control_plane.watches.lag(60.0, watcher=stage.leader().name, kind="ModelDeployment")
    stage.annotate("shop", "example.com/ticket", "1234")
    stage.qualities["shop", "2"] = BAD
    began = clock.now()
    await stage.until(lambda: stage.state("shop").last_rollback)
    assert clock.now() - began < 25.0, f"a watch that is behind delays the rollback: {clock.now() - began:.0f} s"
    stage.control_plane.watches.thaw(watcher=stage.leader().name, kind="ModelDeployment")
    await stage.serves("shop", "1")
    await _rest(stage)


async def slow_watches(stage: Stage) -> None:
    """Every watch is three seconds behind: the operator's own writes are known to it all the same."""
    await _two_tenants(stage)
    stage.control_plane.watches.lag(3.0, watcher=stage.leader().name)
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await _rest(stage)


async def unready_at_first(stage: Stage) -> None:
    """The first version's pod is ready, but not at the moment of the live read; no watch tells that it is again."""
    stage.create("bank")
    await stage.serves("bank", "1")
    stage.create("shop", replicas=1)
    cluster = stage.leader().cluster
    assert cluster
    usual, watches, kept = cluster.plan, stage.control_plane.watches, ("Pod", "EndpointSlice", "Deployment")

    def unready(request: faults.Request) -> Fault | None:
        if (request.verb, request.kind.name, request.namespace) == ("list", "Pod", "shop"):
            cluster.plan = usual
            for kind in kept:
                watches.freeze(watcher=cluster.replica, kind=kind)
            name = stage.pods_with("shop", "1")[0]["metadata"]["name"]
            stage.show_ready(_pod(stage, name), ready=False)
            asyncio.get_running_loop().call_later(3.0, lambda: stage.show_ready(_pod(stage, name), ready=True))
        return usual(request)

    cluster.plan = unready
    await stage.serves("shop", "1", 60.0)
    for kind in kept:
        watches.thaw(watcher=cluster.replica, kind=kind)
    stage.upgrade("bank", "2")
    await _rest(stage)


async def late_deletion(stage: Stage) -> None:
    """A deletion of version 2's pods gets lost, arrives much later, and meets a new rollout of the same version."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    cluster = stage.leader().cluster
    assert cluster
    cluster.late = 25.0
    cluster.plan = faults.first_of(faults.matching(Fault.LATE, kind="Deployment", verb="delete"), cluster.plan)
    stage.annotate("shop", ANNOTATION_ABORT)
    await stage.until(lambda: "2" not in stage.pods_of("shop"))
    stage.annotate("shop", ANNOTATION_RETRY)
    await stage.serves("shop", "2")
    await _rest(stage)


async def slow_restart(stage: Stage) -> None:
    """The operator starts again while the API server takes seconds for every answer; nobody's requests notice."""
    await _two_tenants(stage)
    pod = stage.leader()
    pod.latency = 4.0
    pod.kill()
    await asyncio.sleep(30.0)
    pod.latency = 0.004
    pod.kill()
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await _rest(stage)


async def gone_bad_while_nobody_looks(stage: Stage) -> None:
    """Version 2 begins to fail when its rollout is seconds old and no replica runs for two minutes."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.judged("shop"))
    await _nobody_looks(stage)


async def gone_bad_in_the_holdback_while_nobody_looks(stage: Stage) -> None:
    """The same of a version that is watched for seconds after its promotion."""
    await _two_tenants(stage, watch=HOLDBACK)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.state("shop").watch and stage.judged("shop"))
    await _nobody_looks(stage)


async def _nobody_looks(stage: Stage) -> None:
    pod = stage.leader()
    pod.restart_after = 120.0
    pod.kill()
    stage.qualities["shop", "2"] = BAD
    await asyncio.sleep(121.0)
    pod.restart_after = 2.0
    await stage.until(lambda: stage.state("shop").last_rollback, seconds=60.0)
    await stage.serves("shop", "1")
    await _rest(stage)


# ── Two replicas of the operator ──────────────────────────────────────────────────────────────────────────────────────


async def leader_is_gone(stage: Stage) -> None:
    """The leader's node is lost; while nobody leads, the user asks for version 2."""
    await _two_tenants(stage)
    leader = stage.leader()
    leader.restart_after = 120.0
    leader.kill()
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await _rest(stage)


async def leader_is_cut_off(stage: Stage) -> None:
    """In mid-rollout nothing that the leader sends arrives any more, or only much later; the other takes over."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    leader = stage.leader()
    assert leader.cluster
    stage.late = True
    leader.cluster.late = 60.0
    leader.cluster.plan = lambda request: Fault.LATE if request.subresource == "status" else Fault.NEVER_SENT
    stage.control_plane.watches.freeze(watcher=leader.name)
    await stage.until(lambda: stage.leader() is not leader)
    await asyncio.sleep(20.0)
    leader.cluster.plan = faults.nothing
    stage.control_plane.watches.thaw(watcher=leader.name)
    await stage.serves("shop", "2")
    await _rest(stage)


async def rolled_back_by_the_other(stage: Stage) -> None:
    """Version 2 begins to fail once the leader is cut off: the Envoys that ask it hear of the other's rollback too."""
    leader, other = await _one_envoy_each(stage)
    assert leader.cluster
    leader.cluster.plan = lambda _: Fault.NEVER_SENT
    stage.control_plane.watches.freeze(watcher=leader.name)
    await stage.until(lambda: stage.leader() is other)
    stage.qualities["shop", "2"] = BAD
    await _all_hear_of_the_rollback(stage)
    await asyncio.sleep(20.0)
    assert stage.routed("shop") == [{"1": 100}, {"1": 100}], "nobody gives version 2 anything again"
    leader.cluster.plan = faults.nothing
    stage.control_plane.watches.thaw(watcher=leader.name)
    await stage.serves("shop", "1")
    await _rest(stage)


async def standby_watches_nothing(stage: Stage) -> None:
    """A watch of the standby is silent, all else is answered; Envoys that ask it hear of the rollback too."""
    _, standby = await _one_envoy_each(stage)
    stage.control_plane.watches.freeze(watcher=standby.name, kind="ModelDeployment")
    stage.qualities["shop", "2"] = BAD
    await _all_hear_of_the_rollback(stage)
    stage.control_plane.watches.thaw(watcher=standby.name, kind="ModelDeployment")
    await stage.serves("shop", "1")
    await _rest(stage)


async def _one_envoy_each(stage: Stage) -> tuple[Pod, Pod]:
    """Version 2 has a fifth of the requests. The first Envoy asks the leader, the second the standby: those two."""
    await _two_tenants(stage)
    leader, standby = stage.leader(), stage.standby()
    stage.lead_to(0, leader)
    stage.lead_to(1, standby)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.routed("shop") == [{"1": 80, "2": 20}] * 2)
    return leader, standby


async def _all_hear_of_the_rollback(stage: Stage) -> None:
    """Within seconds of its write: replicas ask each other every two, and one Envoy takes another 1.5 s."""
    await stage.until(lambda: stage.state("shop").last_rollback)
    written = clock.now()
    await stage.until(lambda: stage.routed("shop") == [{"1": 100}] * 2, 60.0)
    assert not _unharmed(stage) or clock.now() - written < 6.0, f"an Envoy heard after {clock.now() - written:.0f} s"


async def lease_is_out_of_reach(stage: Stage) -> None:
    """In mid-rollout the requests for the Lease alone do not arrive: the leader leads no longer all the same."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    leader = stage.leader()
    assert leader.cluster
    leader.cluster.plan = faults.matching(Fault.NEVER_SENT, 10**9, kind="Lease")
    await stage.until(lambda: stage.leader() is not leader)
    await stage.serves("shop", "2")
    await _rest(stage)


async def leader_stops(stage: Stage) -> None:
    """The leader is asked to end, as in an upgrade: the other leads within seconds."""
    await _two_tenants(stage)
    stage.upgrade("shop", "2")
    await stage.until(lambda: stage.serving("shop").get("2"))
    leader, began = stage.leader(), clock.now()
    await leader.stop()
    other = next(pod for pod in stage.pods if pod is not leader)
    await stage.until(lambda: _holder(stage).startswith(other.name), 30.0)
    assert not _unharmed(stage) or clock.now() - began < 6.0, f"nobody led for {clock.now() - began:.1f} s"
    await stage.serves("shop", "2")
    leader.start()
    await _rest(stage)


def _unharmed(stage: Stage) -> bool:
    """Whether no fault has ended a process."""
    return all(pod.lives == 1 and pod.cluster and not pod.cluster.died.is_set() for pod in stage.pods)


def _holder(stage: Stage) -> str:
    record = stage.server.store.get(kinds.LEASE, ("serin-system", "serin"))
    return str(record.body["spec"].get("holderIdentity", "")) if record else ""


async def standby_is_late(stage: Stage) -> None:
    """Two stand by when the leader is lost; the first one's word for the Lease arrives when the other leads already."""
    await _two_tenants(stage)
    leader, late = stage.leader(), stage.standby()
    assert late.cluster
    late.cluster.plan = faults.matching(Fault.LATE, kind="Lease", verb="apply")
    leader.restart_after = 120.0
    leader.kill()
    stage.upgrade("shop", "2")
    await stage.serves("shop", "2")
    await _rest(stage)


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        good_candidate,
        bad_candidate,
        gone_bad_at_half,
        counted_at_the_pods,
        gone_bad_at_the_pods,
        good_copies,
        bad_copies,
        good_holdback,
        gone_bad_in_the_holdback,
        gone_bad_long_after,
        validation_never_ends,
        validation_is_not_admitted,
        validation_is_forbidden,
        tells_of_a_minor_limit,
        tells_of_a_rollback,
        retrained,
        bad_by_slices,
        good_by_slices,
        worse_than_the_weeks_before,
        world_moves,
        best_of_three,
        never_ready,
        runtime_is_to_blame,
        model_is_to_blame,
        scaled_while_it_starts,
        aborted,
        goes_back,
        goes_back_to_the_best,
        overtaken,
        scaled,
        deleted,
        each_step_by_itself,
        slow_candidate,
        refusing_candidate,
        stable_is_lost,
        template_refused,
        made_again,
        unready_unseen,
        behind,
        slow_watches,
        unready_at_first,
        late_deletion,
        slow_restart,
        gone_bad_while_nobody_looks,
        gone_bad_in_the_holdback_while_nobody_looks,
        leader_is_gone,
        leader_is_cut_off,
        lease_is_out_of_reach,
        leader_stops,
        standby_is_late,
        rolled_back_by_the_other,
        standby_watches_nothing,
        right_answers,
        wrong_answers,
        answers_late,
        never_answers,
        goes_wrong_under_traffic,
        fits_and_is_what_it_says,
        takes_another_input,
        tag_moves_in_mid_rollout,
    )
}

STAGES: dict[str, dict[str, Any]] = {
    "worse_than_the_weeks_before": {"rate": 50.0},
    "world_moves": {"rate": 50.0},
    "counted_at_the_pods": {"live": True},
    "gone_bad_at_the_pods": {"live": True},
    "made_again": {"deletion_delay": 8.0},
    "leader_is_gone": {"replicas": 2},
    "leader_is_cut_off": {"replicas": 2},
    "rolled_back_by_the_other": {"replicas": 2},
    "standby_watches_nothing": {"replicas": 2},
    "lease_is_out_of_reach": {"replicas": 2},
    "leader_stops": {"replicas": 2},
    "standby_is_late": {"replicas": 3},
}
"""What a story's stage is made of, where that is not the usual."""

_PROMOTED = ("Healthy", {"2": 100}, "2", None, "", {"2": 2})
_WORSE = ("Healthy", {"1": 100}, "1", None, "WorseThanStable", {"1": 2})

_GOLDEN = ("Healthy", {"1": 100}, "1", None, "GoldenProbeFailed", {"1": 2})
_SILENT = ("Healthy", {"1": 100}, "1", None, "GoldenProbeUnanswered", {"1": 2})
ENDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "right_answers": {"shop": _PROMOTED},
    "wrong_answers": {"shop": _GOLDEN},
    "answers_late": {"shop": _PROMOTED},
    "never_answers": {"shop": _SILENT},
    "goes_wrong_under_traffic": {"shop": _GOLDEN},
    "fits_and_is_what_it_says": {"shop": _PROMOTED},
    "takes_another_input": {"shop": ("Healthy", {"1": 100}, "1", None, "SignatureIncompatible", {"1": 2})},
    "tag_moves_in_mid_rollout": {"shop": ("Healthy", {"1": 100}, "1", None, "DigestMismatch", {"1": 4})},
    "good_candidate": {"shop": _PROMOTED},
    "bad_candidate": {"shop": _WORSE},
    "gone_bad_at_half": {"shop": _WORSE},
    "counted_at_the_pods": {"shop": ("Healthy", {"1": 100}, "1", None, "AbortedByUser", {"1": 2})},
    "gone_bad_at_the_pods": {"shop": _WORSE},
    "good_copies": {"shop": _PROMOTED},
    "bad_copies": {"shop": _WORSE},
    "good_holdback": {"shop": _PROMOTED},
    "gone_bad_in_the_holdback": {"shop": _WORSE},
    "gone_bad_long_after": {"shop": ("Healthy", {"1": 100}, "1", None, "OverLimit", {"1": 2})},
    "validation_never_ends": {"shop": ("Healthy", {"1": 100}, "1", None, "OverLimit", {"1": 2})},
    "validation_is_not_admitted": {"shop": ("Healthy", {"1": 100}, "1", None, "OverLimit", {"1": 2})},
    "validation_is_forbidden": {"shop": ("Healthy", {"1": 100}, "1", None, "OverLimit", {"1": 2})},
    "tells_of_a_minor_limit": {"shop": _PROMOTED},
    "tells_of_a_rollback": {"shop": _WORSE},
    "retrained": {"shop": _WORSE},
    "bad_by_slices": {"shop": _WORSE},
    "good_by_slices": {"shop": _PROMOTED},
    "world_moves": {"shop": _PROMOTED},
    "worse_than_the_weeks_before": {"shop": ("Healthy", {"1": 100}, "1", None, "WorseThanPast", {"1": 2})},
    "best_of_three": {"shop": ("Healthy", {"3": 100}, "3", None, "", {"3": 2})},
    "never_ready": {"shop": ("Healthy", {"1": 100}, "1", None, "ProgressDeadlineExceeded", {"1": 2})},
    "runtime_is_to_blame": {"shop": ("Healthy", {"2": 100}, "2", None, "ProgressDeadlineExceeded", {"2": 2})},
    "model_is_to_blame": {"shop": _WORSE},
    "scaled_while_it_starts": {"shop": ("Healthy", {"2": 100}, "2", None, "", {"2": 8})},
    "aborted": {"shop": ("Healthy", {"1": 100}, "1", None, "AbortedByUser", {"1": 2})},
    "goes_back": {"shop": ("Healthy", {"1": 100}, "1", None, "RolledBackByUser", {"1": 2})},
    "goes_back_to_the_best": {"shop": ("Healthy", {"1": 100}, "1", None, "RolledBackByUser", {"1": 2})},
    "overtaken": {"shop": ("Healthy", {"3": 100}, "3", None, "", {"3": 2})},
    "scaled": {"shop": ("Healthy", {"2": 100}, "2", None, "", {"2": 1})},
    "deleted": {"shop": ("Initializing", {}, "", None, "", {})},
    "each_step_by_itself": {"shop": _PROMOTED},
    "slow_candidate": {"shop": _WORSE},
    "refusing_candidate": {"shop": _WORSE},
    "stable_is_lost": {"shop": _WORSE},
    "template_refused": {"shop": ("Healthy", {"2": 100}, "2", None, "PodTemplateRefused", {"2": 2})},
    "made_again": {"shop": _PROMOTED},
    "unready_unseen": {"shop": _PROMOTED},
    "behind": {"shop": _WORSE},
    "slow_watches": {"shop": _PROMOTED},
    "unready_at_first": {"shop": ("Healthy", {"1": 100}, "1", None, "", {"1": 1})},
    "late_deletion": {"shop": ("Healthy", {"2": 100}, "2", None, "AbortedByUser", {"2": 2})},
    "slow_restart": {"shop": _PROMOTED},
    "gone_bad_while_nobody_looks": {"shop": _WORSE},
    "gone_bad_in_the_holdback_while_nobody_looks": {"shop": _WORSE},
    "leader_is_gone": {"shop": _PROMOTED},
    "leader_is_cut_off": {"shop": _PROMOTED},
    "rolled_back_by_the_other": {"shop": _WORSE},
    "standby_watches_nothing": {"shop": _WORSE},
    "lease_is_out_of_reach": {"shop": _PROMOTED},
    "leader_stops": {"shop": _PROMOTED},
    "standby_is_late": {"shop": _PROMOTED},
}
"""How each story leaves `shop`: phase, weights, stable, candidate, why it was last rolled back, pods by version."""
