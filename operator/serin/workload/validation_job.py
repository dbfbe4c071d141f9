"""The Job that compares two versions before a rollback: the user's own, with both in its environment.

Its pods carry the label by which they are watched, because what a Job says stands in its pod; and none of a version's,
so that they are never taken for one.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from serin.api import names
from serin.api.json import JsonObject
from serin.api.snapshots import Snapshot
from serin.api.validation import ValidationSeen
from serin.workload.render import Owner
from serin.workload.users_job import end_of, made_of

# Seconds for which a Job that has ended is kept, to be looked at; and so long at least that its end is seen.
_KEPT: Final = 3600
KEPT_AT_LEAST: Final = 900
_JOB_NAME: Final = "batch.kubernetes.io/job-name"


def render(
    owner: Owner, name: str, job: JsonObject, seconds: float, metric: str, target: Snapshot, present: Snapshot
) -> JsonObject:
    """The Job of a validation. `job`: as in the spec. `seconds`: for which the rollback waits, and the Job may run."""
    labels = {names.LABEL_MODEL_DEPLOYMENT: owner.name}
    body = made_of(owner, name, job, _environment(owner, metric, target, present), pod_labels=labels)
    spec = body["spec"]
    spec.setdefault("backoffLimit", 0)
    spec["activeDeadlineSeconds"] = max(1, round(seconds))
    spec["ttlSecondsAfterFinished"] = max(KEPT_AT_LEAST, int(spec.get("ttlSecondsAfterFinished", _KEPT)))
    return body


def seen(job: JsonObject, pods: Iterable[JsonObject]) -> ValidationSeen:
    """A validation's Job as the API server has it. `pods`: of the deployment, its own among them."""
    succeeded, problem = end_of(job)
    if succeeded is False:
        return ValidationSeen(succeeded=False, problem=problem)
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    own = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(_JOB_NAME) == name]
    said = [words for pod in own if names.controller_uid(pod) == uid for words in _said(pod)]
    # Pods come by another watch than Jobs: the end of the pod, which has the words, may be seen later.
    return ValidationSeen(True if succeeded and said else None, next(filter(None, said), ""))


def _said(pod: JsonObject) -> Iterator[str]:
    """The last words of each container that has ended well, "" when it has said none."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    ended = ((one.get("state") or {}).get("terminated") or {} for one in statuses)
    yield from (str(one.get("message") or "").strip() for one in ended if one.get("exitCode") == 0)


def _environment(owner: Owner, metric: str, target: Snapshot, present: Snapshot) -> dict[str, str]:
    """SERIN_VALIDATION_*: the metric, and of each version what it is and where it answers; nothing that is empty."""
    values: dict[str, str] = {"MODEL_DEPLOYMENT": owner.name, "METRIC": metric}
    for role, one in (("TARGET", target), ("PRESENT", present)):
        model, runtime = one.content.get("model") or {}, one.content.get("runtime") or {}
        values |= {
            f"{role}_SNAPSHOT": one.name,
            f"{role}_ADDRESS": f"{one.name}.{owner.namespace}.svc:{runtime.get('port', '')}",
            **{f"{role}_MODEL_{key.upper()}": str(model.get(key, "")) for key in ("name", "version", "uri", "digest")},
        }
    return {f"SERIN_VALIDATION_{name}": value for name, value in values.items() if value}
