"""The formulas for the start of a rollout, compared with simulated rollouts, and the sentences made of them."""

import time
from dataclasses import replace

import pytest

from serin.analysis.feasibility import assess, requests_until_pass, shortfall, smallest_seen
from serin.analysis.power import requests_to_catch
from serin.analysis.rehearsal import ratio, rehearse
from serin.analysis.traffic import Stage, Traffic
from serin.analysis.types import Policy
from serin.api.verdicts import Against, Severity

ERRORS = Policy("errors", Severity.CRITICAL, overdispersion=2.0, expected_ticks=60)
LIMIT = replace(ERRORS, against=Against.LIMIT, limit=0.05)
STEPS = (Stage(1, 5, 300.0), Stage(2, 25, 600.0), Stage(3, 50, 600.0))


@pytest.mark.parametrize(
    ("policy", "bad", "weight"),
    [(ERRORS, 0.01, 5), (ERRORS, 0.01, 50), (ERRORS, 0.0, 10), (ERRORS, 0.05, 10), (LIMIT, 0.01, 10)],
)
def test_a_pass_takes_as_long_as_in_simulated_rollouts(policy: Policy, bad: float, weight: int) -> None:
    """To a half: the formulas are a normal approximation, and looks come at intervals."""
    formula = requests_until_pass(policy, bad, weight / 100)
    rate = formula / 900.0 / (weight / 100)  # so that it takes a quarter of an hour
    healthy = replace(ratio(policy, Traffic(rate, bad)), troubles={})
    [passing] = rehearse([healthy], [Stage(1, weight, 10.0)], 10.0, runs=60).passing
    assert 600.0 <= passing.seconds.median <= 1350.0


@pytest.mark.more
@pytest.mark.parametrize(("factor", "weight"), [(2.0, 10), (5.0, 10), (5.0, 5)])
def test_what_begins_with_the_rollout_is_caught_as_soon_as_in_simulated_rollouts(factor: float, weight: int) -> None:
    odds = factor * 0.01 / (1.0 - factor * 0.01) / (0.01 / 0.99)
    median, most = (requests_to_catch(ERRORS, 0.01, weight / 100, odds, power) for power in (0.5, 0.95))
    rate = median / 900.0 / (weight / 100)
    bake = 3600.0
    answer = rehearse([ratio(ERRORS, Traffic(rate, 0.01))], [Stage(1, weight, bake)], 10.0, runs=60)
    [found] = [one for one in answer.sights if one.trouble == f"a {factor:g}x increase"]
    assert found.requests.median == pytest.approx(median, rel=0.4)
    assert found.requests.high == pytest.approx(most, rel=0.5)


def test_the_bake_sees_what_simulated_bakes_see() -> None:
    smallest = smallest_seen(ERRORS, 0.01, 0.1, 3000.0)
    answer = rehearse([ratio(ERRORS, Traffic(50.0, 0.01))], [Stage(1, 10, 600.0)], 10.0, runs=60)
    seen = {one.trouble for one in answer.sights if one.seen}
    assert smallest in (2.0, 3.0)
    assert "a 5x increase" in seen
    assert ("a 2x increase" in seen) == (smallest == 2.0)


def test_too_little_traffic_is_said_in_one_sentence() -> None:
    low, message = shortfall(assess([ERRORS], {"errors": Traffic(0.4, 0.01)}, STEPS), None)
    assert low
    assert message == (
        "at 0.4 requests/s step 1 (5% for 5m) gathers 6 candidate requests; errors takes about 1,100 to pass, 15h50m: "
        "raise the weight, lengthen the bake, or raise analysis.minimumDetectableEffect"
    )


def test_enough_traffic_is_said_with_the_time_that_it_takes() -> None:
    low, message = shortfall(assess([ERRORS], {"errors": Traffic(500.0, 0.01)}, STEPS), None)
    assert (low, message) == (
        False,
        "at 500 requests/s the steps are expected to take about 25m (25m if no step has to wait for requests)",
    )


def test_it_is_too_little_once_the_rollout_takes_more_than_twice_as_long() -> None:
    def low(rate: float) -> bool:
        return shortfall(assess([ERRORS], {"errors": Traffic(rate, 0.01)}, STEPS), None)[0]

    needed = requests_until_pass(ERRORS, 0.01, 0.05)
    exactly = needed / 0.05 / (1500.0 + 300.0)  # requests/s at which step 1 takes all bakes longer than it says
    assert (low(1.05 * exactly), low(0.95 * exactly)) == (False, True)


def test_max_duration_counts() -> None:
    found = assess([ERRORS], {"errors": Traffic(40.0, 0.01)}, STEPS)
    assert not shortfall(found, None)[0]
    low, message = shortfall(found, 1510.0)
    assert low
    assert "(maxDuration is 25m10s)" in message


def test_nobody_sends_requests() -> None:
    low, message = shortfall(assess([ERRORS], {"errors": Traffic(0.0, 0.0)}, STEPS), None)
    assert low
    assert message == "nobody sends requests: step 1 (5% for 5m) gathers none, and without any errors cannot pass"


def test_a_step_that_leaves_stable_nothing_proves_nothing() -> None:
    failing = Traffic(50.0, 0.05)
    low, message = shortfall(assess([ERRORS], {"errors": failing}, [Stage(1, 100, 600.0)]), None)
    assert low
    assert message.endswith("no number of them lets errors pass: leave stable more of the traffic")


def test_the_metric_that_needs_most_decides() -> None:
    rare = replace(ERRORS, metric="rare")
    found = assess([ERRORS, rare], {"errors": Traffic(50.0, 0.01), "rare": Traffic(0.5, 0.01)}, STEPS)
    assert [one.metric for one in found][:1] == ["rare"]
    assert assess([rare], {"errors": Traffic(50.0, 0.01)}, STEPS) == ()


def test_min_requests_of_later_steps_count() -> None:
    steps = (*STEPS[:2], replace(STEPS[2], min_requests=100_000))
    found = assess([ERRORS], {"errors": Traffic(50.0, 0.01)}, steps)
    assert found[2].seconds == 4000.0
    assert "step 3 (50% for 10m) gathers 15,000" in shortfall(found, 3600.0)[1]


def test_it_costs_microseconds() -> None:
    """It runs in the operator at every look at a rollout."""
    started = time.process_time()
    for _ in range(100):
        shortfall(assess([ERRORS], {"errors": Traffic(0.4, 0.01)}, STEPS), None)
    assert (time.process_time() - started) / 100 < 0.002


def test_copies_take_nothing_from_stable() -> None:
    copies, weight = Stage(1, 20, 600.0, copies=True), Stage(1, 20, 600.0)
    assert (copies.share, copies.stable_share, copies.part) == (0.2, 1.0, pytest.approx(1 / 6))
    assert (weight.share, weight.stable_share, weight.part) == (0.2, 0.8, 0.2)
    policy, traffic = replace(ERRORS, overdispersion=1.0), {"errors": Traffic(40.0, 0.01)}
    [by_copies], [by_weight] = assess([policy], traffic, [copies]), assess([policy], traffic, [weight])
    assert by_copies.gathered == by_weight.gathered == 40.0 * 0.2 * 600.0
    assert by_copies.needed <= by_weight.needed, "stable has more requests to compare with"


def test_everything_can_be_copied() -> None:
    [found] = assess([ERRORS], {"errors": Traffic(4.0, 0.01)}, [Stage(1, 100, 600.0, copies=True)])
    assert found.gathered == 4.0 * 600.0
    assert 0.0 < found.needed < 10_000.0
    low, message = shortfall([found], None)
    assert not low or "copies of 100% for 10m" in message


def test_a_simulated_stable_answers_what_is_copied() -> None:
    healthy = replace(ratio(replace(ERRORS, overdispersion=1.0), Traffic(50.0, 0.01)), troubles={})
    answer = rehearse([healthy], [Stage(1, 100, 60.0, copies=True)], 10.0, runs=10)
    [passing] = answer.passing
    assert passing.seconds.high < 3600.0
