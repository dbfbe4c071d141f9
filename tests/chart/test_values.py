"""What each value of the chart does, rendered by Helm, and which values it refuses."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests.generate import CHART, KUBERNETES

from serin.controller.settings import parse
from serin.routers.envoy.bootstrap import METRICS_PORT, XDS_PORT
from serin.routers.envoy.limits import CONNECTIONS, HEADER_KILOBYTES, SHIELDED_BYTES, Limits
from serin.routers.envoy.ports import FIRST, LAST

Objects = dict[tuple[str, str], dict[str, Any]]
Render = Callable[..., Objects]
MI = 1024 * 1024


def template(helm: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    command = [str(helm), "template", "serin", str(CHART), "-n", "serin-system", "--kube-version", KUBERNETES]
    command += [word for one in settings for word in ("--set-json", one)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def render(helm: Path) -> Render:
    """Objects by kind and name, with these values (KEY=JSON)."""

    def rendered(*settings: str) -> Objects:
        done = template(helm, *settings)
        assert done.returncode == 0, done.stderr
        bodies = [one for one in yaml.safe_load_all(done.stdout) if one]
        return {(one["kind"], one["metadata"]["name"]): one for one in bodies}

    return rendered


def pod(objects: Objects, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = objects["Deployment", name]["spec"]["template"]["spec"]
    return spec


def environment(objects: Objects) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in pod(objects, "serin-operator")["containers"][0]["env"]}


def overload(objects: Objects) -> dict[str, int]:
    """Maximum of each of the router's resources."""
    text = yaml.safe_load(objects["ConfigMap", "serin-router"]["data"]["envoy.yaml"])
    monitors = text["overload_manager"]["resource_monitors"]
    return {
        one["name"].rpartition(".")[2]: int(value)
        for one in monitors
        for key, value in one["typed_config"].items()
        if key != "@type"
    }


def test_the_default_values_are_the_operators_own_defaults(render: Render) -> None:
    told = environment(render())
    options = parse(["--prometheus-url", told["SERIN_PROMETHEUS_URL"]]).routers
    assert options["shielded_request_bytes"] == int(told["SERIN_SHIELDED_REQUEST_BYTES"]) == SHIELDED_BYTES
    assert options["deployment_connections"] == int(told["SERIN_DEPLOYMENT_CONNECTIONS"]) == CONNECTIONS
    assert options["xds_authentication"] == "token"
    assert options["header_kilobytes"] == int(told["SERIN_HEADER_KILOBYTES"]) == HEADER_KILOBYTES
    assert Limits() == Limits(SHIELDED_BYTES, CONNECTIONS, HEADER_KILOBYTES)


def test_limits_of_the_router_go_where_they_are_read(render: Render) -> None:
    objects = render(
        "router.shieldedRequestBytes=8388608",
        "router.deploymentConnections=100",
        "router.connections=1000000",
        "router.headerKilobytes=128",
        "router.workers=3",
    )
    assert environment(objects)["SERIN_HEADER_KILOBYTES"] == "128"
    [envoy] = objects["Deployment", "serin-router"]["spec"]["template"]["spec"]["containers"]
    assert envoy["args"][-2:] == ["--concurrency", "3"]
    assert environment(objects)["SERIN_SHIELDED_REQUEST_BYTES"] == "8388608"
    assert environment(objects)["SERIN_DEPLOYMENT_CONNECTIONS"] == "100"
    assert overload(objects)["global_downstream_max_connections"] == 1_000_000


@pytest.mark.parametrize(
    ("memory", "heap"),
    [
        ('"1Gi"', 1024 * MI),
        ('"768Mi"', 768 * MI),
        ('"1.5Gi"', 1536 * MI),
        ('"2G"', 2_000_000_000),
        ('"1073741824"', 1024 * MI),
        ("null", 1024 * MI),
    ],
)
def test_the_heap_is_seventy_percent_of_the_routers_memory(render: Render, memory: str, heap: int) -> None:
    objects = render(f"router.resources.limits.memory={memory}")
    assert overload(objects)["fixed_heap"] == int(heap * 0.7)


def test_another_limit_of_the_router_replaces_its_pods(render: Render) -> None:
    """Envoy reads its bootstrap once."""
    sums = {
        render(*settings)["Deployment", "serin-router"]["spec"]["template"]["metadata"]["annotations"][
            "checksum/config"
        ]
        for settings in ((), ("router.connections=7",), ('router.resources.limits.memory="2Gi"',))
    }
    assert len(sums) == 3


@pytest.mark.parametrize("part", ["operator", "router"])
def test_replicas_are_spread_and_a_drain_takes_one_at_a_time(render: Render, part: str) -> None:
    name = f"serin-{part}"
    objects = render()
    [spread] = pod(objects, name)["topologySpreadConstraints"]
    labels = objects["Deployment", name]["spec"]["selector"]["matchLabels"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    budget = objects["PodDisruptionBudget", name]["spec"]
    assert budget["maxUnavailable"] == 1
    assert spread["labelSelector"]["matchLabels"] == budget["selector"]["matchLabels"] == labels
    assert "priorityClassName" not in pod(objects, name)
    alone = render(f"{part}.replicas=1")
    assert ("PodDisruptionBudget", name) not in alone, "it would hold back every drain"
    assert sum(kind == "PodDisruptionBudget" for kind, _ in alone) == 1


@pytest.mark.parametrize("part", ["operator", "router"])
def test_where_pods_run_can_be_said(render: Render, part: str) -> None:
    own = [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    objects = render(
        f'{part}.priorityClassName="system-cluster-critical"',
        f'{part}.nodeSelector={{"pool": "infra"}}',
        f'{part}.tolerations=[{{"key": "infra", "operator": "Exists"}}]',
        f'{part}.affinity={{"podAntiAffinity": {{}}}}',
        f'{part}.topologySpreadConstraints=[{{"maxSkew": 2, "topologyKey": "zone", '
        '"whenUnsatisfiable": "DoNotSchedule"}]',
    )
    found = pod(objects, f"serin-{part}")
    assert found["priorityClassName"] == "system-cluster-critical"
    assert found["nodeSelector"] == {"pool": "infra"}
    assert found["tolerations"] == [{"key": "infra", "operator": "Exists"}]
    assert found["affinity"] == {"podAntiAffinity": {}}
    assert found["topologySpreadConstraints"] == own
    other = pod(objects, "serin-router" if part == "operator" else "serin-operator")
    assert "priorityClassName" not in other


def ingress(objects: Objects, name: str) -> dict[int, Any]:
    """Who may reach each port of a pod; None: everybody."""
    policy = objects["NetworkPolicy", name]["spec"]
    labels = objects["Deployment", name]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress"]
    return {port["port"]: rule.get("from") for rule in policy["ingress"] for port in rule["ports"]}


def test_the_routers_configuration_is_for_router_and_operator_alone(render: Render) -> None:
    objects = render()
    found = ingress(objects, "serin-operator")
    assert [one["podSelector"]["matchLabels"] for one in found.pop(XDS_PORT)] == [
        {"app.kubernetes.io/name": "serin-router"},
        {"app.kubernetes.io/name": "serin-operator"},
    ]
    assert found == {8080: None}, "metrics and probes, from wherever Prometheus is"


def test_clients_reach_every_port_that_a_deployment_may_get(render: Render) -> None:
    objects = render()
    assert ingress(objects, "serin-router") == {FIRST: None, METRICS_PORT: None}
    [clients, _] = objects["NetworkPolicy", "serin-router"]["spec"]["ingress"]
    assert clients["ports"] == [{"port": FIRST, "endPort": LAST, "protocol": "TCP"}]


def test_every_port_of_the_pods_has_its_rule(render: Render) -> None:
    objects = render()
    for name in ("serin-operator", "serin-router"):
        ports = {port["containerPort"] for one in pod(objects, name)["containers"] for port in one["ports"]}
        assert ports <= ingress(objects, name).keys()


def test_who_reads_metrics_and_who_sends_requests_can_be_said(render: Render) -> None:
    peers = '[{"namespaceSelector": {"matchLabels": {"team": "x"}}}]'
    objects = render(f"networkPolicies.metricsFrom={peers}")
    wanted = yaml.safe_load(peers)
    assert ingress(objects, "serin-operator")[8080] == ingress(objects, "serin-router")[METRICS_PORT] == wanted
    assert ingress(objects, "serin-router")[FIRST] is None
    objects = render(f"networkPolicies.clientsFrom={peers}")
    assert ingress(objects, "serin-router")[FIRST] == wanted
    assert ingress(objects, "serin-router")[METRICS_PORT] is None
    assert not [kind for kind, _ in render("networkPolicies.enabled=false") if kind == "NetworkPolicy"]


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        ("router.shieldedRequestByte=1", "router"),
        ("router.shieldedRequestBytes=-1", "shieldedRequestBytes"),
        ("router.shieldedRequestBytes=100000000", "shieldedRequestBytes"),
        ('router.connections="many"', "connections"),
        ("router.headerKilobytes=9000", "headerKilobytes"),
        ("router.workers=0", "workers"),
        ("router.resources.limits.memory=1073741824", "memory"),
        ('router.resources.limits.memory="1 GB"', "memory"),
        ("operator.replicas=0", "replicas"),
        ('operator.logLevel="loud"', "logLevel"),
        ('prometheus.url="prometheus:9090"', "url"),
        ("networkPolicy.enabled=true", "networkPolicy"),
    ],
)
def test_a_value_that_means_nothing_is_refused(helm: Path, setting: str, where: str) -> None:
    done = template(helm, setting)
    assert done.returncode != 0
    assert where in done.stderr


def test_the_schema_knows_every_value(helm: Path) -> None:
    """Each default is one that the schema takes, and every key of values.yaml is in it."""

    def missing(values: Any, schema: dict[str, Any], path: str) -> list[str]:
        known = schema.get("properties")
        if not isinstance(values, dict) or known is None:
            return []
        return [
            name
            for key, value in values.items()
            for name in ([f"{path}.{key}"] if key not in known else missing(value, known[key], f"{path}.{key}"))
        ]

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert missing(values, schema, "") == []
    assert template(helm).returncode == 0
