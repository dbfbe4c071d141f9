"""What is done to a pod's processes, found on the host by the container's id: nothing else is ever touched."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serin.api.names import SYSTEM_NAMESPACE
from tests.cluster.access import Cluster
from tests.cluster.packages import program


def kill_pod(cluster: Cluster, name: str, namespace: str = SYSTEM_NAMESPACE) -> None:
    """Kill the processes of every container of a pod at once, then remove the pod so that a fresh one replaces it.

    Without the removal the kubelet would wait longer before each restart, which is not what is tested.
    """
    _signal(_processes(cluster, name, namespace), signal.SIGKILL)
    words = ["-n", namespace, "delete", "pod", name, "--force", "--grace-period=0", "--ignore-not-found"]
    cluster.kubectl(*words)


@contextmanager
def frozen(cluster: Cluster, name: str, namespace: str = SYSTEM_NAMESPACE) -> Iterator[None]:
    """Give a pod's processes no processor, as a starved node does; the kubelet may have replaced them by the end."""
    processes = _processes(cluster, name, namespace)
    _signal(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(processes, signal.SIGCONT)


@contextmanager
def parted(cluster: Cluster, name: str, address: str, namespace: str = SYSTEM_NAMESPACE) -> Iterator[None]:
    """Drop all that a pod sends to an address, without a word to it, as a broken network does."""
    with Path(f"/proc/{_processes(cluster, name, namespace)[0]}/ns/net").open() as network:
        inside = [program("nsenter"), f"--net=/proc/{os.getpid()}/fd/{network.fileno()}", program("iptables")]
        rule = ["OUTPUT", "--destination", address, "--jump", "DROP"]
        subprocess.run([*inside, "--insert", *rule], check=True)
        try:
            yield
        finally:
            subprocess.run([*inside, "--delete", *rule], check=True)


def _processes(cluster: Cluster, name: str, namespace: str) -> list[int]:
    """Ids, on the host, of the processes of every container of a pod."""
    pod = json.loads(cluster.kubectl("-n", namespace, "get", "pod", name, "-o", "json"))
    ids = [one.get("containerID", "") for one in pod["status"].get("containerStatuses", [])]
    containers = [one.removeprefix("containerd://") for one in ids if one]
    entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [int(entry.name) for entry in entries if any(_belongs(entry, one) for one in containers)]


def _signal(processes: list[int], number: signal.Signals) -> None:
    for one in processes:
        try:
            os.kill(one, number)
        except ProcessLookupError:
            continue


def _belongs(entry: Path, container: str) -> bool:
    try:
        return container in (entry / "cgroup").read_text()
    except OSError:  # it has ended meanwhile
        return False
