"""The xDS server: carries the rendered routes to every Envoy, in an order that breaks nothing."""

from serin.routers.envoy.xds.server import STATE_PATH, XdsServer

__all__ = ["STATE_PATH", "XdsServer"]
