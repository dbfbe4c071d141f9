"""spec.retraining and its status: what is refused, what survives JSON, and names that are the same for ever."""

from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from serin.api.fields import Field, InvalidSpec
from serin.api.names import retraining_name
from serin.api.retraining import (
    LONGEST_TEXT,
    MOST_ROLLBACKS,
    Cause,
    Retraining,
    Run,
    RunPhase,
    Trigger,
    read_retraining,
    retraining_of,
    smallest_retraining,
    write_retraining,
)
from tests import crds

SCHEMA = crds.schema("ModelDeployment")["properties"]["status"]["properties"]["retraining"]
CAUSE = Cause(Trigger.DRIFT, "m", "fraud-a", "7", "answers", "PSI 0.3", "0.2 to 0.4", 1000, 1e9, 1e9 + 60, "errors 1%")
FULL = Retraining(
    1e9, 3, Run("n", CAUSE, 1e9, RunPhase.FAILED, "hook", "uid", "why", 1e9 + 5), 12, 1e9 + 9, (1e9 + 1, 1e9 + 2)
)


def test_nothing_is_lost_on_its_way_through_json() -> None:
    assert retraining_of(write_retraining(FULL)) == FULL
    Draft202012Validator(SCHEMA).validate(write_retraining(FULL))
    assert crds.undeclared({"kind": "ModelDeployment", "status": {"retraining": write_retraining(FULL)}}) == []


def test_what_is_written_keeps_to_the_bounds_of_the_schema() -> None:
    assert FULL.run is not None
    run = replace(FULL.run, message="x" * 9000, cause=replace(CAUSE, message="y" * 9000, requests=10**30))
    many = replace(FULL, run=run, rollbacks=tuple(1e9 + at for at in range(50)), counted=10**30)
    written = write_retraining(many)
    Draft202012Validator(SCHEMA).validate(written)
    properties = SCHEMA["properties"]
    assert properties["rollbacks"]["maxItems"] == MOST_ROLLBACKS == len(written["rollbacks"])
    run_properties = properties["run"]["properties"]
    assert run_properties["message"]["maxLength"] == LONGEST_TEXT == len(written["run"]["message"])
    assert run_properties["cause"]["properties"]["message"]["maxLength"] == LONGEST_TEXT
    kept = retraining_of(written)
    assert kept is not None
    assert kept.rollbacks == many.rollbacks[-MOST_ROLLBACKS:], "the newest"


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"since": "yesterday"},
        {"since": 5},
    ],
)
def test_what_does_not_parse_is_nothing(row: dict[str, Any]) -> None:
    assert retraining_of(row) is None


@pytest.mark.parametrize("odd", [-1, True, 1.5, "2", None])
def test_what_is_no_count_is_none(odd: object) -> None:
    row = write_retraining(FULL) | {"number": odd, "requests": odd}
    assert retraining_of(row) == replace(FULL, number=0, counted=0)


@pytest.mark.parametrize(
    "run",
    [None, [], {"name": "n"}, {"name": "n", "at": "x", "phase": "Running"}, {"phase": "Odd"}],
)
def test_a_run_that_does_not_parse_is_none(run: object) -> None:
    row = {**write_retraining(replace(FULL, run=None)), "run": run}
    assert retraining_of(row) == replace(FULL, run=None)


def test_the_smallest_one_still_knows_what_was_begun() -> None:
    small = smallest_retraining(FULL)
    assert small is not None
    assert small.run is not None
    assert (small.run.name, small.run.phase, small.number) == ("n", RunPhase.FAILED, 3)
    assert small.run.message == ""
    assert small.run.cause == Cause(CAUSE.trigger, "", CAUSE.snapshot, requests=1000, since=1e9, until=1e9 + 60)


def test_the_same_cause_has_the_same_name() -> None:
    one, other = (retraining_name("fraud", ("uid", 1, "Drift", "fraud-a", "m")) for _ in range(2))
    assert one == other == "fraud-retrain-" + one.rpartition("-")[2]
    assert retraining_name("fraud", ("uid", 2, "Drift", "fraud-a", "m")) != one
    assert len(retraining_name("f" * 52, ("uid",))) <= 63


def _spec(**changes: Any) -> Field:
    found = {"triggers": [{"drift": {}}], "cooldown": "1h", "webhook": {"name": "hook"}} | changes
    return Field(found, "spec.retraining")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"job": {"spec": {}}}, "exactly one of job"),
        ({"webhook": None}, "exactly one of job"),
        ({"triggers": [{}]}, r"triggers\[0\]: write exactly one of schedule"),
        ({"triggers": [{"moon": {}}]}, r"triggers\[0\]: write exactly one of schedule"),
        ({"triggers": [{"drift": {}, "schedule": {"every": "1h"}}]}, r"triggers\[0\]: write exactly one of schedule"),
        ({"triggers": [{"schedule": {"every": "1h"}}] * 2}, "schedule is there twice"),
        ({"triggers": [{"volume": {"metric": "errors", "requests": 5}}] * 2}, "volume is there twice"),
        ({"triggers": [{"schedule": {"every": "soon"}}]}, r"triggers\[0\].schedule.every"),
        ({"triggers": [{"volume": {}}]}, r"triggers\[0\].volume.metric is missing"),
    ],
)
def test_what_the_schema_would_refuse_is_refused_here_as_well(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        read_retraining(_spec(**changes))
