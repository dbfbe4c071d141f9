"""Pods as a kubelet reports them, and what Serin makes of them."""

import math
from copy import deepcopy
from typing import Any

import pytest

from serin.api.times import parse_rfc3339
from serin.workload import template_hash
from serin.workload.pods import denied, workload

DEPLOYMENT: dict[str, Any] = {
    "metadata": {
        "name": "fraud-abc",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"serin.dev/role": "candidate"},
    },
    "spec": {"replicas": 2, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}},
    "status": {},
}
DEPLOYMENT = template_hash.stamp(DEPLOYMENT, DEPLOYMENT)


def pod(
    name: str = "fraud-abc-1", *, ready: bool = False, snapshot: str = "fraud-abc", **status: Any
) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}, *status.pop("conditions", [])]
    labels = {"serin.dev/snapshot": snapshot}
    return {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": "2026-01-01T00:00:01Z"},
        "status": {"phase": "Running", "conditions": conditions, **status},
    }


def container(state: dict[str, Any], last: dict[str, Any] | None = None, *, ready: bool = False) -> dict[str, Any]:
    return {"name": "model", "state": state, "lastState": last or {}, "ready": ready}


def test_only_ready_pods_of_this_snapshot_count() -> None:
    leaving = pod("c", ready=True)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    evicted = pod("d", ready=True) | {
        "status": {"phase": "Failed", "conditions": [{"type": "Ready", "status": "True"}]}
    }
    pods = [pod("a", ready=True), pod("b", ready=True, snapshot="fraud-xyz"), leaving, evicted]
    seen = workload(DEPLOYMENT, pods)
    assert (seen.ready, seen.desired, seen.role, seen.problem) == (1, 2, "candidate", None)


def test_a_pod_that_an_earlier_deployment_of_this_name_has_left_is_none_of_its() -> None:
    left = pod("a", ready=True)
    left["metadata"]["creationTimestamp"] = "2025-12-31T23:59:59Z"
    assert workload(DEPLOYMENT, [left, pod("b", ready=True)]).ready == 1


def test_pods_that_a_deployment_has_taken_over_are_its_own() -> None:
    taken = [pod("a", ready=True), pod("b", ready=True)]
    for one in taken:
        one["metadata"]["creationTimestamp"] = "2025-12-31T23:59:59Z"
    for counted, ready in ((0, 0), (1, 1), (2, 2)):
        assert workload(DEPLOYMENT | {"status": {"replicas": counted}}, taken).ready == ready
    assert workload(DEPLOYMENT | {"status": {"replicas": 1}}, [*taken, pod("c", ready=True)]).ready == 1


def test_a_ready_pod_counts_when_the_router_knows_it() -> None:
    pods = [pod("a", ready=True, podIP="10.0.0.1"), pod("b", ready=True, podIP="10.0.0.2")]
    assert [workload(DEPLOYMENT, pods, listed).ready for listed in (None, {"10.0.0.2"}, ())] == [2, 1, 0]
    assert workload(DEPLOYMENT, pods, ()).problem is None, "nothing is wrong with them"


CRASHED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
BACKOFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}


@pytest.mark.parametrize(
    ("status", "words", "crashed"),
    [
        ({"containerStatuses": [container(CRASHED)]}, "exited with code 137 (OOMKilled)", True),
        ({"containerStatuses": [container(BACKOFF, CRASHED)]}, "exited with code 137 (OOMKilled)", True),
        ({"containerStatuses": [container({"running": {}}, CRASHED)]}, "the model is not loaded", False),
        (
            {"containerStatuses": [container({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})]},
            "is waiting: ImagePullBackOff: no such image",
            False,
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]},
            "cannot be scheduled: 0/1 nodes",
            False,
        ),
        ({"containerStatuses": [container({"waiting": {"reason": "ContainerCreating"}})]}, None, False),
    ],
    ids=["oom", "backoff", "not-loaded", "image", "unschedulable", "creating"],
)
def test_the_problem_is_told_in_the_pods_own_words(status: dict[str, Any], words: str | None, crashed: bool) -> None:
    seen = workload(DEPLOYMENT, [pod(**status)])
    assert seen.crashed is crashed
    if words is None:
        assert seen.problem is None
    else:
        assert seen.problem
        assert words in seen.problem
        assert "fraud-abc-1" in seen.problem


def test_pods_that_the_api_server_refuses_are_told_in_its_words() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
    quota = DEPLOYMENT | {"status": {"conditions": [refused]}}
    assert workload(quota, []).problem == "exceeded quota: small"
    assert workload(quota, [pod(ready=True)]).problem == "exceeded quota: small", "it admits one of two"
    image = container({"waiting": {"reason": "ErrImagePull", "message": "denied"}})
    told = workload(quota, [pod(containerStatuses=[image])]).problem
    assert told == "pod fraud-abc-1: container model is waiting: ErrImagePull: denied; exceeded quota: small"


def test_another_pod_template_than_the_stamped_one_is_drift_and_a_restart_is_none() -> None:
    changed = deepcopy(DEPLOYMENT)
    assert not workload(changed, []).drifted
    annotations = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    changed["spec"]["template"]["metadata"]["annotations"] = annotations
    assert not workload(changed, []).drifted
    changed["spec"]["template"]["spec"]["containers"] = [{"name": "model", "image": "other"}]
    assert workload(changed, []).drifted
    changed["spec"]["template"] = {**DEPLOYMENT["spec"]["template"], "metadata": {"labels": {"a": "c"}}}
    assert workload(changed, []).drifted


def test_a_deployment_without_a_stamp_is_half_a_workload() -> None:
    unstamped = deepcopy(DEPLOYMENT)
    del unstamped["metadata"]["annotations"]
    seen = workload(unstamped, [])
    assert (seen.stamped, seen.drifted) == (False, False)


def test_one_ready_pod_means_that_it_has_not_crashed_as_a_whole() -> None:
    crashed = pod("a", containerStatuses=[container(CRASHED)])
    seen = workload(DEPLOYMENT, [crashed, pod("b", ready=True)])
    assert not seen.crashed
    assert seen.problem


def test_the_newest_ready_pod_says_how_warm_a_version_is() -> None:
    """A pod that has restarted became ready anew, and what is not ready yet says nothing."""
    pods = [pod(name, ready=name != "c") for name in "abc"]
    for one, minute in zip(pods, ("02", "07", "09"), strict=True):
        one["status"]["conditions"][0]["lastTransitionTime"] = f"2026-01-01T00:{minute}:00Z"
    assert workload(DEPLOYMENT, pods).newest == parse_rfc3339("2026-01-01T00:07:00Z")
    assert workload(DEPLOYMENT, [pod("a", ready=True)]).newest == -math.inf


class TestInTime:
    """Which of the missing pods are held against a version when its deadline is over."""

    START = parse_rfc3339("2026-01-01T00:00:00Z")
    DEADLINE = 60.0

    def made(self, name: str, minute: str, *, ready: bool = False) -> dict[str, Any]:
        found = pod(name, ready=ready)
        found["metadata"]["creationTimestamp"] = f"2026-01-01T00:{minute}:00Z"
        return found

    def in_time(self, *pods: dict[str, Any], needed: int, deployment: dict[str, Any] = DEPLOYMENT) -> int:
        return workload(deployment, pods).in_time(needed, self.START + 600.0, self.DEADLINE)

    def test_pods_that_were_asked_for_later_have_a_deadline_of_their_own(self) -> None:
        up, old, young = self.made("a", "01", ready=True), self.made("b", "01"), self.made("c", "09")
        young["metadata"]["creationTimestamp"] = "2026-01-01T00:09:30Z"
        assert self.in_time(up, old, needed=2) == 0
        assert self.in_time(up, old, young, needed=3) == 1

    def test_pods_that_are_about_to_be_made_are_in_time_unless_kubernetes_cannot(self) -> None:
        up = self.made("a", "01", ready=True)
        refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
        short = DEPLOYMENT | {"status": {"conditions": [refused]}}
        assert self.in_time(up, needed=3) == 2
        assert self.in_time(up, needed=3, deployment=short) == 0

    def test_pods_that_serin_may_not_ask_for_are_late(self) -> None:
        running = workload(DEPLOYMENT, [self.made("a", "01", ready=True)])
        refused = denied("fraud-abc", "exceeded quota", self.START, math.inf, running)
        assert refused.in_time(3, self.START + 600.0, self.DEADLINE) == 0

    def test_without_a_ready_pod_nothing_is(self) -> None:
        young = self.made("a", "09")
        young["metadata"]["creationTimestamp"] = "2026-01-01T00:09:59Z"
        assert self.in_time(young, needed=2) == 0
        assert self.in_time(needed=2) == 0
