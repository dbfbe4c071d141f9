"""Golden probes and signatures: which pods are asked, when, where, how many at once; what is known afterwards."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from serin.api.json import JsonObject
from serin.api.parse import parse_model_deployment
from serin.api.signature import Signature, Tensor
from serin.api.snapshots import read_snapshot
from serin.api.status import read_state
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.controller.pod_checks import PodChecks
from serin.evaluation.golden import LONGEST_ANSWER
from serin.rollout.model import GoldenAnswers, Signatures
from serin.workload.asking import NoAnswer, Question
from tests.unit.background import in_background
from tests.unit.controller.test_evidence_loop import deployment
from tests.unit.jumping_time import in_jumping_time, now

RIGHT, WRONG = b'{"y": [0.12]}', b'{"y": [0.93]}'
POD = "10.0.0.1"
DIFFERENT = "golden probe known: y[0] is 0.93, expected 0.12 within 0.001"


def probed(name: str = "fraud", namespace: str = "shop", **more: Any) -> JsonObject:
    """A deployment with a golden probe; its candidate is NAME-b."""
    probe = {"name": "known", "path": "/predict", "body": '{"x": 1}', "expected": '{"y": [0.12]}'}
    body = deployment(name, weight=0)
    body["metadata"] |= {"namespace": namespace, "uid": f"uid-{namespace}-{name}"}
    body["spec"]["integrity"] = {
        "goldenProbes": [{**probe, "tolerance": "0.001", "timeout": "10s", **more}],
        "every": "5m",
        "signature": "Off",
        "digest": "Off",
    }
    return body


class Pods:
    """Models' pods that answer as the test says, and who has asked them what."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | None] = {}  # by address; None: none within the time
        self.asked: list[Question] = []
        self.open = Counter[str]()
        self.most = 0

    async def ask(self, question: Question) -> bytes:
        self.asked.append(question)
        self.open[question.address[:6]] += 1
        self.most = max(self.most, *self.open.values())
        try:
            answer = self.answers.get(question.address, RIGHT)
            await asyncio.sleep(0.1 if answer is not None else question.seconds)
            if answer is None:
                raise NoAnswer(f"no answer within {question.seconds:g} s")
            return answer
        finally:
            self.open[question.address[:6]] -= 1


class Rig:
    def __init__(self, *bodies: JsonObject) -> None:
        self.cache, self.pods, self.looks = ObjectCache(), Pods(), list[tuple[str, str]]()
        self.version = 1
        for body in bodies:
            self.cache.put(kinds.MODEL_DEPLOYMENT, body)
            self.add_snapshot(body)
        self.checks = PodChecks(self.cache, self.looks.append, clock=now, ask=self.pods.ask)

    def add_snapshot(
        self,
        body: JsonObject,
        runtime: str = "generic",
        *,
        which: str = "b",
        features: JsonObject | None = None,
        recorded: JsonObject | None = None,
        **more: Any,
    ) -> None:
        metadata = body["metadata"]
        content = {"runtime": {"runtime": runtime, "port": 8080, **more}, "model": {"name": "fraud"}}
        content |= {"features": features} if features else {}
        self.put(
            kinds.MODEL_SNAPSHOT,
            body,
            f"{metadata['name']}-{which}",
            {"spec": {"content": content, "hashes": {}}, "status": {"signature": recorded} if recorded else {}},
            ownerReferences=[{"controller": True, "uid": metadata["uid"]}],
            labels={"serin.dev/model-deployment": metadata["name"]},
        )

    def add_pod(
        self, body: JsonObject, name: str, address: str, *, ready: bool = True, restarts: int = 0, which: str = "b"
    ) -> None:
        status = {
            "phase": "Running",
            "podIP": address,
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"name": "model", "restartCount": restarts}],
        }
        snapshot = f"{body['metadata']['name']}-{which}"
        labels = {"serin.dev/model-deployment": body["metadata"]["name"], "serin.dev/snapshot": snapshot}
        self.put(kinds.POD, body, name, {"status": status}, labels=labels)

    def put(self, kind: Any, body: JsonObject, name: str, rest: JsonObject, **metadata: Any) -> None:
        self.version += 1
        namespace = body["metadata"]["namespace"]
        own = {"namespace": namespace, "name": name, "uid": f"uid-{namespace}-{name}"}
        own |= {"resourceVersion": str(self.version), "creationTimestamp": "2026-01-01T00:00:00Z"}
        self.cache.put(kind, {"metadata": own | metadata, **rest})

    def answers(self, body: JsonObject) -> GoldenAnswers:
        found = self.checks.golden(parse_model_deployment(body), read_state(body["status"]))
        return replace(found[f"{body['metadata']['name']}-b"], fingerprint="")

    def signatures(self, body: JsonObject) -> Mapping[str, Signatures]:
        snapshots = {
            one["metadata"]["name"]: read_snapshot(one)
            for one in self.cache.of_deployment(kinds.MODEL_SNAPSHOT, "shop", body["metadata"]["name"])
        }
        return self.checks.signatures(parse_model_deployment(body), read_state(body["status"]), snapshots)


def one_pod(answer: bytes | None = RIGHT) -> tuple[JsonObject, Rig]:
    """A deployment whose candidate has one pod, `a` at POD, that answers this (None: nothing)."""
    body = probed()
    rig = Rig(body)
    rig.add_pod(body, "a", POD)
    rig.pods.answers[POD] = answer
    return body, rig


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[None]:
    async with in_background(rig.checks.run()):
        yield


@in_jumping_time
async def test_a_ready_pod_is_asked_at_its_own_address_and_then_only_as_often_as_the_spec_says() -> None:
    body, rig = one_pod()
    rig.add_pod(body, "b", "10.0.0.2", ready=False)
    rig.add_pod(body, "c", "10.0.0.3", which="a")
    assert rig.answers(body) == GoldenAnswers(asked=1, passed=0)
    async with running(rig):
        await asyncio.sleep(1.0)
        assert rig.answers(body) == GoldenAnswers(asked=1, passed=1)
        assert rig.looks == [("shop", "fraud")]
        [question] = rig.pods.asked
        assert (question.address, question.port, question.path) == ("10.0.0.1", 8080, "/predict")
        assert question.body == b'{"x": 1}'
        await asyncio.sleep(290.0)
        assert len(rig.pods.asked) == 1
        await asyncio.sleep(20.0)
        assert len(rig.pods.asked) == 2


@in_jumping_time
async def test_the_open_inference_protocol_is_asked_by_the_name_of_the_model() -> None:
    body = probed()
    del body["spec"]["integrity"]["goldenProbes"][0]["path"]
    rig = Rig(body)
    rig.add_snapshot(body, "triton", port=8001, protocol="HTTP2")
    rig.add_pod(body, "a", "10.0.0.1")
    async with running(rig):
        await asyncio.sleep(1.0)
    [question] = rig.pods.asked
    assert (question.port, question.path) == (8000, "/v2/models/fraud/infer")


@in_jumping_time
async def test_the_path_of_a_probe_is_asked_whatever_the_protocol_says() -> None:
    body, rig = one_pod()
    rig.add_snapshot(body, "triton", port=8001, protocol="HTTP2")
    async with running(rig):
        await asyncio.sleep(1.0)
    [question] = rig.pods.asked
    assert (question.port, question.path) == (8000, "/predict")


@in_jumping_time
async def test_without_any_path_nothing_is_asked_and_it_is_said() -> None:
    body = probed()
    del body["spec"]["integrity"]["goldenProbes"][0]["path"]
    rig = Rig(body)
    rig.add_pod(body, "a", POD)
    async with running(rig):
        await asyncio.sleep(1.0)
        assert rig.pods.asked == []
        said = "the runtime has no path of its own: write the path of the golden probe"
        assert rig.answers(body).waits == f"golden probe known: {said} (pod a)"


@in_jumping_time
async def test_a_wrong_answer_counts_when_it_is_given_twice() -> None:
    body, rig = one_pod(WRONG)
    async with running(rig):
        await asyncio.sleep(0.9)
        first = rig.answers(body)
        assert (first.passed, first.wrong, first.waits) == (0, "", f"{DIFFERENT} (pod a)")
        await asyncio.sleep(3.0)
        assert rig.answers(body).wrong == f"{DIFFERENT} (pod a)"
        assert len(rig.pods.asked) == 2
        rig.pods.answers[POD] = None
        await asyncio.sleep(290.0)
        assert len(rig.pods.asked) == 2, "it is known, and asked again as seldom as any"
        await asyncio.sleep(40.0)
        assert len(rig.pods.asked) == 3
        assert rig.answers(body).wrong == f"{DIFFERENT} (pod a)", "silence takes nothing back"


@in_jumping_time
async def test_a_clock_that_jumps_is_not_held_against_a_pod() -> None:
    body, rig = one_pod(None)
    jumped = 0.0
    rig.checks = PodChecks(rig.cache, rig.looks.append, clock=lambda: now() + jumped, ask=rig.pods.ask)
    async with running(rig):
        await asyncio.sleep(30.0)
        jumped = 3600.0
        await asyncio.sleep(20.0)
        assert rig.answers(body).waited < 120.0
        jumped = -3600.0
        asked = len(rig.pods.asked)
        await asyncio.sleep(40.0)
        assert len(rig.pods.asked) > asked
        assert rig.answers(body).waited < 180.0


@in_jumping_time
async def test_a_clock_that_is_set_back_keeps_no_pod_from_being_asked() -> None:
    _, rig = one_pod()
    jumped = 0.0
    rig.checks = PodChecks(rig.cache, rig.looks.append, clock=lambda: now() + jumped, ask=rig.pods.ask)
    async with running(rig):
        await asyncio.sleep(10.0)
        assert len(rig.pods.asked) == 1
        jumped = -3600.0
        await asyncio.sleep(10.0)
        assert len(rig.pods.asked) == 2


@in_jumping_time
async def test_what_goes_wrong_once_does_not_end_the_asking() -> None:
    body, rig = one_pod()
    fails = iter((True, True, False))

    def clock() -> float:
        if next(fails, False):
            raise ValueError("no clock")
        return now()

    rig.checks = PodChecks(rig.cache, rig.looks.append, clock=clock, ask=rig.pods.ask)
    async with running(rig):
        await asyncio.sleep(10.0)
        assert rig.answers(body) == GoldenAnswers(1, 1)


@in_jumping_time
async def test_the_snapshot_of_another_deployment_of_the_name_says_nothing() -> None:
    body, rig = one_pod()
    rig.add_snapshot({"metadata": body["metadata"] | {"uid": "of the one before"}})
    async with running(rig):
        await asyncio.sleep(10.0)
        assert rig.pods.asked == []


@in_jumping_time
async def test_one_wrong_answer_that_is_not_given_again_is_none() -> None:
    body, rig = one_pod(WRONG)
    async with running(rig):
        await asyncio.sleep(0.9)
        rig.pods.answers[POD] = RIGHT
        await asyncio.sleep(3.0)
        assert rig.answers(body) == GoldenAnswers(asked=1, passed=1)


@in_jumping_time
async def test_no_answer_between_two_wrong_ones_saves_nobody() -> None:
    body, rig = one_pod(WRONG)
    async with running(rig):
        await asyncio.sleep(0.9)
        rig.pods.answers[POD] = None
        await asyncio.sleep(12.0)
        assert rig.answers(body).waited > 5.0
        rig.pods.answers[POD] = WRONG
        await asyncio.sleep(4.0)
        assert rig.answers(body).wrong == f"{DIFFERENT} (pod a)"


@in_jumping_time
async def test_a_pod_without_an_answer_is_asked_until_it_has_one_and_it_is_known_since_when() -> None:
    body, rig = one_pod(None)
    async with running(rig):
        await asyncio.sleep(72.0)
        found = rig.answers(body)
        assert (found.asked, found.passed, found.wrong) == (1, 0, "")
        assert found.waits == "golden probe known: no answer within 10 s (pod a)"
        assert 40.0 < found.waited < 70.0
        rig.pods.answers[POD] = RIGHT
        await asyncio.sleep(20.0)
        assert rig.answers(body) == GoldenAnswers(1, 1)


@in_jumping_time
async def test_a_pod_that_has_passed_is_not_doubted_because_it_is_slow_once() -> None:
    body, rig = one_pod()
    async with running(rig):
        await asyncio.sleep(1.0)
        rig.pods.answers[POD] = None
        await asyncio.sleep(400.0)
        assert len(rig.pods.asked) == 2
        assert rig.answers(body) == GoldenAnswers(1, 1)


@in_jumping_time
async def test_a_restarted_container_and_other_probes_are_asked_anew() -> None:
    body, rig = one_pod()
    async with running(rig):
        await asyncio.sleep(1.0)
        rig.add_pod(body, "a", "10.0.0.1", restarts=1)
        assert rig.answers(body) == GoldenAnswers(1, 0)
        await asyncio.sleep(2.0)
        assert rig.answers(body) == GoldenAnswers(1, 1)
        other = probed(expected='{"y": [0.93]}')
        other["metadata"]["resourceVersion"] = "2"
        rig.cache.put(kinds.MODEL_DEPLOYMENT, other)
        assert rig.answers(other) == GoldenAnswers(1, 0)
        await asyncio.sleep(4.0)
        assert "y[0] is 0.12, expected 0.93" in rig.answers(other).wrong


@in_jumping_time
async def test_pods_that_never_answer_delay_those_of_their_own_namespace_alone() -> None:
    hostile, other = probed("fraud", "shop"), probed("churn", "bank")
    rig = Rig(hostile, other)
    for number in range(50):
        rig.add_pod(hostile, f"h{number}", f"10.0.0.{number}")
        rig.pods.answers[f"10.0.0.{number}"] = None
    async with running(rig):
        await asyncio.sleep(30.0)
        rig.add_pod(other, "good", "10.9.0.1")
        await asyncio.sleep(1.5)
        assert rig.answers(other) == GoldenAnswers(1, 1)
        assert rig.pods.most == 4, "no more requests under way than a namespace may have"
        await asyncio.sleep(300.0)
        assert len({one.address for one in rig.pods.asked}) == 51, "each gets its turn"


@in_jumping_time
async def test_whoever_is_not_on_trial_is_not_asked() -> None:
    without, unreadable, over = probed("fraud"), probed("churn"), probed("spam")
    del without["spec"]["integrity"]
    unreadable["spec"]["integrity"]["goldenProbes"][0]["body"] = "{"
    over["status"].pop("candidate"), over["status"].pop("arms")
    rig = Rig(without, unreadable, over)
    for number, body in enumerate((without, unreadable, over)):
        rig.add_pod(body, f"p{number}", f"10.0.0.{number}")
    async with running(rig):
        await asyncio.sleep(10.0)
    assert rig.pods.asked == []


@in_jumping_time
async def test_an_address_that_is_no_pods_is_not_asked() -> None:
    body = probed()
    rig = Rig(body)
    for number, address in enumerate(
        ("127.0.0.1", "169.254.169.254", "::1", "localhost", "0.0.0.0", "fe80::1", "224.0.0.1", "::ffff:127.0.0.1")
    ):
        rig.add_pod(body, f"p{number}", address)
    async with running(rig):
        await asyncio.sleep(10.0)
        assert rig.pods.asked == []
        assert rig.answers(body).waits == "golden probe known: 127.0.0.1 is no address of a pod (pod p0)"


@in_jumping_time
async def test_what_is_known_of_pods_that_are_gone_is_forgotten() -> None:
    body, rig = one_pod()
    async with running(rig):
        await asyncio.sleep(1.0)
        rig.add_pod(body, "a", "10.0.0.1", restarts=1)
        await asyncio.sleep(3.0)
        assert len(rig.checks._found) == 1


@in_jumping_time
async def test_the_same_answers_to_the_same_questions_have_the_same_fingerprint() -> None:
    body = probed()
    rig = Rig(body)
    rig.add_pod(body, "a", "10.0.0.1")

    def fingerprint() -> str:
        return rig.checks.golden(parse_model_deployment(body), read_state(body["status"]))["fraud-b"].fingerprint

    assert fingerprint() == ""
    async with running(rig):
        await asyncio.sleep(1.0)
        first = fingerprint()
        assert len(first) == 16
        rig.pods.answers["10.0.0.1"] = b'{"id": "another", "y": [0.1200000001]}'
        await asyncio.sleep(310.0)
        assert fingerprint() == first
        rig.pods.answers["10.0.0.1"] = b'{"y": [0.1201]}'
        await asyncio.sleep(310.0)
        assert fingerprint() not in ("", first)


# ── Signatures ────────────────────────────────────────────────────────────────────────────────────────────────────────

INPUTS = [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
SIGNATURE = Signature((Tensor("x", "FP32", (-1, 4)),), ())
METADATA = json.dumps({"name": "fraud", "inputs": INPUTS, "outputs": []}).encode()


def signed() -> JsonObject:
    """A deployment whose versions must have the same signature, and no golden probe."""
    body = probed()
    body["spec"]["integrity"] = {"every": "5m", "signature": "Required", "digest": "Off"}
    body["spec"] |= {"runtime": "mlserver", "model": {"name": "fraud"}}
    return body


def metadata_rig(body: JsonObject, **stable: Any) -> Rig:
    """A pod of each version; both say METADATA."""
    rig = Rig(body)
    rig.add_snapshot(body, "mlserver")
    rig.add_snapshot(body, "mlserver", which="a", **stable)
    rig.add_pod(body, "new", "10.0.0.1")
    rig.add_pod(body, "old", "10.0.0.2", which="a")
    rig.pods.answers |= {"10.0.0.1": METADATA, "10.0.0.2": METADATA}
    return rig


@in_jumping_time
async def test_pods_of_both_versions_say_their_signature_and_stables_only_until_it_is_recorded() -> None:
    body = signed()
    rig = metadata_rig(body)
    assert rig.signatures(body) == {"fraud-a": Signatures(asked=1), "fraud-b": Signatures(asked=1)}
    async with running(rig):
        await asyncio.sleep(1.0)
        known = Signatures(SIGNATURE, asked=1, told=1)
        assert rig.signatures(body) == {"fraud-a": known, "fraud-b": known}
        assert {(one.path, one.body, one.port) for one in rig.pods.asked} == {("/v2/models/fraud", None, 8080)}
        assert {one.longest for one in rig.pods.asked} == {LONGEST_ANSWER}
        rig.add_snapshot(body, "mlserver", which="a", recorded={"inputs": INPUTS, "outputs": []})
        rig.pods.asked.clear()
        await asyncio.sleep(310.0)
        assert {one.address for one in rig.pods.asked} == {"10.0.0.1"}
        assert rig.signatures(body)["fraud-a"].known == SIGNATURE


@in_jumping_time
async def test_nothing_is_asked_where_signatures_may_differ() -> None:
    body = signed()
    body["spec"]["integrity"]["signature"] = "Off"
    rig = metadata_rig(body)
    async with running(rig):
        await asyncio.sleep(3.0)
    assert rig.pods.asked == []
    assert rig.signatures(body) == {}


@in_jumping_time
async def test_a_pod_that_does_not_say_it_is_asked_again_and_one_that_has_said_it_is_not_doubted() -> None:
    body = signed()
    rig = metadata_rig(body)
    rig.pods.answers["10.0.0.1"] = None
    async with running(rig):
        await asyncio.sleep(60.0)
        found = rig.signatures(body)["fraud-b"]
        assert (found.known, found.told) == (None, 0)
        assert found.waits == "asked for the model's metadata: no answer within 10 s (pod new)"
        assert 30.0 < found.waited < 60.0
        rig.pods.answers["10.0.0.1"] = METADATA
        await asyncio.sleep(20.0)
        assert rig.signatures(body)["fraud-b"] == Signatures(SIGNATURE, asked=1, told=1)
        rig.pods.answers["10.0.0.1"] = None
        await asyncio.sleep(400.0)
        assert rig.signatures(body)["fraud-b"] == Signatures(SIGNATURE, asked=1, told=1)


@in_jumping_time
async def test_where_the_model_server_knows_no_signature_the_declared_one_counts() -> None:
    body = signed()
    rig = metadata_rig(body)
    rig.pods.answers["10.0.0.1"] = b'{"name": "fraud", "inputs": [], "outputs": []}'
    async with running(rig):
        await asyncio.sleep(3.0)
        assert rig.signatures(body)["fraud-b"].waits == (
            "the model's metadata has neither inputs nor outputs: let the model server say them, or write "
            "spec.features.signature (pod new)"
        )
        rig.add_snapshot(body, "mlserver", features={"signature": {"inputs": INPUTS}})
        await asyncio.sleep(10.0)
        assert rig.signatures(body)["fraud-b"] == Signatures(SIGNATURE, asked=1, told=1)


@in_jumping_time
async def test_a_pod_that_says_something_else_than_declared_or_than_another_pod_is_named() -> None:
    body = signed()
    rig = metadata_rig(body)
    rig.add_pod(body, "newer", "10.0.0.3")
    rig.pods.answers["10.0.0.3"] = METADATA.replace(b"FP32", b"FP64")
    async with running(rig):
        await asyncio.sleep(3.0)
        assert rig.signatures(body)["fraud-b"].differs == (
            "input x is FP64 [-1, 4], pod new has FP32 [-1, 4] (pod newer)"
        )
        declared = {"signature": {"inputs": [{**INPUTS[0], "datatype": "FP16"}]}}
        rig.add_snapshot(body, "mlserver", features=declared)
        assert rig.signatures(body)["fraud-b"].differs == (
            "input x is FP32 [-1, 4], spec.features.signature has FP16 [-1, 4] (pod new)"
        )


@in_jumping_time
async def test_a_declared_signature_is_the_versions_own_though_its_pods_take_more() -> None:
    body = signed()
    rig = metadata_rig(body)
    rig.add_snapshot(body, "mlserver", features={"signature": {"inputs": INPUTS}})
    rig.pods.answers["10.0.0.1"] = METADATA.replace(b"[-1, 4]", b"[-1, -1]")
    async with running(rig):
        await asyncio.sleep(3.0)
        assert rig.signatures(body)["fraud-b"] == Signatures(SIGNATURE, asked=1, told=1)


@in_jumping_time
async def test_metadata_that_cannot_be_parsed_is_said() -> None:
    body = signed()
    rig = metadata_rig(body)
    rig.pods.answers |= {"10.0.0.1": b"[" * 50_000, "10.0.0.2": b"<html>"}
    async with running(rig):
        await asyncio.sleep(3.0)
        for name in ("fraud-a", "fraud-b"):
            assert rig.signatures(body)[name].waits.startswith("the model's metadata is no JSON: let the model server")


@in_jumping_time
async def test_a_generic_runtime_is_not_asked() -> None:
    body = signed()
    rig = metadata_rig(body)
    rig.add_snapshot(body)
    async with running(rig):
        await asyncio.sleep(3.0)
        assert rig.signatures(body)["fraud-b"].waits.startswith("a generic runtime is not asked for it: write spec.")
        rig.add_snapshot(body, features={"signature": {"inputs": INPUTS}})
        await asyncio.sleep(8.0)
    assert rig.signatures(body)["fraud-b"] == Signatures(SIGNATURE, asked=1, told=1)
    assert {one.address for one in rig.pods.asked} == {"10.0.0.2"}


@in_jumping_time
async def test_a_wrong_answer_to_a_golden_probe_and_a_missing_signature_are_known_apart() -> None:
    body = signed()
    probe = {"name": "known", "path": "/p", "body": "1", "expected": "2", "tolerance": "0", "timeout": "1s"}
    body["spec"]["integrity"]["goldenProbes"] = [probe]
    rig = metadata_rig(body)
    rig.pods.answers["10.0.0.1"] = b"3"
    async with running(rig):
        await asyncio.sleep(8.0)
        assert rig.answers(body).wrong == "golden probe known: the answer is 3, expected 2 (pod new)"
        assert rig.signatures(body)["fraud-b"].waits.startswith("the model's metadata is no map")
        assert rig.signatures(body)["fraud-a"] == Signatures(SIGNATURE, asked=1, told=1), "stable has no probes"
        rig.pods.asked.clear()
        await asyncio.sleep(60.0)
        asked = Counter(one.path for one in rig.pods.asked if one.address == "10.0.0.1")
        assert 10 <= asked["/v2/models/fraud"] <= 13, "every five seconds, as a pod that has not said it"
