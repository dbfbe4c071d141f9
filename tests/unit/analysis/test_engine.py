"""What holds for every kind of metric: nothing counts twice, nothing is lost, a look without data proves nothing."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from serin.analysis import engine
from serin.analysis.types import (
    Arm,
    DistributionTick,
    HistogramTick,
    MeanTick,
    Moments,
    NoData,
    Policy,
    RatioTick,
    ReferenceTick,
    SplitTick,
    Tick,
    ValueTick,
)
from serin.api.conditions import Reason
from serin.api.verdicts import Against, Severity, Verdict
from tests.unit.analysis.ticks import ERRORS, feed, ratio

STABLE = Policy("metric", Severity.CRITICAL, maximum=1.0)
LIMIT = Policy("metric", Severity.CRITICAL, against=Against.LIMIT, limit=0.1)
P99 = Policy("metric", Severity.CRITICAL, against=Against.LIMIT, limit=0.5)
TICKS: dict[str, tuple[Policy, Any]] = {
    "ratio": (STABLE, RatioTick(5.0, Arm(50, 1), Arm(450, 5))),
    "limit": (LIMIT, RatioTick(5.0, Arm(50, 1), Arm(450, 5))),
    "latency": (STABLE, HistogramTick(5.0, (0.1, 0.5), (40, 8, 2), (400, 40, 10))),
    "slow limit": (P99, HistogramTick(5.0, (0.1, 0.5), (45, 4, 1), (400, 40, 10))),
    "value": (STABLE, ValueTick(5.0, 0.5)),
    "drift": (STABLE, DistributionTick(5.0, (40, 10), (400, 50))),
    "ordered drift": (STABLE, DistributionTick(5.0, (40, 10), (400, 50), ordered=True)),
    "reference": (STABLE, ReferenceTick(5.0, (40, 10), (400, 50))),
    "mean": (STABLE, MeanTick(5.0, Moments(50, 50.0), Moments(450, 450.0))),
    "split": (STABLE, SplitTick(5.0, (450, 50), (90, 10))),
}
ALL = pytest.mark.parametrize(("policy", "tick"), TICKS.values(), ids=TICKS)


@ALL
def test_a_tick_that_is_not_newer_changes_nothing(policy: Policy, tick: Any) -> None:
    once = feed(policy, [tick])
    assert feed(policy, [tick], once.evidence) == once
    assert feed(policy, [replace(tick, at=4.0)], once.evidence) == once


@ALL
def test_the_verdict_is_the_same_after_a_restart(policy: Policy, tick: Any) -> None:
    after = feed(policy, [replace(tick, at=float(at)) for at in range(1, 9)])
    assert engine.judge(policy, json.loads(json.dumps(after.evidence))) == after.verdict


@ALL
def test_a_look_that_found_nothing_leaves_the_evidence_and_says_why(policy: Policy, tick: Any) -> None:
    before = feed(policy, [tick])
    without_data = feed(policy, [NoData(Reason.TARGET_DOWN, "2 of 3 pods cannot be scraped")], before.evidence)
    assert without_data.evidence == before.evidence
    assert (without_data.verdict.verdict, without_data.verdict.reason) == (Verdict.NO_DATA, Reason.TARGET_DOWN)
    assert without_data.verdict.message == "2 of 3 pods cannot be scraped"
    assert feed(policy, [replace(tick, at=6.0)], without_data.evidence) == feed(
        policy, [replace(tick, at=6.0)], before.evidence
    )


@ALL
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_no_number_is_no_data(policy: Policy, tick: Any, wrong: float) -> None:
    before = feed(policy, [tick])
    after = feed(policy, [replace(tick, at=wrong)], before.evidence)
    assert (after.verdict.verdict, after.verdict.reason, after.evidence) == (
        Verdict.NO_DATA,
        Reason.NOT_A_NUMBER,
        before.evidence,
    )


@ALL
@pytest.mark.parametrize("damage", ["empty", "other kind", "missing part", "words for numbers", "infinite"])
def test_evidence_that_does_not_read_is_replaced(policy: Policy, tick: Any, damage: str) -> None:
    fresh = feed(policy, [tick])
    evidence = dict(fresh.evidence)
    if damage == "empty":
        evidence = {}
    elif damage == "other kind":
        evidence["kind"] = "unknown"
    elif damage == "missing part":
        del evidence["at"]
    else:
        evidence["at"] = "now" if damage == "words for numbers" else math.inf
    assert engine.fold(policy, evidence, tick) == fresh
    assert engine.judge(policy, evidence).verdict is Verdict.NO_DATA


def test_a_proven_failure_stays_without_data() -> None:
    failed = feed(ERRORS, [ratio(1.0, (20, 50), (4, 450))])
    without_data = feed(ERRORS, [NoData(Reason.PROMETHEUS_UNREACHABLE, "connection refused")], failed.evidence)
    assert without_data == failed


def test_a_look_without_data_hides_a_pass_but_does_not_undo_it() -> None:
    passed = feed(ERRORS, [ratio(float(t), (0, 50), (0, 450)) for t in range(1, 8)])
    assert passed.verdict.verdict is Verdict.PASS
    without_data = feed(ERRORS, [NoData(Reason.STALE, "no sample for a minute")], passed.evidence)
    assert without_data.verdict.verdict is Verdict.NO_DATA
    assert engine.judge(ERRORS, without_data.evidence) == passed.verdict


@pytest.mark.parametrize("changed", [STABLE, replace(LIMIT, limit=None), replace(LIMIT, limit=2.0)])
def test_a_limit_that_is_changed_in_the_middle_of_a_rollout_is_no_error(changed: Policy) -> None:
    """Nothing may raise between the change and the next tick: it would delay every rollback."""
    tick = RatioTick(5.0, Arm(50, 1), Arm(450, 5))
    evidence = feed(LIMIT, [tick]).evidence
    assert engine.judge(changed, evidence).verdict is Verdict.NO_DATA
    assert feed(changed, [NoData(Reason.STALE, "no sample for a minute")], evidence).verdict.verdict is Verdict.NO_DATA
    if changed.against is Against.LIMIT:
        assert feed(changed, [tick], evidence).verdict.reason is Reason.QUERY_FAILED


def test_nothing_at_all_is_no_data() -> None:
    assert engine.judge(ERRORS, None).verdict is Verdict.NO_DATA
    judgement = feed(ERRORS, [NoData(Reason.SERIES_ABSENT, "there is no such series")])
    assert (judgement.evidence, judgement.verdict.reason) == ({}, Reason.SERIES_ABSENT)


@pytest.mark.parametrize(
    "tick",
    [
        RatioTick(1.0, Arm(50, -1), Arm(450, 5)),
        RatioTick(1.0, Arm(50, math.nan), Arm(450, 5)),  # type: ignore[arg-type]
        RatioTick(1.0, Arm(50, 1), Arm(math.inf, 5)),  # type: ignore[arg-type]
        RatioTick(1.0, Arm(50, 1), Arm(450.5, 5)),  # type: ignore[arg-type]
        HistogramTick(1.0, (0.1, math.nan), (1, 2, 3), (1, 2, 3)),
        HistogramTick(1.0, (0.5, 0.1), (1, 2, 3), (1, 2, 3)),
        HistogramTick(1.0, (0.1, 0.5), (1, 2), (1, 2, 3)),
        HistogramTick(1.0, (0.1, 0.5), (1, 2, -3), (1, 2, 3)),
        HistogramTick(1.0, (), (100,), (900,)),
    ],
)
def test_invalid_numbers_are_never_a_verdict(tick: Tick) -> None:
    before = feed(STABLE, [ratio(0.5, (1, 50), (5, 450))]) if isinstance(tick, RatioTick) else None
    after = engine.fold(STABLE, before.evidence if before else None, tick)
    assert after.verdict.verdict is Verdict.NO_DATA
    assert after.verdict.reason in (Reason.NOT_A_NUMBER, Reason.PARTIAL)
    assert after.evidence == (before.evidence if before else {})


def test_the_time_that_was_missed_is_one_tick() -> None:
    """After a gap the counts come in one piece; half an hour of them decides as it would have in pieces."""
    pieces = feed(ERRORS, [ratio(10.0 * t, (2, 50), (7, 450)) for t in range(1, 31)])
    whole = feed(ERRORS, [ratio(300.0, (60, 1500), (210, 13_500))])
    assert pieces.verdict.verdict is whole.verdict.verdict is Verdict.FAIL_MINOR
    assert whole.verdict.log_e == pytest.approx(pieces.verdict.log_e, abs=0.2)
    assert whole.verdict.estimate == pytest.approx(pieces.verdict.estimate)
