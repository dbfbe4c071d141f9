"""What is wrong with a rollout, in one word and a sentence: the model, the data, or the infrastructure?

Only said, never acted on: what rolls back or holds are the gates. It is what a person asks next, and what decides
whether to mend the model, to retrain, or to call the platform team.
"""

from collections.abc import Sequence

from serin.analysis.diagnosis import Diagnosis, diagnose
from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.spec import Metric
from serin.api.verdicts import FAILURES, Against, Trouble


def diagnosis(verdicts: Sequence[MetricVerdict], metrics: Sequence[Metric], infrastructure: Sequence[str]) -> Diagnosis:
    """Name the trouble from all verdicts; `infrastructure`: what is wrong with the router or stable's pods."""
    against = {metric.name: metric.against for metric in metrics}
    past: list[MetricVerdict] = []
    now: list[MetricVerdict] = []
    unsure: list[MetricVerdict] = []
    for one in verdicts:
        # Answers that have left the reference while stable's have not are this version's doing.
        drifted = against.get(one.metric) == Against.REFERENCE and one.reason != Reason.DIFFERENT_FROM_STABLE
        if drifted and one.verdict in FAILURES and not one.both_moved:
            unsure.append(one)
        else:
            (past if drifted else now).append(one)
    found = diagnose(now, past, infrastructure)
    if unsure and found.trouble in (Trouble.NONE, Trouble.UNDECIDED):
        said = "; ".join(f"{one.metric}: {one.message}" for one in unsure)
        message = f"whether stable's answers have left the reference as well is not shown yet: {said}"
        return Diagnosis(Trouble.UNDECIDED, message)
    return found
