"""The chart's objects are known to every supported release of Kubernetes, with few values set and with all of them."""

import copy
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests.generate import CHART

from tests.chart import kube_schema

EVERYTHING = Path(__file__).with_name("every-value.yaml")
OWN = ("CustomResourceDefinition", "PodMonitor", "PrometheusRule")
"""Kinds that are not Kubernetes' own; a real API server takes the definitions, and promtool the rules."""


@cache
def objects(helm: Path, release: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for more in ([], ["--values", str(EVERYTHING)]):
        command = [str(helm), "template", "serin", str(CHART), "-n", "serin-system", "--kube-version", f"{release}.0"]
        command += ["--api-versions", "monitoring.coreos.com/v1"]
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found += [one for one in yaml.safe_load_all(done.stdout) if one]
    return found


@pytest.mark.parametrize("release", kube_schema.CLIENT_GO)
def test_every_field_is_known_to(helm: Path, release: str) -> None:
    checked = [one for one in objects(helm, release) if one["kind"] not in OWN]
    assert len(checked) > 30
    assert [problem for one in checked for problem in kube_schema.problems(one, release)] == []


def test_a_field_that_does_not_exist_or_has_another_type_is_found(helm: Path) -> None:
    [deployment] = [
        one for one in objects(helm, "1.31")[:40] if one["kind"] == "Deployment" and "router" in one["metadata"]["name"]
    ]
    wrong = copy.deepcopy(deployment)
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    wrong["spec"]["replicas"] = "2"
    wrong["spec"]["template"]["spec"]["tolerations"] = {}
    assert kube_schema.problems(wrong, "1.31") == [
        "Deployment.spec.replicas: '2' is no numeric",
        "Deployment.spec.template.spec.containers[0].livenesProbe: no such field",
        "Deployment.spec.template.spec.tolerations: dict where the schema has list",
    ]
    assert kube_schema.problems({**deployment, "apiVersion": "apps/v3"}, "1.31") == ["1.31 has no apps/v3 Deployment"]


def test_an_older_kubernetes_is_refused(helm: Path) -> None:
    command = [str(helm), "template", "serin", str(CHART), "--kube-version", "1.30.9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "requires kubeVersion: >=1.31" in done.stderr


def without_operators(folder: Path) -> Path:
    """The same values without what needs Prometheus Operator's definitions: `helm lint` knows no --api-versions."""
    values = yaml.safe_load(EVERYTHING.read_text())
    values["monitoring"] = {"dashboard": values["monitoring"]["dashboard"]}
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_helm_lint_finds_nothing(helm: Path, tmp_path: Path) -> None:
    for more in ([], ["--values", str(EVERYTHING)]):
        more = [one.replace(str(EVERYTHING), str(without_operators(tmp_path))) for one in more]
        command = [str(helm), "lint", str(CHART), "--strict", "--namespace", "serin-system", *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert "[WARNING]" not in done.stdout
