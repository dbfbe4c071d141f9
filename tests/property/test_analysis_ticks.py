"""How ticks may be cut, swapped, missed, inflated or broken without changing what they prove."""

import json
import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serin.analysis import engine, ratio
from serin.analysis.hypergeometric import log_likelihoods
from serin.analysis.types import Arm, HistogramTick, NoData, NoDataReason, Policy, RatioTick, ValueTick
from serin.api.conditions import Reason
from serin.api.verdicts import Severity, Verdict

ERRORS = Policy("errors", Severity.CRITICAL)
LATENCY = Policy("latency", Severity.CRITICAL)

arms = st.integers(0, 2_000).flatmap(lambda n: st.builds(Arm, st.just(n), st.integers(0, n)))
huge_arms = st.integers(0, 10**12).flatmap(lambda n: st.builds(Arm, st.just(n), st.integers(0, n)))


def finite(evidence: Any) -> bool:
    """Whether status could hold it: JSON has neither NaN nor infinity."""
    return bool(json.dumps(evidence, allow_nan=False))


@settings(max_examples=150, deadline=None)
@given(huge_arms, huge_arms)
def test_any_counts_give_finite_evidence_and_a_verdict(candidate: Arm, stable: Arm) -> None:
    judgement = engine.fold(ERRORS, None, RatioTick(1.0, candidate, stable))
    assert finite(judgement.evidence)
    assert math.isfinite(judgement.verdict.log_e)
    for value in (judgement.verdict.estimate, judgement.verdict.low, judgement.verdict.high):
        assert value is None or (math.isfinite(value) and value >= 0.0)
    assert len(json.dumps(judgement.evidence, separators=(",", ":"))) < 1024


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=2, max_size=20))
def test_any_histogram_gives_finite_evidence(counts: list[tuple[int, int]]) -> None:
    bounds = tuple(0.1 * (i + 1) for i in range(len(counts) - 1))
    candidate, stable = zip(*counts, strict=True)
    judgement = engine.fold(LATENCY, None, HistogramTick(1.0, bounds, candidate, stable))
    assert finite(judgement.evidence)
    assert math.isfinite(judgement.verdict.log_e)


@settings(max_examples=100, deadline=None)
@given(arms, arms)
def test_the_order_of_the_arms_turns_the_ratio_over_and_nothing_else(candidate: Arm, stable: Arm) -> None:
    tables = np.array([[candidate.requests, stable.requests], [stable.requests, candidate.requests]], dtype=np.float64)
    bad = np.full(2, float(candidate.bad + stable.bad))
    mine = np.array([float(candidate.bad), float(stable.bad)])
    log_odds = np.log(np.array([1.0, 3.0, 1.0 / 3.0]))
    first, second = log_likelihoods(tables[:, 0], tables[:, 1], bad, mine, log_odds)
    assert first[1] - first[0] == pytest.approx(second[2] - second[0], abs=1e-6)
    if candidate.bad and stable.bad:
        estimate = engine.fold(ERRORS, None, RatioTick(1.0, candidate, stable)).verdict.estimate
        swapped = engine.fold(ERRORS, None, RatioTick(1.0, stable, candidate)).verdict.estimate
        assert estimate is not None
        assert swapped is not None
        assert estimate * swapped == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(0, 60))
def test_a_tick_cut_in_two_proves_what_it_proves_whole(seed: int, candidate_bad: int, stable_bad: int) -> None:
    """Requests fall to the halves by chance. Stated loss: a quarter of a nat and a tenth of the evidence at most.

    Which half a failure falls into is no information; a little is lost because two smaller tables are
    conditioned on more.
    """
    rng = np.random.default_rng(seed)
    whole = RatioTick(1.0, Arm(400, candidate_bad), Arm(3_600, stable_bad))
    cut = [int(rng.hypergeometric(bad, n - bad, n // 2)) for n, bad in ((400, candidate_bad), (3_600, stable_bad))]
    halves = [
        RatioTick(1.0, Arm(200, cut[0]), Arm(1_800, cut[1])),
        RatioTick(2.0, Arm(200, candidate_bad - cut[0]), Arm(1_800, stable_bad - cut[1])),
    ]
    policy = Policy("errors", Severity.CRITICAL, expected_ticks=10**6)  # the start-time mixture would count the ticks
    one = ratio.fold(policy, None, whole)
    two = ratio.fold(policy, ratio.fold(policy, None, halves[0]), halves[1])
    for name in ("minor", "critical"):
        before, after = getattr(one, name).log_e, getattr(two, name).log_e
        assert abs(before - after) <= 0.25 + 0.1 * abs(before)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.tuples(arms, arms), st.sampled_from(get_args(NoDataReason))), min_size=1, max_size=12))
def test_looks_that_found_nothing_change_nothing(looks: list[Any]) -> None:
    with_gaps, without = None, None
    for at, look in enumerate(looks, 1):
        if isinstance(look, Reason):
            judgement = engine.fold(ERRORS, with_gaps, NoData(look, "nothing"))
            failed = engine.judge(ERRORS, without).verdict in (Verdict.FAIL_CRITICAL, Verdict.FAIL_MINOR)
            assert failed or judgement.verdict.verdict is Verdict.NO_DATA
        else:
            judgement = engine.fold(ERRORS, with_gaps, RatioTick(float(at), *look))
            without = engine.fold(ERRORS, without, RatioTick(float(at), *look)).evidence
        with_gaps = judgement.evidence
    assert with_gaps == (without or {})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(arms, arms), min_size=1, max_size=10))
def test_evidence_survives_json_to_the_last_bit(looks: list[tuple[Arm, Arm]]) -> None:
    kept, through_json = None, None
    for at, look in enumerate(looks, 1):
        kept = engine.fold(ERRORS, kept, RatioTick(float(at), *look)).evidence
        through_json = engine.fold(ERRORS, through_json, RatioTick(float(at), *look)).evidence
        through_json = json.loads(json.dumps(through_json))
    assert kept == through_json


broken = st.sampled_from([math.nan, math.inf, -math.inf, -1, 0.5])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3), broken)
def test_a_broken_number_anywhere_is_no_data(where: int, value: float) -> None:
    numbers: list[Any] = [50, 1, 450, 5]
    numbers[where] = value
    tick = RatioTick(2.0, Arm(numbers[0], numbers[1]), Arm(numbers[2], numbers[3]))
    before = engine.fold(ERRORS, None, RatioTick(1.0, Arm(50, 1), Arm(450, 5)))
    after = engine.fold(ERRORS, before.evidence, tick)
    assert (after.verdict.verdict, after.evidence) == (Verdict.NO_DATA, before.evidence)
    assert after.verdict.reason == (Reason.NOT_A_NUMBER if not math.isfinite(value) else Reason.PARTIAL)


@settings(deadline=None)
@given(st.floats())
def test_a_value_is_judged_only_when_it_is_a_number(value: float) -> None:
    verdict = engine.fold(Policy("memory", Severity.MAJOR, maximum=1.0), None, ValueTick(1.0, value)).verdict
    assert (verdict.verdict is Verdict.NO_DATA) == (not math.isfinite(value))


def test_false_alarms_of_ratio_evidence_over_many_looks_keep_the_promise() -> None:
    """400 rollouts without a difference, 60 looks each, weights that ramp and a common rate that climbs meanwhile."""
    rng, alarms = np.random.default_rng(11), 0
    for _ in range(400):
        state = None
        for look in range(60):
            share, rate = (0.05, 0.1, 0.25, 0.5)[look // 15], 0.005 + 0.025 * look / 60
            requests, others = int(500 * share), int(500 * (1 - share))
            candidate = Arm(requests, int(rng.binomial(requests, rate)))
            state = ratio.fold(
                ERRORS, state, RatioTick(look + 1.0, candidate, Arm(others, int(rng.binomial(others, rate))))
            )
        assert state is not None
        alarms += state.failed != ""
    assert alarms / 400 <= 0.05
