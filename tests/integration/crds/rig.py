"""What the tests of the CRDs share: the API server as they ask it, and resources to change."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiException, CustomObjectsApi
from kubernetes.config import new_client_from_config

from serin.api import names
from tests import crds
from tests.cluster.access import Cluster, KubectlFailed
from tests.simulation.api import jsonpatch

SAMPLES = crds.ROOT / "manifests" / "samples"

Json = dict[str, Any]

STATUS: Json = yaml.safe_load(Path(__file__).with_name("status.yaml").read_text())
"""Every field of a status, as a rollout that is under way has it."""


class Api:
    """kubectl in a namespace of these tests; what is created in bulk goes to the API server without it."""

    def __init__(self, control_plane: Cluster, namespace: str) -> None:
        self._control_plane = control_plane
        self.namespace = namespace
        self._custom = CustomObjectsApi(new_client_from_config(str(control_plane.kubeconfig)))

    def __call__(self, *args: str, body: Json | None = None) -> str:
        text = None if body is None else json.dumps(body)
        return self._control_plane.kubectl("--namespace", self.namespace, *args, input=text)

    def read(self, *args: str) -> Json:
        found: Json = json.loads(self("get", *args, "-o", "json"))
        return found

    def refusal(self, *args: str, body: Json | None = None) -> str:
        """The answer to a command that the API server does not accept."""
        with pytest.raises(KubectlFailed) as refused:
            self(*args, body=body)
        return refused.value.stderr

    def create(self, body: Json, **options: str) -> None:
        """Create a resource with the strict validation that kubectl asks for. Raises ApiException."""
        plural = crds.load(body["kind"])["spec"]["names"]["plural"]
        self._custom.create_namespaced_custom_object(
            names.GROUP, names.VERSION, self.namespace, plural, body, field_validation="Strict", **options
        )

    def creation_refused(self, body: Json) -> str:
        """The API server's words on a resource that it does not accept; kubectl prints the same."""
        with pytest.raises(ApiException) as refused:
            self.create(body)
        assert refused.value.status in (400, 422)
        return str(json.loads(refused.value.body)["message"])


@cache  # every case begins with one, and YAML is slow
def _read(name: str) -> list[Json]:
    return list(yaml.safe_load_all((SAMPLES / name).read_text()))


def documents(name: str) -> list[Json]:
    return copy.deepcopy(_read(name))


def smallest(name: str, patch: str = "") -> Json:
    """The smallest resource under another name, changed by a merge patch (null takes a field away)."""
    body = documents("smallest.yaml")[0]
    body["metadata"]["name"] = name
    merged: Json = jsonpatch.merge(body, yaml.safe_load(patch) or {})
    return merged


def write_status(api: Api, kind: str, name: str, status: Json) -> None:
    """As the operator writes it: server-side apply of the status alone."""
    body = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "status": status}
    manager = f"--field-manager={names.FIELD_MANAGER}"
    api("apply", "--server-side", "--subresource=status", manager, "-f", "-", body=body)
