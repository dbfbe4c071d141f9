"""Routers: a traffic split rendered for Envoy, and the xDS server that carries it."""
