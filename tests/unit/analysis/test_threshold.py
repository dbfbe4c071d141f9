"""Plain thresholds: looks in a row, without an error guarantee."""

import math

import pytest

from serin.analysis.types import NoData, Policy, Tick, ValueTick
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Verdict
from tests.unit.analysis.ticks import feed

MEMORY = Policy("gpu-memory", Severity.MAJOR, maximum=0.95, consecutive=3)


def values(*numbers: float) -> list[Tick]:
    return [ValueTick(float(at), value) for at, value in enumerate(numbers, 1)]


@pytest.mark.parametrize(
    ("numbers", "expected", "reason"),
    [
        ((0.5,), Verdict.PASS, Reason.NOT_WORSE),
        ((0.97,), Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE),
        ((0.97, 0.97), Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE),
        ((0.97, 0.97, 0.97), Verdict.FAIL_MINOR, Reason.OVER_LIMIT),
        ((0.97, 0.97, 0.5, 0.97), Verdict.INCONCLUSIVE, Reason.GATHERING_EVIDENCE),
        ((0.97, 0.97, 0.97, 0.5), Verdict.FAIL_MINOR, Reason.OVER_LIMIT),
    ],
)
def test_only_looks_in_a_row_fail(numbers: tuple[float, ...], expected: Verdict, reason: Reason) -> None:
    verdict = feed(MEMORY, values(*numbers)).verdict
    assert (verdict.verdict, verdict.reason) == (expected, reason)
    assert "no error guarantee" in verdict.message


def test_a_look_without_data_neither_counts_nor_interrupts() -> None:
    no_data = NoData(Reason.STALE, "no sample for a minute")
    ticks = values(0.97, 0.97, 0.97, 0.97)
    assert feed(MEMORY, [ticks[0], ticks[1], no_data]).verdict.verdict is Verdict.NO_DATA
    assert feed(MEMORY, [ticks[0], ticks[1], no_data, ticks[3]]).verdict.verdict is Verdict.FAIL_MINOR


def test_both_limits_and_their_message() -> None:
    policy = Policy("score", Severity.CRITICAL, minimum=0.2, maximum=0.8)
    verdict = feed(policy, values(0.1)).verdict
    assert verdict.verdict is Verdict.FAIL_CRITICAL
    assert verdict.message.startswith("the value is 0.1, allowed is at least 0.2 and at most 0.8")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_no_data(value: float) -> None:
    verdict = feed(MEMORY, values(value)).verdict
    assert (verdict.verdict, verdict.reason) == (Verdict.NO_DATA, Reason.NOT_A_NUMBER)
