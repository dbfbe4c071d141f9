"""A metric that is edited in the middle of a rollout asks another question, and begins anew."""

from collections.abc import Mapping
from typing import Any

import pytest

from serin.analysis.types import Arm, RatioTick, Tick
from serin.api.parse import parse_spec
from serin.evaluation.questions import is_same, question_of, still_asked, with_questions
from serin.evaluation.samples import SampleRequest
from tests.narratives.limits import QUEUE, RECALL
from tests.narratives.world import World, spec

MINE = {"bad": "bad_total{ {{.version}} }", "total": "all_total{ {{.version}} }"}
RATIO = {"name": "mine", "ratio": MINE, "severity": "major", "against": "stable"}
OTHERS: list[dict[str, Any]] = [
    {"ratio": {**MINE, "bad": "worse_total{ {{.version}} }"}},
    {"against": "limit", "limit": "0.01"},
    {"by": "region"},
    {"by": "region", "sliceRequests": 50},
]


def asked(metric: Mapping[str, Any], template: Mapping[str, Any] | None = None) -> str:
    [found] = parse_spec(spec(metrics=[dict(metric)])).metrics
    return question_of(found, dict(template) if template is not None else None)


@pytest.mark.parametrize("change", OTHERS, ids=lambda one: ", ".join(one))
def test_another_question_is_told_from_this_one(change: Mapping[str, Any]) -> None:
    assert not is_same(asked(RATIO), asked({**RATIO, **change}))


def test_a_limit_and_the_bounds_of_a_value_are_part_of_the_question() -> None:
    assert not is_same(asked(RECALL), asked({**RECALL, "limit": "0.5"}))
    assert not is_same(asked(QUEUE), asked({**QUEUE, "for": "4m"}))


def test_how_much_a_breach_matters_and_what_is_asked_later_are_no_part_of_it() -> None:
    assert is_same(asked(RATIO), asked({**RATIO, "severity": "info"}))
    assert is_same(asked(RECALL), asked({**RECALL, "window": "2h", "labelDelay": "10m"}))


def test_a_template_is_part_of_it_and_one_that_is_gone_is_remembered() -> None:
    named = {"name": "mine", "template": {"name": "half"}, "severity": "major"}
    first, gone, second = (asked(named, one) for one in ({"value": {"query": "1"}}, None, {"value": {"query": "2"}}))
    assert (is_same(first, gone), is_same(gone, second), is_same(first, second)) == (True, True, False)
    kept = with_questions({"mine": {"at": 1.0, "asked": first}}, {"mine": gone})
    assert still_asked(kept, {"mine": gone}) == kept
    assert still_asked(kept, {"mine": second}) == {}


@pytest.mark.parametrize("kept", [None, "", 7, ["x"], {}])
def test_evidence_that_does_not_say_what_it_was_asked_is_of_this_question(kept: object) -> None:
    evidence = {"mine": {"at": 1.0, "asked": kept}}
    assert still_asked(evidence, {"mine": asked(RATIO)}) == evidence
    assert with_questions(evidence, {"mine": asked(RATIO)}) == {"mine": {"at": 1.0, "asked": asked(RATIO)}}


class Editor:
    """Of the requests since it last counted; the first query calls more of the candidate's bad than the second does."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []

    def __call__(self, world: World, request: SampleRequest) -> Tick:
        requests = round(100 * (world.now - request.since))
        named = str(request.metric.source)
        self.begun.append((named, request.since))
        return RatioTick(world.now, Arm(requests, requests // 100), Arm(19 * requests, 19 * requests // 100))


def test_an_edited_metric_forgets_what_it_was_and_counts_the_whole_rollout_again() -> None:
    sampler = Editor()
    world = World(spec=spec(metrics=[RATIO]), sampler=sampler)
    world.run(20)
    world.change(spec("2", metrics=[RATIO]))
    world.run(60)
    [arm] = world.status["arms"]
    before = arm["evidence"]["mine"]
    since = min(at for _, at in sampler.begun)
    world.change(spec("2", metrics=[{**RATIO, "ratio": {**MINE, "bad": "worse_total{ {{.version}} }"}}]))
    sampler.begun.clear()
    world.run(10)
    [again] = world.status["arms"]
    after = again["evidence"]["mine"]
    assert again["snapshot"] == arm["snapshot"], "the metrics are no part of a version"
    assert after["asked"] != before["asked"]
    assert {at for named, at in sampler.begun if "worse_total" in named and at < world.now - 10.0} == {since}


def test_one_whose_severity_is_edited_goes_on() -> None:
    sampler = Editor()
    world = World(spec=spec(metrics=[RATIO]), sampler=sampler)
    world.run(20)
    world.change(spec("2", metrics=[RATIO]))
    world.run(60)
    sampler.begun.clear()
    world.change(spec("2", metrics=[{**RATIO, "severity": "minor"}]))
    world.run(10)
    assert {at for named, at in sampler.begun if "bad_total" in named} <= {world.now - 10.0, world.now - 20.0}
