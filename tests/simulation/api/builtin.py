"""Defaults and checks of the built-in kinds, as far as Serin's objects need them.

What is here is compared with a real server by tests/conformance. Pod templates have many more checks in Kubernetes;
those that are missing here accept what the real server refuses, so a test that needs such a refusal injects it
(faults.py).
"""

import ipaddress
from base64 import b64encode
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from serin.api.json import JsonObject
from tests.simulation.api import status, types
from tests.simulation.api.metadata import key_errors, label_errors
from tests.simulation.api.status import FieldError
from tests.simulation.api.types import Type

Default = Callable[[JsonObject], None]
Check = Callable[[JsonObject, JsonObject | None], Iterator[FieldError]]

# The server counts bytes, whatever its messages say.
_EVENT_BYTES: Final = {"reportingInstance": 128, "action": 128, "reason": 128, "note": 1024}


def _set(value: JsonObject, **defaults: Any) -> None:
    for name, default in defaults.items():
        if value.get(name) is None:
            value[name] = default


# Pod templates


def _pod_spec(spec: JsonObject) -> None:
    _set(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    if spec.get("serviceAccountName") or spec.get("serviceAccount"):
        account = spec.get("serviceAccountName") or spec["serviceAccount"]
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for name in ("containers", "initContainers"):
        for container in spec.get(name) or ():
            _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _container(container: JsonObject) -> None:
    image = str(container.get("image", ""))
    tag = image.rpartition("/")[2].partition(":")[2]
    policy = "IfNotPresent" if "@" in image or (tag and tag != "latest") else "Always"
    _set(
        container,
        imagePullPolicy=policy,
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        resources={},
    )
    for port in container.get("ports") or ():
        _set(port, protocol="TCP")
    for variable in container.get("env") or ():
        if reference := (variable.get("valueFrom") or {}).get("fieldRef"):
            _set(reference, apiVersion="v1")
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        if probe := container.get(name):
            _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if "httpGet" in probe:
                _set(probe["httpGet"], path="/", scheme="HTTP")


def _volume(volume: JsonObject) -> None:
    if volume.keys() == {"name"}:
        volume["emptyDir"] = {}
    for name in ("downwardAPI", "secret", "configMap", "projected"):
        if name in volume:
            _set(volume[name], defaultMode=420)
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        if "fieldRef" in item:
            _set(item["fieldRef"], apiVersion="v1")


def _pod_spec_errors(spec: JsonObject, path: str) -> Iterator[FieldError]:
    containers = spec.get("containers")
    if not containers:
        yield FieldError(f"{path}.containers", status.REQUIRED, "")
        return
    for index, container in enumerate(containers):
        here = f"{path}.containers[{index}]"
        if not container.get("image"):
            yield FieldError(f"{here}.image", status.REQUIRED, "")
        for place, port in enumerate(container.get("ports") or ()):
            if not 1 <= port.get("containerPort", 0) <= 65535:
                words = "must be between 1 and 65535, inclusive"
                yield FieldError(f"{here}.ports[{place}].containerPort", status.INVALID, words, port["containerPort"])


# Workloads


def _deployment(body: JsonObject) -> None:
    spec = body["spec"]
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={}, template={})
    _set(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _set(spec["strategy"], rollingUpdate={})
        _set(spec["strategy"]["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")
    _set(spec["template"], metadata={}, spec={})
    _pod_spec(spec["template"]["spec"])


def _replica_set(body: JsonObject) -> None:
    _set(body["spec"], replicas=1, template={})
    _set(body["spec"]["template"], metadata={}, spec={})
    _pod_spec(body["spec"]["template"]["spec"])


def _job(body: JsonObject) -> None:
    spec = body["spec"]
    if spec.get("completions") is None and spec.get("parallelism") is None:
        _set(spec, completions=1, parallelism=1)
    _set(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False, manualSelector=False)
    _set(spec, podReplacementPolicy="TerminatingOrFailed", template={})
    _set(spec["template"], metadata={}, spec={})
    _pod_spec(spec["template"]["spec"])
    labels = (spec["template"].get("metadata") or {}).get("labels")
    if labels and not body["metadata"].get("labels"):
        body["metadata"]["labels"] = dict(labels)


def _pod(body: JsonObject) -> None:
    _pod_spec(body["spec"])
    for container in body["spec"].get("containers") or ():  # a template's containers keep theirs
        if limits := container["resources"].get("limits"):
            container["resources"]["requests"] = {**limits, **(container["resources"].get("requests") or {})}
    _set(body["spec"], enableServiceLinks=True, priority=0, preemptionPolicy="PreemptLowerPriority")
    _set(body, status={"phase": "Pending", "qosClass": "BestEffort"})


def _workload_errors(body: JsonObject, old: JsonObject | None) -> Iterator[FieldError]:
    spec = body["spec"]
    selector = spec.get("selector")
    if old is not None and selector != old["spec"].get("selector"):
        yield FieldError("spec.selector", status.INVALID, "field is immutable", selector)
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if not selector:
        yield FieldError("spec.selector", status.REQUIRED, "")
    if not selector or any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        words = "`selector` does not match template `labels`"
        yield FieldError("spec.template.metadata.labels", status.INVALID, words, labels or None)
    if spec["replicas"] < 0:
        words = "must be greater than or equal to 0"
        yield FieldError("spec.replicas", status.INVALID, words, spec["replicas"])
    yield from label_errors(labels, "spec.template.labels")
    yield from _pod_spec_errors(spec["template"]["spec"], "spec.template.spec")


def _job_errors(body: JsonObject, old: JsonObject | None) -> Iterator[FieldError]:
    spec = body["spec"]
    for name in ("activeDeadlineSeconds", "backoffLimit", "completions", "parallelism", "ttlSecondsAfterFinished"):
        if (spec.get(name) or 0) < 0:
            words = "must be greater than or equal to 0"
            yield FieldError(f"spec.{name}", status.INVALID, words, spec[name])
    template = spec["template"]
    if old is not None and template != old["spec"]["template"]:
        yield FieldError("spec.template", status.INVALID, "field is immutable", template)
    yield from _pod_spec_errors(template["spec"], "spec.template.spec")
    if template["spec"].get("restartPolicy") == "Always":
        words = 'valid values: "OnFailure", "Never"'
        yield FieldError("spec.template.spec.restartPolicy", status.REQUIRED, words)


def _pod_errors(body: JsonObject, _old: JsonObject | None) -> Iterator[FieldError]:
    yield from _pod_spec_errors(body["spec"], "spec")


# Services and endpoints


def _service(body: JsonObject) -> None:
    spec = body["spec"]
    _set(spec, sessionAffinity="None", type="ClusterIP", internalTrafficPolicy="Cluster")
    _set(body, status={"loadBalancer": {}})
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP")
        _set(port, targetPort=port.get("port"))


def _service_errors(body: JsonObject, old: JsonObject | None) -> Iterator[FieldError]:
    spec = body["spec"]
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None":
        yield FieldError("spec.ports", status.REQUIRED, "")
    for index, port in enumerate(ports):
        for name in ("port", "targetPort"):
            if isinstance(port.get(name), int) and not 1 <= port[name] <= 65535:
                words = "must be between 1 and 65535, inclusive"
                yield FieldError(f"spec.ports[{index}].{name}", status.INVALID, words, port[name])
        if len(ports) > 1 and not port.get("name"):
            yield FieldError(f"spec.ports[{index}].name", status.REQUIRED, "")
    if old is not None and spec.get("clusterIP") != old["spec"].get("clusterIP"):
        words = "may not change once set"
        yield FieldError("spec.clusterIPs[0]", status.INVALID, words, spec.get("clusterIPs"))


def _endpoint_slice(body: JsonObject) -> None:
    for port in body.get("ports") or ():
        _set(port, name="", protocol="TCP")


def _endpoint_slice_errors(body: JsonObject, old: JsonObject | None) -> Iterator[FieldError]:
    families = ("IPv4", "IPv6", "FQDN")
    if body.get("addressType") not in families:
        if body.get("addressType"):
            words = 'supported values: "FQDN", "IPv4", "IPv6"'
            yield FieldError("addressType", status.UNSUPPORTED, words, body["addressType"])
        else:
            yield FieldError("addressType", status.REQUIRED, "")
    version = {"IPv4": 4, "IPv6": 6}.get(str(body.get("addressType")))
    for index, endpoint in enumerate(body.get("endpoints") or ()):
        for address in endpoint["addresses"] if version else ():
            if not _is_address(address, version):
                words = f"must be an IPv{version} address"
                yield FieldError(f"endpoints[{index}].addresses", status.INVALID, words, address)
    if old is not None and body.get("addressType") != old.get("addressType"):
        yield FieldError("addressType", status.INVALID, "field is immutable", body.get("addressType"))


def _is_address(text: str, version: int | None) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


# The rest


def _event_errors(body: JsonObject, old: JsonObject | None) -> Iterator[FieldError]:
    """The server knows events by the names of the older API."""
    if not body.get("eventTime"):
        if old is None:
            yield FieldError("eventTime", status.REQUIRED, "")
        return
    if not body["regarding"].get("namespace") and body["metadata"]["namespace"] not in ("default", "kube-system"):
        words = "does not match event.namespace"
        yield FieldError("involvedObject.namespace", status.INVALID, words, "")
    controller = body.get("reportingController", "")
    if not controller:
        yield FieldError("reportingController", status.REQUIRED, "")
    yield from key_errors(controller, "reportingController")
    for name, most in _EVENT_BYTES.items():
        length = len(str(body.get(name, "")).encode())
        told = "message" if name == "note" else name
        if not length and name != "note":
            yield FieldError(told, status.REQUIRED, "")
        if length > most:
            yield FieldError(told, status.INVALID, f"can have at most {most} characters", "")
    series = body.get("series")
    if series and series != (old or {}).get("series") and series.get("count", 0) < 2:
        yield FieldError("series.count", status.INVALID, "should be at least 2", "")
    for name in ("regarding", *_EVENT_BYTES, "type", "reportingController") if old else ():
        if old is not None and body.get(name) != old.get(name):
            told = {"note": "message", "regarding": "involvedObject"}.get(name, name)
            yield FieldError(told, status.INVALID, "field is immutable", body.get(name))


def _lease_errors(body: JsonObject, _old: JsonObject | None) -> Iterator[FieldError]:
    spec = body.get("spec") or {}
    for name in ("leaseDurationSeconds", "leaseTransitions"):
        least = 1 if name == "leaseDurationSeconds" else 0
        if spec.get(name) is not None and spec[name] < least:
            words = "must be greater than 0" if least else "must be greater than or equal to 0"
            yield FieldError(f"spec.{name}", status.INVALID, words, spec[name])


def _namespace(body: JsonObject) -> None:
    labels = body["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = body["metadata"]["name"]


def _secret(body: JsonObject) -> None:
    _set(body, type="Opaque")
    if plain := body.pop("stringData", None):
        encoded = {key: b64encode(text.encode()).decode() for key, text in plain.items()}
        body["data"] = {**(body.get("data") or {}), **encoded}


def _nothing(_body: JsonObject) -> None:
    """There are no defaults."""


def _no_errors(_body: JsonObject, _old: JsonObject | None) -> Iterator[FieldError]:
    yield from ()


_DEFAULTS: Final[dict[str, Default]] = {
    "Deployment": _deployment,
    "EndpointSlice": _endpoint_slice,
    "Job": _job,
    "Namespace": _namespace,
    "Pod": _pod,
    "ReplicaSet": _replica_set,
    "Secret": _secret,
    "Service": _service,
}
_CHECKS: Final[dict[str, Check]] = {
    "Deployment": _workload_errors,
    "EndpointSlice": _endpoint_slice_errors,
    "Event": _event_errors,
    "Job": _job_errors,
    "Lease": _lease_errors,
    "Pod": _pod_errors,
    "ReplicaSet": _workload_errors,
    "Service": _service_errors,
}


# What is shown even when there is nothing in it.
_ALWAYS: Final[dict[str, JsonObject]] = {
    "EndpointSlice": {"endpoints": None, "ports": None},
    "Event": {
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
        "deprecatedSource": {},
        "regarding": {},
    },
    "Job": {"status": {}},
}


def read(kind: str, body: JsonObject) -> JsonObject:
    """An object as the server reads it: with its defaults, without nulls and without empty lists and maps."""
    if kind in ("Deployment", "ReplicaSet", "Job", "Pod", "Service"):
        _set(body, spec={})
    _DEFAULTS.get(kind, _nothing)(body)
    cleaned: JsonObject = _clean(types.built_in()[kind], body)
    return _ALWAYS.get(kind, {}) | cleaned


def _clean(kind: Type, value: Any) -> Any:
    if isinstance(value, list) and kind.list is not None:
        return [_clean(kind.list.element, one) for one in value]
    if not isinstance(value, dict) or kind.map is None:
        return value
    kept = {}
    for name, one in value.items():
        inner = kind.map.of(name)
        if one is None or inner is None or (one == [] and inner.list) or (one == {} and _is_plain_map(inner)):
            continue
        kept[name] = _clean(inner, one)
    return kept


def _is_plain_map(kind: Type) -> bool:
    return kind.map is not None and not kind.map.fields


def allocate(kind: str, body: JsonObject, chance: Random) -> None:
    """What the server itself adds to a new object; nobody owns it. `chance` draws a Service's address."""
    if kind == "Namespace":
        _set(body, spec={"finalizers": ["kubernetes"]}, status={"phase": "Active"})
    if kind == "Job":
        spec, uid = body["spec"], body["metadata"]["uid"]
        named = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": body["metadata"]["name"]}
        old = {"controller-uid": uid, "job-name": body["metadata"]["name"]}
        labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
        labels |= {**named, **old}
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    if kind == "Service":
        spec = body["spec"]
        drawn = f"198.19.{chance.randrange(256)}.{chance.randrange(1, 255)}"
        address = spec.get("clusterIP") or drawn
        headless = address == "None" and not spec.get("selector")
        families = ["IPv4", "IPv6"] if headless else ["IPv4"]
        policy = "RequireDualStack" if headless else "SingleStack"
        spec |= {"clusterIP": address, "clusterIPs": [address], "ipFamilies": families, "ipFamilyPolicy": policy}


def errors(kind: str, body: JsonObject, old: JsonObject | None) -> list[FieldError]:
    """What the API server has against an object of a built-in kind. `old`: what is stored, None for a new one."""
    return list(_CHECKS.get(kind, _no_errors)(body, old))
