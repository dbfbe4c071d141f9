"""Prometheus: the adapter, the collector that turns its samples into ticks, and the built-in metric templates."""
