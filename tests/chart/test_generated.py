"""What is generated is what would be generated now, and the chart asks for no more than it says."""

import html
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests.api_reference import reference
from manifests.chart_readme import readme, values
from manifests.generate import (
    API,
    ARGOCD,
    BOOTSTRAP,
    CHART,
    HEALTH,
    INSTALL,
    README,
    TOKEN_SECRET,
    argocd,
    install,
    router_bootstrap,
    router_token_secret,
)

from serin.metrics.enforced import Trust
from serin.routers.envoy.bootstrap import TOKEN_FILE, TOKEN_SECRET_FILE
from serin.routers.envoy.tokens import AUDIENCE
from tests import crds


@pytest.fixture(scope="module")
def rendered(helm: Path) -> str:
    return install(helm)


@pytest.fixture(scope="module")
def objects(rendered: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(rendered) if one]


def test_the_routers_bootstrap_is_up_to_date() -> None:
    assert BOOTSTRAP.read_text() == router_bootstrap(), "run `make manifests`"
    assert TOKEN_SECRET.read_text() == router_token_secret(), "run `make manifests`"


def test_install_yaml_is_up_to_date(rendered: str) -> None:
    assert INSTALL.read_text() == rendered, "run `make manifests`"


def test_argo_cds_health_check_is_up_to_date() -> None:
    assert ARGOCD.read_text() == argocd(), "run `make manifests`"
    [(key, script)] = yaml.safe_load(argocd())["data"].items()
    assert key == "resource.customizations.health.serin.dev_ModelDeployment"
    assert script == HEALTH.read_text()


def test_the_api_reference_is_up_to_date() -> None:
    assert API.read_text() == reference(), "run `make manifests`"


def test_the_charts_readme_is_up_to_date_and_has_every_value() -> None:
    page = README.read_text()
    assert page == readme(), "run `make manifests`"
    text = (CHART / "values.yaml").read_text()
    told = {one.path: one.default for one in values(text) if one.default is not None}
    assert {path: yaml.safe_load(words) for path, words in told.items()} == dict(_leaves(yaml.safe_load(text), told))
    for path in told:
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{'.'.join(path)}` |")]
        assert not row.endswith("|  |"), f"{'.'.join(path)} has no comment"


def _leaves(value: Any, told: Collection[tuple[str, ...]], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    if path in told or not isinstance(value, dict):
        yield path, value
    else:
        for key, one in value.items():
            yield from _leaves(one, told, (*path, key))


@pytest.mark.parametrize("kind", crds.FILES)
def test_the_api_reference_has_every_field_and_every_message(kind: str) -> None:
    page = html.unescape(reference()).replace("\\|", "|")
    for part in _parts(crds.schema(kind)):
        for name in part.get("properties", {}):
            assert re.search(
                rf"[`.\]]{re.escape(name)}(\[\]\.|\.|`| |\n)|^## |^### \w+\.?{name}\b", page, re.MULTILINE
            ), name
        for rule in part.get("x-kubernetes-validations", ()):
            assert rule["message"] in page
        assert part.get("description", "") in page


def _parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    inner = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for one in inner:
        if isinstance(one, dict):
            yield from _parts(one)


def environment(objects: list[dict[str, Any]]) -> dict[str, str]:
    [operator] = [one for one in objects if (one["kind"], one["metadata"]["name"]) == ("Deployment", "serin-operator")]
    [container] = operator["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def test_whose_series_count_is_told_to_the_operator(objects: list[dict[str, Any]], helm: Path) -> None:
    names = "SERIN_ROUTER_MATCHERS", "SERIN_TENANT_LABEL", "SERIN_USER_QUERIES"
    given = environment(objects)
    assert [given[name] for name in names] == ['namespace="serin-system"', "serin_namespace", "true"]
    values = {"routerMatchers": 'job="a"', "tenantLabel": "", "userQueries": "false"}
    words = [word for name, value in values.items() for word in ("--set", f"prometheus.{name}={value}")]
    other = environment([one for one in yaml.safe_load_all(install(helm, *words)) if one])
    assert [other[name] for name in names] == list(values.values())
    assert Trust.read(given[names[0]], given[names[1]], True) != Trust.read(other[names[0]], other[names[1]], True)


def test_roles_have_no_wildcards_and_no_secrets(objects: list[dict[str, Any]]) -> None:
    roles = [one for one in objects if one["kind"] in ("ClusterRole", "Role")]
    assert len(roles) == 4
    for role in roles:
        for rule in role["rules"]:
            words = [word for listed in rule.values() for word in listed]
            assert "*" not in words, role["metadata"]["name"]
            assert "secrets" not in words


def test_the_docs_tell_every_right_of_the_operator(objects: list[dict[str, Any]]) -> None:
    granted: dict[str, set[str]] = {}
    for role in objects:
        if role["kind"] in ("ClusterRole", "Role") and role["metadata"]["name"] == "serin-operator":
            for rule in role["rules"]:
                for resource in rule.get("resources") or rule["nonResourceURLs"]:
                    granted.setdefault(resource, set()).update(rule["verbs"])
    text = (crds.ROOT / "docs" / "operations.md").read_text().split("### The operator's")[1].split("\n### ")[0]
    told: dict[str, set[str]] = {}
    for resources, verbs in re.findall(r"^\| ([a-z0-9/, ]+) \| ([a-z, ]+) \|", text, re.MULTILINE)[1:]:
        told |= {resource: set(verbs.split(", ")) for resource in resources.split(", ")}
    assert told == granted


def test_pods_have_a_token_for_the_xds_server_alone(objects: list[dict[str, Any]]) -> None:
    for name in ("serin-router", "serin-operator"):
        [pod] = [_pod(one) for one in objects if _is(one, "Deployment", name)]
        [account] = [one for one in objects if _is(one, "ServiceAccount", name)]
        assert pod["spec"]["serviceAccountName"] == name
        assert pod["metadata"]["labels"]["serin.dev/model-deployment"] == "", "the operator watches it"
        [volume] = [one for one in pod["spec"]["volumes"] if "projected" in one]
        [source] = volume["projected"]["sources"]
        assert source["serviceAccountToken"]["audience"] == AUDIENCE
        [container] = pod["spec"]["containers"]
        [mount] = [one for one in container["volumeMounts"] if one["name"] == volume["name"]]
        assert f"{mount['mountPath']}/{source['serviceAccountToken']['path']}" == TOKEN_FILE
        if name == "serin-router":
            assert pod["spec"]["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False
            assert not any(name in str(one.get("subjects")) for one in objects if one["kind"].endswith("Binding"))


def test_envoy_finds_the_file_that_names_the_token(objects: list[dict[str, Any]]) -> None:
    [config] = [one for one in objects if _is(one, "ConfigMap", "serin-router")]
    [pod] = [_pod(one) for one in objects if _is(one, "Deployment", "serin-router")]
    [mount] = [one for one in pod["spec"]["containers"][0]["volumeMounts"] if one["name"] == "config"]
    assert {f"{mount['mountPath']}/{name}" for name in config["data"]} == {"/etc/envoy/envoy.yaml", TOKEN_SECRET_FILE}
    assert TOKEN_SECRET_FILE in config["data"]["envoy.yaml"]
    assert TOKEN_FILE in config["data"]["xds-token.yaml"]


def _is(one: dict[str, Any], kind: str, name: str) -> bool:
    return (one["kind"], one["metadata"]["name"]) == (kind, name)


def _pod(deployment: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


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


def test_the_namespace_comes_first_and_definitions_before_rights_and_pods(objects: list[dict[str, Any]]) -> None:
    kinds = [one["kind"] for one in objects]
    assert kinds[0] == "Namespace"
    assert kinds.count("CustomResourceDefinition") == 4
    assert kinds.index("CustomResourceDefinition") < min(kinds.index("ClusterRole"), kinds.index("Deployment"))
    assert "Pod" not in kinds, "the chart's test is Helm's alone"
