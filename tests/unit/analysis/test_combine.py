"""Several metrics together, and the name of the trouble."""

import pytest

from serin.analysis.combine import overall, split_alpha
from serin.analysis.diagnosis import diagnose
from serin.analysis.types import MetricVerdict
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Trouble, Verdict


def said(verdict: Verdict, severity: Severity = Severity.CRITICAL, reason: Reason = Reason.NOT_WORSE) -> MetricVerdict:
    return MetricVerdict("errors", severity, verdict, reason, "words")


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ((), Verdict.NO_DATA),
        ((said(Verdict.PASS), said(Verdict.PASS, Severity.MAJOR)), Verdict.PASS),
        ((said(Verdict.PASS), said(Verdict.INCONCLUSIVE)), Verdict.INCONCLUSIVE),
        ((said(Verdict.PASS), said(Verdict.NO_DATA), said(Verdict.INCONCLUSIVE)), Verdict.NO_DATA),
        ((said(Verdict.NO_DATA), said(Verdict.FAIL_MINOR, Severity.MAJOR)), Verdict.FAIL_MINOR),
        ((said(Verdict.FAIL_MINOR), said(Verdict.FAIL_CRITICAL)), Verdict.FAIL_CRITICAL),
        ((said(Verdict.PASS), said(Verdict.FAIL_MINOR, Severity.MINOR)), Verdict.INCONCLUSIVE),
        ((said(Verdict.PASS), said(Verdict.NO_DATA, Severity.MINOR)), Verdict.PASS),
        ((said(Verdict.PASS), said(Verdict.FAIL_CRITICAL, Severity.INFO)), Verdict.PASS),
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
        ([said(Verdict.FAIL_MINOR)], [], [], Trouble.BAD_MODEL),
        ([said(Verdict.FAIL_MINOR)], [said(Verdict.FAIL_MINOR)], [], Trouble.BAD_MODEL),
        ([said(Verdict.PASS)], [said(Verdict.FAIL_MINOR)], [], Trouble.DATA_DRIFT),
        ([said(Verdict.FAIL_MINOR)], [], ["node a is not ready"], Trouble.INFRASTRUCTURE),
        ([said(Verdict.PASS)], [], ["node a is not ready"], Trouble.INFRASTRUCTURE),
        ([said(Verdict.NO_DATA, reason=Reason.PROMETHEUS_UNREACHABLE)], [], [], Trouble.INFRASTRUCTURE),
        ([said(Verdict.NO_DATA, reason=Reason.NO_TRAFFIC)], [], [], Trouble.NO_DATA),
        ([], [], [], Trouble.NO_DATA),
        ([said(Verdict.INCONCLUSIVE)], [], [], Trouble.UNDECIDED),
        ([said(Verdict.PASS)], [said(Verdict.PASS)], [], Trouble.NONE),
        ([said(Verdict.PASS), said(Verdict.FAIL_MINOR, Severity.INFO)], [], [], Trouble.NONE),
    ],
)
def test_the_trouble_has_a_name(
    stable: list[MetricVerdict], past: list[MetricVerdict], infrastructure: list[str], trouble: Trouble
) -> None:
    diagnosis = diagnose(stable, past, infrastructure)
    assert diagnosis.trouble is trouble
    assert diagnosis.message
