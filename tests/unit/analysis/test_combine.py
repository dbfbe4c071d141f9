"""Several metrics together, and the diagnosis."""

import pytest

from serin.analysis.combine import overall, split_alpha
from serin.analysis.diagnosis import diagnose
from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Trouble, Verdict


def verdict_of(
    verdict: Verdict, severity: Severity = Severity.CRITICAL, reason: Reason = Reason.NOT_WORSE
) -> MetricVerdict:
    return MetricVerdict("errors", severity, verdict, reason, "words")


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ((), Verdict.NO_DATA),
        ((verdict_of(Verdict.PASS), verdict_of(Verdict.PASS, Severity.MAJOR)), Verdict.PASS),
        ((verdict_of(Verdict.PASS), verdict_of(Verdict.INCONCLUSIVE)), Verdict.INCONCLUSIVE),
        ((verdict_of(Verdict.PASS), verdict_of(Verdict.NO_DATA), verdict_of(Verdict.INCONCLUSIVE)), Verdict.NO_DATA),
        ((verdict_of(Verdict.NO_DATA), verdict_of(Verdict.FAIL_MINOR, Severity.MAJOR)), Verdict.FAIL_MINOR),
        ((verdict_of(Verdict.FAIL_MINOR), verdict_of(Verdict.FAIL_CRITICAL)), Verdict.FAIL_CRITICAL),
        ((verdict_of(Verdict.PASS), verdict_of(Verdict.FAIL_MINOR, Severity.MINOR)), Verdict.INCONCLUSIVE),
        ((verdict_of(Verdict.PASS), verdict_of(Verdict.NO_DATA, Severity.MINOR)), Verdict.PASS),
        ((verdict_of(Verdict.PASS), verdict_of(Verdict.FAIL_CRITICAL, Severity.INFO)), Verdict.PASS),
    ],
)
def test_the_worst_critical_or_major_metric_decides(verdicts: tuple[MetricVerdict, ...], together: Verdict) -> None:
    assert overall(verdicts) is together


def test_the_promise_is_shared_out_by_weight() -> None:
    assert split_alpha(0.01, {"errors": 3.0, "latency": 1.0}) == pytest.approx({"errors": 0.0075, "latency": 0.0025})
    assert split_alpha(0.01, {}) == {}
    with pytest.raises(ValueError, match="must be positive"):
        split_alpha(0.01, {"errors": 0.0})


@pytest.mark.parametrize(
    ("stable", "past", "infrastructure", "trouble"),
    [
        ([verdict_of(Verdict.FAIL_MINOR)], [], [], Trouble.BAD_MODEL),
        ([verdict_of(Verdict.FAIL_MINOR)], [verdict_of(Verdict.FAIL_MINOR)], [], Trouble.BAD_MODEL),
        ([verdict_of(Verdict.PASS)], [verdict_of(Verdict.FAIL_MINOR)], [], Trouble.DATA_DRIFT),
        ([verdict_of(Verdict.FAIL_MINOR)], [], ["node a is not ready"], Trouble.INFRASTRUCTURE),
        ([verdict_of(Verdict.PASS)], [], ["node a is not ready"], Trouble.INFRASTRUCTURE),
        ([verdict_of(Verdict.NO_DATA, reason=Reason.PROMETHEUS_UNREACHABLE)], [], [], Trouble.INFRASTRUCTURE),
        ([verdict_of(Verdict.NO_DATA, reason=Reason.NO_TRAFFIC)], [], [], Trouble.NO_DATA),
        ([], [], [], Trouble.NO_DATA),
        ([verdict_of(Verdict.INCONCLUSIVE)], [], [], Trouble.UNDECIDED),
        ([verdict_of(Verdict.PASS)], [verdict_of(Verdict.PASS)], [], Trouble.NONE),
        ([verdict_of(Verdict.PASS), verdict_of(Verdict.FAIL_MINOR, Severity.INFO)], [], [], Trouble.NONE),
    ],
)
def test_the_diagnosis_names_the_trouble(
    stable: list[MetricVerdict], past: list[MetricVerdict], infrastructure: list[str], trouble: Trouble
) -> None:
    diagnosis = diagnose(stable, past, infrastructure)
    assert diagnosis.trouble is trouble
    assert diagnosis.message
