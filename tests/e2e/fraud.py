"""The ModelDeployment under test: a fraud model, version by version, healthy or with faults of its config."""

from typing import Any

from tests.e2e.models.image import PORT

NAME = "fraud"
STEPS: tuple[dict[str, Any], ...] = (
    {"weight": 10, "bake": "4s"},
    {"weight": 30, "bake": "4s"},
    {"weight": 50, "bake": "4s"},
)
# By this metric alone a version without failures cannot fail: for tests that are about something else.
ERRORS: dict[str, Any] = {"name": "errors", "template": {"name": "request-errors"}, "severity": "critical"}
# Long enough for a cold process on a busy machine, and short enough for steps of seconds.
WARMUP = "10s"
# Enough to compare with; the machine that runs the tests has two cores.
REPLICAS = 2


def fraud(
    image: str,
    version: str,
    *,
    config: dict[str, str] | None = None,
    steps: tuple[dict[str, Any], ...] = STEPS,
    shield: str = "Failures",
    router: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A manifest as a user writes it. `config`: faults by name, see models/server/faults.py."""
    container = {
        "name": "model",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": PORT}],
        # Without a request the kernel would let every other pod's start-up go first.
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
    }
    body: dict[str, Any] = {
        "replicas": REPLICAS,
        "runtime": "mlserver",
        "model": {"name": NAME, "version": version},
        "template": {"spec": {"terminationGracePeriodSeconds": 10, "containers": [container]}},
        "router": {"envoy": {"shield": shield, **(router or {})}},
        "strategy": {"canary": {"steps": [dict(step) for step in steps]}},
        "progressDeadline": "4m",
    }
    spec["analysis"] = {"warmup": WARMUP} | spec.get("analysis", {})
    if config:
        body["config"] = config
    return {
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": NAME},
        "spec": body | spec,
    }
