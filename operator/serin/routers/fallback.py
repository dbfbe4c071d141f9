"""The Service that answers in the place of every version, as the router reaches it: by the address of its own.

Nothing else of a Service is followed. A name that it stands for (ExternalName) could lead into another namespace, so it
is no fallback.
"""

from typing import Any

from serin.api.json import JsonObject
from serin.api.kill_switch import FallbackService
from serin.routers.endpoints import Endpoint


class NoFallback(ValueError):
    """The Service cannot answer. The message says why, and what to do."""


def fallback_endpoint(wanted: FallbackService, service: JsonObject | None) -> Endpoint:
    """Address and port. `service`: as it is in the deployment's namespace, None: it is not. Raises NoFallback."""
    name = wanted.name
    if service is None:
        raise NoFallback(f"there is no Service {name} in this namespace: create it, or correct spec.fallback.service")
    spec: dict[str, Any] = service.get("spec") or {}
    address = spec.get("clusterIP")
    if spec.get("type") == "ExternalName" or not address or address == "None":
        raise NoFallback(f"Service {name} has no address of its own (it is headless, or an ExternalName): give it one")
    ports = [one["port"] for one in spec.get("ports") or () if one.get("protocol", "TCP") == "TCP"]
    if wanted.port not in ports:
        offered = ", ".join(map(str, ports)) or "none"
        raise NoFallback(f"Service {name} has no TCP port {wanted.port} (it has: {offered}): correct the port")
    return Endpoint(address, wanted.port)
