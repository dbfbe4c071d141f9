"""Carries out retrainings that were decided: makes the Job, or sends the event, of the name that the status says.

Outside of looks, so that no rollout waits for an admission policy of somebody's or for a webhook. The same retraining
may be carried out twice, after a crash or by an old leader: a Job's name is taken then, and an event has the same id.
What does not succeed is tried again, later each time, and at once when the deployment has been edited. Nothing is kept
but the outcome, until the status says it.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from serin.api import names
from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.parse import parse_model_deployment
from serin.api.retraining import RetrainingSeen, Run, RunPhase, cause_json, retraining_of
from serin.api.spec import ModelDeployment
from serin.api.text import shortened
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.protocol import Cluster, ClusterError, Conflict
from serin.controller.due import Due
from serin.controller.webhooks import Format, NotTaken, Post, Webhook, cloud_event, post, webhook_of
from serin.workload import retraining_job
from serin.workload.render import Owner

log: Final = structlog.get_logger("serin.retraining")

# At once, of one namespace: what hangs there keeps nobody else waiting.
_SIDE_BY_SIDE: Final = 2
_LONGEST_PROBLEM: Final = 512


class _Waits(Exception):
    """It cannot be carried out now; the message is for users."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Of one retraining. `tried`: how often; `generation`: of the deployment at the last time."""

    name: str
    generation: int
    tried: int = 0
    delivered: bool = False
    problem: str = ""


class Retrainer:
    """Does what `status.retraining` says. `look` asks for a look; `leading` is asked before every request."""

    def __init__(
        self,
        cluster: Cluster,
        cache: ObjectCache,
        look: Callable[[Key], None],
        leading: Callable[[], bool],
        webhooks: Mapping[str, Webhook],
        *,
        clock: Callable[[], float] = time.monotonic,
        send: Post = post,
    ) -> None:
        self._cluster, self._cache, self._look, self._leading = cluster, cache, look, leading
        self._webhooks, self._send = webhooks, send
        self._due: Due[Key] = Due(self._try, clock)
        self._outcomes: dict[Key, _Outcome] = {}
        self._places: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_SIDE_BY_SIDE))
        self.close = cache.follow(kinds.MODEL_DEPLOYMENT, self._on_change)  # at the end of the term

    def seen(self, deployment: ModelDeployment, run: Run | None) -> RetrainingSeen:
        """What is known of a deployment's newest retraining."""
        if run is None:
            return RetrainingSeen()
        job = self._cache.get(kinds.JOB, deployment.namespace, run.name)
        ours = job is not None and names.controller_uid(job) == deployment.uid
        found = self._outcomes.get(deployment.key)
        known = found if found and found.name == run.name else None
        return RetrainingSeen(
            job=retraining_job.seen(job) if job is not None and ours and not run.webhook else None,
            delivered=known.delivered if known else False,
            problem=known.problem if known else "",
        )

    async def run(self) -> None:
        """Carry out whatever is due, until cancelled."""
        await self._due.run("retraining of")

    def _on_change(self, key: Key, after: JsonObject | None) -> None:
        run = _requested(after) if after is not None else None
        known = self._outcomes.get(key)
        if known and (run is None or run.name != known.name):
            del self._outcomes[key]
            known = None
        if after is None or run is None:
            self._due.drop(key)
            return
        if known is None or known.generation != after["metadata"]["generation"]:
            self._due.now(key)

    async def _try(self, key: Key) -> None:
        """Try once. What came of it is kept, and a look is asked for."""
        body = self._cache.get(kinds.MODEL_DEPLOYMENT, *key)
        run = _requested(body) if body is not None else None
        if body is None or run is None or not self._leading():
            return
        before = self._outcomes.get(key)
        if before is not None and before.delivered and before.name == run.name:
            return  # and the status does not say so yet
        tried = before.tried if before and before.name == run.name else 0
        outcome = _Outcome(run.name, body["metadata"]["generation"], tried + 1)
        async with self._places[key[0]]:
            try:
                delivered = await self._begin(parse_model_deployment(body), run)
                outcome = replace(outcome, delivered=delivered)
            except InvalidSpec:
                return  # its own look says so, and an edit brings it back
            except (_Waits, ClusterError) as error:
                outcome = replace(outcome, problem=shortened(str(error), _LONGEST_PROBLEM))
            except Exception:
                log.exception("retraining.failed", namespace=key[0], deployment=key[1])
                outcome = replace(outcome, problem="it could not be begun: the operator's log says why")
        self._outcomes[key] = outcome
        if outcome.problem:
            log.warning("retraining.waits", namespace=key[0], deployment=key[1], why=outcome.problem)
            if key not in self._due:  # otherwise it has been edited meanwhile
                self._due.later(key, tried)
        self._look(key)

    async def _begin(self, deployment: ModelDeployment, run: Run) -> bool:
        """Make the Job, or send the event; whether it is an event that was taken. Raises _Waits and ClusterErrors."""
        asked = deployment.spec.retraining
        if run.webhook:
            await self._deliver(deployment, run)
            return True
        if asked is None or asked.job is None:
            raise _Waits("spec.retraining has no job any more: put it back, or remove spec.retraining")
        known = self._cache.get(kinds.JOB, deployment.namespace, run.name)
        if known is None or names.controller_uid(known) != deployment.uid:
            await self._create(deployment, run, asked.job)
        return False

    async def _create(self, deployment: ModelDeployment, run: Run, job: JsonObject) -> None:
        body = retraining_job.render(Owner(deployment.namespace, deployment.name, deployment.uid), run, job)
        try:
            made = await self._cluster.create(body)
        except Conflict:
            # Made before a crash, or by the leader before; or it is somebody else's.
            made = await self._cluster.get(kinds.JOB, deployment.namespace, run.name)
            if names.controller_uid(made) != deployment.uid:
                raise _Waits(f"a Job {run.name} exists that Serin did not make: delete or rename it") from None
        self._cache.put(kinds.JOB, made)
        log.info("retraining.job-made", namespace=deployment.namespace, deployment=deployment.name, job=run.name)

    async def _deliver(self, deployment: ModelDeployment, run: Run) -> None:
        try:
            webhook = webhook_of(self._webhooks, run.webhook, deployment.namespace)
        except NotTaken as error:
            raise _Waits(str(error)) from None
        if webhook.format is not Format.CLOUD_EVENTS:
            raise _Waits(f"webhook {run.webhook} takes no CloudEvents ({webhook.format}): name one that does")
        try:
            await self._send(webhook, event_of(deployment, run))
        except NotTaken as error:
            raise _Waits(f"webhook {run.webhook}: {error}") from None


def event_of(deployment: ModelDeployment, run: Run) -> JsonObject:
    """A retraining as a CloudEvent. Sent twice it is the same: source and id say so."""
    data = cause_json(run, deployment.namespace, deployment.name)
    return cloud_event(deployment.key, "retraining.requested", run.at, run.cause.snapshot, run.name, data)


def _requested(body: JsonObject) -> Run | None:
    """The retraining that has to be carried out, None when there is none."""
    kept = retraining_of((body.get("status") or {}).get("retraining") or {})
    run = kept.run if kept else None
    return run if run is not None and run.phase is RunPhase.REQUESTED else None
