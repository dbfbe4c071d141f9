"""The node level: real pods, Services, DNS and exec; two clusters side by side; nothing left behind."""

import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import images, launcher, namespaces, recipes, state
from tests.cluster.access import KubectlFailed
from tests.cluster.errors import ClusterError
from tests.cluster.local import LocalCluster
from tests.cluster.namespaces import Slice
from tests.cluster.node_cluster import NodeCluster
from tests.cluster.processes import identify, marked

pytestmark = [pytest.mark.node, pytest.mark.alone, pytest.mark.usefixtures("node_tools")]

ROOT = Path(__file__).resolve().parents[2]
WAIT = "--timeout=120s"

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {image}
        command: [sh, -c, "mkdir -p /tmp/w && hostname > /tmp/w/name && exec python3 -m http.server 8000 -d /tmp/w"]
        readinessProbe: {{httpGet: {{path: /name, port: 8000}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{port: 80, targetPort: 8000}}]
"""


def start_web(cluster: LocalCluster, name: str, replicas: int = 1) -> images.Image:
    """Run a small web server that tells its pod's name, from an image built here."""
    assert isinstance(cluster, NodeCluster)
    image = recipes.python_image()
    cluster.load(image)
    manifest = WEB.format(name=name, replicas=replicas, image=image.reference)
    cluster.kubectl("apply", "-f", "-", input=manifest)
    cluster.kubectl("wait", "--for=condition=Available", f"deployment/{name}", WAIT)
    await_service(cluster, name)
    return image


def pods(cluster: LocalCluster, app: str) -> list[str]:
    return cluster.kubectl("get", "pods", "-l", f"app={app}", "-o", "jsonpath={.items[*].metadata.name}").split()


def await_service(cluster: LocalCluster, name: str) -> None:
    """Wait until a Service leads to its pods: kube-proxy hears of them a moment after everybody else."""
    address = cluster.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
    await_success(cluster, f"Service {name} answers", lambda: get(f"http://{address}/name"))


def await_success(cluster: LocalCluster, what: str, attempt: Callable[[], str]) -> str:
    """Try until it works; returns what it gave then."""
    answers: list[str] = []

    def works() -> bool:
        with suppress(OSError, KubectlFailed):
            answers.append(attempt())
        return bool(answers)

    cluster.await_condition(what, works)
    return answers[0]


def await_two_pods(cluster: LocalCluster, gone: str) -> None:
    """Wait until two pods are ready and one of before is gone; the Service may still lead to that one for a moment."""
    path = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'

    def replaced() -> bool:
        ready = cluster.kubectl("get", "pods", "-l", "app=web", "-o", path).split()
        return ready == ["True", "True"] and gone not in pods(cluster, "web")

    cluster.await_condition("two pods again", replaced)
    await_service(cluster, "web")


@pytest.fixture(scope="module")
def web(own_node_cluster: NodeCluster) -> Iterator[NodeCluster]:
    image = start_web(own_node_cluster, "web", 2)
    own_node_cluster.kubectl(
        *("run", "client", f"--image={image.reference}", "--restart=Never", "--grace-period=1"),
        *("--command", "--", "sleep", "100000"),
    )
    own_node_cluster.kubectl("wait", "--for=condition=Ready", "pod/client", WAIT)
    yield own_node_cluster
    own_node_cluster.kubectl("delete", "deployment/web", "service/web", "pod/client", "--wait=false")


def get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return str(answer.read().decode()).strip()


def test_the_node_is_ready_and_of_the_pinned_version(own_node_cluster: NodeCluster) -> None:
    from tests.cluster import versions

    own_node_cluster.kubectl("wait", "--for=condition=Ready", "node/serin-node", WAIT)
    path = "jsonpath={.items[*].status.nodeInfo.kubeletVersion}"
    assert own_node_cluster.kubectl("get", "nodes", "-o", path) == versions.KUBERNETES


def test_a_pod_reaches_a_service_by_name(web: NodeCluster) -> None:
    for name in ("web", "web.default", "web.default.svc.cluster.local"):
        command = ("exec", "client", "--", "wget", "-qO-", f"http://{name}/name")
        answer = await_success(web, f"{name} is known", lambda command=command: web.kubectl(*command))
        assert answer.strip() in pods(web, "web")


def test_names_that_do_not_exist_are_denied_at_once(web: NodeCluster) -> None:
    took = []
    for _ in range(3):  # the machine may hold one up, a name server that does not answer would hold up every one
        began = time.monotonic()
        with pytest.raises(KubectlFailed, match="bad address"):
            web.kubectl("exec", "client", "--", "wget", "-qO-", "http://nowhere/")
        took.append(time.monotonic() - began)
    assert min(took) < 10


def test_exec_and_logs(web: NodeCluster) -> None:
    (one, _) = pods(web, "web")
    assert web.kubectl("exec", one, "--", "hostname").strip() == one
    assert web.kubectl("exec", "-i", "client", "--", "cat", input="through stdin") == "through stdin"
    web.await_condition("the probe is in the log", lambda: "GET /name" in web.kubectl("logs", one))


def test_a_deleted_pod_is_replaced(web: NodeCluster) -> None:
    before = pods(web, "web")
    web.kubectl("delete", "pod", before[0])
    await_two_pods(web, before[0])


def test_the_host_reaches_pods_and_services_and_pods_reach_the_host(web: NodeCluster) -> None:
    address = web.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    assert await_success(web, "the Service answers", lambda: get(f"http://{address}/name")) in pods(web, "web")
    one = pods(web, "web")[0]
    address = web.kubectl("get", "pod", one, "-o", "jsonpath={.status.podIP}")
    assert get(f"http://{address}:8000/name") == one

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"the host")

    with socketserver.TCPServer((str(web.host_ip), 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://{web.host_ip}:{server.server_address[1]}/"
        assert web.kubectl("exec", "client", "--", "wget", "-qO-", url) == "the host"
        server.shutdown()


def test_a_pod_reaches_the_api_server_with_its_token(web: NodeCluster) -> None:
    program = (
        "import ssl, urllib.request as r; d = '/var/run/secrets/kubernetes.io/serviceaccount/';"
        "c = ssl.create_default_context(cafile=d + 'ca.crt');"
        "h = {'Authorization': 'Bearer ' + open(d + 'token').read()};"
        "q = r.Request('https://kubernetes.default/version', headers=h);"
        "print(r.urlopen(q, context=c).status)"
    )
    assert web.kubectl("exec", "client", "--", "python3", "-c", program).strip() == "200"


def test_prometheus_scrapes_an_annotated_pod_and_no_other(web: NodeCluster) -> None:
    program = "mkdir /tmp/w; echo 'birds_total 7' > /tmp/w/metrics; exec python3 -m http.server 8000 -d /tmp/w"
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": "8000"}
    for name, extra in (("scraped", annotations), ("ignored", {})):
        image = recipes.python_image().reference
        container = {"name": "web", "image": image, "command": ["sh", "-c", program]}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": extra}, "spec": spec}
        web.kubectl("apply", "-f", "-", input=json.dumps(pod))
    web.kubectl("wait", "--for=condition=Ready", "pod/scraped", "pod/ignored", WAIT)

    def found() -> list[dict[str, Any]]:
        answer = json.loads(get(f"{web.prometheus_url}/api/v1/query?query=birds_total"))
        return list(answer["data"]["result"])

    web.await_condition("Prometheus scrapes the pod", lambda: bool(found()))
    (one,) = found()
    assert one["value"][1] == "7"
    assert one["metric"]["pod"] == "scraped"
    assert one["metric"]["namespace"] == "default"
    web.kubectl("delete", "pod/scraped", "pod/ignored", "--wait=false")


def test_an_image_archive_is_loaded(web: NodeCluster, tmp_path: Path) -> None:
    layer = images.cached_layer("archive-test", "1", lambda _: [images.Entry("etc/motd", b"from an archive\n", 0o644)])
    base = recipes.python_image()
    image = images.build_image("archive-test", [*base.layers, layer], images.Run(command=("cat", "/etc/motd")))
    web.load_image(images.save_image(image, tmp_path / "image.tar"))
    web.kubectl("run", "archive", f"--image={image.reference}", "--restart=Never", "--image-pull-policy=Never")
    web.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/archive", WAIT)
    assert web.kubectl("logs", "archive") == "from an archive\n"
    web.kubectl("delete", "pod", "archive")


def test_an_api_server_killed_and_started_again_keeps_its_data(web: NodeCluster) -> None:
    before = pods(web, "web")
    web.kill("kube-apiserver")
    with pytest.raises(KubectlFailed, match="kube-apiserver"):
        web.kubectl("get", "pods", timeout=60)
    web.restart("kube-apiserver")
    assert pods(web, "web") == before
    web.check()
    # The node's programs find it again too.
    web.kubectl("delete", "pod", before[0])
    await_two_pods(web, before[0])


def machine() -> dict[str, object]:
    """Everything on the host that a cluster could leave behind or change."""

    def lines(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    def without_other_clusters(found: list[str]) -> list[str]:
        # Clusters of other sessions may come and go meanwhile; those of this one are compared by number.
        return sorted(line for line in found if "serin" not in line)

    settings = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
    return {
        "mounts": without_other_clusters(
            [line.split(" - ")[0].split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        ),
        "links": without_other_clusters(os.listdir("/sys/class/net")),
        "routes": without_other_clusters(lines("ip", "route", "show", "table", "all", "type", "unicast")),
        "rules": [line for line in lines("iptables-save") if not re.match(r"[#:]|\*|COMMIT", line)],
        "settings": {name: Path(f"/proc/sys/{name}").read_text() for name in settings},
        "containers' folders": [place for place in ("/run/containerd", "/var/lib/kubelet") if Path(place).exists()],
    }


def left_of(one: Slice, run: str) -> list[str]:
    """What is still there of a run."""
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    return [
        *(f"process {identity.pid}" for identity in marked(run)),
        *(str(folder) for folder in one.cgroups if folder.exists()),
        *(line for line in routes.splitlines() if one.name in line),
        *(name for name in os.listdir("/sys/class/net") if name == one.name),
    ]


def in_namespace(kind: str, identity: str) -> list[int]:
    """Processes in one namespace; what has ended but is not yet taken by the machine's own init does not count."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/ns/{kind}") == identity and identify(int(name)):
                found.append(int(name))
        except OSError:
            continue
    return found


def test_a_folder_in_which_kubelets_sockets_have_no_place_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20)
    with pytest.raises(ClusterError, match=r"bytes too long.*choose a shorter one"):
        launcher.start_node_cluster(folder)
    assert not folder.exists()


def test_two_clusters_run_side_by_side_and_leave_nothing(
    own_node_cluster: NodeCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before, folder = machine(), tmp_path_factory.mktemp("second") / "cluster"
    other = launcher.start_node_cluster(folder)
    try:
        assert other.slice.index != own_node_cluster.slice.index
        assert not other.slice.addresses.overlaps(own_node_cluster.slice.addresses)
        for cluster, name in ((own_node_cluster, "left"), (other, "right")):
            start_web(cluster, name)
        assert "right" not in own_node_cluster.kubectl("get", "deployments", "-A")
        assert "left" not in other.kubectl("get", "deployments", "-A")
        identity = os.readlink(f"/proc/{other.init}/ns/pid")
        assert len(in_namespace("pid", identity)) >= 9
        one, run = other.slice, other.record.run
    finally:
        launcher.end(other)
    assert left_of(one, run) == []
    assert in_namespace("pid", identity) == []
    assert not folder.exists()
    assert machine() == before
    own_node_cluster.check()
    assert get(f"http://{own_node_cluster.kubectl('get', 'service', 'left', '-o', 'jsonpath={.spec.clusterIP}')}/name")
    own_node_cluster.kubectl("delete", "deployment/left", "service/left", "--wait=false")


@pytest.mark.parametrize("seconds", [0.5, 4.0])
def test_a_node_whose_launcher_was_killed_is_removed_at_the_next_start(
    seconds: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("killed") / "cluster"
    program = (
        "import sys; from pathlib import Path; from tests.cluster import launcher\n"
        "launcher.start_node_cluster(Path(sys.argv[1])); import time; time.sleep(600)"
    )
    victim = subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while ((record := state.find(folder)) is None or record.slice is None) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(seconds)
    record = state.find(folder)
    assert record is not None
    assert record.slice is not None
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert record.abandoned()
    with state.locked():
        launcher.sweep()
    assert left_of(Slice(record.slice), record.run) == []
    assert state.find(folder) is None


def test_the_slices_are_eight_parts_of_the_test_range() -> None:
    slices = [Slice(index) for index in range(namespaces.SLICES)]
    assert sum(one.addresses.num_addresses for one in slices) == namespaces.RANGE.num_addresses
    for one in slices:
        parts = (one.pods, one.services)
        assert all(part.subnet_of(one.addresses) for part in parts)
        assert not one.pods.overlaps(one.services)
        assert all(address in one.addresses for address in (one.node_ip, one.host_ip))
        assert not any(address in part for part in parts for address in (one.node_ip, one.host_ip))
        assert one.dns_ip in one.services
        assert len(one.name) <= 15  # the kernel's limit for a link
