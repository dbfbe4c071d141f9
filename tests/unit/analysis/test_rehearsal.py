"""The rehearsal: it shows what the engine does, and does not depend on its simplifications."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from serin.analysis import engine, rehearsal
from serin.analysis.rehearsal import Rehearsal, Sight, latency, proportion, ratio, rehearse
from serin.analysis.traffic import Stage, Traffic
from serin.analysis.types import Policy
from serin.api.verdicts import Against, Severity

ERRORS = Policy("errors", Severity.CRITICAL, overdispersion=2.0, expected_ticks=60)
STEP = Stage(1, 10, 600.0)
BUSY = Traffic(50.0, 0.01)


def sight(answer: Rehearsal, trouble: str, step: int = 1) -> Sight:
    [found] = [one for one in answer.sights if (one.step, one.trouble) == (step, trouble)]
    return found


@pytest.fixture(scope="module")
def busy() -> Rehearsal:
    return rehearse([ratio(ERRORS, BUSY)], [STEP, Stage(2, 50, 600.0)], 10.0, runs=60, seed=1)


def test_the_worse_the_candidate_the_sooner_it_is_caught(busy: Rehearsal) -> None:
    twice, five, fifth = (sight(busy, name) for name in ("a 2x increase", "a 5x increase", "20% bad"))
    assert fifth.seconds.median < five.seconds.median < twice.seconds.median
    assert (fifth.caught, five.caught) == (1.0, 1.0)
    assert fifth.seconds.median <= 20.0, "a fifth of the requests is seen at the first look or two"


def test_a_later_step_with_more_of_the_traffic_sees_more(busy: Rehearsal) -> None:
    assert sight(busy, "a 2x increase", 1).caught < sight(busy, "a 2x increase", 2).caught


def test_a_good_candidate_waits_for_its_pass_once(busy: Rehearsal) -> None:
    first, second = busy.passing
    assert first.seconds.high >= first.seconds.median >= STEP.bake
    assert second.seconds.median == 600.0, "what has passed stays passed"
    assert busy.rolled_back <= 1


def test_sights_are_what_the_engine_does_look_by_look() -> None:
    """Not simplified: every look of ten seconds, through engine.fold with JSON in between."""
    answer = sight(rehearse([ratio(ERRORS, BUSY)], [STEP], 10.0, runs=60, seed=2), "a 5x increase")
    rng, caught = np.random.default_rng(3), []
    for _ in range(60):
        evidence, requests = None, 0
        for look in range(1, 61):
            candidate, stable = rng.poisson((50, 450))
            counts = [
                np.array([n - bad, bad])
                for n, bad in ((candidate, rng.binomial(candidate, 0.05)), (stable, rng.binomial(stable, 0.01)))
            ]
            evidence = engine.fold(ERRORS, evidence, ratio(ERRORS, BUSY).tick(10.0 * look, *counts)).evidence
            requests += candidate
            if evidence["failed"]:
                break
        caught.append(requests)
    exact = float(np.median(caught))
    assert 0.7 * exact <= answer.requests.median <= 1.4 * exact


@pytest.mark.more
def test_longer_looks_change_neither_sights_nor_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    short = rehearse([ratio(ERRORS, BUSY)], [STEP], 10.0, runs=60, seed=4)
    monkeypatch.setattr(rehearsal, "GROWTH", 0.0)
    exact = rehearse([ratio(ERRORS, BUSY)], [STEP], 10.0, runs=60, seed=5)
    assert short.passing[0].seconds.median == pytest.approx(exact.passing[0].seconds.median, rel=0.3)
    for trouble in ("a 2x increase", "a 5x increase"):
        assert abs(sight(short, trouble).caught - sight(exact, trouble).caught) <= 0.25


def test_false_rollbacks_are_counted() -> None:
    """A policy that promises nothing rolls good candidates back, and the rehearsal says so."""
    permissive = replace(ERRORS, alpha_minor=0.49, overdispersion=1.0)
    answer = rehearse([replace(ratio(permissive, BUSY), troubles={})], [STEP], 10.0, runs=60)
    low, high = answer.false_rollback
    assert answer.rolled_back >= 6
    assert low < answer.rolled_back / 60 < high


def test_a_step_without_traffic_never_passes_and_sees_nothing() -> None:
    answer = rehearse([ratio(ERRORS, Traffic(0.01, 0.01))], [STEP, Stage(2, 50, 600.0)], 10.0, runs=20, longest=7200.0)
    assert answer.unfinished == 20
    assert [math.isinf(one.seconds.median) for one in answer.passing] == [True, True]
    assert {one.step for one in answer.sights} == {1}, "no rollout got to step 2"
    assert not any(one.seen for one in answer.sights)


def test_min_requests_hold_a_step() -> None:
    answer = rehearse([replace(ratio(ERRORS, BUSY), troubles={})], [replace(STEP, min_requests=9000)], 10.0, runs=20)
    assert answer.passing[0].seconds.median == pytest.approx(1800.0, rel=0.2)


def test_a_limit_is_judged_as_a_limit() -> None:
    limit = replace(ERRORS, against=Against.LIMIT, limit=0.03)
    answer = rehearse([ratio(limit, BUSY)], [STEP], 10.0, runs=30)
    assert sight(answer, "a 2x increase").caught == 0.0, "2 % is within the limit"
    assert sight(answer, "20% bad").caught == 1.0


@pytest.mark.more
def test_slow_candidates_are_seen_by_their_buckets() -> None:
    bounds = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0)
    slow = latency(Policy("latency", Severity.MAJOR), 50.0, bounds, median=100.0, spread=0.5, unit="ms")
    assert {name: float(shares.sum()) for name, shares in slow.troubles.items()} == pytest.approx(
        {"a doubling": 1.0, "2% of them 10x slower": 1.0}
    )
    answer = rehearse([slow], [STEP], 10.0, runs=20)
    assert sight(answer, "a doubling").seconds.median <= 20.0
    assert sight(answer, "2% of them 10x slower").requests.median > sight(answer, "a doubling").requests.median


def test_the_same_seed_gives_the_same_answer() -> None:
    first, again, other = (rehearse([ratio(ERRORS, BUSY)], [STEP], 10.0, runs=20, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_what_stable_does_already_is_not_rehearsed() -> None:
    assert set(ratio(ERRORS, Traffic(1.0, 0.3)).troubles) == {"a 2x increase"}
    assert set(ratio(ERRORS, Traffic(1.0, 0.0)).troubles) == {"20% bad"}
    assert "a 1.5x increase" in ratio(replace(ERRORS, minimum_detectable_effect=1.5), BUSY).troubles


@pytest.mark.parametrize(("hits", "runs"), [(0, 100), (3, 100), (100, 100), (1, 20)])
def test_the_interval_is_clopper_and_pearsons(hits: int, runs: int) -> None:
    oracle = stats.binomtest(hits, runs).proportion_ci(0.95)
    assert proportion(hits, runs) == pytest.approx((oracle.low, oracle.high))
