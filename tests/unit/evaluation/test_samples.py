"""From where on is counted, and what is counted once: also beside evidence that somebody has edited."""

from dataclasses import replace
from typing import Any

import pytest

from serin.analysis.types import Arm as Counts
from serin.analysis.types import RatioTick
from serin.api.parse import parse_spec
from serin.api.split import between
from serin.api.state import Arm, LimitWatch, Rollout, State
from serin.api.verdicts import Verdict
from serin.evaluation.limits import judge_limits, question
from serin.evaluation.samples import Sample, SampleRequest, Samples, requests, subjects, uncounted
from tests.narratives.limits import RECALL, limited
from tests.narratives.world import spec

BEGUN = 1_700_000_000.0
EDITED = ["x", "", {}, [1], True, None, "1700000000"]


def under_judgement(evidence: dict[str, Any]) -> State:
    rollout = Rollout("fraud-a", (Arm("fraud-b", {"errors": evidence}),), since=BEGUN)
    return State(stable="fraud-a", rollout=rollout, split=between("fraud-a", "fraud-b", 5))


def asked(state: State) -> SampleRequest:
    metrics = parse_spec(spec()).metrics
    [found] = requests(
        state, metrics, {}, request_template="request-errors", settled_at=None, now=BEGUN + 60.0, questions={}
    )
    return found


@pytest.mark.parametrize("at", EDITED, ids=str)
def test_evidence_that_does_not_say_until_when_begins_anew(at: object) -> None:
    state = under_judgement({"kind": "ratio", "at": at})
    request = asked(state)
    assert (request.since, request.counted, request.follows) == (BEGUN, False, None)
    sample = Sample(RatioTick(BEGUN + 5.0, Counts(1, 0), Counts(1, 0)), request.since, request.follows)
    [subject] = subjects(state)
    assert uncounted(subject, "errors", {request.key: sample}) is sample


def test_evidence_goes_on_where_it_ended_although_the_rollout_seems_to_have_begun_later() -> None:
    state = under_judgement({"kind": "ratio", "at": BEGUN - 30.0})
    request = asked(state)
    assert (request.since, request.counted) == (BEGUN - 30.0, True)
    sample = Sample(RatioTick(BEGUN + 5.0, Counts(1, 0), Counts(1, 0)), request.since, request.follows)
    [subject] = subjects(state)
    assert uncounted(subject, "errors", {request.key: sample}) is sample
    earlier = replace(sample, since=BEGUN - 60.0, follows=None)
    assert uncounted(subject, "errors", {request.key: earlier}) is None


@pytest.mark.parametrize("at", EDITED, ids=str)
def test_so_it_does_while_a_limit_is_watched(at: object) -> None:
    metric = parse_spec(limited("1", RECALL))
    kept = LimitWatch(BEGUN, question(metric), {"missed": {"kind": "limit", "at": at}})
    [subject] = subjects(State(stable="fraud-a", limits=kept))
    tick = RatioTick(BEGUN + 60.0, Counts(1_000, 300), Counts(0, 0))
    samples = Samples({("fraud-a", "missed"): Sample(tick, BEGUN)}, 60.0)
    found = judge_limits(metric, kept, subject, samples, 0.0, BEGUN + 60.0)
    assert found.judged["missed"].verdict.verdict is Verdict.FAIL_MINOR
