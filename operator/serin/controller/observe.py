"""The first stage: everything there is to know about one model deployment at one moment, read from the cache alone.

Pure but for the clock that it is handed: no request is made here, so a look at an idle deployment costs the API server
nothing. It judges nothing and reserves nothing; all that it remembers is what the API server has refused.
"""

from collections.abc import Mapping
from dataclasses import replace

from serin.api import names
from serin.api.capabilities import check
from serin.api.conditions import Reason
from serin.api.effective import versions
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.snapshots import Snapshot, read_snapshot
from serin.api.spec import ModelDeployment, TemplateRef
from serin.api.state import State
from serin.api.status import read_status
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.owned import covers
from serin.cluster.protocol import Kind
from serin.controller.contests import Contests
from serin.controller.evidence_loop import EvidenceLoop, template_of
from serin.controller.refusals import Refusal, Refusals
from serin.controller.specs import Specs
from serin.controller.traffic_estimator import TrafficEstimator
from serin.metrics.catalog import Catalog
from serin.metrics.sources import SourceError, is_built_in, resolve
from serin.rollout.model import Observation, Preview, Workload
from serin.rollout.snapshots import is_rejected
from serin.rollout.strategies.table import needs_of
from serin.routers import router_of
from serin.routers.base import Router
from serin.routers.endpoints import ready_addresses
from serin.workload import pods as workloads
from serin.workload import render


class Observer:
    """Reads observations out of the cache."""

    def __init__(
        self,
        cache: ObjectCache,
        routers: Mapping[str, Router],
        evidence_loop: EvidenceLoop,
        traffic_estimator: TrafficEstimator,
        *,
        catalog: Catalog,
    ) -> None:
        self._cache, self._routers, self._catalog = cache, routers, catalog
        self._evidence_loop, self._traffic_estimator = evidence_loop, traffic_estimator
        self.refusals, self.contests, self._specs = Refusals(), Contests(), Specs()

    def forget(self, deployment: Key) -> None:
        """The deployment is gone."""
        self.refusals.forget(deployment)
        self.contests.forget(deployment)
        self._specs.forget(deployment)

    def observe(self, body: JsonObject, now: float) -> Observation:
        """Observe the ModelDeployment `body` at `now` (unix seconds). Raises InvalidSpec."""
        deployment = self._specs.read(body)
        # A strategy that cannot be read, or carried out by this router, is refused before anything is planned with it.
        router, needs = router_of(self._routers, deployment), needs_of(deployment.spec)
        check(deployment.spec.router.name, router.capabilities, needs)
        status = read_status(deployment.status)
        state = status.state
        snapshots, services = self._snapshots(deployment), self._services(deployment)
        traffic = self._traffic_estimator.traffic(deployment.key, state.candidate)
        refusals = self._refusals_in_play(deployment, snapshots, state)
        route = router.observe(deployment, state)
        if denied := refusals.get(deployment.name):
            route = replace(route, denied=denied.message)
        return Observation(
            now=now,
            deployment=deployment,
            status=status,
            snapshots=snapshots,
            workloads=_with_refusals(self._workloads(deployment, snapshots), refusals, deployment.name),
            services={name: body["metadata"]["uid"] for name, body in services.items()},
            altered_services=_altered_services(services, snapshots, _owner(deployment)),
            route=route,
            samples=replace(self._evidence_loop.samples(deployment), traffic=traffic),
            preview=self._preview(deployment),
            invalid=self._invalid(deployment),
            contested=self.contests.of(deployment.key, now),
        )

    def _snapshots(self, deployment: ModelDeployment) -> Mapping[str, Snapshot]:
        owned = self._owned(kinds.MODEL_SNAPSHOT, deployment)
        return {body["metadata"]["name"]: read_snapshot(body) for body in owned}

    def _workloads(self, deployment: ModelDeployment, snapshots: Mapping[str, Snapshot]) -> dict[str, Workload]:
        pods = self._cache.of_deployment(kinds.POD, deployment.namespace, deployment.name)
        slices = self._cache.of_deployment(kinds.ENDPOINT_SLICE, deployment.namespace, deployment.name)
        listed = ready_addresses(slices)
        found, owner = {}, _owner(deployment)
        for body in self._owned(kinds.DEPLOYMENT, deployment):
            name = body["metadata"]["name"]
            one = workloads.workload(body, pods, listed.get(name, frozenset()))
            found[name] = replace(one, altered=name in snapshots and _is_altered(body, owner))
        return found

    def _refusals_in_play(
        self, deployment: ModelDeployment, snapshots: Mapping[str, Snapshot], state: State
    ) -> Mapping[str, Refusal]:
        """Of what is being tried now; a rejected version that a person lets try again is sent again at once."""
        going_back = state.manual_rollback.target if state.manual_rollback else None
        asked = versions(deployment.name, deployment.spec, state.concluded)
        tried = {one for one in asked if not is_rejected(snapshots, state, one)}
        arms = set(state.rollout.active) if state.rollout else set()
        before = state.watch.before if state.watch else None
        named = {one for one in (state.stable, going_back, before, deployment.name) if one}
        return self.refusals.keep(deployment.key, named | tried | arms)

    def _services(self, deployment: ModelDeployment) -> Mapping[str, JsonObject]:
        """Each snapshot's Service, by snapshot; the clients' own Service is none of them."""
        found = {body["metadata"]["name"]: body for body in self._owned(kinds.SERVICE, deployment)}
        return {
            name: body for name, body in found.items() if body["metadata"]["labels"].get(names.LABEL_SNAPSHOT) == name
        }

    def _preview(self, deployment: ModelDeployment) -> Preview | None:
        body = self._cache.get(kinds.SERVICE, deployment.namespace, names.preview_service(deployment.name))
        if body is None or "deletionTimestamp" in body["metadata"]:
            return None
        selected = (body["spec"].get("selector") or {}).get(names.LABEL_SNAPSHOT, "")
        return Preview(body["metadata"]["uid"], selected, names.controller_uid(body) != deployment.uid)

    def _owned(self, kind: Kind, deployment: ModelDeployment) -> list[JsonObject]:
        """Objects of this very deployment: a label alone, or an earlier deployment of the same name, is not enough."""
        found = self._cache.of_deployment(kind, deployment.namespace, deployment.name)
        return [
            body
            for body in found
            if names.controller_uid(body) == deployment.uid and "deletionTimestamp" not in body["metadata"]
        ]

    def _invalid(self, deployment: ModelDeployment) -> tuple[Reason, str] | None:
        for metric in deployment.spec.metrics:
            template = template_of(self._cache, deployment.namespace, metric)
            try:
                resolve(metric, template, self._catalog, deployment.namespace)
            except SourceError as error:
                unknown = template is None and isinstance(metric.source, TemplateRef)
                missing = unknown and not is_built_in(metric, template, self._catalog)
                return Reason.METRIC_TEMPLATE_NOT_FOUND if missing else Reason.INVALID_SPEC, str(error)
        return None


def _owner(deployment: ModelDeployment) -> render.Owner:
    return render.Owner(deployment.namespace, deployment.name, deployment.uid)


def _with_refusals(
    running: Mapping[str, Workload], refusals: Mapping[str, Refusal], clients: str
) -> dict[str, Workload]:
    """The workloads with what the API server says of them. `clients`: the name that stands for the clients' objects."""
    found = dict(running)
    for name, one in refusals.items():
        if name == clients:
            continue
        if one.final and name not in running:
            found[name] = workloads.refused(name, one.message, one.since, one.again_at)
        else:
            found[name] = workloads.denied(name, one.message, one.since, one.again_at, running.get(name))
    return found


def _altered_services(
    services: Mapping[str, JsonObject], snapshots: Mapping[str, Snapshot], owner: render.Owner
) -> frozenset[str]:
    """Snapshots whose Service has something else where Serin has set a field."""
    known = services.keys() & snapshots.keys()
    return frozenset(
        name for name in known if not covers(services[name], render.service(owner, name, snapshots[name].content))
    )


def _is_altered(found: JsonObject, owner: render.Owner) -> bool:
    """Whether a Deployment has something else where Serin has set a field, its size, role and pod template aside."""
    metadata = found["metadata"]
    role = str((metadata.get("labels") or {}).get(names.LABEL_ROLE, ""))
    return not covers(found, render.without_pods(owner, metadata["name"], role))
