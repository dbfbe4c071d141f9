"""Specs as frozen values, read once: most looks follow a change of the status, the pods or the evidence."""

from serin.api.json import JsonObject
from serin.api.names import Key
from serin.api.parse import parse_model_deployment
from serin.api.spec import ModelDeployment, ModelDeploymentSpec


class Specs:
    """The last spec of each deployment."""

    def __init__(self) -> None:
        self._read: dict[Key, tuple[int, JsonObject, ModelDeploymentSpec]] = {}

    def read(self, body: JsonObject) -> ModelDeployment:
        """Read a ModelDeployment as the API server returns it. Raises InvalidSpec.

        The generation alone does not tell two specs apart: after a restore of etcd it is given again. Nor does equality
        alone, to which 1 and true are the same.
        """
        key = body["metadata"]["namespace"], body["metadata"]["name"]
        generation, spec, known = self._read.pop(key, (0, None, None))
        same = generation == body["metadata"]["generation"] and spec == body["spec"]
        deployment = parse_model_deployment(body, known if same else None)
        self._read[key] = deployment.generation, body["spec"], deployment.spec
        return deployment

    def forget(self, deployment: Key) -> None:
        """The deployment is gone."""
        self._read.pop(deployment, None)
