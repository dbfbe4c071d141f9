"""Rights in a few namespaces: the operator works there, and can do nothing elsewhere."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests.generate import CHART, KUBERNETES

from tests.cluster.local import ControlPlane
from tests.integration.operator_process import Cluster, OperatorProcess, until

KEYS = "/openid/v1/jwks"
NARROW = ("--set", "operator.namespacedRights=true")


def rendered(
    helm: Path, *settings: str, namespace: str = "serin-system", file: str = "rbac.yaml"
) -> list[dict[str, Any]]:
    """The objects of rights that the chart makes, or those of another file of it."""
    command = [str(helm), "template", "serin", str(CHART), "--namespace", namespace, "--kube-version", KUBERNETES]
    command += ["--show-only", f"templates/{file}", *settings]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [one for one in yaml.safe_load_all(found) if one]


def named(objects: list[dict[str, Any]], kind: str) -> dict[tuple[str, str], Any]:
    return {
        (one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in objects if one["kind"] == kind
    }


def test_the_same_rights_are_given_in_each_namespace_and_in_serins_own(helm: Path) -> None:
    wide = named(rendered(helm), "ClusterRole")["", "serin-operator"]["rules"]
    wide = [rule for rule in wide if "nonResourceURLs" not in rule]
    objects = rendered(helm, *NARROW, "--set", "operator.namespaces={shop,search,serin-system}")
    roles, bindings = named(objects, "Role"), named(objects, "RoleBinding")
    places = ("shop", "search", "serin-system")
    for place in places:
        assert roles[place, "serin-operator-objects"]["rules"] == wide
        binding = bindings[place, "serin-operator-objects"]
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "serin-operator", "namespace": "serin-system"}
        ]
    assert {place for place, name in roles if name == "serin-operator-objects"} == set(places)
    cluster_wide = named(objects, "ClusterRole")
    assert [rule.get("nonResourceURLs") for rule in cluster_wide["", "serin-operator"]["rules"]] == [[KEYS]]
    assert set(cluster_wide) - {("", "serin-operator")} == {("", "serin-view"), ("", "serin-edit")}, "for people"


def test_without_namespaces_it_is_refused(helm: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered(helm, *NARROW)
    assert "operator.namespacedRights needs operator.namespaces" in refused.value.stderr


@pytest.mark.control_plane
async def test_the_operator_works_with_the_rights_of_two_namespaces(
    control_plane: ControlPlane, helm: Path, tmp_path: Path
) -> None:
    cluster = Cluster(control_plane)
    try:
        settings = (*NARROW, "--set", f"operator.namespaces={{{cluster.shop}}}", "--set", "guard.enabled=true")
        for one in rendered(helm, *settings, namespace=cluster.system):
            if one["kind"] in ("ServiceAccount", "Role", "RoleBinding"):
                control_plane.kubectl("apply", "-f", "-", input=json.dumps(one))
        guard = rendered(helm, *settings, namespace=cluster.system, file="guard.yaml")
        [secret] = [json.dumps(one) for one in guard if one["kind"] == "Secret"]
        control_plane.kubectl("apply", "-f", "-", input=secret)
        account = f"system:serviceaccount:{cluster.system}:serin-operator"

        def may(*what: str) -> bool:
            try:
                return control_plane.kubectl("auth", "can-i", "--as", account, *what).strip() == "yes"
            except Exception:  # kubectl's exit code says no; which error that becomes is up to the fixture
                return False

        assert may("list", "pods", "-n", cluster.shop)
        assert not may("list", "pods", "-n", "default")
        assert not may("list", "pods", "-A")
        for what in (
            ("list", "secrets"),
            ("create", "secrets"),
            ("get", "secrets/other"),
            ("delete", "secrets/serin-guard"),
        ):
            assert not may(*what, "-n", cluster.system), what
        kubeconfig = as_account(control_plane, cluster, tmp_path)
        operator = OperatorProcess(kubeconfig, cluster, tmp_path / "operator.log", guard_timeout="250")

        def guard_key() -> str:
            return control_plane.kubectl(
                "-n", cluster.system, "get", "secret", "serin-guard", "-o", "jsonpath={.data.key}"
            )

        try:
            await operator.wait_until_ready()
            await operator.wait_until_leading()
            await until(guard_key, what="the key of the guard")
            key = guard_key()
            assert len(base64.b64decode(key)) == 32
            control_plane.kubectl("apply", "-f", "-", input=secret)  # as each synchronization by Argo CD does
            assert guard_key() == key
            cluster.deploy()
            await until(lambda: cluster.make_pods_ready() and "stable" in cluster.status(), what="a first version")
            assert "forbidden" not in operator.log().lower()
            await until(lambda: cluster.read("events.events.k8s.io")["items"], what="an Event")
        finally:
            await operator.stop()
    finally:
        cluster.remove()


def as_account(control_plane: ControlPlane, cluster: Cluster, folder: Path) -> Path:
    """A kubeconfig with a token of the operator's account, and nothing else of the tests' own."""
    config = json.loads(control_plane.kubectl("config", "view", "--raw", "-o", "json"))
    token = control_plane.kubectl("create", "token", "serin-operator", "-n", cluster.system).strip()
    claims = token.split(".")[1]
    assert cluster.system in base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)).decode()
    config["users"] = [{"name": one["name"], "user": {"token": token}} for one in config["users"]]
    path = folder / "kubeconfig-of-the-operator.json"
    path.write_text(json.dumps(config))
    return path
