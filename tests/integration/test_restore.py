"""etcd is restored from a backup under a running operator: versions run backwards, and nothing is ignored then."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import launcher
from tests.cluster.errors import Unavailable
from tests.cluster.local import ControlPlane
from tests.integration.operator_process import Cluster, operating, until

pytestmark = pytest.mark.control_plane

STORE = ("kube-apiserver", "etcd")


@pytest.fixture
def restorable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of this test's own: whoever else watches it would be as surprised."""
    try:
        made = launcher.start_control_plane(tmp_path_factory.mktemp("restorable"))
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield made
    launcher.end(made)


def stop_store(control_plane: ControlPlane) -> None:
    for component in STORE:
        control_plane.kill(component)


def start_store(control_plane: ControlPlane) -> None:
    control_plane.begin(*reversed(STORE))
    control_plane.await_ready(*reversed(STORE))


async def test_an_operator_goes_on_with_what_the_backup_has(restorable: ControlPlane, tmp_path: Path) -> None:
    cluster, data, backup = Cluster(restorable), restorable.folder / "etcd", tmp_path / "backup"
    async with operating(restorable, cluster, tmp_path) as (operator, _):

        async def deployments() -> float:
            return await operator.metric("serin_cache_objects", kind="ModelDeployment")

        async def see(count: int) -> None:
            for _ in range(600):
                if await deployments() == count and await operator.metric("serin_leader"):
                    return
                await asyncio.sleep(0.2)
            raise AssertionError(f"{await deployments()} deployments are known, {count} exist: {operator.log()}")

        cluster.deploy()
        await until(lambda: cluster.make_pods_ready() and "stable" in cluster.status(), what="a first version")
        snapshot = cluster.status()["stable"]["snapshot"]
        stop_store(restorable)
        shutil.copytree(data, backup)
        start_store(restorable)
        cluster.deploy("later")
        for number in range(30):
            cluster.kubectl("annotate", "md", "fraud", "--overwrite", f"example.org/number={number}")
        cluster.kubectl("scale", "md", "fraud", "--replicas=4")
        await until(lambda: cluster.read("deploy", snapshot)["spec"]["replicas"] == 4, what="scaling up")
        await see(2)
        stop_store(restorable)
        shutil.rmtree(data)
        shutil.copytree(backup, data)
        start_store(restorable)
        await see(1)
        assert (await operator.page("healthz"))[0] == 200
        cluster.kubectl("scale", "md", "fraud", "--replicas=3")
        await until(
            lambda: cluster.read("deploy", snapshot)["spec"]["replicas"] == 3, what="scaling in the restored one"
        )
