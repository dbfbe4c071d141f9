"""One pod of the operator: its process lives, dies in the middle of a request, and is started again with no memory."""

import asyncio
import contextvars
from collections import Counter
from dataclasses import replace

from serin.controller.clocks import Clocks
from serin.controller.replica import Replica
from serin.controller.settings import parse
from serin.controller.telemetry import Telemetry
from serin.controller.watch import WATCHED
from serin.controller.webhooks import Post, Webhook
from serin.workload.asking import Ask
from tests.simulation import clock
from tests.simulation.api import faults
from tests.simulation.api.rest import Rest
from tests.simulation.clock import Clock
from tests.simulation.cluster import ProcessDied, SimulatedCluster
from tests.simulation.feed import feed
from tests.simulation.prometheus import Adapter, Asked
from tests.system.network import ADDRESS, Network

WEBHOOK = "oncall"
_WORDS = (
    *("--prometheus-url", "http://prometheus.test:9090", "--namespace", "serin-system"),
    *("--xds-authentication", "none"),  # there are no sockets, and nobody signs tokens
)
SETTINGS = replace(parse(_WORDS), webhooks={WEBHOOK: Webhook(WEBHOOK, "http://oncall.test")})


class Pod:
    """A pod of the operator. `plan`: faults of its requests, of all its lives; `machine`: its clocks.

    `ask`: how it asks the models' pods. `send`: how it tells receivers. `live`: whether it reads the router's counters
    itself.

    `crashes`: errors that ended a life and that no fault explains; there must be none.
    """

    def __init__(
        self,
        name: str,
        address: str,
        control_plane: Rest,
        prometheus: Asked,
        network: Network,
        plan: faults.Plan,
        ask: Ask,
        send: Post,
        *,
        live: bool = False,
    ) -> None:
        self.name, self.address, self._ask, self._send = name, address, ask, send
        self._control_plane, self._prometheus, self._network = control_plane, prometheus, network
        self.plan, self._live_counters = plan, live
        self.machine = Clock()
        self.restart_after = 2.0
        self.answers: Counter[int] = Counter()  # to its requests, by status code (0: none)
        self.latency = 0.004  # of its requests, in the lives to come
        self.lives = 0
        self.crashes: list[BaseException] = []
        self.cluster: SimulatedCluster | None = None
        self.replica: Replica | None = None
        self._life: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run, and start again whenever the process ends."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name=f"pod {self.name}")

    async def stop(self) -> None:
        """End as on SIGTERM: what runs is cancelled, and gives the Lease back."""
        for task in (self._keeper, self._life):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self._keeper = self._life = None
        self._network.close(self.address)

    def kill(self) -> None:
        """End the process at once; it is started again as after any crash."""
        if self.cluster is not None:
            self.cluster.kill()

    async def _keep(self) -> None:
        while True:
            await self._live()
            await asyncio.sleep(self.restart_after)

    async def _live(self) -> None:
        """One life: until a request kills it, or it ends by an error of its own."""
        self.lives += 1
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        cluster = self.cluster = SimulatedCluster(
            self._control_plane, self.name, plan=self.plan, latency=self.latency, observer=self._count
        )
        context.run(ADDRESS.set, self.address)
        context.run(clock.settle_on, self.machine)
        self._life = life = loop.create_task(self._run(cluster), name=f"{self.name} life {self.lives}", context=context)
        died = loop.create_task(cluster.died.wait())
        try:
            await asyncio.wait([life, died], return_when=asyncio.FIRST_COMPLETED)
        finally:
            died.cancel()
            self._network.close(self.address)
        if not cluster.died.is_set():
            error = None if life.cancelled() else life.exception()
            self.crashes.append(error or RuntimeError("the process ended by itself"))
            return
        life.cancel()
        await asyncio.wait([life])
        if not life.cancelled() and (error := life.exception()) is not None:
            self.crashes += [one for one in leaves(error) if not isinstance(one, ProcessDied)]

    def _count(self, _verb: str, _kind: str, status: int, _seconds: float) -> None:
        self.answers[status] += 1

    async def _run(self, cluster: SimulatedCluster) -> None:
        machine = self.machine
        settings = replace(SETTINGS, identity=f"{self.name}-{self.lives}", live_counters=self._live_counters)
        clocks = Clocks(machine.time, machine.monotonic, machine.boottime)
        replica = self.replica = Replica(settings, Telemetry(), clocks=clocks, ask=self._ask, send=self._send)
        async with asyncio.TaskGroup() as group:
            group.create_task(feed(cluster, replica.cache, WATCHED, replica.namespaces), name=f"{self.name} watches")
            group.create_task(replica.serve(cluster), name=f"{self.name} serves")
            group.create_task(replica.work(cluster, Adapter(self._prometheus)), name=f"{self.name} works")  # type: ignore[arg-type]


def leaves(error: BaseException) -> list[BaseException]:
    """The errors that a group of errors is made of."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]
