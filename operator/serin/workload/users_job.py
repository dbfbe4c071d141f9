"""A Job of the user's that Serin makes: with what it has to know in its environment, and as the ModelDeployment's own.

What a retraining and a validation have in common; each adds its own words, and its own bounds.
"""

from collections.abc import Mapping

from serin.api import names
from serin.api.json import JsonObject
from serin.workload.render import Owner


def made_of(
    owner: Owner,
    name: str,
    job: JsonObject,
    given: Mapping[str, str],
    *,
    annotations: Mapping[str, str] | None = None,
    pod_labels: Mapping[str, str] | None = None,
) -> JsonObject:
    """The Job. `job`: as in the spec, a Job's metadata and spec. `given`: the environment of all of its containers.

    `annotations`: of the Job and of its pods. `pod_labels`: of its pods, beside the user's.
    """
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **_metadata(job, {names.LABEL_MODEL_DEPLOYMENT: owner.name}, annotations),
            "name": name,
            "namespace": owner.namespace,
            "ownerReferences": [names.owner_reference(owner.name, owner.uid)],
        },
        "spec": {**job["spec"], "template": _template(job["spec"]["template"], given, pod_labels, annotations)},
    }


def end_of(body: JsonObject) -> tuple[bool | None, str]:
    """Whether a Job as the API server has it has succeeded, None while it has not ended; and why it has failed."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    ended = {str(one.get("type")): one for one in conditions if one.get("status") == "True"}
    if failed := ended.get("Failed"):
        words = (failed.get("reason"), failed.get("message"))
        return False, ": ".join(str(one) for one in words if one)
    return (True if "Complete" in ended else None), ""


def _template(
    template: JsonObject,
    given: Mapping[str, str],
    labels: Mapping[str, str] | None,
    annotations: Mapping[str, str] | None,
) -> JsonObject:
    spec = {"restartPolicy": "Never", **template["spec"]}
    for field in ("initContainers", "containers"):
        if spec.get(field):
            spec[field] = [{**one, "env": [*_variables(given), *(one.get("env") or [])]} for one in spec[field]]
    return {"metadata": _metadata(template, labels, annotations), "spec": spec}


def _metadata(body: JsonObject, labels: Mapping[str, str] | None, annotations: Mapping[str, str] | None) -> JsonObject:
    """The user's labels and annotations with Serin's, where there are any."""
    own = body.get("metadata") or {}
    found = {
        "labels": {**(own.get("labels") or {}), **(labels or {})},
        "annotations": {**(own.get("annotations") or {}), **(annotations or {})},
    }
    return {key: value for key, value in found.items() if value}


def _variables(given: Mapping[str, str]) -> list[JsonObject]:
    """The kubelet reads `$(NAME)` in a value as a variable and `$$` as `$`, so that each `$` is written twice."""
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in given.items()]
