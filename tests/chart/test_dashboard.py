"""What the chart makes of `dashboard`: a page with no rights, that only those reach whom the values name."""

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from serin.cli.dashboard import in_cluster
from serin.cli.dashboard.hosts import Hosts
from serin.controller.settings import parse
from tests.chart.test_values import CHART, Objects, Render, environment, pod, render, template
from tests.cluster.local import ControlPlane

__all__ = ["render"]
ON = "dashboard.enabled=true"
NAME = "serin-dashboard"
PAGE = CHART.parents[1] / "docs" / "dashboard.md"


def flags(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What the process in the pod reads."""
    for key in [key for key in os.environ if key.startswith("SERIN_DASHBOARD")]:
        monkeypatch.delenv(key)
    for one in pod(objects, NAME)["containers"][0]["env"]:
        monkeypatch.setenv(one["name"], one["value"])
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    parser = argparse.ArgumentParser()
    in_cluster.add_arguments(parser)
    return parser.parse_args([])


def test_it_is_off_unless_it_is_wanted(render: Render) -> None:
    assert not [name for _, name in render() if "dashboard" in name]


def test_nothing_gives_it_rights(render: Render) -> None:
    objects = render(ON)
    found = pod(objects, NAME)
    assert found["serviceAccountName"] == NAME
    assert found["automountServiceAccountToken"] is False
    assert objects["ServiceAccount", NAME]["automountServiceAccountToken"] is False
    assert not [one for one in found["volumes"] if "projected" in one]
    bindings = [one for (kind, _), one in objects.items() if kind.endswith("Binding")]
    assert bindings
    assert NAME not in str(bindings)
    assert found["containers"][0]["args"] == ["serve-dashboard"]
    assert found["containers"][0]["image"] == pod(objects, "serin-operator")["containers"][0]["image"]
    assert found["enableServiceLinks"] is False, "or a variable of the kubelet's would be taken for a flag"


def test_it_is_restricted_as_the_others_are(render: Render) -> None:
    objects = render(ON)
    own, other = pod(objects, NAME), pod(objects, "serin-operator")
    assert own["securityContext"] == other["securityContext"]
    assert own["containers"][0]["securityContext"] == other["containers"][0]["securityContext"]
    assert own["containers"][0]["resources"]["limits"]["memory"]


def test_what_the_process_reads_is_what_the_chart_says(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(ON, 'dashboard.hosts=["serin.example", "other.example:8443"]')
    found = flags(objects, monkeypatch)
    assert found.server == "https://10.96.0.1:443"
    hosts = Hosts(found.hosts.split(","))
    for host in ("serin.example", "other.example:8443", NAME, f"{NAME}.serin-system.svc", "localhost:8443"):
        assert hosts.has(host), host
    assert not hosts.has("other.example")
    [container] = pod(objects, NAME)["containers"]
    mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    volumes = {one["name"]: one for one in pod(objects, NAME)["volumes"]}
    ca = volumes[mounts[str(Path(found.server_ca).parent)]]["configMap"]
    assert (ca["name"], ca["items"]) == ("kube-root-ca.crt", [{"key": "ca.crt", "path": Path(found.server_ca).name}])
    [port] = [one["containerPort"] for one in container["ports"]]
    assert port == int(found.port) == in_cluster.PORT
    [service] = objects["Service", NAME]["spec"]["ports"]
    assert (service["port"], service["targetPort"]) == (443, container["ports"][0]["name"])
    assert {container[one]["httpGet"]["scheme"] for one in ("livenessProbe", "readinessProbe")} == {"HTTPS"}
    assert found.tls == ""
    assert "secret" not in str(pod(objects, NAME)["volumes"])


def test_a_certificate_of_the_users_is_served(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(ON, 'dashboard.tlsSecret="123"')
    [mount] = [one for one in pod(objects, NAME)["containers"][0]["volumeMounts"] if one["name"] == "tls"]
    [volume] = [one for one in pod(objects, NAME)["volumes"] if one["name"] == "tls"]
    assert flags(objects, monkeypatch).tls == mount["mountPath"]
    assert volume["secret"]["secretName"] == "123"
    assert [one["path"] for one in volume["secret"]["items"]] == ["tls.crt", "tls.key"]


def test_notifications_lead_to_it(render: Render) -> None:
    told = environment(render('dashboard.url="https://serin.example/"'))
    found = parse(["--prometheus-url", "http://x", "--dashboard-url", told["SERIN_DASHBOARD_URL"]])
    assert found.dashboard == "https://serin.example"
    assert "SERIN_DASHBOARD_URL" not in environment(render(ON))


def test_who_opens_it_and_what_it_opens(render: Render) -> None:
    def policy(*settings: str) -> dict[str, Any]:
        spec: dict[str, Any] = render(ON, *settings)["NetworkPolicy", NAME]["spec"]
        return spec

    tests = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "serin-test"}}}
    found = policy()
    assert found["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": NAME}
    assert found["policyTypes"] == ["Ingress", "Egress"]
    assert found["ingress"] == [{"from": [tests], "ports": [{"port": in_cluster.PORT, "protocol": "TCP"}]}]
    ports = {(one["port"], one["protocol"]) for rule in found["egress"] for one in rule["ports"]}
    assert ports == {(443, "TCP"), (6443, "TCP"), (53, "UDP"), (53, "TCP")}
    peers = '[{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]'
    found = policy(f"networkPolicies.dashboardFrom={peers}", "networkPolicies.apiServerPorts=[8443]")
    assert found["ingress"][0]["from"] == [tests, *yaml.safe_load(peers)]
    assert [one["port"] for one in found["egress"][0]["ports"]] == [8443]
    assert ("NetworkPolicy", NAME) not in render(ON, "networkPolicies.enabled=false")


@pytest.mark.control_plane
def test_behind_an_ingress_it_is_as_its_page_says(
    render: Render, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = PAGE.read_text().split("### Behind an ingress")[1].split("\n### ")[0]
    values, ingress = (yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL))
    objects = render(*(f"{name}={json.dumps(one)}" for name, one in values.items()))
    [rule] = ingress["spec"]["rules"]
    [path] = rule["http"]["paths"]
    backend = path["backend"]["service"]
    service = objects["Service", backend["name"]]
    assert backend["port"]["number"] in [one["port"] for one in service["spec"]["ports"]]
    assert Hosts(flags(objects, monkeypatch).hosts.split(",")).has(rule["host"])
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    policy = objects["NetworkPolicy", NAME]
    assert policy["spec"]["ingress"][0]["from"][1:] == values["networkPolicies"]["dashboardFrom"]
    # The namespace of the installation is not there, and nothing of this depends on it.
    for body in (ingress, service, policy):
        here = {**body, "metadata": {**body["metadata"], "namespace": "default"}}
        words = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
        control_plane.kubectl(*words, input=json.dumps(here))


def test_helms_test_asks_it_too(render: Render) -> None:
    def script(*settings: str) -> str:
        [text] = render(*settings)["Pod", "serin-test"]["spec"]["containers"][0]["args"]
        compile(text, "test", "exec")
        return str(text)

    assert f"https://{NAME}/healthz" in script(ON)
    assert NAME not in script()


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        ('dashboard.hosts=["https://serin.example"]', "hosts"),
        ('dashboard.hosts=["*.example"]', "hosts"),
        ('dashboard.hosts="serin.example"', "hosts"),
        ("dashboard.replicas=2", "replicas"),
        ('dashboard.url="serin.example"', "url"),
        ('dashboard.url="https://serin.example/serin"', "url"),
        ("networkPolicies.apiServerPorts=[]", "apiServerPorts"),
        ('dashboard.extraEnv=[{"name": "SERIN_DASHBOARD_HOSTS", "value": ""}]', "SERIN_DASHBOARD_HOSTS is set by"),
    ],
)
def test_a_value_that_means_nothing_is_refused(helm: Path, setting: str, where: str) -> None:
    done = template(helm, ON, setting)
    assert done.returncode != 0
    assert where in done.stderr
