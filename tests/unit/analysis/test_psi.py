"""The population stability index, its bias and its deviation."""

import numpy as np
import pytest
from scipy import stats

from serin.analysis.psi import requests_needed, stability_index
from tests.unit.analysis.ticks import DECILES


@pytest.mark.parametrize(("categories", "requests"), [(10, 241), (20, 403)])
def test_the_published_numbers_of_requests(categories: int, requests: int) -> None:
    """PSI 0.1 at 1% against a control nine times as large: (1/n + 1/9n) chi-square(0.99) = 0.1."""
    assert requests_needed(categories, 9.0 * requests, 0.1) == requests


def test_a_reference_that_is_too_small_needs_more_requests_than_there_can_be() -> None:
    assert requests_needed(10, 100.0, 0.1) is None


def test_the_bias_of_the_index_is_removed_and_its_deviation_right() -> None:
    rng = np.random.default_rng(1)
    drawn = [stability_index(*(rng.multinomial(n, [0.1] * 10).astype(float) for n in (500, 4500))) for _ in range(2000)]
    indices, deviations = np.array(drawn).T
    assert abs(indices.mean()) < 0.001
    assert indices.std() == pytest.approx(deviations.mean(), rel=0.15)
    p = stats.norm.cdf(np.append(DECILES, np.inf) - 0.5) - stats.norm.cdf(np.insert(DECILES, 0, -np.inf) - 0.5)
    true = float(((p - 0.1) * np.log(p / 0.1)).sum())
    drawn = [
        stability_index(rng.multinomial(500, p).astype(float), rng.multinomial(4500, [0.1] * 10).astype(float))
        for _ in range(2000)
    ]
    indices, deviations = np.array(drawn).T
    assert indices.mean() == pytest.approx(true, rel=0.05)
    assert indices.std() == pytest.approx(deviations.mean(), rel=0.2)
