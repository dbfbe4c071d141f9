"""What a router needs to know of one ModelDeployment: pure data, and how to read it from cached Kubernetes objects.

Weights come from `status.traffic.weights` (the decision and the route are one write), addresses from the EndpointSlices
of the snapshots' Services. The reading never fails because of a user's mistake elsewhere in the spec: traffic goes on
as it was decided, whatever the rest of the resource looks like.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from serin.api import names
from serin.api.json import JsonObject
from serin.api.spec import EnvoyRouter, Protocol, Shield
from serin.api.split import NOWHERE, Split
from serin.api.status import read_state
from serin.api.units import parse_duration

Key = tuple[str, str]  # namespace and name of a ModelDeployment

SERVICE_LABEL: Final = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Address (IPv4 or IPv6) and port of one pod."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Arm:
    """One snapshot: its weight in whole percent and its ready pods, sorted."""

    snapshot: str
    weight: int
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class RoutedModel:
    """One ModelDeployment as its clients see it: a port of the router, and the snapshots behind it.

    `stable`: the snapshot that answers when another one fails (None: none yet). `arms`: every snapshot that the router
    must know, also those that get no traffic yet, so that their clusters are there before a route names them.
    """

    namespace: str
    name: str
    port: int
    router: EnvoyRouter
    stable: str | None
    arms: tuple[Arm, ...]

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name

    def arm(self, snapshot: str | None) -> Arm | None:
        """The arm of one snapshot, None when there is none."""
        return next((arm for arm in self.arms if arm.snapshot == snapshot), None)

    def split(self) -> Split:
        """What can be served now: the weight of an arm without a ready pod goes to stable.

        Stable keeps its own weight without pods: an unproven version never gets more than was decided.
        """
        weights = {arm.snapshot: arm.weight for arm in self.arms if arm.weight}
        if self.stable is None or not weights:
            return Split(weights) if weights else NOWHERE
        moved = sum(arm.weight for arm in self.arms if arm.snapshot != self.stable and not arm.endpoints)
        gone = {arm.snapshot for arm in self.arms if arm.snapshot != self.stable and not arm.endpoints}
        served = {snapshot: weight for snapshot, weight in weights.items() if snapshot not in gone}
        if moved:
            served[self.stable] = served.get(self.stable, 0) + moved
        return Split(served)


@dataclass(slots=True)
class _Pods:
    """Addresses of one Service: those that are ready, and those that only finish what they have begun."""

    ready: set[Endpoint] = field(default_factory=set)
    leaving: set[Endpoint] = field(default_factory=set)

    def serving(self) -> tuple[Endpoint, ...]:
        """Ready pods; when there is none, pods that terminate but still serve, as kube-proxy does it."""
        return tuple(sorted(self.ready or self.leaving))


def read_models(deployments: Iterable[JsonObject], slices: Iterable[JsonObject]) -> tuple[RoutedModel, ...]:
    """Read every routable ModelDeployment, sorted by namespace and name.

    `slices`: EndpointSlices of the snapshots' Services (others are ignored). A deployment without a listener port in
    its status is left out: nobody can reach it yet.
    """
    pods = _pods_by_service(slices)
    models = (_read_model(body, pods.get(_key(body), {})) for body in deployments)
    return tuple(sorted((model for model in models if model is not None), key=lambda model: model.key))


def addresses(slices: Iterable[JsonObject], deployment: Key) -> Mapping[str, frozenset[str]]:
    """Addresses of the ready pods of one deployment that the router knows, by snapshot. `slices`: as in read_models."""
    pods = _pods_by_service(slices).get(deployment, {})
    return {snapshot: frozenset(endpoint.address for endpoint in mine.ready) for snapshot, mine in pods.items()}


def _key(body: JsonObject) -> Key:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _read_model(body: JsonObject, pods: Mapping[str, _Pods]) -> RoutedModel | None:
    state = read_state(body.get("status") or {})
    port = (state.router.get("envoy") or {}).get("port")
    if port is None:
        return None
    arms_of_rollout = (arm.snapshot for arm in state.rollout.arms) if state.rollout else ()
    snapshots = {*state.split.weights, *pods, *([state.stable] if state.stable else []), *arms_of_rollout}
    arms = tuple(
        Arm(snapshot, state.split.of(snapshot), pods[snapshot].serving() if snapshot in pods else ())
        for snapshot in sorted(snapshots)
    )
    namespace, name = _key(body)
    return RoutedModel(namespace, name, port, _read_router(body["spec"]), state.stable, arms)


def _read_router(spec: JsonObject) -> EnvoyRouter:
    """Read `spec.router.envoy`, which the schema has checked and defaulted."""
    envoy = (spec.get("router") or {}).get("envoy") or {}
    default = EnvoyRouter()
    return EnvoyRouter(
        shield=Shield(envoy.get("shield", default.shield)),
        hedge_after=parse_duration(envoy["hedgeAfter"]) if "hedgeAfter" in envoy else None,
        timeout=parse_duration(envoy["timeout"]) if "timeout" in envoy else default.timeout,
        protocol=Protocol(envoy.get("protocol", default.protocol)),
    )


def _pods_by_service(slices: Iterable[JsonObject]) -> dict[Key, dict[str, _Pods]]:
    """Addresses per deployment and snapshot. Kubernetes copies a Service's labels to its slices."""
    found: dict[Key, dict[str, _Pods]] = {}
    for body in slices:
        labels = body["metadata"].get("labels") or {}
        deployment, service = labels.get(names.LABEL_MODEL_DEPLOYMENT), labels.get(SERVICE_LABEL)
        snapshot = labels.get(names.LABEL_SNAPSHOT)
        if deployment is None or service is None or snapshot != service:
            continue  # the clients' Service, or none of Serin's
        pods = found.setdefault((body["metadata"]["namespace"], deployment), {}).setdefault(service, _Pods())
        port = _port(body.get("ports") or ())
        if port is not None:
            _sort_endpoints(body, port, pods)
    return found


def _port(ports: Sequence[JsonObject]) -> int | None:
    named = [port["port"] for port in ports if port.get("name") == names.PORT_NAME]
    return named[0] if named else None


def _sort_endpoints(body: JsonObject, port: int, pods: _Pods) -> None:
    """A pod that terminates is never ready, but may still serve. No condition means yes, as in Kubernetes' API."""
    for item in body.get("endpoints") or ():
        conditions = item.get("conditions") or {}
        if conditions.get("ready") in (None, True):
            pods.ready.update(Endpoint(address, port) for address in item["addresses"][:1])
        elif conditions.get("serving") and conditions.get("terminating"):
            pods.leaving.update(Endpoint(address, port) for address in item["addresses"][:1])
