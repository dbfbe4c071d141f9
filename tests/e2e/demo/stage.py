"""Where the demo happens: a cluster of its own or the current one, with Serin installed; and what is left of it.

What was there before stays: a Serin that runs already is used and not touched, and only what the demo itself installed
is taken away. KEEP=1 takes nothing away.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serin.api.names import SYSTEM_NAMESPACE
from tests.cluster import binaries, launcher, recipes, state
from tests.cluster.access import Cluster
from tests.cluster.cache import say
from tests.cluster.errors import ClusterError
from tests.cluster.local import ControlPlane
from tests.cluster.node_cluster import NodeCluster
from tests.e2e.conftest import PROMETHEUS
from tests.e2e.demo.images import MODEL_IMAGE, provide
from tests.e2e.demo.reach import Reach, reaching
from tests.e2e.demo.wishes import Wishes
from tests.e2e.install import RELEASE, install_chart
from tests.e2e.shop import Shop

NAMESPACE = "serin-demo"
FOLDER = recipes.ROOT / ".serin" / "demo"
LOGS = FOLDER / "logs"
CRDS = recipes.ROOT / "crds"
SAMPLES = recipes.ROOT / "manifests" / "samples" / "demo"
PROMETHEUS_NAMES = ("prometheus", "prometheus-server", "prometheus-operated", "prometheus-k8s")


@dataclass(frozen=True, slots=True)
class Stage:
    """A namespace to play in. `image`: name of the model server's image. `removal`: commands that remove it all."""

    shop: Shop
    reach: Reach
    image: str
    own: bool
    removal: tuple[str, ...]

    def apply(self, name: str) -> None:
        """Apply one of the samples: as it is, but for the image where the user has named another."""
        text = (SAMPLES / name).read_text().replace(MODEL_IMAGE, self.image)
        self.shop.kubectl("apply", "-f", "-", body=text)

    def url(self, service: str, port: int) -> str:
        """Where a client reaches a Service of the namespace."""
        return self.reach(NAMESPACE, service, port)


@contextmanager
def stage(wishes: Wishes) -> Iterator[Stage]:
    """Set everything up, and take it away again."""
    with ExitStack() as stack:
        cluster = stack.enter_context(_current() if wishes.current else _own(wishes.keep))
        if cluster.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name"):
            raise ClusterError(
                f"the namespace {NAMESPACE} exists, perhaps from a demo with KEEP=1: "
                f"remove it with `kubectl delete namespace {NAMESPACE}`"
            )
        stack.enter_context(_logging(cluster))
        installed = stack.enter_context(_serin(cluster, wishes))
        stack.enter_context(_namespace(cluster, keep=wishes.keep or not wishes.current))
        reach = stack.enter_context(reaching(cluster))
        removal = _removal(own=not wishes.current, installed=installed)
        yield Stage(Shop(cluster, NAMESPACE), reach, wishes.image or MODEL_IMAGE, not wishes.current, removal)


def _removal(*, own: bool, installed: bool) -> tuple[str, ...]:
    if own:
        return (remove_command(),)
    serin = (
        f"helm uninstall {RELEASE} -n {SYSTEM_NAMESPACE}",
        f"kubectl delete namespace {SYSTEM_NAMESPACE}",
        f"kubectl delete -f {CRDS.relative_to(recipes.ROOT)}",
    )
    return (f"kubectl delete namespace {NAMESPACE}", *(serin if installed else ()))


@contextmanager
def _own(keep: bool) -> Iterator[Cluster]:
    earlier = state.find(FOLDER)
    if earlier and earlier.owner is None:
        raise ClusterError(
            f"the cluster of a demo with KEEP=1 runs in {FOLDER}. Remove it: {remove_command()}; or use it again: "
            f"kubectl delete namespace {NAMESPACE}; make demo CLUSTER=current KUBECONFIG={FOLDER / 'kubeconfig'}"
        )
    if earlier and not earlier.abandoned():
        raise ClusterError("another demo is running in this folder: wait for it, or clone into another one")
    say("starting a Kubernetes cluster with one real node (10 seconds; the first time Kubernetes is built: 7 minutes)")
    began = time.monotonic()
    cluster = launcher.start_node_cluster(FOLDER)
    say(f"the cluster is ready after {time.monotonic() - began:.0f} s")
    ended_well = False
    try:
        yield cluster
        ended_well = True
    finally:
        if keep:
            launcher.release(cluster)
            say(f"the cluster is kept; this removes it: {remove_command()}")
        else:
            say("removing the cluster and all that ran in it")
            launcher.end(cluster, keep_logs=not ended_well)


def remove_command() -> str:
    """How the demo's own cluster is removed."""
    return f".venv/bin/python -m tests.cluster --dir {FOLDER.relative_to(recipes.ROOT)} down"


@contextmanager
def _current() -> Iterator[Cluster]:
    """The cluster of the current context, whatever the user switches to meanwhile."""
    given = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    if not any(Path(one).is_file() for one in given.split(os.pathsep)):
        raise ClusterError(
            f"CLUSTER=current, and there is no kubeconfig at {given}: set KUBECONFIG, for example after `make cluster` "
            "with `export KUBECONFIG=$(make -s kubeconfig)`"
        )
    cluster = launcher.attach_kubeconfig(Path(given))
    if isinstance(cluster, ControlPlane):
        raise ClusterError("this cluster simulates its nodes, and no model would answer: take one of `make cluster`")
    say(f"using the cluster of context {cluster.kubectl('config', 'current-context').strip()}")
    if isinstance(cluster, NodeCluster):
        yield cluster
        return
    with tempfile.TemporaryDirectory(prefix="serin-demo-") as folder:
        frozen = Path(folder) / "kubeconfig"
        frozen.write_text(cluster.kubectl("config", "view", "--minify", "--flatten", "--raw"))
        frozen.chmod(0o600)
        yield Cluster(frozen)


@contextmanager
def _serin(cluster: Cluster, wishes: Wishes) -> Iterator[bool]:
    """Serin from its chart, unless it runs already; tells whether it was installed here."""
    label = "app.kubernetes.io/name=serin-operator"
    runs = cluster.kubectl("get", "deployments", "-A", "-l", label, "-o", "name")
    if runs:
        say("Serin is installed in this cluster already, and is used as it is")
        provide(cluster, wishes, serin=False)
        yield False
        return
    url, began = _prometheus(cluster, wishes), time.monotonic()
    say("building images (about 2 minutes the first time) and installing Serin with Helm from charts/serin")
    values = provide(cluster, wishes, serin=True) | {"prometheus.url": url, "operator.logFormat": "console"}
    crds = cluster.kubectl("get", "crds", "-o", "name")
    helm = binaries.path("helm")
    try:
        install_chart(cluster, helm, values)
        say(f"Serin runs after {time.monotonic() - began:.0f} s")
        yield True
    finally:
        if wishes.current and not wishes.keep:
            say("uninstalling Serin")
            _uninstall(cluster, crds)


def _uninstall(cluster: Cluster, crds_before: str) -> None:
    """Namespace and release in one go; resource definitions only where the demo brought them."""
    helm = [str(binaries.path("helm")), "uninstall", RELEASE, "--namespace", SYSTEM_NAMESPACE, "--ignore-not-found"]
    binaries.run_in_terminal([*helm, "--kubeconfig", str(cluster.kubeconfig)])
    cluster.kubectl("delete", "namespace", SYSTEM_NAMESPACE, "--ignore-not-found")
    brought = [one for one in cluster.kubectl("get", "crds", "-o", "name").split() if one not in crds_before.split()]
    if mine := [one for one in brought if one.endswith(".serin.dev")]:
        cluster.kubectl("delete", *mine)


@contextmanager
def _namespace(cluster: Cluster, *, keep: bool) -> Iterator[None]:
    """`keep`: somebody wants it, or the whole cluster goes anyway."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        yield
    finally:
        if not keep:
            say(f"removing the namespace {NAMESPACE}")
            cluster.kubectl("delete", "namespace", NAMESPACE)


def _prometheus(cluster: Cluster, wishes: Wishes) -> str:
    if isinstance(cluster, NodeCluster):
        return wishes.prometheus_url or PROMETHEUS
    services = json.loads(cluster.kubectl("get", "services", "-A", "-o", "json"))["items"]
    return wishes.prometheus_url or find_prometheus(services)


def find_prometheus(services: list[dict[str, Any]]) -> str:
    """The URL of the one Service that looks like a Prometheus.

    Raises:
        ClusterError: when there is none or more than one, saying what to set.
    """
    found = {
        f"http://{one['metadata']['name']}.{one['metadata']['namespace']}.svc:{one['spec']['ports'][0]['port']}"
        for one in services
        if one["metadata"]["name"] in PROMETHEUS_NAMES
    }
    if len(found) == 1:
        return found.pop()
    seen = f"there are {len(found)} ({', '.join(sorted(found))})" if found else "none was found"
    raise ClusterError(
        f"Serin reads its evidence from a Prometheus, and {seen}: set PROMETHEUS_URL to one that this cluster's pods "
        "reach and that scrapes pods by the annotation prometheus.io/scrape, for example "
        "PROMETHEUS_URL=http://prometheus.monitoring.svc:9090"
    )


@contextmanager
def _logging(cluster: Cluster) -> Iterator[None]:
    """When something goes wrong, what Serin and the pods have said is kept in LOGS."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt):
            LOGS.mkdir(parents=True, exist_ok=True)
            _write_logs(cluster)
        raise


def _write_logs(cluster: Cluster) -> None:
    questions = {
        "operator": ["-n", SYSTEM_NAMESPACE, "logs", "-l", "app.kubernetes.io/name=serin-operator", "--tail=2000"],
        "router": ["-n", SYSTEM_NAMESPACE, "logs", "-l", "app.kubernetes.io/name=serin-router", "--tail=500"],
        "models": ["-n", NAMESPACE, "logs", "-l", "serin.dev/model-deployment", "--tail=500", "--prefix"],
        "resources": ["-n", NAMESPACE, "get", "md,msnap,events,pods", "-o", "yaml"],
        "pods": ["get", "pods", "-A", "-o", "wide"],
    }
    for name, words in questions.items():
        with suppress(ClusterError):  # the first failure is the one to report
            (LOGS / f"{name}.log").write_text(cluster.kubectl(*words))
