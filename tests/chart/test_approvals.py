"""The policy for approvals on a real API server: a right, the writer's own name, and somebody other than the author."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from manifests.generate import CHART, KUBERNETES

from tests.cluster.local import ControlPlane
from tests.integration.operator_process import Cluster

pytestmark = pytest.mark.control_plane

Try = Callable[..., str]


def policy(helm: Path, *settings: str) -> str:
    command = [str(helm), "template", "serin", str(CHART), "--kube-version", KUBERNETES]
    command += ["--show-only", "templates/approvals.yaml", "--set", "approvals.enforce=true", *settings]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(params=[False, True], ids=["names", "separation"])
def separation(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def cluster(control_plane: ControlPlane, helm: Path, separation: bool) -> Iterator[Cluster]:
    """A deployment in a namespace where alice and bob may edit and approve, and carol may only edit."""
    cluster = Cluster(control_plane)
    text = policy(helm, "--set", f"approvals.separation={str(separation).lower()}")
    try:
        cluster.deploy()
        control_plane.kubectl("apply", "-f", "-", input=text)
        everybody = ("--user=alice", "--user=bob", "--user=carol")
        cluster.kubectl("create", "rolebinding", "editors", "--clusterrole=edit", *everybody)
        edit = {"apiGroups": ["serin.dev"], "resources": ["modeldeployments"], "verbs": ["get", "update", "patch"]}
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "edit-models"}}
        cluster.kubectl("apply", "-f", "-", body={**role, "rules": [edit]})
        cluster.kubectl("create", "rolebinding", "models", "--role=edit-models", *everybody)
        cluster.kubectl(
            "create", "rolebinding", "approvers", "--clusterrole=serin-approve", "--user=alice", "--user=bob"
        )
        yield cluster
    finally:
        control_plane.kubectl("delete", "--ignore-not-found", "-f", "-", input=text)
        cluster.remove()


def attempt(cluster: Cluster, user: str, annotations: dict[str, str], **spec: object) -> str:
    """What the API server has against a change; "" when it takes it."""
    patch = {"metadata": {"annotations": annotations}} | ({"spec": spec} if spec else {})
    words = ("patch", "md", "fraud", "--type=merge", f"--as={user}", "-p", json.dumps(patch))
    try:
        cluster.kubectl(*words)
    except Exception as refused:  # of the kind that the cluster's kubectl raises
        return str(refused)
    return ""


def until_enforced(cluster: Cluster) -> None:
    """A policy holds some seconds after it was made."""
    end = time.monotonic() + 60
    number = 0
    while not attempt(cluster, "carol", {"serin.dev/approve": f"{number} by carol"}):
        assert time.monotonic() < end, "the policy is not enforced"
        number += 1
        time.sleep(0.5)


def test_who_may_approve(cluster: Cluster, separation: bool) -> None:
    until_enforced(cluster)
    for annotation in ("serin.dev/approve", "serin.dev/promote"):
        refused = attempt(cluster, "carol", {annotation: "9 by carol"})
        assert "needs the verb approve on modeldeployments.serin.dev" in refused, annotation
        for value in ("9", "9 by bob", "9 by ", "9 by alice by bob"):
            refused = attempt(cluster, "alice", {annotation: value})
            assert 'write the value "TIME by alice"' in refused, value
        assert attempt(cluster, "alice", {annotation: "9 by alice"}) == ""
        assert attempt(cluster, "bob", {annotation: "9 by bob"}) == ""
    # Nothing else needs the right: what carol does to other annotations leaves those of others as they are.
    assert attempt(cluster, "carol", {"serin.dev/pause": "true"}) == ""
    if separation:
        _separated(cluster)
    else:
        assert attempt(cluster, "carol", {}, replicas=3) == ""


def _separated(cluster: Cluster) -> None:
    for value in ({}, {"serin.dev/changed-by": "bob"}):
        assert "write the annotation serin.dev/changed-by: alice" in attempt(cluster, "alice", value, replicas=3)
    assert attempt(cluster, "alice", {"serin.dev/changed-by": "alice"}, replicas=3) == ""
    assert "who has changed the spec cannot approve it" in attempt(
        cluster, "alice", {"serin.dev/approve": "10 by alice"}
    )
    assert "nobody else" in attempt(cluster, "alice", {"serin.dev/changed-by": "carol"})
    assert "nobody else" in attempt(cluster, "bob", {"serin.dev/changed-by": "bob"})
    assert attempt(cluster, "bob", {"serin.dev/approve": "10 by bob"}) == ""
    cluster.kubectl("scale", "md", "fraud", "--replicas=4")


def test_without_it_there_is_no_policy_and_no_right(helm: Path) -> None:
    command = [str(helm), "template", "serin", str(CHART), "--kube-version", KUBERNETES]
    plain = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = [one["metadata"]["name"] for one in yaml.safe_load_all(plain) if one]
    assert not {"serin-approve", "serin-approvals"} & set(names)
    command += ["--set", "approvals.separation=true"]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "approvals.separation needs approvals.enforce" in refused.stderr
