"""The promise itself: under the null, evidence is 1 on average at most, whatever the common rates and counts are.

Expectations are exact: every way in which the bad requests of a tick can fall is weighed with its probability.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from serin.analysis import latency, ratio, slo, two_sample
from serin.analysis.decision import CRITICAL_RATIO, TOLERANCE
from serin.analysis.sample_ratio import State as Split
from serin.analysis.sample_ratio import log_e as split_log_e
from serin.analysis.types import Arm, DistributionTick, HistogramTick, Policy, RatioTick
from serin.api.verdicts import Against, Severity

ROUNDING = 1e-6
LATENCY_ROUNDING = 2e-3  # kept weights are rounded down to a thousandth of a nat

policies = st.builds(
    Policy,
    metric=st.just("errors"),
    severity=st.just(Severity.CRITICAL),
    minimum_detectable_effect=st.sampled_from([1.2, 2.0, 4.0]),
    overdispersion=st.sampled_from([1.0, 2.5]),
    expected_ticks=st.sampled_from([1, 60, 1000]),
)
tables = st.tuples(st.integers(1, 30), st.integers(20, 60)).flatmap(
    lambda arms: st.tuples(st.just(arms[0]), st.just(arms[1]), st.integers(0, arms[0] + arms[1]))
)


def tick(at: float, table: tuple[int, int, int], candidate_bad: int) -> RatioTick:
    candidate, stable, bad = table
    return RatioTick(at, Arm(candidate, candidate_bad), Arm(stable, bad - candidate_bad))


def outcomes(table: tuple[int, int, int], odds: float) -> list[tuple[int, float]]:
    """Every number of bad requests that can fall to the candidate, with its probability."""
    candidate, stable, bad = table
    support = range(max(0, bad - stable), min(candidate, bad) + 1)
    if len(support) == 1:
        return [(support[0], 1.0)]
    law = stats.nchypergeom_fisher(candidate + stable, candidate, bad, odds)
    return [(x, float(law.pmf(x))) for x in support]


@settings(max_examples=60, deadline=None)
@given(policies, tables, st.sampled_from([1.0, 0.7, 0.2]))
def test_the_mean_of_ratio_evidence_is_at_most_one(policy: Policy, table: tuple[int, int, int], part: float) -> None:
    """The true odds ratio is the null's largest, or a part of it. At the largest the mean is 1 exactly."""
    for null, name in ((TOLERANCE, "minor"), (CRITICAL_RATIO, "critical")):
        mean = 0.0
        for x, p in outcomes(table, part * null):
            state = ratio.fold(policy, None, tick(1.0, table, x))
            mean += p * math.exp(getattr(state, name).log_e)
        assert mean <= 1.0 + ROUNDING
        if part == 1.0 and policy.overdispersion == 1.0:
            assert abs(mean - 1.0) <= ROUNDING


@settings(max_examples=15, deadline=None)
@given(policies, st.tuples(st.integers(1, 6), st.integers(20, 30), st.integers(1, 8)), st.sampled_from([1.0, 0.5]))
def test_the_mean_stays_at_most_one_over_three_ticks(policy: Policy, table: tuple[int, int, int], part: float) -> None:
    laws = outcomes(table, part * TOLERANCE)
    mean = 0.0
    for way in itertools.product(laws, repeat=3):
        state = None
        for at, (x, _) in enumerate(way, 1):
            state = ratio.fold(policy, state, tick(float(at), table, x))
        assert state is not None
        mean += math.prod(p for _, p in way) * math.exp(state.minor.log_e)
    assert mean <= 1.0 + ROUNDING


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.floats(0.001, 0.6), st.sampled_from([1.0, 0.5]), st.sampled_from([1.0, 2.0]))
def test_the_mean_of_limit_evidence_is_at_most_one(requests: int, limit: float, part: float, phi: float) -> None:
    policy = Policy("errors", Severity.CRITICAL, against=Against.LIMIT, limit=limit, overdispersion=phi)
    law = stats.binom(requests, part * limit)
    ticks = [RatioTick(1.0, Arm(requests, bad), Arm(0, 0)) for bad in range(requests + 1)]
    mean = sum(law.pmf(one.candidate.bad) * math.exp(slo.fold(policy, None, one).over.log_e) for one in ticks)
    assert mean <= 1.0 + ROUNDING


@settings(max_examples=12, deadline=None)
@given(st.tuples(*[st.integers(0, 9)] * 4), st.integers(1, 4), st.sampled_from([1.0, 2.0]))
def test_the_mean_of_latency_evidence_is_at_most_one(pooled: tuple[int, ...], candidate: int, phi: float) -> None:
    """Arms that are alike: every way to deal the pooled histogram out between them is known."""
    assume(sum(pooled) >= latency.ENOUGH)
    policy = Policy("latency", Severity.CRITICAL, overdispersion=phi)
    total, means = math.comb(sum(pooled), candidate), [0.0, 0.0]
    for dealt in itertools.product(*(range(min(candidate, count) + 1) for count in pooled)):
        if sum(dealt) != candidate:
            continue
        probability = math.prod(math.comb(count, x) for count, x in zip(pooled, dealt, strict=True)) / total
        rest = tuple(count - x for count, x in zip(pooled, dealt, strict=True))
        state = latency.fold(policy, None, HistogramTick(1.0, (0.1, 0.2, 0.5), dealt, rest))
        means[0] += probability * math.exp(state.minor.log_e)
        means[1] += probability * math.exp(state.critical.log_e)
    assert means[0] <= 1.0 + ROUNDING
    assert means[1] <= 1.0 + ROUNDING
    if phi == 1.0:
        assert means[0] >= 1.0 - LATENCY_ROUNDING  # less would waste evidence


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(*[st.integers(0, 60)] * 3),
    st.tuples(*[st.integers(0, 60)] * 3),
    st.tuples(*[st.floats(0.05, 1.0)] * 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.booleans(),
)
def test_the_mean_of_drift_evidence_is_at_most_one(
    past_candidate: tuple[int, ...],
    past_stable: tuple[int, ...],
    weights: tuple[float, ...],
    candidate: int,
    stable: int,
    ordered: bool,
) -> None:
    """Whatever both arms answered before, and whatever they both answer now."""
    policy = Policy("prediction", Severity.MAJOR, expected_ticks=1)  # all mass has entered, none dilutes the evidence
    before = two_sample.fold(policy, None, DistributionTick(1.0, past_candidate, past_stable, ordered))
    shares, mean = np.array(weights) / sum(weights), 0.0
    for c in _ways(candidate, 3):
        for s in _ways(stable, 3):
            p = stats.multinomial(candidate, shares).pmf(c) * stats.multinomial(stable, shares).pmf(s)
            after = two_sample.fold(policy, before, DistributionTick(2.0, c, s, ordered))
            mean += p * math.exp(after.different.log_e - before.different.log_e)
    assert mean <= 1.0 + ROUNDING


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.tuples(*[st.floats(0.05, 1.0)] * 3), st.integers(1, 3))
def test_the_mean_of_drift_evidence_is_at_most_one_while_categories_are_found(
    past_candidate: int, past_stable: int, weights: tuple[float, ...], candidate: int
) -> None:
    """Two ticks: which categories there are, and what they are called in the second, depends on who answered what."""
    policy = Policy("prediction", Severity.MAJOR, expected_ticks=1)
    known = DistributionTick(1.0, (past_candidate,), (past_stable,), categories=("a",))
    shares, laws = np.array(weights) / sum(weights), []
    for c in _ways(candidate, 3):
        for s in _ways(2, 3):
            p = stats.multinomial(candidate, shares).pmf(c) * stats.multinomial(2, shares).pmf(s)
            seen = [index for index in range(3) if c[index] + s[index]]
            one, other = (tuple(arm[index] for index in seen) for arm in (c, s))
            laws.append((p, DistributionTick(2.0, one, other, categories=tuple("abc"[index] for index in seen))))
    mean = 0.0
    begun = two_sample.fold(policy, two_sample.fold(policy, None, known), replace(known, at=1.5))
    for p, first in laws:
        after = two_sample.fold(policy, begun, first)
        for q, second in laws:
            last = two_sample.fold(policy, after, replace(second, at=3.0))
            mean += p * q * math.exp(last.different.log_e - begun.different.log_e)
    assert mean <= 1.0 + ROUNDING


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 99))
def test_the_mean_of_split_evidence_is_one(requests: int, weight: int) -> None:
    weights, law = np.array([100.0 - weight, float(weight)]), stats.binom(requests, weight / 100.0)
    seen = [np.array([float(requests - x), float(x)]) for x in range(requests + 1)]
    states = [Split(1.0, weights, counts, 0.0, np.zeros(2)) for counts in seen]
    mean = sum(float(law.pmf(x)) * math.exp(split_log_e(state)) for x, state in enumerate(states))
    assert abs(mean - 1.0) <= ROUNDING


def _ways(total: int, parts: int) -> list[tuple[int, ...]]:
    return [way for way in itertools.product(range(total + 1), repeat=parts) if sum(way) == total]
