"""Tokens as a real API server makes them for pods, checked with the keys that it publishes."""

import asyncio
import json
from typing import Any

import pytest

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import KubernetesCluster
from serin.cluster.login import log_in
from serin.routers.envoy.pod_access import PodAccess
from serin.routers.envoy.service_pods import ServicePods
from serin.routers.envoy.tokens import AUDIENCE, Tokens
from serin.routers.envoy.xds.access import Denied
from tests.integration.operator_process import Cluster
from tests.unit.routers.context import until
from tests.unit.routers.test_pod_access import slice_of

pytestmark = pytest.mark.control_plane


def run_pod(cluster: Cluster, name: str, account: str) -> str:
    """A pod that no node runs; its uid."""
    pod: JsonObject = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": cluster.system},
        "spec": {
            "serviceAccountName": account,
            "nodeName": "none",
            "containers": [{"name": "envoy", "image": "registry.test/envoy:1"}],
        },
    }
    made = json.loads(cluster.kubectl("--namespace", cluster.system, "create", "-o", "json", "-f", "-", body=pod))
    uid: str = made["metadata"]["uid"]
    return uid


def token_of(cluster: Cluster, account: str, pod: str | None, audience: str = AUDIENCE) -> str:
    words = ["create", "token", account, f"--audience={audience}"]
    bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"] if pod else []
    return cluster.kubectl("--namespace", cluster.system, *words, *bound).strip()


async def test_the_token_of_a_routers_pod_is_taken_and_no_other(control_plane: Any, cluster: Cluster) -> None:
    for account in ("serin-router", "other"):
        cluster.kubectl("--namespace", cluster.system, "create", "serviceaccount", account)
    uid = run_pod(cluster, "router-1", "serin-router")
    run_pod(cluster, "other-1", "other")
    cache = ObjectCache()
    body = slice_of("serin-router", {"router-1": "10.0.0.1"}, cluster.system)
    body["endpoints"][0]["targetRef"]["uid"] = uid
    cache.put(kinds.ENDPOINT_SLICE, body)
    client = KubernetesCluster(await log_in(control_plane.kubeconfig))
    tokens = Tokens(client.signing_keys)
    access = PodAccess(cache, ServicePods(cache, cluster.system), tokens, cluster.system)
    reading = asyncio.create_task(tokens.run())
    try:
        good = token_of(cluster, "serin-router", "router-1")
        await until(lambda: _takes(access, good))
        assert access.router("10.0.0.9", good) == "router-1"
        for account, pod, audience, why in (
            ("other", "other-1", AUDIENCE, "not of serin-router"),
            ("serin-router", None, AUDIENCE, "not one of a pod"),
            ("serin-router", "router-1", "https://kubernetes.default.svc", "Audience"),
        ):
            with pytest.raises(Denied, match=why):
                access.router("10.0.0.1", token_of(cluster, account, pod, audience))
        cache.drop(kinds.ENDPOINT_SLICE, {"metadata": {**body["metadata"], "resourceVersion": "2"}})
        assert not _takes(access, good), "it is well signed still, and its pod is gone"
    finally:
        reading.cancel()
        await client.close()


def _takes(access: PodAccess, token: str) -> bool:
    try:
        access.router("10.0.0.1", token)
    except Denied:
        return False
    return True
