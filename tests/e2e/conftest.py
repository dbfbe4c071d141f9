"""Serin, installed once from its chart into the node cluster, and a namespace with a healthy model for each module."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import together
from tests.cluster.node_cluster import NodeCluster
from tests.e2e.fraud import NAME, fraud
from tests.e2e.install import Installation, install
from tests.e2e.models.image import PORT, model_image
from tests.e2e.models.train import Cases, trained
from tests.e2e.shop import Shop
from tests.e2e.traffic import Traffic

PROMETHEUS = "http://prometheus.monitoring.svc:9090"
RATE = 50.0


@pytest.fixture(scope="session")
def serin(own_node_cluster: NodeCluster, helm: Path) -> Installation:
    made = Installation(own_node_cluster, model_image().reference)
    together.once("serin", lambda: install(own_node_cluster, helm, PROMETHEUS))
    return made


@pytest.fixture(scope="session")
def cases() -> Cases:
    return Cases.load(trained())


@pytest.fixture(scope="module")
def shop(serin: Installation, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A namespace of the module's own, with version 1 serving."""
    name = (
        f"{request.module.__name__.rsplit('.', 1)[-1].removeprefix('test_').replace('_', '-')}-{uuid.uuid4().hex[:5]}"
    )
    serin.cluster.kubectl("create", "namespace", name)
    shop = Shop(serin.cluster, name)
    shop.apply(fraud(serin.model, "1"))
    shop.wait_serving(NAME, "1")
    yield shop
    print(f"\n{shop.story(NAME)}")
    serin.cluster.kubectl("delete", "namespace", name, "--wait=false")


Apply = Callable[..., None]


@pytest.fixture
def version(shop: Shop, serin: Installation, request: pytest.FixtureRequest) -> Iterator[Apply]:
    """Apply a version of the model that no other test has tried; afterwards stable serves alone again."""

    def apply(number: str, *, config: dict[str, str] | None = None, **more: Any) -> None:
        # A rejected content is refused for ever, so every test's is its own.
        mine = {**(config or {}), "case": request.node.name[:60].replace("[", ".").replace("]", "")}
        shop.apply(fraud(serin.model, number, config=mine, **more))

    yield apply
    if shop.status(NAME).get("candidate"):
        shop.annotate(NAME, f"serin.dev/abort={request.node.name[:60]}")
        shop.wait(NAME, "aborted", lambda status: not status.get("candidate"))
    print(f"\n{shop.story(NAME)}")


@pytest.fixture
def traffic(shop: Shop, cases: Cases) -> Iterator[Traffic]:
    """A steady load on the model's Service, all of it answered before the test begins."""
    with Traffic(f"http://{shop.address(NAME)}:{PORT}", cases, rate=RATE) as sending:
        sending.settle()
        yield sending
    print(f"\n{sending.summary()}")
