"""What is wrong: the model, the data or the infrastructure?

Three kinds of trouble look alike on a dashboard of the candidate and need different answers. Candidate worse than
stable in the same minutes: the model is bad, roll back. Both have moved from their own past: the data has drifted,
rolling back cannot help, alert and retrain. Nodes, pods or metrics down: infrastructure, hold. This module only names
the trouble and says why; it decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.verdicts import BLOCKING, FAILURES, Trouble, Verdict

SOURCE_DOWN = (Reason.TARGET_DOWN, Reason.PROMETHEUS_UNREACHABLE, Reason.STALE)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The trouble and a sentence that says what it was read from."""

    trouble: Trouble
    message: str


def diagnose(
    against_stable: Sequence[MetricVerdict],
    against_past: Sequence[MetricVerdict] = (),
    infrastructure: Sequence[str] = (),
) -> Diagnosis:
    """Name the trouble.

    `against_stable`: the candidate's verdicts in the same minutes. `against_past`: verdicts of live traffic against
    snapshots' own history or a frozen reference, unless stable has not moved from it: then it is the candidate that
    has, and its verdict belongs to `against_stable`. `infrastructure`: sentences about nodes, pods or scrapes down;
    they come first, because they can make one arm look worse.
    """
    if infrastructure:
        return Diagnosis(Trouble.INFRASTRUCTURE, "; ".join(infrastructure))
    if bad := _blocking(against_stable, *FAILURES):
        return Diagnosis(Trouble.BAD_MODEL, f"the candidate is worse than stable at the same time: {_listed(bad)}")
    if moved := [one for one in against_past if one.verdict in FAILURES]:
        message = f"live traffic has moved from its past: {_listed(moved)}; rolling back cannot help"
        return Diagnosis(Trouble.DATA_DRIFT, message)
    silent = _blocking(against_stable, Verdict.NO_DATA)
    if down := [one for one in silent if one.reason in SOURCE_DOWN]:
        return Diagnosis(Trouble.INFRASTRUCTURE, f"the source of the metrics is down: {_listed(down)}")
    if silent or not against_stable:
        return Diagnosis(Trouble.NO_DATA, _listed(silent) or "nothing has been measured yet")
    if undecided := _blocking(against_stable, Verdict.INCONCLUSIVE):
        return Diagnosis(Trouble.UNDECIDED, f"not enough evidence yet: {_listed(undecided)}")
    return Diagnosis(Trouble.NONE, "the candidate is not worse than stable")


def _blocking(verdicts: Sequence[MetricVerdict], *wanted: Verdict) -> list[MetricVerdict]:
    """Those of metrics that can roll back."""
    return [one for one in verdicts if one.severity in BLOCKING and one.verdict in wanted]


def _listed(verdicts: Sequence[MetricVerdict]) -> str:
    return "; ".join(f"{one.metric}: {one.message}" for one in verdicts)
