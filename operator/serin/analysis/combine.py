"""Several metrics together: how the promise about false rollbacks is shared out, and their common verdict.

The promise is kept by the union bound: whatever the metrics have to do with each other, the chance that any of them
raises a false alarm is at most the sum of their parts.
"""

from collections.abc import Mapping, Sequence

from serin.analysis.types import MetricVerdict
from serin.api.verdicts import BLOCKING, FAILURES, Severity, Verdict

WORST_FIRST = (Verdict.FAIL_CRITICAL, Verdict.FAIL_MINOR, Verdict.NO_DATA, Verdict.INCONCLUSIVE, Verdict.PASS)


def split_alpha(alpha: float, weights: Mapping[str, float]) -> dict[str, float]:
    """Each metric's part of `alpha`, in proportion to its weight; the parts sum to `alpha`.

    Give it the metrics that can roll back (critical and major); the others make no promise that needs a part.
    """
    total = sum(weights.values())
    if any(weight <= 0.0 for weight in weights.values()):
        raise ValueError(f"weights of metrics must be positive, got {dict(weights)}")
    return {metric: alpha * weight / total for metric, weight in weights.items()}


def overall(verdicts: Sequence[MetricVerdict]) -> Verdict:
    """The verdict of all metrics together: the worst of the critical and major ones decides.

    A minor metric that fails turns a Pass into Inconclusive (it holds the step); a minor metric that cannot be read or
    is undecided holds nothing; info only shows. No verdicts at all are NoData.
    """
    if not verdicts:
        return Verdict.NO_DATA
    said = {one.verdict for one in verdicts if one.severity in BLOCKING}
    worst = next((verdict for verdict in WORST_FIRST if verdict in said), Verdict.PASS)
    held = any(one.severity is Severity.MINOR and one.verdict in FAILURES for one in verdicts)
    return Verdict.INCONCLUSIVE if held and worst is Verdict.PASS else worst
