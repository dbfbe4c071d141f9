"""The distribution against scipy's, and the thinned sum against the exact one."""

import numpy as np
import pytest
from scipy import stats

from serin.analysis.hypergeometric import EXACT, log_likelihood, log_likelihoods

ODDS = np.array([0.1, 0.5, 1.0, 1.5, 3.0, 10.0, 20.0])


def likelihoods(candidate: int, stable: int, bad: int, candidate_bad: int) -> np.ndarray:
    tables = (np.array([float(value)]) for value in (candidate, stable, bad, candidate_bad))
    return log_likelihoods(*tables, np.log(ODDS))[0]


@pytest.mark.parametrize(
    ("candidate", "stable", "bad", "candidate_bad"),
    [(50, 450, 5, 3), (50, 450, 5, 0), (3, 4, 5, 2), (803, 7210, 113, 41), (100, 20, 110, 95), (1, 400, 7, 1)],
)
def test_likelihood_ratios_are_those_of_scipy(candidate: int, stable: int, bad: int, candidate_bad: int) -> None:
    oracle = np.array(
        [stats.nchypergeom_fisher(candidate + stable, candidate, bad, psi).logpmf(candidate_bad) for psi in ODDS]
    )
    mine = likelihoods(candidate, stable, bad, candidate_bad)
    assert mine - mine[2] == pytest.approx(oracle - oracle[2], abs=1e-8)


@pytest.mark.parametrize(
    ("candidate", "stable", "bad", "candidate_bad"),
    [(5_000, 45_000, 400, 60), (2_000, 2_000, 2_000, 1_300), (300, 1_000_000, 300, 0), (700, 700, 1_390, 695)],
)
def test_the_thinned_sum_equals_the_exact_one(
    candidate: int, stable: int, bad: int, candidate_bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert min(candidate, bad) - max(0, bad - stable) >= EXACT or candidate == 700
    monkeypatch.setattr("serin.analysis.hypergeometric.EXACT", 1)
    thinned = likelihoods(candidate, stable, bad, candidate_bad)
    monkeypatch.setattr("serin.analysis.hypergeometric.EXACT", 10_000_000)
    exact = likelihoods(candidate, stable, bad, candidate_bad)
    assert thinned - thinned[2] == pytest.approx(exact - exact[2], abs=1e-7)


def test_huge_tables_agree_with_the_normal_approximation() -> None:
    """10^10 requests: no sum over all terms could be made, and log factorials are near the limits of a float."""
    logs = likelihoods(10**9, 9 * 10**9, 10**8, 10**7)
    assert np.isfinite(logs).all()
    assert logs.argmax() == 2  # the odds ratio that was true
    deviation = np.sqrt(10**8 * 0.1 * 0.9)
    shift = 10**8 * (1.5 * 0.1 / (1.5 * 0.1 + 0.9)) - 10**7
    assert logs[2] - logs[3] == pytest.approx(shift**2 / (2 * deviation**2), rel=0.3)


@pytest.mark.parametrize("table", [(50, 450, 5, 3), (1, 400, 7, 0), (60_000, 128, 127, 0), (5_000, 45_000, 400, 60)])
def test_the_short_way_for_one_table_gives_the_same(table: tuple[int, int, int, int]) -> None:
    short, long = log_likelihood(*table, np.log(ODDS)), likelihoods(*table)
    assert short - short[2] == pytest.approx(long - long[2], abs=1e-8)


@pytest.mark.parametrize("table", [(0, 100, 5, 0), (100, 0, 5, 5), (50, 450, 0, 0), (50, 450, 500, 50)])
def test_margins_that_leave_no_choice_are_no_evidence(table: tuple[int, int, int, int]) -> None:
    assert likelihoods(*table) == pytest.approx(np.zeros(ODDS.size))


def test_many_tables_are_the_same_as_one_by_one() -> None:
    tables = np.array([[50, 450, 5, 3], [0, 10, 3, 0], [2_000, 18_000, 900, 100], [7, 7, 7, 7]], dtype=np.float64)
    together = log_likelihoods(*tables.T, np.log(ODDS))
    for row, table in zip(together, tables, strict=True):
        alone = log_likelihoods(*table[:, None], np.log(ODDS))[0]
        assert row - row[2] == pytest.approx(alone - alone[2], abs=1e-8)
