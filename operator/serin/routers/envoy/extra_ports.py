"""Further ports of the clients' Service (`spec.service.extraPorts`): straight to the pods of stable, past the router.

They have an EndpointSlice of their own beside the router's, in which Serin keeps the addresses of stable's ready pods
as Kubernetes lists them. No step, shield or evidence knows of their requests: those move as a whole when another
version is stable. The port's number is the version's, from its own pod template.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from serin.api.fields import InvalidSpec
from serin.api.json import JsonObject
from serin.api.kill_switch import KillSwitch
from serin.api.serving import container_ports
from serin.api.spec import ExtraPort, ModelDeployment
from serin.routers.endpoints import pods_by_snapshot

_MOST_ENDPOINTS: Final = 1000  # of one EndpointSlice


def check(wanted: Iterable[ExtraPort], clients: int) -> None:
    """Raise InvalidSpec where one is the clients' own port, which only the status knows when the spec leaves it out."""
    for index, one in enumerate(wanted):
        if one.port == clients:
            told = f"spec.service.extraPorts[{index}].port: {clients} is the port that leads to the router"
            raise InvalidSpec(f"{told}: write another one, or another spec.service.port")


def service_ports(wanted: Iterable[ExtraPort]) -> list[JsonObject]:
    """As they stand in the Service."""
    return [_port(one, one.port) for one in wanted]


def _port(one: ExtraPort, number: int) -> JsonObject:
    found: JsonObject = {"name": one.name, "port": number, "protocol": "TCP"}
    return found | ({"appProtocol": one.app_protocol} if one.app_protocol else {})


def endpoints(
    deployment: ModelDeployment, stable: str | None, slices: Iterable[JsonObject], snapshot: JsonObject | None
) -> JsonObject:
    """What stands in their EndpointSlice. `snapshot`: stable's ModelSnapshot; `slices`: all of the deployment.

    Nobody is there while no version may answer, or when stable has none of the ports.
    """
    ports = _ports(deployment.spec.service.extra_ports, snapshot)
    pods = pods_by_snapshot(slices).get(stable or "")
    serve = pods is not None and ports and deployment.killed.level is not KillSwitch.ALL
    family, addresses = _of_one_family(one.address for one in pods.serving()) if pods and serve else (4, [])
    return {
        "addressType": f"IPv{family}",
        "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in addresses[:_MOST_ENDPOINTS]],
        "ports": ports,
    }


def _of_one_family(addresses: Iterable[str]) -> tuple[int, list[str]]:
    """The IP version that most of them have, and those. Anybody may write a slice, also one of host names."""
    found: dict[int, list[str]] = {4: [], 6: []}
    for one in addresses:
        with suppress(ValueError):
            found[ipaddress.ip_address(one).version].append(one)
    version = max(found, key=lambda family: len(found[family]))
    return version, found[version]


def _ports(wanted: Iterable[ExtraPort], snapshot: JsonObject | None) -> list[JsonObject]:
    known: Mapping[str, int] = {}
    if snapshot is not None:
        known = container_ports(snapshot["spec"]["content"]["runtime"]["template"]["spec"])
    return [_port(one, known[one.name]) for one in wanted if one.name in known]
