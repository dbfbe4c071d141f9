"""The status of a rollout, as it is stored and shown, and the subresources."""

import json

import pytest

from tests.integration.crds.rig import STATUS, Api, Json, smallest, write_status

pytestmark = pytest.mark.control_plane


@pytest.fixture(scope="module")
def fraud(api: Api) -> Json:
    """A deployment in mid-rollout, with every field of the status."""
    api("create", "-f", "-", body=smallest("fraud-in-progress"))
    write_status(api, "ModelDeployment", "fraud-in-progress", STATUS)
    return api.read("md", "fraud-in-progress")


class TestStatus:
    def test_every_field_is_kept(self, fraud: Json) -> None:
        assert fraud["status"] == STATUS
        assert fraud["metadata"]["generation"] == 1

    def test_a_field_that_is_no_longer_applied_goes(self, api: Api) -> None:
        api("create", "-f", "-", body=smallest("promoted"))
        write_status(api, "ModelDeployment", "promoted", STATUS)
        gone = ("candidate", "step", "metrics", "arms", "draining", "verdict")
        after = {key: value for key, value in STATUS.items() if key not in gone}
        write_status(api, "ModelDeployment", "promoted", after)
        assert api.read("md", "promoted")["status"] == after

    def test_a_condition_can_be_waited_for(self, api: Api, fraud: Json) -> None:
        assert "condition met" in api(
            "wait", "--for=condition=Ready", "--timeout=5s", f"md/{fraud['metadata']['name']}"
        )

    def test_columns_tell_what_happens_and_why(self, api: Api, fraud: Json) -> None:
        shown = api("get", "md", fraud["metadata"]["name"])
        print(shown)
        header, row = shown.splitlines()
        assert header.split() == [
            *("NAME", "STABLE", "CANDIDATE", "WEIGHT", "STEP", "VERDICT", "READY", "REASON", "AGE"),
        ]
        assert row.split()[:8] == [
            *(
                "fraud-in-progress",
                "fraud-bcdfghjklm",
                "fraud-zz45fghjkm",
                "5",
                "1/4",
                "Inconclusive",
                "True",
                "Baking",
            ),
        ]

    def test_wide_columns_add_model_versions_and_the_sentence(self, api: Api, fraud: Json) -> None:
        shown = api("get", "md", fraud["metadata"]["name"], "-o", "wide")
        print(shown)
        header, row = shown.splitlines()
        assert {"MODEL", "CANDIDATE-MODEL", "PHASE", "REPLICAS", "MESSAGE"} <= set(header.split())
        assert row[header.index("MODEL") :].split()[0] == "6"
        assert row[header.index("CANDIDATE-MODEL") :].split()[0] == "7"
        assert STATUS["message"] in row

    def test_a_status_out_of_bounds_is_refused(self, api: Api, fraud: Json) -> None:
        wrong = json.dumps({"status": {"traffic": {"weights": {"fraud-bcdfghjklm": 101}}}})
        name = fraud["metadata"]["name"]
        message = api.refusal("patch", "md", name, "--subresource=status", "--type=merge", "-p", wrong)
        assert "status.traffic.weights.fraud-bcdfghjklm" in message
        assert "less than or equal to 100" in message

    def test_scale_subresource(self, api: Api) -> None:
        api("create", "-f", "-", body=smallest("scaled"))
        status = {"status": {"replicas": 1, "selector": "serin.dev/snapshot=scaled-bcdfghjklm"}}
        api("patch", "md", "scaled", "--subresource=status", "--type=merge", "-p", json.dumps(status))
        api("scale", "md/scaled", "--current-replicas=1", "--replicas=4")
        path = f"/apis/serin.dev/v1alpha1/namespaces/{api.namespace}/modeldeployments/scaled/scale"
        scale = json.loads(api("get", "--raw", path))
        assert scale["spec"] == {"replicas": 4}
        assert scale["status"] == {"replicas": 1, "selector": "serin.dev/snapshot=scaled-bcdfghjklm"}
        assert api.read("md", "scaled")["spec"]["replicas"] == 4
