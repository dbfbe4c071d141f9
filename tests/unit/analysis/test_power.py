"""Planned sample sizes against simulation, and against the classical fixed-sample ones."""

import numpy as np
import pytest
from statsmodels.stats.proportion import samplesize_proportions_2indep_onetail

from serin.analysis import slo
from serin.analysis.engine import fold
from serin.analysis.power import requests_to_catch, requests_to_pass
from serin.analysis.types import Policy
from serin.api.verdicts import Against, Severity
from tests.unit.analysis.ticks import ERRORS, ratio


@pytest.mark.more
@pytest.mark.parametrize("odds", [2.0, 5.0])
def test_four_in_five_regressions_are_caught_within_the_planned_requests(odds: float) -> None:
    planned, rng, caught = requests_to_catch(ERRORS, 0.01, 0.1, odds), np.random.default_rng(3), 0
    rate = odds * 0.01 / (0.99 + odds * 0.01)
    for _ in range(100):
        evidence = None
        for look in range(int(planned / 50)):
            tick = ratio(look + 1.0, (rng.binomial(50, rate), 50), (rng.binomial(450, 0.01), 450))
            judgement = fold(ERRORS, evidence, tick)
            evidence = judgement.evidence
        caught += judgement.evidence["failed"] != ""
    assert 0.7 <= caught / 100 <= 0.97


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.05])
def test_sequential_looks_cost_less_than_three_times_a_single_one(rate: float) -> None:
    """The classical one-look test of the same power needs fewer requests, but may be looked at only once."""
    classical = samplesize_proportions_2indep_onetail(
        diff=rate, prop2=rate, power=0.8, ratio=9, alpha=0.05, value=0, alternative="larger"
    )
    planned = requests_to_catch(ERRORS, rate, 0.1, 2.0 * (1.0 - rate) / (1.0 - 2.0 * rate))
    assert classical < planned < 3.5 * classical


def test_what_cannot_be_seen_takes_for_ever() -> None:
    assert requests_to_catch(ERRORS, 0.01, 0.1, 1.0) == np.inf
    assert requests_to_catch(ERRORS, 0.0, 0.1, 2.0) == np.inf
    assert requests_to_catch(ERRORS, 0.01, 1.0, 2.0) == np.inf
    assert requests_to_pass(ERRORS, 0.01, 0.0, 1.0) == np.inf
    assert requests_to_pass(ERRORS, 0.01, 0.1, -1.0) == 0.0


def test_overdispersion_takes_more_requests() -> None:
    twice = Policy("errors", Severity.CRITICAL, overdispersion=2.0)
    assert requests_to_catch(twice, 0.01, 0.1, 2.0) > 1.5 * requests_to_catch(ERRORS, 0.01, 0.1, 2.0)


def test_a_limit_needs_fewer_requests_the_further_it_is_exceeded() -> None:
    policy = Policy("errors", Severity.CRITICAL, against=Against.LIMIT, limit=0.02)
    doubled, fivefold = (slo.requests_to_catch(policy, 0.02, odds) for odds in (2.0, 5.0))
    assert 50 < fivefold < doubled < 2000
