"""Deployments to pods to endpoints, as Serin reads them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.routers.endpoints import ready_addresses
from serin.workload import render
from serin.workload.pods import workload
from tests.simulation import clock
from tests.simulation.api.resources import NAMESPACE, REPLICA_SET
from tests.simulation.api.rest import Rest
from tests.simulation.kubelet import Behaviour, Kubelets, image, snapshot
from tests.simulation.workloads import Workloads

CONTENT: dict[str, JsonObject | None] = {
    "runtime": {
        "template": {"spec": {"containers": [{"name": "model", "image": "fraud:7"}]}},
        "runtime": "generic",
        "port": 8080,
    }
}
NAME = "fraud-abc"


class Rig:
    """A cluster with one snapshot's objects."""

    def __init__(self) -> None:
        self.control_plane = Rest(seed=1)
        self.server, self.deletion = self.control_plane.server, self.control_plane.deletion
        self.server.create(NAMESPACE, "", {"metadata": {"name": "shop"}}, manager="kubectl")
        self.kubelets = Kubelets(self.server, self.deletion)
        self.workloads = Workloads(self.server, self.deletion)
        secret = self.server.create(kinds.SECRET, "shop", {"metadata": {"name": "owner"}}, manager="kubectl")
        self.owner = render.Owner("shop", "fraud", secret["metadata"]["uid"])

    def apply(self, replicas: int = 2) -> None:
        for body in (
            render.service(self.owner, NAME, CONTENT),
            render.deployment(self.owner, NAME, CONTENT, replicas=replicas, role="stable"),
        ):
            kind = kinds.of(body)
            reference = {"apiVersion": "v1", "kind": "Secret", "name": "owner", "uid": self.owner.uid}
            body["metadata"]["ownerReferences"] = [reference]
            self.server.apply(kind, "shop", NAME, body, manager="serin", force=True)

    def pods(self) -> list[JsonObject]:
        return self.server.store.all(kinds.POD, "shop")

    def seen(self) -> Any:
        deployment = self.server.get(kinds.DEPLOYMENT, "shop", NAME)
        return workload(deployment, self.pods(), self.routed())

    def routed(self) -> frozenset[str]:
        slices = self.server.store.all(kinds.ENDPOINT_SLICE, "shop")
        return ready_addresses(slices).get(NAME, frozenset())


def rigged(main: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await main(Rig())

    clock.run(run)


def test_pods_get_ready_and_then_their_endpoints() -> None:
    async def main(rig: Rig) -> None:
        rig.apply()
        assert rig.seen().ready == 0
        await asyncio.sleep(2.0)
        assert rig.seen().problem.endswith("its readiness probe does not succeed: the model is not loaded")
        await asyncio.sleep(3.0)
        assert (rig.seen().ready, rig.seen().problem) == (2, None)
        assert len(rig.routed()) == 2
        assert all(rig.kubelets.is_reachable(one) for one in rig.routed())
        status = rig.server.get(kinds.DEPLOYMENT, "shop", NAME)["status"]
        assert (status["readyReplicas"], status["observedGeneration"]) == (2, 1)

    rigged(main)


def test_scaling_and_deletion() -> None:
    async def main(rig: Rig) -> None:
        rig.apply(3)
        await asyncio.sleep(10.0)
        rig.apply(1)
        await asyncio.sleep(1.0)
        assert (len(rig.pods()), len(rig.routed())) == (3, 1)
        await asyncio.sleep(10.0)
        assert len(rig.pods()) == 1
        for kind in (kinds.SERVICE, kinds.DEPLOYMENT):
            rig.deletion.delete(kind, "shop", NAME, who="serin")
        await asyncio.sleep(30.0)
        for kind in (kinds.POD, REPLICA_SET, kinds.ENDPOINT_SLICE):
            assert rig.server.store.all(kind, "shop") == []

    rigged(main)


def test_what_is_not_ready_goes_first() -> None:
    async def main(rig: Rig) -> None:
        rig.kubelets.change(snapshot(NAME), never_ready=True)
        rig.apply(4)
        await asyncio.sleep(10.0)
        old = {pod["metadata"]["name"] for pod in rig.pods()}
        rig.kubelets.change(snapshot(NAME), never_ready=False)
        rig.apply(6)
        await asyncio.sleep(10.0)
        assert rig.seen().ready == 2
        rig.apply(2)
        await asyncio.sleep(10.0)
        assert old.isdisjoint(pod["metadata"]["name"] for pod in rig.pods()), "younger, but ready"

    rigged(main)


def test_a_changed_template_replaces_pods_without_a_gap() -> None:
    async def main(rig: Rig) -> None:
        rig.apply()
        await asyncio.sleep(10.0)
        least = []
        rig.server.store.listen(lambda _commit: least.append(len(rig.routed())))
        patch = {"spec": {"template": {"metadata": {"labels": {"new": "1"}}}}}
        rig.server.patch(kinds.DEPLOYMENT, "shop", NAME, patch, manager="kubectl")
        await asyncio.sleep(60.0)
        assert min(least) == 2
        assert [pod["metadata"]["labels"].get("new") for pod in rig.pods()] == ["1", "1"]
        assert len(rig.server.store.all(REPLICA_SET, "shop")) == 1

    rigged(main)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (Behaviour(unschedulable="0/3 nodes are available"), "cannot be scheduled: 0/3 nodes are available"),
        (Behaviour(pull_error="not found"), "container model is waiting: ErrImagePull: not found"),
        (Behaviour(crash=0.5, exit_message="no model"), "container model exited with code 1 (Error): no model"),
        (Behaviour(never_ready=True), "the model is not loaded"),
    ],
)
def test_what_goes_wrong_is_told(behaviour: Behaviour, words: str) -> None:
    async def main(rig: Rig) -> None:
        rig.kubelets.behave(image("fraud:7"), behaviour)
        rig.apply()
        await asyncio.sleep(5.0)
        assert words in rig.seen().problem
        assert rig.seen().crashed == (behaviour.crash is not None)
        rig.kubelets.behave(snapshot(NAME), Behaviour())
        rig.kubelets.retry()
        await asyncio.sleep(30.0)
        assert rig.seen().ready == (0 if behaviour.never_ready else 2)

    rigged(main)


def test_a_quota_is_told_and_waited_for() -> None:
    async def main(rig: Rig) -> None:
        rig.workloads.quota("shop", 0)
        rig.apply()
        await asyncio.sleep(5.0)
        assert rig.seen().problem.startswith(f'pods "{NAME}-')
        assert "exceeded quota: pods, requested: pods=1, used: pods=0, limited: pods=0" in rig.seen().problem
        rig.workloads.quota("shop", None)
        await asyncio.sleep(30.0)
        assert (rig.seen().ready, rig.seen().problem) == (2, None)

    rigged(main)


def test_a_pod_that_crashes_later_comes_again() -> None:
    async def main(rig: Rig) -> None:
        rig.apply(1)
        await asyncio.sleep(10.0)
        [pod] = rig.pods()
        rig.kubelets.crash("shop", pod["metadata"]["name"], message="out of memory")
        await asyncio.sleep(1.0)
        assert (rig.seen().ready, rig.seen().crashed, rig.routed()) == (0, True, frozenset())
        await asyncio.sleep(20.0)
        assert rig.seen().ready == 1
        assert rig.pods()[0]["status"]["containerStatuses"][0]["restartCount"] == 1

    rigged(main)


def test_a_node_is_lost_with_its_pods() -> None:
    async def main(rig: Rig) -> None:
        rig.apply(3)
        await asyncio.sleep(10.0)
        lost = rig.pods()[0]["spec"]["nodeName"]
        gone = [pod for pod in rig.pods() if pod["spec"]["nodeName"] == lost]
        rig.kubelets.lose(lost)
        await asyncio.sleep(30.0)
        assert len(rig.routed()) == 3, "nobody has noticed yet"
        assert not any(rig.kubelets.is_reachable(pod["status"]["podIP"]) for pod in gone)
        await asyncio.sleep(15.0)
        assert len(rig.routed()) == 3 - len(gone)
        await asyncio.sleep(320.0)
        assert rig.seen().ready == 3
        assert len(rig.pods()) == 3 + len(gone), "nobody has told that the old ones have ended"
        rig.kubelets.bring_back(lost)
        await asyncio.sleep(5.0)
        assert len(rig.pods()) == 3

    rigged(main)
