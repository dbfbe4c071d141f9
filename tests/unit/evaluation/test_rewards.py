"""One tick of all arms of a bandit: what is counted together, what waits, and what is left out."""

from dataclasses import replace

import pytest

from serin.analysis.types import Arm as Counts
from serin.analysis.types import MeanTick, Moments, NoData, RatioTick
from serin.api.conditions import Reason
from serin.api.split import Split
from serin.api.state import Arm, Rollout, StageState, Standing
from serin.evaluation.rewards import AskedReward, Rewards, judge_rewards
from serin.evaluation.samples import Key, Sample

ASKED = AskedReward("clicks")
SPLIT = Split({"a": 50, "b": 25, "c": 25})
ROLLOUT = Rollout("a", (Arm("b"), Arm("c")), 0.0, StageState(since=10.0, entered=10.0))
STABLE = Counts(500, 50)


def sample(at: float, since: float, requests: int = 250, rewarded: int = 25, stable: Counts = STABLE) -> Sample:
    return Sample(RatioTick(at, Counts(requests, rewarded), stable), since)


def judged(newest: dict[Key, Sample], rollout: Rollout = ROLLOUT, asked: AskedReward = ASKED) -> Rewards:
    return judge_rewards(asked, rollout, SPLIT, newest)


def both(b: Sample, c: Sample) -> dict[Key, Sample]:
    return {("b", "clicks"): b, ("c", "clicks"): c}


def test_all_arms_are_one_tick_up_to_the_latest_scrape() -> None:
    found = judged(both(sample(20.0, 10.0, rewarded=50), sample(22.0, 10.0)))
    assert [one.requests for one in found.arms.values()] == [500, 250, 250]
    assert found.arms["b"].chance > found.arms["c"].chance
    assert found.at == 22.0


def kept(found: Rewards) -> Rollout:
    """The rollout with what is to be kept."""
    arms = tuple(replace(one, evidence=found.counted(one.snapshot)) for one in ROLLOUT.arms)
    return replace(ROLLOUT, arms=arms, evidence=found.evidence)


def test_the_same_samples_again_count_nothing() -> None:
    newest = both(sample(20.0, 10.0), sample(22.0, 10.0))
    first = judged(newest)
    again = judged(newest, kept(first))
    assert (again.evidence, again.until) == (first.evidence, first.until)


def test_each_arm_goes_on_where_its_own_scrape_was() -> None:
    first = judged(both(sample(20.0, 10.0), sample(22.0, 10.0)))
    assert first.until == {"b": 20.0, "c": 22.0}
    found = judged(both(sample(30.0, 20.0), sample(32.0, 22.0)), kept(first))
    assert [one.requests for one in found.arms.values()] == [1000, 500, 500]


@pytest.mark.parametrize("other", [sample(25.0, 10.0, stable=Counts(700, 70)), sample(20.0, 15.0, stable=Counts(9, 1))])
def test_what_one_arm_has_not_of_the_same_time_waits_for_it(other: Sample) -> None:
    assert judged({("b", "clicks"): sample(20.0, 10.0)}).evidence == {}
    found = judged(both(sample(20.0, 10.0), other))
    assert (found.evidence, found.until, found.missing) == ({}, {}, None)


def test_an_arm_without_data_freezes_all_and_says_why() -> None:
    away = Sample(NoData(Reason.SERIES_ABSENT, "c has no series", 20.0), 10.0)
    found = judged(both(sample(20.0, 10.0), away))
    assert found.evidence == {}
    assert found.missing is not None
    assert [found.verdict(one).message for one in "bc"] == ["c has no series"] * 2


def test_an_arm_that_is_out_or_has_no_traffic_is_not_waited_for() -> None:
    out = replace(ROLLOUT, arms=(Arm("b"), Arm("c", standing=Standing.ELIMINATED)))
    found = judged({("b", "clicks"): sample(20.0, 10.0)}, out)
    assert [one.requests for one in found.arms.values()] == [500, 250, 0]
    assert found.arms["c"].chance == 0.0
    assert found.until["c"] == 20.0, "or it would bring a longer time with it"


@pytest.mark.parametrize(("since", "counted"), [(39.0, 0), (40.0, 500)])
def test_labels_of_requests_from_before_are_left_out(since: float, counted: int) -> None:
    newest = both(sample(50.0, since), sample(50.0, since))
    found = judged(newest, asked=AskedReward("clicks", label_delay=30.0))
    assert found.arms["a"].requests == counted
    assert found.at == 50.0, "counting goes on from here"


def test_no_ratio_is_no_reward() -> None:
    mean = Sample(MeanTick(20.0, Moments(1, 1.0), Moments(1, 1.0)), 10.0)
    found = judged(both(sample(20.0, 10.0), mean))
    assert found.missing is not None
    assert "a reward is a ratio" in found.missing.message


def test_counts_that_do_not_add_up_are_said_and_not_counted() -> None:
    found = judged(both(sample(20.0, 10.0, requests=5, rewarded=6), sample(20.0, 10.0)))
    assert found.missing is not None
    assert found.evidence == {}


def test_the_winner_needs_enough_requests_of_every_arm() -> None:
    newest = both(sample(20.0, 10.0, 5_000, 1_000, Counts(9_000, 900)), sample(20.0, 10.0, 900, 90, Counts(9_000, 900)))
    assert judged(newest).winner == ""
    assert judged(newest, asked=AskedReward("clicks", min_requests=900)).winner == "b"
    verdict = judged(newest, asked=AskedReward("clicks", min_requests=900)).verdict("b")
    assert (verdict.reason, verdict.estimate) == (Reason.BEST_ARM, pytest.approx(2.0))
