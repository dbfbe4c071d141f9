"""The traffic of a deployment, read from Prometheus with the user's own rights.

The way that needs nothing but a kubeconfig: the API server's proxy to the Service of the Prometheus that the operator
itself uses, whose address stands in the operator's Deployment. It needs `get` of that Deployment and of
`services/proxy`. Where Prometheus is outside of the cluster or asks for credentials, `--prometheus` names an address
that answers from here, such as that of a port-forward.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from serin.analysis.traffic import Traffic
from serin.analysis.types import NoData
from serin.api.conditions import Reason
from serin.api.names import SYSTEM_NAMESPACE
from serin.cli.connection import Connection, explained
from serin.cli.exit_codes import Exit, Stop
from serin.cli.rehearse.plan import Plan
from serin.cluster import kinds
from serin.cluster.protocol import ClusterError
from serin.metrics.answers import Answer, Ask, Failed, answer_of
from serin.metrics.enforced import read_matchers
from serin.metrics.promql import Matcher, PromQLError
from serin.metrics.sources import RatioSource, restricted
from serin.metrics.traffic import WINDOW, measure

OPERATOR: Final = "serin-operator"
_MATCHERS: Final = "SERIN_ROUTER_MATCHERS"
_TIMEOUT_SECONDS: Final = 30.0
_ELSE: Final = "write --prometheus URL with an address of Prometheus that answers from here, or --rps and --error-rate"


def traffic(plan: Plan, namespace: str, ask: Ask, now: float, router: tuple[Matcher, ...] = ()) -> dict[str, Traffic]:
    """Traffic of each ratio metric, over the last quarter of an hour. Raises Stop when Prometheus has none.

    `router`: matchers that the router's own series fit.
    """
    found: dict[str, Traffic] = {}
    place = namespace, plan.name
    for name, source in plan.ratios().items():
        believed = restricted(source, router) if name in plan.of_router else source
        assert isinstance(believed, RatioSource)
        measured = asyncio.run(measure(ask, believed, [place], now))
        if isinstance(measured, NoData):
            raise Stop(Exit.NO_ACCESS, f"the traffic of {plan.name} cannot be measured: {measured.message}. {_ELSE}")
        if place in measured:
            found[name] = measured[place]
    if not found:
        minutes = f"{WINDOW / 60:.0f} minutes"
        raise Stop(
            Exit.NOT_FOUND,
            f"Prometheus has no requests of {plan.name} in namespace {namespace} in the last {minutes}: {_ELSE}",
        )
    return found


def through_cluster(connection: Connection) -> tuple[Ask, tuple[Matcher, ...]]:
    """Ask the operator's Prometheus through the API server; and which series of the router the operator believes."""
    try:
        body = connection.get(kinds.DEPLOYMENT, SYSTEM_NAMESPACE, OPERATOR)
    except ClusterError as error:
        said = explained(error, f"Deployment {OPERATOR} in namespace {SYSTEM_NAMESPACE}, which names Prometheus")
        raise Stop(said.code, f"{said.message}. {_ELSE}") from error
    address = _variable(body, "SERIN_PROMETHEUS_URL")
    if not address:
        raise Stop(Exit.NOT_FOUND, f"the Deployment {OPERATOR} does not say where Prometheus is. {_ELSE}")
    path = proxy_path(address)

    async def ask(query: str, at: float) -> Answer:
        try:
            return answer_of(connection.read(f"{path}/api/v1/query", {"query": query, "time": f"{at:.3f}"}))
        except ClusterError as error:
            raise Stop(Exit.NO_ACCESS, f"no answer from Prometheus through {path}: {error.message}. {_ELSE}") from error
        except (KeyError, TypeError) as error:
            raise Stop(Exit.NO_ACCESS, f"what answers at {path} is not Prometheus. {_ELSE}") from error

    return ask, _believed(body)


def _believed(body: Mapping[str, Any]) -> tuple[Matcher, ...]:
    """Which series of the router the operator believes. Raises Stop."""
    try:
        return read_matchers(_variable(body, _MATCHERS))
    except PromQLError as error:
        raise Stop(
            Exit.NO_ACCESS,
            f"{_MATCHERS} in the Deployment {OPERATOR} of namespace {SYSTEM_NAMESPACE} cannot be read: {error}, as the "
            f"chart's value prometheus.routerMatchers. {_ELSE}",
        ) from error


def at_address(url: str) -> Ask:
    """Ask Prometheus at an address that answers from here."""
    import urllib3

    pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT_SECONDS)

    async def ask(query: str, at: float) -> Answer:
        fields = {"query": query, "time": f"{at:.3f}"}
        try:
            answer = pool.request("GET", f"{url.rstrip('/')}/api/v1/query", fields=fields)
            return answer_of(json.loads(answer.data))
        except urllib3.exceptions.HTTPError as error:
            return Failed(Reason.PROMETHEUS_UNREACHABLE, f"no answer from {url}: {error}")
        except (ValueError, KeyError, TypeError):
            return Failed(Reason.PROMETHEUS_UNREACHABLE, f"what answers at {url} is not Prometheus")

    return ask


def _variable(deployment: Mapping[str, Any], name: str) -> str:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    found = (one for container in containers for one in container.get("env") or () if one["name"] == name)
    return next((str(one["value"]) for one in found if one.get("value")), "")


def proxy_path(url: str) -> str:
    """The path of the API server's proxy to a Service that a URL inside the cluster names. Raises Stop for others."""
    parts = urlsplit(url)
    name, *rest = (parts.hostname or "").split(".")
    if len(rest) not in (1, 2, 4) or rest[1:] not in ([], ["svc"], ["svc", "cluster", "local"]):
        raise Stop(Exit.NO_ACCESS, f"the operator's Prometheus, {url}, is no Service of the cluster: {_ELSE}")
    scheme = "https:" if parts.scheme == "https" else ""
    port = parts.port or (443 if scheme else 80)
    return f"/api/v1/namespaces/{rest[0]}/services/{scheme}{name}:{port}/proxy{parts.path.rstrip('/')}"
