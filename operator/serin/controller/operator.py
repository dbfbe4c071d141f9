"""The operator's process: who is made first, what runs side by side, and in which order it stops.

On SIGTERM the deciding stops first and the lease is given back, then what still serves others, then the watches.
"""

import asyncio
import gc
import signal
from contextlib import AsyncExitStack, suppress
from typing import Final

import structlog

from serin.cluster import kinds
from serin.cluster.client import KubernetesCluster
from serin.cluster.login import log_in
from serin.cluster.protocol import ClusterError, Gone
from serin.controller import health
from serin.controller.replica import Replica
from serin.controller.settings import Settings
from serin.controller.telemetry import Telemetry
from serin.controller.watch import Watches
from serin.metrics.prometheus import Prometheus

log: Final = structlog.get_logger("serin.operator")

_WAIT_FOR_KINDS_SECONDS: Final = 2.0
# Of the garbage collector. By default it goes through all of the cache several times while one large answer of
# Prometheus is read, which takes as long as the reading; what is no cycle is freed without it.
_GARBAGE_THRESHOLDS: Final = (20_000, 20, 20)


class Operator:
    """One replica. `run` is its whole life."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._telemetry = Telemetry()
        self._replica = Replica(settings, self._telemetry)
        self._watches: Watches | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then stop gracefully. Raises LoginError, and what cannot be recovered from."""
        gc.set_threshold(*_GARBAGE_THRESHOLDS)
        async with AsyncExitStack() as stack:
            configuration = await log_in(self._settings.kubeconfig)
            cluster = KubernetesCluster(configuration, observer=self._telemetry.observe_request)
            stack.push_async_callback(cluster.close)
            pages = health.application(self._telemetry, self._not_healthy, self._not_ready)
            await stack.enter_async_context(health.serving(pages, self._settings.http_port))
            self._stop_on_signals()
            if not await self._kinds_are_there(cluster):
                return
            watches = Watches(configuration, self._replica.cache, self._telemetry, self._replica.namespaces)
            self._watches = watches
            stop_watching = asyncio.Event()
            watching = asyncio.create_task(watches.run(stop_watching), name="watches")
            await _first([watching, asyncio.create_task(watches.started.wait())])
            self._stop_on_signals()  # again: kopf has set its own handlers, which would stop the watches first
            serving = asyncio.create_task(self._replica.serve(cluster), name="serve")
            prometheus = Prometheus(self._settings.prometheus)
            working = asyncio.create_task(self._replica.work(cluster, prometheus, watches.relist), name="work")
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
                async with asyncio.timeout(_WAIT_FOR_KINDS_SECONDS):
                    await self._stopping.wait()
        return False

    def _not_healthy(self) -> str:
        return (self._watches.silent() if self._watches else "") or self._replica.stuck()

    def _not_ready(self) -> str:
        return "stopping" if self._stopping.is_set() else self._replica.cache.missing()

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
