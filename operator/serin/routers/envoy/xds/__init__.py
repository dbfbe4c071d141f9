"""The xDS server: carries the rendered routes to every Envoy, in an order that breaks nothing."""
