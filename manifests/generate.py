"""Writes what is generated from operator, chart and CRDs.

That is the router's bootstrap, the dashboard and the README of the chart, manifests/install.yaml, the patch that
teaches Argo CD our health check, and docs/api.md. Run by `make manifests`; a test compares the files with what this
would write.
"""

import re
import subprocess
import textwrap
from pathlib import Path

import yaml
from tests.cluster import binaries

from manifests.api_reference import reference
from manifests.chart_readme import readme
from manifests.dashboard import dashboard
from serin.api.guard import PORT
from serin.api.names import GROUP, MODEL_DEPLOYMENT, SYSTEM_NAMESPACE
from serin.routers.envoy.bootstrap import XDS_PORT, bootstrap, token_secret
from serin.routers.envoy.guarding import CLUSTER

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "serin"
BOOTSTRAP = CHART / "files" / "envoy.yaml"
TOKEN_SECRET = CHART / "files" / "xds-token.yaml"
INSTALL = ROOT / "manifests" / "install.yaml"
HEALTH = ROOT / "manifests" / "argocd" / "health.lua"
ARGOCD = ROOT / "manifests" / "argocd" / "argocd-cm.yaml"
API = ROOT / "docs" / "api.md"
README = CHART / "README.md"
DASHBOARD = CHART / "files" / "dashboard.json"
# Rendering asks no cluster: this only has to satisfy the chart's kubeVersion.
KUBERNETES = "1.35.0"
_ADDRESS = "LISTEN"  # stands for the router's own address until the chart is rendered

_NAMESPACE = f"""apiVersion: v1
kind: Namespace
metadata:
  name: {SYSTEM_NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def router_bootstrap() -> str:
    """Envoy's bootstrap as a Helm template: what is filled in at installation is what values.yaml has of it."""
    rendered = bootstrap(
        "serin-xds.{{ .Release.Namespace }}.svc",
        XDS_PORT,
        max_heap='{{ include "serin.routerHeap" . }}',
        max_connections="{{ int64 .Values.router.connections }}",
        address=_ADDRESS,
        guard=("serin-guard.{{ .Release.Namespace }}.svc", PORT),
    )
    # A boolean, which a quoted template would not be.
    listens = 'address: {{ ternary "::" "0.0.0.0" .Values.router.ipv6 | quote }}'
    text = re.sub(
        rf"^( *)address: {_ADDRESS}$",
        rf"\1{listens}\n\1ipv4_compat: {{{{ .Values.router.ipv6 }}}}",
        yaml.safe_dump(rendered, sort_keys=False),
        flags=re.MULTILINE,
    )
    # What is below the cluster's name: its endpoints.
    guard = rf"^( *)cluster_name: {CLUSTER}\n((?:\1.*\n)+)"
    found = r"\1cluster_name: " + CLUSTER + r"\n{{- if .Values.guard.enabled }}\n\2{{- end }}\n"
    return re.sub(guard, found, text, flags=re.MULTILINE)


def router_token_secret() -> str:
    """The file that names the token of the router's pod to Envoy."""
    return yaml.safe_dump(token_secret(), sort_keys=False)


def install(helm: Path, *words: str) -> str:
    """Everything that `kubectl apply -f` needs: namespace, CRDs and the chart with its default values.

    `words`: for Helm, as `--set` of other values.
    """
    command = [str(helm), "template", "serin", str(CHART), "--namespace", SYSTEM_NAMESPACE, "--skip-tests"]
    command += ["--kube-version", KUBERNETES, *words]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return f"# Generated from charts/serin by `make manifests`.\n{_NAMESPACE}{rendered}"


def argocd() -> str:
    """The part of Argo CD's ConfigMap that holds our health check."""
    script = textwrap.indent(HEALTH.read_text(), "    ", lambda line: bool(line.strip()))
    comment = (
        "# Generated from health.lua by `make manifests`. A patch for Argo CD's own ConfigMap; see docs/operations.md."
    )
    return f"{comment}\ndata:\n  resource.customizations.health.{GROUP}_{MODEL_DEPLOYMENT}: |\n{script}"


def main() -> None:
    """Write them all."""
    BOOTSTRAP.parent.mkdir(exist_ok=True)
    BOOTSTRAP.write_text(router_bootstrap())
    TOKEN_SECRET.write_text(router_token_secret())
    INSTALL.write_text(install(binaries.path("helm")))
    ARGOCD.write_text(argocd())
    API.write_text(reference())
    README.write_text(readme())
    DASHBOARD.write_text(dashboard())


if __name__ == "__main__":
    main()
