"""Whatever stands in a status, it is read; and whatever is read is written so that the schema takes it.

A status can be edited, restored from a backup in part, or written by another version. One that does not parse must not
end the work of all other deployments, and a status that cannot be written would keep a rollback from happening.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from serin.api.conditions import Reason
from serin.api.state import Phase, RollbackRecord, State, Status
from serin.api.status import LONGEST_MESSAGE, MOST_DRAINING, read_state, read_status, smallest, write_status
from tests import crds
from tests.narratives.film import played
from tests.narratives.holdbacks import holdback_finds_a_regression
from tests.narratives.stories import (
    Story,
    bandit_of_variants,
    blue_green,
    goes_back_after_promotion,
    goes_back_in_mid_rollout,
    good_candidate,
)

SCHEMA = crds.schema("ModelDeployment")["properties"]["status"]
VALID = Draft202012Validator(SCHEMA)

json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.text(max_size=8) | st.sampled_from(["Healthy", "1s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [so_far] if so_far else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [path for key, item in items for path in paths(item, (*so_far, key))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


WRITTEN = [
    status
    for story in (good_candidate, goes_back_in_mid_rollout)
    for kind, status in played(story).written
    if kind == "ModelDeployment"
]


@given(st.data())
def test_one_part_of_a_real_status_replaced_by_anything(data: st.DataObject) -> None:
    status = data.draw(st.sampled_from(WRITTEN))
    wrong = replaced(status, data.draw(st.sampled_from(paths(status))), data.draw(json))
    state = read_state(wrong)
    assert sum(state.split.weights.values()) in (0, 100)
    if state.stable and not state.split.weights:
        assert (
            not (wrong.get("traffic") or {})
            or not isinstance(wrong["traffic"], dict)
            or not wrong["traffic"].get("weights")
        )
    read_status(wrong)


@given(st.dictionaries(st.sampled_from(sorted(SCHEMA["properties"])), json, max_size=6))
def test_anything_at_all(status: dict[str, Any]) -> None:
    read_status(status)


@pytest.mark.parametrize(
    "weights", [{"a": 100, "b": 5}, {"a": "many"}, {"a": None}, True, 7, "a", ["a"], {}, {"a": 0}, None], ids=str
)
def test_weights_that_are_no_split_are_stables(weights: object) -> None:
    status = {"stable": {"snapshot": "a"}, "traffic": {"weights": weights}}
    assert dict(read_state(status).split.weights) == {"a": 100}


def test_what_others_say_at_length_is_cut_and_what_there_is_too_much_of_is_capped() -> None:
    long = "x" * 100_000
    record = RollbackRecord("a", "b", Reason.WORSE_THAN_STABLE.value, long, 1.0)
    draining = {f"fraud-{number}": float(number) for number in range(40)}
    state = State(Phase.HEALTHY, stable="b", last_rollback=record, draining=draining, rollback_failure=long)
    written = write_status(Status(state, reason="Serving", message=long))
    VALID.validate(written)
    assert len(written["message"]) == LONGEST_MESSAGE
    assert set(written["draining"]) == {f"fraud-{number}" for number in range(MOST_DRAINING)}, "the oldest go first"


def test_the_bounds_are_those_of_the_schema() -> None:
    properties = SCHEMA["properties"]
    assert properties["draining"]["maxProperties"] == MOST_DRAINING
    for part in ("message", "rollbackFailure"):
        assert properties[part]["maxLength"] >= LONGEST_MESSAGE


def test_the_smallest_status_says_who_serves_and_what_was_rolled_back() -> None:
    [status] = [one for one in WRITTEN if "lastRollback" in one][:1]
    small = smallest(status)
    VALID.validate(small)
    assert read_state(small).split == read_state(status).split
    assert small["lastRollback"]["from"] == status["lastRollback"]["from"]
    assert small["reason"] == status["reason"]


@pytest.mark.parametrize(
    "story",
    [bandit_of_variants, blue_green, goes_back_after_promotion, holdback_finds_a_regression],
    ids=lambda one: one.__name__,
)
def test_whoever_serves_has_a_part_in_the_smallest_status_too(story: Story) -> None:
    statuses = [status for kind, status in played(story).written if kind == "ModelDeployment"]
    for status in statuses:
        small = smallest(status)
        VALID.validate(small)
        state = read_state(small)
        arms = state.rollout.active if state.rollout else ()
        before, target = state.watch and state.watch.before, state.manual_rollback and state.manual_rollback.target
        assert set(state.split.serving()) <= {state.stable, before, target, *arms}
        assert state.split == read_state(status).split
