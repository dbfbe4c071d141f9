"""The running operator on a real API server: what it leaves untouched, what it costs when idle, what it survives."""

import asyncio
import json
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from serin.api.json import JsonObject
from tests.integration.operator_process import Cluster, OperatorProcess, operating, routing, until
from tests.integration.proxy import Proxy, kubeconfig_through, proxied

pytestmark = pytest.mark.control_plane

ROUTER = "serin-router-1"


async def serving(cluster: Cluster, name: str = "fraud") -> None:
    """Wait until a deployment's first version serves."""
    await until(lambda: cluster.make_pods_ready() and "stable" in cluster.status(name), what=f"{name} serving")


def requests(proxy: Proxy) -> Counter[tuple[str, str, bool]]:
    """Everything but the Lease, whose renewal has nothing to do with the number of deployments."""
    return Counter({key: times for key, times in proxy.requests.items() if "/leases" not in key[1]})


async def quiet(proxy: Proxy, seconds: float = 2.0, limit: float = 120.0) -> None:
    """Wait until no request was made for so long."""
    for _ in range(int(limit / seconds)):
        before = requests(proxy)
        await asyncio.sleep(seconds)
        if requests(proxy) == before:
            return
    raise AssertionError(f"the operator does not come to rest: {requests(proxy)}")


async def test_a_first_version_serves_and_users_objects_carry_nothing_of_kopfs(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (_, proxy):
        cluster.deploy(replicas=2)
        await serving(cluster)
        await quiet(proxy)
        body = cluster.read("md", "fraud")
    applied_only = {"kubectl.kubernetes.io/last-applied-configuration"}
    assert body["metadata"].get("annotations", {}).keys() <= applied_only
    assert "finalizers" not in body["metadata"]
    snapshot = body["status"]["stable"]["snapshot"]
    assert body["status"]["traffic"]["weights"] == {snapshot: 100}
    # Every write is one of Serin's own, to one of the kinds that it writes, and none of them to the spec.
    kinds = {
        re.sub(r"/[^/]+$", "", re.sub(rf"/{cluster.shop}|/{cluster.system}", "", path)) for _, path in proxy.writes()
    }
    assert {method for method, _ in proxy.writes()} <= {"PATCH", "POST"}
    assert not [path for _, path in proxy.writes() if path.endswith("/modeldeployments/fraud")]
    assert "kopf" not in " ".join(kinds)
    owned = cluster.read("deploy,svc,msnap,endpointslices", selector="serin.dev/model-deployment=fraud")["items"]
    ours = [one for one in owned if "endpointslice-controller" not in json.dumps(one["metadata"].get("labels", {}))]
    assert {one["kind"] for one in ours} == {"Deployment", "Service", "ModelSnapshot", "EndpointSlice"}
    for one in ours:
        assert [owner["uid"] for owner in one["metadata"]["ownerReferences"]] == [body["metadata"]["uid"]]
        assert "finalizers" not in one["metadata"]
        managers = {entry["manager"] for entry in one["metadata"].get("managedFields", ())}
        assert "kopf" not in managers


@pytest.mark.usefixtures("simulated_nodes")
async def test_idle_deployments_cause_no_writes_and_no_reads(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (operator, proxy):
        for name in ("fraud", "churn", "spam"):
            cluster.deploy(name)
        for name in ("fraud", "churn", "spam"):
            await serving(cluster, name)
        # What the controllers still have to say about the new pods may come late.
        for _ in range(6):
            await quiet(proxy)
            before, looks = requests(proxy), await operator.metric("serin_reconciles_total")
            await asyncio.sleep(10.0)
            after, later = requests(proxy), await operator.metric("serin_reconciles_total")
            if (after, later) == (before, looks):
                break
        assert after == before
        assert later == looks
        assert await operator.metric("serin_ticks_total") == 0


async def test_what_was_deleted_while_no_watch_was_open_is_swept_by_the_list_that_follows(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (operator, proxy):
        for name in ("kept", "deleted"):
            cluster.deploy(name)
        await until(lambda: "phase" in cluster.status("kept") and "phase" in cluster.status("deleted"))
        await quiet(proxy)
        assert await operator.metric("serin_cache_objects", kind="ModelDeployment") == 2
        proxy.cut()
        cluster.kubectl("delete", "md", "deleted")
        watched = {path for _, path, watch in proxy.requests if watch}
        assert any(path.endswith("/modeldeployments") for path in watched)
        proxy.mend(*watched)
        for _ in range(450):
            if await operator.metric("serin_cache_objects", kind="ModelDeployment") == 1:
                break
            await asyncio.sleep(0.2)
        assert await operator.metric("serin_cache_objects", kind="ModelDeployment") == 1
        assert await operator.metric("serin_cache_swept_total", kind="ModelDeployment") == 1
        # The one that is left still works.
        await until(lambda: cluster.make_pods_ready() and "stable" in cluster.status("kept"))


async def test_an_api_server_that_is_away_is_waited_for(control_plane: Any, cluster: Cluster, tmp_path: Path) -> None:
    async with operating(control_plane, cluster, tmp_path) as (operator, proxy):
        cluster.deploy()
        await serving(cluster)
        proxy.cut()
        await until(lambda: "lease.lost" in operator.log(), what="stepping down")
        assert (await operator.page("healthz"))[0] == 200
        assert await operator.metric("serin_leader") == 0
        cluster.kubectl("scale", "md", "fraud", "--replicas=3")
        proxy.mend()
        await operator.wait_until_leading()
        snapshot = cluster.status()["stable"]["snapshot"]
        await until(lambda: cluster.read("deploy", snapshot)["spec"]["replicas"] == 3, what="scaling up")


async def test_sigterm_gives_the_lease_back_and_another_replica_goes_on_at_once(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (first, _), proxied(control_plane.kubeconfig) as proxy:
        (tmp_path / "second").mkdir()
        second = OperatorProcess(kubeconfig_through(proxy, tmp_path / "second"), cluster, tmp_path / "second" / "log")
        try:
            await second.wait_until_ready()
            cluster.deploy()
            await serving(cluster)
            assert not [path for _, path in proxy.writes()], "a standby writes"
            holder = cluster.read("lease", "serin", namespace=cluster.system)["spec"]["holderIdentity"]
            assert await first.stop() == 0
            # It is free, or taken already: nobody has to wait for the end of a term.
            lease = cluster.read("lease", "serin", namespace=cluster.system)
            assert lease["spec"].get("holderIdentity") != holder
            await second.wait_until_leading()
            lease = cluster.read("lease", "serin", namespace=cluster.system)
            assert lease["spec"]["leaseTransitions"] == 1
            cluster.kubectl("scale", "md", "fraud", "--replicas=2")
            await until(lambda: cluster.status().get("replicas") == 2, what="the second one at work")
        finally:
            await second.stop(signal.SIGKILL)


async def test_a_pod_template_that_the_api_server_refuses_is_told_in_its_words(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (_, proxy):
        container = {"name": "model", "image": "m:1", "ports": [{"containerPort": 8080}], "nonsense": True}
        cluster.deploy(template={"spec": {"containers": [container]}})
        await until(lambda: cluster.status().get("reason") == "PodTemplateRefused", what="the refusal")
        assert "nonsense" in cluster.status()["message"]
        await quiet(proxy)
        cluster.deploy()
        await serving(cluster)


def no_candidates(cluster: Cluster) -> tuple[JsonObject, JsonObject]:
    """An admission policy of the namespace that refuses every candidate, and its binding."""
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": f"no-candidates-{cluster.shop}"}}
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": cluster.shop}}
    is_none = "object.metadata.?labels['serin.dev/role'].orValue('') != 'candidate'"
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
        "validations": [{"expression": is_none, "message": "no candidates on Fridays"}],
    }
    binding = {"policyName": f"no-candidates-{cluster.shop}", "validationActions": ["Deny"]}
    return (
        {**kind, "kind": "ValidatingAdmissionPolicy", "spec": policy},
        {**kind, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    )


async def test_what_a_policy_has_refused_is_sent_again_when_a_person_asks(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    def is_allowed() -> bool:
        labels = {"app": "probe", "serin.dev/role": "candidate"}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "probe", "image": "probe:1"}]}}
        body: JsonObject = {"apiVersion": "apps/v1", "kind": "Deployment"}
        body |= {"metadata": {"name": "probe", "labels": labels}}
        body |= {"spec": {"selector": {"matchLabels": labels}, "template": pod}}
        try:
            cluster.kubectl("create", "--dry-run=server", "-f", "-", body=body)
        except Exception as refused:  # which error kubectl's failure becomes is up to the fixture
            if "no candidates on Fridays" not in str(refused):
                raise
            return False
        return True

    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
    policy = no_candidates(cluster)
    async with operating(control_plane, cluster, tmp_path):
        cluster.deploy()
        await serving(cluster)
        for body in policy:
            cluster.kubectl("apply", "-f", "-", body=body)
        try:
            await until(lambda: not is_allowed(), what="the policy")
            cluster.deploy(version="2")
            await until(lambda: "lastRollback" in cluster.status(), what="the rollback")
            assert cluster.status()["lastRollback"]["reason"] == "PodTemplateRefused"
            assert "no candidates on Fridays" in cluster.status()["lastRollback"]["message"]
        finally:
            for body in policy:
                cluster.kubectl("delete", body["kind"], body["metadata"]["name"])
        await until(is_allowed, what="the policy's end")
        cluster.kubectl("annotate", "md", "fraud", "serin.dev/retry=mended")
        await until(
            lambda: cluster.make_pods_ready() and len(cluster.status()["traffic"]["weights"]) == 2, what="the retry"
        )


def router(cluster: Cluster) -> dict[str, Any]:
    """What a ready router pod looks like from here; `routing` is its Envoy."""
    labels = {"kubernetes.io/service-name": "serin-router", "serin.dev/model-deployment": ""}
    target = {"kind": "Pod", "namespace": cluster.system, "name": ROUTER}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "serin-router-1", "namespace": cluster.system, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": True}, "targetRef": target}],
        "ports": [{"name": "http", "port": 10_000}],
    }


async def test_a_person_goes_back_to_a_version_whose_pods_are_gone_and_the_operator_dies_on_the_way(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    def version() -> str:
        return str(cluster.status().get("stable", {}).get("model"))

    def ask(annotation: str) -> None:
        cluster.kubectl("annotate", "md", "fraud", "--overwrite", f"serin.dev/{annotation}")

    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
    async with operating(control_plane, cluster, tmp_path) as (operator, _), routing(operator, ROUTER):
        cluster.deploy(replicas=2)
        await serving(cluster)
        first = cluster.status()["stable"]["snapshot"]
        cluster.deploy(version="2", replicas=2)
        await until(lambda: "candidate" in cluster.status(), what="the rollout")
        ask("promote=1")
        await until(lambda: cluster.make_pods_ready() and version() == "2", what="the promotion")
        second = cluster.status()["stable"]["snapshot"]
        cluster.kubectl("delete", "deploy,svc", first, "--wait=true")  # as if it had drained long ago
        await until(
            lambda: not cluster.read("pods", selector=f"serin.dev/snapshot={first}")["items"], what="the pods' end"
        )

        # The simulated node makes pods ready within moments: no room for them, so that going back cannot be over first.
        cluster.kubectl("create", "quota", "full", "--hard=pods=2")
        ask(f"rollback-to={first}@1")
        await until(
            lambda: cluster.read("deploy", selector=f"serin.dev/snapshot={first}")["items"], what="its Deployment"
        )
        assert cluster.read("deploy", first)["spec"]["replicas"] == 2
        status = cluster.status()
        assert (status["phase"], status["rollingBack"]["model"]) == ("RollingBack", "1")
        assert status["traffic"]["weights"] == {second: 100}
        assert cluster.read("deploy", second)["spec"]["replicas"] == 2
        await operator.stop(signal.SIGKILL)
        cluster.kubectl("delete", "quota", "full")

    async with operating(control_plane, cluster, tmp_path) as (operator, _):
        await until(
            lambda: cluster.make_pods_ready() and cluster.status()["traffic"]["weights"] == {first: 100},
            what="the move",
        )
        assert cluster.status()["stable"]["snapshot"] == second, "no Envoy has said that it sends to the first version"
        async with routing(operator, ROUTER):
            await until(lambda: cluster.make_pods_ready() and version() == "1", what="going back")
        await until(lambda: cluster.status()["reason"] == "RejectedContent", what="the refusal of version 2")
        assert cluster.status()["traffic"]["weights"] == {first: 100}
        container = cluster.read("deploy", first)["spec"]["template"]["spec"]["containers"][0]
        variables = {one["name"]: one.get("value") for one in container["env"]}
        assert variables["SERIN_MODEL_VERSION"] == "1", "its own content, not what the spec says"
        left = cluster.read("msnap", second)["status"]
        assert (left["verdict"], left["rejected"], left["reason"]) == ("RolledBack", True, "RolledBackByUser")
        assert await operator.metric("serin_promotions_total") == 0
        assert await operator.metric("serin_rollbacks_total", reason="RolledBackByUser") == 1


async def test_a_spec_that_the_schema_cannot_refuse_is_told_and_what_serves_goes_on(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (_, proxy):
        cluster.deploy()
        await serving(cluster)
        weights = cluster.status()["traffic"]["weights"]
        cluster.deploy(config={"max-age": "1", "max.age": "2"})
        await until(lambda: cluster.status()["reason"] == "InvalidSpec", what="the refusal")
        status = cluster.status()
        assert "max-age" in status["message"]
        assert status["traffic"]["weights"] == weights
        conditions = {one["type"]: one["status"] for one in status["conditions"]}
        assert conditions["Stalled"] == "True"
        assert conditions.keys() >= {"Ready", "Reconciling", "Routed"}, "the others must not be lost"
        await quiet(proxy)
        cluster.deploy(config={"max-age": "1"})
        await until(lambda: cluster.status()["reason"] != "InvalidSpec", what="going on")
        await until(lambda: "candidate" in cluster.status(), what="a candidate")
        assert cluster.status()["candidate"]["changed"] == ["config"]


async def test_deleting_a_deployment_leaves_nothing_behind(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as (operator, _):
        cluster.deploy()
        await serving(cluster)
        cluster.kubectl("delete", "md", "fraud", "--timeout=90s")
        everything, ours = "deploy,svc,msnap,pods,endpointslices", "serin.dev/model-deployment"
        await until(lambda: not cluster.read(everything, selector=ours)["items"], what="the garbage collector's work")
        await asyncio.sleep(1.0)
        assert not cluster.read(everything, selector=ours)["items"]
        assert await operator.metric("serin_reconciles_total", outcome="failed") == 0


async def test_a_service_of_somebody_elses_is_left_alone(control_plane: Any, cluster: Cluster, tmp_path: Path) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "fraud"},
        "spec": {"ports": [{"port": 1234}], "selector": {"app": "theirs"}},
    }
    cluster.kubectl("apply", "-f", "-", body=service)
    before = cluster.read("svc", "fraud")
    async with operating(control_plane, cluster, tmp_path):
        cluster.deploy()
        await until(lambda: "is not Serin's" in json.dumps(cluster.status()), what="the condition")
        assert cluster.read("svc", "fraud")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        cluster.kubectl("delete", "svc", "fraud")
        await until(
            lambda: [one["spec"]["ports"][0]["port"] for one in named(cluster, "svc", "fraud")] == [8080],
            what="Serin's own Service",
        )


def named(cluster: Cluster, kind: str, name: str) -> list[JsonObject]:
    """The object of this name, if there is one."""
    return [one for one in cluster.read(kind)["items"] if one["metadata"]["name"] == name]


async def test_traffic_is_lowered_while_the_status_cannot_be_written(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
    async with operating(control_plane, cluster, tmp_path) as (operator, proxy), routing(operator, ROUTER) as envoy:

        def routed() -> set[str]:
            return {name for name, share in envoy.weights(f"{cluster.shop}/fraud").items() if share}

        cluster.deploy()
        await serving(cluster)
        stable = cluster.status()["stable"]["snapshot"]
        cluster.deploy(version="2")
        await until(lambda: cluster.make_pods_ready() and len(routed()) == 2, what="the first step")
        proxy.swallowed.add(f"/apis/serin.dev/v1alpha1/namespaces/{cluster.shop}/modeldeployments/fraud/status")
        cluster.kubectl("annotate", "md", "fraud", "serin.dev/abort=now")
        await until(lambda: routed() == {stable}, seconds=10.0, what="the lower weight")
        assert len(cluster.status()["traffic"]["weights"]) == 2, "nothing was written"
        assert await operator.metric("serin_lowered_in_memory") == 1
        await asyncio.sleep(12.0)
        assert routed() == {stable}
        proxy.swallowed.clear()
        await until(lambda: cluster.status()["traffic"]["weights"] == {stable: 100}, what="the write")
        assert cluster.status()["lastRollback"]["reason"] == "AbortedByUser"
        assert await operator.metric("serin_lowered_in_memory") == 0
        assert routed() == {stable}


async def test_a_restored_status_with_somebody_elses_port_gets_another(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    def port(name: str) -> int:
        return int(cluster.status(name)["router"]["envoy"]["port"])

    def led_to(name: str) -> int:
        return int(cluster.read("endpointslice", f"{name}-router")["ports"][0]["port"])

    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
    async with operating(control_plane, cluster, tmp_path) as (operator, _), routing(operator, ROUTER) as envoy:
        for name in ("older", "other"):
            cluster.deploy(name)
            await serving(cluster, name)
            await asyncio.sleep(1.0)  # a creationTimestamp has whole seconds: of one second, the older one is drawn
        taken = port("older")
        restored = json.dumps({"status": {"router": {"envoy": {"port": taken}}}})
        cluster.kubectl("patch", "md", "other", "--subresource=status", "--type=merge", "-p", restored)
        await until(lambda: port("other") != taken and led_to("other") == port("other"), what="another port")
        assert port("older") == led_to("older") == taken
        await until(
            lambda: (
                {name: envoy.port(f"{cluster.shop}/{name}") for name in ("older", "other")}
                == {"older": taken, "other": port("other")}
            ),
            what="two listeners",
        )
