"""Who may ask the xDS server: the pods behind Serin's own Services, by their tokens."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from serin.api.json import JsonObject
from serin.cluster import kinds
from serin.cluster.cache import ObjectCache
from serin.routers.endpoints import SERVICE_LABEL
from serin.routers.envoy.pod_access import Denials, PodAccess
from serin.routers.envoy.service_pods import ServicePods
from serin.routers.envoy.tokens import Tokens
from serin.routers.envoy.xds.access import Denied
from tests.unit.routers.context import until
from tests.unit.routers.issuer import SYSTEM, Issuer

# Name -> address of the pods that the watch shows behind each Service.
ROUTERS = {"router-1": "10.0.0.1", "router-2": "10.0.0.2"}
OPERATORS = {"operator-1": "10.0.1.1"}


def slice_of(service: str, pods: dict[str, str], namespace: str = SYSTEM, version: str = "1") -> JsonObject:
    """As Kubernetes makes it: also of pods that are not ready, like a router without its first configuration."""
    return {
        "metadata": {
            "namespace": namespace,
            "name": f"{service}-x",
            "uid": f"{namespace}-{service}",
            "resourceVersion": version,
            "labels": {SERVICE_LABEL: service},
        },
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": False},
                "targetRef": {"kind": "Pod", "name": name, "uid": f"uid-{name}"},
            }
            for name, address in pods.items()
        ],
    }


def pod(name: str) -> JsonObject:
    return {"metadata": {"namespace": SYSTEM, "name": name, "uid": f"uid-{name}", "resourceVersion": "1"}}


class Bench:
    """A cluster with two router pods and one operator pod, all of a chart that gives them tokens."""

    def __init__(self) -> None:
        self.issuer, self.cache = Issuer(), ObjectCache()
        pods = ServicePods(self.cache, SYSTEM)
        self.cache.put(kinds.ENDPOINT_SLICE, slice_of("serin-router", ROUTERS))
        self.cache.put(kinds.ENDPOINT_SLICE, slice_of("serin-xds", OPERATORS))
        self.cache.put(kinds.ENDPOINT_SLICE, slice_of("serin-router", {"router-9": "10.0.9.9"}, "shop"))
        for name in (*ROUTERS, *OPERATORS):
            self.cache.put(kinds.POD, pod(name))
        self.tokens = Tokens(self.issuer.read_keys)
        self.access = PodAccess(self.cache, pods, self.tokens, SYSTEM)


@pytest.fixture
async def it() -> Bench:
    bench = Bench()
    reading = asyncio.create_task(bench.tokens.run())
    await until(lambda: bench.issuer.reads)
    reading.cancel()
    return bench


async def test_a_router_is_known_wherever_it_asks_from(it: Bench) -> None:
    """Its address may be a node's, where traffic is masqueraded."""
    for address in ("10.0.0.1", "192.168.0.7"):
        assert it.access.router(address, it.issuer.token("router-1")) == "router-1"
    it.access.replica("10.0.1.1", it.issuer.token("operator-1", account="serin-operator"))


@pytest.mark.parametrize(
    ("pod", "uid", "account", "why"),
    [
        ("router-3", "", "serin-router", "not behind the Service"),
        ("router-1", "uid-of-an-earlier-pod", "serin-router", "not behind the Service"),
        ("router-9", "", "serin-router", "not behind the Service"),
        ("router-1", "", "default", "not of serin-router"),
        ("operator-1", "", "serin-operator", "not of serin-router"),
    ],
)
async def test_the_token_of_another_pod_is_denied(it: Bench, pod: str, uid: str, account: str, why: str) -> None:
    with pytest.raises(Denied, match=why):
        it.access.router("10.0.0.1", it.issuer.token(pod, uid, account=account))


async def test_the_same_account_in_another_namespace_is_another_one(it: Bench) -> None:
    inside = {
        "namespace": "shop",
        "serviceaccount": {"name": "serin-router"},
        "pod": {"name": "router-1", "uid": "uid-router-1"},
    }
    with pytest.raises(Denied, match="shop/serin-router"):
        it.access.router("10.0.0.1", it.issuer.token("router-1", **{"kubernetes.io": inside}))


async def test_a_router_may_not_ask_for_what_replicas_tell_each_other(it: Bench) -> None:
    with pytest.raises(Denied):
        it.access.replica("10.0.0.1", it.issuer.token("router-1"))


async def test_a_token_ends_with_its_pod(it: Bench) -> None:
    token = it.issuer.token("router-1")
    assert it.access.router("10.0.0.1", token) == "router-1"
    it.cache.put(kinds.ENDPOINT_SLICE, slice_of("serin-router", {"router-2": "10.0.0.2"}, version="2"))
    with pytest.raises(Denied):
        it.access.router("10.0.0.1", token)
    assert it.access.router("10.0.0.2", it.issuer.token("router-2")) == "router-2"


async def test_without_a_token_an_address_alone_is_not_enough(it: Bench) -> None:
    for address in ("10.0.0.1", "10.9.9.9", ""):
        with pytest.raises(Denied, match="a token is needed"):
            it.access.router(address, "")
    with pytest.raises(Denied, match="a token is needed"):
        it.access.replica("10.0.1.1", "")


async def test_a_pod_from_before_tokens_is_known_until_it_is_replaced(it: Bench) -> None:
    """Else it would serve what was routed before the upgrade until it is gone, a rollback's route not among it."""
    it.cache.put(kinds.ENDPOINT_SLICE, slice_of("serin-router", {**ROUTERS, "router-old": "10.0.0.3"}, version="2"))
    it.cache.put(kinds.ENDPOINT_SLICE, slice_of("serin-xds", {**OPERATORS, "operator-old": "10.0.1.3"}, version="2"))
    assert it.access.router("10.0.0.3", "") == "router-old"
    it.access.replica("10.0.1.3", "")
    with pytest.raises(Denied):
        it.access.router("10.0.0.3", Issuer().token("router-old"))
    with pytest.raises(Denied):
        it.access.router("10.0.1.3", "")
    it.cache.put(kinds.ENDPOINT_SLICE, slice_of("serin-router", ROUTERS, version="3"))
    with pytest.raises(Denied):
        it.access.router("10.0.0.3", "")


async def test_addresses_of_pods_that_may_ask_are_known(it: Bench) -> None:
    assert [it.access.knows(one) for one in ("10.0.0.1", "10.0.1.1", "10.0.9.9", "10.9.9.9")] == [
        True,
        True,
        False,
        False,
    ]


def test_many_denials_are_counted_and_few_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    registry = CollectorRegistry()
    denials = Denials(registry)
    for _ in range(1000):
        denials("10.9.9.9", "a token is needed")
    assert registry.get_sample_value("serin_xds_denied_total") == 1000
    assert capsys.readouterr().out.count("xds.denied") == 1
