"""Applying a plan to a real API server: what is proved first, what stops it, and what a stop leaves behind."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import KubernetesCluster
from serin.cluster.login import log_in
from serin.cluster.protocol import Refused
from serin.controller.apply import Applied, Applier
from serin.controller.evidence_loop import EvidenceLoop
from serin.controller.observe import Observer
from serin.controller.pod_checks import PodChecks
from serin.controller.reconcile import Reconciler, TryAgain
from serin.controller.report import Reporter
from serin.controller.telemetry import Outcome, Telemetry
from serin.controller.traffic_estimator import TrafficEstimator
from serin.controller.watch import WATCHED
from serin.evaluation.evaluate import Assessment
from serin.metrics.collector import Collector
from serin.metrics.prometheus import Prometheus, Settings
from serin.rollout.model import (
    Action,
    ApplyDeployment,
    ApplyRouteObject,
    ApplyService,
    CreateSnapshot,
    DeleteDeployment,
    DeleteService,
    Note,
    Observation,
    Order,
    Plan,
    ProveReady,
    WriteStatus,
)
from serin.routers import build_routers
from tests.catalog import CATALOG
from tests.integration.operator_process import Cluster, until
from tests.unit.routers.context import router_context

pytestmark = pytest.mark.control_plane


class Told:
    """Events as they are recorded, not written."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str, bool]] = []

    def record(self, regarding: JsonObject, reason: str, note: str, *, warning: bool = False) -> None:
        assert regarding["kind"] == "ModelDeployment"
        self.notes.append((reason, note, warning))


class Bench:
    """Everything behind one look, with the planner replaced by a function of the test's own."""

    def __init__(self, cluster: Cluster, client: KubernetesCluster, requests: list[tuple[str, str]]) -> None:
        self.cluster, self.client, self.requests = cluster, client, requests
        self.cache, self.leading, self.told = ObjectCache(), True, Told()
        self.telemetry = Telemetry()
        prometheus = Prometheus(Settings("http://127.0.0.1:9"))
        evidence_loop = EvidenceLoop(
            self.cache,
            Collector(prometheus, CATALOG),
            self.telemetry,
            lambda _: None,
            request_template=lambda _: "request-errors",
        )
        context = router_context(self.cache, namespace=cluster.system, registry=self.telemetry.registry)
        traffic_estimator = TrafficEstimator(self.cache, prometheus.query, lambda _: None, catalog=CATALOG)
        pod_checks = PodChecks(self.cache, lambda _: None)
        routers = build_routers(context)
        self.observer = Observer(self.cache, routers, evidence_loop, traffic_estimator, pod_checks, catalog=CATALOG)
        self.applier = Applier(client, self.cache, self.observer, lambda: self.leading)

    async def refresh(self) -> None:
        """What the watches would have shown by now."""
        for kind in WATCHED:
            for body in await self.client.list(kind, self.cluster.shop):
                self.cache.put(kind, body)
        self.requests.clear()

    def seen(self) -> Observation:
        body = self.cache.get(kinds.MODEL_DEPLOYMENT, self.cluster.shop, "fraud")
        assert body is not None
        return self.observer.observe(body, 1_800_000_000.0)

    async def apply(self, *actions: Action, seen: Observation | None = None) -> Applied:
        self.requests.clear()
        return await self.applier.apply(seen or self.seen(), Plan(actions, (), None))

    def reconciler(self, plan: Callable[[Observation, Assessment], Plan]) -> Reconciler:
        reporter = Reporter(self.told, self.telemetry)
        return Reconciler(self.cache, self.observer, plan, self.applier, reporter, self.telemetry)


@pytest.fixture
async def bench(control_plane: Any) -> AsyncIterator[Bench]:
    cluster = Cluster(control_plane)
    requests: list[tuple[str, str]] = []
    client = KubernetesCluster(
        await log_in(control_plane.kubeconfig), observer=lambda verb, kind, _status, _s: requests.append((verb, kind))
    )
    cluster.deploy()
    made = Bench(cluster, client, requests)
    await made.refresh()
    yield made
    await client.close()
    cluster.remove()


def run(snapshot: str, replicas: int, role: str = "candidate") -> tuple[Action, ...]:
    """All that makes a workload."""
    return (
        ApplyService(snapshot),
        ApplyDeployment(snapshot, replicas, role, stamp=False),
        ApplyDeployment(snapshot, replicas, role),
    )


def status(**weights: int) -> JsonObject:
    return {"phase": "Healthy", "traffic": {"weights": weights}}


async def run_workload(bench: Bench, snapshot: str) -> None:
    """Start a workload and say that its pods are ready; the cache has seen that, and that the router may know them."""
    content = bench.seen().deployment.spec.content
    applied = await bench.apply(CreateSnapshot(snapshot, content), *run(snapshot, 2))
    assert applied.outcome is Outcome.DONE
    await until(lambda: bench.cluster.make_pods_ready() == 2, what="two pods")
    for _ in range(600):
        await bench.refresh()
        if bench.seen().workloads[snapshot].ready == 2:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(bench.seen().workloads)


SNAPSHOT = "fraud-bbbbbbbbbb"


async def test_a_raise_is_refused_when_the_pods_are_not_ready_at_that_moment_whatever_the_cache_says(
    bench: Bench,
) -> None:
    await run_workload(bench, SNAPSHOT)
    seen = bench.seen()
    assert seen.workloads[SNAPSHOT].ready == 2
    bench.cluster.kubectl("delete", "deploy", SNAPSHOT, "--wait=true")
    await until(lambda: not bench.cluster.read("pods")["items"], what="the pods' end")
    raising = WriteStatus(Order.RAISE, status(**{SNAPSHOT: 100}))
    applied = await bench.apply(ProveReady(SNAPSHOT, 1), raising, DeleteDeployment("fraud-x", "uid", "1"), seen=seen)
    assert applied.outcome is Outcome.STOPPED
    assert applied.done == ()
    assert not applied.recorded
    assert applied.why == f"0 pods of {SNAPSHOT} are ready at this moment, 1 are needed for its traffic"
    assert bench.requests == [("list", "Pod")]
    assert bench.cluster.status() == {}


async def test_a_snapshot_that_is_gone_is_not_run_with_the_content_of_another(bench: Bench) -> None:
    applied = await bench.apply(*run(SNAPSHOT, 1, "stable"))
    assert applied.outcome is Outcome.STOPPED
    assert applied.why == f"ModelSnapshot {SNAPSHOT} is gone: what its pods are made of is not known"
    assert bench.requests == []


async def test_a_raise_goes_through_when_live_reads_prove_it(bench: Bench) -> None:
    await run_workload(bench, SNAPSHOT)
    applied = await bench.apply(ProveReady(SNAPSHOT, 2), WriteStatus(Order.RAISE, status(**{SNAPSHOT: 100})))
    assert applied.outcome is Outcome.DONE
    assert bench.requests == [("list", "Pod"), ("apply", "ModelDeployment")]
    assert bench.cluster.status()["traffic"]["weights"] == {SNAPSHOT: 100}


async def test_lowering_is_one_write_with_no_read_before_it(bench: Bench) -> None:
    applied = await bench.apply(WriteStatus(Order.LOWER, status(stable=100)))
    assert applied.outcome is Outcome.DONE
    assert bench.requests == [("apply", "ModelDeployment")]


async def test_nothing_in_a_status_keeps_traffic_from_being_lowered(bench: Bench) -> None:
    """The API server refuses a status with too much in it; who serves is written all the same."""
    refused = status(stable=100) | {"handled": {f"serin.dev/{number}": "x" for number in range(20)}}
    applied = await bench.apply(WriteStatus(Order.LOWER, refused))
    assert applied.outcome is Outcome.DONE
    assert bench.requests == [("apply", "ModelDeployment")] * 2
    assert bench.cluster.status()["traffic"]["weights"] == {"stable": 100}
    with pytest.raises(Refused):
        await bench.apply(WriteStatus(Order.RECORD, refused))


async def test_the_next_look_sees_what_this_one_wrote(bench: Bench) -> None:
    content = bench.seen().deployment.spec.content
    await bench.apply(
        WriteStatus(Order.RECORD, status(stable=100)),
        CreateSnapshot(SNAPSHOT, content),
        *run(SNAPSHOT, 3),
    )
    seen = bench.seen()
    assert seen.deployment.status["traffic"]["weights"] == {"stable": 100}
    assert seen.snapshots[SNAPSHOT].content == content
    assert (seen.workloads[SNAPSHOT].desired, seen.workloads[SNAPSHOT].role) == (3, "candidate")


async def test_a_status_planned_on_an_old_version_stops_the_plan_and_the_next_look_is_up_to_date(bench: Bench) -> None:
    seen = bench.seen()
    bench.cluster.kubectl("annotate", "md", "fraud", "moved=yes")
    applied = await bench.apply(WriteStatus(Order.RECORD, status(stable=100)), *run(SNAPSHOT, 1), seen=seen)
    assert applied.outcome is Outcome.CONFLICT
    assert applied.done == ()
    assert bench.requests == [("apply", "ModelDeployment"), ("get", "ModelDeployment")]
    assert bench.seen().deployment.annotations["moved"] == "yes"
    assert (await bench.apply(WriteStatus(Order.RECORD, status(stable=100)))).outcome is Outcome.DONE


async def test_nothing_is_written_once_the_lease_is_lost(bench: Bench) -> None:
    bench.leading = False
    applied = await bench.apply(WriteStatus(Order.LOWER, status(stable=100)), *run(SNAPSHOT, 1))
    assert applied.outcome is Outcome.STOPPED
    assert bench.requests == []


async def test_a_workload_is_deleted_whole_and_a_stale_deletion_deletes_nothing_of_it(bench: Bench) -> None:
    await run_workload(bench, SNAPSHOT)

    def delete(seen: Observation, version: str = "") -> tuple[Action, ...]:
        workload = seen.workloads[SNAPSHOT]
        deployment = DeleteDeployment(SNAPSHOT, workload.uid, version or workload.resource_version)
        return deployment, DeleteService(SNAPSHOT, seen.services[SNAPSHOT])

    applied = await bench.apply(*delete(bench.seen(), version="1"))
    assert (applied.outcome, applied.done) == (Outcome.CONFLICT, ())
    assert bench.cluster.read("deploy", SNAPSHOT)
    assert bench.cluster.read("svc", SNAPSHOT)
    for _ in range(30):
        await bench.refresh()
        applied = await bench.apply(*delete(bench.seen()))
        if applied.outcome is not Outcome.CONFLICT:  # its controller may still be writing its status
            break
    assert applied.outcome is Outcome.DONE
    assert SNAPSHOT not in bench.seen().workloads
    await until(lambda: not bench.cluster.read("deploy,svc", selector=f"serin.dev/snapshot={SNAPSHOT}")["items"])


async def test_a_service_that_somebody_deleted_is_made_again(bench: Bench) -> None:
    await run_workload(bench, SNAPSHOT)
    service = bench.cache.get(kinds.SERVICE, bench.cluster.shop, SNAPSHOT)
    assert service is not None
    bench.cluster.kubectl("delete", "svc", SNAPSHOT)
    bench.cache.drop(kinds.SERVICE, service)
    assert bench.seen().services == {}
    await bench.apply(ApplyService(SNAPSHOT))
    assert bench.cluster.read("svc", SNAPSHOT)["spec"]["clusterIP"] == "None"


async def test_objects_of_an_earlier_deployment_of_the_same_name_do_not_count(bench: Bench) -> None:
    await run_workload(bench, SNAPSHOT)
    bench.cluster.kubectl("delete", "md", "fraud", "--cascade=orphan")
    bench.cluster.deploy()
    await bench.refresh()
    assert bench.seen().workloads == {}
    assert bench.seen().snapshots == {}


def clients_service(bench: Bench) -> JsonObject:
    """The clients' Service as Serin wants it now."""
    found = (body for body in bench.seen().route.repairs if body["kind"] == "Service")
    return next(found)


async def test_a_service_that_somebody_made_a_moment_ago_is_not_taken(bench: Bench) -> None:
    """The cache has not seen it yet, so the plan wants to make one."""
    ports = [{"name": "web", "port": 8080}]
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "fraud"}, "spec": {"ports": ports}}
    bench.cluster.kubectl("create", "-f", "-", body=theirs)
    applied = await bench.apply(ApplyRouteObject(clients_service(bench)))
    assert applied.outcome is Outcome.CONFLICT
    found = bench.cluster.read("svc", "fraud")
    assert [one["name"] for one in found["spec"]["ports"]] == ["web"]
    assert found["metadata"].keys() & {"labels", "ownerReferences"} == set()
    await bench.refresh()
    route = bench.seen().route
    assert (route.repairs, "a Service named fraud exists already" in (route.not_ours or "")) == ((), True)


async def test_a_field_of_serins_own_that_somebody_took_is_taken_back(bench: Bench) -> None:
    assert (await bench.apply(ApplyRouteObject(clients_service(bench)))).outcome is Outcome.DONE
    renamed = [{"op": "replace", "path": "/spec/ports/0/name", "value": "web"}]
    bench.cluster.kubectl("patch", "svc", "fraud", "--type=json", "-p", json.dumps(renamed))
    await bench.refresh()
    assert (await bench.apply(ApplyRouteObject(clients_service(bench)))).outcome is Outcome.DONE
    assert [one["name"] for one in bench.cluster.read("svc", "fraud")["spec"]["ports"]] == ["http"]


async def test_a_note_is_told_once_its_status_is_written_and_not_before(bench: Bench) -> None:
    await run_workload(bench, SNAPSHOT)
    key = (bench.cluster.shop, "fraud")
    note = Note(Reason.PROMOTED, "it is promoted", warning=False)

    def plan(proof: int) -> Callable[[Observation, Assessment], Plan]:
        raising = WriteStatus(Order.RAISE, status(**{SNAPSHOT: 100}))
        return lambda _seen, _assessment: Plan((ProveReady(SNAPSHOT, proof), raising), (note,), None)

    assert await bench.reconciler(plan(3))(key) == 1.0
    assert bench.told.notes == []
    await bench.reconciler(plan(2))(key)
    assert bench.told.notes == [("Promoted", "it is promoted", False)]


async def test_a_failed_request_and_a_broken_planner_bring_the_key_back_and_harm_no_other(bench: Bench) -> None:
    key = (bench.cluster.shop, "fraud")

    def broken(_seen: Observation, _assessment: Assessment) -> Plan:
        raise ZeroDivisionError

    bad = WriteStatus(Order.RECORD, {"phase": "Healthy", "traffic": {"weights": {"x": "not a number"}}})
    for plan in (broken, lambda *_: Plan((bad,), (), None)):
        with pytest.raises(TryAgain):
            await bench.reconciler(plan)(key)
    assert await bench.reconciler(lambda *_: Plan((), (), 7.0))(key) == 7.0
    assert await bench.reconciler(broken)((bench.cluster.shop, "absent")) is None
