"""Shapes that every part of Envoy's configuration has in common."""

from typing import Final

from serin.api.json import JsonObject

XDS_CLUSTER: Final = "serin-xds"  # the bootstrap's name for the operator's xDS server

# Envoy sends its next request this long after a response (with as much random time on top), so it is the time between
# two changes in a row. It is no load on an idle system, because the server holds a request until something changes.
_REFRESH: Final = "0.1s"
# Longer than the server holds a request (HOLD in xds/server.py), and no longer than that needs: it is how long an Envoy
# waits for a replica that stands still.
_REQUEST_TIMEOUT: Final = "30s"


def typed(name: str, message: str, config: JsonObject) -> JsonObject:
    """An extension by its name with its configuration's protobuf message."""
    return {"name": name, "typed_config": any_of(message, config)}


def any_of(message: str, config: JsonObject) -> JsonObject:
    """A protobuf Any."""
    return {"@type": f"type.googleapis.com/{message}", **config}


def set_header(key: str, value: str) -> JsonObject:
    """A header to add, whose own value there may have been counts no more."""
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def socket_address(address: str, port: int) -> JsonObject:
    """Where something listens, or what is asked. `::` as a listener's is every address of both families."""
    compatible = {"ipv4_compat": True} if address == "::" else {}
    return {"socket_address": {"address": address, "port_value": port, **compatible}}


def seconds(value: float) -> str:
    """A protobuf duration."""
    return f"{value:.3f}s"


def config_source() -> JsonObject:
    """From where Envoy gets a resource.

    It waits for the first response as long as it takes: a router without configuration is not ready and serves
    no 404s.
    """
    return {
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": [XDS_CLUSTER],
            "refresh_delay": _REFRESH,
            "request_timeout": _REQUEST_TIMEOUT,
        },
    }
