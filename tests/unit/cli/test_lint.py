"""`serin lint` says offline what the API server says: the same table of mistakes is asked of both.

tests/integration/crds sends every case of the table to a real API server, so that what is expected here is what
really happens there.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from serin.cli.lint import check, documents, rules, schema
from tests import crds
from tests.integration.crds.cases import ACCEPTED, BUILT_IN_REFUSED, REFUSED, TEMPLATES_REFUSED
from tests.integration.crds.rig import SAMPLES, smallest
from tests.integration.crds.rig import documents as sample
from tests.simulation.api import jsonpatch

Json = dict[str, Any]


def lint(folder: Path, *bodies: Json) -> check.Report:
    file = folder / "given.yaml"
    file.write_text(yaml.safe_dump_all(bodies))
    return check.check([file])


def said(report: check.Report) -> list[str]:
    return [f"{one.path}: {one.message}" for one in report.findings if one.level == check.ERROR]


@pytest.mark.parametrize("case", REFUSED)
def test_every_mistake_that_the_api_server_refuses(case: str, tmp_path: Path) -> None:
    patch, words = REFUSED[case]
    found = said(lint(tmp_path, smallest("refused", patch)))
    assert any(all(word in one for word in words) for one in found), found


@pytest.mark.parametrize("case", TEMPLATES_REFUSED | BUILT_IN_REFUSED)
def test_every_mistake_in_a_metric_template(case: str, tmp_path: Path) -> None:
    patch, words = (TEMPLATES_REFUSED | BUILT_IN_REFUSED)[case]
    found = said(lint(tmp_path, jsonpatch.merge(sample("canary.yaml")[1], yaml.safe_load(patch))))
    assert any(all(word in one for word in words) for one in found), found


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_the_api_server_accepts_is_not_refused_by_schema_and_rules(case: str) -> None:
    body = schema.defaulted(smallest("accepted", ACCEPTED[case]))
    problems = schema.problems(body)
    problems += rules.broken(body, schema.schema("ModelDeployment"), frozenset())
    assert problems == []


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ("!has(self.model) || self.model.uri != '' && self.replicas > 0", {"model", "replicas"}),
        ("self.__namespace__ == 'a'", {"__namespace__"}),
        ("self.all(key, key.size() < 3)", None),
        ("self in ['a', 'b']", None),
        ("has(self.steps) && self['x'] == 1", None),
        ("myself.a == self.b", {"b"}),
    ],
)
def test_a_rule_is_asked_with_the_fields_that_it_names(rule: str, fields: set[str] | None) -> None:
    assert rules.fields_of(rule) == fields


def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    """A rule that adds the bakes up has nothing to say of one that does not read."""
    patch = "spec: {strategy: {canary: {steps: [{weight: 5, bake: 5 minutes}]}}}"
    found = said(lint(tmp_path, smallest("refused", patch)))
    assert len(found) == 1, found
    assert found[0].startswith("spec.strategy.canary.steps[0].bake: ")


METRIC = "name: a, severity: critical"
# Accepted by the API server, and of no use all the same: what the operator would say, or nobody ever.
HOPELESS: dict[str, tuple[str, str, str]] = {
    "two keys, one variable": (
        "config: {max-age: '1', max_age: '2'}",
        "spec.config",
        "the keys max-age and max_age both become SERIN_CONFIG_MAX_AGE in the container: rename one of them",
    ),
    "a golden probe whose answer is no JSON": (
        "integrity: {goldenProbes: [{name: a, path: /p, body: '{}', expected: 'fraud: 0.9'}]}",
        "spec.integrity.goldenProbes[0].expected",
        "): write what the model must answer, in quotes",
    ),
    "a golden probe that any answer fits": (
        "integrity: {goldenProbes: [{name: a, path: /p, body: '{}', expected: '{}'}]}",
        "spec.integrity.goldenProbes[0].expected",
        "any answer fits {}: write the part of the answer that is known",
    ),
    "a path that is none": (
        "guard: {output: {checks: [{path: 'max(score)', finite: true}]}}",
        "spec.guard.output.checks[0].path",
        "function expression is not known here: write fields, indexes and [] alone",
    ),
    "a shape of a part": (
        "guard: {output: {checks: [{path: 'score[0]', shape: [-1]}]}}",
        "spec.guard.output.checks[0].path",
        "shape is that of a whole output: write the output's name alone as path",
    ),
    "checks whose absence nobody notices": (
        "guard: {output: {checks: [{path: score, finite: true}]}}",
        "spec.guard.output",
        "write the metric {name: bad-outputs, template: {name: bad-outputs}, severity: critical}",
    ),
    "invalid requests that nobody notices": (
        "guard: {input: {rows: 1, onInvalid: Count}}",
        "spec.guard.input",
        "{name: invalid-inputs, template: {name: invalid-inputs}, against: day, severity: minor}, or onInvalid: Reject",
    ),
    "a metric of requests that nobody checks": (
        "metrics: [{name: a, template: {name: request-errors}, severity: critical}, "
        "{name: b, template: {name: invalid-inputs}, against: day, severity: minor}]\nwatch: {}",
        "spec.metrics[1]",
        "no request is checked, so invalid-inputs never has data: write spec.guard.input, or remove the metric",
    ),
    "answers that are compared for nobody": (
        "guard: {agreement: {compare: [{path: label}]}}",
        "spec.guard.agreement",
        'write the metric {name: disagreements, template: {name: disagreements}, against: limit, limit: "0.02", ',
    ),
    "a metric of answers that nobody compares": (
        "metrics: [{name: a, template: {name: disagreements}, against: limit, limit: '0.1', severity: critical}]",
        "spec.metrics[0]",
        "no answers are compared, so disagreements never has data: write spec.guard.agreement, or remove the metric",
    ),
    "a metric of answers that nobody records": (
        "metrics: [{name: a, template: {name: predictions, arguments: {field: label}}, severity: critical}]",
        "spec.metrics[0]",
        "nothing is recorded, so predictions never has data: write spec.guard.record",
    ),
    "a metric of a field that nobody records": (
        "guard: {record: {predictions: [{name: label, path: label, labels: [a]}]}}\n"
        "metrics: [{name: a, template: {name: predictions, arguments: {field: lable}}, severity: critical}]",
        "spec.metrics[0]",
        "no such field is recorded: write arguments: {field: label}",
    ),
    "a metric of a label that nobody records": (
        "guard: {record: {predictions: [{name: label, path: label, labels: [a]}]}}\n"
        "metrics: [{name: a, severity: critical, "
        "template: {name: prediction-share, arguments: {field: label, label: b}}}]",
        "spec.metrics[0]",
        "no such label is recorded: write label: a or other",
    ),
    "a metric of numbers that are labels": (
        "guard: {record: {predictions: [{name: label, path: label, labels: [a]}]}}\n"
        "metrics: [{name: a, template: {name: prediction-values, arguments: {field: label}}, severity: critical}]",
        "spec.metrics[0]",
        "prediction-values needs buckets of label in spec.guard.record: write another field",
    ),
    "answers that are recorded by bounds in no order": (
        "guard: {record: {predictions: [{name: score, path: score, buckets: ['0.5', '0.1']}]}}",
        "spec.guard.record.predictions[0].buckets",
        "a bound is no more than the one before: write them in ascending order",
    ),
    "answers that are recorded under one name": (
        "guard: {record: {predictions: [{name: a, path: a, labels: [b]}, {name: a, path: c, labels: [b]}]}}",
        "spec.guard.record.predictions",
        "the name a is there twice: write a name of its own for each",
    ),
    "answers that are recorded by a label with quotes": (
        "guard: {record: {predictions: [{name: a, path: a, labels: ['a\"b']}]}}",
        "spec.guard.record.predictions[0].labels",
        'a label has one of " \\ { }: leave it out, it is counted as other',
    ),
    "a metric of answers that nobody looks at": (
        "metrics: [{name: a, template: {name: reviewed-wrong}, against: limit, limit: '0.1', severity: critical}]",
        "spec.metrics[0]",
        "nobody looks at answers, so reviewed-wrong never has data: write spec.guard.review, or remove the metric",
    ),
    "a rollout that waits for people": (
        "guard: {review: {answer: [label]}}\n"
        "metrics: [{name: a, template: {name: reviewed-wrong}, severity: critical}]",
        "spec.metrics[0]",
        "a rollout waits until people have labelled answers of both versions: write severity: info",
    ),
    "a part of a choice that people are to see and that is nowhere": (
        "guard: {review: {protocol: OpenAI, answer: [usage, message.content]}}",
        "spec.guard.review.answer[1]",
        "no answer has this: paths of OpenAI begin at the whole answer",
    ),
    "answers that are compared at a path that is none": (
        "guard: {agreement: {compare: [{path: 'sort(items)'}]}}",
        "spec.guard.agreement.compare[0].path",
        "function expression is not known here: write fields, indexes and [] alone",
    ),
    "a schema that says more than is known": (
        """guard: {output: {schema: '{"properties": {"a": {"anyOf": [{"minimum": 1}]}}}'}}""",
        "spec.guard.output.schema",
        "anyOf (properties.a) is not known here: write parts of which each has a type of its own and what belongs",
    ),
    "a schema that is no JSON": (
        "guard: {input: {schema: '{a: 1}'}}",
        "spec.guard.input.schema",
        'this is no JSON: write for example {"required": ["score"]',
    ),
    "a check of a choice that begins nowhere": (
        "guard: {output: {protocol: OpenAI, checks: [{path: '[].message.content', labels: [a]}]}}",
        "spec.guard.output.checks[0].path",
        "paths of OpenAI begin at the whole answer: write for example choices[].message.content",
    ),
    "a comparison of a choice that begins nowhere": (
        "guard: {agreement: {protocol: OpenAI, compare: [{path: usage}, {path: message.content}]}}",
        "spec.guard.agreement.compare[1].path",
        "paths of OpenAI begin at the whole answer: write for example choices[].message.content",
    ),
    "a metric of checks that there are not": (
        "metrics: [{name: a, template: {name: bad-outputs}, severity: critical}]",
        "spec.metrics[0]",
        "no answer is checked, so bad-outputs never has data: write spec.guard.output, or remove the metric",
    ),
    "a signature that is compared with nothing": (
        "features: {signature: {inputs: [{name: x, datatype: FP32, shape: [-1, 4]}]}}",
        "spec.features.signature",
        "it is compared with nothing: write integrity: {signature: Required}, or leave it out",
    ),
    "a digest of a model that nobody says": (
        "model: {digest: 'sha256:" + "a" * 64 + "'}\nintegrity: {digest: Required}",
        "spec.integrity.digest",
        "fetch the model in an init container that writes the digest to /dev/termination-log",
    ),
    "nobody decides": (
        "metrics: [{name: a, template: {name: request-errors}, severity: minor}]",
        "spec.metrics",
        "no evidence can roll a bad version back: give one severity: critical",
    ),
    "a breach that never counts": (
        "metrics: [{" + METRIC + ", value: {query: 'max(up{ {{.candidate}} })', max: '1'}, for: 2h}]",
        "spec.metrics[0].for",
        "all steps together bake for 25m: write a shorter for, or longer bakes",
    ),
    "silence that never acts": (
        "{strategy: {canary: {maxDuration: 30m}}, analysis: {onNoData: {action: Rollback, after: 30m}}}",
        "spec.analysis.onNoData.after",
        "the rollout is over after 30m (maxDuration), before there can be no data for 30m: write a shorter time",
    ),
    "a deadline after the end": (
        "{strategy: {canary: {maxDuration: 30m}}, progressDeadline: 1h}",
        "spec.progressDeadline",
        "write a shorter one, or a longer maxDuration",
    ),
    "looks rarer than steps": (
        "analysis: {interval: 6m}",
        "spec.analysis.interval",
        "the shortest bake is 5m, so with a look every 6m no step can end by then",
    ),
    "a query with a brace too few": (
        "metrics: [{" + METRIC + ", value: {query: 'max(up{ {{.candidate}} )', max: '1'}}]",
        "spec.metrics[0].value.query",
        "this is no PromQL: unexpected character inside braces: ')'",
    ),
    "a query of the wrong type": (
        "metrics: [{" + METRIC + ", value: {query: 'rate(up{ {{.candidate}} })', max: '1'}}]",
        "spec.metrics[0].value.query",
        "expected type matrix in call to function 'rate', got vector",
    ),
    "a function that is not there": (
        "metrics: [{" + METRIC + ", value: {query: 'maximum(up{ {{.candidate}} })', max: '1'}}]",
        "spec.metrics[0].value.query",
        "unknown function with name 'maximum'",
    ),
    "a misspelt placeholder": (
        "metrics: [{" + METRIC + ", value: {query: 'max(up{ {{.candidat}} })', max: '1'}}]",
        "spec.metrics[0].value.query",
        "{{.candidat}} is not known here: write one of {{.version}}, {{.candidate}}, {{.stable}}",
    ),
    "a value of everybody": (
        "metrics: [{" + METRIC + ", value: {query: 'max(up)', max: '1'}}]",
        "spec.metrics[0].value.query",
        "it says nothing about the candidate: write {{.candidate}} among the labels",
    ),
    "rates instead of counters": (
        "metrics: [{" + METRIC + ", ratio: {bad: 'rate(x{ {{.version}} }[5m])', total: 'y{ {{.version}} }'}}]",
        "spec.metrics[0].ratio.bad",
        "write the counters themselves, without rate and time window",
    ),
    "totals that lose the version": (
        "metrics: [{" + METRIC + ", ratio: {bad: 'max(x{ {{.version}} })', total: 'y{ {{.version}} }'}}]",
        "spec.metrics[0]",
        "bad does not keep the versions apart: write sum by (serin_snapshot) (...)",
    ),
    "half a ratio for both versions": (
        "metrics: [{" + METRIC + ", ratio: {bad: 'x{ {{.version}} } + z', total: 'y{ {{.version}} }'}}]",
        "spec.metrics[0]",
        "z does not say which version: write z{ {{.version}} }",
    ),
    "an argument that the template does not have": (
        "metrics: [{" + METRIC + ", template: {name: request-errors, arguments: {job: a}}}]",
        "spec.metrics[0]",
        "template request-errors has no argument job; it has: none",
    ),
    "an argument of the user's template that is missing": (
        "metrics: [{" + METRIC + ", template: {name: answer-outcomes}}]",
        "spec.metrics[0]",
        "template answer-outcomes needs the argument outcome: write it under arguments",
    ),
    "a number without a limit": (
        "metrics: [{" + METRIC + ", template: {name: memory}}]",
        "spec.metrics[0]",
        "a number needs a limit: write against: limit and limit:",
    ),
}
ANSWERS = "distribution: {counts: 'predictions_total{ {{.version}} }', by: label"
HOPELESS |= {
    "a reference that is too small": (
        f"metrics: [{{{METRIC}, {ANSWERS}, reference: {{a: 30, b: 20}}}}, against: reference, severity: minor}}]",
        "spec.metrics[0].distribution.reference",
        "chance alone moves 50 answers in 2 categories by a PSI of 0.1, so there can be no verdict: "
        "write at least 136 answers, fewer categories, or a larger limit",
    ),
    "answers by a rate": (
        f"metrics: [{{{METRIC}, {ANSWERS.replace('predictions_total', 'rate(a')}}}}}]".replace(
            "} }', by", "} }[5m])', by"
        ),
        "spec.metrics[0].distribution.counts",
        "write the counters themselves, without rate and time window",
    ),
    "answers that are computed": (
        f"metrics: [{{{METRIC}, {ANSWERS.replace('} }', '} } * 2')}}}}}]",
        "spec.metrics[0]",
        "counts must be a plain selector of a counter, or a sum of them",
    ),
    "a mean with a brace too few": (
        "metrics: [{" + METRIC + ", mean: {sum: 's{ {{.version}} }', count: 'c{ {{.version}} '}}]",
        "spec.metrics[0].mean.count",
        "this is no PromQL",
    ),
    "a template's mean of which nothing is worse": (
        "metrics: [{" + METRIC + ", template: {name: memory}, against: limit, limit: '1', lowerIsWorse: true}]",
        "spec.metrics[0]",
        "lowerIsWorse belongs to a mean, and template memory has none",
    ),
}
MEMORY = {
    "apiVersion": "serin.dev/v1alpha1",
    "kind": "MetricTemplate",
    "metadata": {"name": "memory"},
    "spec": {"value": {"query": "max(memory_bytes{ {{.candidate}} })"}},
}


@pytest.mark.parametrize("case", HOPELESS)
def test_what_cannot_work_is_found_with_its_field_and_the_fix(case: str, tmp_path: Path) -> None:
    written, path, words = HOPELESS[case]
    body = smallest("hopeless", yaml.safe_dump({"spec": yaml.safe_load(written)}))
    found = said(lint(tmp_path, body, sample("canary.yaml")[1], MEMORY))
    assert [one for one in found if one.startswith(f"{path}: ")], found
    assert len([one for one in found if words in one]) == 1, found


@pytest.mark.parametrize("path", sorted(SAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_samples_have_nothing_to_find(path: Path) -> None:
    report = check.check([path])
    assert report.findings == ()
    assert report.checked or report.others


class TestFiles:
    def test_findings_name_the_line(self, tmp_path: Path) -> None:
        file = tmp_path / "fraud.yaml"
        text = (SAMPLES / "smallest.yaml").read_text()
        file.write_text(text + "  replicas: 0\n---\n" + text.replace("iris}", "other}") + "  progressDeadline: soon\n")
        first, second = check.check([file]).findings
        assert (first.line, first.path) == (len(text.splitlines()) + 1, "spec.replicas")
        assert (second.line, second.path) == (2 * len(text.splitlines()) + 3, "spec.progressDeadline")

    def test_what_is_written_twice(self, tmp_path: Path) -> None:
        file = tmp_path / "fraud.yaml"
        text = (SAMPLES / "smallest.yaml").read_text()
        file.write_text(f"{text}  replicas: 1\n  replicas: 2\n---\n{text}")
        messages = [one.message for one in check.check([file]).findings]
        lines = len(text.splitlines())
        assert messages == [
            f"written twice, also in line {lines + 1}: only one of them counts, remove the other",
            f"the same resource as in {file}:5: only the later one stays",
        ]

    def test_one_resource_in_two_files_may_be_two_versions_of_it(self, tmp_path: Path) -> None:
        for name in ("1.yaml", "2.yaml"):
            (tmp_path / name).write_text((SAMPLES / "smallest.yaml").read_text())
        report = check.check([tmp_path / "1.yaml", tmp_path / "2.yaml"])
        assert report.errors == 0
        assert (
            report.findings[0].message == f"the same resource as in {tmp_path / '1.yaml'}:5: only the later one stays"
        )

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a: b: c", "this is no YAML: mapping values are not allowed here"),
            ("- a", "a resource is a map: write apiVersion, kind, metadata and spec"),
            ("{apiVersion: serin.dev/v1, kind: ModelDeployment}", "write serin.dev/v1alpha1"),
            ("{apiVersion: serin.dev/v1alpha1, kind: Model}", "no such kind: write ModelDeployment or MetricTemplate"),
            ("{apiVersion: serin.dev/v1alpha1, kind: ModelSnapshot}", "apply the ModelDeployment instead"),
            ("{apiVersion: serin.dev/v1alpha1, kind: ModelDeployment, spec: {}}", "write a name"),
            ("{apiVersion: serin.dev/v1alpha1, kind: ModelDeployment, metadata: {name: a}}", "Required value"),
            ("{apiVersion: serin.dev/v1alpha1, kind: MetricTemplate, metadata: {name: a}, spec: 5}", "of type object"),
        ],
    )
    def test_what_is_no_resource_of_serin(self, tmp_path: Path, text: str, words: str) -> None:
        (tmp_path / "a.yaml").write_text(text)
        (finding,) = check.check([tmp_path / "a.yaml"]).findings
        assert words in finding.message

    def test_lists_and_others(self, tmp_path: Path) -> None:
        body = smallest("listed", "spec: {replicas: 0}")
        (tmp_path / "a.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [body]}))
        (tmp_path / "b.json").write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap"}))
        report = check.check(documents.expand([tmp_path]))
        assert [one.path for one in report.findings] == ["spec.replicas"]
        assert (report.checked, report.others) == (1, 1)
        assert report.text().plain.endswith("1 resource of Serin checked, 1 error; 1 other document left out")

    def test_bounds_of_buckets_need_no_quotes(self, tmp_path: Path) -> None:
        counts = {"counts": "score_bucket{ {{.version}} }", "by": "le", "reference": {0.5: 9000, 1: 500, "+Inf": 0}}
        body = smallest("bounds")
        body["spec"]["metrics"] = [
            {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"},
            {"name": "scores", "distribution": counts, "against": "reference", "severity": "minor"},
        ]
        assert lint(tmp_path, body).findings == ()

    def test_a_template_of_the_cluster_is_a_note_and_no_error(self, tmp_path: Path) -> None:
        body = smallest("note", "spec: {metrics: [{name: a, template: {name: elsewhere}}]}")
        report = lint(tmp_path, body)
        assert report.errors == 0
        assert "not checked: elsewhere is not built in" in report.findings[0].message

    def test_a_selector_that_reads_less_than_it_says_is_a_note(self, tmp_path: Path) -> None:
        query = "max(a{ {{.candidate}} }) / max(node_load1) + max(b{serin_namespace='shop'})"
        body = smallest("note")
        body["spec"]["metrics"] = [
            {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"},
            {"name": "load", "value": {"query": query, "max": "1"}, "severity": "info"},
        ]
        [found] = lint(tmp_path, body).findings
        assert (found.level, found.path) == (check.NOTE, "spec.metrics[1]")
        assert found.message.startswith("node_load1 reads series of the deployment's namespace alone: Serin adds")

    def test_a_query_that_cannot_be_restricted_is_an_error(self, tmp_path: Path) -> None:
        body = smallest("at")
        body["spec"]["metrics"] = [{"name": "a", "value": {"query": "max(a{ {{.candidate}} } @ 5)", "max": "1"}}]
        assert "the query has @, which is the same moment for ever" in said(lint(tmp_path, body))[0]


class TestCommand:
    """As scripts and pre-commit hooks run it: no cluster, no kubeconfig."""

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serin", "lint", *words]
        environment = {**os.environ, "KUBECONFIG": "/nowhere"}
        return subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)

    def test_good_files(self) -> None:
        done = self.run("-f", str(SAMPLES))
        assert (done.returncode, done.stderr) == (0, "")
        assert "checked, no errors" in done.stdout

    def test_bad_input_for_programs(self) -> None:
        body = smallest("bad", "spec: {replicas: 0, progressDeadline: 1d}")
        done = self.run("-f", "-", "-o", "json", text=json.dumps(body))
        assert done.returncode == 1
        found = json.loads(done.stdout)
        assert {one["path"] for one in found} == {"spec.replicas", "spec.progressDeadline"}
        assert all(one.keys() == {"file", "line", "resource", "path", "level", "message"} for one in found)

    def test_queries_where_users_may_write_none(self) -> None:
        body = smallest("own")
        body["spec"]["metrics"] = [
            {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"},
            {"name": "memory", "template": {"name": "memory"}, "against": "limit", "limit": "1", "severity": "info"},
            {"name": "elsewhere", "template": {"name": "elsewhere"}, "severity": "info"},
        ]
        text = f"{json.dumps(body)}\n---\n{json.dumps(MEMORY)}"
        assert self.run("-f", "-", text=text).returncode == 0
        done = self.run("-f", "-", "--built-in-only", text=text)
        assert done.returncode == 1
        assert "MetricTemplate memory: spec: queries of users are switched off in this cluster" in done.stdout
        for index in (1, 2):
            assert f"spec.metrics[{index}]: queries of users are switched off" in done.stdout

    def test_a_folder_without_manifests(self, tmp_path: Path) -> None:
        done = self.run("-f", str(tmp_path))
        assert done.returncode == 64
        assert "has no .yaml, .yml, .json file" in done.stderr


def test_defaults_are_those_of_the_api_server() -> None:
    """tests/crds.py is compared with a real API server; this one must be the same."""
    for path in SAMPLES.glob("*.yaml"):
        for body in sample(path.name):
            assert schema.defaulted(body) == crds.defaulted(body)


def test_the_crds_of_the_package_are_the_ones_of_the_repository() -> None:
    for kind in crds.FILES:
        assert schema.crd(kind) == crds.load(kind)


@pytest.mark.parametrize(("lasts", "errors"), [("1m", 1), ("24h", 0)])
def test_a_holdback_lasts_longer_than_a_look(tmp_path: Path, lasts: str, errors: int) -> None:
    text = (SAMPLES / "smallest.yaml").read_text()
    text += f"  watch: {{holdback: {{for: {lasts}}}}}\n  analysis: {{interval: 1m}}\n"
    path = tmp_path / "watched.yaml"
    path.write_text(text)
    report = check.check([path])
    assert report.errors == errors, report.text()
    assert ("write a longer for" in report.text()) == bool(errors)


def test_drift_needs_a_metric_that_shows_it(tmp_path: Path) -> None:
    text = (SAMPLES / "retraining.yaml").read_text()
    path = tmp_path / "retraining.yaml"
    path.write_text(text)
    assert check.check([path]).errors == 0
    path.write_text(
        text.replace("    against: reference\n", "").replace("      reference: {legit: 97000, fraud: 3000}\n", "")
    )
    report = check.check([path])
    assert report.errors == 1
    assert "drift never begins a retraining" in report.text()


def test_the_pod_of_a_retraining_is_checked_as_well(tmp_path: Path) -> None:
    text = (SAMPLES / "retraining.yaml").read_text()
    path = tmp_path / "retraining.yaml"
    path.write_text(text.replace("serviceAccountName: fraud-trainer", "serviceAccountName: 7"))
    report = check.check([path])
    assert report.errors == 1
    assert "spec.retraining.job.spec.template.spec.serviceAccountName: text belongs here" in report.text()


@pytest.mark.parametrize(
    ("severity", "lasts", "within", "errors"),
    [("major", "", "72h", 1), ("major", "10m", "72h", 0), ("minor", "", "72h", 0), ("major", "", "0s", 0)],
)
def test_a_single_value_takes_no_version_back(
    tmp_path: Path, severity: str, lasts: str, within: str, errors: int
) -> None:
    text = (SAMPLES / "smallest.yaml").read_text()
    queue = "{query: 'max(queue_length{ {{.version}} })', max: '50'}"
    text += "  metrics:\n  - {name: errors, template: {name: request-errors}, severity: critical}\n"
    text += f"  - {{name: queue, severity: {severity}, value: {queue}{f', for: {lasts}' if lasts else ''}}}\n"
    text += f"  watch: {{rollBackWithin: {within}}}\n"
    path = tmp_path / "watched.yaml"
    path.write_text(text)
    report = check.check([path])
    assert report.errors == errors, report.text()
    assert ("write for: 5m, or severity: minor" in report.text()) == bool(errors)


@pytest.mark.parametrize(
    ("holdback", "limit", "errors"), [(0, "", 1), (0, ", against: limit, limit: '0.01'", 0), (1, "", 0)]
)
def test_without_a_holdback_some_limit_decides(tmp_path: Path, holdback: int, limit: str, errors: int) -> None:
    text = (SAMPLES / "smallest.yaml").read_text()
    text += f"  strategy: {{blueGreen: {{holdback: {holdback}}}}}\n"
    text += f"  metrics: [{{name: errors, template: {{name: request-errors}}, severity: critical{limit}}}]\n"
    path = tmp_path / "green.yaml"
    path.write_text(text)
    report = check.check([path])
    assert report.errors == errors, report.text()


@pytest.mark.parametrize(
    ("metric", "errors"),
    [
        ("against: history, window: 24h", 0),
        ("against: history, window: 48h, labelDelay: 24h", 1),
        ("against: snapshot, window: 72h", 0),
        ("against: limit, limit: '0.01', labelDelay: 72h", 1),
        ("against: limit, limit: '0.01', window: 168h", 0),
    ],
)
def test_a_breach_is_known_while_it_can_still_go_back(tmp_path: Path, metric: str, errors: int) -> None:
    text = (SAMPLES / "smallest.yaml").read_text()
    text += (
        f"  metrics: [{{name: errors, template: {{name: request-errors}}, severity: major, {metric}}}]\n  watch: {{}}\n"
    )
    path = tmp_path / "late.yaml"
    path.write_text(text)
    report = check.check([path])
    assert report.errors == errors, report.text()
    assert ("write a longer watch.rollBackWithin, or severity: minor" in report.text()) == bool(errors)


@pytest.mark.parametrize(
    ("old", "new", "errors"),
    [
        ("  watch: {}\n", "  watch: {}\n", 0),
        ("  watch: {}\n", "", 1),
        ("  watch: {}\n", "  watch: {rollBackWithin: 0s}\n", 1),
        ("severity: major", "severity: critical", 1),
        ("severity: major", "severity: minor", 1),
        ("severity: major", "severity: minor\n    escalateAfter: 1h", 0),
        ('against: limit\n    limit: "0.1"', "against: snapshot", 1),
    ],
)
def test_a_validation_is_asked_by_something(tmp_path: Path, old: str, new: str, errors: int) -> None:
    text = (SAMPLES / "validated-rollback.yaml").read_text()
    assert text.count(old) == 1
    path = tmp_path / "validated.yaml"
    path.write_text(text.replace(old, new))
    report = check.check([path])
    assert ("its Job is never made" in report.text()) == bool(errors), report.text()
    assert report.errors == errors, report.text()


def test_the_pod_of_a_validation_is_checked_as_well(tmp_path: Path) -> None:
    text = (SAMPLES / "validated-rollback.yaml").read_text()
    path = tmp_path / "validated.yaml"
    path.write_text(text.replace("restartPolicy: Never", "restartPolicy: Never\n              serviceAccountName: 7"))
    report = check.check([path])
    assert report.errors == 1
    assert "spec.rollback.validation.job.spec.template.spec.serviceAccountName: text belongs here" in report.text()
