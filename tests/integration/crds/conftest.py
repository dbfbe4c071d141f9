"""A control plane that knows the CRDs, with a namespace of these tests and one in which nothing may ever be stored."""

import secrets
from collections.abc import Iterator

import pytest

from tests import crds
from tests.cluster.access import Cluster
from tests.integration.crds.rig import Api
from tests.integration.operator_process import wait_for_storage

NAMESPACE = f"crds-{secrets.token_hex(3)}"  # of its own, for clusters that outlive the tests


@pytest.fixture(scope="package")
def installed(control_plane: Cluster) -> Cluster:
    """A control plane that knows the CRDs."""
    control_plane.kubectl("apply", "-f", str(crds.ROOT / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(crds.ROOT / "crds"))
    wait_for_storage(control_plane.rest)
    return control_plane


@pytest.fixture(scope="package")
def api(installed: Cluster) -> Iterator[Api]:
    installed.kubectl("create", "namespace", NAMESPACE)
    api = Api(installed, NAMESPACE)
    yield api
    api("delete", "md,msnap,mtpl", "--all", "--wait=false")
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="package")
def nowhere(installed: Cluster) -> Iterator[Api]:
    """A namespace in which everything is refused; at the end there must be nothing in it."""
    installed.kubectl("create", "namespace", f"{NAMESPACE}-refused")
    nowhere = Api(installed, f"{NAMESPACE}-refused")
    yield nowhere
    stored = nowhere("get", "md,msnap,mtpl", "-o", "name")
    installed.kubectl("delete", "namespace", f"{NAMESPACE}-refused", "--wait=false")
    assert stored == "", "stored although refused"
