"""Every name that Serin writes into a cluster or reads from one.

A name that appears twice in the code is a name that will differ one day, so they all live here.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

Key = tuple[str, str]  # namespace and name of a ModelDeployment

GROUP: Final = "serin.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FIELD_MANAGER: Final = "serin"
SYSTEM_NAMESPACE: Final = "serin-system"

MODEL_DEPLOYMENT: Final = "ModelDeployment"
MODEL_SNAPSHOT: Final = "ModelSnapshot"
METRIC_TEMPLATE: Final = "MetricTemplate"
REVIEW_ITEM: Final = "ReviewItem"

LABEL_MODEL_DEPLOYMENT: Final = f"{GROUP}/model-deployment"
LABEL_SNAPSHOT: Final = f"{GROUP}/snapshot"
LABEL_ROLE: Final = f"{GROUP}/role"
# On the ConfigMap of a report: what it is about.
LABEL_REPORT: Final = f"{GROUP}/report"
# On a ReviewItem: what a person says of the answer, and what became of that.
LABEL_REVIEWED: Final = f"{GROUP}/reviewed"
LABEL_COUNTED: Final = f"{GROUP}/counted"
ROLE_STABLE: Final = "stable"
ROLE_CANDIDATE: Final = "candidate"
ROLE_HOLDBACK: Final = "holdback"  # the version before the stable one, while that is watched

# The port's name on a snapshot's Service, by which the router finds it in the endpoints.
PORT_NAME: Final = "http"

# On a snapshot's Deployment: what its pod template was when Serin wrote it (workload/template_hash.py).
ANNOTATION_TEMPLATE_HASH: Final = f"{GROUP}/template-hash"

# On a Job that retrains the model: why, as JSON.
ANNOTATION_RETRAINING_CAUSE: Final = f"{GROUP}/retraining-cause"
ANNOTATION_RETRAINING_TRIGGER: Final = f"{GROUP}/retraining-trigger"

# On the clients' Service: what Serin set when it wrote it last.
ANNOTATION_APPLIED_HASH: Final = f"{GROUP}/applied-hash"

# What a person asks for without editing the spec, so that Git stays the spec's owner.
ANNOTATION_APPROVE: Final = f"{GROUP}/approve"
# In the value of approve and promote: after it comes who asks.
APPROVED_BY: Final = " by "
# In the value of approve, before that: after it comes what is approved, SNAPSHOT/STEP.
APPROVAL_FOR: Final = " for "
ANNOTATION_PAUSE: Final = f"{GROUP}/pause"
ANNOTATION_PROMOTE: Final = f"{GROUP}/promote"
ANNOTATION_ABORT: Final = f"{GROUP}/abort"
ANNOTATION_RETRY: Final = f"{GROUP}/retry"
ANNOTATION_ROLLBACK_TO: Final = f"{GROUP}/rollback-to"
# Requests of people who try a version before anybody else is sent to it.
PREVIEW_HEADER: Final = "x-serin-preview"
ANNOTATION_KILL_SWITCH: Final = f"{GROUP}/kill-switch"
# On a ModelDeployment: the commit that it comes from, as whoever applies it says.
ANNOTATION_GIT_REVISION: Final = f"{GROUP}/git-revision"
ANNOTATION_GIT_AUTHOR: Final = f"{GROUP}/git-author"
# On a ModelSnapshot: it is kept, whatever else is.
ANNOTATION_PIN: Final = f"{GROUP}/pin"

DIMENSIONS: Final = ("runtime", "model", "config", "features")

# A snapshot's name is also the name of a Service (63 characters at most): deployment name, hyphen, hash.
HASH_LENGTH: Final = 10
MAX_DEPLOYMENT_NAME: Final = 63 - 1 - HASH_LENGTH


def preview_service(deployment: str) -> str:
    """The Service that leads to a version while it can be tried. No snapshot's: their hashes have no vowels."""
    return f"{deployment}-preview"


def retraining_name(deployment: str, identity: Sequence[object]) -> str:
    """Name a retraining, which is also its Job's name: the same `identity` (JSON) is the same name for ever."""
    kept = deployment[: 63 - len("-retrain-") - HASH_LENGTH].rstrip("-")
    return f"{kept}-retrain-{content_hash(list(identity))}"


def validation_name(deployment: str, identity: Sequence[object]) -> str:
    """Name the Job of a validation: the same `identity` (JSON) is the same name for ever."""
    kept = deployment[: 63 - len("-validate-") - HASH_LENGTH].rstrip("-")
    return f"{kept}-validate-{content_hash(list(identity))}"


def owner_reference(deployment: str, uid: str) -> dict[str, object]:
    """The reference by which the garbage collector deletes an object with its ModelDeployment."""
    return {
        "apiVersion": API_VERSION,
        "kind": MODEL_DEPLOYMENT,
        "name": deployment,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def key_of(body: Mapping[str, Any]) -> Key:
    """Namespace and name of an object in a namespace."""
    return body["metadata"]["namespace"], body["metadata"]["name"]


def controller_uid(body: Mapping[str, Any]) -> str:
    """The uid of the object that an object belongs to, "" when it belongs to none."""
    references = body["metadata"].get("ownerReferences") or ()
    return next((str(one["uid"]) for one in references if one.get("controller")), "")


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_hash(content: object) -> str:
    """Hash JSON content to HASH_LENGTH lower-case characters, the same in every process and for ever.

    The alphabet is Kubernetes' own for generated names: no vowels and no look-alikes, so a hash is never a word.
    """
    number = int.from_bytes(hashlib.sha256(_CANONICAL.encode(content).encode()).digest(), "big")
    alphabet = "bcdfghjklmnpqrstvwxz2456789"
    letters = []
    for _ in range(HASH_LENGTH):
        number, index = divmod(number, len(alphabet))
        letters.append(alphabet[index])
    return "".join(letters)


def dimension_hashes(content: Mapping[str, object]) -> dict[str, str]:
    """One hash per dimension of a version; `content` maps each of DIMENSIONS to its JSON (None when absent)."""
    return {dimension: content_hash(content.get(dimension)) for dimension in DIMENSIONS}


def snapshot_name(deployment: str, content: Mapping[str, object]) -> str:
    """Name the snapshot of `deployment` with this content: the same content is the same snapshot for ever."""
    return snapshot_named(deployment, dimension_hashes(content))


def snapshot_named(deployment: str, hashes: Mapping[str, str]) -> str:
    """The same by the hashes of the dimensions."""
    return f"{deployment}-{_joined(tuple(sorted(hashes.items())))}"


@lru_cache(maxsize=16_384)  # every look at a deployment asks for the names of all its versions
def _joined(hashes: tuple[tuple[str, str], ...]) -> str:
    return content_hash(dict(hashes))


def config_variable(key: str) -> str:
    """The environment variable for a key of `spec.config`: `max-age` becomes `SERIN_CONFIG_MAX_AGE`."""
    return "SERIN_CONFIG_" + key.upper().replace("-", "_").replace(".", "_")
