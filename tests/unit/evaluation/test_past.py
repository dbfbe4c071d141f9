"""Which windows of the past are read, and when."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from serin.analysis.types import Arm, PastTick, RatioTick, Stretch
from serin.api.parse import parse_spec
from serin.api.spec import Metric, RatioQuery
from serin.api.split import all_to, between
from serin.api.state import Arm as UnderEvaluation
from serin.api.state import LimitWatch, Measuring, Rollout, State
from serin.api.verdicts import Against, Severity, Verdict
from serin.evaluation.limits import Limits, judge_limits, question, says_that_the_data_drifted
from serin.evaluation.past import DAY, HOUR, PARTS, WEEK, not_yet, past_request
from serin.evaluation.samples import Sample, Samples, Subject, requests
from tests.narratives.limits import RECALL, limited
from tests.narratives.pasts import HISTORY

MONDAY = datetime(2023, 11, 13, tzinfo=UTC).timestamp()
PROMOTED = MONDAY - 10 * DAY
METRIC = Metric("missed", RatioQuery("a", "b"), Severity.MAJOR, Against.HISTORY)


def test_history_is_this_hour_of_the_past_four_weeks() -> None:
    now = MONDAY + 9 * HOUR + 1_234.0
    asked = past_request(METRIC, None, PROMOTED, now)
    assert asked
    assert (asked.window, asked.length, asked.own) == (HOUR, HOUR, False)
    ends = sorted({(end - MONDAY) % WEEK / HOUR for end in asked.moments})
    assert ends == [8.0, 9.0, 10.0, 11.0], "the present window ends between 9 and 10 o'clock"
    assert len(asked.moments) == len({*asked.moments}) == 16
    assert max(asked.moments) < now - WEEK + 2 * HOUR


def test_the_day_before_is_read_around_the_same_hour() -> None:
    now = MONDAY + 9 * HOUR + 1_234.0
    asked = past_request(replace(METRIC, against=Against.DAY), None, PROMOTED, now)
    assert asked
    assert (asked.window, asked.length, asked.own) == (HOUR, HOUR, False)
    assert sorted((end - MONDAY) / HOUR + 24 for end in asked.moments) == [6, 7, 8, 9, 10, 11, 12, 13]


def test_no_version_is_judged_by_the_day_before() -> None:
    """In a rollout, and while what serves is measured for its record, nobody asks for it."""
    spec = parse_spec(limited("1", {**HISTORY, "against": "day", "severity": "minor"}))
    rollout = Rollout("fraud-a", (UnderEvaluation("fraud-b"),), since=MONDAY)
    assert [one.name for one in spec.of_versions] == [one.name for one in spec.metrics if one.name != "missed"]
    for state in (
        State(stable="fraud-a", rollout=rollout, split=between("fraud-a", "fraud-b", 10)),
        State(stable="fraud-a", split=all_to("fraud-a"), measuring=Measuring(MONDAY, MONDAY)),
    ):
        asked = requests(state, spec.metrics, {}, request_template="", settled_at=None, now=MONDAY, questions={})
        names = {one.metric.name for one in asked}
        assert names
        assert "missed" not in names


def test_deployments_ask_for_the_same_moments_whenever_they_were_promoted() -> None:
    first, second = (past_request(METRIC, None, PROMOTED - one, MONDAY + one) for one in (0.0, 1_800.0))
    assert first
    assert second
    assert first == second


def test_the_first_day_is_read_in_parts_once_it_is_over() -> None:
    metric = replace(METRIC, against=Against.SNAPSHOT, window=DAY)
    assert past_request(metric, None, PROMOTED, PROMOTED + DAY - 1) is None
    asked = past_request(metric, None, PROMOTED, PROMOTED + DAY)
    assert asked
    assert (asked.window, asked.own, len(asked.moments)) == (DAY, True, PARTS)
    assert (min(asked.moments) - asked.length, max(asked.moments)) == (PROMOTED, PROMOTED + DAY)


@pytest.mark.parametrize(
    ("against", "hours", "points", "reads"),
    [
        (Against.HISTORY, 0, 12.0, False),
        (Against.HISTORY, 1, 12.0, True),
        (Against.HISTORY, 0, 2.0, False),
        (Against.SNAPSHOT, 30, 12.0, False),
        (Against.SNAPSHOT, 0, 2.0, False),
        (Against.SNAPSHOT, 1, 2.0, True),
    ],
)
def test_the_past_is_read_once_an_hour_and_the_first_day_once(
    against: Against, hours: int, points: float, reads: bool
) -> None:
    metric = replace(METRIC, against=against)
    evidence = {"at": MONDAY + 600.0, "slot": MONDAY, "past": [0.02, 0.001, points]}
    asked = past_request(metric, evidence, PROMOTED, MONDAY + hours * HOUR + 1_200.0)
    assert asked
    assert bool(asked.moments) is reads


@pytest.mark.parametrize(("window", "seconds"), [(HOUR, 60.0), (DAY, 24 * 60.0)])
def test_a_window_is_read_sixty_times_in_its_length(window: float, seconds: float) -> None:
    metric = replace(METRIC, window=window)
    evidence = {"at": MONDAY, "slot": MONDAY, "past": [0.02, 0.001, 12.0]}
    assert past_request(metric, evidence, PROMOTED, MONDAY + seconds - 1.0) is None
    assert past_request(metric, evidence, PROMOTED, MONDAY + seconds)


def test_a_window_that_ends_in_the_future_is_read_again() -> None:
    """The clock was set back since."""
    evidence = {"at": MONDAY + 3 * DAY, "slot": MONDAY, "past": [0.02, 0.001, 12.0]}
    assert past_request(METRIC, evidence, PROMOTED, MONDAY)


def test_the_first_day_is_known_by_the_hour_in_which_it_was_read() -> None:
    metric = replace(METRIC, against=Against.SNAPSHOT)
    evidence = {"at": MONDAY, "slot": MONDAY, "past": [0.02, 0.001, 12.0]}
    asked = past_request(metric, evidence, PROMOTED, MONDAY + 5 * HOUR)
    assert asked
    assert asked.slot == MONDAY


def test_what_was_usual_is_no_limit_that_other_versions_were_held_to() -> None:
    assert Limits().allowed(replace(METRIC, limit=1.5)) is None
    assert Limits().allowed(replace(METRIC, against=Against.LIMIT, limit=0.1)) == 0.1


def test_what_is_not_known_yet_says_when_it_is() -> None:
    assert not_yet(METRIC, MONDAY, MONDAY + 60.0) == "its window of 1h is full at 2023-11-13T01:00:00Z"
    first = replace(METRIC, against=Against.SNAPSHOT)
    assert not_yet(first, MONDAY, MONDAY + DAY - 1.0).endswith("is over at 2023-11-14T00:00:00Z")
    assert not_yet(first, MONDAY, MONDAY + DAY) == ""


@pytest.mark.parametrize(
    ("against", "new", "moved"),
    [
        (Against.HISTORY, True, False),
        (Against.HISTORY, False, True),
        (Against.SNAPSHOT, True, True),
        (Against.DAY, True, True),
        (Against.REFERENCE, True, True),
        (Against.LIMIT, False, False),
    ],
)
def test_who_is_to_blame_for_a_breach(against: Against, new: bool, moved: bool) -> None:
    assert says_that_the_data_drifted(replace(METRIC, against=against), new=new) is moved


def test_labels_that_come_late_begin_to_count_when_they_have_come() -> None:
    spec = parse_spec(limited("1", {**RECALL, "labelDelay": "1h"}))
    limits = LimitWatch(MONDAY + 600.0, question(spec))
    state = State(stable="fraud-a", stable_since=MONDAY, limits=limits)

    def asked(now: float) -> list[float]:
        found = requests(state, spec.metrics, {}, request_template="", settled_at=None, now=now, questions={})
        return [one.since for one in found]

    assert asked(MONDAY + HOUR - 1.0) == []
    assert asked(MONDAY + 2 * HOUR) == [MONDAY + HOUR], "since an hour after the promotion, not after the watch began"


def test_a_metric_against_the_past_is_judged_by_its_own_window_beside_others() -> None:
    spec = parse_spec(limited("1", HISTORY, {**RECALL, "name": "other"}))
    limits, now = LimitWatch(MONDAY, question(spec)), MONDAY + HOUR
    subject = Subject("fraud-a", None, MONDAY, {}, limits=True, promoted=MONDAY)
    earlier = tuple(Stretch(10_000, 0.02, 1.0) for _ in range(16))
    past = PastTick(now, Stretch(10_000, 0.05, 1.0), now, earlier, "share")
    ticks = {"missed": past, "other": RatioTick(now, Arm(1_000, 10), Arm(0, 0))}
    samples = Samples({("fraud-a", name): Sample(tick, now - 60.0) for name, tick in ticks.items()}, 60.0)
    found = judge_limits(spec, limits, subject, samples, 0.0, now)
    assert found.judged["missed"].verdict.verdict is Verdict.FAIL_MINOR
    assert found.judged["other"].verdict.verdict is Verdict.PASS
    early = judge_limits(spec, limits, subject, Samples({}, 60.0), 0.0, MONDAY + 60.0)
    assert early.judged["missed"].verdict.message == "its window of 10m is full at 2023-11-13T00:10:00Z"
    known = replace(subject, evidence=found.evidence)
    again = judge_limits(spec, limits, known, Samples({}, 60.0), 0.0, MONDAY + 60.0)
    assert again.judged["missed"].verdict.verdict is Verdict.FAIL_MINOR, "what was found stays"


def test_what_is_asked_of_the_past_is_another_question_when_any_of_it_is() -> None:
    changes = ({}, {"minCoverage": "0.5"}, {"for": "1h"}, {"labelDelay": "1h"}, {"against": "snapshot"})
    assert len({question(parse_spec(limited("1", {**HISTORY, **one}))) for one in changes}) == len(changes)
