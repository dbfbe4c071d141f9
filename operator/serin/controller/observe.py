"""Everything there is to know about one model deployment at one moment, read from the cache alone.

Pure but for the clock that it is handed: no request is made here, so a look at an idle deployment costs the API server
nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from serin.api import names
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.parse import parse_model_deployment
from serin.api.spec import ModelDeployment
from serin.api.status import State, read
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Kind
from serin.controller.evidence_loop import EvidenceLoop, template_of
from serin.controller.traffic_estimator import TrafficEstimator
from serin.evaluation.evaluate import weigh
from serin.evaluation.feasibility import feasible
from serin.metrics.catalog import Catalog
from serin.metrics.sources import SourceError, resolve
from serin.rollout.model import Observation, Route, Snapshot, Workload
from serin.rollout.snapshots import read as read_snapshot
from serin.routers.envoy.ports import Ports
from serin.routers.envoy.routed_model import addresses
from serin.workload import pods as workloads


class Router(Protocol):
    """What the controller asks of a router."""

    def observe(self, deployment: ModelDeployment) -> Route:
        """What the router serves for this deployment, as far as the cache tells."""

    def objects(self, deployment: ModelDeployment, port: int) -> tuple[JsonObject, ...]:
        """The objects that lead clients to the router at this port, to be applied."""


class Observer:
    """Reads observations out of the cache."""

    def __init__(
        self,
        cache: ObjectCache,
        router: Router,
        ticker: EvidenceLoop,
        survey: TrafficEstimator,
        ports: Ports,
        *,
        catalog: Catalog,
    ) -> None:
        self._cache, self._router, self._ports = cache, router, ports
        self._ticker, self._survey = ticker, survey
        self._catalog = catalog
        # Pod templates that the API server did not accept, by (namespace, snapshot): its words, and when. Remembered so
        # that the same content is not sent again at every look; a restart finds out again by sending it once more.
        self.refusals: dict[tuple[str, str], tuple[str, float]] = {}

    def observe(self, body: JsonObject, now: float) -> Observation:
        """Observe the ModelDeployment `body` at `now` (unix seconds). Raises InvalidSpec."""
        deployment = parse_model_deployment(body)
        state = read(deployment.status)
        return Observation(
            now=now,
            deployment=deployment,
            snapshots=self._snapshots(deployment),
            workloads=self._workloads(deployment),
            route=self._router.observe(deployment),
            evidence=weigh(deployment, state, self._ticker),
            free_port=self._ports.free_for(deployment.namespace, deployment.name),
            invalid=self._invalid(deployment),
            feasible=self._feasible(deployment, state),
        )

    def _snapshots(self, deployment: ModelDeployment) -> Mapping[str, Snapshot]:
        owned = self._owned(kinds.MODEL_SNAPSHOT, deployment)
        return {body["metadata"]["name"]: read_snapshot(body) for body in owned}

    def _workloads(self, deployment: ModelDeployment) -> Mapping[str, Workload]:
        pods = self._cache.of_deployment(kinds.POD, deployment.namespace, deployment.name)
        place = deployment.namespace, deployment.name
        listed = addresses(self._cache.of_deployment(kinds.ENDPOINT_SLICE, *place), place)
        found = {}
        for body in self._owned(kinds.DEPLOYMENT, deployment):
            workload = workloads.workload(body, pods, listed.get(body["metadata"]["name"], frozenset()))
            if self._cache.get(kinds.SERVICE, deployment.namespace, workload.snapshot) is None:
                # Half a workload is none in its role: the planner runs it again, which makes the missing Service.
                workload = replace(workload, role="")
            found[workload.snapshot] = workload
        for (namespace, snapshot), (message, since) in self.refusals.items():
            if namespace == deployment.namespace and snapshot[: -names.HASH_LENGTH - 1] == deployment.name:
                found.setdefault(snapshot, workloads.refused(snapshot, message, since))
        return found

    def _owned(self, kind: Kind, deployment: ModelDeployment) -> list[JsonObject]:
        """Objects of this very deployment: a label alone, or an earlier deployment of the same name, is not enough."""
        found = self._cache.of_deployment(kind, deployment.namespace, deployment.name)
        return [
            body for body in found if _owner(body) == deployment.uid and "deletionTimestamp" not in body["metadata"]
        ]

    def _feasible(self, deployment: ModelDeployment, state: State) -> tuple[Reason, str] | None:
        """Whether the traffic that was measured when the rollout began suffices for the policy."""
        traffic = self._survey.traffic((deployment.namespace, deployment.name), state.candidate)
        if not traffic:
            return None
        return feasible(deployment.spec, self._ticker.policies(deployment), traffic)

    def _invalid(self, deployment: ModelDeployment) -> tuple[Reason, str] | None:
        for metric in deployment.spec.metrics:
            template = template_of(self._cache, deployment.namespace, metric)
            try:
                resolve(metric, template, self._catalog)
            except SourceError as error:
                return Reason.METRIC_TEMPLATE_NOT_FOUND if template is None else Reason.INVALID_SPEC, str(error)
        return None


def _owner(body: JsonObject) -> str:
    references = body["metadata"].get("ownerReferences") or ()
    return next((str(one["uid"]) for one in references if one.get("controller")), "")
