"""How far stable's pods are apart: what chance explains, slow nodes, and neighbours that come and go."""

import numpy as np
import pytest

from serin.analysis.between_pods import MOST, slowest
from serin.analysis.types import Moments

Factors = np.ndarray


def hour(factors: Factors, requests: int = 100, seed: int = 1) -> list[list[Moments]]:
    """`factors`: how many times as slow each pod is in each minute; log-normal times with a median of 100."""
    rng = np.random.default_rng(seed)
    return [
        [Moments(requests, float((100.0 * times * np.exp(0.5 * rng.standard_normal(requests))).sum())) for times in pod]
        for pod in factors
    ]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("requests", [20, 500])
def test_what_chance_explains_is_no_difference(seed: int, requests: int) -> None:
    assert slowest(hour(np.ones((5, 60)), requests, seed)) <= 1.1  # a few percent, once in a while


@pytest.mark.parametrize("requests", [60, 600])
def test_a_slow_node_is_seen(requests: int) -> None:
    factors = np.ones((5, 60))
    factors[2] = 1.3
    assert slowest(hour(factors, requests)) == pytest.approx(1.37, abs=0.15)


def test_a_neighbour_of_two_minutes_is_seen() -> None:
    factors = np.ones((4, 60))
    factors[1, 30:32] = 2.0
    assert slowest(hour(factors)) == pytest.approx(2.0, rel=0.15)


def test_neighbours_that_come_often_hide_none_of_it() -> None:
    factors = np.ones((5, 60))
    for pod in range(5):
        for begin in (3 + 4 * pod, 23 + 4 * pod, 43 + 2 * pod):
            factors[pod, begin : begin + 2] = 2.0
    assert slowest(hour(factors)) == pytest.approx(2.0, rel=0.15)


def test_a_slow_hour_of_all_pods_is_no_difference() -> None:
    factors = np.ones((4, 60))
    factors[:, 20:40] = 5.0
    assert slowest(hour(factors)) == 1.0


def test_of_a_reward_the_smallest_is_the_worst() -> None:
    factors = np.ones((4, 60))
    factors[0] = 0.5
    assert slowest(hour(factors), lower_is_worse=True) == pytest.approx(2.1, rel=0.15)
    assert slowest(hour(factors)) == 1.0


def test_what_is_broken_is_not_let_pass_for_ever() -> None:
    factors = np.ones((4, 60))
    factors[3] = 100.0
    assert slowest(hour(factors)) == MOST


@pytest.mark.parametrize("pods", [0, 1, 2])
def test_two_pods_do_not_show_how_pods_differ(pods: int) -> None:
    factors = np.ones((pods, 60))
    factors[:1] = 2.0
    assert slowest(hour(factors)) == 1.0


@pytest.mark.parametrize("minutes", [0, 1, 3])
def test_neither_do_a_few_minutes(minutes: int) -> None:
    factors = np.ones((4, minutes))
    factors[0] = 3.0
    assert slowest(hour(factors)) == 1.0


def test_pods_that_have_served_nothing_say_nothing() -> None:
    idle = [[Moments(0, 0.0)] * 60 for _ in range(4)]
    assert slowest(idle) == 1.0
    assert slowest([*hour(np.ones((3, 60))), *idle]) == 1.0
