"""Serin installed into the node cluster from its chart, with images built here, as a user does it with helm."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

from serin.api.names import SYSTEM_NAMESPACE
from tests.cluster import recipes
from tests.cluster.access import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.node_cluster import NodeCluster
from tests.e2e.models.image import model_image

CHART = Path(__file__).resolve().parents[2] / "charts" / "serin"
RELEASE = "serin"


@dataclass(frozen=True, slots=True)
class Installation:
    """A running Serin. `model`: name of the image of the model server."""

    cluster: NodeCluster
    model: str

    def pods(self, name: str) -> list[str]:
        """Names of the pods of `serin-operator` or `serin-router`."""
        words = ["get", "pods", "-l", f"app.kubernetes.io/name={name}", "-o", "jsonpath={.items[*].metadata.name}"]
        return self.cluster.kubectl("-n", SYSTEM_NAMESPACE, *words).split()

    def wait(self, name: str) -> None:
        """Wait until the Deployment is rolled out."""
        wait_for(self.cluster, name)

    def measured(self, query: str, by: str = "") -> dict[str, float]:
        """What the cluster's Prometheus answers to a query: values by a label of theirs."""
        with urlopen(f"{self.cluster.prometheus_url}/api/v1/query?query={quote(query)}", timeout=10) as answer:
            rows = json.load(answer)["data"]["result"]
        return {row["metric"].get(by, ""): float(row["value"][1]) for row in rows}

    def logs(self) -> str:
        """What the operator's replicas said last."""
        words = ["logs", "-l", "app.kubernetes.io/name=serin-operator", "--tail=200", "--prefix"]
        return self.cluster.kubectl("-n", SYSTEM_NAMESPACE, *words)


def install(
    cluster: NodeCluster, helm: Path, prometheus_url: str, *, operators: int = 2, routers: int = 2
) -> Installation:
    """Build and load the images, install the chart, and wait until both Deployments are ready."""
    operator, envoy, model = recipes.operator_image(), recipes.envoy_image(), model_image()
    for image in (operator, envoy, model):
        cluster.load(image)
    values = {
        "operator.image": operator.reference,
        "operator.replicas": operators,
        "operator.logFormat": "console",
        "router.image": envoy.reference,
        "router.replicas": routers,
        "prometheus.url": prometheus_url,
        "dashboard.enabled": "true",
        "guard.enabled": "true",
        "guard.replicas": 1,
        "guard.timeoutMilliseconds": 5000,  # the machine is busy
    }
    install_chart(cluster, helm, values)
    wait_for(cluster, "serin-guard")
    wait_for(cluster, "serin-dashboard")
    return Installation(cluster, model.reference)


def install_chart(cluster: Cluster, helm: Path, values: Mapping[str, str]) -> None:
    """Install the chart into a namespace that takes only restricted pods; wait until both Deployments are ready."""
    cluster.kubectl("create", "namespace", SYSTEM_NAMESPACE)
    cluster.kubectl("label", "namespace", SYSTEM_NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    command = [str(helm), "install", RELEASE, str(CHART), "--namespace", SYSTEM_NAMESPACE]
    # The definitions may be there already: applied by others, or kept from an earlier release.
    command += ["--take-ownership", "--kubeconfig", str(cluster.kubeconfig)]
    command += [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        raise ClusterError(f"helm does not install the chart: {done.stderr.strip()}")
    for name in ("serin-operator", "serin-router"):
        wait_for(cluster, name)


def wait_for(cluster: Cluster, name: str) -> None:
    """Wait until one of Serin's Deployments is rolled out."""
    cluster.kubectl("-n", SYSTEM_NAMESPACE, "rollout", "status", f"deployment/{name}", "--timeout=240s", timeout=250)
