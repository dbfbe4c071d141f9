"""How the client on this machine reaches Services of the cluster."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.cluster.access import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.node_cluster import NodeCluster

Reach = Callable[[str, str, int], str]
"""From namespace, Service and port to a URL."""


@contextmanager
def reaching(cluster: Cluster) -> Iterator[Reach]:
    """Directly where the cluster is ours; through the API server, as `kubectl proxy` does it, everywhere else."""
    if isinstance(cluster, NodeCluster):
        yield lambda namespace, name, port: f"http://{_address(cluster, namespace, name)}:{port}"
        return
    command = [*cluster.kubectl_command(), "proxy", "--port=0"]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            base = _announced(proxy)
            yield lambda namespace, name, port: f"{base}/api/v1/namespaces/{namespace}/services/{name}:{port}/proxy"
        finally:
            proxy.terminate()


def _address(cluster: Cluster, namespace: str, name: str) -> str:
    address: str = json.loads(cluster.kubectl("-n", namespace, "get", "service", name, "-o", "json"))["spec"][
        "clusterIP"
    ]
    return address


def _announced(proxy: subprocess.Popen[str]) -> str:
    """The address on which kubectl says that it serves."""
    assert proxy.stdout is not None
    line = proxy.stdout.readline()
    found = re.search(r"127\.0\.0\.1:\d+", line)
    if not found:
        raise ClusterError(f"`kubectl proxy` does not start: {line.strip() or 'what it said is above'}")
    return f"http://{found[0]}"
