"""Pods of public charts on a real API server: a Deployment's pod beside the pod of a ModelDeployment's version."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serin.api.json import JsonObject
from tests.integration.operator_process import Cluster, operating, until
from tests.pods import CASES, meaning, spec_of, without_additions

pytestmark = pytest.mark.control_plane

# Of every pod: names that differ from one to the next.
_RANDOM_LABELS = ("pod-template-hash", "app")
_RANDOM_VOLUME = "kube-api-access-"


def _as_deployment(cluster: Cluster, case: str) -> None:
    """As a user of the chart runs it; the labels are there for the selector."""
    template = CASES[case]["template"]
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), "app": f"plain-{case}"}
    body: JsonObject = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"plain-{case}"}}
    pod = {**template, "metadata": {**metadata, "labels": labels}}
    body["spec"] = {"selector": {"matchLabels": {"app": f"plain-{case}"}}, "template": pod}
    cluster.kubectl("create", "-f", "-", body=body)


def _pod(cluster: Cluster, label: str) -> JsonObject | None:
    found = cluster.read("pods", selector=label)["items"]
    return found[0] if found else None


def _comparable(pod: JsonObject) -> JsonObject:
    """Metadata and spec without what is random in every pod, and without what the kubelet and scheduler set."""
    metadata = {key: dict(pod["metadata"].get(key) or {}) for key in ("labels", "annotations")}
    for label in _RANDOM_LABELS:
        metadata["labels"].pop(label, None)
    spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
    spec["volumes"] = [one for one in spec.get("volumes") or () if not one["name"].startswith(_RANDOM_VOLUME)]
    for one in [*spec["containers"], *(spec.get("initContainers") or ())]:
        mounts = one.get("volumeMounts") or ()
        one["volumeMounts"] = [mount for mount in mounts if not mount["name"].startswith(_RANDOM_VOLUME)]
    return {"metadata": metadata, "spec": spec}


@pytest.mark.usefixtures("simulated_nodes")
async def test_a_version_is_the_pod_that_a_deployment_would_be(
    control_plane: Any, cluster: Cluster, tmp_path: Path
) -> None:
    async with operating(control_plane, cluster, tmp_path) as _:
        for case in CASES:
            await asyncio.to_thread(_as_deployment, cluster, case)
            cluster.deploy(case, **spec_of(case))
        for case in CASES:
            ours, plain = f"serin.dev/model-deployment={case}", f"app=plain-{case}"
            await until(
                lambda ours=ours, plain=plain: _pod(cluster, ours) and _pod(cluster, plain),
                what=f"two pods of {case} ({cluster.status(case).get('message')})",
            )
            made, plain_pod = _pod(cluster, ours), _pod(cluster, plain)
            assert made
            assert plain_pod
            given = _comparable(plain_pod)
            assert meaning(without_additions(_comparable(made), given)) == meaning(given), case
