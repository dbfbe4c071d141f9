"""The clients' Service on a real API server: what others write into it starts no fight, what they take is put back."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.operator_process import Cluster, operating, routing, until
from tests.integration.proxy import Proxy
from tests.integration.test_operator_life import ROUTER, quiet, router, serving

pytestmark = pytest.mark.control_plane

SERVICE, SLICE = "/services/fraud", "/endpointslices/fraud-router"
# Whatever a user, Helm or another controller may add.
FOREIGN: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("svc", "fraud", {"spec": {"ports": [{"name": "metrics", "port": 9090, "protocol": "TCP"}]}}),
    ("svc", "fraud", {"spec": {"ports": [{"port": 8080, "protocol": "TCP", "appProtocol": "kubernetes.io/ws"}]}}),
    ("svc", "fraud", {"spec": {"sessionAffinity": "ClientIP"}}),
    ("svc", "fraud", {"metadata": {"labels": {"team": "risk"}, "annotations": {"note": "ours"}}}),
    ("endpointslice", "fraud-router", {"metadata": {"labels": {"team": "risk"}, "annotations": {"note": "ours"}}}),
)


def writes(proxy: Proxy) -> dict[str, int]:
    """Requests that wrote the Service or its endpoints."""
    found: dict[str, int] = {}
    for (_, path), times in proxy.writes().items():
        for name in (SERVICE, SLICE):
            if path.endswith(name):
                found[name] = found.get(name, 0) + times
    return found


async def test_what_others_add_causes_no_write_and_what_they_take_causes_one(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
    async with operating(control_plane, cluster, tmp_path) as (_, proxy):
        cluster.deploy()
        await serving(cluster)
        await quiet(proxy)
        assert writes(proxy) == {SERVICE: 1, SLICE: 1}
        for kind, name, patch in FOREIGN:
            cluster.kubectl("patch", kind, name, "--type=strategic", "-p", json.dumps(patch))
        await quiet(proxy)
        assert writes(proxy) == {SERVICE: 1, SLICE: 1}
        ports = cluster.read("svc", "fraud")["spec"]["ports"]
        assert {one["port"]: one.get("appProtocol") for one in ports} == {8080: "kubernetes.io/ws", 9090: None}
        # No Envoy runs here, so none has taken anything; that somebody has added a port is nothing against the route.
        told = {one["type"]: one["message"] for one in cluster.status()["conditions"]}
        assert told["Routed"] == "the router has not taken the route yet"

        gone = {"metadata": {"labels": {"kubernetes.io/service-name": None}}}
        cluster.kubectl("patch", "endpointslice", "fraud-router", "--type=merge", "-p", json.dumps(gone))
        await until(lambda: writes(proxy) == {SERVICE: 1, SLICE: 2}, what="the repair of the endpoints")
        cluster.kubectl("delete", "svc", "fraud")
        await until(lambda: writes(proxy)[SERVICE] == 2, what="the Service made anew")
        await quiet(proxy)
        assert writes(proxy)[SERVICE] == 2


async def test_a_protocol_that_is_no_longer_wanted_goes_with_one_write(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    def spoken() -> str | None:
        [port] = cluster.read("svc", "fraud")["spec"]["ports"]
        found: str | None = port.get("appProtocol")
        return found

    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
    async with operating(control_plane, cluster, tmp_path) as (_, proxy):
        cluster.deploy(service={"appProtocol": "kubernetes.io/h2c"})
        await serving(cluster)
        await quiet(proxy)
        assert (spoken(), writes(proxy)[SERVICE]) == ("kubernetes.io/h2c", 1)
        cluster.deploy()
        await until(lambda: spoken() is None, what="the Service without HTTP/2")
        await quiet(proxy)
        assert writes(proxy)[SERVICE] == 2


def _direct(cluster: Cluster) -> tuple[set[str], dict[str, int]]:
    """The addresses behind the extra ports, and the ports."""
    found = cluster.read("endpointslice", "fraud-direct")
    addresses = {one["addresses"][0] for one in found.get("endpoints") or ()}
    return addresses, {one["name"]: one["port"] for one in found.get("ports") or ()}


def _pods(cluster: Cluster, version: str) -> set[str]:
    """The addresses of a model version's ready pods, as Kubernetes lists them."""
    of = {one["metadata"]["name"]: one["spec"]["content"]["model"]["version"] for one in cluster.read("msnap")["items"]}
    slices = cluster.read("endpointslice", selector="serin.dev/snapshot")["items"]
    return {
        one["addresses"][0]
        for body in slices
        if of[body["metadata"]["labels"]["serin.dev/snapshot"]] == version
        for one in body.get("endpoints") or ()
        if one["conditions"]["ready"]
    }


def _template(port: int) -> dict[str, Any]:
    ports = [{"containerPort": 8080}, {"containerPort": port, "name": "admin"}]
    return {"spec": {"containers": [{"name": "model", "image": "registry.test/model:1", "ports": ports}]}}


async def test_extra_ports_lead_to_stables_pods_at_the_port_of_its_own_template(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    service = {"extraPorts": [{"name": "admin", "port": 90}]}
    spec: dict[str, Any] = {
        "replicas": 2,
        "service": service,
        "strategy": {"canary": {"steps": [{"weight": 10, "bake": "1h"}]}},
    }
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
    async with operating(control_plane, cluster, tmp_path) as (operator, proxy), routing(operator, ROUTER):
        cluster.deploy(template=_template(9000), **spec)
        await serving(cluster)
        await until(lambda: cluster.make_pods_ready() and _pods(cluster, "1") == _direct(cluster)[0], what="endpoints")
        first, ports = _direct(cluster)
        assert (len(first), ports) == (2, {"admin": 9000})
        assert [one["port"] for one in cluster.read("svc", "fraud")["spec"]["ports"]] == [8080, 90]

        cluster.deploy(version="2", template=_template(9001), **spec)
        await until(lambda: cluster.make_pods_ready() and "arms" in cluster.status(), what="a rollout")
        await until(lambda: cluster.make_pods_ready() and 10 in _weights(cluster), what="its step")
        assert _direct(cluster) == (first, {"admin": 9000})
        cluster.kubectl("annotate", "md", "fraud", "serin.dev/promote=now")
        await until(lambda: cluster.make_pods_ready() and _direct(cluster)[1] == {"admin": 9001}, what="the promotion")
        await until(lambda: _direct(cluster)[0] == _pods(cluster, "2"), what="the endpoints of version 2")

        cluster.kubectl("annotate", "md", "fraud", "serin.dev/kill-switch=All")
        await until(lambda: _direct(cluster)[0] == set(), what="nobody")
        cluster.kubectl("annotate", "md", "fraud", "serin.dev/kill-switch-")
        await until(lambda: _direct(cluster)[0] == _pods(cluster, "2"), what="the endpoints again")
        await quiet(proxy)


def _weights(cluster: Cluster) -> list[int]:
    found: dict[str, int] = cluster.status().get("traffic", {}).get("weights", {})
    return list(found.values())
