"""SIGKILL for a container's processes, found on the host by the container's id: nothing else is ever touched."""

import json
import os
import signal
from pathlib import Path

from serin.api.names import SYSTEM_NAMESPACE
from tests.cluster.access import Cluster


def kill_pod(cluster: Cluster, name: str, namespace: str = SYSTEM_NAMESPACE) -> None:
    """Kill the processes of every container of a pod at once, then remove the pod so that a fresh one replaces it.

    Without the removal the kubelet would wait longer before each restart, which is not what is tested.
    """
    pod = json.loads(cluster.kubectl("-n", namespace, "get", "pod", name, "-o", "json"))
    for status in pod["status"].get("containerStatuses", []):
        if container := status.get("containerID", "").removeprefix("containerd://"):
            _kill_container(container)
    words = ["-n", namespace, "delete", "pod", name, "--force", "--grace-period=0", "--ignore-not-found"]
    cluster.kubectl(*words)


def _kill_container(container: str) -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _belongs(entry, container):
            try:
                os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                continue


def _belongs(entry: Path, container: str) -> bool:
    try:
        return container in (entry / "cgroup").read_text()
    except OSError:  # it has ended meanwhile
        return False
