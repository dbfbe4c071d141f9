"""How often two answers are the same: the estimate, and what the evidence of it promises."""

import numpy as np
import pytest

from serin.analysis.engine import judge
from serin.analysis.types import CONCENTRATION, MeanTick, Moments, Policy
from serin.api.verdicts import Severity, Verdict
from serin.metrics.distributions import alike
from tests.unit.analysis.ticks import feed

POLICY = Policy("alike", Severity.MAJOR)
STRICT = Policy("alike", Severity.MAJOR, limit=1.0)  # nothing is let pass: its promise is the hardest to keep
RUNS = 100
EVEN = np.full(50, 1 / 50)  # two answers are the same in 2% of cases
FEW = np.array([0.2, *np.full(40, 0.02)])  # and in 5.6%


def moments(rng: np.random.Generator, shares: np.ndarray, answers: int) -> Moments:
    count, share = alike(rng.multinomial(answers, shares).tolist())
    return Moments(count, count * share)


def stream(seed: int, ticks: int, mine: np.ndarray, theirs: np.ndarray, answers: int = 40) -> list[MeanTick]:
    """The candidate has a tenth of stable's answers."""
    rng = np.random.default_rng(seed)
    return [
        MeanTick(one + 1.0, moments(rng, mine, answers), moments(rng, theirs, 10 * answers), CONCENTRATION)
        for one in range(ticks)
    ]


@pytest.mark.parametrize("shares", [EVEN, FEW], ids=["even", "few"])
@pytest.mark.parametrize("answers", [5, 400])
def test_the_estimate_is_right_however_few_answers_there_are(shares: np.ndarray, answers: int) -> None:
    rng = np.random.default_rng(answers)
    found = [alike(rng.multinomial(answers, shares).tolist())[1] for _ in range(40_000 // answers * 5)]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx((shares**2).sum(), abs=4 * error)


@pytest.mark.parametrize("counts", [[], [0.0], [1.0], [0.4, 0.3]])
def test_less_than_two_answers_are_no_pair(counts: list[float]) -> None:
    assert alike(counts) == (0, 0.0)


def test_all_the_same_and_all_different() -> None:
    assert alike([7.0]) == (7, 1.0)
    assert alike([1.0] * 7) == (7, 0.0)
    assert alike([0.5] * 8) == (4, 0.0), "Prometheus extrapolates to parts of an answer"


def test_a_version_that_answers_ever_the_same_fails_and_the_message_says_so() -> None:
    found = feed(POLICY, stream(1, 60, FEW, EVEN)).verdict
    assert found.verdict is Verdict.FAIL_MINOR
    assert found.message.startswith("two of the candidate's answers are the same in 5.")
    assert "of cases (2,400 answers), of stable's in 2." in found.message
    evidence = feed(POLICY, stream(1, 60, FEW, EVEN)).evidence
    assert judge(POLICY, evidence).message == found.message, "the evidence says what it is of"
    assert feed(POLICY, stream(1, 60, EVEN, FEW)).verdict.verdict is Verdict.PASS, "more variety is no breach"


@pytest.mark.parametrize("answers", [5, pytest.param(40, marks=pytest.mark.more)])
@pytest.mark.parametrize("shares", [EVEN, FEW], ids=["even", "few"])
def test_versions_that_answer_alike_are_rarely_called_worse(shares: np.ndarray, answers: int) -> None:
    found = [feed(STRICT, stream(seed, 60, shares, shares, answers)).verdict for seed in range(RUNS)]
    assert sum(one.verdict is Verdict.FAIL_MINOR for one in found) <= STRICT.alpha_minor * RUNS


def test_more_answers_in_later_looks_keep_the_promise() -> None:
    """Few answers scatter more than their number says: a variance that was read from them is too large."""
    failed = 0
    for seed in range(RUNS):
        early, late = stream(seed, 30, FEW, FEW, 4), stream(seed + 10_000, 30, FEW, FEW, 200)
        ticks = [*early, *(MeanTick(30.0 + one.at, one.candidate, one.stable, one.of) for one in late)]
        failed += feed(STRICT, ticks).verdict.verdict is Verdict.FAIL_MINOR
    assert failed <= STRICT.alpha_minor * RUNS
