"""Overdispersion read from the stable pods."""

import numpy as np
import pytest

from serin.analysis.dispersion import UNKNOWN, overdispersion
from serin.analysis.types import Arm


def pods(seed: int, count: int = 5, minutes: int = 60, burst: int = 1, season: bool = False) -> list[list[Arm]]:
    """Pods of 540 requests a minute, 1% of which fail, in bursts of `burst`; with a season the rate climbs to 3%."""
    rng = np.random.default_rng(seed)
    rates = 0.01 * (1.0 + (2.0 * np.arange(minutes) / minutes if season else np.zeros(minutes)))
    return [[Arm(540, burst * int(rng.binomial(540, rate / burst))) for rate in rates] for _ in range(count)]


def mean_of(burst: int, season: bool = False) -> float:
    return float(np.mean([overdispersion(pods(seed, burst=burst, season=season)) for seed in range(30)]))


def test_independent_failures_are_near_one_and_bursts_near_their_length() -> None:
    assert 1.0 <= mean_of(1) < 1.2
    assert mean_of(3) == pytest.approx(3.0, rel=0.15)


def test_the_noise_of_the_estimate_does_not_slow_rollouts_down() -> None:
    assert sum(overdispersion(pods(seed)) == 1.0 for seed in range(30)) >= 24


def test_a_season_that_all_pods_share_is_no_overdispersion() -> None:
    assert mean_of(1, season=True) < 1.2


def test_one_bad_pod_is_overdispersion() -> None:
    good = pods(1)
    rng = np.random.default_rng(2)
    bad = [Arm(540, int(rng.binomial(540, 0.05))) for _ in range(60)]
    assert overdispersion([*good[:4], bad]) > 5.0


@pytest.mark.parametrize("count", [1, 2])
def test_one_pod_or_two_show_bursts_longer_than_two(count: int) -> None:
    found = [overdispersion(pods(seed, count=count, burst=5)) for seed in range(30)]
    assert 5.0 <= np.mean(found) < 7.0, "the less often it bursts the more cautious"
    assert all(overdispersion(pods(seed, count=count)) == UNKNOWN for seed in range(30)), "never less than two"


def test_of_one_pod_a_moment_that_is_bad_for_all_is_no_burst() -> None:
    [pod] = pods(1, count=1)
    pod[17] = Arm(540, 200)
    pod[40] = Arm(540, 100)
    assert overdispersion([pod]) == UNKNOWN


def test_a_season_is_no_burst_of_one_pod() -> None:
    assert np.mean([overdispersion(pods(seed, count=1, season=True)) for seed in range(30)]) < 1.1 * UNKNOWN


@pytest.mark.parametrize("history", [[], pods(1, count=2), pods(1, minutes=3), [[], [], []]])
def test_too_little_to_go_by_is_taken_for_two(history: list[list[Arm]]) -> None:
    assert overdispersion(history) == UNKNOWN


def test_no_failures_at_all_are_too_little_to_go_by() -> None:
    assert overdispersion([[Arm(100, 0)] * 60] * 5) == UNKNOWN


def test_pods_that_did_not_run_do_not_count() -> None:
    five = pods(1)
    part = [pod[:30] + [Arm(0, 0)] * 30 if index == 0 else pod for index, pod in enumerate(five)]
    assert overdispersion(part) == pytest.approx(overdispersion(five), abs=0.4)
