"""Nodes and pods that exist only in the API: KWOK plays the kubelet for nodes with its annotation.

For tests of what Serin does with objects, and of scale. Nothing runs in such a pod: it is Ready as soon as it is
scheduled. Real pods are the node level's business.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster import probes
from tests.cluster.control_plane import Site
from tests.cluster.pki import Authority
from tests.cluster.processes import Command

ANNOTATION = "kwok.x-k8s.io/node"


def write_keys(site: Site, authority: Authority) -> None:
    """Make KWOK's kubeconfig; it acts for every simulated node."""
    authority.kubeconfig(site.pki / "kwok.kubeconfig", site.server, "kwok", ["system:masters"])


def controller(site: Site, binary: Path) -> Command:
    """Play the kubelet for every node that carries the annotation."""
    address = f"127.0.0.1:{site.ports.kwok}"
    argv = (
        str(binary),
        f"--kubeconfig={site.pki / 'kwok.kubeconfig'}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
        f"--server-address={address}",
        "--node-lease-duration-seconds=40",
    )
    return Command("kwok", argv, probes.http(f"http://{address}/healthz"), site.inside)


def nodes(count: int) -> str:
    """Return the manifests of `count` simulated nodes, as JSON."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [_node(f"kwok-{i}") for i in range(count)]})


def _node(name: str) -> dict[str, object]:
    size = {"cpu": "64", "memory": "512Gi", "pods": "1000"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION: "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "type": "kwok",
            },
        },
        "status": {"allocatable": size, "capacity": size, "phase": "Running"},
    }
