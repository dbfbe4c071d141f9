"""The stamp on a snapshot's Deployment: what its pod template was when Serin wrote it.

A version is what its snapshot says, so a Deployment whose image somebody else has changed must not go on under the
snapshot's name. What Serin renders cannot be compared with what is stored, because the API server fills in defaults,
normalises quantities and lets webhooks have their say. So the hash of the *stored* template is kept beside it, as an
annotation, and whatever does not agree with its stamp was changed by somebody else.

A template's hash knows one exception: the moment of `kubectl rollout restart`, which changes no content.
"""

from typing import Final

from serin.api import names
from serin.api.json import JsonObject

_RESTARTED_AT: Final = "kubectl.kubernetes.io/restartedAt"


def stamp(rendered: JsonObject, stored: JsonObject) -> JsonObject:
    """The rendered Deployment with the stamp of the one that the API server made of it."""
    metadata = rendered["metadata"]
    annotations = {**metadata.get("annotations", {}), names.ANNOTATION_TEMPLATE_HASH: _hash(stored)}
    return {**rendered, "metadata": {**metadata, "annotations": annotations}}


def is_stamped(stored: JsonObject) -> bool:
    """Whether the Deployment has a stamp at all: one whose making was cut short has none yet."""
    return _stamped(stored) is not None


def has_drifted(stored: JsonObject) -> bool:
    """Whether the pod template is another than the one that was stamped."""
    return _stamped(stored) not in (None, _hash(stored))


def _stamped(stored: JsonObject) -> str | None:
    stamp: str | None = (stored["metadata"].get("annotations") or {}).get(names.ANNOTATION_TEMPLATE_HASH)
    return stamp


def _hash(stored: JsonObject) -> str:
    template = stored["spec"]["template"]
    metadata = template.get("metadata") or {}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != _RESTARTED_AT}
    return names.content_hash([metadata.get("labels"), annotations, template["spec"]])
