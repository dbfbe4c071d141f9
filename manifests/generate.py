"""Writes what is generated: the router's bootstrap in the chart, and manifests/install.yaml from the chart.

Run by `make manifests`; a test compares the files with what this would write.
"""

import subprocess
from pathlib import Path

import yaml
from tests.cluster import binaries

from serin.api.names import SYSTEM_NAMESPACE
from serin.traffic.envoy import XDS_PORT, bootstrap

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "serin"
BOOTSTRAP = CHART / "files" / "envoy.yaml"
INSTALL = ROOT / "manifests" / "install.yaml"
# Rendering asks no cluster: this only has to satisfy the chart's kubeVersion.
KUBERNETES = "1.35.0"

_NAMESPACE = f"""apiVersion: v1
kind: Namespace
metadata:
  name: {SYSTEM_NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def router_bootstrap() -> str:
    """Envoy's bootstrap as a Helm template: only the namespace of the xDS Service is filled in at installation."""
    return yaml.safe_dump(bootstrap("serin-xds.{{ .Release.Namespace }}.svc", XDS_PORT), sort_keys=False)


def install(helm: Path) -> str:
    """Everything that `kubectl apply -f` needs: namespace, CRDs and the chart with its default values."""
    command = [str(helm), "template", "serin", str(CHART), "--namespace", SYSTEM_NAMESPACE, "--include-crds"]
    command += ["--kube-version", KUBERNETES]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return f"# Generated from charts/serin by `make manifests`.\n{_NAMESPACE}{rendered}"


def main() -> None:
    """Write both files."""
    BOOTSTRAP.parent.mkdir(exist_ok=True)
    BOOTSTRAP.write_text(router_bootstrap())
    INSTALL.write_text(install(binaries.path("helm")))


if __name__ == "__main__":
    main()
