"""What each value of the chart does, rendered by Helm, and which values it refuses."""

import argparse
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests.generate import CHART, KUBERNETES

from serin.api.guard_keys import DATA, SECRET
from serin.api.guard_review import PORT
from serin.controller.settings import parse
from serin.guard.process import add_arguments
from serin.routers.envoy.bootstrap import METRICS_PORT, XDS_PORT
from serin.routers.envoy.limits import CONNECTIONS, HEADER_KILOBYTES, SHIELDED_BYTES, Limits
from serin.routers.envoy.ports import FIRST, LAST
from tests import crds

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


def test_webhooks_are_told_to_the_operator_without_their_secrets(render: Render) -> None:
    hooks = [
        {"name": "pipelines", "url": "https://pipelines.test/events", "authSecret": "pipelines-webhook"},
        {
            "name": "open",
            "url": "http://open.test",
            "namespaces": ["shop"],
            "format": "Alertmanager",
            "events": ["KillSwitch"],
        },
    ]
    objects = render(f"webhooks={json.dumps(hooks)}")
    told = environment(objects)["SERIN_WEBHOOKS"]
    assert "pipelines-webhook" not in told
    found = parse(["--prometheus-url", "http://prometheus.test", "--webhooks", told]).webhooks
    assert [one.name for one in found.values() if one.is_open_to("bank")] == ["pipelines"]
    assert [one.url for one in found.values()] == [one["url"] for one in hooks]
    assert [one.format.value for one in found.values()] == ["CloudEvents", "Alertmanager"]
    assert [{*one.events} for one in found.values()] == [set(), {"KillSwitch"}]
    operator = pod(objects, "serin-operator")
    mounts = {one["name"]: one["mountPath"] for one in operator["containers"][0]["volumeMounts"]}
    secrets = {one["name"]: one["secret"]["secretName"] for one in operator["volumes"] if "secret" in one}
    assert secrets == {"webhook-0": "pipelines-webhook"}
    assert mounts["webhook-0"] == "/etc/serin/webhooks/pipelines"
    assert environment(render())["SERIN_WEBHOOKS"] == "[]"


@pytest.mark.parametrize("allowed", [True, False])
def test_jobs_can_be_forbidden(render: Render, allowed: bool) -> None:
    rules = render(f"operator.jobs={json.dumps(allowed)}")["ClusterRole", "serin-operator"]["rules"]
    [jobs] = [one for one in rules if one.get("resources") == ["jobs"]]
    assert jobs["verbs"] == ["get", "list", "watch", *(["create"] if allowed else [])]


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


def test_what_people_look_at_goes_from_the_guard_to_the_operator_alone(render: Render) -> None:
    peers = '[{"namespaceSelector": {"matchLabels": {"team": "x"}}}]'
    assert "SERIN_REVIEW_PORT" not in environment(render())
    objects = render("guard.enabled=true", f"networkPolicies.clientsFrom={peers}")
    assert environment(objects)["SERIN_REVIEW_PORT"] == str(PORT)
    guard, operator = ({"app.kubernetes.io/name": f"serin-{name}"} for name in ("guard", "operator"))
    assert ingress(objects, "serin-operator")[PORT] == [{"podSelector": {"matchLabels": guard}}]
    assert {"podSelector": {"matchLabels": operator}} in ingress(objects, "serin-router")[FIRST]
    service = objects["Service", "serin-reviews"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == operator
    assert [(one["port"], one["targetPort"]) for one in service["spec"]["ports"]] == [(PORT, "reviews")]
    [container] = pod(objects, "serin-guard")["containers"]
    namespace = service["metadata"]["namespace"]
    assert {"name": "SERIN_GUARD_REVIEWS", "value": f"serin-reviews.{namespace}.svc:{PORT}"} in container["env"]


def test_who_reads_metrics_and_who_sends_requests_can_be_said(render: Render) -> None:
    peers = '[{"namespaceSelector": {"matchLabels": {"team": "x"}}}]'
    objects = render(f"networkPolicies.metricsFrom={peers}")
    test, operator = (
        {"podSelector": {"matchLabels": {"app.kubernetes.io/name": name}}} for name in ("serin-test", "serin-operator")
    )
    assert objects["Pod", "serin-test"]["metadata"]["labels"]["app.kubernetes.io/name"] == "serin-test"
    assert ingress(objects, "serin-operator")[8080] == [test, *yaml.safe_load(peers)]
    assert ingress(objects, "serin-router")[METRICS_PORT] == [test, operator, *yaml.safe_load(peers)]
    unread = render(f"networkPolicies.metricsFrom={peers}", "router.liveCounters=false")
    assert ingress(unread, "serin-router")[METRICS_PORT] == [test, *yaml.safe_load(peers)]
    assert environment(objects)["SERIN_LIVE_COUNTERS"] == "true"
    assert environment(unread)["SERIN_LIVE_COUNTERS"] == "false"
    assert ingress(objects, "serin-router")[FIRST] is None
    objects = render(f"networkPolicies.clientsFrom={peers}")
    assert ingress(objects, "serin-router")[FIRST] == yaml.safe_load(peers)
    assert ingress(objects, "serin-router")[METRICS_PORT] is None
    assert not [kind for kind, _ in render("networkPolicies.enabled=false") if kind == "NetworkPolicy"]


@pytest.mark.parametrize("part", ["operator", "router"])
def test_pods_get_the_users_words_and_keep_serins(render: Render, part: str) -> None:
    objects = render(
        'imagePullSecrets=[{"name": "registry"}]',
        'commonLabels={"team": "ml", "app.kubernetes.io/name": "mine"}',
        f'{part}.podLabels={{"cost": "7", "app.kubernetes.io/name": "mine"}}',
        f'{part}.podAnnotations={{"inject": "false", "prometheus.io/port": "1"}}',
        f'{part}.serviceAccountAnnotations={{"role": "x"}}',
        f'{part}.extraEnv=[{{"name": "HTTPS_PROXY", "value": "http://proxy"}}]',
    )
    name = f"serin-{part}"
    found = objects["Deployment", name]
    metadata = found["spec"]["template"]["metadata"]
    assert found["spec"]["selector"]["matchLabels"].items() <= metadata["labels"].items()
    assert (metadata["labels"]["cost"], metadata["labels"]["team"]) == ("7", "ml")
    assert metadata["annotations"]["inject"] == "false"
    assert metadata["annotations"]["prometheus.io/port"] in ("8080", "9902")
    assert objects["ServiceAccount", name]["metadata"]["annotations"] == {"role": "x"}
    env = pod(objects, name)["containers"][0]["env"]
    assert env[-1] == {"name": "HTTPS_PROXY", "value": "http://proxy"}
    assert len(env) > 1
    assert pod(objects, name)["imagePullSecrets"] == objects["Pod", "serin-test"]["spec"]["imagePullSecrets"]
    for one in objects.values():
        assert one["metadata"]["labels"]["team"] == "ml", one["kind"]


@pytest.mark.parametrize("part", ["operator", "router"])
def test_no_label_of_a_users_replaces_what_the_operator_selects_by(render: Render, part: str) -> None:
    """Serin's own pods would be taken for a version's."""
    taken = '{"serin.dev/model-deployment": "fraud", "app.kubernetes.io/managed-by": "me"}'
    for setting in (f"{part}.podLabels={taken}", f"commonLabels={taken}"):
        found = render(setting)["Deployment", f"serin-{part}"]
        labels = found["spec"]["template"]["metadata"]["labels"]
        assert labels["serin.dev/model-deployment"] == ""
        assert labels["app.kubernetes.io/managed-by"] == found["metadata"]["labels"]["app.kubernetes.io/managed-by"]


class _Strict(yaml.SafeLoader):
    """Refuses a key that is there twice, as Kustomize does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def test_no_key_is_there_twice(helm: Path) -> None:
    own = '{"app.kubernetes.io/name": "a", "app.kubernetes.io/part-of": "b", "serin.dev/model-deployment": "c"}'
    done = template(helm, f"commonLabels={own}")
    assert done.returncode == 0, done.stderr
    assert len([one for one in yaml.load_all(done.stdout, _Strict) if one]) > 10


def test_names_that_look_like_numbers_stay_names(render: Render) -> None:
    objects = render(
        'prometheus.authSecret="123"',
        'operator.priorityClassName="1e3"',
        'operator.namespaces=["2024"]',
        "operator.namespacedRights=true",
        'webhooks=[{"name": "a", "url": "https://a.test", "authSecret": "7"}]',
    )
    operator = pod(objects, "serin-operator")
    assert operator["priorityClassName"] == "1e3"
    assert [one["secret"]["secretName"] for one in operator["volumes"] if "secret" in one] == ["123", "7"]
    rights = [one for (kind, name), one in objects.items() if name == "serin-operator-objects"]
    assert {one["metadata"]["namespace"] for one in rights} <= {"2024", "serin-system"}


def test_a_webhook_needs_an_address_or_a_secret_that_may_have_it(helm: Path) -> None:
    assert "webhooks" in template(helm, 'webhooks=[{"name": "a"}]').stderr
    done = template(helm, 'webhooks=[{"name": "a", "authSecret": "a-webhook", "format": "Slack"}]')
    assert done.returncode == 0, done.stderr
    assert "format" in template(helm, 'webhooks=[{"name": "a", "url": "https://a", "format": "Teams"}]').stderr
    assert "events" in template(helm, 'webhooks=[{"name": "a", "url": "https://a", "events": ["Rollback"]}]').stderr


def test_two_webhooks_of_a_name_are_refused(helm: Path) -> None:
    """The operator would not start with them."""
    done = template(helm, 'webhooks=[{"name": "a", "url": "https://a"}, {"name": "a", "url": "https://b"}]')
    assert "webhooks: a is there twice: rename one" in done.stderr


@pytest.mark.parametrize("empty", ["commonLabels", "operator.podLabels", "operator.podAnnotations", "router.resources"])
def test_null_is_the_same_as_nothing(helm: Path, empty: str) -> None:
    done = template(helm, f"{empty}=null")
    assert done.returncode == 0, done.stderr


def test_an_environment_variable_of_the_charts_own_is_refused(helm: Path) -> None:
    done = template(helm, 'operator.extraEnv=[{"name": "SERIN_TENANT_LABEL", "value": ""}]')
    assert "operator.extraEnv: SERIN_TENANT_LABEL is set by the chart" in done.stderr
    done = template(helm, 'router.extraEnv=[{"name": "POD_NAME", "value": ""}]')
    assert "router.extraEnv: POD_NAME is set by the chart" in done.stderr


def test_the_routers_replicas_can_be_left_to_an_autoscaler(render: Render, helm: Path) -> None:
    assert not [kind for kind, _ in render() if kind == "HorizontalPodAutoscaler"]
    objects = render("router.autoscaling.enabled=true", "router.autoscaling.maxReplicas=4", "router.replicas=1")
    spec = objects["HorizontalPodAutoscaler", "serin-router"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)
    assert spec["scaleTargetRef"]["name"] == "serin-router"
    assert spec["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
    assert "replicas" not in objects["Deployment", "serin-router"]["spec"], "Helm and the autoscaler would quarrel"
    assert ("PodDisruptionBudget", "serin-router") in objects
    one = render("router.autoscaling.enabled=true", "router.autoscaling.minReplicas=1")
    assert ("PodDisruptionBudget", "serin-router") not in one
    refused = template(helm, "router.autoscaling.enabled=true", "router.autoscaling.minReplicas=11")
    assert "minReplicas is more than maxReplicas" in refused.stderr
    refused = template(helm, "router.autoscaling.enabled=true", "router.resources.requests.cpu=null")
    assert "needs router.resources.requests.cpu" in refused.stderr


def test_the_router_can_listen_for_ipv6(render: Render) -> None:
    def listens(objects: Objects) -> Any:
        text = yaml.safe_load(objects["ConfigMap", "serin-router"]["data"]["envoy.yaml"])
        return text["static_resources"]["listeners"][0]["address"]["socket_address"]

    assert listens(render()) == {"address": "0.0.0.0", "ipv4_compat": False, "port_value": METRICS_PORT}
    objects = render("router.ipv6=true")
    assert listens(objects) == {"address": "::", "ipv4_compat": True, "port_value": METRICS_PORT}
    assert environment(objects)["SERIN_LISTEN_ADDRESS"] == "::"
    assert parse(["--listen-address", "::", "--prometheus-url", "http://x"]).routers["listen_address"] == "::"


def test_definitions_are_installed_and_kept_unless_said_otherwise(render: Render) -> None:
    def definitions(objects: Objects) -> list[dict[str, Any]]:
        return [one for (kind, _), one in objects.items() if kind == "CustomResourceDefinition"]

    keep = {"helm.sh/resource-policy": "keep"}
    found = definitions(render())
    assert len(found) == 4
    assert all(one["metadata"]["annotations"] == keep for one in found)
    for one in found:  # braces in their texts are not taken for the chart's
        assert one["spec"] == crds.load(one["spec"]["names"]["kind"])["spec"]
    assert all("annotations" not in one["metadata"] for one in definitions(render("crds.keep=false")))
    assert definitions(render("crds.install=false")) == []


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        ('operator.extraEnv=[{"value": "x"}]', "name"),
        ('imagePullSecrets=["registry"]', "imagePullSecrets"),
        ('operator.podLabels={"a": 1}', "podLabels"),
        ("router.autoscaling.targetCPUUtilization=0", "targetCPUUtilization"),
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


def test_operator_and_guard_share_a_key_that_the_chart_does_not_make(render: Render) -> None:
    """Or it would be another one at each rendering. The operator has a right to that Secret, and to no other."""
    assert ("Secret", "serin-guard") not in render()
    objects = render("guard.enabled=true")
    secret = objects["Secret", SECRET]
    assert not {"data", "stringData"} & secret.keys()
    rules = [one for one in objects["Role", "serin-operator"]["rules"] if "secrets" in one["resources"]]
    assert rules == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET], "verbs": ["get", "patch"]}
    ]
    assert not any("secrets" in str(one) for (kind, _), one in objects.items() if kind == "ClusterRole")
    [volume] = [one["secret"] for one in pod(objects, "serin-guard")["volumes"] if "secret" in one]
    assert volume == {"secretName": SECRET, "items": [{"key": DATA, "path": DATA}]}
    [container] = pod(objects, "serin-guard")["containers"]
    [mount] = [one for one in container["volumeMounts"] if one["name"] == "key"]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args([]).key_file == Path(mount["mountPath"]) / DATA
