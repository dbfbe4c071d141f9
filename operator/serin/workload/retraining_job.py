"""The Job that retrains a model: the user's own, with its cause in the environment and in annotations.

It belongs to the ModelDeployment and is watched by its label. Its pods have none of Serin's labels, so that they are
never taken for pods of a version.
"""

from collections.abc import Mapping
from typing import Any, Final

from serin.api import names
from serin.api.json import JsonObject
from serin.api.retraining import JobSeen, Run, cause_text
from serin.api.times import rfc3339
from serin.workload.render import Owner
from serin.workload.users_job import end_of, made_of

# Seconds for which a Job that has ended is kept: its end must be seen, also after an operator that was down.
KEPT: Final = 7 * 24 * 3600
KEPT_AT_LEAST: Final = 3600
# Seconds after which a Job is ended that the user gives no deadline: nothing else begins while it runs.
DEADLINE: Final = 24 * 3600


def render(owner: Owner, run: Run, job: JsonObject) -> JsonObject:
    """The Job of a retraining. `job`: as in the spec, a Job's metadata and spec."""
    annotations = {
        names.ANNOTATION_RETRAINING_TRIGGER: run.cause.trigger.value,
        names.ANNOTATION_RETRAINING_CAUSE: cause_text(run, owner.namespace, owner.name),
    }
    body = made_of(owner, run.name, job, _environment(owner, run), annotations=annotations)
    spec = body["spec"]
    spec.setdefault("activeDeadlineSeconds", DEADLINE)
    spec["ttlSecondsAfterFinished"] = max(KEPT_AT_LEAST, int(spec.get("ttlSecondsAfterFinished", KEPT)))
    return body


def seen(body: JsonObject) -> JobSeen:
    """A Job as the API server returns it."""
    succeeded, message = end_of(body)
    return JobSeen(str(body["metadata"]["uid"]), succeeded=succeeded, message=message)


def _environment(owner: Owner, run: Run) -> dict[str, str]:
    """SERIN_RETRAINING_*: the cause as JSON, and its parts. An empty part is left out."""
    cause = run.cause
    values: Mapping[str, Any] = {
        "ID": run.name,
        "MODEL_DEPLOYMENT": owner.name,
        "TRIGGER": cause.trigger.value,
        "MESSAGE": cause.message,
        "SNAPSHOT": cause.snapshot,
        "MODEL_VERSION": cause.model,
        "METRIC": cause.metric,
        "SINCE": "" if cause.since is None else rfc3339(cause.since),
        "UNTIL": "" if cause.until is None else rfc3339(cause.until),
        "CAUSE": cause_text(run, owner.namespace, owner.name),
    }
    return {f"SERIN_RETRAINING_{name}": str(value) for name, value in values.items() if value}
