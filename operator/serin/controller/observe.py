"""The first stage: everything there is to know about one model deployment at one moment, read from the cache alone.

Pure but for the clock that it is handed: no request is made here, so a look at an idle deployment costs the API server
nothing. It judges nothing and reserves nothing; all that it remembers is what the API server has refused.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import replace

from serin.api import names
from serin.api.capabilities import check
from serin.api.conditions import Reason
from serin.api.effective import versions
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.notifications import Deliveries, Receiver
from serin.api.retraining import RetrainingSeen, Run
from serin.api.snapshots import Snapshot, read_snapshot
from serin.api.spec import ModelDeployment, TemplateRef
from serin.api.state import ClientRequests, State
from serin.api.status import read_status
from serin.api.validation import ValidationSeen
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.owned import covers
from serin.cluster.protocol import Kind
from serin.controller.contests import Contests
from serin.controller.evidence_loop import EvidenceLoop, template_of
from serin.controller.pod_checks import PodChecks
from serin.controller.refusals import Refusal, Refusals
from serin.controller.specs import Specs
from serin.controller.traffic_estimator import TrafficEstimator
from serin.metrics.catalog import Catalog
from serin.metrics.sources import SourceError, is_built_in, resolve
from serin.rollout.model import Digests, Observation, Preview, Workload
from serin.rollout.snapshots import is_rejected
from serin.rollout.strategies.table import needs_of
from serin.routers import router_of
from serin.routers.base import Router
from serin.routers.endpoints import ready_addresses
from serin.workload import pods as workloads
from serin.workload import render, validation_job
from serin.workload.digests import digests

# What is known of a deployment's newest retraining beside its status.
SeesRetraining = Callable[[ModelDeployment, Run | None], RetrainingSeen]


class Observer:
    """Reads observations out of the cache."""

    def __init__(
        self,
        cache: ObjectCache,
        routers: Mapping[str, Router],
        evidence_loop: EvidenceLoop,
        traffic_estimator: TrafficEstimator,
        pod_checks: PodChecks,
        *,
        catalog: Catalog,
        retraining: SeesRetraining = lambda _deployment, _run: RetrainingSeen(),
        deliveries: Callable[[ModelDeployment], Deliveries] = lambda _: Deliveries(),
        told: Callable[[str], tuple[Receiver, ...]] = lambda _: (),
        clients: Callable[[Key], tuple[float, ClientRequests] | None] = lambda _: None,
    ) -> None:
        self._cache, self._routers, self._catalog = cache, routers, catalog
        self._evidence_loop, self._traffic_estimator = evidence_loop, traffic_estimator
        self.unwritten = evidence_loop.unwritten
        self._sees_retraining, self._deliveries, self._clients = retraining, deliveries, clients
        self._pod_checks = pod_checks
        self.refusals, self.contests, self._specs = Refusals(), Contests(), Specs(told)

    def forget(self, deployment: Key) -> None:
        """The deployment is gone."""
        self.refusals.forget(deployment)
        self.contests.forget(deployment)
        self._specs.forget(deployment)

    def observe(self, body: JsonObject, now: float) -> Observation:
        """Observe the ModelDeployment `body` at `now` (unix seconds). Raises InvalidSpec."""
        deployment = replace(self._specs.read(body), status=self.unwritten.status_of(body))
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
            workloads=_with_refusals(self._workloads(deployment, snapshots), refusals, _beside(deployment, state)),
            services={name: body["metadata"]["uid"] for name, body in services.items()},
            altered_services=_altered_services(services, snapshots, _owner(deployment)),
            route=route,
            samples=replace(self._evidence_loop.samples(deployment, state), traffic=traffic),
            preview=self._preview(deployment),
            invalid=self._invalid(deployment) or ((Reason.INVALID_SPEC, route.lacks) if route.lacks else None),
            contested=self.contests.of(deployment.key, now),
            written=self.unwritten.written(body),
            retraining=self._retraining(deployment, state),
            deliveries=self._deliveries(deployment),
            golden=self._pod_checks.golden(deployment, state),
            signatures=self._pod_checks.signatures(deployment, state, snapshots),
            digests=self._digests(deployment, snapshots, state),
            validation=self._validation(deployment, state, refusals),
            clients=self._clients(deployment.key),
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
        validating = state.manual_rollback.validation if state.manual_rollback else None
        asked = versions(deployment.name, deployment.spec, state)
        tried = {one for one in asked if not is_rejected(snapshots, state, one)}
        arms = set(state.rollout.active) if state.rollout else set()
        before = state.watch.before if state.watch else None
        job = validating.name if validating else None
        named = {one for one in (state.stable, going_back, job, before, deployment.name) if one}
        return self.refusals.keep(deployment.key, named | tried | arms)

    def _digests(
        self, deployment: ModelDeployment, snapshots: Mapping[str, Snapshot], state: State
    ) -> dict[str, Digests]:
        """What the pods of each version on trial run; nothing when nobody has asked for it."""
        if not deployment.spec.integrity.digest or state.judged is None:
            return {}
        pods = self._cache.of_deployment(kinds.POD, deployment.namespace, deployment.name)
        return {one: digests(pods, snapshots[one]) for one in state.judged.active if one in snapshots}

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

    def _retraining(self, deployment: ModelDeployment, state: State) -> RetrainingSeen:
        return self._sees_retraining(deployment, state.retraining.run if state.retraining else None)

    def _validation(
        self, deployment: ModelDeployment, state: State, refusals: Mapping[str, Refusal]
    ) -> ValidationSeen | None:
        """The Job of the validation that is under way; None while there is none."""
        asked = state.manual_rollback
        if asked is None or asked.validation is None:
            return None
        name = asked.validation.name
        job = self._cache.get(kinds.JOB, deployment.namespace, name)
        if job is not None and names.controller_uid(job) == deployment.uid:
            pods = self._cache.of_deployment(kinds.POD, deployment.namespace, deployment.name)
            return validation_job.seen(job, pods)
        if job is not None:
            return ValidationSeen(problem="it exists, and Serin did not make it: delete or rename it")
        denied = refusals.get(name)
        return ValidationSeen(problem=denied.message) if denied else None

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


def _beside(deployment: ModelDeployment, state: State) -> frozenset[str]:
    """Names under which refusals are kept that are not a workload's: the clients' objects, a validation's Job."""
    validation = state.manual_rollback.validation if state.manual_rollback else None
    return frozenset({deployment.name, validation.name if validation else deployment.name})


def _with_refusals(
    running: Mapping[str, Workload], refusals: Mapping[str, Refusal], beside: Container[str]
) -> dict[str, Workload]:
    """The workloads with what the API server says of them. `beside`: names that stand for other objects."""
    found = dict(running)
    for name, one in refusals.items():
        if name in beside:
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
