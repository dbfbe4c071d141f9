"""ModelDeployments: what is stored, and what is refused in which words."""

import json
from pathlib import Path

import pytest

from serin.api import names
from serin.api.parse import content_of, parse_model_deployment
from tests import crds
from tests.integration.crds.cases import ACCEPTED, REFUSED
from tests.integration.crds.rig import SAMPLES, Api, documents, smallest

pytestmark = pytest.mark.control_plane


class TestRefused:
    @pytest.mark.parametrize("case", REFUSED)
    def test_names_the_field_and_the_fix(self, nowhere: Api, case: str) -> None:
        patch, words = REFUSED[case]
        message = nowhere.creation_refused(smallest("refused", patch))
        assert [word for word in words if word not in message] == [], message

    def test_kubectl_prints_it(self, nowhere: Api) -> None:
        body = smallest("printed", "spec: {progressDeadline: 10 minutes, replicas: 3}")
        message = nowhere.refusal("apply", "-f", "-", body=body)
        print(message)
        assert "spec.progressDeadline" in message
        assert "write a duration from 1s to 24h, for example 10m" in message

    def test_nothing_else_changes(self, api: Api) -> None:
        before = json.loads(api("create", "-f", "-", "-o", "json", body=smallest("kept")))
        wrong = {"spec": {"replicas": 5, "model": {"version": "8"}, "port": 0}}
        message = api.refusal("patch", "md", "kept", "--type=merge", "-p", json.dumps(wrong))
        assert "spec.port" in message
        assert api.read("md", "kept") == before


class TestAccepted:
    @pytest.mark.parametrize("case", ACCEPTED)
    def test_what_is_right_is_not_refused(self, api: Api, case: str) -> None:
        api.create(smallest("accepted", ACCEPTED[case]), dry_run="All")


class TestStored:
    @pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.name)
    def test_samples_as_written_with_the_defaults_of_the_schema(self, api: Api, path: Path) -> None:
        api("apply", "-f", str(path))
        for body in documents(path.name):
            stored = api.read(body["kind"], body["metadata"]["name"])
            assert stored["spec"] == crds.defaulted(body)["spec"]

    def test_defaults_of_the_smallest(self, api: Api) -> None:
        api("create", "-f", "-", body=smallest("defaults"))
        stored = api.read("md", "defaults")["spec"]
        del stored["template"]
        assert stored == {
            "replicas": 1,
            "runtime": "generic",
            "timeout": "300s",
            "router": {"envoy": {"shield": "Failures", "eventStreams": "Opaque"}},
            "metrics": [
                {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"},
                {"name": "latency", "template": {"name": "request-latency"}, "severity": "major"},
                {"name": "rejections", "template": {"name": "request-rejections"}, "severity": "major"},
            ],
            "analysis": {
                "falseRollbackRate": {"critical": "0.01", "minor": "0.05"},
                "minimumDetectableEffect": "2",
                "onNoData": {"action": "Hold", "after": "30m"},
                "warmup": "30s",
            },
            "progressDeadline": "10m",
            "killSwitch": "Off",
        }

    def test_parses_and_keeps_its_version(self, api: Api) -> None:
        """What is empty or null for a person, and what the API server makes of it, is one version."""
        body = smallest("same", "spec: {template: {spec: {volumes: [{name: cache, emptyDir: {}}]}}}")
        plain = content_of(crds.defaulted(body)["spec"])
        body["spec"] |= {"config": {}, "model": {}, "port": 8080}
        body["spec"]["template"]["metadata"] = {"labels": {}}
        body["spec"]["template"]["spec"] |= {"nodeName": None}
        api("create", "-f", "-", body=body)
        parsed = parse_model_deployment(api.read("md", "same"))
        assert names.snapshot_name("same", parsed.spec.content) == names.snapshot_name("same", plain)


AB_TEST = "strategy: {abTest: {sticky: {STICKY}, goal: {metric: errors}}}"
APPLIED = {
    "strategies": (
        "strategy: {blueGreen: {}}",
        "",
        "strategy: {shadow: {mirror: 20, bake: 30m}}",
        "strategy: {canary: {maxDuration: 6h}}",
        AB_TEST.replace("STICKY", "header: x-user"),
        AB_TEST.replace("STICKY", "cookie: {name: ab}"),
        "strategy: {blueGreen: {bake: 5m}}",
        "strategy: {canary: {}}",
    ),
    "metrics": (
        "metrics: [{name: own, ratio: {bad: 'b{ {{.version}} }', total: 't{ {{.version}} }'}}]",
        "",
        "metrics: [{name: errors, ratio: {bad: 'b{ {{.version}} }', total: 't{ {{.version}} }'}}]",
        "metrics: [{name: errors, value: {query: 'max(m{ {{.candidate}} })', max: '1'}}]",
        "metrics: [{name: errors, template: {name: request-errors}, severity: info}]",
    ),
    "fallbacks": (
        "fallback: {answer: {}}",
        "fallback: {service: {name: rules-engine, port: 8080}}",
        "fallback: {answer: {body: none}}",
        "fallback: {service: {name: rules-engine, port: 8080}}",
    ),
}


class TestAppliedAgain:
    @pytest.mark.parametrize("manager", ["client", "server"])
    @pytest.mark.parametrize("changed", APPLIED)
    def test_nothing_stays_of_what_was_applied_or_left_out_before(self, api: Api, manager: str, changed: str) -> None:
        """Client-side apply merges maps, server-side apply also lists that are maps: no default may be in the way."""
        name = f"{changed}-{manager}"
        for fields in ("", *APPLIED[changed], ""):
            body = smallest(name, f"spec: {{{fields}}}")
            api("apply", f"--server-side={'true' if manager == 'server' else 'false'}", "-f", "-", body=body)
            assert api.read("md", name)["spec"] == crds.defaulted(body)["spec"], fields


class TestNames:
    def test_short_names_and_the_category(self, api: Api) -> None:
        api("create", "-f", "-", body=smallest("found"))
        assert "modeldeployment.serin.dev/found" in api("get", "serin", "-o", "name").split()
        resources = api("api-resources", "--api-group=serin.dev", "--no-headers")
        assert {tuple(line.split()[:2]) for line in resources.splitlines()} == {
            ("modeldeployments", "md"),
            ("modelsnapshots", "msnap"),
            ("metrictemplates", "mtpl"),
            ("reviewitems", "review"),
        }

    def test_the_bound_of_the_name_is_the_one_of_the_code(self) -> None:
        rule = crds.schema("ModelDeployment")["x-kubernetes-validations"][0]["rule"]
        assert rule == f"self.metadata.name.size() <= {names.MAX_DEPLOYMENT_NAME}"
