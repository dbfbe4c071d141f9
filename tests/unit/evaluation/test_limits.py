"""Limits of what serves: what is proven in a window, what is forgotten, and what silence says."""

from dataclasses import replace

import pytest

from serin.analysis.types import Arm, HistogramTick, NoData, RatioTick, Tick, ValueTick
from serin.api.conditions import Reason
from serin.api.parse import parse_spec
from serin.api.spec import ModelDeploymentSpec
from serin.api.state import LimitWatch
from serin.api.verdicts import Trouble, Verdict
from serin.evaluation.limits import Limits, diagnose_limits, judge_limits, question
from serin.evaluation.samples import Sample, Samples, Subject
from tests.narratives.limits import QUEUE, RECALL, limited

BEGUN = 1_700_000_000.0
LATENCY = {
    "name": "latency",
    "template": {"name": "request-latency"},
    "severity": "major",
    "against": "limit",
    "limit": "250",
}


class Watched:
    """One version, minute by minute."""

    def __init__(self, metric: dict[str, object]) -> None:
        self.spec: ModelDeploymentSpec = parse_spec(limited("1", metric))
        self.name = str(metric["name"])
        self.now, self.kept = BEGUN, LimitWatch(BEGUN, question(self.spec))
        self.found = Limits()

    def look(self, tick: Tick, ready: float = 0.0) -> Verdict:
        self.now = tick.at or self.now
        subject = Subject("fraud-a", None, BEGUN, self.kept.evidence, limits=True)
        samples = Samples({(subject.snapshot, self.name): Sample(tick, self.now - 60.0)}, 60.0)
        self.found = judge_limits(self.spec, self.kept, subject, samples, ready, self.now)
        self.kept = replace(self.kept, evidence=self.found.evidence)
        return self.found.judged[self.name].verdict.verdict

    def counts(self, bad: int, requests: int = 1_000) -> Verdict:
        self.now += 60.0
        return self.look(RatioTick(self.now, Arm(requests, bad), Arm(0, 0)))

    @property
    def message(self) -> str:
        return self.found.judged[self.name].verdict.message


def test_a_share_over_the_limit_is_proven_and_named() -> None:
    watched = Watched(RECALL)
    assert watched.counts(300) is Verdict.FAIL_MINOR
    assert watched.message == "30.0% of stable's requests failed (300 of 1,000), the limit is 10.0%"


def test_a_few_bad_requests_prove_nothing() -> None:
    assert Watched(RECALL).counts(1, requests=2) is Verdict.INCONCLUSIVE


def test_what_only_informs_names_no_trouble() -> None:
    """Neither a rollback nor a retraining is begun for it."""
    watched = Watched({**RECALL, "severity": "info"})
    assert watched.counts(300) is Verdict.FAIL_MINOR
    assert diagnose_limits(watched.found, ()).trouble is Trouble.NONE
    assert diagnose_limits(replace(watched.found, moved=("missed",)), ()).trouble is Trouble.NONE


def test_a_dip_that_the_window_outweighs_is_none() -> None:
    watched = Watched(RECALL)
    for _ in range(5):
        watched.counts(20)
    assert watched.counts(300) is Verdict.INCONCLUSIVE, "6.7% of the window"
    assert [watched.counts(300) for _ in range(2)][-1] is Verdict.FAIL_MINOR, "13% of it"


def test_a_window_forgets_what_was_before() -> None:
    watched = Watched(RECALL)  # 10 minutes
    for _ in range(9):
        assert watched.counts(300) is Verdict.FAIL_MINOR
    assert watched.counts(20) is not Verdict.FAIL_MINOR, "the eleventh minute begins another window"
    assert watched.found.judged["missed"].verdict.requests == 1_000
    assert watched.counts(20) is Verdict.PASS


def test_silence_is_no_breach_even_after_one() -> None:
    watched = Watched(RECALL)
    watched.counts(300)
    before = watched.kept.evidence
    assert watched.look(NoData(Reason.TARGET_DOWN, "no target could be scraped")) is Verdict.NO_DATA
    assert watched.kept.evidence == before
    assert diagnose_limits(watched.found, ()).trouble is Trouble.INFRASTRUCTURE
    assert watched.counts(300) is Verdict.FAIL_MINOR


@pytest.mark.parametrize(("minutes", "said"), [(2, Verdict.INCONCLUSIVE), (3, Verdict.FAIL_MINOR)])
def test_a_value_must_stay_outside(minutes: int, said: Verdict) -> None:
    watched = Watched(QUEUE)  # for: 3m
    for minute in range(minutes):
        found = watched.look(ValueTick(BEGUN + 60.0 * (minute + 1), 80.0))
    assert found is said
    assert watched.look(ValueTick(BEGUN + 3600.0, 10.0)) is Verdict.PASS, "and is well again as soon as it is back"


def test_times_have_a_limit_that_one_in_a_hundred_may_pass() -> None:
    watched = Watched(LATENCY)
    bounds = (100.0, 250.0, 500.0)
    assert (
        watched.look(HistogramTick(BEGUN + 60.0, bounds, (900, 95, 3, 2), (0, 0, 0, 0), "ms")) is not Verdict.FAIL_MINOR
    )
    assert (
        watched.look(HistogramTick(BEGUN + 120.0, bounds, (500, 300, 150, 50), (0, 0, 0, 0), "ms"))
        is Verdict.FAIL_MINOR
    )


def test_new_pods_may_be_slow_at_first() -> None:
    cold = HistogramTick(BEGUN + 60.0, (100.0, 250.0, 500.0), (500, 300, 150, 50), (0, 0, 0, 0), "ms")
    assert Watched(LATENCY).look(cold, ready=BEGUN + 50.0) is not Verdict.FAIL_MINOR
    for ready, said in ((BEGUN + 590.0, Verdict.INCONCLUSIVE), (BEGUN, Verdict.FAIL_MINOR)):
        watched = Watched(LATENCY)
        watched.look(replace(cold, candidate=(1, 0, 0, 0)))
        assert watched.look(replace(cold, at=BEGUN + 600.0), ready=ready) is said


def test_what_is_asked_is_another_question_when_any_limit_is() -> None:
    asked = {question(parse_spec(limited("1", {**RECALL, **one}))) for one in ({}, {"limit": "0.2"}, {"window": "24h"})}
    assert len(asked) == 3
    bounds = ({}, {"max": "60"}, {"min": "1"})
    values = [{**QUEUE, "value": {**QUEUE["value"], **one}} for one in bounds] + [{**QUEUE, "for": "4m"}]
    assert len({question(parse_spec(limited("1", one))) for one in values}) == 4
    assert question(parse_spec({**limited("1"), "replicas": 9})) == question(parse_spec(limited("2")))


def test_nothing_is_watched_that_is_compared_or_not_asked_for() -> None:
    spec = parse_spec(limited("1", RECALL, QUEUE))
    assert [one.name for one in spec.watched] == ["missed", "queue"]
    unwatched = {key: one for key, one in limited("1").items() if key != "watch"}
    assert parse_spec(unwatched).watched == ()
