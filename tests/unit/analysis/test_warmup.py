"""What is left out while pods warm up, what counts all the same, and that it does not go on for ever."""

from dataclasses import replace

import numpy as np
import pytest

from serin.analysis.types import HistogramTick, Judgement, Policy
from serin.analysis.warmup import WarmUp, leave_out
from serin.api.conditions import Reason
from serin.api.verdicts import Against, Severity, Verdict
from tests.unit.analysis.ticks import LATENCY, PYTHON_BUCKETS, aged, feed, latencies, latency

NEVER = -1e9
POLICY = replace(LATENCY, warmup=30.0)
LIMIT = Policy("latency", Severity.MAJOR, against=Against.LIMIT, limit=0.5, warmup=30.0)


def rollout(
    times: float, seconds: float, *, ready: float = NEVER, start: float = 0.0, requests: int = 25, seed: int = 1
) -> list[HistogramTick]:
    """A tick every 5 s; `ready`: of the newest pod."""
    rng = np.random.default_rng(seed)
    ticks = []
    for place in range(int(seconds / 5)):
        since = start + 5.0 * place
        counts = latencies(rng, requests, 0.1 * times), latencies(rng, 9 * requests)
        ticks.append(aged(latency(since + 5.0, *counts), since, ready))
    return ticks


def test_a_cold_start_that_is_over_in_time_is_no_failure() -> None:
    cold, warm = rollout(2.0, 30), rollout(1.0, 60, start=30.0, seed=2)
    verdict = feed(POLICY, cold).verdict
    assert (verdict.verdict, verdict.reason, verdict.requests) == (Verdict.INCONCLUSIVE, Reason.WARMING_UP, 0)
    assert "the first 30s of a pod do not count for latency (150 were left out)" in verdict.message.replace(
        " candidate requests", ""
    )
    assert feed(POLICY, cold + warm).verdict.verdict is Verdict.PASS
    assert feed(LATENCY, cold).verdict.verdict is Verdict.FAIL_MINOR  # it is the warm-up that makes the difference


def test_twice_as_slow_after_the_warm_up_is_a_failure() -> None:
    assert feed(POLICY, rollout(2.0, 45)).verdict.verdict is Verdict.FAIL_MINOR


def test_many_times_slower_is_caught_in_the_warm_up() -> None:
    verdict = feed(POLICY, rollout(10.0, 10)).verdict
    assert (verdict.verdict, verdict.reason) == (Verdict.FAIL_MINOR, Reason.WORSE_THAN_STABLE)
    assert "slower than stable by more than 400% and 100 ms, which no warm-up explains" in verdict.message


def test_what_is_let_pass_beyond_a_slow_pod_of_stables_is_what_the_message_says() -> None:
    """5 times, 1.5 times: one that is 12 times slower is no cold start."""
    verdict = feed(replace(POLICY, slowest_pod=1.5), rollout(12.0, 10)).verdict
    assert verdict.verdict is Verdict.FAIL_MINOR
    assert "by more than 400% and 100 ms beyond the 1.5 times that one of stable's own pods took" in verdict.message


def test_a_pod_that_begins_later_is_left_out_too() -> None:
    before, cold = rollout(1.0, 60), rollout(2.0, 30, start=60.0, ready=60.0, seed=2)
    after = feed(POLICY, before + cold)
    assert after.verdict.verdict is Verdict.PASS
    assert after.verdict.at == 60.0  # of the newest tick that counted: nothing of these 30 s is proof for a step
    assert after.evidence["at"] == 90.0


def test_what_is_no_time_has_no_warm_up() -> None:
    ticks = [replace(one, unit="") for one in rollout(2.0, 20)]
    assert feed(POLICY, ticks).verdict.verdict is Verdict.FAIL_MINOR


def judged(times: float, limit: Policy) -> Judgement:
    return feed(limit, rollout(times, 25))


def test_a_limit_leaves_the_warm_up_out_as_well_and_catches_what_is_far_over_it() -> None:
    assert judged(3.0, LIMIT).verdict.reason is Reason.WARMING_UP
    assert judged(3.0, replace(LIMIT, warmup=0.0)).verdict.verdict is Verdict.FAIL_MINOR
    far = judged(60.0, LIMIT).verdict
    assert (far.verdict, far.reason) == (Verdict.FAIL_MINOR, Reason.OVER_LIMIT)
    assert "5 times the limit, which no warm-up explains" in far.message


def test_of_a_limit_too_what_is_left_out_is_no_proof_for_a_step() -> None:
    before, cold = rollout(1.0, 60), rollout(1.0, 30, start=60.0, ready=60.0, seed=2)
    after = feed(LIMIT, before + cold)
    assert (after.verdict.at, after.evidence["at"]) == (60.0, 90.0)
    warm = feed(LIMIT, rollout(1.0, 5, start=90.0, ready=60.0), after.evidence)
    assert warm.verdict.at == 95.0


@pytest.mark.parametrize("every", [5.0, 20.0, 60.0])
def test_a_pod_that_restarts_again_and_again_blinds_for_half_of_the_time_at_most(every: float) -> None:
    state, left_out, counted = WarmUp(), 0.0, 0.0
    for place in range(720):
        since = 5.0 * place
        tick = aged(HistogramTick(since + 5.0, PYTHON_BUCKETS, (5,) * 15, (45,) * 15), since, since - since % every)
        state, cold = leave_out(POLICY, state, tick)
        left_out, counted = (left_out + 5.0, counted) if cold else (left_out, counted + 5.0)
    assert counted >= 1800 - 2 * 30.0 - 5.0
    assert left_out > 600


def test_the_first_traffic_of_a_pod_that_has_long_been_ready_is_cold() -> None:
    """After a pause before the first weight, for example: the pod is an hour old and has never had a request."""
    idle = [aged(latency(1000.0, (0,) * 15, (30,) * 15), 995.0, 0.0)]
    assert feed(POLICY, idle + rollout(2.0, 25, start=1000.0)).verdict.verdict is not Verdict.FAIL_MINOR


@pytest.mark.parametrize("seed", range(5))
def test_twice_as_slow_in_the_warm_up_is_never_many_times_slower(seed: int) -> None:
    verdict = feed(POLICY, rollout(2.5, 30, requests=50, seed=seed)).verdict
    assert verdict.reason is Reason.WARMING_UP
