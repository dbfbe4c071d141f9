"""Prometheus for the node level: finds pods by their annotations, as most installations do.

It is Debian's own build (2.42), a process in the cluster's namespaces and not a pod: it needs no image, it sees every
pod's address directly, it ends with the cluster, and a test can kill it while the cluster goes on. Pods reach it as
`prometheus.monitoring`, a Service that leads to the node's address; programs on the host at `url()`. Discovery is
`discovery.py`, because Debian leaves the Kubernetes part out of its build; the rules below are the usual ones.

Pods of a snapshot get the labels `serin_namespace`, `serin_model_deployment` and `serin_snapshot` on all of their
series, so that a model server's own metrics can be told apart by version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.cluster import probes
from tests.cluster.control_plane import Site
from tests.cluster.namespaces import Slice
from tests.cluster.packages import program
from tests.cluster.pki import Authority
from tests.cluster.processes import Command

NAMESPACE = "monitoring"
NAME = "prometheus"
PORT = 9090
DISCOVERY_PORT = 9089
USER = "serin-test-prometheus"
SCRAPE_SECONDS = 1
"""Evidence is counted from scrape to scrape; production has 15 or 30 s, and a test should not wait so long."""

DISCOVERY = Path(__file__).with_name("discovery.py")


def url(one: Slice) -> str:
    """Return where the host finds it."""
    return f"http://{one.node_ip}:{PORT}"


def write_keys(authority: Authority) -> None:
    """Make the certificate with which pods are listed."""
    authority.issue(NAME, USER)


def write_settings(site: Site, scrape_seconds: int = SCRAPE_SECONDS) -> None:
    """Write prometheus.json, which is YAML too. For other settings write it again and restart the component."""
    (site.folder / "prometheus.json").write_text(json.dumps(configuration(scrape_seconds), indent=2))


def configuration(scrape_seconds: int) -> dict[str, object]:
    """Return Prometheus' configuration."""
    interval = f"{scrape_seconds}s"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [
            {
                "job_name": "pods",
                "http_sd_configs": [{"url": f"http://127.0.0.1:{DISCOVERY_PORT}/", "refresh_interval": "1s"}],
                "relabel_configs": _rules(),
            }
        ],
    }


def commands(site: Site, one: Slice) -> dict[str, Command]:
    """Return the discovery and Prometheus itself, as components of the cluster, in the order of the start."""
    pair = site.pair(NAME)
    found = (
        Command(
            "prometheus-discovery",
            (
                *(sys.executable, "-I", "-S", str(DISCOVERY), f"--server={site.server}", f"--port={DISCOVERY_PORT}"),
                f"--authority={site.pair('ca').certificate}",
                f"--certificate={pair.certificate}",
                f"--key={pair.key}",
            ),
            probes.http(f"http://127.0.0.1:{DISCOVERY_PORT}/", network=site.network),
            site.inside,
        ),
        Command(
            NAME,
            (
                program("prometheus"),
                f"--config.file={site.folder / 'prometheus.json'}",
                f"--storage.tsdb.path={site.folder / 'prometheus'}",
                "--storage.tsdb.retention.time=1d",
                f"--web.listen-address=0.0.0.0:{PORT}",
                "--log.level=warn",
            ),
            probes.http(f"{url(one)}/-/ready"),
            site.inside,
        ),
    )
    return {command.name: command for command in found}


def manifests(one: Slice) -> str:
    """Return the Service `prometheus.monitoring` that leads to it, and its right to list pods, as JSON."""
    place = {"namespace": NAMESPACE, "name": NAME}
    ports = [{"name": "http", "port": PORT, "protocol": "TCP"}]
    items: list[dict[str, object]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Service", "metadata": place, "spec": {"ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**place, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [str(one.node_ip)], "conditions": {"ready": True}}],
            "ports": ports,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": USER},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": USER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
        },
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _rules() -> list[dict[str, object]]:
    """Scrape what prometheus.io/scrape asks for, at prometheus.io/port and path, and name namespace, pod, version."""
    pod = "__meta_kubernetes_pod"
    annotation, label = f"{pod}_annotation_prometheus_io", f"{pod}_label_serin_dev"
    namespace = "__meta_kubernetes_namespace"
    return [
        {"action": "keep", "source_labels": [f"{annotation}_scrape"], "regex": "true"},
        {"action": "drop", "source_labels": [f"{pod}_phase"], "regex": "Pending|Succeeded|Failed"},
        {"source_labels": [f"{annotation}_path"], "regex": "(.+)", "target_label": "__metrics_path__"},
        {
            "source_labels": [f"{pod}_ip", f"{annotation}_port"],
            "regex": "(.+);([0-9]+)",
            "replacement": "$1:$2",
            "target_label": "__address__",
        },
        {"source_labels": [namespace], "target_label": "namespace"},
        {"source_labels": [f"{pod}_name"], "target_label": "pod"},
        {
            "source_labels": [f"{label}_snapshot", namespace],
            "regex": ".+;(.+)",
            "target_label": "serin_namespace",
        },
        {"source_labels": [f"{label}_model_deployment"], "target_label": "serin_model_deployment"},
        {"source_labels": [f"{label}_snapshot"], "target_label": "serin_snapshot"},
    ]
