"""The operator, put together: who is made first, what runs side by side, and in which order it stops.

Every replica watches, keeps its cache warm and answers the router. One of them, elected, also decides. On SIGTERM the
deciding stops first and the lease is given back, then what still serves others, then the watches.
"""

import asyncio
import signal
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final

import structlog

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import KubernetesCluster
from serin.cluster.events import EventRecorder
from serin.cluster.lease import Election
from serin.cluster.login import log_in
from serin.cluster.protocol import ClusterError, Gone, Kind
from serin.controller import health
from serin.controller.apply import Applier
from serin.controller.enqueue import affected
from serin.controller.evidence_loop import EvidenceLoop
from serin.controller.observe import Observer
from serin.controller.queue import WorkQueue
from serin.controller.reconcile import Reconciler
from serin.controller.report import Reporter
from serin.controller.settings import Settings
from serin.controller.telemetry import Telemetry
from serin.controller.traffic_estimator import TrafficEstimator
from serin.controller.watch import WATCHED, Watches, scopes
from serin.metrics.catalog import Catalog
from serin.metrics.collector import Collector
from serin.metrics.prometheus import Prometheus
from serin.rollout.planner import plan
from serin.routers import build_routers, router_of
from serin.routers.base import RouterContext

log: Final = structlog.get_logger("serin.operator")

_WAIT_FOR_KINDS_SECONDS: Final = 2.0


class Operator:
    """One replica. `run` is its whole life."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._telemetry = Telemetry()
        self._queue: WorkQueue[Key] = WorkQueue()
        namespaces = {*settings.watch, settings.namespace} if settings.watch else set()
        self._namespaces = sorted(namespaces)
        self._cache = ObjectCache(scopes(namespaces))
        self._cache.listen(self._on_change)
        context = RouterContext(
            self._cache, settings.namespace, settings.routers, self._telemetry.registry, self._enqueue
        )
        self._routers = build_routers(context)
        self._stopping = asyncio.Event()
        self._deciding = False

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then stop gracefully. Raises LoginError, and what cannot be recovered from."""
        async with AsyncExitStack() as stack:
            configuration = await log_in(self._settings.kubeconfig)
            cluster = KubernetesCluster(configuration, observer=self._telemetry.observe_request)
            stack.push_async_callback(cluster.close)
            pages = health.application(self._telemetry, lambda: "", self._not_ready)
            await stack.enter_async_context(health.serving(pages, self._settings.http_port))
            self._show_gauges()
            self._stop_on_signals()
            if not await self._kinds_are_there(cluster):
                return
            watches = Watches(configuration, self._cache, self._telemetry, self._namespaces)
            stop_watching = asyncio.Event()
            watching = asyncio.create_task(watches.run(stop_watching), name="watches")
            await _first([watching, asyncio.create_task(watches.started.wait())])
            self._stop_on_signals()  # again: kopf has set its own handlers, which would stop the watches first
            serving = asyncio.create_task(self._serve(), name="serve")
            working = asyncio.create_task(self._work(cluster), name="work")
            stopping = asyncio.create_task(self._stopping.wait(), name="stop")
            try:
                await _first([watching, serving, working, stopping])
            finally:
                log.info("operator.stopping")
                self._stopping.set()
                await _end(working)
                await _end(serving)
                stop_watching.set()
                await _end(watching, cancel=False)
            for part in (working, serving, watching):
                if part.done() and not part.cancelled():
                    part.result()
        log.info("operator.stopped")

    # What runs

    async def _serve(self) -> None:
        """Carry the routes to the routers, until cancelled."""
        await self._cache.wait_until_synced()
        async with asyncio.TaskGroup() as group:
            for name, router in self._routers.items():
                group.create_task(router.serve(), name=f"serve {name}")

    async def _work(self, cluster: KubernetesCluster) -> None:
        """Everything that needs a full cache, until cancelled."""
        events = EventRecorder(cluster, self._settings.identity, on_drop=self._telemetry.events_dropped.inc)
        election = Election(cluster, self._settings.namespace, self._settings.lease, self._settings.identity)
        prometheus = Prometheus(self._settings.prometheus)
        try:
            await self._cache.wait_until_synced()
            log.info("cache.synced", **{kind.plural: self._cache.count(kind) for kind in WATCHED})
            async with asyncio.TaskGroup() as group:
                group.create_task(events.run(), name="events")
                group.create_task(election.run(lambda: self._decide(cluster, election, events, prometheus)))
        finally:
            await events.flush(2.0)
            prometheus.close()

    async def _decide(
        self, cluster: KubernetesCluster, election: Election, events: EventRecorder, prometheus: Prometheus
    ) -> None:
        """Be the replica that acts, until cancelled. Nothing is kept from an earlier term."""
        catalog = Catalog.of(*(router.templates() for router in self._routers.values()))
        collector = Collector(prometheus, catalog)
        self._telemetry.queries.set_function(lambda: collector.queries)
        evidence_loop = EvidenceLoop(
            self._cache,
            collector,
            self._telemetry,
            self._queue.add,
            request_template=lambda deployment: router_of(self._routers, deployment).request_template,
        )
        traffic_estimator = TrafficEstimator(self._cache, prometheus.estimate, self._queue.add, catalog=catalog)
        observer = Observer(self._cache, self._routers, evidence_loop, traffic_estimator, catalog=catalog)
        applier = Applier(cluster, self._cache, observer, election.leading)
        reporter = Reporter(events, self._telemetry)
        reconcile = Reconciler(self._cache, observer, plan, applier, reporter, self._telemetry)
        self._deciding = True
        self._queue.clear()
        for body in self._cache.all(kinds.MODEL_DEPLOYMENT):
            self._queue.add((body["metadata"]["namespace"], body["metadata"]["name"]))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(evidence_loop.run(), name="evidence loop")
                group.create_task(traffic_estimator.run(), name="traffic estimator")
                for name, router in self._routers.items():
                    group.create_task(router.lead(), name=f"lead {name}")
                group.create_task(self._queue.run(reconcile, self._settings.workers), name="workers")
        finally:
            self._deciding = False
            evidence_loop.close()
            traffic_estimator.close()

    def _on_change(self, kind: Kind, before: JsonObject | None, after: JsonObject | None) -> None:
        """Look again at whom a change concerns; a standby need not, it looks at everything when it is elected."""
        body = after if after is not None else before
        if self._deciding and body is not None:
            for key in affected(self._cache, self._routers.values(), kind, body):
                self._queue.add(key)

    def _enqueue(self, key: Key) -> None:
        if self._deciding:
            self._queue.add(key)

    # What surrounds it

    async def _kinds_are_there(self, cluster: KubernetesCluster) -> bool:
        """Wait for the CRDs; False when the operator is to stop first. kopf would never notice that they came later."""
        told = ""
        while not self._stopping.is_set():
            try:
                for kind in (kinds.MODEL_DEPLOYMENT, kinds.MODEL_SNAPSHOT, kinds.METRIC_TEMPLATE):
                    await cluster.list(kind, self._settings.namespace)
                return True
            except Gone:
                why = "the cluster does not know Serin's kinds: apply the CRDs in crds/"
            except ClusterError as error:
                why = error.message
            if why != told:
                log.warning("operator.waiting", why=why)
                told = why
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _WAIT_FOR_KINDS_SECONDS)
        return False

    def _not_ready(self) -> str:
        return "stopping" if self._stopping.is_set() else self._cache.missing()

    def _show_gauges(self) -> None:
        self._telemetry.leader.set_function(lambda: float(self._deciding))
        self._telemetry.waiting.set_function(self._queue.ready)
        self._telemetry.planned.set_function(lambda: len(self._queue))
        for kind in WATCHED:
            self._telemetry.objects.labels(kind.name).set_function(partial(self._cache.count, kind))

    def _stop_on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)


async def _first(tasks: list[asyncio.Task[object]]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _end(task: asyncio.Task[None], *, cancel: bool = True) -> None:
    """Wait until a task has ended; its error is looked at later."""
    if cancel:
        task.cancel()
    await asyncio.wait([task])
