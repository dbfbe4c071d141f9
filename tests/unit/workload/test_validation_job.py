"""The Job that compares two versions: what it finds, for how long it runs, and what it has said."""

from typing import Any

import pytest

from serin.api.json import JsonObject
from serin.api.snapshots import Snapshot
from serin.api.validation import ValidationSeen
from serin.workload import validation_job
from serin.workload.render import Owner

OWNER = Owner("shop", "fraud", "uid-fraud")
JOB = {"spec": {"template": {"spec": {"containers": [{"name": "score", "image": "score:1"}]}}}}


def version(name: str, model: JsonObject) -> Snapshot:
    return Snapshot(name, f"uid-{name}", "1", 0.0, {"runtime": {"port": 8080}, "model": model}, {})


def rendered(job: JsonObject = JOB, seconds: float = 90.0) -> JsonObject:
    target, present = version("fraud-a", {"version": "6", "uri": "s3://m/$6"}), version("fraud-b", {"version": "7"})
    return validation_job.render(OWNER, "fraud-validate-x", job, seconds, "missed", target, present)


def test_both_versions_are_in_its_environment() -> None:
    [container] = rendered()["spec"]["template"]["spec"]["containers"]
    assert {one["name"].removeprefix("SERIN_VALIDATION_"): one["value"] for one in container["env"]} == {
        "MODEL_DEPLOYMENT": "fraud",
        "METRIC": "missed",
        "TARGET_SNAPSHOT": "fraud-a",
        "TARGET_ADDRESS": "fraud-a.shop.svc:8080",
        "TARGET_MODEL_VERSION": "6",
        "TARGET_MODEL_URI": "s3://m/$$6",
        "PRESENT_SNAPSHOT": "fraud-b",
        "PRESENT_ADDRESS": "fraud-b.shop.svc:8080",
        "PRESENT_MODEL_VERSION": "7",
    }


def test_it_ends_with_the_time_that_is_waited_for_it_and_its_pods_are_no_versions() -> None:
    job = rendered()
    spec = job["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (90, 0, 3600)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["template"]["metadata"]["labels"] == {"serin.dev/model-deployment": "fraud"}
    assert job["metadata"]["ownerReferences"][0]["uid"] == "uid-fraud"
    assert "activeDeadlineSeconds" not in JOB["spec"], "the spec stays as it is"


def test_what_the_user_has_written_stays() -> None:
    own = {"name": "METRIC", "value": "$(SERIN_VALIDATION_METRIC)"}
    containers = {
        field: [{"name": field.lower(), "image": "score:1", "env": [own]}] for field in ("initContainers", "containers")
    }
    told = {"labels": {"team": "risk"}, "annotations": {"sidecar.istio.io/inject": "false"}}
    template = {"metadata": told, "spec": {**containers, "restartPolicy": "OnFailure"}}
    job = rendered({"metadata": told, "spec": {"backoffLimit": 2, "template": template}})
    assert job["spec"]["backoffLimit"] == 2
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert metadata["labels"] == {"team": "risk", "serin.dev/model-deployment": "fraud"}
        assert metadata["annotations"] == told["annotations"]
    for field in containers:
        [container] = job["spec"]["template"]["spec"][field]
        names = [one["name"] for one in container["env"]]
        assert names.index("SERIN_VALIDATION_METRIC") < names.index("METRIC"), "the user's own may refer to Serin's"


def test_a_job_may_run_for_a_second_at_least() -> None:
    """The API server takes no shorter deadline than that."""
    assert rendered(seconds=0.2)["spec"]["activeDeadlineSeconds"] == 1


def pod(message: str | None, *, code: int = 0, owner: str = "uid-job", name: str = "fraud-validate-x") -> JsonObject:
    ended: dict[str, Any] = {"exitCode": code} | ({} if message is None else {"message": message})
    return {
        "metadata": {
            "labels": {"batch.kubernetes.io/job-name": name},
            "ownerReferences": [{"controller": True, "uid": owner}],
        },
        "status": {"containerStatuses": [{"name": "score", "state": {"terminated": ended}}]},
    }


def seen(*pods: JsonObject, **condition: str) -> ValidationSeen:
    conditions = [{"status": "True", **condition}] if condition else []
    body = {"metadata": {"name": "fraud-validate-x", "uid": "uid-job"}, "status": {"conditions": conditions}}
    return validation_job.seen(body, pods)


def test_what_it_has_said_is_read_from_its_own_pod() -> None:
    others = pod("{}", owner="uid-other"), pod("{}", name="other"), pod("oh", code=1), pod(None)
    assert seen(*others, pod(' {"accept": true}\n'), type="Complete") == ValidationSeen(True, '{"accept": true}')
    assert seen(*others, type="Complete") == ValidationSeen(True, "")
    assert seen() == ValidationSeen()
    assert seen(*others, type="Failed", status="False") == ValidationSeen()


def test_the_end_of_its_pod_is_waited_for_as_that_has_its_words() -> None:
    """A Job is seen by another watch than its pods, and perhaps earlier."""
    running = pod("{}")
    running["status"]["containerStatuses"][0]["state"] = {"running": {}}
    assert seen(running, type="Complete") == ValidationSeen()
    assert seen(type="Complete") == ValidationSeen()


@pytest.mark.parametrize(("asked", "kept"), [(None, 3600), (0, 900), (899, 900), (7200, 7200)])
def test_it_is_kept_until_its_end_is_seen(asked: int | None, kept: int) -> None:
    job = {"spec": JOB["spec"] | ({} if asked is None else {"ttlSecondsAfterFinished": asked})}
    assert rendered(job)["spec"]["ttlSecondsAfterFinished"] == kept


def test_why_it_has_failed_is_said() -> None:
    assert seen(pod("oh", code=1), type="Failed", reason="DeadlineExceeded", message="too long") == ValidationSeen(
        False, problem="DeadlineExceeded: too long"
    )
