"""`serin lint` about pod templates: what the API server or the kubelet would say only later, or nobody."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serin.cli.lint import check
from tests.pods import CASES, spec_of

Json = dict[str, Any]


def findings(folder: Path, spec: Json, level: str) -> list[str]:
    body = {"apiVersion": "serin.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "fraud"}, "spec": spec}
    file = folder / "given.yaml"
    file.write_text(yaml.safe_dump(body))
    return [f"{one.path}: {one.message}" for one in check.check([file]).findings if one.level == level]


def spec(container: str = "", pod: str = "", more: str = "") -> Json:
    """A spec with these fields in its first container, its pod and beside the template."""
    server = {"name": "model", "image": "m:1", "ports": [{"name": "http", "containerPort": 8080}]}
    template = {"spec": {"containers": [server | (yaml.safe_load(container) or {})]} | (yaml.safe_load(pod) or {})}
    return {"template": template} | (yaml.safe_load(more) or {})


FIRST = "spec.template.spec.containers[0]"
PORTS = "ports: [{containerPort: 8080, name: http}, {containerPort: 9090, name: http}]"
WRONG: dict[str, tuple[Json, str, str]] = {
    "a variable twice": (
        spec("env: [{name: A, value: '1'}, {name: A, value: '2'}]"),
        f"{FIRST}.env",
        "A is written twice, which the API server refuses: remove one",
    ),
    "a port twice": (
        spec("ports: [{containerPort: 8080}, {containerPort: 8080, protocol: TCP, name: metrics}]"),
        f"{FIRST}.ports",
        "8080/TCP is written twice",
    ),
    "two ports of a name": (spec(PORTS), f"{FIRST}.ports", "two ports have the name http"),
    "two volumes of a name": (
        spec(pod="volumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}]"),
        "spec.template.spec.volumes",
        "two volumes have the name a",
    ),
    "two containers of a name": (
        spec(pod="initContainers: [{name: model, image: a}]"),
        "spec.template.spec",
        "two containers have the name model",
    ),
    "a mount of no volume": (
        spec("volumeMounts: [{name: models, mountPath: /m}]", "volumes: [{name: model, emptyDir: {}}]"),
        f"{FIRST}.volumeMounts[0].name",
        "there is no volume models in this pod; there are: model",
    ),
    "two mounts at a path": (
        spec(
            "volumeMounts: [{name: a, mountPath: /m}, {name: b, mountPath: /m}]",
            "volumes: [{name: a, emptyDir: {}}, {name: b, emptyDir: {}}]",
        ),
        f"{FIRST}.volumeMounts",
        "two volumes are mounted at /m",
    ),
    "a mount in Serin's place": (
        spec(
            "volumeMounts: [{name: a, mountPath: /etc/serin/config}]",
            "volumes: [{name: a, emptyDir: {}}]",
            "config: {k: v}",
        ),
        f"{FIRST}.volumeMounts[0].mountPath",
        "the files of spec.config are mounted there",
    ),
    "a volume of Serin's name": (
        spec(pod="volumes: [{name: serin-config, emptyDir: {}}]", more="config: {k: v}"),
        "spec.template.spec.volumes",
        "the volume serin-config is Serin's",
    ),
    "a probe by a name that no port has": (
        spec("readinessProbe: {httpGet: {path: /, port: web}}"),
        f"{FIRST}.readinessProbe.httpGet.port",
        "this container has no port of the name web",
    ),
    "a hook by a name that no port has": (
        spec("lifecycle: {postStart: {httpGet: {path: /, port: web}}}"),
        f"{FIRST}.lifecycle.postStart.httpGet.port",
        "this container has no port of the name web",
    ),
    "a probe of two kinds": (
        spec("livenessProbe: {httpGet: {port: 8080}, tcpSocket: {port: 8080}}"),
        f"{FIRST}.livenessProbe",
        "write exactly one of exec, httpGet, tcpSocket and grpc",
    ),
    "a liveness probe that has to succeed twice": (
        spec("livenessProbe: {tcpSocket: {port: 8080}, successThreshold: 2}"),
        f"{FIRST}.livenessProbe.successThreshold",
        "must be 1",
    ),
    "no image": (spec("image: ''"), f"{FIRST}.image", "Required value"),
    "a name with an underscore": (spec("name: my_model"), f"{FIRST}.name", "lower-case letters"),
    "a value that is a number": (
        spec("env: [{name: WORKERS, value: 2}]"),
        f"{FIRST}.env[0].value",
        "text belongs here, so put it in quotes",
    ),
    "a number that is text": (
        spec(pod="terminationGracePeriodSeconds: '3'"),
        "spec.template.spec.terminationGracePeriodSeconds",
        "a whole number belongs here",
    ),
    "a list that is a map": (spec("args: {a: b}"), f"{FIRST}.args", "write a list"),
    "a map that is text": (spec("resources: many"), f"{FIRST}.resources", "write a map"),
    "a pod that runs once": (
        spec(pod="restartPolicy: OnFailure"),
        "spec.template.spec.restartPolicy",
        "remove it, or write Always",
    ),
    "a pod with an end": (spec(pod="activeDeadlineSeconds: 60"), "spec.template.spec.activeDeadlineSeconds", "remove"),
    "less than no time to end": (
        spec(pod="terminationGracePeriodSeconds: -1"),
        "spec.template.spec.terminationGracePeriodSeconds",
        "write 0 or more",
    ),
    "a sleep that is longer than the pod": (
        spec("lifecycle: {preStop: {sleep: {seconds: 60}}}", "terminationGracePeriodSeconds: 10"),
        f"{FIRST}.lifecycle.preStop.sleep.seconds",
        "the pod is killed after 15 s",
    ),
    "a variable of Serin's that is not set": (
        spec("args: ['$(SERIN_MODEL_URI)', '$$(SERIN_MODEL_DIGEST)']", more="model: {name: fraud}"),
        FIRST,
        "$(SERIN_MODEL_URI) is not set by this spec; there are: SERIN_MODEL_NAME",
    ),
    "the same in an init container": (
        spec(pod="initContainers: [{name: fetch, image: f, args: ['$(SERIN_MODEL_URI)']}]"),
        "spec.template.spec.initContainers[0]",
        "there are: none",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_pod_comes_of_is_an_error(case: str, tmp_path: Path) -> None:
    given, path, words = WRONG[case]
    found = findings(tmp_path, given, check.ERROR)
    assert len(found) == 1, found
    assert found[0].startswith(f"{path}: ")
    assert words in found[0]


DOUBTFUL: dict[str, tuple[Json, str, str]] = {
    "a field that is misspelt": (
        spec("volumeMount: []"),
        f"{FIRST}.volumeMount",
        "Kubernetes knows no such field of a pod here: write volumeMounts",
    ),
    "a hook that no wait can be put before": (
        spec("lifecycle: {preStop: {httpGet: {path: /drain, port: 8080}}}"),
        f"{FIRST}.lifecycle.preStop",
        "Serin's drain of 5 s cannot be put before it",
    ),
    "a port that is not listed": (
        spec(more="port: 9000"),
        "spec.port",
        "the first container lists the ports 8080 and not 9000: clients' requests go to 9000",
    ),
    "a liveness probe that fails while the model loads": (
        spec("livenessProbe: {httpGet: {path: /v2/health/ready, port: 8080}}"),
        f"{FIRST}.livenessProbe.httpGet.path",
        "so a server that loads for long is killed, again and again: ask whether it lives",
    ),
    "a port of the node": (
        spec("ports: [{containerPort: 8080, hostPort: 80}]"),
        "spec.template.spec",
        "a pod takes the node's port 80, so two versions need different nodes during a rollout",
    ),
    "the node's network": (spec(pod="hostNetwork: true"), "spec.template.spec", "ports of its node (hostNetwork)"),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_what_may_be_meant_so_is_a_note(case: str, tmp_path: Path) -> None:
    given, path, words = DOUBTFUL[case]
    assert findings(tmp_path, given, check.ERROR) == []
    found = findings(tmp_path, given, check.NOTE)
    assert len(found) == 1, found
    assert found[0].startswith(f"{path}: ")
    assert words in found[0]


@pytest.mark.parametrize("case", CASES)
def test_public_pod_templates_have_no_error(case: str, tmp_path: Path) -> None:
    assert findings(tmp_path, spec_of(case), check.ERROR) == []


@pytest.mark.parametrize(
    "probes",
    [
        "livenessProbe: {httpGet: {path: /v2/health/live, port: 8080}}",
        "livenessProbe: {httpGet: {path: /ready, port: 80}}\nstartupProbe: {httpGet: {path: /ready, port: 80}}",
        "readinessProbe: {httpGet: {path: /ready, port: 8080}}",
    ],
)
def test_a_liveness_probe_that_gives_the_model_its_time_is_no_note(probes: str, tmp_path: Path) -> None:
    assert findings(tmp_path, spec(probes), check.NOTE) == []
