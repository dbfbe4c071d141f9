"""Serin is installed and removed by the commands of docs/operations.md, and leaves nothing behind."""

import json
from pathlib import Path

import pytest

from tests.cluster.local import ControlPlane
from tests.crds import ROOT
from tests.documented import Terminal

pytestmark = pytest.mark.control_plane
OTHERS = "--take-ownership"
"""Other tests may have applied the definitions to this cluster, which Helm would refuse to install."""


def test_what_is_installed_as_documented_is_removed_as_documented(
    own_control_plane: ControlPlane, helm: Path, tmp_path: Path
) -> None:
    terminal = Terminal(own_control_plane, helm, tmp_path)
    terminal.documented("## Install", more=OTHERS)
    assert terminal("kubectl -n serin-system get deployments -o name").split() == [
        "deployment.apps/serin-operator",
        "deployment.apps/serin-router",
    ]
    terminal("until kubectl get modeldeployments,modelsnapshots,metrictemplates -A 2>/dev/null; do sleep 0.2; done")
    terminal(f"kubectl apply -f {ROOT / 'manifests' / 'samples' / 'canary.yaml'}")
    terminal.documented("### Removing everything")
    everything = "clusterroles,clusterrolebindings,crds,deployments,services,configmaps,roles,rolebindings,leases"
    assert "serin" not in terminal(f"kubectl get {everything} -A -o name")
    assert "serin-system" not in terminal("kubectl get namespaces -o name")


def test_uninstalling_keeps_the_definitions_and_what_users_wrote(
    own_control_plane: ControlPlane, helm: Path, tmp_path: Path
) -> None:
    terminal = Terminal(own_control_plane, helm, tmp_path)
    terminal.documented("## Install", more=OTHERS)
    terminal("until kubectl get modeldeployments,modelsnapshots,metrictemplates -A 2>/dev/null; do sleep 0.2; done")
    terminal(f"kubectl apply -f {ROOT / 'manifests' / 'samples' / 'smallest.yaml'}")
    terminal("helm uninstall serin -n serin-system --wait")
    assert terminal("kubectl get modeldeployments -o name").split() == ["modeldeployment.serin.dev/iris"]
    terminal("kubectl delete modeldeployments --all; kubectl delete namespace serin-system")


def test_definitions_are_upgraded_with_the_release_and_go_with_it_only_when_asked(
    own_control_plane: ControlPlane, helm: Path, tmp_path: Path
) -> None:
    terminal = Terminal(own_control_plane, helm, tmp_path)
    terminal.documented("## Install", more=OTHERS)
    name = "crd modelsnapshots.serin.dev"
    terminal(f"kubectl label {name} --overwrite app.kubernetes.io/version=0.0.1")
    terminal("helm upgrade serin charts/serin -n serin-system --reuse-values --set crds.keep=false")
    labels = json.loads(terminal(f"kubectl get {name} -o json"))["metadata"]["labels"]
    assert labels["app.kubernetes.io/version"] == "0.1.0"
    terminal("helm uninstall serin -n serin-system --wait")
    assert "serin.dev" not in terminal("kubectl get crds -o name")
    terminal("kubectl delete namespace serin-system")
