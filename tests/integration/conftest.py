"""What several of these files start from: a cluster's objects, an operator process's surroundings, the command line."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from serin.routers.envoy.xds import delivery
from tests.cluster import kwok
from tests.integration.cli_rig import Serin
from tests.integration.operator_process import Cluster


@pytest.fixture(autouse=True)
def no_route_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real Envoy proves in time what it has; a route that waits for its proof would wait for ever here."""
    monkeypatch.setattr(delivery, "GRACE", 3600.0)


@pytest.fixture
def cluster(control_plane: Any) -> Iterator[Cluster]:
    """Namespaces of the test's own; they go with it."""
    made = Cluster(control_plane)
    yield made
    made.remove()


@pytest.fixture
def simulated_nodes(control_plane: Any) -> None:
    """For tests in which a real node would not keep still: it goes on trying to pull images that do not exist."""
    nodes = json.loads(control_plane.kubectl("get", "nodes", "-o", "json"))["items"]
    if not all(kwok.ANNOTATION in one["metadata"].get("annotations", {}) for one in nodes):
        pytest.skip("the cluster in SERIN_TEST_KUBECONFIG has a real node; `make control-plane` starts one without")


@pytest.fixture
def serin(cluster: Cluster, control_plane: Any, capsys: pytest.CaptureFixture[str]) -> Serin:
    """The command line, as a user runs it on that cluster."""
    return Serin(cluster, control_plane.kubeconfig, capsys)
