"""The Job of a retraining: the user's own with its cause, and none of a version's labels on its pods."""

import json
from typing import Any

import pytest

from serin.api.retraining import Cause, Run, Trigger
from serin.workload import retraining_job
from serin.workload.render import Owner

OWNER = Owner("shop", "fraud", "uid-1")
CAUSE = Cause(
    Trigger.DRIFT,
    "both have moved: $(PATH) costs $5",
    "fraud-abc",
    model="7",
    metric="answers",
    estimate="PSI 0.3",
    requests=1000,
    since=1_700_000_000.0,
    until=1_700_000_060.0,
)
RUN = Run("fraud-retrain-abc", CAUSE, 1_700_000_060.0)


def _job(**spec: Any) -> dict[str, Any]:
    pod = {"containers": [{"name": "train", "image": "t:1", "env": [{"name": "A", "value": "$(SERIN_RETRAINING_ID)"}]}]}
    return {"spec": {"template": {"metadata": {"labels": {"team": "risk"}}, "spec": pod}, **spec}}


def _environment(body: dict[str, Any], field: str = "containers") -> dict[str, str]:
    [container] = body["spec"]["template"]["spec"][field]
    return {one["name"]: one["value"] for one in container["env"]}


def test_the_cause_is_in_environment_and_annotations() -> None:
    body = retraining_job.render(OWNER, RUN, _job())
    given = _environment(body)
    assert list(given)[-1] == "A", "the user's own may refer to Serin's"
    assert given["SERIN_RETRAINING_TRIGGER"] == "Drift"
    assert given["SERIN_RETRAINING_METRIC"] == "answers"
    assert given["SERIN_RETRAINING_SNAPSHOT"] == "fraud-abc"
    assert given["SERIN_RETRAINING_SINCE"] == "2023-11-14T22:13:20.000Z"
    assert given["SERIN_RETRAINING_MESSAGE"] == "both have moved: $$(PATH) costs $$5", "or the kubelet fills it in"
    cause = json.loads(given["SERIN_RETRAINING_CAUSE"].replace("$$", "$"))
    assert cause["message"] == CAUSE.message
    assert (cause["id"], cause["requests"], cause["estimate"]) == (RUN.name, 1000, "PSI 0.3")
    for metadata in (body["metadata"], body["spec"]["template"]["metadata"]):
        assert json.loads(metadata["annotations"]["serin.dev/retraining-cause"]) == cause


def test_init_containers_get_it_too() -> None:
    job = _job()
    job["spec"]["template"]["spec"]["initContainers"] = [{"name": "fetch", "image": "f:1"}]
    assert _environment(retraining_job.render(OWNER, RUN, job), "initContainers")["SERIN_RETRAINING_ID"] == RUN.name


def test_its_pods_are_none_of_a_version() -> None:
    body = retraining_job.render(OWNER, RUN, _job())
    assert body["spec"]["template"]["metadata"]["labels"] == {"team": "risk"}
    assert body["metadata"]["labels"] == {"serin.dev/model-deployment": "fraud"}


@pytest.mark.parametrize(("given", "kept"), [({}, 604800), ({"ttlSecondsAfterFinished": 0}, 3600)])
def test_it_is_kept_until_its_end_was_seen(given: dict[str, int], kept: int) -> None:
    assert retraining_job.render(OWNER, RUN, _job(**given))["spec"]["ttlSecondsAfterFinished"] == kept


def test_a_job_without_a_deadline_ends_after_a_day() -> None:
    """Nothing else begins while it runs."""
    assert retraining_job.render(OWNER, RUN, _job())["spec"]["activeDeadlineSeconds"] == 86400


def test_what_says_whose_it_is_and_why_is_not_the_users_to_write() -> None:
    job = _job()
    job["metadata"] = {
        "labels": {"serin.dev/model-deployment": "another"},
        "annotations": {"serin.dev/retraining-cause": "{}", "serin.dev/retraining-trigger": "Moon"},
    }
    job["spec"]["template"]["metadata"]["annotations"] = job["metadata"]["annotations"]
    body = retraining_job.render(OWNER, RUN, job)
    assert body["metadata"]["labels"] == {"serin.dev/model-deployment": "fraud"}
    for metadata in (body["metadata"], body["spec"]["template"]["metadata"]):
        assert metadata["annotations"]["serin.dev/retraining-trigger"] == "Drift"
        assert "both have moved" in metadata["annotations"]["serin.dev/retraining-cause"]


def test_what_the_user_has_written_stays() -> None:
    job = _job(backoffLimit=2, activeDeadlineSeconds=60, ttlSecondsAfterFinished=86400, suspend=True)
    job["metadata"] = {"labels": {"queue": "gpus"}, "annotations": {"a": "b"}}
    before = json.dumps(job)
    body = retraining_job.render(OWNER, RUN, job)
    assert json.dumps(job) == before
    kept = {key: body["spec"][key] for key in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")}
    assert kept == {"backoffLimit": 2, "activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 86400}
    assert body["metadata"]["labels"]["queue"] == "gpus"
    assert body["metadata"]["annotations"]["a"] == "b"
    assert body["spec"]["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    ("conditions", "succeeded", "message"),
    [
        ([], None, ""),
        ([{"type": "Suspended", "status": "True"}], None, ""),
        ([{"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded"}], None, ""),
        ([{"type": "Complete", "status": "True"}], True, ""),
        ([{"type": "Complete", "status": "False"}], None, ""),
        (
            [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}],
            False,
            "DeadlineExceeded: too long",
        ),
    ],
)
def test_its_end_is_read(conditions: list[dict[str, str]], succeeded: bool | None, message: str) -> None:
    seen = retraining_job.seen({"metadata": {"uid": "u"}, "status": {"conditions": conditions}})
    assert (seen.uid, seen.succeeded, seen.message) == ("u", succeeded, message)
