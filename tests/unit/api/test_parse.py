"""The spec as values, and the version that it describes."""

import copy
from typing import Any

import pytest
import yaml

from serin.api import names
from serin.api.parse import InvalidSpec, content_of, parse_model_deployment, parse_spec
from serin.api.spec import (
    Analysis,
    DistributionQuery,
    MeanQuery,
    Metric,
    RatioQuery,
    RouterSpec,
    TemplateRef,
    ValueQuery,
)
from serin.api.verdicts import Against, Severity
from serin.rollout.strategies.base import ApprovalRule
from serin.rollout.strategies.canary import Canary, CohortStep, MirrorStep, PauseStep, WeightStep
from serin.rollout.strategies.table import strategy_of
from tests import crds

SAMPLES = crds.ROOT / "manifests" / "samples"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((SAMPLES / name).read_text()))


def smallest(**changes: Any) -> dict[str, Any]:
    """The smallest resource's spec with defaults, some fields changed (None: taken away)."""
    body = copy.deepcopy(documents("smallest.yaml")[0])
    body["spec"].update(changes)
    body["spec"] = {key: value for key, value in body["spec"].items() if value is not None}
    spec: dict[str, Any] = crds.defaulted(body)["spec"]
    return spec


def stored(body: dict[str, Any]) -> dict[str, Any]:
    """A resource as the API server would return it."""
    metadata = {"namespace": "shop", "uid": "u-1", "resourceVersion": "7", "generation": 2, **body["metadata"]}
    return crds.defaulted({**body, "metadata": metadata})


class TestSmallest:
    def test_ten_lines_give_a_whole_rollout(self) -> None:
        spec = parse_spec(smallest())
        assert (spec.replicas, spec.port, spec.runtime, spec.progress_deadline) == (1, 8080, "generic", 600.0)
        assert strategy_of(spec) == Canary((WeightStep(5, 300.0), WeightStep(25, 600.0), WeightStep(50, 600.0)))
        assert spec.metrics == (
            Metric("errors", TemplateRef("request-errors"), Severity.CRITICAL, Against.STABLE),
            Metric("latency", TemplateRef("request-latency"), Severity.MAJOR, Against.STABLE),
            Metric("rejections", TemplateRef("request-rejections"), Severity.MAJOR, Against.STABLE),
        )

    def test_the_defaults_of_the_schema_are_those_of_the_types(self) -> None:
        spec = parse_spec(smallest())
        assert spec.analysis == Analysis()

    def test_a_strategy_that_is_left_out_is_a_canary_with_the_steps_of_the_schema(self) -> None:
        """It is not stored: another strategy that is applied later would be merged into it, and there would be two."""
        left_out = smallest()
        assert "strategy" not in left_out
        assert parse_spec(left_out) == parse_spec(smallest(strategy={"canary": {}}))


class TestEverything:
    def test_the_sample_with_every_field(self) -> None:
        body = stored(documents("canary.yaml")[0])
        body["metadata"]["annotations"] = {names.ANNOTATION_APPROVE: "yes"}
        body["metadata"]["deletionTimestamp"] = "2026-11-22T10:00:00Z"
        body["status"] = {"phase": "Healthy"}

        parsed = parse_model_deployment(body)

        assert (parsed.namespace, parsed.name, parsed.uid) == ("shop", "fraud", "u-1")
        assert (parsed.resource_version, parsed.generation, parsed.deleting) == ("7", 2, True)
        assert parsed.annotations == {"serin.dev/approve": "yes"}
        assert parsed.status == {"phase": "Healthy"}
        spec = parsed.spec
        assert (spec.replicas, spec.port, spec.runtime) == (3, 8080, "mlserver")
        assert spec.router == RouterSpec("envoy", body["spec"]["router"]["envoy"])
        assert strategy_of(spec) == Canary(
            (
                MirrorStep(20, 600.0),
                CohortStep({"x-beta": "true"}, {"group": "beta"}, 600.0, min_requests=100, replicas=1),
                WeightStep(5, 300.0, 500),
                WeightStep(25, 600.0),
                PauseStep(approvals=ApprovalRule(2, 8 * 3600.0)),
                WeightStep(50, 600.0),
                PauseStep(3600.0),
            ),
            max_duration=21600.0,
        )
        assert spec.analysis == Analysis(interval=5.0)
        assert [(one.name, one.severity, one.against, one.limit) for one in spec.metrics] == [
            ("errors", Severity.CRITICAL, Against.STABLE, None),
            ("latency", Severity.MAJOR, Against.STABLE, None),
            ("rejections", Severity.MAJOR, Against.STABLE, None),
            ("empty-answers", Severity.MINOR, Against.LIMIT, 0.02),
            ("answers", Severity.MAJOR, Against.STABLE, 0.1),
            ("answers-as-last-month", Severity.MINOR, Against.REFERENCE, None),
            ("tokens", Severity.MAJOR, Against.STABLE, 1.2),
            ("memory", Severity.INFO, Against.LIMIT, None),
            ("timeouts", Severity.MAJOR, Against.STABLE, None),
        ]
        assert spec.metrics[3].source == RatioQuery(
            bad='answers_total{outcome="empty", {{.version}}}', total="answers_total{ {{.version}} }"
        )
        answers = "predictions_total{ {{.version}} }"
        assert spec.metrics[4].source == DistributionQuery(answers, "label")
        assert spec.metrics[5].source == DistributionQuery(answers, "label", {"legit": 97120, "fraud": 2880})
        assert spec.metrics[6].source == MeanQuery(
            sum="answer_tokens_sum{ {{.version}} }", count="answer_tokens_count{ {{.version}} }"
        )
        assert [one.lower_is_worse for one in spec.metrics] == [False] * 9
        assert spec.metrics[7].source == ValueQuery(
            "max(process_resident_memory_bytes{ {{.candidate}} })", 2.0**20, 2.0**31, consecutive_seconds=120.0
        )
        assert spec.metrics[8].source == TemplateRef("answer-outcomes", {"outcome": "timeout"})

    def test_a_deployment_without_annotations_and_status(self) -> None:
        parsed = parse_model_deployment(stored(documents("smallest.yaml")[0]))
        assert (parsed.annotations, parsed.status, parsed.deleting) == ({}, {}, False)


class TestSamples:
    @pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.name)
    def test_have_no_field_that_the_schema_does_not_know(self, path: Any) -> None:
        assert [field for body in documents(path.name) for field in crds.undeclared(body)] == []

    def test_show_every_field_of_the_spec(self) -> None:
        files = [path.name for path in SAMPLES.glob("*.yaml")]
        bodies = [body for name in files for body in documents(name)]
        shown = {path for body in bodies for path in _fields(body["spec"], body["kind"])}
        shown |= {f"ModelDeployment.strategy.abTest.sticky.cookie{one}" for one in ("", ".name", ".ttl")}  # or a header
        declared = {
            path
            for kind in ("ModelDeployment", "MetricTemplate")
            for path in _declared(crds.schema(kind)["properties"]["spec"], kind)
        }
        # The other shapes of a template are those of a metric, explained there; a bandit's variants an A/B test's.
        elsewhere = (
            *(f"MetricTemplate.{one}" for one in ("histogram", "distribution", "mean", "concentration", "value")),
            "ModelDeployment.strategy.bandit.variants",
            "ModelDeployment.retraining.job",  # which is a Job
        )
        declared = {path for path in declared if not path.startswith(elsewhere)}
        assert declared - shown == set()


class TestPodTemplates:
    @pytest.mark.parametrize(
        "ports",
        [
            [{"name": "grpc", "containerPort": "abc"}],
            [{"name": "grpc"}],
            ["x"],
            "x",
            [{"name": "grpc", "containerPort": {}}],
        ],
    )
    def test_what_is_no_port_is_left_to_the_api_server(self, ports: object) -> None:
        """A look that cannot read the spec would take the traffic of no candidate back."""
        spec = smallest()
        spec["template"]["spec"]["containers"] += [{"name": "sidecar", "image": "x", "ports": ports}]
        spec["template"]["spec"]["initContainers"] = [{"name": "before", "image": "x", "ports": ports}]
        assert parse_spec(spec).port == 8080
        with pytest.raises(InvalidSpec, match="no port has a name"):
            parse_spec(spec | {"service": {"extraPorts": [{"name": "grpc", "port": 81}]}})

    @pytest.mark.parametrize("ports", [[{"containerPort": "abc"}], [{}], ["x"], "x", []])
    def test_the_first_port_has_to_be_one(self, ports: object) -> None:
        spec = smallest()
        spec["template"]["spec"]["containers"][0]["ports"] = ports
        with pytest.raises(InvalidSpec, match=r"^spec\.port: write the port"):
            parse_spec(spec)


class TestRefusals:
    def test_no_port_anywhere(self) -> None:
        template = {"spec": {"containers": [{"name": "model", "image": "i"}]}}
        with pytest.raises(InvalidSpec, match=r"^spec\.port: write the port .* either port: 8080 or ports:"):
            parse_spec(smallest(template=template))

    def test_two_keys_for_one_environment_variable(self) -> None:
        with pytest.raises(
            InvalidSpec, match=r"^spec\.config: the keys MAX_AGE and max-age both .* SERIN_CONFIG_MAX_AGE"
        ):
            parse_spec(smallest(config={"max-age": "1", "MAX_AGE": "2"}))

    @pytest.mark.parametrize(
        ("path", "named"),
        [
            ("replicas", "spec.replicas"),
            ("strategy.canary.steps", "spec.strategy.canary.steps"),
            ("analysis.falseRollbackRate.critical", "spec.analysis.falseRollbackRate.critical"),
        ],
    )
    def test_an_object_from_before_a_default_existed(self, path: str, named: str) -> None:
        spec = smallest(strategy={"canary": {}})
        *parents, last = path.split(".")
        owner = spec
        for parent in parents:
            owner = owner[parent]
        del owner[last]
        with pytest.raises(InvalidSpec) as refused:
            strategy_of(parse_spec(spec))
        assert str(refused.value).startswith(f"{named} is missing: apply the ModelDeployment again")

    def test_a_word_of_another_version_names_its_field_and_the_words_that_are_known(self) -> None:
        spec = smallest()
        spec["analysis"]["onNoData"]["action"] = "Sometimes"
        with pytest.raises(
            InvalidSpec, match=r"^spec\.analysis\.onNoData\.action: 'Sometimes' is unknown: write one of Hold"
        ):
            parse_spec(spec)

    @pytest.mark.parametrize(
        ("router", "found"), [({}, "none"), ({"envoy": {}, "other": {}}, "envoy, other"), ({"envoy": None}, "none")]
    )
    def test_there_is_one_router(self, router: dict[str, Any], found: str) -> None:
        with pytest.raises(InvalidSpec, match=rf"^spec\.router: write exactly one router; there is: {found}$"):
            parse_spec(smallest() | {"router": router})

    def test_a_number_that_no_api_server_let_in_names_its_field(self) -> None:
        with pytest.raises(InvalidSpec, match=r"^spec\.progressDeadline: 'soon' is no duration: write"):
            parse_spec(smallest(progressDeadline="soon"))


class TestContent:
    def test_the_four_dimensions(self) -> None:
        spec = stored(documents("canary.yaml")[0])["spec"]
        content = content_of(spec)
        assert set(content) == set(names.DIMENSIONS)
        assert content["runtime"] == {
            "template": spec["template"],
            "runtime": "mlserver",
            "port": 8080,
            "timeout": "30s",
            "healthPort": 8080,
        }
        assert (content["model"], content["config"], content["features"]) == (
            spec["model"],
            {"threshold": "0.5"},
            spec["features"],
        )

    def test_a_dimension_that_is_not_used_is_none(self) -> None:
        content = content_of(smallest())
        assert (content["model"], content["config"], content["features"]) == (None, None, None)

    @pytest.mark.parametrize(
        "same",
        [
            {"config": {}},
            {"model": {}},
            {"features": {}},
            {"model": {"version": None}},
            {"port": 8080},
            {"runtime": "generic"},
            {"protocol": "HTTP1"},
            {"timeout": "5m"},
            {"service": {"port": 80, "type": "NodePort"}},
            {"router": {"envoy": {"shield": "Off"}}},
        ],
        ids=str,
    )
    def test_writing_out_what_is_so_anyway_is_the_same_version(self, same: dict[str, Any]) -> None:
        assert content_of(smallest(**same)) == content_of(smallest())

    @pytest.mark.parametrize(
        ("other", "written"),
        [
            ({"port": 9000}, {"port": 9000}),
            ({"protocol": "HTTP2"}, {"protocol": "HTTP2"}),
            ({"timeout": "1m30s"}, {"timeout": "90s"}),
            ({"timeout": "1500ms"}, {"timeout": "1500ms"}),
            ({"timeout": "0s"}, {"timeout": "0s"}),
            ({"healthPort": 9001}, {"healthPort": 9001}),
        ],
        ids=str,
    )
    def test_how_pods_are_spoken_to_is_a_part_of_the_version(self, other: Any, written: Any) -> None:
        before, after = content_of(smallest()), content_of(smallest(**other))
        assert before | {"runtime": {**(before["runtime"] or {}), **written}} == after
        assert names.snapshot_name("fraud", before) != names.snapshot_name("fraud", after)

    @pytest.mark.parametrize("metadata", [{}, None, {"labels": {}}, {"labels": None, "annotations": {}}], ids=str)
    def test_empty_pod_metadata_is_the_same_version(self, metadata: Any) -> None:
        spec = smallest()
        spec["template"]["metadata"] = metadata
        assert content_of(spec) == content_of(smallest())

    @pytest.mark.parametrize("nothing", [None, []])
    def test_nothing_in_the_pod_template_is_the_same_version(self, nothing: Any) -> None:
        spec = smallest()
        spec["template"]["spec"] |= {"volumes": nothing}
        spec["template"]["spec"]["containers"][0]["command"] = nothing
        assert content_of(spec) == content_of(smallest())

    def test_names_stay_what_they_are(self) -> None:
        """A release that names the same content differently would start a rollout of every deployment at once."""
        container = {"name": "model", "image": "registry.example/iris:1", "ports": [{"containerPort": 8080}]}
        spec = {
            "runtime": "mlserver",
            "template": {"metadata": {"labels": {"team": "a"}}, "spec": {"containers": [container]}},
            "model": {"name": "iris", "version": "7"},
            "config": {"threshold": "0.5", "größe": "µ"},
            "features": {"schemaVersion": "3"},
        }
        assert names.snapshot_name("iris", content_of(spec)) == "iris-cbsjvx56lc"
        assert (
            names.snapshot_name("iris", content_of({key: spec[key] for key in ("runtime", "template")}))
            == "iris-bs5hd88gvd"
        )

    def test_an_empty_map_in_the_pod_spec_means_something(self) -> None:
        spec = smallest()
        spec["template"]["spec"]["volumes"] = [{"name": "cache", "emptyDir": {}}]
        assert content_of(spec)["runtime"]["template"]["spec"]["volumes"] == [{"name": "cache", "emptyDir": {}}]

    def test_the_spec_is_left_as_it_was(self) -> None:
        spec = smallest()
        spec["template"]["metadata"] = {"labels": {}, "annotations": None}
        before = copy.deepcopy(spec)
        content_of(spec)
        assert spec == before


def _fields(value: Any, path: str) -> set[str]:
    """Paths of the fields in a value, list items and free maps as one."""
    if isinstance(value, dict):
        return {path}.union(*(_fields(item, f"{path}.{name}") for name, item in value.items()))
    if isinstance(value, list):
        return {path}.union(*(_fields(item, path) for item in value))
    return {path}


def _declared(part: dict[str, Any], path: str) -> set[str]:
    if "items" in part:
        return _declared(part["items"], path)
    return {path}.union(*(_declared(inner, f"{path}.{name}") for name, inner in part.get("properties", {}).items()))
