"""Each scenario twice: on the simulated server alone, and on a real one, whose answers the simulated one must give."""

import difflib
import json
from collections.abc import Callable
from itertools import count
from secrets import token_hex
from typing import Any

import pytest

from tests import crds
from tests.cluster.access import Cluster
from tests.conformance.harness import Scenario, play_real, play_simulated
from tests.integration.operator_process import wait_for_storage

SIMULATED, REAL = "simulated", "real"
_numbers = count()
_RUN = token_hex(3)  # clusters may outlive the tests

Play = Callable[[Scenario], None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for `play` on both."""
    if "play" in metafunc.fixturenames:
        metafunc.parametrize("play", [SIMULATED, REAL], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The half that runs on a real server needs one."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if isinstance(item, pytest.Function) and callspec and callspec.params.get("play") == REAL:
            item.fixturenames = [*item.fixturenames, "control_plane"]


@pytest.fixture(scope="session")
def with_crds(request: pytest.FixtureRequest) -> Cluster:
    """The real server, once it knows the CRDs."""
    control_plane: Cluster = request.getfixturevalue("control_plane")
    control_plane.kubectl("apply", "--server-side", "-f", str(crds.ROOT / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(crds.ROOT / "crds"))
    wait_for_storage(control_plane.rest)
    return control_plane


def _difference(real: Any, simulated: Any) -> str:
    one, other = (json.dumps(said, indent=1, sort_keys=True).splitlines() for said in (real, simulated))
    lines = difflib.unified_diff(one, other, "real", "simulated", lineterm="", n=4)
    return "\n".join(["the simulation is wrong:", *lines])


@pytest.fixture
def play(request: pytest.FixtureRequest) -> Play:
    """Run a scenario; on the real server, compare every answer with the simulated one's."""

    def on_both(scenario: Scenario) -> None:
        cluster: Cluster = request.getfixturevalue("with_crds")
        namespace = f"conform-{_RUN}-{next(_numbers)}"
        said: Any = play_real(scenario, cluster.kubeconfig, namespace)
        simulated = play_simulated(scenario, namespace)
        for real, ours in zip(said, simulated, strict=True):
            assert ours == real, _difference(real, ours)

    def alone(scenario: Scenario) -> None:
        play_simulated(scenario)

    return on_both if request.param == REAL else alone
