"""What a person asks for: the annotation that each verb sets, what it refuses to set, the operator's answer."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serin.api import names
from serin.cli.exit_codes import Exit
from tests.integration.cli_rig import Serin, await_right, put
from tests.integration.operator_process import Cluster, operating, until
from tests.narratives import stories
from tests.narratives.film import film

pytestmark = pytest.mark.control_plane

APPROVAL, BAKING = "Paused-WaitingForApproval", "Progressing-Baking"
REJECTED, PAUSED, SERVING = "Healthy-RejectedContent", "Paused-PausedByUser", "Healthy-Serving"
GOING_BACK = next(one for one in film(stories.goes_back_after_promotion) if one.state == "RollingBack-RollingBack")
SECOND = next(
    frame
    for frame in film(stories.goes_back_after_promotion)
    if frame.facts.reason == "Serving" and frame.facts.version(str(frame.facts.state.stable)) == "model 2"
)


@pytest.mark.parametrize(
    ("verb", "annotation", "frame"),
    [
        ("approve", names.ANNOTATION_APPROVE, APPROVAL),
        ("pause", names.ANNOTATION_PAUSE, BAKING),
        ("promote", names.ANNOTATION_PROMOTE, BAKING),
        ("abort", names.ANNOTATION_ABORT, BAKING),
        ("retry", names.ANNOTATION_RETRY, REJECTED),
    ],
)
def test_a_verb_sets_its_annotation_to_a_new_value_and_nothing_else(
    serin: Serin, verb: str, annotation: str, frame: Any
) -> None:
    before = put(serin.cluster, frame)
    ended = serin(verb, "fraud", "--no-wait")
    assert (ended.code, ended.out) == (Exit.DONE, f"fraud: asked to {verb}\n")
    after = serin.cluster.read("md", "fraud", managed=True)
    value = after["metadata"]["annotations"][annotation]
    assert value
    assert value != before["metadata"].get("annotations", {}).get(annotation)
    others = {key: one for key, one in after["metadata"]["annotations"].items() if key != annotation}
    assert others == {key: one for key, one in before["metadata"].get("annotations", {}).items() if key != annotation}
    assert after["spec"] == before["spec"]
    assert after["status"] == before["status"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    managed = after["metadata"]["managedFields"]
    owners = [one["manager"] for one in managed if annotation in str(one["fieldsV1"].get("f:metadata"))]
    assert owners == ["serin-cli"]
    if verb != "pause":
        assert serin(verb, "fraud", "--no-wait").code == Exit.DONE
        again = serin.cluster.read("md", "fraud")["metadata"]["annotations"][annotation]
        assert again != value, "the operator acts once on a value: asking again needs another"


def test_resume_removes_what_pause_has_set(serin: Serin) -> None:
    put(serin.cluster, PAUSED)
    assert serin("resume", "fraud", "--no-wait").code == Exit.DONE
    assert names.ANNOTATION_PAUSE not in serin.cluster.read("md", "fraud")["metadata"].get("annotations", {})


@pytest.mark.parametrize(
    ("verb", "frame", "why"),
    [
        ("approve", BAKING, "the rollout does not stand in a pause step"),
        ("approve", SERVING, "no version is under evaluation (fraud serves model 1)"),
        ("promote", REJECTED, "no version is under evaluation"),
        ("abort", SERVING, "no version is under evaluation"),
        ("retry", SERVING, "the version that the spec describes was not rejected"),
        ("retry", GOING_BACK, "it is on its way back to an earlier version"),
        ("pause", PAUSED, "it is paused already"),
        ("resume", BAKING, "it is not paused"),
    ],
)
def test_what_fits_nothing_is_refused_and_not_written(serin: Serin, verb: str, frame: Any, why: str) -> None:
    before = put(serin.cluster, frame)
    ended = serin(verb, "fraud")
    assert ended.code == Exit.NO
    assert f"nothing to {verb}: {why}" in ended.err
    assert serin.cluster.read("md", "fraud") == before


def test_rollback_asks_for_the_version_before_or_for_one_by_name(serin: Serin) -> None:
    before = put(serin.cluster, SECOND)
    (first,) = {one["metadata"]["name"] for one in SECOND.snapshots} - {SECOND.facts.state.stable}
    for words, asked in (((), "previous"), (("--to", first), first)):
        ended = serin("rollback", "fraud", *words, "--no-wait")
        assert (ended.code, ended.out) == (Exit.DONE, "fraud: asked to roll back\n"), ended.err
        after = serin.cluster.read("md", "fraud")
        name, _, moment = after["metadata"]["annotations"][names.ANNOTATION_ROLLBACK_TO].partition("@")
        assert name == asked
        assert moment
        assert (after["spec"], after["status"]) == (before["spec"], before["status"])


@pytest.mark.parametrize(
    ("frame", "words", "why"),
    [
        (SERVING, [], "no version that was stable before"),
        (SERVING, ["--to", "fraud-zzzzzzzzzz"], '"fraud-zzzzzzzzzz" is no snapshot of fraud'),
        (SECOND, ["--to", str(SECOND.facts.state.stable)], "is stable already. Write one of: "),
        (GOING_BACK, ["--to", GOING_BACK.facts.state.manual_rollback.target], "is on its way already"),
    ],
)
def test_what_is_no_way_back_is_refused_and_not_written(serin: Serin, frame: Any, words: list[str], why: str) -> None:
    before = put(serin.cluster, frame)
    ended = serin("rollback", "fraud", *words)
    assert ended.code == Exit.NO
    assert why in ended.err
    assert serin.cluster.read("md", "fraud") == before


def test_an_operator_that_does_not_answer_is_said(serin: Serin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serin.cli.actions.ANSWER_SECONDS", 1.0)
    put(serin.cluster, APPROVAL)
    ended = serin("approve", "fraud")
    assert ended.code == Exit.TIMED_OUT
    assert "the operator has not answered in 1s. The request stays" in ended.err


def test_the_users_own_rights_are_enough(
    serin: Serin, control_plane: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Reading needs get and list of Serin's kinds, asking needs patch of ModelDeployments; pods are an extra."""
    cluster = serin.cluster
    put(cluster, APPROVAL)
    readers = Serin(cluster, user(cluster, control_plane.kubeconfig, tmp_path, "reader", ["get", "list"]), capsys)
    for verb in ("status", "explain", "history", "list"):
        ended = readers(*((verb, "fraud") if verb != "list" else (verb,)))
        assert (ended.code, ended.err) == (Exit.DONE, "") or "explain fraud" in ended.err
        assert "fraud" in ended.out
    ended = readers("approve", "fraud")
    assert ended.code == Exit.NO_ACCESS
    assert 'cannot patch resource "modeldeployments"' in ended.err
    approver = user(cluster, control_plane.kubeconfig, tmp_path, "approver", ["get", "patch"])
    assert Serin(cluster, approver, capsys)("approve", "fraud", "--no-wait").code == Exit.DONE
    nobody = user(cluster, control_plane.kubeconfig, tmp_path, "nobody", ["watch"])
    ended = Serin(cluster, nobody, capsys)("status", "fraud")
    assert ended.code == Exit.NO_ACCESS
    assert 'cannot get resource "modeldeployments"' in ended.err


def user(cluster: Cluster, kubeconfig: Path, folder: Path, name: str, may: list[str]) -> Path:
    """A kubeconfig of somebody who may do only this with Serin's kinds in the test's namespace."""
    cluster.kubectl("create", "serviceaccount", name)
    resources = "modeldeployments.serin.dev,modelsnapshots.serin.dev"
    verbs = [f"--verb={one}" for one in may]
    cluster.kubectl("create", "role", name, f"--resource={resources}", *verbs)
    cluster.kubectl(
        *("create", "rolebinding", name, f"--role={name}", f"--serviceaccount={cluster.shop}:{name}"),
    )
    for verb in may:
        for plural in ("modeldeployments", "modelsnapshots"):
            await_right(
                kubeconfig,
                f"{cluster.shop}:{name}",
                namespace=cluster.shop,
                verb=verb,
                group=names.GROUP,
                resource=plural,
            )
    token = cluster.kubectl("create", "token", name).strip()
    body = yaml.safe_load(kubeconfig.read_text())
    body["users"] = [{"name": one["name"], "user": {"token": token}} for one in body["users"]]
    file = folder / name
    file.write_text(yaml.safe_dump(body))
    return file


async def test_the_operator_does_what_is_asked(
    control_plane: Any, serin: Serin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No router runs here, so a candidate gets no traffic; everything that a person asks for works all the same."""
    import asyncio

    monkeypatch.setattr("serin.cli.actions.ANSWER_SECONDS", 90.0)
    cluster = serin.cluster
    async with operating(control_plane, cluster, tmp_path):
        cluster.deploy(replicas=1)
        await until(lambda: cluster.make_pods_ready() and "stable" in cluster.status(), what="serving")
        cluster.deploy(version="2", replicas=1)
        await until(lambda: "candidate" in cluster.status(), what="a candidate")

        paused = await asyncio.to_thread(serin, "pause", "fraud")
        assert paused.code == Exit.DONE, paused.err
        assert "it is paused" in paused.out
        resumed = await asyncio.to_thread(serin, "resume", "fraud")
        assert resumed.code == Exit.DONE, resumed.err
        assert "it is paused" not in resumed.out

        aborted = await asyncio.to_thread(serin, "abort", "fraud")
        assert aborted.code == Exit.DONE, aborted.err
        assert cluster.status()["lastRollback"]["reason"] == "AbortedByUser"  # the missing router is told first
        ended = await asyncio.to_thread(serin, "status", "fraud", "--wait", "--timeout", "90s")
        assert ended.code == Exit.NO
        await until(lambda: "RolledBack" in serin("history", "fraud").out, what="the record of it")

        retried = await asyncio.to_thread(serin, "retry", "fraud")
        assert retried.code == Exit.DONE, retried.err
        assert "brings up model 2" in retried.out
        promoted = await asyncio.to_thread(serin, "promote", "fraud")
        assert promoted.code == Exit.DONE, promoted.err
        assert "as a person asked" in promoted.out or "serves model 2" in promoted.out
