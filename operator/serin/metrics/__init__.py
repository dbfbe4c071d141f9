"""Prometheus: the adapter, the collector, and the metric templates."""
