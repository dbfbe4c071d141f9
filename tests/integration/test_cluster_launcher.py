"""The launcher on the control-plane level: what it does when things go wrong, and that it leaves nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import binaries, cache, launcher, state
from tests.cluster.access import Cluster, KubectlFailed
from tests.cluster.errors import ClusterError, ComponentFailed
from tests.cluster.local import ControlPlane
from tests.cluster.ports import Ports, free_ports
from tests.cluster.processes import marked

pytestmark = [pytest.mark.control_plane, pytest.mark.usefixtures("kube_tools")]

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One of this module's own, because its tests break it."""
    own = launcher.start_control_plane(tmp_path_factory.mktemp("launcher") / "cluster", nodes=2)
    yield own
    launcher.end(own)


def run(*arguments: str, **more: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.cluster", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload, no-any-return]


def test_nodes_and_pods_are_simulated(cluster: ControlPlane) -> None:
    assert cluster.kubectl("get", "nodes", "-o", "name").split() == ["node/kwok-0", "node/kwok-1"]
    cluster.kubectl("create", "deployment", "simulated", "--image=none.test/none:1", "--replicas=2")
    cluster.kubectl("wait", "--for=condition=Available", "deployment/simulated", "--timeout=120s")


def test_the_kubeconfig_is_complete_in_itself(cluster: ControlPlane, tmp_path: Path) -> None:
    copy = tmp_path / "kubeconfig"
    copy.write_bytes(cluster.kubeconfig.read_bytes())
    view = json.loads(copy.read_text())
    assert "certificate-authority-data" in view["clusters"][0]["cluster"]
    cluster.kubectl("--kubeconfig", str(copy), "get", "namespaces")
    assert cluster.client.server == view["clusters"][0]["cluster"]["server"]
    assert (cluster.client.authority or "").startswith("-----BEGIN CERTIFICATE-----")
    assert cluster.kubeconfig.stat().st_mode & 0o077 == 0


def test_an_api_server_killed_and_started_again_keeps_its_data(cluster: ControlPlane) -> None:
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    path = "/api/v1/namespaces/default/configmaps/kept"
    assert cluster.read(path) == Cluster.read(cluster, path), "as kubectl reads it"
    cluster.kill("kube-apiserver")
    with pytest.raises(KubectlFailed) as failure:
        cluster.kubectl("get", "configmap", "kept")
    assert "kube-apiserver was killed by SIGKILL" in str(failure.value)
    cluster.restart("kube-apiserver")
    assert cluster.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"
    assert cluster.read(path)["data"] == {"a": "b"}, "the connection of before is made anew"
    with pytest.raises(ClusterError, match=r'none: status 404: .*"none\\?" not found'):
        cluster.read("/api/v1/namespaces/none")


def test_a_component_that_died_is_named_with_its_last_lines_and_a_cause(cluster: ControlPlane) -> None:
    cluster.kill("kube-scheduler")
    with pytest.raises(ComponentFailed) as failure:
        cluster.check()
    assert failure.value.component == "kube-scheduler"
    assert "out of memory" in failure.value.cause
    assert "kube-scheduler.log:\n  | " in str(failure.value)
    cluster.restart("kube-scheduler")
    cluster.check()


def test_another_process_can_use_it_and_sees_its_state(cluster: ControlPlane) -> None:
    status = run("--dir", str(cluster.folder), "status")
    assert status.returncode == 0, status.stderr
    assert [line.split() for line in status.stdout.splitlines()] == [[name, "ready"] for name in cluster.commands()]
    words = run("--dir", str(cluster.folder), "kubectl", "get", "node", "kwok-1", "-o", "name")
    assert words.stdout.strip() == "node/kwok-1"
    assert run("--dir", str(cluster.folder), "kubeconfig").stdout.strip() == str(cluster.kubeconfig)


def test_a_folder_in_use_is_refused(cluster: ControlPlane) -> None:
    with pytest.raises(ClusterError, match=r"runs in .* already.*cluster-down"):
        launcher.start_control_plane(cluster.folder)
    cluster.check()


def test_a_component_killed_while_the_others_start_is_named(tmp_path: Path) -> None:
    class Sabotaged(ControlPlane):
        def begin(self, *names: str) -> None:
            super().begin(*names)
            if "kube-apiserver" in names:
                self.kill("etcd")

    record = launcher._begin(state.CONTROL_PLANE, tmp_path / "cluster", free_ports())
    own = Sabotaged(record)
    try:
        with pytest.raises(ComponentFailed, match="etcd was killed by SIGKILL"):
            own.bring_up(nodes=1)
    finally:
        launcher.end(own)


@pytest.mark.parametrize(
    ("listener", "component"),
    [("etcd", "etcd"), ("api_server", "kube-apiserver"), ("scheduler", "kube-scheduler")],
)
def test_a_taken_port_names_component_and_cause(listener: str, component: str, tmp_path: Path) -> None:
    ports = free_ports()
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", getattr(ports, listener)))
        occupied.listen()
        with pytest.raises(ComponentFailed) as failure:
            launcher.start_control_plane(tmp_path / "cluster", ports=ports)
    assert failure.value.component == component
    assert "another process has its port" in failure.value.cause
    assert str(getattr(ports, listener)) in str(failure.value)
    assert [path.name for path in (tmp_path / "cluster").iterdir()] == ["logs"]
    assert state.find(tmp_path / "cluster") is None


def test_a_port_taken_after_it_was_chosen_is_chosen_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_ports()
    choices: list[Ports] = [first]
    monkeypatch.setattr(launcher, "free_ports", lambda: choices.pop() if choices else free_ports())
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", first.api_server))
        occupied.listen()
        own = launcher.start_control_plane(tmp_path / "cluster")
        try:
            assert own.record.ports != first
        finally:
            launcher.end(own)


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    assert run("--dir", str(folder), "up", "--level", "control-plane").returncode == 0
    record = state.find(folder)
    assert record is not None
    assert record.owner is None
    assert len(marked(record.run)) == len(record.components) == 5
    again = run("--dir", str(folder), "up", "--level", "control-plane")
    assert "runs already" in again.stderr
    down = run("--dir", str(folder), "down")
    assert down.returncode == 0, down.stderr
    assert marked(record.run) == []
    assert not folder.exists()
    assert state.find(folder) is None
    assert "no cluster runs in" in run("--dir", str(folder), "down").stderr


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 60.0])
def test_a_run_whose_launcher_was_killed_is_removed_at_the_next_start(seconds: float, tmp_path: Path) -> None:
    """Killed in the middle of the start, or long after it."""
    folder = tmp_path / "killed"
    program = (
        "import sys, time; from pathlib import Path; from tests.cluster import launcher\n"
        "launcher.start_control_plane(Path(sys.argv[1])); print('up', flush=True); time.sleep(600)"
    )
    victim = subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while state.find(folder) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if seconds < 60:
        time.sleep(seconds)
    else:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"up\n"
    record = state.find(folder)
    with state.locked():  # the other process of this session may start a cluster too, and tidy up before
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        assert record is not None
        assert record.abandoned()
        time.sleep(0.2)  # a component that was being started gets its mark
        left = marked(record.run)
    assert len(left) >= (5 if seconds == 60 else 0)

    other = launcher.start_control_plane(tmp_path / "next")
    launcher.end(other)

    assert not [identity for identity in left if identity.alive()]
    assert marked(record.run) == []
    assert {path.name for path in folder.iterdir()} <= {"logs"}
    assert state.find(folder) is None


def test_a_broken_cluster_is_started_anew(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    assert run("--dir", str(folder), "up", "--level", "control-plane").returncode == 0
    launcher.attach(folder).kill("etcd")
    assert run("--dir", str(folder), "status").returncode == 1
    up = run("--dir", str(folder), "up", "--level", "control-plane")
    assert up.returncode == 0, up.stderr
    assert "etcd is not running" in up.stderr
    assert run("--dir", str(folder), "down").returncode == 0


def test_without_root_the_control_plane_works_and_the_node_says_what_it_needs() -> None:
    """Run by nobody, with a cache and a folder that nobody may read and write."""
    program = (
        "import encodings.idna, os, sys, tests.cluster.__main__ as command\n"  # nobody may not read all of Python here
        f"if os.geteuid() == 0: os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "sys.exit(command.main(sys.argv[1:]))"
    )
    with tempfile.TemporaryDirectory(prefix="serin-nobody-") as place:
        own = Path(place)
        own.chmod(0o777)
        for tool in ("serin-kube", "kwok"):
            source = binaries.path(tool)
            target = own / "cache" / source.parent.name
            target.mkdir(parents=True)
            os.link(source, target / tool) if _same_disk(source, own) else _copy(source, target / tool)
        (own / "cache").chmod(0o777)
        environment = {**os.environ, "SERIN_TEST_CACHE": str(own / "cache"), "HOME": place}
        environment.pop("XDG_RUNTIME_DIR", None)

        def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
            words = [sys.executable, "-c", program, "--dir", str(own / "cluster"), *arguments]
            return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

        up = command("up", "--level", "control-plane")
        assert up.returncode == 0, up.stderr
        assert "kwok-0   Ready" in up.stdout
        assert command("down").returncode == 0
        assert not (own / "cluster").exists()

        node = command("up", "--level", "node")
        assert node.returncode == 1
        assert "needs root" in node.stderr
        assert "make control-plane" in node.stderr
        assert "Traceback" not in node.stderr


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())
    target.chmod(0o755)


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SERIN_TEST_CACHE", str(tmp_path))
    assert cache.folder() == tmp_path
    monkeypatch.delenv("SERIN_TEST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "serin"
