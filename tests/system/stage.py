"""Everything a story of the whole operator needs: a cluster, Envoys with traffic, Prometheus, replicas, and people.

A story is written in minutes of virtual time; what it costs is what the operator's own code costs. All that is drawn at
random comes from one seed. Versions fail as many requests as their quality says: no story may end otherwise by chance,
and a fault changes what comes after it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from serin.api.json import JsonObject
from serin.api.names import API_VERSION, LABEL_MODEL_DEPLOYMENT, LABEL_SNAPSHOT, MODEL_DEPLOYMENT
from serin.api.state import State
from serin.api.status import read_state
from serin.cluster import kinds
from serin.controller.webhooks import Webhook
from serin.evaluation.past import HOUR, WEEK, WEEKS
from serin.workload.asking import NoAnswer, Question
from tests.simulation import clock
from tests.simulation.api import faults
from tests.simulation.api.resources import NAMESPACE
from tests.simulation.api.rest import Rest
from tests.simulation.cluster import ProcessDied
from tests.simulation.envoys import Envoy
from tests.simulation.kubelet import Kubelets
from tests.simulation.prometheus import Prometheus, Target, envoy_target
from tests.simulation.traffic import Clients, Proxy, Quality
from tests.simulation.workloads import Workloads
from tests.system.network import Network, ServiceLink, in_memory
from tests.system.process import Pod, leaves

SYSTEM = "serin-system"
KNOWN = b'{"y": [0.12]}'
"""What every model answers to the golden probe, where nothing is said."""
METADATA = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}], "outputs": []}'
"""What every model server says of its model, where nothing is said."""
GOOD, BAD = Quality(errors=0.002), Quality(errors=0.2)
Place = tuple[str, str]  # namespace and name of a ModelDeployment


def spec(model: str, version: str = "1", **changes: Any) -> JsonObject:
    """A spec as a user writes it. A rollout of a good version takes about a minute. `model`: no two tenants' is one."""
    container = {"name": "model", "image": "registry.test/model:1", "ports": [{"containerPort": 8080}]}
    body: JsonObject = {
        "replicas": 2,
        "model": {"name": model, "version": version},
        "template": {"spec": {"containers": [container]}},
        "strategy": {"canary": {"steps": [{"weight": 20, "bake": "20s"}, {"weight": 50, "bake": "20s"}]}},
        "metrics": [{"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}],
        "progressDeadline": "2m",
    }
    return body | changes


@dataclass
class Stage:
    """The cluster of one story.

    `rate`: requests a second of each deployment. `plan`: faults of all replicas' requests; `plans`: of one, by
    name. `qualities`: by namespace and model version, GOOD where nothing is said. `answers`: to golden probes, by the
    same, KNOWN where nothing is said; empty: none. `metadata`: of the model, METADATA where nothing is said. `live`:
    whether replicas read the router's counters themselves.
    """

    seed: int = 1
    replicas: int = 1
    deletion_delay: float = 0.5
    envoy_count: int = 2
    rate: float = 400.0
    plan: faults.Plan = faults.nothing
    plans: dict[str, faults.Plan] = field(default_factory=dict)
    qualities: dict[tuple[str, str], Quality] = field(default_factory=dict)
    answers: dict[tuple[str, str], bytes] = field(default_factory=dict)
    metadata: dict[tuple[str, str], bytes] = field(default_factory=dict)
    live: bool = False

    def __post_init__(self) -> None:
        self.control_plane = Rest(seed=self.seed, deletion_delay=self.deletion_delay)
        server = self.server = self.control_plane.server
        for name in ("shop", "bank", SYSTEM):
            server.create(NAMESPACE, "", {"metadata": {"name": name}}, manager="kubectl")
        self.kubelets = Kubelets(server, self.control_plane.deletion)
        self.workloads = Workloads(server, self.control_plane.deletion)
        self.network = Network()
        self.envoys = [self._envoy(number) for number in range(self.envoy_count)]
        self.proxies = [
            Proxy(one, self._quality, self.kubelets.is_reachable, seed=self.seed, even=True) for one in self.envoys
        ]
        for number, proxy in enumerate(self.proxies):
            self.network.counters[f"10.8.0.{number + 1}"] = proxy.exposition
        self.prometheus = Prometheus(self._targets, seed=self.seed)
        self.pods = [self._pod(number) for number in range(self.replicas)]
        self.clients: dict[Place, Clients] = {}
        self.watch: Callable[[Place], None] = lambda _: None  # told when a deployment serves
        self.may_lose: set[Place] = set()  # deployments whose requests may meet nobody
        self.gives_up: Callable[[], bool] = lambda: False  # whether there is no need to go on
        self.late = False  # writes of a replica that leads no longer may arrive
        self.told: list[JsonObject] = []  # events that the receiver of notifications has taken
        self.asked: Counter[tuple[str, str]] = Counter()  # golden probes, by namespace and model version
        self._versions: dict[str, tuple[str, str]] = {}  # snapshot -> namespace and model version
        self._tasks: list[asyncio.Task[None]] = []
        self._sending: dict[Place, asyncio.Task[None]] = {}

    # ── What there is ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _envoy(self, number: int) -> Envoy:
        address = f"10.8.0.{number + 1}"
        lag = 0.01 if number == 0 else 1.5  # the second one always is late
        return Envoy(f"router-{number}", ServiceLink(self.network, address), seed=self.seed, lag=lag)

    def _pod(self, number: int) -> Pod:
        address = f"10.9.0.{number + 1}"
        name = f"serin-{number}"
        plan = self.plans.get(name, self.plan)
        asked, told = self._answer, self._receive
        return Pod(name, address, self.control_plane, self.prometheus, self.network, plan, asked, told, live=self.live)

    async def _receive(self, webhook: Webhook, body: JsonObject | list[JsonObject]) -> None:
        """What listens at a webhook."""
        del webhook
        await asyncio.sleep(0.02)
        assert isinstance(body, dict)
        self.told.append(body)

    async def _answer(self, question: Question) -> bytes:
        """What a model's pod answers to a golden probe, or when it is asked for its metadata."""
        await asyncio.sleep(0.02)
        pods = (pod for pod in self.server.store.all(kinds.POD) if pod["status"].get("podIP") == question.address)
        pod = next(pods, None)
        if pod is None or not self.kubelets.is_reachable(question.address):
            await asyncio.sleep(question.seconds)
            raise NoAnswer(f"no answer within {question.seconds:g} s")
        version = self.version(pod["metadata"]["labels"].get(LABEL_SNAPSHOT, ""))
        if question.body is None:
            return self.metadata.get(version, METADATA)
        self.asked[version] += 1
        answer = self.answers.get(version, KNOWN)
        if not answer:
            raise NoAnswer("the answer is 503: the model is busy")
        return answer

    def _targets(self) -> list[Target]:
        return [envoy_target(one, f"10.8.0.{number + 1}:9902") for number, one in enumerate(self.proxies)]

    def remember_weeks(self, namespace: str, rate: float, failing: float, name: str = "fraud") -> None:
        """Give Prometheus what it scraped in these hours of the past four weeks: requests a second, so many failed."""
        began = self.prometheus.clock.time() - 3 * HOUR
        labels = {"serin_namespace": namespace, "serin_model_deployment": name, "serin_snapshot": f"{name}-of-then"}
        attempt = (*labels.items(), ("serin_attempt", "first"))
        for week in range(1, WEEKS + 1):
            times = [began - week * WEEK + minute * 60.0 for minute in range(8 * 60)]
            counts = [rate * 60.0 * minute for minute in range(len(times))]
            for series, values in (
                (("envoy_cluster_membership_total", tuple(labels.items())), [2.0] * len(times)),
                (("envoy_serin_attempts", attempt), counts),
                (("envoy_serin_failures", attempt), [failing * one for one in counts]),
            ):
                where = {"namespace": SYSTEM, "pod": f"router-of-week-{week}"}
                self.prometheus.remember(series, where, zip(times, values, strict=True))

    def version(self, snapshot: str) -> tuple[str, str]:
        """Namespace and model version of a snapshot, also of one that is gone."""
        if snapshot not in self._versions:
            for body in self.server.store.all(kinds.MODEL_SNAPSHOT):
                name = body["metadata"]["name"]
                self._versions[name] = (body["metadata"]["namespace"], body["spec"]["content"]["model"]["version"])
        return self._versions.get(snapshot, ("", ""))

    def _quality(self, snapshot: str) -> Quality:
        return self.qualities.get(self.version(snapshot), GOOD)

    async def start(self) -> None:
        """Start everything but people."""
        self._service("serin-router", {one.node: f"10.8.0.{number + 1}" for number, one in enumerate(self.envoys)})
        self._service("serin-xds", {one.name: one.address for one in self.pods})
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self.prometheus.run(), name="prometheus"))
        for pod in self.pods:
            pod.start()
        for envoy in self.envoys:
            envoy.start()

    async def stop(self) -> None:
        """Stop everything."""
        for pod in self.pods:
            await pod.stop()
        for envoy in self.envoys:
            await envoy.stop()
        for task in (*self._tasks, *self._sending.values()):
            task.cancel()

    def _service(self, name: str, pods: Mapping[str, str]) -> None:
        """`pods`: name to address."""
        labels = {"kubernetes.io/service-name": name, LABEL_MODEL_DEPLOYMENT: ""}
        body = {
            "apiVersion": kinds.ENDPOINT_SLICE.api_version,
            "kind": kinds.ENDPOINT_SLICE.name,
            "metadata": {"namespace": SYSTEM, "name": name, "labels": labels},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": [one], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": pod}}
                for pod, one in pods.items()
            ],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
        self.server.create(kinds.ENDPOINT_SLICE, SYSTEM, body, manager="endpoint-slice-controller")

    # ── What people do ────────────────────────────────────────────────────────────────────────────────────────────────

    def create(self, namespace: str, name: str = "fraud", **changes: Any) -> None:
        """Create a ModelDeployment, and send requests to it from now on."""
        body = {
            "apiVersion": API_VERSION,
            "kind": MODEL_DEPLOYMENT,
            "metadata": {"namespace": namespace, "name": name},
            "spec": spec(namespace, **changes),
        }
        self.server.create(kinds.MODEL_DEPLOYMENT, namespace, body, manager="kubectl", strict=True)
        clients = self.clients[namespace, name] = Clients(
            f"{namespace}/{name}", lambda: self.proxies, self.rate, seed=self.seed
        )
        sending = asyncio.get_running_loop().create_task(clients.run(), name=f"clients of {namespace}/{name}")
        self._sending[namespace, name] = sending

    def change(self, namespace: str, name: str = "fraud", **changes: Any) -> None:
        """Change the spec as `kubectl patch --type merge` does."""
        self._patch(namespace, name, {"spec": changes})

    def upgrade(self, namespace: str, version: str, name: str = "fraud") -> None:
        """Ask for another model version."""
        self.change(namespace, name, model={"version": version})

    def annotate(self, namespace: str, key: str, value: str = "yes", name: str = "fraud") -> None:
        """Set an annotation."""
        self._patch(namespace, name, {"metadata": {"annotations": {key: value}}})

    def _patch(self, namespace: str, name: str, patch: JsonObject) -> None:
        path = kinds.object_path(kinds.MODEL_DEPLOYMENT, namespace, name)
        status, answer = self.control_plane.request(
            "PATCH", path, {"fieldManager": "kubectl"}, patch, "application/merge-patch+json", who="kubectl"
        )
        assert status == 200, answer

    def delete(self, namespace: str, name: str = "fraud") -> None:
        """Delete a ModelDeployment; nobody sends it requests any more."""
        self._sending.pop((namespace, name)).cancel()
        path = kinds.object_path(kinds.MODEL_DEPLOYMENT, namespace, name)
        status, answer = self.control_plane.request("DELETE", path, {}, None, who="kubectl")
        assert status == 200, answer

    async def be_quiet(self, namespace: str, name: str = "fraud") -> None:
        """Nobody sends requests any more."""
        sending = self._sending[namespace, name]
        sending.cancel()
        await asyncio.wait([sending])

    def leader(self) -> Pod:
        """The replica that holds the Lease."""
        record = self.server.store.get(kinds.LEASE, (SYSTEM, "serin"))
        holder = str((record.body["spec"] if record else {}).get("holderIdentity", ""))
        return next(pod for pod in self.pods if holder.startswith(f"{pod.name}-"))

    def standby(self) -> Pod:
        """A replica that does not."""
        leader = self.leader()
        return next(pod for pod in self.pods if pod is not leader)

    def pods_with(self, namespace: str, version: str) -> list[JsonObject]:
        """The pods of a model version."""
        return [
            pod
            for pod in self.server.store.all(kinds.POD, namespace)
            if self.version(pod["metadata"]["labels"].get(LABEL_SNAPSHOT, "")) == (namespace, version)
        ]

    def show_ready(self, pod: JsonObject, *, ready: bool) -> None:
        """Let a pod's own readiness probe say so; it answers all the same."""
        metadata, said = pod["metadata"], "True" if ready else "False"
        conditions = [
            {**one, "status": said} if one["type"] in ("Ready", "ContainersReady") else one
            for one in pod["status"]["conditions"]
        ]
        containers = [{**one, "ready": ready} for one in pod["status"]["containerStatuses"]]
        patch = {"status": {"conditions": conditions, "containerStatuses": containers}}
        path = kinds.object_path(kinds.POD, metadata["namespace"], metadata["name"], "status")
        status, answer = self.control_plane.request(
            "PATCH", path, {}, patch, "application/merge-patch+json", who="kubelet"
        )
        assert status == 200, answer

    def lead_to(self, number: int, pod: Pod) -> None:
        """Let an Envoy ask this replica from now on, as the Service's session affinity would."""
        self.envoys[number].connect(ServiceLink(self.network, f"10.8.0.{number + 1}", pod.address))

    # ── What is seen ──────────────────────────────────────────────────────────────────────────────────────────────────

    def status(self, namespace: str, name: str = "fraud") -> JsonObject:
        """The status as it is stored."""
        record = self.server.store.get(kinds.MODEL_DEPLOYMENT, (namespace, name))
        found: JsonObject = (record.body.get("status") or {}) if record else {}
        return found

    def state(self, namespace: str, name: str = "fraud") -> State:
        """The same, read."""
        return read_state(self.status(namespace, name))

    def judged(self, namespace: str, name: str = "fraud") -> bool:
        """Whether there is evidence for or against a version."""
        found = self.state(namespace, name).judged
        return found is not None and any(arm.evidence for arm in found.arms)

    def serving(self, namespace: str, name: str = "fraud") -> dict[str, int]:
        """Weights by model version, as they are decided."""
        weights = self.state(namespace, name).split.weights
        return {self.version(snapshot)[1]: weight for snapshot, weight in weights.items() if weight}

    async def until(self, condition: Callable[[], object], seconds: float = 600.0) -> None:
        """Wait until a condition holds."""
        end = clock.now() + seconds
        while not condition():
            if self.gives_up():
                raise AssertionError("a rule is broken")
            if clock.now() >= end:
                told = {f"{place[0]}/{place[1]}": self.status(*place) for place in self.clients}
                raise AssertionError(f"not so after {seconds:g} s: {told}")
            await asyncio.sleep(0.5)

    def routed(self, namespace: str, name: str = "fraud") -> list[dict[str, int]]:
        """Weights by model version, as each Envoy has them."""
        return [
            {
                self.version(one)[1]: round(100 * share)
                for one, share in envoy.weights(f"{namespace}/{name}").items()
                if share
            }
            for envoy in self.envoys
        ]

    async def serves(self, namespace: str, version: str, seconds: float = 600.0) -> None:
        """Wait until a version has all the traffic, and is stable."""

        def holds() -> bool:
            state = self.state(namespace)
            return self.serving(namespace) == {version: 100} and self.version(state.stable or "")[1] == version

        await self.until(holds, seconds)

    def snapshot(self, namespace: str, version: str) -> JsonObject:
        """The ModelSnapshot of a model version."""
        found = self.server.store.all(kinds.MODEL_SNAPSHOT, namespace)
        return next(one for one in found if self.version(one["metadata"]["name"])[1] == version)

    def pods_of(self, namespace: str) -> Mapping[str, int]:
        """Deployments and their replicas, by model version."""
        return {
            self.version(body["metadata"]["name"])[1]: body["spec"]["replicas"]
            for body in self.server.store.all(kinds.DEPLOYMENT, namespace)
        }


Story = Callable[[Stage], Coroutine[Any, Any, None]]


def play(stage_of: Callable[[], Stage], story: Story, *, seed: int = 1) -> Stage:
    """Play a story on a stage that is made for it; the stage as the story leaves it."""

    async def main() -> Stage:
        asyncio.get_running_loop().set_exception_handler(_unless_died)
        stage = stage_of()
        with in_memory(stage.network):
            await stage.start()
            try:
                await story(stage)
            finally:
                await stage.stop()
        return stage

    with clock.everywhere():
        return clock.run(main, seed=seed)


def _unless_died(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    """What dies with its process has nobody who would ask for its error."""
    error = told.get("exception")
    if error is None or any(not isinstance(one, ProcessDied) for one in leaves(error)):
        loop.default_exception_handler(told)
