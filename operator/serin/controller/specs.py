"""Specs as frozen values, read once: most looks follow a change of the status, the pods or the evidence."""

from collections.abc import Callable
from dataclasses import replace

from serin.api.json import JsonObject
from serin.api.names import Key, key_of
from serin.api.notifications import Receiver
from serin.api.parse import parse_model_deployment
from serin.api.spec import ModelDeployment, ModelDeploymentSpec


class Specs:
    """The last spec of each deployment.

    `told`: by namespace, who is told of every deployment there that does not name them itself.
    """

    def __init__(self, told: Callable[[str], tuple[Receiver, ...]] = lambda _: ()) -> None:
        self._told = told
        self._read: dict[Key, tuple[int, JsonObject, ModelDeploymentSpec]] = {}

    def read(self, body: JsonObject) -> ModelDeployment:
        """Read a ModelDeployment as the API server returns it. Raises InvalidSpec.

        The generation alone does not tell two specs apart: after a restore of etcd it is given again. Nor does equality
        alone, to which 1 and true are the same.
        """
        key = key_of(body)
        generation, spec, known = self._read.pop(key, (0, None, None))
        same = generation == body["metadata"]["generation"] and spec == body["spec"]
        deployment = parse_model_deployment(body, known if same else None)
        if deployment.spec is not known:
            deployment = replace(deployment, spec=self._with_told(deployment))
        self._read[key] = deployment.generation, body["spec"], deployment.spec
        return deployment

    def _with_told(self, deployment: ModelDeployment) -> ModelDeploymentSpec:
        own = deployment.spec.notifications
        named = {one.webhook for one in own}
        others = tuple(one for one in self._told(deployment.namespace) if one.webhook not in named)
        return replace(deployment.spec, notifications=(*own, *others)) if others else deployment.spec

    def forget(self, deployment: Key) -> None:
        """The deployment is gone."""
        self._read.pop(deployment, None)
