"""Which changes of a status are written at once."""

import math
from typing import Any

import pytest

from serin.rollout.news import LONGEST, is_news, may_wait

STATUS: dict[str, Any] = {
    "phase": "Progressing",
    "reason": "Baking",
    "message": "step 1 of 3: 12 of 60 s, 120 requests",
    "traffic": {"weights": {"a": 95, "b": 5}, "observed": {"a": "95.1%", "b": "4.9%"}},
    "arms": [{"snapshot": "b", "standing": "Evaluating", "weight": 5, "evidence": {"errors": {"at": 10.0}}}],
    "metrics": [
        {"name": "errors", "verdict": "Undecided", "reason": "TooFewRequests", "requests": 12, "estimate": "1.2x"}
    ],
    "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "a serves with 2 of 2 pods"}],
    "lookedAt": "2027-01-15T08:00:00Z",
}


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The status with something else at this place."""

    def put(value: Any, left: tuple[str | int, ...]) -> Any:
        if not left:
            return to
        if isinstance(value, list):
            return [put(one, left[1:]) if place == left[0] else one for place, one in enumerate(value)]
        return {**value, left[0]: put(value.get(left[0]), left[1:])}

    found: dict[str, Any] = put(STATUS, path)
    return found


NUMBERS = [
    changed("message", to="step 1 of 3: 17 of 60 s, 1,170.5 requests"),
    changed("traffic", "observed", "b", to="5.2%"),
    changed("arms", 0, "evidence", "errors", "at", to=15.0),
    changed("metrics", 0, "requests", to=17),
    changed("metrics", 0, "estimate", to="1.3x"),
    changed("metrics", 0, "interval", to="0.9x to 1.7x"),
    changed("metrics", 0, "needed", to=400),
]
NEWS = [
    changed("phase", to="Promoting"),
    changed("reason", to="WaitingForEvidence"),
    changed("message", to="step 1 of 3: pods are missing"),
    changed("traffic", "weights", to={"a": 75, "b": 25}),
    changed("arms", 0, "weight", to=25),
    changed("arms", 0, "standing", to="Eliminated"),
    changed("metrics", 0, "verdict", to="Pass"),
    changed("metrics", 0, "reason", to="NoTraffic"),
    changed("metrics", to=[]),
    changed("conditions", 0, "status", to="False"),
    changed("draining", to={"c": "2027-01-15T08:00:00Z"}),
    changed("handled", to={"serin.dev/abort": "yes"}),
]
TURN = {"every": 10.0, "phase": 0.0}


@pytest.mark.parametrize("after", NUMBERS)
def test_numbers_wait_for_their_turn(after: dict[str, Any]) -> None:
    assert not is_news(STATUS, after)
    assert may_wait(STATUS, after, now=19.9, written=10.1, **TURN)
    assert not may_wait(STATUS, after, now=20.1, written=10.1, **TURN)
    assert not may_wait(STATUS, after, now=19.9, written=9.9, **TURN)


@pytest.mark.parametrize("after", NEWS)
def test_everything_else_is_written_at_once(after: dict[str, Any]) -> None:
    assert is_news(STATUS, after)
    assert not may_wait(STATUS, after, now=10.2, written=10.1, **TURN)


def test_each_deployment_has_its_own_turn() -> None:
    half = {"every": 10.0, "phase": 0.5}
    assert may_wait(STATUS, NUMBERS[0], now=14.9, written=5.1, **half)
    assert not may_wait(STATUS, NUMBERS[0], now=15.1, written=5.1, **half)


def test_where_nobody_knows_when_a_status_was_written_it_is_written() -> None:
    assert not may_wait(STATUS, NUMBERS[0], now=10.2, written=-math.inf, **TURN)


def test_numbers_of_few_are_written_at_every_look() -> None:
    after = NUMBERS[0]
    assert not may_wait(STATUS, after, now=10.2, written=10.1, every=0.0, phase=0.0)


def test_numbers_wait_no_longer_than_a_change_of_leader_allows() -> None:
    waits = [may_wait(STATUS, NUMBERS[0], now=at, written=0.0, every=500.0, phase=0.0) for at in (1.0, LONGEST + 1)]
    assert waits == [True, False]


def test_when_was_looked_is_written_as_seldom_as_can_be() -> None:
    """However few there are: nobody watches it, and an idle deployment would be written for its sake alone."""
    after = changed("lookedAt", to="2027-01-15T08:00:15Z")
    assert not is_news(STATUS, after)
    waits = [may_wait(STATUS, after, now=at, written=0.0, every=0.0, phase=0.0) for at in (1.0, LONGEST + 1)]
    assert waits == [True, False]


def test_a_clock_that_goes_back_keeps_nothing_from_being_written() -> None:
    assert not may_wait(STATUS, NUMBERS[0], now=5.0, written=1_000.0, every=LONGEST, phase=0.5)
