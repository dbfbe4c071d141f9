"""Whose word counts: the pods of the router that clients may reach, and which of them nobody hears.

A pod counts while it is ready, while it finishes what it has begun, and for LINGER seconds after it was last seen so:
connections that it has may live on. A pod that is gone, or has not been ready for that long, is waited for no more; one
that has not been ready yet has no clients.
Whether the operator hears it is another matter: a ready pod that no replica hears may serve a route of long ago.
"""

from collections.abc import Callable, Iterable
from typing import Final

from serin.routers.envoy.service_pods import ROUTER, ServicePods

# As long as a node that is lost is given by Kubernetes to come back before its pods are called not ready, and a drain.
LINGER: Final = 60.0
# A replica that has just been elected has not asked the others yet, and an Envoy changes replicas now and then.
UNHEARD_AFTER: Final = 10.0


class RouterPods:
    """Pods of the router. `clock`: monotonic seconds."""

    def __init__(self, pods: ServicePods, clock: Callable[[], float]) -> None:
        self._pods, self._clock = pods, clock
        self._served: dict[str, float] | None = None  # when a pod was last seen to serve; None: nothing was seen yet
        self._silent: dict[str, float] = {}  # since when a pod that counts is not heard

    def begin(self) -> None:
        """A term begins: what was seen in an earlier one is old."""
        self._served, self._silent = None, {}

    def counted(self) -> frozenset[str]:
        """Names of the pods whose word counts now."""
        now, listed, before = self._clock(), self._pods.serving(ROUTER), self._served
        if before is None:
            before = dict.fromkeys(listed, now)  # what is not ready may have been a moment ago
        served = {name: now if serves else before.get(name) for name, serves in listed.items()}
        self._served = {name: at for name, at in served.items() if at is not None}
        return frozenset(name for name, at in self._served.items() if now - at < LINGER)

    def hear(self, nodes: Iterable[str]) -> None:
        """These Envoys are connected to some replica at this moment."""
        now, silent = self._clock(), self.counted() - frozenset(nodes)
        self._silent = {name: self._silent.get(name, now) for name in sorted(silent)}

    def unheard(self) -> tuple[str, ...]:
        """Pods that count and were not heard for a while, sorted."""
        now = self._clock()
        return tuple(name for name, since in self._silent.items() if now - since >= UNHEARD_AFTER)
