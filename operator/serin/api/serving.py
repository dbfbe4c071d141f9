"""How the pods of a version are spoken to: port, protocol, time-out, and where they say that the model is loaded.

All of it is content of the version (dimension runtime), read from its own ModelSnapshot wherever it is used: the pods
of two versions run side by side, and what holds for one need not hold for the other.

What a version leaves out, or writes as it is here, is not in its content: a field that Serin learns later renames no
snapshot. So these values stay as they are; another default would be the schema's, and come with the spec.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeGuard

from serin.api.fields import Field, InvalidSpec
from serin.api.json import JsonObject


class Protocol(StrEnum):
    """What a model server speaks at its port."""

    HTTP1 = "HTTP1"
    HTTP2 = "HTTP2"  # without TLS; also gRPC


@dataclass(frozen=True, slots=True)
class Serving:
    """`timeout`: seconds until an answer begins at the latest, 0 for no limit.

    `health_port`: where an HTTP request asks for the model; None: where the runtime has it.
    """

    protocol: Protocol = Protocol.HTTP1
    timeout: float = 300.0
    health_port: int | None = None


UNWRITTEN: Final = Serving()


def serving_content(root: Field) -> JsonObject:
    """What of a spec says this, as content of the dimension runtime. Raises InvalidSpec."""
    protocol, timeout, health = root.get("protocol"), root.get("timeout"), root.get("healthPort")
    content: JsonObject = {"port": _port(root)}
    if protocol is not None and protocol.one_of(Protocol) is not UNWRITTEN.protocol:
        content["protocol"] = protocol.value
    if timeout is not None and timeout.duration() != UNWRITTEN.timeout:
        content["timeout"] = _text(timeout.duration())
    if health is not None:
        content["healthPort"] = int(health.value)
    return content


def read_serving(runtime: JsonObject) -> Serving:
    """The dimension runtime of a snapshot. Raises InvalidSpec for a word of another version's CRD."""
    field = Field(runtime, "spec.content.runtime")
    protocol, timeout = field.get("protocol"), field.duration_of("timeout")
    return Serving(
        protocol=UNWRITTEN.protocol if protocol is None else protocol.one_of(Protocol),
        timeout=UNWRITTEN.timeout if timeout is None else timeout,
        health_port=runtime.get("healthPort"),
    )


def container_ports(pod: JsonObject) -> dict[str, int]:
    """The ports of a pod's containers that have a name: name -> number.

    The schema lets any pod template pass: what is no port is left out, and the API server says what is wrong with it.
    """
    containers = [*_maps(pod.get("initContainers")), *_maps(pod.get("containers"))]
    ports = (port for one in containers for port in _maps(one.get("ports")))
    named = ((port.get("name"), port.get("containerPort")) for port in ports)
    return {name: number for name, number in named if isinstance(name, str) and _is_port(number)}


def _maps(items: object) -> list[JsonObject]:
    return [one for one in items if isinstance(one, dict)] if isinstance(items, list) else []


def _is_port(number: object) -> TypeGuard[int]:
    return type(number) is int and 0 < number < 65536


def _text(seconds: float) -> str:
    """One text for one duration, so that 5m and 300s are one version."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def _port(root: Field) -> int:
    """`spec.port`, or else the first port of the first container."""
    given = root.get("port")
    if given is not None:
        return int(given.value)
    containers = _maps(root["template"]["spec"]["containers"].value)
    ports = _maps(containers[0].get("ports")) if containers else []
    number = ports[0].get("containerPort") if ports else None
    if not _is_port(number):
        raise InvalidSpec(
            "spec.port: write the port that the model server answers on, either port: 8080 or ports: "
            "[{containerPort: 8080}] in the first container of the template"
        )
    return number
