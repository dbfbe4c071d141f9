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
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import KubernetesCluster
from serin.cluster.events import EventRecorder
from serin.cluster.lease import Election
from serin.cluster.login import log_in
from serin.cluster.protocol import ClusterError, Gone, Kind
from serin.controller import health
from serin.controller.apply import Applier
from serin.controller.enqueue import Key, affected
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
from serin.routers.envoy.ports import Ports
from serin.routers.envoy.router import EnvoyRoutes
from serin.routers.envoy.templates import templates
from serin.routers.envoy.xds import XdsServer
from serin.routers.envoy.xds_feed import XdsFeed
from serin.routers.envoy.xds_peers import XdsPeers

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
        self._xds = XdsServer(propagated=lambda _key, seconds: self._telemetry.propagation.observe(seconds))
        self._feed = XdsFeed(self._cache, self._xds)
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
            await self._xds.start(port=self._settings.xds_port)
            stack.push_async_callback(self._xds.stop)
            self._show_gauges()
            self._stop_on_signals()
            if not await self._kinds_are_there(cluster):
                return
            watches = Watches(configuration, self._cache, self._telemetry, self._namespaces)
            stop_watching = asyncio.Event()
            watching = asyncio.create_task(watches.run(stop_watching), name="watches")
            await _first([watching, asyncio.create_task(watches.started.wait())])
            self._stop_on_signals()  # again: kopf has set its own handlers, which would stop the watches first
            working = asyncio.create_task(self._work(cluster), name="work")
            stopping = asyncio.create_task(self._stopping.wait(), name="stop")
            try:
                await _first([watching, working, stopping])
            finally:
                log.info("operator.stopping")
                self._stopping.set()
                await _end(working)
                stop_watching.set()
                await _end(watching, cancel=False)
            for part in (working, watching):
                if part.done() and not part.cancelled():
                    part.result()
        log.info("operator.stopped")

    # What runs

    async def _work(self, cluster: KubernetesCluster) -> None:
        """Everything that needs a full cache, until cancelled."""
        events = EventRecorder(cluster, self._settings.identity, on_drop=self._telemetry.events_dropped.inc)
        election = Election(cluster, self._settings.namespace, self._settings.lease, self._settings.identity)
        prometheus = Prometheus(self._settings.prometheus)
        try:
            await self._cache.wait_until_synced()
            log.info("cache.synced", **{kind.plural: self._cache.count(kind) for kind in WATCHED})
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feed.run(), name="router feed")
                group.create_task(events.run(), name="events")
                group.create_task(election.run(lambda: self._decide(cluster, election, events, prometheus)))
        finally:
            await events.flush(2.0)
            prometheus.close()

    async def _decide(
        self, cluster: KubernetesCluster, election: Election, events: EventRecorder, prometheus: Prometheus
    ) -> None:
        """Be the replica that acts, until cancelled. Nothing is kept from an earlier term."""
        catalog = Catalog.of(templates())
        collector = Collector(prometheus, catalog)
        self._telemetry.queries.set_function(lambda: collector.queries)
        ticker = EvidenceLoop(self._cache, collector, self._telemetry, self._queue.add)
        replicas = XdsPeers(self._xds, self._cache, self._settings.namespace, self._settings.xds_port, self._queue.add)
        router = EnvoyRoutes(self._cache, self._settings.namespace, replicas)
        survey = TrafficEstimator(self._cache, prometheus.estimate, self._queue.add, catalog=catalog)
        observer = Observer(self._cache, router, ticker, survey, Ports(self._cache), catalog=catalog)
        applier = Applier(cluster, self._cache, router, observer, election.leading)
        reporter = Reporter(events, self._telemetry)
        reconcile = Reconciler(self._cache, observer, plan, applier, reporter, self._telemetry)
        self._deciding = True
        self._queue.clear()
        for body in self._cache.all(kinds.MODEL_DEPLOYMENT):
            self._queue.add((body["metadata"]["namespace"], body["metadata"]["name"]))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ticker.run(), name="ticker")
                group.create_task(survey.run(), name="survey")
                group.create_task(replicas.run(), name="replicas")
                group.create_task(self._queue.run(reconcile, self._settings.workers), name="workers")
        finally:
            self._deciding = False

    def _on_change(self, kind: Kind, before: JsonObject | None, after: JsonObject | None) -> None:
        """Look again at whom a change concerns; a standby need not, it looks at everything when it is elected."""
        body = after if after is not None else before
        if self._deciding and body is not None:
            for key in affected(self._cache, self._settings.namespace, kind, body):
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
        self._telemetry.envoys.set_function(self._xds.envoys)
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
