"""The client of a replica: `SimulatedCluster` answers and raises as `KubernetesCluster` does."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

import pytest

from serin.api.json import JsonObject
from serin.cluster import kinds, login
from serin.cluster.client import KubernetesCluster
from serin.cluster.protocol import Cluster, ClusterError
from tests.cluster.access import Cluster as ControlPlane
from tests.conformance.harness import Api, SimulatedWire
from tests.integration.crds.rig import smallest
from tests.simulation import clock
from tests.simulation.api.resources import NAMESPACE
from tests.simulation.api.rest import Rest
from tests.simulation.cluster import SimulatedCluster


class Client(Cluster, Protocol):
    """What the Lease needs besides."""

    async def create(self, body: JsonObject) -> JsonObject: ...


Said = list[Any]
Request = Callable[[], Awaitable[Any]]


async def story(cluster: Client, namespace: str) -> Said:
    """Every method, with every kind of error that it can give without a fault; what came of each."""
    said: Said = []
    shown = Api(SimulatedWire(), namespace).shown

    async def ask(request: Request) -> Any:
        try:
            answer = await request()
        except ClusterError as error:
            said.append([type(error).__name__, error.status, shown(error.message)])
            return None
        said.append(shown([answer]))
        return answer

    def named(kind: str, api_version: str, **parts: Any) -> JsonObject:
        return {"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace, "name": "iris"}, **parts}

    deployment = {**smallest("iris"), "metadata": {"namespace": namespace, "name": "iris"}}
    service = named("Service", "v1", spec={"ports": [{"name": "http", "port": 80}]})
    await ask(lambda: cluster.get(kinds.MODEL_DEPLOYMENT, namespace, "iris"))
    stored = await ask(lambda: cluster.apply(deployment))
    await ask(lambda: cluster.create(deployment))
    await ask(lambda: cluster.list(kinds.MODEL_DEPLOYMENT, namespace))
    status = {**deployment, "status": {"phase": "Serving"}}
    del status["spec"]
    await ask(lambda: cluster.patch_status(status))
    status["metadata"] = {**status["metadata"], "resourceVersion": stored["metadata"]["resourceVersion"]}
    await ask(lambda: cluster.patch_status(status))
    await ask(lambda: cluster.apply({**deployment, "spec": {**deployment["spec"], "replicas": 0}}))
    await ask(lambda: cluster.apply({**deployment, "spec": {**deployment["spec"], "nonsense": 0}}))
    await ask(lambda: cluster.apply(service))
    await ask(lambda: cluster.list(kinds.SERVICE, namespace, "app=x"))
    missing = named("Deployment", "apps/v1", spec={"template": {}})
    await ask(lambda: cluster.restore_template(missing))
    await ask(lambda: cluster.apply(missing, force=False))
    await ask(lambda: cluster.create({**service, "metadata": {"namespace": f"{namespace}-none", "name": "a"}}))
    uid = str(stored["metadata"]["uid"])
    await ask(lambda: cluster.delete(kinds.MODEL_DEPLOYMENT, namespace, "iris", uid="other"))
    await ask(lambda: cluster.delete(kinds.MODEL_DEPLOYMENT, namespace, "iris", uid=uid, resource_version="1"))
    await ask(lambda: cluster.delete(kinds.MODEL_DEPLOYMENT, namespace, "iris", uid=uid))
    await ask(lambda: cluster.delete(kinds.MODEL_DEPLOYMENT, namespace, "iris", uid=uid))
    event = named("Event", "events.k8s.io/v1", eventTime="2026-11-22T10:00:00.000000Z", type="Normal", note="x")
    await ask(lambda: cluster.create_event(event))
    return said


def simulated(namespace: str) -> Said:
    async def main() -> Said:
        control_plane = Rest()
        control_plane.server.create(NAMESPACE, "", {"metadata": {"name": namespace}}, manager="kubectl")
        return await story(SimulatedCluster(control_plane), namespace)

    return clock.run(main)


def real(kubeconfig: Path, namespace: str) -> Said:
    async def main() -> Said:
        client = KubernetesCluster(await login.log_in(kubeconfig))
        try:
            return await story(client, namespace)
        finally:
            await client.close()

    return asyncio.run(main())


def test_every_method_and_error(control_plane: ControlPlane, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("with_crds")
    namespace = f"conform-client-{token_hex(3)}"
    control_plane.kubectl("create", "namespace", namespace)
    try:
        said = real(control_plane.kubeconfig, namespace)
    finally:
        control_plane.kubectl("delete", "namespace", namespace, "--wait=false")
    for one, other in zip(simulated(namespace), said, strict=True):
        assert one == other
    assert {one[0] for one in said if isinstance(one[0], str)} == {"Conflict", "Gone", "Refused"}
