"""`serin rehearse --from-cluster`: a real Prometheus behind a real API server, asked by users with few rights."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from serin.api.json import JsonObject
from serin.api.names import SYSTEM_NAMESPACE
from serin.cli.app import main
from serin.cli.exit_codes import Exit
from tests.cluster import launcher, prometheus, recipes
from tests.cluster.node_cluster import NodeCluster
from tests.integration.cli_rig import Ran, await_right
from tests.integration.prometheus_server import Exporter, render, wait_for

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("debian_packages", "node_tools")]

RATE, BAD = 40.0, 0.05
SERVICE = "prometheus-server"
OWNER = {
    "serin_namespace": "shop",
    "serin_model_deployment": "fraud",
    "serin_snapshot": "fraud-a",
    "serin_attempt": "first",
}

# What docs/cli.md says that the user needs.
RIGHTS = [
    (
        SYSTEM_NAMESPACE,
        {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["serin-operator"], "verbs": ["get"]},
    ),
    (
        prometheus.NAMESPACE,
        {
            "apiGroups": [""],
            "resources": ["services/proxy"],
            "resourceNames": [f"{SERVICE}:{prometheus.PORT}"],
            "verbs": ["get"],
        },
    ),
]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeCluster]:
    """A cluster of its own, whose Prometheus has scraped the requests of one deployment for a while.

    They come in lots of which each has its share of bad ones, so that the share is the same whenever it is looked at.
    """
    cluster = launcher.start_node_cluster(tmp_path_factory.mktemp("rehearse") / "cluster")
    router, done = Exporter(str(cluster.host_ip)), threading.Event()
    attempts, failures = render("envoy_serin_attempts", OWNER), render("envoy_serin_failures", OWNER)
    lot = 1 / BAD

    def serve() -> None:
        began = time.monotonic()
        while not done.wait(0.02):
            lots = int(RATE / lot * (time.monotonic() - began))
            with router.lock:
                router.values = {attempts: lot * lots, failures: float(lots)}

    threading.Thread(target=serve, daemon=True).start()
    settings = cluster.site.folder / "prometheus.json"
    changed = json.loads(settings.read_text())
    changed["scrape_configs"].append({"job_name": "router", "static_configs": [{"targets": [router.address]}]})
    settings.write_text(json.dumps(changed))
    cluster.restart("prometheus")
    wait_for(lambda: router.scrapes >= 30, "Prometheus does not scrape the router")
    yield cluster
    done.set()
    router.stop()
    launcher.end(cluster)


@pytest.fixture(scope="module")
def operator(busy: NodeCluster) -> NodeCluster:
    """The operator's Deployment, which says where its Prometheus is; nobody needs it to run.

    The API server's proxy leads to pods alone, and this cluster's Prometheus is a process on the node: a pod on the
    node's own network has its address.
    """
    pause, labels = recipes.pause_image().reference, {"app": SERVICE}
    place = {"name": SERVICE, "namespace": prometheus.NAMESPACE}
    spec = {"hostNetwork": True, "containers": [{"name": "pause", "image": pause}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**place, "labels": labels}, "spec": spec}
    ports = [{"name": "http", "port": prometheus.PORT}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": place, "spec": {"selector": labels, "ports": ports}}
    url = f"http://{SERVICE}.{prometheus.NAMESPACE}.svc:{prometheus.PORT}"
    variables = [{"name": "SERIN_PROMETHEUS_URL", "value": url}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "b", "env": variables}]}}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "serin-operator", "namespace": SYSTEM_NAMESPACE},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}}
    apply(busy, namespace, body, pod, service)
    busy.kubectl("-n", prometheus.NAMESPACE, "wait", "--for=condition=Ready", f"pod/{SERVICE}", "--timeout=120s")
    addresses = (
        "-n",
        prometheus.NAMESPACE,
        "get",
        "endpoints",
        SERVICE,
        "-o",
        "jsonpath={.subsets[*].addresses[*].ip}",
    )
    wait_for(lambda: busy.kubectl(*addresses), "the Service has no endpoints")
    return busy


def apply(cluster: NodeCluster, *bodies: JsonObject) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(items))


def user(cluster: NodeCluster, name: str, folder: Path, *rights: tuple[str, JsonObject]) -> Path:
    """The kubeconfig of a ServiceAccount with these rights."""
    bodies: list[JsonObject] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}}
    ]
    for namespace, rule in rights:
        group = "rbac.authorization.k8s.io"
        place = {"name": name, "namespace": namespace}
        bodies.append({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": place, "rules": [rule]})
        bodies.append(
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": place,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
            }
        )
    apply(cluster, *bodies)
    for namespace, rule in rights:
        [group], [kind], [named], [verb] = (rule[part] for part in ("apiGroups", "resources", "resourceNames", "verbs"))
        resource, _, part = kind.partition("/")
        wanted = {"group": group, "resource": resource, "subresource": part, "name": named, "verb": verb}
        await_right(cluster.kubeconfig, f"default:{name}", namespace=namespace, **wanted)
    config = yaml.safe_load(cluster.kubectl("config", "view", "--flatten", "--raw"))
    config["users"][0]["user"] = {"token": cluster.kubectl("-n", "default", "create", "token", name).strip()}
    file = folder / f"{name}.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


class Rehearse:
    def __init__(self, file: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.file, self._capture = file, capture

    def __call__(self, kubeconfig: Path, *words: str, namespace: str = "shop") -> Ran:
        self._capture.readouterr()
        where = ["--kubeconfig", str(kubeconfig), "-n", namespace, "--runs", "20"]
        with pytest.raises(SystemExit) as ended:
            main(["rehearse", "-f", str(self.file), "--from-cluster", *where, *words])
        told = self._capture.readouterr()
        return Ran(int(ended.value.code or 0), told.out, told.err)


@pytest.fixture
def rehearse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Rehearse:
    container = {"name": "model", "image": "m:1", "ports": [{"containerPort": 8080}]}
    spec = {
        "template": {"spec": {"containers": [container]}},
        "strategy": {"canary": {"steps": [{"weight": 10, "bake": "10m"}]}},
        "metrics": [{"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}],
    }
    file = tmp_path / "fraud.yaml"
    file.write_text(
        yaml.safe_dump(
            {"apiVersion": "serin.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "fraud"}, "spec": spec}
        )
    )
    return Rehearse(file, capsys)


def test_the_traffic_comes_through_the_api_server_with_no_more_than_the_rights_in_the_docs(
    operator: NodeCluster, rehearse: Rehearse, tmp_path: Path
) -> None:
    ran = rehearse(user(operator, "rehearser", tmp_path, *RIGHTS), "-o", "json")
    assert ran.code == Exit.DONE, ran.err
    [answer] = json.loads(ran.out)
    # A second that a scrape comes late is a thirtieth of the window.
    assert answer["traffic"]["errors"]["rate"] == pytest.approx(RATE, rel=0.2)
    assert answer["traffic"]["errors"]["badShare"] == pytest.approx(BAD, rel=0.01)
    assert [one["candidate"] for one in answer["steps"][0]["sights"] if one["canSee"]][-1] == "20% bad"


def test_a_user_without_these_rights_is_told_what_else_to_do(
    operator: NodeCluster, rehearse: Rehearse, tmp_path: Path
) -> None:
    ran = rehearse(user(operator, "nobody", tmp_path))
    assert ran.code == Exit.NO_ACCESS
    assert 'deployments.apps "serin-operator" is forbidden' in ran.err
    assert "write --prometheus URL" in ran.err
    ran = rehearse(user(operator, "half", tmp_path, RIGHTS[0]))
    assert ran.code == Exit.NO_ACCESS
    assert "services/proxy" in ran.err or f'services "{SERVICE}:{prometheus.PORT}" is forbidden' in ran.err
    assert "write --prometheus URL" in ran.err


def test_an_address_of_prometheus_needs_no_rights_in_the_cluster(
    operator: NodeCluster, rehearse: Rehearse, tmp_path: Path
) -> None:
    ran = rehearse(user(operator, "nobody", tmp_path), "--prometheus", operator.prometheus_url)
    assert ran.code == Exit.DONE, ran.err
    assert "requests/s of which 5.0% are bad" in ran.out


def test_a_deployment_that_prometheus_does_not_know(operator: NodeCluster, rehearse: Rehearse) -> None:
    ran = rehearse(operator.kubeconfig, namespace="elsewhere")
    assert ran.code == Exit.NOT_FOUND
    assert "Prometheus has no requests of fraud in namespace elsewhere in the last 15 minutes" in ran.err


def test_an_address_that_is_not_prometheus(operator: NodeCluster, rehearse: Rehearse) -> None:
    ran = rehearse(operator.kubeconfig, "--prometheus", f"http://{operator.node_ip}:9")
    assert ran.code == Exit.NO_ACCESS
    assert f"no answer from http://{operator.node_ip}:9" in ran.err
    ran = rehearse(operator.kubeconfig, "--prometheus", f"{operator.prometheus_url}/elsewhere")
    assert "is not Prometheus" in ran.err
