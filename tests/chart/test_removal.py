"""Serin is installed and removed by the commands of docs/operations.md, and leaves nothing behind."""

from pathlib import Path

import pytest

from tests.cluster.local import ControlPlane
from tests.crds import ROOT
from tests.documented import Terminal

pytestmark = pytest.mark.control_plane


def test_what_is_installed_as_documented_is_removed_as_documented(
    own_control_plane: ControlPlane, helm: Path, tmp_path: Path
) -> None:
    terminal = Terminal(own_control_plane, helm, tmp_path)
    terminal.documented("## Install")
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
    terminal.documented("## Install")
    terminal("until kubectl get modeldeployments,modelsnapshots,metrictemplates -A 2>/dev/null; do sleep 0.2; done")
    terminal(f"kubectl apply -f {ROOT / 'manifests' / 'samples' / 'smallest.yaml'}")
    terminal("helm uninstall serin -n serin-system --wait")
    assert terminal("kubectl get modeldeployments -o name").split() == ["modeldeployment.serin.dev/iris"]
    terminal("kubectl delete modeldeployments --all; kubectl delete namespace serin-system")
