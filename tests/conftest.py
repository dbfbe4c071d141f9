"""Clusters that all tests of a session share; each starts when the first test needs it.

A test changes only what it made itself: the clusters are shared. With `SERIN_TEST_KUBECONFIG` both fixtures are that
cluster instead, and what cannot be done to somebody else's cluster (restarting its API server) skips its test.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from tests import together
from tests.cluster import binaries, launcher, packages
from tests.cluster.access import Cluster
from tests.cluster.errors import BuildFailed, Unavailable
from tests.cluster.local import ControlPlane
from tests.cluster.node_cluster import NodeCluster

pytest_plugins = ("tests.side_by_side", "tests.budget")

KUBECONFIG_VARIABLE = "SERIN_TEST_KUBECONFIG"
SIMULATED_NODES = 3

TOOLS = {
    "helm": ("helm",),
    "node_cluster": ("serin-kube", "coredns"),
    "control_plane": ("serin-kube", "kwok"),
    "node_tools": ("serin-kube", "coredns"),
    "kube_tools": ("serin-kube", "kwok"),
    # Needs none of them, but measures seconds: not while builds take every core.
    "debian_packages": ("serin-kube", "kwok", "helm", "coredns"),
}
"""What must be built before a fixture can start.

In the order in which their tests begin: those that need nothing run before all, while tools are built; then the two
groups that share a cluster, so that each of two processes takes one; last what can fill either.
"""

MARKERS = {"control_plane": "control_plane", "node_cluster": "node"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the cluster that they use, and put those that need none first."""
    for item in items:
        for fixture, marker in MARKERS.items():
            if fixture in _fixtures(item):
                item.add_marker(marker)
    items.sort(key=lambda item: max((list(TOOLS).index(name) + 1 for name in _needed(item)), default=0))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start building what the selected tests need, beside those that need nothing."""
    if not session.config.option.collectonly and not os.environ.get(KUBECONFIG_VARIABLE):
        selected = (tool for item in session.items for name in _needed(item) for tool in TOOLS[name])
        binaries.prepare(dict.fromkeys(selected))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for builds outside of the test's own time limit, with their progress in sight."""
    capture = item.config.pluginmanager.getplugin("capturemanager")
    if not os.environ.get(KUBECONFIG_VARIABLE) and capture:
        with capture.global_and_fixture_disabled(), contextlib.suppress(BuildFailed):  # the fixture says it again
            for tool in (tool for name in _needed(item) for tool in TOOLS[name]):
                binaries.path(tool)
    return (yield)


def _fixtures(item: pytest.Item) -> Sequence[str]:
    return getattr(item, "fixturenames", ())


def _needed(item: pytest.Item) -> list[str]:
    return [name for name in TOOLS if name in _fixtures(item)]


def _external() -> Cluster | None:
    chosen = os.environ.get(KUBECONFIG_VARIABLE)
    if not chosen:
        return None
    if not Path(chosen).is_file():
        raise pytest.UsageError(f"{KUBECONFIG_VARIABLE}={chosen}: no such file")
    return launcher.attach_kubeconfig(Path(chosen))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server with controllers and three simulated nodes; needs no root."""
    cluster = _external()
    if cluster:
        yield cluster
        return
    own = launcher.start_control_plane(tmp_path_factory.mktemp("control-plane"), nodes=SIMULATED_NODES)
    yield own
    launcher.end(own, keep_logs=True)


@pytest.fixture(scope="session")
def own_control_plane(control_plane: Cluster) -> ControlPlane:
    """The same, for tests that stop its components; skips them on somebody else's cluster."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip(f"{KUBECONFIG_VARIABLE} is set: that cluster's components are not ours to stop")
    return control_plane


@pytest.fixture(scope="session")
def node_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose one node really runs pods; needs root."""
    cluster = _external()
    if cluster:
        yield cluster
        return
    with ExitStack() as stack:
        try:
            own = stack.enter_context(together.node_cluster(tmp_path_factory.mktemp("node-cluster")))
        except Unavailable as reason:
            _leave_out(reason)
        yield own


@pytest.fixture(scope="session")
def debian_packages() -> None:
    """For tests that run programs of Debian packages themselves (Prometheus, ctr): installed when missing."""
    try:
        packages.ensure()
    except Unavailable as reason:
        _leave_out(reason)


@pytest.fixture(scope="session")
def alertmanager_program() -> Path:
    """Alertmanager's own, of a Debian package."""
    try:
        packages.ensure(packages.ALERTMANAGER)
    except Unavailable as reason:
        _leave_out(reason)
    return Path(packages.program("prometheus-alertmanager"))


def _leave_out(reason: Unavailable) -> NoReturn:
    if os.environ.get("CI"):
        raise reason  # in CI a test that is silently left out is a broken promise
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
def own_node_cluster(node_cluster: Cluster) -> NodeCluster:
    """The same, for tests of what only our own node has; skips them on somebody else's cluster."""
    if not isinstance(node_cluster, NodeCluster):
        pytest.skip(f"{KUBECONFIG_VARIABLE} is set, and that is not a node of ours")
    return node_cluster


@pytest.fixture(scope="session")
def kube_tools() -> None:
    """For tests that start a control plane of their own: its tools are built when the test starts."""


@pytest.fixture(scope="session")
def node_tools() -> None:
    """The same, for a node of their own."""


@pytest.fixture(scope="session")
def helm() -> Path:
    """The pinned helm."""
    return binaries.path("helm")
