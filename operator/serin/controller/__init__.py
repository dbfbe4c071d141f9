"""The running operator: kopf's watches, the queue, reconcile, health, telemetry."""
