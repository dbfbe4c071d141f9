"""What is generated is what would be generated now, and the chart asks for no more than it says."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests.generate import BOOTSTRAP, INSTALL, install, router_bootstrap


@pytest.fixture(scope="module")
def rendered(helm: Path) -> str:
    return install(helm)


@pytest.fixture(scope="module")
def objects(rendered: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(rendered) if one]


def test_the_routers_bootstrap_is_up_to_date() -> None:
    assert BOOTSTRAP.read_text() == router_bootstrap(), "run `make manifests`"


def test_install_yaml_is_up_to_date(rendered: str) -> None:
    assert INSTALL.read_text() == rendered, "run `make manifests`"


def test_roles_have_no_wildcards_and_no_secrets(objects: list[dict[str, Any]]) -> None:
    roles = [one for one in objects if one["kind"] in ("ClusterRole", "Role")]
    assert len(roles) == 4
    for role in roles:
        for rule in role["rules"]:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "*" not in words, role["metadata"]["name"]
            assert "secrets" not in rule["resources"]


def test_pods_are_restricted(objects: list[dict[str, Any]]) -> None:
    pods = [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            security = container["securityContext"]
            assert not security["allowPrivilegeEscalation"]
            assert security["readOnlyRootFilesystem"]
            assert security["capabilities"] == {"drop": ["ALL"]}


def test_the_three_crds_come_first(objects: list[dict[str, Any]]) -> None:
    kinds = [one["kind"] for one in objects]
    assert kinds[0] == "Namespace"
    assert kinds[1:4] == ["CustomResourceDefinition"] * 3
