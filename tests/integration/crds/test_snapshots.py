"""ModelSnapshots: the same name for the same content, and no field that ever changes but the status."""

import copy
import json
from typing import Any

import pytest

from serin.api import names
from serin.api.parse import content_of
from serin.api.records import Measurement, Occasion, Record, write_records
from tests import crds
from tests.integration.crds.rig import STATUS, Api, Json, documents, write_status

pytestmark = pytest.mark.control_plane

ERRORS = Measurement("errors", 0.12, 0.1, 0.14, 400, "share", 1.0, 60.0, "template request-errors")
RECORDS = (
    Record(1.0, Occasion.CREATED, revision="4f1c2ab", author="Ada"),
    Record(60.0, Occasion.ROLLED_BACK, {"fraud-x": 5}, (ERRORS,)),
)


@pytest.fixture(scope="module")
def snapshot(api: Api) -> Json:
    """The snapshot of the sample with every field, as Serin would make it."""
    spec = crds.defaulted(documents("canary.yaml")[0])["spec"]
    spec["template"]["spec"]["volumes"] = [{"name": "cache", "emptyDir": {}}]
    content = content_of(spec)
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.MODEL_SNAPSHOT,
        "metadata": {"name": names.snapshot_name("fraud", content)},
        "spec": {
            "modelDeployment": "fraud",
            "content": {key: value for key, value in content.items() if value is not None},
            "hashes": names.dimension_hashes(content),
        },
    }
    api("create", "-f", "-", body=body)
    return api.read("msnap", body["metadata"]["name"])


class TestSnapshots:
    def test_content_comes_back_with_the_same_name(self, snapshot: Json) -> None:
        content = snapshot["spec"]["content"]
        assert names.snapshot_name("fraud", content) == snapshot["metadata"]["name"]
        assert names.dimension_hashes(content) == snapshot["spec"]["hashes"]

    @pytest.mark.parametrize(
        "path",
        [
            ("modelDeployment",),
            ("content", "model", "version"),
            ("content", "config", "threshold"),
            ("content", "features", "schemaVersion"),
            ("content", "runtime", "runtime"),
            ("content", "runtime", "template", "spec", "nodeName"),
            ("hashes", "model"),
        ],
        ids=".".join,
    )
    def test_no_field_ever_changes(self, api: Api, snapshot: Json, path: tuple[str, ...]) -> None:
        patch: Any = "other"
        for key in reversed(("spec", *path)):
            patch = {key: patch}
        name = snapshot["metadata"]["name"]
        message = api.refusal("patch", "msnap", name, "--type=merge", "-p", json.dumps(patch))
        assert "a snapshot never changes: change the ModelDeployment" in message
        assert api.read("msnap", name) == snapshot

    def test_nothing_in_a_list_of_the_template_changes(self, api: Api, snapshot: Json) -> None:
        changed = copy.deepcopy(snapshot)
        changed["spec"]["content"]["runtime"]["template"]["spec"]["containers"][0]["args"][1] = "other"
        message = api.refusal("replace", "-f", "-", body=changed)
        assert "a snapshot never changes" in message

    def test_verdict_and_labels_may_change(self, api: Api, snapshot: Json) -> None:
        name = snapshot["metadata"]["name"]
        api("label", "msnap", name, "team=payments")
        status = {
            "verdict": "RolledBack",
            "rejected": True,
            "reason": "WorseThanStable",
            "message": "12 % of the requests failed, 1 % on stable",
            "rejectedAt": "2026-11-22T10:00:00.000Z",
            "promotedAt": "2026-11-22T09:00:00.000Z",
            "leftAt": "2026-11-22T10:00:00.000Z",
            "metrics": STATUS["metrics"],
            "measured": "errors 12%",
            "revision": "4f1c2ab",
            "records": write_records(RECORDS),
        }
        write_status(api, "ModelSnapshot", name, status)
        assert api.read("msnap", name)["status"] == status
        shown = api("get", "msnap", name)
        print(shown)
        header, row = shown.splitlines()
        columns = [
            "NAME",
            "DEPLOYMENT",
            "MODEL",
            "VERDICT",
            "REJECTED",
            "REASON",
            "MEASURED",
            "PROMOTED",
            "LEFT",
            "AGE",
        ]
        assert header.split() == columns
        assert row.split()[:8] == [name, "fraud", "7", "RolledBack", "true", "WorseThanStable", "errors", "12%"]
        assert "REVISION" in api("get", "msnap", name, "-o", "wide").splitlines()[0]

    def test_a_snapshot_without_its_parts_is_refused(self, api: Api) -> None:
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.MODEL_SNAPSHOT,
            "metadata": {"name": "empty"},
            "spec": {},
        }
        message = api.creation_refused(body)
        for field in ("spec.modelDeployment", "spec.content", "spec.hashes"):
            assert f"{field}: Required value" in message
