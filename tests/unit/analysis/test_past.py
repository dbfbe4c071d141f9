"""Worse than it used to be: what is usual, how far from it counts, and what silence says."""

from dataclasses import replace

import pytest

from serin.analysis import engine
from serin.analysis.types import Judgement, NoData, PastTick, Policy, Stretch
from serin.api.conditions import Reason
from serin.api.verdicts import Against, Severity, Verdict

DAY = 86_400.0
POLICY = Policy("missed", Severity.MAJOR, Against.HISTORY, window=DAY)
WEEKS = (0.020, 0.021, 0.019, 0.022, 0.018, 0.020, 0.021, 0.019)


def window(value: float, requests: int = 100_000, coverage: float = 1.0) -> Stretch:
    return Stretch(requests, value, coverage)


def look(
    value: float,
    policy: Policy = POLICY,
    before: Judgement | None = None,
    *,
    at: float = 1_000.0,
    past: tuple[float, ...] | None = WEEKS,
    unit: str = "share",
    **more: float,
) -> Judgement:
    earlier = None if past is None else tuple(map(window, past))
    now = replace(window(value), **more)
    return engine.fold(policy, before.evidence if before else None, PastTick(at, now, 900.0, earlier, unit))


def test_what_is_worse_than_usual_fails_and_says_what_is_usual() -> None:
    found = look(0.031).verdict
    assert (found.verdict, found.reason) == (Verdict.FAIL_MINOR, Reason.WORSE_THAN_PAST)
    assert found.message == (
        "3.1% of stable's requests failed (100,000 in the last 24h); 2.0% is usual (median of 8 windows at this hour "
        "in the past four weeks), up to 2.7% is still good (no error guarantee)"
    )
    assert found.estimate == pytest.approx(1.55)
    assert look(0.031, replace(POLICY, severity=Severity.CRITICAL)).verdict.verdict is Verdict.FAIL_CRITICAL


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("concentration", "two of stable's answers are the same in 3.1% of cases (100,000 in the last 24h); 2.0% is "),
        ("s", "95% of stable's requests took up to 0.031 s (100,000 in the last 24h); 0.02 s is usual"),
        ("", "stable's mean is 0.031 (100,000 in the last 24h); 0.02 is usual"),
    ],
)
def test_what_is_usual_has_the_unit_of_what_is_counted(unit: str, words: str) -> None:
    assert look(0.031, unit=unit).verdict.message.startswith(words)


def test_what_differs_no_more_than_the_weeks_did_passes() -> None:
    assert look(0.0235).verdict.verdict is Verdict.PASS
    assert look(0.001).verdict.verdict is Verdict.PASS, "better is no breach"


def test_a_slight_decay_is_none_however_steady_the_weeks_were() -> None:
    steady = (0.02,) * 8
    assert look(0.0215, past=steady, requests=100_000_000).verdict.verdict is Verdict.PASS, "7% more"
    assert look(0.0260, past=steady, requests=100_000_000).verdict.verdict is Verdict.FAIL_MINOR, "30% more"
    large = replace(POLICY, limit=1.5)
    assert look(0.0260, large, past=steady, requests=100_000_000).verdict.verdict is Verdict.PASS


def test_few_requests_are_worse_by_chance() -> None:
    assert look(0.031, requests=300).verdict.verdict is Verdict.PASS
    assert look(0.031, requests=30_000).verdict.verdict is Verdict.FAIL_MINOR
    differing = replace(POLICY, overdispersion=500.0)
    assert look(0.031, differing, requests=30_000).verdict.verdict is Verdict.PASS, "pods that differ"


def test_weeks_without_a_bad_request_allow_for_chance() -> None:
    assert look(0.00003, past=(0.0,) * 8).verdict.verdict is Verdict.PASS, "3 of 100,000"
    assert look(0.00005, past=(0.0,) * 8).verdict.verdict is Verdict.PASS, "5 of them"
    assert look(0.0003, past=(0.0,) * 8).verdict.verdict is Verdict.FAIL_MINOR


def test_a_bad_week_among_good_ones_is_not_usual() -> None:
    assert look(0.040, past=(*WEEKS[:6], 0.3, 0.4)).verdict.verdict is Verdict.FAIL_MINOR


def test_windows_that_resemble_each_other_are_not_all_that_is_usual() -> None:
    """Those of one week do: here a week of four was worse, and the others were the same."""
    past = (0.02, 0.02, 0.02, 0.02, 0.02, 0.025, 0.025, 0.025)
    assert look(0.040, past=past, requests=100_000_000).verdict.verdict is Verdict.PASS
    assert look(0.060, past=past, requests=100_000_000).verdict.verdict is Verdict.FAIL_MINOR


def test_a_number_that_is_none_is_not_judged() -> None:
    found = look(float("nan"), before=look(0.02), at=1_100.0)
    assert (found.verdict.verdict, found.verdict.reason) == (Verdict.NO_DATA, Reason.NOT_A_NUMBER)


def test_a_mean_may_fall_when_lower_is_worse() -> None:
    reward = replace(POLICY, lower_is_worse=True)
    usual = (5.0, 5.1, 4.9, 5.2, 4.8, 5.0)
    assert look(3.0, reward, past=usual, unit="").verdict.verdict is Verdict.FAIL_MINOR
    assert look(9.0, reward, past=usual, unit="").verdict.verdict is Verdict.PASS
    assert look(9.0, past=usual, unit="").verdict.verdict is Verdict.FAIL_MINOR
    unsteady = (5.0, 7.0, 3.0, 7.0, 3.0, 5.0)
    assert look(3.0, reward, past=unsteady, unit="").verdict.verdict is Verdict.PASS, "as it has fallen before"
    assert "stable's mean is 3 " in look(3.0, reward, past=usual, unit="").verdict.message


def test_it_must_be_worse_for_as_long_as_for_says() -> None:
    patient = replace(POLICY, lasting=600.0)
    found = look(0.04, patient)
    assert found.verdict.verdict is Verdict.INCONCLUSIVE
    found = look(0.04, patient, found, at=1_300.0, past=None)
    assert found.verdict.verdict is Verdict.INCONCLUSIVE
    assert look(0.04, patient, found, at=1_600.0, past=None).verdict.verdict is Verdict.FAIL_MINOR
    well = look(0.02, patient, found, at=1_500.0, past=None)
    assert well.verdict.verdict is Verdict.PASS
    assert look(0.04, patient, well, at=1_700.0, past=None).verdict.verdict is Verdict.INCONCLUSIVE, "it began anew"


def test_the_past_is_kept_until_another_is_read() -> None:
    first = look(0.02)
    assert look(0.031, before=first, at=1_100.0, past=None).verdict.verdict is Verdict.FAIL_MINOR
    assert look(0.031, before=first, at=1_100.0, past=(0.03,) * 8).verdict.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("changed", "past", "words"),
    [
        ({"coverage": 0.5}, WEEKS, "there is data of 50.0% of the last 24h, and minCoverage is 80.0%"),
        ({"requests": 0}, WEEKS, "no request was counted in the last 24h"),
        ({}, WEEKS[:5], "nothing is usual yet: 5 of 6 windows at this hour in the past four weeks have data"),
    ],
)
def test_silence_is_no_breach_and_says_what_is_missing(
    changed: dict[str, float], past: tuple[float, ...], words: str
) -> None:
    found = look(0.5, past=past, **changed).verdict
    assert (found.verdict, found.message) == (Verdict.NO_DATA, words)


def test_earlier_windows_without_data_are_left_out() -> None:
    gaps = tuple(Stretch(10, 0.9, 0.3) for _ in range(8))
    tick = PastTick(1_000.0, window(0.02), 900.0, (*gaps, *map(window, WEEKS)), "share")
    assert "2.0% is usual (median of 8" in engine.fold(POLICY, None, tick).verdict.message


def test_a_past_of_which_nothing_is_left_is_forgotten() -> None:
    gaps = tuple(Stretch(10, 0.9, 0.3) for _ in range(8))
    tick = PastTick(2_000.0, window(0.5), 4_500.0, gaps, "share")
    found = engine.fold(POLICY, look(0.02).evidence, tick).verdict
    assert found.message.startswith("nothing is usual yet: 0 of 6 ")


def test_a_day_is_compared_with_all_parts_of_the_first_one_together() -> None:
    """Its hours differ by half, and that says little of a day: what it misses all over is compared."""
    policy = replace(POLICY, against=Against.SNAPSHOT)
    hours = tuple(Stretch(10_000 * (1 + part), 0.01 + 0.001 * part, 1.0) for part in range(12))

    def judged(value: float, length: float) -> Judgement:
        return engine.fold(policy, None, PastTick(1_000.0, window(value), 900.0, hours, "share", length))

    found = judged(0.030, DAY / 12)
    assert found.verdict.verdict is Verdict.FAIL_MINOR
    assert "1.7% is usual (from 12 parts of its first day)" in found.verdict.message, "by requests"
    assert judged(0.021, DAY / 12).verdict.verdict is Verdict.PASS
    assert judged(0.030, DAY).verdict.verdict is Verdict.PASS, "an hour of it may be as bad"


def test_a_gap_neither_ends_nor_begins_a_breach() -> None:
    patient = replace(POLICY, lasting=600.0)
    found = look(0.04, patient)
    silent = look(0.04, patient, found, at=1_300.0, past=None, coverage=0.1)
    assert silent.verdict.verdict is Verdict.NO_DATA
    assert look(0.04, patient, silent, at=1_700.0, past=None).verdict.verdict is Verdict.FAIL_MINOR


def test_evidence_is_read_back_as_it_was_written_and_nothing_else_is() -> None:
    found = look(0.031)
    assert engine.judge(POLICY, found.evidence) == found.verdict
    assert engine.fold(POLICY, found.evidence, NoData(Reason.QUERY_FAILED, "no")).evidence == found.evidence
    broken = {**found.evidence, "past": [0.1, "x", 3.0]}
    assert engine.judge(POLICY, broken).verdict is Verdict.NO_DATA
