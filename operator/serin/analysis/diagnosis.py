"""What is wrong, and would rolling back help?

Three kinds of trouble look alike on a dashboard of the candidate and need different answers. Candidate worse than
stable in the same minutes: the model is bad, roll back. Both worse than their own past: the world changed, rolling back
cannot help, alert and retrain. Nodes, pods or metrics down: infrastructure, hold. This module only names the trouble
and says why; it decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serin.analysis.types import MetricVerdict, NoDataReason
from serin.api.verdicts import BLOCKING, FAILURES, Trouble, Verdict

SOURCE_DOWN = (NoDataReason.TARGET_DOWN, NoDataReason.PROMETHEUS_UNREACHABLE, NoDataReason.STALE)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The trouble and a sentence that says what it was read from; `roll_back`: whether that would help."""

    trouble: Trouble
    message: str
    roll_back: bool = False


def diagnose(
    against_stable: Sequence[MetricVerdict],
    against_past: Sequence[MetricVerdict] = (),
    infrastructure: Sequence[str] = (),
) -> Diagnosis:
    """Name the trouble.

    `against_stable`: candidate's verdicts in the same minutes. `against_past`: verdicts of live traffic against
    snapshots' own history or a frozen reference (where stable has not moved, it is not the world). `infrastructure`:
    sentences about nodes, pods or scrapes down.
    Nodes that are down come first, because they can make one arm look worse; but a proven failure of the candidate
    still says that rolling back helps, since lowering its traffic never waits.
    """
    bad = [one for one in against_stable if one.severity in BLOCKING and one.verdict in FAILURES]
    moved = [one for one in against_past if one.verdict in FAILURES and one.reason != "DifferentFromStable"]
    if bad and not infrastructure:
        return Diagnosis(Trouble.BAD_MODEL, f"the candidate is worse than stable at the same time: {_said(bad)}", True)
    if infrastructure:
        return Diagnosis(Trouble.INFRASTRUCTURE, "; ".join(infrastructure), bool(bad))
    if moved:
        message = f"live traffic has moved from its past: {_said(moved)}; rolling back cannot help"
        return Diagnosis(Trouble.DATA_DRIFT, message)
    silent = [one for one in against_stable if one.severity in BLOCKING and one.verdict is Verdict.NO_DATA]
    down = [one for one in silent if one.reason in SOURCE_DOWN]
    if down:
        return Diagnosis(Trouble.INFRASTRUCTURE, f"the source of the metrics is down: {_said(down)}")
    if silent or not against_stable:
        return Diagnosis(Trouble.NO_DATA, _said(silent) or "nothing has been measured yet")
    open_ = [one for one in against_stable if one.severity in BLOCKING and one.verdict is Verdict.INCONCLUSIVE]
    if open_:
        return Diagnosis(Trouble.UNDECIDED, f"not enough evidence yet: {_said(open_)}")
    return Diagnosis(Trouble.NONE, "the candidate is not worse than stable")


def _said(verdicts: Sequence[MetricVerdict]) -> str:
    return "; ".join(f"{one.metric}: {one.message}" for one in verdicts)
