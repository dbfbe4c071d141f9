"""A snapshot as a Deployment and a Service, rendered from its content alone.

The same snapshot renders the same objects for ever; only the replica count and the role label change. Nothing is read
back from the cluster into them, so a mutable field can never travel in circles.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from serin.api import names
from serin.api.json import JsonObject
from serin.api.serving import read_serving
from serin.workload import drain
from serin.workload.profiles import health

_CONFIG_PATH: Final = "/etc/serin/config"
_CONFIG_VOLUME: Final = "serin-config"
_CONFIG_ANNOTATION: Final = f"config.{names.GROUP}/"


@dataclass(frozen=True, slots=True)
class Owner:
    """The ModelDeployment that owns the objects."""

    namespace: str
    name: str
    uid: str


def service(owner: Owner, snapshot: str, content: Mapping[str, JsonObject | None]) -> JsonObject:
    """The snapshot's headless Service: the router reads its endpoints, clients use the deployment's own Service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(owner, snapshot, {}),
        "spec": {
            "clusterIP": "None",
            "selector": {names.LABEL_SNAPSHOT: snapshot},
            "ports": [
                {"name": names.PORT_NAME, "port": _port(content), "targetPort": _port(content), "protocol": "TCP"}
            ],
        },
    }


def preview_service(owner: Owner, snapshot: str, content: Mapping[str, JsonObject | None]) -> JsonObject:
    """The Service for people who try the snapshot: to its pods, past the router."""
    found = service(owner, snapshot, content)
    metadata = found["metadata"] | {
        "name": names.preview_service(owner.name),
        "labels": {names.LABEL_MODEL_DEPLOYMENT: owner.name},
    }
    spec = {key: value for key, value in found["spec"].items() if key != "clusterIP"}
    return {**found, "metadata": metadata, "spec": spec}


def deployment(
    owner: Owner, snapshot: str, content: Mapping[str, JsonObject | None], *, replicas: int, role: str
) -> JsonObject:
    """The snapshot's Deployment."""
    found = without_pods(owner, snapshot, role)
    template = _pod_template(owner, snapshot, content)
    return {**found, "spec": {**found["spec"], "replicas": replicas, "template": template}}


def without_pods(owner: Owner, snapshot: str, role: str) -> JsonObject:
    """The snapshot's Deployment without its size and pod template."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(owner, snapshot, {names.LABEL_ROLE: role}),
        "spec": {
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": {names.LABEL_SNAPSHOT: snapshot}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        },
    }


def environment(content: Mapping[str, JsonObject | None]) -> list[JsonObject]:
    """What the version tells its containers: SERIN_MODEL_*, SERIN_CONFIG_*, SERIN_FEATURES_SCHEMA.

    The kubelet reads `$(NAME)` in a value as a variable and `$$` as `$`, so that each `$` is written twice.
    """
    model, config, features = (content.get(one) or {} for one in ("model", "config", "features"))
    values = {f"SERIN_MODEL_{key.upper()}": model.get(key) for key in ("name", "version", "uri", "digest")}
    values |= {names.config_variable(key): value for key, value in sorted(config.items())}
    values["SERIN_FEATURES_SCHEMA"] = features.get("schemaVersion")
    given = {name: value for name, value in values.items() if value is not None}
    return [{"name": name, "value": str(value).replace("$", "$$")} for name, value in given.items()]


def _metadata(owner: Owner, snapshot: str, labels: Mapping[str, str]) -> JsonObject:
    return {
        "name": snapshot,
        "namespace": owner.namespace,
        "labels": {names.LABEL_MODEL_DEPLOYMENT: owner.name, names.LABEL_SNAPSHOT: snapshot, **labels},
        "ownerReferences": [names.owner_reference(owner.name, owner.uid)],
    }


def _runtime(content: Mapping[str, JsonObject | None]) -> JsonObject:
    runtime = content["runtime"]
    if runtime is None:
        raise ValueError("a snapshot without the dimension runtime cannot run")
    return runtime


def _port(content: Mapping[str, JsonObject | None]) -> int:
    return int(_runtime(content)["port"])


def _pod_template(owner: Owner, snapshot: str, content: Mapping[str, JsonObject | None]) -> JsonObject:
    template = _runtime(content)["template"]
    metadata, spec = template.get("metadata") or {}, dict(template["spec"])
    config = content.get("config") or {}
    labels = {
        **(metadata.get("labels") or {}),
        names.LABEL_MODEL_DEPLOYMENT: owner.name,
        names.LABEL_SNAPSHOT: snapshot,
    }
    annotations = (metadata.get("annotations") or {}) | {
        _CONFIG_ANNOTATION + key: config[key] for key in sorted(config)
    }
    server, *others = spec["containers"]
    spec["containers"] = [_with_version(one, content) for one in (_serving(server, content), *others)]
    if spec.get("initContainers"):
        spec["initContainers"] = [_with_version(one, content) for one in spec["initContainers"]]
    spec["terminationGracePeriodSeconds"] = drain.grace_period(spec.get("terminationGracePeriodSeconds"))
    if config:
        spec["volumes"] = [*(spec.get("volumes") or []), _config_volume(config)]
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def _with_version(container: JsonObject, content: Mapping[str, JsonObject | None]) -> JsonObject:
    """Environment first, so that the user's own variables may refer to it; the config as files too."""
    result = {**container, "env": [*environment(content), *(container.get("env") or [])]}
    if content.get("config"):
        mount = {"name": _CONFIG_VOLUME, "mountPath": _CONFIG_PATH, "readOnly": True}
        result["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]
    return result


def _config_volume(config: Mapping[str, Any]) -> JsonObject:
    """The config as files, through the downward API: no further object to keep, and none that changes under a pod."""
    items = [
        {"path": key, "fieldRef": {"fieldPath": f"metadata.annotations['{_CONFIG_ANNOTATION}{key}']"}}
        for key in sorted(config)
    ]
    return {"name": _CONFIG_VOLUME, "downwardAPI": {"items": items}}


def _serving(container: JsonObject, content: Mapping[str, JsonObject | None]) -> JsonObject:
    """The first container serves: it is ready when its model is, and stops only after the router has left it."""
    result = {**container, "lifecycle": drain.lifecycle(container.get("lifecycle"))}
    probe = _model_probe(content)
    if "readinessProbe" not in container:
        result["readinessProbe"] = {**probe, "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 3}
    elif "httpGet" in probe and "startupProbe" not in container:
        # The user's own readiness probe stays; that the model is loaded is then asked once, before it.
        result["startupProbe"] = {**probe, "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 1800}
    return result


def _model_probe(content: Mapping[str, JsonObject | None]) -> JsonObject:
    runtime, model = _runtime(content), content.get("model") or {}
    found = health(runtime["runtime"], str(model.get("name", "")), _port(content), read_serving(runtime))
    if found is None:
        return {"tcpSocket": {"port": _port(content)}}
    return {"httpGet": {"path": found.path, "port": found.port}}
