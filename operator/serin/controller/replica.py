"""One replica of the operator without what surrounds it: a cache, the routers that it answers, and its term as leader.

Every replica keeps its cache warm and answers the router. One of them, elected, also decides. Who fills the cache, who
carries the requests, and what time it is comes from outside: controller/operator.py for a process, and tests for a
simulated cluster.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.names import Key, key_of
from serin.api.parse import parse_model_deployment
from serin.api.retraining import RetrainingSeen, Run
from serin.api.spec import ModelDeployment
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.cluster.client import KubernetesCluster
from serin.cluster.events import EventRecorder
from serin.cluster.lease import Election
from serin.cluster.protocol import Kind
from serin.controller.apply import Applier
from serin.controller.client_counter import ClientCounter
from serin.controller.clocks import SYSTEM, Clocks
from serin.controller.enqueue import affected, is_routine
from serin.controller.evidence_loop import EvidenceLoop
from serin.controller.live_evidence import LiveEvidence
from serin.controller.lowering import Lowering
from serin.controller.notifier import Notifier
from serin.controller.observe import Observer
from serin.controller.pod_checks import PodChecks
from serin.controller.queue import WorkQueue
from serin.controller.reconcile import Reconciler
from serin.controller.report import Reporter
from serin.controller.reports import ReportWriter
from serin.controller.retrainer import Retrainer
from serin.controller.review_intake import ReviewIntake
from serin.controller.review_verdicts import ReviewVerdicts
from serin.controller.settings import Settings
from serin.controller.telemetry import Telemetry
from serin.controller.traffic_estimator import TrafficEstimator
from serin.controller.volume_counter import VolumeCounter
from serin.controller.watch import WATCHED, scopes
from serin.controller.webhooks import Post, post, told_of_all
from serin.metrics.catalog import Catalog
from serin.metrics.collector import Collector
from serin.metrics.prometheus import Prometheus
from serin.rollout.planner import plan
from serin.routers import build_routers, router_of
from serin.routers.base import RouterContext, Told
from serin.workload.asking import Ask, ask

log: Final = structlog.get_logger("serin.operator")

# Longer than any look takes: each of its requests has a time-out.
_STUCK_SECONDS: Final = 600.0


class Replica:
    """Serves routers (`serve`), and decides while it is elected (`work`). `cache` is filled from outside."""

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        *,
        clocks: Clocks = SYSTEM,
        ask: Ask = ask,
        send: Post = post,
    ) -> None:
        self._settings, self._telemetry, self._clocks = settings, telemetry, clocks
        self._ask, self._send = ask, send
        self._queue: WorkQueue[Key] = WorkQueue(clocks.monotonic)
        # The namespaces to watch; none: the whole cluster.
        self.namespaces = sorted({*settings.watch, settings.namespace}) if settings.watch else []
        self.cache = ObjectCache(scopes(self.namespaces))
        self.cache.listen(self._on_change)
        self._cluster: KubernetesCluster | None = None
        context = RouterContext(
            self.cache,
            settings.namespace,
            settings.routers,
            telemetry.registry,
            self._enqueue,
            self._signing_keys,
            self._requests,
        )
        self._routers = build_routers(context)
        self._lowering = Lowering(self._routers.values())
        self._deciding = False
        self._show_gauges()

    async def serve(self, cluster: KubernetesCluster) -> None:
        """Carry the routes to the routers, until cancelled."""
        self._cluster = cluster
        await self.cache.wait_until_synced()
        async with asyncio.TaskGroup() as group:
            for name, router in self._routers.items():
                group.create_task(router.serve(), name=f"serve {name}")

    async def work(
        self, cluster: KubernetesCluster, prometheus: Prometheus, on_restored: Callable[[], None] = lambda: None
    ) -> None:
        """Stand for election, and decide while elected, until cancelled.

        `on_restored` is called when etcd is seen to be restored from a backup: what fills the cache has to list again.
        """
        clocks = self._clocks
        events = EventRecorder(
            cluster,
            self._settings.identity,
            on_drop=self._telemetry.events_dropped.inc,
            clock=clocks.monotonic,
            wall=clocks.utc,
        )
        election = Election(
            cluster,
            self._settings.namespace,
            self._settings.lease,
            self._settings.identity,
            clock=clocks.boottime,
            wall=clocks.utc,
            on_other=self._lowering.clear,
            on_restored=on_restored,
        )
        try:
            await self.cache.wait_until_synced()
            log.info("cache.synced", **{kind.plural: self.cache.count(kind) for kind in WATCHED})
            async with asyncio.TaskGroup() as group:
                group.create_task(events.run(), name="events")
                group.create_task(election.run(lambda: self._decide(cluster, election, events, prometheus)))
        finally:
            await events.flush(2.0)
            prometheus.close()

    async def _decide(
        self, cluster: KubernetesCluster, election: Election, events: EventRecorder, prometheus: Prometheus
    ) -> None:
        """Be the replica that acts, until cancelled.

        Nothing is kept from an earlier term but what it had to lower and could not write.
        """
        templates = (router.templates() for router in self._routers.values())
        catalog = Catalog.of(*templates, trust=self._settings.trust)
        collector = Collector(prometheus, catalog)
        self._telemetry.queries.set_function(lambda: collector.queries)
        self._telemetry.clock_skew.set_function(lambda: prometheus.skew.seconds)
        clocks = self._clocks
        live = self._live_evidence(collector, catalog, lambda: bool(prometheus.skew.words))
        evidence_loop = EvidenceLoop(
            self.cache,
            collector,
            self._telemetry,
            self._queue.add,
            request_template=lambda deployment: router_of(self._routers, deployment).request_template,
            delay=lambda: prometheus.skew.words,
            clock=clocks.time,
            live=live,
            can_be_live=lambda deployment: router_of(self._routers, deployment).counters is not None,
        )
        traffic_estimator = TrafficEstimator(
            self.cache, prometheus.estimate, self._queue.add, catalog=catalog, clock=clocks.time
        )
        pod_checks = PodChecks(self.cache, self._queue.add, clock=clocks.time, ask=self._ask)
        retrainer = Retrainer(
            cluster,
            self.cache,
            self._queue.add,
            election.leading,
            self._settings.webhooks,
            clock=clocks.monotonic,
            send=self._send,
        )
        notifier = Notifier(
            self.cache,
            self._queue.add,
            election.leading,
            self._settings.webhooks,
            dashboard=self._settings.dashboard,
            clock=clocks.monotonic,
            send=self._send,
        )
        volume_counter = VolumeCounter(self.cache, Collector(prometheus, catalog), self._queue.add, clock=clocks.time)
        client_counter = ClientCounter(
            self.cache,
            prometheus.estimate,
            self._queue.add,
            series=lambda deployment: router_of(self._routers, deployment).client_series,
            trusted=catalog.trust.router,
            clock=clocks.time,
        )

        def sees_retraining(deployment: ModelDeployment, run: Run | None) -> RetrainingSeen:
            return replace(retrainer.seen(deployment, run), volume=volume_counter.counted(deployment.key))

        observer = Observer(
            self.cache,
            self._routers,
            evidence_loop,
            traffic_estimator,
            pod_checks,
            catalog=catalog,
            retraining=sees_retraining,
            deliveries=notifier.seen,
            told=partial(told_of_all, self._settings.webhooks),
            clients=client_counter.counted,
        )
        applier = Applier(cluster, self.cache, observer, election.leading, self._lowering)
        reports = ReportWriter(cluster, self.cache, dashboard=self._settings.dashboard, clock=clocks.time)
        reporter = Reporter(events, self._telemetry, reports.note)
        reconcile = Reconciler(self.cache, observer, plan, applier, reporter, self._telemetry, clock=clocks.time)
        self._deciding = True
        self._queue.clear()
        for body in self.cache.all(kinds.MODEL_DEPLOYMENT):
            self._queue.add(key_of(body))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(evidence_loop.run(), name="evidence loop")
                if live:
                    group.create_task(evidence_loop.run_live(), name="live evidence")
                group.create_task(traffic_estimator.run(), name="traffic estimator")
                group.create_task(retrainer.run(), name="retrainer")
                group.create_task(notifier.run(), name="notifier")
                group.create_task(volume_counter.run(), name="volume counter")
                group.create_task(client_counter.run(), name="client counter")
                group.create_task(reports.run(), name="reports")
                group.create_task(pod_checks.run(), name="pod checks")
                if self._settings.review_port:
                    self._begin_reviews(group, cluster, election, events)
                for name, router in self._routers.items():
                    group.create_task(router.lead(), name=f"lead {name}")
                group.create_task(self._queue.run(reconcile, self._settings.workers), name="workers")
        finally:
            self._deciding = False
            evidence_loop.close()
            traffic_estimator.close()
            retrainer.close()
            notifier.close()
            volume_counter.close()
            client_counter.close()

    def _begin_reviews(
        self, group: asyncio.TaskGroup, cluster: KubernetesCluster, election: Election, events: EventRecorder
    ) -> None:
        """What takes answers for people, and what counts what they say. No look waits for either."""
        webhooks, port = self._settings.webhooks, self._settings.review_port
        intake = ReviewIntake(
            cluster,
            self.cache,
            events,
            self._telemetry,
            webhooks,
            port=port,
            send=self._send,
            clock=self._clocks.monotonic,
        )
        verdicts = ReviewVerdicts(
            cluster,
            self.cache,
            events,
            self._telemetry,
            self._tell_verdict,
            election.leading,
            namespaces=tuple(self.namespaces),
            clock=self._clocks.time,
            monotonic=self._clocks.monotonic,
        )
        group.create_task(intake.run(), name="review intake")
        group.create_task(verdicts.run(), name="review verdicts")

    async def _tell_verdict(self, key: Key, snapshot: str, verdict: str) -> Told:
        body = self.cache.get(kinds.MODEL_DEPLOYMENT, *key)
        if body is None:
            return Told.UNKNOWN_VERSION
        try:
            router = router_of(self._routers, parse_model_deployment(body))
        except InvalidSpec:
            return Told.NOT_SENT  # a correction may come
        return await router.tell_verdict(key, snapshot, verdict)

    def _live_evidence(
        self, collector: Collector, catalog: Catalog, doubtful: Callable[[], bool]
    ) -> LiveEvidence | None:
        """What reads the router's pods; None where no router can be read, or none is to be."""
        readers = [router.counters for router in self._routers.values() if router.counters]
        if not readers or not self._settings.live_counters:
            return None
        clock, monotonic = self._clocks.time, self._clocks.monotonic
        return LiveEvidence(
            readers[0], collector, catalog, self._telemetry, doubtful=doubtful, clock=clock, monotonic=monotonic
        )

    def _on_change(self, kind: Kind, before: JsonObject | None, after: JsonObject | None) -> None:
        """Look again at whom a change concerns; a standby need not, it looks at everything when it is elected."""
        body = after if after is not None else before
        if self._deciding and body is not None and not is_routine(kind, before, after):
            for key in affected(self.cache, self._routers.values(), kind, body):
                self._queue.add(key)

    def _enqueue(self, key: Key) -> None:
        if self._deciding:
            self._queue.add(key)

    def stuck(self) -> str:
        """What does not move although it should, in words; "" when all is well, or this replica does not decide."""
        seconds = self._queue.stuck() if self._deciding else 0.0
        return f"no look at a model deployment has ended in {seconds:.0f} s" if seconds > _STUCK_SECONDS else ""

    async def _signing_keys(self) -> JsonObject:
        """The public keys of ServiceAccounts' tokens."""
        return await self._requests().signing_keys()

    def _requests(self) -> KubernetesCluster:
        """Routers make some only while they serve."""
        assert self._cluster is not None
        return self._cluster

    def _show_gauges(self) -> None:
        self._telemetry.leader.set_function(lambda: float(self._deciding))
        self._telemetry.waiting.set_function(self._queue.ready)
        self._telemetry.lowered.set_function(lambda: len(self._lowering))
        self._telemetry.planned.set_function(lambda: len(self._queue))
        for kind in WATCHED:
            self._telemetry.objects.labels(kind.name).set_function(partial(self.cache.count, kind))
