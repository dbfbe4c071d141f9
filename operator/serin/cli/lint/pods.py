"""Pod templates that the schema takes and that no pod comes of: what the API server or the kubelet says much later.

Only what is certain from the file is an error. What may be meant so is a note.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from serin.api.json import JsonObject
from serin.api.spec import ModelDeploymentSpec
from serin.cli.lint import pod_fields
from serin.cli.lint.schema import Problem
from serin.workload import drain, render

_PATH: Final = "spec.template.spec"
_JOB: Final = "job.spec.template.spec"
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VARIABLE: Final = re.compile(r"(?<!\$)(?:\$\$)*\$\((SERIN_\w+)\)")
_READY: Final = re.compile(r"(^|/)(ready|readyz|readiness)/?$")
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_CONFIG_VOLUME, _CONFIG_PATH = "serin-config", "/etc/serin/config"
Named = tuple[str, JsonObject]  # where a container is written, and the container


def check(body: JsonObject, spec: ModelDeploymentSpec) -> tuple[list[Problem], list[Problem]]:
    """Errors and notes about the pod template of a ModelDeployment."""
    pod = body["spec"]["template"]["spec"]
    errors, notes = pod_fields.check(pod, _PATH)
    validation = (body["spec"].get("rollback") or {}).get("validation")
    for path, owner in (("retraining", body["spec"].get("retraining")), ("rollback.validation", validation)):
        if job := (owner or {}).get("job"):
            found = pod_fields.check(job["spec"]["template"]["spec"], f"spec.{path}.{_JOB}")
            errors, notes = [*errors, *found[0]], [*notes, *found[1]]
    if errors:
        return errors, notes
    containers = _containers(pod)
    given = {str(one["name"]) for one in render.environment(spec.content)}
    configured = bool(spec.content.get("config"))
    errors += _names(containers)
    errors += _volumes(pod, containers, configured=configured)
    errors += _of_deployments(pod)
    for one in containers:
        for of_container in _OF_A_CONTAINER:
            errors += of_container(*one)
        errors += _variables(*one, given)
    notes += _drained(pod["containers"][0])
    notes += _exposed(pod["containers"][0], spec.port)
    notes += _host_ports(pod, containers)
    notes += _killed_while_it_loads(pod["containers"][0])
    return errors, notes


def _containers(pod: JsonObject) -> list[Named]:
    return [
        (f"{_PATH}.{field}[{index}]", one)
        for field in ("initContainers", "containers")
        for index, one in enumerate(pod.get(field) or ())
    ]


def _twice(values: Iterator[Any]) -> list[Any]:
    return [value for value, times in Counter(values).items() if times > 1 and value is not None]


# ── A container ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _environment(path: str, one: JsonObject) -> Iterator[Problem]:
    for name in _twice(variable.get("name") for variable in one.get("env") or ()):
        yield Problem(f"{path}.env", f"{name} is written twice, which the API server refuses: remove one")
    for index, variable in enumerate(one.get("env") or ()):
        if variable.get("value") and variable.get("valueFrom"):
            yield Problem(f"{path}.env[{index}]", "write value or valueFrom, not both")


def _ports(path: str, one: JsonObject) -> Iterator[Problem]:
    ports = one.get("ports") or ()
    for number, protocol in _twice((port.get("containerPort"), port.get("protocol") or "TCP") for port in ports):
        yield Problem(
            f"{path}.ports", f"{number}/{protocol} is written twice, which the API server refuses: remove one"
        )
    for name in _twice(port.get("name") for port in ports):
        yield Problem(f"{path}.ports", f"two ports have the name {name}: rename one")


def _named_ports(path: str, one: JsonObject) -> Iterator[Problem]:
    """A probe or hook by the name of a port that the container does not have is never answered."""
    known = {port.get("name") for port in one.get("ports") or ()}
    hooks = {f"lifecycle.{name}": hook for name, hook in (one.get("lifecycle") or {}).items() if isinstance(hook, dict)}
    for where, asked in ({probe: one.get(probe) for probe in _PROBES} | hooks).items():
        for how in ("httpGet", "tcpSocket"):
            port = ((asked or {}).get(how) or {}).get("port")
            if isinstance(port, str) and not port.isdecimal() and port not in known:
                told = f"this container has no port of the name {port}"
                yield Problem(f"{path}.{where}.{how}.port", f"{told}: write its number, or the name under ports")


def _probes(path: str, one: JsonObject) -> Iterator[Problem]:
    for probe in ("livenessProbe", "startupProbe"):
        if ((one.get(probe) or {}).get("successThreshold") or 1) != 1:
            yield Problem(f"{path}.{probe}.successThreshold", "must be 1 for this probe: remove it")
    for probe in _PROBES:
        asked = one.get(probe)
        ways = [way for way in ("exec", "httpGet", "tcpSocket", "grpc") if (asked or {}).get(way) is not None]
        if asked and len(ways) != 1:
            yield Problem(f"{path}.{probe}", "write exactly one of exec, httpGet, tcpSocket and grpc")


def _image(path: str, one: JsonObject) -> Iterator[Problem]:
    if not one.get("image"):
        yield Problem(f"{path}.image", "Required value: write the image of the container")


def _mounts(path: str, one: JsonObject) -> Iterator[Problem]:
    for mounted in _twice(mount.get("mountPath") for mount in one.get("volumeMounts") or ()):
        yield Problem(f"{path}.volumeMounts", f"two volumes are mounted at {mounted}: choose another path for one")


_OF_A_CONTAINER: Final[tuple[Callable[[str, JsonObject], Iterator[Problem]], ...]] = (
    _image,
    _environment,
    _ports,
    _named_ports,
    _probes,
    _mounts,
)


def _variables(path: str, one: JsonObject, given: set[str]) -> Iterator[Problem]:
    """A `$(SERIN_...)` that nothing gives stays in the command as it is written."""
    own = [variable.get("value") for variable in one.get("env") or ()]
    for text in (*(one.get("command") or ()), *(one.get("args") or ()), *own):
        for name in _VARIABLE.findall(text or ""):
            if name not in given:
                known = ", ".join(sorted(given)) or "none, as spec.model, spec.config and spec.features are empty"
                yield Problem(path, f"$({name}) is not set by this spec; there are: {known}")


# ── The pod ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _names(containers: list[Named]) -> Iterator[Problem]:
    for name in _twice(one.get("name") for _, one in containers):
        yield Problem(_PATH, f"two containers have the name {name}: rename one")
    for path, one in containers:
        if not _LABEL.fullmatch(str(one.get("name", ""))):
            yield Problem(f"{path}.name", "write lower-case letters, digits and hyphens, for example model")


def _volumes(pod: JsonObject, containers: list[Named], *, configured: bool) -> Iterator[Problem]:
    names = [volume.get("name") for volume in pod.get("volumes") or ()]
    for name in _twice(iter(names)):
        yield Problem(f"{_PATH}.volumes", f"two volumes have the name {name}: rename one")
    if configured and _CONFIG_VOLUME in names:
        yield Problem(f"{_PATH}.volumes", f"the volume {_CONFIG_VOLUME} is Serin's: rename yours")
    for path, one in containers:
        for index, mount in enumerate(one.get("volumeMounts") or ()):
            if mount.get("name") not in names:
                told = f"there is no volume {mount.get('name')} in this pod; there are: {', '.join(names) or 'none'}"
                yield Problem(f"{path}.volumeMounts[{index}].name", told)
            if configured and mount.get("mountPath") == _CONFIG_PATH:
                told = "the files of spec.config are mounted there: choose another path"
                yield Problem(f"{path}.volumeMounts[{index}].mountPath", told)


def _of_deployments(pod: JsonObject) -> Iterator[Problem]:
    if (pod.get("restartPolicy") or "Always") != "Always":
        yield Problem(f"{_PATH}.restartPolicy", "a model server is always started again: remove it, or write Always")
    if pod.get("activeDeadlineSeconds") is not None:
        yield Problem(f"{_PATH}.activeDeadlineSeconds", "a model server has no end: remove it")
    grace = pod.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        yield Problem(f"{_PATH}.terminationGracePeriodSeconds", "write 0 or more")
    hook = (pod["containers"][0].get("lifecycle") or {}).get("preStop") or {}
    asked, most = (hook.get("sleep") or {}).get("seconds") or 0, drain.grace_period(grace)
    if isinstance(most, int) and 0 <= most < asked:
        told = f"the pod is killed after {most} s: write fewer seconds, or a longer terminationGracePeriodSeconds"
        yield Problem(f"{_PATH}.containers[0].lifecycle.preStop.sleep.seconds", told)


# ── Notes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _drained(server: JsonObject) -> Iterator[Problem]:
    if not drain.can_drain(server.get("lifecycle")):
        yield Problem(
            f"{_PATH}.containers[0].lifecycle.preStop",
            f"Serin's drain of {drain.DRAIN_SECONDS} s cannot be put before it, so requests may be lost when a pod "
            "ends: let it take that long itself, or write a script, for example exec: {command: [/bin/sh, -c, ...]}",
        )


def _exposed(server: JsonObject, port: int) -> Iterator[Problem]:
    ports = [one.get("containerPort") for one in server.get("ports") or ()]
    if ports and port not in ports:
        told = f"the first container lists the ports {', '.join(map(str, ports))} and not {port}"
        yield Problem("spec.port", f"{told}: clients' requests go to {port}")


def _killed_while_it_loads(server: JsonObject) -> Iterator[Problem]:
    """A liveness probe that asks for readiness fails until the model is loaded, and the kubelet starts anew."""
    asked = ((server.get("livenessProbe") or {}).get("httpGet") or {}).get("path") or ""
    if _READY.search(asked) and not server.get("startupProbe"):
        told = f"{asked} says whether the model is loaded, so a server that loads for long is killed, again and again"
        fix = "ask whether it lives (for example /v2/health/live), or write a startupProbe that gives it the time"
        yield Problem(f"{_PATH}.containers[0].livenessProbe.httpGet.path", f"{told}: {fix}")


def _host_ports(pod: JsonObject, containers: list[Named]) -> Iterator[Problem]:
    taken = [port["hostPort"] for _, one in containers for port in one.get("ports") or () if port.get("hostPort")]
    if taken or pod.get("hostNetwork"):
        what = f"the node's port {taken[0]}" if taken else "ports of its node (hostNetwork)"
        told = f"a pod takes {what}, so two versions need different nodes during a rollout"
        yield Problem(_PATH, told)
