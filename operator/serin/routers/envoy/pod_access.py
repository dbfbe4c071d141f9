"""Who may ask this operator's xDS server: the router's pods for their configuration, other replicas about their Envoys.

A pod shows the token that its kubelet keeps up to date. The token says which pod it is of; the watch, that this pod
is behind the router's Service still.

A pod from a chart older than these tokens has none. While such pods are being replaced they must not be left alone with
old routes, so a pod without the label that came together with the token is known by its address.
"""

import time
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter

from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.envoy.service_pods import ROUTER, XDS, ServicePods
from serin.routers.envoy.tokens import Tokens
from serin.routers.envoy.xds.access import Denied

log: Final = structlog.get_logger("serin.router")

# Service -> ServiceAccount of its pods, in the chart.
_ACCOUNTS: Final = {ROUTER: "serin-router", XDS: "serin-operator"}
_SAY_EVERY: Final = 10.0


class PodAccess:
    """Knows the pods behind Serin's own Services by their tokens. `namespace`: Serin's own."""

    def __init__(self, cache: ObjectCache, pods: ServicePods, tokens: Tokens, namespace: str) -> None:
        self._cache, self._pods, self._tokens, self._namespace = cache, pods, tokens, namespace

    def router(self, address: str, token: str) -> str:
        """Name of the router's pod that asks. Raises Denied."""
        return self._pod(ROUTER, address, token)

    def replica(self, address: str, token: str) -> None:
        """Let another replica of the operator ask. Raises Denied."""
        self._pod(XDS, address, token)

    def knows(self, address: str) -> bool:
        """Whether this is the address of a pod of the router or of the operator."""
        return any(pod.address == address for service in _ACCOUNTS for pod in self._pods.all(service))

    def _pod(self, service: str, address: str, token: str) -> str:
        if not token:
            return self._pod_without_token(service, address)
        shown = self._tokens.pod(token)
        if (shown.namespace, shown.account) != (self._namespace, _ACCOUNTS[service]):
            raise Denied(f"the token is of {shown.namespace}/{shown.account}, not of {_ACCOUNTS[service]}")
        if not any((pod.name, pod.uid) == (shown.name, shown.uid) for pod in self._pods.all(service)):
            raise Denied(f"pod {shown.name} is not behind the Service {service} (yet, or any more)")
        return shown.name

    def _pod_without_token(self, service: str, address: str) -> str:
        for pod in self._pods.all(service):
            # Only pods with the label serin.dev/model-deployment are watched, so this one is older than that label.
            if pod.address == address and self._cache.get(kinds.POD, self._namespace, pod.name) is None:
                return pod.name
        raise Denied("a token is needed")


class Denials:
    """Counts callers that get nothing, and logs one of them now and then: they may be many."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = Counter("serin_xds_denied", "Requests to the xDS server that were denied.", registry=registry)
        self._silent_until, self._unsaid = 0.0, 0

    def __call__(self, address: str, why: str) -> None:
        """Tell of one."""
        self._counter.inc()
        now = time.monotonic()
        if now < self._silent_until:
            self._unsaid += 1
            return
        log.warning("xds.denied", address=address, why=why, unsaid=self._unsaid)
        self._silent_until, self._unsaid = now + _SAY_EVERY, 0
