"""The fourth stage: carries out a plan, action by action, in its order; stops at the first that does not succeed.

An action is one request. Every prefix of a plan leaves a safe cluster, so stopping is always right, and the next look
plans anew. Every answer goes into the cache, so that the next look sees this one's writes. This module decides nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from serin.api import names
from serin.api.json import JsonObject
from serin.api.records import without_records
from serin.api.snapshots import read_snapshot
from serin.api.status import smallest
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Cluster, ClusterError, Conflict, Gone, Kind, Refused
from serin.controller.lowering import Lowering
from serin.controller.observe import Observer
from serin.controller.telemetry import Outcome
from serin.rollout.model import (
    Action,
    ApplyDeployment,
    ApplyPreview,
    ApplyRouteObject,
    ApplyService,
    CreateJob,
    CreateSnapshot,
    DeleteDeployment,
    DeletePreview,
    DeleteService,
    DeleteSnapshot,
    Observation,
    Order,
    Plan,
    ProveReady,
    RecordSnapshot,
    RestoreTemplate,
    WriteStatus,
)
from serin.workload import render, template_hash, validation_job
from serin.workload.pods import workload

log: Final = structlog.get_logger("serin.apply")

_FORBIDDEN: Final = 403
# A write that lowers traffic and has no answer by then is served from memory while it goes on.
_SLOW_SECONDS: Final = 1.0
# How long a look waits for the Job of a validation to be made, and until it is tried again.
_JOB_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Applied:
    """How far a plan got.

    `recorded`: its status was written, or it had none to write. `why`: it stopped, in words. `again`: seconds until
    what was left out may be written (None: nothing was). `denied`: what the API server did not allow, in words.
    """

    outcome: Outcome
    done: tuple[Action, ...]
    recorded: bool
    why: str = ""
    again: float | None = None
    denied: str = ""


class _Stop(Exception):
    """The plan ends here without an error; the message says why."""

    def __init__(self, why: str, outcome: Outcome = Outcome.STOPPED) -> None:
        super().__init__(why)
        self.outcome = outcome


class _Denied(_Stop):
    """The API server does not let Serin write this; the message has its words."""

    def __init__(self, why: str, *, final: bool) -> None:
        super().__init__(why, Outcome.CONFLICT)
        self.final = final


class _Later(Exception):
    """This action is left out for so many seconds: something else changes its object back each time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Applier:
    """Writes what plans say. `leading` is asked before every single write.

    `lowering`: keeps what is lowered and could not be written.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: ObjectCache,
        observer: Observer,
        leading: Callable[[], bool],
        lowering: Lowering | None = None,
    ) -> None:
        self._cluster, self._cache, self._observer, self._leading = cluster, cache, observer, leading
        self.lowering = Lowering() if lowering is None else lowering

    async def apply(self, seen: Observation, plan: Plan) -> Applied:
        """Carry out the plan made of `seen`. Raises Retryable, and Refused when it is not about a pod template."""
        done: list[Action] = []
        later: list[float] = []
        why, outcome, denied = "", Outcome.DONE, ""
        for action in plan.actions:
            try:
                if isinstance(action, WriteStatus) and action.order is Order.LOWER:
                    await self._lower(seen, plan, action)
                else:
                    await self._carry_out(seen, action)
            except _Stop as stop:
                why, outcome = str(stop), stop.outcome
                denied = why if isinstance(stop, _Denied) and not stop.final else ""
                break
            except _Later as wait:
                later.append(wait.seconds)
                continue
            except Conflict as conflict:
                await self._read_again(seen)
                why, outcome = conflict.message, Outcome.CONFLICT
                break
            done.append(action)
        recorded = all(action in done for action in plan.actions if isinstance(action, WriteStatus))
        return Applied(outcome, tuple(done), recorded, why, min(later, default=None), denied)

    async def _carry_out(self, seen: Observation, action: Action) -> None:
        match action:
            case WriteStatus():
                await self._write_own_status(_version(seen), action.status, seen.now)
            case ProveReady():
                await self._prove(seen, action)
            case CreateSnapshot():
                await self._write_own(seen, self._cluster.apply, _snapshot(seen, action), action.name)
            case RecordSnapshot():
                await self._record(seen, action)
            case ApplyService():
                body = render.service(_owner(seen), action.snapshot, self._content(seen, action.snapshot))
                await self._write_own(seen, self._cluster.apply, body, action.snapshot)
            case ApplyPreview():
                body = render.preview_service(_owner(seen), action.snapshot, self._content(seen, action.snapshot))
                await self._write_own(seen, self._cluster.apply, body, action.snapshot)
            case DeletePreview():
                await self._delete(kinds.SERVICE, seen, names.preview_service(seen.deployment.name), action.uid, None)
            case ApplyDeployment() | RestoreTemplate():
                await self._apply_deployment(seen, action)
            case CreateJob():
                await self._create_job(seen, action)
            case ApplyRouteObject():
                await self._apply_route_object(seen, action.body)
            case DeleteDeployment():
                await self._delete(kinds.DEPLOYMENT, seen, action.snapshot, action.uid, action.resource_version)
            case DeleteService():
                await self._delete(kinds.SERVICE, seen, action.snapshot, action.uid, None)
            case DeleteSnapshot():
                await self._delete(kinds.MODEL_SNAPSHOT, seen, action.name, action.uid, action.resource_version)

    # Status

    async def _prove(self, seen: Observation, action: ProveReady) -> None:
        """A live read, not the cache. Raises _Stop when too few pods are ready now."""
        selector = f"{names.LABEL_SNAPSHOT}={action.snapshot}"
        namespace = seen.deployment.namespace
        pods = await self._cluster.list(kinds.POD, namespace, selector)
        deployment = self._cache.get(kinds.DEPLOYMENT, namespace, action.snapshot)
        ready = workload(deployment, pods).ready if deployment else 0
        if ready < action.pods:
            so_far = f"{ready} pods of {action.snapshot} are ready at this moment"
            raise _Stop(f"{so_far}, {action.pods} are needed for its traffic")

    async def refuse(self, body: JsonObject, status: JsonObject, now: float) -> Outcome:
        """Write the status of a ModelDeployment whose spec cannot work. Raises Retryable and Refused."""
        lowers = (body.get("status") or {}).get("traffic") != status.get("traffic")
        try:
            if lowers:
                await self._write_status(body["metadata"], status)
            else:
                await self._write_own_status(body["metadata"], status, now)
        except _Stop as stop:
            return stop.outcome
        except Conflict:
            return Outcome.CONFLICT
        return Outcome.DONE

    async def _lower(self, seen: Observation, plan: Plan, action: WriteStatus) -> None:
        """Write a status that lowers traffic. Failing or slow, it is served from memory: lowering waits for nothing."""
        key = seen.deployment.key
        slow = asyncio.get_running_loop().call_later(_SLOW_SECONDS, self._serve_from_memory, seen, plan)
        try:
            await self._write_or_cut(seen, action)
        except Conflict:
            self.lowering.end(key)
            raise
        except _Stop as stop:
            if stop.outcome is Outcome.GONE:
                self.lowering.end(key)
            raise
        except ClusterError:
            self._serve_from_memory(seen, plan)
            raise
        else:
            self.lowering.end(key)
        finally:
            slow.cancel()

    def _serve_from_memory(self, seen: Observation, plan: Plan) -> None:
        if self._leading():
            self.lowering.begin(seen, plan)

    async def _write_or_cut(self, seen: Observation, action: WriteStatus) -> None:
        """Write a status that lowers traffic. Nothing in it may keep that from being written: refused, it is cut."""
        try:
            await self._write_status(_version(seen), action.status)
        except Refused as refused:
            log.error("status.refused", error=refused.message)
            await self._write_status(_version(seen), smallest(action.status))

    async def _write_own_status(self, planned_on: Mapping[str, str], status: JsonObject, now: float) -> None:
        """Write a status that lowers no traffic. Raises _Stop when something else changes it back each time."""
        key, contests = (planned_on["namespace"], planned_on["name"]), self._observer.contests
        named, wish = (kinds.MODEL_DEPLOYMENT.name, key[1]), names.content_hash(status)
        if contests.left(key, named, wish, now):
            raise _Stop("something else changes the status again and again")
        await self._write_status(planned_on, status)
        contests.add(key, named, wish, now)

    async def _write_status(self, planned_on: Mapping[str, str], status: JsonObject) -> None:
        """On the version that was planned on: a deployment that changed since is planned again first."""
        body = _named(kinds.MODEL_DEPLOYMENT, planned_on["namespace"], planned_on["name"])
        body["metadata"]["resourceVersion"] = planned_on["resourceVersion"]
        try:
            await self._write(self._cluster.patch_status, {**body, "status": status})
        except Gone as gone:
            raise _Stop("the model deployment is gone", Outcome.GONE) from gone

    async def _record(self, seen: Observation, action: RecordSnapshot) -> None:
        """Write a snapshot's status. What was measured holds nothing up: refused, the verdict is written without it."""
        body = _named(kinds.MODEL_SNAPSHOT, seen.deployment.namespace, action.name)
        try:
            try:
                await self._write(self._cluster.patch_status, {**body, "status": action.status})
            except Refused as refused:
                log.error("snapshot.refused", snapshot=action.name, error=refused.message)
                await self._write(self._cluster.patch_status, {**body, "status": without_records(action.status)})
        except Gone:
            log.warning("snapshot.not-recorded", snapshot=action.name, why="it is gone")

    # Workloads and route

    async def _apply_deployment(self, seen: Observation, action: ApplyDeployment | RestoreTemplate) -> None:
        """Write a Deployment, or put its template back. Raises _Denied when the API server refuses that."""
        owner, content = _owner(seen), self._content(seen, action.snapshot)
        body = render.deployment(owner, action.snapshot, content, replicas=action.replicas, role=action.role)
        wish = names.content_hash(body)
        stored = self._cache.get(kinds.DEPLOYMENT, owner.namespace, action.snapshot)
        restores = isinstance(action, RestoreTemplate)
        if isinstance(action, RestoreTemplate) or action.stamp:
            if stored is None:
                raise _Stop(f"Deployment {action.snapshot} is gone")
            body = body if restores else template_hash.stamp(body, stored)
        request = self._cluster.restore_template if restores else self._cluster.apply
        uid = stored["metadata"]["uid"] if stored else None
        await self._write_own(seen, partial(request, uid=uid), body, action.snapshot, wish=wish, new=stored is None)

    def _content(self, seen: Observation, snapshot: str) -> Mapping[str, JsonObject | None]:
        """A snapshot's content as recorded, perhaps in this very plan; never what the spec has by now. Raises _Stop."""
        if recorded := seen.snapshots.get(snapshot):
            return recorded.content
        made = self._cache.get(kinds.MODEL_SNAPSHOT, seen.deployment.namespace, snapshot)
        if made is None:
            raise _Stop(f"ModelSnapshot {snapshot} is gone: what its pods are made of is not known")
        return read_snapshot(made).content

    async def _create_job(self, seen: Observation, action: CreateJob) -> None:
        """Make the Job of a validation. One that cannot be made is told, and keeps no rollback back. Raises _Later."""
        policy, asked = seen.deployment.spec.rollback.validation, seen.state.manual_rollback
        target, present = (seen.snapshots.get(one) for one in (action.target, action.present))
        if policy is None or target is None or present is None:
            return
        metric = asked.cause.metric if asked and asked.cause else ""
        body = validation_job.render(_owner(seen), action.name, policy.job, action.seconds, metric, target, present)
        try:
            async with asyncio.timeout(_JOB_SECONDS):
                await self._write_own(seen, self._cluster.create, body, action.name)
        except Conflict:
            pass  # it was made before a crash, or by the leader before
        except (_Denied, ClusterError, TimeoutError) as error:
            log.warning("validation.not-begun", job=action.name, error=str(error) or type(error).__name__)
            raise _Later(_JOB_SECONDS) from error

    async def _apply_route_object(self, seen: Observation, body: JsonObject) -> None:
        """Create or repair what leads clients here. Never taken from somebody else who made it a moment ago."""
        known = self._cache.get(kinds.of(body), body["metadata"]["namespace"], body["metadata"]["name"])
        ours = known is not None and names.controller_uid(known) == seen.deployment.uid
        refusal = self._observer.refusals.of(seen.deployment.key).get(seen.deployment.name)
        if refusal and refusal.again_at > seen.now:
            raise _Later(refusal.again_at - seen.now)
        apply = partial(self._cluster.apply, force=ours)
        with suppress(_Denied):  # which is told, and keeps nothing else from being done
            await self._write_own(seen, apply, body, seen.deployment.name)

    # Requests

    async def _write_own(
        self,
        seen: Observation,
        request: Callable[[JsonObject], Awaitable[JsonObject]],
        body: JsonObject,
        name: str,
        *,
        wish: str | None = None,
        new: bool = False,
    ) -> None:
        """Write an object that Serin keeps. `name`: whose it is, a snapshot's or the deployment's own.

        Raises _Later when something else changes it back each time, and _Denied when the API server refuses it.
        `wish`: hash of what is to be, by which a repetition is known; None: of `body`. `new`: there is none of it yet.
        """
        key, contests, refusals = seen.deployment.key, self._observer.contests, self._observer.refusals
        kind, wish = body["kind"], wish or names.content_hash(body)
        named = (kind, body["metadata"]["name"])
        if left := contests.left(key, named, wish, seen.now):
            raise _Later(left)
        try:
            await self._write(request, body)
        except Refused as refused:
            # Not allowed (yet) is a matter of permission or quota; anything else is a new pod template itself.
            final = new and kind == kinds.DEPLOYMENT.name and refused.status != _FORBIDDEN
            told = refused.message if final else f"the API server does not allow {' '.join(named)}: {refused.message}"
            refusals.add(key, name, told, seen.now, kind=kind, final=final)
            raise _Denied(told, final=final) from refused
        refusals.remove(key, name, kind)
        contests.add(key, named, wish, seen.now)

    async def _write(self, request: Callable[[JsonObject], Awaitable[JsonObject]], body: JsonObject) -> JsonObject:
        self._check_leading()
        answer = await request(body)
        self._cache.put(kinds.of(body), answer)
        return answer

    async def _delete(self, kind: Kind, seen: Observation, name: str, uid: str, version: str | None) -> None:
        self._check_leading()
        namespace = seen.deployment.namespace
        try:
            await self._cluster.delete(kind, namespace, name, uid=uid, resource_version=version)
        except Gone:
            log.debug("object.gone-already", kind=kind.name, namespace=namespace, name=name)
        # An object that a finalizer holds back comes again, in a newer version.
        if (known := self._cache.get(kind, namespace, name)) is not None and known["metadata"]["uid"] == uid:
            self._cache.drop(kind, known)

    def _check_leading(self) -> None:
        if not self._leading():
            raise _Stop("this replica leads no longer")

    async def _read_again(self, seen: Observation) -> None:
        """After a conflict the cache is behind: read live, so that the next plan is not made of the old version."""
        try:
            found = await self._cluster.get(kinds.MODEL_DEPLOYMENT, seen.deployment.namespace, seen.deployment.name)
        except Gone:
            return
        self._cache.put(kinds.MODEL_DEPLOYMENT, found)


def _named(kind: Kind, namespace: str, name: str) -> JsonObject:
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"namespace": namespace, "name": name}}


def _version(seen: Observation) -> Mapping[str, str]:
    one = seen.deployment
    return {"namespace": one.namespace, "name": one.name, "resourceVersion": one.resource_version}


def _owner(seen: Observation) -> render.Owner:
    return render.Owner(seen.deployment.namespace, seen.deployment.name, seen.deployment.uid)


def _snapshot(seen: Observation, action: CreateSnapshot) -> JsonObject:
    owner = _owner(seen)
    body = _named(kinds.MODEL_SNAPSHOT, owner.namespace, action.name)
    body["metadata"] |= {
        "labels": {names.LABEL_MODEL_DEPLOYMENT: owner.name},
        "ownerReferences": [names.owner_reference(owner.name, owner.uid)],
    }
    content = {dimension: value for dimension, value in action.content.items() if value is not None}
    body["spec"] = {
        "modelDeployment": owner.name,
        "content": content,
        "hashes": names.dimension_hashes(action.content),
    }
    return body
