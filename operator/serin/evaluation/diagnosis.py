"""What is wrong with a rollout, in one word and a sentence: the model, the world, or the infrastructure?

Only said, never acted on: what rolls back or holds are the gates. It is what a person asks next, and what decides
whether to mend the model, to retrain, or to call the platform team.
"""

from serin.analysis.diagnosis import Diagnosis, diagnose
from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.json import JsonObject
from serin.api.verdicts import Against, Trouble
from serin.rollout.gates import unrouted
from serin.rollout.model import Observation

_SILENT = frozenset({Trouble.NONE, Trouble.UNDECIDED})


def diagnosis(seen: Observation, stable: str) -> Diagnosis:
    """Name the trouble from all verdicts, the router and stable's pods."""
    against = {metric.name: metric.against for metric in seen.deployment.spec.metrics}
    past: list[MetricVerdict] = []
    now: list[MetricVerdict] = []
    for one in seen.evidence.verdicts:
        # Answers that have left the reference while stable's have not are this version's doing.
        world = against.get(one.metric) == Against.REFERENCE and one.reason != Reason.DIFFERENT_FROM_STABLE
        (past if world else now).append(one)
    return diagnose(now, past, _infrastructure(seen, stable))


def shown(found: Diagnosis) -> JsonObject:
    """As JSON; without a message where the metrics' own rows say it all."""
    row: JsonObject = {"trouble": found.trouble.value}
    return row if found.trouble in _SILENT else {**row, "message": found.message}


def _infrastructure(seen: Observation, stable: str) -> list[str]:
    found = []
    if lost := unrouted(seen.route):
        found.append(lost.message)
    workload = seen.workloads.get(stable)
    if workload and workload.ready < workload.desired and workload.problem:
        found.append(f"stable has {workload.ready} of {workload.desired} pods: {workload.problem}")
    return found
