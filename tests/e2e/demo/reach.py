"""How the client on this machine reaches Services of the cluster."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.cluster.access import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.node_cluster import NodeCluster

Reach = Callable[[str, str, int], str]
"""From namespace, Service and port to a URL."""


@contextmanager
def reaching(cluster: Cluster) -> Iterator[Reach]:
    """Directly where the cluster is ours; through `kubectl port-forward` everywhere else."""
    if isinstance(cluster, NodeCluster):
        yield lambda namespace, name, port: f"http://{_address(cluster, namespace, name)}:{port}"
        return
    with ExitStack() as stack:
        yield lambda namespace, name, _: stack.enter_context(forwarding(cluster, namespace, name))


@contextmanager
def forwarding(cluster: Cluster, namespace: str, name: str) -> Iterator[str]:
    """A URL on this machine that leads to one of the pods behind a Service.

    kubectl forwards to no Service without a selector, and the one for clients has none: its pod is found here.
    """
    owner, pod, port = _pod_behind(cluster, namespace, name)
    command = [*cluster.kubectl_command(), "-n", owner, "port-forward", f"pod/{pod}", f":{port}"]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", line)
            if not found:
                raise ClusterError(f"`{' '.join(command)}` does not start: {line.strip() or 'it says why above'}")
            # It prints a line for each connection, and would stand still with nobody to read them.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield f"http://{found[0]}"
        finally:
            process.terminate()


def _address(cluster: Cluster, namespace: str, name: str) -> str:
    address: str = json.loads(cluster.kubectl("-n", namespace, "get", "service", name, "-o", "json"))["spec"][
        "clusterIP"
    ]
    return address


def _pod_behind(cluster: Cluster, namespace: str, name: str) -> tuple[str, str, int]:
    """Namespace and name of a pod, and its port."""
    label = f"kubernetes.io/service-name={name}"
    slices = json.loads(cluster.kubectl("-n", namespace, "get", "endpointslices", "-l", label, "-o", "json"))["items"]
    for one in slices:
        for endpoint in one["endpoints"] or ():
            query = f"status.podIP={endpoint['addresses'][0]}"
            pods = json.loads(cluster.kubectl("get", "pods", "-A", "--field-selector", query, "-o", "json"))["items"]
            if pods:
                metadata = pods[0]["metadata"]
                return metadata["namespace"], metadata["name"], int(one["ports"][0]["port"])
    raise ClusterError(f"no pod is behind the Service {name}")
