"""A step that two people have to approve: a real API server says who may, and a real operator counts."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serin.api import names
from serin.cli.exit_codes import Exit
from tests.chart.test_approvals import policy
from tests.integration.cli_rig import Serin
from tests.integration.operator_process import Cluster, operating, routing, until
from tests.integration.test_cli_actions import user
from tests.integration.test_operator_life import ROUTER, router

pytestmark = pytest.mark.control_plane

STEPS = {"canary": {"steps": [{"pause": {"approvals": 2}}, {"weight": 5, "bake": "1h"}]}}


@pytest.fixture
def enforced(control_plane: Any, helm: Path) -> Iterator[None]:
    """The chart's policy, as it is with approvals.enforce."""
    text = policy(helm)
    control_plane.kubectl("apply", "-f", "-", input=text)
    yield
    control_plane.kubectl("delete", "--ignore-not-found", "-f", "-", input=text)


@pytest.mark.usefixtures("enforced")
async def test_two_people_approve_and_the_api_server_knows_who(
    control_plane: Any, cluster: Cluster, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    people = {one: _person(cluster, control_plane, tmp_path, capsys, one) for one in ("alice", "bob", "carol")}
    approve_role = (
        "--clusterrole=serin-approve",
        *(f"--serviceaccount={cluster.shop}:{one}" for one in ("alice", "bob")),
    )
    cluster.kubectl("create", "rolebinding", "approvers", *approve_role)
    alice, bob = (f"system:serviceaccount:{cluster.shop}:{one}" for one in ("alice", "bob"))
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(router(cluster)))
    async with operating(control_plane, cluster, tmp_path) as (operator, _), routing(operator, ROUTER):
        cluster.deploy(replicas=1)
        await until(lambda: cluster.make_pods_ready() and "stable" in cluster.status(), what="serving")
        old = await _waiting(cluster, "2")
        await _until_refused(people["carol"])

        refused = await asyncio.to_thread(people["carol"], "approve", "fraud")
        assert refused.code != Exit.DONE
        assert "needs the verb approve on modeldeployments.serin.dev" in refused.err
        assert f'write the value "TIME by {bob}"' in _written(cluster, bob, f"1 for {old}/1 by {alice}")
        for _ in range(2):
            taken = await asyncio.to_thread(people["alice"], "approve", "fraud")
            assert taken.code == Exit.DONE, taken.err
            assert f"of 2 people, so far {alice}" in cluster.status()["message"]

        new = await _waiting(cluster, "3")
        assert "approvals" not in cluster.status(), "what alice has said was of the version before"
        assert _written(cluster, bob, f"2 for {old}/1 by {bob}") == ""
        await until(lambda: _handled(cluster).startswith("2 for"), what="the operator's answer")
        assert "approvals" not in cluster.status(), "bob had looked at the version before"
        for who in ("bob", "alice"):
            taken = await asyncio.to_thread(people[who], "approve", "fraud")
            assert taken.code == Exit.DONE, taken.err
        await until(lambda: cluster.status()["step"].get("index") == 2, what="the next step")
        assert [(one["step"], one["by"]) for one in cluster.status()["approvals"]] == [(1, bob), (1, alice)]
        assert cluster.status()["candidate"]["snapshot"] == new


def _person(
    cluster: Cluster, control_plane: Any, folder: Path, capture: pytest.CaptureFixture[str], name: str
) -> Serin:
    """Somebody who may read and edit, with the command line."""
    may = ["get", "list", "update", "patch"]
    return Serin(cluster, user(cluster, control_plane.kubeconfig, folder, name, may), capture)


async def _waiting(cluster: Cluster, version: str) -> str:
    """Apply a version, wait until its first step waits for people, and return its snapshot."""
    cluster.deploy(version=version, replicas=1, strategy=STEPS)

    def waits() -> bool:
        cluster.make_pods_ready()
        status = cluster.status()
        return status.get("observedGeneration") == int(version) and "waits for approval" in status.get("message", "")

    await until(waits, what="a step that waits for people")
    snapshot: str = cluster.status()["candidate"]["snapshot"]
    return snapshot


async def _until_refused(carol: Serin) -> None:
    """A policy holds some seconds after it was made. Until then her approval is one; it is not counted on."""
    end = time.monotonic() + 60.0
    words = ("patch", "md", "fraud", "--type=merge", "--dry-run=server")
    patch = json.dumps({"metadata": {"annotations": {names.ANNOTATION_APPROVE: "0"}}})
    account = f"system:serviceaccount:{carol.cluster.shop}:carol"
    while not _refusal(carol.cluster, *words, f"--as={account}", "-p", patch):
        assert time.monotonic() < end, "the policy is not enforced"
        await asyncio.sleep(0.5)


def _written(cluster: Cluster, user: str, value: str) -> str:
    """What the API server has against a value of the annotation; "" when it takes it."""
    patch = json.dumps({"metadata": {"annotations": {names.ANNOTATION_APPROVE: value}}})
    return _refusal(cluster, "patch", "md", "fraud", "--type=merge", f"--as={user}", "-p", patch)


def _refusal(cluster: Cluster, *words: str) -> str:
    try:
        cluster.kubectl(*words)
    except Exception as refused:  # of the kind that the cluster's kubectl raises
        return str(refused)
    return ""


def _handled(cluster: Cluster) -> str:
    """The approval that the operator has taken up last."""
    return str((cluster.status().get("handled") or {}).get(names.ANNOTATION_APPROVE, ""))
