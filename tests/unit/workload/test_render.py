"""What a snapshot's objects say, and that the same content always says the same."""

from copy import deepcopy
from typing import Any

import pytest

from serin.workload.render import Owner, deployment, environment, service

OWNER = Owner("shop", "fraud", "uid-1")
CONTENT: dict[str, Any] = {
    "runtime": {
        "port": 8080,
        "runtime": "mlserver",
        "template": {
            "metadata": {"labels": {"team": "risk"}},
            "spec": {
                "containers": [
                    {
                        "name": "model",
                        "image": "m:1",
                        "args": ["--model", "$(SERIN_MODEL_URI)"],
                        "env": [{"name": "A", "value": "1"}],
                    },
                    {"name": "sidecar", "image": "s:1"},
                ]
            },
        },
    },
    "model": {"name": "fraud", "version": "7", "uri": "s3://models/7"},
    "config": {"threshold": "0.5", "max-age": "3"},
    "features": None,
}


def _deployment(content: dict[str, Any] = CONTENT) -> dict[str, Any]:
    return deployment(OWNER, "fraud-abc", content, replicas=2, role="candidate")


def _containers(content: dict[str, Any] = CONTENT) -> list[dict[str, Any]]:
    return _deployment(content)["spec"]["template"]["spec"]["containers"]


def test_rendering_changes_nothing_it_was_given() -> None:
    before = deepcopy(CONTENT)
    assert _deployment() == _deployment()
    assert before == CONTENT


def test_the_role_is_not_in_the_pod_template_so_a_promotion_restarts_no_pod() -> None:
    stable = deployment(OWNER, "fraud-abc", CONTENT, replicas=2, role="stable")
    assert stable["spec"] == _deployment()["spec"]
    assert stable["metadata"]["labels"] != _deployment()["metadata"]["labels"]


def test_every_container_knows_its_version_and_the_users_variables_come_after() -> None:
    for container in _containers():
        assert container["env"][: len(environment(CONTENT))] == environment(CONTENT)
    assert _containers()[0]["env"][-1] == {"name": "A", "value": "1"}
    assert {"name": "SERIN_CONFIG_MAX_AGE", "value": "3"} in environment(CONTENT)
    assert "SERIN_FEATURES_SCHEMA" not in {one["name"] for one in environment(CONTENT)}


def test_config_is_mounted_as_files() -> None:
    pod = _deployment()["spec"]["template"]
    (volume,) = pod["spec"]["volumes"]
    assert [item["path"] for item in volume["downwardAPI"]["items"]] == ["max-age", "threshold"]
    assert pod["metadata"]["annotations"]["config.serin.dev/threshold"] == "0.5"
    assert all(one["volumeMounts"][-1]["mountPath"] == "/etc/serin/config" for one in pod["spec"]["containers"])


def test_readiness_asks_for_the_model() -> None:
    assert _containers()[0]["readinessProbe"]["httpGet"] == {"path": "/v2/models/fraud/ready", "port": 8080}
    assert "readinessProbe" not in _containers()[1]


def test_a_grpc_server_is_asked_for_its_model_at_its_http_port() -> None:
    content = deepcopy(CONTENT)
    content["runtime"] |= {"runtime": "triton", "port": 8001, "protocol": "HTTP2"}
    [container, _] = _containers(content)
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/models/fraud/ready", "port": 8000}
    assert service(OWNER, "fraud-abc", content)["spec"]["ports"][0]["port"] == 8001
    content["runtime"]["healthPort"] = 9000
    assert _containers(content)[0]["readinessProbe"]["httpGet"]["port"] == 9000


def test_the_users_own_probe_stays_and_the_model_is_asked_for_before_it() -> None:
    content = deepcopy(CONTENT)
    own = {"httpGet": {"path": "/mine", "port": 8080}}
    content["runtime"]["template"]["spec"]["containers"][0]["readinessProbe"] = own
    server = _containers(content)[0]
    assert server["readinessProbe"] == own
    assert server["startupProbe"]["httpGet"]["path"] == "/v2/models/fraud/ready"


def test_a_generic_server_without_a_probe_is_ready_when_it_listens() -> None:
    content = deepcopy(CONTENT)
    content["runtime"]["runtime"] = "generic"
    assert _containers(content)[0]["readinessProbe"]["tcpSocket"] == {"port": 8080}


def test_init_containers_and_sidecars_know_their_version_too() -> None:
    content = deepcopy(CONTENT)
    fetch = {"name": "fetch", "image": "f:1", "args": ["$(SERIN_MODEL_URI)"], "env": [{"name": "A", "value": "1"}]}
    proxy = {"name": "proxy", "image": "p:1", "restartPolicy": "Always"}
    content["runtime"]["template"]["spec"]["initContainers"] = [fetch, proxy]
    made = _deployment(content)["spec"]["template"]["spec"]["initContainers"]
    for given, container in zip((fetch, proxy), made, strict=True):
        assert container == {
            **given,
            "env": [*environment(content), *given.get("env", [])],
            "volumeMounts": [{"name": "serin-config", "mountPath": "/etc/serin/config", "readOnly": True}],
        }


def test_a_value_reaches_the_container_as_it_was_written() -> None:
    """The kubelet reads $(NAME) as a variable and $$ as $."""
    content = {**CONTENT, "config": {"prompt": "costs $$5 $(HOME)"}, "model": {"name": "m", "uri": "s3://$(A)/b"}}
    values = {one["name"]: one["value"] for one in environment(content)}
    assert values["SERIN_CONFIG_PROMPT"] == "costs $$$$5 $$(HOME)"
    assert values["SERIN_MODEL_URI"] == "s3://$$(A)/b"
    assert _deployment(content)["spec"]["template"]["metadata"]["annotations"] == {
        "config.serin.dev/prompt": "costs $$5 $(HOME)"
    }


def test_the_service_selects_this_snapshot_only() -> None:
    spec = service(OWNER, "fraud-abc", CONTENT)["spec"]
    assert spec["selector"] == {"serin.dev/snapshot": "fraud-abc"}
    assert spec["ports"][0]["targetPort"] == 8080


def test_content_without_a_runtime_is_refused() -> None:
    with pytest.raises(ValueError, match="without the dimension runtime"):
        service(OWNER, "fraud-abc", {**CONTENT, "runtime": None})
