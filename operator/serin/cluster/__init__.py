"""Kubernetes I/O: client, cache, lease, events."""
